"""`MemoryLog`: streams in this process's memory. Must not know what events mean."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, Generic, TypeVar

from events._alone import Alone
from events._clocks import Clock, time_of
from events._deadlines import Deadlines
from events._errors import ConflictError, TruncatedError
from events._events import Event, MeasurementAdded, Recorded
from events._log import NO_GRANT, Checkpoint, Grant, Position
from events._tail import NEVER, TRIM, Arrival, Control, Eviction, Tail, offset_of

M = TypeVar("M")

CHUNK = 1024
"""How many slots a reader copies at a time, so that no lock is held while its caller works on them."""


class MemoryLog(Alone, Generic[M]):
    """An `EventLog` in memory: fast, and gone with the process.

    A measurement costs one list slot. Streams have a lock each, held for an append or for copying a chunk of a read.

    Parameters:
        keep_history: keep committed and evicted measurements until `truncate` is called; by default a `ReplayBuffer`
            truncates them as it goes, so that memory stays bounded.

    Example:
        >>> from events import MeasurementAdded, MemoryLog
        >>> log = MemoryLog()
        >>> log.append("ann", [MeasurementAdded(81.5), MeasurementAdded(81.7)], expected_head=0)
        2
        >>> [recorded.event.measurement for recorded in log.read("ann")]
        [81.5, 81.7]
    """

    def __init__(self, *, keep_history: bool = False) -> None:
        self.keeps_history = keep_history
        self._tails: dict[str, Tail[M]] = {}
        self._creating = Lock()
        self._deadlines, self._due = Deadlines(), Deadlines()
        self._shelved: dict[str, None] = {}

    @property
    def tails(self) -> Mapping[str, Tail[M]]:
        """The open ends of the streams, by stream."""
        return self._tails

    def add(self, stream: str, measurement: M, clock: Clock, issuer: Any = None) -> int | None:
        """See `EventLog.add`."""
        tail = self._tails.get(stream)
        if tail is None:
            return None
        offset = tail.add(measurement, clock, issuer)
        return self._open(stream, tail, (measurement,), clock, issuer) if offset is None else offset

    def add_many(self, stream: str, measurements: Sequence[M], clock: Clock, issuer: Any = None) -> int | None:
        """See `EventLog.add_many`."""
        tail = self._tails.get(stream)
        if tail is None:
            return None
        batch = tuple(measurements)  # if reading them raises, nothing has happened yet
        with tail.lock:
            first = len(tail.items)
            late = tail.until is not None and not clock() < tail.until
            if not late and tail.issuer == issuer and first + len(batch) <= tail.full_at:
                tail.items += batch
                return tail.start + first
        return self._open(stream, tail, batch, clock, issuer)

    def _open(self, stream: str, tail: Tail[M], batch: tuple[M, ...], clock: Clock, issuer: Any) -> int | None:
        """Append the first measurements within a grant that wants their arrival noted, if this is one."""
        if tail.opens_to <= 0:
            return None
        now = time_of(clock)
        if now is None:
            return None  # it is to be decided then, by somebody who knows what to do without a time
        with tail.lock:
            first = len(tail.items)
            late = tail.until is not None and not now < tail.until
            if late or tail.issuer != issuer or first + len(batch) > tail.opens_to:
                return None
            offset = tail.start + first
            tail.items += batch
            tail.marks.append(Arrival(offset, MeasurementAdded(batch[0], now)))
            tail.arrived_at, tail.full_at, tail.opens_to = now, tail.opens_to, 0
            if tail.due_after is not None:
                self._set_due(stream, tail, now + tail.due_after)
            return offset

    def register(self, *types: Any) -> None:
        """See `EventLog.register`. Nothing to do: measurements of any type are kept as they are."""

    def append(
        self,
        stream: str,
        events: Sequence[Event],
        *,
        expected_head: int,
        grant: Grant = NO_GRANT,
        state: Any = None,
        at: float | None = None,
    ) -> int:
        """See `EventLog.append`. States and times are not kept: what is in memory is folded fast."""
        batch = tuple(events)  # if reading them raises, nothing has happened yet
        tail = self._tails.get(stream)
        if tail is None:
            with self._creating:
                tail = self._tails.get(stream)
                if tail is None:
                    return self._create(stream, batch, expected_head, grant)
        with tail.lock:
            return self._extend(stream, tail, batch, expected_head, grant)

    def _create(self, stream: str, events: Sequence[Event], expected_head: int, grant: Grant) -> int:
        """A stream comes into being with its first event, and is seen by nobody before."""
        if expected_head != 0:
            raise ConflictError(stream, expected_head, 0)
        if events:
            tail: Tail[M] = Tail()
            self._extend(stream, tail, events, 0, grant)
            self._tails[stream] = tail
        return len(events)

    def _extend(self, stream: str, tail: Tail[M], events: Sequence[Event], expected_head: int, grant: Grant) -> int:
        head = tail.start + len(tail.items)
        if head != expected_head:
            raise ConflictError(stream, expected_head, head)
        _end_grant(tail, head, len(events))
        slots: list[Any] = []
        for offset, event in enumerate(events, head):
            if type(event) is MeasurementAdded:
                slots.append(event.measurement)
                if event.arrived_at is not None:
                    tail.marks.append(Arrival(offset, event))
            else:
                slots.append(Control(offset, event))
                tail.marks.append(slots[-1])
        tail.items += slots  # one step, after which they are there: an interrupt comes before or after it
        self._set_grant(stream, tail, grant)
        return tail.granted_from

    def _set_grant(self, stream: str, tail: Tail[M], grant: Grant) -> None:
        length = len(tail.items)
        tail.granted_from = tail.start + length
        if grant.notes_arrival:
            tail.opens_to, tail.due_after = length + grant.room, grant.due_after
        else:
            tail.full_at = length + grant.room
        tail.evicts_to = length + 2 * grant.victims.count
        tail.trim_at, tail.issuer = NEVER, grant.issuer
        if tail.evicts_to > length:
            tail.eviction = Eviction(tail.granted_from, grant.victims, grant.checkpoint_at)
            tail.marks.append(tail.eviction)
            if grant.checkpoint_at is not None and not self.keeps_history:
                tail.trim_at = length + TRIM
        if tail.until != grant.until:
            tail.until = grant.until
            self._deadlines.set(stream, grant.until)
        if tail.due_at != grant.due_at:
            self._set_due(stream, tail, grant.due_at)
        if tail.shelved != grant.shelved:
            tail.shelved = grant.shelved
            if grant.shelved:
                self._shelved[stream] = None
            else:
                del self._shelved[stream]

    def _set_due(self, stream: str, tail: Tail[M], due_at: float | None) -> None:
        tail.due_at = due_at
        self._due.set(stream, due_at)

    def position(self, stream: str) -> Position | None:
        """See `EventLog.position`."""
        tail = self._tails.get(stream)
        if tail is None:
            return None
        with tail.lock:
            return Position(tail.start, tail.start + len(tail.items), tail.granted_from, tail.arrived_at)

    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        """See `EventLog.read`."""
        stop = self._bound(stream, start, stop)
        while start < stop:
            items, arrivals = self._chunk(stream, range(start, min(start + CHUNK, stop)))
            for item in items:
                yield Recorded(start, arrivals[start] if start in arrivals else _event(item, start))
                start += 1

    def controls(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        """See `EventLog.controls`."""
        stop = self._bound(stream, start, stop)
        if start >= stop:
            return
        tail = self._tails[stream]
        with tail.lock:
            _check_kept(stream, tail, start)
            marks = tail.marks[:]
        for mark in marks:
            if isinstance(mark, Control):
                if start <= mark.offset < stop:
                    yield Recorded(mark.offset, mark.event)
            else:
                first = max(mark.offset + 1, start + (start - mark.offset - 1) % 2)
                for offset in range(first, stop if mark.stop is None else min(mark.stop, stop), 2):
                    yield Recorded(offset, mark.at(offset))

    def measurements(self, stream: str, offsets: range) -> Sequence[M]:
        """See `EventLog.measurements`."""
        if not offsets:
            return []
        tail = self._tails[stream]
        with tail.lock:
            start = tail.start
            if offsets.start < start:
                raise TruncatedError(stream, offsets.start, start)
            return tail.items[offsets.start - start : offsets.stop - start : offsets.step]

    def streams(self) -> Iterator[str]:
        """See `EventLog.streams`."""
        return iter(list(self._tails))

    def overdue(self, now: float) -> list[str]:
        """See `EventLog.overdue`."""
        return self._deadlines.due(now)

    def due(self, now: float) -> list[str]:
        """See `EventLog.due`."""
        return self._due.due(now)

    def next_due(self, now: float) -> float | None:
        """See `EventLog.next_due`."""
        return self._due.next(now)

    def shelved(self) -> list[str]:
        """See `EventLog.shelved`."""
        return list(self._shelved)

    def truncate(self, stream: str, before: int, state: Any) -> None:
        """See `EventLog.truncate`."""
        tail = self._tails.get(stream) or Tail()
        with tail.lock:
            if before > tail.start + len(tail.items):
                raise ValueError(f"stream {stream!r}: cannot truncate before {before}, which is above the head")
            if before <= tail.start:
                return
            garbage = tail.drop(before)
            tail.checkpoint, tail.checkpoint_at = state, None
        del garbage  # not under the lock: measurements may have finalizers that come back here

    def checkpoint(self, stream: str, at: int | None = None) -> Checkpoint | None:
        """See `EventLog.checkpoint`."""
        tail = self._tails.get(stream)
        if tail is None:
            return None
        with tail.lock:
            start, state, state_at = tail.start, tail.checkpoint, tail.checkpoint_at
        if start == 0 or (at is not None and at < start):
            return None
        return Checkpoint(start, state if state_at is None else state_at(start))

    def recorded_before(self, stream: str, time: float) -> int | None:
        """See `EventLog.recorded_before`. Times are not noted."""
        return None

    def compact(self) -> None:
        """See `EventLog.compact`. Nothing to do: Python gives memory back."""

    def joined(self, connection: Any) -> "MemoryLog[M]":
        """See `EventLog.joined`.

        Raises:
            TypeError: always.
        """
        raise TypeError("a MemoryLog is in no database, so it cannot join a transaction; complete without a connection")

    def close(self) -> None:
        """Nothing to let go of: what is in memory stays readable as long as the log is referred to."""

    def _bound(self, stream: str, start: int, stop: int | None) -> int:
        """Where a read that begins now ends; raises `TruncatedError` when it begins too low."""
        tail = self._tails.get(stream)
        if tail is None:
            return 0
        with tail.lock:
            head = tail.start + len(tail.items)
            if start < head:
                _check_kept(stream, tail, start)
            return head if stop is None else min(stop, head)

    def _chunk(self, stream: str, offsets: range) -> tuple[list[Any], dict[int, Event]]:
        """The slots at these offsets, and what was noted of the arrivals among them."""
        tail = self._tails[stream]
        with tail.lock:
            _check_kept(stream, tail, offsets.start)
            first, last = (bisect_left(tail.marks, edge, key=offset_of) for edge in (offsets.start, offsets.stop))
            arrivals = {mark.offset: mark.event for mark in tail.marks[first:last] if isinstance(mark, Arrival)}
            return tail.items[offsets.start - tail.start : offsets.stop - tail.start], arrivals


def _check_kept(stream: str, tail: Tail[Any], offset: int) -> None:
    if offset < tail.start:
        raise TruncatedError(stream, offset, tail.start)


def _end_grant(tail: Tail[Any], head: int, coming: int) -> None:
    """Nothing more is added within the grant that the coming events replace; evictions never used leave no mark."""
    tail.full_at = tail.opens_to = tail.evicts_to = 0
    tail.arrived_at = tail.due_after = None
    tail.granted_from = head + coming
    if tail.eviction is not None:
        tail.eviction.stop = head
        if tail.eviction.offset == head:
            tail.marks.pop()
        tail.eviction = None


def _event(item: Any, offset: int) -> Event:
    """The event that a slot stands for."""
    if type(item) is Control:
        return item.event
    if type(item) is Eviction:
        return item.at(offset)
    return MeasurementAdded(item)
