"""`Database`: the connections to one file, for many threads and across forks. Knows no table."""

import os
import sqlite3
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from threading import Condition
from time import monotonic
from typing import Any, Protocol

from events._errors import LogClosedError, LogUnavailableError
from events._sqlite._failures import FAILURES
from events._sqlite._opening import Opening

Rows = list[tuple[Any, ...]]

CHECKS_EVERY = 0.01
"""Seconds after which a writer looks again whether the file is still there; looking costs a few percent of a write."""


class Source(Protocol):
    """Where rows are read: a pool of connections, or the one transaction of an application."""

    path: str

    def fetch(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """All rows of a query, as of one moment."""


class Database:
    """A pool of connections for reading, and one for writing.

    SQLite's locks belong to a process, and what it notes of them in memory is copied by a fork. So no connection is
    open during one: `before_fork` closes them, and they are opened again when they are needed.

    Parameters:
        opening: how connections are opened.

    Attributes:
        checks_every: seconds after which a writer looks again whether the file is still there.
    """

    def __init__(self, opening: Opening) -> None:
        self.opening, self.path = opening, opening.path
        self.closed = False
        self.checks_every = CHECKS_EVERY
        self._writing: sqlite3.Connection | None = opening.first()
        self._identity = self._look()
        self._look_at = 0.0
        self._begin()

    def _begin(self) -> None:
        self._idle: deque[sqlite3.Connection] = deque()
        self._at_work, self._forking = 0, False
        self._changed = Condition()

    def writer(self) -> sqlite3.Connection:
        """The connection for writing; the caller sees to it that one thread uses it at a time.

        Raises:
            LogError: the log was closed, or the file is no longer the one at the path.
        """
        connection = self._writing
        if connection is None:
            self._check_open()
            connection = self._writing = self.opening.connect()
        if monotonic() >= self._look_at:
            self.check_in_place()
        return connection

    def fetch(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """All rows of a query, as of one moment.

        Raises:
            LogError: it could not be read.
        """
        with self._changed:
            while self._forking:
                self._changed.wait()
            self._check_open()
            self._at_work += 1
            connection = self._idle.pop() if self._idle else None
        try:
            if connection is None:
                connection = self.opening.connect()
            return connection.execute(statement, parameters).fetchall()
        except FAILURES as error:
            raise self.translated(error) from error
        finally:
            with self._changed:
                self._at_work -= 1
                if connection is not None:
                    self._idle.append(connection)
                if self.closed:
                    self._close_idle()
                self._changed.notify_all()

    def translated(self, error: Exception) -> Exception:
        """An error of SQLite in plain words."""
        return self.opening.translated(error)

    def check_in_place(self) -> None:
        """Refuse to write into a file that is no longer the one at the path: nobody would ever see it again.

        Raises:
            LogUnavailableError: the file was removed or replaced.
        """
        self._look_at = 0.0  # also where it is not in place
        if self._look() != self._identity:
            raise LogUnavailableError(f"{self.path} is another file than the one that was opened; reopen the log")
        self._look_at = monotonic() + self.checks_every

    def _look(self) -> tuple[int, int]:
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise LogUnavailableError(
                f"{self.path} is gone ({error.strerror}); put it back, or reopen the log"
            ) from error
        return status.st_dev, status.st_ino

    def close(self) -> None:
        """Close the connections, those in use as soon as they are given back."""
        with self._changed:
            self.closed = True
            self._close_idle()
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def before_fork(self) -> None:
        """Close all connections, once what is read has been read. Nobody may be writing."""
        with self._changed:
            self._forking = True
            while self._at_work:
                self._changed.wait()
            self._close_idle()
        if self._writing is not None:
            with suppress(sqlite3.Error):
                self._writing.close()
            self._writing = None

    def after_fork_in_parent(self) -> None:
        """Go on."""
        with self._changed:
            self._forking = False
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """Go on, with locks that no thread of the parent holds."""
        self._begin()

    def _close_idle(self) -> None:
        while self._idle:
            with suppress(sqlite3.Error):
                self._idle.pop().close()

    def _check_open(self) -> None:
        if self.closed:
            raise LogClosedError(f"the log {self.path} was closed; open it again to go on")
