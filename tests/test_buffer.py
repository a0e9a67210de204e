"""The public shell: its arguments, its errors, its hooks, and time."""

from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest

import statemachine
from events import Grant, MeasurementAdded, MeasurementsEvicted, MemoryLog, Recorded, SnapshotBegun, SnapshotExpired
from statemachine import (
    BufferClosedError,
    BufferConfig,
    BufferFullError,
    EvictHookError,
    FrozenSnapshot,
    IllegalTriggerError,
    InvalidArgumentError,
    NoSnapshotError,
    ReplayBuffer,
    ReplayBufferError,
    RollbackError,
    SnapshotInProgressError,
    StaleSnapshotError,
    TruncatedHistoryError,
    UnknownUserError,
)


class Clock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buffer(clock: Clock) -> ReplayBuffer[Any]:
    """A buffer in which ann has three measurements."""
    buffer: ReplayBuffer[Any] = ReplayBuffer(config=BufferConfig(max_measurements=5), clock=clock)
    buffer.add_measurements("ann", [1, 2, 3])
    return buffer


# Bad input: a clear error, and nothing changes.

TAKES_A_USER = {
    "add_measurement": (1,),
    "add_measurements": ([1],),
    "begin_snapshot": (),
    "finalize_snapshot": (),
    "complete_replay": (),
    "renew_lease": (),
    "abort_snapshot": (),
    "clear_buffer": (),
    "measurements": (),
    "pending": (),
    "state": (),
    "events": (),
    "state_at": (0,),
    "audit": (),
}


@pytest.mark.parametrize("user_id", ["", None, 7, b"ann", ["ann"], ("ann",)])
@pytest.mark.parametrize("method", TAKES_A_USER)
def test_a_user_id_is_a_non_empty_string(buffer: ReplayBuffer[Any], method: str, user_id: Any) -> None:
    """An empty or non-string user id is refused by every call, and no such user comes into being."""
    with pytest.raises(InvalidArgumentError, match="a user id must be a non-empty string, not "):
        getattr(buffer, method)(user_id, *TAKES_A_USER[method])
    assert list(buffer.users()) == ["ann"]


@pytest.mark.parametrize("method", [name for name in TAKES_A_USER if not name.startswith("add")])
def test_an_unknown_user_is_refused(buffer: ReplayBuffer[Any], method: str) -> None:
    """Asking for a user that never had a measurement says so, instead of making one up."""
    with pytest.raises(UnknownUserError, match="user 'bob': no measurement was ever added"):
        getattr(buffer, method)("bob", *TAKES_A_USER[method])
    with pytest.raises(UnknownUserError), buffer.snapshot("bob"):
        pytest.fail("a snapshot of nobody")
    assert list(buffer.users()) == ["ann"]


@pytest.mark.parametrize("version", ["1", 1.0, True, b"1", [1]])
@pytest.mark.parametrize("method", ["finalize_snapshot", "complete_replay", "renew_lease", "abort_snapshot"])
def test_a_version_is_a_whole_number(buffer: ReplayBuffer[Any], method: str, version: Any) -> None:
    """A version of another type is refused, not compared."""
    buffer.begin_snapshot("ann")
    before = buffer.state("ann")
    with pytest.raises(InvalidArgumentError, match="user 'ann': a version must be a whole number, not"):
        getattr(buffer, method)("ann", version=version)
    assert buffer.state("ann") == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_measurements", 0),
        ("max_measurements", -1),
        ("max_measurements", 2.5),
        ("max_measurements", True),
        ("max_measurements", "100"),
        ("pending_factor", -1),
        ("pending_factor", 0),
        ("pending_factor", float("nan")),
        ("snapshot_timeout", float("nan")),
        ("snapshot_timeout", -30),
        ("snapshot_timeout", "30"),
        ("replay_timeout", float("inf")),
        ("replay_timeout", True),
        ("on_overflow", "drop"),
        ("on_overflow", None),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    """Negative, NaN, infinite or wrongly typed configuration is refused when made, by name."""
    with pytest.raises(InvalidArgumentError, match=f"{name} must be .*, not "):
        BufferConfig(**{name: value})


def test_a_configuration_is_a_buffer_config() -> None:
    """A dict in place of the configuration is refused."""
    with pytest.raises(InvalidArgumentError, match="config must be a BufferConfig"):
        ReplayBuffer(config={"max_measurements": 5})  # type: ignore[arg-type]


def test_the_configuration_can_be_read(buffer: ReplayBuffer[Any]) -> None:
    """A buffer says what it was configured with; the pending bound is at least one."""
    assert buffer.config.max_measurements == 5
    assert BufferConfig(max_measurements=1, pending_factor=0.1).pending_bound == 1


def test_all_errors_have_one_base() -> None:
    """Whatever is refused can be caught as `ReplayBufferError`."""
    errors = [value for name, value in vars(statemachine).items() if name.endswith("Error")]
    assert len(errors) >= 13
    assert all(issubclass(error, ReplayBufferError) for error in errors)


def test_a_batch_whose_source_raises_half_way_is_not_added(buffer: ReplayBuffer[Any]) -> None:
    """Nothing of it is added, and the source's own error comes through."""

    def source() -> Iterator[int]:
        yield 4
        raise OSError("sensor is gone")

    with pytest.raises(OSError, match="sensor is gone"):
        buffer.add_measurements("ann", source())
    with pytest.raises(InvalidArgumentError, match="must be an iterable"):
        buffer.add_measurements("ann", 4)  # type: ignore[arg-type]
    assert buffer.measurements("ann") == [1, 2, 3]


def test_an_empty_batch_records_nothing(buffer: ReplayBuffer[Any]) -> None:
    """No measurement, no event, no user."""
    assert buffer.add_measurements("ann", []) == range(3, 3)
    assert buffer.add_measurements("bob", []) == range(0)
    assert list(buffer.users()) == ["ann"]


def test_any_object_is_a_measurement(buffer: ReplayBuffer[Any]) -> None:
    """None, events and what the log itself works with come back as they went in."""
    odd = [
        None,
        MeasurementAdded(1),
        Recorded(0, MeasurementsEvicted(0, 9)),
        MeasurementsEvicted(0, 9),
        [],
        float("nan"),
    ]
    for measurement in odd:
        buffer.add_measurement("odd", measurement)
    buffer.add_measurements("odder", odd)
    assert buffer.measurements("odd") == odd[1:]
    assert buffer.measurements("odder") == odd[1:]


def test_wrong_order_of_calls_is_refused_with_what_to_do(buffer: ReplayBuffer[Any]) -> None:
    """Finalize before begin, complete before finalize, twice, abort when idle: each is refused and changes nothing."""
    for call in (buffer.finalize_snapshot, buffer.complete_replay, buffer.abort_snapshot, buffer.renew_lease):
        with pytest.raises(NoSnapshotError, match=r"user 'ann': cannot .* while idle; no snapshot is in progress"):
            call("ann")
    version = buffer.begin_snapshot("ann")
    with pytest.raises(SnapshotInProgressError, match="wait until snapshot 1 is completed, or abort it"):
        buffer.begin_snapshot("ann")
    with pytest.raises(SnapshotInProgressError):
        buffer.clear_buffer("ann")
    with pytest.raises(IllegalTriggerError, match="finalize_snapshot comes first"):
        buffer.complete_replay("ann")
    frozen = buffer.finalize_snapshot("ann", version)
    with pytest.raises(IllegalTriggerError, match="cannot finalize_snapshot while replaying"):
        buffer.finalize_snapshot("ann")
    frozen.complete()
    with pytest.raises(StaleSnapshotError, match="snapshot 1 is over"):
        frozen.complete()
    with pytest.raises(InvalidArgumentError, match="reason must be a string"):
        buffer.abort_snapshot("ann", reason=7)  # type: ignore[arg-type]
    assert (buffer.state("ann").replayed, buffer.state("ann").live) == (3, 0)


def test_a_closed_buffer_refuses(buffer: ReplayBuffer[Any]) -> None:
    """After close every call is refused, adds of known users too."""
    with buffer:
        pass
    calls = (
        lambda: buffer.add_measurement("ann", 4),
        lambda: buffer.state("ann"),
        buffer.users,
        buffer.expire_overdue,
    )
    for call in calls:
        with pytest.raises(BufferClosedError, match="make a new one on the log"):
            call()


# Rule 3 and 4: the freeze point is the begin; only completion clears.


def test_what_arrives_after_the_begin_is_pending(buffer: ReplayBuffer[Any]) -> None:
    """Between begin and finalize the application takes its own snapshot; what arrives then is not in the replay."""
    buffer.begin_snapshot("ann", timestamp="noon")
    buffer.add_measurement("ann", 4)
    frozen = buffer.finalize_snapshot("ann")
    buffer.add_measurement("ann", 5)
    assert list(frozen) == [1, 2, 3]
    assert (frozen.start, frozen.stop, frozen.version, frozen.timestamp) == (0, 3, 1, "noon")
    assert buffer.pending("ann") == [4, 5]
    frozen.complete()
    assert buffer.measurements("ann") == [4, 5]
    assert buffer.pending("ann") == []


def test_the_clock_is_the_timestamp_where_none_is_given(buffer: ReplayBuffer[Any]) -> None:
    """A snapshot without a timestamp of the application's has the time of its begin."""
    with buffer.snapshot("ann") as frozen:
        assert frozen.timestamp == 100.0


@pytest.mark.parametrize("end", ["abort", "expire", "error"])
def test_a_failed_replay_moves_nothing(buffer: ReplayBuffer[Any], clock: Clock, end: str) -> None:
    """Aborted, expired or failed: frozen and pending are simply live again, in their old order."""
    if end == "error":
        with pytest.raises(OSError, match="away"), buffer.snapshot("ann"):
            buffer.add_measurement("ann", 4)
            raise OSError("away")
    else:
        frozen = _begun(buffer)
        buffer.add_measurement("ann", 4)
        if end == "abort":
            frozen.abort("no")
        else:
            clock.now += 300
    assert buffer.measurements("ann") == [1, 2, 3, 4]
    assert buffer.state("ann").phase == "idle"
    assert buffer.state("ann").committed == 0


def _begun(buffer: ReplayBuffer[Any]) -> FrozenSnapshot[Any]:
    return buffer.finalize_snapshot("ann", buffer.begin_snapshot("ann"))


def test_settling_a_snapshot_inside_its_block_is_fine(buffer: ReplayBuffer[Any]) -> None:
    """A block may complete or abort by itself; leaving it then does nothing more."""
    with buffer.snapshot("ann") as frozen:
        frozen.abort("changed my mind")
    assert buffer.measurements("ann") == [1, 2, 3]
    with buffer.snapshot("ann") as frozen:
        frozen.complete()
        assert frozen.settled
    assert buffer.measurements("ann") == []


def test_an_error_in_a_block_that_expired_is_the_one_raised(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """The application's own error matters more than that its snapshot is stale."""
    with pytest.raises(OSError, match="away"), buffer.snapshot("ann"):
        clock.now += 300
        raise OSError("away")
    assert buffer.measurements("ann") == [1, 2, 3]


def test_clearing_drops_what_is_live_and_counts_it(buffer: ReplayBuffer[Any]) -> None:
    """A cleared buffer is empty, its user still known, and what was dropped is counted."""
    buffer.clear_buffer("ann")
    buffer.add_measurement("ann", 4)
    assert buffer.measurements("ann") == [4]
    assert (buffer.state("ann").cleared, buffer.state("ann").committed) == (3, 3)
    assert buffer.audit("ann").ok


# Rule 5: fencing.


def test_a_zombie_changes_nothing_of_the_next_snapshot(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """A replay that was given up, and wakes up when another has begun, is refused and reads only its own."""
    zombie = _begun(buffer)
    clock.now += 300
    buffer.add_measurement("ann", 4)
    current = _begun(buffer)
    before = buffer.state("ann")
    for operation in (zombie.complete, zombie.abort, zombie.renew):
        with pytest.raises(StaleSnapshotError, match="snapshot 1 is over; snapshot 2 has begun since"):
            operation()
    assert buffer.state("ann") == before
    assert list(zombie) == [1, 2, 3]
    current.complete()
    with pytest.raises(StaleSnapshotError, match="no longer kept in the log"):
        list(zombie)
    with pytest.raises(StaleSnapshotError):
        zombie[0]


def test_a_stale_snapshot_reads_its_own_where_history_is_kept() -> None:
    """Where the log keeps history, a completed snapshot can be read for ever."""
    buffer: ReplayBuffer[int] = ReplayBuffer(MemoryLog(keep_history=True))
    buffer.add_measurements("ann", range(5))
    frozen = _begun(buffer)
    frozen.complete()
    buffer.add_measurements("ann", range(5, 9))
    assert list(frozen) == list(range(5))


# Rule 6: timeouts.


@pytest.mark.parametrize("touch", ["state", "measurements", "pending", "audit", "events", "begin_snapshot"])
def test_an_overdue_snapshot_expires_when_its_user_is_touched(
    buffer: ReplayBuffer[Any], clock: Clock, touch: str
) -> None:
    """A snapshot not finalized within 30 s stands in nobody's way."""
    buffer.begin_snapshot("ann")
    clock.now += 29.9
    assert buffer.state("ann").phase == "snapshotting"
    clock.now += 0.1
    getattr(buffer, touch)("ann")
    assert buffer.state("ann").phase == ("snapshotting" if touch == "begin_snapshot" else "idle")
    kinds = [type(recorded.event) for recorded in buffer.events("ann")]
    assert kinds.count(SnapshotExpired) == 1


@pytest.mark.parametrize("batch", [False, True])
def test_an_add_expires_an_overdue_snapshot_too(buffer: ReplayBuffer[Any], clock: Clock, batch: bool) -> None:
    """An add touches its user: it is recorded, and the overdue snapshot is over."""
    buffer.begin_snapshot("ann")
    clock.now += 30
    if batch:
        buffer.add_measurements("ann", [4])
    else:
        buffer.add_measurement("ann", 4)
    assert [type(recorded.event).__name__ for recorded in buffer.events("ann", 3)] == [
        "SnapshotBegun",
        "SnapshotExpired",
        "AbortFinished",
        "MeasurementAdded",
    ]


def test_the_sweep_expires_what_nobody_touches(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """Without a touch the sweep ends what is overdue, and nothing else."""
    buffer.add_measurement("bob", 1)
    buffer.begin_snapshot("ann")
    clock.now += 15
    buffer.begin_snapshot("bob")
    clock.now += 15
    assert buffer.expire_overdue() == ["ann"]
    assert buffer.expire_overdue() == []
    assert buffer.state("bob").phase == "snapshotting"


def test_a_lease_is_renewed_from_now_on(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """Renewing gives the replay its full time again; the sweep goes by the new deadline."""
    frozen = _begun(buffer)
    clock.now += 200
    frozen.renew()
    assert buffer.state("ann").deadline == 600
    clock.now += 200
    assert buffer.expire_overdue() == []
    clock.now += 100
    assert buffer.expire_overdue() == ["ann"]


def test_deadlines_survive_a_restart(clock: Clock) -> None:
    """They are in the events: a new buffer on the log expires what the old one left."""
    log: MemoryLog[int] = MemoryLog()
    old = ReplayBuffer(log, clock=clock)
    old.add_measurement("ann", 1)
    old.begin_snapshot("ann")
    new = ReplayBuffer(log, clock=clock)
    assert new.state("ann") == old.state("ann")
    clock.now += 30
    assert new.expire_overdue() == ["ann"]
    assert old.state("ann").phase == "idle"


# Rule 7: aborting.


def test_the_rollback_runs_in_aborting_and_outside_every_lock(clock: Clock) -> None:
    """The hook sees the user in `aborting` and may add, read, and wait for another thread that does."""
    seen = []

    def on_abort(user_id: str, version: int, reason: str) -> None:
        buffer.add_measurement(user_id, 2)
        thread = Thread(target=buffer.add_measurement, args=(user_id, 3))
        thread.start()
        thread.join()
        with pytest.raises(SnapshotInProgressError):
            buffer.begin_snapshot(user_id)
        seen.append((user_id, version, reason, buffer.state(user_id).phase))

    buffer: ReplayBuffer[int] = ReplayBuffer(clock=clock, on_abort=on_abort)
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    buffer.abort_snapshot("ann", "why not")
    assert seen == [("ann", 1, "why not", "aborting")]
    assert buffer.state("ann").phase == "idle"
    assert buffer.measurements("ann") == [1, 2, 3]


@pytest.mark.parametrize("how", ["abort", "touch", "add", "sweep"])
def test_a_failing_rollback_leaves_the_user_in_aborting_until_the_sweep(clock: Clock, how: str) -> None:
    """The error can be seen, measurements still arrive, and the sweep tries again until it works."""
    failures = [OSError("still away"), OSError("away")]
    calls = []

    def on_abort(user_id: str, version: int, reason: str) -> None:
        calls.append(reason)
        if failures:
            raise failures.pop()

    buffer: ReplayBuffer[int] = ReplayBuffer(clock=clock, on_abort=on_abort)
    buffer.add_measurement("ann", 1)
    version = buffer.begin_snapshot("ann")
    if how == "abort":
        with pytest.raises(RollbackError, match="no measurement is lost") as caught:
            buffer.abort_snapshot("ann", "expired")
        assert str(caught.value.__cause__) == "away"
    else:
        clock.now += 30
        {
            "touch": lambda: buffer.state("ann"),
            "add": lambda: buffer.add_measurement("ann", 0),
            "sweep": buffer.expire_overdue,
        }[how]()
    assert buffer.state("ann").phase == "aborting"
    assert str(buffer.abort_errors["ann"]) == "away"
    buffer.add_measurement("ann", 2)
    with pytest.raises(SnapshotInProgressError):
        buffer.begin_snapshot("ann")
    with pytest.raises(StaleSnapshotError, match="being aborted"):
        buffer.finalize_snapshot("ann", version)
    assert buffer.expire_overdue() == []
    assert str(buffer.abort_errors["ann"]) == "still away"
    assert buffer.expire_overdue() == ["ann"]
    assert buffer.abort_errors == {}
    assert calls == ["expired"] * 3
    assert buffer.state("ann").phase == "idle"
    assert buffer.measurements("ann")[-1] == 2


def test_a_rollback_is_never_run_by_two_at_once(clock: Clock) -> None:
    """While one thread rolls a user back, another that comes by, and the sweep, leave it alone."""
    calls = []

    def on_abort(user_id: str, version: int, reason: str) -> None:
        calls.append(version)
        moved: list[Any] = []
        thread = Thread(target=lambda: moved.append(buffer.expire_overdue()))
        thread.start()
        thread.join()
        assert moved == [[]]

    buffer: ReplayBuffer[int] = ReplayBuffer(clock=clock, on_abort=on_abort)
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    buffer.abort_snapshot("ann")
    assert calls == [1]


def test_without_a_hook_an_abort_is_over_at_once(buffer: ReplayBuffer[Any]) -> None:
    """Both events are appended together: nobody ever sees the user in `aborting`."""
    buffer.begin_snapshot("ann")
    buffer.abort_snapshot("ann", "why")
    assert [type(recorded.event).__name__ for recorded in buffer.events("ann", 4)] == ["AbortBegun", "AbortFinished"]


# Rule 8: bounded, and never silently.


@pytest.mark.parametrize("count", [1, 3, 300, 1000])
def test_evictions_are_events_and_counted_and_handed_over(count: int) -> None:
    """At the bound each add costs the oldest; the hook gets them all, in order, exactly once."""
    archive: list[int] = []
    config = BufferConfig(max_measurements=5)
    hooked: ReplayBuffer[int] = ReplayBuffer(
        MemoryLog(keep_history=True), config, on_evict=lambda _user, evicted: archive.extend(evicted)
    )
    plain: ReplayBuffer[int] = ReplayBuffer(MemoryLog(keep_history=True), config)
    for number in range(5 + count):
        assert hooked.add_measurement("ann", number) == plain.add_measurement("ann", number)
    assert archive == list(range(count))
    assert hooked.state("ann").evicted == count
    assert hooked.measurements("ann") == list(range(count, count + 5))
    assert list(hooked.events("ann")) == list(plain.events("ann")), "evicting within a grant is not the same"
    assert hooked.state("ann") == plain.state("ann")
    evictions = [recorded.event for recorded in plain.events("ann") if isinstance(recorded.event, MeasurementsEvicted)]
    assert len(evictions) == count


def test_a_batch_larger_than_the_bound_keeps_its_newest() -> None:
    """Of what comes in a batch too the oldest are evicted, each handed over once."""
    archive: list[int] = []
    buffer: ReplayBuffer[int] = ReplayBuffer(
        config=BufferConfig(max_measurements=5), on_evict=lambda _user, evicted: archive.extend(evicted)
    )
    buffer.add_measurements("ann", range(3))
    assert buffer.add_measurements("ann", range(3, 13)) == range(3, 13)
    assert buffer.measurements("ann") == list(range(8, 13))
    assert archive == list(range(8))


def test_frozen_measurements_are_never_evicted(buffer: ReplayBuffer[Any]) -> None:
    """While a snapshot is in progress only what is pending can be evicted, the oldest first."""
    frozen = _begun(buffer)
    for number in range(10, 1000):
        buffer.add_measurement("ann", number)
    assert list(frozen) == [1, 2, 3]
    assert buffer.pending("ann") == list(range(990, 1000))
    frozen.complete()
    assert buffer.measurements("ann") == list(range(990, 1000))
    assert buffer.audit("ann").ok


def test_a_full_buffer_that_rejects_records_nothing() -> None:
    """With `reject` the measurement is refused, the buffer stays as it was, and a replay makes room again."""
    buffer: ReplayBuffer[int] = ReplayBuffer(config=BufferConfig(max_measurements=2, on_overflow="reject"))
    buffer.add_measurements("ann", [1, 2])
    before = buffer.state("ann")
    for call in (lambda: buffer.add_measurement("ann", 3), lambda: buffer.add_measurements("ann", [3])):
        with pytest.raises(BufferFullError, match="user 'ann': 2 measurements are live and 2 may be"):
            call()
    assert buffer.state("ann") == before
    with buffer.snapshot("ann"):
        buffer.add_measurements("ann", range(4))
        with pytest.raises(BufferFullError):
            buffer.add_measurement("ann", 5)
    assert buffer.measurements("ann") == [0, 1, 2, 3]


def test_a_full_buffer_does_not_keep_an_overdue_snapshot(clock: Clock) -> None:
    """A refused add has touched its user all the same: the overdue snapshot is rolled back."""
    calls: list[int] = []
    config = BufferConfig(max_measurements=1, pending_factor=1, on_overflow="reject")
    buffer: ReplayBuffer[int] = ReplayBuffer(config=config, clock=clock, on_abort=lambda _u, v, _r: calls.append(v))
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    buffer.add_measurement("ann", 2)
    clock.now += 30
    with pytest.raises(BufferFullError):
        buffer.add_measurement("ann", 3)
    assert calls == [1]
    assert buffer.state("ann").phase == "idle"


def test_an_eviction_hook_that_raises_does_not_undo_the_add() -> None:
    """The error says that the measurement is recorded, and where."""

    def on_evict(_user_id: str, _evicted: Any) -> None:
        raise OSError("archive is full")

    buffer: ReplayBuffer[int] = ReplayBuffer(config=BufferConfig(max_measurements=1), on_evict=on_evict)
    buffer.add_measurement("ann", 1)
    with pytest.raises(EvictHookError, match="IS recorded, from offset 1 on") as caught:
        buffer.add_measurement("ann", 2)
    assert caught.value.offset == 1
    assert isinstance(caught.value.__cause__, OSError)
    assert buffer.measurements("ann") == [2]


# Rule 1 and 12: history.


def test_history_can_be_read_and_folded_at_every_offset() -> None:
    """`events` gives what happened, `state_at` the state at any offset that is kept."""
    buffer: ReplayBuffer[int] = ReplayBuffer(MemoryLog(keep_history=True), clock=lambda: 5.0)
    buffer.add_measurements("ann", [1, 2])
    with buffer.snapshot("ann", timestamp="noon"):
        buffer.add_measurement("ann", 3)
    history = list(buffer.events("ann"))
    assert [recorded.offset for recorded in history] == list(range(6))
    assert history[2] == Recorded(2, SnapshotBegun(1, "noon", 35.0))
    assert list(buffer.events("ann", 2, 3)) == history[2:3]
    assert [buffer.state_at("ann", offset).phase for offset in range(7)] == [
        *["idle"] * 3,
        "snapshotting",
        *["replaying"] * 2,
        "idle",
    ]
    assert buffer.state_at("ann", 6) == buffer.state("ann")


@pytest.mark.parametrize("offset", [-1, 1.0, "1", True, None])
def test_an_offset_is_a_whole_number(buffer: ReplayBuffer[Any], offset: Any) -> None:
    """Negative or wrongly typed offsets are refused."""
    for call in (lambda: buffer.state_at("ann", offset), lambda: buffer.events("ann", offset)):
        with pytest.raises(InvalidArgumentError, match="an offset must be a whole number of at least 0"):
            call()


def test_an_offset_above_the_head_is_refused(buffer: ReplayBuffer[Any]) -> None:
    """There is no state yet where nothing has happened yet."""
    with pytest.raises(InvalidArgumentError, match="offset 4 is above the head, 3"):
        buffer.state_at("ann", 4)


def test_memory_is_truncated_at_completion(buffer: ReplayBuffer[Any]) -> None:
    """The log in memory keeps nothing that was replayed; a checkpoint stands in for it, and counts stay."""
    with buffer.snapshot("ann"):
        buffer.add_measurement("ann", 4)
    history = list(buffer.events("ann"))
    assert history[0] == Recorded(5, MeasurementAdded(4))
    assert buffer.state_at("ann", 5).phase == "replaying"
    with pytest.raises(TruncatedHistoryError, match="offset 4 was truncated; history is kept from offset 5 on"):
        buffer.state_at("ann", 4)
    assert buffer.state("ann").added == 4
    assert buffer.audit("ann").first == 5


def test_history_that_is_truncated_while_being_read_says_so(buffer: ReplayBuffer[Any]) -> None:
    """A reader that was overtaken by a truncation gets an error, never a gap."""
    for number in range(3000):
        buffer.add_measurement("bob", number)
    buffer.add_measurements("big", range(5))
    many: ReplayBuffer[int] = ReplayBuffer(config=BufferConfig(max_measurements=5000))
    many.add_measurements("ann", range(5000))
    history = many.events("ann")
    assert next(history).offset == 0
    with many.snapshot("ann"):
        pass
    with pytest.raises(TruncatedHistoryError):
        list(history)


@pytest.mark.parametrize("bound", [1, 10, 1000])
def test_an_idle_users_memory_stays_bounded(bound: int) -> None:
    """However much is added and evicted without any replay, the log keeps a bounded part of it."""
    log: MemoryLog[int] = MemoryLog()
    buffer = ReplayBuffer(log, BufferConfig(max_measurements=bound))
    kept = []
    for number in range(20 * max(bound, 256)):
        buffer.add_measurement("ann", number)
        position = log.position("ann")
        assert position is not None
        kept.append(position.head - position.start)
    assert max(kept) <= 4 * bound + 140, "live ones and their evictions, once more before the first cut, and a bit"
    assert kept[-1] <= 2 * bound + 140
    assert buffer.audit("ann").ok
    assert len(log.tails["ann"].marks) <= 8


def test_what_is_cut_off_at_the_bound_can_be_folded_from_there() -> None:
    """While a full idle user goes on evicting, the log cuts itself; every offset that is kept has its state."""
    log: MemoryLog[int] = MemoryLog()
    kept: ReplayBuffer[int] = ReplayBuffer(MemoryLog(keep_history=True), BufferConfig(max_measurements=7))
    buffer = ReplayBuffer(log, BufferConfig(max_measurements=7))
    starts = set()
    for number in range(300):
        assert buffer.add_measurement("ann", number) == kept.add_measurement("ann", number)
        checkpoint = log.checkpoint("ann")
        start = checkpoint.offset if checkpoint else 0
        starts.add(start)
        assert buffer.state_at("ann", start) == kept.state_at("ann", start)
        assert list(buffer.events("ann")) == list(kept.events("ann", start))
        assert buffer.audit("ann").ok
        assert ReplayBuffer(log).state("ann") == kept.state("ann")
    assert len(starts) > 3, "nothing was cut off"
    with buffer.snapshot("ann") as frozen:
        assert list(frozen) == list(range(293, 300))


def test_two_buffers_on_one_log_agree(clock: Clock) -> None:
    """Whoever appends, whatever bound it was configured with, the other sees it, and both states are equal."""
    log: MemoryLog[int] = MemoryLog()
    small = ReplayBuffer(log, BufferConfig(max_measurements=3), clock=clock)
    large = ReplayBuffer(log, BufferConfig(max_measurements=50), clock=clock)
    for number in range(400):
        (small if number % 3 else large).add_measurement("ann", number)
        if number % 40 == 7:
            small.begin_snapshot("ann")
        if number % 40 == 9:
            list(large.finalize_snapshot("ann"))
        if number % 40 == 20:
            large.complete_replay("ann")
        assert small.state("ann") == large.state("ann")
    assert large.audit("ann").ok
    assert small.audit("ann").ok


@pytest.mark.parametrize("other", ["hook", "reject", "smaller"])
def test_a_buffer_adds_within_no_grant_but_its_own(other: str) -> None:
    """A new buffer on an old log goes by its own bound, policy and hook from its first add on."""
    log: MemoryLog[int] = MemoryLog()
    with ReplayBuffer(log, BufferConfig(max_measurements=10)) as old:
        old.add_measurements("ann", range(10))
        for number in range(10, 13):
            old.add_measurement("ann", number)
    archive: list[int] = []
    if other == "hook":
        hooked = ReplayBuffer(log, old.config, on_evict=lambda _user, gone: archive.extend(gone))
        hooked.add_measurement("ann", 13)
        hooked.add_measurements("ann", [14, 15])
        assert archive == [3, 4, 5]
    elif other == "reject":
        rejecting = ReplayBuffer(log, BufferConfig(max_measurements=10, on_overflow="reject"))
        with pytest.raises(BufferFullError):
            rejecting.add_measurement("ann", 13)
    else:
        log.append("bob", [MeasurementAdded(0)], expected_head=0, grant=Grant(room=100, issuer=old._journal.issuer))
        smaller = ReplayBuffer(log, BufferConfig(max_measurements=2))
        for number in range(1, 5):
            smaller.add_measurement("bob", number)
        assert smaller.measurements("bob") == [3, 4]
    alike = ReplayBuffer(log, BufferConfig(max_measurements=10))
    assert alike.add_measurement("cyd", 1) == 0
    assert ReplayBuffer(log, BufferConfig(max_measurements=10)).add_measurement("cyd", 2) == 1


def test_memory_stays_bounded_while_replays_keep_failing() -> None:
    """Replays that fail again and again, with or without anything to replay, do not make the log grow for ever."""
    log: MemoryLog[int] = MemoryLog()
    buffer = ReplayBuffer(log, BufferConfig(max_measurements=20))
    buffer.add_measurement("bob", 1)
    buffer.clear_buffer("bob")
    kept = []
    for _ in range(200):
        for number in range(10):
            buffer.add_measurement("ann", number)
        for user_id in ("ann", "bob"):
            buffer.begin_snapshot(user_id)
            buffer.abort_snapshot(user_id)
            kept.append(len(log.tails[user_id].items))
    assert max(kept) < 400
    assert buffer.audit("ann").ok


@pytest.mark.parametrize("time", [float("nan"), float("inf"), None, "noon", True, 1j])
def test_a_clock_that_gives_no_time_is_refused(time: Any) -> None:
    """A deadline that is no number would never come, so nothing is recorded with it."""
    buffer: ReplayBuffer[int] = ReplayBuffer(clock=lambda: time)
    buffer.add_measurement("ann", 1)
    for call in (lambda: buffer.begin_snapshot("ann"), buffer.expire_overdue):
        with pytest.raises(InvalidArgumentError, match="the clock must give a finite number of seconds"):
            call()
    assert list(buffer.events("ann")) == [Recorded(0, MeasurementAdded(1))]


@pytest.mark.parametrize("wrong", [{"log": {}}, {"clock": 5}, {"on_abort": 5}, {"on_evict": "hook"}])
def test_what_a_buffer_is_made_of_is_checked(wrong: dict[str, Any]) -> None:
    """A configuration dict in place of the log, or a hook that is no function, is refused at once."""
    with pytest.raises(InvalidArgumentError, match=" must be "):
        ReplayBuffer(**wrong)


def test_what_was_evicted_is_handed_over_though_the_rollback_is_interrupted(clock: Clock) -> None:
    """A rollback that ends the thread does not swallow the hand-over of what the add has evicted."""
    archive: list[int] = []

    def on_abort(*_: Any) -> None:
        raise SystemExit

    config = BufferConfig(max_measurements=1, pending_factor=1)
    buffer: ReplayBuffer[int] = ReplayBuffer(
        config=config, clock=clock, on_abort=on_abort, on_evict=lambda _user, gone: archive.extend(gone)
    )
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    buffer.add_measurement("ann", 2)
    clock.now += 30
    with pytest.raises(SystemExit):
        buffer.add_measurement("ann", 3)
    assert archive == [2]
    assert buffer.measurements("ann") == [1, 3]


def test_an_error_that_cannot_be_shown_aborts_all_the_same(buffer: ReplayBuffer[Any]) -> None:
    """The reason of the abort falls back on the error's kind."""

    class Unspeakable(Exception):  # noqa: N818 - as bad as can be
        def __repr__(self) -> str:
            raise RuntimeError

    with pytest.raises(Unspeakable), buffer.snapshot("ann"):
        raise Unspeakable
    assert buffer.state("ann").phase == "idle"


def test_waiting_for_a_rollback_says_what_helps(clock: Clock) -> None:
    """In `aborting` there is nothing to complete or abort: the sweep tries the rollback again."""

    def on_abort(*_: Any) -> None:
        raise OSError("away")

    buffer: ReplayBuffer[int] = ReplayBuffer(clock=clock, on_abort=on_abort)
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    with pytest.raises(RollbackError):
        buffer.abort_snapshot("ann")
    with pytest.raises(SnapshotInProgressError, match=r"expire_overdue\(\) tries it again"):
        buffer.begin_snapshot("ann")
