"""Policies as values: what they say of a window, how they are put together, and what they refuse."""

from datetime import UTC, datetime
from math import inf, nan
from typing import Any

import hypothesis.strategies as st
import pytest
from attrs import frozen
from hypothesis import given

from statemachine import BufferConfig, InvalidArgumentError
from statemachine.due import (
    AT_ONCE,
    MOST_SECONDS,
    NOT_AS_IT_IS,
    Age,
    AllOf,
    AnyOf,
    Count,
    DuePolicy,
    Window,
    remembering,
    room_and_due,
    seconds_of,
)


def own(measurement: Any) -> float:
    return float(measurement)


COUNTS = st.builds(Count, st.integers(1, 12))
AGES = st.builds(Age, st.sampled_from([1, 5.0, 60.0]), st.none() | st.just(own))
POLICIES: st.SearchStrategy[DuePolicy] = st.recursive(
    COUNTS | AGES,
    lambda parts: st.builds(AllOf, parts, parts) | st.builds(AnyOf, parts, parts) | st.builds(AnyOf, parts),
    max_leaves=6,
)
TIMES = st.sampled_from([AT_ONCE, -3.0, 0.0, 40.0, 1e9])
OLDEST = st.none() | st.sampled_from([0.0, 7.0, inf]).map(lambda time: lambda timestamp_of: time)
WINDOWS = st.builds(Window, st.integers(0, 14), TIMES, OLDEST)


@frozen
class FromNoon(DuePolicy):
    """Due from a time of day on, whenever the measurements came."""

    noon: float = 1000.0

    def due_from(self, window: Window) -> float:
        return self.noon if window.count else NOT_AS_IT_IS


def test_a_count_is_due_when_so_many_are_live() -> None:
    """Due when at least this many measurements are live, whenever they came."""
    answers = [Count(3).due_from(Window(count, 50.0)) for count in range(5)]
    assert answers == [NOT_AS_IT_IS, NOT_AS_IT_IS, NOT_AS_IT_IS, AT_ONCE, AT_ONCE]
    assert Count(3).counts() == {3}
    assert not Count(3).looks_inside


def test_an_age_is_due_when_the_oldest_is_so_old() -> None:
    """Due when the oldest live measurement is at least this old, by its arrival; an empty window never is."""
    assert Age(60).due_from(Window(1, 40.0)) == 100.0
    assert Age(60).due_from(Window(99, 40.0)) == 100.0
    assert Age(60).due_from(Window(0, 40.0)) == NOT_AS_IT_IS
    assert Age(60).due_from(Window(1, AT_ONCE)) == AT_ONCE
    assert Age(60).counts() == frozenset()
    assert not Age(60).looks_inside


def test_an_age_by_own_times_is_due_when_somebody_has_to_look() -> None:
    """By its own time: the earliest it could be where nobody has looked, else so long after the earliest of them."""
    asked: list[object] = []
    policy = Age(60, own)
    assert policy.looks_inside
    assert policy.due_from(Window(1, 40.0)) == AT_ONCE
    assert policy.due_from(Window(1, 40.0, lambda timestamp_of: asked.append(timestamp_of) or 7.0)) == 67.0  # type: ignore[func-returns-value]
    assert asked == [own]
    assert policy.due_from(Window(1, 40.0, lambda timestamp_of: inf)) == NOT_AS_IT_IS
    assert policy.due_from(Window(0, 40.0, lambda timestamp_of: 7.0)) == NOT_AS_IT_IS


def test_policies_are_put_together() -> None:
    """`|` is due as soon as one says so, `&` when every one does; a count within an `AllOf` is a minimum."""
    policy = Count(5) & (Count(100) | Age(60))
    assert policy == AllOf(Count(5), AnyOf(Count(100), Age(60)))
    answers = [policy.due_from(Window(count, 40.0)) for count in (4, 5, 99, 100)]
    assert answers == [NOT_AS_IT_IS, 100.0, 100.0, AT_ONCE]
    assert policy.counts() == {5, 100}
    assert not policy.looks_inside
    assert (Count(5) & Age(60, own)).looks_inside
    assert AnyOf(Count(3)).due_from(Window(3, 0.0)) == AllOf(Count(3)).due_from(Window(3, 0.0)) == AT_ONCE


def test_policies_are_values() -> None:
    """Equal where they say the same; they can be hashed, and do not change."""
    assert Count(5) & Age(60) == Count(5) & Age(60.0)
    assert hash(Count(5) | Age(60)) == hash(Count(5) | Age(60))
    assert Count(5) | Age(60) != Count(5) & Age(60)
    assert Age(60) != Age(60, own)
    assert repr(Count(5) | Age(60)) == "AnyOf(policies=(Count(measurements=5), Age(seconds=60, timestamp_of=None)))"
    with pytest.raises(AttributeError):
        Count(5).measurements = 6  # type: ignore[misc]


@pytest.mark.parametrize("count", [0, -1, 1.0, True, "5", None, nan])
def test_a_count_must_be_a_whole_number(count: Any) -> None:
    """A count that could not be reached, or would always be, is refused and named."""
    with pytest.raises(InvalidArgumentError, match=r"a whole number of measurements, at least 1, not "):
        Count(count)


@pytest.mark.parametrize("seconds", [0, -1, inf, nan, True, "60", None, 10**400])
def test_an_age_must_be_a_number_of_seconds(seconds: Any) -> None:
    """What could never be added to a time is refused when the policy is made, not at the first measurement."""
    with pytest.raises(InvalidArgumentError, match=r"a positive, finite number of seconds, not "):
        Age(seconds)


def test_timestamp_of_must_be_a_function() -> None:
    """The name of a field is none."""
    with pytest.raises(InvalidArgumentError, match="timestamp_of must be a function of a measurement, not 'time'"):
        Age(60, "time")  # type: ignore[arg-type]


def test_only_policies_can_be_put_together() -> None:
    """A bare number says neither count nor seconds; and one has to have at least one policy."""
    for several in (AllOf, AnyOf):
        with pytest.raises(
            InvalidArgumentError, match=rf"{several.__name__} takes policies such as Count\(100\), not 5"
        ):
            several(Count(1), 5)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgumentError, match="at least one policy"):
            several()
    with pytest.raises(InvalidArgumentError, match="not 5"):
        Count(5) | 5  # type: ignore[operator]
    with pytest.raises(InvalidArgumentError, match="not 5"):
        Count(5) & 5  # type: ignore[operator]


def test_a_config_takes_only_policies_that_can_come_true() -> None:
    """A count above the bound would wait for ever; without a policy there is one that fits the bound."""
    with pytest.raises(InvalidArgumentError, match="due waits for 7 measurements, but max_measurements is 5"):
        BufferConfig(max_measurements=5, due=Count(5) & (Count(7) | Age(60)))
    with pytest.raises(InvalidArgumentError, match="due must be a policy"):
        BufferConfig(due=100)  # type: ignore[arg-type]
    assert BufferConfig().due_policy == Count(5) & (Count(100) | Age(72 * 3600))
    assert BufferConfig(max_measurements=3).due_policy.counts() == {3}


def test_a_policy_that_says_nothing_is_no_policy() -> None:
    """Who writes one has to say when a window is due; what else there is to say has an answer."""
    policy = DuePolicy()
    with pytest.raises(NotImplementedError):
        policy.due_from(Window(1, 0.0))
    assert (policy.counts(), policy.looks_inside, policy.moves_with_arrival) == (frozenset(), False, False)


def test_what_moves_with_the_arrival_is_known_of_each_policy() -> None:
    """Counts and ages do; one at a time of day does not, nor what it is part of."""
    assert (Count(5) & (Count(9) | Age(60))).moves_with_arrival
    assert not (Count(5) & FromNoon()).moves_with_arrival


@pytest.mark.parametrize(
    ("timestamp", "seconds"),
    [
        (5, 5.0),
        (5.5, 5.5),
        (datetime(1970, 1, 1, 0, 1, tzinfo=UTC), 60.0),
        (datetime(1970, 1, 2), datetime(1970, 1, 2).timestamp()),
        (None, inf),
        ("60", inf),
        (b"60", inf),
        (True, inf),
        (nan, inf),
        (-inf, inf),
        (10**400, inf),
        (object(), inf),
    ],
)
def test_a_measurements_own_time(timestamp: Any, seconds: float) -> None:
    """Seconds, or something with a `timestamp()`; what gives neither has no age, and never holds up others."""
    assert seconds_of("m", lambda measurement: timestamp) == seconds


def test_a_function_that_raises_gives_no_time() -> None:
    """A measurement for which it raises has no age."""
    assert seconds_of({"weight": 81.5}, lambda measurement: measurement["time"]) == inf


@given(POLICIES, WINDOWS)
def test_more_measurements_never_make_a_user_less_due(policy: DuePolicy, window: Window) -> None:
    """`due_from` never goes up with the count, and changes only at the counts that are named, or from none to one."""
    answers = [policy.due_from(window.with_count(count)) for count in range(20)]
    assert answers == sorted(answers, reverse=True)
    changes = {count for count in range(2, 20) if answers[count] != answers[count - 1]}
    assert changes <= policy.counts()


@given(POLICIES | st.builds(FromNoon), WINDOWS, st.integers(0, 20), TIMES)
def test_no_user_becomes_due_unseen(policy: DuePolicy, window: Window, room: int, now: float) -> None:
    """Within the room nobody is due by `now`, and before the time given nobody is due; as asking at every add says."""
    granted, look_at = room_and_due(policy, window, room, now)
    assert 0 <= granted <= room
    answers = [policy.due_from(window.with_count(window.count + added)) for added in range(room + 1)]
    assert look_at == min(answers[: granted + 1])
    if answers[0] > now and window.count:
        assert look_at > now
    if granted < room:
        assert answers[granted + 1] <= now < answers[0]


@given(POLICIES | st.builds(FromNoon), WINDOWS, st.integers(0, 20), TIMES)
def test_remembering_changes_no_answer(policy: DuePolicy, window: Window, room: int, now: float) -> None:
    """What is remembered of one window is said of another only where that is right."""
    ask = remembering(policy)
    for other in (window, Window(window.count, window.arrived_at + 17.0), window):
        assert ask(other, room, now) == room_and_due(policy, other, room, now)
        assert ask(other, room, AT_ONCE) == room_and_due(policy, other, room)


def test_what_is_known_not_to_be_due_is_not_remembered_of_another_time() -> None:
    """By now two would be due, so there is no room for a second; when nobody has looked, there is."""
    policy, window = AllOf(Count(2), Age(5)), Window(1, 0.0)
    ask = remembering(policy)
    assert ask(window, 3, AT_ONCE) == (3, 5.0)
    assert ask(window, 3, 100.0)[0] == 0


def test_what_arrived_nobody_knows_when_is_asked_for_as_it_is() -> None:
    """An arrival of long ago is no time to count from: what is not due by age is not due at no time at all."""
    ask = remembering(Count(3))
    assert ask(Window(1, AT_ONCE), 1, AT_ONCE) == (1, NOT_AS_IT_IS)


def test_a_window_with_another_count_is_otherwise_the_same() -> None:
    """Its arrival and its measurements' own times are asked for as before."""
    window = Window(3, 1.0, lambda timestamp_of: 2.0).with_count(5)
    assert (window.count, window.arrived_at) == (5, 1.0)
    assert window.oldest is not None
    assert window.oldest(own) == 2.0


def test_a_policy_of_none_is_named() -> None:
    """The error says which one it was."""
    with pytest.raises(InvalidArgumentError, match=r"^AnyOf needs at least one policy$"):
        AnyOf()


def test_the_longest_age_that_may_be() -> None:
    """As long as any other number of seconds, and no longer."""
    assert Age(MOST_SECONDS).seconds == MOST_SECONDS
    with pytest.raises(InvalidArgumentError, match="seconds"):
        Age(inf)


def test_what_is_due_already_has_all_its_room() -> None:
    """Its room is cut short only where one more measurement would make it due."""
    assert room_and_due(AnyOf(Age(10), Count(5)), Window(3, arrived_at=0.0), 10, now=10.0) == (10, AT_ONCE)
