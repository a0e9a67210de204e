"""`Reading`: what is asked of a log in PostgreSQL. Must not change anything."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Generic, Protocol, TypeVar

from events._codec import Codec
from events._errors import LogDamagedError, TruncatedError, UnknownTypeError
from events._events import MeasurementAdded, Recorded
from events._log import Checkpoint, Position
from events._postgres._clock import ServerClock, steady
from events._postgres._rows import damaged, event_of, name_of, stored_name
from events._postgres._statements import Statements

M = TypeVar("M")

CHUNK = 1024
"""How many rows are read at a time, so that no answer takes much memory."""

Rows = list[tuple[Any, ...]]


class Source(Protocol):
    """Where rows are read."""

    path: str

    def fetch(self, statement: str, parameters: Mapping[str, Any]) -> Rows:
        """The rows of a query."""


class Reading(Generic[M]):
    """The questions of a log.

    What is below a stream's head was committed together with that head, so whoever reads up to a head misses nothing
    that is committed late.

    Parameters:
        source: where rows are read.
        codec: for what is in them.
        statements: the log's.
        clock: is told the server's time.
        fences: the streams' fences as last seen.
    """

    def __init__(
        self, source: Source, codec: Codec, statements: Statements, clock: ServerClock, fences: dict[str, int]
    ) -> None:
        self._source, self._codec, self._statements = source, codec, statements
        self._clock, self._fences, self.path = clock, fences, source.path

    def position(self, stream: str) -> Position | None:
        """See `EventLog.position`."""
        asked_at = steady()
        rows = self._source.fetch(self._statements.position, {"user_id": stored_name(stream)})
        if not rows:
            return None
        ((start, head, granted_from, arrived_at, fence, server_time),) = rows
        self._clock.tell(server_time, asked_at, steady())
        if fence:
            self._fences[stream] = fence
        return Position(start, head, granted_from, arrived_at)

    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        """See `EventLog.read`."""
        stop = self._bound(stream, start, stop)
        while start < stop:
            rows = self._events(self._statements.events, stream, start, stop, CHUNK)
            expected = range(start, min(stop, start + CHUNK))
            if [row[0] for row in rows] != list(expected):
                raise self._missing(stream, expected)
            yield from self._recorded(stream, rows)
            start = expected.stop

    def controls(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        """See `EventLog.controls`."""
        stop = self._bound(stream, start, stop)
        while start < stop:
            rows = self._events(self._statements.controls, stream, start, stop, CHUNK)
            self._check_kept(stream, start)
            if any(first[0] >= second[0] for first, second in pairwise(rows)):
                raise damaged(self.path, f"the events of stream {stream!r} are not in their order")
            yield from self._recorded(stream, rows)
            start = rows[-1][0] + 1 if len(rows) == CHUNK else stop

    def measurements(self, stream: str, offsets: range) -> Sequence[M]:
        """See `EventLog.measurements`."""
        measurements: list[M] = []
        for first in range(0, len(offsets), CHUNK):
            wanted = offsets[first : first + CHUNK]
            rows = self._events(self._statements.events, stream, wanted[0], wanted[-1] + 1, wanted[-1] + 1)
            if wanted.step > 1:
                rows = [row for row in rows if row[0] in wanted]
            if [row[0] for row in rows] != list(wanted):
                raise self._missing(stream, wanted)
            for recorded in self._recorded(stream, rows):
                if not isinstance(recorded.event, MeasurementAdded):
                    raise damaged(self.path, f"offset {recorded.offset} of stream {stream!r} holds no measurement")
                measurements.append(recorded.event.measurement)
        return measurements

    def streams(self) -> Iterator[str]:
        """See `EventLog.streams`."""
        last = {"created_at": "-infinity", "user_id": "", "limit": CHUNK}
        while rows := self._source.fetch(self._statements.streams, last):
            yield from (name_of(name) for _, name in rows)
            last["created_at"], last["user_id"] = rows[-1]

    def overdue(self, now: float) -> list[str]:
        """See `EventLog.overdue`."""
        return self._names(self._statements.overdue, now=float(now))

    def due(self, now: float) -> list[str]:
        """See `EventLog.due`."""
        return self._names(self._statements.due, now=float(now))

    def next_due(self, now: float) -> float | None:
        """See `EventLog.next_due`."""
        asked_at = steady()
        ((at, server_time),) = self._source.fetch(self._statements.next_due, {"now": float(now)})
        self._clock.tell(server_time, asked_at, steady())
        return None if at is None else float(at)

    def shelved(self) -> list[str]:
        """See `EventLog.shelved`."""
        return self._names(self._statements.shelved)

    def checkpoint(self, stream: str, at: int | None = None) -> Checkpoint | None:
        """See `EventLog.checkpoint`."""
        rows = self._source.fetch(self._statements.checkpoint, {"user_id": stored_name(stream), "at": at})
        if not rows:
            return None
        ((start, offset, data),) = rows
        if offset is not None:
            return Checkpoint(offset, self._codec.decode(data))
        if start and (at is None or at >= start):
            raise damaged(self.path, f"the checkpoint of stream {stream!r} at offset {start} is missing")
        return None

    def recorded_before(self, stream: str, time: float) -> int | None:
        """See `EventLog.recorded_before`."""
        parameters = {"user_id": stored_name(stream), "time": float(time)}
        rows = self._source.fetch(self._statements.recorded_before, parameters)
        return rows[0][0] if rows else 0

    def times(self, stream: str, start: int, stop: int) -> dict[int, float]:
        """When the events in `[start, stop)` were recorded (seconds), by offset, of those where that was noted."""
        parameters = {"user_id": stored_name(stream), "start": start, "stop": stop}
        return dict(self._source.fetch(self._statements.times, parameters))

    def _names(self, statement: str, **parameters: Any) -> list[str]:
        return [name_of(name) for (name,) in self._source.fetch(statement, parameters)]

    def _events(self, statement: str, stream: str, start: int, stop: int, limit: int) -> Rows:
        parameters = {"user_id": stored_name(stream), "start": start, "stop": stop, "limit": limit}
        return self._source.fetch(statement, parameters)

    def _bound(self, stream: str, start: int, stop: int | None) -> int:
        """Where a read that begins now ends; raises `TruncatedError` when it begins too low."""
        found = self.position(stream)
        if found is None:
            return 0
        if start < found.start and start < found.head:
            raise TruncatedError(stream, start, found.start)
        return found.head if stop is None else min(stop, found.head)

    def _check_kept(self, stream: str, offset: int) -> None:
        found = self.position(stream)
        if found is not None and offset < found.start:
            raise TruncatedError(stream, offset, found.start)

    def _missing(self, stream: str, offsets: range) -> LogDamagedError:
        """Why offsets are not there: they were truncated meanwhile, or else something took them away."""
        self._check_kept(stream, offsets[0])
        return damaged(
            self.path, f"of stream {stream!r} not all of the offsets {offsets[0]} to {offsets[-1]} are there"
        )

    def _recorded(self, stream: str, rows: Rows) -> Iterator[Recorded]:
        for offset, kind, arrived_at, data in rows:
            try:
                yield Recorded(offset, event_of(self._codec, kind, arrived_at, data))
            except UnknownTypeError as error:
                error.add_note(f"at offset {offset} of stream {stream!r} in {self.path}")
                raise
