"""The drop-in's get, replay and clear: nothing that arrives in between is lost, whoever else reads or clears."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from statemachine import (
    IllegalTriggerError,
    NoSnapshotError,
    SnapshotInProgressError,
    StaleSnapshotError,
    UnknownUserError,
)
from statemachine.compat import ReplayBuffer

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
SMALL = {"max_buffer_measurements": 5}


class Clock:
    def __init__(self) -> None:
        self.now = START.timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buffer(clock: Clock) -> ReplayBuffer:
    return ReplayBuffer(SMALL, clock=clock)


@pytest.fixture
def elsewhere() -> Iterator[Callable[..., Any]]:
    """Calls a function in another thread, always the same one."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()


def add(buffer: ReplayBuffer, *numbers: int) -> None:
    for number in numbers:
        result = buffer.add_measurement("ann", {"number": number, "timestamp": START + timedelta(minutes=number)})
        assert result["success"]
        check_times(buffer)


def read(buffer: ReplayBuffer) -> list[int]:
    """What `get_buffer_measurements` hands out."""
    return numbers(buffer.get_buffer_measurements("ann"))


def numbers(measurements: Any) -> list[int]:
    return [measurement["number"] for measurement in measurements]


def held(buffer: ReplayBuffer) -> list[int]:
    """What is held, without reading it."""
    check_times(buffer)
    return numbers(buffer._core.measurements("ann"))


def check_times(buffer: ReplayBuffer) -> None:
    """The oldest and newest event time and the count are those of what the core holds, however they are kept."""
    there = [measurement["timestamp"] for measurement in buffer._core.measurements("ann")]
    info = buffer.get_buffer_info("ann")
    found = (info["measurement_count"], info["first_timestamp"], info["last_timestamp"])
    assert found == (len(there), min(there, default=None), max(there, default=None))


def test_what_arrives_between_the_read_and_the_clear_stays(buffer: ReplayBuffer) -> None:
    """The lost update is gone without changing the application."""
    add(buffer, 1, 2, 3)
    window = read(buffer)
    add(buffer, 4, 5)
    assert buffer.clear_buffer("ann") is True
    assert window == [1, 2, 3]
    assert read(buffer) == [4, 5]
    buffer.clear_buffer("ann")
    assert held(buffer) == []


def test_a_clear_without_a_read_clears_everything(buffer: ReplayBuffer) -> None:
    """As before; and the mark is gone after the clear it was for."""
    add(buffer, 1, 2)
    buffer.clear_buffer("ann")
    assert held(buffer) == []
    add(buffer, 3)
    read(buffer)
    buffer.clear_buffer("ann")
    add(buffer, 4)
    buffer.clear_buffer("ann")
    assert held(buffer) == []


def test_a_read_of_nothing_clears_nothing(buffer: ReplayBuffer) -> None:
    """A thread that was handed an empty list clears nothing of what came since."""
    add(buffer, 1)
    buffer.clear_buffer("ann")
    assert read(buffer) == []
    add(buffer, 2, 3)
    buffer.clear_buffer("ann")
    assert held(buffer) == [2, 3]


def test_reads_by_other_threads_do_not_move_this_threads_mark(buffer: ReplayBuffer, elsewhere: Any) -> None:
    """What another thread has read since is not cleared by this one; the other clears it itself."""
    add(buffer, 1, 2)
    read(buffer)
    add(buffer, 3)
    assert elsewhere(read, buffer) == [1, 2, 3]
    add(buffer, 4)
    buffer.clear_buffer("ann")
    assert held(buffer) == [3, 4]
    elsewhere(buffer.clear_buffer, "ann")
    assert held(buffer) == [4]


def test_two_readers_in_overlap(buffer: ReplayBuffer, elsewhere: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The first clear ends what both hold and raises no bound; the second clears the rest that its thread has read."""
    add(buffer, 1, 2, 3)
    read(buffer)
    add(buffer, 4, 5)
    assert elsewhere(read, buffer) == [1, 2, 3, 4, 5]
    add(buffer, 6)
    buffer.clear_buffer("ann")
    assert held(buffer) == [4, 5, 6]
    add(buffer, 7, 8, 9)
    assert held(buffer) == [5, 6, 7, 8, 9]
    elsewhere(buffer.clear_buffer, "ann")
    assert held(buffer) == [6, 7, 8, 9]
    assert not caplog.records, "nothing was aborted"


def test_three_readers_in_overlap(buffer: ReplayBuffer, elsewhere: Any) -> None:
    """A clear in the middle of what a later read holds takes what its own thread read; the rest is held again."""
    add(buffer, 1)
    with ThreadPoolExecutor(1) as third:
        third.submit(read, buffer).result()
        add(buffer, 2, 3)
        assert read(buffer) == [1, 2, 3]
        add(buffer, 4)
        third.submit(buffer.clear_buffer, "ann").result()
    assert elsewhere(read, buffer) == [2, 3, 4]
    add(buffer, 5)
    buffer.clear_buffer("ann")
    assert held(buffer) == [4, 5]
    add(buffer, *range(6, 12))
    assert held(buffer) == [4, 5, *range(7, 12)], "what the other thread has read stays until its clear"
    elsewhere(buffer.clear_buffer, "ann")
    assert held(buffer) == [5, *range(7, 12)]
    add(buffer, *range(12, 20))
    assert held(buffer) == list(range(10, 20)), "an abort has doubled the bound"
    assert read(buffer) == list(range(10, 20))
    buffer.clear_buffer("ann")
    add(buffer, *range(20, 27))
    assert held(buffer) == list(range(22, 27)), "until the next read and clear"


def test_a_clear_by_another_thread_leaves_nothing_to_clear_of_that(buffer: ReplayBuffer, elsewhere: Any) -> None:
    """Of two threads that have read the same the second to clear clears nothing more, and nothing of a third read."""
    add(buffer, 1, 2)
    read(buffer)
    elsewhere(read, buffer)
    elsewhere(buffer.clear_buffer, "ann")
    add(buffer, 3)
    buffer.clear_buffer("ann")
    assert held(buffer) == [3]
    read(buffer)
    elsewhere(buffer.clear_buffer, "ann")
    add(buffer, 4)
    buffer.clear_buffer("ann")
    assert held(buffer) == [4]


def test_a_thread_that_clears_everything_does_so_during_anothers_replay(buffer: ReplayBuffer, elsewhere: Any) -> None:
    """It was handed nothing, so it clears everything; the other's clear then takes nothing that came since."""
    add(buffer, 1, 2)
    read(buffer)
    add(buffer, 3)
    elsewhere(buffer.clear_buffer, "ann")
    assert held(buffer) == []
    add(buffer, 4)
    buffer.clear_buffer("ann")
    assert held(buffer) == [4]


def test_marks_end_with_their_thread(buffer: ReplayBuffer) -> None:
    """A thread id that is used again inherits no mark: the new thread clears everything."""
    add(buffer, 1)
    with ThreadPoolExecutor(1) as first:
        assert first.submit(read, buffer).result() == [1]
    add(buffer, 2)
    with ThreadPoolExecutor(1) as second:
        second.submit(buffer.clear_buffer, "ann").result()
    assert held(buffer) == []


def test_nothing_that_was_read_is_evicted(buffer: ReplayBuffer) -> None:
    """While the read is outstanding as many as the bound are kept beside it; after the clear they are what is held."""
    add(buffer, *range(5))
    read(buffer)
    add(buffer, *range(5, 12))
    assert held(buffer) == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]
    assert buffer.get_stats()["measurements_evicted"] == 2
    buffer.clear_buffer("ann")
    assert held(buffer) == [7, 8, 9, 10, 11]
    add(buffer, 12)
    assert held(buffer) == [8, 9, 10, 11, 12]


def test_a_read_may_be_outstanding_for_long(buffer: ReplayBuffer, clock: Clock) -> None:
    """What it holds does not expire."""
    add(buffer, *range(5))
    read(buffer)
    clock.now += 365 * 24 * 3600
    add(buffer, *range(5, 12))
    assert held(buffer) == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]


def test_a_replay_that_failed_is_read_again_with_what_came_since(buffer: ReplayBuffer) -> None:
    """No clear came, so nothing is gone; the later clear drops all of it."""
    add(buffer, *range(5))
    assert read(buffer) == [0, 1, 2, 3, 4]
    add(buffer, *range(5, 10))
    assert read(buffer) == list(range(10))
    add(buffer, 10)
    buffer.clear_buffer("ann")
    assert held(buffer) == [10]


def test_reading_again_and_again_without_a_clear(buffer: ReplayBuffer, caplog: pytest.LogCaptureFixture) -> None:
    """A thread that only looks: what it saw first and the newest stay, each to the bound; nothing piles up."""
    for number in range(40):
        add(buffer, number)
        if number % 4 == 3:
            window = read(buffer)
            assert window == list(range(min(4, number + 1))) + list(range(max(4, number - 4), number + 1))
    assert buffer.get_stats()["measurements_evicted"] == 31
    add(buffer, 40)
    buffer.clear_buffer("ann")
    assert held(buffer) == [40]
    assert not caplog.records, "nothing was aborted"


def test_late_measurements_during_a_read(buffer: ReplayBuffer) -> None:
    """The oldest and newest event time count both what was read and what came since."""
    add(buffer, 10, 12)
    read(buffer)
    add(buffer, 5, 11, 20, 6)
    assert buffer.get_buffer_info("ann")["first_timestamp"] == START + timedelta(minutes=5)
    buffer.clear_buffer("ann")
    assert held(buffer) == [5, 11, 20, 6]


class TestCallByCall:
    """`begin_snapshot`, `finalize_snapshot`, `complete_replay` and `abort_snapshot` beside the older calls."""

    def test_the_whole_way(self, buffer: ReplayBuffer) -> None:
        """Begin freezes; what comes before the finalize or later stays."""
        add(buffer, 1, 2)
        version = buffer.begin_snapshot("ann", timestamp="noon")
        add(buffer, 3)
        frozen = buffer.finalize_snapshot("ann", version)
        add(buffer, 4)
        assert (numbers(frozen), frozen.timestamp) == ([1, 2], "noon")
        buffer.complete_replay("ann", version)
        assert held(buffer) == [3, 4]

    @pytest.mark.parametrize("bound", [1, 5])
    def test_an_abort_keeps_everything(self, bound: int, clock: Clock) -> None:
        """Frozen and pending ones are live again, in their order; then the usual bound of an aborted snapshot holds."""
        buffer = ReplayBuffer({"max_buffer_measurements": bound}, clock=clock)
        add(buffer, *range(bound))
        buffer.begin_snapshot("ann")
        add(buffer, *range(bound, 2 * bound))
        buffer.abort_snapshot("ann", "no database")
        assert held(buffer) == list(range(2 * bound))
        add(buffer, 100, 101)
        assert held(buffer) == [*range(2, 2 * bound), 100, 101]
        assert read(buffer) == held(buffer)
        buffer.clear_buffer("ann")
        assert held(buffer) == []

    def test_what_does_not_fit_is_refused_as_in_the_core(self, buffer: ReplayBuffer) -> None:
        """The core's errors come through, and a stale version changes nothing."""
        add(buffer, 1)
        with pytest.raises(NoSnapshotError):
            buffer.complete_replay("ann")
        version = buffer.begin_snapshot("ann")
        with pytest.raises(SnapshotInProgressError):
            buffer.begin_snapshot("ann")
        with pytest.raises(IllegalTriggerError):
            buffer.complete_replay("ann", version)
        with pytest.raises(StaleSnapshotError):
            buffer.abort_snapshot("ann", version=version + 1)
        assert held(buffer) == [1]

    @pytest.mark.parametrize("name", ["begin_snapshot", "finalize_snapshot", "complete_replay", "abort_snapshot"])
    def test_an_unknown_user(self, name: str, buffer: ReplayBuffer) -> None:
        """Is refused as in the core."""
        with pytest.raises(UnknownUserError, match="user 'ann': no measurement was ever added"):
            getattr(buffer, name)("ann")

    @pytest.mark.parametrize("end", ["complete", "abort", "renew"])
    def test_the_snapshot_itself_can_be_told(self, end: str, buffer: ReplayBuffer) -> None:
        """`frozen.complete()` and the like do not come by the drop-in, but sizes and event times are right after."""
        add(buffer, 1, 9)
        buffer.begin_snapshot("ann")
        frozen = buffer.finalize_snapshot("ann")
        add(buffer, 5)
        getattr(frozen, end)()
        assert held(buffer) == ([5] if end == "complete" else [1, 9, 5])
        add(buffer, 4)

    @pytest.mark.parametrize("call", ["clear_buffer", "begin_snapshot"])
    def test_one_that_is_completed_meanwhile(self, call: str, buffer: ReplayBuffer) -> None:
        """Another thread completes what a clear or a begin is just about to end: it does without, and nothing fails."""
        add(buffer, 1)
        read(buffer)
        look = buffer._core.state

        def overtaken(user_id: str) -> Any:
            state = look(user_id)
            buffer._core.state = look  # type: ignore[method-assign]
            buffer.complete_replay(user_id)
            return state

        buffer._core.state = overtaken  # type: ignore[method-assign]
        getattr(buffer, call)("ann")
        assert held(buffer) == []

    def test_one_whose_completion_is_yet_to_be_told(self, buffer: ReplayBuffer) -> None:
        """An add by another thread in that moment finds that the size does not fit, and looks."""
        add(buffer, 1, 2, 3)
        buffer.begin_snapshot("ann")
        frozen = buffer.finalize_snapshot("ann")
        check_times(buffer)
        buffer._core._journal.observers = ()
        frozen.complete()
        add(buffer, 4)
        assert held(buffer) == [4]

    def test_a_begin_does_not_take_the_place_of_another(self, buffer: ReplayBuffer) -> None:
        """Only a read gives way; and a clear of nothing leaves a replay alone."""
        add(buffer, 1)
        buffer.clear_buffer("ann")
        buffer.begin_snapshot("ann")
        frozen = buffer.finalize_snapshot("ann")
        with pytest.raises(SnapshotInProgressError):
            buffer.begin_snapshot("ann")
        buffer.clear_buffer("ann")
        frozen.complete()
        assert frozen.settled == "completed"

    def test_an_older_clear_after_a_finalize_clears_what_was_finalized(self, buffer: ReplayBuffer) -> None:
        """A finalize hands out, so it sets this thread's mark as a read does."""
        add(buffer, 1, 2)
        buffer.begin_snapshot("ann")
        add(buffer, 3)
        buffer.finalize_snapshot("ann")
        buffer.clear_buffer("ann")
        assert held(buffer) == [3]
        with pytest.raises(StaleSnapshotError):
            buffer.complete_replay("ann", 1)

    def test_a_leftover_clear_after_a_completion_clears_nothing_more(self, buffer: ReplayBuffer) -> None:
        """Complete and then clear, as in an application that has moved half of the way."""
        add(buffer, 1, 2)
        read(buffer)
        add(buffer, 3)
        buffer.complete_replay("ann")
        buffer.clear_buffer("ann")
        assert held(buffer) == [3]

    def test_a_read_does_not_disturb_a_snapshot_in_progress(self, buffer: ReplayBuffer) -> None:
        """It hands out everything; the replay goes on and completes, and the read's clear drops the rest of it."""
        add(buffer, 1, 2)
        version = buffer.begin_snapshot("ann")
        frozen = buffer.finalize_snapshot("ann")
        add(buffer, 3)
        assert read(buffer) == [1, 2, 3]
        add(buffer, 4)
        assert numbers(frozen) == [1, 2]
        buffer.complete_replay("ann", version)
        assert held(buffer) == [3, 4]
        buffer.clear_buffer("ann")
        assert held(buffer) == [4]

    def test_a_clear_of_what_is_gone_does_not_disturb_a_replay(self, buffer: ReplayBuffer) -> None:
        """Where nothing is left of what this thread was handed, another's snapshot in progress goes on."""
        add(buffer, 1, 2)
        read(buffer)
        buffer.complete_replay("ann")
        add(buffer, 3)
        version = buffer.begin_snapshot("ann")
        buffer.clear_buffer("ann")
        assert numbers(buffer.finalize_snapshot("ann", version)) == [3]
        buffer.complete_replay("ann", version)
        assert held(buffer) == []

    def test_a_begin_takes_the_place_of_a_read(self, buffer: ReplayBuffer) -> None:
        """A reader that never clears does not shut out replays, and nothing is lost by that."""
        add(buffer, 1, 2)
        read(buffer)
        add(buffer, 3)
        version = buffer.begin_snapshot("ann")
        assert numbers(buffer.finalize_snapshot("ann", version)) == [1, 2, 3]
        buffer.abort_snapshot("ann")
        add(buffer, 4)
        assert held(buffer) == [1, 2, 3, 4]

    def test_a_begin_that_is_never_finalized_expires(self, buffer: ReplayBuffer, clock: Clock) -> None:
        """The next add finds it: everything is live again, and evictions take the oldest of all."""
        add(buffer, 1, 2, 3, 4, 5)
        buffer.begin_snapshot("ann")
        add(buffer, 6, 7)
        clock.now += 30
        add(buffer, *range(8, 13))
        assert held(buffer) == list(range(3, 13))
        assert buffer.get_stats()["measurements_evicted"] == 2

    def test_a_begin_that_expired_is_read_and_cleared_as_usual(self, buffer: ReplayBuffer, clock: Clock) -> None:
        """The same where a read finds it."""
        add(buffer, 1, 2)
        buffer.begin_snapshot("ann")
        add(buffer, 3)
        clock.now += 30
        assert read(buffer) == [1, 2, 3]
        add(buffer, 4)
        buffer.clear_buffer("ann")
        assert held(buffer) == [4]

    def test_begun_and_aborted_again_and_again(self, buffer: ReplayBuffer) -> None:
        """With more than two bounds frozen there is less room beside them, and the event times know that too."""
        for number in range(0, 30, 5):
            add(buffer, *range(number, number + 5))
            buffer.begin_snapshot("ann")
            buffer.finalize_snapshot("ann")
            add(buffer, 100 + number, 101 + number, 102 + number)
            if number < 25:
                buffer.abort_snapshot("ann")
        assert len(held(buffer)) <= 15
        buffer.complete_replay("ann")
        assert len(held(buffer)) <= 5


def test_an_add_that_was_interrupted(buffer: ReplayBuffer) -> None:
    """The core has it, the event times have not: they are looked up as soon as that shows."""
    add(buffer, 1, 2, 3)
    read(buffer)
    check_times(buffer)
    buffer._core.add_measurement("ann", {"number": 0, "timestamp": START})
    add(buffer, 4)
    assert held(buffer) == [1, 2, 3, 0, 4]


def test_what_aborts_have_piled_up_is_read_and_cleared(buffer: ReplayBuffer, clock: Clock) -> None:
    """Also where the read is the first to find that a begun snapshot has expired."""
    add(buffer, *range(5))
    buffer.begin_snapshot("ann")
    add(buffer, *range(5, 10))
    buffer.abort_snapshot("ann")
    buffer.begin_snapshot("ann")
    add(buffer, *range(10, 15))
    clock.now += 30
    assert read(buffer) == list(range(15))
    check_times(buffer)
    assert buffer.get_stats()["measurements_evicted"] == 0
    buffer.clear_buffer("ann")
    assert held(buffer) == []
