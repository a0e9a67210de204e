"""`Triggers`: what the older interface's config dict says, and when a buffer is ready. Knows no buffer."""

from typing import Any

from events import Clock
from statemachine._config import MOST
from statemachine._errors import InvalidArgumentError
from statemachine.compat._user import Moment

READY = ("time_based_trigger", "measurement_count_trigger")
"""The reasons for which a buffer is ready."""

DEFAULTS = {
    "buffer_hours": 72,
    "max_buffer_measurements": 100,
    "trigger_mode": "time_based",
    "outlier_detection": {"min_measurements_for_analysis": 5},
}


class Triggers:
    """The config dict, checked, and the rules of readiness in it.

    Parameters:
        config: the dict, or None; keys that are not in `DEFAULTS` are nobody's business here.
        clock: gives the time in seconds since the epoch.

    Attributes:
        config: what was given.
        hours: at which age of its oldest event a buffer is ready, in hours.
        most: how many measurements a user may have.

    Raises:
        InvalidArgumentError: a value is of the wrong type or makes no sense.

    Example:
        >>> triggers = Triggers({"trigger_mode": "measurement_count", "anything": "else"}, clock=lambda: 0.0)
        >>> triggers.most, triggers.reason(0, None)
        (100, 'empty_buffer')
    """

    def __init__(self, config: dict[Any, Any] | None, clock: Clock) -> None:
        _check("config", config, config is None or isinstance(config, dict), "a dict")
        self.config: dict[Any, Any] = dict(config or {})
        self._clock = clock
        found = {**DEFAULTS, **self.config}
        self.hours, self.most = checked_hours("buffer_hours", found["buffer_hours"]), found["max_buffer_measurements"]
        hint = " (0 meant no limit in the older class)"
        _check("max_buffer_measurements", self.most, _is_whole(self.most, 1), f"a whole number from 1 to 2**40{hint}")
        mode, analysis = found["trigger_mode"], found["outlier_detection"]
        modes = ("time_based", "measurement_count")
        _check("trigger_mode", mode, mode in modes, "'time_based' or 'measurement_count'")
        _check("outlier_detection", analysis, isinstance(analysis, dict), "a dict")
        key = "min_measurements_for_analysis"
        self._counts, self._least = mode == "measurement_count", analysis.get(key, 5)
        _check(key, self._least, _is_whole(self._least, 0), "a whole number from 0 to 2**40")

    def reason(self, size: int, oldest: Moment | None) -> str:
        """Why a buffer of so many measurements, of which this is the oldest event time, is ready or is not."""
        if oldest is None:
            return "empty_buffer"
        if size < self._least:
            return "insufficient_measurements"
        if self._counts:
            return READY[1] if size >= self.most else "threshold_not_reached"
        return READY[0] if self.age(oldest) >= self.hours else "threshold_not_reached"

    def age(self, moment: Moment) -> float:
        """How long ago it was, in hours; 0 where the clock fails, which must not make an add fail that is recorded."""
        try:
            return (self._clock() - moment[0]) / 3600
        except Exception:
            return 0.0


def checked_hours(key: str, value: Any) -> float:
    """The number of hours, which may be infinite.

    Raises:
        InvalidArgumentError: it is none, negative or NaN.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    _check(key, value, is_number and value >= 0, "a number of hours, at least 0")
    return float(value)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST


def _check(key: str, value: Any, fits: bool, expected: str) -> None:
    if not fits:
        raise InvalidArgumentError(f"{key} must be {expected}, not {value!r}")
