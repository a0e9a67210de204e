"""A log beside plain lists: hypothesis does at random what may be done, and both must always say the same."""

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from attrs import define, field
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from events import (
    Checkpoint,
    ConflictError,
    Event,
    Grant,
    MeasurementAdded,
    MeasurementsEvicted,
    Offsets,
    Position,
    TruncatedError,
)
from events.conformance._base import Hooks, at, control, recorded
from events.conformance._due import controls_among

NAMES = st.sampled_from(["ann", "bob"])
PARTS = st.fractions(0, 1, max_denominator=6)
TIMES = st.sampled_from([None, 1.0, 2.0, 3.0])
VICTIMS = st.integers(1, 4).map(lambda count: Offsets((range(count),)))
GRANTS = st.builds(
    Grant,
    st.integers(0, 4),
    TIMES,
    notes_arrival=st.booleans(),
    due_at=TIMES,
    due_after=TIMES,
    shelved=st.booleans(),
) | st.builds(Grant, until=TIMES, victims=VICTIMS, due_at=TIMES)


@define
class Stream:
    """What a stream should be: all its events, the first offset that is kept, and what is left of its grant."""

    events: list[Event] = field(factory=list)
    start: int = 0
    granted_from: int = 0
    room: int = 0
    until: float | None = None
    victims: list[int] = field(factory=list)
    notes_arrival: bool = False
    arrived_at: float | None = None
    due_at: float | None = None
    due_since: int = 0
    due_after: float | None = None
    shelved: bool = False
    shelved_since: int = 0


class BesideLists(RuleBasedStateMachine):
    """The rules. `hooks` makes the log."""

    def __init__(self, hooks: Hooks) -> None:
        super().__init__()
        self.hooks, self.log, self.now, self.number = hooks, hooks.make_log(), 0.0, 0
        self.changes = 0
        self.streams: dict[str, Stream] = {}

    def teardown(self) -> None:
        """Let go of the log."""
        self.log.close()

    def next_events(self, kinds: list[bool]) -> list[Event]:
        """New events: for each True a measurement's, else another."""
        self.number += len(kinds)
        numbers = range(self.number - len(kinds), self.number)
        return [self.hooks.added(n)[0] if kind else control(n) for n, kind in zip(numbers, kinds, strict=True)]

    @rule(
        name=NAMES,
        kinds=st.lists(st.booleans(), min_size=1, max_size=4),
        wrong=st.sampled_from([0, 0, 0, -1, 1]),
        grant=GRANTS,
    )
    def append(self, name: str, kinds: list[bool], wrong: int, grant: Grant) -> None:
        """At the head all is appended and the grant is set; elsewhere nothing happens."""
        stream = self.streams.get(name, Stream())
        head, events = len(stream.events), self.next_events(kinds)
        if wrong:
            with pytest.raises(ConflictError):
                self.log.append(name, events, expected_head=head + wrong, grant=grant)
            return
        assert self.log.append(name, events, expected_head=head, grant=grant) == head + len(events)
        stream.events += events
        stream.granted_from, stream.room = len(stream.events), grant.room
        stream.until, stream.victims = grant.until, list(grant.victims)
        stream.notes_arrival, stream.arrived_at, stream.due_after = grant.notes_arrival, None, grant.due_after
        self.set_due(stream, grant.due_at)
        if stream.shelved != grant.shelved:
            stream.shelved, stream.shelved_since = grant.shelved, self.changes
        self.streams[name] = stream

    @rule(name=NAMES, length=st.integers(1, 3))
    def add_many(self, name: str, length: int) -> None:
        """All are added where room and time allow it; else none. One alone is added as by `add`."""
        if length == 1:
            self.add_one(name, lambda measurement: self.log.add_many(name, [measurement], at(self.now)))
            return
        stream, events = self.streams.get(name, Stream()), self.next_events([True] * length)
        allowed = length <= stream.room and not self.late(stream)
        measurements = [event.measurement for event in events if isinstance(event, MeasurementAdded)]
        offset = self.log.add_many(name, measurements, at(self.now))
        assert offset == (len(stream.events) if allowed else None)
        if allowed:
            stream.events += self.noted(stream, events)
            stream.room -= length

    @rule(name=NAMES)
    def add(self, name: str) -> None:
        """One is added where room and time allow it, or where a victim makes room and the log does not ignore it."""
        self.add_one(name, lambda measurement: self.log.add(name, measurement, at(self.now)))

    def add_one(self, name: str, add: Callable[[Any], int | None]) -> None:
        """The same, in either way."""
        stream, events = self.streams.get(name, Stream()), self.next_events([True])
        offset = add(events[0].measurement)  # type: ignore[attr-defined]
        if offset is None:
            assert self.late(stream) or not stream.room
            return
        assert not self.late(stream)
        assert offset == len(stream.events)
        if stream.room:
            stream.events += self.noted(stream, events)
            stream.room -= 1
        else:
            stream.events += events
            assert stream.victims
            victim = stream.victims.pop(0)
            stream.events.append(MeasurementsEvicted(victim, victim + 1))

    @rule(name=NAMES, part=PARTS)
    def truncate(self, name: str, part: Any) -> None:
        """What is below the cut is gone; a cut below the start does nothing."""
        if stream := self.streams.get(name):
            cut = int(len(stream.events) * part)
            self.log.truncate(name, cut, self.hooks.state(cut))
            stream.start = max(stream.start, cut)

    @rule()
    def wait(self) -> None:
        """Time passes."""
        self.now += 1.0

    def noted(self, stream: Stream, events: list[Event]) -> list[Event]:
        """The events with the arrival of the first, if that is wanted."""
        if not stream.notes_arrival:
            return events
        stream.notes_arrival, stream.arrived_at = False, self.now
        if stream.due_after is not None:
            self.set_due(stream, self.now + stream.due_after)
        return [MeasurementAdded(events[0].measurement, self.now), *events[1:]]  # type: ignore[attr-defined]

    def set_due(self, stream: Stream, due_at: float | None) -> None:
        """Whoever gets another time begins to wait for it."""
        self.changes += 1
        if stream.due_at != due_at:
            stream.due_at, stream.due_since = due_at, self.changes

    def late(self, stream: Stream) -> bool:
        """Whether the grant is over."""
        return stream.until is not None and self.now >= stream.until

    @invariant()
    def both_say_the_same(self) -> None:
        """Names, positions, checkpoints, and who is overdue, due or shelved."""
        assert list(self.log.streams()) == list(self.streams)
        assert sorted(self.log.overdue(self.now)) == sorted(
            n for n, stream in self.streams.items() if self.late(stream)
        )
        waiting = [(s.due_at, s.due_since, n) for n, s in self.streams.items() if s.due_at is not None]
        assert self.log.due(self.now) == [name for due_at, _, name in sorted(waiting) if due_at <= self.now]
        shelved = sorted((stream.shelved_since, n) for n, stream in self.streams.items() if stream.shelved)
        assert self.log.shelved() == [name for _, name in shelved]
        for name, stream in self.streams.items():
            start, head = stream.start, len(stream.events)
            assert self.log.position(name) == Position(start, head, stream.granted_from, stream.arrived_at)
            assert self.log.checkpoint(name) == (Checkpoint(start, self.hooks.state(start)) if start else None)

    @invariant()
    def both_hold_the_same(self) -> None:
        """All that is kept, and nothing that is not."""
        for name, stream in self.streams.items():
            assert list(self.log.read(name, stream.start)) == recorded(stream.events)[stream.start :]
            if stream.start:
                with pytest.raises(TruncatedError):
                    list(self.log.read(name, stream.start - 1))

    @rule(name=NAMES, start=PARTS, stop=st.none() | PARTS)
    def read(self, name: str, start: Any, stop: Any) -> None:
        """Between any two bounds, with the measurements, without them, and those alone."""
        if stream := self.streams.get(name):
            head = len(stream.events)
            start = stream.start + int(start * (head - stream.start))
            stop = None if stop is None else int(stop * (head + 1))
            history = recorded(stream.events)[start:stop]
            assert list(self.log.read(name, start, stop)) == history
            assert list(self.log.controls(name, start, stop)) == controls_among(history)
            for offset, event in ((entry.offset, entry.event) for entry in history):
                if isinstance(event, MeasurementAdded):
                    assert list(self.log.measurements(name, range(offset, offset + 1))) == [event.measurement]


class Model(Hooks):
    """The test that runs the rules."""

    def test_a_log_does_what_plain_lists_would_do(self) -> None:
        """Whatever is appended, added, truncated and refused in whatever order, nothing else is to be seen of it."""
        run_state_machine_as_test(
            lambda: BesideLists(self),  # type: ignore[arg-type]  # any callable that makes one will do
            settings=settings(
                deadline=None,
                max_examples=self.histories or settings().max_examples // 2,
                stateful_step_count=25,
                suppress_health_check=list(HealthCheck),
                report_multiple_bugs=False,  # a log with one bug shows it in many ways; one short story will do
                phases=set(Phase) - {Phase.explain},
            ),
        )
