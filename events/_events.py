"""What can happen in a stream, as frozen values in the past tense; knows not where that is kept or what it means."""

from typing import Any, Generic, TypeVar

from attrs import frozen

M = TypeVar("M")
"""The type of a measurement. Any object will do; holdover never looks inside."""


@frozen
class Event:
    """Something that happened. Subclass it (as a frozen attrs class) to record events of a lifecycle of your own.

    Example:
        >>> @frozen
        ... class DoorOpened(Event):
        ...     by: str
        >>> DoorOpened("ann")
        DoorOpened(by='ann')
    """


@frozen
class MeasurementAdded(Event, Generic[M]):
    """A measurement arrived. The only event a log may record by itself, within its `Grant`.

    `arrived_at` (seconds, the buffer's clock) is told of the first in an empty buffer and of the first that is pending.
    """

    measurement: M
    arrived_at: float | None = None


@frozen
class MeasurementsEvicted(Event):
    """Every live measurement at an offset in `[start, stop)` was dropped to keep the buffer within its bound."""

    start: int
    stop: int


@frozen
class SnapshotBegun(Event):
    """The freeze point. `version` fences the snapshot; `deadline` (seconds, the buffer's clock) is when it expires."""

    version: int
    timestamp: Any
    deadline: float


@frozen
class SnapshotFinalized(Event):
    """The frozen measurements were handed out and their replay began; it holds a lease until `deadline`."""

    version: int
    deadline: float


@frozen
class LeaseRenewed(Event):
    """The replay asked for more time and has it, until `deadline`."""

    version: int
    deadline: float


@frozen
class ReplayCompleted(Event):
    """The replay is done: the committed offset moves to the frozen offset."""

    version: int


@frozen
class AbortBegun(Event):
    """The snapshot was given up. Its measurements are live again; the application's rollback may run."""

    version: int
    reason: str


@frozen
class SnapshotExpired(Event):
    """The snapshot was overdue and given up, as with `AbortBegun`."""

    version: int


@frozen
class AbortFinished(Event):
    """The application's rollback is done (or there was none)."""

    version: int


@frozen
class BufferCleared(Event):
    """Everything live below offset `through` was dropped by request."""

    through: int


@frozen
class RetryScheduled(Event):
    """A replay failed and is not to be tried again before `retry_at` (seconds, the buffer's clock)."""

    version: int
    retry_at: float


@frozen
class ReplayParked(Event):
    """Replays failed too often: none begins until the user is released."""

    version: int
    reason: str


@frozen
class ReplayReleased(Event):
    """A parked user may be replayed again, and its failures count from none."""

    version: int


@frozen
class Recorded:
    """An event and its offset: the position in its stream that it got when it was appended.

    Example:
        >>> Recorded(0, MeasurementAdded(81.5))
        Recorded(offset=0, event=MeasurementAdded(measurement=81.5, arrived_at=None))
    """

    offset: int
    event: Event
