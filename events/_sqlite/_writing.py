"""What is written: adds within a grant, appends, truncations, each a job in a transaction that is not theirs to end."""

from collections.abc import Callable, Sequence
from sqlite3 import Cursor
from typing import Any

from attrs import frozen

from events._clocks import Clock, time_of
from events._codec import Codec
from events._errors import ConflictError
from events._events import MeasurementAdded
from events._log import Grant
from events._sqlite._group import Job
from events._sqlite._rows import Stream, checksum, find, insertion, stored_name, update

EVERY = 256
"""How many offsets lie between two checkpoints at least."""

ADD = 'INSERT INTO holdover_events (stream, "offset", checksum, data) VALUES '

IF_UNCHANGED = "(?, (SELECT ? FROM holdover_streams WHERE id = ? AND revision = ?), ?, ?)"
"""A row whose offset is null, which is refused, where another process has changed the stream meanwhile."""

RECORD = 'INSERT INTO holdover_events (stream, "offset", kind, recorded_at, checksum, data) VALUES (?, ?, ?, ?, ?, ?)'

KEEP = 'REPLACE INTO holdover_checkpoints (stream, "offset", checksum, data) VALUES (?, ?, ?, ?)'

EventRow = tuple[str | None, bytes]


@frozen
class Writing:
    """What a job works with.

    Parameters:
        path: the file, for errors.
        cursor: within a transaction.
        known: the streams as they were when last seen; what a job writes, it notes there.
        codec: for states and arrivals.
    """

    path: str
    cursor: Cursor
    known: dict[str, Stream]
    codec: Codec

    def fetch(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.cursor.execute(statement, parameters).fetchall()

    def find(self, name: str) -> Stream | None:
        """The stream as it is in this transaction."""
        stream = find(self.fetch, name, self.path)
        if stream is not None:
            self.known[name] = stream
        return stream

    def save(self, stream: Stream) -> None:
        """Keep what has changed."""
        stream.revision += 1
        self.cursor.execute(*update(stream))


class Task(Job):
    """A job of the log.

    Attributes:
        stream: the name of the stream it is about.
    """

    __slots__ = ("stream",)
    stream: str

    def do(self, writing: Writing) -> Any:
        """Do it; what it raises of its own it raises before it has written anything."""
        raise NotImplementedError  # pragma: no cover - each has its own


class Add(Task):
    """Measurements that are added within the stream's grant, or not at all.

    Parameters:
        stream, clock: as of `EventLog.add`.
        batch: the measurements, encoded.
        issuer: who adds, encoded.
    """

    __slots__ = ("batch", "clock", "issuer")

    def __init__(self, stream: str, batch: Sequence[bytes], clock: Clock, issuer: bytes) -> None:
        super().__init__()
        self.stream, self.batch, self.clock, self.issuer = stream, batch, clock, issuer

    def row(self, known: dict[str, Stream]) -> tuple[Any, ...] | None:
        """The row for `IF_UNCHANGED`, where one measurement is added to a stream that is known to have room."""
        stream = known.get(self.stream)
        if stream is None or stream.head >= stream.full_at or len(self.batch) != 1 or stream.issuer != self.issuer:
            return None
        if stream.until is not None:
            now = time_of(self.clock)
            if now is None or now >= stream.until:
                return None
        offset = self.result = stream.head
        stream.head += 1
        data = self.batch[0]
        return stream.id, offset, stream.id, stream.revision, checksum(stream.id, offset, None, data), data

    def do(self, writing: Writing) -> int | None:
        """See `Task.do`."""
        stream = writing.find(self.stream)
        if stream is None or stream.issuer != self.issuer:
            return None
        if stream.until is not None and not self.clock() < stream.until:
            return None
        first, head = stream.head, stream.head + len(self.batch)
        plain = self.batch
        if head > stream.full_at:
            if head > stream.opens_to or (now := time_of(self.clock)) is None:
                return None
            self._open(writing, stream, now)
            plain = plain[1:]
        rows = [
            (stream.id, offset, checksum(stream.id, offset, None, data), data)
            for offset, data in enumerate(plain, head - len(plain))
        ]
        writing.cursor.executemany(f"{ADD} (?, ?, ?, ?)", rows)
        stream.head = head
        return first

    def _open(self, writing: Writing, stream: Stream, now: float) -> None:
        """Record the first measurement together with its arrival."""
        measurement = writing.codec.decode(self.batch[0])
        kind, data = writing.codec.encode_event(MeasurementAdded(measurement, now))
        check = checksum(stream.id, stream.head, kind, data)
        writing.cursor.execute(RECORD, (stream.id, stream.head, kind, now, check, data))
        stream.arrived_at, stream.full_at, stream.opens_to = float(now), stream.opens_to, 0
        if stream.due_after is not None:
            set_due(writing, stream, now + stream.due_after)
        writing.save(stream)


class Append(Task):
    """Events at an expected head, and the grant for what follows.

    Parameters:
        stream, expected_head, grant: as of `EventLog.append`.
        rows: the events, encoded.
        issuer: the grant's, encoded.
        recorded_at: the time.
        state: gives the state after them, encoded; None where nobody knows it.
    """

    __slots__ = ("expected_head", "grant", "issuer", "recorded_at", "rows", "state")

    def __init__(
        self,
        stream: str,
        rows: Sequence[EventRow],
        expected_head: int,
        grant: Grant,
        issuer: bytes,
        recorded_at: float | None,
        state: Callable[[], bytes] | None,
    ) -> None:
        super().__init__()
        self.stream, self.rows, self.expected_head, self.grant = stream, rows, expected_head, grant
        self.issuer, self.recorded_at, self.state = issuer, recorded_at, state

    def do(self, writing: Writing) -> int:
        """See `Task.do`."""
        stream = writing.find(self.stream)
        head = 0 if stream is None else stream.head
        if head != self.expected_head:
            raise ConflictError(self.stream, self.expected_head, head)
        if stream is None:
            if not self.rows:
                return 0
            stream = create(writing, self.stream)
        rows = [
            (stream.id, offset, kind, kind and self.recorded_at, checksum(stream.id, offset, kind, data), data)
            for offset, (kind, data) in enumerate(self.rows, head)
        ]
        stream.head += len(rows)
        if self.state is not None and stream.head - stream.checkpointed >= EVERY:
            keep(writing, stream, stream.head, self.state())
        writing.cursor.executemany(RECORD, rows)
        self._grant(writing, stream)
        writing.save(stream)
        return stream.head

    def _grant(self, writing: Writing, stream: Stream) -> None:
        grant = self.grant
        full_at = stream.head + grant.room
        stream.granted_from, stream.issuer, stream.arrived_at = stream.head, self.issuer, None
        stream.full_at, stream.opens_to = (0, full_at) if grant.notes_arrival else (full_at, 0)
        stream.until, stream.due_after = real(grant.until), real(grant.due_after)
        set_due(writing, stream, grant.due_at)
        if not grant.shelved:
            stream.shelved_since = None
        elif stream.shelved_since is None:
            stream.shelved_since = writing.fetch(
                "SELECT coalesce(max(shelved_since), 0) + 1 FROM holdover_streams WHERE shelved_since IS NOT NULL"
            )[0][0]


class Truncate(Task):
    """Forget the events before an offset, and keep a state in their place.

    Parameters:
        stream, before: as of `EventLog.truncate`.
        state: encoded.
    """

    __slots__ = ("before", "state")

    def __init__(self, stream: str, before: int, state: bytes) -> None:
        super().__init__()
        self.stream, self.before, self.state = stream, before, state

    def do(self, writing: Writing) -> None:
        """See `Task.do`."""
        stream = writing.find(self.stream)
        if self.before > (stream.head if stream else 0):
            raise ValueError(f"stream {self.stream!r}: cannot truncate before {self.before}, which is above the head")
        if stream is None or self.before <= stream.start:
            return
        cut = stream.id, self.before
        writing.cursor.execute('DELETE FROM holdover_events WHERE stream = ? AND "offset" < ?', cut)
        writing.cursor.execute('DELETE FROM holdover_checkpoints WHERE stream = ? AND "offset" < ?', cut)
        keep(writing, stream, self.before, self.state)
        stream.start = self.before
        writing.save(stream)


def create(writing: Writing, name: str) -> Stream:
    """A stream comes into being, to be saved with its first event."""
    number = writing.fetch("SELECT coalesce(max(id), 0) + 1 FROM holdover_streams")[0][0]
    stream = writing.known[name] = Stream(number, stored_name(name))
    writing.cursor.execute(*insertion(stream))
    return stream


def keep(writing: Writing, stream: Stream, offset: int, state: bytes) -> None:
    """Keep the state at an offset."""
    writing.cursor.execute(KEEP, (stream.id, offset, checksum(stream.id, offset, "", state), state))
    stream.checkpointed = max(stream.checkpointed, offset)


def set_due(writing: Writing, stream: Stream, due_at: float | None) -> None:
    """Give the stream another time from which it is due; it then waits behind those that have the same."""
    if stream.due_at == due_at:
        return
    stream.due_at = real(due_at)
    last = "SELECT coalesce(max(due_since), 0) + 1 FROM holdover_streams WHERE due_at = ?"
    stream.due_since = None if due_at is None else writing.fetch(last, (stream.due_at,))[0][0]


def real(number: float | None) -> float | None:
    """A number as SQLite gives it back, so that checksums fit."""
    return None if number is None else float(number)
