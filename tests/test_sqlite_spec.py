"""The executable specification against `SqliteLog`, alone and where two processes take turns."""

import sqlite3
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from driving import drive
from spec_on_disk import OpenedAnew, TakingTurns, slowly

from events import EventLog, SqliteLog
from statemachine.spec import ReplayBufferSpec


class SqliteSpec(OpenedAnew):
    """In a file."""

    def open(self) -> EventLog[Any]:
        return SqliteLog(f"{self.directory.name}/buffers.db", durability="off")

    def make_log(self) -> EventLog[Any]:
        self.directory = TemporaryDirectory()
        return self.open()

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"{self.directory.name}/buffers.db")
        connection.execute("BEGIN IMMEDIATE")
        return connection

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            if hasattr(self, "directory"):
                self.directory.cleanup()


class TwoProcessesSpec(TakingTurns, SqliteSpec):
    """In a file, for two."""


TestSqliteSpec = SqliteSpec.TestCase
TestTwoProcesses = TwoProcessesSpec.TestCase
TestSqliteSpec.settings = TestTwoProcesses.settings = slowly(6)


@pytest.mark.parametrize("machine", [SqliteSpec, TwoProcessesSpec])
def test_by_hand(machine: type[ReplayBufferSpec]) -> None:
    """The history that takes every rule both ways, so that what is drawn at random decides nothing."""
    by_hand = machine()
    drive(by_hand)
    assert set(by_hand.replayed) == {"ann"}
