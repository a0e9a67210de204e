"""What an append does: all of it or nothing, and only at the expected head. Threads are elsewhere."""

from typing import Any

import pytest

from events import ConflictError, EventLog, Grant, Position
from events.conformance._base import Hooks, Torn, at, contents, control, recorded


class Appending(Hooks):
    """Tests of `append`, `position` and `close`."""

    def test_an_append_gives_dense_offsets_and_returns_the_new_head(self, log: EventLog[Any]) -> None:
        """Offsets count from 0 without a gap, however the events are grouped."""
        assert log.append("ann", self.added(0), expected_head=0) == 1
        assert log.append("ann", [control(1), *self.added(2), control(3)], expected_head=1) == 4
        assert log.append("ann", self.added(4, 5), expected_head=4) == 6
        assert [entry.offset for entry in log.read("ann")] == list(range(6))

    def test_the_position_tells_where_the_stream_stands(self, log: EventLog[Any]) -> None:
        """The head counts every event; `granted_from` stays at the last append while measurements are added.

        When the first of them arrived, nobody has asked.
        """
        log.append("ann", self.added(0, 1), expected_head=0, grant=Grant(room=5))
        assert log.position("ann") == Position(start=0, head=2, granted_from=2)
        log.add("ann", self.measurement(2), at(0))
        log.add_many("ann", [self.measurement(3), self.measurement(4)], at(0))
        assert log.position("ann") == Position(start=0, head=5, granted_from=2)
        log.append("ann", [control(5)], expected_head=5)
        assert log.position("ann") == Position(start=0, head=6, granted_from=6)

    def test_an_append_at_a_wrong_head_conflicts_and_appends_nothing(self, log: EventLog[Any]) -> None:
        """Too low or too high, by one or by many: none of the events is there, and the error says what was found."""
        log.append("ann", [*self.added(0), control(1), control(2)], expected_head=0)
        before = contents(log, "ann")
        for wrong in (0, 1, 2, 4, 5, 400):
            with pytest.raises(ConflictError) as caught:
                log.append("ann", [control(3), *self.added(4)], expected_head=wrong)
            error = caught.value
            assert (error.stream, error.expected, error.actual) == ("ann", wrong, 3)
            assert contents(log, "ann") == before, wrong

    def test_what_was_added_within_a_grant_moves_the_expected_head(self, log: EventLog[Any]) -> None:
        """Who decided before measurements were added has to decide again."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=1))
        log.add("ann", self.measurement(1), at(0))
        with pytest.raises(ConflictError):
            log.append("ann", [control(2)], expected_head=1)
        assert log.append("ann", [control(2)], expected_head=2) == 3

    def test_an_unknown_stream_has_head_0(self, log: EventLog[Any]) -> None:
        """An append that expects another head conflicts, and makes no stream."""
        for wrong in (1, 2):
            with pytest.raises(ConflictError) as caught:
                log.append("ann", self.added(0), expected_head=wrong)
            error = caught.value
            assert (error.stream, error.expected, error.actual) == ("ann", wrong, 0)
        assert log.position("ann") is None
        assert log.append("ann", self.added(0), expected_head=0) == 1

    def test_a_conflict_leaves_the_grant_as_it_was(self, log: EventLog[Any]) -> None:
        """Neither is the old grant gone, nor is the one of the failed append in force."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=2, until=50.0))
        for wrong in (0, 2):
            with pytest.raises(ConflictError):
                log.append("ann", self.added(1), expected_head=wrong, grant=Grant(room=9, until=5.0))
        assert log.overdue(49.0) == []
        assert log.overdue(50.0) == ["ann"]
        assert [log.add("ann", self.measurement(number), at(6)) for number in range(3)] == [1, 2, None]

    def test_an_append_that_breaks_off_leaves_nothing_behind(self, log: EventLog[Any]) -> None:
        """When the events cannot all be read, none of them is appended, and the stream goes on as before."""
        with pytest.raises(OSError, match="torn"):
            log.append("ann", Torn([control(0), *self.added(1)]), expected_head=0)
        assert log.position("ann") is None
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=1))
        before = contents(log, "ann")
        with pytest.raises(OSError, match="torn"):
            log.append("ann", Torn([control(1), *self.added(2)]), expected_head=1)
        assert contents(log, "ann") == before
        assert log.add("ann", self.measurement(1), at(0)) == 1
        assert log.append("ann", [control(2)], expected_head=2) == 3

    def test_an_append_without_events_replaces_the_grant(self, log: EventLog[Any]) -> None:
        """All of no events are appended: the head stays, what follows has a new grant."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=9))
        log.add("ann", self.measurement(1), at(0))
        with pytest.raises(ConflictError):
            log.append("ann", [], expected_head=1)
        assert log.append("ann", [], expected_head=2, grant=Grant(room=1)) == 2
        assert log.position("ann") == Position(start=0, head=2, granted_from=2)
        assert [log.add("ann", self.measurement(number), at(0)) for number in (2, 3)] == [2, None]
        assert list(log.read("ann")) == recorded(self.added(0, 1, 2))

    def test_closing_twice_does_no_harm(self, log: EventLog[Any]) -> None:
        """Also when something was appended, and although nobody knows who closed it first."""
        assert log.append("ann", self.added(0), expected_head=0) == 1
        for _ in range(2):
            log.close()
