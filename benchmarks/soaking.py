"""One case of the soak, in a process of its own: measurements at a steady pace while long replays run. Draws no table.

Nothing of what it notes may look like growth of the buffer, so all of that is allocated before, and written to once.
"""

import os
import resource
import sys
from array import array
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from itertools import count, islice
from pathlib import Path
from threading import Barrier, Event, Lock
from time import perf_counter, sleep
from typing import Any

from benchmarks.soak_case import FAILS, PERIODS, RATE, TICK, Case, Outcome
from events import EventLog, MemoryLog, SqliteLog
from statemachine import Backoff, BufferConfig, FrozenSnapshot, ReplayBuffer, ReplayManager, ReplayResult, due

PATIENCE = 60.0
"""Seconds after which a worker that does not come to its first replay is taken for lost."""


def soaked(case: Case) -> Outcome:
    """Do it all, here and now."""
    log: EventLog[Any] = SqliteLog(case.path) if case.path else MemoryLog()
    with closing(log):
        return Soak(case, log).run()


class FailedAsToldError(Exception):
    """A replay fails as it was told to."""


class OverError(Exception):
    """A replay is under way when the time is over."""


class Soak:
    """A buffer that is filled at a steady pace, and a manager that replays it; each measurement is a serial number.

    Parameters:
        case: what to do.
        log: where.
    """

    def __init__(self, case: Case, log: EventLog[Any]) -> None:
        self._case, self._users = case, [f"user-{number}" for number in range(case.users)]
        config = BufferConfig(max_measurements=10**9, due=due.Count(case.due))
        self._buffer: ReplayBuffer[int] = ReplayBuffer(log, config)
        self._serials, self._seen = count(), bytearray(bytes(case.total))
        self._taken, self._slow = array("d", bytes(8 * case.adds)), array("d", bytes(8 * PERIODS))
        self._memory = array("q", bytes(8 * PERIODS))
        self._attempts, self._over, self._turn = count(1), Event(), Lock()
        self._results: Counter[str] = Counter()
        self._warming: Barrier | None = Barrier(case.workers)

    def run(self) -> Outcome:
        """Add at a steady pace while replays run, and account for every measurement."""
        case = self._case
        manager = ReplayManager(
            self._buffer,
            self._replay,
            on_result=self._note,
            workers=case.workers,
            max_attempts=None,
            backoff=Backoff(first=case.replay / 20, longest=case.replay / 5),
        )
        with manager:
            self._warm_up()
            before = self._buffer.metrics().completed
            began = perf_counter()
            adds, late = self._add_all(began)
            rate = adds / (perf_counter() - began)
            self._over.set()
        ordered = sorted(self._taken[:adds])
        return Outcome(
            rate,
            (ordered[adds // 2], ordered[adds * 99 // 100], ordered[-1]),
            late,
            self._slow.tolist(),
            self._memory.tolist(),
            self._results["completed"],
            self._results["failed"],
            *self._accounted(before),
        )

    def _warm_up(self) -> None:
        """A first replay of every worker, and of all users but the first, since that takes memory.

        Something is pending meanwhile, as it is later on; the first user may be the only one, and be due by that.
        Then add what is there before.
        """
        workers = self._case.workers
        for user in self._users[:workers]:
            self._buffer.add_measurements(user, islice(self._serials, self._case.due))
        while self._results.total() < workers:
            sleep(0.001)
        self._warming = None
        self._results.clear()
        for user in self._users[1:]:
            self._buffer.add_measurement(user, next(self._serials))
            with self._buffer.snapshot(user) as frozen:
                self._see(frozen)
                self._buffer.add_measurement(user, next(self._serials))
        for user, many in zip(self._users, self._case.before, strict=True):
            self._buffer.add_measurements(user, islice(self._serials, many))

    def _add_all(self, began: float) -> tuple[int, float]:
        """Add each measurement when its time has come, and those that are late at once, until all the time is over.

        Returns:
            How many were added, and by how many seconds one was late at most.
        """
        case, number, late = self._case, 0, 0.0
        for period in range(PERIODS):
            first, end = number, began + (period + 1) * case.period
            while number < case.adds and began + number / RATE < end and perf_counter() < end:
                late = max(late, waited(began + number / RATE))
                number += self._add(range(number, min(number + TICK, case.adds)))
            waited(end)
            ordered = sorted(self._taken[first:number]) or [case.period]
            self._slow[period] = ordered[len(ordered) * 99 // 100]
            self._memory[period] = resident()
        return number, late

    def _add(self, numbers: range) -> int:
        """Add these, for the next of the users in turn; how many they are."""
        add, users, taken = self._buffer.add_measurement, self._users, self._taken
        for number, serial in zip(numbers, self._serials, strict=False):
            user = users[number % len(users)]
            start = perf_counter()
            add(user, serial)
            taken[number] = perf_counter() - start
        return len(numbers)

    def _replay(self, frozen: FrozenSnapshot[int]) -> "array[int]":
        serials = array("q", frozen)
        if self._warming is not None:
            self._warming.wait(PATIENCE)  # until all are there, so that nobody does two
            return serials
        if self._over.wait(self._case.replay):
            raise OverError
        if next(self._attempts) % FAILS == 0:
            raise FailedAsToldError
        return serials

    def _note(self, result: ReplayResult) -> None:
        """Count how it went, and what a completed replay has seen."""
        with self._turn:
            if result.ok:
                self._see(result.value)
            if result.outcome == "failed" and type(result.error) in (FailedAsToldError, OverError):
                self._results["failed" if type(result.error) is FailedAsToldError else "over"] += 1
            else:
                self._results[result.outcome if result.error is None else repr(result.error)] += 1

    def _see(self, serials: Sequence[int]) -> None:
        for serial in serials:
            self._seen[serial] += 1

    def _accounted(self, before: int) -> tuple[int, int, int, int, dict[str, int]]:
        """How many were added, replayed, are live and lost; and what is odd. So many replays were completed before."""
        audits = []
        for user in self._buffer.users():
            self._see(self._buffer.measurements(user))
            audits.append(self._buffer.audit(user))
        fates = ("replayed", "live", "evicted", "cleared")
        replayed, live, evicted, cleared = (sum(getattr(audit, fate) for audit in audits) for fate in fates)
        added = next(self._serials)
        seen = self._seen[:added]
        lost = max(seen.count(0), added - replayed - live - evicted - cleared)
        odd = {
            "evicted": evicted,
            "cleared": cleared,
            "doubled": added - sum(seen.count(times) for times in (0, 1)),
            "not as audited": sum(not audit.ok for audit in audits),
            "not counted as completed": abs(self._buffer.metrics().completed - before - self._results["completed"]),
            **{what: many for what, many in self._results.items() if what not in ("completed", "failed", "over")},
        }
        return added, replayed, live, lost, {what: many for what, many in odd.items() if many}


def waited(until: float) -> float:
    """Wait until then, by `perf_counter`; by how many seconds it is too late for that, or 0."""
    left = until - perf_counter()
    if left > 0:
        sleep(left)
    return max(0.0, -left)


def resident() -> int:
    """How many bytes of this process are in memory; where the system does not say, the most there ever were."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
