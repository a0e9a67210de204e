"""Bounded, and never silently: eviction, rejection, and what stays in memory."""

from pathlib import Path
from typing import Any

import pytest
from conftest import Clock, begun

from events import MeasurementsEvicted, MemoryLog, SqliteLog
from statemachine import (
    BufferConfig,
    BufferFullError,
    EvictHookError,
    InvalidArgumentError,
    ReplayBuffer,
)


@pytest.mark.parametrize("count", [1, 3, 300, 1000])
def test_evictions_are_events_and_counted_and_handed_over(count: int, clock: Clock) -> None:
    """At the bound each add costs the oldest; the hook gets them all, in order, exactly once."""
    archive: list[int] = []
    config = BufferConfig(max_measurements=5)
    hooked: ReplayBuffer[int] = ReplayBuffer(
        MemoryLog(keep_history=True), config, clock=clock, on_evict=lambda _user, evicted: archive.extend(evicted)
    )
    plain: ReplayBuffer[int] = ReplayBuffer(MemoryLog(keep_history=True), config, clock=clock)
    for number in range(5 + count):
        assert hooked.add_measurement("ann", number) == plain.add_measurement("ann", number)
    assert archive == list(range(count))
    assert hooked.state("ann").evicted == count
    assert hooked.measurements("ann") == list(range(count, count + 5))
    assert list(hooked.events("ann")) == list(plain.events("ann")), "evicting within a grant is not the same"
    assert hooked.state("ann") == plain.state("ann")
    evictions = [recorded.event for recorded in plain.events("ann") if isinstance(recorded.event, MeasurementsEvicted)]
    assert len(evictions) == count


def test_a_batch_larger_than_the_bound_keeps_its_newest() -> None:
    """Of what comes in a batch too the oldest are evicted, each handed over once."""
    archive: list[int] = []
    buffer: ReplayBuffer[int] = ReplayBuffer(
        config=BufferConfig(max_measurements=5), on_evict=lambda _user, evicted: archive.extend(evicted)
    )
    buffer.add_measurements("ann", range(3))
    assert buffer.add_measurements("ann", range(3, 13)) == range(3, 13)
    assert buffer.measurements("ann") == list(range(8, 13))
    assert archive == list(range(8))


def test_frozen_measurements_are_never_evicted(buffer: ReplayBuffer[Any]) -> None:
    """While a snapshot is in progress only what is pending can be evicted, the oldest first."""
    frozen = begun(buffer)
    for number in range(10, 1000):
        buffer.add_measurement("ann", number)
    assert list(frozen) == [1, 2, 3]
    assert buffer.pending("ann") == list(range(990, 1000))
    frozen.complete()
    assert buffer.measurements("ann") == list(range(990, 1000))
    assert buffer.audit("ann").ok


def test_a_full_buffer_that_rejects_records_nothing() -> None:
    """With `reject` the measurement is refused, the buffer stays as it was, and a replay makes room again."""
    buffer: ReplayBuffer[int] = ReplayBuffer(config=BufferConfig(max_measurements=2, on_overflow="reject"))
    buffer.add_measurements("ann", [1, 2])
    before = buffer.state("ann")
    for call in (lambda: buffer.add_measurement("ann", 3), lambda: buffer.add_measurements("ann", [3])):
        with pytest.raises(BufferFullError, match="user 'ann': 2 measurements are live and 2 may be"):
            call()
    assert buffer.state("ann") == before
    with buffer.snapshot("ann"):
        buffer.add_measurements("ann", range(4))
        with pytest.raises(BufferFullError):
            buffer.add_measurement("ann", 5)
    assert buffer.measurements("ann") == [0, 1, 2, 3]


def test_a_full_buffer_does_not_keep_an_overdue_snapshot(clock: Clock) -> None:
    """A refused add has touched its user all the same: the overdue snapshot is rolled back."""
    calls: list[int] = []
    config = BufferConfig(max_measurements=1, pending_factor=1, on_overflow="reject")
    buffer: ReplayBuffer[int] = ReplayBuffer(config=config, clock=clock, on_abort=lambda _u, v, _r: calls.append(v))
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    buffer.add_measurement("ann", 2)
    clock.now += 30
    with pytest.raises(BufferFullError):
        buffer.add_measurement("ann", 3)
    assert calls == [1]
    assert buffer.state("ann").phase == "idle"


def test_an_eviction_hook_that_raises_does_not_undo_the_add() -> None:
    """The error says that the measurement is recorded, and where."""

    def on_evict(_user_id: str, _evicted: Any) -> None:
        raise OSError("archive is full")

    buffer: ReplayBuffer[int] = ReplayBuffer(config=BufferConfig(max_measurements=1), on_evict=on_evict)
    buffer.add_measurement("ann", 1)
    with pytest.raises(EvictHookError, match="IS recorded, from offset 1 on") as caught:
        buffer.add_measurement("ann", 2)
    assert caught.value.offset == 1
    assert isinstance(caught.value.__cause__, OSError)
    assert buffer.measurements("ann") == [2]


@pytest.mark.parametrize("bound", [1, 10, 1000])
def test_an_idle_users_memory_stays_bounded(bound: int) -> None:
    """However much is added and evicted without any replay, the log keeps a bounded part of it."""
    log: MemoryLog[int] = MemoryLog()
    buffer = ReplayBuffer(log, BufferConfig(max_measurements=bound))
    kept = []
    for number in range(20 * max(bound, 256)):
        buffer.add_measurement("ann", number)
        position = log.position("ann")
        assert position is not None
        kept.append(position.head - position.start)
    assert max(kept) <= 4 * bound + 140, "live ones and their evictions, once more before the first cut, and a bit"
    assert kept[-1] <= 2 * bound + 140
    assert buffer.audit("ann").ok
    assert len(log.tails["ann"].marks) <= 8


def test_what_was_read_can_be_cleared_and_no_more() -> None:
    """`through` keeps what arrived later; an offset that is none, or above the head, is refused."""
    buffer: ReplayBuffer[int] = ReplayBuffer()
    buffer.add_measurements("ann", range(5))
    buffer.clear_buffer("ann", through=3)
    assert (buffer.measurements("ann"), buffer.size("ann"), buffer.state("ann").cleared) == ([3, 4], 2, 3)
    head = buffer.state("ann").head
    buffer.clear_buffer("ann", through=3)
    assert buffer.state("ann").head == head, "nothing was there to clear, so nothing happened"
    for wrong in (-1, True, "3", head + 1):
        with pytest.raises(InvalidArgumentError, match="offset"):
            buffer.clear_buffer("ann", through=wrong)  # type: ignore[arg-type]
    assert buffer.measurements("ann") == [3, 4]


def test_memory_stays_bounded_while_replays_keep_failing() -> None:
    """Replays that fail again and again, with or without anything to replay, do not make the log grow for ever."""
    log: MemoryLog[int] = MemoryLog()
    buffer = ReplayBuffer(log, BufferConfig(max_measurements=20))
    buffer.add_measurement("bob", 1)
    buffer.clear_buffer("bob")
    kept = []
    for _ in range(200):
        for number in range(10):
            buffer.add_measurement("ann", number)
        for user_id in ("ann", "bob"):
            buffer.begin_snapshot(user_id)
            buffer.abort_snapshot(user_id)
            kept.append(len(log.tails[user_id].items))
    assert max(kept) < 400
    assert buffer.audit("ann").ok


def test_the_size_is_what_is_live_also_while_each_add_evicts(buffer: ReplayBuffer[Any]) -> None:
    """Below the bound, at it and far beyond it, idle and in progress: `size` and `state` agree."""
    for number in range(12):
        buffer.add_measurement("ann", number)
        assert buffer.size("ann") == min(5, 4 + number) == buffer.state("ann").live
    buffer.begin_snapshot("ann")
    for number in range(12):
        buffer.add_measurement("ann", number)
        assert buffer.size("ann") == 5 + min(10, 1 + number)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_an_add_needs_no_decision_where_there_is_room(tmp_path: Path, kind: str) -> None:
    """One or several: they are taken within the room that the latest decision has left."""
    log = MemoryLog[int]() if kind == "memory" else SqliteLog[int](tmp_path / "log.db", durability="off")
    with ReplayBuffer(log) as buffer:
        buffer.add_measurement("ann", 1)
        decided = log.position("ann")
        buffer.add_measurement("ann", 2)
        buffer.add_measurements("ann", [3, 4])
        position = log.position("ann")
        assert decided is not None
        assert position is not None
        assert (position.head, position.granted_from) == (decided.head + 3, decided.granted_from)
