"""`Offsets` is a list of ascending numbers, however it is cut into ranges."""

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from events import Offsets


def cut(numbers: list[int], pieces: list[int]) -> Offsets:
    """The numbers as ranges: as many neighbours of one distance as the next piece says, at most."""
    runs, rest, lengths = [], numbers, iter(pieces)
    while rest:
        length, step = 1, rest[1] - rest[0] if len(rest) > 1 else 1
        limit = next(lengths, 1)
        while length < min(limit, len(rest)) and rest[length] - rest[length - 1] == step:
            length += 1
        runs.append(range(rest[0], rest[length - 1] + 1, step))
        rest = rest[length:]
    return Offsets(tuple(runs))


ASCENDING = st.lists(st.integers(1, 3), max_size=12).map(
    lambda gaps: [sum(gaps[:place]) for place in range(1, len(gaps) + 1)]
)
PIECES = st.lists(st.integers(1, 5), max_size=12)
BOUND = st.integers(-2, 40)


@given(ASCENDING, PIECES)
def test_it_reads_as_a_list(numbers: list[int], pieces: list[int]) -> None:
    """Length, order, truth, every place and no place beyond the last."""
    offsets = cut(numbers, pieces)
    assert list(offsets) == numbers
    assert len(offsets) == len(numbers)
    assert bool(offsets) == bool(numbers)
    assert [offsets[place] for place in range(len(numbers))] == numbers
    with pytest.raises(IndexError):
        offsets[len(numbers)]


@given(ASCENDING, PIECES, ASCENDING, PIECES)
def test_equal_offsets_are_equal_however_they_are_cut(
    numbers: list[int], pieces: list[int], others: list[int], other_pieces: list[int]
) -> None:
    """The ranges are a way to keep them, not a part of what they are."""
    assert cut(numbers, pieces) == cut(numbers, other_pieces)
    assert (cut(numbers, pieces) == cut(others, other_pieces)) == (numbers == others)


def test_offsets_equal_nothing_else_and_have_no_hash() -> None:
    """They are not the list or range they look like, nor others; and two cuts of the same must not differ in a set."""
    offsets = Offsets((range(3),))
    for other in (range(3), [0, 1, 2], None, Offsets((range(2),)), Offsets((range(4),))):
        assert offsets != other
    with pytest.raises(TypeError):
        hash(offsets)


@given(ASCENDING, PIECES, st.integers(1, 5), st.integers(0, 4), st.integers(1, 3))
def test_extending_puts_a_run_at_the_end(
    numbers: list[int], pieces: list[int], gap: int, length: int, step: int
) -> None:
    """What was there stays; an empty run changes nothing."""
    first = (numbers[-1] if numbers else 0) + gap
    run = range(first, first + length * step, step)
    before = cut(numbers, pieces)
    assert list(before.extended(run)) == [*numbers, *run]
    assert list(before) == numbers


@given(st.integers(1, 3), st.integers(0, 5), st.lists(st.integers(1, 4), min_size=1, max_size=20))
def test_offsets_that_keep_their_distance_share_a_range(step: int, start: int, lengths: list[int]) -> None:
    """A million that were added one by one cost what ten cost."""
    offsets = Offsets()
    for length in lengths:
        offsets = offsets.extended(range(start, start + length * step, step))
        start += length * step
    assert all(following - before == step for before, following in pairwise(offsets))
    assert len(offsets.runs) == 1


def test_offsets_at_another_distance_start_a_range() -> None:
    """Two distances cannot share a range; a single offset takes any."""
    offsets = Offsets((range(4),))
    assert offsets.extended(range(5, 9)).runs == (range(4), range(5, 9))
    assert offsets.extended(range(4, 9, 2)).runs == (range(4), range(4, 9, 2))
    assert Offsets((range(1),)).extended(range(7, 8)).runs == (range(0, 8, 7),)


@given(ASCENDING, PIECES, BOUND, BOUND)
def test_within_and_without_part_them(numbers: list[int], pieces: list[int], start: int, stop: int) -> None:
    """Every offset is within the bounds or without them; empty bounds have nothing within."""
    offsets = cut(numbers, pieces)
    within, without = offsets.within(start, stop), offsets.without(start, stop)
    assert list(within) == [number for number in numbers if start <= number < stop]
    assert list(without) == [number for number in numbers if not start <= number < stop]
    assert all(within.runs)
    assert all(without.runs)


@pytest.mark.parametrize("place", [-1, 3, 10])
def test_a_place_out_of_range_is_an_index_error(place: int) -> None:
    """Also a negative one: places are counted from the oldest."""
    with pytest.raises(IndexError, match=f"{place} of 3 offsets"):
        Offsets((range(3),))[place]


@given(ASCENDING, PIECES, BOUND)
def test_below_counts_what_lies_below(numbers: list[int], pieces: list[int], bound: int) -> None:
    """The bound itself does not count, also where it is the last of all."""
    offsets = cut(numbers, pieces)
    assert offsets.below(bound) == sum(number < bound for number in numbers)
    assert [offsets.below(number) for number in numbers] == list(range(len(numbers)))


def test_the_last_is_not_below_itself() -> None:
    """But below what comes next."""
    assert [Offsets((range(3),)).below(bound) for bound in (2, 3)] == [2, 3]


@given(ASCENDING, PIECES)
def test_every_offset_is_a_bound(numbers: list[int], pieces: list[int]) -> None:
    """The first of what is asked for is within, the bound at its end is not, also where that is the last of all."""
    offsets = cut(numbers, pieces)
    for number in numbers:
        assert list(offsets.within(0, number)) == [each for each in numbers if each < number]
        assert list(offsets.within(number, 99)) == [each for each in numbers if each >= number]
        assert list(offsets.without(0, number)) == [each for each in numbers if each >= number]
