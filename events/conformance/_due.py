"""When streams are due, what of arrivals is noted, and who is shelved. Must not know why a stream is due."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest

from events import ConflictError, Event, EventLog, Grant, MeasurementAdded, Position, Recorded
from events.conformance._base import Hooks, at, control, recorded

NEVER = 1e12


def controls_among(history: Sequence[Recorded]) -> list[Recorded]:
    """What is left of a history for `controls`: a measurement only where its arrival was noted."""
    return [
        entry
        for entry in history
        if not isinstance(entry.event, MeasurementAdded) or entry.event.arrived_at is not None
    ]


class Due(Hooks):
    """Tests of `due`, of a grant's `due_at`, `due_after`, `notes_arrival` and `shelved`, and of `arrived_at`."""

    def arriving(self, number: int, arrived_at: float) -> Event:
        """The event of the measurement with this number, the arrival of which was noted."""
        return MeasurementAdded(self.measurement(number), arrived_at)

    def test_due_lists_the_streams_whose_due_at_has_come(self, log: EventLog[Any]) -> None:
        """Each once, the earliest first, no others, and again at every call until an append says otherwise."""
        times = {"ann": 30.0, "bob": 20.0, "cid": None, "dan": 25.0, "eve": float("-inf"), "fay": 0.0}
        for name, due_at in times.items():
            log.append(name, self.added(0), expected_head=0, grant=Grant(due_at=due_at))
        for now in (-1.0, 0.0, 19.9, 20.0, 29.9, 30.0, 1e9, 20.0):
            passed = sorted((due_at, name) for name, due_at in times.items() if due_at is not None and due_at <= now)
            assert log.due(now) == [name for _, name in passed], now
            assert log.due(now) == [name for _, name in passed], now

    def test_an_append_sets_anew_when_a_stream_is_due(self, log: EventLog[Any]) -> None:
        """Earlier, later, never, and again; an add does not, nor does an append that conflicts."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=1, due_at=20.0))
        log.add("ann", self.measurement(1), at(0))
        with pytest.raises(ConflictError):
            log.append("ann", [control(1)], expected_head=1, grant=Grant(due_at=5.0))
        assert (log.due(19.0), log.due(20.0)) == ([], ["ann"])
        for head, due_at in enumerate((30.0, 10.0, None, 20.0, 30.0, 20.0), 2):
            log.append("ann", [control(head)], expected_head=head, grant=Grant(due_at=due_at))
            for now in (10.0, 20.0, 30.0):
                assert log.due(now) == (["ann"] if due_at is not None and due_at <= now else []), (due_at, now)

    def test_of_equally_due_streams_the_longest_waiting_is_first(self, log: EventLog[Any]) -> None:
        """An append that leaves `due_at` as it was costs no place; one that changes it begins at the end."""
        for name in ("cid", "ann", "bob"):
            log.append(name, self.added(0), expected_head=0, grant=Grant(due_at=10.0))
        log.append("cid", [control(1)], expected_head=1, grant=Grant(room=3, due_at=10.0))
        assert log.due(10.0) == ["cid", "ann", "bob"]
        log.append("ann", [], expected_head=1, grant=Grant(due_at=11.0))
        log.append("ann", [], expected_head=1, grant=Grant(due_at=10.0))
        assert log.due(10.0) == ["cid", "bob", "ann"]

    def test_the_arrival_of_the_first_is_noted(self, log: EventLog[Any]) -> None:
        """Where a grant wants it: that of the first within it, by the clock of who adds it, and of no other."""
        log.append("ann", [control(0)], expected_head=0, grant=Grant(room=3, notes_arrival=True))
        assert log.position("ann") == Position(start=0, head=1, granted_from=1)
        added = [log.add("ann", self.measurement(number), at(4.0 + number)) for number in (1, 2, 3, 4)]
        assert added == [1, 2, 3, None]
        history = recorded([control(0), self.arriving(1, 5.0), *self.added(2, 3)])
        assert log.position("ann") == Position(start=0, head=4, granted_from=1, arrived_at=5.0)
        assert list(log.read("ann")) == history
        assert list(log.controls("ann")) == controls_among(history)
        assert list(log.measurements("ann", range(1, 4))) == [self.measurement(number) for number in (1, 2, 3)]
        log.append("ann", [control(4)], expected_head=4, grant=Grant(room=1))
        assert log.position("ann") == Position(start=0, head=5, granted_from=5)
        assert list(log.read("ann")) == [*history, Recorded(4, control(4))]

    def test_several_that_are_added_at_once_arrive_together(self, log: EventLog[Any]) -> None:
        """The first of them has the time; all or none are added, and those refused are no arrival."""
        log.append("ann", [control(0)], expected_head=0, grant=Grant(room=2, notes_arrival=True, due_after=10.0))
        assert log.add_many("ann", [self.measurement(number) for number in (1, 2, 3)], at(3.0)) is None
        assert log.position("ann") == Position(start=0, head=1, granted_from=1)
        assert log.due(NEVER) == []
        assert log.add_many("ann", [self.measurement(number) for number in (1, 2)], at(5.0)) == 1
        assert log.position("ann") == Position(start=0, head=3, granted_from=1, arrived_at=5.0)
        assert list(log.read("ann")) == recorded([control(0), self.arriving(1, 5.0), *self.added(2)])
        assert log.add("ann", self.measurement(3), at(6.0)) is None

    def test_what_is_not_within_the_grant_is_no_arrival(self, log: EventLog[Any]) -> None:
        """No room, too late, or somebody else's grant: nothing is added, noted or due."""
        refused = (
            Grant(0, notes_arrival=True, issuer="me", due_after=1.0),
            Grant(2, 50.0, notes_arrival=True, issuer="me", due_after=1.0),
            Grant(2, notes_arrival=True, issuer="you", due_after=1.0),
        )
        for name, grant in zip(("ann", "bob", "cid"), refused, strict=True):
            log.append(name, [control(0)], expected_head=0, grant=grant)
            assert log.add(name, self.measurement(1), at(50.0), "me") is None, grant
            assert log.add_many(name, [self.measurement(1)], at(50.0), "me") is None, grant
            assert log.position(name) == Position(start=0, head=1, granted_from=1), grant
        assert log.due(NEVER) == []
        assert log.add("bob", self.measurement(1), at(49.0), "me") == 1
        assert log.add_many("cid", [self.measurement(1)], at(50.0), "you") == 1
        assert log.due(NEVER) == ["bob", "cid"]

    def test_a_stream_is_due_so_long_after_the_arrival(self, log: EventLog[Any]) -> None:
        """`due_after` counts from the arrival that is noted, and from no later one; a new grant ends it."""
        for name, due_after in (("ann", 10.0), ("bob", float("-inf")), ("cid", None)):
            grant = Grant(room=2, notes_arrival=True, due_after=due_after)
            log.append(name, [control(0)], expected_head=0, grant=grant)
            assert log.due(NEVER) == ([] if name == "ann" else ["ann"]), name
            log.add(name, self.measurement(1), at(5.0))
            log.add(name, self.measurement(2), at(9.0))
            if name == "bob":
                assert log.due(-NEVER) == ["bob"]
                log.append("bob", [], expected_head=3)
        assert (log.due(14.9), log.due(15.0)) == ([], ["ann"])
        log.append("ann", [control(3)], expected_head=3, grant=Grant(room=1))
        log.add("ann", self.measurement(4), at(9.0))
        assert log.due(NEVER) == []

    def test_an_arrival_that_is_appended_comes_back_as_it_was(self, log: EventLog[Any]) -> None:
        """Wherever the stream is cut, with any bounds, and together with arrivals noted by the log itself."""
        events = [*self.added(0), self.arriving(1, 1.5), control(2), self.arriving(3, 0.0), *self.added(4)]
        log.append("ann", events, expected_head=0, grant=Grant(room=2, notes_arrival=True))
        log.add("ann", self.measurement(5), at(-2.5))
        log.add("ann", self.measurement(6), at(7.0))
        history = recorded([*events, self.arriving(5, -2.5), *self.added(6)])
        for cut in range(8):
            log.truncate("ann", cut, self.state(cut))
            assert log.position("ann") == Position(cut, 7, 5, arrived_at=-2.5)
            for start in range(cut, 9):
                for stop in (None, *range(start, 9)):
                    assert list(log.read("ann", start, stop)) == history[start:stop], (cut, start, stop)
                    expected = controls_among(history[start:stop])
                    assert list(log.controls("ann", start, stop)) == expected, (cut, start, stop)

    def test_shelved_lists_who_is_shelved_the_longest_first(self, log: EventLog[Any]) -> None:
        """Whom the latest append says; adds change nothing, and an append that says it again takes no place away."""
        for name in ("cid", "ann", "bob"):
            log.append(name, self.added(0), expected_head=0, grant=Grant(room=1, shelved=name != "ann"))
        assert log.shelved() == ["cid", "bob"]
        log.append("cid", [control(1)], expected_head=1, grant=Grant(room=1, shelved=True))
        log.add("cid", self.measurement(2), at(0))
        assert log.shelved() == ["cid", "bob"]
        log.append("ann", [], expected_head=1, grant=Grant(shelved=True))
        log.append("cid", [control(3)], expected_head=3)
        assert log.shelved() == ["bob", "ann"]
        log.append("cid", [], expected_head=4, grant=Grant(shelved=True))
        assert log.shelved() == ["bob", "ann", "cid"]

    def test_who_is_due_is_known_when_the_log_is_opened_again(self, log: EventLog[Any]) -> None:
        """Who is due and who is shelved, in their order, and the arrivals; time did not stop."""
        log.append("bob", [control(0)], expected_head=0, grant=Grant(room=2, notes_arrival=True, due_after=10.0))
        log.add("bob", self.measurement(1), at(5.0))
        for name in ("cid", "ann"):
            log.append(name, self.added(0), expected_head=0, grant=Grant(due_at=15.0, shelved=True))
        log.append("cid", [control(1)], expected_head=1, grant=Grant(shelved=True))
        log.close()
        opened = self.reopen(log)
        if opened is None:
            pytest.skip("not durable: reopen(log) gives None")
        with closing(opened) as again:
            assert (again.due(14.9), again.due(15.0)) == ([], ["bob", "ann"])
            assert again.shelved() == ["cid", "ann"]
            assert list(again.controls("bob")) == recorded([control(0), self.arriving(1, 5.0)])
