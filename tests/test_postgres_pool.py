"""`Pool`: a session goes from hand to hand, but only a sound one, and never past who waits for it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import postgres
import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool

from events._postgres import _pool
from events._postgres._pool import KEPT, Pool

PATIENCE = 30.0


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A pool of two sessions at most."""
    with Pool(conninfo=postgres.address(), kwargs={"autocommit": True}, min_size=2, max_size=2, open=True) as pool:
        pool.wait(PATIENCE)
        yield pool


def backend(session: Any) -> int:
    return int(session.info.backend_pid)


def test_who_asks_next_gets_what_was_given_back_last(pool: Pool) -> None:
    """Its server process is the warmest."""
    first, second = pool.getconn(PATIENCE), pool.getconn(PATIENCE)
    for one, other in ((first, second), (second, first)):
        pool.putconn(one)
        pool.putconn(other)
        assert pool.getconn(PATIENCE) is other
        assert pool.getconn(PATIENCE) is one


def test_who_waits_gets_what_is_given_back(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not when its time is up."""
    waits, getconn = Event(), ConnectionPool.getconn

    def waiting(self: Any, timeout: float | None = None) -> Any:
        waits.set()
        return getconn(self, timeout)

    first, second = pool.getconn(PATIENCE), pool.getconn(PATIENCE)
    monkeypatch.setattr(ConnectionPool, "getconn", waiting)
    with ThreadPoolExecutor(1) as threads:
        third = threads.submit(pool.getconn, 5.0)
        assert waits.wait(PATIENCE)
        pool.putconn(first)
        assert third.result(PATIENCE) is first
    pool.putconn(first)
    pool.putconn(second)


def test_a_session_in_a_transaction_is_not_handed_on_in_it(pool: Pool) -> None:
    """What the one before has not ended is rolled back."""
    session = pool.getconn(PATIENCE)
    session.execute("BEGIN")
    pool.putconn(session)
    sessions = [pool.getconn(PATIENCE), pool.getconn(PATIENCE)]
    assert [each.info.transaction_status for each in sessions] == [TransactionStatus.IDLE] * 2
    for each in sessions:
        pool.putconn(each)


def test_a_session_that_broke_is_replaced(pool: Pool) -> None:
    """Where it is seen that it did."""
    session = pool.getconn(PATIENCE)
    session.close()
    pool.putconn(session)
    sessions = [pool.getconn(PATIENCE), pool.getconn(PATIENCE)]
    assert [each.execute("SELECT 1").fetchone() for each in sessions] == [(1,)] * 2
    for each in sessions:
        pool.putconn(each)


def test_sessions_go_back_now_and_then(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """To where it is seen that they are too old, or too many; until then they are kept at hand."""
    now = pool._kept_since
    monkeypatch.setattr(_pool, "monotonic", lambda: now)
    session = pool.getconn(PATIENCE)
    pool.putconn(session)
    assert pool._free == [session]
    assert pool.getconn(PATIENCE) is session
    now += KEPT + 0.1
    pool.putconn(session)
    assert pool._free == []
    assert pool.get_stats()["pool_available"] == 2


def test_those_at_hand_are_looked_at_too(pool: Pool) -> None:
    """Where one was lost the others may be: those that are get replaced, before somebody fails on them."""
    session = pool.getconn(PATIENCE)
    lost = backend(session)
    pool.putconn(session)
    with psycopg.connect(postgres.address(), autocommit=True) as killer:
        killer.execute("SELECT pg_terminate_backend(%s, %s)", (lost, int(1000 * PATIENCE)))
    pool.check()
    sessions = [pool.getconn(PATIENCE), pool.getconn(PATIENCE)]
    assert lost not in map(backend, sessions)
    for each in sessions:
        pool.putconn(each)


def test_a_pool_that_is_closed_keeps_none(pool: Pool) -> None:
    """Neither those at hand, nor those that are given back later."""
    at_hand, used = pool.getconn(PATIENCE), pool.getconn(PATIENCE)
    pool.putconn(at_hand)
    pool.close()
    assert at_hand.closed
    assert not used.closed
    pool.putconn(used)
    assert used.closed


def test_what_is_given_back_while_somebody_begins_to_ask_is_not_overlooked(pool: Pool) -> None:
    """Between the look and the asking nobody can see that it is asked for, so there is another look."""
    first, second = pool.getconn(PATIENCE), pool.getconn(PATIENCE)
    lock = pool._asking_lock

    class GivingBack:
        def __enter__(self) -> None:
            pool._asking_lock = lock
            pool.putconn(first)
            lock.acquire()

        def __exit__(self, *_error: object) -> None:
            lock.release()

    pool._asking_lock = GivingBack()  # type: ignore[assignment]
    assert pool.getconn(5.0) is first
    pool.putconn(first)
    pool.putconn(second)
