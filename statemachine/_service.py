"""`Service`: a manager that is started: the thread that sweeps, keeps, and feeds a pool with who is due."""

import logging
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from statemachine._buffer import ReplayBuffer
from statemachine._errors import BufferClosedError
from statemachine._keeper import Keeper
from statemachine._pool import Pool

logger = logging.getLogger("holdover")


class Service:
    """Replays whoever is due, from `start` until `stop`.

    Everybody who is due is queued, in the order of `ready`, and nobody a second time before all of those are through:
    one busy user does not starve the others.

    Parameters:
        buffer: the buffer.
        keeper: looks after the replays under way.
        replay: replays a due user in a thread of the pool given; whether that came to anything.
        workers: how many threads replay.
        interval: real seconds between two looks at who is due.
    """

    def __init__(
        self,
        buffer: ReplayBuffer[Any],
        keeper: Keeper,
        replay: Callable[[str, Pool], bool],
        workers: int,
        interval: float,
    ) -> None:
        self._buffer, self._keeper, self._replay, self._interval = buffer, keeper, replay, interval
        self._wake, self._stopping = Event(), False
        self._timeout: float | None = None
        self.abandoned: list[str] = []
        self.pool = Pool(self._work, workers)
        self.thread = Thread(target=self._serve, name="holdover-manager", daemon=True)

    def stop(self, timeout: float | None) -> None:
        """Ask it to drain and to end."""
        self._timeout, self._stopping = timeout, True
        self._wake.set()

    def _work(self, user_id: str) -> None:
        if self._replay(user_id, self.pool) and not self.pool.queued:
            self._wake.set()  # at once for the next; where nothing can be done, only after the interval

    def _serve(self) -> None:
        try:
            while not self._stopping:
                try:
                    self._look()
                except BufferClosedError:
                    return
                except Exception:
                    logger.exception("looking for due users failed; the next look is in %s s", self._interval)
                self._wake.wait(self._interval)
                self._wake.clear()
        finally:
            self.abandoned = [result.user_id for result in self._keeper.drain(self.pool, self._timeout)]

    def _look(self) -> None:
        sweep(self._buffer)
        self._keeper.look(self.pool, others=True)
        if not self.pool.queued:
            self.pool.put(self._buffer.ready())


def sweep(buffer: ReplayBuffer[Any]) -> None:
    """Expire what is overdue, so that it can be due; a hook that fails is logged and tried again by the next sweep."""
    try:
        buffer.expire_overdue()
    except BufferClosedError:
        raise
    except Exception:
        logger.exception("the sweep failed; the next one follows")
