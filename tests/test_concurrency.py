"""Races, made to happen: another writer gets in between what a call has read and what it appends."""

import sys
from collections.abc import Callable, Sequence
from threading import Barrier, Thread
from typing import Any

import pytest

from events import Event, Grant, MemoryLog, Recorded
from statemachine import (
    BufferConfig,
    ReplayBuffer,
    SnapshotInProgressError,
    StaleSnapshotError,
)


class Interrupted(MemoryLog[int]):
    """Runs what `between` holds, once, just before the next append, truncation or read: as another thread would."""

    def __init__(self, *, keep_history: bool = False) -> None:
        super().__init__(keep_history=keep_history)
        self.between: dict[str, Callable[[], object]] = {}

    def _interrupt(self, where: str) -> None:
        if where in self.between:
            self.between.pop(where)()

    def append(
        self, stream: str, events: Sequence[Event], *, expected_head: int, grant: Grant = Grant(), **kept: Any
    ) -> int:
        self._interrupt("append")
        return super().append(stream, events, expected_head=expected_head, grant=grant)

    def controls(self, stream: str, start: int = 0, stop: int | None = None) -> Any:
        self._interrupt("controls")
        return super().controls(stream, start, stop)

    def measurements(self, stream: str, offsets: range) -> Sequence[int]:
        self._interrupt("measurements")
        return super().measurements(stream, offsets)

    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Any:
        self._interrupt("read")
        return super().read(stream, start, stop)

    def position(self, stream: str) -> Any:
        self._interrupt("position")
        return super().position(stream)


@pytest.fixture
def log() -> Interrupted:
    return Interrupted()


@pytest.fixture
def buffer(log: Interrupted) -> ReplayBuffer[int]:
    buffer = ReplayBuffer(log, BufferConfig(max_measurements=10))
    buffer.add_measurements("ann", range(3))
    return buffer


def test_an_add_between_reading_and_beginning_is_frozen(log: Interrupted, buffer: ReplayBuffer[int]) -> None:
    """A begin that was overtaken by an add begins after it."""
    log.between["append"] = lambda: buffer.add_measurement("ann", 3)
    with buffer.snapshot("ann") as frozen:
        assert list(frozen) == [0, 1, 2, 3]


def test_an_add_between_reading_and_completing_stays(log: Interrupted, buffer: ReplayBuffer[int]) -> None:
    """A completion that was overtaken by an add leaves it in the buffer."""
    frozen = buffer.finalize_snapshot("ann", buffer.begin_snapshot("ann"))
    log.between["append"] = lambda: buffer.add_measurement("ann", 3)
    frozen.complete()
    assert buffer.measurements("ann") == [3]


def test_of_two_begins_at_once_exactly_one_wins(log: Interrupted, buffer: ReplayBuffer[int]) -> None:
    """The one whose event is in the log first; the other is told that a snapshot is in progress."""
    won: list[int] = []
    log.between["append"] = lambda: won.append(buffer.begin_snapshot("ann"))
    with pytest.raises(SnapshotInProgressError):
        buffer.begin_snapshot("ann")
    assert won == [1]
    assert buffer.state("ann").version == 1


def test_of_many_threads_that_begin_exactly_one_wins() -> None:
    """The same with real threads, again and again."""
    buffer: ReplayBuffer[int] = ReplayBuffer()
    buffer.add_measurement("ann", 1)
    for round_ in range(100):
        barrier, won = Barrier(4), []

        def begin(barrier: Barrier = barrier, won: list[int] = won) -> None:
            barrier.wait()
            try:
                won.append(buffer.begin_snapshot("ann"))
            except SnapshotInProgressError:
                won.append(0)

        threads = [Thread(target=begin) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [0, 0, 0, round_ + 1]
        buffer.abort_snapshot("ann")


def test_a_completion_that_was_overtaken_by_an_abort_is_stale(log: Interrupted, buffer: ReplayBuffer[int]) -> None:
    """Between what complete has read and what it appends the snapshot is aborted: nothing is committed."""
    frozen = buffer.finalize_snapshot("ann", buffer.begin_snapshot("ann"))
    log.between["append"] = lambda: buffer.abort_snapshot("ann")
    with pytest.raises(StaleSnapshotError):
        frozen.complete()
    assert buffer.measurements("ann") == [0, 1, 2]


def test_an_abort_that_was_overtaken_does_not_hit_the_next_snapshot(
    log: Interrupted, buffer: ReplayBuffer[int]
) -> None:
    """An abort without a version means the snapshot that was in progress when it was called."""
    buffer.begin_snapshot("ann")

    def overtake() -> None:
        buffer.abort_snapshot("ann")
        buffer.begin_snapshot("ann")

    log.between["append"] = overtake
    with pytest.raises(StaleSnapshotError, match="snapshot 2 has begun since"):
        buffer.abort_snapshot("ann")
    assert buffer.state("ann").phase == "snapshotting"


def test_an_expiry_that_was_overtaken_leaves_the_next_snapshot_alone(log: Interrupted) -> None:
    """Two sweeps see the same overdue snapshot: the slower one does nothing to what began in between."""
    now = 0.0
    buffer: ReplayBuffer[int] = ReplayBuffer(log, clock=lambda: now)
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    now = 30.0

    def overtake() -> None:
        assert buffer.expire_overdue() == ["ann"]
        buffer.begin_snapshot("ann")

    log.between["append"] = overtake
    buffer.expire_overdue()
    assert (buffer.state("ann").phase, buffer.state("ann").version) == ("snapshotting", 2)


def test_an_eviction_that_was_overtaken_hands_over_the_right_ones(log: Interrupted) -> None:
    """What the hook gets is what the eviction that was recorded evicted, each exactly once."""
    archive: list[int] = []
    config = BufferConfig(max_measurements=3)
    buffer = ReplayBuffer(log, config, on_evict=lambda _user, evicted: archive.extend(evicted))
    buffer.add_measurements("ann", range(3))
    for number in range(3, 30):
        log.between["append"] = lambda number=number: buffer.add_measurement("ann", 100 + number)  # type: ignore[misc]
        buffer.add_measurement("ann", number)
    live = buffer.measurements("ann")
    assert len(live) == 3
    assert sorted(archive + live) == sorted([*range(30), *range(103, 130)])


@pytest.mark.parametrize("where", ["controls", "position"])
def test_a_state_is_read_again_when_it_was_truncated_meanwhile(log: Interrupted, where: str) -> None:
    """A reader that starts from nothing, while another completes and truncates, sees the later state."""
    busy = ReplayBuffer(log)
    busy.add_measurements("ann", range(5))

    def overtake() -> None:
        with busy.snapshot("ann"):
            busy.add_measurement("ann", 5)

    fresh = ReplayBuffer(log)
    log.between[where] = overtake
    assert (fresh.state("ann").replayed, fresh.state("ann").live) == (5, 1)
    assert fresh.state("ann") == busy.state("ann")


@pytest.mark.parametrize("where", ["measurements", "read"])
def test_questions_are_asked_again_when_the_answer_was_truncated(log: Interrupted, where: str) -> None:
    """A question that a completion overtakes is answered by what is there afterwards."""
    buffer = ReplayBuffer(log)
    buffer.add_measurements("ann", range(5))

    def overtake() -> None:
        with buffer.snapshot("ann"):
            buffer.add_measurement("ann", 5)

    log.between[where] = overtake
    if where == "measurements":
        assert buffer.measurements("ann") == [5]
    else:
        assert buffer.audit("ann").ok
        assert buffer.audit("ann").replayed == 5


def test_users_do_not_contend(buffer: ReplayBuffer[int]) -> None:
    """While one user's stream is locked, another user's adds, snapshots and questions go through."""
    tail = buffer._log.tails["ann"]
    done: list[Recorded] = []

    def other() -> None:
        buffer.add_measurement("bob", 1)
        with buffer.snapshot("bob"):
            buffer.add_measurements("bob", [2])
        buffer.expire_overdue()
        done.extend(buffer.events("bob"))

    with tail.lock:
        thread = Thread(target=other)
        thread.start()
        thread.join(60)
        assert done, "another user had to wait"


def test_many_threads_on_one_full_user() -> None:
    """Adds that evict, snapshots, aborts and questions from many threads at once: the history stays sound."""
    buffer: ReplayBuffer[tuple[int, int]] = ReplayBuffer(
        MemoryLog(keep_history=True), BufferConfig(max_measurements=20)
    )
    buffer.add_measurement("ann", (-1, 0))
    barrier = Barrier(5)

    def add(writer: int) -> None:
        barrier.wait()
        for number in range(1500):
            buffer.add_measurement("ann", (writer, number))

    def replay() -> None:
        barrier.wait()
        for number in range(150):
            buffer.begin_snapshot("ann")
            frozen = buffer.finalize_snapshot("ann")
            measurements = list(frozen)
            buffer.measurements("ann")
            assert list(frozen) == measurements
            frozen.abort() if number % 3 else frozen.complete()

    threads = [*(Thread(target=add, args=(writer,)) for writer in range(4)), Thread(target=replay)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    audit = buffer.audit("ann")
    assert audit.ok, str(audit)
    assert audit.added == 6001
    added = [r.event.measurement for r in buffer.events("ann") if hasattr(r.event, "measurement")]
    for writer in range(4):
        assert [number for by, number in added if by == writer] == list(range(1500))


def test_of_two_that_create_a_stream_one_waits_and_adds_to_it() -> None:
    """Two first adds of a user at once: both are kept, in one stream."""
    log: MemoryLog[int] = MemoryLog()
    buffer = ReplayBuffer(log)
    creating = log._creating

    class Slow:
        """The lock, taken when another thread has just let go of it."""

        def __enter__(self) -> None:
            log._creating = creating
            buffer.add_measurement("ann", 1)

        def __exit__(self, *_: object) -> None: ...

    log._creating = Slow()  # type: ignore[assignment]
    buffer.add_measurement("ann", 2)
    assert buffer.measurements("ann") == [1, 2]
    assert list(buffer.users()) == ["ann"]


def test_an_add_that_cannot_truncate_any_more_has_succeeded(log: Interrupted) -> None:
    """Another thread truncates further between an add's append and its own truncation: that is nobody's error."""
    archive: list[int] = []
    buffer = ReplayBuffer(log, BufferConfig(max_measurements=2), on_evict=lambda _user, gone: archive.extend(gone))

    def overtake() -> None:
        with buffer.snapshot("ann"):
            pass

    for number in range(40):
        buffer.add_measurement("ann", number)
        if number % 3 == 0:
            log.between["controls"] = overtake
    state = buffer.state("ann")
    assert state.added == 40
    assert len(archive) == state.evicted
    assert buffer.audit("ann").ok


def test_measurements_die_outside_the_lock() -> None:
    """A measurement's finalizer may come back to the buffer, when it is evicted and when it was replayed."""
    buffer: ReplayBuffer[object] = ReplayBuffer(config=BufferConfig(max_measurements=3))
    deaths = []

    class Mortal:
        def __del__(self) -> None:
            deaths.append(buffer._log.tails["ann"].lock.locked())

    for _ in range(300):
        buffer.add_measurement("ann", Mortal())
    with buffer.snapshot("ann"):
        pass
    assert len(deaths) == 300
    assert not any(deaths)


def test_an_interrupt_in_the_middle_of_an_append_leaves_a_sound_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while events are being put into the log: it has all of them or none, and goes on."""
    log: MemoryLog[int] = MemoryLog()
    buffer = ReplayBuffer(log, BufferConfig(max_measurements=3))
    buffer.add_measurements("ann", range(3))
    buffer.begin_snapshot("ann")
    original = MemoryLog._set_grant

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MemoryLog, "_set_grant", interrupted)
    with pytest.raises(KeyboardInterrupt):
        buffer.abort_snapshot("ann")
    monkeypatch.setattr(MemoryLog, "_set_grant", original)
    assert buffer.state("ann").phase == "idle"
    assert buffer.add_measurement("ann", 3) == 6
    assert buffer.measurements("ann") == [0, 1, 2, 3]
    assert buffer.audit("ann").ok


def test_whether_a_rollback_is_needed_is_asked_when_the_abort_is_recorded(
    log: Interrupted, buffer: ReplayBuffer[int]
) -> None:
    """A rollback that is registered while another thread is about to abort runs all the same."""
    calls: list[str] = []
    version = buffer.begin_snapshot("ann")

    def overtake() -> None:
        buffer._rollbacks.register("ann", version, lambda user_id, _version, _reason: calls.append(user_id))
        buffer.finalize_snapshot("ann", version)

    log.between["append"] = overtake
    buffer.abort_snapshot("ann")
    assert calls == ["ann"]
    assert buffer.state("ann").phase == "idle"


def test_a_rollback_that_was_turned_away_is_run_by_the_one_who_is_at_it() -> None:
    """The replay returns while a sweep is trying its rollback: the sweep tries once more, and the user is idle."""
    now = 0.0
    buffer: ReplayBuffer[int] = ReplayBuffer(clock=lambda: now)
    buffer.add_measurement("ann", 1)
    version = buffer.begin_snapshot("ann")
    calls = []

    def roll_back(*_: object) -> None:
        calls.append(1)
        if len(calls) == 1:
            thread = Thread(target=buffer._rollbacks.run, args=("ann",), kwargs={"insist": True})
            thread.start()
            thread.join()
            raise OSError("not yet")

    buffer._rollbacks.register("ann", version, roll_back)
    now = 30.0
    assert buffer.expire_overdue() == ["ann"]
    assert calls == [1, 1]
    assert buffer.state("ann").phase == "idle"


@pytest.mark.parametrize("full", [False, True])
def test_every_add_happens_under_its_streams_lock(full: bool) -> None:
    """One by one, evicting, and in a batch: nothing is put into a stream while another thread might be."""
    buffer: ReplayBuffer[int] = ReplayBuffer(config=BufferConfig(max_measurements=3 if full else 100))
    buffer.add_measurements("ann", range(3))
    buffer.add_measurement("ann", 3)
    tail = buffer._log.tails["ann"]
    held: list[bool] = []

    class Watched(list[Any]):
        def append(self, item: Any) -> None:
            held.append(tail.lock.locked())
            super().append(item)

        def __iadd__(self, items: Any) -> Any:
            held.append(tail.lock.locked())
            return super().__iadd__(items)

    tail.items = Watched(tail.items)
    buffer.add_measurement("ann", 4)
    buffer.add_measurements("ann", [5, 6])
    assert held == [True, True]


def test_no_two_adds_get_the_same_offset() -> None:
    """Threads that take turns as often as the interpreter can: every add returns an offset of its own."""
    buffer: ReplayBuffer[int] = ReplayBuffer(config=BufferConfig(max_measurements=10_000))
    buffer.add_measurement("ann", 0)
    offsets: list[int] = []

    def add() -> None:
        offsets.extend([buffer.add_measurement("ann", 1) for _ in range(1000)])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sorted(offsets) == list(range(1, 4001))
