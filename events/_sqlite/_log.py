"""`SqliteLog`: streams in one SQLite file. Must not know what events mean."""

import os
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self, TypeVar

from events._clocks import Clock
from events._codec import Codec
from events._events import Event
from events._issuers import Issuers
from events._log import NO_GRANT, Grant
from events._schema import Schema
from events._sqlite._adding import Add
from events._sqlite._appending import Append, Truncate
from events._sqlite._database import Database
from events._sqlite._joined import Transaction
from events._sqlite._opening import Opening
from events._sqlite._reading import Reading
from events._sqlite._rows import event_row
from events._sqlite._tasks import Task
from events._sqlite._transactions import Transactions
from events._tail import Tail

M = TypeVar("M")

Durability = Literal["full", "normal", "off"]

LONGEST = 2_000_000
"""Seconds that SQLite can wait at most; it takes more for none at all."""

SYNCHRONOUS = {"full": "FULL", "normal": "NORMAL", "off": "OFF"}


class SqliteLog(Reading[M]):
    """An `EventLog` in one SQLite file, for any number of threads and processes on one machine.

    What `add`, `add_many` or `append` has returned for is in the file. Threads that add at once share a transaction.
    A process that is killed at any moment leaves all that was acknowledged, and what was in flight as a whole or not at
    all. History is kept until it is pruned. The tables are called `holdover_...`, so the file may be the application's
    own database: then a replay can be completed in the transaction that saves its results (see `joined`).

    Parameters:
        path: the file; it is made if it is not there (the directory is not). Not on a network file system: SQLite's
            locks do not hold there.
        durability: what "recorded" means. `"full"`: it survives a loss of power, at the price of waiting for the disk
            once for each transaction; the default, since it is the one that loses nothing. `"normal"`: it survives a
            crash of the process, and a loss of power may cost the newest. `"off"`: likewise, and a loss of power may
            damage the file.
        types: the types of measurements (attrs or dataclass types, or `Schema`s) and events of your own.
        timeout: seconds to wait for another process or transaction that holds the file.
        read_only: only look; everything that would write is refused.
        lenient: give what is of a type that is not registered as `Unregistered` instead of an error, to look at.
        vfs: the name of a SQLite VFS to go through.

    Raises:
        LogError: the file cannot be opened, is no database, is damaged, or was written by a later version.
        ImportError: msgpack is not installed.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from events import MeasurementAdded, SqliteLog
        >>> with TemporaryDirectory() as directory:
        ...     log = SqliteLog(f"{directory}/buffers.db")
        ...     _ = log.append("ann", [MeasurementAdded(81.5), MeasurementAdded(81.7)], expected_head=0)
        ...     log.close()
        ...     log = SqliteLog(f"{directory}/buffers.db")
        ...     [recorded.event.measurement for recorded in log.read("ann")]
        ...     log.close()
        [81.5, 81.7]
    """

    keeps_history = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "full",
        types: Iterable[type | Schema] = (),
        timeout: float = 10.0,
        read_only: bool = False,
        lenient: bool = False,
        vfs: str = "",
    ) -> None:
        if durability not in SYNCHRONOUS:
            raise ValueError(f"durability must be 'full', 'normal' or 'off', not {durability!r}")
        if str(path) == ":memory:":
            raise ValueError("a SqliteLog is kept in a file; for one in memory, use MemoryLog")
        if not 0 <= timeout <= LONGEST:
            raise ValueError(f"timeout must be a number of seconds from 0 to {LONGEST:,}, not {timeout!r}")
        where = os.path.realpath(os.fspath(path))
        codec = Codec(types, lenient=lenient)
        self._database = Database(Opening(where, SYNCHRONOUS[durability], timeout, read_only, vfs))
        super().__init__(self._database, codec)
        self._transactions = Transactions(self._database, codec)
        self._issuers = Issuers(codec)

    @property
    def tails(self) -> Mapping[str, Tail[M]]:
        """Empty: nothing can be added but through the file."""
        return MappingProxyType({})

    def register(self, *types: type | Schema) -> None:
        """See `EventLog.register`."""
        self._codec.register(*types)

    def add(self, stream: str, measurement: M, clock: Clock, issuer: Any = None) -> int | None:
        """See `EventLog.add`."""
        data = self._codec.encode(measurement)
        by = self._issuers.of(issuer)
        offset = self._transactions.add_alone(stream, data, clock, by)
        if offset is None:
            offset = self._do(Add(stream, (data,), clock, by, self._codec))
        return offset

    def add_many(self, stream: str, measurements: Sequence[M], clock: Clock, issuer: Any = None) -> int | None:
        """See `EventLog.add_many`."""
        batch = [self._codec.encode(measurement) for measurement in measurements]
        offset: int | None = self._do(Add(stream, batch, clock, self._issuers.of(issuer), self._codec))
        return offset

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
        rows = [event_row(self._codec, event) for event in events]
        encoded = None if state is None else (lambda: self._codec.encode(state))
        issuer = self._issuers.of(grant.issuer)
        head: int = self._do(Append(stream, rows, expected_head, grant, issuer, at, encoded))
        return head

    def truncate(self, stream: str, before: int, state: Any) -> None:
        """See `EventLog.truncate`."""
        self._do(Truncate(stream, before, self._codec.encode(state)))

    def compact(self) -> None:
        """See `EventLog.compact`."""
        self._transactions.compact()

    def joined(self, connection: Any) -> "JoinedLog[M]":
        """See `EventLog.joined`. The connection is one of the `sqlite3` module, with this file as its main database."""
        return JoinedLog(self, Transaction(connection, self._database))

    def close(self) -> None:
        """See `EventLog.close`."""
        self._transactions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _do(self, task: Task) -> Any:
        return self._transactions.do(task)


class JoinedLog(SqliteLog[M]):
    """A `SqliteLog` within an application's open transaction: all it reads and writes is part of that.

    Parameters:
        log: the log.
        transaction: the transaction.
    """

    def __init__(self, log: SqliteLog[M], transaction: Transaction) -> None:
        Reading.__init__(self, transaction, log._codec)
        self._transaction = transaction
        self._issuers = log._issuers

    def add(self, stream: str, measurement: M, clock: Clock, issuer: Any = None) -> int | None:
        """See `EventLog.add`."""
        return self.add_many(stream, (measurement,), clock, issuer)

    def _do(self, task: Task) -> Any:
        return self._transaction.do(task, self._codec)

    def compact(self) -> None:
        """Nothing: that is not for a transaction."""

    def close(self) -> None:
        """Nothing: the transaction is the application's to end."""
