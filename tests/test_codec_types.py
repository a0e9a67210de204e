"""Types of one's own: registered, renamed, brought up to date, or shown where the program does not have them."""

import dataclasses
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from typing import Any, Generic, TypeVar

import attrs
import pytest
from attrs import define, field, frozen

import events
from events import Event, MeasurementAdded, Offsets, Recorded
from events._codec import Codec
from events._errors import UnknownTypeError, UnsupportedTypeError
from events._schema import OWN, Schema, Unregistered, UnregisteredEvent

T = TypeVar("T")


@frozen
class Plain:
    kg: float
    at: Any = None


@define(kw_only=True, slots=False)
class Open:
    kg: float
    notes: list[str] = field(factory=list)


@frozen
class Private:
    _kg: float
    __secret: str = "s"
    grams: float = field(init=False, default=0.0)
    other: float = field(alias="another", default=1.0)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "grams", self._kg * 1000)


@frozen
class Holder(Generic[T]):
    value: T


@define
class Counter:
    """Its field is changed after construction."""

    count: int = field(init=False, default=0)


@define
class Unset:
    """Its field is not set by the constructor."""

    later: int = field(init=False)
    always: int = 1


def thousandfold(kg: int) -> int:
    return kg * 1000


@frozen
class Scaled:
    """Its constructor does not take what it holds."""

    grams: int = field(converter=thousandfold)


@dataclasses.dataclass
class Data:
    kg: float
    notes: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FrozenData(Generic[T]):
    kg: T
    grams: float = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "grams", 1.5)


@frozen
class DoorOpened(Event):
    by: Any


class Colour(Enum):
    RED = "red"


def counted() -> Counter:
    counter = Counter()
    counter.count = 7
    return counter


def set_later() -> Unset:
    value = Unset()
    value.later = 5
    return value


VALUES: list[Callable[[], Any]] = [
    lambda: Plain(81.5, (1, {"a": Plain(2)})),
    lambda: Open(kg=81.5, notes=["a"]),
    lambda: Private(81.5, "t", 3.0),
    lambda: Holder[int](3),
    lambda: Holder((Holder(None),)),
    counted,
    set_later,
    lambda: Scaled(2),
    lambda: Data(81.5, ["x"]),
    lambda: FrozenData(kg=(1, 2)),
    lambda: DoorOpened(("ann", 1)),
    lambda: Offsets((range(5), range(7, 12, 2))),
    Offsets,
    lambda: Recorded(3, MeasurementAdded(Plain(81.5), 2.0)),
]
TYPES = [Plain, Open, Private, Holder, Counter, Unset, Scaled, Data, FrozenData, DoorOpened]


@pytest.mark.parametrize("make", VALUES)
def test_registered_types_come_out_equal(make: Callable[[], Any]) -> None:
    """attrs classes and dataclasses in every form: frozen, slotted, private, keyword-only, generic, computed."""
    codec, value = Codec(TYPES), make()
    for whole in (value, [value], {"a": (value,)}):
        found = codec.decode(codec.encode(whole))
        assert found == whole
        assert type(found) is type(whole)
    assert type(codec.decode(codec.encode(value))) is type(value)


def test_the_parts_have_their_types_too() -> None:
    """A tuple in a field is not a list after all; ranges are ranges."""
    codec = Codec(TYPES)
    assert type(codec.decode(codec.encode(Plain(1, (1,)))).at) is tuple
    assert codec.decode(codec.encode(Offsets((range(0, 9, 3),)))).runs == (range(0, 9, 3),)


def test_a_field_that_is_not_set_stays_so() -> None:
    """It is left out, not invented."""
    codec = Codec([Unset])
    assert not hasattr(codec.decode(codec.encode(Unset())), "later")


def test_every_event_of_the_library_is_known() -> None:
    """And `Recorded` and `Offsets`; a new event class must be added to what the codec knows."""
    public = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)}
    known = {kind.type if isinstance(kind, Schema) else kind for kind in OWN}
    assert known == public - {Event, UnregisteredEvent} | {Recorded, Offsets}


def test_an_event_of_ones_own() -> None:
    """Registered, it is kept like the others."""
    codec, event = Codec([DoorOpened]), DoorOpened(("ann",))
    name, data = codec.encode_event(event)
    assert name == "DoorOpened"
    assert codec.decode_event(name, data) == event
    with pytest.raises(UnknownTypeError, match=r"^DoorOpened is not registered; name its class in types=\[\.\.\.\]"):
        Codec().decode_event(name, data)


def test_what_is_no_event_is_not_given_as_one() -> None:
    """Though its name is known."""
    codec = Codec([Plain])
    data = codec.encode([1, {"kg": 1}])
    with pytest.raises(UnknownTypeError, match="Plain is registered, but is not an event"):
        codec.decode_event("Plain", data)


def test_any_type_with_dump_and_load() -> None:
    """What `dump` makes is kept, and refused where it stands when that cannot be kept."""
    seconds = Schema(timedelta, dump=timedelta.total_seconds, load=lambda kept: timedelta(seconds=kept))
    codec = Codec([seconds, Schema(Colour, dump=lambda colour: colour.value, load=Colour)])
    codec.register(Schema(set, dump=list, load=set), Schema(bytearray, dump=bytes, load=bytearray))
    value = [timedelta(seconds=1.5), {Colour.RED: {1, 2}}, bytearray(b"a")]
    found = codec.decode(codec.encode(value))
    assert found == value
    assert [type(part) for part in found] == [timedelta, dict, bytearray]
    with pytest.raises(UnsupportedTypeError, match=r"^measurement\[0\]\.dump\(\)\[0\]: object cannot be kept"):
        codec.encode([{object()}])
    codec.register(Schema(range, dump=lambda run: frozenset(run), load=tuple))
    with pytest.raises(UnsupportedTypeError, match=r"^measurement\.dump\(\): frozenset cannot be kept"):
        codec.encode(range(3))


def test_registering_the_same_again_is_harmless() -> None:
    """As when two modules register what both use."""
    codec = Codec([Plain, Plain, MeasurementAdded])
    codec.register(Plain, Schema(Plain), Schema(Plain, name="Plain", version=1))
    assert codec.decode(codec.encode(Plain(1))) == Plain(1)
    assert len({Schema(Plain), Schema(Plain)}) == 1


@pytest.mark.parametrize(
    "other",
    [Schema(Plain, version=2), Schema(Plain, name="Weight"), Schema(Data, name="Plain"), Schema(Data, name="Recorded")],
)
def test_one_schema_a_type_and_one_type_a_name(other: Schema) -> None:
    """Anything else would be read as what it was not; and nothing of it stays."""
    codec = Codec([Plain])
    with pytest.raises(ValueError, match=r"cannot be registered beside .*Schema\(..., name=...\)"):
        codec.register(other)
    assert codec.decode(codec.encode(Plain(1))) == Plain(1)
    with pytest.raises(UnsupportedTypeError):
        codec.encode(Data(1))


@attrs.define(init=False)
class Handmade:
    kg: float

    def __init__(self, pounds: float) -> None:
        self.kg = pounds / 2


@dataclasses.dataclass
class WithExtra:
    kg: float
    extra: dataclasses.InitVar[int]


@dataclasses.dataclass
class Table(dict[str, int]):
    kg: float = 1


class Heavy(Plain):
    """Not decorated, so what it adds is no field."""


NOT_SCHEMAS: list[tuple[str, Callable[[], Schema]]] = [
    ("is not a class", lambda: Schema(3)),  # type: ignore[arg-type]
    ("is not a class", lambda: Schema(Holder[int])),
    ("float is kept as it is", lambda: Schema(float, dump=str, load=float)),
    ("tuple is kept as it is", lambda: Schema(tuple)),
    ("set is not itself an attrs class or a dataclass; decorate it", lambda: Schema(set)),
    ("Heavy is not itself an attrs class", lambda: Schema(Heavy)),
    ("Table holds more than its fields", lambda: Schema(Table)),
    ("Handmade cannot be constructed from its fields", lambda: Schema(Handmade)),
    ("WithExtra cannot be constructed from its fields .*'extra'", lambda: Schema(WithExtra)),
    ("name of Plain must be a str", lambda: Schema(Plain, name="")),
    ("name of Plain must be a str", lambda: Schema(Plain, name=3)),  # type: ignore[arg-type]
    ("version must be an int from 1 on, not True", lambda: Schema(Plain, version=True)),
    ("version must be an int from 1 on, not 0", lambda: Schema(Plain, version=0)),
    ("version must be an int from 1 on, not '1'", lambda: Schema(Plain, version="1")),  # type: ignore[arg-type]
    (
        r"nothing to upcast from \[0, 2\] to version 2",
        lambda: Schema(Plain, version=2, upcasters={0: dict, 1: dict, 2: dict}),
    ),
    ("dump and load need each other", lambda: Schema(Plain, dump=str)),
    ("dump and load need each other", lambda: Schema(Plain, load=str)),
]


@pytest.mark.parametrize(("words", "make"), NOT_SCHEMAS)
def test_what_could_not_be_read_again_is_refused_when_it_is_registered(words: str, make: Callable[[], Schema]) -> None:
    """Not when the first is recorded, and never when it is too late."""
    with pytest.raises(ValueError, match=words):
        make()


@frozen
class First:
    pounds: float


@frozen
class Second:
    kg: float


@frozen
class Third:
    grams: int
    source: str = "scale"


def doubled(fields: dict[str, Any]) -> dict[str, Any]:
    return {"kg": fields["pounds"] / 2}


def in_grams(fields: dict[str, Any]) -> dict[str, Any]:
    return {"grams": int(fields["kg"] * 1000)}


SchemaOfWeight = partial(Schema, name="Weight")
FIRST = Codec([SchemaOfWeight(First)])
SECOND = Codec([SchemaOfWeight(Second, version=2, upcasters={1: doubled})])
THIRD = Codec([SchemaOfWeight(Third, version=3, upcasters={1: doubled, 2: in_grams})])


def test_old_versions_are_brought_up_to_date_step_by_step() -> None:
    """From whichever version they were written by; a field that is missing takes its default."""
    assert SECOND.decode(FIRST.encode(First(4.0))) == Second(2.0)
    assert THIRD.decode(FIRST.encode([First(4.0)])) == [Third(2000)]
    assert THIRD.decode(SECOND.encode(Second(3.0))) == Third(3000, "scale")
    assert THIRD.decode(THIRD.encode(Third(1, "hand"))) == Third(1, "hand")


def test_an_upcaster_may_lead_from_fields_to_a_dump() -> None:
    """It gets what the old version wrote and gives what the new one would have written."""
    dumped = Schema(
        Third, name="Weight", version=2, upcasters={1: lambda fields: fields["pounds"]}, dump=attrs.astuple, load=Third
    )
    assert Codec([dumped]).decode(FIRST.encode(First(4.0))) == Third(4.0)  # type: ignore[arg-type]


UNREADABLE: list[tuple[str, Codec, bytes]] = [
    ("kept by version 3, this program knows 2; run the newer program", SECOND, THIRD.encode(Third(1))),
    (
        r"kept by version 1, but nothing turns 2 into 3; add upcasters=\{2: \.\.\.\}",
        Codec([SchemaOfWeight(Third, version=3, upcasters={1: doubled})]),
        FIRST.encode(First(1)),
    ),
    (
        "pounds was kept, but there is no such field; raise the version",
        Codec([SchemaOfWeight(Second)]),
        FIRST.encode(First(1)),
    ),
    (
        r"cannot be made again \(TypeError: .*'kg'\); give new fields a default, or raise the version",
        Codec([SchemaOfWeight(Second)]),
        Codec([SchemaOfWeight(Unset, dump=lambda _: {}, load=dict)]).encode(Unset()),
    ),
    (
        r"cannot be made again \(AttributeError: ",
        Codec([SchemaOfWeight(Second)]),
        Codec([SchemaOfWeight(set, dump=list, load=set)]).encode({1}),
    ),
    (
        r"cannot be made again \(KeyError: 'pounds'\)",
        SECOND,
        Codec([SchemaOfWeight(Second)]).encode(Second(1)),
    ),
    ("Weight is not registered; name its class", Codec(), FIRST.encode(First(1))),
]


@pytest.mark.parametrize(("words", "codec", "data"), UNREADABLE)
def test_what_cannot_be_read_says_what_to_do(words: str, codec: Codec, data: bytes) -> None:
    """Not registered, newer, without an upcaster, or with other fields; also within other values."""
    with pytest.raises(UnknownTypeError, match=words):
        codec.decode(data)
    with pytest.raises(UnknownTypeError, match=words):
        codec.decode(b"\x91" + data)


def test_the_error_of_a_constructor_is_the_cause() -> None:
    """So that it can be found and mended."""

    def refuse(_content: Any) -> Any:
        raise ZeroDivisionError("no such weight")

    codec = Codec([Schema(set, dump=list, load=refuse)])
    with pytest.raises(UnknownTypeError, match=r"set: .*ZeroDivisionError: no such weight") as caught:
        codec.decode(codec.encode({1}))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_program_without_the_types_can_show_them() -> None:
    """As they would show themselves; those that it has are themselves."""
    rich, lenient = Codec([Plain, DoorOpened, Schema(set, dump=list, load=set)]), Codec(lenient=True)
    value = {Plain(1.5): [{2}, Recorded(0, DoorOpened(Plain(1)))]}
    found = lenient.decode(rich.encode(value))
    assert repr(found) == (
        "{Plain(kg=1.5, at=None): [set([2]), Recorded(offset=0, event=DoorOpened(by=Plain(kg=1, at=None)))]}"
    )
    assert found == {Unregistered("Plain", 1, {"kg": 1.5, "at": None}): list(found.values())[0]}  # noqa: RUF015
    assert repr(lenient.decode(THIRD.encode(Third(1)))) == "Weight(grams=1, source='scale')"
    assert repr(Unregistered("Odd", 1, {1: 2})) == "Odd({1: 2})"


def test_a_program_without_the_event_class_can_show_the_event() -> None:
    """It is an event, and not the one it stands for."""
    event = Codec(lenient=True).decode_event(*Codec([DoorOpened]).encode_event(DoorOpened("ann")))
    assert isinstance(event, Event)
    assert event == UnregisteredEvent("DoorOpened", 1, {"by": "ann"})
    assert event != Unregistered("DoorOpened", 1, {"by": "ann"})
    assert repr(event) == "DoorOpened(by='ann')"


def test_of_another_version_it_can_be_shown_too() -> None:
    """A program that is older than the data shows what it finds."""
    lenient = Codec([SchemaOfWeight(Second, version=2)], lenient=True)
    assert lenient.decode(SECOND.encode(Second(1.0))) == Second(1.0)
    assert repr(lenient.decode(FIRST.encode(First(1.0)))) == "Weight(pounds=1.0)"


def test_a_class_that_cannot_be_made_again_is_refused_before_anything_is_written() -> None:
    """A converter that does not take what it has made would be found out when it is too late."""

    @attrs.frozen
    class Meeting:
        at: datetime = attrs.field(converter=datetime.fromisoformat)

    codec = Codec([Meeting])
    with pytest.raises(UnsupportedTypeError, match="cannot be made again"):
        codec.encode(Meeting("2026-03-02"))  # type: ignore[arg-type]
    way = Schema(Meeting, dump=lambda meeting: meeting.at, load=lambda at: Meeting(at.isoformat()))
    codec = Codec([way])
    assert codec.decode(codec.encode(Meeting("2026-03-02"))) == Meeting("2026-03-02")  # type: ignore[arg-type]
