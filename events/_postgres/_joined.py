"""`Transaction`: an application's open transaction, in which a log reads and writes. Must not begin or end it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from events._errors import LogError
from events._postgres._database import Database, Rows, plain_cursor
from events._postgres._failures import is_lost, unknown
from events._postgres._statements import Statements

T = TypeVar("T")


class Transaction:
    """The open transaction of a connection to the log's database.

    Parameters:
        connection: the application's.
        database: the log's.
        statements: the log's.
        identity: what the log's tables say of themselves.

    Raises:
        TypeError: it is no connection of psycopg.
        ValueError: no transaction is open in it, or it is to another database.
        LogError: it is broken.
    """

    def __init__(
        self, connection: "psycopg.Connection[Any]", database: Database, statements: Statements, identity: str
    ) -> None:
        if not isinstance(connection, psycopg.Connection):
            raise TypeError(f"connection must be a psycopg.Connection, not {connection!r}")
        self._connection, self._database, self.path = connection, database, database.path
        status = connection.info.transaction_status
        if status != TransactionStatus.INTRANS:
            raise ValueError(
                f"the connection has no open transaction to join (its status is {status.name}); write the results "
                f"first (or use `with connection.transaction():`), and commit afterwards"
            )
        try:
            found = self.fetch(statements.identity, {})
        except LogError as error:
            if isinstance(error.__cause__, psycopg.errors.UndefinedTable | psycopg.errors.InsufficientPrivilege):
                found = []
            else:
                raise
        if found != [(identity,)]:
            raise ValueError(
                f"the connection is to database {connection.info.dbname!r}, which is not the log's ({self.path}, "
                f"schema {database.options.schema}): only one database commits as a whole, so keep the application's "
                f"tables beside the log's"
            )

    def run(self, statement: str, parameters: Mapping[str, Any]) -> Rows:
        """The rows that a statement gives."""
        with plain_cursor(self._connection) as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def transaction(self) -> AbstractContextManager[object]:
        """A savepoint."""
        return self._connection.transaction()

    def fetch(self, statement: str, parameters: Mapping[str, Any]) -> Rows:
        """The rows of a query, as the transaction sees them.

        Raises:
            LogError: it could not be read.
        """
        return self.attempt(lambda session, _in_doubt: session.run(statement, parameters))

    def attempt(self, work: Callable[["Transaction", bool], T]) -> T:
        """Do it as a part of the transaction, once; where it fails, the rest of the transaction stays as it is.

        Raises:
            LogError: it could not be done; nothing of it was.
        """
        try:
            with self.transaction():
                return work(self, False)
        except psycopg.Error as error:
            if is_lost(error):
                raise unknown(error, self.path, 0.0) from error
            raise self._database.translated(error) from error
