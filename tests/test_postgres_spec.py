"""The executable specification against `PostgresLog`, alone and where two machines take turns."""

from typing import Any

import postgres
import psycopg
from driving import drive
from spec_on_disk import OpenedAnew, TakingTurns, slowly

from events import EventLog, PostgresLog


class PostgresSpec(OpenedAnew):
    """In a schema."""

    def open(self) -> EventLog[Any]:
        return PostgresLog(postgres.address(postgres.QUICK), schema=self.schema)

    def make_log(self) -> EventLog[Any]:
        self.schema = postgres.new_schema()
        return self.open()

    def connect(self) -> "psycopg.Connection[Any]":
        connection = psycopg.connect(postgres.address())
        connection.execute("SELECT 1")
        return connection


class TwoMachinesSpec(TakingTurns, PostgresSpec):
    """In a schema, for two."""


TestPostgresSpec = PostgresSpec.TestCase
TestTwoMachines = TwoMachinesSpec.TestCase
TestPostgresSpec.settings = TestTwoMachines.settings = slowly(3)


def test_by_hand() -> None:
    """The history that takes every rule both ways, so that what is drawn at random decides nothing."""
    by_hand = TwoMachinesSpec()
    drive(by_hand)
    assert set(by_hand.replayed) == {"ann"}
