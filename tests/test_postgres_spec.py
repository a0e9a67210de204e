"""The executable specification against `PostgresLog`, alone and where two processes take turns."""

import os
from typing import Any

import postgres
import psycopg
import pytest
from driving import drive
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule

from events import EventLog, PostgresLog
from statemachine import ReplayBuffer
from statemachine.spec import ReplayBufferSpec

LONG = os.environ.get("HOLDOVER_PROFILE") == "prove"


class PostgresSpec(ReplayBufferSpec):
    """The rules, unchanged."""

    def open(self) -> PostgresLog[Any]:
        return PostgresLog(postgres.address(postgres.QUICK), schema=self.schema)

    def make_log(self) -> EventLog[Any]:
        self.schema = postgres.new_schema()
        return self.open()

    def reopen(self, log: EventLog[Any]) -> EventLog[Any]:
        log.close()
        return self.open()

    def connect(self) -> "psycopg.Connection[Any]":
        connection = psycopg.connect(postgres.address())
        connection.execute("SELECT 1")
        return connection


class TwoMachinesSpec(PostgresSpec):
    """The same, where at any time another opening of the same schema goes on, with a memory of its own."""

    turn = 0

    def make_buffer(self) -> ReplayBuffer[int]:
        first = super().make_buffer()
        self.other = self.open()
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
    def another_machine_goes_on(self) -> None:
        self.turn = 1 - self.turn
        self.log, self.buffer = self.logs[self.turn], self.buffers[self.turn]

    def teardown(self) -> None:
        if hasattr(self, "buffers"):
            super().teardown()
            for each in self.logs:
                each.close()


TestPostgresSpec = PostgresSpec.TestCase
TestTwoMachines = TwoMachinesSpec.TestCase
TestPostgresSpec.settings = TestTwoMachines.settings = settings(
    max_examples=300 if LONG else 3, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.parametrize("machine", [PostgresSpec, TwoMachinesSpec])
def test_by_hand(machine: type[ReplayBufferSpec]) -> None:
    """The history that takes every rule both ways, so that what is drawn at random decides nothing."""
    by_hand = machine()
    drive(by_hand)
    assert set(by_hand.replayed) == {"ann"}
