"""`AsyncReplayManager`: a `ReplayManager` for coroutines. Has no rules of its own: the core's manager runs inside."""

import asyncio
import random
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from statemachine._backoff import Backoff
from statemachine._errors import InvalidArgumentError
from statemachine._progress import Progress
from statemachine._run import ReplayResult, Tracing, no_tracing
from statemachine.aio._buffer import AsyncReplayBuffer
from statemachine.aio._calls import finished, in_own_thread
from statemachine.aio._functions import Functions, Replay, Waiter
from statemachine.aio._home import WAITING
from statemachine.aio._inner import InnerManager

M = TypeVar("M")
T = TypeVar("T")


class AsyncReplayManager(Generic[M]):
    """A `ReplayManager` for an application on an event loop; retries, parking, leases and abandoning are its.

    Coroutine functions are run on the loop. Any other function is run in a thread, and does not hold the loop up.

    Whoever is cancelled while waiting for replays (in `replay_user`, `replay_ready`, `run`, `stop` or `async with`) has
    them cancelled: their coroutines get `CancelledError`, the snapshots are aborted, `restore` runs, and then the
    cancellation goes on. Nothing stays in progress. A plain function cannot be broken off; it is waited for, and its
    replay aborted. Such a replay counts as failed. A replay that is abandoned has its coroutine cancelled as well.

    Parameters:
        buffer: the buffer.
        replay: a coroutine function, called with the `AsyncFrozenSnapshot`; or a plain one, with the `FrozenSnapshot`.
        take_snapshot: as for `ReplayManager`, like all that follow; a coroutine function or a plain one.
        restore: likewise.
        on_replay_complete: likewise.
        on_result: likewise.
        workers: how many threads, and so how many replays at once in `replay_ready`, `start` and `run`.
        max_attempts: after how many failed attempts a user is parked; None for never.
        backoff: how long to wait after a failure.
        max_replay_time: seconds of the buffer's clock after which a replay is abandoned; None for never.
        poll_interval: seconds between two looks at who is due and who is overdue.
        tracing: what surrounds each replay, in its thread; a coroutine's context is copied from there.
        chance: a plain function that gives random numbers from 0 to 1, for the jitter.

    Raises:
        InvalidArgumentError: an argument has the wrong type or makes no sense.

    Example:
        >>> async def replay(frozen):
        ...     return max([weight async for weight in frozen])
        >>> async def main():
        ...     async with AsyncReplayBuffer() as buffer:
        ...         await buffer.add_measurements("ann", [81.5, 81.7])
        ...         result = await AsyncReplayManager(buffer, replay).replay_user("ann")
        ...         return result.outcome, result.value, await buffer.measurements("ann")
        >>> asyncio.run(main())
        ('completed', 81.7, [])
    """

    def __init__(
        self,
        buffer: AsyncReplayBuffer[M],
        replay: Replay[M],
        *,
        take_snapshot: Callable[[str], Any] | None = None,
        restore: Callable[[str, Any], object] | None = None,
        on_replay_complete: Callable[[ReplayResult], object] | None = None,
        on_result: Callable[[ReplayResult], object] | None = None,
        workers: int = 1,
        max_attempts: int | None = 5,
        backoff: Backoff = Backoff(),
        max_replay_time: float | None = None,
        poll_interval: float = 0.25,
        tracing: Tracing = no_tracing,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if not isinstance(buffer, AsyncReplayBuffer):
            raise InvalidArgumentError(
                f"buffer must be an AsyncReplayBuffer, not {buffer!r}; AsyncReplayBuffer.wrapping makes one of a "
                f"ReplayBuffer"
            )
        self._buffer, self._home = buffer, buffer._reach.home
        functions = Functions(buffer.wrapped, buffer._reach, replay, take_snapshot, on_result)
        self._functions = functions
        self._inner: InnerManager[M] = InnerManager(
            self._home,
            buffer.wrapped,
            replay=functions.replay if callable(replay) else replay,  # what is no function, the core refuses
            take_snapshot=functions.take_snapshot if callable(take_snapshot) else take_snapshot,
            restore=self._home.bridged(restore),
            on_replay_complete=self._home.bridged(on_replay_complete),
            on_result=functions.on_result if on_result is None or callable(on_result) else on_result,
            workers=workers,
            max_attempts=max_attempts,
            backoff=backoff,
            max_replay_time=max_replay_time,
            poll_interval=poll_interval,
            tracing=tracing,
            chance=chance,
        )

    async def replay_user(self, user_id: str, timestamp: Any = None) -> ReplayResult:
        """Replay one user's buffer now, whether it is due or not; see `ReplayManager.replay_user`.

        Cancelled, the replay is aborted, unless it was completed already.
        """
        waiter = Waiter()
        return await self._waiting(waiter, self._inner.replay_user, user_id, timestamp)

    async def replay_ready(self, progress: Progress = False) -> list[ReplayResult]:
        """One pass over all users who are due now; see `ReplayManager.replay_ready`.

        Cancelled, the replays under way are aborted, and no other begins.

        Parameters:
            progress: as for `ReplayManager.replay_ready`; a function is run in a thread, a coroutine function on the
                loop.

        Example:
            >>> from statemachine import BufferConfig, due
            >>> async def main():
            ...     buffer = AsyncReplayBuffer(config=BufferConfig(due=due.Count(2)))
            ...     await buffer.add_measurements("ann", [81.5, 81.7])
            ...     return [result.value for result in await AsyncReplayManager(buffer, replay=sum).replay_ready()]
            >>> asyncio.run(main())
            [163.2]
        """
        waiter = Waiter()
        return await self._waiting(waiter, self._inner.one_pass, waiter, self._home.bridged(progress))

    async def run(self) -> None:
        """Replay users as they become due, until `stop` is called elsewhere or this task is cancelled.

        `stop` lets the replays under way end; a cancellation aborts them. Neither leaves one in progress.
        """
        self.start()

        def cancel() -> None:
            self._cancel()
            self._inner.ask_to_stop()

        try:
            await finished(in_own_thread(self._inner.join), on_cancel=cancel)
        finally:
            await self.stop()

    def start(self) -> None:
        """Replay users as they become due, in threads of its own. Does nothing if it is started already.

        Stop it before the loop ends: without a loop, nothing can be replayed or restored.

        Example:
            >>> async def main():
            ...     async with AsyncReplayBuffer() as buffer:
            ...         manager = AsyncReplayManager(buffer, replay=sum)
            ...         manager.start()
            ...         started = manager.is_running
            ...         await manager.stop()
            ...         return started, manager.is_running
            >>> asyncio.run(main())
            (True, False)
        """
        self._home.enter()
        self._inner.start()

    async def stop(self, timeout: float | None = None) -> list[str]:
        """Begin no replay any more, and wait until those under way have ended; see `ReplayManager.stop`.

        Called by one of its own replays or hooks, it only asks for that and does not wait. Cancelled, it cancels the
        replays that it waits for.

        Parameters:
            timeout: seconds to wait; what has not ended then is abandoned. As long as it takes if omitted. An abandoned
                coroutine is cancelled, and waited for until it and `restore` have ended; a plain function is not.

        Returns:
            The users whose replay was abandoned.
        """
        self._home.enter()
        if self._inner.runs_in(WAITING.get()):
            self._inner.ask_to_stop(timeout)
            return []

        def stop() -> list[str]:
            abandoned = self._inner.stop(timeout)
            self._functions.join()
            return abandoned

        return await finished(in_own_thread(stop), on_cancel=self._cancel)

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not come to an end."""
        return self._inner.is_running

    async def release_user(self, user_id: str) -> None:
        """Let a parked user be replayed again; see `ReplayBuffer.release`."""
        await self._buffer.release(user_id)

    async def __aenter__(self) -> "AsyncReplayManager[M]":
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, asyncio.CancelledError):
            self._cancel()
        await self.stop()

    async def _waiting(self, waiter: Waiter, function: Callable[..., T], *arguments: Any) -> T:
        self._home.enter()
        work = in_own_thread(self._inner.on_behalf_of, waiter, function, *arguments)
        return await finished(work, on_cancel=lambda: self._functions.cancel(waiter))

    def _cancel(self) -> None:
        for waiter in list(self._inner.serving):
            self._functions.cancel(waiter)
