"""An application's open transaction is joined, whatever its connection is like; what is none is refused with words."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import postgres
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import class_row, dict_row, namedtuple_row
from psycopg.types.string import StrDumper

from events import (
    ConflictError,
    Grant,
    LogBusyError,
    LogError,
    LogUnavailableError,
    MeasurementAdded,
    PostgresLog,
    ReplayCompleted,
)
from statemachine import ReplayBuffer, StaleSnapshotError

Connection = psycopg.Connection[Any]


@pytest.fixture
def log() -> Iterator[PostgresLog[Any]]:
    """A log in which ann has room, and an application's table beside it."""
    with PostgresLog[Any](postgres.address(postgres.QUICK), schema=postgres.new_schema()) as log:
        log.append("ann", [MeasurementAdded(0)], expected_head=0, grant=Grant(room=10))
        with log._database.connection() as connection:
            connection.execute(f"CREATE TABLE {log.schema}.results (result text)".encode())
        yield log


def connect(**how: Any) -> Connection:
    return psycopg.connect(postgres.address(), **how)


def save(connection: Connection, log: PostgresLog[Any]) -> None:
    """Write a result, as the application does before it completes."""
    connection.execute(f"INSERT INTO {log.schema}.results VALUES ('result')".encode())


def saved(log: PostgresLog[Any]) -> tuple[int, int]:
    """How many results and how many events of ann are there for everybody."""
    ((results,),) = log._database.fetch(f"SELECT count(*) FROM {log.schema}.results", {})
    return results, len(list(log.read("ann")))


def work(joined: PostgresLog[Any]) -> None:
    """Use the joined log in every way that a transaction may."""
    position = joined.position("ann")
    assert position is not None
    head = position.head
    assert joined.add("ann", "one", lambda: 0.0) == head
    assert joined.add_many("ann", ["two", "three"], lambda: 0.0) == head + 1
    grant = Grant(room=10, due_at=5.0, until=6.0, shelved=True)
    assert joined.append("ann", [ReplayCompleted(1)], expected_head=head + 3, grant=grant, state={}, at=4.0) == head + 4
    assert [entry.offset for entry in joined.read("ann")] == list(range(head + 4))
    assert list(joined.measurements("ann", range(head, head + 3))) == ["one", "two", "three"]
    assert (joined.due(5.0), joined.overdue(6.0), joined.shelved(), joined.next_due(4.0)) == (
        *[["ann"]] * 3,
        5.0,
    )
    assert joined.claim(5.0, 6.0, 9) == ["ann"]
    assert joined.recorded_before("ann", 4.5) == head + 4
    assert list(joined.streams()) == ["ann"]


class Shouting(StrDumper):
    """Writes texts otherwise than they are."""

    def dump(self, obj: str) -> bytes:
        return obj.upper().encode()


def with_own_adapters() -> Connection:
    connection = connect()
    connection.adapters.register_dumper(int, Shouting)
    connection.adapters.register_loader("int8", psycopg.types.string.TextLoader)
    return connection


WAYS: dict[str, Callable[[], Connection]] = {
    "plain": connect,
    "rows as dicts": lambda: connect(row_factory=dict_row),
    "rows with names": lambda: connect(row_factory=namedtuple_row),
    "rows of a class": lambda: connect(row_factory=class_row(dict)),
    "parameters in the client": lambda: connect(cursor_factory=psycopg.ClientCursor),
    "parameters unchanged": lambda: connect(cursor_factory=psycopg.RawCursor),
    "cursors on the server": lambda: connect(cursor_factory=psycopg.ClientCursor, row_factory=dict_row),
    "never prepared": lambda: connect(prepare_threshold=None),
    "always prepared": lambda: connect(prepare_threshold=0),
    "other adapters": with_own_adapters,
    "another search path": lambda: connect(options="-csearch_path=pg_catalog"),
    "other styles": lambda: connect(options="-cDateStyle=German -cextra_float_digits=0 -cbytea_output=escape"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("commits", [True, False])
def test_any_transaction_of_the_application_is_joined(log: PostgresLog[Any], way: str, commits: bool) -> None:
    """However its connection gives rows and takes parameters: results and events are there together, or neither."""
    with WAYS[way]() as connection:
        save(connection, log)
        work(log.joined(connection))
        assert saved(log) == (0, 1)
        if commits:
            connection.commit()
        else:
            connection.rollback()
    assert saved(log) == ((1, 5) if commits else (0, 1))
    assert log.due(5.0) == (["ann"] if commits else [])


def test_a_transaction_block_in_autocommit_is_joined(log: PostgresLog[Any]) -> None:
    """And a block within it is rolled back alone, with what was recorded in it."""
    with connect(autocommit=True) as connection, connection.transaction():
        save(connection, log)
        joined = log.joined(connection)
        assert joined.add("ann", 1, lambda: 0.0) == 1
        with connection.transaction(force_rollback=True):
            save(connection, log)
            assert joined.add("ann", 2, lambda: 0.0) == 2
        assert joined.add("ann", 3, lambda: 0.0) == 2
    assert saved(log) == (1, 3)


@pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
def test_a_stricter_transaction_is_joined(log: PostgresLog[Any], level: psycopg.IsolationLevel) -> None:
    """It sees the log as it was when it began; where another has added since, it is to be done again as a whole."""
    with connect() as connection:
        connection.isolation_level = level
        save(connection, log)
        work(log.joined(connection))
        connection.commit()
        assert saved(log) == (1, 5)
        save(connection, log)
        joined = log.joined(connection)
        assert log.add("ann", "meanwhile", lambda: 0.0) == 5
        assert [entry.offset for entry in joined.read("ann")] == list(range(5))
        with pytest.raises(LogBusyError, match="roll back, and do the whole transaction again"):
            joined.append("ann", [ReplayCompleted(1)], expected_head=5)
        connection.rollback()
        save(connection, log)
        assert log.joined(connection).append("ann", [ReplayCompleted(1)], expected_head=6) == 7
        connection.commit()
    assert saved(log) == (2, 7)


def test_a_conflict_or_a_refusal_leaves_the_transaction_usable(log: PostgresLog[Any]) -> None:
    """What the application does about it is its own decision."""
    with connect() as connection:
        save(connection, log)
        joined = log.joined(connection)
        with pytest.raises(ConflictError):
            joined.append("ann", [ReplayCompleted(1)], expected_head=7)
        with pytest.raises(ValueError, match="above the head"):
            joined.truncate("ann", 7, {})
        with pytest.raises(LogError, match="larger than the server keeps"):
            joined.append("".join(map(chr, range(0x4E00, 0x4E00 + 4000))), [ReplayCompleted(1)], expected_head=0)
        assert joined.append("ann", [ReplayCompleted(1)], expected_head=1) == 2
        connection.commit()
    assert saved(log) == (1, 2)


def test_a_joined_log_ends_nothing(log: PostgresLog[Any]) -> None:
    """To close or compact it does nothing: the transaction is the application's."""
    with connect() as connection:
        save(connection, log)
        with log.joined(connection) as joined:
            joined.compact()
            joined.append("ann", [ReplayCompleted(1)], expected_head=1)
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        connection.commit()
    assert saved(log) == (1, 2)


def idle(connection: Connection) -> None:
    """Nothing was begun."""


def failed(connection: Connection) -> None:
    """A statement has failed, so only a rollback is left."""
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1 / 0")


def closed(connection: Connection) -> None:
    connection.execute("SELECT 1")
    connection.close()


@pytest.mark.parametrize(("state", "said"), [(idle, "IDLE"), (failed, "INERROR"), (closed, "UNKNOWN")])
def test_a_connection_without_an_open_transaction_is_refused(
    log: PostgresLog[Any], state: Callable[[Connection], None], said: str
) -> None:
    """With its state, and what to do: it would commit at once, or never."""
    with connect() as connection:
        state(connection)
        with pytest.raises(ValueError, match=rf"its status is {said}\); write the results first"):
            log.joined(connection)
        connection.close()
    assert saved(log) == (0, 1)


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_transaction_in_a_pipeline_is_joined(log: PostgresLog[Any], autocommit: bool) -> None:
    """What it has not answered yet is waited for; nothing is recorded twice or alone."""
    with connect(autocommit=autocommit) as connection:
        with connection.transaction(), connection.pipeline() as pipeline:
            save(connection, log)
            pipeline.sync()
            assert log.joined(connection).append("ann", [ReplayCompleted(1)], expected_head=1) == 2
        connection.commit()
    assert saved(log) == (1, 2)


def test_an_asynchronous_connection_is_refused_with_words(log: PostgresLog[Any]) -> None:
    """Its transaction lives on a loop, which the asynchronous buffer knows how to reach; this one does not."""

    async def join() -> None:
        async with await psycopg.AsyncConnection.connect(postgres.address()) as connection:
            await connection.execute("SELECT 1")
            with pytest.raises(TypeError, match="AsyncReplayBuffer"):
                log.joined(connection)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(join())


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The address of another database on the same server."""
    name = f"holdover_{uuid4().hex[:12]}"
    with connect(autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        yield make_conninfo(postgres.address(), dbname=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_another_database_is_refused_also_if_it_has_such_a_log(log: PostgresLog[Any], elsewhere: str) -> None:
    """One that has none, one that has another of the same name, and one whose tables may not be looked at."""
    with psycopg.connect(elsewhere) as connection:
        connection.execute("SELECT 1")
        with pytest.raises(ValueError, match=r"is to database 'holdover_\w+', which is not the log's"):
            log.joined(connection)
        assert connection.execute("SELECT 1").fetchone() == (1,)
        connection.rollback()
        with PostgresLog[Any](elsewhere, schema=log.schema) as other:
            connection.execute("SELECT 1")
            with pytest.raises(ValueError, match="only one database commits as a whole"):
                log.joined(connection)
            assert other.joined(connection).append("ann", [MeasurementAdded(1)], expected_head=0) == 1
            connection.commit()
    assert saved(log) == (0, 1)


def test_a_role_that_may_not_look_is_refused(log: PostgresLog[Any]) -> None:
    """With what to grant it."""
    with connect() as connection:
        role = f"holdover_{uuid4().hex[:12]}"
        connection.execute(f"CREATE ROLE {role}".encode())
        connection.execute(f"SET LOCAL ROLE {role}".encode())
        with pytest.raises(LogUnavailableError, match=f"grant it what it needs in schema {log.schema}"):
            log.joined(connection)
        connection.rollback()


def test_a_transaction_from_before_the_user_is_told_so(log: PostgresLog[Any]) -> None:
    """Where it goes on seeing the time at which it began, it cannot complete what came later."""
    with connect() as connection, ReplayBuffer(log) as buffer:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT 1")
        buffer.add_measurement("new", 1)
        with buffer.snapshot("new") as frozen:
            with pytest.raises(StaleSnapshotError, match="a time before the first measurement"):
                frozen.complete(connection=connection)
            connection.rollback()
            connection.execute("SELECT 1")
            frozen.complete(connection=connection)
            connection.commit()
        assert buffer.state("new").phase == "idle"


@pytest.mark.parametrize("notifies", [True, False])
def test_who_listens_is_told_of_what_a_transaction_did_if_anybody_is(notifies: bool) -> None:
    """When it commits; where the log does not notify, as on servers that cannot, nothing is sent."""
    schema = postgres.new_schema()
    with (
        PostgresLog[Any](postgres.address(postgres.QUICK), schema=schema, notifies=notifies) as log,
        connect(autocommit=True) as listener,
        connect() as connection,
    ):
        listener.execute(f"LISTEN {schema}")
        connection.execute("SELECT 1")
        grant = Grant(due_at=0.0)
        assert log.joined(connection).append("ann", [MeasurementAdded(1)], expected_head=0, grant=grant) == 1
        connection.commit()
        listener.execute(f"NOTIFY {schema}, 'last'")
        told = [one.payload for one in listener.notifies(timeout=30.0, stop_after=1)]
        assert told[:1] == ([""] if notifies else ["last"])


def test_a_connection_that_cannot_write_every_text_is_refused(log: PostgresLog[Any]) -> None:
    """With what it would have to be told."""
    with connect(client_encoding="latin1") as connection:
        save(connection, log)
        with pytest.raises(ValueError, match=r"client_encoding is 'iso8859-1'; the log needs UTF8"):
            log.joined(connection)


def test_a_transaction_whose_server_is_gone_is_told_so(log: PostgresLog[Any]) -> None:
    """While it is joined, and when it was: nothing of it is recorded, since nobody can commit it."""
    with connect(autocommit=True) as killer:
        for joins_before in (True, False):
            connection = connect()
            save(connection, log)
            joined = log.joined(connection) if joins_before else None
            killer.execute("SELECT pg_terminate_backend(%s, 10000)", (connection.info.backend_pid,))
            with pytest.raises(LogUnavailableError):
                (joined or log.joined(connection)).append("ann", [ReplayCompleted(1)], expected_head=1)
            connection.close()
    assert saved(log) == (0, 1)


def test_a_query_that_fails_in_a_transaction_says_what_is_missing(log: PostgresLog[Any]) -> None:
    """The transaction then has to be rolled back, as after any statement that fails."""
    with connect() as connection:
        save(connection, log)
        joined = log.joined(connection)
        connection.execute(f"DROP TABLE {log.schema}.checkpoints".encode())
        with pytest.raises(LogUnavailableError, match=r"tables of schema \w+ are not there"):
            joined.checkpoint("ann")
        connection.rollback()
    assert log.checkpoint("ann") is None


def test_what_cannot_be_added_in_a_transaction_is_told_in_its_place(log: PostgresLog[Any]) -> None:
    """As outside of one: the others are added, and can be committed."""
    log.append("bob", [MeasurementAdded(0)], expected_head=0, grant=Grant(room=10))
    with connect() as connection:
        save(connection, log)
        first, second = log.joined(connection).add_each([("bob", [object()]), ("ann", [1])], lambda: 0.0)
        assert isinstance(first, LogError)
        assert second == 1
        connection.commit()
    assert saved(log) == (1, 2)
