"""`Transaction`: an application's open transaction, in which a log reads and writes. Must not begin or end it."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from events._codec import Codec
from events._errors import LogUnavailableError
from events._sqlite._database import Database, Rows
from events._sqlite._failures import FAILURES
from events._sqlite._tasks import Task, Writing


class Transaction:
    """The open transaction of a connection to the log's file.

    Parameters:
        connection: the application's.
        database: the log's.

    Raises:
        TypeError: it is no connection of the `sqlite3` module.
        LogUnavailableError: the log's file is gone.
        ValueError: no transaction is open in it, or its main database is another file.
    """

    def __init__(self, connection: sqlite3.Connection, database: Database) -> None:
        if not isinstance(connection, sqlite3.Connection):
            raise TypeError(f"connection must be a sqlite3.Connection, not {connection!r}")
        self._connection, self._database, self.path = connection, database, database.path
        if not connection.in_transaction:
            raise ValueError(
                "the connection has no open transaction to join; write the results first (or execute BEGIN IMMEDIATE), "
                "and commit afterwards"
            )
        database.check_in_place()
        main = next((row[2] for row in self.fetch("PRAGMA database_list") if row[1] == "main"), "")
        if not main or not self._is_the_logs(main):
            raise ValueError(
                f"the connection's main database is {main or 'in memory'!r}, not {self.path!r}: only one file commits "
                f"as a whole, so keep the application's tables in the log's file"
            )

    def _is_the_logs(self, file: str) -> bool:
        try:
            return os.path.samefile(file, self.path)
        except OSError as error:
            raise LogUnavailableError(f"{self.path} is gone ({error.strerror}); roll the transaction back") from error

    def fetch(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """All rows of a query, as the transaction sees them.

        Raises:
            LogError: it could not be read.
        """
        with self._plain() as cursor:
            return cursor.execute(statement, parameters).fetchall()

    def do(self, task: Task, codec: Codec) -> Any:
        """Do the task as a part of the transaction; where it fails, the rest of the transaction stays as it is.

        Raises:
            LogError: it could not be done; nothing of it was.
        """
        with self._plain() as cursor:
            cursor.execute("SAVEPOINT holdover")
            try:
                result = task.do(Writing(self.path, cursor, {}, codec))
                cursor.execute("RELEASE holdover")
            except BaseException:
                if self._connection.in_transaction:
                    cursor.execute("ROLLBACK TO holdover")
                    cursor.execute("RELEASE holdover")
                raise
        return result

    @contextmanager
    def _plain(self) -> Iterator[sqlite3.Cursor]:
        """A cursor that gives plain tuples and texts, whatever rows and texts the application likes."""
        text_factory = self._connection.text_factory
        try:
            with closing(self._connection.cursor()) as cursor:
                cursor.row_factory, self._connection.text_factory = None, str
                yield cursor
        except FAILURES as error:
            raise self._database.translated(error) from error
        finally:
            self._connection.text_factory = text_factory
