"""Who is `ready` for a replay by count and by age: arrivals, own times, restarts, on a clock the test moves."""

from datetime import UTC, datetime, timedelta
from math import inf, nan
from typing import Any

import pytest
from attrs import frozen
from conftest import Clock
from readying import CountingLog, failed, made, own_time, ready, replayed

from events import MeasurementAdded, MemoryLog
from statemachine import due

DAY = 86400.0


def test_one_measurements_way(clock: Clock) -> None:
    """Empty, first arrives, gate, count, age, begin, abort, retry, complete with pending ones left."""
    buffer = made(clock, due.Count(2) & (due.Count(4) | due.Age(60)))
    assert ready(buffer) == []
    buffer.add_measurement("ann", 1)
    clock.now += 61
    assert ready(buffer) == []  # old enough, but below the gate
    buffer.add_measurement("ann", 2)
    assert ready(buffer) == ["ann"]
    version = buffer.begin_snapshot("ann")
    assert ready(buffer) == []
    buffer.add_measurement("ann", 3)
    buffer.abort_snapshot("ann", "the database is away")
    assert ready(buffer) == ["ann"]
    buffer.schedule_retry("ann", clock.now + 10, version)
    assert ready(buffer) == []
    clock.now += 10
    assert ready(buffer) == ["ann"]
    with buffer.snapshot("ann"):
        buffer.add_measurement("ann", 4)
        clock.now += 30
        buffer.add_measurement("ann", 5)
        assert ready(buffer) == []
    assert ready(buffer) == []  # two are left, and the older has waited for 30 seconds
    clock.now += 29
    assert ready(buffer) == []
    clock.now += 1
    assert ready(buffer) == ["ann"]
    assert (buffer.measurements("ann"), buffer.state("ann").attempts) == ([4, 5], 0)
    assert buffer.audit("ann").ok


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "together"])
def test_a_count_is_due_with_the_very_add(clock: Clock, at_once: bool) -> None:
    """At every round through the buffer, the measurement that makes the number full makes the user due."""
    buffer = made(clock, due.Count(5), max_measurements=7)
    for _ in range(3):
        if at_once:
            buffer.add_measurements("ann", range(4))
        else:
            for number in range(4):
                assert ready(buffer) == []
                buffer.add_measurement("ann", number)
        assert ready(buffer) == []
        for number in range(6):
            buffer.add_measurement("ann", number)
            assert ready(buffer) == ["ann"]
        replayed(buffer, "ann")
        assert ready(buffer) == []


def test_evicting_does_not_make_a_window_younger(clock: Clock) -> None:
    """By arrival a window is as old as it has been since it was last empty, whatever was evicted or cleared of it."""
    buffer = made(clock, due.Age(60), max_measurements=2)
    for number in range(100):
        buffer.add_measurement("ann", number)
        clock.now += 0.5
    buffer.clear_buffer("ann", through=buffer.state("ann").oldest + 1)
    assert (ready(buffer), buffer.state("ann").arrived_at) == ([], 100.0)
    clock.now += 10
    assert ready(buffer) == ["ann"]
    buffer.clear_buffer("ann")
    assert ready(buffer) == []
    buffer.add_measurement("ann", 1)
    assert (ready(buffer), buffer.state("ann").arrived_at) == ([], 160.0)
    clock.now += 60
    assert ready(buffer) == ["ann"]


def test_the_longest_due_are_first(clock: Clock) -> None:
    """Who is due at once in the order in which they became so, then the others by the time from which they are."""
    buffer = made(clock, due.Count(2) | due.Age(60))
    for user in ("dan", "cid", "bob", "ann"):
        buffer.add_measurement(user, 1)
        clock.now += 1
    clock.now += 100
    assert ready(buffer) == ["dan", "cid", "bob", "ann"]
    buffer.add_measurement("ann", 2)
    buffer.add_measurement("cid", 2)
    buffer.add_measurement("ann", 3)
    assert ready(buffer) == ["ann", "cid", "dan", "bob"]
    failed(buffer, "dan")
    buffer.schedule_retry("dan", clock.now)
    assert ready(buffer) == ["ann", "cid", "bob", "dan"]


def test_arrival_of_pending_ones(clock: Clock) -> None:
    """After completion the window is as old as its first pending one; after an abort as old as it was."""
    for ends, arrived_at, pending in (("complete", 110.0, 1), ("abort", 100.0, 1), ("abort", 110.0, 0)):
        clock.now, buffer = 100.0, made(clock, due.Age(60))
        buffer.add_measurement("ann", 1)
        if not pending:
            buffer.clear_buffer("ann")
        version = buffer.begin_snapshot("ann")
        buffer.finalize_snapshot("ann")
        clock.now = 110.0
        buffer.add_measurements("ann", [2, 3])
        clock.now = 115.0
        buffer.add_measurement("ann", 4)
        if ends == "complete":
            buffer.complete_replay("ann", version)
        else:
            buffer.abort_snapshot("ann", version=version)
        assert buffer.state("ann").arrived_at == arrived_at
        for clock.now, expected in ((arrived_at + 59, []), (arrived_at + 60, ["ann"])):
            assert ready(buffer) == expected, (ends, pending)


def test_own_times_late_and_out_of_order(clock: Clock) -> None:
    """Due by the earliest of the measurements' own times, whenever and in whatever order they arrive."""
    clock.now = 10 * DAY
    buffer = made(clock, due.Age(DAY, own_time))
    buffer.add_measurement("ann", {"time": clock.now - 100})
    assert ready(buffer) == []
    buffer.add_measurement("ann", {"time": clock.now - 200})
    buffer.add_measurement("ann", {"time": clock.now - 50})
    assert ready(buffer) == []
    clock.now += DAY - 201
    assert ready(buffer) == []
    clock.now += 1
    assert ready(buffer) == ["ann"]
    buffer.clear_buffer("ann", through=2)
    assert ready(buffer) == []
    buffer.add_measurement("ann", {"time": clock.now - DAY})
    assert ready(buffer) == ["ann"]


@pytest.mark.parametrize("aware", [False, True])
def test_own_times_as_datetimes(clock: Clock, aware: bool) -> None:
    """Naive ones are local time, aware ones tell their zone; both mean the moment they mean."""
    clock.now = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
    taken = datetime.fromtimestamp(clock.now, UTC if aware else None) - timedelta(hours=1)
    buffer = made(clock, due.Age(7200, own_time))
    buffer.add_measurement("ann", {"time": taken})
    assert ready(buffer) == []
    clock.now += 3600
    assert ready(buffer) == ["ann"]


@pytest.mark.parametrize("odd", [{}, {"time": None}, {"time": "0"}, {"time": nan}])
def test_a_measurement_without_a_usable_time(clock: Clock, odd: Any) -> None:
    """It has no age: by itself it is never due, and it does not keep others from being due."""
    buffer = made(clock, due.Age(60, own_time))
    buffer.add_measurement("ann", odd)
    clock.now += 1e9
    assert ready(buffer) == []
    buffer.add_measurement("ann", {"time": clock.now - 30})
    assert ready(buffer) == []
    clock.now += 30
    assert ready(buffer) == ["ann"]


def test_each_measurement_is_looked_into_once(clock: Clock) -> None:
    """Looking again after one more was added reads that one; looking again after none reads nothing."""
    log = CountingLog()
    buffer = made(clock, due.Age(60, own_time) & due.Age(50, own_time), log, max_measurements=1000)
    for number in range(500):
        buffer.add_measurement("ann", {"time": clock.now})
        if number % 10 == 0:
            assert ready(buffer) == ready(buffer) == []
    clock.now += 60
    assert ready(buffer) == ready(buffer) == ["ann"]
    assert log.read_measurements == 500
    replayed(buffer, "ann")
    assert len(buffer._journal._earliest) == 0


def test_arrivals_that_nobody_knows(clock: Clock) -> None:
    """What arrived nobody knows when arrived long ago: a log of plain events, or a clock out of its mind."""
    log: MemoryLog[int] = MemoryLog()
    log.append("ann", [MeasurementAdded(1)], expected_head=0)
    buffer = made(clock, due.Age(60), log)
    assert buffer.state("ann").arrived_at is None
    buffer.add_measurement("ann", 2)
    assert ready(buffer) == ["ann"]
    clock.now = nan
    assert buffer.add_measurement("bob", 1) == 0
    clock.now = 100.0
    assert ready(buffer) == ["ann", "bob"]
    assert buffer.measurements("ann") == [1, 2]


@pytest.mark.parametrize("keep_history", [False, True])
def test_arrivals_survive_a_restart(clock: Clock, keep_history: bool) -> None:
    """A new buffer on the same log knows what the old one knew, wherever the log was truncated meanwhile."""
    log: MemoryLog[int] = MemoryLog(keep_history=keep_history)
    buffer = made(clock, due.Age(60), log, max_measurements=3)

    def check() -> None:
        again = made(clock, due.Age(60), log, max_measurements=3)
        assert again.state("ann") == buffer.state("ann")
        assert again.state("ann").arrived_at is not None
        assert ready(again) == ready(buffer) == []

    buffer.add_measurement("ann", 0)
    buffer.clear_buffer("ann")
    clock.now += 5
    buffer.add_measurements("ann", [1, 2, 3])
    clock.now += 5
    buffer.clear_buffer("ann", through=buffer.state("ann").oldest + 2)
    check()
    for number in range(300):
        buffer.add_measurement("ann", number)
    check()
    with buffer.snapshot("ann"):
        clock.now += 5
        for number in range(10):
            buffer.add_measurement("ann", number)
    check()
    clock.now += 60
    assert ready(made(clock, due.Age(60), log, max_measurements=3)) == ["ann"]


def test_a_restarted_buffer_tells_the_log_once(clock: Clock) -> None:
    """Who was looked at and is not due is not looked at again, also where the old buffer's grant stood in the log."""
    log = CountingLog()
    old = made(clock, due.Age(60, own_time), log)
    old.add_measurement("ann", {"time": clock.now})
    again = made(clock, due.Age(60, own_time), log)
    assert ready(again) == []
    looks = log.looks
    assert ready(again) == []
    assert log.looks == looks
    again.add_measurement("ann", {"time": clock.now - 60})
    assert ready(again) == ["ann"]


def test_two_policies_on_one_log(clock: Clock) -> None:
    """Each lists only whom its own policy says, and neither mistakes what the other adds for something else."""
    log: MemoryLog[int] = MemoryLog(keep_history=True)
    first = made(clock, due.Age(60), log, max_measurements=2)
    second = made(clock, due.Count(50), log, max_measurements=50)
    for number in range(3):
        first.add_measurement("ann", number)
    clock.now += 60
    assert ready(second) == []
    assert not second._journal.is_due("ann", clock.now)  # finds its own grant, and must not take it for leave to add
    for number in range(3, 8):
        second.add_measurement("ann", number)
        assert first.measurements("ann") == second.measurements("ann") == list(range(1, number + 1))
        assert first.audit("ann").ok
    first.add_measurement("ann", 8)
    assert ready(second) == []
    assert first.measurements("ann") == second.measurements("ann")
    assert made(clock, due.Age(60), log).state("ann") == first.state("ann") == second.state("ann")


def test_a_policy_of_ones_own(clock: Clock) -> None:
    """Also one that is due at a time of day, which does not move with the arrival."""

    @frozen
    class FromNoon(due.DuePolicy):
        def due_from(self, window: due.Window) -> float:
            return 1000.0 if window.count else inf

    buffer = made(clock, FromNoon())
    for clock.now in (100.0, 900.0, 1100.0):
        buffer.add_measurement("ann", 1)
        assert ready(buffer) == (["ann"] if clock.now > 1000 else [])
        clock.now = max(clock.now, 1000.0)
        assert ready(buffer) == ["ann"]
        replayed(buffer, "ann")


def test_the_clock_goes_back(clock: Clock) -> None:
    """Nobody is lost: who was due is due again when the time comes again, and counts do not wait for the clock."""
    buffer = made(clock, due.Count(3) | due.Age(60))
    buffer.add_measurement("ann", 1)
    clock.now += 60
    assert ready(buffer) == ["ann"]
    clock.now -= 50
    assert ready(buffer) == []
    buffer.add_measurement("bob", 1)
    clock.now += 50
    assert ready(buffer) == ["ann"]
    clock.now -= 1000
    buffer.add_measurements("ann", [2, 3])
    assert ready(buffer) == ["ann"]


def test_who_was_looked_at_too_early_after_a_restart_is_found_in_time(clock: Clock) -> None:
    """A new buffer that looks before a user is due lists it all the same once it is, though nothing has happened."""
    log: MemoryLog[Any] = MemoryLog()
    made(clock, due.Age(60, own_time), log).add_measurement("ann", {"time": clock.now})
    again = made(clock, due.Age(60, own_time), log)
    assert ready(again) == []
    clock.now += 60
    assert ready(again) == ["ann"]


@pytest.mark.parametrize("first", [0, 1])
def test_two_times_of_one_measurement(clock: Clock, first: int) -> None:
    """A policy may look at each measurement in two ways, and neither answer is taken for the other."""
    times = [lambda pair: pair[0], lambda pair: pair[1]]
    policy = due.Age(50, timestamp_of=times[first]) & due.Age(50, timestamp_of=times[1 - first])
    buffer: Any = made(clock, policy)
    buffer.add_measurement("ann", (50.0, 100.0))
    assert ready(buffer) == []
    clock.now = 149.0
    assert ready(buffer) == []
    clock.now = 150.0
    assert ready(buffer) == ["ann"]
