"""Processes whose connection to PostgreSQL breaks at any request: they die of it, or they live on and ask again.

A request is lost before it has reached the server, or it is done and its answer is lost. A process that dies asks
nothing more: another one, on a connection of its own, goes on. One that lives finds out by itself what was done.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any

import postgres
import psycopg
import pytest
from crash_comparing import found_in
from crash_driver import Drive
from crash_life import AFTER, BEFORE, UNACKNOWLEDGED, Fate, Life
from crash_world import USER, Scenario
from proxy import PATIENCE, Fault, Passage, Proxy, lost, unanswered

from events import EventLog, LogUnavailableError, OutcomeUnknownError, PostgresLog
from events._postgres._pool import Pool

LOST = "lost on its way"
SERVER_WAYS: dict[str, Fault] = {BEFORE: lost, AFTER: unanswered, UNACKNOWLEDGED: unanswered, LOST: lost}
"""In the first two the process dies; in the others it lives on, and notices nothing but that it takes longer."""


class InSchema:
    """A log in a schema, where the application has a table, too.

    Parameters:
        between: what the first process connects through; the next ones do not.
    """

    def __init__(self, between: Proxy) -> None:
        self.schema, self.address = postgres.new_schema(), between.address
        self.witness = psycopg.connect(postgres.address(postgres.QUICK), autocommit=True)
        self.open().close()
        self.table = f"{self.schema}.results"
        self.witness.execute(f"CREATE TABLE {self.table} (place serial, measurement int)".encode())

    def open(self) -> EventLog[Any]:
        """Where the connection breaks while it is opened, it says so; then an application opens it again."""
        for _ in range(2):
            with suppress(LogUnavailableError):
                return PostgresLog(self.address, schema=self.schema, timeout=PATIENCE, max_connections=1)
        raise AssertionError("only one connection was broken")

    def save_within(self, life: Life, complete: Callable[[Any], object]) -> None:
        window = found_in(life.log, USER)["frozen"]
        with psycopg.connect(self.address) as connection:
            statement = f"INSERT INTO {self.table} (measurement) SELECT unnest(%s::int[])"
            connection.execute(statement.encode(), (window,))
            complete(connection)
            life.fate.perform("COMMIT", connection.commit, lambda _none: True)

    def saved(self) -> list[int]:
        rows = self.witness.execute(f"SELECT measurement FROM {self.table} ORDER BY place".encode())
        return [measurement for (measurement,) in rows]


class Asked(Fate):
    """Nothing is hit by itself; before which request each write was begun is noted."""

    def __init__(self, between: Proxy, way: str) -> None:
        super().__init__(way=way)
        self.between, self.begun = between, list[int]()

    def noted(self) -> None:
        if self.in_flight:
            self.begun.append(self.between.requests)


class Asking(Drive):
    """A way through a scenario, on which something may happen to one request.

    Parameters:
        nth: which request; -1 for none.
        way: what happens to it.

    Attributes:
        requests: how many there were in the scenario; `writing`: those with which a write begins.
    """

    errors = (*Drive.errors, psycopg.Error)

    def __init__(self, scenario: Scenario, nth: int = -1, way: str = BEFORE) -> None:
        self.between = Proxy(postgres.address(postgres.QUICK))
        self.server, self.requests, self.writing = InSchema(self.between), 0, list[int]()
        super().__init__(scenario, self.server, Asked(self.between, way))
        self.between.requests, self.between.faults = 0, {nth: partial(self.strike, nth, way)}

    def strike(self, nth: int, way: str, passage: Passage) -> None:
        """What happens to the request, and to the process."""
        fate = self.fate
        fate.struck = f"request {nth} of {fate.call or 'its beginning'}"
        if way in (BEFORE, AFTER):
            fate.dead = self.between.refusing = True
            self.server.address = postgres.address(postgres.QUICK)
        SERVER_WAYS[way](passage)

    def run(self, start: int = 0) -> None:
        with self.between, closing(self.server.witness), mortal(self):
            super().run(start)

    def come_to_rest(self) -> None:
        self.requests = self.between.requests
        self.writing = [*self.fate.begun] if isinstance(self.fate, Asked) else []
        super().come_to_rest()

    def is_hit(self, error: BaseException | None) -> bool:
        """A process that lives notices it only where its own transaction is broken, or history has just been pruned."""
        if self.name == "complete_within":
            noticed: Any = (psycopg.Error, LogUnavailableError)
        else:
            noticed = OutcomeUnknownError if "prune" in self.scenario.operations else ()
        return self.fate.dead or (bool(self.fate.struck) and isinstance(error, noticed))

    def possible(self, stages: list[Any]) -> list[int]:
        return [self.fate.recorded, self.fate.recorded + 1][: 1 + self.fate.in_flight]


@contextmanager
def mortal(drive: Asking) -> Iterator[None]:
    """A process that is dead does not wake up where its log waits for a connection, or before it asks again."""

    def sleep(seconds: float) -> None:
        drive.fate.check_alive()
        time.sleep(min(seconds, 0.02))

    def getconn(pool: Pool, timeout: float | None = None) -> Any:
        drive.fate.check_alive()
        return wake_up(pool, timeout)

    def wait(pool: Pool, timeout: float) -> None:
        """A connection is waited for when it is asked for, which a dead process does not."""

    wake_up = Pool.getconn
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("events._postgres._database.sleep", sleep)
        patched.setattr(Pool, "getconn", getconn)
        patched.setattr(Pool, "wait", wait)
        yield
