"""`add_each`: many adds without waiting for the answer of one before the next is asked. Must not know streams."""

from collections.abc import Sequence
from contextlib import suppress

import psycopg

from events._errors import LogError, LogUnavailableError, OutcomeUnknownError
from events._postgres._database import Database
from events._postgres._failures import is_lost, may_pass
from events._postgres._session import Answer, Session
from events._postgres._writing import Add

Result = int | LogError | None


def add_each(database: Database, adds: Sequence[Add]) -> list[Result]:
    """What came of each; see `EventLog.add_each`.

    Each is a transaction of its own. Whose fate is not known goes its own way, which finds that out first.

    Raises:
        LogError: nobody was asked.
    """
    asked = [(add.statement, add.parameters) for add in adds]
    answers = database.attempt(lambda session, _in_doubt: session.run_each(asked), writes=False)
    results: list[Result] = []
    gone: LogError | None = None
    for add, answer in zip(adds, answers, strict=True):
        results.append(_unknown(gone) if gone and answer is None else _result(database, add, answer))
        gone = results[-1] if isinstance(results[-1], LogUnavailableError) else gone
    if any(add.is_soon_due for add in adds):
        with suppress(LogError):
            database.attempt(lambda session, _in_doubt: _notify(session, adds[0]), writes=False)
    return results


def _notify(session: Session, add: Add) -> None:
    session.notify(add.statements.notify)


def _unknown(gone: LogError) -> OutcomeUnknownError:
    """For who was asked together with one for whom the server was waited for in vain."""
    return OutcomeUnknownError(str(gone))


def _result(database: Database, add: Add, answer: Answer) -> Result:
    if isinstance(answer, psycopg.Error) and not (is_lost(answer) or may_pass(answer)):
        return database.translated(answer)
    if isinstance(answer, list):
        offset = add.taken(answer)
        if offset is not None or not add.knows_better:
            return offset
    in_doubt = answer is None or (isinstance(answer, psycopg.Error) and is_lost(answer))
    try:
        return database.attempt(add, in_doubt=in_doubt)
    except LogError as error:
        return error
