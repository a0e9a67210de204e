"""The buffer and the manager for applications on an event loop. Decides nothing: the core does, in threads."""

from statemachine.aio._buffer import AsyncReplayBuffer
from statemachine.aio._home import CoroutineCancelledError, LoopError
from statemachine.aio._manager import AsyncReplayManager
from statemachine.aio._snapshot import AsyncFrozenSnapshot

__all__ = [
    "AsyncFrozenSnapshot",
    "AsyncReplayBuffer",
    "AsyncReplayManager",
    "CoroutineCancelledError",
    "LoopError",
]
