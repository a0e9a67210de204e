"""`Transaction`: an application's open transaction, in which a log reads and writes. Must not begin or end it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from events._errors import LogError
from events._on_loop import OnLoop
from events._postgres._database import Database
from events._postgres._quick import Quick
from events._postgres._session import Rows, plain
from events._postgres._statements import Statements

T = TypeVar("T")


class Borrowed:
    """An application's connection, as far as a log uses it."""

    def __init__(self, connection: Any) -> None:
        self._connection, self.info = connection, connection.info

    def run(self, statement: str, parameters: Mapping[str, Any]) -> Rows:
        """The rows that a statement gives."""
        with plain(psycopg.Cursor(self._connection, row_factory=tuple_row)) as cursor:
            cursor.execute(statement, parameters)
            if self._connection.pgconn.pipeline_status:  # which has the answer come later
                with self._connection.pipeline():
                    pass
            return cursor.fetchall() if cursor.description else []

    def run_quick(self, quick: Quick, parameters: Mapping[str, Any]) -> Rows:
        """The same; here it goes the usual way."""
        return self.run(quick.template, parameters)

    def notify(self, statement: str) -> None:
        """Tell who listens, when the transaction commits."""
        if statement:
            self.run(statement, {})

    def transaction(self) -> Any:
        """A savepoint."""
        return self._connection.transaction()


class BorrowedOnLoop(Borrowed):
    """The same of a connection that only coroutines can use; for a thread that is not its loop's."""

    def __init__(self, on_loop: OnLoop) -> None:
        super().__init__(on_loop.connection)
        self._call = on_loop.call

    def run(self, statement: str, parameters: Mapping[str, Any]) -> Rows:
        """See `Borrowed.run`."""
        rows: Rows = self._call(self._run(statement, parameters))
        return rows

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See `Borrowed.transaction`."""
        transaction = self._connection.transaction()
        self._call(transaction.__aenter__())
        try:
            yield
        except BaseException as error:
            self._call(transaction.__aexit__(type(error), error, error.__traceback__))
            raise
        self._call(transaction.__aexit__(None, None, None))

    async def _run(self, statement: str, parameters: Mapping[str, Any]) -> Rows:
        async with plain(psycopg.AsyncCursor(self._connection, row_factory=tuple_row)) as cursor:
            await cursor.execute(statement, parameters)
            if self._connection.pgconn.pipeline_status:
                async with self._connection.pipeline():
                    pass
            return await cursor.fetchall() if cursor.description else []


def borrowed(connection: Any) -> Borrowed:
    """The connection as a log uses it.

    Raises:
        TypeError: it is no connection of psycopg.
    """
    if isinstance(connection, OnLoop) and isinstance(connection.connection, psycopg.AsyncConnection):
        return BorrowedOnLoop(connection)
    if isinstance(connection, psycopg.AsyncConnection):
        raise TypeError("a psycopg.AsyncConnection can be joined by an AsyncReplayBuffer; here it takes a Connection")
    if not isinstance(connection, psycopg.Connection):
        raise TypeError(f"connection must be a psycopg.Connection, not {connection!r}")
    return Borrowed(connection)


class Transaction:
    """The open transaction of a connection to the log's database.

    Parameters:
        connection: the application's: a `psycopg.Connection`, or an `OnLoop` of a `psycopg.AsyncConnection`.
        database: the log's.
        statements: the log's.
        identity: what the log's tables say of themselves.

    Raises:
        TypeError: it is no connection of psycopg.
        ValueError: no transaction is open in it, or it is to another database.
        LogError: it is broken.
    """

    def __init__(self, connection: Any, database: Database, statements: Statements, identity: str) -> None:
        self._session = borrowed(connection)
        self._database, self.path = database, database.path
        info = self._session.info
        if info.transaction_status != TransactionStatus.INTRANS:
            raise ValueError(
                f"the connection has no open transaction to join (its status is {info.transaction_status.name}); write "
                f"the results first (or use `with connection.transaction():`), and commit afterwards"
            )
        if info.encoding != "utf-8":
            raise ValueError(
                f"the connection's client_encoding is {info.encoding!r}; the log needs UTF8, which has every character"
            )
        try:
            found = self.attempt(lambda session, _in_doubt: session.run(statements.identity, {}))
        except LogError as error:
            if not isinstance(error.__cause__, psycopg.errors.UndefinedTable):
                raise
            found = []
        if found != [(identity,)]:
            raise ValueError(
                f"the connection is to database {info.dbname!r}, which is not the log's ({self.path}, schema "
                f"{database.options.schema}): only one database commits as a whole, so keep the application's tables "
                f"beside the log's"
            )

    def fetch(self, statement: str, parameters: Mapping[str, Any]) -> Rows:
        """The rows of a query, as the transaction sees them.

        Raises:
            LogError: it could not be read, and the transaction has to be rolled back.
        """
        try:
            return self._session.run(statement, parameters)
        except psycopg.Error as error:
            raise self._database.translated(error) from error

    def attempt(self, work: Callable[[Borrowed | BorrowedOnLoop, bool], T]) -> T:
        """Do it as a part of the transaction, once; where it fails, the rest of the transaction stays as it is.

        Raises:
            LogError: it could not be done; nothing of it was.
        """
        try:
            with self._session.transaction():
                return work(self._session, False)
        except psycopg.Error as error:
            raise self._database.translated(error) from error
