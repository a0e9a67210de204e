"""`Deadlines` says what a look at every stream would say, without that look."""

import hypothesis.strategies as st
from hypothesis import given

from events._deadlines import Deadlines

TIMES = st.integers(0, 5).map(float)
SETS = st.tuples(st.sampled_from("abcd"), st.none() | TIMES)
LOOKS = TIMES


@given(st.lists(SETS | LOOKS, max_size=60))
def test_it_is_a_dict_of_deadlines(steps: list[tuple[str, float | None] | float]) -> None:
    """Due are the streams whose deadline has come, earliest first and then in the order of being set, until changed."""
    deadlines, model = Deadlines(), dict[str, tuple[float, int]]()
    for number, step in enumerate(steps):
        if isinstance(step, tuple):
            stream, deadline = step
            deadlines.set(stream, deadline)
            model.pop(stream, None)
            if deadline is not None:
                model[stream] = deadline, number
        else:
            expected = sorted((entry, stream) for stream, entry in model.items() if entry[0] <= step)
            assert deadlines.due(step) == [stream for _, stream in expected]


def test_the_heap_stays_bounded() -> None:
    """However often deadlines change, there are few more entries than streams that have one."""
    deadlines = Deadlines()
    for number in range(5000):
        deadlines.set(f"user {number % 10}", float(number))
        assert len(deadlines) <= 2 * 10 + 16
    for number in range(10):
        deadlines.set(f"user {number}", None)
    assert len(deadlines) <= 16
    assert deadlines.due(float("inf")) == []


def test_looking_forgets_what_is_outdated() -> None:
    """A stream that was given the same deadline twice, with another between, is due once, and is kept once."""
    deadlines = Deadlines()
    for deadline in (1.0, 2.0, 1.0):
        deadlines.set("ann", deadline)
    assert len(deadlines) == 3
    assert deadlines.due(5.0) == ["ann"]
    assert len(deadlines) == 1
    assert deadlines.due(5.0) == ["ann"]


def test_a_deadline_that_is_not_there_can_be_taken_away() -> None:
    """Also of a stream that never had one; that of another stays."""
    deadlines = Deadlines()
    deadlines.set("ann", 1.0)
    deadlines.set("bob", None)
    assert deadlines.due(5.0) == ["ann"]
    for _ in range(2):
        deadlines.set("ann", None)
        assert deadlines.due(5.0) == []
