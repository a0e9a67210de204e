"""What happened, and where it is kept: event types, the log protocol, and the logs. Knows nothing of `statemachine`."""

from events._neighbours import refuse_neighbours

refuse_neighbours()

from events._events import (  # noqa: E402 - a stranger's modules must not be imported before they are refused
    AbortBegun,
    AbortFinished,
    BufferCleared,
    Event,
    LeaseRenewed,
    MeasurementAdded,
    MeasurementsEvicted,
    Recorded,
    ReplayCompleted,
    ReplayParked,
    ReplayReleased,
    RetryScheduled,
    SnapshotBegun,
    SnapshotExpired,
    SnapshotFinalized,
)
from events._log import (  # noqa: E402
    Checkpoint,
    Clock,
    ConflictError,
    EventLog,
    Grant,
    LogError,
    Position,
    TruncatedError,
)
from events._memory import MemoryLog  # noqa: E402
from events._offsets import Offsets  # noqa: E402
from events._tail import Tail  # noqa: E402

__all__ = [
    "AbortBegun",
    "AbortFinished",
    "BufferCleared",
    "Checkpoint",
    "Clock",
    "ConflictError",
    "Event",
    "EventLog",
    "Grant",
    "LeaseRenewed",
    "LogError",
    "MeasurementAdded",
    "MeasurementsEvicted",
    "MemoryLog",
    "Offsets",
    "Position",
    "Recorded",
    "ReplayCompleted",
    "ReplayParked",
    "ReplayReleased",
    "RetryScheduled",
    "SnapshotBegun",
    "SnapshotExpired",
    "SnapshotFinalized",
    "Tail",
    "TruncatedError",
]
