"""The values that logs and their callers exchange are immutable, and equal when they say the same."""

from collections.abc import Callable

import pytest
from attrs import asdict, frozen
from attrs.exceptions import FrozenInstanceError

import events
from events import (
    AbortBegun,
    AbortFinished,
    BufferCleared,
    Checkpoint,
    ConflictError,
    Event,
    Grant,
    LeaseRenewed,
    LogError,
    MeasurementAdded,
    MeasurementsEvicted,
    Offsets,
    Position,
    Recorded,
    ReplayCompleted,
    ReplayParked,
    ReplayReleased,
    RetryScheduled,
    SnapshotBegun,
    SnapshotExpired,
    SnapshotFinalized,
    TruncatedError,
    UnregisteredEvent,
)

EVENTS: dict[type[Event], Callable[[], Event]] = {
    AbortBegun: lambda: AbortBegun(1, "why"),
    AbortFinished: lambda: AbortFinished(1),
    BufferCleared: lambda: BufferCleared(5),
    LeaseRenewed: lambda: LeaseRenewed(1, 300.0),
    MeasurementAdded: lambda: MeasurementAdded(81.5),
    MeasurementsEvicted: lambda: MeasurementsEvicted(3, 5),
    ReplayCompleted: lambda: ReplayCompleted(1),
    ReplayParked: lambda: ReplayParked(1, "why"),
    ReplayReleased: lambda: ReplayReleased(1),
    RetryScheduled: lambda: RetryScheduled(1, 60.0),
    SnapshotBegun: lambda: SnapshotBegun(1, None, 30.0),
    SnapshotExpired: lambda: SnapshotExpired(1),
    SnapshotFinalized: lambda: SnapshotFinalized(1, 300.0),
}
OTHERS: list[Callable[[], object]] = [
    lambda: Recorded(0, MeasurementAdded(81.5)),
    lambda: Position(0, 2, 1),
    lambda: Checkpoint(3, "state"),
]


def test_every_event_class_is_looked_at_here() -> None:
    """A new one must be added to this file."""
    public = {value for value in vars(events).values() if isinstance(value, type) and issubclass(value, Event)}
    assert public - {Event, UnregisteredEvent} == set(EVENTS)
    assert set(Event.__subclasses__()) >= set(EVENTS)


@pytest.mark.parametrize("make", [*EVENTS.values(), *OTHERS])
def test_values_are_frozen_equal_and_hashable(make: Callable[[], object]) -> None:
    """What happened cannot be changed; who says the same is the same."""
    value = make()
    assert value == make()
    assert hash(value) == hash(make())
    assert value != "another"
    for name in type(value).__match_args__:  # type: ignore[attr-defined]
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, None)
    with pytest.raises(AttributeError):
        value.unheard_of = 1  # type: ignore[attr-defined]
    assert value == make()


def test_events_of_different_classes_differ() -> None:
    """Also where they have the same fields with the same values."""
    made = [make() for make in EVENTS.values()]
    assert len(set(made)) == len(made)
    assert ReplayCompleted(1) != ReplayCompleted(2)


def test_an_event_of_ones_own_is_an_event() -> None:
    """A lifecycle that holdover has never heard of can record what happens in it."""

    @frozen
    class DoorOpened(Event):
        by: str

    assert DoorOpened("ann") == DoorOpened("ann")
    assert asdict(DoorOpened("ann")) == {"by": "ann"}
    assert isinstance(DoorOpened("ann"), Event)


def test_a_grant_allows_nothing_unless_told() -> None:
    """No room, no end, no victims; and it is as frozen as the rest."""
    grant = Grant()
    assert (grant.room, grant.until, list(grant.victims)) == (0, None, [])
    assert grant == Grant(0, None, Offsets())
    with pytest.raises(FrozenInstanceError):
        grant.room = 1  # type: ignore[misc]


def test_a_conflict_says_what_was_expected_and_what_to_do() -> None:
    """Stream, both heads, and the next step."""
    error = ConflictError("ann", 3, 5)
    assert isinstance(error, LogError)
    assert str(error) == "stream 'ann': expected head 3, found 5; read again and decide again"
    assert (error.stream, error.expected, error.actual) == ("ann", 3, 5)


def test_a_truncated_read_says_what_is_kept() -> None:
    """Stream, the offset asked for, and the first there is."""
    error = TruncatedError("ann", 3, 5)
    assert isinstance(error, LogError)
    assert str(error) == "stream 'ann': offset 3 was truncated; the first one kept is 5"
    assert (error.stream, error.offset, error.start) == ("ann", 3, 5)
