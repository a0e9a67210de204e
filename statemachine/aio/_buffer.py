"""`AsyncReplayBuffer`: a `ReplayBuffer` for coroutines. Decides nothing: it only sees to threads and cancellation."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from events import Clock, EventLog
from statemachine._buffer import ReplayBuffer
from statemachine._config import BufferConfig
from statemachine._errors import InvalidArgumentError, described
from statemachine._rollbacks import AbortHook, EvictHook
from statemachine._snapshot import FrozenSnapshot
from statemachine.aio._asking import Asking
from statemachine.aio._home import Home
from statemachine.aio._snapshot import AsyncFrozenSnapshot

M = TypeVar("M")

CANCELLED = "cancelled"


class AsyncReplayBuffer(Asking[M]):
    """A `ReplayBuffer` for an application on an event loop: the same names, awaited, and safe to cancel.

    What may block is done in threads: a log in a file or database, and hooks. With a `MemoryLog` and no hooks nothing
    can, and the calls are made on the loop. What is awaited is the same in both cases.

    A call that is cancelled while its thread works is waited for, however often it is cancelled, and then what it began
    is undone. Errors, and what each call does, are those of `ReplayBuffer`'s methods.

    It stays on the loop on which it is first used; on another one it raises `LoopError`.

    Parameters:
        log: where the events are kept; a new `MemoryLog` if omitted.
        config: bounds and timeouts.
        clock: a plain function that gives the time in seconds.
        on_abort: as for `ReplayBuffer`; a coroutine function is run on the loop, any other in a thread.
        on_evict: likewise.
        take_over: as for `ReplayBuffer`, but the rollbacks run with the first `expire_overdue`, since they are awaited.

    Example:
        >>> async def main():
        ...     async with AsyncReplayBuffer() as buffer:
        ...         await buffer.add_measurement("ann", 81.5)
        ...         async with buffer.snapshot("ann") as frozen:
        ...             await buffer.add_measurement("ann", 81.7)  # arrives while the replay runs
        ...             window = await frozen.to_list()
        ...         return window, await buffer.measurements("ann")
        >>> asyncio.run(main())
        ([81.5], [81.7])
    """

    def __init__(
        self,
        log: EventLog[M] | None = None,
        config: BufferConfig = BufferConfig(),
        *,
        clock: Clock | None = None,
        on_abort: AbortHook | None = None,
        on_evict: EvictHook | None = None,
        take_over: bool = False,
    ) -> None:
        home = Home()
        on_abort, on_evict = home.bridged(on_abort), home.bridged(on_evict)
        super().__init__(ReplayBuffer(log, config, clock=clock, on_abort=on_abort, on_evict=on_evict), home)
        if take_over:
            self._buffer._take_over()

    @classmethod
    def wrapping(cls, buffer: ReplayBuffer[M]) -> "AsyncReplayBuffer[M]":
        """A buffer that threads use as well, for coroutines. Its hooks are plain functions, and run in threads.

        Parameters:
            buffer: the buffer; closing one closes both.

        Raises:
            InvalidArgumentError: it is no `ReplayBuffer`.

        Example:
            >>> shared = ReplayBuffer()
            >>> asyncio.run(AsyncReplayBuffer.wrapping(shared).add_measurement("ann", 81.5))
            0
            >>> shared.measurements("ann")
            [81.5]
        """
        if not isinstance(buffer, ReplayBuffer):
            raise InvalidArgumentError(f"buffer must be a ReplayBuffer, not {buffer!r}")
        made = cls.__new__(cls)
        Asking.__init__(made, buffer, Home())
        return made

    async def add_measurement(self, user_id: str, measurement: M) -> int:
        """Record a measurement; see `ReplayBuffer.add_measurement`.

        Cancelled, it may be recorded or not, but never in part; `size` tells.
        """
        if self._reach.is_inline(user_id):
            return self._buffer.add_measurement(user_id, measurement)
        return await self._reach.calls.run(self._buffer.add_measurement, user_id, measurement)

    async def add_measurements(self, user_id: str, measurements: Iterable[M]) -> range:
        """Record several measurements at once, all or none; see `ReplayBuffer.add_measurements`.

        The iterable is gone through on the loop. Cancelled, all may be recorded or none.

        Example:
            >>> asyncio.run(AsyncReplayBuffer().add_measurements("ann", [81.5, 81.7]))
            range(0, 2)
        """
        batch = tuple(measurements) if isinstance(measurements, Iterable) else measurements
        return await self._reach.call(user_id, self._buffer.add_measurements, user_id, batch)

    async def add_for_users(self, measurements: Mapping[str, Iterable[M]]) -> dict[str, range]:
        """Record measurements of many users; see `ReplayBuffer.add_for_users`.

        The iterables are gone through on the loop, the rest is done in a thread. Cancelled, each user's may be recorded
        or not.

        Example:
            >>> asyncio.run(AsyncReplayBuffer().add_for_users({"ann": [81.5, 81.7], "bob": [70.1]}))
            {'ann': range(0, 2), 'bob': range(0, 1)}
        """
        if isinstance(measurements, Mapping):
            measurements = {user_id: self._buffer._batch(user_id, each) for user_id, each in measurements.items()}
        return await self._reach.calls.run(self._buffer.add_for_users, measurements)

    async def begin_snapshot(self, user_id: str, timestamp: Any = None) -> int:
        """Freeze what is live now; see `ReplayBuffer.begin_snapshot`. Cancelled, it leaves no snapshot in progress."""
        begun: list[int] = []

        def begin() -> int:
            begun.append(self._buffer.begin_snapshot(user_id, timestamp))
            return begun[0]

        try:
            return await self._reach.call(user_id, begin)
        except asyncio.CancelledError:
            for version in begun:
                await self._give_up(user_id, CANCELLED, version)
            raise

    async def finalize_snapshot(self, user_id: str, version: int | None = None) -> AsyncFrozenSnapshot[M]:
        """Start the replay; see `ReplayBuffer.finalize_snapshot`. Cancelled, it aborts the snapshot.

        Example:
            >>> async def main():
            ...     buffer = AsyncReplayBuffer()
            ...     await buffer.add_measurement("ann", 81.5)
            ...     frozen = await buffer.finalize_snapshot("ann", await buffer.begin_snapshot("ann"))
            ...     await frozen.complete()
            ...     return frozen, frozen.settled
            >>> asyncio.run(main())
            (<AsyncFrozenSnapshot of user 'ann', version 1: 1 measurements in [0, 1)>, 'completed')
        """
        handed: list[FrozenSnapshot[M]] = []

        def finalize() -> FrozenSnapshot[M]:
            handed.append(self._buffer.finalize_snapshot(user_id, version))
            return handed[0]

        def abort() -> None:
            """Abort what was finalized, or what was to be; a replay that somebody else began is not ours to abort."""
            meant, phase = (handed[0].version if handed else version), self._buffer.state(user_id)
            if handed or (phase.phase == "snapshotting" and version in (None, phase.version)):
                self._buffer.abort_snapshot(user_id, CANCELLED, meant or phase.version)

        try:
            return AsyncFrozenSnapshot(await self._reach.call(user_id, finalize), self._reach)
        except asyncio.CancelledError:
            await self._reach.undo(user_id, abort)
            raise

    async def complete_replay(self, user_id: str, version: int | None = None, *, connection: Any = None) -> None:
        """Commit the replay; see `ReplayBuffer.complete_replay`.

        The `connection` is a `psycopg.AsyncConnection` of this loop, or one that threads may use (psycopg's, or
        `sqlite3.connect(..., check_same_thread=False)`).

        Cancelled, it is completed or not, and never in part. `state(user_id).replayed` tells; an abort is refused
        after a completion, so aborting is always safe.
        """
        complete = partial(self._buffer.complete_replay, connection=self._reach.connection(connection))
        await self._reach.call(user_id, complete, user_id, version)

    async def renew_lease(self, user_id: str, version: int | None = None) -> None:
        """Give the replay its full `replay_timeout` again; see `ReplayBuffer.renew_lease`."""
        await self._reach.call(user_id, self._buffer.renew_lease, user_id, version)

    async def abort_snapshot(self, user_id: str, reason: str = "", version: int | None = None) -> None:
        """Give the snapshot up; see `ReplayBuffer.abort_snapshot`. It is carried through also when cancelled.

        Example:
            >>> async def main():
            ...     buffer = AsyncReplayBuffer()
            ...     await buffer.add_measurement("ann", 81.5)
            ...     version = await buffer.begin_snapshot("ann")
            ...     await buffer.abort_snapshot("ann", "database is away", version)
            ...     return await buffer.measurements("ann")
            >>> asyncio.run(main())
            [81.5]
        """
        await self._reach.surely(user_id, self._buffer.abort_snapshot, user_id, reason, version)

    async def clear_buffer(self, user_id: str, through: int | None = None) -> None:
        """Drop what is live, or what of it is below `through`; see `ReplayBuffer.clear_buffer`."""
        await self._reach.call(user_id, self._buffer.clear_buffer, user_id, through)

    @asynccontextmanager
    async def snapshot(self, user_id: str, timestamp: Any = None) -> AsyncIterator[AsyncFrozenSnapshot[M]]:
        """Begin and finalize on entry; complete on a clean exit, abort on an error or a cancellation.

        Cancelled at any point (by a timeout or a task group, too), it leaves no snapshot in progress.

        Example:
            >>> async def main():
            ...     buffer = AsyncReplayBuffer()
            ...     await buffer.add_measurement("ann", 81.5)
            ...     try:
            ...         async with asyncio.timeout(0), buffer.snapshot("ann"):
            ...             await asyncio.sleep(60)
            ...     except TimeoutError:
            ...         return (await buffer.state("ann")).phase, await buffer.measurements("ann")
            >>> asyncio.run(main())
            ('idle', [81.5])
        """
        version = await self.begin_snapshot(user_id, timestamp)
        try:
            frozen = await self.finalize_snapshot(user_id, version)
            yield frozen
            if not frozen.settled and not frozen.is_handed_over:
                await frozen.complete()
        except BaseException as error:
            cancelled = isinstance(error, asyncio.CancelledError)
            await self._give_up(user_id, CANCELLED if cancelled else described(error), version)
            raise

    async def expire_overdue(self) -> list[str]:
        """The sweep; see `ReplayBuffer.expire_overdue`. Always in a thread: rollbacks may run in it."""
        return await self._reach.calls.run(self._buffer.expire_overdue)

    async def prune(self, before: float | datetime | None = None) -> int:
        """Drop history that nothing needs any more; see `ReplayBuffer.prune`. Always in a thread: it takes long.

        Example:
            >>> async def main():
            ...     async with AsyncReplayBuffer() as buffer:
            ...         await buffer.add_measurement("ann", 81.5)
            ...         return await buffer.prune()
            >>> asyncio.run(main())
            0
        """
        return await self._reach.calls.run(self._buffer.prune, before)

    async def close(self) -> None:
        """Close the log; see `ReplayBuffer.close`. The threads end when their work is done."""
        try:
            await self._reach.call(None, self._buffer.close)
        finally:
            self._reach.calls.close()

    async def __aenter__(self) -> "AsyncReplayBuffer[M]":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _give_up(self, user_id: str, reason: str, version: int) -> None:
        await self._reach.undo(user_id, self._buffer.abort_snapshot, user_id, reason, version)
