"""The executable specification against `SqliteLog`, where dropping all memory opens the file anew."""

import os
import sqlite3
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from driving import drive
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule

from events import EventLog, SqliteLog
from statemachine import ReplayBuffer
from statemachine.spec import ReplayBufferSpec

LONG = os.environ.get("HOLDOVER_PROFILE") == "prove"


class SqliteSpec(ReplayBufferSpec):
    """The rules, unchanged."""

    def make_log(self) -> EventLog[Any]:
        self.directory = TemporaryDirectory()
        return SqliteLog(f"{self.directory.name}/buffers.db", durability="off")

    def reopen(self, log: EventLog[Any]) -> EventLog[Any]:
        log.close()
        return SqliteLog(f"{self.directory.name}/buffers.db", durability="off")

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"{self.directory.name}/buffers.db")
        connection.execute("BEGIN IMMEDIATE")
        return connection

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "directory"):
            self.directory.cleanup()


class TwoProcessesSpec(SqliteSpec):
    """The same, where at any time another opening of the same file goes on, with a memory of its own."""

    turn = 0

    def make_buffer(self) -> ReplayBuffer[int]:
        first = super().make_buffer()
        self.other = SqliteLog[int](f"{self.directory.name}/buffers.db", durability="off")
        self.logs = self.log, self.other
        self.log = self.other
        second = super().make_buffer()
        self.log = self.logs[0]
        self.buffers = first, second
        return first

    def reopen(self, log: EventLog[Any]) -> EventLog[Any]:
        for each in self.logs:
            each.close()
        return super().reopen(log)

    @rule()
    def another_process_goes_on(self) -> None:
        self.turn = 1 - self.turn
        self.log, self.buffer = self.logs[self.turn], self.buffers[self.turn]

    def teardown(self) -> None:
        if hasattr(self, "buffers"):
            super().teardown()
            for each in self.logs:
                each.close()


TestSqliteSpec = SqliteSpec.TestCase
TestTwoProcesses = TwoProcessesSpec.TestCase
TestSqliteSpec.settings = TestTwoProcesses.settings = settings(
    max_examples=300 if LONG else 6, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.parametrize("machine", [SqliteSpec, TwoProcessesSpec])
def test_by_hand(machine: type[ReplayBufferSpec]) -> None:
    """The history that takes every rule both ways, so that what is drawn at random decides nothing."""
    by_hand = machine()
    drive(by_hand)
    assert set(by_hand.replayed) == {"ann"}
