"""`Backoff`: how long to wait after a failed replay. Pure: the randomness is handed in."""

from typing import Any

from attrs import Attribute, field, frozen

from statemachine._errors import InvalidArgumentError


def _at_least(least: float) -> Any:
    def check(_backoff: object, attribute: "Attribute[Any]", value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
            raise InvalidArgumentError(f"{attribute.name} must be a finite number of at least {least}, not {value!r}")

    return check


def _share(_backoff: object, attribute: "Attribute[Any]", value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidArgumentError(f"{attribute.name} must be a number from 0 to 1, not {value!r}")


@frozen
class Backoff:
    """Exponential back-off with jitter: each wait is longer than the one before, and no two users wait equally long.

    Without jitter, replays that failed together because a database was away would all come back to it together. See
    Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Parameters:
        first: seconds to wait after the first failure.
        factor: how much longer each further wait is.
        longest: the most seconds to wait.
        jitter: the share of the wait that is left to chance, from 0 (none) to 1 (all).

    Raises:
        InvalidArgumentError: a value is of the wrong type or makes no sense.

    Example:
        >>> backoff = Backoff(first=1, factor=2, longest=60, jitter=0.5)
        >>> [backoff.delay(attempt, chance=0.0) for attempt in (1, 2, 3, 100)]
        [1.0, 2.0, 4.0, 60.0]
        >>> backoff.delay(3, chance=1.0)
        2.0
    """

    first: float = field(default=1.0, validator=_at_least(0))
    factor: float = field(default=2.0, validator=_at_least(1))
    longest: float = field(default=3600.0, validator=_at_least(0))
    jitter: float = field(default=0.5, validator=_share)

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds to wait after so many failed attempts.

        Parameters:
            attempt: how many have failed, from 1 on.
            chance: a random number from 0 to 1.
        """
        try:
            wait = min(self.longest, self.first * self.factor ** (attempt - 1))
        except OverflowError:
            wait = self.longest
        return wait * (1 - self.jitter * chance)
