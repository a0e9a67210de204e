"""`Times`: reads points in time without being told their format. Must not know files."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import product

from attrs import frozen

from statemachine.cli._command import quoted

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(r"\d{4}(-\d\d-\d\d|\d{4})([T ]\d.*)?")


@frozen
class TimeFormat:
    """One way to write a point in time.

    Attributes:
        name: what it is called: its `strptime` format, where it has one.
        read: gives the point in time, or raises `ValueError`.

    Example:
        >>> strptime_format("%d.%m.%Y %H:%M").read("12.04.2016 23:59")
        datetime.datetime(2016, 4, 12, 23, 59)
    """

    name: str
    read: Callable[[str], datetime]


def strptime_format(pattern: str) -> TimeFormat:
    """The format that `datetime.strptime` knows by this pattern.

    Raises:
        ValueError: it knows no such pattern.
    """
    sample = _EPOCH.strftime(pattern)
    try:
        datetime.strptime(sample, pattern)  # a pattern that cannot read what it wrote is none
    except re.error as error:  # one that has a part twice
        raise ValueError(f"has a part twice ({error})") from None
    return TimeFormat(pattern, lambda text: datetime.strptime(text, pattern))


def _iso(text: str) -> datetime:
    """More strictly than `fromisoformat`, which takes any character for the T and so reads some plain numbers too."""
    if not _ISO.fullmatch(text):
        raise ValueError(text)
    return datetime.fromisoformat(text)


def _epoch(name: str, digits: str, unit: timedelta) -> TimeFormat:
    shape = re.compile(rf"\d{{{digits}}}(\.\d+)?")

    def read(text: str) -> datetime:
        if not shape.fullmatch(text):
            raise ValueError(text)
        return _EPOCH + float(text) * unit

    return TimeFormat(name, read)


def _candidates() -> Iterable[TimeFormat]:
    """Every format that is tried, the likelier first: of those that read a whole file the first is chosen."""
    yield TimeFormat("ISO 8601", _iso)
    yield _epoch("seconds since 1970", "9,10", timedelta(seconds=1))
    yield _epoch("milliseconds since 1970", "12,13", timedelta(milliseconds=1))
    clocks = [
        "",
        *(
            joint + clock
            for joint, clock in product(
                (" ", ", "),
                ("%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%I:%M:%S%p", "%I:%M%p", "%H:%M:%S.%f"),
            )
        ),
    ]
    for day in (
        *("%m/%d/%Y", "%m-%d-%Y", "%m/%d/%y", "%m-%d-%y"),
        *("%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y", "%d/%m/%y", "%d-%m-%y", "%d.%m.%y"),
        *("%Y/%m/%d", "%Y-%m-%d", "%Y.%m.%d"),
    ):
        for clock in clocks:
            yield strptime_format(day + clock)
    yield strptime_format("%Y%m%d%H%M%S")


COMMON = tuple(_candidates())
"""The formats that are tried when none is named."""


class Times:
    """Reads a column of times, all in one format: the first candidate that can read every one of them.

    The format is never guessed time by time: a candidate that cannot read one of them is out for good.

    Parameters:
        candidates: the formats to choose among.

    Example:
        >>> times = Times()
        >>> times.read("4/12/2016"), times.read("4/13/2016")  # the second rules out that the day comes first
        (datetime.datetime(2016, 4, 12, 0, 0), datetime.datetime(2016, 4, 13, 0, 0))
        >>> [fit.name for fit in times.fitting]
        ['%m/%d/%Y']
    """

    def __init__(self, candidates: Iterable[TimeFormat] = COMMON) -> None:
        self.fitting = list(candidates)
        self._all = tuple(self.fitting)
        self._has_zone: bool | None = None

    def read(self, text: str) -> datetime:
        """The point in time, read in the best format that has read every text so far.

        Raises:
            ValueError: no format that has read every text so far can read this one, or it has a zone where the others
                have none (or the other way round), so that they cannot be compared. The message says which.
        """
        fitting, moments = [], []
        for candidate in self.fitting:
            try:
                moments.append(candidate.read(text))
            except ValueError:
                continue
            fitting.append(candidate)
        if not fitting:
            raise ValueError(self._complaint(text))
        moment, self.fitting = moments[0], fitting
        has_zone = moment.tzinfo is not None
        if self._has_zone not in (None, has_zone):
            raise ValueError(
                f"{quoted(text)} has {'a' if has_zone else 'no'} time zone, but the rows above have "
                f"{'none' if has_zone else 'one'}, so they cannot be put in order"
            )
        self._has_zone = has_zone
        return moment

    def chosen(self) -> "Times":
        """A reader of the chosen format only, for going through the same column again."""
        return Times(self.fitting[:1])

    def _complaint(self, text: str) -> str:
        if len(self._all) == 1:
            return f"cannot read {quoted(text)} as a time ({self._all[0].name})"
        if any(_reads(candidate, text) for candidate in self._all):
            return f"{quoted(text)} is not written like the rows above ({self.fitting[0].name})"
        return f"cannot read {quoted(text)} as a time; --time-format can say how it is written"


def _reads(candidate: TimeFormat, text: str) -> bool:
    try:
        candidate.read(text)
    except ValueError:
        return False
    return True
