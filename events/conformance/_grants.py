"""What a grant lets a log add by itself: counted exactly, and not from `until` on. Victims are elsewhere."""

from typing import Any

import pytest

from events import EventLog, Grant, LogError
from events.conformance._base import Hooks, Torn, at, contents, control, recorded


class Grants(Hooks):
    """Tests of `add`, `add_many`, `overdue` and `tails`."""

    def add(self, log: EventLog[Any], number: int, now: float = 0.0, stream: str = "ann") -> int | None:
        """Add the measurement with this number at a time."""
        return log.add(stream, self.measurement(number), at(now))

    def add_many(self, log: EventLog[Any], *numbers: int, now: float = 0.0) -> int | None:
        """Add the measurements with these numbers at a time."""
        return log.add_many("ann", [self.measurement(number) for number in numbers], at(now))

    def test_nothing_is_added_without_a_grant(self, log: EventLog[Any]) -> None:
        """An append that grants nothing leaves no room."""
        log.append("ann", self.added(0), expected_head=0)
        assert self.add(log, 1) is None
        assert self.add_many(log, 1) is None
        assert list(log.read("ann")) == recorded(self.added(0))

    def test_add_uses_the_room_exactly(self, log: EventLog[Any]) -> None:
        """As many measurements as were granted get the next offsets; then none, however often one tries."""
        log.append("ann", [*self.added(0), control(1)], expected_head=0, grant=Grant(room=3))
        assert [self.add(log, number) for number in range(2, 7)] == [2, 3, 4, None, None]
        assert list(log.read("ann")) == recorded([*self.added(0), control(1), *self.added(2, 3, 4)])

    def test_add_many_adds_all_or_none(self, log: EventLog[Any]) -> None:
        """Several measurements get consecutive offsets if there is room for all of them; else they use none of it."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=6))
        assert self.add_many(log, 1, 2, 3) == 1
        assert self.add_many(log, 4, 5, 6, 7) is None
        assert self.add(log, 4) == 4
        assert self.add_many(log, 5, 6, 7) is None
        assert self.add_many(log, 5, 6) == 5
        assert self.add_many(log, 7) is None
        assert list(log.read("ann")) == recorded(self.added(*range(7)))

    def test_add_many_of_none_adds_nothing(self, log: EventLog[Any]) -> None:
        """No measurements: no event, no room used."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=1))
        before = contents(log, "ann")
        self.add_many(log)
        assert contents(log, "ann") == before
        assert [self.add(log, number) for number in (1, 2)] == [1, None]

    def test_add_each_adds_to_each_stream_as_add_many_does(self, log: EventLog[Any]) -> None:
        """All or none of a stream's, within its grant, whatever becomes of the others; also many streams at once."""
        rooms = {f"user {number}": number % 4 for number in range(300)}
        for stream, room in rooms.items():
            log.append(stream, self.added(0), expected_head=0, grant=Grant(room=room))
        batches = [
            (stream, [self.measurement(1), self.measurement(2)][: 1 + room % 2]) for stream, room in rooms.items()
        ]
        given = log.add_each([*batches, ("nobody", [self.measurement(3)])], at(0))
        fits = {stream: len(batch) <= rooms[stream] for stream, batch in batches}
        assert given == [*(1 if fits[stream] else None for stream, _ in batches), None]
        for stream, batch in batches:
            expected = self.added(0, 1, 2)[: 1 + len(batch)] if fits[stream] else self.added(0)
            assert list(log.read(stream)) == recorded(expected), stream

    def test_add_each_tells_what_failed_and_goes_on(self, log: EventLog[Any]) -> None:
        """What cannot be recorded at all is told in its place; the streams before and behind it are added to."""
        for stream in ("ann", "bob", "cyd"):
            log.append(stream, self.added(0), expected_head=0, grant=Grant(room=1))
        odd = object()
        first, middle, last = log.add_each(
            [("ann", [self.measurement(1)]), ("bob", [odd]), ("cyd", [self.measurement(1)])], at(0)
        )
        assert (first, last) == (1, 1)
        assert isinstance(middle, LogError) or log.measurements("bob", range(1, 2)) == [odd]

    def test_an_add_many_that_breaks_off_leaves_nothing_behind(self, log: EventLog[Any]) -> None:
        """When the measurements cannot all be read, none of them is added, and no room is used."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=3))
        before = contents(log, "ann")
        with pytest.raises(OSError, match="torn"):
            log.add_many("ann", Torn([self.measurement(1), self.measurement(2)]), at(0))
        assert contents(log, "ann") == before
        assert self.add_many(log, 1, 2, 3) == 1

    def test_a_new_append_replaces_the_grant(self, log: EventLog[Any]) -> None:
        """What was left of the old one is not added to the new one, be that larger, smaller or none."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=5, until=10.0))
        self.add(log, 1)
        log.append("ann", [control(2)], expected_head=2, grant=Grant(room=2))
        assert [self.add(log, number, now=11.0) for number in (3, 4, 5)] == [3, 4, None]
        log.append("ann", [control(5)], expected_head=5, grant=Grant(room=9))
        log.append("ann", [control(6)], expected_head=6)
        assert self.add(log, 7) is None
        assert self.add_many(log, 7) is None

    def test_nothing_is_added_from_until_on(self, log: EventLog[Any]) -> None:
        """Before that time the grant holds; at it, and after, it does not. The time is the writer's own."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=9, until=50.0))
        assert self.add(log, 1, now=49.9) == 1
        assert self.add_many(log, 2, 3, now=49.9) == 2
        for late in (50.0, 50.1):
            assert self.add(log, 4, now=late) is None
            assert self.add_many(log, 4, 5, now=late) is None
        assert self.add(log, 4, now=0.0) == 4
        assert list(log.read("ann")) == recorded(self.added(*range(5)))

    def test_overdue_lists_the_streams_whose_until_has_come(self, log: EventLog[Any]) -> None:
        """Each once, no others, and again at every call until an append says otherwise."""
        times = {"ann": 30.0, "bob": 20.0, "cid": None, "dan": 20.0, "eve": float("-inf"), "fay": 0.0}
        for name, until in times.items():
            log.append(name, self.added(0), expected_head=0, grant=Grant(until=until))
        for now in (-1.0, 0.0, 19.9, 20.0, 29.9, 30.0, 1e9, 20.0):
            expected = sorted(name for name, until in times.items() if until is not None and until <= now)
            assert sorted(log.overdue(now)) == expected, now
            assert sorted(log.overdue(now)) == expected, now

    def test_an_append_sets_anew_when_a_stream_is_overdue(self, log: EventLog[Any]) -> None:
        """Earlier, later, never, and again; an add does not."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=1, until=20.0))
        self.add(log, 1)
        assert log.overdue(20.0) == ["ann"]
        for head, until in enumerate((30.0, 10.0, None, 20.0, 30.0, 20.0), 2):
            log.append("ann", [control(head)], expected_head=head, grant=Grant(until=until))
            for now in (10.0, 20.0, 30.0):
                assert log.overdue(now) == (["ann"] if until is not None and until <= now else []), (until, now)

    def test_a_borrowed_tail_adds_as_the_log_does(self, log: EventLog[Any]) -> None:
        """Where a log lends its tails, adding to one is adding to the stream, within the same grant."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=3, until=50.0))
        if not log.tails:
            pytest.skip("the log lends no tails")
        assert log.tails.get("bob") is None
        tail = log.tails["ann"]
        assert tail.add(self.measurement(1), at(49)) == 1
        assert tail.add(self.measurement(2), at(50)) is None
        assert self.add(log, 2, now=49) == 2
        assert [tail.add(self.measurement(number), at(49)) for number in (3, 4)] == [3, None]
        assert self.add(log, 4) is None
        log.append("ann", [control(4)], expected_head=4, grant=Grant(room=1))
        assert [tail.add(self.measurement(number), at(60)) for number in (5, 6)] == [5, None]
        assert list(log.read("ann")) == recorded([*self.added(0, 1, 2, 3), control(4), *self.added(5)])
