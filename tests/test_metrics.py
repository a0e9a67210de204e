"""A buffer's figures: read on demand, right whatever happened, and no burden while nobody asks."""

import json
from collections.abc import Callable, Iterator, Mapping
from threading import Barrier, Thread
from typing import Any

import attrs
import pytest
from conftest import Clock, begun
from test_benchmarks import TINY

from benchmarks.metering import metering
from events import (
    AbortBegun,
    Checkpoint,
    MeasurementsEvicted,
    MemoryLog,
    Position,
    ReplayCompleted,
    SnapshotBegun,
    SnapshotExpired,
    SnapshotFinalized,
    Tail,
    TruncatedError,
)
from statemachine import BufferClosedError, BufferConfig, Durations, Metrics, ReplayBuffer, RollbackError
from statemachine._decide import CompleteReplay
from statemachine._metrics import MOST_KINDS, MOST_LETTERS, kind_of
from statemachine._observing import Occurrence
from statemachine._totals import totals


class Elsewhere(MemoryLog[Any]):
    """A log that is not in this process's memory, as far as a buffer can see."""

    @property
    def tails(self) -> Mapping[str, Tail[Any]]:
        return {}


def busy(log: MemoryLog[Any], clock: Clock) -> ReplayBuffer[Any]:
    """A buffer whose users are in every phase, at and below the bound, with and without adds since the last decision.

    As a sweep would not leave it: cid's snapshot is overdue.
    """

    def on_abort(user_id: str, version: int, reason: str) -> None:
        if user_id == "dan":
            raise OSError("the database is away")

    config = BufferConfig(max_measurements=3, pending_factor=1)
    buffer = ReplayBuffer(log, config, clock=clock, on_abort=on_abort)
    for user_id in ("ann", "bob", "cid", "dan", "eve", "fay", "gus"):
        buffer.add_measurements(user_id, [1, 2])
    for number in range(6):
        buffer.add_measurement("ann", number)  # evicts, within the grant
        buffer.add_measurement("cid", number)
    with buffer.snapshot("bob"):
        buffer.add_measurement("bob", 3)
    buffer.begin_snapshot("cid")
    for number in range(6):
        buffer.add_measurement("cid", number)  # pending, and evicted from there
    buffer.begin_snapshot("dan")
    buffer.add_measurement("dan", 3)
    with pytest.raises(RollbackError):
        buffer.abort_snapshot("dan")
    buffer.park("eve")
    buffer.clear_buffer("fay", through=1)
    clock.now += 60.0
    begun_by = buffer.begin_snapshot("gus")
    buffer.finalize_snapshot("gus", begun_by)
    buffer.add_measurement("gus", 3)
    return buffer


def states(buffer: ReplayBuffer[Any]) -> Iterator[Any]:
    for user_id in buffer.users():
        head = buffer._log.position(user_id).head  # type: ignore[union-attr]
        yield buffer._journal.state_at(user_id, head)


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("make_log", [MemoryLog, lambda: MemoryLog(keep_history=True), Elsewhere])
def test_metrics_are_the_sums_of_the_states(
    make_log: Callable[[], MemoryLog[Any]], reopened: bool, clock: Clock
) -> None:
    """Sizes and counts are those of the users' states, in whatever phase, also of a log that somebody else has written.

    Looking changes nothing: an overdue snapshot is still in progress afterwards, and a stranger keeps no states.
    """
    log = make_log()
    buffer = busy(log, clock)
    if reopened:
        buffer = ReplayBuffer(log, clock=clock)
    heads = {user_id: log.position(user_id) for user_id in buffer.users()}
    found = list(states(buffer))
    anchors = dict(buffer._journal._anchors)
    for _ in range(2):
        metrics = buffer.metrics()
        for name in ("live", "pending", "added", "replayed", "evicted", "cleared"):
            assert getattr(metrics, name) == sum(getattr(state, name) for state in found), name
        assert metrics.users == len(found) == 7
        assert (metrics.in_progress, metrics.aborting, metrics.parked) == (2, 1, 1)
        assert metrics.added == 35
        assert metrics.pending == 5
    assert {user_id: log.position(user_id) for user_id in buffer.users()} == heads
    assert buffer._journal._anchors == anchors


def test_durations_and_counts_come_from_the_events(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """Snapshots from begin to finalize, replays from finalize to completion, by the buffer's clock."""
    assert buffer.metrics().seconds_since_completed is None
    for snapshot, replay in ((2.0, 10.0), (1.0, 40.0)):
        version = buffer.begin_snapshot("ann")
        clock.now += snapshot
        frozen = buffer.finalize_snapshot("ann", version)
        frozen.renew()
        clock.now += replay
        frozen.complete()
    buffer.begin_snapshot("ann")
    clock.now += 30.0
    assert buffer.metrics().expired == 0
    buffer.expire_overdue()
    buffer.schedule_retry("ann", clock.now + 1)
    begun(buffer).abort("broken")
    metrics = buffer.metrics()
    assert metrics.snapshot_duration == Durations(count=3, total=3.0, longest=2.0, last=0.0)
    assert metrics.replay_duration == Durations(count=2, total=50.0, longest=40.0, last=40.0)
    assert (metrics.begun, metrics.completed, metrics.expired, metrics.retries) == (4, 2, 1, 1)
    assert metrics.aborted == {"broken": 1}
    assert metrics.seconds_since_completed == 30.0
    assert json.loads(json.dumps(attrs.asdict(metrics))) == attrs.asdict(metrics)


def test_a_restart_counts_from_none(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """Counts and durations are what this buffer has recorded; what another one began has no duration here."""
    version = buffer.begin_snapshot("ann")
    other = ReplayBuffer(buffer._log, clock=clock)
    assert other.metrics() == attrs.evolve(buffer.metrics(), begun=0)
    clock.now += 1.0
    frozen = other.finalize_snapshot("ann", version)
    clock.now += 2.0
    frozen.complete()
    assert other.metrics().snapshot_duration.count == 0
    assert other.metrics().replay_duration == Durations(1, 2.0, 2.0, 2.0)
    begun(buffer)
    assert buffer.metrics().snapshot_duration == Durations(1)
    assert buffer.metrics().completed == 0


def test_nothing_is_kept_of_what_is_over(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """A million replays cost no more memory than one, however they end, and a stale end takes nothing from the next."""
    begun(buffer).complete()
    begun(buffer).abort()
    buffer.begin_snapshot("ann")
    clock.now += 30.0
    buffer.expire_overdue()
    journal = buffer._journal
    assert journal.meter._since == {}
    begun(buffer)
    journal.tell("ann", ReplayCompleted(1), 1, clock.now)  # another thread comes late to tell of its completion
    assert journal.meter._since == {"ann": (4, clock.now)}


@pytest.mark.parametrize("broken", [float("nan"), "noon", ZeroDivisionError])
def test_a_clock_that_breaks_breaks_no_replay(broken: Any) -> None:
    """A completion that was recorded succeeds, and has no duration."""

    def clock() -> Any:
        if times and isinstance(times[0], type):
            raise times[0]("the clock")
        return times[0] if times else 100.0

    times: list[Any] = []
    buffer: ReplayBuffer[Any] = ReplayBuffer(clock=clock)
    buffer.add_measurement("ann", 1)
    version = buffer.begin_snapshot("ann")
    buffer.finalize_snapshot("ann", version)
    journal = buffer._journal
    times.append(broken)
    outcome = journal.record("ann", CompleteReplay(version))
    assert outcome.after.phase == "idle"
    if not isinstance(broken, type):
        assert buffer.metrics().seconds_since_completed is None
    times.clear()
    metrics = buffer.metrics()
    assert (metrics.completed, metrics.replay_duration.count, metrics.seconds_since_completed) == (1, 0, None)


def test_a_clock_that_is_set_back_gives_no_negative_time(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """What ends before it began took no time."""
    frozen = begun(buffer)
    clock.now -= 50.0
    frozen.complete()
    assert buffer.metrics().replay_duration == Durations(1, 0.0, 0.0, 0.0)
    clock.now -= 50.0
    assert buffer.metrics().seconds_since_completed == 0.0


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (repr(ValueError("bad window")), "ValueError"),
        ("OSError(two\nlines)", "OSError"),
        ("KeyError()", "KeyError"),
        ("psycopg.errors.DeadlockDetected('x')", "psycopg.errors.DeadlockDetected"),
        ("database is away", "database is away"),
        ("database (the old one) is away", "database (the old one) is away"),
        ("2(x)", "2(x)"),
        ("", "no reason given"),
        ("  ", "no reason given"),
        ("x" * 1000, "x" * MOST_LETTERS),
        ("x" * 1000 + "()", "x" * MOST_LETTERS),
    ],
)
def test_aborts_count_by_the_kind_of_their_reason(buffer: ReplayBuffer[Any], reason: str, kind: str) -> None:
    """An error counts by its class and not by its message; other reasons by their text, cut to a length."""
    begun(buffer).abort(reason)
    assert kind_of(reason) == kind
    assert buffer.metrics().aborted == {kind: 1}


def test_half_a_letter_in_a_reason_does_not_stop_the_export() -> None:
    """What counts can be written as UTF-8, whatever the application gave as a reason."""
    assert kind_of("half \ud800") == "half ?"


def test_reasons_without_end_need_no_memory_without_end(buffer: ReplayBuffer[Any]) -> None:
    """After so many kinds all that are new count together, and the known ones go on by themselves."""
    for number in range(MOST_KINDS + 20):
        begun(buffer).abort(f"reason {number}")
    begun(buffer).abort("reason 0")
    aborted = buffer.metrics().aborted
    assert len(aborted) == MOST_KINDS + 1
    assert aborted["other"] == 20
    assert aborted["reason 0"] == 2
    aborted.clear()
    assert len(buffer.metrics().aborted) == MOST_KINDS + 1, "it handed out its own dictionary"


def test_threads_count_every_event_once(clock: Clock) -> None:
    """Replays of different users in several threads are each counted once."""
    threads, each = 4, 50
    buffer: ReplayBuffer[int] = ReplayBuffer(clock=clock)
    barrier = Barrier(threads)

    def replay(user_id: str) -> None:
        barrier.wait()
        for number in range(each):
            buffer.add_measurement(user_id, number)
            with buffer.snapshot(user_id):
                pass

    running = [Thread(target=replay, args=(f"user-{number}",)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    metrics = buffer.metrics()
    assert (metrics.begun, metrics.completed, metrics.added, metrics.replayed) == (threads * each,) * 4
    assert metrics.replay_duration.count == metrics.snapshot_duration.count == threads * each


def test_adds_and_evictions_tell_nobody(clock: Clock) -> None:
    """The add path pays nothing: neither an add, decided or not, nor an eviction comes by any observer."""
    buffer: ReplayBuffer[int] = ReplayBuffer(
        config=BufferConfig(max_measurements=2), clock=clock, on_evict=lambda *_: None
    )
    told: list[Occurrence] = []
    buffer._observe(told.append)
    buffer.add_measurements("ann", [1, 2, 3, 4])
    buffer.add_measurement("ann", 5)
    assert any(isinstance(recorded.event, MeasurementsEvicted) for recorded in buffer.events("ann"))
    assert told == []
    begun(buffer).abort("why")  # type: ignore[arg-type]
    assert [type(each.event) for each in told][:3] == [SnapshotBegun, SnapshotFinalized, AbortBegun]
    assert told[2] == Occurrence("ann", AbortBegun(1, "why"), 1, "why", 100.0, None)


def test_what_observers_are_told_is_what_was_recorded(clock: Clock) -> None:
    """Every lifecycle event in the log, in its order, each once; and what recorded nothing tells nothing."""
    log = MemoryLog[Any](keep_history=True)
    buffer = ReplayBuffer(log, clock=clock, on_abort=lambda *_: None)
    told: list[Occurrence] = []
    buffer._observe(told.append)
    buffer.add_measurements("ann", [1, 2])
    begun(buffer).abort("why")
    buffer.schedule_retry("ann", 200.0)
    begun(buffer).complete()
    buffer.begin_snapshot("ann")
    clock.now += 30.0
    buffer.state("ann")
    buffer.state("ann")
    buffer.clear_buffer("ann", through=0)
    buffer.clear_buffer("ann")
    buffer.park("ann", "tired")
    buffer.release("ann")
    recorded = [each.event for each in buffer.events("ann", 2)]
    assert [each.event for each in told] == recorded
    expired = next(each for each in told if isinstance(each.event, SnapshotExpired))
    assert (expired.version, expired.reason, expired.at) == (3, "expired", 130.0)


def test_an_observer_that_raises_breaks_nothing(buffer: ReplayBuffer[Any]) -> None:
    """Who only watches cannot make a replay fail, nor keep others from watching."""

    def broken(_occurrence: Occurrence) -> None:
        raise RuntimeError("no")

    told: list[Occurrence] = []
    buffer._observe(broken)
    buffer._observe(told.append)
    with buffer.snapshot("ann") as frozen:
        assert len(frozen) == 3
    assert buffer.metrics().completed == 1
    assert len(told) == 3


def test_truncation_while_it_adds_up_is_borne(clock: Clock) -> None:
    """A user whose history is cut off between the two looks is looked at again; one that is gone counts for nothing."""

    class Overtaken(Elsewhere):
        overtakes = 0

        def checkpoint(self, stream: str, at: int | None = None) -> Checkpoint | None:
            self.overtakes += 1
            if self.overtakes == 1:
                raise TruncatedError(stream, 0, 1)
            if self.overtakes == 2:
                self.gone = True
                raise TruncatedError(stream, 0, 1)
            return super().checkpoint(stream, at)

        gone = False

        def position(self, stream: str) -> Position | None:
            return None if self.gone else super().position(stream)

    log = Overtaken()
    ReplayBuffer(log, clock=clock).add_measurements("ann", [1, 2])
    log.overtakes, log.gone = 0, False
    stranger = ReplayBuffer(log, clock=clock)
    assert totals(stranger._journal).added == 2
    assert log.overtakes == 3
    assert totals(stranger._journal).users == 1


def test_a_closed_buffer_has_no_metrics(buffer: ReplayBuffer[Any]) -> None:
    """As with every other call."""
    assert isinstance(buffer.metrics(), Metrics)
    buffer.close()
    with pytest.raises(BufferClosedError):
        buffer.metrics()


def test_its_benchmark_has_a_figure_for_each_claim() -> None:
    """Adds of an instrumented buffer beside one that is not, and `metrics()` by the number of users."""
    rows = list(metering(TINY))
    assert [row.what.split()[0].strip(",") for row in rows] == ["add", "begin", "metrics()", "metrics()"]
    assert rows[0].most_ratio == 1.05
    assert all(row.holdover > 0 for row in rows)


SUMS = ("added", "replayed", "evicted", "cleared", "live", "pending")


@pytest.mark.parametrize("known", [True, False])
def test_the_sums_are_those_of_all_users(known: bool) -> None:
    """Whatever phase they are in, and whether this buffer has recorded it or finds it on the log."""

    def fails(user_id: str, version: int, reason: str) -> None:
        raise OSError("away")

    config = BufferConfig(max_measurements=3, pending_factor=1)
    buffer: ReplayBuffer[int] = ReplayBuffer(MemoryLog(), config, on_abort=fails)
    users = [kind + number for number in "12" for kind in ("idle", "cleared", "replaying", "snapshotting", "aborting")]
    for user_id in users:
        for number in range(9):
            buffer.add_measurement(user_id, number)
        if user_id.startswith("cleared"):
            buffer.clear_buffer(user_id)
        if user_id[:-1] in ("replaying", "snapshotting", "aborting"):
            with buffer.snapshot(user_id):
                buffer.add_measurement(user_id, 9)
            buffer.begin_snapshot(user_id)
        if user_id.startswith("replaying"):
            buffer.finalize_snapshot(user_id)
        for number in range(8):
            buffer.add_measurement(user_id, number)
        if user_id.startswith("aborting"):
            with pytest.raises(RollbackError):
                buffer.abort_snapshot(user_id)
            buffer.add_measurement(user_id, 8)
    metrics = (buffer if known else ReplayBuffer(buffer._log, config)).metrics()
    states = [buffer.state(user_id) for user_id in users]
    expected = {name: sum(getattr(state, name) for state in states) for name in SUMS}
    assert {name: getattr(metrics, name) for name in SUMS} == expected
    assert {type(getattr(metrics, name)) for name in SUMS} == {int}
    assert all(expected.values())
    assert (metrics.users, metrics.in_progress, metrics.aborting) == (10, 4, 2)


def test_sums_of_what_is_truncated_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay that completes while they are added up: the user is counted as it is then."""
    buffer: ReplayBuffer[int] = ReplayBuffer()
    buffer.add_measurements("ann", [1, 2, 3])
    frozen = begun(buffer)
    other: ReplayBuffer[int] = ReplayBuffer(buffer._log)
    state_at = other._journal.state_at

    def overtaken(user_id: str, head: int) -> Any:
        monkeypatch.undo()
        frozen.complete()
        buffer.add_measurement("ann", 4)
        return state_at(user_id, head)

    monkeypatch.setattr(other._journal, "state_at", overtaken)
    metrics = other.metrics()
    assert (metrics.added, metrics.replayed, metrics.live) == (4, 3, 1)


def test_adds_that_evict_nothing_are_all_counted() -> None:
    """Also those that were taken within the room that the latest decision had left."""
    buffer: ReplayBuffer[int] = ReplayBuffer()
    for number in range(4):
        buffer.add_measurement("ann", number)
    metrics = buffer.metrics()
    assert (metrics.added, metrics.live, metrics.evicted) == (4, 4, 0)


def test_sums_of_what_another_buffer_has_decided() -> None:
    """What this buffer recorded last is not counted on from there, once another one has gone on."""
    first: ReplayBuffer[int] = ReplayBuffer()
    first.add_measurements("ann", [1, 2, 3])
    second: ReplayBuffer[int] = ReplayBuffer(first._log)
    begun(second).complete()
    second.add_measurement("ann", 4)
    metrics = first.metrics()
    assert (metrics.added, metrics.replayed, metrics.live) == (4, 3, 1)
