"""What a decision, and a question, ask of the log: no more than they have to."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from conftest import Clock

from events import Event, Grant, MemoryLog, Position, Recorded
from events._log import NO_GRANT
from statemachine import BufferConfig, ReplayBuffer, due
from statemachine._decide import AddMeasurements, ExpireSnapshot
from statemachine._journal import Outcome


class Counting(MemoryLog[Any]):
    """Counts how often it is asked where a stream stands."""

    looks = 0

    def position(self, stream: str) -> Position | None:
        self.looks += 1
        return super().position(stream)


def begun_and_seen(log: MemoryLog[Any] | None = None) -> tuple[ReplayBuffer[Any], Position]:
    """Ann's buffer with a snapshot in progress, and where her stream stood in the middle of it."""
    buffer = ReplayBuffer(log or MemoryLog[Any](keep_history=True), BufferConfig(max_measurements=3))
    buffer.add_measurements("ann", [1, 2])
    buffer.begin_snapshot("ann")
    position = buffer._log.position("ann")
    assert position is not None
    return buffer, position


def test_a_decision_asks_once_where_the_stream_stands() -> None:
    """Each further look is a round trip to a server."""
    log = Counting(keep_history=True)
    buffer, _ = begun_and_seen(log)
    log.looks = 0
    buffer.finalize_snapshot("ann", 1).complete()
    buffer.add_measurements("ann", [3, 4, 5])  # beyond the grant
    buffer.begin_snapshot("ann")
    assert log.looks == 4


class Folding(Counting):
    """Also notes from where on events are read, and what is kept beside those that are appended."""

    def __init__(self, *, keep_history: bool = True) -> None:
        super().__init__(keep_history=keep_history)
        self.folded, self.copied, self.noted = list[int](), list[range](), dict[str, Any]()
        self.grant = NO_GRANT

    def controls(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        self.folded.append(start)
        return super().controls(stream, start, stop)

    def measurements(self, stream: str, offsets: range) -> Sequence[Any]:
        self.copied.append(offsets)
        return super().measurements(stream, offsets)

    def append(self, stream: str, events: Sequence[Event], *, grant: Grant = NO_GRANT, **given: Any) -> int:
        self.grant, self.noted = grant, given
        return super().append(stream, events, grant=grant, **given)

    def joined(self, connection: Any) -> "Folding":
        return self


def test_a_size_asks_nobody() -> None:
    """Nor reads any event: however the measurements came there."""
    log = Folding()
    buffer, _ = begun_and_seen(log)
    log.looks, log.folded = 0, []
    for size in (3, 4, 5):
        buffer.add_measurement("ann", 0)
        assert buffer.size("ann") == size
    assert (log.looks, log.folded) == (0, [])


def test_a_size_is_not_that_of_an_old_state() -> None:
    """Where another buffer on the log has decided, or this one never saw the user."""
    log = Folding()
    buffer, other = ReplayBuffer[Any](log), ReplayBuffer[Any](log)
    for way in ("unknown", "known"):
        buffer.add_measurements(way, [1, 2])
        assert other.size(way) == 2
    other.clear_buffer("known")
    buffer.add_measurement("known", 3)
    assert [each.size("known") for each in (buffer, other, ReplayBuffer[Any](log))] == [1, 1, 1]
    assert [each.size("unknown") for each in (buffer, other, ReplayBuffer[Any](log))] == [2, 2, 2]


def test_ones_own_state_is_read_nowhere() -> None:
    """Who has recorded all of it knows where it stands, before and after somebody looked who is due."""
    log = Folding()
    buffer = ReplayBuffer[Any](log, BufferConfig(max_measurements=3, due=due.Age(10)), clock=Clock())
    for number in range(60):
        buffer.add_measurement("ann", number)
        assert list(buffer.ready()) == []
        assert not buffer._journal.is_due("ann", 100.0)
        assert buffer.state("ann").added == number + 1
    assert log.folded == []


def test_what_came_during_a_replay_is_not_read_when_it_ends() -> None:
    """What was replayed is dropped, and the state that takes its place is known without a look at what is left."""
    log = Folding(keep_history=False)
    buffer, _ = begun_and_seen(log)
    frozen = buffer.finalize_snapshot("ann")
    buffer.add_measurements("ann", [3, 4])
    frozen.complete()
    assert (log.folded, buffer.state("ann").live) == ([], 2)


def test_of_what_others_recorded_only_the_new_is_read() -> None:
    """A buffer that has seen the state once goes on from there, and needs no event where nothing has happened."""
    log = Folding()
    buffer, other = ReplayBuffer[Any](log), ReplayBuffer[Any](log)
    buffer.add_measurements("ann", [1, 2])
    seen = []
    for _ in range(3):
        log.folded = []
        for _ in range(2):
            assert other.state("ann") == buffer.state("ann")
        seen.append(log.folded)
        buffer.begin_snapshot("ann")
        buffer.abort_snapshot("ann")
    assert seen == [[0, 2, 2], [2, 5, 5], [5, 8, 8]]


@pytest.mark.parametrize("keep_history", [True, False])
def test_what_nobody_asked_for_is_not_given(keep_history: bool) -> None:
    """What is evicted is read only for a hook; a log that keeps no history is given no states and times to keep."""
    log = Folding(keep_history=keep_history)
    buffer = ReplayBuffer[Any](log, BufferConfig(max_measurements=3), clock=Clock())
    buffer.add_measurements("ann", [1, 2])
    log.copied = []
    outcome = buffer._journal.record("ann", AddMeasurements((3, 4), 0.0))
    assert (outcome.after.live, outcome.evicted, log.copied) == (3, (), [])
    noted = {"state": outcome.after, "at": 100.0} if keep_history else {}
    assert log.noted == {"expected_head": 2, **noted}


def test_where_nothing_is_recorded_the_state_is_told_all_the_same() -> None:
    """As it was, and as it is."""
    buffer, _ = begun_and_seen()
    outcome = buffer._journal.record("ann", ExpireSnapshot(0.0, 1, True))
    assert outcome == Outcome(buffer.state("ann"), buffer.state("ann"))


def test_a_hook_is_handed_all_that_is_evicted() -> None:
    """Also where other events lie between the measurements, and where some were only just added."""
    gone: list[Any] = []
    config = BufferConfig(max_measurements=4)
    buffer = ReplayBuffer[Any](config=config, on_evict=lambda _user, evicted: gone.extend(evicted))
    for pair in ([1, 2], [3, 4]):
        buffer.add_measurements("ann", pair)
        buffer.park("ann")
        buffer.release("ann")
    buffer.add_measurements("ann", [5, 6, 7])
    buffer.add_measurements("ann", range(8, 14))
    assert gone == list(range(1, 10))


@pytest.mark.parametrize(
    ("options", "total", "victims"),
    [({}, None, True), ({"on_evict": lambda *_: None}, None, False), ({}, 100, False)],
    ids=["plain", "hook", "bound over all"],
)
def test_a_transaction_leaves_the_leave_that_the_buffer_would(
    options: dict[str, Any], total: int | None, victims: bool
) -> None:
    """The log evicts by itself after a completion in a transaction only where it would after any other."""
    log = Folding()
    config = BufferConfig(max_measurements=2, max_total_measurements=total)
    buffer = ReplayBuffer[Any](log, config, clock=Clock(), **options)
    grants = []
    for connection in (None, object()):
        for number in range(3):
            buffer.add_measurement("ann", number)
        version = buffer.begin_snapshot("ann")
        buffer.add_measurements("ann", range(4))
        buffer.finalize_snapshot("ann", version)
        log.folded = []
        buffer.complete_replay("ann", version, connection=connection)
        assert log.folded == []
        grants.append((log.grant.issuer, bool(log.grant.victims), log.grant.room))
    assert grants == [(buffer._journal.issuer, victims, 0)] * 2


class Rushed(MemoryLog[Any]):
    """Somebody always adds between what a decision has read and what it records, as long as that is allowed."""

    attempts, rushes = 0, 0

    def append(self, stream: str, events: Sequence[Event], **given: Any) -> int:
        self.attempts += 1
        if stream in self._tails and self.attempts < MOST_ATTEMPTS:
            tail = self._tails[stream]
            self.rushes += self.add(stream, 0, lambda: 0.0, tail.issuer) is not None
        return super().append(stream, events, **given)


MOST_ATTEMPTS = 2000

STEPS = ("begin_snapshot", "finalize_snapshot", "complete_replay")


@pytest.mark.parametrize("operation", [*STEPS, "clear_buffer", "ready"])
def test_who_adds_at_full_speed_holds_nobody_up(operation: str) -> None:
    """Who was overtaken once lets nobody add without a decision until its own is recorded: nobody is always first."""
    log = Rushed()
    buffer = ReplayBuffer[Any](log, BufferConfig(max_measurements=10**6, due=due.Count(10**6)), clock=lambda: 0.0)
    buffer.add_measurements("ann", [1, 2])
    for step in STEPS[: STEPS.index(operation)] if operation in STEPS else ():
        getattr(buffer, step)("ann")
    log.attempts = log.rushes = 0
    if operation == "ready":
        assert not buffer._journal.is_due("ann", 0.0)
    else:
        getattr(buffer, operation)("ann")
    assert (log.attempts, log.rushes) == (2, 1)
    assert buffer.audit("ann").ok
    head = buffer.state("ann").head
    assert buffer.add_measurement("ann", 3) == head
