"""The tables: the user first in every key, no statement over two users, so that they can be sharded or partitioned."""

import re
from collections.abc import Iterator
from typing import Any

import postgres
import psycopg
import pytest
from attrs import asdict, evolve
from psycopg import ClientCursor
from test_postgres_log import TestPostgresLog as Log
from tried import LONG

from events import EventLog, Grant, MeasurementAdded, Offsets, PostgresLog, UnsupportedTypeError
from events._postgres import _opening
from events._postgres._opening import Migration, migrations
from events._postgres._rows import name_of, stored_name
from events._postgres._statements import statements
from events._postgres._writing import append_parameters
from events.conformance import EventLogConformance
from events.conformance._appending import Appending
from events.conformance._due import Due
from events.conformance._grants import Grants
from events.conformance._joining import Joining
from events.conformance._sharing import Sharing

PARTITIONED = ("streams", "events", "checkpoints")
PARTS = 3

ODD_NAMES = [
    "",
    " ",
    "a\0b",
    "\0",
    "\ud800",
    "a\udfffb",
    "\\",
    "\\x0000",
    "\\\\x0000",
    "a\\",
    "'; DROP TABLE streams; --",
    "\"quoted\" 'twice'",
    "%s %(user_id)s %%",
    "{schema}",
    "$1",
    "\n\r\t\x01\x7f",
    "ann\N{COMBINING ACUTE ACCENT}",
    "\N{GRINNING FACE}\U0010ffff",
    "x" * 2000,
]


def by_hash(step: Migration) -> Migration:
    """The step, with all tables partitioned by the hash of the user id."""
    script = re.sub(r"\n\)( WITH \(fillfactor = \d+\))?;", "\n) PARTITION BY HASH (user_id);", step.script)
    for table in PARTITIONED:
        assert f"CREATE TABLE {{schema}}.{table} (" in script
        for number in range(PARTS):
            script += (
                f"CREATE TABLE {{schema}}.{table}_{number} PARTITION OF {{schema}}.{table} "
                f"FOR VALUES WITH (MODULUS {PARTS}, REMAINDER {number});\n"
            )
    return evolve(step, script=script)


@pytest.fixture
def partitioned(monkeypatch: pytest.MonkeyPatch) -> None:
    """New schemas have partitioned tables."""
    monkeypatch.setattr(_opening, "migrations", lambda: [by_hash(step) for step in migrations()])


@pytest.fixture
def connection() -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(postgres.address(), autocommit=True) as connection:
        yield connection


def opened(schema: str) -> PostgresLog[Any]:
    return PostgresLog(postgres.address(postgres.QUICK), schema=schema)


SUITE: tuple[type, ...] = (EventLogConformance,) if LONG else (Appending, Grants, Due, Sharing, Joining)


@pytest.mark.usefixtures("partitioned")
class TestPartitionedLog(*SUITE):  # type: ignore[misc]
    """The suite again, where every table is in parts that share no key; the schemas are emptied and used again."""

    odd_measurements = Log.odd_measurements
    tells = True
    open, reopen, connect = Log.open, Log.reopen, Log.connect
    schemas: list[str] = []  # noqa: RUF012 - for all tests of the class

    @pytest.fixture(autouse=True)
    def from_the_first(self) -> None:
        self.used = 0

    def make_log(self) -> EventLog[Any]:
        if self.used == len(self.schemas):
            self.schemas.append(postgres.new_schema())
        log = self.open(self.schemas[self.used])
        for table in PARTITIONED:
            log._database.fetch(f"DELETE FROM {log.schema}.{table}", {})
        self.used += 1
        return log


@pytest.mark.usefixtures("partitioned")
def test_the_tables_are_in_parts(connection: "psycopg.Connection[Any]") -> None:
    """Else the tests on partitioned tables would show nothing: streams lie in each of the parts, with their events."""
    with opened(postgres.new_schema()) as log:
        for number in range(20):
            log.append(str(number), [MeasurementAdded(number)], expected_head=0)
        for table in ("streams", "events"):
            for part in range(PARTS):
                query = f"SELECT count(*) FROM {log.schema}.{table}_{part}"
                assert connection.execute(query).fetchone() != (0,), (table, part)


def test_the_user_is_first_in_every_key(connection: "psycopg.Connection[Any]") -> None:
    """Of every table but the one that holds the version: it has a primary key, which begins with the user's id."""
    with opened(postgres.new_schema()) as log:
        keys = connection.execute(
            "SELECT c.relname, i.indisprimary, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
            "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] "
            "WHERE i.indisunique AND c.relnamespace = %s::regnamespace",
            (log.schema,),
        ).fetchall()
        tables = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = %s::regnamespace", (log.schema,)
        ).fetchall()
    assert {column for _, _, column in keys} == {"user_id"}
    assert {table for table, primary, _ in keys if primary} == {table for (table,) in tables} - {"log"}


OF_MANY = {
    "candidates",
    "notify",
    "time",
    "streams",
    "overdue",
    "due",
    "next_due",
    "shelved",
    "identity",
    "vacuum",
    "channel",
}
"""The statements that are not for one user; none of them writes."""


@pytest.mark.usefixtures("partitioned")
def test_a_statement_for_a_user_looks_at_that_users_part_only(connection: "psycopg.Connection[Any]") -> None:
    """By the server's plans, of every statement there is: of each table at most one part is read or written."""
    with opened(postgres.new_schema()) as log:
        grant = Grant(victims=Offsets((range(2),)), due_at=1.0, due_after=1.0, shelved=True)
        others = {"now": 1.0, "fence": 0, "count": 1, "notifies": True, "start": 0, "stop": 9, "limit": 9, "time": 1.0}
        parameters = append_parameters("ann", [], 3, grant, b"issuer", 1.0) | others
        parameters |= {"offset": 1, "before": 1, "at": None}
        every = asdict(statements(log.schema, notifies=True), recurse=False)
        assert set(every) > OF_MANY
        for name in set(every) - OF_MANY:
            several = name in ("add_many", "append", "create")
            parameters["data"] = [b"data"] if several else b"data"
            cursor = ClientCursor(connection)
            statement = getattr(every[name], "template", every[name])
            cursor.execute("EXPLAIN (COSTS OFF) " + statement, parameters)
            plan = "\n".join(line for (line,) in cursor.fetchall())
            for table in PARTITIONED:
                assert len(set(re.findall(rf" on (?:\w+\.)?({table}_\d)\b", plan))) <= 1, (name, plan)
            if name not in ("create", "fence_off"):  # which find their part when it is there
                assert re.search(r" on (\w+\.)?(streams|events|checkpoints)_\d\b", plan), (name, plan)


def test_two_schemas_do_not_see_each_other() -> None:
    """In one database two logs are two: neither's streams, lists nor wake-ups are the other's."""
    with opened(postgres.new_schema()) as ann, opened(postgres.new_schema()) as bob:
        ann.append("ann", [MeasurementAdded(1)], expected_head=0, grant=Grant(until=1.0, due_at=1.0, shelved=True))
        assert bob.position("ann") is None
        assert [*bob.streams(), *bob.due(9.0), *bob.overdue(9.0), *bob.shelved(), *bob.claim(9.0, 10.0, 9)] == []
        bob.append("ann", [MeasurementAdded(2)], expected_head=0)
        assert [entry.event for entry in ann.read("ann")] == [MeasurementAdded(1)]
        assert ann._identity != bob._identity


def test_any_user_id_is_kept_as_it_is() -> None:
    """Whatever characters are in it: each is a user of its own, listed under its own name."""
    with opened(postgres.new_schema()) as log:
        for number, name in enumerate(ODD_NAMES):
            grant = Grant(room=1, until=1.0, due_at=1.0, shelved=True)
            assert log.append(name, [MeasurementAdded(number)], expected_head=0, grant=grant) == 1
            assert log.add(name, -number, lambda: 0.0) == 1
        for listed in (log.streams(), log.overdue(1.0), log.due(1.0), log.shelved(), log.claim(1.0, 2.0, 99)):
            assert sorted(listed) == sorted(ODD_NAMES)
        for number, name in enumerate(ODD_NAMES):
            assert list(log.measurements(name, range(2))) == [number, -number]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_the_way_back_from_a_kept_name_is_the_same(name: str) -> None:
    """What is kept is text for any server: without NUL and without halves of characters."""
    stored = stored_name(name)
    assert name_of(stored) == name
    assert "\0" not in stored
    assert stored.encode("utf-8").decode("utf-8") == stored


def test_a_user_id_that_is_too_long_is_refused() -> None:
    """With words, and nothing is recorded; the others go on."""
    with opened(postgres.new_schema()) as log:
        name = "".join(chr(0x4E00 + number * 7919 % 20000) for number in range(4000))
        with pytest.raises(UnsupportedTypeError, match="larger than the server keeps"):
            log.append(name, [MeasurementAdded(1)], expected_head=0)
        assert log.position(name) is None
        assert log.append("ann", [MeasurementAdded(1)], expected_head=0) == 1
        assert list(log.streams()) == ["ann"]


def test_a_batch_of_any_size_is_one_append() -> None:
    """Thousands at once, events and measurements: dense, in their order, and read back in pieces."""
    with opened(postgres.new_schema()) as log:
        many = [MeasurementAdded(number) for number in range(3000)]
        assert log.append("ann", many, expected_head=0, grant=Grant(room=3000)) == 3000
        assert log.add_many("ann", range(3000, 6000), lambda: 0.0) == 3000
        assert log.add_many("ann", [6000], lambda: 0.0) is None
        assert log.add_many("ann", [], lambda: 0.0) is None
        history = list(log.read("ann"))
    assert [entry.offset for entry in history] == list(range(6000))
    assert [entry.event.measurement for entry in history] == list(range(6000))  # type: ignore[attr-defined]


def test_a_state_is_kept_now_and_then() -> None:
    """With an append that brings the head far enough beyond the last one; it is found by any offset above it."""
    with opened(postgres.new_schema()) as log:
        for head in range(0, 1000, 100):
            log.append("ann", [MeasurementAdded(0)] * 100, expected_head=head, state={"folded": head + 100})
        found = [log.checkpoint("ann", at) for at in (299, 300, 599, 600, 1000)]
    assert [checkpoint and checkpoint.offset for checkpoint in found] == [None, 300, 300, 600, 900]
    assert [checkpoint and checkpoint.state for checkpoint in found[1:]] == [
        {"folded": offset} for offset in (300, 300, 600, 900)
    ]
