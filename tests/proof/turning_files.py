"""Openings of one SQLite file that take turns at each statement that others can see. Must not know what is written.

What another process can see of a transaction is its beginning, by which it holds the file, and its end. So who writes
takes the file as a lock, and what happens between has no turns; a query has one. The lock is taken here before SQLite
is asked for it, so SQLite never finds the file held: how it waits for a file is not tried here, but by killed and
paused processes elsewhere.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from shutil import rmtree
from typing import Any
from unittest.mock import patch

from interleaved import CONFIG, Clock
from turn_deeds import READ, Changed
from watching import WATCH

from events import SqliteLog
from statemachine import ReplayBuffer

LOCK = "file.writing"


class WatchedConnection(sqlite3.Connection):
    """A connection that takes turns."""

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        turns = WATCH.turns
        if turns is None or turns.running is None or id(WatchedConnection) not in WATCH.names:
            return super().execute(statement, *parameters)
        word = statement.split()[0].upper()
        if word == "BEGIN":
            turns.acquire(LOCK)
            return super().execute(statement, *parameters)
        if self.in_transaction and word not in ("COMMIT", "ROLLBACK"):
            return super().execute(statement, *parameters)
        if word in ("SELECT", "WITH", "PRAGMA"):
            turns.touch("file", READ)
            return super().execute(statement, *parameters)
        alone = not self.in_transaction
        if alone:
            turns.acquire(LOCK)
        try:
            turns.touch("file", Changed())
            return super().execute(statement, *parameters)
        finally:
            turns.release(LOCK)


@contextmanager
def in_files(directory: Path) -> Iterator[Callable[[Clock], Sequence[ReplayBuffer[int]]]]:
    """A context in which logs in files take turns; gives what opens a new file twice."""
    numbers = count()

    def opened(clock: Clock) -> Sequence[ReplayBuffer[int]]:
        rmtree(directory / "log", ignore_errors=True)
        (directory / "log").mkdir()
        path = directory / "log" / f"{next(numbers)}.db"
        return [ReplayBuffer(SqliteLog(path, durability="off"), CONFIG, clock=clock) for _ in range(2)]

    with patch("sqlite3.connect", partial(sqlite3.connect, factory=WatchedConnection)):
        yield opened
