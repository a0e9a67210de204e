"""Other ways to keep items in one SQLite file: bare `sqlite3`, and libraries that do a durable log's job.

All of them write ahead (WAL), the libraries with `synchronous=FULL`. Where there was a choice, it was made in their
favour: items come to them encoded, and what they need besides is made before the clock starts. Must not know buffers.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from time import perf_counter
from typing import Any, Protocol
from uuid import uuid4

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteAggregateRecorder, SQLiteApplicationRecorder, SQLiteDatastore
from litequeue import LiteQueue
from persistqueue import SQLiteAckQueue

from benchmarks.measuring import Run, own_copy, timed
from events._sqlite._database import Opening

INSERT = "INSERT INTO bare (data) VALUES (?)"
SYNCHRONOUS = "PRAGMA synchronous = FULL"


class Rival(Protocol):
    """What is timed; every figure is seconds an item. `path` is the SQLite file."""

    path: Path

    def one_by_one(self, items: int) -> float:
        """Keep items, each of them durably before the next."""

    def at_once(self, items: int) -> float:
        """Keep items in the fewest transactions that the library allows."""

    def close(self) -> None: ...


class Recorder:
    """A recorder of eventsourcing, with one aggregate.

    The library sets WAL and leaves `synchronous` as SQLite was built; it is set here on the pool's one connection.
    """

    def __init__(self, kind: Callable[[SQLiteDatastore], Any], path: Path, data: bytes) -> None:
        self.path = path
        self._datastore = SQLiteDatastore(str(path), pool_size=1, max_overflow=0)
        self._recorder = kind(self._datastore)
        self._recorder.create_table()
        with self._datastore.get_connection(commit=True) as connection:
            connection.cursor().execute(SYNCHRONOUS)
        aggregate = uuid4()
        self._events = (StoredEvent(aggregate, version, "Measured", data) for version in count(1))

    def one_by_one(self, items: int) -> float:
        events = [[event] for event in islice(self._events, items)]
        return timed(lambda: [self._recorder.insert_events(each) for each in events]) / items

    def at_once(self, items: int) -> float:
        events = list(islice(self._events, items))
        return timed(lambda: self._recorder.insert_events(events)) / items

    def close(self) -> None:
        self._datastore.close()


class AckQueue:
    """persist-queue's `SQLiteAckQueue`.

    It has no way to put several in one transaction, so a batch is as many puts. It sets WAL and leaves `synchronous` as
    SQLite was built; it is set here on its connection.
    """

    def __init__(self, path: Path, data: bytes) -> None:
        self._queue, self._data = SQLiteAckQueue(str(path.parent), db_file_name=path.name), data
        self.path = path
        self._queue._putter.execute(SYNCHRONOUS)

    def one_by_one(self, items: int) -> float:
        return timed(lambda: [self._queue.put(self._data) for _ in range(items)]) / items

    def at_once(self, items: int) -> float:
        return self.one_by_one(items // 10 + 1)  # each costs the same, and fewer are enough

    def close(self) -> None:
        self._queue.close()


class Lite:
    """litequeue; it takes text. It sets `synchronous=NORMAL`, which is set back to FULL here."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self._queue, self._text = path, LiteQueue(path), text
        self._queue.conn.execute(SYNCHRONOUS)

    def one_by_one(self, items: int) -> float:
        return timed(lambda: [self._queue.put(self._text) for _ in range(items)]) / items

    def at_once(self, items: int) -> float:
        return timed(lambda: self._in_one_transaction(items)) / items

    def close(self) -> None:
        self._queue.close()

    def _in_one_transaction(self, items: int) -> None:
        with self._queue.transaction():
            for _ in range(items):
                self._queue.put(self._text)


def rivals(folder: Path, data: bytes, text: str) -> dict[str, Rival]:
    """Each library by its name, with an empty file of its own.

    Parameters:
        folder: where the files go.
        data: an item, encoded.
        text: the same as text.
    """
    return {
        "eventsourcing, aggregate recorder": Recorder(SQLiteAggregateRecorder, folder / "aggregate.db", data),
        "eventsourcing, application recorder": Recorder(SQLiteApplicationRecorder, folder / "application.db", data),
        "persist-queue, SQLiteAckQueue": AckQueue(folder / "persist-queue.db", data),
        "litequeue": Lite(folder / "litequeue.db", text),
    }


def opened(path: Path, durability: str = "full") -> sqlite3.Connection:
    """A connection opened as the log opens its own, so with the same pragmas. Each statement is a transaction."""
    connection = Opening(str(path), durability.upper(), 10.0).connect("rwc")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


class Bare:
    """One table with an integer primary key and a blob, in a file that is opened as the log opens its own.

    Rows are inserted and committed as people do it with `sqlite3`: `execute`, `commit`.
    """

    def __init__(self, path: Path, data: bytes, durability: str = "full") -> None:
        self.connection, self.data = opened(path, durability), data
        self.connection.execute("CREATE TABLE IF NOT EXISTS bare (id INTEGER PRIMARY KEY, data BLOB NOT NULL)")
        self.connection.isolation_level = ""  # the default, under which an INSERT begins a transaction
        let_grow(path)

    def rows(self, times: int) -> Run:
        """A run that inserts rows one by one."""
        own = own_copy(insert_all)
        return lambda: own(self.connection, self.data, times)

    def many(self, rows: int) -> None:
        """Insert rows in one transaction."""
        self.connection.executemany(INSERT, [(self.data,)] * rows)
        self.connection.commit()

    def __enter__(self) -> "Bare":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def insert_all(connection: sqlite3.Connection, data: bytes, times: int) -> float:
    """Insert so many rows, and commit each; seconds a row."""
    start = perf_counter()
    for _ in range(times):
        connection.execute(INSERT, (data,))
        connection.commit()
    return (perf_counter() - start) / times


def let_grow(path: Path) -> None:
    """Give the file, which somebody has open, a write-ahead log of full length, as it has after 1,000 commits.

    Until then each commit makes it longer, and a file that grows takes longer to reach the disk.
    """
    with closing(opened(path, "off")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS growth (once INTEGER PRIMARY KEY)")
        pages = connection.execute("PRAGMA wal_autocheckpoint").fetchone()[0]
        for _ in range(pages + 10):
            connection.execute("INSERT INTO growth DEFAULT VALUES")


def on_disk() -> TemporaryDirectory[str]:
    """A temporary directory, in build/ where the usual place for those is in memory: there nothing waits for a disk."""
    mounts = Path("/proc/mounts")
    lines = mounts.read_text(encoding="utf-8").splitlines() if mounts.exists() else []
    kinds = {point: kind for _, point, kind, *_ in map(str.split, lines)}
    usual = Path(gettempdir()).resolve()
    if next((kinds[str(place)] for place in (usual, *usual.parents) if str(place) in kinds), "") != "tmpfs":
        return TemporaryDirectory()
    Path("build").mkdir(exist_ok=True)
    return TemporaryDirectory(dir="build")
