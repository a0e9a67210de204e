"""`Earliest` says what looking at every live measurement would say, and looks at each of them once."""

from collections.abc import Sequence
from math import inf

import hypothesis.strategies as st
from hypothesis import given

from events import Offsets
from statemachine._earliest import Earliest


class Window:
    """Times by offset, which may be read and count how often."""

    def __init__(self, times: Sequence[float]) -> None:
        self.times, self.read_offsets = list(times), list[int]()

    def read(self, run: range) -> list[float]:
        self.read_offsets += run
        return [self.times[offset] for offset in run]

    def earliest(self, earliest: Earliest, start: int, asked: object = "age") -> float:
        offsets = Offsets((range(start, len(self.times)),))
        return earliest.of("ann", offsets, asked, lambda time: time, self.read)


def test_each_measurement_is_looked_at_once() -> None:
    """However often somebody asks, only what has come since is read; whatever its time."""
    earliest, window = Earliest(), Window([5.0, 3.0, 9.0])
    assert window.earliest(earliest, 0) == 3.0
    assert window.earliest(earliest, 0) == 3.0
    window.times += [4.0, 1.0]
    assert window.earliest(earliest, 0) == 1.0
    assert window.read_offsets == [0, 1, 2, 3, 4]


def test_what_was_known_ends_with_the_oldest() -> None:
    """When the oldest is gone, its time may have been the earliest: all are looked at again."""
    earliest, window = Earliest(), Window([1.0, 3.0, 9.0])
    assert window.earliest(earliest, 0) == 1.0
    assert window.earliest(earliest, 1) == 3.0
    assert window.read_offsets == [0, 1, 2, 1, 2]


def test_who_comes_with_an_older_state_looks_himself() -> None:
    """A thread that has read the state before others added gets the answer for what it has seen."""
    earliest, window = Earliest(), Window([5.0, 3.0, 1.0])
    assert window.earliest(earliest, 0) == 1.0
    assert earliest.of("ann", Offsets((range(2),)), "age", lambda time: time, window.read) == 3.0


def test_another_question_has_another_answer() -> None:
    """What is known of one function's times says nothing of another's."""
    earliest, window = Earliest(), Window([5.0, 3.0])
    assert window.earliest(earliest, 0, asked="age") == 3.0
    offsets = Offsets((range(2),))
    assert earliest.of("ann", offsets, "other", lambda time: -time, window.read) == -5.0
    assert window.earliest(earliest, 0, asked="age") == 3.0
    assert len(earliest) == 1


def test_measurements_without_a_time_are_later_than_all() -> None:
    """Where none has any, there is no earliest."""
    assert Window([inf, inf]).earliest(Earliest(), 0) == inf


def test_users_do_not_mix_and_can_be_forgotten() -> None:
    """One entry for each user who has measurements; none is left of those who have none any more."""
    earliest, window = Earliest(), Window([5.0])
    for number in range(1000):
        user = f"user {number}"
        assert (
            earliest.of(user, Offsets((range(1),)), "age", lambda time, n=number: time + n, window.read) == 5.0 + number
        )
        assert len(earliest) == 1
        earliest.forget(user)
        earliest.forget(user)
    assert len(earliest) == 0


STEPS = st.lists(st.tuples(st.sampled_from(["add", "drop", "ask"]), st.sampled_from([1.0, 2.0, 3.0, inf])), max_size=40)


@given(STEPS)
def test_it_is_the_least_of_a_list(steps: list[tuple[str, float]]) -> None:
    """Whatever comes and goes at the old end, in whatever order it is asked."""
    earliest, window, start = Earliest(), Window([4.0]), 0
    for step, time in steps:
        if step == "add":
            window.times.append(time)
        elif step == "drop" and start < len(window.times) - 1:
            start += 1
        else:
            assert window.earliest(earliest, start) == min(window.times[start:])
