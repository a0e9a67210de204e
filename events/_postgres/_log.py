"""`PostgresLog`: streams in one PostgreSQL database. Must not know what events mean."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from itertools import chain, zip_longest
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from events._alone import one_by_one
from events._clocks import Clock, time_of
from events._codec import Codec
from events._errors import LogError, LogUnavailableError, OutcomeUnknownError
from events._events import Event
from events._issuers import Issuers
from events._log import HORIZON, NO_GRANT, Grant, Position
from events._postgres._address import Address
from events._postgres._clock import ServerClock, steady
from events._postgres._reading import Reading
from events._postgres._rows import EventRow, name_of
from events._postgres._statements import statements
from events._postgres._writing import Add, Append, FenceOff, Keep, Truncate, append_parameters
from events._schema import Schema
from events._tail import Tail

if TYPE_CHECKING:
    from events._postgres._joined import Transaction

M = TypeVar("M")

EVERY = 256
"""How many offsets lie between two checkpoints at least."""

AT_ONCE = 256
"""How many statements a pipeline has at most."""

SPARE = 100
"""How many more streams are looked at than claimed, since others claim, too, or hold them in their transactions."""

KNOWN = 100_000
"""Of how many streams is remembered what was last seen of them."""

LONGEST = 2_000_000
"""Seconds that the server can wait at most."""


class PostgresLog(Reading[M]):
    """An `EventLog` in a PostgreSQL database, for any number of threads, processes and machines.

    What `add`, `add_many` or `append` has returned for is committed, with the `synchronous_commit` that the server, the
    role or the address says: with `on`, its default, it survives whatever the server does. Each is one statement on one
    user's row, so different users never wait for each other, and it tells by itself whether there is room, so a process
    needs to know nothing of the others. Where the connection is lost before the answer, it is found out whether it was
    done; it is not done twice. History is kept until it is pruned.

    It waits for the server, and tries again where that is safe, up to `timeout`. It has a pool of connections, made
    when they are needed, by threads of that pool.

    Parameters:
        address: the database, as `postgresql://user:password@host:port/database` or in libpq's other form; what it
            leaves out comes from libpq's environment variables. A password is never shown.
        schema: the schema in which its tables are, and no others: letters, digits and underscores.
        types: the types of measurements (attrs or dataclass types, or `Schema`s) and events of your own.
        timeout: seconds to wait for the server, for a free connection, or for another transaction on the same user. A
            server that is there and says nothing is given up when TCP does, or later.
        max_connections: how many connections there are at most; as many threads write at once.
        migrate: whether to make the tables, or bring them up to date, where that is needed.
        transaction_pooler: whether the address is that of a pooler that gives a connection for each transaction, such
            as PgBouncer. Then nothing is kept in a connection: no prepared statements, no `LISTEN`, and how long to
            wait for another transaction is the role's `lock_timeout`.
        notifies: whether those who listen are told at once of users who become due. Where it is off, as for servers
            that cannot, workers find out by looking.
        read_only: only look; everything that would write is refused.
        lenient: give what is of a type that is not registered as `Unregistered` instead of an error, to look at.

    Raises:
        LogError: the server cannot be reached or refuses, or the tables are of a later version or not there.
        ValueError: an argument makes no sense.
        ImportError: psycopg is not installed.

    Attributes:
        path: the address, without the password.
        schema: the schema.
        clock: the server's time (seconds since 1970), by which machines whose own clocks are wrong agree.
    """

    keeps_history = True
    notes_claims = True

    def __init__(
        self,
        address: str,
        *,
        schema: str = "holdover",
        types: Iterable[type | Schema] = (),
        timeout: float = 10.0,
        max_connections: int = 10,
        migrate: bool = True,
        transaction_pooler: bool = False,
        notifies: bool = True,
        read_only: bool = False,
        lenient: bool = False,
    ) -> None:
        if not schema.isidentifier() or not schema.isascii() or len(schema) > 63:
            raise ValueError(f"schema must be up to 63 letters, digits and underscores, not {schema!r}")
        if not 0 < timeout <= LONGEST:
            raise ValueError(f"timeout must be a number of seconds above 0, to {LONGEST:,}, not {timeout!r}")
        if max_connections < 1:
            raise ValueError(f"max_connections must be at least 1, not {max_connections!r}")
        try:
            from events._postgres._database import Database, Options
            from events._postgres._opening import migrations
        except ImportError as error:
            raise ImportError(
                f"PostgresLog needs psycopg and psycopg_pool: pip install 'holdover[postgres]' ({error})"
            ) from None
        codec = Codec(types, lenient=lenient)
        self._database = Database(
            Address.of(address), Options(schema, timeout, max_connections, read_only, transaction_pooler)
        )
        listens = notifies and not transaction_pooler
        super().__init__(self._database, codec, statements(schema, notifies=notifies), ServerClock(), {})
        self.schema, self._listens = schema, listens
        self._issuers = Issuers(codec, lambda encoded: blake2b(encoded, digest_size=16).digest())
        self._claims_first = False
        self._doubted: set[str] = set()
        self._seen: dict[str, tuple[int, int]] = {}  # of streams written to: the head then, and where they were full
        try:
            self._database.open(migrations(), may_migrate=migrate)
            self._identity: str = self._database.fetch(self._statements.identity, {})[0][0]
            asked_at = steady()
            ((server_time,),) = self._database.fetch(self._statements.time, {})
            self._clock.tell(server_time, asked_at, steady())
        except BaseException:
            self.close()
            raise

    @property
    def tails(self) -> Mapping[str, Tail[M]]:
        """Empty: nothing can be added but through the server."""
        return MappingProxyType({})

    @property
    def clock(self) -> Clock:
        """See `EventLog.clock`: the server's."""
        return self._clock

    def register(self, *types: type | Schema) -> None:
        """See `EventLog.register`."""
        self._codec.register(*types)

    def position(self, stream: str) -> Position | None:
        """See `EventLog.position`."""
        self._end_doubt(stream)
        return super().position(stream)

    def add(self, stream: str, measurement: M, clock: Clock, issuer: Any = None) -> int | None:
        """See `EventLog.add`."""
        return self._add(stream, (measurement,), clock, issuer)

    def add_many(self, stream: str, measurements: Sequence[M], clock: Clock, issuer: Any = None) -> int | None:
        """See `EventLog.add_many`."""
        return self._add(stream, measurements, clock, issuer)

    def add_each(
        self, batches: Sequence[tuple[str, Sequence[M]]], clock: Clock, issuer: Any = None
    ) -> list[int | LogError | None]:
        """See `EventLog.add_each`: in a pipeline, so that no user waits for the answer of the one before."""
        adds: list[Add | LogError] = []
        for stream, batch in batches:
            try:
                adds.append(self._new_add(stream, batch, clock, issuer))
            except LogError as error:  # the codec does not take it
                adds.append(error)
        results = iter(self._added_each([add for add in adds if isinstance(add, Add)]))
        return [next(results) if isinstance(add, Add) else add for add in adds]

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
        """See `EventLog.append`."""
        rows = [EventRow.of(self._codec, event) for event in events]
        parameters = append_parameters(stream, rows, expected_head, grant, self._issuers.of(grant.issuer), at)
        soon = grant.due_at is not None and grant.due_at <= self._clock() + HORIZON
        append = Append(self._statements, self._fences, stream, expected_head, parameters, soon)
        head, checkpointed = self._attempt_on(stream, append)
        self._note(stream, head, parameters["full_at"])
        if state is not None and head - checkpointed >= EVERY:
            with suppress(LogError):  # the events are recorded, and the next append keeps one
                self._attempt(Keep(self._statements, stream, head, self._codec.encode(state)))
        return int(head)

    def truncate(self, stream: str, before: int, state: Any) -> None:
        """See `EventLog.truncate`."""
        self._attempt(Truncate(self._statements, stream, before, self._codec.encode(state)))

    def claim(self, now: float, until: float, most: int) -> list[str]:
        """See `EventLog.claim`."""
        self._claims_first = not self._claims_first
        parameters = {"now": float(now), "until": float(until), "limit": most + SPARE}
        found = self._source.fetch(self._statements.candidates, parameters)
        lanes = [
            [name for at_once, name in found if at_once is lane]
            for lane in (self._claims_first, not self._claims_first)
        ]
        names = [name for name in chain.from_iterable(zip_longest(*lanes)) if name is not None]
        claimed: list[str] = []
        try:
            while names and len(claimed) < most:
                name = names.pop(0)
                if self._claimed({**parameters, "user_id": name}):
                    claimed.append(name_of(name))
        except LogError:
            if not claimed:  # else those are not given up for it
                raise
        return claimed

    def _claimed(self, parameters: dict[str, Any]) -> bool:
        return bool(self._attempt(lambda session, _in_doubt: session.run(self._statements.claim, parameters)))

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """See `EventLog.waking`."""
        if not self._listens:
            yield
            return
        from events._postgres._listening import listening

        with listening(self._database, self._statements.channel, wake):
            yield

    def compact(self) -> None:
        """See `EventLog.compact`: lets the server use the space again; it is not given back to the file system."""
        self._database.check_writable()
        for statement in self._statements.vacuum:
            self._database.fetch(statement, {})

    def joined(self, connection: Any) -> "JoinedLog[M]":
        """See `EventLog.joined`. The connection is a `psycopg.Connection`, or an `OnLoop` of an `AsyncConnection`."""
        from events._postgres._joined import Transaction

        return JoinedLog(self, Transaction(connection, self._database, self._statements, self._identity))

    def close(self) -> None:
        """See `EventLog.close`."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _add(self, stream: str, measurements: Sequence[M], clock: Clock, issuer: Any) -> int | None:
        if not measurements:
            return None
        add = self._new_add(stream, measurements, clock, issuer)
        offset: int | None = self._attempt_on(stream, add)
        head = add.parameters["least"] if offset is None else offset + len(measurements)
        self._note(stream, head, add.full_at)
        return offset

    def _new_add(self, stream: str, measurements: Sequence[M], clock: Clock, issuer: Any) -> Add:
        batch = [self._codec.encode(measurement) for measurement in measurements]
        head, full_at = self._seen.get(stream, (0, 0))
        has_room = len(batch) == 1 and head < full_at
        by, now = self._issuers.of(issuer), time_of(clock)
        return Add(self._statements, self._fences, stream, by, now, batch, least=head, has_room=has_room)

    def _added_each(self, adds: Sequence[Add]) -> list[int | LogError | None]:
        from events._postgres._pipeline import add_each

        self._database.check_writable()
        results: list[int | LogError | None] = []
        while len(results) < len(adds):
            some = adds[len(results) :][:AT_ONCE]
            try:
                for add in some:
                    self._end_doubt(add.stream)
                results += add_each(self._database, some)
                gone = isinstance(results[-1], LogUnavailableError)
            except LogError as error:  # nobody was asked
                results.append(error)
                gone = True
            if gone:
                why = LogUnavailableError(f"not tried, since another was refused: {results[-1]}")
                results += [why] * (len(adds) - len(results))
        doubted = [isinstance(result, OutcomeUnknownError) for result in results]
        self._doubted.update(add.stream for add, is_doubted in zip(adds, doubted, strict=True) if is_doubted)
        return results

    def _note(self, stream: str, head: int, full_at: int) -> None:
        """What is known of a stream for the next add; it may have gone on since, but not back."""
        if len(self._seen) >= KNOWN and stream not in self._seen:
            self._seen.clear()
        self._seen[stream] = head, full_at

    def _attempt(self, work: Callable[[Any, bool], Any]) -> Any:
        return self._database.attempt(work)

    def _attempt_on(self, stream: str, work: Callable[[Any, bool], Any]) -> Any:
        """The same for what writes to a stream; where it stays unknown whether it did, that is remembered."""
        self._end_doubt(stream)
        try:
            return self._attempt(work)
        except OutcomeUnknownError:
            self._doubted.add(stream)
            raise

    def _end_doubt(self, stream: str) -> None:
        """See to it that nothing comes late, before somebody looks or writes where it is not known what is there."""
        if stream in self._doubted:
            self._attempt(FenceOff(self._statements, self._fences, stream))
            self._doubted.discard(stream)


class JoinedLog(PostgresLog[M]):
    """A `PostgresLog` within an application's open transaction: all it reads and writes is part of that.

    Parameters:
        log: the log.
        transaction: the transaction.
    """

    def __init__(self, log: PostgresLog[M], transaction: "Transaction") -> None:
        Reading.__init__(self, transaction, log._codec, log._statements, log._clock, {})
        self._transaction = transaction
        self._issuers, self._seen, self._claims_first = log._issuers, {}, False
        self._doubted = log._doubted.copy()  # the log's own lasts, since the transaction may be rolled back

    def _attempt(self, work: Callable[[Any, bool], Any]) -> Any:
        return self._transaction.attempt(work)

    def add_each(
        self, batches: Sequence[tuple[str, Sequence[M]]], clock: Clock, issuer: Any = None
    ) -> list[int | LogError | None]:
        """See `EventLog.add_each`: one after the other."""
        return one_by_one(self, batches, clock, issuer)

    def compact(self) -> None:
        """Nothing: that is not for a transaction."""

    def close(self) -> None:
        """Nothing: the transaction is the application's to end."""
