"""What an add costs the server and the others: one statement, one round trip, and no lock but on the user's row."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import postgres
import psycopg
import pytest
from psycopg.pq import Trace

from events import Grant, LogBusyError, MeasurementAdded, PostgresLog, ReplayCompleted
from events._postgres._session import Session

ROOM = Grant(room=1000)


def opened(schema: str | None = None, **how: Any) -> PostgresLog[Any]:
    return PostgresLog(postgres.address(postgres.QUICK), schema=schema or postgres.new_schema(), **how)


def impatient(schema: str) -> PostgresLog[Any]:
    """A log whose statements the server lets wait for others for a moment only; it has time for all else."""
    return PostgresLog(postgres.address("options=-clock_timeout%3D50"), schema=schema, transaction_pooler=True)


@pytest.fixture
def log() -> Iterator[PostgresLog[Any]]:
    """A log in which ann and bob have room."""
    with opened(max_connections=4) as log:
        for name in ("ann", "bob"):
            log.append(name, [MeasurementAdded(0)], expected_head=0, grant=ROOM)
        yield log


@pytest.fixture
def connection() -> Iterator["psycopg.Connection[Any]"]:
    """The application's."""
    with psycopg.connect(postgres.address()) as connection:
        yield connection
        connection.rollback()


def add(log: PostgresLog[Any], name: str, measurement: object) -> int | None:
    return log.add(name, measurement, lambda: 0.0)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The statements that are run from now on."""
    ran: list[object] = []

    def noted(run: Callable[..., Any]) -> Callable[..., Any]:
        return lambda session, statement, parameters: [ran.append(statement), run(session, statement, parameters)][1]

    for name in ("run", "run_quick"):
        monkeypatch.setattr(Session, name, noted(getattr(Session, name)))
    return ran


def test_an_add_is_one_statement(log: PostgresLog[Any], statements: list[object]) -> None:
    """Also the first in a process that has seen nothing of the user, one that evicts, a batch, and an append."""
    known = log._statements
    add(log, "ann", 1)
    log.add_many("ann", [2, 3], lambda: 0.0)
    log.append("ann", [MeasurementAdded(4), ReplayCompleted(1)], expected_head=4, grant=ROOM)
    log.append("cid", [MeasurementAdded(0)], expected_head=0)
    assert statements == [known.add, known.add_many, known.append, known.create]
    with opened(log.schema) as again:
        statements.clear()
        assert add(again, "ann", 5) == 6
        assert add(again, "ann", 6) == 7
    assert statements == [known.add_anyhow, known.add]


def test_an_add_without_room_is_found_out_by_one_statement_more(
    log: PostgresLog[Any], statements: list[object]
) -> None:
    """Where others have used up the room that was seen; from then on it is one again."""
    known = log._statements
    with opened(log.schema) as other:
        other.append("ann", [MeasurementAdded(1)], expected_head=1, grant=Grant())
    statements.clear()
    assert add(log, "ann", 2) is None
    assert add(log, "ann", 2) is None
    assert statements == [known.add, known.add_anyhow, known.add_anyhow]


def test_only_some_streams_are_remembered_to_have_room(monkeypatch: pytest.MonkeyPatch, log: PostgresLog[Any]) -> None:
    """However many there are; the others are added to all the same."""
    monkeypatch.setattr("events._postgres._log.KNOWN", 2)
    names = [str(number) for number in range(5)]
    for name in names:
        log.append(name, [MeasurementAdded(0)], expected_head=0, grant=ROOM)
        assert len(log._seen) <= 2
    assert [add(log, name, 1) for name in names] == [1] * 5
    assert [add(log, name, 1) for name in names] == [2] * 5


@contextmanager
def traced(log: PostgresLog[Any], path: Path) -> Iterator[None]:
    """Have libpq write down what is sent and received on the log's only connection."""
    pool = log._database._pool
    assert pool is not None
    with pool.connection() as session:
        pgconn = session.pgconn
    with path.open("wb") as file:
        pgconn.trace(file.fileno())
        pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
        yield
        pgconn.untrace()


def test_an_add_is_one_round_trip(tmp_path: Path) -> None:
    """Nothing is begun, committed or asked besides: for each add the server is waited for once."""
    with opened(max_connections=1) as log:
        log.append("ann", [MeasurementAdded(0)], expected_head=0, grant=ROOM)
        assert [add(log, "ann", 1), log.add_many("ann", [2, 3], lambda: 0.0)] == [1, 2]  # and both are prepared
        with traced(log, tmp_path / "trace"):
            assert [add(log, "ann", number) for number in (4, 5, 6)] == [4, 5, 6]
            assert log.add_many("ann", [7, 8], lambda: 0.0) == 7
    lines = [line.split("\t") for line in (tmp_path / "trace").read_text(errors="replace").splitlines()]
    messages = Counter((line[0], line[2].split(" ")[0]) for line in lines if len(line) > 2)
    assert messages["F", "Sync"] == messages["F", "Execute"] == messages["B", "ReadyForQuery"] == 4
    assert not messages.keys() & {("F", "Parse"), ("F", "Query")}


def test_an_add_locks_no_table_and_takes_no_advisory_lock(
    log: PostgresLog[Any], connection: "psycopg.Connection[Any]"
) -> None:
    """In an open transaction there is nothing to be seen but what any INSERT and UPDATE takes."""
    connection.execute("SELECT 1")
    joined = log.joined(connection)
    add(joined, "ann", 1)
    joined.add_many("ann", [2], lambda: 0.0)
    joined.append("ann", [ReplayCompleted(1)], expected_head=3)
    joined.append("cid", [ReplayCompleted(1)], expected_head=0)
    held = set(
        connection.execute(
            "SELECT locktype, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype NOT IN ('virtualxid')"
        ).fetchall()
    )
    assert held <= {
        ("relation", "AccessShareLock"),
        ("relation", "RowExclusiveLock"),
        ("transactionid", "ExclusiveLock"),
    }
    assert ("relation", "RowExclusiveLock") in held


def test_adds_of_others_do_not_wait(log: PostgresLog[Any], connection: "psycopg.Connection[Any]") -> None:
    """While an open transaction holds ann, bob adds, replays and comes into being; ann waits, and is told why."""
    connection.execute("SELECT 1")
    log.joined(connection).append("ann", [ReplayCompleted(1)], expected_head=1)
    with impatient(log.schema) as other:
        assert add(other, "bob", 1) == 1
        assert other.add_many("bob", [2, 3], lambda: 0.0) == 2
        assert other.append("bob", [ReplayCompleted(1)], expected_head=4, grant=ROOM) == 5
        assert other.append("cid", [MeasurementAdded(0)], expected_head=0) == 1
        with pytest.raises(LogBusyError, match=r"has held the user for .*keep transactions short"):
            add(other, "ann", 1)
        connection.rollback()
        assert add(other, "ann", 1) == 1


def test_who_claims_does_not_wait_for_who_claims(log: PostgresLog[Any], connection: "psycopg.Connection[Any]") -> None:
    """While a claim is not yet committed, others are given the next streams; where it is rolled back it never was."""
    for name in ("ann", "bob"):
        log.append(name, [], expected_head=1, grant=Grant(due_at=1.0))
    connection.execute("SELECT 1")
    assert log.joined(connection).claim(1.0, 9.0, 1) == ["ann"]
    with impatient(log.schema) as other:
        assert other.claim(1.0, 9.0, 9) == ["bob"]
        assert other.claim(1.0, 9.0, 9) == []
        connection.rollback()
        assert other.claim(1.0, 9.0, 9) == ["ann"]


def waiting(connection: "psycopg.Connection[Any]", schema: str) -> bool:
    """Whether a statement on this schema waits for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
    return connection.execute(query, (f'%"{schema}"%',)).fetchone() != (0,)


def test_readers_never_skip_what_commits_late(log: PostgresLog[Any], connection: "psycopg.Connection[Any]") -> None:
    """While an append to ann is not yet committed and an add waits for it, readers see no gap, and then all."""
    connection.execute("SELECT 1")
    log.joined(connection).append("ann", [MeasurementAdded(1), ReplayCompleted(1)], expected_head=1, grant=ROOM)
    late: list[int | None] = []
    adder = Thread(target=lambda: late.append(add(log, "ann", "late")))
    adder.start()
    with opened(log.schema) as reader, psycopg.connect(postgres.address(), autocommit=True) as looking:
        deadline = time.monotonic() + 60
        while not waiting(looking, log.schema):
            assert time.monotonic() < deadline, "the add does not wait"
        for _ in range(3):
            assert add(reader, "bob", 1) is not None
            assert [entry.offset for entry in reader.read("ann")] == [0]
        assert [entry.offset for entry in reader.read("bob")] == [0, 1, 2, 3]
        assert late == []
        connection.commit()
        adder.join()
        assert late == [3]
        assert [entry.offset for entry in reader.read("ann")] == [0, 1, 2, 3]
        assert [entry.offset for entry in reader.controls("ann")] == [2]


def prepared(log: PostgresLog[Any]) -> int:
    """How many statements are prepared in the log's only connection."""
    pool = log._database._pool
    assert pool is not None
    with pool.connection() as session:
        ((count,),) = session.execute("SELECT count(*) FROM pg_prepared_statements", prepare=False).fetchall()
        return int(count)


@pytest.mark.parametrize("pooled", [True, False])
def test_behind_a_transaction_pooler_nothing_is_kept_in_a_connection(pooled: bool) -> None:
    """No prepared statements and no settings, since the next transaction has another connection; else there are."""
    with opened(transaction_pooler=pooled, max_connections=1, timeout=7.0) as log:
        log.append("ann", [MeasurementAdded(0)], expected_head=0, grant=ROOM)
        for number in range(10):
            assert add(log, "ann", number) == 1 + number
        assert log.add_many("ann", [1, 2], lambda: 0.0) == 11
        assert [entry.offset for entry in log.read("ann")] == list(range(13))
        assert (prepared(log) == 0) is pooled
        assert (log._database.fetch("SHOW lock_timeout", {}) == [("7s",)]) is not pooled


def test_more_threads_than_connections_take_turns() -> None:
    """Each waits until one is free, and all that was added is there once."""
    with opened(max_connections=1) as log:
        log.append("ann", [MeasurementAdded(0)], expected_head=0, grant=ROOM)
        offsets: list[int | None] = []
        threads = [
            Thread(target=lambda: offsets.extend(add(log, "ann", number) for number in range(10))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(offset for offset in offsets if offset) == list(range(1, 41))


def test_compacting_gives_the_servers_space_back(log: PostgresLog[Any]) -> None:
    """It is for the server to do; what is there stays."""
    log.append("ann", [MeasurementAdded(number) for number in range(1, 100)], expected_head=1)
    log.truncate("ann", 90, {"folded": 90})
    log.compact()
    assert [entry.offset for entry in log.read("ann", 90)] == list(range(90, 100))
    assert log._database.fetch(f"SELECT count(*) FROM {log.schema}.events WHERE user_id = 'ann'", {}) == [(10,)]
