"""`Keeper`: renews the leases of the replays under way, and abandons those that take too long. Begins none."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from statemachine._buffer import ReplayBuffer
from statemachine._pool import Pool
from statemachine._run import ReplayResult, Run
from statemachine._settling import Settling

logger = logging.getLogger("holdover")

STOPPED = "the manager was stopped before the replay had ended"


class Keeper:
    """The replays of one manager that are under way.

    Parameters:
        buffer: the buffer.
        settling: what follows from a replay that is abandoned.
        max_replay_time: seconds of the buffer's clock after which one is; None for never.
        interval: real seconds between two looks at them.
    """

    def __init__(
        self, buffer: ReplayBuffer[Any], settling: Settling, max_replay_time: float | None, interval: float
    ) -> None:
        self._buffer, self._settling = buffer, settling
        self._max_replay_time, self._interval = max_replay_time, interval
        self._lock = Lock()
        self._runs: dict[Run[Any], Pool | None] = {}

    @contextmanager
    def keeping(self, run: Run[Any], pool: Pool | None) -> Iterator[None]:
        """Look after the run, which is done by a thread of `pool` (None: by somebody else's)."""
        with self._lock:
            self._runs[run] = pool
        try:
            yield
        finally:
            with self._lock:
                self._runs.pop(run, None)

    def has(self, user_id: str) -> bool:
        """Whether a replay of the user is under way, or what follows from it is being recorded."""
        with self._lock:
            return any(run.user_id == user_id for run in self._runs)

    def look(self, pool: Pool, *, others: bool = False) -> list[ReplayResult]:
        """Renew what needs it, abandon what takes too long; the results of that.

        Parameters:
            pool: whose replays to look at.
            others: whether also at those of threads that are in no pool.
        """
        try:
            now = self._buffer._now()
        except Exception:
            logger.exception("the clock failed; the next look at the replays is in %s s", self._interval)
            return []
        late = []
        for run, own in self._under_way(pool, None if others else pool):
            if self._max_replay_time is not None and now - run.begun_at >= self._max_replay_time:
                late.append((run, own))
            else:
                run.renew(now)  # before anything that may take long
        why = f"the replay took longer than {self._max_replay_time} s"
        return [result for run, own in late for result in self._abandon(run, own, why)]

    def drain(self, pool: Pool, end: Callable[[], float] = lambda: float("inf")) -> list[ReplayResult]:
        """Close the pool and wait for the replays under way; those that go on after the end are abandoned.

        Parameters:
            pool: whose replays.
            end: gives the time up to which to wait, by `time.monotonic`; as long as it takes if omitted.

        Returns:
            The results of those that were abandoned.
        """
        pool.close()
        abandoned: list[ReplayResult] = []
        while not pool.wait(max(0.0, min(self._interval, end() - time.monotonic()))):
            if time.monotonic() < end():
                abandoned += self.look(pool)
            else:
                for run, own in self._under_way(pool):
                    abandoned += self._abandon(run, own, STOPPED)
                pool.retire_all()
        pool.join()
        return abandoned

    def _under_way(self, *pools: Pool | None) -> list[tuple[Run[Any], Pool | None]]:
        with self._lock:
            return [(run, pool) for run, pool in self._runs.items() if pool in pools]

    def _abandon(self, run: Run[Any], pool: Pool | None, why: str) -> list[ReplayResult]:
        result = run.abandon(why)
        if result is None:
            return []
        if pool is not None:
            pool.retire(run.thread)
        result = self._settling.settle(result)
        with self._lock:
            self._runs.pop(run, None)
        return [result]
