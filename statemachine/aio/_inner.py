"""`InnerManager`: the `ReplayManager` inside an `AsyncReplayManager`. Adds only for whom its threads replay."""

from collections.abc import Callable, Iterable
from functools import partial
from threading import Thread
from typing import Any, TypeVar
from weakref import WeakSet

from statemachine._buffer import ReplayBuffer
from statemachine._manager import ReplayManager
from statemachine._pool import Pool
from statemachine._progress import Progress
from statemachine._run import ReplayResult
from statemachine._service import Service, one_pass
from statemachine.aio._functions import WAITER, Waiter
from statemachine.aio._home import Home

M = TypeVar("M")
T = TypeVar("T")


class InnerManager(ReplayManager[M]):
    """A `ReplayManager` that knows who waits for each replay, and begins none where nobody does any more.

    Parameters:
        home: the loop; when it is gone, nothing is begun either.
        buffer, options: as for `ReplayManager`.
    """

    def __init__(self, home: Home, buffer: ReplayBuffer[M], **options: Any) -> None:
        super().__init__(buffer, **options)
        self._home = home
        self.serving: WeakSet[Waiter] = WeakSet()

    def on_behalf_of(self, waiter: Waiter, function: Callable[..., T], *arguments: Any) -> T:
        """Call the function, which replays in this thread."""
        waiter.check()
        WAITER.set(waiter)
        return function(*arguments)

    def one_pass(self, waiter: Waiter, progress: Progress) -> list[ReplayResult]:
        """`replay_ready`."""
        due = partial(self._due_for, waiter)
        return one_pass(self._buffer, self._keeper, due, self._workers, self._poll_interval, progress)

    def join(self) -> None:
        """Wait until it has come to an end."""
        self._services.join()

    def runs_in(self, threads: Iterable[Thread]) -> bool:
        """Whether one of them is its own, which cannot wait for its end."""
        return any(service.runs_in(thread) for service in list(self._services._services) for thread in threads)

    def ask_to_stop(self, timeout: float | None = None) -> None:
        """Stop, without waiting for that."""
        for service in list(self._services._services):
            service.stop(timeout)

    def _service(self) -> Service:
        waiter = Waiter()
        self.serving.add(waiter)
        due = partial(self._due_for, waiter)
        return Service(self._buffer, self._keeper, due, self._workers, self._poll_interval)

    def _due_for(self, waiter: Waiter, user_id: str, pool: Pool) -> ReplayResult | None:
        if self._home.is_gone:
            self.stop()  # only asks, in a thread of its own
        if waiter.is_cancelled or self._home.is_gone:
            return None
        WAITER.set(waiter)
        return self._replay_due(user_id, pool)
