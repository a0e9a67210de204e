"""The audit finds every way in which a history can be wrong."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from events import (
    AbortBegun,
    BufferCleared,
    Checkpoint,
    Event,
    LogDamagedError,
    MeasurementAdded,
    MeasurementsEvicted,
    MemoryLog,
    Offsets,
    Recorded,
    ReplayCompleted,
    SnapshotBegun,
    SnapshotFinalized,
    TruncatedError,
    UnknownTypeError,
    Unregistered,
)
from statemachine import BufferConfig, BufferState, ReplayBuffer, evolve
from statemachine._audit import Audit, audited
from statemachine.due import Age

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
        ([*ADDED, ReplayCompleted(1)], "ReplayCompleted is not legal while idle"),
        ([*ADDED, Event()], "Event is not legal while idle"),
        ([*ADDED, SnapshotBegun(2, None, 9.0)], "SnapshotBegun has version 2, expected 1"),
        ([*REPLAYING, AbortBegun(3, "")], "AbortBegun has version 3, expected 1"),
        ([*REPLAYING, MeasurementsEvicted(3, 4)], "evicted from 3, which is frozen"),
        ([*REPLAYING, MeasurementsEvicted(7, 8)], "evicted from 7, though 1 older ones stayed"),
        ([*ADDED, MeasurementsEvicted(1, 2)], "evicted from 1, though 1 older ones stayed"),
        ([*ADDED, MeasurementsEvicted(0, 0)], "evicted [0, 0), where nothing is live"),
        ([*ADDED, MeasurementsEvicted(2, 2)], "evicted [2, 2), where nothing is live"),
        ([*ADDED, BufferCleared(5)], "cleared through 5, which is above itself"),
    ],
)
def test_what_cannot_be_is_found(history: list[Event], finding: str) -> None:
    """Illegal events, wrong versions, evicted frozen measurements, offsets that go back: each is named."""
    report = audit(history)
    assert not report.ok
    assert f"offset {len(history) - 1}: {finding}" in report.findings
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


class Forged(MemoryLog[int]):
    """A log whose checkpoint was forged, or which says of what is asked for that it was truncated."""

    kept: Any = None
    is_gone = False

    def checkpoint(self, stream: str, at: int | None = None) -> Checkpoint | None:
        return super().checkpoint(stream, at) if self.kept is None else Checkpoint(3, self.kept)

    def controls(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        self.look(stream)
        return super().controls(stream, start, stop)

    def measurements(self, stream: str, offsets: range) -> Sequence[int]:
        self.look(stream)
        return super().measurements(stream, offsets)

    def look(self, stream: str) -> None:
        if self.is_gone:
            raise TruncatedError(stream, 0, 0)


LIVE = Offsets((range(3),))


@pytest.mark.parametrize(
    "state",
    [
        "a text",
        BufferState(head=4, added=3, offsets=LIVE),
        BufferState(head=3, phase="asleep", offsets=LIVE),
        BufferState(head=3, phase="replaying", offsets=LIVE),
        BufferState(head=3, frozen_offset=1, offsets=LIVE),
        BufferState(head=3, offsets=Offsets((range(2**40),))),
    ],
)
def test_a_checkpoint_that_cannot_be_is_not_believed(state: object) -> None:
    """It is no state, that of another offset, or one in which no buffer ever is."""
    log = Forged()
    ReplayBuffer(log).add_measurements("ann", [1, 2, 3])
    log.kept = state
    for ask in (ReplayBuffer(log).state, ReplayBuffer(log).audit):
        with pytest.raises(LogDamagedError, match="the log is damaged: the checkpoint of user 'ann' at offset 3 holds"):
            ask("ann")


def test_a_state_of_a_later_version_is_not_taken_for_damage() -> None:
    """It is to be read with that version."""
    log = Forged()
    log.kept = Unregistered("BufferState", 2, {})
    ReplayBuffer(log).add_measurement("ann", 1)
    with pytest.raises(UnknownTypeError, match="a later version of holdover has kept the state of 'ann'; update"):
        ReplayBuffer(log).state("ann")


QUESTIONS: dict[str, Callable[[ReplayBuffer[int]], object]] = {
    "the state": lambda buffer: buffer.state("ann"),
    "the measurements": lambda buffer: buffer.measurements("ann"),
    "whether it is due": lambda buffer: buffer._journal.is_due("ann", 9.0),
    "an eviction": lambda buffer: buffer.add_measurement("ann", 4),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_said_to_be_live_but_is_not_kept_is_not_looked_for_for_ever(question: str) -> None:
    """It was not truncated meanwhile, so that looking again would not help."""
    log = Forged()
    config = BufferConfig(max_measurements=3, due=Age(5.0, float))
    with ReplayBuffer(log, config, on_evict=lambda *_: None, clock=lambda: 7.0) as buffer:
        buffer.add_measurements("ann", [1, 2, 3])
        log.is_gone = True
        asked = ReplayBuffer(log, config, clock=lambda: 7.0) if question == "the state" else buffer
        with pytest.raises(LogDamagedError, match="the state of user 'ann' is not that of the history, which beg"):
            QUESTIONS[question](asked)


def test_a_committed_offset_that_goes_back_is_told_with_the_event_that_did_it() -> None:
    """As every finding: the offset that it begins with is that of the event."""
    report = audit([*ADDED, BufferCleared(4), BufferCleared(1)])
    assert "offset 5: the committed offset went back from 4" in report.findings
    completed = [SnapshotBegun(1, None, 9.0), SnapshotFinalized(1, 9.0), ReplayCompleted(1)]
    report = audit([*ADDED, BufferCleared(9), *completed])
    assert "offset 7: the committed offset went back from 9" in report.findings


@pytest.mark.parametrize(
    ("history", "counts"),
    [
        ([*ADDED, BufferCleared(2)], "added 4 = replayed 0 + live 2 + evicted 0 + cleared 2, lost 0"),
        ([*ADDED, BufferCleared(4), BufferCleared(4)], "added 4 = replayed 0 + live 0 + evicted 0 + cleared 4, lost 0"),
        (
            [SnapshotBegun(1, None, 9.0), SnapshotFinalized(1, 9.0), MeasurementAdded(0), ReplayCompleted(1)],
            "added 1 = replayed 0 + live 1 + evicted 0 + cleared 0, lost 0",
        ),
    ],
)
def test_what_is_at_the_edge_is_sound(history: list[Event], counts: str) -> None:
    """What is cleared ends before the offset given, may end where it did, and a snapshot may begin with nothing."""
    report = audit(history)
    assert report.ok, report.findings
    assert str(report) == counts


def test_each_finding_is_a_line() -> None:
    """Below the counts, in the order of the history."""
    report = audit([*ADDED, ReplayCompleted(1), BufferCleared(9)], BufferState(head=6, committed=9, added=4, cleared=4))
    assert str(report).splitlines() == [
        "added 4 = replayed 0 + live 0 + evicted 0 + cleared 4, lost 0",
        "offset 4: ReplayCompleted is not legal while idle",
        "offset 5: cleared through 9, which is above itself",
    ]
