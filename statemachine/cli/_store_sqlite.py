"""`file_home`: a SQLite file as the home of a run of `holdover replay`. Must not know what the run saves there."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from events import Durability, LogError, Schema, SqliteLog
from statemachine.cli._command import BadInput
from statemachine.cli._store import TIMEOUT, Statements

STATEMENTS = Statements(
    tables=(
        "CREATE TABLE IF NOT EXISTS holdover_replay_run (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        """
        CREATE TABLE IF NOT EXISTS holdover_replay_windows (
            user TEXT NOT NULL,
            version INTEGER NOT NULL,   -- of the snapshot
            measurements INTEGER NOT NULL,
            error TEXT NOT NULL,        -- why its replay failed, or ''
            judged TEXT NOT NULL,       -- what its replay returned: [[number, {column: text}], ...]
            PRIMARY KEY (user, version)
        ) WITHOUT ROWID
        """,
    ),
    run="SELECT name, value FROM holdover_replay_run",
    claim="INSERT INTO holdover_replay_run VALUES (?, ?)",
    save="REPLACE INTO holdover_replay_windows VALUES (?, ?, ?, ?, ?)",
    windows="SELECT user, version, measurements, error, judged FROM holdover_replay_windows ORDER BY user, version",
)


class FileHome:
    """See `statemachine.cli._store.Home`."""

    statements, another = STATEMENTS, "file"

    def __init__(self, path: Path, log: SqliteLog[Any], durability: Durability) -> None:
        self.name, self.where, self.log = str(path), log.path, log
        self._durability = durability

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction of this thread's own; one that is not committed is rolled back as its connection closes."""
        try:
            with closing(sqlite3.connect(self.where, timeout=TIMEOUT, isolation_level=None)) as connection:
                connection.execute(f"PRAGMA synchronous = {self._durability}")
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise LogError(f"{self.where}: {error}") from error


@contextmanager
def file_home(path: Path, durability: Durability, types: Sequence[Schema]) -> Iterator[FileHome]:
    """The file, for one run at a time.

    Parameters:
        path: the file; made if it is not there.
        durability: as of `SqliteLog`.
        types: the log's.

    Raises:
        BadInput: it cannot be opened, or another run has it.
        LogError, ImportError: as `SqliteLog`.
    """
    with (
        _alone(path),
        closing(SqliteLog[Any](path.resolve(), durability=durability, types=types, timeout=TIMEOUT)) as log,
    ):
        yield FileHome(path, log, durability)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep a second run away from the file: it would add the same rows once more."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise BadInput(f"{path}: cannot be opened: {error.strerror}") from None
    try:
        _lock(file, path)
        yield
    finally:
        os.close(file)  # after the log is closed: closing any descriptor of the file gives up the locks that SQLite has


def _lock(file: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # not on this system
        return
    try:
        fcntl.flock(
            file, fcntl.LOCK_EX | fcntl.LOCK_NB
        )  # given up by the system when the process ends, however it ends
    except BlockingIOError:
        raise BadInput(f"{path}: another run is at work on it; wait for its end") from None
