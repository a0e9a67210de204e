"""What may be read of a log: ranges, controls, measurements, the list of streams. Truncated streams are elsewhere."""

from typing import Any

import pytest

from events import (
    AbortBegun,
    AbortFinished,
    BufferCleared,
    ConflictError,
    Event,
    EventLog,
    Grant,
    LeaseRenewed,
    MeasurementAdded,
    MeasurementsEvicted,
    ReplayCompleted,
    SnapshotBegun,
    SnapshotExpired,
    SnapshotFinalized,
)
from events.conformance._base import Hooks, at, control, recorded, without_measurements

EVENTS: tuple[Event, ...] = (
    SnapshotBegun(1, None, 30.5),
    SnapshotFinalized(1, 300.0),
    LeaseRenewed(1, 600.25),
    ReplayCompleted(1),
    AbortBegun(2, "it's over"),
    SnapshotExpired(3),
    AbortFinished(3),
    BufferCleared(17),
    MeasurementsEvicted(3, 5),
)
NAMES = ("ann", "Ann", "ann ", " ann", "an%", "a_n", "a/n", "a'n", 'a"n', "\N{SNOWMAN}", "x" * 200, "0", "None")


class Reading(Hooks):
    """Tests of everything that reads."""

    def mixed(self, log: EventLog[Any]) -> list[Event]:
        """A stream of measurements and controls, appended one by one, in groups, and within a grant."""
        events = [*self.added(0), control(1), *self.added(2, 3, 4), control(5), control(6), *self.added(7, 8, 9, 10)]
        log.append("ann", events[:1], expected_head=0)
        log.append("ann", events[1:6], expected_head=1)
        log.append("ann", events[6:7], expected_head=6, grant=Grant(room=4))
        log.add("ann", self.measurement(7), at(0))
        log.add_many("ann", [self.measurement(8), self.measurement(9), self.measurement(10)], at(0))
        return events

    def test_any_range_can_be_read(self, log: EventLog[Any]) -> None:
        """A read gives the events at `start` and after, below `stop`, and below the head: no more, no fewer."""
        history = recorded(self.mixed(log))
        bounds = range(len(history) + 3)
        for start in bounds:
            for stop in (None, *bounds):
                assert list(log.read("ann", start, stop)) == history[start:stop], (start, stop)
        assert list(log.read("ann")) == history

    def test_any_range_can_be_read_without_the_measurements(self, log: EventLog[Any]) -> None:
        """The controls of a range are the events of the same range, less the measurements, at their own offsets."""
        history = recorded(self.mixed(log))
        bounds = range(len(history) + 3)
        for start in bounds:
            for stop in (None, *bounds):
                expected = without_measurements(history[start:stop])
                assert list(log.controls("ann", start, stop)) == expected, (start, stop)
        assert list(log.controls("ann")) == without_measurements(history)

    def test_measurements_can_be_read_in_steps(self, log: EventLog[Any]) -> None:
        """The measurements at any ascending offsets are those that a read gives there."""
        events = self.mixed(log)
        holds = {offset for offset, event in enumerate(events) if isinstance(event, MeasurementAdded)}
        bounds = range(len(events) + 3)
        ranges = [range(start, stop, step) for start in bounds for stop in bounds for step in (1, 2, 3)]
        for offsets in ranges:
            if holds.issuperset(offsets):
                got = log.measurements("ann", offsets)
                assert [MeasurementAdded(measurement) for measurement in got] == [events[at] for at in offsets], offsets
                assert len(got) == len(offsets), offsets

    def test_a_read_ends_at_the_head_there_was_when_it_began(self, log: EventLog[Any]) -> None:
        """What is appended while somebody reads does not prolong the read."""
        history = recorded([control(0), *self.added(1), control(2)])
        log.append("ann", [entry.event for entry in history], expected_head=0)
        reading, folding = log.read("ann"), log.controls("ann", 0, 9)
        assert (next(reading), next(folding)) == (history[0], history[0])
        log.append("ann", [control(3), control(4)], expected_head=3)
        assert list(reading) == history[1:]
        assert list(folding) == history[2:]

    def test_a_long_stream_reads_as_a_short_one(self, log: EventLog[Any]) -> None:
        """However a log cuts long reads into pieces, nothing is missing or doubled where they meet."""
        events = [control(number) if number % 500 == 0 else self.added(number)[0] for number in range(3000)]
        log.append("ann", events, expected_head=0)
        assert list(log.read("ann")) == recorded(events)
        assert list(log.read("ann", 1023, 2049)) == recorded(events[1023:2049], 1023)
        assert list(log.controls("ann")) == without_measurements(recorded(events))
        kept = list(log.measurements("ann", range(1, 3000, 2)))
        assert kept == [self.measurement(number) for number in range(1, 3000, 2)]

    def test_a_stream_that_never_had_an_event_is_unknown(self, log: EventLog[Any]) -> None:
        """It stands nowhere, has nothing to read, takes no measurement, and is not listed, also after all that."""
        for _ in range(2):
            assert log.position("ann") is None
            assert log.checkpoint("ann") is None
            assert list(log.read("ann")) == list(log.read("ann", 3, 5)) == []
            assert list(log.controls("ann")) == list(log.controls("ann", 3, 5)) == []
            assert list(log.measurements("ann", range(0))) == []
            assert log.add("ann", self.measurement(0), at(0)) is None
            assert log.add_many("ann", [self.measurement(0)], at(0)) is None
            assert list(log.streams()) == []
            assert log.overdue(float("inf")) == []

    def test_streams_do_not_mix(self, log: EventLog[Any]) -> None:
        """Each stream has its own events, offsets and grant, whatever it is called."""
        for number, name in enumerate(NAMES):
            log.append(name, [*self.added(number), control(number)], expected_head=0, grant=Grant(room=number % 2))
        for number, name in enumerate(NAMES):
            assert log.add(name, self.measurement(100 + number), at(0)) == (2 if number % 2 else None), name
        for number, name in enumerate(NAMES):
            history = recorded([*self.added(number), control(number), *self.added(*[100 + number] * (number % 2))])
            assert list(log.read(name)) == history, name
            assert list(log.controls(name)) == history[1:2], name
            assert list(log.measurements(name, range(1))) == [self.measurement(number)], name

    def test_streams_are_listed_in_the_order_of_their_first_events(self, log: EventLog[Any]) -> None:
        """Later events change nothing in that order."""
        for name in ("bob", "ann", "cid"):
            log.append(name, self.added(1), expected_head=0)
        log.append("ann", self.added(2), expected_head=1)
        assert list(log.streams()) == ["bob", "ann", "cid"]

    def test_what_had_no_event_has_no_place_in_the_list(self, log: EventLog[Any]) -> None:
        """An append that fails, or brings no event, does not make a stream, nor give it a place before others."""
        with pytest.raises(ConflictError):
            log.append("bob", self.added(1), expected_head=1)
        log.append("cid", [], expected_head=0)
        assert list(log.streams()) == []
        for name in ("ann", "bob", "cid"):
            log.append(name, self.added(1), expected_head=0)
        assert list(log.streams()) == ["ann", "bob", "cid"]

    def test_any_measurement_comes_back_as_it_was(self, log: EventLog[Any]) -> None:
        """A log does not look inside measurements, so none is mistaken for something else: not even an event."""
        odd = list(self.odd_measurements)
        appended: list[Event] = [MeasurementAdded(measurement) for measurement in odd]
        log.append("ann", appended, expected_head=0, grant=Grant(room=2 * len(odd)))
        for measurement in odd:
            assert log.add("ann", measurement, at(0)) is not None
        log.add_many("ann", odd, at(0))
        assert list(log.read("ann")) == recorded(appended * 3)
        assert list(log.measurements("ann", range(3 * len(odd)))) == odd * 3
        assert list(log.controls("ann")) == []

    def test_any_event_comes_back_as_it_was(self, log: EventLog[Any]) -> None:
        """Events of the buffer's lifecycle, and of lifecycles that the log has never heard of."""
        events = [*EVENTS, *self.own_events]
        log.append("ann", events, expected_head=0)
        assert list(log.read("ann")) == list(log.controls("ann")) == recorded(events)
        assert [type(entry.event) for entry in log.read("ann")] == [type(event) for event in events]
