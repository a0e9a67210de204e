"""What one case of the soak does, and what comes of it. Knows no buffer."""

from collections.abc import Sequence
from math import ceil
from statistics import fmean

from attrs import frozen

RATE = 1000
"""Measurements a second."""

TICK = 10
"""How many of them come at once."""

REPLAYS = 6
"""How many replays there is time for, one after another: of 10 s in a minute."""

PERIODS = 10 * REPLAYS
"""How often memory is looked at: each second of a minute."""

WINDOW = 60
"""With how many measurements one of many users is due."""

FAILS = 4
"""Every such attempt fails."""


@frozen
class Case:
    """What one process does.

    Parameters:
        users: how many users the measurements are spread over.
        path: the file they are kept in; in memory if empty.
        seconds: for how long.
    """

    users: int
    path: str
    seconds: float

    @property
    def replay(self) -> float:
        """Seconds that a replay takes."""
        return self.seconds / REPLAYS

    @property
    def period(self) -> float:
        """Seconds between two looks at memory."""
        return self.seconds / PERIODS

    @property
    def adds(self) -> int:
        """How many measurements are to be added at a steady pace."""
        return ceil(RATE * self.seconds)

    @property
    def before(self) -> list[int]:
        """How many are added for each user before the clock starts: of many, the next one is due every few moments."""
        if self.users == 1:
            return [ceil(RATE * self.replay)]
        return [max(0, number * WINDOW // self.users - 1) for number in range(self.users)]

    @property
    def total(self) -> int:
        """How many measurements there are at most, those included that are replayed before the clock starts."""
        return self.workers * self.due + 2 * (self.users - 1) + sum(self.before) + self.adds

    @property
    def due(self) -> int:
        """With how many measurements a user is due."""
        return 1 if self.users == 1 else WINDOW

    @property
    def workers(self) -> int:
        """How many threads replay: as many users as become due while a replay takes, and those of failed replays."""
        return 1 if self.users == 1 else ceil(RATE / WINDOW * self.replay * 1.5) + 2


@frozen
class Outcome:
    """What came of a case.

    Attributes:
        rate: measurements added a second.
        latencies: of the adds, in seconds: p50, p99 and the longest.
        late: seconds by which an add came after its time at most; those that are too late to be in time are left out.
        slow: p99 of the adds of each period.
        memory: bytes resident at the end of each period.
        completed: how many replays were.
        failed: how many failed as they were told to.
        added: how many measurements were added, those before the clock started included.
        replayed: how many of them completed replays have covered.
        live: how many are in the buffer at the end.
        lost: how many are neither, or how many fewer the audit finds, whichever is more.
        odd: what there should be none of, and how many there were.
    """

    rate: float
    latencies: tuple[float, float, float]
    late: float
    slow: Sequence[float]
    memory: Sequence[int]
    completed: int
    failed: int
    added: int
    replayed: int
    live: int
    lost: int
    odd: dict[str, int]

    @property
    def at_start(self) -> float:
        """Bytes resident once the first replays have ended, as a mean over as long as one takes."""
        each = PERIODS // REPLAYS
        return fmean(self.memory[each : 2 * each])

    @property
    def at_end(self) -> float:
        """The same of the last such time."""
        return fmean(self.memory[-PERIODS // REPLAYS :])
