"""`Session`: a connection in which one statement runs after the other. Must not know pools, or what is asked."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus
from psycopg.rows import tuple_row
from psycopg.types.array import ListBinaryDumper
from psycopg.types.bool import BoolBinaryDumper, BoolBinaryLoader
from psycopg.types.numeric import (
    Float8BinaryLoader,
    FloatBinaryDumper,
    Int4BinaryLoader,
    Int8BinaryDumper,
    Int8BinaryLoader,
)
from psycopg.types.string import ByteaBinaryLoader, BytesBinaryDumper, StrDumperUnknown, TextBinaryLoader

from events._postgres._quick import Quick

Rows = list[tuple[Any, ...]]

Parameters = Mapping[str, Any]

DONE = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)


class Session(psycopg.Connection[Any]):
    """A connection that is only used to run one statement after the other.

    Attributes:
        prepared: the names of the quick statements that are prepared; None where nothing is kept in a session.
    """

    _cursor: "psycopg.Cursor[Any] | None" = None
    prepared: set[bytes] | None = None

    def run(self, statement: str, parameters: Parameters) -> Rows:
        """The rows that the statement gives."""
        cursor = self._cursor
        if cursor is None:
            cursor = self._cursor = plain(psycopg.Cursor(self, row_factory=tuple_row))
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []

    def notify(self, statement: str) -> None:
        """Tell who listens, where there is a statement for it; after what was written is committed.

        In the same transaction, it would make that wait for everybody else's that tells something.
        """
        if statement:
            with suppress(psycopg.Error):  # they look by themselves, too
                self.run(statement, {})

    def run_quick(self, quick: Quick, parameters: Parameters) -> Rows:
        """The same, of a statement that gives whole numbers."""
        values: Any = quick.values(parameters)
        if self.prepared is None:
            self.pgconn.send_query_params(quick.statement, values, param_formats=quick.formats, result_format=1)
        else:
            if quick.name not in self.prepared:
                self.pgconn.send_prepare(quick.name, quick.statement)
                self._result()
                self.prepared.add(quick.name)
            self.pgconn.send_query_prepared(quick.name, values, param_formats=quick.formats, result_format=1)
        result = self._result()
        columns = range(result.nfields)
        return [tuple([number(result.get_value(row, column)) for column in columns]) for row in range(result.ntuples)]

    def _result(self) -> Any:
        """What the server answers; the commit may fail after the rows were sent, so all of it counts."""
        results = self.wait(execute(self.pgconn))
        for result in results:
            if result.status not in DONE:
                raise error_from_result(result)
        return results[0]


def number(value: bytes | None) -> int | None:
    """A whole number that the server sent."""
    return None if value is None else int.from_bytes(value, "big", signed=True)


C = TypeVar("C", "psycopg.Cursor[Any]", "psycopg.AsyncCursor[Any]")

DUMPERS = (
    (int, Int8BinaryDumper),
    (float, FloatBinaryDumper),
    (str, StrDumperUnknown),
    (bytes, BytesBinaryDumper),
    (bool, BoolBinaryDumper),
    (list, ListBinaryDumper),
)

LOADERS = (
    ("int4", Int4BinaryLoader),
    ("int8", Int8BinaryLoader),
    ("float8", Float8BinaryLoader),
    ("text", TextBinaryLoader),
    ("bytea", ByteaBinaryLoader),
    ("bool", BoolBinaryLoader),
)


def plain(cursor: C) -> C:
    """A cursor that sends and takes values in the same way, whatever the connection has been told to do with them."""
    cursor.format = psycopg.pq.Format.BINARY
    for kind, dumper in DUMPERS:
        cursor.adapters.register_dumper(kind, dumper)
    for name, loader in LOADERS:
        cursor.adapters.register_loader(name, loader)
    return cursor
