"""Policies that say when a user is due for a replay. Pure: they look at a `Window`, not at a buffer or a clock.

A policy is a value, to be put together from others:

    due.Count(5) & (due.Count(100) | due.Age(72 * 3600))

is due with 5 or more measurements, as soon as there are 100 or the oldest is three days old.
"""

import sys
from collections.abc import Callable
from functools import lru_cache
from math import inf, isfinite
from typing import Any

from attrs import field, frozen

from statemachine._errors import InvalidArgumentError

MOST_SECONDS = sys.float_info.max
"""No int above it can be computed with, though Python takes it for finite."""

AT_ONCE = -inf
NOT_AS_IT_IS = inf

NO_TIMES = (str, bytes, bytearray, bool)
"""What `float` would take, although it is no number of seconds."""

TimestampOf = Callable[[Any], Any]
"""Gives a measurement's own time: seconds since the epoch, or something with a `timestamp()` such as a datetime."""


@frozen
class Window:
    """What there is to replay, as far as a policy may ask.

    Parameters:
        count: how many measurements are live.
        arrived_at: when the oldest of them arrived, in seconds of the buffer's clock.
        oldest: gives the earliest of their own times, in seconds; None where nobody has looked at them yet.
    """

    count: int
    arrived_at: float
    oldest: Callable[[TimestampOf], float] | None = None

    def with_count(self, count: int) -> "Window":
        """The window, had it that many measurements."""
        return Window(count, self.arrived_at, self.oldest)


class DuePolicy:
    """Says from which time on a window is due. Subclasses are frozen values; `&` and `|` put them together.

    `due_from` must not go up when `count` does: more measurements never make a user less due. What makes a user due
    can then be waited for, instead of asking every user again and again.
    """

    def due_from(self, window: Window) -> float:
        """When the window is due if nothing else arrives, in seconds; `-inf` for at once, `inf` for not at all.

        Where the measurements' own times matter and `window.oldest` is None, the earliest it could be.
        """
        raise NotImplementedError

    def counts(self) -> frozenset[int]:
        """The counts above 1 at which the answer may change, and 1 where that may be due at once."""
        return frozenset()

    @property
    def looks_inside(self) -> bool:
        """Whether the answer depends on the measurements' own times."""
        return False

    @property
    def moves_with_arrival(self) -> bool:
        """Whether what arrives a second later is due a second later, unless at once or not at all.

        Only then is it known beforehand when a window will be due whose first measurement has yet to come. Without it,
        as with a policy that is due at a time of day, the first one costs a little more.
        """
        return False

    def __and__(self, other: "DuePolicy") -> "AllOf":
        return AllOf(self, other)

    def __or__(self, other: "DuePolicy") -> "AnyOf":
        return AnyOf(self, other)


@frozen
class Count(DuePolicy):
    """Due when at least this many measurements are live. Within an `AllOf` it is a minimum.

    Example:
        >>> Count(3).due_from(Window(3, arrived_at=0.0)), Count(3).due_from(Window(2, arrived_at=0.0))
        (-inf, inf)
    """

    measurements: int = field()

    @measurements.validator
    def _check(self, _attribute: object, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidArgumentError(f"a Count is a whole number of measurements, at least 1, not {value!r}")

    def due_from(self, window: Window) -> float:
        """See `DuePolicy.due_from`."""
        return AT_ONCE if window.count >= self.measurements else NOT_AS_IT_IS

    def counts(self) -> frozenset[int]:
        """See `DuePolicy.counts`."""
        return frozenset({self.measurements})

    @property
    def moves_with_arrival(self) -> bool:
        """See `DuePolicy.moves_with_arrival`."""
        return True


@frozen
class Age(DuePolicy):
    """Due when the oldest live measurement is at least this old, by its arrival or by its own time.

    By arrival, a window is as old as it has been since it was last empty: evicting its oldest does not make it younger.

    Parameters:
        seconds: the age.
        timestamp_of: gives a measurement's own time, in seconds since the epoch or as a datetime (a naive one is local
            time). The buffer's clock must tell the same time then, as `time.time` does. A measurement for which it
            raises, or gives neither, has no age. By arrival if omitted.

    Example:
        >>> Age(60).due_from(Window(1, arrived_at=40.0))
        100.0
    """

    seconds: float = field()
    timestamp_of: TimestampOf | None = field(default=None)

    @seconds.validator
    def _check_seconds(self, _attribute: object, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST_SECONDS:
            raise InvalidArgumentError(f"an Age is a positive, finite number of seconds, not {value!r}")

    @timestamp_of.validator
    def _check_timestamp_of(self, _attribute: object, value: object) -> None:
        if value is not None and not callable(value):
            raise InvalidArgumentError(f"timestamp_of must be a function of a measurement, not {value!r}")

    def due_from(self, window: Window) -> float:
        """See `DuePolicy.due_from`."""
        if not window.count:
            return NOT_AS_IT_IS
        if self.timestamp_of is None:
            return window.arrived_at + self.seconds
        return AT_ONCE if window.oldest is None else window.oldest(self.timestamp_of) + self.seconds

    @property
    def looks_inside(self) -> bool:
        """See `DuePolicy.looks_inside`."""
        return self.timestamp_of is not None

    @property
    def moves_with_arrival(self) -> bool:
        """See `DuePolicy.moves_with_arrival`."""
        return True


@frozen(init=False)
class _Several(DuePolicy):
    policies: tuple[DuePolicy, ...]
    _counts: frozenset[int] = field(eq=False, repr=False)

    def __init__(self, *policies: DuePolicy) -> None:
        for policy in policies:
            if not isinstance(policy, DuePolicy):
                raise InvalidArgumentError(f"{type(self).__name__} takes policies such as Count(100), not {policy!r}")
        if not policies:
            raise InvalidArgumentError(f"{type(self).__name__} needs at least one policy")
        self.__attrs_init__(policies, frozenset().union(*(policy.counts() for policy in policies)))

    def counts(self) -> frozenset[int]:
        """See `DuePolicy.counts`."""
        return self._counts

    @property
    def looks_inside(self) -> bool:
        """See `DuePolicy.looks_inside`."""
        return any(policy.looks_inside for policy in self.policies)

    @property
    def moves_with_arrival(self) -> bool:
        """See `DuePolicy.moves_with_arrival`."""
        return all(policy.moves_with_arrival for policy in self.policies)


@frozen(init=False)
class AnyOf(_Several):
    """Due as soon as one of the policies says so. `a | b` is the same.

    Example:
        >>> AnyOf(Count(100), Age(60)).due_from(Window(1, arrived_at=40.0))
        100.0
    """

    def due_from(self, window: Window) -> float:
        """See `DuePolicy.due_from`."""
        return min([policy.due_from(window) for policy in self.policies])


@frozen(init=False)
class AllOf(_Several):
    """Due when every one of the policies says so. `a & b` is the same.

    Example:
        >>> AllOf(Count(5), Age(60)).due_from(Window(1, arrived_at=40.0))
        inf
    """

    def due_from(self, window: Window) -> float:
        """See `DuePolicy.due_from`."""
        return max([policy.due_from(window) for policy in self.policies])


def room_and_due(policy: DuePolicy, window: Window, room: int, now: float = AT_ONCE) -> tuple[int, float]:
    """How much of `room` may be added before the policy must be asked again, and when to look at the window meanwhile.

    Parameters:
        policy: the policy.
        window: the window as it is.
        room: how many measurements may be added to it.
        now: the time up to which it is known not to be due, in seconds; `-inf` where that is not known.

    Returns:
        The room, cut short where one more measurement would make the window due by `now`; and the earliest time at
        which it can be due with at most that many more.
    """
    held, due_at = window.count, policy.due_from(window)
    waits = due_at > now
    for count in sorted(policy.counts()):
        if held < count <= held + room:
            then = policy.due_from(window.with_count(count))
            if waits and then <= now:
                room = count - held - 1
                break
            due_at = then
    if not held and room:  # from 0 to 1 every policy may change its mind, without any of its counts
        due_at = policy.due_from(window.with_count(room))
    return room, due_at


RoomAndDue = Callable[[Window, int, float], tuple[int, float]]
"""`room_and_due` for one policy: window, room and now."""


def remembering(policy: DuePolicy) -> RoomAndDue:
    """`room_and_due` for this policy, with a memory for what it is asked at nearly every decision.

    Windows of one size differ only in their arrival then, and most policies move with that.
    """

    @lru_cache(maxsize=256)
    def since_arrival(count: int, room: int) -> tuple[int, float]:
        return room_and_due(policy, Window(count, arrived_at=0.0), room)

    moves = policy.moves_with_arrival

    def ask(window: Window, room: int, now: float = AT_ONCE) -> tuple[int, float]:
        if not moves or now != AT_ONCE or window.oldest is not None or window.arrived_at == AT_ONCE:
            return room_and_due(policy, window, room, now)
        room, after = since_arrival(window.count, room)
        return room, window.arrived_at + after

    return ask


def seconds_of(measurement: Any, timestamp_of: TimestampOf) -> float:
    """A measurement's own time in seconds; `inf` for one that has none."""
    try:
        timestamp = timestamp_of(measurement)
        if isinstance(timestamp, NO_TIMES):
            return NOT_AS_IT_IS
        seconds = float(timestamp.timestamp() if hasattr(timestamp, "timestamp") else timestamp)
    except Exception:  # it is the application's function, and one odd measurement must not keep others from being due
        return NOT_AS_IT_IS
    return seconds if isfinite(seconds) else NOT_AS_IT_IS
