"""Opening a schema: made once by however many come at once, brought up to date under way, refused where it is later."""

import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import postgres
import psycopg
import pytest

from events import Grant, LogUnavailableError, MeasurementAdded, PostgresLog
from events._postgres import _opening
from events._postgres._opening import Migration, migrations
from events.conformance._base import together

COMERS = 6


@pytest.fixture
def connection() -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(postgres.address(), autocommit=True) as connection:
        yield connection


def opened(schema: str, *options: str, **how: Any) -> PostgresLog[Any]:
    return PostgresLog(postgres.address(*options or (postgres.QUICK,)), schema=schema, **how)


def further(script: str) -> list[Migration]:
    """The migrations and one more."""
    known = migrations()
    return [*known, Migration(known[-1].version + 1, "9999_further.sql", script)]


def versions(connection: "psycopg.Connection[Any]", schema: str) -> list[tuple[Any, ...]]:
    return connection.execute(f"SELECT version FROM {schema}.log").fetchall()


def only_so_often(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Steps that are taken again and again end in a failure of the test, and not in waiting for ever."""
    step, taken = _opening._step, iter(range(times))

    def counted(*arguments: Any) -> None:
        if next(taken, None) is None:
            pytest.fail(f"a step was taken more than {times} times")
        step(*arguments)

    monkeypatch.setattr(_opening, "_step", counted)


def test_threads_may_make_a_schema_at_once(connection: "psycopg.Connection[Any]") -> None:
    """All find the same log in it, made once."""
    schema = postgres.new_schema()
    logs = together(*[partial(opened, schema)] * COMERS)
    assert len({log._identity for log in logs}) == 1
    assert versions(connection, schema) == [(migrations()[-1].version,)]
    for number, log in enumerate(logs):
        assert log.append("ann", [MeasurementAdded(number)], expected_head=number) == number + 1
        log.close()


def test_processes_may_make_a_schema_at_once(connection: "psycopg.Connection[Any]") -> None:
    """On whichever machines: each begins when all are ready, and all add to the same log."""
    schema = postgres.new_schema()
    script = (
        "import sys\n"
        "from events import Grant, MeasurementAdded, PostgresLog\n"
        "import events._postgres._database\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "with PostgresLog(sys.argv[1], schema=sys.argv[2]) as log:\n"
        "    log.append(sys.argv[3], [MeasurementAdded(1)], expected_head=0)\n"
        "    print(log._identity)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, postgres.address(postgres.QUICK), schema, f"user {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(set(told)) == 1
    with opened(schema) as log:
        assert told[0] == f"{log._identity}\n"
        assert sorted(log.streams()) == ["user 0", "user 1", "user 2"]
    assert versions(connection, schema) == [(migrations()[-1].version,)]


def test_a_further_step_is_taken_once_while_others_go_on(
    connection: "psycopg.Connection[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several bring the tables up to date at once; who had the log open adds before, meanwhile and afterwards."""
    schema = postgres.new_schema()
    log = opened(schema)
    log.append("ann", [MeasurementAdded(0)], expected_head=0, grant=Grant(room=10_000))
    steps = further(
        "ALTER TABLE {schema}.streams ADD COLUMN note text; CREATE TABLE {schema}.steps (taken integer); "
        "INSERT INTO {schema}.steps VALUES (2)"
    )
    monkeypatch.setattr(_opening, "migrations", lambda: steps)
    done: list[PostgresLog[Any]] = []

    def adding() -> PostgresLog[Any]:
        number = 1
        while len(done) < COMERS or number < 20:
            assert log.add("ann", number, lambda: 0.0) == number
            number += 1
        return log

    def opening() -> PostgresLog[Any]:
        again = opened(schema)
        done.append(again)
        assert again.add("bob", 1, lambda: 0.0) is None
        return again

    jobs: list[Callable[[], PostgresLog[Any]]] = [adding, *[opening] * COMERS]
    for each in together(*jobs):
        position = each.position("ann")
        assert position is not None
        assert [entry.event.measurement for entry in each.read("ann")] == [*range(position.head)]  # type: ignore[attr-defined]
        each.close()
    assert connection.execute(f"SELECT taken FROM {schema}.steps").fetchall() == [(2,)]
    assert versions(connection, schema) == [(steps[-1].version,)]


def test_who_comes_when_a_step_is_taken_does_not_take_it_again(
    connection: "psycopg.Connection[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two saw the old version; the second finds the new one when it is its turn, and leaves it."""
    schema = postgres.new_schema()
    opened(schema).close()
    steps = further("CREATE TABLE {schema}.once (a integer)")
    before = steps[-2].version
    for _ in range(2):
        with connection.transaction():
            _opening._step(connection, schema, before, steps)
    assert versions(connection, schema) == [(steps[-1].version,)]


def test_a_step_that_fails_leaves_all_as_it_was(
    connection: "psycopg.Connection[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what the step had done before it failed; who does not need it can still use the log."""
    schema = postgres.new_schema()
    with opened(schema) as log:
        log.append("ann", [MeasurementAdded(0)], expected_head=0)
    with monkeypatch.context() as patched:
        patched.setattr(
            _opening, "migrations", lambda: further("CREATE TABLE {schema}.half (a integer); SELECT 1 / (1 - 1)")
        )
        with pytest.raises(LogUnavailableError, match="division by zero"):
            opened(schema)
    assert versions(connection, schema) == [(migrations()[-1].version,)]
    assert connection.execute("SELECT to_regclass(%s)", (f"{schema}.half",)).fetchone() == (None,)
    with opened(schema) as log:
        assert list(log.streams()) == ["ann"]


def test_a_later_version_is_refused(connection: "psycopg.Connection[Any]") -> None:
    """With both versions, and what to do; nothing is changed, whether it may migrate or only read."""
    schema = postgres.new_schema()
    opened(schema).close()
    connection.execute(f"UPDATE {schema}.log SET version = 7")
    for how in ({}, {"migrate": False}, {"read_only": True}):
        with pytest.raises(LogUnavailableError, match=r"its version is 7, this program knows \d+\); update holdover"):
            opened(schema, **how)
    assert versions(connection, schema) == [(7,)]


@pytest.mark.parametrize(
    ("how", "remedy"), [({"migrate": False}, "open it with migrate=True"), ({"read_only": True}, "name another schema")]
)
def test_who_must_not_make_tables_says_that_they_are_missing(
    connection: "psycopg.Connection[Any]", monkeypatch: pytest.MonkeyPatch, how: dict[str, bool], remedy: str
) -> None:
    """Of a schema that is not there, and of one of an earlier version; one that is of this version is opened."""
    schema = postgres.new_schema()
    with pytest.raises(LogUnavailableError, match=f"schema {schema} holds no log; {remedy}"):
        opened(schema, **how)
    assert connection.execute("SELECT to_regnamespace(%s)", (schema,)).fetchone() == (None,)
    opened(schema).close()
    with opened(schema, **how) as log:
        assert list(log.streams()) == []
    latest = migrations()[-1].version
    monkeypatch.setattr(_opening, "migrations", lambda: further("SELECT 1"))
    with pytest.raises(LogUnavailableError, match=f"is of version {latest}, not {latest + 1}; {remedy}"):
        opened(schema, **how)


def test_a_log_that_is_only_read_writes_nothing() -> None:
    """Whatever would write is refused with words, and what is there is read."""
    schema = postgres.new_schema()
    with opened(schema) as log:
        log.append("ann", [MeasurementAdded(0)], expected_head=0, grant=Grant(room=5))
    with opened(schema, read_only=True) as log:
        for write in (
            partial(log.append, "ann", [MeasurementAdded(1)], expected_head=1),
            partial(log.add, "ann", 1, lambda: 0.0),
            partial(log.truncate, "ann", 1, None),
        ):
            with pytest.raises(LogUnavailableError, match=r"nothing can be (written|recorded)"):
                write()
        assert [entry.offset for entry in log.read("ann")] == [0]


@pytest.fixture
def role(connection: "psycopg.Connection[Any]") -> Iterator[str]:
    """A role that owns nothing, and goes away with all it was given."""
    name = f"holdover_{uuid4().hex[:12]}"
    connection.execute(f"CREATE ROLE {name}")
    connection.execute(f"GRANT {name} TO CURRENT_USER")
    yield name
    connection.execute(f"DROP OWNED BY {name} CASCADE")
    connection.execute(f"DROP ROLE {name}")


def test_a_role_that_may_make_no_schema_uses_one_that_was_made_for_it(
    connection: "psycopg.Connection[Any]", role: str
) -> None:
    """It makes the tables there; where there is no schema, or no right to use it, the error says what to grant."""
    schema, as_role = postgres.new_schema(), f"options=-crole%3D{role}"
    database = connection.info.dbname
    connection.execute(f'REVOKE CREATE ON DATABASE "{database}" FROM {role}')
    with pytest.raises(LogUnavailableError, match="the role may not do that"):
        opened(schema, as_role)
    connection.execute(f"CREATE SCHEMA {schema}")
    with pytest.raises(LogUnavailableError, match=f"grant it what it needs in schema {schema}"):
        opened(schema, as_role)
    connection.execute(f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}")
    with opened(schema, as_role) as log:
        log.append("ann", [MeasurementAdded(0)], expected_head=0)
        assert list(log.streams()) == ["ann"]


def test_a_schema_with_somebody_elses_tables_is_refused(
    connection: "psycopg.Connection[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application that has a table `events` of its own is told so, and its table is left as it is."""
    schema = postgres.new_schema()
    connection.execute(f"CREATE SCHEMA {schema}")
    connection.execute(f"CREATE TABLE {schema}.events (a integer)")
    only_so_often(monkeypatch, 10)
    with pytest.raises(LogUnavailableError, match="events"):
        opened(schema)
    assert connection.execute("SELECT to_regclass(%s)", (f"{schema}.log",)).fetchone() == (None,)


def test_the_migrations_count_from_one_without_a_gap() -> None:
    """Their order is that of their files' names; each makes its names in the log's schema and in no other."""
    steps = migrations()
    assert [step.version for step in steps] == list(range(1, len(steps) + 1))
    assert [step.name for step in steps] == sorted(step.name for step in steps)
    assert all("{schema}." in step.script for step in steps)


def test_the_migrations_are_in_the_package() -> None:
    """They are beside the modules, so they are in a wheel, which takes the whole package and leaves nothing out."""
    directory = files("events._postgres") / "migrations"
    assert {step.name for step in migrations()} == {entry.name for entry in directory.iterdir()}
    root = Path(__file__).parent.parent
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["events", "statemachine"]}
    ignored = (root / ".gitignore").read_text().split()  # which the builder leaves out
    assert not [pattern for pattern in ignored if Path("events/_postgres/migrations/0001_streams.sql").match(pattern)]
