"""What is special to `MemoryLog`: how it keeps history, cuts long reads, and that it stays small."""

import sys

import pytest

from events import Event, Grant, MeasurementAdded, MemoryLog, Offsets, Recorded, ReplayCompleted, TruncatedError
from events._memory import CHUNK
from events.conformance import EventLogConformance


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


def test_a_suite_without_a_log_says_what_is_missing() -> None:
    """Who forgets `make_log` is told to give it."""
    with pytest.raises(NotImplementedError, match="make_log"):
        EventLogConformance().make_log()
