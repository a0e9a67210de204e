"""`Opening`: how connections to one file are opened, and the first of them, which sees to it that a log is there."""

import os
import sqlite3
from time import monotonic, sleep
from urllib.parse import quote

from attrs import frozen

from events._errors import LogDamagedError, LogUnavailableError
from events._sqlite._failures import FAILURES, translated
from events._sqlite._tables import check_format, create

PAUSE = 0.005
"""Seconds between two tries of what SQLite does not wait for by itself."""


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

    def first(self) -> sqlite3.Connection:
        """A new connection to a file that need not be there, or has no tables yet.

        Raises:
            LogError: it cannot be opened, is damaged, or was written by a later version; nothing was changed then.
        """
        self._check_path()
        connection = self.connect("ro" if self.read_only else "rwc")
        try:
            self._prepare(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, FAILURES):
                raise self.translated(error) from error
            raise
        return connection

    def connect(self, mode: str = "") -> sqlite3.Connection:
        """A new connection to a file that is there, which any thread may use as long as no other does.

        Parameters:
            mode: SQLite's word for what may be done; as the log was opened if empty.

        Raises:
            LogError: it cannot be opened.
        """
        query = f"?mode={mode or ('ro' if self.read_only else 'rw')}" + (f"&vfs={self.vfs}" if self.vfs else "")
        if self.read_only and not os.path.exists(f"{self.path}-wal") and not os.access(self._directory, os.W_OK):
            query += "&immutable=1"  # else SQLite would want to put files beside it, although nobody writes
        connection = None
        try:
            connection = sqlite3.connect(
                f"file:{quote(os.fsencode(self.path))}{query}",
                timeout=self.timeout,
                isolation_level=None,
                check_same_thread=False,
                uri=True,
            )
            connection.execute(f"PRAGMA synchronous = {self.synchronous}")
            if self.synchronous == "FULL":
                connection.execute("PRAGMA fullfsync = ON")  # on macOS a plain fsync does not reach the disk
                connection.execute("PRAGMA checkpoint_fullfsync = ON")
        except FAILURES as error:
            if connection is not None:
                connection.close()
            raise self.translated(error) from error
        return connection

    @property
    def _directory(self) -> str:
        return os.path.dirname(self.path)

    def translated(self, error: Exception) -> Exception:
        """An error of SQLite in plain words."""
        return translated(error, self.path, self.timeout, read_only=self.read_only)

    def _check_path(self) -> None:
        """SQLite says "unable to open" to all of these."""
        if os.path.isdir(self.path):
            raise LogUnavailableError(f"{self.path} is a directory; name a file in it")
        if not os.path.isdir(self._directory):
            raise LogUnavailableError(
                f"{self.path} cannot be opened: there is no directory {self._directory}; make it first"
            )
        if self.read_only:
            try:
                os.stat(self.path)
            except FileNotFoundError:
                raise LogUnavailableError(f"{self.path} does not exist") from None
            except OSError as error:
                raise LogUnavailableError(
                    f"{self.path} cannot be opened ({error.strerror}); check permissions"
                ) from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """See to it that the file is whole, of this format, and in the mode in which readers wait for nobody."""
        self._check_size(connection)
        there = check_format(connection, self.path)
        if self.read_only:
            if not there:
                raise LogUnavailableError(f"{self.path} holds no log of holdover; choose another file")
            return
        if not connection.execute("PRAGMA page_count").fetchone()[0]:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # so that it can shrink
        self._write_ahead(connection)
        if not there:
            create(connection, self.path)

    def _check_size(self, connection: sqlite3.Connection) -> None:
        """Refuse a file that ends too early: SQLite would take what is missing of its last page for zeros."""
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        with_log = os.path.exists(f"{self.path}-wal") and os.path.getsize(f"{self.path}-wal")
        if not with_log and os.path.getsize(self.path) < pages * size:
            raise LogDamagedError(
                f"{self.path} is damaged: it has {os.path.getsize(self.path):,} bytes and had {pages * size:,}; "
                f"restore a backup, or save what can be read with `sqlite3 FILE .recover`"
            )

    def _write_ahead(self, connection: sqlite3.Connection) -> None:
        deadline = monotonic() + self.timeout
        while True:
            try:
                if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                    connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:  # SQLite does not wait for this by itself
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() >= deadline:
                    raise
                sleep(PAUSE)
