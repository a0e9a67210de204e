"""When a started manager looks again: at once while there may be more, else as soon as it makes sense."""

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

import postgres
import psycopg
import pytest
from conftest import Clock
from managing import PATIENCE, Rig

from events import HORIZON, MemoryLog, PostgresLog
from statemachine import BufferConfig, ReplayBuffer, ReplayManager, _service, due
from statemachine._scheduling import CLAIM
from statemachine._service import LEAST, Service

NEVER = 10.0**6
MOST = HORIZON / 2
"""Seconds between two looks at most: a log tells only of who is due within its horizon."""


class Scripted(MemoryLog[Any]):
    """A log that several workers share; it says what it is told to.

    Attributes:
        given: whom `claim` gives.
        at: when the next is due.
    """

    notes_claims = True

    def __init__(self) -> None:
        super().__init__()
        self.given: list[str] = []
        self.at: float | None = None

    def claim(self, now: float, until: float, most: int) -> list[str]:
        assert len(self.given) <= most
        return self.given

    def next_due(self, now: float) -> float | None:
        return self.at


class Hands:
    """Stands in for a pool: so many threads are idle, and so many users queued, and nobody begins."""

    def __init__(self, idle: int = 2, queued: int = 0) -> None:
        self.idle, self.queued = idle, queued
        self.users: list[str] = []

    def put(self, users: Iterable[str]) -> None:
        self.users += users


def serving(buffer: ReplayBuffer[Any], hands: Hands, interval: float = NEVER) -> Service:
    """A service that is not started, so that it looks only when the test does."""
    manager = ReplayManager(buffer, sum, poll_interval=interval)
    service = Service(buffer, manager._keeper, manager._replay_due, 0, interval)
    service._pool = hands  # type: ignore[assignment]
    return service


@pytest.fixture
def log() -> Scripted:
    return Scripted()


@pytest.fixture
def shared() -> Iterator[PostgresLog[Any]]:
    """A log that tells nobody who is due, so that managers have to look."""
    address = postgres.address(postgres.QUICK)
    with PostgresLog[Any](address, schema=postgres.new_schema(), notifies=False) as log:
        yield log


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the next look by the interval waits for ever."""
    monkeypatch.setattr(_service, "HORIZON", NEVER)


def test_while_everybody_idle_got_a_user_it_looks_on(log: Scripted, clock: Clock) -> None:
    """There may be more, so whoever is free again looks at once, also if there was nothing to replay."""
    log.at = clock.now
    hands = Hands(idle=2)
    service = serving(ReplayBuffer(log, clock=clock), hands)
    log.given = ["ann", "bob"]
    assert service._look() == MOST
    assert service._work("ann") is True
    log.given = ["cid"]
    service._look()
    assert service._work("cid") is False
    log.given = []
    service._look()
    assert service._work("ann") is False
    assert hands.users == ["ann", "bob", "cid"]


def test_a_log_that_notes_no_claims_gives_all_at_once(clock: Clock) -> None:
    """So there are no more, also if there were as many as were idle; it looks again when the next is due."""
    hands = Hands(idle=2)
    buffer: ReplayBuffer[Any] = ReplayBuffer(config=BufferConfig(due=due.Count(2) | due.Age(20)), clock=clock)
    for user in ("ann", "bob"):
        buffer.add_measurements(user, [1, 2])
    buffer.add_measurement("cid", 1)
    service = serving(buffer, hands)
    assert service._look() == 20.0
    assert hands.users == ["ann", "bob"]
    buffer.clear_buffer("ann")
    assert service._work("ann") is False
    assert service._work("bob") is True


def test_who_is_held_by_somebody_is_looked_for_less_and_less_often(log: Scripted, clock: Clock) -> None:
    """Each look in vain doubles the pause, up to the interval; one that finds somebody, or nobody due, begins anew."""
    service = serving(ReplayBuffer(log, clock=clock), Hands(), interval=20 * LEAST)

    def vain_pauses() -> list[float]:
        log.given, log.at = [], clock.now
        return [service._look() for _ in range(6)]

    expected = [2 * LEAST, 4 * LEAST, 8 * LEAST, 16 * LEAST, 20 * LEAST, 20 * LEAST]
    assert vain_pauses() == expected
    log.given = ["ann"]
    assert service._look() == LEAST
    assert vain_pauses() == expected
    log.given, log.at = [], clock.now + 3 * LEAST
    assert service._look() == pytest.approx(3 * LEAST)
    assert vain_pauses() == expected
    log.at = None
    assert service._look() == 20 * LEAST
    assert vain_pauses() == expected


@pytest.mark.parametrize("interval", [0.25, MOST - 1.0, MOST + 1.0, HORIZON + 1.0, NEVER])
def test_no_pause_is_longer_than_half_the_horizon(log: Scripted, clock: Clock, interval: float) -> None:
    """However long the interval, and whatever was found: nobody is told of who is due only after the horizon."""
    buffer, most = ReplayBuffer[Any](log, clock=clock), min(interval, MOST)
    for hands in (Hands(idle=0), Hands(idle=1, queued=1)):
        assert serving(buffer, hands, interval)._look() == most
        assert hands.users == []
    service = serving(buffer, Hands(idle=1), interval)
    log.given = ["ann"]
    assert service._look() == most
    log.given = []
    for log.at in (None, clock.now + MOST, clock.now + 2 * HORIZON):
        assert service._look() == most
    log.at = clock.now
    assert [service._look() for _ in range(30)][-1] == most


def test_it_looks_when_the_next_is_due(log: Scripted, clock: Clock) -> None:
    """No sooner, and not without a pause."""
    service = serving(ReplayBuffer(log, clock=clock), Hands())
    for pause, expected in ((5.0, 5.0), (0.25, 0.25), (LEAST / 2, LEAST)):
        log.at = clock.now + pause
        assert service._look() == expected


def test_who_is_listed_as_due_and_is_not_is_looked_at_once(shared: PostgresLog[Any], clock: Clock) -> None:
    """Whose own times have to be looked at: the log is told then from when the user is due."""
    config = BufferConfig(due=due.Age(20.0, timestamp_of=lambda measurement: measurement))
    with ReplayBuffer(shared, config, clock=clock) as buffer:
        buffer.add_measurement("ann", clock.now)
        hands = Hands(idle=2)
        service = serving(buffer, hands)
        service._look()
        assert hands.users == ["ann"]
        assert service._work("ann") is False
        assert service._look() == 20.0
        assert hands.users == ["ann"]


def test_who_is_claimed_and_not_begun_is_looked_at_when_the_claim_ends(shared: PostgresLog[Any], clock: Clock) -> None:
    """Such as whose last replay still tells its result: there is no busy loop, and no waiting for the interval."""
    with ReplayBuffer(shared, BufferConfig(due=due.Count(1)), clock=clock) as buffer:
        buffer.add_measurement("ann", 1)
        hands = Hands(idle=2)
        service = serving(buffer, hands)
        assert [service._look(), service._look()] == [CLAIM, CLAIM]
        clock.now += CLAIM / 2
        assert service._look() == CLAIM / 2
        assert hands.users == ["ann"]
        clock.now += CLAIM / 2
        assert service._look() == CLAIM
        assert hands.users == ["ann", "ann"]


@pytest.mark.usefixtures("never")
def test_those_who_are_not_due_do_not_keep_the_one_who_is_waiting(shared: PostgresLog[Any]) -> None:
    """One worker goes through all who are listed, however long its interval is."""
    config = BufferConfig(due=due.Age(1000, timestamp_of=lambda measurement: measurement))
    rig = Rig(list, log=shared, config=config, poll_interval=NEVER)
    with rig.buffer:
        for number in range(9):
            rig.buffer.add_measurement(f"young {number}", rig.clock.now)
        rig.buffer.add_measurement("old", rig.clock.now - 2000)
        with rig.manager:
            assert rig.result().user_id == "old"
        assert rig.outcomes() == []


@pytest.mark.usefixtures("never")
def test_who_was_held_by_a_transaction_is_replayed_after_it(shared: PostgresLog[Any]) -> None:
    """Although nobody tells when a transaction is rolled back: it looks again by itself."""
    rig = Rig(list, "ann", log=shared, poll_interval=NEVER)
    with rig.buffer, psycopg.connect(postgres.address()) as connection:
        connection.execute(f"SELECT FROM {shared.schema}.streams WHERE user_id = 'ann' FOR UPDATE")
        with rig.manager:
            for _ in range(3):
                assert rig.buffer.asked.acquire(timeout=PATIENCE)
            assert rig.outcomes() == []
            connection.rollback()
            assert rig.result().user_id == "ann"


def test_the_busy_and_the_timed_are_both_replayed(shared: PostgresLog[Any]) -> None:
    """A user whose every replay makes it due again at once leaves a single worker time for those who have waited."""
    numbers = count()

    def replay(frozen: Any) -> None:
        if frozen.user_id == "busy" and next(numbers) < 20:
            rig.buffer.add_measurements("busy", [1, 2])

    rig = Rig(replay, log=shared, config=BufferConfig(due=due.Count(2) | due.Age(5)), poll_interval=NEVER)
    with rig.buffer:
        rig.buffer.add_measurements("busy", [1, 2])
        timed = ["ann", "bob", "cid"]
        for user in timed:
            rig.buffer.add_measurement(user, 1)
        rig.clock.now += 10
        with rig.manager:
            first = [rig.result().user_id for _ in range(7)]
        assert set(first) == {"busy", *timed}
