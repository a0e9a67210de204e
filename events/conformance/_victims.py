"""What a log does with the victims of a grant: it ignores them, or evicts them one by one with the adds."""

from collections.abc import Sequence
from typing import Any

from events import Event, EventLog, Grant, MeasurementsEvicted, Offsets, Position
from events.conformance._base import Hooks, at, contents, control, recorded, without_measurements

RUNS = ((range(3),), (range(1), range(2, 5, 2)), (range(0, 5, 4), range(5, 9, 2)))
"""Victims: neighbours; with gaps; and some that are themselves only added under the grant."""


class Victims(Hooks):
    """Tests of a grant's `victims`. A log that ignores them passes, if it adds nothing then."""

    def overflow(self, log: EventLog[Any], victims: Sequence[int], events: list[Event]) -> list[Event]:
        """Add as long as the log evicts, one time more often than it may; the events, with what that added."""
        for number, victim in enumerate(victims, 100):
            offset = log.add("ann", self.measurement(number), at(0))
            if offset is None:
                break
            assert offset == len(events), victim
            events = [*events, *self.added(number), MeasurementsEvicted(victim, victim + 1)]
            assert list(log.read("ann")) == recorded(events), victim
        else:
            assert log.add("ann", self.measurement(99), at(0)) is None
        assert log.add_many("ann", [self.measurement(98), self.measurement(97)], at(0)) is None
        return events

    def test_each_add_evicts_the_next_victim(self, log: EventLog[Any]) -> None:
        """The measurement and its eviction come together, in that order, until there are no more victims."""
        for stream, runs in enumerate(RUNS):
            log = self.make_log() if stream else log
            log.append("ann", self.added(*range(5)), expected_head=0, grant=Grant(victims=Offsets(runs)))
            history = recorded(self.overflow(log, list(Offsets(runs)), self.added(*range(5))))
            assert log.position("ann") == Position(0, len(history), 5)
            bounds = range(len(history) + 2)
            for start in bounds:
                for stop in bounds:
                    assert list(log.read("ann", start, stop)) == history[start:stop], (runs, start, stop)
                    expected = without_measurements(history[start:stop])
                    assert list(log.controls("ann", start, stop)) == expected, (runs, start, stop)
            got = log.measurements("ann", range(5, len(history), 2))
            assert list(got) == [self.measurement(number) for number in range(100, 100 + len(got))]
            log.close()

    def test_no_victim_is_evicted_from_until_on(self, log: EventLog[Any]) -> None:
        """Time ends a grant of victims as it ends one of room."""
        grant = Grant(until=50.0, victims=Offsets((range(2),)))
        log.append("ann", self.added(0, 1), expected_head=0, grant=grant)
        before = contents(log, "ann")
        assert log.add("ann", self.measurement(2), at(50)) is None
        assert log.add("ann", self.measurement(2), at(51)) is None
        assert contents(log, "ann") == before

    def test_a_new_append_replaces_the_victims(self, log: EventLog[Any]) -> None:
        """Evictions that were granted and not used do not happen; those that happened stay as they were."""
        events: list[Event] = self.added(*range(6))
        log.append("ann", events, expected_head=0, grant=Grant(victims=Offsets((range(3),))))
        log.append("ann", [], expected_head=6, grant=Grant(victims=Offsets((range(1, 6),))))
        events = self.partly(log, events, victim=1)
        events = [*events, control(1)]
        log.append("ann", events[-1:], expected_head=len(events) - 1, grant=Grant(victims=Offsets((range(2, 6),))))
        events = self.partly(log, events, victim=2)
        events = [*events, *self.added(200)]
        log.append("ann", events[-1:], expected_head=len(events) - 1, grant=Grant(room=1))
        assert log.add("ann", self.measurement(201), at(0)) == len(events)
        assert log.add("ann", self.measurement(202), at(0)) is None
        history = recorded([*events, *self.added(201)])
        assert list(log.read("ann")) == history
        assert list(log.controls("ann")) == without_measurements(history)

    def partly(self, log: EventLog[Any], events: list[Event], victim: int) -> list[Event]:
        """Add one measurement, which may evict one; the events after that."""
        if log.add("ann", self.measurement(150 + victim), at(0)) is None:
            return events
        return [*events, *self.added(150 + victim), MeasurementsEvicted(victim, victim + 1)]

    def test_truncation_does_not_change_evictions(self, log: EventLog[Any]) -> None:
        """Wherever a stream is cut, what is kept reads as before, and the victims left are evicted in their turn."""
        victims = range(6)
        log.close()
        for cut in range(13):
            log = self.make_log()
            events: list[Event] = [*self.added(*range(6)), control(6)]
            log.append("ann", events, expected_head=0, grant=Grant(victims=Offsets((victims,))))
            for victim in victims:
                if victim == 3:
                    log.truncate("ann", min(cut, len(events)), self.state(cut))
                events = self.partly(log, events, victim)
            assert log.add("ann", self.measurement(99), at(0)) is None, cut
            start = log.position("ann").start  # type: ignore[union-attr]
            history = recorded(events)[start:]
            assert list(log.read("ann", start)) == history, cut
            for first in range(start, len(events) + 1):
                assert list(log.controls("ann", first)) == without_measurements(recorded(events)[first:]), (cut, first)
            log.append("ann", [control(7)], expected_head=len(events))
            log.truncate("ann", len(events), self.state(7))
            assert list(log.controls("ann", len(events))) == recorded([control(7)], len(events)), cut
            log.close()
