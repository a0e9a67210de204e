"""Managers on several logs of one schema, as on several machines: they share who is due, and take over from the dead.

Their poll intervals are longer than anybody would wait, where it is shown that they are woken.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from queue import Queue
from threading import Event
from typing import Any

import postgres
import pytest

from events import PostgresLog
from statemachine import (
    BufferConfig,
    BufferState,
    FrozenSnapshot,
    ReplayBuffer,
    ReplayManager,
    SnapshotInProgressError,
    StaleSnapshotError,
    due,
)

PATIENCE = 60
NEVER = 10.0**6
CONFIG = BufferConfig(due=due.Count(2))


@pytest.fixture
def machine() -> Iterator[Callable[..., ReplayBuffer[Any]]]:
    """Makes a buffer with a log of its own on one schema, as another machine would."""
    schema = postgres.new_schema()
    with ExitStack() as stack:

        def made(config: BufferConfig = CONFIG, clock: Any = None, **how: Any) -> ReplayBuffer[Any]:
            log = PostgresLog[Any](postgres.address(postgres.QUICK), schema=schema, **how)
            return stack.enter_context(ReplayBuffer(log, config, clock=clock))

        yield made


@contextmanager
def working(
    buffer: ReplayBuffer[Any], replay: Callable[[FrozenSnapshot[Any]], Any], **how: Any
) -> Iterator[Queue[Any]]:
    """A manager at work; the results of its replays."""
    results: Queue[Any] = Queue()
    with ReplayManager(buffer, replay, on_result=results.put, **{"poll_interval": NEVER, **how}):
        yield results


def test_a_worker_is_woken_when_an_add_elsewhere_makes_a_user_due(machine: Callable[..., ReplayBuffer[Any]]) -> None:
    """By its count, at once; it need not poll for that."""
    adder = machine()
    with working(machine(), list) as results:
        for number in range(3):
            adder.add_measurements("ann", [number, number])
            assert results.get(timeout=PATIENCE).value == [number, number]


def test_a_worker_is_woken_when_the_time_has_come(machine: Callable[..., ReplayBuffer[Any]]) -> None:
    """By an age: it is told of the first measurement, and knows from then on when to look."""
    config = BufferConfig(due=due.Age(0.2))
    adder = machine(config)
    with working(machine(config), list) as results:
        for number in range(2):
            adder.add_measurement("ann", number)
            assert results.get(timeout=PATIENCE).value == [number]


def test_a_worker_without_a_listener_polls(machine: Callable[..., ReplayBuffer[Any]]) -> None:
    """As behind a pooler that gives a connection for each transaction."""
    adder = machine(transaction_pooler=True)
    with working(machine(transaction_pooler=True), list, poll_interval=0.02) as results:
        adder.add_measurements("ann", [1, 2])
        assert results.get(timeout=PATIENCE).value == [1, 2]


def test_workers_share_who_is_due(machine: Callable[..., ReplayBuffer[Any]]) -> None:
    """Each user is replayed once, by one of them, and none is begun in vain by another."""
    users = [f"user {number}" for number in range(30)]
    adder, replayed = machine(), Counter[str]()
    vain: list[BaseException] = []

    class Witness(ReplayBuffer[Any]):
        def _begin(self, *arguments: Any, **named: Any) -> BufferState:
            try:
                return super()._begin(*arguments, **named)
            except (SnapshotInProgressError, StaleSnapshotError) as error:
                vain.append(error)
                raise

    for user in users:
        adder.add_measurements(user, [1, 2])
    with ExitStack() as stack:
        workers = []
        for _ in range(3):
            buffer = machine()
            buffer.__class__ = Witness
            workers.append(stack.enter_context(working(buffer, lambda frozen: frozen.user_id, workers=2)))
        while len(replayed) < len(users):
            for results in workers:
                while not results.empty():
                    replayed[results.get().value] += 1
    assert replayed == Counter(users)
    assert vain == []


def test_what_a_dead_worker_claimed_or_began_is_taken_over(machine: Callable[..., ReplayBuffer[Any]]) -> None:
    """The claim ends by itself, and so does the lease, by a clock that both share."""
    times = count(1000)
    now = [float(next(times))]
    dead, heir = machine(clock=lambda: now[0]), machine(clock=lambda: now[0])
    dead.add_measurements("claimed", [1, 2])
    dead.add_measurements("begun", [1, 2])
    version = dead.begin_snapshot("begun")
    dead.finalize_snapshot("begun", version)
    assert dead._claimed(9) == ["claimed"]
    assert heir._claimed(9) == []
    now[0] += 10.0
    assert heir._claimed(9) == ["claimed"]
    assert heir.expire_overdue() == []
    now[0] += 290.0
    assert heir.expire_overdue() == ["begun"]
    now[0] += 10.0
    heir.schedule_retry("begun", now[0], version)
    assert sorted(heir._claimed(9)) == ["begun", "claimed"]
    assert heir.begin_snapshot("begun") == version + 1


def test_a_zombie_can_do_nothing_to_the_newer_snapshot(machine: Callable[..., ReplayBuffer[Any]]) -> None:
    """A worker that slept past its lease is refused, whatever it tries, and whatever it remembers."""
    now = [1000.0]
    zombie, heir = machine(clock=lambda: 1000.0), machine(clock=lambda: now[0])
    zombie.add_measurements("ann", [1, 2])
    version = zombie.begin_snapshot("ann")
    old = zombie.finalize_snapshot("ann", version)
    now[0] += 301.0
    heir.expire_overdue()
    newer = heir.begin_snapshot("ann")
    new = heir.finalize_snapshot("ann", newer)
    before = heir.state("ann")
    for attempt in (old.complete, old.renew, old.abort):
        with pytest.raises(StaleSnapshotError):
            attempt()
        assert heir.state("ann") == before
    new.complete()
    assert heir.state("ann").replayed == 2
    assert heir.audit("ann").ok


def test_the_lease_is_measured_by_the_servers_clock(
    machine: Callable[..., ReplayBuffer[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine whose clock is an hour fast expires nothing early: its clock is not asked."""
    import time

    right = machine()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600.0)
    wrong = machine()
    right.add_measurements("ann", [1, 2])
    right.finalize_snapshot("ann", right.begin_snapshot("ann"))
    assert wrong.expire_overdue() == []
    assert wrong.state("ann").phase == "replaying"
    deadline = wrong.state("ann").deadline
    assert deadline is not None
    assert abs(deadline - 300.0 - real()) < 1800.0


def test_a_worker_goes_on_when_its_listener_was_cut_off(machine: Callable[..., ReplayBuffer[Any]]) -> None:
    """It listens again, and looks at once for what it may have missed."""
    import psycopg

    adder, begun = machine(), Event()
    with working(machine(), lambda frozen: begun.set()) as results:
        with psycopg.connect(postgres.address(), autocommit=True) as connection:
            cut = """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE pid <> pg_backend_pid() AND query LIKE 'LISTEN "test\\_%'
            """
            while not connection.execute(cut).fetchall():
                pass
        adder.add_measurements("ann", [1, 2])
        assert results.get(timeout=PATIENCE).ok
    assert begun.is_set()
