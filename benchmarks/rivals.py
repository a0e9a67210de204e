"""Bare `sqlite3`, in a file that is opened as the log opens its own: the limit of what a durable log can do.

Also what all who write to SQLite need for figures that can be compared. Must not know buffers.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from time import perf_counter

from benchmarks.measuring import Run, own_copy
from events._sqlite._database import Opening

INSERT = "INSERT INTO bare (data) VALUES (?)"


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
