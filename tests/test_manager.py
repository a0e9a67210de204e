"""`ReplayManager`: a replay from begin to completion, or back to where it began."""

from typing import Any

import pytest

from statemachine import (
    ReplayBuffer,
    ReplayManager,
    ReplayResult,
    SnapshotInProgressError,
    StaleSnapshotError,
    UnknownUserError,
)


class Bench:
    """A buffer with a clock, a manager, and a record of what the manager called."""

    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        self.calls: list[Any] = []
        self.buffer: ReplayBuffer[int] = ReplayBuffer(clock=lambda: self.now, **options)
        self.buffer.add_measurements("ann", [1, 2, 3])
        self.during: Any = lambda: None

    def take_snapshot(self, user_id: str) -> str:
        self.calls.append(("take_snapshot", self.buffer.state(user_id).phase))
        return f"{user_id} as before"

    def replay(self, frozen: Any) -> int:
        self.calls.append(("replay", self.buffer.state(frozen.user_id).phase))
        self.during()
        return sum(frozen)

    def restore(self, user_id: str, taken: str) -> None:
        self.calls.append(("restore", self.buffer.state(user_id).phase, taken))

    def complete(self, result: ReplayResult) -> None:
        self.calls.append(("complete", self.buffer.state(result.user_id).phase, result.value))

    def manager(self) -> ReplayManager[int]:
        return ReplayManager(
            self.buffer,
            self.replay,
            take_snapshot=self.take_snapshot,
            restore=self.restore,
            on_replay_complete=self.complete,
        )


def fail(error: BaseException) -> None:
    raise error


def test_the_way_of_a_replay() -> None:
    """Begin, the application's snapshot, finalize, replay, complete, report: in this order and these states."""
    bench = Bench()
    result = bench.manager().replay_user("ann", timestamp="noon")
    assert bench.calls == [("take_snapshot", "snapshotting"), ("replay", "replaying"), ("complete", "idle", 6)]
    assert (result.outcome, result.ok, result.measurements, result.value, result.error) == (
        "completed",
        True,
        3,
        6,
        None,
    )
    assert result.duration > 0
    assert bench.buffer.measurements("ann") == []
    assert not bench.buffer._rollbacks._own, "the rollback of a completed replay was kept"


def test_a_failed_replay_is_put_back_in_aborting() -> None:
    """A replay that raises aborts, the application's state is restored in `aborting`, nothing leaves the buffer."""
    bench = Bench()
    bench.during = lambda: fail(ValueError("bad window"))
    result = bench.manager().replay_user("ann")
    assert bench.calls[-1] == ("restore", "aborting", "ann as before")
    assert (result.outcome, result.ok, str(result.error)) == ("failed", False, "bad window")
    assert bench.buffer.measurements("ann") == [1, 2, 3]
    assert bench.buffer.state("ann").phase == "idle"
    assert not bench.buffer._rollbacks._own


def test_without_callbacks_a_failure_just_aborts() -> None:
    """A manager with nothing but a replay function needs no restore."""
    bench = Bench()
    bench.during = lambda: fail(ValueError("bad window"))
    result = ReplayManager(bench.buffer, bench.replay).replay_user("ann")
    assert (result.outcome, result.rollback_error) == ("failed", None)
    assert bench.buffer.state("ann").phase == "idle"


def test_a_callback_that_raises_after_completion_does_not_undo_it() -> None:
    """What `on_replay_complete` raises is in the result; the replay stays completed."""
    bench = Bench()
    bench.complete = lambda result: fail(OSError("mail server is away"))  # type: ignore[method-assign]
    result = bench.manager().replay_user("ann")
    assert result.ok
    assert str(result.callback_error) == "mail server is away"
    assert bench.buffer.state("ann").replayed == 3


def test_a_restore_that_raises_is_tried_again_by_the_sweep() -> None:
    """The user stays in `aborting`, the result has the error, and the sweep restores as soon as that works."""
    bench = Bench()
    bench.during = lambda: fail(ValueError("bad window"))
    failures = [OSError("database is away")]

    def restore(user_id: str, taken: str) -> None:
        if failures:
            raise failures.pop()
        bench.calls.append("restored")

    bench.restore = restore  # type: ignore[method-assign]
    result = bench.manager().replay_user("ann")
    assert str(result.rollback_error) == "database is away"
    assert bench.buffer.state("ann").phase == "aborting"
    assert bench.buffer.expire_overdue() == ["ann"]
    assert bench.calls[-1] == "restored"


def test_restore_waits_for_a_replay_that_runs_past_its_lease() -> None:
    """A snapshot that expires under a running replay is rolled back when that has returned, not beside it."""
    bench = Bench()

    def during() -> None:
        bench.now += 300
        assert bench.buffer.expire_overdue() == ["ann"]
        assert bench.buffer.state("ann").phase == "aborting"
        assert "its replay has not returned" in str(bench.buffer.abort_errors["ann"])
        bench.buffer.add_measurement("ann", 4)

    bench.during = during
    result = bench.manager().replay_user("ann")
    assert result.outcome == "stale"
    assert isinstance(result.error, StaleSnapshotError)
    assert result.rollback_error is None
    assert bench.calls[-1] == ("restore", "aborting", "ann as before")
    assert bench.buffer.state("ann").phase == "idle"
    assert bench.buffer.measurements("ann") == [1, 2, 3, 4]
    assert bench.buffer.abort_errors == {}
    assert not bench.buffer._rollbacks._own


def test_a_late_restore_that_raises_is_left_to_the_sweep() -> None:
    """Stale and not restored: the user stays in `aborting`, the result says so, and the sweep tries again."""
    bench = Bench()
    bench.during = lambda: setattr(bench, "now", 300.0)
    failures = [OSError("database is away")]

    def restore(user_id: str, taken: str) -> None:
        if failures:
            raise failures.pop()

    bench.restore = restore  # type: ignore[method-assign]
    result = bench.manager().replay_user("ann")
    assert (result.outcome, str(result.rollback_error)) == ("stale", "database is away")
    assert bench.buffer.state("ann").phase == "aborting"
    assert bench.buffer.expire_overdue() == ["ann"]
    assert not bench.buffer._rollbacks._own


def test_a_snapshot_that_expires_before_it_was_finalized() -> None:
    """Taking the application's snapshot took too long: nothing was replayed, nothing is restored twice, all is idle."""
    bench = Bench()
    slow = bench.take_snapshot

    def take_snapshot(user_id: str) -> str:
        taken = slow(user_id)
        bench.now += 30
        assert bench.buffer.state(user_id).phase == "idle"
        return taken

    bench.take_snapshot = take_snapshot  # type: ignore[method-assign]
    result = bench.manager().replay_user("ann")
    assert (result.outcome, result.measurements) == ("stale", 0)
    assert bench.calls == [("take_snapshot", "snapshotting")]
    assert bench.buffer.state("ann").phase == "idle"
    assert not bench.buffer._rollbacks._own


def test_the_buffers_own_rollback_runs_after_restore() -> None:
    """Where the buffer has an `on_abort` hook as well, both run."""
    bench = Bench(on_abort=lambda user_id, version, reason: bench.calls.append(("on_abort", reason)))
    bench.during = lambda: fail(ValueError("bad window"))
    bench.manager().replay_user("ann")
    assert bench.calls[-2:] == [
        ("restore", "aborting", "ann as before"),
        ("on_abort", "ValueError('bad window')"),
    ]


def test_an_interrupt_leaves_no_half_done_replay() -> None:
    """Ctrl-C in the middle of a replay aborts and restores, and is raised on."""
    bench = Bench()
    bench.during = lambda: fail(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        bench.manager().replay_user("ann")
    assert bench.calls[-1] == ("restore", "aborting", "ann as before")
    assert bench.buffer.measurements("ann") == [1, 2, 3]


def test_a_replay_that_cannot_begin_raises() -> None:
    """An unknown user and a replay under way are errors of the caller, not results."""
    bench = Bench()
    with pytest.raises(UnknownUserError):
        bench.manager().replay_user("bob")
    bench.buffer.begin_snapshot("ann")
    with pytest.raises(SnapshotInProgressError):
        bench.manager().replay_user("ann")
    assert bench.calls == []


def test_a_replay_may_complete_by_the_buffer() -> None:
    """A replay function that calls `complete_replay` has completed it, too, and nobody is told to roll that back."""
    bench = Bench()

    def replay(frozen: Any) -> int:
        total = sum(frozen)
        bench.buffer.complete_replay("ann")
        return total

    result = ReplayManager(bench.buffer, replay, restore=bench.restore).replay_user("ann")
    assert (result.outcome, result.error, result.value, bench.calls) == ("completed", None, 6, [])
    assert bench.buffer.state("ann").replayed == 3


def test_a_replay_may_complete_by_itself() -> None:
    """A replay function that completes its snapshot (with its results, say) has completed it."""
    bench = Bench()
    result = ReplayManager(bench.buffer, lambda frozen: frozen.complete()).replay_user("ann")
    assert result.outcome == "completed"
    assert bench.buffer.state("ann").replayed == 3
