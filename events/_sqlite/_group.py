"""Group commit: jobs of threads that come at once share one transaction. Must not know what a job does."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from threading import Lock, get_ident
from time import perf_counter
from typing import Any, Generic, TypeVar

MOST = 64
"""How many jobs share a transaction at most, so that none waits for long."""

LONGEST = 0.02
"""How many seconds a leader waits for others at most, however long the last commit took."""


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
    thread = 0
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
        self._leader: int | None = None  # the thread, so that one that was interrupted is not taken for busy
        self._queue: deque[J] = deque()
        self._gathering = False
        self._expected, self._patience = 1, 0.0

    def enter(self) -> bool:
        """Whether nobody else is at it or expected, so that the caller may go alone; to be called in a `try`."""
        me = get_ident()
        with self._lock:
            if self._expected > 1 or self._leader not in (None, me):
                return False
            self._leader = me
            return True

    def leave(self) -> None:
        """The end of what was entered, if it was; to be called in the `finally` of that."""
        with self._lock:
            if self._leader != get_ident():
                return
            if not self._queue:
                self._leader = None
                return
            self._expected = 1 + len(self._queue)  # somebody has come meanwhile
        self._hand_over()

    def submit(self, job: J) -> Any:
        """Do the job together with others; its result once all is committed, or what it raised."""
        me = get_ident()
        try:
            with self._lock:
                if waiting := self._leader not in (None, me):
                    self._enqueue(job, me)
                else:
                    self._leader = me
            if waiting:
                job.wake.acquire()
                _wake(job.following)
            if not waiting or job.leads:
                self._lead(job)
        except BaseException:  # an interrupt: nobody must wait for a thread that has gone
            self._abandon(job)
            raise
        if job.error is not None:
            raise job.error
        return job.result

    def _enqueue(self, job: J, me: int) -> None:
        job.thread, job.wake = me, Lock()
        job.wake.acquire()
        self._queue.append(job)
        if self._gathering and len(self._queue) + 1 >= self._expected:
            self._gathering = False
            self._enough.release()

    def _abandon(self, job: J) -> None:
        """The job's thread does not wait any more; what it was to do for others is done now, or by who wakes it."""
        job.abandoned = True
        with self._lock, suppress(ValueError):
            self._queue.remove(job)
        self._hand_over()
        if job.woken or job.wake is None:
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
            self._patience = min((perf_counter() - began) / 2, LONGEST)
        except BaseException:
            left = [one for one in group[1:] if not one.done]
            group = [job, *(one for one in group[1:] if one.done)]
            with self._lock:
                self._queue.extendleft(reversed(left))
            raise
        finally:
            for one, following in pairwise(group):
                one.following = following  # each wakes the next: all at once would fight for the interpreter
            self._expected = len(group) + len(self._queue)
            self._hand_over()
            _wake(job.following)

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
        """Make the first who waits the next leader, where this thread leads."""
        with self._lock:
            if self._leader != get_ident():
                return
            following = self._queue.popleft() if self._queue else None
            self._leader = None if following is None else following.thread
            if following is not None:
                following.leads = True
        _wake(following)


def _wake(job: Job | None) -> None:
    """Wake its thread, and in place of one that has gone, the next."""
    while job is not None:
        job.woken = True
        try:  # noqa: SIM105 - `suppress` costs several times as much
            job.wake.release()
        except RuntimeError:  # woken twice, where two thought it was their turn; that does no harm
            pass
        job = job.following if job.abandoned else None
