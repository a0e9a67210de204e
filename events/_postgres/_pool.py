"""`Pool`: sessions that threads take and give back. Must not know what is done in them, or what a failure means."""

from threading import Lock
from time import monotonic
from typing import Any

from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool

from events._postgres._session import Session

KEPT = 1.0
"""Seconds after which what is free goes to the rest of the pool, which may find it too old, or one too many."""


class Pool(ConnectionPool[Session]):
    """A pool, before which stand the sessions that were given back last.

    A pool of psycopg gives out whichever session has waited longest, whose server process has gone cold, and its
    bookkeeping costs as much as a tenth of an add. So a sound session goes to who asks next, and back to the pool only
    where somebody waits for one, or now and then.

    Parameters:
        how: what `psycopg_pool.ConnectionPool` takes.
    """

    def __init__(self, **how: Any) -> None:
        self._free: list[Session] = []
        self._kept_since = monotonic()
        self._asking, self._asking_lock = 0, Lock()
        super().__init__(connection_class=Session, **how)

    def getconn(self, timeout: float | None = None) -> Session:
        """A session for nobody else."""
        if session := self._freed():
            return session
        with self._asking_lock:
            self._asking += 1
        try:
            return self._freed() or super().getconn(timeout)  # who gives one back sees by now that it is asked for
        finally:
            with self._asking_lock:
                self._asking -= 1

    def putconn(self, conn: Session) -> None:
        """What must follow."""
        if conn.pgconn.transaction_status != TransactionStatus.IDLE:
            super().putconn(conn)
            return
        self._free.append(conn)
        if self._asking or self.closed or monotonic() - self._kept_since > KEPT:
            self._put_free()

    def check(self) -> None:
        """Have all those looked at that nobody uses."""
        self._put_free()
        super().check()

    def close(self, timeout: float = 5.0) -> None:
        """Close them; those in use when they are given back."""
        super().close(timeout)
        self._put_free()

    def _freed(self) -> Session | None:
        try:
            return self._free.pop()
        except IndexError:
            return None

    def _put_free(self) -> None:
        self._kept_since = monotonic()
        while session := self._freed():
            super().putconn(session)
