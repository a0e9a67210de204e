"""`Task`: something to be written in a transaction, and what all such have in common. Must not begin or end one."""

from collections.abc import Sequence
from itertools import chain
from sqlite3 import Cursor
from typing import Any

from attrs import frozen

from events._codec import Codec
from events._sqlite._group import Job
from events._sqlite._rows import Stream, checksum, find, insertion, stored_name, update

ADD = 'INSERT INTO holdover_events (stream, "offset", kind, checksum, data) VALUES '

ROW = "(?, ?, ?, ?, ?)"

IF_UNCHANGED = "(?, (SELECT ? FROM holdover_streams WHERE id = ? AND revision = ?), ?, ?, ?)"
"""A row whose offset is null, which is refused, where another process has changed the stream meanwhile."""

ADD_ONE = """
    INSERT INTO holdover_events (stream, "offset", checksum, data)
    VALUES (?, (SELECT ? FROM holdover_streams WHERE id = ? AND revision = ?), ?, ?)
"""

AT_ONCE = 64
"""How many rows one statement inserts, of a batch."""

ADD_MANY = ADD + ", ".join([ROW] * AT_ONCE)

KEEP = 'REPLACE INTO holdover_checkpoints (stream, "offset", checksum, data) VALUES (?, ?, ?, ?)'

EVERY = 256
"""How many offsets lie between two checkpoints at least, and how many evictions a grant allows at most."""


@frozen
class Writing:
    """What a job works with.

    Parameters:
        path: the file, for errors.
        cursor: within a transaction.
        known: streams as they are; what a job writes, it notes there.
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
        stream = self.known.get(name)
        if stream is None:
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

    stream: str

    def put_rows(self, values: list[Any], known: dict[str, Stream]) -> int:
        """Put the values of its rows for `IF_UNCHANGED`, where they are all there is to do; how many rows they are."""
        return 0

    def do(self, writing: Writing) -> Any:
        """Do it; what it raises of its own it raises before it has written anything."""
        raise NotImplementedError  # pragma: no cover - each has its own


def add_all(cursor: Cursor, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert measurements, many with one statement, which takes half of the time of `executemany` takes."""
    whole = len(rows) - len(rows) % AT_ONCE
    for first in range(0, whole, AT_ONCE):
        cursor.execute(ADD_MANY, list(chain.from_iterable(rows[first : first + AT_ONCE])))
    cursor.executemany(f"{ADD}{ROW}", rows[whole:])


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
    return None if number is None else float(number) + 0.0
