"""A decision begins where its stream was just seen to stand: that saves a look, and changes nothing that is decided."""

from typing import Any

from events import MemoryLog, Position
from statemachine import BufferConfig, ReplayBuffer
from statemachine._decide import BeginSnapshot, ExpireSnapshot


class Counting(MemoryLog[Any]):
    """Counts how often it is asked where a stream stands."""

    looks = 0

    def position(self, stream: str) -> Position | None:
        self.looks += 1
        return super().position(stream)


def begun_and_seen(log: MemoryLog[Any] | None = None) -> tuple[ReplayBuffer[Any], Position]:
    """Ann's buffer with a snapshot in progress, and where her stream stood in the middle of it."""
    buffer = ReplayBuffer(log or MemoryLog[Any](keep_history=True), BufferConfig(max_measurements=3))
    buffer.add_measurements("ann", [1, 2])
    buffer.begin_snapshot("ann")
    position = buffer._log.position("ann")
    assert position is not None
    return buffer, position


def test_a_decision_asks_once_where_the_stream_stands() -> None:
    """Each further look is a round trip to a server."""
    log = Counting(keep_history=True)
    buffer, _ = begun_and_seen(log)
    log.looks = 0
    buffer.finalize_snapshot("ann", 1).complete()
    assert log.looks == 2


def test_what_was_seen_before_is_not_what_is_recorded_upon() -> None:
    """Where something has happened since, the decision is made anew, at where the stream stands then."""
    buffer, before = begun_and_seen()
    buffer.add_measurement("ann", 3)
    buffer._journal._seen["ann"] = before
    buffer.abort_snapshot("ann")
    assert buffer.state("ann").head == before.head + 3
    assert buffer.measurements("ann") == [1, 2, 3]


def test_nothing_is_refused_for_what_was_seen_before() -> None:
    """A snapshot that was in progress then, and is over by now, is in nobody's way."""
    buffer, before = begun_and_seen()
    anchor = buffer._journal._anchors["ann"]
    buffer.abort_snapshot("ann")
    buffer._journal._seen["ann"], buffer._journal._anchors["ann"] = before, anchor
    assert buffer._journal.record("ann", BeginSnapshot(0.0, 0.0)).after.version == 2


def test_nothing_is_left_undone_for_what_was_seen_before() -> None:
    """What was not overdue then may be by now."""
    buffer, _ = begun_and_seen()
    buffer.abort_snapshot("ann")
    idle, anchor = buffer._log.position("ann"), buffer._journal._anchors["ann"]
    assert idle is not None
    buffer.begin_snapshot("ann")
    buffer._journal._seen["ann"], buffer._journal._anchors["ann"] = idle, anchor
    now = float("1e12")
    assert buffer._journal.record("ann", ExpireSnapshot(now, 2, True)).after.phase == "idle"
    assert buffer._journal.record("ann", ExpireSnapshot(now, 2, True)).events == ()
