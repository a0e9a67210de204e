"""Being woken by the server: in time, also after a break, by one thread that ends; and never where it cannot be."""

import logging
import threading
from collections.abc import Iterator
from threading import Semaphore
from typing import Any

import postgres
import psycopg
import pytest

from events import Grant, MeasurementAdded, PostgresLog
from events._postgres import _listening
from events._postgres._statements import HORIZON

PATIENCE = 30.0


def opened(schema: str | None = None, **how: Any) -> PostgresLog[Any]:
    return PostgresLog(postgres.address(postgres.QUICK), schema=schema or postgres.new_schema(), **how)


@pytest.fixture
def log() -> Iterator[PostgresLog[Any]]:
    with opened() as log:
        yield log


@pytest.fixture
def killer() -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(postgres.address(), autocommit=True) as connection:
        yield connection


def listeners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "holdover-listener"]


def become_due(log: PostgresLog[Any], name: str, due_in: float = 0.0) -> None:
    log.append(name, [MeasurementAdded(0)], expected_head=0, grant=Grant(due_at=log.clock() + due_in))


def listening(killer: "psycopg.Connection[Any]", log: PostgresLog[Any]) -> list[int]:
    """The server's processes that listen for this log."""
    query = f'LISTEN "{log.schema}"'
    return [pid for (pid,) in killer.execute("SELECT pid FROM pg_stat_activity WHERE query = %s", (query,)).fetchall()]


def test_who_listens_is_woken_once_at_the_beginning(log: PostgresLog[Any]) -> None:
    """For what was told before it listened; from then on by every stream that becomes due, in any opening."""
    woken = Semaphore(0)
    with log.waking(woken.release), opened(log.schema) as other:
        assert woken.acquire(timeout=PATIENCE)
        for number in range(3):
            become_due(other, str(number))
            assert woken.acquire(timeout=PATIENCE)
        assert not woken.acquire(blocking=False)


def told(log: PostgresLog[Any], killer: "psycopg.Connection[Any]") -> int:
    """How often something was told since the last time, to a connection that listens itself."""
    return len(list(killer.notifies(timeout=0)))


def test_only_who_is_due_within_a_minute_is_told_of(log: PostgresLog[Any], killer: "psycopg.Connection[Any]") -> None:
    """Of the others each worker learns by looking, which it does at least that often."""
    killer.execute(f'LISTEN "{log.schema}"')
    become_due(log, "now")
    become_due(log, "soon", HORIZON - 1)
    become_due(log, "later", HORIZON + 60)
    log.append("never", [MeasurementAdded(0)], expected_head=0)
    killer.execute("SELECT 1")
    assert told(log, killer) == 2
    for name, due_after in (("at once", 0.0), ("in an hour", 3600.0)):
        for batch in (False, True):
            stream = f"{name} {batch}"
            grant = Grant(room=5, notes_arrival=True, due_after=due_after)
            log.append(stream, [MeasurementAdded(0)], expected_head=0, grant=grant)
            for number in range(2):  # of which only the first is the arrival
                added = log.add_many(stream, [1, 2], log.clock) if batch else log.add(stream, 1, log.clock)
                assert added == 1 + number * (1 + batch)
            with opened(log.schema) as other:  # which does not know that there is room
                assert other.add(stream, 1, log.clock) == 3 + 2 * batch
    killer.execute("SELECT 1")
    assert told(log, killer) == 2


def test_a_broken_connection_is_replaced_and_wakes(
    log: PostgresLog[Any],
    killer: "psycopg.Connection[Any]",
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever was told meanwhile is not missed, since to listen again wakes; the break is logged."""
    monkeypatch.setattr(_listening, "PAUSE", 0.01)
    woken = Semaphore(0)
    with caplog.at_level(logging.WARNING, "holdover"), log.waking(woken.release):
        for number in range(2):
            assert woken.acquire(timeout=PATIENCE)
            (pid,) = listening(killer, log)
            killer.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
            assert woken.acquire(timeout=PATIENCE)
            become_due(log, str(number))
    assert "cannot listen" in caplog.text
    assert f"{log.path}: " in caplog.text


def test_a_server_that_is_away_is_tried_again_until_the_end(
    log: PostgresLog[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is woken, nobody is kept waiting; when the block ends the thread does, also between two tries."""
    tried = Semaphore(0)

    def away(*_arguments: Any, **_how: Any) -> Any:
        tried.release()
        raise psycopg.OperationalError("nobody there")

    monkeypatch.setattr(_listening, "PAUSE", 0.01)
    monkeypatch.setattr(psycopg, "connect", away)
    with caplog.at_level(logging.WARNING, "holdover"):
        with log.waking(pytest.fail):
            assert tried.acquire(timeout=PATIENCE)
            assert tried.acquire(timeout=PATIENCE)
            monkeypatch.setattr(_listening, "PAUSE", 3600.0)
        assert listeners() == []
    assert "nobody there" in caplog.text


@pytest.mark.parametrize("how", [{"notifies": False}, {"transaction_pooler": True}])
def test_where_nothing_is_told_no_thread_is_started(how: dict[str, bool]) -> None:
    """Servers that cannot, and poolers that give a connection for each transaction: workers find out by looking."""
    with opened(**how) as log, log.waking(pytest.fail):
        become_due(log, "ann")
        assert listeners() == []
        assert log.due(log.clock() + 1) == ["ann"]


def test_a_log_that_does_not_notify_tells_nobody(killer: "psycopg.Connection[Any]") -> None:
    """For servers that do not know how: no statement asks for it. Behind a pooler others may still be told."""
    for how, expected in (({"notifies": False}, 0), ({"transaction_pooler": True}, 1)):
        with opened(**how) as log:
            killer.execute(f'LISTEN "{log.schema}"')
            become_due(log, "ann")
            killer.execute("SELECT 1")
            assert told(log, killer) == expected


def test_no_thread_is_left_when_the_block_ends(log: PostgresLog[Any], killer: "psycopg.Connection[Any]") -> None:
    """However it ends, and however many listen; the server's processes for them end, too."""
    woken = Semaphore(0)
    with pytest.raises(ZeroDivisionError), log.waking(woken.release), log.waking(woken.release):
        assert woken.acquire(timeout=PATIENCE)
        assert woken.acquire(timeout=PATIENCE)
        assert len(listeners()) == 2
        assert len(listening(killer, log)) == 2
        raise ZeroDivisionError
    assert listeners() == []
