"""`Earliest`: remembers each user's earliest live measurement by its own time. Must not know policies or logs."""

from collections.abc import Callable, Iterable
from math import inf
from typing import Any

from attrs import frozen

from events import Offsets

Seconds = Callable[[Any], float]
"""Gives a measurement's own time, in seconds; `inf` for one that has none."""


@frozen
class _Known:
    """The earliest time of the live measurements from offset `oldest` to below offset `stop`."""

    asked: object
    oldest: int
    stop: int
    seconds: float


class Earliest:
    """The earliest of the live measurements' own times, for which each measurement is looked at once.

    What is known holds as long as the oldest live measurement is the same: idle users lose their oldest first, and
    others none that was looked at. There is one entry a user, for the function that was asked for last, and `forget`
    drops it. It may be used from several threads; who comes with an older state than what is known looks at all of it.

    Example:
        >>> earliest, looked_at = Earliest(), []
        >>> def read(offsets):
        ...     looked_at.extend(offsets)
        ...     return [100.0 + offset for offset in offsets]
        >>> earliest.of("ann", Offsets((range(3),)), float, float, read)
        100.0
        >>> earliest.of("ann", Offsets((range(5),)), float, float, read), looked_at
        (100.0, [0, 1, 2, 3, 4])
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def __len__(self) -> int:
        """For how many users something is known."""
        return len(self._known)

    def of(
        self,
        user_id: str,
        offsets: Offsets,
        asked: object,
        seconds: Seconds,
        read: Callable[[range], Iterable[Any]],
    ) -> float:
        """The earliest time, in seconds; `inf` where no measurement has any.

        Parameters:
            user_id: whose measurements.
            offsets: those of the live ones, at least one.
            asked: what `seconds` is made of; it is the same question only if this is the same object.
            seconds: gives the time of a measurement.
            read: gives the measurements at a range of offsets.
        """
        oldest, stop = offsets[0], offsets.runs[-1][-1] + 1
        known = self._known.get(user_id)
        if known is None or known.asked is not asked or known.oldest != oldest or known.stop > stop:
            known = _Known(asked, oldest, oldest, inf)
        unseen = (seconds(measurement) for run in offsets.within(known.stop, stop).runs for measurement in read(run))
        found = min(unseen, default=inf)
        self._known[user_id] = known = _Known(asked, oldest, stop, min(known.seconds, found))
        return known.seconds

    def forget(self, user_id: str) -> None:
        """Let go of what is known of the user."""
        self._known.pop(user_id, None)
