"""What threads may do at once: write, create, read and truncate, none of them ever seeing half of what another did."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, count
from threading import Event as Signal
from threading import Semaphore
from typing import Any

from events import ConflictError, Event, EventLog, Grant, MeasurementAdded, Offsets, Recorded, TruncatedError
from events.conformance._base import Hooks, at, control, recorded, together, without_measurements

WRITERS = 4
ROUNDS = 10
AMPLE = Grant(room=1000)


class Concurrency(Hooks):
    """Tests with threads."""

    def write(self, log: EventLog[Any], writer: int) -> list[tuple[int, Event]]:
        """Write in every way there is; the events with the offsets the log said they got, in the order of writing."""
        written: list[tuple[int, Event]] = []
        for number in range(1000 * writer, 1000 * writer + 10 * ROUNDS, 10):
            one, *few = self.added(number, number + 1, number + 2)
            offset = log.add("ann", self.measurement(number), at(0))
            first = log.add_many("ann", [self.measurement(number + 1), self.measurement(number + 2)], at(0))
            assert offset is not None
            assert first is not None
            written += [(offset, one), *enumerate(few, first)]
            several = [control(number), *self.added(number + 3), control(number)]
            written += enumerate(several, append_somewhere(log, several) - len(several))
        return written

    def test_concurrent_writers_are_each_seen_once_in_commit_order(self, log: EventLog[Any]) -> None:
        """Every event is read once, at the offset its writer was told, and no other is between those of a group."""
        log.append("ann", [control(0)], expected_head=0, grant=AMPLE)
        written = together(*(partial(self.write, log, writer) for writer in range(WRITERS)))
        history = list(log.read("ann"))
        in_order = sorted(chain.from_iterable(written), key=lambda pair: pair[0])
        assert history[1:] == [Recorded(offset, event) for offset, event in in_order]
        assert [entry.offset for entry in history] == list(range(len(history)))
        assert len(history) == 1 + 6 * ROUNDS * WRITERS
        assert list(log.controls("ann")) == without_measurements(history)
        for own in written:
            assert [offset for offset, _ in own] == sorted(offset for offset, _ in own)

    def test_writers_of_different_streams_do_not_meet(self, log: EventLog[Any]) -> None:
        """Streams that come into being at once are all there, each with its own events, without a conflict."""
        names = [f"user {number}" for number in range(WRITERS)]

        def write(name: str) -> None:
            for number in range(ROUNDS):
                log.append(name, [*self.added(number), control(len(name))], expected_head=2 * number)

        together(*(partial(write, name) for name in names))
        assert sorted(log.streams()) == names
        for name in names:
            events = [event for number in range(ROUNDS) for event in (*self.added(number), control(len(name)))]
            assert list(log.read(name)) == recorded(events)

    def test_one_of_several_creators_wins(self, log: EventLog[Any]) -> None:
        """Of those that expect a new stream exactly one gets it; the others conflict and leave nothing."""

        def create(name: str, number: int) -> bool:
            try:
                log.append(name, [control(number), *self.added(number)], expected_head=0, grant=Grant(room=number))
            except ConflictError:
                return False
            return True

        for name in map(str, range(ROUNDS)):
            won = together(*(partial(create, name, number) for number in range(WRITERS)))
            assert won.count(True) == 1
            winner = won.index(True)
            assert list(log.read(name)) == recorded([control(winner), *self.added(winner)])
            assert log.add_many(name, [self.measurement(0)] * (winner + 1), at(0)) is None

    def test_threads_share_the_room_of_a_grant(self, log: EventLog[Any]) -> None:
        """Together they add as many measurements as it allows, not one more."""
        log.append("ann", [control(0)], expected_head=0, grant=Grant(room=10 * ROUNDS))

        def add(writer: int) -> list[int]:
            numbers = count(1000 * writer)
            return list(iter(lambda: log.add("ann", self.measurement(next(numbers)), at(0)), None))

        offsets = together(*(partial(add, writer) for writer in range(WRITERS)))
        assert sorted(chain.from_iterable(offsets)) == list(range(1, 10 * ROUNDS + 1))
        assert len(list(log.read("ann"))) == 1 + 10 * ROUNDS

    def test_a_reader_sees_all_of_an_append_or_nothing(self, log: EventLog[Any]) -> None:
        """Whenever one reads: there is no gap, and no group of events of which a part is missing."""
        groups = [[control(number), *self.added(number), control(number)] for number in range(1, 5 * ROUNDS)]
        log.append("ann", groups[0], expected_head=0)
        whole = recorded([event for group in groups for event in group])

        def look() -> None:
            position, history = log.position("ann"), list(log.read("ann"))
            assert position is not None
            assert position.head % 3 == len(history) % 3 == 0
            assert position.head <= len(history)
            assert history == whole[: len(history)]
            assert len(list(log.controls("ann"))) % 2 == 0

        append = partial(log.append, "ann")
        watched([partial(append, group, expected_head=3 * at) for at, group in enumerate(groups[1:], 1)], look)
        assert list(log.read("ann")) == whole

    def test_a_reader_sees_a_measurement_together_with_its_eviction(self, log: EventLog[Any]) -> None:
        """Or neither of them. A log that ignores victims shows nothing new."""
        victims = Offsets((range(ROUNDS),))
        log.append("ann", self.added(*range(ROUNDS)), expected_head=0, grant=Grant(victims=victims))

        def look() -> None:
            position, history = log.position("ann"), list(log.read("ann"))
            assert position is not None
            assert (position.head - ROUNDS) % 2 == (len(history) - ROUNDS) % 2 == 0
            assert [entry.offset for entry in history] == list(range(len(history)))
            added = sum(isinstance(entry.event, MeasurementAdded) for entry in history)
            assert 2 * added == ROUNDS + len(history)

        watched([partial(log.add, "ann", self.measurement(number), at(0)) for number in range(ROUNDS)], look)

    def test_a_reader_beside_truncation_has_no_gap(self, log: EventLog[Any]) -> None:
        """It gets all that it asked for, or an error; and a checkpoint always has the state of its own offset."""
        events = [event for number in range(ROUNDS) for event in (*self.added(number), control(number))]
        log.append("ann", events, expected_head=0)
        history = recorded(events)

        def look() -> None:
            checkpoint = log.checkpoint("ann")
            start = checkpoint.offset if checkpoint else 0
            assert checkpoint is None or checkpoint.state == self.state(start)
            with suppress(TruncatedError):
                assert list(log.read("ann", start)) == history[start:]
            with suppress(TruncatedError):
                assert list(log.controls("ann", start)) == without_measurements(history[start:])

        cuts = range(1, len(events) + 1)
        watched([partial(log.truncate, "ann", cut, self.state(cut)) for cut in cuts], look)
        assert list(log.read("ann", len(events))) == []


def append_somewhere(log: EventLog[Any], events: Sequence[Event]) -> int:
    """Append at whatever the head is, however often somebody else comes first; the new head."""
    while True:
        position = log.position("ann")
        assert position is not None
        with suppress(ConflictError):
            return log.append("ann", events, expected_head=position.head, grant=AMPLE)


def watched(steps: Sequence[Callable[[], object]], look: Callable[[], None]) -> None:
    """Take the steps in one thread while two others look all the time: at least once for each step, and at the end."""
    looks, done = Semaphore(0), Signal()

    def walk() -> None:
        try:
            for step in steps:
                looks.acquire()
                step()
        finally:
            done.set()

    def keep_looking() -> None:
        try:
            while not done.is_set():
                look()
                looks.release()
            look()
        finally:
            looks.release(len(steps))  # a look that failed must not keep the other thread waiting

    together(walk, keep_looking, keep_looking)
