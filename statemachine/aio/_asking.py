"""`Asking`: what coroutines can ask a buffer, and who is due. Decides nothing: the wrapped buffer answers."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

from events import Recorded
from statemachine._audit import Audit
from statemachine._buffer import ReplayBuffer
from statemachine._config import BufferConfig
from statemachine._metrics import Metrics
from statemachine._state import BufferState
from statemachine.aio._chunks import Chunks
from statemachine.aio._home import Home
from statemachine.aio._reach import Reach

M = TypeVar("M")


class Asking(Generic[M]):
    """The questions of an `AsyncReplayBuffer`.

    Parameters:
        buffer: the buffer that answers.
        home: the loop it is asked on.
    """

    def __init__(self, buffer: ReplayBuffer[M], home: Home) -> None:
        self._buffer, self._reach = buffer, Reach(buffer, home)

    @property
    def wrapped(self) -> ReplayBuffer[M]:
        """The buffer itself, for threads (such as a `Reaper`'s) to use."""
        return self._buffer

    @property
    def config(self) -> BufferConfig:
        """The bounds and timeouts."""
        return self._buffer.config

    @property
    def abort_errors(self) -> dict[str, Exception]:
        """For each user that stays in `aborting` because the rollback failed: what it raised last."""
        return self._buffer.abort_errors

    async def measurements(self, user_id: str) -> list[M]:
        """The live measurements; see `ReplayBuffer.measurements`."""
        return await self._reach.call(user_id, self._buffer.measurements, user_id)

    async def pending(self, user_id: str) -> list[M]:
        """The measurements since the freeze point; see `ReplayBuffer.pending`."""
        return await self._reach.call(user_id, self._buffer.pending, user_id)

    async def state(self, user_id: str) -> BufferState:
        """The user's state now; see `ReplayBuffer.state`."""
        return await self._reach.call(user_id, self._buffer.state, user_id)

    async def size(self, user_id: str) -> int:
        """How many measurements are live; see `ReplayBuffer.size`."""
        return await self._reach.call(user_id, self._buffer.size, user_id)

    async def state_at(self, user_id: str, offset: int) -> BufferState:
        """The user's state after the events below `offset`; see `ReplayBuffer.state_at`."""
        return await self._reach.call(user_id, self._buffer.state_at, user_id, offset)

    async def parked(self) -> list[str]:
        """The parked users; see `ReplayBuffer.parked`."""
        return await self._reach.call(None, self._buffer.parked)

    async def audit(self, user_id: str) -> Audit:
        """Check that every measurement is accounted for; see `ReplayBuffer.audit`. Always in a thread: it takes long.

        Example:
            >>> import asyncio
            >>> from statemachine.aio import AsyncReplayBuffer
            >>> async def main():
            ...     async with AsyncReplayBuffer() as buffer:
            ...         await buffer.add_measurement("ann", 81.5)
            ...         print(await buffer.audit("ann"))
            >>> asyncio.run(main())
            added 1 = replayed 0 + live 1 + evicted 0 + cleared 0, lost 0
        """
        return await self._reach.calls.run(self._buffer.audit, user_id)

    async def metrics(self) -> Metrics:
        """The buffer's figures now; see `ReplayBuffer.metrics`. Always in a thread: it looks at every user."""
        return await self._reach.calls.run(self._buffer.metrics)

    def users(self) -> AsyncIterator[str]:
        """The users that ever had a measurement; see `ReplayBuffer.users`.

        Example:
            >>> import asyncio
            >>> from statemachine.aio import AsyncReplayBuffer
            >>> async def main():
            ...     buffer = AsyncReplayBuffer()
            ...     await buffer.add_measurement("ann", 81.5)
            ...     return [user_id async for user_id in buffer.users()]
            >>> asyncio.run(main())
            ['ann']
        """
        return Chunks(self._call, self._buffer.users)

    def events(self, user_id: str, start: int = 0, stop: int | None = None) -> AsyncIterator[Recorded]:
        """The user's history; see `ReplayBuffer.events`. It is asked for, and refused, at the first step.

        Example:
            >>> import asyncio
            >>> from statemachine.aio import AsyncReplayBuffer
            >>> async def main():
            ...     buffer = AsyncReplayBuffer(clock=lambda: 7.0)
            ...     await buffer.add_measurement("ann", 81.5)
            ...     return [recorded async for recorded in buffer.events("ann")]
            >>> asyncio.run(main())
            [Recorded(offset=0, event=MeasurementAdded(measurement=81.5, arrived_at=7.0))]
        """
        return Chunks(lambda fetch: self._reach.call(user_id, fetch), lambda: self._buffer.events(user_id, start, stop))

    def ready(self) -> AsyncIterator[str]:
        """The users who are due for a replay, the longest due first; see `ReplayBuffer.ready`.

        Example:
            >>> import asyncio
            >>> from statemachine import BufferConfig, due
            >>> from statemachine.aio import AsyncReplayBuffer
            >>> async def main():
            ...     buffer = AsyncReplayBuffer(config=BufferConfig(due=due.Count(2)))
            ...     await buffer.add_measurements("bob", [70.1, 70.3])
            ...     return [user_id async for user_id in buffer.ready()]
            >>> asyncio.run(main())
            ['bob']
        """
        return Chunks(self._call, self._buffer.ready)

    async def schedule_retry(self, user_id: str, retry_at: float, version: int | None = None) -> None:
        """After a failed replay: not again before `retry_at`; see `ReplayBuffer.schedule_retry`."""
        await self._reach.call(user_id, self._buffer.schedule_retry, user_id, retry_at, version)

    async def park(self, user_id: str, reason: str = "") -> None:
        """Begin no replay of the user until `release`; see `ReplayBuffer.park`.

        Example:
            >>> import asyncio
            >>> from statemachine.aio import AsyncReplayBuffer
            >>> async def main():
            ...     buffer = AsyncReplayBuffer()
            ...     await buffer.add_measurement("ann", 81.5)
            ...     await buffer.park("ann", "her scale is broken")
            ...     parked = await buffer.parked()
            ...     await buffer.release("ann")
            ...     return parked, await buffer.parked()
            >>> asyncio.run(main())
            (['ann'], [])
        """
        await self._reach.call(user_id, self._buffer.park, user_id, reason)

    async def release(self, user_id: str) -> None:
        """Let a parked user be replayed again; see `ReplayBuffer.release`."""
        await self._reach.call(user_id, self._buffer.release, user_id)

    async def _call(self, function: Callable[[], Any]) -> Any:
        return await self._reach.call(None, function)
