"""A `PostgresLog` whose server is away, full, locked, or not as it should be: a clear error, without the password."""

import logging
import os
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from threading import Barrier, Thread
from typing import Any

import postgres
import psycopg
import pytest
from killing import apart
from own_server import OwnServer
from proxy import PATIENCE, Proxy

from events import (
    Grant,
    LogBusyError,
    LogClosedError,
    LogError,
    LogFullError,
    LogUnavailableError,
    MeasurementAdded,
    OutcomeUnknownError,
    PostgresLog,
    UnsupportedTypeError,
)
from statemachine import BufferConfig, ReplayBuffer

SECRET = "xyzzy-7f3c"

Log = PostgresLog[Any]


def at_ten() -> float:
    return 10.0


@pytest.fixture(scope="module")
def own() -> Iterator[OwnServer]:
    server = OwnServer()
    server.execute(f"CREATE ROLE app LOGIN SUPERUSER PASSWORD '{SECRET}'")
    yield server
    server.close()


@pytest.fixture
def schema() -> str:
    return postgres.new_schema()


@pytest.fixture
def log(schema: str) -> Iterator[Log]:
    """A log in which ann has one measurement and room for others, and is due."""
    with PostgresLog[Any](postgres.address(postgres.QUICK), schema=schema, timeout=PATIENCE) as log:
        begin(log)
        yield log


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no prospect is not tried again."""

    def never(_seconds: float) -> None:
        raise AssertionError("it waits to try again")

    monkeypatch.setattr("events._postgres._database.sleep", never)


def begin(log: Log) -> None:
    log.append("ann", [MeasurementAdded("first")], expected_head=0, grant=Grant(room=1000, due_at=0.0))


def found(log: Log) -> list[Any]:
    return [one.event.measurement for one in log.read("ann") if isinstance(one.event, MeasurementAdded)]


def execute(statement: str) -> None:
    with psycopg.connect(postgres.address(), autocommit=True) as connection:
        connection.execute(statement.encode())


def check_secrecy(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """The password is nowhere."""
    shown = "".join(traceback.format_exception(error))
    seen: BaseException | None = error
    while seen is not None:
        shown += f"{seen} {seen!r} {getattr(seen, '__notes__', '')}"
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    assert SECRET not in shown + caplog.text + "".join(map(str, map(vars, caplog.records)))


UNREACHABLE: dict[str, tuple[Callable[[OwnServer], str], str]] = {
    "wrong password": (lambda own: own.address_of("app", f"{SECRET}!"), "password"),
    "unknown role": (lambda own: own.address_of("nobody", SECRET), "nobody"),
    "unknown database": (lambda own: own.address_of("app", SECRET, "nowhere"), "nowhere"),
    "unknown host": (lambda own: f"postgresql://app:{SECRET}@nosuch.invalid/postgres", "nosuch.invalid"),
    "closed port": (lambda own: f"postgresql://app:{SECRET}@127.0.0.1:1/postgres", "refused"),
    "no such socket": (lambda own: f"postgresql://app:{SECRET}@/postgres?host=/nowhere", "/nowhere"),
    "no number for a port": (lambda own: f"host=127.0.0.1 user=app password={SECRET} port=many", "many"),
    "an unknown setting": (lambda own: own.address_of("app", SECRET) + "?sslmode=nonsense", "nonsense"),
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("why", UNREACHABLE)
def test_who_cannot_be_reached_is_named(why: str, own: OwnServer, caplog: pytest.LogCaptureFixture) -> None:
    """The error names the address and what is wrong with it, at once, and shows the password nowhere."""
    caplog.set_level(logging.DEBUG)
    address, word = UNREACHABLE[why]
    with pytest.raises(LogUnavailableError) as refused:
        PostgresLog[Any](address(own), timeout=PATIENCE)
    assert str(refused.value).startswith("postgresql://")
    assert word in str(refused.value)
    assert ";" in str(refused.value)
    check_secrecy(refused.value, caplog)


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql:/app:{SECRET}@127.0.0.1/postgres",
        f"app:{SECRET}@127.0.0.1/postgres",
        f"postgresql://app:{SECRET}%@127.0.0.1/postgres",
        f"host=127.0.0.1 password={SECRET} and=more",
        f"host=127.0.0.1 password='{SECRET}",
        f"mysql://app:{SECRET}@127.0.0.1/postgres",
        f"postgresql://app:{SECRET}@[::1/postgres",
    ],
)
def test_what_is_no_address_is_refused_without_being_shown(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be read is not repeated, since there may be a password in it."""
    with pytest.raises(ValueError, match="no address of a PostgreSQL database") as refused:
        PostgresLog[Any](address)
    check_secrecy(refused.value, caplog)


@pytest.mark.parametrize("sign", ["@", "/", ":", "#", "?", "%", " "])
def test_a_password_with_a_special_character_is_not_shown(sign: str, caplog: pytest.LogCaptureFixture) -> None:
    """Who forgot the %xx does not find the password in an error: it is no host and no database."""
    with pytest.raises((ValueError, LogUnavailableError)) as refused:
        PostgresLog[Any](f"postgresql://app:{sign}{SECRET}{sign}{SECRET}@127.0.0.1:1/postgres", timeout=0.01)
    check_secrecy(refused.value, caplog)


def test_a_password_that_is_changed_while_the_log_is_open(
    own: OwnServer, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once the connections are gone the log cannot get others; it says why, and shows no password."""
    caplog.set_level(logging.DEBUG)
    own.execute(f"CREATE ROLE late LOGIN SUPERUSER PASSWORD '{SECRET}'")
    with PostgresLog[Any](own.address_of("late", SECRET), schema=schema, timeout=1) as log:
        begin(log)
        own.execute("ALTER ROLE late PASSWORD 'another'")
        own.execute("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = 'late'")
        with pytest.raises(LogUnavailableError, match="password") as refused:
            log.add("ann", "new", at_ten)
        check_secrecy(refused.value, caplog)
        assert SECRET not in f"{log!r} {log.path} {log._database!r} {log._database.__dict__.get('options')}"
        own.execute(f"ALTER ROLE late PASSWORD '{SECRET}'")
    with PostgresLog[Any](own.address_of("late", SECRET), schema=schema) as log:
        assert found(log) == ["first"]


def test_the_server_has_no_connection_left(own: OwnServer, schema: str) -> None:
    """The error says so."""
    own.execute(f"CREATE ROLE narrow LOGIN SUPERUSER PASSWORD '{SECRET}'")
    own.execute("ALTER ROLE narrow NOSUPERUSER CONNECTION LIMIT 1", "GRANT CREATE ON DATABASE postgres TO narrow")
    address = own.address_of("narrow", SECRET)
    with psycopg.connect(address), pytest.raises(LogError, match="too many connections"):
        PostgresLog[Any](address, schema=schema, timeout=1)
    with PostgresLog[Any](address, schema=schema) as log:
        begin(log)
        with pytest.raises(LogError, match="too many connections"):
            PostgresLog[Any](address, schema=schema, timeout=1)
        assert log.add("ann", "new", at_ten) == 1


def test_too_many_connections_may_pass(own: OwnServer, schema: str) -> None:
    """It is the kind of error that says: try again."""
    own.execute(f"CREATE ROLE full LOGIN PASSWORD '{SECRET}' CONNECTION LIMIT 0")
    with pytest.raises(LogBusyError):
        PostgresLog[Any](own.address_of("full", SECRET), schema=schema, timeout=1)


def test_a_role_that_may_only_look(own: OwnServer, schema: str) -> None:
    """It reads; whatever it would write is refused by the server, in words, and nothing is recorded."""
    own.execute(f"CREATE ROLE reader LOGIN PASSWORD '{SECRET}'")
    address = own.address_of("reader", SECRET)
    with pytest.raises(LogUnavailableError, match=f"may not do that.*{schema}"):
        PostgresLog[Any](address, schema=schema)
    with PostgresLog[Any](own.address(), schema=schema) as log:
        begin(log)
    with pytest.raises(LogUnavailableError, match=f"may not do that.*{schema}"):
        PostgresLog[Any](address, schema=schema)
    own.execute(f"GRANT USAGE ON SCHEMA {schema} TO reader", f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader")
    with PostgresLog[Any](address, schema=schema) as log:
        for call in writing(log):
            with pytest.raises(LogUnavailableError, match=f"may not do that.*{schema}") as refused:
                call()
            assert not isinstance(refused.value, OutcomeUnknownError)
        assert found(log) == ["first"]


def writing(log: Log) -> list[Callable[[], object]]:
    """All that writes."""
    return [
        lambda: log.add("ann", "new", at_ten),
        lambda: log.add_many("ann", ["new", "newer"], at_ten),
        lambda: log.append("ann", [MeasurementAdded("new")], expected_head=1),
        lambda: log.append("bob", [MeasurementAdded("new")], expected_head=0),
        lambda: log.truncate("ann", 1, None),
        lambda: log.claim(0.0, 1.0, 1),
    ]


def reading(log: Log) -> list[Callable[[], object]]:
    """All that reads."""
    return [
        lambda: log.position("ann"),
        lambda: list(log.read("ann")),
        lambda: list(log.controls("ann")),
        lambda: log.measurements("ann", range(1)),
        lambda: list(log.streams()),
        lambda: log.overdue(0.0),
        lambda: log.due(0.0),
        lambda: log.next_due(0.0),
        lambda: log.shelved(),
        lambda: log.checkpoint("ann"),
        lambda: log.recorded_before("ann", 0.0),
    ]


LOCKED = "options=-cdefault_transaction_read_only%3Don"


def test_a_server_on_which_nothing_can_be_written(log: Log, schema: str) -> None:
    """As on a standby: it reads, and says what to do where it would write."""
    with pytest.raises(LogUnavailableError, match="nothing can be written there"):
        PostgresLog[Any](postgres.address(LOCKED), schema=postgres.new_schema())
    with PostgresLog[Any](postgres.address(LOCKED), schema=schema, transaction_pooler=True) as locked:
        for call in writing(locked):
            with pytest.raises(LogUnavailableError, match=r"nothing can be written there.*primary"):
                call()
        for call in reading(locked):
            call()
    assert found(log) == ["first"]


@pytest.mark.parametrize("pooler", [False, True], ids=["direct", "pooler"])
def test_a_log_that_only_looks_writes_nothing(pooler: bool, log: Log, schema: str) -> None:
    """`read_only` holds with a transaction pooler, too."""
    with PostgresLog[Any](postgres.address(), schema=schema, read_only=True, transaction_pooler=pooler) as looking:
        for call in writing(looking):
            with pytest.raises(LogError):
                call()
        for call in reading(looking):
            call()
    assert found(log) == ["first"]


def test_the_tables_are_dropped_under_the_log(log: Log, schema: str) -> None:
    """Each call says so, and how to have them made; nothing is made anew in silence."""
    execute(f"DROP SCHEMA {schema} CASCADE")
    for call in writing(log) + reading(log):
        with pytest.raises(LogUnavailableError, match=f"tables of schema {schema} are not there") as refused:
            call()
        assert log.path in str(refused.value)
    with pytest.raises(LogUnavailableError, match="holds no log; open it with migrate=True"):
        PostgresLog[Any](postgres.address(), schema=schema, migrate=False)
    with PostgresLog[Any](postgres.address(), schema=schema) as anew:
        assert list(anew.streams()) == []


def test_a_later_version_was_here(log: Log, schema: str) -> None:
    """It is neither read nor changed."""
    execute(f"UPDATE {schema}.log SET version = 99")
    for options in ({}, {"migrate": False}, {"read_only": True}):
        with pytest.raises(LogUnavailableError, match=r"later version of holdover.*update holdover"):
            PostgresLog[Any](postgres.address(), schema=schema, **options)
    execute(f"UPDATE {schema}.log SET version = 1")
    with PostgresLog[Any](postgres.address(), schema=schema) as again:
        assert found(again) == ["first"]


def test_a_user_id_that_is_too_long(log: Log) -> None:
    """It is refused as what cannot be kept, and leaves nothing behind; the log goes on."""
    user = os.urandom(10_000).hex()
    with ReplayBuffer[Any](log, clock=at_ten) as buffer:
        for call in (
            lambda: buffer.add_measurement(user, 1),
            lambda: buffer.add_measurements(user, [1, 2]),
        ):
            with pytest.raises(UnsupportedTypeError, match="nothing was recorded"):
                call()
        assert list(buffer.users()) == ["ann"]
        assert buffer.add_measurement("bob", 1) == 0


def test_what_is_larger_than_a_statement_is_refused_before_it_is_sent(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server would end the connection, and nobody would know what it has recorded."""
    monkeypatch.setattr("events._postgres._writing.LARGEST", 100)
    with pytest.raises(UnsupportedTypeError, match=r"more than PostgreSQL takes at once .*split it"):
        log.add_many("ann", [b"x" * 50, b"x" * 50], at_ten)
    with pytest.raises(UnsupportedTypeError, match="split it"):
        log.append("ann", [MeasurementAdded(b"x" * 101)], expected_head=1)
    assert log.add("ann", b"x" * 50, at_ten) == 1


def test_a_log_is_compacted_beside_who_does_the_same(log: Log, schema: str) -> None:
    """The server's own vacuum, or another worker's, is not waited for; who only looks does not do it."""
    with psycopg.connect(postgres.address()) as connection:
        connection.execute(f"LOCK TABLE {schema}.events IN SHARE UPDATE EXCLUSIVE MODE")
        with PostgresLog[Any](postgres.address(), schema=schema, timeout=1) as hasty:
            hasty.compact()
    with PostgresLog[Any](postgres.address(), schema=schema, read_only=True) as looking:
        with pytest.raises(LogUnavailableError, match="read_only=True"):
            looking.compact()
        with pytest.raises(LogUnavailableError, match="read_only=True"):
            looking.add_each([("ann", ["new"])], at_ten)
    assert found(log) == ["first"]


def test_a_closed_log_says_so(log: Log) -> None:
    """Whatever is asked of it."""
    log.close()
    log.close()
    for call in writing(log) + reading(log):
        with pytest.raises(LogClosedError, match="open it anew"):
            call()


def test_a_log_that_is_closed_while_it_is_at_work(schema: str) -> None:
    """Threads that are adding end with an add that is done, or one that was refused because the log was closed."""
    told: dict[int, Any] = {}
    with PostgresLog[Any](postgres.address(postgres.QUICK), schema=schema, timeout=PATIENCE) as log:
        begin(log)
        enough = Barrier(4)

        def add(thread: int) -> None:
            number = 0
            while True:
                try:
                    offset = log.add("ann", [thread, number], at_ten)
                except LogClosedError:
                    return
                assert offset is not None
                told[offset] = [thread, number]
                number += 1
                if number == 5:
                    enough.wait(PATIENCE)

        with ThreadPoolExecutor() as pool:
            done = [pool.submit(add, thread) for thread in range(3)]
            enough.wait(PATIENCE)
            log.close()
            for one in done:
                one.result(PATIENCE)
    with PostgresLog[Any](postgres.address(), schema=schema) as log:
        assert found(log) == ["first", *(told[offset] for offset in sorted(told))]


def test_a_server_that_was_away_is_used_as_soon_as_it_is_back(schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was tried in vain meanwhile delays nothing."""
    monkeypatch.setattr("psycopg_pool.base.AttemptWithBackoff.INITIAL_DELAY", 1000.0)
    with (
        Proxy(postgres.address(postgres.QUICK)) as between,
        PostgresLog[Any](between.address, schema=schema, timeout=1) as log,
    ):
        begin(log)
        with between.away():
            with pytest.raises(LogUnavailableError):
                log.add("ann", "refused", at_ten)
            with pytest.raises(LogUnavailableError, match="cannot be reached"):
                log.position("ann")
            assert between.refused
        assert log.add("ann", "new", at_ten) == 1
        assert found(log) == ["first", "new"]


def test_a_full_disk(own: OwnServer, schema: str) -> None:
    """What does not fit is refused, and not recorded; all that was before can be read; with room it goes on."""
    place = own.small_database("small", 32)
    told = []
    with PostgresLog[Any](own.address("small"), schema=schema, timeout=PATIENCE) as log:
        buffer = ReplayBuffer[Any](log, BufferConfig(max_measurements=10_000), clock=at_ten)
        buffer.add_measurement("ann", "first")
        told.append("first")
        own.execute("CHECKPOINT")  # what the server has yet to write would take the room that is made below
        filler = place / "filler"
        with filler.open("wb") as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        os.truncate(filler, filler.stat().st_size - (1 << 22))
        with pytest.raises(LogFullError, match="make room") as refused:
            for _ in range(1000):
                measurement = os.urandom(50_000)
                buffer.add_measurement("ann", measurement)
                told.append(measurement)
        assert log.path in str(refused.value)
        assert buffer.measurements("ann") == told
        with pytest.raises(LogFullError):
            buffer.add_measurements("ann", [os.urandom(50_000) for _ in range(100)])
        assert buffer.measurements("ann") == told
        filler.unlink()
        assert buffer.add_measurement("ann", measurement) == len(told)
        assert buffer.measurements("ann") == [*told, measurement]
        assert buffer.audit("ann").ok
    assert len(told) > 1


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_the_server_is_restarted_while_threads_add(mode: str, own: OwnServer, schema: str) -> None:
    """What was acknowledged is there once, at its offset; whoever was refused finds its measurement once or not."""
    told: dict[tuple[str, int], Any] = {}
    unknown: list[Any] = []
    with PostgresLog[Any](own.address(), schema=schema, timeout=PATIENCE) as log:
        buffer = ReplayBuffer[Any](log, BufferConfig(max_measurements=10_000), clock=at_ten)
        before = Barrier(5)

        def add(thread: int) -> None:
            for number in range(60):
                user, measurement = f"user {(thread + number) % 3}", [thread, number]
                try:
                    told[user, buffer.add_measurement(user, measurement)] = measurement
                except OutcomeUnknownError:
                    unknown.append(measurement)
                if number == 10:
                    before.wait(PATIENCE)

        threads = [Thread(target=add, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        before.wait(PATIENCE)
        own.restart(mode)
        for thread in threads:
            thread.join(PATIENCE)
        there = {
            (user, one.offset): one.event.measurement
            for user in buffer.users()
            for one in buffer.events(user)
            if isinstance(one.event, MeasurementAdded)
        }
        assert told.items() <= there.items()
        others = [measurement for place, measurement in there.items() if place not in told]
        assert all(measurement in unknown for measurement in others)
        assert len(others) == len({str(one) for one in others})
        assert len(told) + len(unknown) == 240
        assert all(buffer.audit(user).ok for user in buffer.users())


def forking(address: str, schema: str) -> dict[str, Any]:
    """A process that has used a log forks; both go on."""
    log = PostgresLog[Any](address, schema=schema)
    begin(log)

    def backends() -> set[int]:
        query = f"SELECT array_agg(pid) FROM pg_stat_activity WHERE query LIKE '%{schema}%' AND pid <> pg_backend_pid()"
        with psycopg.connect(address) as connection:
            (found,) = connection.execute(query).fetchone() or ([],)
            return set(found)

    def child(end: Any) -> None:
        offsets = [log.add("ann", ["child", number], at_ten) for number in range(5)]
        end.send([offsets, sorted(backends())])
        end.recv()
        end.send(log.add("ann", "the child's last", at_ten))

    own, end = get_context("fork").Pipe()
    process = get_context("fork").Process(target=child, args=(end,))
    before = backends()
    process.start()
    offsets, during = own.recv()
    mine = [log.add("ann", ["parent", number], at_ten) for number in range(5)]
    log.close()
    own.send("go on")
    last = own.recv()
    process.join(PATIENCE)
    with PostgresLog[Any](address, schema=schema) as log:
        return {
            "exit": process.exitcode,
            "child": offsets,
            "parent": mine,
            "last": last,
            "found": found(log),
            "shared": not before < set(during),
        }


def test_a_fork(schema: str) -> None:
    """Parent and child both go on with the log, each on connections of its own; one closes it and the other goes on."""
    assert apart(forking, postgres.address(postgres.QUICK), schema) == {
        "exit": 0,
        "child": [1, 2, 3, 4, 5],
        "parent": [6, 7, 8, 9, 10],
        "last": 11,
        "found": [
            "first",
            *(["child", number] for number in range(5)),
            *(["parent", number] for number in range(5)),
            "the child's last",
        ],
        "shared": False,
    }
