"""Timeouts and the aborting state: nobody waits for ever, and a rollback runs until it succeeds."""

from collections.abc import Sequence
from threading import Thread
from typing import Any

import pytest
from conftest import Clock, begun

from events import AbortFinished, Event, LogError, MemoryLog, SnapshotExpired
from statemachine import (
    BufferConfig,
    NoSnapshotError,
    ReplayBuffer,
    RollbackError,
    SnapshotInProgressError,
    StaleSnapshotError,
)
from statemachine._observing import Occurrence


@pytest.mark.parametrize("touch", ["state", "measurements", "pending", "audit", "events", "begin_snapshot"])
def test_an_overdue_snapshot_expires_when_its_user_is_touched(
    buffer: ReplayBuffer[Any], clock: Clock, touch: str
) -> None:
    """A snapshot not finalized within 30 s stands in nobody's way."""
    buffer.begin_snapshot("ann")
    clock.now += 29.9
    assert buffer.state("ann").phase == "snapshotting"
    clock.now += 0.1
    getattr(buffer, touch)("ann")
    assert buffer.state("ann").phase == ("snapshotting" if touch == "begin_snapshot" else "idle")
    kinds = [type(recorded.event) for recorded in buffer.events("ann")]
    assert kinds.count(SnapshotExpired) == 1


@pytest.mark.parametrize("batch", [False, True])
def test_an_add_expires_an_overdue_snapshot_too(buffer: ReplayBuffer[Any], clock: Clock, batch: bool) -> None:
    """An add touches its user: it is recorded, and the overdue snapshot is over."""
    buffer.begin_snapshot("ann")
    clock.now += 30
    if batch:
        buffer.add_measurements("ann", [4])
    else:
        buffer.add_measurement("ann", 4)
    assert [type(recorded.event).__name__ for recorded in buffer.events("ann", 3)] == [
        "SnapshotBegun",
        "SnapshotExpired",
        "AbortFinished",
        "MeasurementAdded",
    ]


def test_the_sweep_expires_what_nobody_touches(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """Without a touch the sweep ends what is overdue, and nothing else."""
    buffer.add_measurement("bob", 1)
    buffer.begin_snapshot("ann")
    clock.now += 15
    buffer.begin_snapshot("bob")
    clock.now += 15
    assert buffer.expire_overdue() == ["ann"]
    assert buffer.expire_overdue() == []
    assert buffer.state("bob").phase == "snapshotting"


def test_a_lease_is_renewed_from_now_on(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """Renewing gives the replay its full time again; the sweep goes by the new deadline."""
    frozen = begun(buffer)
    clock.now += 200
    frozen.renew()
    assert buffer.state("ann").deadline == 600
    clock.now += 200
    assert buffer.expire_overdue() == []
    clock.now += 100
    assert buffer.expire_overdue() == ["ann"]


def test_deadlines_survive_a_restart(clock: Clock) -> None:
    """They are in the events: a new buffer on the log expires what the old one left."""
    log: MemoryLog[int] = MemoryLog()
    old = ReplayBuffer(log, clock=clock)
    old.add_measurement("ann", 1)
    old.begin_snapshot("ann")
    new = ReplayBuffer(log, clock=clock)
    assert new.state("ann") == old.state("ann")
    clock.now += 30
    assert new.expire_overdue() == ["ann"]
    assert old.state("ann").phase == "idle"


def test_the_rollback_runs_in_aborting_and_outside_every_lock(clock: Clock) -> None:
    """The hook sees the user in `aborting` and may add, read, and wait for another thread that does."""
    seen = []

    def on_abort(user_id: str, version: int, reason: str) -> None:
        buffer.add_measurement(user_id, 2)
        thread = Thread(target=buffer.add_measurement, args=(user_id, 3))
        thread.start()
        thread.join()
        with pytest.raises(SnapshotInProgressError):
            buffer.begin_snapshot(user_id)
        seen.append((user_id, version, reason, buffer.state(user_id).phase))

    buffer: ReplayBuffer[int] = ReplayBuffer(clock=clock, on_abort=on_abort)
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    buffer.abort_snapshot("ann", "why not")
    assert seen == [("ann", 1, "why not", "aborting")]
    assert buffer.state("ann").phase == "idle"
    assert buffer.measurements("ann") == [1, 2, 3]


@pytest.mark.parametrize("how", ["abort", "touch", "add", "sweep"])
def test_a_failing_rollback_leaves_the_user_in_aborting_until_the_sweep(clock: Clock, how: str) -> None:
    """The error can be seen, measurements still arrive, and the sweep tries again until it works."""
    failures = [OSError("still away"), OSError("away")]
    calls = []

    def on_abort(user_id: str, version: int, reason: str) -> None:
        calls.append(reason)
        if failures:
            raise failures.pop()

    buffer: ReplayBuffer[int] = ReplayBuffer(clock=clock, on_abort=on_abort)
    buffer.add_measurement("ann", 1)
    version = buffer.begin_snapshot("ann")
    if how == "abort":
        with pytest.raises(RollbackError, match="no measurement is lost") as caught:
            buffer.abort_snapshot("ann", "expired")
        assert str(caught.value.__cause__) == "away"
    else:
        clock.now += 30
        {
            "touch": lambda: buffer.state("ann"),
            "add": lambda: buffer.add_measurement("ann", 0),
            "sweep": buffer.expire_overdue,
        }[how]()
    assert buffer.state("ann").phase == "aborting"
    assert str(buffer.abort_errors["ann"]) == "away"
    buffer.add_measurement("ann", 2)
    with pytest.raises(SnapshotInProgressError):
        buffer.begin_snapshot("ann")
    with pytest.raises(StaleSnapshotError, match="being aborted"):
        buffer.finalize_snapshot("ann", version)
    assert buffer.expire_overdue() == []
    assert str(buffer.abort_errors["ann"]) == "still away"
    assert buffer.expire_overdue() == ["ann"]
    assert buffer.abort_errors == {}
    assert calls == ["expired"] * 3
    assert buffer.state("ann").phase == "idle"
    assert buffer.measurements("ann")[-1] == 2


def test_a_rollback_is_never_run_by_two_at_once(clock: Clock) -> None:
    """While one thread rolls a user back, another that comes by, and the sweep, leave it alone."""
    calls = []

    def on_abort(user_id: str, version: int, reason: str) -> None:
        calls.append(version)
        moved: list[Any] = []
        thread = Thread(target=lambda: moved.append(buffer.expire_overdue()))
        thread.start()
        thread.join()
        assert moved == [[]]

    buffer: ReplayBuffer[int] = ReplayBuffer(clock=clock, on_abort=on_abort)
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    buffer.abort_snapshot("ann")
    assert calls == [1]


def test_without_a_hook_an_abort_is_over_at_once(buffer: ReplayBuffer[Any]) -> None:
    """Both events are appended together: nobody ever sees the user in `aborting`."""
    buffer.begin_snapshot("ann")
    buffer.abort_snapshot("ann", "why")
    assert [type(recorded.event).__name__ for recorded in buffer.events("ann", 4)] == ["AbortBegun", "AbortFinished"]


def test_what_was_evicted_is_handed_over_though_the_rollback_is_interrupted(clock: Clock) -> None:
    """A rollback that ends the thread does not swallow the hand-over of what the add has evicted."""
    archive: list[int] = []

    def on_abort(*_: Any) -> None:
        raise SystemExit

    config = BufferConfig(max_measurements=1, pending_factor=1)
    buffer: ReplayBuffer[int] = ReplayBuffer(
        config=config, clock=clock, on_abort=on_abort, on_evict=lambda _user, gone: archive.extend(gone)
    )
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    buffer.add_measurement("ann", 2)
    clock.now += 30
    with pytest.raises(SystemExit):
        buffer.add_measurement("ann", 3)
    assert archive == [2]
    assert buffer.measurements("ann") == [1, 3]


def test_waiting_for_a_rollback_says_what_helps(clock: Clock) -> None:
    """In `aborting` there is nothing to complete or abort: the sweep tries the rollback again."""

    def on_abort(*_: Any) -> None:
        raise OSError("away")

    buffer: ReplayBuffer[int] = ReplayBuffer(clock=clock, on_abort=on_abort)
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    with pytest.raises(RollbackError):
        buffer.abort_snapshot("ann")
    with pytest.raises(SnapshotInProgressError, match=r"expire_overdue\(\) tries it again"):
        buffer.begin_snapshot("ann")


def test_a_pending_add_at_the_deadline_expires_the_snapshot(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """Also where measurements were pending before, so that the add needs no decision until then."""
    buffer.begin_snapshot("ann")
    buffer.add_measurements("ann", [4])
    clock.now += 30
    buffer.add_measurement("ann", 5)
    kinds = [type(recorded.event).__name__ for recorded in buffer.events("ann", 4)]
    assert kinds == ["MeasurementAdded", "SnapshotExpired", "AbortFinished", "MeasurementAdded"]


def test_an_abort_finds_that_its_snapshot_has_expired(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """It is refused as any abort is when nothing is in progress."""
    buffer.begin_snapshot("ann")
    clock.now += 30
    with pytest.raises(NoSnapshotError):
        buffer.abort_snapshot("ann")


def test_a_rollback_that_fails_says_whose_it_was() -> None:
    """Who reads the error of one abort among thousands knows whom it concerns."""

    def fails(user_id: str, version: int, reason: str) -> None:
        raise OSError("away")

    buffer: ReplayBuffer[int] = ReplayBuffer(on_abort=fails)
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    with pytest.raises(RollbackError, match=r"^user 'ann': ") as failed:
        buffer.abort_snapshot("ann")
    assert failed.value.user_id == "ann"


def test_an_abort_while_an_earlier_rollback_comes_to_its_end() -> None:
    """Whoever runs the earlier one runs the new one, too: it does not wait for the sweep."""
    rolled_back: list[int] = []
    buffer: ReplayBuffer[int] = ReplayBuffer(on_abort=lambda user_id, version, reason: rolled_back.append(version))

    def abort_another(occurrence: Occurrence) -> None:
        if isinstance(occurrence.event, AbortFinished) and occurrence.version == 1:
            buffer.begin_snapshot("ann")
            buffer.abort_snapshot("ann")

    buffer._observe(abort_another)
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    buffer.abort_snapshot("ann")
    assert (rolled_back, buffer.state("ann").phase) == ([1, 2], "idle")


def test_a_rollback_that_touches_its_own_user_runs_once(clock: Clock) -> None:
    """A sweep inside of it does not ask for another try."""
    ran: list[str] = []

    def roll_back(user_id: str, _version: int, _reason: str) -> None:
        ran.append(user_id)
        buffer.expire_overdue()
        if len(ran) == 1:
            raise ValueError("not yet")

    buffer: ReplayBuffer[int] = ReplayBuffer(clock=clock, on_abort=roll_back)
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    with pytest.raises(RollbackError, match="not yet"):
        buffer.abort_snapshot("ann")
    assert ran == ["ann"]
    buffer.expire_overdue()
    assert (ran, buffer.state("ann").phase) == (["ann"] * 2, "idle")


def test_a_rollback_that_was_interrupted_is_run_again(clock: Clock) -> None:
    """The interrupt goes to the caller; the next sweep tries again."""
    interrupts: list[BaseException] = [KeyboardInterrupt()]

    def roll_back(*_: object) -> None:
        if interrupts:
            raise interrupts.pop()

    buffer: ReplayBuffer[int] = ReplayBuffer(clock=clock, on_abort=roll_back)
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    with pytest.raises(KeyboardInterrupt):
        buffer.abort_snapshot("ann")
    assert buffer.state("ann").phase == "aborting"
    buffer.expire_overdue()
    assert buffer.state("ann").phase == "idle"


def test_a_log_that_is_away_when_the_rollback_has_run_is_told(clock: Clock) -> None:
    """As a hook that fails is: the user stays in `aborting`, and it can be seen why."""

    class Away(MemoryLog[int]):
        def append(self, stream: str, events: Sequence[Event], **given: Any) -> int:
            if away and isinstance(events[0], AbortFinished):
                raise away[0]
            return super().append(stream, events, **given)

    away = [LogError("no space left")]
    buffer: ReplayBuffer[int] = ReplayBuffer(Away(), clock=clock, on_abort=lambda *_: None)
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    with pytest.raises(RollbackError, match="no space left"):
        buffer.abort_snapshot("ann")
    assert buffer.abort_errors == {"ann": away[0]}
    away.clear()
    buffer.expire_overdue()
    assert (buffer.abort_errors, buffer.state("ann").phase) == ({}, "idle")
