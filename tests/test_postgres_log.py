"""`PostgresLog` against the conformance suite."""

from typing import Any

import postgres
import psycopg
from tried import LONG

from events import EventLog, PostgresLog
from events.conformance import EventLogConformance
from events.conformance._base import DoorLocked, DoorOpened


class TestPostgresLog(EventLogConformance):
    odd_measurements = tuple(odd for odd in EventLogConformance.odd_measurements if not isinstance(odd, (range, type)))

    tells = True
    histories = 150 if LONG else None

    def open(self, schema: str) -> PostgresLog[Any]:
        return PostgresLog(postgres.address(postgres.QUICK), schema=schema, types=[DoorOpened, DoorLocked])

    def make_log(self) -> EventLog[Any]:
        return self.open(postgres.new_schema())

    def reopen(self, log: EventLog[Any]) -> EventLog[Any]:
        assert isinstance(log, PostgresLog)
        return self.open(log.schema)

    def connect(self, log: EventLog[Any]) -> "psycopg.Connection[Any]":
        connection = psycopg.connect(postgres.address())
        connection.execute("SELECT 1")
        return connection
