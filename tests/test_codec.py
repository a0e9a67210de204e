"""What goes into a codec comes out equal and of the same types all the way down; all else is refused beforehand."""

import builtins
import math
import struct
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal, localcontext
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid1
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import msgpack  # type: ignore[import-untyped]
import pytest
from attrs import field, frozen
from hypothesis import example, given, settings

from events import Event, MeasurementAdded, MeasurementsEvicted, Offsets, SnapshotBegun
from events._codec import BUFFER, DEPTH, Codec
from events._errors import LogDamagedError, UnknownTypeError, UnsupportedTypeError
from events._schema import Schema
from events._values import RefusedError, described, labelled

BERLIN = ZoneInfo("Europe/Berlin")
LOCAL = datetime(2024, 10, 27, 2, 30, 0, 1)


@frozen
class Weight:
    kg: Any
    notes: Any = None


@frozen(eq=False)
class Tag:
    """Equal to itself only."""

    text: str


class Count(int):
    pass


class Colour(Enum):
    RED = 1


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    YES = "yes"


class Moment(datetime):
    pass


class Shifting(tzinfo):
    """A time zone of somebody's own; `offsets` by fold."""

    def __init__(self, *offsets: timedelta | None) -> None:
        self.offsets = offsets

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return self.offsets[moment.fold if moment and len(self.offsets) > 1 else 0]

    def dst(self, _moment: datetime | None) -> None:
        return None

    def tzname(self, _moment: datetime | None) -> None:
        return None


Point = namedtuple("Point", "x y")


def same(one: Any, other: Any) -> bool:
    """Equal and of the same types all the way down: also nan, -0.0, sNaN, fold, time zone, and the order of keys."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, Weight):
        return same((one.kg, one.notes), (other.kg, other.notes))
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    if isinstance(one, Decimal):
        return bool(one.as_tuple() == other.as_tuple())
    if isinstance(one, datetime):
        zones = one.tzinfo is other.tzinfo or type(one.tzinfo) is type(other.tzinfo) is timezone
        return zones and told(one) == told(other)
    return bool(one == other)


def told(moment: datetime) -> tuple[Any, ...]:
    """All that a datetime tells."""
    return moment, moment.fold, moment.utcoffset(), moment.tzname()


OFFSETS = st.timedeltas(timedelta(days=-1, microseconds=1), timedelta(days=1, microseconds=-1))
ZONES = st.one_of(
    st.none(),
    st.just(UTC),
    OFFSETS.map(timezone),
    st.builds(timezone, OFFSETS, st.text(max_size=3)),
    st.sampled_from([BERLIN, ZoneInfo("America/St_Johns"), ZoneInfo("UTC")]),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**200), 2**200),
    st.floats(),
    st.text(st.characters(exclude_categories=())),
    st.binary(),
    st.datetimes(timezones=ZONES),
    st.dates(),
    st.decimals(),
    st.builds(Decimal, st.sampled_from(["sNaN", "-sNaN12", "NaN7", "-0", "0E+5", "-0E-400", "1E+999999", "Infinity"])),
    st.uuids(),
)
KEYS = st.recursive(
    LEAVES.filter(lambda leaf: not (type(leaf) is Decimal and leaf.is_snan())),
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.builds(Weight, inner)),
    max_leaves=3,
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
        st.builds(Weight, inner, inner),
    ),
    max_leaves=12,
)


@settings(max_examples=settings().max_examples // 2)
@given(VALUES)
def test_what_goes_in_comes_out(value: Any) -> None:
    """Every kept kind, nested in any way."""
    codec = Codec([Weight])
    assert same(codec.decode(codec.encode(value)), value)


@settings(max_examples=settings().max_examples // 2)
@given(VALUES)
def test_an_event_comes_out_as_it_went_in(value: Any) -> None:
    """With whatever is in its fields, and the time at which it arrived."""
    codec = Codec([Weight])
    added = codec.decode_event(*codec.encode_event(MeasurementAdded(value, 3.5)))
    assert type(added) is MeasurementAdded
    assert same([added.measurement, added.arrived_at], [value, 3.5])
    begun = codec.decode_event(*codec.encode_event(SnapshotBegun(1, value, 30.0)))
    assert type(begun) is SnapshotBegun
    assert same([begun.version, begun.timestamp, begun.deadline], [1, value, 30.0])


ODD: list[Any] = [
    "\ud800 \udfff\x00 \ud83d\ude00",
    "",
    b"\x00\xff",
    b"",
    2**63 - 1,
    2**64 - 1,
    2**64,
    -(2**63),
    -(2**63) - 1,
    255 - 2**72,
    10**5000,
    math.nan,
    -math.nan,
    math.inf,
    -0.0,
    5e-324,
    True,
    1,
    1.0,
    [],
    (),
    {},
    ((),),
    [[], {}, ((),)],
    {"b": 1, "a": 2, None: 3, 2.5: 4, b"b": 5, True: 6, 2**70: 7},
    {(1, ("two",)): {UUID(int=7): (date.min, date.max)}, Decimal("1.10"): [None]},
    {"weight": 81.5, "timestamp": datetime(2024, 2, 29, tzinfo=UTC)},
    datetime.min,
    datetime.max,
    LOCAL,
    LOCAL.replace(fold=1),
    LOCAL.replace(tzinfo=BERLIN),
    LOCAL.replace(tzinfo=BERLIN, fold=1),
    datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    LOCAL.replace(tzinfo=timezone(timedelta(hours=-3, seconds=-7, microseconds=-1))),
    LOCAL.replace(tzinfo=timezone(timedelta(microseconds=1))),
    LOCAL.replace(tzinfo=timezone(timedelta(hours=1), "CET\ud800"), fold=1),
    LOCAL.replace(tzinfo=timezone(timedelta(0), "")),
    Decimal("sNaN7"),
    Decimal("-NaN"),
    Decimal("-0E+3"),
    Decimal("1." + "0" * 60),
    uuid1(),
    Weight({"kg": (81.5,)}, [Weight(None)]),
    list(range(300)),
    "x" * (BUFFER + 1),
]


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_each_odd_value_comes_out(value: Any) -> None:
    """By itself, in each container, as a key where it can be one; and twice from the same codec."""
    codec = Codec([Weight])
    for whole in (value, [value], (value, 1), {"a": value}, {(1,): value}, Weight(value)):
        assert same(codec.decode(codec.encode(whole)), whole)
        assert same(codec.decode(codec.encode(whole)), whole)


def test_keys_that_look_alike_stay_apart() -> None:
    """Keys that differ though their bytes do not (two that hold a nan) are not made one."""
    codec = Codec([Tag])
    nans: list[Any] = [Decimal("NaN"), Decimal("NaN"), float("nan"), float("nan"), (float("nan"),), (float("nan"),)]
    found = codec.decode(codec.encode({nan: place for place, nan in enumerate(nans)}))
    assert list(found.values()) == list(range(6))
    assert [tag.text for tag in codec.decode(codec.encode({Tag("a"): 1, Tag("a"): 2}))] == ["a", "a"]


def test_a_decimal_does_not_depend_on_the_context() -> None:
    """Neither its precision nor its way to write an exponent."""
    codec, value = Codec(), Decimal("1.23456789E+50")
    with localcontext(Context(prec=3, capitals=0)):
        found = codec.decode(codec.encode(value))
    assert found.as_tuple() == value.as_tuple()


@given(OFFSETS, st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)))
@example(timedelta(microseconds=-1), LOCAL)
def test_a_time_zone_of_ones_own_becomes_its_offset(offset: timedelta, moment: datetime) -> None:
    """As long as that is the same moment."""
    codec, value = Codec(), moment.replace(tzinfo=Shifting(offset))
    found = codec.decode(codec.encode(value))
    assert found == value
    assert (found.replace(tzinfo=None), found.tzinfo) == (moment, timezone(offset))


def test_a_zone_that_its_key_does_not_find_becomes_its_offset(tmp_path: Path) -> None:
    """One read from a file, or kept out of the cache, may not be the one of that key."""
    codec = Codec()
    file = tmp_path / "zone"  # of one hour, all the year
    header = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    file.write_bytes(header + struct.pack(">lbb", 3600, 0, 0) + b"ABC\x00")
    for key in (None, "No/Such", "../outside", "Europe/Berlin"):
        with file.open("rb") as source:
            zone = ZoneInfo.from_file(source, key=key)
        value = LOCAL.replace(tzinfo=zone)
        found = codec.decode(codec.encode(value))
        assert (found, found.tzinfo) == (value, timezone(timedelta(hours=1)))
    summer = datetime(2024, 7, 1, tzinfo=ZoneInfo.no_cache("Europe/Berlin"))
    assert codec.decode(codec.encode(summer)) == summer


@pytest.mark.parametrize(
    "zone", [Shifting(timedelta(hours=1), timedelta(hours=2)), Shifting(None), ZoneInfo.no_cache("Europe/Berlin")]
)
def test_a_zone_that_cannot_be_kept_is_refused(zone: tzinfo) -> None:
    """Where the fold decides, or there is no offset, a fixed one would not compare equal."""
    with pytest.raises(
        UnsupportedTypeError, match=r"^measurement\[0\]: datetime\.datetime in a time zone .*astimezone"
    ):
        Codec().encode([LOCAL.replace(tzinfo=zone)])


def test_a_zone_that_is_not_known_here_says_what_to_install() -> None:
    """Zones come from the system, which may have none."""
    codec = Codec()
    data = codec.encode(LOCAL.replace(tzinfo=BERLIN)).replace(b"Europe/Berlin", b"Europe/Berlim")
    with pytest.raises(UnknownTypeError, match="'Europe/Berlim' is not known here; pip install tzdata"):
        codec.decode(data)


REFUSED: list[Any] = [
    Count(1),
    Colour.RED,
    Level.LOW,
    Word.YES,
    Point(1, 2),
    defaultdict(list),
    OrderedDict(),
    Moment(2024, 1, 1),
    time(),
    timedelta(1),
    bytearray(b"a"),
    memoryview(b"a"),
    msgpack.ExtType(1, b"\x01"),
    msgpack.Timestamp(0),
    {1},
    frozenset(),
    range(3),
    1j,
    Path(),
    Weight,
    len,
    object(),
    Tag("a"),
    ...,
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
def test_what_would_not_come_out_is_refused_wherever_it_stands(value: Any) -> None:
    """Says the type, the place and the remedy."""
    codec = Codec([Weight])
    places: list[tuple[str, Any]] = [
        ("", value),
        ("[1]", [1, value]),
        ("[0]", (value,)),
        ("['a']", {"a": value}),
        ("['b'][3]", {"a": [1], "b": (0, [], {}, value)}),
        ("[(1,)].notes[0]", {(1,): Weight(1, [value])}),
        (".kg[0][0][0]['a']", Weight([({"x": 1}, [[]])[:0] or [[{"a": value}]]])),
    ]
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    for place, whole in places:
        with pytest.raises(UnsupportedTypeError) as caught:
            codec.encode(whole)
        message = str(caught.value)
        assert message.startswith(f"measurement{place}: {kind} cannot be kept; convert it, or register the type")
        assert "types=[...]" in message
        assert "Schema" in message


def test_a_key_is_refused_like_a_value() -> None:
    """And named shortly, however long it is."""
    with pytest.raises(
        UnsupportedTypeError, match=r"^measurement\['a'\], its key \(<.*Level.LOW.*>,\)\[0\]: .*Level cannot"
    ):
        Codec().encode({"a": {1: 2, (Level.LOW,): 3}})
    with pytest.raises(UnsupportedTypeError, match=r"^measurement\['x+\.\.\.x+'\]: set cannot"):
        Codec().encode({"x" * 1000: {1}})


def test_a_key_that_has_no_repr_is_named_by_its_type() -> None:
    """An int may have more digits than Python writes; that must not hide what is refused."""
    with pytest.raises(UnsupportedTypeError, match=r"^measurement\[<int>\]: set cannot"):
        Codec().encode({10**5000: {1}})


def test_what_was_taken_out_meanwhile_is_refused_all_the_same() -> None:
    """By another thread: only its place is not known any more."""
    refused = RefusedError({1}, "cannot be kept")
    refused.climb(labelled({"gone": 1}), inner := {"gone": 1})
    refused.climb(labelled({"a": inner}), {"a": inner})
    assert str(refused.told("measurement")) == "measurement['a']: set cannot be kept"


def test_an_event_with_what_cannot_be_kept_is_refused() -> None:
    """By its name and field; and so is one whose class is not registered."""

    class Opened(Event):
        pass

    with pytest.raises(UnsupportedTypeError, match=r"^SnapshotBegun\.timestamp\['at'\]: set cannot be kept"):
        Codec().encode_event(SnapshotBegun(1, {"at": {1}}, 30.0))
    with pytest.raises(UnsupportedTypeError, match=r"^Opened: .*<locals>\.Opened cannot be kept"):
        Codec().encode_event(Opened())


def nested(wrap: Callable[[Any], Any], levels: int) -> Any:
    value: Any = 81.5
    for _ in range(levels):
        value = wrap(value)
    return value


WRAPS: list[Callable[[Any], Any]] = [
    lambda value: [value],
    lambda value: (value,),
    lambda value: {"a": value},
    lambda value: {date.min: value},
    Weight,
]


@pytest.mark.parametrize("wrap", WRAPS)
def test_nesting_is_bounded_the_same_for_every_container(wrap: Callable[[Any], Any]) -> None:
    """What is taken can be read again, also as an event's measurement; one level more is refused."""
    codec, value = Codec([Weight]), nested(wrap, DEPTH)
    assert codec.decode(codec.encode(value)) == value
    added = MeasurementAdded(value)
    assert codec.decode_event(*codec.encode_event(added)) == added
    with pytest.raises(UnsupportedTypeError, match=f"is nested more than {DEPTH} deep, or within itself"):
        codec.encode(wrap(value))


def test_what_holds_itself_is_refused() -> None:
    """And at once, though it branches."""
    circle: list[Any] = [1]
    circle += [circle, circle]
    with pytest.raises(UnsupportedTypeError, match=r"^measurement(\[1\])+: list is nested more than"):
        Codec().encode(circle)


def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As msgpack says it; and the codec is as good as before."""
    codec = Codec()

    class Small(msgpack.Packer):  # type: ignore[misc]
        def pack(self, value: Any) -> Any:
            raise ValueError(f"{type(value).__name__} is too large")

    with monkeypatch.context() as patch:
        patch.setattr(codec, "_packer", Small)
        with pytest.raises(UnsupportedTypeError, match=r"^measurement: bytes is larger than .* \(bytes is too large\)"):
            codec.encode(b"many")
    assert codec.decode(codec.encode(b"many")) == b"many"


def test_a_large_value_leaves_no_large_buffer_behind() -> None:
    """One large measurement must not cost memory for ever."""
    codec = Codec()
    codec.encode(b"x" * BUFFER)
    assert codec._idle == []
    codec.encode(b"x")
    assert len(codec._idle) == 1


def test_threads_encode_at_once() -> None:
    """Each gets its own bytes, also where values are nested so that packing is nested too."""
    codec = Codec([Weight])

    def turn(number: int) -> bool:
        value = [(number, {"a": (Weight((number, 2**70 + number)),)}), {(number,): [Decimal(number)]}, "x" * number]
        return all(same(codec.decode(codec.encode(value)), value) for _ in range(5))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(turn, range(200)))
    assert len(codec._idle) <= 16


def test_a_dump_may_use_the_codec() -> None:
    """Which is then in use twice in one thread."""
    codec = Codec()
    codec.register(Schema(Tag, dump=lambda tag: codec.encode((tag.text,)), load=lambda data: Tag(*codec.decode(data))))
    assert [tag.text for tag in codec.decode(codec.encode([Tag("a"), Tag("b")]))] == ["a", "b"]


DAMAGED: list[bytes] = [
    b"",
    b"\xc1",
    b"\x92\x01",
    b"\x01\x01",
    b"\xa1\xff",
    b"\x81\x90\x01",
    msgpack.packb(msgpack.ExtType(3, b"\x91\x01")),
    msgpack.packb(msgpack.ExtType(4, b"short")),
    msgpack.packb(msgpack.ExtType(4, bytes(12))),
    msgpack.packb(msgpack.ExtType(6, b"ten")),
    msgpack.packb(msgpack.ExtType(8, b"\x90")),
]


@pytest.mark.parametrize("data", DAMAGED)
def test_bytes_that_no_codec_wrote_are_called_damaged(data: bytes) -> None:
    """Cut, overwritten, or of something else."""
    with pytest.raises(LogDamagedError, match="is not what was recorded"):
        Codec().decode(data)


def within(times: int, value: bytes = b"\xc0") -> bytes:
    """A value in a tuple in a tuple, as no codec would write it."""
    for _ in range(times):
        value = msgpack.packb(msgpack.ExtType(2, b"\x91" + value))
    return value


def test_what_is_nested_deeper_than_it_can_be_written_is_damaged() -> None:
    """Reading it would need more of the stack than there is."""
    assert Codec().decode(within(DEPTH))
    with pytest.raises(LogDamagedError, match=f"nested more than {DEPTH} deep"):
        Codec().decode(within(DEPTH + 1))


MANY_DIGITS = msgpack.packb(msgpack.ExtType(1, (10**5000).to_bytes(2100, "big", signed=True)))


@pytest.mark.parametrize("data", [MANY_DIGITS + b"\0", b"\x91" * 1000 + b"\x90\0", b"\xdb\0\4\0\0" + b"\xff" * 2**18])
def test_the_error_does_not_show_all_that_was_read(data: bytes) -> None:
    """Which may be long, or nothing that can be shown."""
    with pytest.raises(LogDamagedError, match="is not what was recorded") as damaged:
        Codec().decode(data)
    assert len(str(damaged.value)) < 500


def test_an_error_that_cannot_be_shown_is_named_by_its_type() -> None:
    """Python writes no integer of 5,000 digits, also not where an error holds one."""
    assert described(ValueError(10**5000)) == "ValueError"
    assert described(ValueError("too long")) == "ValueError: too long"


def test_an_event_of_a_version_that_nobody_counts_to_is_damaged() -> None:
    """A version is a small number."""
    with pytest.raises(LogDamagedError, match="is not an event as it was recorded"):
        Codec().decode_event("MeasurementsEvicted", b"\x92" + MANY_DIGITS + b"\x80")


@pytest.mark.parametrize("content", [[1, {}, 3], ["1", {}], {1: 2}, None])
def test_an_event_that_no_codec_wrote_is_called_damaged(content: Any) -> None:
    """It has a version and fields, or it is none."""
    with pytest.raises(LogDamagedError, match=r"MeasurementsEvicted: .* is not an event as it was recorded"):
        Codec().decode_event("MeasurementsEvicted", Codec().encode(content))


def test_a_kind_of_a_later_codec_is_unknown() -> None:
    """Not damaged: a newer version may keep more."""
    with pytest.raises(UnknownTypeError, match="kind 99 was kept by a newer version"):
        Codec().decode(msgpack.packb([msgpack.ExtType(99, b"")]))


def test_without_msgpack_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is needed for logs on disk only."""
    actual = builtins.__import__

    def missing(name: str, *arguments: Any) -> Any:
        if name == "msgpack":
            raise ImportError("No module named 'msgpack'", name=name)
        return actual(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'holdover\[sqlite\]'"):
        Codec()


def test_a_field_named_as_the_place_it_stands_in() -> None:
    """The first part that is refused is named, also where the same object stands in two places."""

    @frozen
    class Pair:
        left: Any = field()
        right: Any = field()

    culprit = {1}
    with pytest.raises(UnsupportedTypeError, match=r"^measurement\.left: set"):
        Codec([Pair]).encode(Pair(culprit, culprit))
    assert MeasurementsEvicted(1, 2) == Codec().decode(Codec().encode(MeasurementsEvicted(1, 2)))


def test_what_the_library_records_has_the_types_it_says() -> None:
    """An event whose fields hold something else is not recorded; one that is found in a log is damage."""
    for odd in (SnapshotBegun(1, None, "soon"), SnapshotBegun(None, None, 9.0), SnapshotBegun(2**62, None, 9.0)):  # type: ignore[arg-type]
        with pytest.raises(UnsupportedTypeError, match=r"its (version|deadline) is of no type that could be read"):
            Codec().encode_event(odd)
    sound = SnapshotBegun(1, ("any", None), 9)  # type: ignore[arg-type]  # what the time is counted in is the clock's
    assert Codec().decode_event(*Codec().encode_event(sound)) == sound
    for version, word in ((None, "None"), (10**5000, "much")):
        data = Codec().encode([1, {"version": version, "timestamp": None, "deadline": 9.0}])
        with pytest.raises(LogDamagedError, match="SnapshotBegun: its version is not what was recorded"):
            Codec(lenient=word == "much").decode_event("SnapshotBegun", data)


@pytest.mark.parametrize(
    "runs", [(range(5, 0, -1),), (range(3), range(2, 5)), (range(-1, 5),), (range(2**63, 2**63 + 1),)]
)
def test_offsets_ascend(runs: tuple[range, ...]) -> None:
    """Where they do not, or lie where no stream comes to, they are not recorded, and nobody has recorded them."""
    with pytest.raises(UnsupportedTypeError, match=r"Offsets cannot be kept: they (do not ascend|are above)"):
        Codec().encode(Offsets(runs))
    with patch("events._schema._misplaced", return_value=""):
        forged = Codec().encode(Offsets(runs))
    with pytest.raises(LogDamagedError, match=r"Offsets: they (do not ascend|are above)"):
        Codec().decode(forged)
