"""`Database`: the connections to one file, for many threads, and its errors in plain words. Knows no table."""

import ctypes
import os
import sqlite3
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol
from urllib.parse import quote

from attrs import frozen

from events._errors import LogClosedError, LogError, LogUnavailableError
from events._sqlite._failures import translated

Rows = list[tuple[Any, ...]]

CHECKS_EVERY = 0.01
"""Seconds after which a writer looks again whether the file is still there; looking costs a tenth of a write."""

PAUSE = 0.005
"""Seconds between two tries of what SQLite does not wait for by itself."""


class Source(Protocol):
    """Where rows are read: a pool of connections, or the one transaction of an application."""

    path: str

    def fetch(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """All rows of a query, as of one moment."""


@frozen
class Opening:
    """How a connection is opened.

    Parameters:
        path: the file.
        synchronous: SQLite's word for how much is awaited.
        timeout: seconds to wait for who holds the file.
        read_only: whether nothing may be written.
        vfs: the name of the SQLite VFS to go through; the default one if empty.
    """

    path: str
    synchronous: str
    timeout: float
    read_only: bool = False
    vfs: str = ""

    def connect(self) -> sqlite3.Connection:
        """A new connection, which any thread may use as long as no other does.

        Raises:
            LogError: it cannot be opened.
        """
        self._check()
        query = f"?mode={'ro' if self.read_only else 'rwc'}" + (f"&vfs={self.vfs}" if self.vfs else "")
        try:
            connection = sqlite3.connect(
                f"file:{quote(self.path)}{query}",
                timeout=self.timeout,
                isolation_level=None,
                check_same_thread=False,
                uri=True,
            )
        except sqlite3.Error as error:
            raise translated(error, self.path, self.timeout) from error
        try:
            self._set(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise translated(error, self.path, self.timeout) from error
            raise
        return connection

    def _check(self) -> None:
        """SQLite says "unable to open" to all of these."""
        path = Path(self.path)
        if path.is_dir():
            raise LogUnavailableError(f"{path} is a directory; name a file in it")
        if not path.parent.is_dir():
            raise LogUnavailableError(f"{path} cannot be made: there is no directory {path.parent}; make it first")
        if self.read_only and not path.exists():
            raise LogUnavailableError(f"{path} does not exist")

    def _set(self, connection: sqlite3.Connection) -> None:
        if not self.read_only:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file only; so that pruned ones can shrink
            deadline = monotonic() + self.timeout
            while True:
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                    break
                except sqlite3.OperationalError as error:  # SQLite does not wait for this by itself
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() >= deadline:
                        raise
                    sleep(PAUSE)
        connection.execute(f"PRAGMA synchronous = {self.synchronous}")
        if self.synchronous == "FULL":
            connection.execute("PRAGMA fullfsync = ON")  # on macOS a plain fsync does not reach the disk
            connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()  # a file that is no database shows here


class Database:
    """A pool of connections for reading, and one for writing.

    A child process after a fork never uses nor closes its parent's connections: it lets them be and opens its own.

    Parameters:
        opening: how connections are opened.
    """

    def __init__(self, opening: Opening) -> None:
        self.opening, self.path = opening, opening.path
        self.closed = False
        self._idle: deque[sqlite3.Connection] = deque()
        self._writing: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._checked, self.checks_every = -CHECKS_EVERY, CHECKS_EVERY

    @property
    def writing(self) -> sqlite3.Connection:
        """The connection for writing; the caller sees to it that one thread uses it at a time."""
        if self._writing is None:
            self._check_open()
            self._writing = self.opening.connect()
        return self._writing

    def fetch(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """All rows of a query, as of one moment.

        Raises:
            LogError: it could not be read.
        """
        self._check_open()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self.opening.connect()
        try:
            return connection.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise self.translated(error) from error
        finally:
            self._idle.append(connection)
            if self.closed:
                self._close_idle()

    def translated(self, error: sqlite3.Error) -> LogError:
        """An error of SQLite in plain words."""
        return translated(error, self.path, self.opening.timeout)

    def check_in_place(self) -> None:
        """Refuse to write into a file that is no longer the one at the path: nobody would ever see it again.

        Raises:
            LogUnavailableError: the file was removed or replaced.
        """
        now = monotonic()
        if now < self._checked + self.checks_every:
            return
        self._checked = now
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise LogUnavailableError(
                f"{self.path} is gone ({error.strerror}); put it back, or reopen the log"
            ) from error
        identity = status.st_dev, status.st_ino
        if self._identity is None:
            self._identity = identity
        elif identity != self._identity:
            raise LogUnavailableError(f"{self.path} is another file than the one that was opened; reopen the log")

    def close(self) -> None:
        """Close the connections, those in use as soon as they are given back."""
        self.closed = True
        self._close_idle()
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _check_open(self) -> None:
        if self.closed:
            raise LogClosedError(f"the log {self.path} was closed; open it again to go on")

    def forget_connections(self) -> None:
        """In a child after a fork: let the parent's connections be, also when Python tidies up at the end."""
        for connection in (*self._idle, *([self._writing] if self._writing else [])):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))  # closing it would touch the parent's locks
        self._idle, self._writing = deque(), None
