"""The audit finds every way in which a history can be wrong."""

import pytest

from events import (
    AbortBegun,
    BufferCleared,
    Event,
    MeasurementAdded,
    MeasurementsEvicted,
    MemoryLog,
    Recorded,
    ReplayCompleted,
    SnapshotBegun,
    SnapshotFinalized,
)
from statemachine import BufferState, ReplayBuffer, evolve
from statemachine._audit import Audit, audited

ADDED = [MeasurementAdded(number) for number in range(4)]
REPLAYING = [*ADDED, SnapshotBegun(1, None, 9.0), SnapshotFinalized(1, 9.0), MeasurementAdded(4), MeasurementAdded(5)]


def audit(history: list[Event], kept: BufferState | None = None) -> Audit:
    state = BufferState()
    for event in history:
        state = evolve(state, event)
    return audited(BufferState(), [Recorded(o, event) for o, event in enumerate(history)], kept or state)


def test_a_sound_history_has_no_findings() -> None:
    """Added = replayed + live + evicted + cleared, and nothing to say."""
    sound = audit([*REPLAYING, MeasurementsEvicted(6, 7), ReplayCompleted(1), MeasurementAdded(6), BufferCleared(11)])
    assert sound.ok
    assert str(sound) == "added 7 = replayed 4 + live 0 + evicted 1 + cleared 2, lost 0"
    assert (sound.first, sound.head) == (0, 12)


@pytest.mark.parametrize(
    ("history", "finding"),
    [
        ([*ADDED, ReplayCompleted(1)], "offset 4: ReplayCompleted is not legal while idle"),
        ([*ADDED, Event()], "offset 4: Event is not legal while idle"),
        ([*ADDED, SnapshotBegun(2, None, 9.0)], "SnapshotBegun has version 2, expected 1"),
        ([*REPLAYING, AbortBegun(3, "")], "AbortBegun has version 3, expected 1"),
        ([*REPLAYING, MeasurementsEvicted(3, 4)], "evicted from 3, which is frozen"),
        ([*REPLAYING, MeasurementsEvicted(7, 8)], "evicted from 7, though 1 older ones stayed"),
        ([*ADDED, MeasurementsEvicted(2, 2)], "evicted [2, 2), where nothing is live"),
        ([*ADDED, BufferCleared(5)], "cleared through 5, which is above itself"),
        ([*ADDED, BufferCleared(4), BufferCleared(1)], "the committed offset went back from 4"),
    ],
)
def test_what_cannot_be_is_found(history: list[Event], finding: str) -> None:
    """Illegal events, wrong versions, evicted frozen measurements, offsets that go back: each is named."""
    report = audit(history)
    assert not report.ok
    assert any(finding in line for line in report.findings), report.findings
    assert finding in str(report)


def test_offsets_that_are_not_dense_are_found() -> None:
    """A gap in the log is an event that was lost."""
    report = audited(BufferState(), [Recorded(1, MeasurementAdded(1))], BufferState(head=2, added=1))
    assert "offset 1: expected offset 0; offsets are not dense" in report.findings


def test_a_kept_state_that_differs_from_the_history_is_found() -> None:
    """The audit does not believe the state; it counts."""
    report = audit(ADDED, BufferState(head=4, added=5))
    assert "added: the kept state says 5, the history 4" in report.findings
    assert any(line.startswith("offsets: ") for line in report.findings)


def test_lost_measurements_are_counted() -> None:
    """A checkpoint that does not add up shows as lost."""
    report = audited(BufferState(added=3, replayed=1), [], BufferState(added=3, replayed=1))
    assert (report.lost, report.ok) == (2, False)


def test_the_audit_of_a_buffer_reads_its_log() -> None:
    """A log that was tampered with does not pass."""
    log: MemoryLog[int] = MemoryLog()
    buffer = ReplayBuffer(log)
    buffer.add_measurement("ann", 1)
    assert buffer.audit("ann").ok
    log.append("ann", [ReplayCompleted(1)], expected_head=1)
    assert not buffer.audit("ann").ok
