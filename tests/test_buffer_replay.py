"""Freezing, completing, aborting, fencing: only a completed replay clears, and only what it froze."""

from typing import Any

import pytest
from conftest import Clock, begun

from events import AbortBegun, MemoryLog
from statemachine import (
    BufferState,
    ReplayBuffer,
    StaleSnapshotError,
)


def test_what_arrives_after_the_begin_is_pending(buffer: ReplayBuffer[Any]) -> None:
    """Between begin and finalize the application takes its own snapshot; what arrives then is not in the replay."""
    buffer.begin_snapshot("ann", timestamp="noon")
    buffer.add_measurement("ann", 4)
    frozen = buffer.finalize_snapshot("ann")
    buffer.add_measurement("ann", 5)
    assert list(frozen) == [1, 2, 3]
    assert (frozen.start, frozen.stop, frozen.version, frozen.timestamp) == (0, 3, 1, "noon")
    assert buffer.pending("ann") == [4, 5]
    frozen.complete()
    assert buffer.measurements("ann") == [4, 5]
    assert buffer.pending("ann") == []


def test_the_clock_is_the_timestamp_where_none_is_given(buffer: ReplayBuffer[Any]) -> None:
    """A snapshot without a timestamp of the application's has the time of its begin."""
    with buffer.snapshot("ann") as frozen:
        assert frozen.timestamp == 100.0


@pytest.mark.parametrize("end", ["abort", "expire", "error"])
def test_a_failed_replay_moves_nothing(buffer: ReplayBuffer[Any], clock: Clock, end: str) -> None:
    """Aborted, expired or failed: frozen and pending are simply live again, in their old order."""
    if end == "error":
        with pytest.raises(OSError, match="away"), buffer.snapshot("ann"):
            buffer.add_measurement("ann", 4)
            raise OSError("away")
    else:
        frozen = begun(buffer)
        buffer.add_measurement("ann", 4)
        if end == "abort":
            frozen.abort("no")
        else:
            clock.now += 300
    assert buffer.measurements("ann") == [1, 2, 3, 4]
    assert buffer.state("ann").phase == "idle"
    assert buffer.state("ann").committed == 0


def test_settling_a_snapshot_inside_its_block_is_fine(buffer: ReplayBuffer[Any]) -> None:
    """A block may complete or abort by itself; leaving it then does nothing more."""
    with buffer.snapshot("ann") as frozen:
        frozen.abort("changed my mind")
    assert buffer.measurements("ann") == [1, 2, 3]
    with buffer.snapshot("ann") as frozen:
        frozen.complete()
        assert frozen.settled
    assert buffer.measurements("ann") == []


def test_an_error_in_a_block_that_expired_is_the_one_raised(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """The application's own error matters more than that its snapshot is stale."""
    with pytest.raises(OSError, match="away"), buffer.snapshot("ann"):
        clock.now += 300
        raise OSError("away")
    assert buffer.measurements("ann") == [1, 2, 3]


def test_clearing_drops_what_is_live_and_counts_it(buffer: ReplayBuffer[Any]) -> None:
    """A cleared buffer is empty, its user still known, and what was dropped is counted."""
    buffer.clear_buffer("ann")
    buffer.add_measurement("ann", 4)
    assert buffer.measurements("ann") == [4]
    assert (buffer.state("ann").cleared, buffer.state("ann").committed) == (3, 3)
    assert buffer.audit("ann").ok


def test_a_zombie_changes_nothing_of_the_next_snapshot(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """A replay that was given up, and wakes up when another has begun, is refused and reads only its own."""
    zombie = begun(buffer)
    clock.now += 300
    buffer.add_measurement("ann", 4)
    current = begun(buffer)
    before = buffer.state("ann")
    for operation in (zombie.complete, zombie.abort, zombie.renew):
        with pytest.raises(StaleSnapshotError, match="snapshot 1 is over; snapshot 2 has begun since"):
            operation()
    assert buffer.state("ann") == before
    assert list(zombie) == [1, 2, 3]
    current.complete()
    with pytest.raises(StaleSnapshotError, match="no longer kept in the log"):
        list(zombie)
    with pytest.raises(StaleSnapshotError):
        zombie[0]


def test_a_stale_snapshot_reads_its_own_where_history_is_kept() -> None:
    """Where the log keeps history, a completed snapshot can be read for ever."""
    buffer: ReplayBuffer[int] = ReplayBuffer(MemoryLog(keep_history=True))
    buffer.add_measurements("ann", range(5))
    frozen = begun(buffer)
    frozen.complete()
    buffer.add_measurements("ann", range(5, 9))
    assert list(frozen) == list(range(5))


def test_an_error_that_cannot_be_shown_aborts_all_the_same(buffer: ReplayBuffer[Any]) -> None:
    """The reason of the abort falls back on the error's kind."""

    class Unspeakable(Exception):  # noqa: N818 - as bad as can be
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(Unspeakable), buffer.snapshot("ann"):
        raise Unspeakable
    assert buffer.state("ann").phase == "idle"


def test_an_error_in_a_block_that_expired_aborts_no_later_snapshot(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """A replay that took too long and then failed leaves alone the snapshot that has begun since."""
    with pytest.raises(OSError, match="away"), buffer.snapshot("ann"):
        clock.now += 301
        buffer.expire_overdue()
        version = buffer.begin_snapshot("ann")
        raise OSError("the database is away")
    state = buffer.state("ann")
    assert (state.phase, state.version) == ("snapshotting", version)


@pytest.mark.parametrize("end", ["abort", "complete"])
def test_nothing_of_a_snapshot_is_left_when_it_is_over(buffer: ReplayBuffer[Any], end: str) -> None:
    """Idle again, a user has no freeze point, no deadline, no timestamp and no reason, however the replay ended."""
    frozen = begun(buffer)
    buffer.add_measurement("ann", 4)
    frozen.abort("database is away") if end == "abort" else frozen.complete()
    state = buffer.state("ann")
    assert (state.phase, state.version, state.frozen_offset) == ("idle", 1, None)
    assert (state.deadline, state.timestamp, state.reason, state.pending_arrived_at) == (None, None, "", None)


def test_the_reason_of_an_abort_is_recorded(buffer: ReplayBuffer[Any]) -> None:
    """It is the error that ended the block, what was given, or nothing where nothing was."""
    with pytest.raises(OSError, match="away"), buffer.snapshot("ann"):
        raise OSError("away")
    for reason in (["why not"], []):
        buffer.begin_snapshot("ann")
        buffer.abort_snapshot("ann", *reason)
    reasons = [recorded.event.reason for recorded in buffer.events("ann") if isinstance(recorded.event, AbortBegun)]
    assert reasons == ["OSError('away')", "why not", ""]


def test_a_block_replays_no_snapshot_but_its_own(clock: Clock) -> None:
    """One that another has begun, after its own was aborted on the way in, is left alone."""

    class Overtaken(ReplayBuffer[int]):
        def _begin(self, *arguments: Any, **named: Any) -> BufferState:
            begun = super()._begin(*arguments, **named)
            if begun.version == 1:
                self.abort_snapshot("ann")
                self.add_measurement("ann", 2)
                self.begin_snapshot("ann")
            return begun

    buffer = Overtaken(clock=clock)
    buffer.add_measurement("ann", 1)
    with pytest.raises(StaleSnapshotError), buffer.snapshot("ann") as frozen:
        assert (frozen.version, list(frozen)) == (1, [1])
    assert (buffer.state("ann").phase, buffer.state("ann").version) == ("snapshotting", 2)
