"""Group commit: jobs of threads that come at once share one transaction. Must not know what a job does."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from threading import Lock
from time import perf_counter
from typing import Any, Generic, TypeVar

MOST = 64
"""How many jobs share a transaction at most, so that none waits for long."""


class Job:
    """Something to be done in a transaction, and what came of it.

    Attributes:
        result: what it gave, once its transaction was committed.
        error: what it raised instead.
        done: whether it was committed although its group was interrupted.
    """

    result: Any = None
    error: BaseException | None = None
    done = False
    wake: Any = None
    following: "Job | None" = None
    leads = woken = abandoned = False


J = TypeVar("J", bound=Job)


class GroupCommit(Generic[J]):
    """Runs jobs in groups: whoever finds nobody at it leads, and takes along what has queued up meanwhile.

    The leader is one of the threads that want something done, so with one thread there is no hop to another. It waits
    for as many as were there the last time, but no longer than half of what the last commit took: a few larger groups
    are faster than many small ones (the idea of PostgreSQL's `commit_delay` and `commit_siblings`).

    Parameters:
        run: does the jobs of a group and sets their results or errors. If it is interrupted, it raises on, and those
            it has not marked as done are given to the next leader.
    """

    def __init__(self, run: Callable[[list[J]], object]) -> None:
        self._run = run
        self._lock, self._enough = Lock(), Lock()
        self._enough.acquire()
        self._turn = Lock()  # whoever holds it leads; it may be passed on to who waits
        self._queue: deque[J] = deque()
        self._gathering = False
        self._expected, self._patience = 1, 0.0

    def enter(self) -> bool:
        """Whether nobody else is at it or expected; then the caller may do something alone, and has to `leave`."""
        return self._expected <= 1 and self._turn.acquire(blocking=False)

    def leave(self) -> None:
        """The end of what was entered."""
        if not self._queue:
            self._turn.release()
            if not self._queue or not self._turn.acquire(blocking=False):
                return
        self._expected = 1 + len(self._queue)  # somebody has come meanwhile
        self._hand_over()

    def submit(self, job: J) -> Any:
        """Do the job together with others; its result once all is committed, or what it raised."""
        with self._lock:
            if waiting := not self._turn.acquire(blocking=False):
                job.wake = Lock()
                job.wake.acquire()
                self._queue.append(job)
                if self._gathering and len(self._queue) + 1 >= self._expected:
                    self._gathering = False
                    self._enough.release()
        if waiting:
            self._wait(job)
        if not waiting or job.leads:
            self._lead(job)
        if job.error is not None:
            raise job.error
        return job.result

    def _wait(self, job: J) -> None:
        try:
            job.wake.acquire()
            if job.following is not None:
                _wake(job.following)
        except BaseException:  # an interrupt: nobody must wait for a thread that has gone
            self._abandon(job)
            raise

    def _abandon(self, job: J) -> None:
        """The job's thread does not wait any more; what it was to do for others is done now, or by who wakes it."""
        job.abandoned = True
        with self._lock, suppress(ValueError):
            self._queue.remove(job)
        if job.leads:
            self._hand_over()
        elif job.woken and job.following is not None:
            _wake(job.following)

    def _lead(self, job: J) -> None:
        group = [job]
        try:
            if self._expected > 1:
                self._gather()
            with self._lock:
                while self._queue and len(group) < MOST:
                    group.append(self._queue.popleft())
            began = perf_counter()
            self._run(group)
            self._patience = (perf_counter() - began) / 2
        except BaseException:
            left = [one for one in group[1:] if not one.done]
            group = [one for one in group if one.done or one is job]
            with self._lock:
                self._queue.extendleft(reversed(left))
            raise
        finally:
            self._expected = len(group) + len(self._queue)
            self._hand_over()
            for one, following in pairwise(group[1:]):
                one.following = following  # each wakes the next: all at once would fight for the interpreter
            if len(group) > 1:
                _wake(group[1])

    def _gather(self) -> None:
        """Wait until as many have come as the last time, or too long."""
        with self._lock:
            self._gathering = waiting = len(self._queue) + 1 < self._expected
        if waiting:
            try:
                self._enough.acquire(timeout=self._patience)
            finally:
                with self._lock:
                    self._gathering = False
                self._enough.acquire(blocking=False)  # where they came at the very last moment

    def _hand_over(self) -> None:
        """Make the first who waits the next leader."""
        with self._lock:
            if not self._queue:
                self._turn.release()
                return
            following = self._queue.popleft()
            following.leads = True
        _wake(following)


def _wake(job: Job) -> None:
    """Wake its thread, and in place of one that has gone, the next."""
    following: Job | None = job
    while following is not None:
        following.woken = True
        try:  # noqa: SIM105 - `suppress` costs several times as much
            following.wake.release()
        except RuntimeError:  # woken twice, where two thought it was their turn; that does no harm
            pass
        following = following.following if following.abandoned else None
