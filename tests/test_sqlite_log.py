"""`SqliteLog` against the conformance suite and the executable specification."""

import sqlite3
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tried import LONG

from events import EventLog, SqliteLog
from events.conformance import EventLogConformance
from events.conformance._base import DoorLocked, DoorOpened


class TestSqliteLog(EventLogConformance):
    odd_measurements = tuple(odd for odd in EventLogConformance.odd_measurements if not isinstance(odd, (range, type)))
    histories = 400 if LONG else None

    @pytest.fixture(autouse=True)
    def directory(self, tmp_path: Path) -> None:
        self.paths = (tmp_path / f"{number}.db" for number in count())

    def make_log(self) -> EventLog[Any]:
        return SqliteLog(next(self.paths), durability="off", types=[DoorOpened, DoorLocked])

    def reopen(self, log: EventLog[Any]) -> EventLog[Any]:
        assert isinstance(log, SqliteLog)
        return SqliteLog(log.path, durability="off", types=[DoorOpened, DoorLocked])

    def connect(self, log: EventLog[Any]) -> sqlite3.Connection:
        assert isinstance(log, SqliteLog)
        connection = sqlite3.connect(log.path)
        connection.execute("BEGIN IMMEDIATE")
        return connection
