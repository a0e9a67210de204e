"""What happened, and where it is kept: event types, the log protocol, and the logs. Knows nothing of `statemachine`."""

from events._neighbours import refuse_neighbours

refuse_neighbours()

from events._clocks import Clock  # noqa: E402 - a stranger's modules must not be imported before they are refused
from events._codec import Codec  # noqa: E402
from events._errors import (  # noqa: E402
    ConflictError,
    LogBusyError,
    LogClosedError,
    LogDamagedError,
    LogError,
    LogFullError,
    LogUnavailableError,
    OutcomeUnknownError,
    TruncatedError,
    UnknownTypeError,
    UnsupportedTypeError,
)
from events._events import (  # noqa: E402
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
    HORIZON,
    Checkpoint,
    EventLog,
    Grant,
    Position,
)
from events._memory import MemoryLog  # noqa: E402
from events._offsets import Offsets  # noqa: E402
from events._on_loop import OnLoop  # noqa: E402
from events._postgres import PostgresLog  # noqa: E402
from events._schema import Schema, Unregistered, UnregisteredEvent  # noqa: E402
from events._sqlite import Durability, SqliteLog  # noqa: E402
from events._tail import Tail  # noqa: E402

__all__ = [
    "HORIZON",
    "AbortBegun",
    "AbortFinished",
    "BufferCleared",
    "Checkpoint",
    "Clock",
    "Codec",
    "ConflictError",
    "Durability",
    "Event",
    "EventLog",
    "Grant",
    "LeaseRenewed",
    "LogBusyError",
    "LogClosedError",
    "LogDamagedError",
    "LogError",
    "LogFullError",
    "LogUnavailableError",
    "MeasurementAdded",
    "MeasurementsEvicted",
    "MemoryLog",
    "Offsets",
    "OnLoop",
    "OutcomeUnknownError",
    "Position",
    "PostgresLog",
    "Recorded",
    "ReplayCompleted",
    "ReplayParked",
    "ReplayReleased",
    "RetryScheduled",
    "Schema",
    "SnapshotBegun",
    "SnapshotExpired",
    "SnapshotFinalized",
    "SqliteLog",
    "Tail",
    "TruncatedError",
    "UnknownTypeError",
    "Unregistered",
    "UnregisteredEvent",
    "UnsupportedTypeError",
]
