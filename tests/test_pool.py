"""`Pool`: threads that work on users from a queue."""

from collections.abc import Iterator
from queue import Queue
from threading import Barrier, Event, Thread, current_thread

import pytest
from managing import PATIENCE, ended, running

from statemachine._pool import Pool


def done(pool: Pool) -> None:
    assert pool.wait(PATIENCE)
    pool.close()
    pool.join()


def test_first_come_first_served() -> None:
    """One worker takes users in the order in which they were queued."""
    worked: list[str] = []
    pool = Pool(worked.append, 1)
    pool.put(["ann", "bob"])
    pool.put(["eve"])
    done(pool)
    assert worked == ["ann", "bob", "eve"]
    assert running() == []


def test_as_many_at_once_as_there_are_workers() -> None:
    """Three workers work on three users at the same time; they are daemons, and the pool knows them."""
    together = Barrier(3)
    known: list[bool] = []

    def work(_user: str) -> None:
        known.append(pool.has(current_thread()) and current_thread().daemon)
        together.wait(PATIENCE)

    pool = Pool(work, 3)
    pool.put(["ann", "bob", "eve"])
    done(pool)
    assert known == [True] * 3
    assert not pool.has(current_thread())


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit("no")])
def test_work_that_raises_costs_no_thread(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with the user, and the only worker goes on with the next."""
    worked: list[str] = []

    def work(user: str) -> None:
        if user == "ann":
            raise error
        worked.append(user)

    pool = Pool(work, 1)
    pool.put(["ann", "bob"])
    done(pool)
    assert worked == ["bob"]
    assert "working on user 'ann' failed" in caplog.text


def test_a_thread_that_is_stuck_is_replaced() -> None:
    """A retired thread counts no more, another takes its place, and it takes nobody else when it comes loose."""
    worked: Queue[tuple[str, Thread]] = Queue()
    entered, go_on = Event(), Event()

    def work(user: str) -> None:
        if user == "ann":
            entered.set()
            go_on.wait(PATIENCE)
        worked.put((user, current_thread()))

    pool = Pool(work, 1)
    (stuck,) = running()
    pool.put(["ann", "bob"])
    assert entered.wait(PATIENCE)
    assert not pool.wait(0)
    assert pool.queued == 1
    pool.retire(stuck)
    pool.retire(stuck)
    assert not pool.has(stuck)
    assert len(running()) == 2, "retiring twice is retiring once"
    assert pool.wait(PATIENCE), "nobody is waited for who is stuck"
    assert worked.get(timeout=PATIENCE)[0] == "bob"
    go_on.set()
    assert worked.get(timeout=PATIENCE) == ("ann", stuck)
    assert ended(stuck)
    pool.put(["eve"])
    assert worked.get(timeout=PATIENCE)[0] == "eve"
    done(pool)
    assert running() == []


def test_closed_it_begins_nothing_and_replaces_nobody() -> None:
    """What is queued is dropped, what is begun is ended or retired, and no thread is started for it."""
    worked: list[str] = []
    entered, go_on = Event(), Event()

    def work(user: str) -> None:
        entered.set()
        go_on.wait(PATIENCE)
        worked.append(user)

    pool = Pool(work, 1)
    (stuck,) = running()
    pool.put(["ann", "bob"])
    assert entered.wait(PATIENCE)
    pool.close()
    pool.put(["eve"])
    assert pool.queued == 0
    assert not pool.wait(0)
    pool.retire_all()
    assert pool.wait(0)
    assert running() == [stuck]
    pool.join()
    go_on.set()
    assert ended(stuck)
    assert worked == ["ann"]


def test_users_that_cannot_be_found_out_are_not_queued() -> None:
    """Who they are is found out outside the lock, and if that fails, none of them is queued."""
    pool = Pool(print, 1)

    def users() -> Iterator[str]:
        yield "ann"
        other = Thread(target=pool.wait, args=(0,))
        other.start()
        assert ended(other), "the pool is locked meanwhile"
        raise OSError("the log is away")

    with pytest.raises(OSError, match="the log is away"):
        pool.put(users())
    assert pool.queued == 0
    done(pool)


def test_a_pool_that_cannot_be_made_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no more threads, those already started end."""
    start, started = Thread.start, []

    def scarce(thread: Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(Thread, "start", scarce)
    with pytest.raises(RuntimeError, match="can't start"):
        Pool(print, 3)
    assert len(started) == 2
    assert ended(*started)


def test_who_was_retired_takes_nobody_else() -> None:
    """When the stuck one comes back while others are queued, those are left to the thread in its place."""
    worked: dict[str, Thread] = {}
    begun: Queue[str] = Queue()
    gates = {"ann": Event(), "bob": Event(), "eve": Event()}

    def work(user: str) -> None:
        worked[user] = current_thread()
        begun.put(user)
        gates[user].wait(PATIENCE)

    pool = Pool(work, 1)
    pool.put(gates)
    assert begun.get(timeout=PATIENCE) == "ann"
    pool.retire(worked["ann"])
    assert begun.get(timeout=PATIENCE) == "bob"
    gates["ann"].set()
    assert ended(worked["ann"])
    assert pool.queued == 1
    for user in ("bob", "eve"):
        gates[user].set()
    done(pool)
    assert worked["eve"] is worked["bob"] is not worked["ann"]
