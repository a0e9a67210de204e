"""Reading a clock that belongs to somebody else; knows nothing of logs."""

from collections.abc import Callable

Clock = Callable[[], float]
"""Returns the time in seconds, like `time.time`."""

LATEST = 1e300
"""A time that no clock shows."""


def time_of(clock: Clock) -> float | None:
    """The time, if the clock is in its right mind.

    Example:
        >>> time_of(lambda: 100.0), time_of(lambda: float("nan"))
        (100.0, None)
    """
    try:
        now = clock()
    except Exception:
        return None
    return now if isinstance(now, int | float) and -LATEST < now < LATEST else None
