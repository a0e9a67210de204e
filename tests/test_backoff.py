"""`Backoff`: how long to wait after a failed replay."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachine import Backoff, InvalidArgumentError


def test_each_wait_is_longer_than_the_one_before() -> None:
    """Exponential: the wait grows by the factor with every failure, up to the longest."""
    backoff = Backoff(first=2, factor=3, longest=100, jitter=0)
    assert [backoff.delay(attempt, 0.7) for attempt in range(1, 6)] == [2, 6, 18, 54, 100]


def test_the_wait_is_the_longest_where_the_exponent_overflows() -> None:
    """A user who fails for ever does not make the manager fail."""
    assert Backoff(longest=60, jitter=0).delay(10**6, 0.0) == 60


def test_the_usual_wait() -> None:
    """A second after the first failure, an hour at most, half of it left to chance."""
    assert Backoff() == Backoff(first=1.0, factor=2.0, longest=3600.0, jitter=0.5)


@given(st.integers(1, 5000), st.floats(0, 1), st.floats(0, 1))
def test_jitter_shortens_by_its_share_at_most(attempt: int, chance: float, jitter: float) -> None:
    """The share left to chance is taken off, and the wait is never longer than the longest, nor negative."""
    whole = Backoff(jitter=0).delay(attempt, chance)
    wait = Backoff(jitter=jitter).delay(attempt, chance)
    assert whole * (1 - jitter) * (1 - 1e-9) <= wait <= whole <= 3600


def test_two_users_do_not_wait_equally_long() -> None:
    """What failed together does not come back together."""
    assert Backoff().delay(3, 0.1) != Backoff().delay(3, 0.2)


@pytest.mark.parametrize("name", ["first", "factor", "longest", "jitter"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "1", None, True])
def test_values_that_make_no_sense(name: str, value: Any) -> None:
    """They are refused when the back-off is made, by name."""
    with pytest.raises(InvalidArgumentError, match=f"{name} must be a"):
        Backoff(**{name: value})


@pytest.mark.parametrize("bad", [{"factor": 0.9}, {"jitter": 1.1}])
def test_waits_do_not_shrink(bad: dict[str, float]) -> None:
    """A factor below 1 or more jitter than there is to wait is refused; 0 seconds, factor 1 and jitter 1 are not."""
    with pytest.raises(InvalidArgumentError):
        Backoff(**bad)
    assert Backoff(first=0, factor=1, longest=0, jitter=1).delay(1, 1.0) == 0
