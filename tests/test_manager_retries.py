"""A failed replay is tried again after a back-off, parked when it failed too often, and both survive a restart."""

from typing import Any

import pytest
from attrs import evolve
from managing import PATIENCE, FakePool, Rig, Watched, fail

from events import MemoryLog
from statemachine import Backoff, BufferConfig, StaleSnapshotError, UserParkedError, due


def test_a_failed_replay_waits_for_its_back_off_and_not_for_the_next_add() -> None:
    """Adds do not bring it back; the time does, and each wait is longer than the one before."""
    rig = Rig(fail, "ann")
    with rig.manager:
        for attempt, wait in [(1, 10), (2, 20), (3, 40)]:
            result = rig.result()
            assert (result.outcome, result.attempt, result.retry_at) == ("failed", attempt, rig.clock.now + wait)
            rig.buffer.add_measurement("ann", 1)
            rig.clock.now += wait - 1
            rig.looks()
            assert rig.outcomes() == []
            rig.clock.now += 1
    assert rig.buffer.state("ann").replayed == 0


def test_it_is_tried_again_though_it_would_not_be_due() -> None:
    """When the back-off is over it is due, whatever the policy says; a completed one is as any other then."""
    failures = [ValueError("once")]

    def replay(frozen: Any) -> None:
        if failures:
            raise failures.pop()

    rig = Rig(replay, config=BufferConfig(due=due.Count(2)))
    rig.buffer.add_measurement("ann", 1)
    assert rig.manager.replay_user("ann").retry_at == 110
    assert rig.manager.replay_ready() == []
    rig.clock.now = 110.0
    assert [(result.ok, result.attempt) for result in rig.manager.replay_ready()] == [(True, 2)]
    rig.buffer.add_measurement("ann", 1)
    assert rig.manager.replay_ready() == []
    rig.buffer.add_measurement("ann", 1)
    assert [result.attempt for result in rig.manager.replay_ready()] == [1]


def test_jitter_is_taken_from_chance() -> None:
    """The wait is shortened by as much as chance has it."""
    rig = Rig(fail, "ann", backoff=Backoff(first=10, jitter=0.5), chance=lambda: 0.4)
    assert rig.manager.replay_user("ann").retry_at == pytest.approx(rig.clock.now + 8)


def test_after_max_attempts_a_user_is_parked() -> None:
    """Visible, counted, its measurements kept; no replay begins until it is released by call, and then one does."""
    rig = Rig(fail, "ann", max_attempts=2)
    rig.manager.replay_user("ann")
    rig.buffer.add_measurement("ann", 2)
    result = rig.manager.replay_user("ann")
    assert (result.outcome, result.attempt, result.parked, result.retry_at) == ("failed", 2, True, None)
    state = rig.buffer.state("ann")
    assert (state.phase, state.attempts, state.reason) == ("parked", 2, "ValueError('bad window')")
    assert rig.buffer.parked() == ["ann"]
    rig.buffer.add_measurement("ann", 3)
    rig.clock.now += 10**6
    assert rig.manager.replay_ready() == []
    with pytest.raises(UserParkedError):
        rig.manager.replay_user("ann")
    assert rig.buffer.measurements("ann") == [1, 2, 3]
    rig.manager.release_user("ann")
    assert rig.buffer.parked() == []
    assert [result.attempt for result in rig.manager.replay_ready()] == [1]


def test_without_max_attempts_nobody_is_parked() -> None:
    """None means trying for ever."""
    rig = Rig(fail, "ann", max_attempts=None)
    for attempt in range(1, 20):
        result = rig.manager.replay_user("ann")
        assert (result.attempt, result.parked) == (attempt, False)


def test_attempts_and_parking_survive_a_restart() -> None:
    """They are events: a new buffer and manager on the same log go on counting, waiting, and leaving alone."""
    log = MemoryLog[Any](keep_history=True)
    before = Rig(fail, "ann", "bob", log=log, max_attempts=2)
    before.manager.replay_user("ann")
    before.manager.replay_user("bob")
    before.manager.replay_user("bob")
    after = Rig(fail, log=log, max_attempts=2)
    assert after.buffer.parked() == ["bob"]
    assert after.buffer.state("ann").attempts == 1
    assert after.manager.replay_ready() == []
    after.clock.now += 10
    assert [(result.user_id, result.attempt, result.parked) for result in after.manager.replay_ready()] == [
        ("ann", 2, True)
    ]
    assert after.buffer.measurements("bob") == [1]
    assert after.buffer.audit("ann").ok


def test_a_replay_under_way_when_the_process_died_counts_as_an_attempt() -> None:
    """Its lease runs out, and whoever finds it due waits for the back-off first, or parks it if it was the last."""
    log = MemoryLog[Any](keep_history=True)
    before = Rig(fail, "ann", log=log)
    before.buffer.finalize_snapshot("ann", before.buffer.begin_snapshot("ann"))
    after = Rig(sum, log=log, max_attempts=2)
    after.clock.now += 300
    with after.manager:
        assert after.comes_to(lambda: after.buffer.state("ann").retry_at)
        assert after.buffer.state("ann").retry_at == after.clock.now + 10
        after.clock.now += 10
        assert (after.result().attempt, after.buffer.size("ann")) == (2, 0)


def test_who_expired_too_often_is_parked_without_another_replay() -> None:
    """The result says so: no replay was begun."""
    rig = Rig(sum, "ann", max_attempts=1)
    rig.buffer.begin_snapshot("ann")
    rig.clock.now += 30
    (result,) = rig.manager.replay_ready()
    assert (result.outcome, result.parked, result.attempt, result.version) == ("parked", True, 1, 1)
    assert rig.buffer.state("ann").reason == "its replays expired or were aborted"
    assert rig.outcomes() == ["parked"]


def test_nobody_takes_up_a_user_before_it_is_put_off() -> None:
    """Between the abort of a failed replay and the record of its next attempt it is not replayed by another thread."""

    class Slow(Watched):
        def schedule_retry(self, user_id: str, retry_at: float, version: int | None = None) -> None:
            rig.looks()
            super().schedule_retry(user_id, retry_at, version)

    rig = Rig(fail, "ann", kind=Slow, workers=3)
    with rig.manager:
        result = rig.result()
        assert result.retry_at == rig.buffer.state("ann").retry_at == rig.clock.now + 10
    assert rig.buffer.state("ann").version == 1


def test_another_manager_puts_off_instead_of_trying_at_once() -> None:
    """A second manager on the buffer, which finds a user whose failure is not settled yet, does not begin either."""
    rig = Rig(fail, "ann")
    rig.buffer.begin_snapshot("ann")
    rig.buffer.abort_snapshot("ann", "by somebody else")
    assert rig.manager.replay_ready() == []
    assert rig.buffer.state("ann").retry_at == rig.clock.now + 10
    assert rig.buffer.state("ann").version == 1


@pytest.mark.parametrize(("replay", "attempts", "replayed"), [(fail, 1, 0), (sum, 0, 1)])
def test_who_was_replayed_since_it_was_found_due_is_not_replayed_again(
    replay: Any, attempts: int, replayed: int
) -> None:
    """Another process, or a worker that was handed the same user, was faster, with success or not."""
    rig = Rig(replay, "ann", max_attempts=1)
    journal, faster = rig.buffer._journal, Rig(replay, log=rig.buffer._log)
    is_due = journal.is_due

    def replayed_thereupon(user_id: str, now: float) -> bool:
        due = is_due(user_id, now)
        assert faster.manager.replay_user("ann").ok == (replay is sum)
        return due

    journal.is_due = replayed_thereupon  # type: ignore[method-assign]
    assert rig.manager._replay_due("ann", FakePool()) is None  # type: ignore[arg-type]
    state = rig.buffer.state("ann")
    assert (state.version, state.attempts, state.replayed, rig.buffer.parked()) == (1, attempts, replayed, [])


def test_two_managers_park_once() -> None:
    """Who comes second finds it parked, and that is no error."""

    class Slow(Watched):
        def park(self, user_id: str, reason: str = "") -> None:
            super().park(user_id, reason)
            super().park(user_id, reason)

    rig = Rig(fail, "ann", kind=Slow, max_attempts=1)
    result = rig.manager.replay_user("ann")
    assert (result.outcome, rig.buffer.parked()) == ("failed", ["ann"])


def test_failing_users_are_no_hot_loop() -> None:
    """While everything fails, the manager asks who is due no more often than replays end."""
    rig = Rig(fail, *"abcde", poll_interval=10**6, workers=2)
    with rig.manager:
        for _ in range(5):
            assert rig.result().attempt == 1
        assert rig.buffer.asked.acquire(timeout=PATIENCE)
        assert rig.buffer.asked.acquire(timeout=PATIENCE)
    assert rig.buffer.times_asked <= 1 + 5
    assert [rig.buffer.state(user).attempts for user in "abcde"] == [1] * 5


def test_what_failed_long_ago_puts_nobody_off() -> None:
    """Where a later replay has failed since, it is that one's time that counts."""
    rig = Rig(fail, "ann")
    first = rig.manager.replay_user("ann")
    second = rig.manager.replay_user("ann")
    rig.clock.now += 5
    assert rig.manager._settling.settle(evolve(first, retry_at=None)).retry_at is None
    with pytest.raises(StaleSnapshotError):
        rig.manager._settling.put_off("ann", first.version, attempts=1)
    assert rig.buffer.state("ann").retry_at == second.retry_at
