"""Appends at an expected head, and truncations, each a task in a transaction. Knows nothing of adds within a grant."""

from collections.abc import Callable, Sequence
from typing import Any

from events._errors import ConflictError
from events._log import Grant
from events._sqlite._rows import MOST, Stream, checksum
from events._sqlite._tasks import EVERY, Task, Writing, create, keep, real, set_due

RECORD = 'INSERT INTO holdover_events (stream, "offset", kind, recorded_at, checksum, data) VALUES (?, ?, ?, ?, ?, ?)'

EventRow = tuple[str | None, bytes]


class Append(Task):
    """Events at an expected head, and the grant for what follows.

    Parameters:
        stream, expected_head, grant: as of `EventLog.append`.
        written: the events, encoded.
        issuer: the grant's, encoded.
        recorded_at: the time.
        state: gives the state after them, encoded; None where nobody knows it.
    """

    def __init__(
        self,
        stream: str,
        written: Sequence[EventRow],
        expected_head: int,
        grant: Grant,
        issuer: bytes,
        recorded_at: float | None,
        state: Callable[[], bytes] | None,
    ) -> None:
        self.stream, self.written, self.expected_head, self.grant = stream, written, expected_head, grant
        self.issuer, self.recorded_at, self.state = issuer, recorded_at, state

    def do(self, writing: Writing) -> int:
        """See `Task.do`."""
        stream = writing.find(self.stream)
        head = 0 if stream is None else stream.head
        if head != self.expected_head:
            raise ConflictError(self.stream, self.expected_head, head)
        if stream is None:
            if not self.written:
                return 0
            stream = create(writing, self.stream)
        rows = [self._row(stream.id, offset, *event) for offset, event in enumerate(self.written, head)]
        after = head + len(rows)
        state = self.state() if self.state is not None and after - stream.checkpointed >= EVERY else None
        stream.head = after
        if state is not None:
            keep(writing, stream, after, state)
        writing.cursor.executemany(RECORD, rows)
        self._grant(writing, stream)
        writing.save(stream)
        return stream.head

    def _row(self, stream: int, offset: int, kind: str | None, data: bytes) -> tuple[Any, ...]:
        recorded_at = None if kind is None else real(self.recorded_at)
        return stream, offset, kind, recorded_at, checksum(stream, offset, kind, data, recorded_at), data

    def _grant(self, writing: Writing, stream: Stream) -> None:
        grant = self.grant
        full_at = min(stream.head + grant.room, MOST)
        stream.granted_from, stream.issuer, stream.arrived_at = stream.head, self.issuer, None
        stream.full_at, stream.opens_to = (0, full_at) if grant.notes_arrival else (full_at, 0)
        stream.evicts_to = stream.head + 2 * min(len(grant.victims), EVERY) if grant.victims else 0
        stream.victims = writing.codec.encode(grant.victims) if grant.victims else b""
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

    def __init__(self, stream: str, before: int, state: bytes) -> None:
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
