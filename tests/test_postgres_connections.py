"""The connections of a `PostgresLog`: made when needed, waited for, closed, and not shared with a forked child."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event as Signal
from threading import enumerate as threads
from typing import Any

import postgres
import psycopg
import pytest
from attrs import evolve
from proxy import Proxy
from psycopg_pool import ConnectionPool

from events import Grant, LogBusyError, LogClosedError, LogUnavailableError, MeasurementAdded, PostgresLog
from events._postgres import _database
from events._postgres._database import Database
from events.conformance._base import together

PATIENCE = 30.0


def opened(schema: str | None = None, **how: Any) -> PostgresLog[Any]:
    log: PostgresLog[Any] = PostgresLog(
        postgres.address(postgres.QUICK), schema=schema or postgres.new_schema(), max_connections=1, **how
    )
    log.append("ann", [MeasurementAdded(0)], expected_head=0, grant=Grant(room=100))
    return log


@pytest.fixture
def log() -> Iterator[PostgresLog[Any]]:
    """A log with one connection, in which ann has room."""
    with opened() as log:
        yield log


def add(log: PostgresLog[Any]) -> int | None:
    return log.add("ann", 1, lambda: 0.0)


def pool_of(log: PostgresLog[Any]) -> "ConnectionPool[Any]":
    pool = log._database._pool
    assert pool is not None
    return pool


@pytest.fixture
def asked(log: PostgresLog[Any], monkeypatch: pytest.MonkeyPatch) -> Signal:
    """Set when a connection was asked for in vain, and is asked for again."""
    monkeypatch.setattr(_database, "SLICE", 0.01)
    pool, again, calls = pool_of(log), Signal(), iter(range(10**6))
    getconn = pool.getconn

    def counted(*arguments: Any, **how: Any) -> Any:
        if next(calls) == 2:  # after the test's own, and one in vain
            again.set()
        return getconn(*arguments, **how)

    monkeypatch.setattr(pool, "getconn", counted)
    return again


def test_who_finds_all_connections_in_use_waits_for_one(log: PostgresLog[Any], asked: Signal) -> None:
    """As long as it takes, up to the timeout."""
    with ThreadPoolExecutor(1) as threads:
        with pool_of(log).connection():
            waiting = threads.submit(add, log)
            assert asked.wait(PATIENCE)
            assert not waiting.done()
        assert waiting.result(PATIENCE) == 1


def test_who_waits_too_long_for_a_connection_is_told_how_many_there_are(log: PostgresLog[Any]) -> None:
    """And that nothing was recorded; afterwards it goes on."""
    database = log._database
    database.options = evolve(database.options, timeout=0.01)
    with (
        pool_of(log).connection(),
        pytest.raises(LogBusyError, match=r"all of the log's 1 connections were in use for 0\.01 s.*max_connections"),
    ):
        add(log)
    assert add(log) == 1


def test_who_waits_when_the_log_is_closed_is_told_so(log: PostgresLog[Any], asked: Signal) -> None:
    """What is in use is closed when it is given back."""
    with ThreadPoolExecutor(1) as threads, pool_of(log).connection() as session:
        waiting = threads.submit(add, log)
        assert asked.wait(PATIENCE)
        log.close()
        with pytest.raises(LogClosedError, match="the log was closed; nothing was recorded"):
            waiting.result(PATIENCE)
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert session.closed


def test_a_server_that_is_away_when_the_first_connection_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables were seen to, and then nobody answers: what is said is that, and nothing goes on trying."""
    with Proxy(postgres.address(postgres.QUICK)) as between:
        see_to_tables = Database._open

        def and_away(*arguments: Any) -> None:
            see_to_tables(*arguments)
            between.refusing = True

        monkeypatch.setattr(Database, "_open", and_away)
        before = threads()
        with pytest.raises(LogUnavailableError, match="cannot be reached"):
            PostgresLog[Any](between.address, schema=postgres.new_schema(), timeout=0.5)
        assert [one.name for one in threads() if one not in before and one.name.startswith("holdover")] == []


def test_a_closed_log_does_nothing_more(log: PostgresLog[Any]) -> None:
    """Each use is refused with what to do; to close it again does no harm."""
    uses: list[Callable[[], object]] = [
        partial(add, log),
        partial(log.add_many, "ann", [1, 2], lambda: 0.0),
        partial(log.append, "ann", [MeasurementAdded(1)], expected_head=1),
        partial(log.truncate, "ann", 1, {}),
        partial(log.position, "ann"),
        partial(log.due, 1.0),
        partial(log.claim, 1.0, 2.0, 1),
        lambda: list(log.streams()),
        log.compact,
    ]
    log.close()
    log.close()
    for use in uses:
        with pytest.raises(LogClosedError, match="open it anew to go on"):
            use()


def test_threads_that_come_first_share_the_connections() -> None:
    """One pool is made, however many threads are the first to need it."""
    with opened() as log:
        pool_of(log).close()
        log._database._pool = None
        found = together(*[log._database._opened] * 4)
        assert len(set(map(id, found))) == 1
        assert add(log) == 1


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A server that has no connection left, so many times."""
    times, connect = [0], psycopg.connect

    def refusing(*arguments: Any, **how: Any) -> Any:
        if times[0]:
            times[0] -= 1
            raise psycopg.errors.TooManyConnections("too many clients already")
        return connect(*arguments, **how)

    monkeypatch.setattr(psycopg, "connect", refusing)
    monkeypatch.setattr(_database, "LONGEST_PAUSE", 0.001)
    return times


def test_a_server_without_a_connection_left_is_tried_again(crowded: list[int]) -> None:
    """While the log is opened, up to the timeout; then it is told what to do."""
    crowded[0] = 3
    with opened() as log:
        assert crowded == [0]
    crowded[0] = 10**9
    with pytest.raises(LogBusyError, match=r"no connection left .*allow it more"):
        opened(log.schema, timeout=0.01)


def test_a_forked_child_makes_connections_of_its_own(log: PostgresLog[Any]) -> None:
    """Parent and child go on with the same log, and neither takes the other's answers or ends its connections."""
    script = (
        "import os, sys\n"
        "from events import PostgresLog\n"
        "log = PostgresLog(sys.argv[1], schema=sys.argv[2])\n"
        "closed = PostgresLog(sys.argv[1], schema=sys.argv[2]); closed.close()\n"
        "assert log.add('ann', 'parent', lambda: 0.0) == 1\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    assert log.add('ann', 'child', lambda: 0.0) == 2\n"
        "    try: closed.position('ann')\n"
        "    except Exception as error: assert 'was closed' in str(error)\n"
        "    else: os._exit(1)\n"
        "    log.close()\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert log.add('ann', 'parent', lambda: 0.0) == 3\n"
        "log.close()\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, postgres.address(postgres.QUICK), log.schema], check=True, timeout=PATIENCE * 2
    )
    assert list(log.measurements("ann", range(4))) == [0, "parent", "child", "parent"]


def test_what_a_child_begins_with() -> None:
    """No connection of the parent's, which are kept as they are; a log that was closed stays closed."""
    with opened() as log, opened() as unused, opened() as closed:
        closed.close()
        unused._database.after_fork_in_child()
        pools = [pool_of(log)]
        before = list(_database._abandoned)
        _database._after_fork_in_child()
        assert set(map(id, pools)) <= set(map(id, _database._abandoned))
        assert log._database._pool is None
        assert add(log) == 1
        assert pool_of(log) is not pools[0]
        with pools[0].connection() as session:
            assert session.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(LogClosedError):
            closed.position("ann")
        for pool in _database._abandoned[len(before) :]:
            pool.close()  # type: ignore[attr-defined]
        _database._abandoned[:] = before


def test_where_there_are_no_forks_nothing_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module can be imported there."""
    monkeypatch.delattr(os, "register_at_fork")
    assert _database.__file__ is not None
    spec = importlib.util.spec_from_file_location("events._postgres._without_forks", _database.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.closed_error("there").args[0].startswith("there: the log was closed")
