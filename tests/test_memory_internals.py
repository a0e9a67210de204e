"""What is special to `MemoryLog`: how it keeps history, cuts long reads, and that it stays small."""

import sys
from collections.abc import Sequence
from typing import Any

import pytest

from events import (
    Event,
    EventLog,
    Grant,
    MeasurementAdded,
    MemoryLog,
    Offsets,
    Recorded,
    ReplayCompleted,
    Tail,
    TruncatedError,
)
from events._memory import CHUNK
from events.conformance import EventLogConformance
from events.conformance._base import Hooks
from events.conformance._model import BesideLists


class IgnoresVictims(MemoryLog[Any]):
    def append(
        self, stream: str, events: Sequence[Event], *, expected_head: int, grant: Grant = Grant(), **kept: Any
    ) -> int:
        return super().append(stream, events, expected_head=expected_head, grant=Grant(grant.room, grant.until))


def clock() -> float:
    return 0.0


def test_it_keeps_history_only_on_request() -> None:
    """By default what is committed may go as soon as possible."""
    assert MemoryLog[int]().keeps_history is False
    assert MemoryLog[int](keep_history=True).keeps_history is True


def test_a_read_that_is_overtaken_by_truncation_ends_in_an_error() -> None:
    """It gets what it had copied already, and then learns that the rest is gone."""
    log = MemoryLog[int]()
    added: list[Event] = [MeasurementAdded(number) for number in range(3 * CHUNK)]
    log.append("ann", added, expected_head=0)
    reading = log.read("ann")
    next(reading)
    log.truncate("ann", 2 * CHUNK, None)
    seen: list[Recorded] = []
    with pytest.raises(TruncatedError) as caught:
        seen.extend(reading)
    assert [entry.offset for entry in seen] == list(range(1, CHUNK))
    assert (caught.value.offset, caught.value.start) == (CHUNK, 2 * CHUNK)


def test_a_measurement_costs_one_slot() -> None:
    """At most 16 bytes beyond the measurement itself, whether appended or added, with an eviction or without."""
    log = MemoryLog[None]()
    victims = Offsets((range(10_000),))
    log.append("ann", [MeasurementAdded(None)] * 10_000, expected_head=0, grant=Grant(victims=victims))
    for _ in range(10_000):
        log.add("ann", None, clock)
    tail = log.tails["ann"]
    assert len(tail.items) == 30_000
    assert sys.getsizeof(tail.items) < 16 * 20_000
    assert len(tail.marks) == 1


def test_marks_are_forgotten_with_the_events_they_mark() -> None:
    """Truncation frees what stands for controls and evictions too, and grants that were never used leave nothing."""
    log = MemoryLog[int]()
    head = 0
    for number in range(50):
        victims = Offsets((range(number, number + 3),))
        head = log.append("ann", [ReplayCompleted(number)], expected_head=head, grant=Grant(victims=victims))
        head = log.append("ann", [], expected_head=head, grant=Grant(victims=victims))
        if number % 2:
            log.add("ann", number, clock)
            head += 2
        log.truncate("ann", head, number)
        assert len(log.tails["ann"].marks) <= 1 + number % 2


@pytest.mark.parametrize("count", [1, 63, 64, 65, 66, 129, 300])
def test_what_a_grant_evicts_is_cut_off_where_the_grant_says_how(count: int) -> None:
    """With `checkpoint_at` the evicted go; every add succeeds, also with the last victim, and all offsets stay."""
    log = MemoryLog[int]()
    log.append("ann", [MeasurementAdded(n) for n in range(2)], expected_head=0)
    victims = Offsets((range(2), range(2, 2 + 2 * (count - 2), 2))) if count > 2 else Offsets((range(count),))
    log.append("ann", [], expected_head=2, grant=Grant(victims=victims, checkpoint_at=lambda offset: f"at {offset}"))
    assert [log.add("ann", n, clock) for n in range(count)] == list(range(2, 2 + 2 * count, 2))
    assert log.add("ann", 0, clock) is None
    position, checkpoint = log.position("ann"), log.checkpoint("ann")
    assert position is not None
    assert position.head == 2 + 2 * count
    assert position.head - position.start <= 2 + 2 * 128
    assert (checkpoint is None) == (position.start == 0) == (count < 66)
    assert checkpoint is None or checkpoint.state == f"at {position.start}"
    assert [recorded.offset for recorded in log.read("ann", position.start)] == list(
        range(position.start, position.head)
    )


def test_a_grant_has_either_room_or_victims() -> None:
    """Both at once would leave open which comes first."""
    with pytest.raises(ValueError, match="either room or victims"):
        Grant(room=1, victims=Offsets((range(1),)))


def test_a_suite_without_a_log_says_what_is_missing() -> None:
    """Who forgets `make_log` is told to give it."""
    with pytest.raises(NotImplementedError, match="make_log"):
        EventLogConformance().make_log()


@pytest.mark.parametrize("ignored", [False, True])
def test_the_model_of_the_suite_knows_every_way_to_add(ignored: bool) -> None:
    """Chance may not come by all of them in every run; here each is gone by hand: room, victims, time, a wrong head."""

    class Hooked(Hooks):
        def make_log(self) -> EventLog[Any]:
            return IgnoresVictims() if ignored else MemoryLog()

    model = BesideLists(Hooked())
    stream = model.streams
    model.append(name="ann", kinds=[True, False], wrong=1, grant=Grant())
    assert stream == {}
    model.append(name="ann", kinds=[True, False], wrong=0, grant=Grant(room=2, until=1.0))
    model.add(name="ann")
    model.add_many(name="ann", length=2)
    assert (len(stream["ann"].events), stream["ann"].room) == (3, 1)
    model.add_many(name="ann", length=1)
    model.add(name="ann")
    model.append(name="ann", kinds=[True], wrong=0, grant=Grant(until=1.0, victims=Offsets((range(2),))))
    model.add(name="ann")
    assert len(stream["ann"].victims) == (2 if ignored else 1)
    model.wait()
    model.add(name="ann")
    assert len(stream["ann"].victims) == (2 if ignored else 1)
    model.read(name="bob", start=0, stop=None)
    model.read(name="ann", start=0, stop=None)
    model.read(name="ann", start=0, stop=1)
    model.truncate(name="bob", part=1)
    model.truncate(name="ann", part=1)
    model.both_say_the_same()
    model.both_hold_the_same()
    assert stream["ann"].start == len(stream["ann"].events) == (5 if ignored else 7)
    model.teardown()


def overtaken(log: MemoryLog[int]) -> None:
    reading = log.read("ann", 2 * CHUNK)
    next(reading)
    log.truncate("ann", 4 * CHUNK, None)
    list(reading)


GONE = {
    "a read": (lambda log: list(log.read("ann", 1)), 1, 2 * CHUNK),
    "a read that was overtaken": (overtaken, 3 * CHUNK, 4 * CHUNK),
    "controls": (lambda log: list(log.controls("ann", 1)), 1, 2 * CHUNK),
    "measurements": (lambda log: log.measurements("ann", range(1, 3)), 1, 2 * CHUNK),
}


@pytest.mark.parametrize("asked", GONE)
def test_who_asks_for_what_was_truncated_is_told_of_what_and_whose(asked: str) -> None:
    """The error says the stream, the offset that is gone, and the first that is there."""
    log = MemoryLog[int]()
    log.append("ann", [MeasurementAdded(0)] * 5 * CHUNK, expected_head=0)
    log.truncate("ann", 2 * CHUNK, None)
    ask, offset, start = GONE[asked]
    with pytest.raises(TruncatedError) as told:
        ask(log)
    assert (told.value.stream, told.value.offset, told.value.start) == ("ann", offset, start)


def test_controls_that_are_overtaken_by_truncation_end_in_an_error() -> None:
    """Truncated between finding out where they end and reading them: the error says of what and whose."""

    class Overtaken(MemoryLog[int]):
        def _bound(self, stream: str, start: int, stop: int | None) -> int:
            bound = super()._bound(stream, start, stop)
            self.truncate(stream, 2, None)
            return bound

    log = Overtaken()
    log.append("ann", [ReplayCompleted(number) for number in range(3)], expected_head=0)
    with pytest.raises(TruncatedError) as told:
        list(log.controls("ann", 1))
    assert (told.value.stream, told.value.offset, told.value.start) == ("ann", 1, 2)


def test_what_is_not_there_yet_cannot_be_truncated() -> None:
    """The error says whose it is and how far was asked."""
    log = MemoryLog[int]()
    log.append("ann", [MeasurementAdded(0)], expected_head=0)
    with pytest.raises(ValueError, match="stream 'ann': cannot truncate before 2, which is above the head"):
        log.truncate("ann", 2, None)


def test_a_tail_that_was_just_made_allows_nothing() -> None:
    """It is empty, nothing was granted, nobody issued that, it is never due, and it has no checkpoint."""
    tail = Tail[int]()
    assert tail.add(1, clock) is None
    assert (tail.items, tail.marks, tail.start, tail.granted_from) == ([], [], 0, 0)
    assert (tail.full_at, tail.opens_to, tail.evicts_to) == (0, 0, 0)
    for none in ("until", "issuer", "arrived_at", "due_at", "due_after", "eviction", "checkpoint", "checkpoint_at"):
        assert getattr(tail, none) is None, none
    assert tail.shelved is False
    assert tail.trim_at == sys.maxsize


def test_who_issued_a_grant_adds_within_it() -> None:
    """Nobody else does: their adds are to be decided."""
    log = MemoryLog[int]()
    log.append("ann", [MeasurementAdded(0)], expected_head=0, grant=Grant(room=2, issuer="me"))
    assert log.add("ann", 1, clock, "you") is None
    assert log.add("ann", 1, clock) is None
    assert log.add("ann", 1, clock, "me") == 1


@pytest.mark.parametrize("room", [0, 1, 2])
@pytest.mark.parametrize("notes", [False, True])
@pytest.mark.parametrize("renewed", [False, True])
def test_a_grant_counts_from_the_head_also_where_all_was_truncated(room: int, notes: bool, renewed: bool) -> None:
    """As many are added as there is room for, and the arrival of the first is noted where it is to be."""
    log = MemoryLog[int]()
    grant = Grant(room=room, notes_arrival=notes)
    log.append("ann", [MeasurementAdded(0)], expected_head=0, grant=grant)
    log.truncate("ann", 1, None)
    if renewed:
        log.append("ann", [], expected_head=1, grant=grant)
    assert [log.add("ann", 1, lambda: 7.0) for _ in range(3)] == [1, 2, 3][:room] + [None] * (3 - room)
    position = log.position("ann")
    assert position is not None
    assert position.arrived_at == (7.0 if notes and room else None)


@pytest.mark.parametrize(
    ("head", "adds", "starts"),
    [(1, 65, [0] * 65), (65, 130, [0] * 64 + [65] * 65 + [195])],
    ids=["none of them comes next", "the first of them comes next"],
)
def test_what_was_added_under_a_grant_is_cut_off_once_it_is_evicted(head: int, adds: int, starts: list[int]) -> None:
    """After each 128 slots, where the next victim is one of them, or later: up to that victim."""
    log = MemoryLog[int]()
    log.append("ann", [MeasurementAdded(0)] * head, expected_head=0)
    victims = Offsets((range(head), range(head, head + 2 * (adds - head + (head > 1)), 2)))
    log.append("ann", [], expected_head=head, grant=Grant(victims=victims, checkpoint_at=str))
    assert starts == [log.add("ann", 1, clock) is not None and log.tails["ann"].start for _ in range(adds)]


def test_truncation_does_not_put_off_what_is_cut_off_by_itself() -> None:
    """Nor does it hasten it: it comes at the same offset."""
    log, truncated = MemoryLog[int](), MemoryLog[int]()
    for each in (log, truncated):
        each.append("ann", [MeasurementAdded(0)] * 2, expected_head=0)
        victims = Offsets((range(2), range(2, 600, 2)))
        each.append("ann", [], expected_head=2, grant=Grant(victims=victims, checkpoint_at=str))
        for _ in range(10):
            each.add("ann", 1, clock)
    truncated.truncate("ann", 12, None)
    cut = [[each.add("ann", 1, clock) and each.tails["ann"].start for each in (log, truncated)] for _ in range(200)]
    assert [before or 12 for before, _ in cut] == [after for _, after in cut]
    assert cut[-1][0] > 200


def test_a_grant_that_ended_where_the_log_begins_has_left_nothing() -> None:
    """Its evictions were all truncated; only what came after it is still marked."""
    log = MemoryLog[int]()
    log.append("ann", [MeasurementAdded(0)] * 3, expected_head=0, grant=Grant(victims=Offsets((range(3),))))
    log.add("ann", 1, clock)
    log.append("ann", [ReplayCompleted(1)], expected_head=5)
    log.truncate("ann", 5, None)
    assert [recorded.offset for recorded in log.controls("ann", 5)] == [5]
    assert len(log.tails["ann"].marks) == 1
