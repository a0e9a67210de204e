"""`Reading`: what is asked of a log in SQLite. Must not change anything."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Generic, TypeVar
from zlib import crc32

from events._alone import Alone
from events._codec import Codec
from events._errors import LogDamagedError, TruncatedError, UnknownTypeError
from events._events import MeasurementAdded, Recorded
from events._log import Checkpoint, Position
from events._sqlite._database import Rows, Source
from events._sqlite._rows import MASK, Stream, checksum, damaged, event_of, find, listed, name_of, place_of

M = TypeVar("M")

CHUNK = 1024
"""How many rows are read at a time, so that no read lasts long and no transaction stays open between them."""

_EVENTS = """
    SELECT +"offset", +kind, +recorded_at, +checksum, +data FROM holdover_events
    WHERE stream = ? AND "offset" >= ? AND "offset" < ? {} ORDER BY "offset" LIMIT ?
"""
EVENTS, CONTROLS = _EVENTS.format(""), _EVENTS.format("AND kind IS NOT NULL")

CHECKPOINT = """
    SELECT +"offset", +checksum, +data FROM holdover_checkpoints
    WHERE stream = ? AND "offset" <= ? ORDER BY "offset" DESC LIMIT 1
"""

RECORDED_BEFORE = """
    SELECT "offset", kind, recorded_at, checksum, data FROM holdover_events
    WHERE stream = ? AND kind IS NOT NULL AND recorded_at < ? ORDER BY "offset" DESC LIMIT 1
"""

TIMES = """
    SELECT "offset", recorded_at FROM holdover_events
    WHERE stream = ? AND "offset" >= ? AND "offset" < ? AND recorded_at IS NOT NULL ORDER BY "offset"
"""


class Reading(Alone, Generic[M]):
    """The questions of a log.

    Parameters:
        source: where rows are read.
        codec: for what is in them.
    """

    def __init__(self, source: Source, codec: Codec) -> None:
        self._source, self._codec = source, codec
        self.path = source.path

    def position(self, stream: str) -> Position | None:
        """See `EventLog.position`."""
        found = self._find(stream)
        return None if found is None else Position(found.start, found.head, found.granted_from, found.arrived_at)

    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        """See `EventLog.read`."""
        found, stop = self._bound(stream, start, stop)
        while found and start < stop:
            rows = self._source.fetch(EVENTS, (found.id, start, stop, CHUNK))
            expected = range(start, min(stop, start + CHUNK))
            if [row[0] for row in rows] != list(expected):
                raise self._missing(stream, expected)
            yield from self._recorded(stream, found.id, rows)
            start = expected.stop

    def controls(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        """See `EventLog.controls`."""
        found, stop = self._bound(stream, start, stop)
        while found and start < stop:
            rows = self._source.fetch(CONTROLS, (found.id, start, stop, CHUNK))
            self._check_kept(stream, start)
            if any(first[0] >= second[0] for first, second in pairwise(rows)):
                raise damaged(self.path, f"the events of stream {stream!r} are not in their order")
            yield from self._recorded(stream, found.id, rows)
            start = rows[-1][0] + 1 if len(rows) == CHUNK else stop

    def measurements(self, stream: str, offsets: range) -> Sequence[M]:
        """See `EventLog.measurements`."""
        found = self._find(stream)
        measurements: list[M] = []
        for first in range(0, len(offsets), CHUNK):
            assert found is not None
            wanted = offsets[first : first + CHUNK]
            rows = self._source.fetch(EVENTS, (found.id, wanted[0], wanted[-1] + 1, wanted[-1] + 1))
            if wanted.step > 1:
                rows = [row for row in rows if row[0] in wanted]
            if [row[0] for row in rows] != list(wanted):
                raise self._missing(stream, wanted)
            measurements += self._measured(stream, found.id, rows)
        return measurements

    def streams(self) -> Iterator[str]:
        """See `EventLog.streams`."""
        last = 0
        while found := listed(self._source.fetch, "id > ? ORDER BY id LIMIT ?", (last, CHUNK), self.path):
            for stream in found:
                if stream.id <= last:
                    raise damaged(self.path, "the streams are not in their order")
                yield name_of(stream.name)
                last = stream.id

    def overdue(self, now: float) -> list[str]:
        """See `EventLog.overdue`."""
        return self._names("until <= ?", float(now))

    def due(self, now: float) -> list[str]:
        """See `EventLog.due`."""
        return self._names("due_at <= ? ORDER BY due_at, due_since", float(now))

    def next_due(self, now: float) -> float | None:
        """See `EventLog.next_due`."""
        found = listed(self._source.fetch, "due_at > ? ORDER BY due_at LIMIT 1", (float(now),), self.path)
        return found[0].due_at if found else None

    def shelved(self) -> list[str]:
        """See `EventLog.shelved`."""
        return self._names("shelved_since IS NOT NULL ORDER BY shelved_since")

    def checkpoint(self, stream: str, at: int | None = None) -> Checkpoint | None:
        """See `EventLog.checkpoint`."""
        found = self._find(stream)
        if found is None:
            return None
        rows = self._source.fetch(CHECKPOINT, (found.id, found.head if at is None else at))
        if not rows or rows[0][0] < found.start:
            there_should_be_one = found.start and (at is None or at >= found.start)
            again = self._find(stream)
            if there_should_be_one and again is not None and again.start == found.start:
                raise damaged(self.path, f"the checkpoint of stream {stream!r} at offset {found.start} is missing")
            return None  # truncated meanwhile, so that who reads on from here is told
        offset, check, data = rows[0]
        if type(data) is not bytes or checksum(found.id, offset, "", data) != check:
            raise damaged(
                self.path, f"the checkpoint of stream {stream!r} at offset {offset} does not fit its checksum"
            )
        return Checkpoint(offset, self._codec.decode(data))

    def recorded_before(self, stream: str, time: float) -> int | None:
        """See `EventLog.recorded_before`."""
        found = self._find(stream)
        if found is None:
            return 0
        rows = self._source.fetch(RECORDED_BEFORE, (found.id, float(time)))
        return next((recorded.offset + 1 for recorded in self._recorded(stream, found.id, rows)), found.start)

    def times(self, stream: str, start: int, stop: int) -> dict[int, float]:
        """When the events in `[start, stop)` were recorded (seconds), by offset, of those where that was noted."""
        found = self._find(stream)
        return {} if found is None else dict(self._source.fetch(TIMES, (found.id, start, stop)))

    def _names(self, condition: str, *parameters: Any) -> list[str]:
        return [name_of(stream.name) for stream in listed(self._source.fetch, condition, parameters, self.path)]

    def _find(self, stream: str) -> Stream | None:
        return find(self._source.fetch, stream, self.path)

    def _bound(self, stream: str, start: int, stop: int | None) -> tuple[Stream | None, int]:
        """The stream, and where a read that begins now ends; raises `TruncatedError` when it begins too low."""
        found = self._find(stream)
        if found is None:
            return None, 0
        stop = found.head if stop is None else min(stop, found.head)
        if start < found.start and start < found.head:
            raise TruncatedError(stream, start, found.start)
        return found, stop

    def _check_kept(self, stream: str, offset: int) -> None:
        found = self._find(stream)
        if found is not None and offset < found.start:
            raise TruncatedError(stream, offset, found.start)

    def _missing(self, stream: str, offsets: range) -> LogDamagedError:
        """Why offsets are not there: they were truncated meanwhile, or else something took them away."""
        self._check_kept(stream, offsets[0])
        return damaged(
            self.path, f"of stream {stream!r} not all of the offsets {offsets[0]} to {offsets[-1]} are there"
        )

    def _measured(self, stream: str, number: int, rows: Rows) -> Iterator[M]:
        """The measurements in the rows. No event is made of one that is nothing else, which halves the time."""
        decode, place = self._codec.decode, place_of(number)
        for row in rows:
            offset, kind, _, check, data = row
            if kind is None and type(data) is bytes and crc32(data, place + offset & MASK) == check:
                try:
                    yield decode(data)
                    continue
                except UnknownTypeError:  # which is told below, with its offset
                    pass
            for recorded in self._recorded(stream, number, [row]):
                if not isinstance(recorded.event, MeasurementAdded):
                    raise damaged(self.path, f"offset {offset} of stream {stream!r} holds no measurement")
                yield recorded.event.measurement

    def _recorded(self, stream: str, number: int, rows: Rows) -> Iterator[Recorded]:
        for offset, kind, recorded_at, check, data in rows:
            sound = type(data) is bytes and (kind is None or type(kind) is str)
            if not sound or checksum(number, offset, kind, data, recorded_at) != check:
                raise damaged(self.path, f"the event at offset {offset} of stream {stream!r} does not fit its checksum")
            try:
                yield Recorded(offset, event_of(self._codec, kind, data))
            except UnknownTypeError as error:
                error.add_note(f"at offset {offset} of stream {stream!r} in {self.path}")
                raise
