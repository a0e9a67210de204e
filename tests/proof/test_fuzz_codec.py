"""The codec and hostile input: whatever bytes it is given, and whatever objects, it answers or says what is wrong."""

import enum
import struct
from collections import namedtuple
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any

import pytest
from attrs import define, frozen
from hostile import bad, decoding, shown, survived
from hostile_samples import ENCODED, EVENTS, VALUES, mutated
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgpack import packb
from tried import LONG, SEED, tried

from events import MeasurementsEvicted, Offsets, Schema, UnsupportedTypeError
from events._codec import Codec
from events._values import DATETIME, DECIMAL, IDENTIFIER, INTEGER, MOMENT, PAIRS, REGISTERED, TUPLE

DIGITS = b"\x7f" * 2000
"""An integer of more digits than Python writes as text."""


def extension(code: int, data: bytes) -> bytes:
    """An extension of msgpack, whatever is in it."""
    return struct.pack(">BIb", 0xC9, len(data), code) + data


def sequence(*parts: bytes, claimed: int | None = None) -> bytes:
    """A list of msgpack's, which may claim to be longer than it is."""
    return struct.pack(">BI", 0xDD, len(parts) if claimed is None else claimed) + b"".join(parts)


def nested(times: int, code: int = TUPLE) -> bytes:
    """A tuple in a tuple, so many times; or another extension."""
    data = b"\x90"
    for _ in range(times):
        data = extension(code, b"\x91" + data)
    return data


def moment(*parts: int, zone: bytes = b"") -> bytes:
    return extension(DATETIME, MOMENT.pack(*parts) + zone)


def registered(name: bytes, version: bytes, content: bytes) -> bytes:
    return extension(REGISTERED, sequence(name, version, content))


LEAVES = st.one_of(
    st.sampled_from(
        [packb(value) for value in (None, True, 0, -1, 2**64 - 1, -(2**63), float("nan"), "", "x", b"\xff")]
    ),
    st.sampled_from(ENCODED),
    st.binary(max_size=8),
    st.builds(
        moment,
        *(st.integers(0, 65535), *(st.sampled_from((0, 1, 12, 28, 60, 255)) for _ in range(5))),
        st.sampled_from((0, 999_999, 2**32 - 1)),
        st.integers(0, 2),
        zone=st.one_of(
            st.binary(max_size=12),
            st.builds(
                lambda mark, offset, name: mark + struct.pack(">q", offset) + name,
                st.sampled_from((b"+", b"=", b"?")),
                st.sampled_from((0, 86_399_999_999, 86_400_000_000, -(2**63), 2**63 - 1)),
                st.sampled_from((b"", b"name", b"\xed\xa0\x80", b"\xff")),
            ),
            st.sampled_from((b"@", b"@UTC", b"@.", b"@../UTC", b"@/etc/passwd", b"@Europe", b"@a\0b", b"@zone.tab")),
        ),
    ),
    st.builds(extension, st.sampled_from((INTEGER, *range(5, 10), 99, 127, -1, -128)), st.binary(max_size=20)),
    st.builds(
        lambda text: extension(DECIMAL, text.encode()),
        st.sampled_from(
            ("1E+999999999", "-1E-999999999", "1E+9999999999999999999", "sNaN", "NaN123", "Infinity", "\u0661", "")
        ),
    ),
    st.builds(lambda size: extension(IDENTIFIER, bytes(size)), st.integers(0, 20)),
)
"""The bytes of single values, of which most are none."""

NAMES = st.sampled_from(
    [packb(name) for name in ("Offsets", "Recorded", "BufferState", "AllOf", "Age", "Nothing", 7, None)]
)


def _wrapped(parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    several = st.lists(parts, max_size=4)
    inside = several.map(lambda some: sequence(*some))
    return st.one_of(
        inside,
        st.builds(
            lambda some, claimed: sequence(*some, claimed=claimed), several, st.sampled_from((0, 1, 5, 2**32 - 1))
        ),
        st.builds(extension, st.sampled_from((TUPLE, PAIRS, REGISTERED)), st.one_of(parts, inside)),
        st.builds(registered, NAMES, parts, parts),
        st.builds(registered, NAMES, st.just(b"\x01"), inside),
        several.map(lambda some: struct.pack(">BI", 0xDF, len(some) // 2) + b"".join(some)),
    )


WIRE = st.recursive(LEAVES, _wrapped, max_leaves=12)
"""Bytes of the codec's shape, in which anything stands anywhere."""


@settings(max_examples=5_000 if LONG else 100)
@given(st.one_of(WIRE, st.binary(max_size=60), st.builds(mutated, st.just(ENCODED), st.randoms())))
@example(b"\x81\x90\x01")
@example(extension(PAIRS, b"\xa3odd"))
@example(registered(packb("Offsets"), b"\x01", sequence(sequence(b"\x00", packb(2**64 - 1)))))
@example(b"\xd6\xff\0\0\0\0")
@example(extension(DATETIME, b"short"))
@example(moment(2020, 1, 1, 0, 0, 0, 0, 0, zone=b"+short"))
@example(moment(2020, 1, 1, 0, 0, 0, 0, 0, zone=b"@" + b"a" * 5000))
@example(extension(IDENTIFIER, b"short"))
@example(extension(DECIMAL, b"1E+99999999999999999999"))
def test_any_bytes_are_read_or_called_damaged_or_unknown(data: bytes) -> None:
    """Where a measurement, a state or an event should be: no other error, and none whose text fills a screen."""
    assert not (wrong := [word for word in decoding(data) if word.startswith("BAD")]), f"{wrong}\n{shown(data)}"


BIG = 300_000

CORPUS: dict[str, Callable[[], bytes]] = {
    "a list in a list, 100,000 times": lambda: b"\x91" * 100_000,
    "a dict in a dict, 100,000 times": lambda: b"\x81\xa1a" * 100_000,
    "a tuple in a tuple, 100 times": lambda: nested(100),
    "a list that claims 4 billion parts": lambda: sequence(b"\0" * 10, claimed=2**32 - 1),
    "a dict that claims 4 billion parts": lambda: b"\xdf\xff\xff\xff\xff" + b"\0" * 10,
    "a text that claims 4 GiB": lambda: b"\xdb\xff\xff\xff\xff" + b"\0" * 10,
    "bytes that claim 4 GiB": lambda: b"\xc6\xff\xff\xff\xff" + b"\0" * 10,
    "an extension that claims 4 GiB": lambda: b"\xc9\xff\xff\xff\xff\x01" + b"\0" * 10,
    "a thousand lists that each claim 300,000 parts": lambda: (b"\xdd" + struct.pack(">I", BIG)) * 1000 + bytes(BIG),
    "an integer of 300,000 bytes": lambda: extension(INTEGER, b"\x7f" * BIG),
    "a date of 300,000 bytes": lambda: extension(5, b"\x7f" * BIG),
    "a decimal of 300,000 digits": lambda: extension(DECIMAL, b"9" * BIG),
    "a decimal with an exponent of a thousand million": lambda: extension(DECIMAL, b"1E+1000000000"),
    "a time zone of 300,000 letters": lambda: moment(2020, 1, 1, 0, 0, 0, 0, 0, zone=b"=" + bytes(8) + b"x" * BIG),
    "a time zone with a key of 9,000 dots": lambda: moment(2020, 1, 1, 0, 0, 0, 0, 0, zone=b"@" + b"." * 9000),
    "300,000 nothings": lambda: packb([None] * BIG),
    "offsets in 10,000 runs": lambda: registered(
        packb("Offsets"), b"\1", packb([[at, at + 1, 1] for at in range(10_000)])
    ),
    "offsets without end": lambda: registered(packb("Offsets"), b"\1", packb([[0, 2**62]])),
    "a version of two thousand million": lambda: registered(packb("Offsets"), packb(2**31), b"\x90"),
    "a version of minus two thousand million": lambda: registered(packb("Offsets"), packb(-(2**31)), b"\x90"),
}
"""Inputs that cost little to send, and much to whoever believes them."""


def test_hostile_bytes_end_nothing_hang_nothing_and_take_little_memory() -> None:
    """In a process that may take a quarter of a gigabyte and some seconds: made to break it, or changed."""
    draw = Random(SEED)
    cases = {name: make() for name, make in CORPUS.items()}
    cases |= {f"mutation {number} of seed {SEED}": mutated(ENCODED, draw) for number in range(12_000 if LONG else 300)}
    outcomes = survived("decoding", cases)
    assert set(outcomes) == set(cases)
    assert not (wrong := bad(outcomes, cases)), "\n".join(wrong)
    tried(inputs=len(cases))


BROKEN: dict[str, Callable[[], bytes]] = {
    "a tuple in a tuple, 300 times": lambda: nested(300),
    "an integer of 5,000 digits, and a byte": lambda: extension(INTEGER, DIGITS) + b"\0",
    "1,000 lists, and a byte": lambda: b"\x91" * 1000 + b"\x90\0",
    "an event of a version of 5,000 digits": lambda: sequence(extension(INTEGER, DIGITS), b"\x80"),
    "a text of 300,000 bytes that is none": lambda: b"\xdb" + struct.pack(">I", BIG) + b"\xff" * BIG,
    "a type with a name of 300,000 letters": lambda: registered(packb("x" * BIG), b"\1", b"\x80"),
}
"""They killed the interpreter, or showed in the error's text all that was read, or failed in showing it."""


@cache
def ended() -> dict[str, set[str]]:
    return survived("decoding", {name: make() for name, make in BROKEN.items()})


@pytest.mark.parametrize("name", BROKEN)
def test_these_bytes_once_broke_something(name: str) -> None:
    """Each is read, or called damaged or unknown, in a few words."""
    wrong = bad({name: ended()[name]}, {name: BROKEN[name]()})
    assert not wrong, wrong[0]


class Text(str):
    """A text that is more than one."""


class Colour(enum.IntEnum):
    """A number that is more than one."""

    RED = 1


Pair = namedtuple("Pair", "left right")


class Nowhere(tzinfo):
    """A time zone without an offset."""

    def utcoffset(self, _moment: datetime | None) -> timedelta | None:
        return None


class Odd:
    """An object that nobody can compare."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equal")

    __hash__ = object.__hash__


@define(eq=False)
class Holder:
    """A registered object, which may hold itself."""

    what: Any = None


@frozen
class Fussy:
    """A registered object whose constructor refuses what stands in it."""

    what: Any

    def __attrs_post_init__(self) -> None:
        if self.what == "refused":
            raise RuntimeError("refused")


def looped(kind: str) -> Any:
    """Something that holds itself."""
    if kind == "list":
        inner: list[Any] = []
        inner.append(inner)
        return inner
    if kind == "dict":
        table: dict[int, Any] = {}
        table[1] = table
        return table
    holder = Holder()
    holder.what = (holder,)
    return holder


def fussy(refused: object) -> Fussy:
    made = Fussy("taken")
    object.__setattr__(made, "what", refused)
    return made


REFUSED: list[Any] = [
    *(
        {1},
        Text("x"),
        Colour.RED,
        Pair(1, 2),
        Odd(),
        object,
        len,
        memoryview(b"x"),
        1j,
        range(3),
        iter(()),
        bytearray(b"x"),
    ),
    *(datetime(2020, 1, 1, tzinfo=Nowhere()), looped("list"), looped("dict"), looped("holder"), fussy("refused")),
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_would_come_back_as_something_else_is_refused(value: Any) -> None:
    """Also where it stands within something else; the error says what it is."""
    for within in (value, [value], {"a": (1, value)}, Holder(value)):
        with pytest.raises(UnsupportedTypeError, match="measurement"):
            Codec([Holder, Fussy]).encode(within)


ANYTHING = st.recursive(
    st.one_of(
        st.sampled_from([*VALUES, *EVENTS, *REFUSED]),
        *(st.integers(), st.integers(-(10**5000), 10**5000), st.floats(), st.binary(max_size=20), st.booleans()),
        st.text(st.characters(exclude_categories=()), max_size=20),
        *(st.decimals(), st.dates(), st.times(), st.uuids(), st.complex_numbers(), st.timedeltas()),
        st.datetimes(
            timezones=st.one_of(
                st.none(),
                st.timezones(),
                st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone),
            )
        ),
        st.builds(MeasurementsEvicted, st.just("x"), st.none()),
        st.builds(
            lambda start, length: Offsets((range(start, start + length),)), st.integers(-5, 2**70), st.integers(0, 9)
        ),
    ),
    lambda parts: st.one_of(
        st.lists(parts, max_size=4),
        st.lists(parts, max_size=3).map(tuple),
        st.builds(Holder, parts),
        st.dictionaries(
            st.one_of(st.integers(), st.text(max_size=3), st.tuples(st.decimals(allow_nan=False), st.dates())),
            parts,
            max_size=3,
        ),
        st.builds(lambda part, times: _wound(part, times), parts, st.sampled_from((90, 98, 99, 100, 101, 500))),
    ),
    max_leaves=8,
)
"""Whatever an application may take for a measurement."""


def _wound(part: Any, times: int) -> Any:
    for number in range(times):
        part = [part] if number % 2 else (part,)
    return part


@settings(max_examples=2_500 if LONG else 70)
@given(ANYTHING)
@example(looped("list"))
@example([looped("holder")] * 2)
@example(Offsets((range(-1, 0),)))
@example([Offsets((range(5), range(3)))])
@example({"a": _wound(10**5000, 101)})
@example([Decimal("sNaN"), Decimal("1E+999999999")])
def test_any_object_is_kept_so_that_it_can_be_read_or_refused(value: Any) -> None:
    """What is acknowledged can be read; all else is refused with what it is, before anything is written."""
    codec = Codec(
        [Holder, Fussy, Schema(complex, dump=lambda number: (number.real, number.imag), load=lambda two: complex(*two))]
    )
    try:
        data = codec.encode(value)
    except UnsupportedTypeError as error:
        assert str(error).startswith("measurement")
    else:
        codec.decode(data)
