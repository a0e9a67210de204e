"""`Database`: connections to the server, and what is done when one breaks. Must not know what is asked or written."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import monotonic, sleep
from typing import Any, TypeVar
from weakref import WeakSet

import psycopg
from attrs import frozen
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from events._errors import LogBusyError, LogClosedError, LogError, LogUnavailableError
from events._postgres._address import Address
from events._postgres._failures import is_lost, may_pass, translated, unknown
from events._postgres._opening import Migration, check, migrate
from events._postgres._pool import Pool
from events._postgres._session import Parameters, Rows, Session

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5
"""Seconds between two tries."""

SLICE = 0.5
"""Seconds after which who waits for a connection asks for one anew."""


@frozen
class Options:
    """How a log uses its server; see `PostgresLog`."""

    schema: str
    timeout: float
    max_connections: int
    read_only: bool
    transaction_pooler: bool


class Database:
    """A pool of connections, made when first needed, and anew in a forked child.

    Parameters:
        address: the server's.
        options: how to use it.
    """

    def __init__(self, address: Address, options: Options) -> None:
        self.options, self.path = options, address.shown
        self._settings = {
            "fallback_application_name": "holdover",
            "connect_timeout": max(2, int(options.timeout)),
            "keepalives_idle": 10,  # a machine that is gone says nothing
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": int(1000 * max(5.0, options.timeout)),
            "client_encoding": "utf8",
            **address.settings,
        }
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._lock = Lock()
        self._pool: Pool | None = None
        self._closed = False

    def open(self, steps: list[Migration], *, may_migrate: bool) -> None:
        """Connect, and see to it that the tables are there and of this version.

        Raises:
            LogError: the server cannot be reached or refuses, or the tables are not there or of a later version.
        """
        deadline = monotonic() + self.options.timeout
        while True:
            try:
                self._open(steps, may_migrate)
                return
            except LogError as error:
                cause = error.__cause__
                if not (isinstance(cause, psycopg.Error) and may_pass(cause)) or monotonic() > deadline:
                    raise
                sleep(LONGEST_PAUSE)

    def _open(self, steps: list[Migration], may_migrate: bool) -> None:
        with self.connection() as connection:
            if may_migrate and not self.options.read_only:
                migrate(connection, self.path, self.options.schema, steps)
            elif (version := check(connection, self.path, self.options.schema, steps[-1].version)) < steps[-1].version:
                what = f"is of version {version}, not {steps[-1].version}" if version else "holds no log"
                remedy = (
                    "name another schema, or another database"
                    if self.options.read_only
                    else "open it with migrate=True, or have the tables made by who may"
                )
                raise LogUnavailableError(f"{self.path}: schema {self.options.schema} {what}; {remedy}")

    def attempt(self, work: Callable[[Session, bool], T], *, writes: bool = True, in_doubt: bool = False) -> T:
        """Have the work done in one statement or transaction, again where that is safe, until it is or time is up.

        Parameters:
            work: does it, in the session that it is given. It is told whether an earlier attempt may have done it,
                since its connection broke.
            writes: whether it makes a difference that it was done.
            in_doubt: whether it may have been done before.

        Raises:
            OutcomeUnknownError: it was done or not.
            LogError: it could not be done, and was not.
        """
        if writes:
            self.check_writable()
        deadline, pause = monotonic() + self.options.timeout, FIRST_PAUSE
        while True:
            pool, session = self._taken(deadline, in_doubt)
            try:
                try:
                    return work(session, in_doubt)
                finally:
                    pool.putconn(session)
            except psycopg.Error as error:
                lost = is_lost(error)
                in_doubt = in_doubt or (lost and writes)
                if not (lost or may_pass(error)) or monotonic() + pause > deadline:
                    raise self._failed(error, in_doubt) from error
                if lost:
                    pool.check()  # where one is gone the others may be
            sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def check_writable(self) -> None:
        """Refuse to write where it was opened only to look.

        Raises:
            LogUnavailableError: it was.
        """
        if self.options.read_only:
            raise LogUnavailableError(f"{self.path} was opened with read_only=True, so nothing can be recorded")

    def fetch(self, statement: str, parameters: Parameters) -> Rows:
        """The rows of a query; it is asked again where a connection breaks.

        Raises:
            LogError: it could not be read.
        """
        return self.attempt(lambda session, _in_doubt: session.run(statement, parameters), writes=False)

    @contextmanager
    def connection(self, **how: Any) -> Iterator["psycopg.Connection[Any]"]:
        """A connection of one's own, with autocommit, outside the pool.

        Raises:
            LogError: the server cannot be reached or refuses; also for what goes wrong in the block.
        """
        try:
            with psycopg.connect(**self._settings, autocommit=True, **how) as connection:
                yield connection
        except psycopg.Error as error:
            raise self.translated(error) from error

    def translated(self, error: psycopg.Error) -> LogError:
        """An error of psycopg in plain words."""
        return translated(error, self.path, self.options.timeout, self.options.schema)

    def close(self) -> None:
        """Close the connections; those in use when they are given back."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def after_fork_in_child(self) -> None:
        """Leave the connections to the parent, and make others when they are needed."""
        closed = self._closed
        if self._pool is not None:
            _abandoned.append(self._pool)
        self._begin()
        self._closed = closed

    def _failed(self, error: psycopg.Error, in_doubt: bool) -> LogError:
        return unknown(error, self.path, self.options.timeout) if in_doubt else self.translated(error)

    def _taken(self, deadline: float, in_doubt: bool) -> tuple[Pool, Session]:
        """A session, and where to give it back to."""
        try:
            pool = self._pool or self._opened()
            while True:
                try:
                    return pool, pool.getconn(max(0.0, min(SLICE, deadline - monotonic())))
                except (PoolTimeout, TooManyRequests):
                    if monotonic() >= deadline:
                        why = self._why_none()
                        raise (unknown(why, self.path, self.options.timeout) if in_doubt else why) from None
                except PoolClosed:
                    raise closed_error(self.path) from None
        except LogClosedError as error:
            raise (unknown(error, self.path, 0.0) if in_doubt else error) from None

    def _opened(self) -> Pool:
        with self._lock:
            if self._closed:
                raise closed_error(self.path)
            if self._pool is None:
                options = self.options
                self._pool = Pool(
                    kwargs={
                        **self._settings,
                        "autocommit": True,
                        "prepare_threshold": None if options.transaction_pooler else 0,
                    },
                    configure=None if options.transaction_pooler else self._configure,
                    min_size=1,
                    max_size=options.max_connections,
                    reconnect_timeout=0.0,  # who waits for a connection has the next try made, every SLICE
                    name="holdover",
                    open=True,
                )
            return self._pool

    def _configure(self, session: Session) -> None:
        session.prepared = set()
        settings = {
            "lock_timeout": f"{max(1, int(1000 * self.options.timeout))}ms",
            "default_transaction_isolation": "read committed",
        }
        if self.options.read_only:
            settings["default_transaction_read_only"] = "on"
        for name, value in settings.items():
            session.execute(f"SET {name} = '{value}'", prepare=False)

    def _why_none(self) -> LogError:
        """Why there was no connection to be had in time."""
        try:
            with self.connection():
                pass
        except LogError as error:
            return error
        return LogBusyError(
            f"{self.path}: all of the log's {self.options.max_connections} connections were in use for "
            f"{self.options.timeout} s; nothing was recorded; open the log with more max_connections"
        )


def closed_error(path: str) -> LogClosedError:
    """The error for a log that was closed."""
    return LogClosedError(f"{path}: the log was closed; nothing was recorded; open it anew to go on")


_all: "WeakSet[Database]" = WeakSet()

_abandoned: list[object] = []
"""Pools that belong to the parent of this process: to let go of them would end its sessions."""


def _after_fork_in_child() -> None:
    for database in list(_all):
        database.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
