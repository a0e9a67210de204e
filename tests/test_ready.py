"""Who is `ready` for a replay, and who waits: retries, parking, arrivals, on a buffer whose clock the test moves."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import inf, nan
from threading import Event as Signal
from threading import Thread
from typing import Any

import pytest
from attrs import frozen
from conftest import Clock

from events import MeasurementAdded, MemoryLog, Position
from statemachine import (
    BufferClosedError,
    BufferConfig,
    IllegalTriggerError,
    InvalidArgumentError,
    NoSnapshotError,
    ReplayBuffer,
    SnapshotInProgressError,
    StaleSnapshotError,
    UserParkedError,
    due,
)

DAY = 86400.0


class CountingLog(MemoryLog[Any]):
    """Counts how often a stream is looked at, and how many measurements are read."""

    looks = read_measurements = 0

    def position(self, stream: str) -> Position | None:
        self.looks += 1
        return super().position(stream)

    def measurements(self, stream: str, offsets: range) -> Sequence[Any]:
        self.read_measurements += len(offsets)
        return super().measurements(stream, offsets)


def made(clock: Clock, policy: due.DuePolicy | None = None, log: Any = None, **config: Any) -> ReplayBuffer[Any]:
    return ReplayBuffer(log, BufferConfig(due=policy, **config), clock=clock)


def ready(buffer: ReplayBuffer[Any]) -> list[str]:
    return list(buffer.ready())


def replayed(buffer: ReplayBuffer[Any], user_id: str) -> None:
    with buffer.snapshot(user_id):
        pass


def failed(buffer: ReplayBuffer[Any], user_id: str) -> None:
    buffer.begin_snapshot(user_id)
    buffer.abort_snapshot(user_id)


def own_time(measurement: Any) -> Any:
    return measurement["time"]


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


@pytest.mark.parametrize("looked", [False, True])
def test_a_retry_of_nothing_makes_the_next_arrival_due(clock: Clock, looked: bool) -> None:
    """After the back-off a user is due whatever the policy says, also one whose first measurement comes only then."""
    log = CountingLog()
    buffer = made(clock, due.Count(50), log)
    buffer.add_measurement("ann", 1)
    buffer.clear_buffer("ann")
    failed(buffer, "ann")
    buffer.schedule_retry("ann", clock.now + 10)
    clock.now += 10
    if looked:
        assert ready(buffer) == []
        log.looks = 0
        assert (ready(buffer), log.looks) == ([], 0)
    buffer.add_measurement("ann", 2)
    assert ready(buffer) == ["ann"]


def test_a_retry_comes_before_the_policy(clock: Clock) -> None:
    """Not again before `retry_at`, and then whatever `BufferConfig.due` says; measured by the buffer's clock."""
    buffer = made(clock, due.Count(2))
    buffer.add_measurement("ann", 1)
    failed(buffer, "ann")
    assert ready(buffer) == []  # nothing was said of a retry, and the policy wants two
    buffer.schedule_retry("ann", 150)
    buffer.add_measurements("ann", [2, 3])
    assert ready(buffer) == []
    buffer.schedule_retry("ann", 130.0)
    for clock.now, expected in ((129.9, []), (130.0, ["ann"])):
        assert ready(buffer) == expected
    assert (buffer.state("ann").retry_at, buffer.state("ann").attempts) == (130.0, 1)
    replayed(buffer, "ann")
    assert (buffer.state("ann").retry_at, buffer.state("ann").attempts) == (None, 0)


def test_a_retry_may_be_scheduled_while_the_rollback_fails(clock: Clock) -> None:
    """In `aborting` nobody is due; when the rollback has succeeded, the back-off still holds."""
    failing = [OSError("away")]

    def on_abort(user_id: str, version: int, reason: str) -> None:
        if failing:
            raise failing[0]

    buffer: ReplayBuffer[int] = ReplayBuffer(config=BufferConfig(due=due.Count(1)), clock=clock, on_abort=on_abort)
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    clock.now += 30
    assert buffer.expire_overdue() == ["ann"]
    buffer.schedule_retry("ann", clock.now + 10, version=1)
    clock.now += 10
    assert ready(buffer) == []
    failing.clear()
    assert buffer.expire_overdue() == ["ann"]
    assert ready(buffer) == ["ann"]


def test_what_cannot_be_retried_is_refused(clock: Clock) -> None:
    """There must be a failure, of the snapshot meant, that is over; and a time to wait for."""
    buffer = made(clock)
    buffer.add_measurement("ann", 1)
    with pytest.raises(NoSnapshotError, match="no replay has failed"):
        buffer.schedule_retry("ann", 1.0)
    version = buffer.begin_snapshot("ann")
    with pytest.raises(SnapshotInProgressError):
        buffer.schedule_retry("ann", 1.0, version)
    buffer.abort_snapshot("ann")
    with pytest.raises(StaleSnapshotError):
        buffer.schedule_retry("ann", 1.0, version + 1)
    for retry_at in (nan, inf, -inf, True, "1", None, 10**400):
        with pytest.raises(InvalidArgumentError, match="retry_at must be a finite number of seconds"):
            buffer.schedule_retry("ann", retry_at)  # type: ignore[arg-type]
    replayed(buffer, "ann")
    for stale, error in ((version, StaleSnapshotError), (None, NoSnapshotError)):
        with pytest.raises(error):
            buffer.schedule_retry("ann", 1.0, stale)


def test_parked_users_wait_for_their_release(clock: Clock) -> None:
    """No replay begins and nobody is due; what is live stays, adds go on; then all is as before."""
    buffer = made(clock, due.Count(2))
    buffer.add_measurement("ann", 1)
    failed(buffer, "ann")
    buffer.schedule_retry("ann", clock.now)
    buffer.park("ann", "her scale is broken")
    buffer.add_measurements("ann", [2, 3])
    assert (ready(buffer), buffer.parked(), buffer.measurements("ann")) == ([], ["ann"], [1, 2, 3])
    assert (buffer.state("ann").phase, buffer.state("ann").reason) == ("parked", "her scale is broken")
    for refused in (buffer.begin_snapshot, buffer.park, buffer.clear_buffer):
        with pytest.raises(UserParkedError, match="release"):
            refused("ann")
    buffer.release("ann")
    assert (ready(buffer), buffer.parked(), buffer.state("ann").attempts) == (["ann"], [], 0)
    with pytest.raises(IllegalTriggerError, match="not parked"):
        buffer.release("ann")
    with pytest.raises(InvalidArgumentError, match="reason must be a string"):
        buffer.park("ann", 5)  # type: ignore[arg-type]
    buffer.begin_snapshot("ann")
    with pytest.raises(SnapshotInProgressError):
        buffer.park("ann")


def test_the_longest_parked_are_listed_first(clock: Clock) -> None:
    """Also by a new buffer on the log; who is released leaves, who is parked again comes last."""
    log: MemoryLog[int] = MemoryLog()
    buffer = made(clock, None, log)
    for user in ("cid", "ann", "bob"):
        buffer.add_measurement(user, 1)
        buffer.park(user)
    buffer.add_measurements("ann", range(300))
    assert made(clock, None, log).parked() == ["cid", "ann", "bob"]
    buffer.release("cid")
    assert buffer.parked() == ["ann", "bob"]
    buffer.park("cid")
    assert buffer.parked() == ["ann", "bob", "cid"]


def test_nothing_is_asked_of_a_closed_buffer(clock: Clock) -> None:
    """The error comes with the call, not with the first user."""
    buffer = made(clock)
    buffer.close()
    for call in (buffer.ready, buffer.parked):
        with pytest.raises(BufferClosedError):
            call()


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
    """What arrives while somebody decides that a user is not due is not overlooked: the user stays listed."""
    late: list[dict[str, float]] = []

    def slow_time(measurement: dict[str, float]) -> float:
        if late:
            buffer.add_measurement("ann", late.pop())
        return measurement["time"]

    buffer = made(clock, due.Age(60, slow_time))
    buffer.add_measurement("ann", {"time": clock.now})
    late.append({"time": clock.now - 60})
    assert ready(buffer) == []
    assert ready(buffer) == ["ann"]


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
