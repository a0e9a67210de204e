"""Events and states at every offset that is kept, and whoever else shares the log."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import Clock, begun

from events import (
    Event,
    Grant,
    LogDamagedError,
    MeasurementAdded,
    MemoryLog,
    Recorded,
    SnapshotBegun,
    SqliteLog,
    TruncatedError,
)
from statemachine import (
    BufferConfig,
    BufferFullError,
    InvalidArgumentError,
    ReplayBuffer,
    TruncatedHistoryError,
    due,
)
from statemachine._decide import EvictOldest


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
    assert history[0] == Recorded(5, MeasurementAdded(4, arrived_at=100.0))
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


def test_what_is_cut_off_at_the_bound_can_be_folded_from_there(clock: Clock) -> None:
    """While a full idle user goes on evicting, the log cuts itself; every offset that is kept has its state."""
    log: MemoryLog[int] = MemoryLog()
    kept: ReplayBuffer[int] = ReplayBuffer(MemoryLog(keep_history=True), BufferConfig(max_measurements=7), clock=clock)
    buffer = ReplayBuffer(log, BufferConfig(max_measurements=7), clock=clock)
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


def test_what_a_batch_beyond_the_bound_leaves_can_be_folded_by_another(clock: Clock) -> None:
    """A batch that evicts some of itself is cut off within itself; a buffer that comes later knows the same state."""
    log: MemoryLog[int] = MemoryLog()
    config = BufferConfig(max_measurements=5)
    buffer: ReplayBuffer[int] = ReplayBuffer(log, config, clock=clock)
    buffer.add_measurement("ann", 0)
    buffer.add_measurements("ann", range(1, 60))
    state = buffer.state("ann")
    assert (state.live, state.evicted, state.added) == (5, 55, 60)
    later: ReplayBuffer[int] = ReplayBuffer(log, config, clock=clock)
    assert later.state("ann") == state
    assert later.measurements("ann") == [55, 56, 57, 58, 59]


@pytest.mark.parametrize("size", [2, 3])
def test_what_a_batch_as_large_as_the_bound_leaves_can_be_folded_by_another(size: int, clock: Clock) -> None:
    """Nothing that was there before is live any more, or nothing of it at all: it is cut just before the batch."""
    log, config = MemoryLog[int](), BufferConfig(max_measurements=2)
    buffer = ReplayBuffer[int](log, config, clock=clock)
    starts = set()
    for number in range(0, 40 * size, size):
        head = position.head if (position := log.position("ann")) else 0
        buffer.add_measurements("ann", range(number, number + size))
        position = log.position("ann")
        assert position is not None
        starts.add(position.start - head)
        assert buffer.measurements("ann") == [number + size - 2, number + size - 1]
        assert ReplayBuffer[int](log, config, clock=clock).state("ann") == buffer.state("ann")
    assert size - 2 in starts


def test_an_audit_is_of_one_moment() -> None:
    """What is added while it reads belongs to the next audit, and is not counted as lost or as too many."""

    class Busy(MemoryLog[int]):
        def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
            buffer.add_measurement("ann", 0)
            return super().read(stream, start, stop)

    buffer: ReplayBuffer[int] = ReplayBuffer(Busy(keep_history=True))
    buffer.add_measurements("ann", [1, 2])
    for added in (2, 3):
        audit = buffer.audit("ann")
        assert (audit.added, audit.live, audit.ok) == (added, added, True)


def test_what_is_truncated_says_whose_history_it_was(buffer: ReplayBuffer[Any]) -> None:
    """Whoever asks learns user and offset, however it was asked."""
    history = buffer.events("ann")
    with buffer.snapshot("ann"):
        pass
    with pytest.raises(TruncatedHistoryError, match="offset 0") as caught:
        list(history)
    assert caught.value.user_id == "ann"
    with pytest.raises(TruncatedHistoryError, match="offset 1") as caught:
        buffer.state_at("ann", 1)
    assert caught.value.user_id == "ann"
    with pytest.raises(TruncatedError) as of_the_log:
        buffer._journal.state_at("ann", 1)
    assert (of_the_log.value.stream, of_the_log.value.offset) == ("ann", 1)


def test_what_is_cut_off_while_frozen_can_be_folded_from_there(clock: Clock) -> None:
    """Also where it is cut within what was added meanwhile: when the first of that came is known from there on."""
    log: MemoryLog[int] = MemoryLog()
    config = BufferConfig(max_measurements=100, replay_timeout=1000)
    buffer: ReplayBuffer[int] = ReplayBuffer(log, config, clock=clock)
    buffer.add_measurement("ann", 0)
    with buffer.snapshot("ann"):
        pass
    frozen = begun(buffer)
    for number in range(40):
        clock.now += 1
        buffer.add_measurement("ann", number)
    buffer._journal.record("ann", EvictOldest(30))
    assert log.position("ann").start == frozen.stop + 2 + 30  # type: ignore[union-attr]
    later: ReplayBuffer[int] = ReplayBuffer(log, config, clock=clock)
    assert later.state("ann").pending_arrived_at == 101.0
    assert later.state("ann") == buffer.state("ann")


def test_memory_is_truncated_only_where_it_pays(clock: Clock) -> None:
    """While nothing is replayed: once what is dead is more than what is live and sixteen, and never step by step."""
    log: MemoryLog[int] = MemoryLog()
    buffer: ReplayBuffer[int] = ReplayBuffer(
        log, BufferConfig(max_measurements=1), clock=clock, on_evict=lambda *_: None
    )
    starts = []
    for number in range(22):
        buffer.add_measurement("ann", number)
        starts.append(log.position("ann").start)  # type: ignore[union-attr]
    assert starts == [0] * 10 + [19] * 9 + [37] * 3


def test_every_offset_of_a_long_history_has_its_state_and_is_audited(tmp_path: Path, clock: Clock) -> None:
    """Also in a log that keeps states on the way: a later one is never taken for an earlier one."""
    many = 300
    config = BufferConfig(max_measurements=many)
    with ReplayBuffer[int](SqliteLog(tmp_path / "log.db", durability="off"), config, clock=clock) as buffer:
        kept = ReplayBuffer[int](MemoryLog(keep_history=True), config, clock=clock)
        for each in (buffer, kept):
            for _ in range(3):
                each.add_measurements("ann", range(many // 3))
                each.begin_snapshot("ann")
                each.abort_snapshot("ann")
        assert buffer._log.checkpoint("ann") is not None, "no state was kept on the way"
        later = ReplayBuffer(buffer._log, clock=clock)
        for offset in range(0, many, 31):
            assert later.state_at("ann", offset) == kept.state_at("ann", offset)
        assert (later.audit("ann").first, later.audit("ann").added) == (0, many)


class Trouble(MemoryLog[Any]):
    """A log in a file, in which something is said to be truncated: so many times, and each time up to further on."""

    path = "weights.db"

    def __init__(self) -> None:
        super().__init__()
        self.way, self.times, self.moves = "", 0, False

    def trouble(self, way: str, stream: str) -> None:
        if way == self.way and self.times:
            self.times -= 1
            raise TruncatedError(stream, 0, 1 + self.times if self.moves else 0)

    def controls(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        self.trouble("controls", stream)
        return super().controls(stream, start, stop)

    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        self.trouble("read", stream)
        return super().read(stream, start, stop)

    def measurements(self, stream: str, offsets: range) -> Sequence[Any]:
        self.trouble("measurements", stream)
        return super().measurements(stream, offsets)

    def append(self, stream: str, events: Sequence[Event], **given: Any) -> int:
        self.trouble("append", stream)
        return super().append(stream, events, **given)


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize(
    ("way", "ask", "answer"),
    [
        ("controls", lambda buffer: buffer.state("ann").live, 2),
        ("read", lambda buffer: buffer.audit("ann").live, 2),
        ("measurements", lambda buffer: buffer.measurements("ann"), [1, 2]),
        ("append", lambda buffer: buffer.begin_snapshot("ann"), 1),
        ("append", lambda buffer: buffer._journal.is_due("ann", 100.0), False),
    ],
    ids=["state", "audit", "measurements", "begin_snapshot", "is_due"],
)
def test_what_was_truncated_meanwhile_is_looked_at_again(
    way: str, ask: Callable[[Any], Any], answer: Any, moves: bool, clock: Clock
) -> None:
    """Where it goes on further on; where it does not, the log is damaged, which is said of its file and of the user."""
    log = Trouble()
    ReplayBuffer[Any](log, clock=clock).add_measurements("ann", [1, 2])
    log.way, log.times, log.moves = way, 3, moves
    buffer = ReplayBuffer[Any](log, BufferConfig(due=due.Age(10)), clock=clock)
    if moves:
        assert ask(buffer) == answer
        assert log.times == 0
    else:
        with pytest.raises(LogDamagedError, match=r"^weights.db is damaged: the state of user 'ann' "):
            ask(buffer)
