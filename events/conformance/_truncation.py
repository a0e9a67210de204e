"""What truncation leaves: a checkpoint, the later events at their offsets, and an error for who asks for the others."""

from contextlib import suppress
from typing import Any

import pytest

from events import Checkpoint, ConflictError, Event, EventLog, Grant, LogError, Position, TruncatedError
from events.conformance._base import Hooks, at, contents, control, recorded, without_measurements


class Truncation(Hooks):
    """Tests of `truncate`, `checkpoint`, and of reading after them."""

    def history(self, log: EventLog[Any]) -> list[Event]:
        """Fill a stream with five events, measurements at 0, 1 and 3."""
        events = [*self.added(0, 1), control(2), *self.added(3), control(4)]
        log.append("ann", events, expected_head=0)
        return events

    def test_what_is_kept_reads_as_before(self, log: EventLog[Any]) -> None:
        """Wherever the stream is cut, events from there on are at the offsets they had, up to the same head."""
        history = recorded(self.history(log))
        for cut in range(6):
            log.truncate("ann", cut, self.state(cut))
            assert log.position("ann") == Position(cut, 5, 5)
            assert list(log.streams()) == ["ann"]
            for start in range(cut, 8):
                for stop in (None, *range(start, 8)):
                    assert list(log.read("ann", start, stop)) == history[start:stop], (cut, start, stop)
                    expected = without_measurements(history[start:stop])
                    assert list(log.controls("ann", start, stop)) == expected, (cut, start, stop)
            kept = range(1 if cut < 2 else 3, 4, 2)
            if cut < 4:
                assert list(log.measurements("ann", kept)) == [self.measurement(number) for number in kept]

    def test_what_is_not_kept_cannot_be_read(self, log: EventLog[Any]) -> None:
        """Nobody gets a part as if it were the whole: the error says what was asked for and what there is."""
        self.history(log)
        for cut in range(1, 6):
            log.truncate("ann", cut, self.state(cut))
            for start in range(cut):
                for stop in (None, start + 1, cut, 6):
                    for asked in (log.read, log.controls):
                        with pytest.raises(TruncatedError) as caught:
                            list(asked("ann", start, stop))
                        error = caught.value
                        assert (error.stream, error.offset, error.start) == ("ann", start, cut)
            for offsets in (range(cut - 1, cut), range(0, 4, 3)):
                with pytest.raises(TruncatedError):
                    log.measurements("ann", offsets)

    def test_offsets_are_never_used_again(self, log: EventLog[Any]) -> None:
        """Also when a stream was truncated to nothing, what comes next gets the offset it would have had."""
        self.history(log)
        log.truncate("ann", 5, self.state(5))
        for wrong in (0, 4):
            with pytest.raises(ConflictError):
                log.append("ann", self.added(5), expected_head=wrong)
        assert log.append("ann", self.added(5), expected_head=5, grant=Grant(room=3)) == 6
        log.truncate("ann", 6, self.state(6))
        assert log.add("ann", self.measurement(6), at(0)) == 6
        assert log.add_many("ann", [self.measurement(7), self.measurement(8)], at(0)) == 7
        assert list(log.read("ann", 6)) == recorded(self.added(6, 7, 8), 6)

    def test_the_checkpoint_stands_at_the_new_start(self, log: EventLog[Any]) -> None:
        """There is none before the first truncation; then always that of the last."""
        self.history(log)
        assert log.checkpoint("ann") is None
        for cut in (1, 3, 5):
            log.truncate("ann", cut, self.state(cut))
            assert log.checkpoint("ann") == Checkpoint(cut, self.state(cut))
        log.append("ann", [control(5)], expected_head=5)
        assert log.checkpoint("ann") == Checkpoint(5, self.state(5))

    def test_truncating_less_changes_nothing(self, log: EventLog[Any]) -> None:
        """A truncation that comes too late neither brings events back nor moves the checkpoint."""
        self.history(log)
        log.truncate("ann", 0, self.state(0))
        assert log.checkpoint("ann") is None
        log.truncate("ann", 3, self.state(3))
        before = contents(log, "ann")
        for less in (3, 2, 0):
            log.truncate("ann", less, self.state(9))
            assert contents(log, "ann") == before, less

    def test_truncating_above_the_head_is_refused(self, log: EventLog[Any]) -> None:
        """What has not happened cannot be forgotten; nothing changes, and an unknown stream stays unknown."""
        self.history(log)
        before = contents(log, "ann")
        for stream, beyond in (("ann", 6), ("ann", 99), ("bob", 1)):
            with pytest.raises((ValueError, LookupError, LogError)):
                log.truncate(stream, beyond, self.state(beyond))
        assert contents(log, "ann") == before
        assert log.position("bob") is None
        assert log.checkpoint("bob") is None

    def test_a_truncated_stream_keeps_its_grant(self, log: EventLog[Any]) -> None:
        """Room is neither lost nor won, the time stays, and so does what was added within the grant."""
        log.append("ann", self.added(0, 1), expected_head=0, grant=Grant(room=3, until=50.0))
        log.add("ann", self.measurement(2), at(0))
        log.truncate("ann", 2, self.state(2))
        assert log.position("ann") == Position(start=2, head=3, granted_from=2)
        assert log.overdue(50.0) == ["ann"]
        assert log.add("ann", self.measurement(3), at(50)) is None
        assert log.add("ann", self.measurement(3), at(49)) == 3
        log.truncate("ann", 4, self.state(4))
        assert log.position("ann") == Position(start=4, head=4, granted_from=2)
        assert [log.add("ann", self.measurement(number), at(49)) for number in (4, 5)] == [4, None]

    def test_truncating_a_stream_leaves_the_others_alone(self, log: EventLog[Any]) -> None:
        """They keep their events and get no checkpoint."""
        self.history(log)
        log.append("bob", self.added(7, 8), expected_head=0)
        before = contents(log, "bob")
        log.truncate("ann", 4, self.state(4))
        assert contents(log, "bob") == before

    def test_a_read_that_is_overtaken_by_truncation_has_no_gap(self, log: EventLog[Any]) -> None:
        """It goes on with the next event as if nothing had happened, or ends in an error; it never skips any."""
        history = recorded([event for number in range(2000) for event in (*self.added(number), control(number))])
        log.append("ann", [entry.event for entry in history], expected_head=0)
        for asked, expected in ((log.read, history), (log.controls, without_measurements(history))):
            start = log.position("ann").start  # type: ignore[union-attr]
            expected = [entry for entry in expected if entry.offset >= start]
            reading = asked("ann", start)
            seen = [next(reading)]
            log.truncate("ann", start + 2000, self.state(start))
            with suppress(TruncatedError):
                seen.extend(reading)
                assert len(seen) == len(expected)
            assert seen == expected[: len(seen)]
