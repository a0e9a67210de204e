"""`stray_rows`: rows of a log in PostgreSQL that belong to nothing. Must not know what they hold."""

from typing import Any

from events import LogUnavailableError
from statemachine.cli._command import described, quoted
from statemachine.cli._place import Server

EVENTS = """
    SELECT user_id, start, head, count(*), min("offset"), max("offset")
    FROM {schema}.events LEFT JOIN {schema}.streams USING (user_id)
    GROUP BY user_id, start, head
    HAVING head IS NULL OR min("offset") < start OR max("offset") >= head
    ORDER BY user_id
"""

CHECKPOINTS = """
    SELECT user_id, start, head, count(*), min("offset"), max("offset")
    FROM {schema}.checkpoints LEFT JOIN {schema}.streams USING (user_id)
    GROUP BY user_id, start, head
    HAVING head IS NULL OR min("offset") < start OR max("offset") > head
    ORDER BY user_id
"""


def stray_rows(server: Server, log: Any) -> list[str]:
    """What is wrong with the tables as a whole, each as of one moment. What is missing, whoever reads a user finds out.

    Raises:
        LogUnavailableError: they cannot be read.
    """
    import psycopg

    schema = f'"{server.schema}"'
    try:
        with server.connect() as connection:
            return [
                _words(what, *row)
                for what, statement in (("event", EVENTS), ("checkpoint", CHECKPOINTS))
                for row in connection.execute(statement.format(schema=schema))
            ]
    except psycopg.Error as error:
        raise LogUnavailableError(f"{log.path}: {described(error)}") from None


def _words(what: str, user: str, start: int | None, head: int | None, count: int, lowest: int, highest: int) -> str:
    found = f"{what}s of user {quoted(user)}: {count:,} from offset {lowest} to {highest}"
    return f"{found}, but there is no such user" if head is None else f"{found}, though kept are {start} to {head - 1}"
