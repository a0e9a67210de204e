"""`Pool`: threads that work on users from a queue, first come first served. Must not know what the work is."""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from threading import Condition, Thread, current_thread

logger = logging.getLogger("holdover")


class Pool:
    """So many threads, each of which takes the next user from the queue and works on it.

    They are daemons: one that is stuck in its work for ever does not keep the process from ending.

    Parameters:
        work: called with a user, in one of the threads; what it raises is logged.
        workers: how many threads.
        freed: called once the thread is free again, where the work has given something.
    """

    def __init__(self, work: Callable[[str], object], workers: int, freed: Callable[[], object] = lambda: None) -> None:
        self._work, self._freed = work, freed
        self._changed = Condition()
        self._queue: deque[str] = deque()
        self._threads: set[Thread] = set()
        self._busy: set[Thread] = set()
        self._closed = False
        try:
            for _ in range(workers):
                self._spawn()
        except BaseException:  # the system has no more threads: leave none behind
            self.close()
            raise

    def put(self, users: Iterable[str]) -> None:
        """Queue these users, unless it is closed."""
        users = list(users)  # not under the lock: who they are may take long to find out, and may fail
        with self._changed:
            if not self._closed:
                self._queue.extend(users)
            self._changed.notify_all()

    @property
    def queued(self) -> int:
        """How many users wait."""
        return len(self._queue)

    @property
    def idle(self) -> int:
        """For how many more users there are threads."""
        with self._changed:
            return max(0, len(self._threads) - len(self._busy) - len(self._queue))

    def has(self, thread: Thread) -> bool:
        """Whether it is one of the pool's threads."""
        return thread in self._threads

    def retire(self, thread: Thread) -> None:
        """Count on that thread no more, since it is stuck, and start another in its place."""
        with self._changed:
            if thread in self._threads:
                self._threads.discard(thread)
                self._busy.discard(thread)
                if not self._closed:
                    self._spawn()
                self._changed.notify_all()

    def retire_all(self) -> None:
        """Count on none of the threads that are at work."""
        for thread in list(self._busy):
            self.retire(thread)

    def close(self) -> None:
        """Begin nothing any more; what is begun is ended."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nobody works and nothing is queued, or for so many seconds; whether it has come to that."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy and not self._queue, timeout)

    def join(self) -> None:
        """Wait until the threads have ended, those that were retired excepted. The pool must be closed."""
        for thread in list(self._threads):
            thread.join()

    def _spawn(self) -> None:
        thread = Thread(target=self._run, name="holdover-worker", daemon=True)
        with self._changed:
            thread.start()
            self._threads.add(thread)

    def _run(self) -> None:
        me = current_thread()
        while (user_id := self._next(me)) is not None:
            given: object = None
            try:
                given = self._work(user_id)
            except BaseException:  # a hook may raise anything, and one user must not cost the pool a thread
                logger.exception("working on user %r failed", user_id)
            finally:
                with self._changed:
                    self._busy.discard(me)
                    self._changed.notify_all()
            if given:
                self._freed()

    def _next(self, me: Thread) -> str | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._queue or me not in self._threads)
            if me not in self._threads or not self._queue:
                return None
            self._busy.add(me)
            return self._queue.popleft()
