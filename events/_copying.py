"""`Copying`: the streams of a SQLite log, copied into a PostgreSQL log as they are kept. Must not decode events.

Offsets, times, checkpoints and grants stay as they are, so whoever goes on there goes on as if nothing had happened.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import blake2b
from itertools import islice
from sqlite3 import Connection
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, frozen

from events._codec import Codec
from events._errors import LogError
from events._offsets import Offsets
from events._postgres import PostgresLog
from events._postgres._rows import stored_name
from events._postgres._statements import quoted_name
from events._sqlite._failures import FAILURES
from events._sqlite._opening import Opening
from events._sqlite._rows import Stream, checksum, damaged, find, listed, name_of

if TYPE_CHECKING:
    import psycopg

CHUNK = 1024
"""How many rows are read at a time."""

LENGTH = """
    SELECT coalesce(sum(coalesce(
        (SELECT max("offset") + 1 FROM holdover_events WHERE stream = holdover_streams.id), start
    ) - start), 0) FROM holdover_streams
"""

EVENTS = """
    SELECT "offset", kind, recorded_at, checksum, data FROM holdover_events
    WHERE stream = ? AND "offset" >= ? ORDER BY "offset"
"""

CHECKPOINTS = 'SELECT "offset", \'\', NULL, checksum, data FROM holdover_checkpoints WHERE stream = ? AND "offset" >= ?'

COLUMNS = {
    "user_id": "text",
    "start": "int8",
    "head": "int8",
    "granted_from": "int8",
    "checkpointed": "int8",
    "issuer": "bytea",
    "full_at": "int8",
    "opens_to": "int8",
    "evicts_to": "int8",
    "victim": "int8",
    "victim_step": "int8",
    "until": "float8",
    "arrived_at": "float8",
    "due_at": "float8",
    "due_after": "float8",
    "due_since": "timestamptz",
    "shelved_since": "timestamptz",
}
"""What is kept of a stream in PostgreSQL, and as what."""

_VALUES = {
    name: f"to_timestamp(%({name})s::float8 / 1e6)" if kind == "timestamptz" else f"%({name})s::{kind}"
    for name, kind in COLUMNS.items()
}
"""Who waits how long is a number in SQLite; that many microseconds after 1970, he waits longer than whoever comes."""

PUT = """
    INSERT INTO {schema}.streams ({columns}) VALUES ({values}) ON CONFLICT (user_id) DO NOTHING RETURNING user_id
"""

IS_EQUAL = """
    SELECT ({columns}) IS NOT DISTINCT FROM ({values})
        AND (SELECT count(*) FROM {schema}.events WHERE user_id = %(user_id)s) = %(head)s::int8 - %(start)s::int8
    FROM {schema}.streams WHERE user_id = %(user_id)s
"""

COUNTS = """
    SELECT user_id, head, (SELECT count(*) FROM {schema}.events WHERE events.user_id = streams.user_id)
    FROM {schema}.streams WHERE user_id = ANY(%s)
"""

PUT_EVENTS = (
    'COPY {schema}.events (user_id, "offset", kind, recorded_at, data) FROM STDIN (FORMAT BINARY)',
    ("text", "int8", "text", "float8", "bytea"),
)

PUT_CHECKPOINTS = (
    'COPY {schema}.checkpoints (user_id, "offset", data) FROM STDIN (FORMAT BINARY)',
    ("text", "int8", "bytea"),
)

TO_DISK = "UPDATE {schema}.log SET version = version"


@frozen
class Copied:
    """A user who is in both.

    Attributes:
        stream: the user.
        events: how many events of his are kept.
        was_there: whether an earlier copying had brought him there.
    """

    stream: str
    events: int
    was_there: bool


def _nobody(_events: int) -> None:
    """Whom the progress is told when nobody wants to know."""


@frozen
class Copying:
    """A copying under way; made by `copying`.

    Each user is copied in a transaction of his own. Who is there already, and is equal, is passed over, so a copying
    that was interrupted goes on when it is done again.

    Attributes:
        path: the file.
        target: the log in PostgreSQL.
        length: how many events the file has.
    """

    path: str
    target: PostgresLog[Any]
    length: int
    _file: Connection
    _server: "psycopg.Connection[Any]" = field(repr=False)
    _codec: Codec = field(factory=Codec, init=False, repr=False)

    def run(self, report: Callable[[int], object] = _nobody) -> Iterator[Copied]:
        """Copy all users, in the order in which they came.

        Parameters:
            report: is told now and then how many more events there are in PostgreSQL.

        Raises:
            LogError: a user is there already and differs, the file is damaged, or one of the two cannot be worked with.
        """
        for stream in self._streams():
            yield self._copy(stream, report)

    def check(self) -> None:
        """See to it that every user of the file is there with the same head and as many events, and is on the disk.

        Raises:
            LogError: one is not.
        """
        streams = self._streams()
        while some := list(islice(streams, CHUNK)):
            rows = self._execute(COUNTS, [[stored_name(name_of(stream.name)) for stream in some]])
            found = {user: tuple(counts) for user, *counts in rows}
            for stream in some:
                if found.get(stored_name(name_of(stream.name))) != (stream.head, stream.head - stream.start):
                    raise self._differs(name_of(stream.name))
        self._server.execute("SET synchronous_commit = on")
        self._server.execute(self._made(TO_DISK))  # and so is all that was committed before

    def _streams(self) -> Iterator[Stream]:
        last = 0
        while found := listed(self._fetch, "id > ? ORDER BY id LIMIT ?", (last, CHUNK), self.path):
            for each in found:
                stream = find(self._fetch, name_of(each.name), self.path)
                if stream is None or stream.id <= last:
                    raise damaged(self.path, f"stream {name_of(each.name)!r} is not where it should be")
                last = stream.id
                yield stream

    def _copy(self, stream: Stream, report: Callable[[int], object]) -> Copied:
        name = name_of(stream.name)
        user, row = stored_name(name), kept(self._codec, stream)
        with self._server.transaction():
            is_new = bool(self._execute(PUT, row))
            if is_new:
                events = ((user, *rest) for rest in self._events(stream, name, report))
                self._put(*PUT_EVENTS, events)
                self._put(*PUT_CHECKPOINTS, ((user, *rest) for rest in self._checkpoints(stream, name)))
            elif self._execute(IS_EQUAL, row) != [(True,)]:
                raise self._differs(name)
        if not is_new:
            report(stream.head - stream.start)
        return Copied(name, stream.head - stream.start, not is_new)

    def _events(self, stream: Stream, name: str, report: Callable[[int], object]) -> Iterator[tuple[Any, ...]]:
        expected = stream.start
        for offset, kind, recorded_at, data in self._checked(EVENTS, stream, name):
            if offset != expected:
                raise damaged(self.path, f"of stream {name!r} offset {expected} is missing")
            yield offset, kind, recorded_at, data
            expected += 1
            if (expected - stream.start) % CHUNK == 0:
                report(CHUNK)
        report((expected - stream.start) % CHUNK)

    def _checkpoints(self, stream: Stream, name: str) -> Iterator[tuple[Any, ...]]:
        for offset, _, _, data in self._checked(CHECKPOINTS, stream, name):
            yield offset, data

    def _checked(self, statement: str, stream: Stream, name: str) -> Iterator[tuple[Any, ...]]:
        """Rows without their checksums, which fit."""
        for offset, kind, recorded_at, check, data in self._file.execute(statement, (stream.id, stream.start)):
            if type(data) is not bytes or checksum(stream.id, offset, kind, data, recorded_at) != check:
                raise damaged(self.path, f"what is at offset {offset} of stream {name!r} does not fit its checksum")
            yield offset, kind, recorded_at, data

    def _put(self, statement: str, types: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> None:
        with self._server.cursor() as cursor, cursor.copy(self._made(statement)) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)

    def _execute(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        return self._server.execute(self._made(statement), parameters).fetchall()

    def _made(self, statement: str) -> str:
        return statement.format(
            schema=quoted_name(self.target.schema), columns=", ".join(COLUMNS), values=", ".join(_VALUES.values())
        )

    def _fetch(self, statement: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        return self._file.execute(statement, parameters).fetchall()

    def _differs(self, name: str) -> LogError:
        return LogError(
            f"user {name!r} is not in {self.target.path}, schema {self.target.schema}, as in {self.path}: one of the "
            f"two has gone on, or it is somebody else; nothing of that user was changed; copy into another schema"
        )


@contextmanager
def copying(path: str | os.PathLike[str], target: PostgresLog[Any], *, timeout: float = 10.0) -> Iterator[Copying]:
    """Copy a SQLite log into a PostgreSQL log, while nobody can write into the file.

    Parameters:
        path: the file.
        target: the log in PostgreSQL; it may have other users.
        timeout: seconds to wait for who writes into the file.

    Raises:
        LogError: the file is no log, is damaged or held by another process, or the server cannot be reached.
    """
    where = os.path.realpath(os.fspath(path))
    opening = Opening(where, "FULL", timeout)
    evolve(opening, read_only=True).first().close()  # which makes nothing where there is none
    with closing(opening.connect()) as file:
        try:
            file.execute("BEGIN IMMEDIATE")
            ((length,),) = file.execute(LENGTH).fetchall()
            with target._database.connection() as server:
                server.execute("SET synchronous_commit = off")  # `check` sees to it that all is on the disk
                yield Copying(where, target, length, file, server)
        except FAILURES as error:
            raise opening.translated(error) from error


def kept(codec: Codec, stream: Stream) -> dict[str, Any]:
    """What PostgreSQL keeps of a stream.

    Of a grant's victims that is one run: the one that is being evicted now.
    """
    victims = codec.decode(stream.victims) if stream.victims else Offsets()
    done, first = (stream.head - stream.granted_from) // 2, 0
    evicts_to, victim, step = 0, 0, 1
    for run in victims.runs:
        last = first + len(run)
        if done < last:
            evicts_to = min(stream.evicts_to, stream.granted_from + 2 * last)
            victim, step = run.start - run.step * first, run.step
            break
        first = last
    return {
        **{name: getattr(stream, name, None) for name in COLUMNS},
        "user_id": stored_name(name_of(stream.name)),
        "issuer": blake2b(stream.issuer, digest_size=16).digest(),
        "evicts_to": evicts_to,
        "victim": victim,
        "victim_step": step,
    }
