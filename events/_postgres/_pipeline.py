"""`add_each`: many adds without waiting for the answer of one before the next is asked. Must not know streams."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from events._errors import LogError
from events._postgres._database import Database
from events._postgres._failures import is_lost, may_pass
from events._postgres._session import Session, plain
from events._postgres._writing import Add, Rows

Answer = Rows | LogError | None
"""What a statement gave, or why it failed; None where nobody knows."""

Result = int | LogError | None


def add_each(database: Database, adds: Sequence[Add]) -> list[Result]:
    """What came of the first of them, at least one: the rest was not asked, because one failed.

    Each is a transaction of its own. Whose fate is not known goes its own way, which finds that out first.
    """
    database.check_writable()
    answers: list[Answer] = []

    try:
        database.attempt(lambda session, _in_doubt: _ask_each(database, session, adds, answers), writes=False)
    except LogError as error:
        return [error]
    asked = list(zip(adds, answers, strict=False))
    results = [_result(database, add, answer) for add, answer in asked]
    if any(add.is_soon_due for add, _ in asked):
        statement = adds[0].statements.notify
        with suppress(LogError):
            database.attempt(lambda session, _in_doubt: session.notify(statement), writes=False)
    return results


def _ask_each(database: Database, session: Session, adds: Sequence[Add], answers: list[Answer]) -> None:
    """It fails only where nobody was asked, so that nobody is asked again like this."""
    cursors: list[psycopg.Cursor[Any]] = []
    failure: LogError | None = None
    try:
        with session.pipeline() as pipeline:
            for add in adds:
                cursors.append(plain(psycopg.Cursor(session, row_factory=tuple_row)))
                cursors[-1].execute(add.statement.template, add.parameters)
                pipeline.sync()
    except psycopg.Error as error:
        if not cursors:  # there are no pipelines
            raise
        if not (is_lost(error) or may_pass(error)):
            failure = database.translated(error)
    for cursor in cursors:
        try:
            answers.append(cursor.fetchall())
        except psycopg.Error:  # the first of these is the one that failed
            answers.append(failure)
            failure = None


def _result(database: Database, add: Add, answer: Answer) -> Result:
    if isinstance(answer, LogError):
        return answer
    if answer is not None:
        offset = add.taken(answer)
        if offset is not None or not add.knows_better:
            return offset
    try:
        return database.attempt(add, in_doubt=answer is None)
    except LogError as error:
        return error
