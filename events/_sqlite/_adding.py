"""Adds within a stream's grant, each a task in a transaction. Decides nothing: the grant says what may be added."""

from collections.abc import Sequence
from typing import Any

from events._clocks import Clock, time_of
from events._codec import Codec
from events._events import MeasurementAdded, MeasurementsEvicted
from events._sqlite._rows import Stream, checksum
from events._sqlite._tasks import Task, Writing, add_all, set_due


class Add(Task):
    """Measurements that are added within the stream's grant, or not at all.

    Parameters:
        stream, clock: as of `EventLog.add`.
        batch: the measurements, encoded.
        issuer: who adds, encoded.
        codec: for evictions and arrivals.
    """

    def __init__(self, stream: str, batch: Sequence[bytes], clock: Clock, issuer: bytes, codec: Codec) -> None:
        self.stream, self.batch, self.clock, self.issuer, self.codec = stream, batch, clock, issuer, codec

    def put_rows(self, values: list[Any], known: dict[str, Stream]) -> int:
        """See `Task.put_rows`: where one measurement is added to a stream that is known to have room or victims."""
        stream = known.get(self.stream)
        if stream is None or len(self.batch) != 1 or stream.issuer != self.issuer:
            return 0
        offset, number, revision, data = stream.head, stream.id, stream.revision, self.batch[0]
        has_room = offset < stream.full_at
        if not has_room and offset >= stream.evicts_to:
            return 0
        if stream.until is not None and not ((now := time_of(self.clock)) is not None and now < stream.until):
            return 0
        self.result = offset
        values += (number, offset, number, revision, None, checksum(number, offset, None, data), data)
        if has_room:
            stream.head = offset + 1
            return 1
        ((offset, kind, data),) = self._events(stream)[1:]
        values += (number, offset, number, revision, kind, checksum(number, offset, kind, data), data)
        stream.head = offset + 1
        return 2

    def do(self, writing: Writing) -> int | None:
        """See `Task.do`."""
        stream = writing.find(self.stream)
        if stream is None or stream.issuer != self.issuer:
            return None
        if stream.until is not None and not self.clock() < stream.until:
            return None
        first, head = stream.head, stream.head + len(self.batch)
        now: float | None = None
        evicts = len(self.batch) == 1 and first < stream.evicts_to
        if head > stream.full_at and not evicts:
            now = time_of(self.clock) if head <= stream.opens_to else None
            if now is None:
                return None
        rows = [
            (stream.id, offset, kind, checksum(stream.id, offset, kind, data), data)
            for offset, kind, data in self._events(stream, now)
        ]
        add_all(writing.cursor, rows)
        stream.head += len(rows)
        if now is not None:
            stream.arrived_at, stream.full_at, stream.opens_to = float(now), stream.opens_to, 0
            if stream.due_after is not None:
                set_due(writing, stream, now + stream.due_after)
            writing.save(stream)
        return first

    def _events(self, stream: Stream, now: float | None = None) -> list[tuple[int, str | None, bytes]]:
        """What is recorded: the measurements, the first with its arrival if that is noted, and what goes for it."""
        events: list[tuple[int, str | None, bytes]] = [
            (offset, None, data) for offset, data in enumerate(self.batch, stream.head)
        ]
        if now is not None:
            arrived = MeasurementAdded(self.codec.decode(self.batch[0]), now)
            events[0] = stream.head, *self.codec.encode_event(arrived)
        elif stream.head >= stream.full_at and events:
            victim = stream.victim(self.codec)
            evicted = MeasurementsEvicted(victim, victim + 1)
            events.append((stream.head + 1, *self.codec.encode_event(evicted)))
        return events
