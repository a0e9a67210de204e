"""`Functions`: the application's functions as a `ReplayManager`'s threads call them. Must not know when they are."""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock, Thread
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from statemachine._buffer import ReplayBuffer
from statemachine._errors import InvalidArgumentError, StaleSnapshotError
from statemachine._run import ReplayResult
from statemachine._snapshot import FrozenSnapshot
from statemachine.aio._home import WAITING, CoroutineCancelledError, Errand
from statemachine.aio._reach import Reach
from statemachine.aio._snapshot import AsyncFrozenSnapshot

M = TypeVar("M")


class Waiter:
    """Who waits for replays: a task that replays one user or all who are due, or a manager that is started.

    Attributes:
        is_cancelled: whether nobody wants them any more.
    """

    def __init__(self) -> None:
        self.is_cancelled = False

    def check(self) -> None:
        """Raise CoroutineCancelledError where it is cancelled."""
        if self.is_cancelled:
            raise CoroutineCancelledError("who waited for the replay was cancelled")


NOBODY = Waiter()

WAITER: ContextVar[Waiter] = ContextVar("holdover_waiter", default=NOBODY)
"""For whom the running thread replays."""


class Functions(Generic[M]):
    """A manager's functions, which may be coroutine functions, and those of their coroutines that can be cancelled.

    Parameters:
        buffer: the buffer.
        reach: how it is called.
        replay, take_snapshot, on_result: as for `AsyncReplayManager`.
    """

    def __init__(
        self,
        buffer: ReplayBuffer[M],
        reach: Reach,
        replay: Callable[[Any], Any],
        take_snapshot: Callable[[str], Any] | None,
        on_result: Callable[[ReplayResult], object] | None,
    ) -> None:
        self._buffer, self._reach = buffer, reach
        self._replay, self._take_snapshot = replay, take_snapshot
        self._on_result = reach.home.bridged(on_result)
        self._is_coroutine = _is_coroutine_function(replay)
        self._lock = Lock()
        self._under_way: dict[Errand, tuple[Waiter, str, int]] = {}
        self._interrupted: WeakSet[Thread] = WeakSet()

    def replay(self, frozen: FrozenSnapshot[M]) -> Any:
        """Replay, on the loop or here; a replay whose waiter was cancelled meanwhile must not complete."""
        given = AsyncFrozenSnapshot(frozen, self._reach) if self._is_coroutine else frozen
        value = self._replay(given)  # a coroutine function only makes a coroutine here
        if inspect.isawaitable(value):
            errand = self._reach.home.errand(value)
            if not self._is_coroutine:
                errand.drop()
                raise InvalidArgumentError(
                    "replay gave a coroutine and is no coroutine function, so it got a FrozenSnapshot that blocks; "
                    "define it with `async def`",
                    user_id=frozen.user_id,
                )
            value = self._run(errand, frozen.user_id, frozen.version, "replaying")
        WAITER.get().check()
        return value

    def take_snapshot(self, user_id: str) -> Any:
        """Take the application's snapshot, on the loop or here."""
        assert self._take_snapshot is not None
        state = self._buffer._journal.decided(user_id)
        value = self._take_snapshot(user_id)
        if inspect.isawaitable(value):
            value = self._run(self._reach.home.errand(value), user_id, state.version if state else 0, "snapshotting")
        WAITER.get().check()
        return value

    def on_result(self, result: ReplayResult) -> None:
        """Cancel what an abandoned replay has on the loop, and tell the application."""
        if result.outcome == "abandoned":
            for errand in self._cancelled(lambda known: known[1:] == (result.user_id, result.version)):
                with self._lock:
                    self._interrupted.add(errand.thread)
        if self._on_result is not None:
            self._on_result(result)

    def cancel(self, waiter: Waiter) -> None:
        """Nobody waits for these replays any more: begin none, and cancel those under way, so that they abort."""
        waiter.is_cancelled = True
        self._cancelled(lambda known: known[0] is waiter)

    def join(self) -> None:
        """Wait until what was abandoned on the loop has come to an end, `restore` included."""
        with self._lock:
            threads = set(self._interrupted) - WAITING.get()
        for thread in threads:
            thread.join()

    def _run(self, errand: Errand, user_id: str, version: int, phase: str) -> Any:
        """Run it, unless the snapshot is over or nobody waits: who finds that out after this, finds the errand too."""
        with self._listed(errand, user_id, version):
            state = self._buffer._journal.decided(user_id)
            if state is None or (state.version, state.phase) != (version, phase):
                errand.drop()
                raise StaleSnapshotError(f"snapshot {version} was over before its coroutine had begun", user_id=user_id)
            if WAITER.get().is_cancelled:
                errand.drop()
                WAITER.get().check()
            return errand.run()

    @contextmanager
    def _listed(self, errand: Errand, user_id: str, version: int) -> Iterator[None]:
        with self._lock:
            self._under_way[errand] = WAITER.get(), user_id, version
        try:
            yield
        finally:
            with self._lock:
                del self._under_way[errand]

    def _cancelled(self, is_meant: Callable[[tuple[Waiter, str, int]], bool]) -> list[Errand]:
        with self._lock:
            meant = [errand for errand, known in self._under_way.items() if is_meant(known)]
        for errand in meant:
            errand.cancel()
        return meant


def _is_coroutine_function(function: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


Replay = Callable[[AsyncFrozenSnapshot[M]], Awaitable[Any]] | Callable[[FrozenSnapshot[M]], Any]
