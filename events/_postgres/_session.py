"""`Session`: a connection in which one statement runs after the other. Must not know pools, or what is asked."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import psycopg
from psycopg.errors import error_from_result
from psycopg.generators import execute, fetch_many, send
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
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

Answer = Rows | psycopg.Error | None
"""What a statement gave, or why it failed; None where nobody knows."""

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
        self._prepare(quick)
        self._send(quick, quick.values(parameters))
        return rows_of(self.wait(execute(self.pgconn)))

    def run_each(self, asked: Sequence[tuple[Quick, Parameters]]) -> list[Answer]:
        """What each of many gives, or why it failed; each is a transaction of its own.

        They are asked without waiting for answers, in libpq's pipeline mode,
        https://www.postgresql.org/docs/current/libpq-pipeline-mode.html; psycopg's own waits at the end of each
        transaction. Where the connection breaks, nobody knows what became of those that were not answered.

        Raises:
            psycopg.Error: nothing was asked.
        """
        for quick, _ in asked:
            self._prepare(quick)
        encoded = [(quick, quick.values(parameters)) for quick, parameters in asked]
        answers: list[Answer] = []
        try:
            self.pgconn.enter_pipeline_mode()
            for quick, values in encoded:
                self._send(quick, values)
                self.pgconn.pipeline_sync()
            self.wait(send(self.pgconn))
            while len(answers) < len(asked):
                answers.append(self._next_answer())
            self.pgconn.exit_pipeline_mode()
        except psycopg.Error:
            self.close()
        except BaseException:
            self.close()  # it cannot be used again in the middle of a pipeline
            raise
        return answers + [None] * (len(asked) - len(answers))

    def _next_answer(self) -> Answer:
        results: list[PGresult] = []
        while not results or results[-1].status != ExecStatus.PIPELINE_SYNC:
            results += some(self.wait(fetch_many(self.pgconn)))
        try:
            return rows_of(results[:-1])
        except psycopg.Error as error:
            return error

    def _prepare(self, quick: Quick) -> None:
        if self.prepared is not None and quick.name not in self.prepared:
            self.pgconn.send_prepare(quick.name, quick.statement)
            checked(self.wait(execute(self.pgconn)))
            self.prepared.add(quick.name)

    def _send(self, quick: Quick, values: Any) -> None:
        if self.prepared is None:
            self.pgconn.send_query_params(quick.statement, values, param_formats=quick.formats, result_format=1)
        else:
            self.pgconn.send_query_prepared(quick.name, values, param_formats=quick.formats, result_format=1)


def some(results: list[PGresult]) -> list[PGresult]:
    """The results, of which there must be one.

    Raises:
        psycopg.OperationalError: there is none, so nobody knows what was done.
    """
    if not results:
        raise psycopg.OperationalError("the server gave no answer")
    return results


def checked(results: list[PGresult]) -> PGresult:
    """The first result of a statement; its commit may fail after the rows were sent, so all of them count.

    Raises:
        psycopg.Error: one of them is an error.
    """
    for result in some(results):
        if result.status not in DONE:
            raise error_from_result(result)
    return results[0]


def rows_of(results: list[PGresult]) -> Rows:
    """The whole numbers that a statement gave."""
    result = checked(results)
    columns = range(result.nfields)
    return [tuple([number(result.get_value(row, column)) for column in columns]) for row in range(result.ntuples)]


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
