"""`User`: one user's buffer in the core, and the event times beside it. Knows no triggers and no marks of threads."""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from operator import itemgetter
from threading import RLock
from typing import Any

from statemachine._buffer import ReplayBuffer
from statemachine._errors import InvalidArgumentError, NoSnapshotError
from statemachine._state import BufferState

Measurement = dict[str, Any]

Moment = tuple[float, datetime, int]
"""An event time: in seconds since the epoch, to compare by; the very datetime, to give back; its place among all."""

Held = tuple[int, Moment | None, Moment | None]
"""How many measurements are held, and the oldest and the newest of their event times."""


def seconds(timestamp: datetime) -> float:
    """The event time in seconds since the epoch; a naive one means local time, as `datetime.timestamp` takes it.

    Example:
        >>> seconds(datetime(1970, 1, 2, tzinfo=UTC))
        86400.0
    """
    try:
        return timestamp.timestamp()
    except (ValueError, OverflowError, OSError):  # the platform has no local time so near to datetime.min or max
        return timestamp.replace(tzinfo=UTC).timestamp()


def checked(measurement: Measurement) -> tuple[Measurement, float]:
    """A copy of the measurement, and its event time in seconds.

    Raises:
        InvalidArgumentError: it is no dict with a datetime.
        Exception: what the tzinfo of that raised, if it is the application's own.
    """
    kept = dict(measurement) if isinstance(measurement, dict) else {}
    timestamp = kept.get("timestamp")
    if not isinstance(timestamp, datetime):
        found = f"this {type(measurement).__name__} has {timestamp!r} there"
        raise InvalidArgumentError(f"a measurement must be a dict with a datetime under 'timestamp'; {found}")
    return kept, seconds(timestamp)


class Window:
    """Sliding minimum and maximum of event times: adding and letting go of the oldest cost O(1) amortized.

    Each of the two queues holds only those that can still become the extreme one when older ones have gone, so its
    first is the extreme one now; of equal times it is the one added first, as for `min` and `max`.

    Attributes:
        size: how many are in the window.
        minima: those that can become the oldest; the first is it.
        maxima: likewise for the newest.

    Example:
        >>> window = Window([{"timestamp": datetime(year, 1, 1)} for year in (2021, 2020, 2022)])
        >>> window.minima[0][1].year, window.maxima[0][1].year
        (2020, 2022)
        >>> window.keep(1)
        >>> window.minima[0][1].year
        2022
    """

    __slots__ = ("_added", "maxima", "minima", "size")

    def __init__(self, measurements: Sequence[Measurement] = ()) -> None:
        self.size = self._added = 0
        self.minima: deque[Moment] = deque()
        self.maxima: deque[Moment] = deque()
        for measurement in measurements:
            self.add(seconds(measurement["timestamp"]), measurement["timestamp"])

    def add(self, time: float, timestamp: datetime) -> None:
        """Take in one more."""
        minima, maxima = self.minima, self.maxima
        while minima and minima[-1][0] > time:
            minima.pop()
        while maxima and maxima[-1][0] < time:
            maxima.pop()
        moment = (time, timestamp, self._added)
        minima.append(moment)
        maxima.append(moment)
        self._added += 1
        self.size += 1

    def keep(self, size: int) -> None:
        """Let go of all but so many that were added last."""
        self.size = size
        first = self._added - size
        for extremes in (self.minima, self.maxima):
            while extremes and extremes[0][2] < first:
                extremes.popleft()


class User:
    """One user of the core. What is kept, evicted and cleared is the core's doing; this asks it in the right order.

    A read holds what it hands out: a snapshot in the core, of which nothing is evicted until a clear completes it.

    Attributes:
        lock: to be held by whoever uses any of the others but `changed`, so that event times and offsets agree.
        known: whether the user has been seen since it was last removed.
        seen: how many times it became known.
        triggered: how many adds found it ready.
        changed: whether anything but an add has happened, so that the event times must be taken from the core again.
    """

    def __init__(self, core: ReplayBuffer[Measurement], user_id: str) -> None:
        self.lock = RLock()
        self.known = self.changed = False
        self.seen = self.triggered = 0
        self._core, self._id = core, user_id
        self._add, self._size, self._most = core.add_measurement, core.size, core.config.max_measurements
        self._frozen, self._recent = Window(), Window()  # of what a snapshot in progress has frozen; of all else
        self._hold = 0  # the version of the latest snapshot that a read has begun
        self._handed = 0  # the offset below which lies all that a read ever handed out

    def add(self, measurement: Measurement, time: float) -> Held:
        """Add one, of which this is the event time; what is held then."""
        self._add(self._id, measurement)
        if not self.known:
            self.known = True
            self.seen += 1
        recent = self._recent
        recent.add(time, measurement["timestamp"])
        if self._frozen.size or recent.size > self._most:
            size = self._size(self._id) - self._frozen.size
            if not 0 <= size <= recent.size:  # an add was interrupted, or a change is about to be told
                self.changed = True
            recent.keep(size)  # what the core has evicted are the oldest that are not frozen
        return self.held()

    def held(self) -> Held:
        """What is held now."""
        if self.changed:
            self._look()
        frozen, recent = self._frozen, self._recent
        if recent.size and not frozen.size:
            return recent.size, recent.minima[0], recent.maxima[0]
        parts = [part for part in (frozen, recent) if part.size]
        oldest = min((part.minima[0] for part in parts), key=itemgetter(0), default=None)
        newest = max((part.maxima[0] for part in parts), key=itemgetter(0), default=None)
        return frozen.size + recent.size, oldest, newest

    def read(self) -> tuple[list[Measurement], int]:
        """Everything that is held, and the offset below which it lies.

        It is held until it is cleared. A snapshot in progress, of an earlier read or the application, goes on.
        """
        state = self._core.state(self._id)
        if state.phase == "idle":
            self._begin_hold()
        self._handed = state.head
        return self._core.measurements(self._id), state.head

    def clear(self, through: int | None) -> None:
        """Drop what lies below an offset, or everything where that is None.

        The hold is completed, unless it has frozen more than that: then other threads have cleared and read since, and
        it is aborted and begun again. A snapshot of the application's is aborted if it is in the way.
        """
        state = self._core.state(self._id)
        through = state.head if through is None else through
        aborted = False
        with suppress(NoSnapshotError):  # the application completes its own at any time
            if self._holds(state) and (state.frozen_offset or 0) <= through:
                self._core.complete_replay(self._id)
            elif aborted := state.phase != "idle" and state.offsets.below(through) > 0:
                self._core.abort_snapshot(self._id, "what it has frozen was cleared")
        if self._core.state(self._id).offsets.below(through):
            self._core.clear_buffer(self._id, through)
        if aborted and through < self._handed:  # some thread has still to clear what it has read
            self._begin_hold()

    def remove(self) -> None:
        """Drop everything and forget the user, until it is seen again."""
        self.clear(None)
        self.known = False

    def begin(self, timestamp: Any) -> int:
        """`begin_snapshot` of the core, to which the hold gives way."""
        with suppress(NoSnapshotError):
            if self._holds(self._core.state(self._id)):
                self._core.abort_snapshot(self._id, "what was read gives way to begin_snapshot")
        return self._core.begin_snapshot(self._id, timestamp)

    def _begin_hold(self) -> None:
        self._hold = self._core.begin_snapshot(self._id)
        self._core.finalize_snapshot(self._id, self._hold)

    def _holds(self, state: BufferState) -> bool:
        return state.phase == "replaying" and state.version == self._hold

    def _look(self) -> None:
        """Take the event times from the core."""
        self.changed = False
        state, measurements = self._core.state(self._id), self._core.measurements(self._id)
        self._frozen, self._recent = Window(measurements[: state.frozen]), Window(measurements[state.frozen :])
