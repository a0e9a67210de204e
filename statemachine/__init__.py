"""What the events mean: lifecycles, and the lossless replay buffer. See `ReplayBuffer` and `Lifecycle`."""

try:
    from events import _neighbours
except ImportError as error:  # another `events` stands in front of holdover's
    raise ImportError(
        "holdover cannot be imported: its import package `events` is hidden by another one. The usual culprit is the "
        "distribution Events (opensearch-py brings it). Remove it (pip uninstall Events) and reinstall holdover, or "
        f"keep the two in separate virtual environments. [{error}]"
    ) from error

_neighbours.refuse_neighbours()

from statemachine import due  # noqa: E402 - a stranger's modules must not be imported before they are refused
from statemachine._audit import Audit  # noqa: E402
from statemachine._backoff import Backoff  # noqa: E402
from statemachine._buffer import ReplayBuffer  # noqa: E402
from statemachine._config import BufferConfig  # noqa: E402
from statemachine._declaration import BUFFER_LIFECYCLE  # noqa: E402
from statemachine._errors import (  # noqa: E402
    BufferClosedError,
    BufferFullError,
    DeclarationError,
    EvictHookError,
    IllegalTriggerError,
    InvalidArgumentError,
    NoSnapshotError,
    PartlyAddedError,
    ReplayBufferError,
    RollbackError,
    SnapshotInProgressError,
    StaleSnapshotError,
    TruncatedHistoryError,
    UnknownUserError,
    UserParkedError,
)
from statemachine._manager import ReplayManager  # noqa: E402
from statemachine._metrics import Durations, Metrics  # noqa: E402
from statemachine._reaper import Reaper  # noqa: E402
from statemachine._run import ReplayResult  # noqa: E402
from statemachine._snapshot import FrozenSnapshot  # noqa: E402
from statemachine._state import BufferState, evolve  # noqa: E402
from statemachine.lifecycle import EVERY_STATE, SAME_STATE, Lifecycle, Transition  # noqa: E402

__all__ = [
    "BUFFER_LIFECYCLE",
    "EVERY_STATE",
    "SAME_STATE",
    "Audit",
    "Backoff",
    "BufferClosedError",
    "BufferConfig",
    "BufferFullError",
    "BufferState",
    "DeclarationError",
    "Durations",
    "EvictHookError",
    "FrozenSnapshot",
    "IllegalTriggerError",
    "InvalidArgumentError",
    "Lifecycle",
    "Metrics",
    "NoSnapshotError",
    "PartlyAddedError",
    "Reaper",
    "ReplayBuffer",
    "ReplayBufferError",
    "ReplayManager",
    "ReplayResult",
    "RollbackError",
    "SnapshotInProgressError",
    "StaleSnapshotError",
    "Transition",
    "TruncatedHistoryError",
    "UnknownUserError",
    "UserParkedError",
    "due",
    "evolve",
]
