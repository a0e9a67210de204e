"""`Service` and `one_pass`: the threads that sweep, keep, and feed a pool with who is due. Know no replay."""

import logging
import time
from collections.abc import Callable
from threading import Event, Lock, Thread, current_thread
from typing import Any

from events import HORIZON
from statemachine._buffer import ReplayBuffer
from statemachine._errors import BufferClosedError
from statemachine._keeper import Keeper
from statemachine._pool import Pool
from statemachine._progress import Progress, shown
from statemachine._run import ReplayResult

logger = logging.getLogger("holdover")

LEAST = 0.01
"""Seconds between two looks, at least, unless a worker or the log asks for one; each vain look doubles it."""

Replay = Callable[[str, Pool], ReplayResult | None]
"""Replays a due user in a thread of the pool given; None where there was nothing to do."""


class Service:
    """Replays whoever is due, from `start` until `stop`.

    Everybody who is due is queued, in the order of `ready`, and nobody a second time before all of those are through:
    one busy user does not starve the others. The sweep has a thread of its own, since rollbacks may take long, and
    leases must be renewed meanwhile.

    Parameters:
        buffer: the buffer.
        keeper: looks after the replays under way.
        replay: replays a due user.
        workers: how many threads replay.
        interval: real seconds between two looks at who is due.

    Attributes:
        is_stopping: whether it has been asked to end.
        abandoned: once it has ended, the users whose replay it did not wait for.
    """

    def __init__(
        self,
        buffer: ReplayBuffer[Any],
        keeper: Keeper,
        replay: Replay,
        workers: int,
        interval: float,
    ) -> None:
        self._buffer, self._keeper, self._replay, self._interval = buffer, keeper, replay, interval
        self._wake, self._asked_to_end, self._end = Event(), Event(), float("inf")
        self._looks_on, self._least = False, LEAST  # whether there may be more than were claimed
        self.abandoned: list[str] = []
        self._pool = Pool(self._work, workers, self._freed)
        self._sweeper = Thread(target=self._sweep, name="holdover-sweeper", daemon=True)
        self._thread = Thread(target=self._serve, name="holdover-manager", daemon=True)

    @property
    def is_stopping(self) -> bool:
        return self._asked_to_end.is_set()

    @property
    def is_alive(self) -> bool:
        """Whether it has been started and has not come to an end."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start its threads; where the system has no more, leave none behind."""
        try:
            self._sweeper.start()
            self._thread.start()
        except BaseException:
            self.stop(None)
            raise

    def stop(self, timeout: float | None) -> None:
        """Ask it to drain and to end, within so many seconds or as long as it takes; the shortest one asked counts."""
        if timeout is not None:
            self._end = min(self._end, time.monotonic() + timeout)
        self._pool.close()
        self._asked_to_end.set()
        self._wake.set()

    def join(self) -> None:
        """Wait until it has come to an end."""
        self._thread.join()

    def runs_in(self, thread: Thread) -> bool:
        """Whether it is one of its threads, which cannot wait for its end."""
        return thread in (self._thread, self._sweeper) or self._pool.has(thread)

    def _work(self, user_id: str) -> bool:
        """Whether to look for the next as soon as this thread is free."""
        return self._replay(user_id, self._pool) is not None or self._looks_on

    def _freed(self) -> None:
        """A replay has ended, so look at once for the next; where nothing could be done, only after the interval."""
        if not self._pool.queued:
            self._wake.set()

    def _serve(self) -> None:
        with self._buffer._log.waking(self._wake.set):
            try:
                while not self.is_stopping:
                    pause = self._interval
                    try:
                        pause = self._look()
                    except BufferClosedError:
                        return
                    except BaseException:  # a hook may raise anything, and this thread is not the one to end
                        logger.exception("looking for due users failed; the next look is in %s s", self._interval)
                    self._wake.wait(pause)
                    self._wake.clear()
            finally:
                self._asked_to_end.set()
                self.abandoned = [result.user_id for result in self._keeper.drain(self._pool, lambda: self._end)]
                self._sweeper.join(None if self._end == float("inf") else max(0.0, self._end - time.monotonic()))

    def _look(self) -> float:
        """Feed the pool; in how many seconds to look again."""
        self._keeper.look(self._pool, others=True)
        idle, most = self._pool.idle, min(self._interval, HORIZON / 2)
        if self._pool.queued or not idle:
            return most  # whoever is free says so
        claimed = self._buffer._claimed(idle)
        self._looks_on = self._buffer._log.notes_claims and len(claimed) == idle
        self._pool.put(claimed)
        if self._looks_on:
            return most
        pause = self._buffer._next_due_in()
        self._least = LEAST if claimed or pause > 0 else min(most, 2 * self._least)  # somebody holds who is due
        return min(most, max(self._least, pause))

    def _sweep(self) -> None:
        while not self.is_stopping:
            try:
                sweep(self._buffer)
            except BufferClosedError:
                return
            except BaseException:  # as above
                logger.exception("the sweep failed; the next one follows in %s s", self._interval)
            self._asked_to_end.wait(self._interval)


class Services:
    """The service of a manager that is started, and those before it that still drain.

    Parameters:
        make: makes a service.
    """

    def __init__(self, make: Callable[[], Service]) -> None:
        self._make = make
        self._lock = Lock()
        self._services: list[Service] = []

    @property
    def are_running(self) -> bool:
        """Whether one has not come to an end."""
        return any(service.is_alive for service in self._services)

    def start(self) -> None:
        """Start one, unless one is started and was not asked to end."""
        with self._lock:
            self._services = [service for service in self._services if service.is_alive]
            if all(service.is_stopping for service in self._services):
                service = self._make()
                service.start()
                self._services.append(service)

    def join(self) -> None:
        """Wait until all have come to an end."""
        for service in list(self._services):
            service.join()

    def stop(self, timeout: float | None) -> list[str]:
        """Stop them, and wait for that unless this is one of their threads; the users whose replay was abandoned."""
        with self._lock:
            services = list(self._services)
        for service in services:
            service.stop(timeout)
        if any(service.runs_in(current_thread()) for service in services):
            return []
        for service in services:
            service.join()
        with self._lock:
            self._services = [service for service in self._services if service not in services]
        return [user_id for service in services for user_id in service.abandoned]


def one_pass(
    buffer: ReplayBuffer[Any], keeper: Keeper, replay: Replay, workers: int, interval: float, progress: Progress
) -> list[ReplayResult]:
    """Replay everybody who is due now; see `ReplayManager.replay_ready`. The other parameters are `Service`'s."""
    sweep(buffer)
    due = list(buffer.ready())
    results: list[ReplayResult] = []
    with shown(progress, len(due)) as advance:

        def work(user_id: str) -> None:
            try:
                result = replay(user_id, pool)
                results.extend([result] if result else [])
            finally:
                advance(user_id)

        def told(abandoned: list[ReplayResult]) -> None:
            results.extend(abandoned)
            for result in abandoned:
                advance(result.user_id)

        pool = Pool(work, min(workers, len(due)))
        pool.put(due)
        try:
            while not pool.wait(interval):
                told(keeper.look(pool))
        finally:
            told(keeper.drain(pool))
    return results


def sweep(buffer: ReplayBuffer[Any]) -> None:
    """Expire what is overdue, so that it can be due; a hook that fails is logged and tried again by the next sweep."""
    try:
        buffer.expire_overdue()
    except BufferClosedError:
        raise
    except Exception:
        logger.exception("the sweep failed; the next one follows")
