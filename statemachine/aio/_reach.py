"""`Reach`: calls a buffer from a loop: here and now where that cannot block, else in a thread. Decides nothing else."""

import logging
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, TypeVar

from events import MemoryLog, OnLoop
from statemachine._buffer import ReplayBuffer
from statemachine._errors import ReplayBufferError
from statemachine.aio._calls import Calls
from statemachine.aio._home import Home

T = TypeVar("T")

logger = logging.getLogger("holdover")


class Reach:
    """The way from a loop to a buffer.

    A call cannot block where the log is in this process's memory and nothing of the application's runs in it: the
    buffer has no hooks, and the user no rollback that waits to be run. A subclass of `MemoryLog` may do anything.

    Parameters:
        buffer: the buffer.
        home: the loop.
    """

    def __init__(self, buffer: ReplayBuffer[Any], home: Home) -> None:
        self.home, self.calls = home, Calls(home)
        hooked = buffer._on_evict is not None or buffer._rollbacks._on_abort is not None
        self._in_memory = type(buffer._log) is MemoryLog and not hooked
        self._rollbacks = buffer._rollbacks._own

    def is_inline(self, user_id: str | None) -> bool:
        """Whether a call for the user (None: for no certain one) can be made here and now."""
        self.home.enter()
        if not self._in_memory:
            return False
        return not self._rollbacks or user_id not in {user for user, _version in list(self._rollbacks)}

    async def call(self, user_id: str | None, function: Callable[..., T], *arguments: Any) -> T:
        """Call the function; cancelled, it is called or not, and never left half done."""
        if self.is_inline(user_id):
            return function(*arguments)
        return await self.calls.run(function, *arguments)

    async def surely(self, user_id: str, function: Callable[..., T], *arguments: Any) -> T:
        """Call the function, whoever is cancelled."""
        if self.is_inline(user_id):
            return function(*arguments)
        return await self.calls.at_once(function, *arguments)

    def connection(self, connection: Any) -> Any:
        """The connection as threads can use it; one of asyncio's has its coroutines run on the loop."""
        if not iscoroutinefunction(getattr(connection, "execute", None)):
            return connection
        return OnLoop(connection, lambda awaitable: self.home.errand(awaitable).run())

    async def undo(self, user_id: str, function: Callable[..., object], *arguments: Any) -> None:
        """Clean up after an error or a cancellation, which matters more than what is raised here."""
        try:
            await self.surely(user_id, function, *arguments)
        except ReplayBufferError:  # it is over already, or its hook failed, which the sweep will try again
            pass
        except Exception:
            logger.exception("giving up a snapshot of user %r failed; it expires in time", user_id)
