"""`ready` costs as much as there are due, and misses nobody while others add, begin and look."""

from threading import Event as Signal
from threading import Thread
from typing import Any

import pytest
from conftest import Clock
from readying import CountingLog, made, own_time, ready, replayed

from events import MemoryLog
from statemachine import due


@pytest.mark.parametrize("policy", [due.Count(3), due.Age(60), due.Count(2) & due.Age(10, own_time)])
def test_looking_costs_as_much_as_there_are_due(clock: Clock, policy: due.DuePolicy) -> None:
    """Users who are not due are not looked at, however many there are; those who are, are looked at a few times."""
    log = CountingLog()
    buffer = made(clock, policy, log)
    for number in range(300):
        buffer.add_measurement(f"user {number}", {"time": clock.now})
    ready(buffer)
    log.looks = log.read_measurements = 0
    assert ready(buffer) == []
    assert (log.looks, log.read_measurements) == (0, 0)
    clock.now += 20
    for _ in range(2):
        buffer.add_measurement("user 7", {"time": 0.0})
    if policy == due.Age(60):
        replayed(buffer, "user 7")
        buffer.add_measurement("user 7", 1)
    log.looks = log.read_measurements = 0
    assert ready(buffer) == ([] if policy == due.Age(60) else ["user 7"])
    assert log.looks <= 2
    assert log.read_measurements <= 3


def test_an_add_is_granted_again_after_a_look(clock: Clock) -> None:
    """Looking at measurements' own times costs the next add a decision, and no further one."""
    appends: list[str] = []

    class AppendCounting(MemoryLog[Any]):
        def append(self, stream: str, events: Any, **how: Any) -> int:
            appends.append(stream)
            return super().append(stream, events, **how)

    buffer = made(clock, due.Age(60, own_time), AppendCounting())
    buffer.add_measurement("ann", {"time": clock.now})
    assert ready(buffer) == []
    appends.clear()
    for _ in range(50):
        buffer.add_measurement("ann", {"time": clock.now})
    assert appends == ["ann"]


def test_the_due_times_stay_bounded(clock: Clock) -> None:
    """However often users become due and are replayed, the log holds few more times than users."""
    log: MemoryLog[int] = MemoryLog()
    buffer = made(clock, due.Count(2) | due.Age(60), log, max_measurements=3)
    for number in range(2000):
        user = f"user {number % 5}"
        buffer.add_measurement(user, number)
        clock.now += 1
        if number % 7 == 0:
            replayed(buffer, user)
        if number % 11 == 0:
            ready(buffer)
        assert len(log._due) <= 2 * 5 + 16


def test_nobody_is_missed_while_others_add(clock: Clock) -> None:
    """Threads add while another replays whoever is ready; in the end each measurement was replayed once, in order."""
    users, each, done = [f"user {number}" for number in range(4)], 300, Signal()
    buffer = made(clock, due.Count(1), max_measurements=each)
    seen: dict[str, list[int]] = {user: [] for user in users}

    def add(user: str) -> None:
        for number in range(each):
            buffer.add_measurement(user, number)

    def replay_ready() -> None:
        for user in buffer.ready():
            with buffer.snapshot(user) as frozen:
                seen[user] += frozen

    def replay() -> None:
        while not done.is_set():
            replay_ready()

    adding, replaying = [Thread(target=add, args=(user,)) for user in users], Thread(target=replay)
    for thread in (*adding, replaying):
        thread.start()
    for thread in adding:
        thread.join()
    done.set()
    replaying.join()
    replay_ready()
    assert seen == {user: list(range(each)) for user in users}
    assert ready(buffer) == []


def test_an_add_between_the_look_and_the_word_to_the_log(clock: Clock) -> None:
    """What arrives while somebody decides that a user is not due is not overlooked: it is decided again."""
    late: list[dict[str, float]] = []

    def slow_time(measurement: dict[str, float]) -> float:
        if late:
            buffer.add_measurement("ann", late.pop())
        return measurement["time"]

    buffer = made(clock, due.Age(60, slow_time))
    buffer.add_measurement("ann", {"time": clock.now})
    late.append({"time": clock.now - 60})
    assert ready(buffer) == ["ann"]
    assert late == []


def test_somebody_begins_between_the_list_and_the_look(clock: Clock) -> None:
    """Who is taken by another thread, or replayed by it, is not given to this one too."""
    buffer = made(clock, due.Count(1))
    for user in ("ann", "bob", "cid"):
        buffer.add_measurement(user, 1)
    listing = buffer.ready()
    assert next(listing) == "ann"
    buffer.begin_snapshot("bob")
    replayed(buffer, "cid")
    assert list(listing) == []


def test_a_stream_is_listed_before_it_can_be_seen(clock: Clock) -> None:
    """A log may list a stream that another thread is just making; it is not due yet, and no error."""

    class Early(MemoryLog[Any]):
        def due(self, now: float) -> list[str]:
            return ["not yet", *super().due(now)]

    buffer = made(clock, due.Count(1), Early())
    buffer.add_measurement("ann", 1)
    assert ready(buffer) == ["ann"]
