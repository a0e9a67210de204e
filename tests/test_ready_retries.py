"""Who is `ready` after a failed replay: scheduled retries, parking and release."""

from math import inf, nan

import pytest
from conftest import Clock
from readying import CountingLog, failed, made, ready, replayed

from events import MemoryLog
from statemachine import (
    BufferClosedError,
    BufferConfig,
    IllegalTriggerError,
    InvalidArgumentError,
    NoSnapshotError,
    ReplayBuffer,
    SnapshotInProgressError,
    StaleSnapshotError,
    UserParkedError,
    due,
)
from statemachine.due import MOST_SECONDS


@pytest.mark.parametrize("looked", [False, True])
def test_a_retry_of_nothing_makes_the_next_arrival_due(clock: Clock, looked: bool) -> None:
    """After the back-off a user is due whatever the policy says, also one whose first measurement comes only then."""
    log = CountingLog()
    buffer = made(clock, due.Count(50), log)
    buffer.add_measurement("ann", 1)
    buffer.clear_buffer("ann")
    failed(buffer, "ann")
    buffer.schedule_retry("ann", clock.now + 10)
    clock.now += 10
    if looked:
        assert ready(buffer) == []
        log.looks = 0
        assert (ready(buffer), log.looks) == ([], 0)
    buffer.add_measurement("ann", 2)
    assert ready(buffer) == ["ann"]


def test_a_retry_comes_before_the_policy(clock: Clock) -> None:
    """Not again before `retry_at`, and then whatever `BufferConfig.due` says; measured by the buffer's clock."""
    buffer = made(clock, due.Count(2))
    buffer.add_measurement("ann", 1)
    failed(buffer, "ann")
    assert ready(buffer) == []  # nothing was said of a retry, and the policy wants two
    buffer.schedule_retry("ann", 150)
    buffer.add_measurements("ann", [2, 3])
    assert ready(buffer) == []
    buffer.schedule_retry("ann", 130.0)
    for clock.now, expected in ((129.9, []), (130.0, ["ann"])):
        assert ready(buffer) == expected
    assert (buffer.state("ann").retry_at, buffer.state("ann").attempts) == (130.0, 1)
    replayed(buffer, "ann")
    assert (buffer.state("ann").retry_at, buffer.state("ann").attempts) == (None, 0)


def test_a_retry_may_be_scheduled_while_the_rollback_fails(clock: Clock) -> None:
    """In `aborting` nobody is due; when the rollback has succeeded, the back-off still holds."""
    failing = [OSError("away")]

    def on_abort(user_id: str, version: int, reason: str) -> None:
        if failing:
            raise failing[0]

    buffer: ReplayBuffer[int] = ReplayBuffer(config=BufferConfig(due=due.Count(1)), clock=clock, on_abort=on_abort)
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    clock.now += 30
    assert buffer.expire_overdue() == ["ann"]
    buffer.schedule_retry("ann", clock.now + 10, version=1)
    clock.now += 10
    assert ready(buffer) == []
    failing.clear()
    assert buffer.expire_overdue() == ["ann"]
    assert ready(buffer) == ["ann"]


def test_what_cannot_be_retried_is_refused(clock: Clock) -> None:
    """There must be a failure, of the snapshot meant, that is over; and a time to wait for."""
    buffer = made(clock)
    buffer.add_measurement("ann", 1)
    with pytest.raises(NoSnapshotError, match="no replay has failed"):
        buffer.schedule_retry("ann", 1.0)
    version = buffer.begin_snapshot("ann")
    with pytest.raises(SnapshotInProgressError):
        buffer.schedule_retry("ann", 1.0, version)
    buffer.abort_snapshot("ann")
    with pytest.raises(StaleSnapshotError):
        buffer.schedule_retry("ann", 1.0, version + 1)
    for retry_at in (nan, inf, -inf, True, "1", None, 10**400):
        with pytest.raises(InvalidArgumentError, match="retry_at must be a finite number of seconds"):
            buffer.schedule_retry("ann", retry_at)  # type: ignore[arg-type]
    replayed(buffer, "ann")
    for stale, error in ((version, StaleSnapshotError), (None, NoSnapshotError)):
        with pytest.raises(error):
            buffer.schedule_retry("ann", 1.0, stale)


def test_parked_users_wait_for_their_release(clock: Clock) -> None:
    """No replay begins and nobody is due; what is live stays, adds go on; then all is as before."""
    buffer = made(clock, due.Count(2))
    buffer.add_measurement("ann", 1)
    failed(buffer, "ann")
    buffer.schedule_retry("ann", clock.now)
    buffer.park("ann", "her scale is broken")
    buffer.add_measurements("ann", [2, 3])
    assert (ready(buffer), buffer.parked(), buffer.measurements("ann")) == ([], ["ann"], [1, 2, 3])
    assert (buffer.state("ann").phase, buffer.state("ann").reason) == ("parked", "her scale is broken")
    for refused in (buffer.begin_snapshot, buffer.park, buffer.clear_buffer):
        with pytest.raises(UserParkedError, match="release"):
            refused("ann")
    buffer.release("ann")
    assert (ready(buffer), buffer.parked(), buffer.state("ann").attempts) == (["ann"], [], 0)
    with pytest.raises(IllegalTriggerError, match="not parked"):
        buffer.release("ann")
    with pytest.raises(InvalidArgumentError, match="reason must be a string"):
        buffer.park("ann", 5)  # type: ignore[arg-type]
    buffer.begin_snapshot("ann")
    with pytest.raises(SnapshotInProgressError):
        buffer.park("ann")


def test_the_longest_parked_are_listed_first(clock: Clock) -> None:
    """Also by a new buffer on the log; who is released leaves, who is parked again comes last."""
    log: MemoryLog[int] = MemoryLog()
    buffer = made(clock, None, log)
    for user in ("cid", "ann", "bob"):
        buffer.add_measurement(user, 1)
        buffer.park(user)
    buffer.add_measurements("ann", range(300))
    assert made(clock, None, log).parked() == ["cid", "ann", "bob"]
    buffer.release("cid")
    assert buffer.parked() == ["ann", "bob"]
    buffer.park("cid")
    assert buffer.parked() == ["ann", "bob", "cid"]


def test_nothing_is_asked_of_a_closed_buffer(clock: Clock) -> None:
    """The error comes with the call, not with the first user."""
    buffer = made(clock)
    buffer.close()
    for call in (buffer.ready, buffer.parked):
        with pytest.raises(BufferClosedError):
            call()


def test_a_claim_is_for_two_seconds(clock: Clock) -> None:
    """So long nobody else is given the users that a worker has been given."""

    class Claiming(MemoryLog[int]):
        def claim(self, now: float, until: float, most: int) -> list[str]:
            claims.append((now, until, most))
            return super().claim(now, until, most)

    claims: list[tuple[float, float, int]] = []
    buffer = made(clock, due.Count(1), Claiming())
    buffer.add_measurement("ann", 1)
    assert buffer._claimed(3) == ["ann"]
    assert claims == [(100.0, 102.0, 3)]


def test_what_a_retry_may_name(clock: Clock) -> None:
    """Any time that is a number, however late; the version of a snapshot must be a whole number."""
    buffer = made(clock)
    buffer.add_measurement("ann", 1)
    failed(buffer, "ann")
    for retry_at in (-MOST_SECONDS, MOST_SECONDS):
        buffer.schedule_retry("ann", retry_at)
        assert buffer.state("ann").retry_at == retry_at
    for version in (True, "1", 1.0):
        with pytest.raises(InvalidArgumentError, match="a version must be a whole number"):
            buffer.schedule_retry("ann", 1.0, version)  # type: ignore[arg-type]


def test_no_reason_needs_to_be_given(clock: Clock) -> None:
    """Who is parked without one has none; he is counted among the parked."""
    buffer = made(clock)
    for user in ("ann", "bob"):
        buffer.add_measurement(user, 1)
        buffer.park(user)
    assert buffer.state("ann").reason == ""
    assert buffer.metrics().parked == 2
