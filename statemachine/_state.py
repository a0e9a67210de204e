"""`BufferState` and `evolve`: what a user's events add up to. Pure and total: no clock, no I/O, no refusal."""

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from attrs import fields, frozen

from events import (
    AbortBegun,
    AbortFinished,
    BufferCleared,
    Event,
    LeaseRenewed,
    MeasurementAdded,
    MeasurementsEvicted,
    Offsets,
    Recorded,
    ReplayCompleted,
    ReplayParked,
    RetryScheduled,
    SnapshotBegun,
    SnapshotExpired,
    SnapshotFinalized,
)
from statemachine._declaration import BUFFER_LIFECYCLE, IN_PROGRESS

NO_OFFSETS = Offsets()


@frozen
class BufferState:
    """The state of one user's buffer at one offset: the fold of all events below it.

    Attributes:
        phase: the lifecycle's state: `idle`, `snapshotting`, `replaying`, `aborting` or `parked`.
        version: how many snapshots were ever begun; the fencing token of the one in progress.
        head: the offset the next event will get.
        committed: the first offset that no completed replay (or clear) has covered.
        frozen_offset: the offset of the `SnapshotBegun` of the snapshot in progress, or None.
        deadline: when the snapshot in progress expires, in seconds of the buffer's clock, or None.
        timestamp: what `begin_snapshot` was given, or None when idle.
        reason: why the snapshot is being aborted or the user is parked, or "".
        added: how many measurements were ever added.
        replayed: how many of them completed replays have covered.
        evicted: how many were evicted.
        cleared: how many were dropped by `clear_buffer`.
        offsets: those of the live measurements.
        arrived_at: when the oldest live measurement arrived, in seconds of the buffer's clock, or None. Evicting the
            oldest leaves it as it is, as long as others are live.
        pending_arrived_at: the same of the oldest pending one.
        attempts: how many snapshots were aborted or expired since the last completed replay, full clear or release.
        retry_at: the time in seconds before which the failed replay is not to be tried again, or None.
        carries: whether an abort has happened since the last completed replay or full clear, which raises the bound.

    Example:
        >>> state = evolve(BufferState(), MeasurementAdded(81.5))
        >>> state.phase, state.head, state.live
        ('idle', 1, 1)
    """

    phase: str = BUFFER_LIFECYCLE.initial
    version: int = 0
    head: int = 0
    committed: int = 0
    frozen_offset: int | None = None
    deadline: float | None = None
    timestamp: Any = None
    reason: str = ""
    added: int = 0
    replayed: int = 0
    evicted: int = 0
    cleared: int = 0
    offsets: Offsets = NO_OFFSETS
    carries: bool = False
    arrived_at: float | None = None
    pending_arrived_at: float | None = None
    attempts: int = 0
    retry_at: float | None = None

    @property
    def live(self) -> int:
        """How many measurements are live: frozen and pending ones included."""
        return self.offsets.count

    @property
    def frozen(self) -> int:
        """How many measurements are frozen; 0 when idle."""
        return 0 if self.frozen_offset is None else self.offsets.below(self.frozen_offset)

    @property
    def pending(self) -> int:
        """How many measurements arrived since the freeze point; 0 when idle."""
        return 0 if self.frozen_offset is None else self.live - self.frozen

    @property
    def frozen_offsets(self) -> Offsets:
        """The offsets of the frozen measurements."""
        return self.offsets.within(0, self.frozen_offset) if self.frozen_offset is not None else NO_OFFSETS

    @property
    def pending_offsets(self) -> Offsets:
        """The offsets of the pending measurements."""
        return self.offsets.within(self.frozen_offset, self.head) if self.frozen_offset is not None else NO_OFFSETS

    @property
    def oldest(self) -> int:
        """The offset of the oldest live measurement, or the head where none is."""
        return self.offsets[0] if self.offsets.count else self.head

    def is_overdue(self, now: float) -> bool:
        """Whether the snapshot in progress has reached its deadline at time `now` (seconds)."""
        return self.phase in IN_PROGRESS and self.deadline is not None and now >= self.deadline


class _Draft(BufferState):
    """A state that is being made, which can be written to until it is sealed: so it takes a third of the time."""

    __slots__ = ()
    __setattr__, __delattr__ = object.__setattr__, object.__delattr__


_values = attrgetter(*(attribute.name for attribute in fields(BufferState)))


def _draft(state: BufferState) -> Any:
    """A copy of the state, to be changed."""
    new: Any = object.__new__(_Draft)
    # fmt: off
    (
        new.phase, new.version, new.head, new.committed, new.frozen_offset, new.deadline, new.timestamp, new.reason,
        new.added, new.replayed, new.evicted, new.cleared, new.offsets, new.carries, new.arrived_at,
        new.pending_arrived_at, new.attempts, new.retry_at,
    ) = _values(state)
    # fmt: on
    return new


def _sealed(new: Any) -> BufferState:
    """The state that the draft has become."""
    new.__class__ = BufferState
    return new  # type: ignore[no-any-return]


def changed(state: BufferState, **changes: Any) -> BufferState:
    """The state with other values for the names given, as `attrs.evolve` makes it."""
    new = _draft(state)
    for name, value in changes.items():
        setattr(new, name, value)
    return _sealed(new)


def evolve(state: BufferState, event: Event) -> BufferState:
    """The state after `event`, which stands at offset `state.head`. An event that is not legal there changes nothing.

    The left fold of event sourcing, after Jérémie Chassaing's Decider.
    """
    here, new = state.head, _draft(state)
    new.head = here + 1
    if not BUFFER_LIFECYCLE.allows(state.phase, event):
        return _sealed(new)
    new.phase = BUFFER_LIFECYCLE.after(state.phase, event)
    match event:
        case SnapshotBegun(version=version, timestamp=timestamp, deadline=deadline):
            new.version, new.timestamp, new.deadline = version, timestamp, deadline
            new.frozen_offset, new.retry_at = here, None
        case SnapshotFinalized(deadline=deadline) | LeaseRenewed(deadline=deadline):
            new.deadline = deadline
        case ReplayCompleted():
            new.committed = here if state.frozen_offset is None else state.frozen_offset
            new.offsets, new.replayed = state.pending_offsets, state.replayed + state.frozen
            new.carries, new.attempts = False, 0
            _end(new, arrived_at=state.pending_arrived_at)
        case MeasurementAdded(arrived_at=arrived_at):
            return with_added(state, 1, arrived_at)
        case MeasurementsEvicted(start=start, stop=stop):
            new.offsets = state.offsets.without(start, stop)
            new.evicted = state.evicted + state.live - new.live
            _age(new)
        case AbortBegun() | SnapshotExpired():
            new.reason = event.reason if isinstance(event, AbortBegun) else "expired"
            new.deadline, new.attempts = None, state.attempts + 1
        case AbortFinished():
            new.carries = True
            _end(new, arrived_at=state.arrived_at if state.frozen else state.pending_arrived_at)
        case _:
            _evolve_idle(new, state, event)
    return _sealed(new)


def _evolve_idle(new: Any, state: BufferState, event: Event) -> None:
    """What happens between snapshots."""
    match event:
        case BufferCleared(through=through):
            new.offsets, new.committed = state.offsets.without(0, through), max(state.committed, through)
            new.cleared = state.cleared + state.live - new.live
            if not new.live:
                new.carries, new.attempts, new.retry_at, new.arrived_at = False, 0, None, None
        case RetryScheduled(retry_at=retry_at):
            new.retry_at = retry_at
        case ReplayParked(reason=reason):
            new.reason, new.retry_at = reason, None
        case _:  # ReplayReleased
            new.reason, new.attempts = "", 0


def _end(new: Any, arrived_at: float | None) -> None:
    """The snapshot in progress is over."""
    new.frozen_offset = new.deadline = new.timestamp = new.pending_arrived_at = None
    new.reason, new.arrived_at = "", arrived_at


def _age(new: Any) -> None:
    """What is empty is of no age."""
    if not new.live:
        new.arrived_at = None
    if not new.pending:
        new.pending_arrived_at = None


def with_added(state: BufferState, count: int, arrived_at: float | None = None) -> BufferState:
    """The state after `count` measurements were added in a row; the same as evolving each, in constant time.

    Parameters:
        state: the state before.
        count: how many.
        arrived_at: when the first of them arrived, where that was noted.
    """
    head = state.head + count
    offsets, added = state.offsets.extended(range(state.head, head)), state.added + count
    if arrived_at is None or not is_empty(state):
        return changed(state, head=head, added=added, offsets=offsets)
    if state.frozen_offset is None:
        return changed(state, head=head, added=added, offsets=offsets, arrived_at=arrived_at)
    return changed(state, head=head, added=added, offsets=offsets, pending_arrived_at=arrived_at)


def is_empty(state: BufferState) -> bool:
    """Whether a measurement that is added next would be the first: of all, or of the pending ones."""
    return not (state.live if state.frozen_offset is None else state.pending)


def fold(state: BufferState, controls: Iterable[Recorded], head: int) -> BufferState:
    """Fold the events from `state.head` to `head`, given those that are not measurements.

    What a measurement is does not matter to the state, and offsets are dense: whatever is not a control is an add.
    """
    for recorded in controls:
        if recorded.offset > state.head:
            state = with_added(state, recorded.offset - state.head)
        state = evolve(state, recorded.event)
    return with_added(state, head - state.head) if head > state.head else state
