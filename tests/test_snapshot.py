"""`FrozenSnapshot`: an immutable sequence."""

from collections.abc import Sequence

import pytest

from events import AbortBegun, MemoryLog
from statemachine import BufferConfig, FrozenSnapshot, ReplayBuffer, StaleSnapshotError


def frozen_of(count: int, evicted: int = 0) -> tuple[FrozenSnapshot[int], list[int]]:
    buffer: ReplayBuffer[int] = ReplayBuffer(config=BufferConfig(max_measurements=count))
    for number in range(count + evicted):
        buffer.add_measurement("ann", number)
    version = buffer.begin_snapshot("ann")
    buffer.add_measurement("ann", -1)
    return buffer.finalize_snapshot("ann", version), list(range(evicted, count + evicted))


@pytest.mark.parametrize(("count", "evicted"), [(1, 0), (5, 0), (5, 3), (100, 37), (9000, 0), (5000, 2500)])
def test_it_is_the_sequence_that_was_frozen(count: int, evicted: int) -> None:
    """Length, iteration, indexing from both ends, slices, search: as of a list; also where evictions lie between."""
    frozen, expected = frozen_of(count, evicted)
    assert isinstance(frozen, Sequence)
    assert len(frozen) == count
    assert list(frozen) == expected
    assert list(iter(frozen)) == expected
    assert list(reversed(frozen)) == expected[::-1] if count < 200 else frozen[-1] == expected[-1]
    assert [frozen[place] for place in (0, -1, count // 2)] == [expected[place] for place in (0, -1, count // 2)]
    assert frozen[1:4] == expected[1:4]
    assert frozen[-3::2] == expected[-3::2]
    assert frozen.index(expected[-1]) == count - 1
    assert expected[0] in frozen
    assert -1 not in frozen


@pytest.mark.parametrize("place", [3, -4])
def test_a_place_out_of_range_is_an_index_error(place: int) -> None:
    """As of a list."""
    with pytest.raises(IndexError, match=f"version 1: 3 measurements .* has no place {place}"):
        frozen_of(3)[0][place]


def test_it_cannot_be_changed() -> None:
    """Neither its attributes nor its measurements can be set."""
    frozen, _ = frozen_of(3)
    for name in ("version", "start", "anything"):
        with pytest.raises(AttributeError):
            setattr(frozen, name, 7)
    with pytest.raises(TypeError):
        frozen[0] = 7  # type: ignore[index]
    assert frozen.version == 1


def test_by_timestamp_keeps_the_order_of_arrival_among_equals() -> None:
    """Measurements by their own time; of equal times the one that arrived first comes first."""
    buffer: ReplayBuffer[tuple[int, str]] = ReplayBuffer()
    buffer.add_measurements("ann", [(2, "late"), (1, "first"), (1, "second"), (0, "early")])
    with buffer.snapshot("ann") as frozen:
        assert frozen.by_timestamp(lambda m: m[0]) == [(0, "early"), (1, "first"), (1, "second"), (2, "late")]


def test_beginning_and_finalizing_copies_no_measurement() -> None:
    """Both ask the log for no measurement at all, however many the buffer holds."""
    asked = []

    class Watched(MemoryLog[int]):
        def measurements(self, stream: str, offsets: range) -> Sequence[int]:
            asked.append(offsets)
            return super().measurements(stream, offsets)

    buffer: ReplayBuffer[int] = ReplayBuffer(Watched(), BufferConfig(max_measurements=100_000))
    buffer.add_measurements("ann", range(100_000))
    buffer.begin_snapshot("ann")
    frozen = buffer.finalize_snapshot("ann")
    assert asked == []
    assert len(frozen) == 100_000
    assert frozen[99_999] == 99_999
    assert asked == [range(99_999, 100_000)]


def test_it_says_how_it_was_settled() -> None:
    """Completed or aborted, and nothing before; an abort needs no reason."""
    buffer: ReplayBuffer[int] = ReplayBuffer()
    buffer.add_measurement("ann", 1)
    for settle, settled in ((FrozenSnapshot.abort, "aborted"), (FrozenSnapshot.complete, "completed")):
        frozen = buffer.finalize_snapshot("ann", buffer.begin_snapshot("ann"))
        assert frozen.settled == ""
        settle(frozen)
        assert frozen.settled == settled
        reasons = [each.event.reason for each in buffer.events("ann") if isinstance(each.event, AbortBegun)]
        assert reasons == [""] * (settled == "aborted")


def test_what_cannot_be_read_any_more_says_whose_it_was() -> None:
    """Who reads the error of one replay among thousands knows whom it concerns."""
    buffer: ReplayBuffer[int] = ReplayBuffer()
    buffer.add_measurement("ann", 1)
    frozen = buffer.finalize_snapshot("ann", buffer.begin_snapshot("ann"))
    frozen.complete()
    with pytest.raises(StaleSnapshotError, match=r"^user 'ann': snapshot 1 is over") as refused:
        list(frozen)
    assert refused.value.user_id == "ann"
