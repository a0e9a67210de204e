"""`AsyncFrozenSnapshot`: a `FrozenSnapshot` for coroutines. Decides nothing: it asks the one it is made of."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Generic, TypeVar

from statemachine._snapshot import FrozenSnapshot
from statemachine.aio._chunks import Chunks
from statemachine.aio._reach import Reach

M = TypeVar("M")


class AsyncFrozenSnapshot(Generic[M]):
    """The measurements that a snapshot froze, in offset order; see `FrozenSnapshot`.

    It has a length and is iterated over with `async for`, which takes them from the log a chunk at a time.

    Parameters:
        frozen: the snapshot of the buffer that is wrapped.
        reach: how its buffer is called.

    Example:
        >>> import asyncio
        >>> from statemachine.aio import AsyncReplayBuffer
        >>> async def main():
        ...     buffer = AsyncReplayBuffer()
        ...     await buffer.add_measurements("ann", [81.5, 81.7, 140.0])
        ...     async with buffer.snapshot("ann") as frozen:
        ...         return len(frozen), [weight async for weight in frozen if weight < 100]
        >>> asyncio.run(main())
        (3, [81.5, 81.7])
    """

    def __init__(self, frozen: FrozenSnapshot[M], reach: Reach) -> None:
        self.wrapped, self._reach = frozen, reach

    def __repr__(self) -> str:
        return repr(self.wrapped).replace("<", "<Async", 1)

    def __len__(self) -> int:
        return len(self.wrapped)

    def __aiter__(self) -> AsyncIterator[M]:
        return Chunks(self._call, lambda: iter(self.wrapped))

    @property
    def user_id(self) -> str:
        """Whose they are."""
        return self.wrapped.user_id

    @property
    def version(self) -> int:
        """The snapshot's version."""
        return self.wrapped.version

    @property
    def start(self) -> int:
        """The committed offset when they were frozen."""
        return self.wrapped.start

    @property
    def stop(self) -> int:
        """The frozen offset."""
        return self.wrapped.stop

    @property
    def timestamp(self) -> Any:
        """What `begin_snapshot` was given, or the clock's time then."""
        return self.wrapped.timestamp

    @property
    def settled(self) -> str:
        """`"completed"` or `"aborted"` once `complete` or `abort` has succeeded (also if cancelled), else `""`."""
        return self.wrapped.settled

    async def to_list(self) -> list[M]:
        """All of them in a list.

        Raises:
            StaleSnapshotError: the replay is over and the log has dropped them.

        Example:
            >>> import asyncio
            >>> from statemachine.aio import AsyncReplayBuffer
            >>> async def main():
            ...     buffer = AsyncReplayBuffer()
            ...     await buffer.add_measurements("ann", [81.5, 81.7])
            ...     async with buffer.snapshot("ann") as frozen:
            ...         return await frozen.to_list()
            >>> asyncio.run(main())
            [81.5, 81.7]
        """
        measurements: list[M] = await self._call(list, self.wrapped)
        return measurements

    async def by_timestamp(self, key: Callable[[Any], Any]) -> list[M]:
        """The measurements by their own time; those of equal time stay in the order in which they arrived.

        Parameters:
            key: a plain function that gives a measurement's time; called in a thread where reading takes one.

        Example:
            >>> import asyncio
            >>> from statemachine.aio import AsyncReplayBuffer
            >>> async def main():
            ...     buffer = AsyncReplayBuffer()
            ...     await buffer.add_measurements("ann", [("10:05", 81.7), ("10:00", 81.5)])
            ...     async with buffer.snapshot("ann") as frozen:
            ...         return await frozen.by_timestamp(lambda measurement: measurement[0])
            >>> asyncio.run(main())
            [('10:00', 81.5), ('10:05', 81.7)]
        """
        measurements: list[M] = await self._call(self.wrapped.by_timestamp, key)
        return measurements

    @property
    def is_handed_over(self) -> bool:
        """Whether a `complete` has made it a part of a transaction, so that it completes if that commits."""
        return self.wrapped.is_handed_over

    async def complete(self, *, connection: Any = None) -> None:
        """Commit these measurements; see `AsyncReplayBuffer.complete_replay`."""
        await self._call(partial(self.wrapped.complete, connection=self._reach.connection(connection)))

    async def abort(self, reason: str = "") -> None:
        """Give the snapshot up; see `AsyncReplayBuffer.abort_snapshot`."""
        await self._reach.surely(self.user_id, self.wrapped.abort, reason)

    async def renew(self) -> None:
        """Extend the replay's lease; see `AsyncReplayBuffer.renew_lease`."""
        await self._call(self.wrapped.renew)

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self._reach.call(self.user_id, function, *arguments)
