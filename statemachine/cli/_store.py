"""`Store`: the file in which a replay keeps its buffer, and what came of each window. Must not know options."""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from events import Durability, LogError, Schema, SqliteLog
from statemachine import BufferConfig, FrozenSnapshot, ReplayBufferError
from statemachine.cli._command import BadInput, described, quoted
from statemachine.cli._continuing import ContinuingBuffer
from statemachine.cli._process import Judged, Process
from statemachine.cli._table import Row
from statemachine.cli._turn import Window

TIMEOUT = 60.0
"""Seconds to wait for another transaction on the file."""

TABLES = (
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
)


class Store:
    """The buffer of one run of `holdover replay`, and its results, in one SQLite file.

    What a window's replay returned is saved in the transaction that completes the replay, so it is there exactly once,
    whenever the process is killed. It is a context manager; only one process at a time may have it open.

    Parameters:
        path: the file.
        durability: as of `SqliteLog`.
        fingerprint: what makes the run what it is, by what to call it. Two runs that differ in it share no file.
        header: the names of the table's columns.

    Raises:
        BadInput: the file cannot be used, or belongs to another run.
    """

    def __init__(
        self, path: Path, durability: Durability, fingerprint: Mapping[str, str], header: tuple[str, ...]
    ) -> None:
        self.path, self._durability = path.resolve(), durability
        self._stack = ExitStack()
        with self._stack, self._in_plain_words():
            self._stack.enter_context(_alone(path))
            types = [Schema(Row, dump=_dumped, load=partial(_loaded, header))]
            self.log = SqliteLog[Row](self.path, durability=durability, types=types, timeout=TIMEOUT)
            self._stack.callback(self.log.close)
            self._claim(path, fingerprint)
            self._stack = self._stack.pop_all()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    @contextmanager
    def buffer(self, config: BufferConfig) -> Iterator[ContinuingBuffer]:
        """The buffer; what goes wrong with its file is told in one line, and the run can be continued."""
        with self._in_plain_words():
            yield ContinuingBuffer(self.log, config)

    def saving(self, buffer: ContinuingBuffer, process: Process) -> Process:
        """The process, which then completes its replay by itself, together with saving what came of it.

        Where that cannot be saved, the snapshot stays in progress, and the next run takes it up.
        """

        def saved(frozen: FrozenSnapshot[Row]) -> list[Judged]:
            try:
                try:
                    judged = process(frozen)
                    text = json.dumps([[row.number, _texts(row.columns)] for row in judged])
                except LogError:  # its rows could not be read
                    raise
                except Exception as error:
                    self._save(frozen, error=described(error))
                    raise
                self._save(frozen, judged=text)
            except (sqlite3.Error, LogError, ReplayBufferError) as trouble:
                buffer.leave(frozen.user_id)
                raise self._told(trouble) from trouble
            return judged

        return saved

    def windows(self) -> list[Window]:
        """What came of each window so far."""
        return [
            Window(user, version, measurements, len(json.loads(judged)), "failed" if error else "completed", error)
            for user, version, measurements, error, judged in self._fetch(
                "SELECT user, version, measurements, error, judged FROM holdover_replay_windows ORDER BY user, version"
            )
        ]

    def judged(self) -> list[Judged]:
        """The rows that the replays returned, in the order of the file's lines."""
        rows = [
            Judged(number, columns)
            for (judged,) in self._fetch("SELECT judged FROM holdover_replay_windows ORDER BY user, version")
            for number, columns in json.loads(judged)
        ]
        return sorted(rows, key=lambda row: row.number)

    def _save(self, frozen: FrozenSnapshot[Row], *, judged: str = "[]", error: str = "") -> None:
        with self._transaction() as connection:
            connection.execute(
                "REPLACE INTO holdover_replay_windows VALUES (?, ?, ?, ?, ?)",
                (frozen.user_id, frozen.version, len(frozen), error, judged),
            )
            if not error:
                frozen.complete(connection=connection)

    def _claim(self, path: Path, fingerprint: Mapping[str, str]) -> None:
        """Make the tables in a new file; refuse one of another run."""
        is_empty = next(self.log.streams(), None) is None
        with self._transaction() as connection:
            for statement in TABLES:
                connection.execute(statement)
            found = dict(connection.execute("SELECT name, value FROM holdover_replay_run"))
            if not found:
                if not is_empty:
                    raise BadInput(f"{path}: is the log of something else; choose another file")
                connection.executemany("INSERT INTO holdover_replay_run VALUES (?, ?)", fingerprint.items())
        differences = [
            f"{name} was {quoted(found.get(name, ''))} and is {quoted(value)}"
            for name, value in fingerprint.items()
            if found and found.get(name) != value
        ]
        if differences:
            raise BadInput(
                f"{path}: belongs to another run: {'; '.join(differences)}; choose another file for this one"
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction of this thread's own; one that is not committed is rolled back as its connection closes."""
        with closing(sqlite3.connect(self.path, timeout=TIMEOUT, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA synchronous = {self._durability}")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def _fetch(self, statement: str) -> list[Any]:
        with self._in_plain_words(), closing(sqlite3.connect(self.path, timeout=TIMEOUT)) as connection:
            return connection.execute(statement).fetchall()

    @contextmanager
    def _in_plain_words(self) -> Iterator[None]:
        try:
            yield
        except ImportError as error:
            raise BadInput(str(error)) from None
        except (sqlite3.Error, LogError) as error:
            raise self._told(error) from None

    def _told(self, error: Exception) -> BadInput:
        what = str(error)
        return BadInput(what if str(self.path) in what else f"{self.path}: {what}")


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


def _dumped(row: Row) -> dict[str, Any]:
    return {"time": row.time, "value": row.value, "number": row.number, "user": row.user, "fields": list(row.fields)}


def _loaded(header: tuple[str, ...], kept: dict[str, Any]) -> Row:
    return Row(header=header, **kept | {"fields": tuple(kept["fields"])})


def _texts(columns: Mapping[str, Any]) -> dict[str, str]:
    """What will stand in the output."""
    return {_text(name): _text(value) for name, value in columns.items()}


def _text(value: Any) -> str:
    return "" if value is None else str(value)
