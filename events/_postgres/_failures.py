"""PostgreSQL's errors in plain words, and which of them may pass if one tries again. Knows no connection."""

import psycopg

from events._errors import (
    LogBusyError,
    LogDamagedError,
    LogError,
    LogFullError,
    LogUnavailableError,
    OutcomeUnknownError,
    UnsupportedTypeError,
)

PASSING = ("40001", "40P01", "57P03", "53300", "55006")
"""Serialization failure, deadlock, starting up, too many connections, in use: the server has rolled back, and the next
try may succeed."""

LOST = ("08", "57P01", "57P02", "57P05", "25P03", "25P04")
"""The connection is gone, or will be: whatever was asked may have been done or not."""


WORDS: tuple[tuple[tuple[str, ...], type[LogError], str], ...] = (
    (
        ("55P03", "57014"),
        LogBusyError,
        "another transaction has held the user for {timeout} s {detail}; nothing was recorded; keep transactions "
        "short, try again, or open the log with a longer timeout",
    ),
    (
        ("40001", "40P01"),
        LogBusyError,
        "another transaction came in between {detail}; nothing was recorded; roll back, and do the whole transaction "
        "again",
    ),
    (
        ("53300",),
        LogBusyError,
        "the server has no connection left {detail}; nothing was recorded; have fewer, or allow it more",
    ),
    (
        ("53100",),
        LogFullError,
        "the server's disk is full {detail}; nothing was recorded, and all that was before can be read; make room and "
        "try again",
    ),
    (("28P01", "28000"), LogUnavailableError, "the server refused user or password {detail}"),
    (("3D000",), LogUnavailableError, "there is no such database {detail}; create it first"),
    (
        ("42501",),
        LogUnavailableError,
        "the role may not do that {detail}; nothing was recorded; grant it what it needs in schema {schema}",
    ),
    (
        ("3F000", "42P01", "42703"),
        LogUnavailableError,
        "the tables of schema {schema} are not there {detail}; nothing was recorded; open the log with migrate=True to "
        "have them made, or restore a backup",
    ),
    (
        ("25006",),
        LogUnavailableError,
        "nothing can be written there {detail}; nothing was recorded; name the primary server, or open the log only to "
        "read",
    ),
    (
        ("54000", "54001", "22P05", "22021", "53200"),
        UnsupportedTypeError,
        "a value is larger than the server keeps, or other {detail}; nothing was recorded",
    ),
    (
        ("26000", "42P05"),
        LogUnavailableError,
        "a prepared statement got lost {detail}, as with a pooler that gives a connection for each transaction; "
        "nothing was recorded; open the log with transaction_pooler=True",
    ),
    (
        ("XX001", "XX002"),
        LogDamagedError,
        "the server finds its data damaged {detail}; stop writing, and restore a backup",
    ),
    (("",), LogUnavailableError, "cannot be reached {detail}; check that the server runs, and who may connect"),
)
"""What the server's SQLSTATEs mean for who uses a log."""

OTHER: tuple[type[LogError], str] = LogUnavailableError, "the server failed {detail}; nothing was recorded"


CONNECTING = (
    ("too many c", "53300"),
    ("remaining connection slots", "53300"),
    ("starting up", "57P03"),
    ("shutting down", "57P03"),
    ("password", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("does not exist", "3D000"),
)
"""What a server says to who connects, of which libpq passes on no SQLSTATE, only the words (in English, mostly)."""


def state_of(error: psycopg.Error) -> str:
    """The SQLSTATE, as far as there is one; "" where the server could not be reached."""
    if error.sqlstate is not None:
        return error.sqlstate
    said = str(error)
    found = next((state for words, state in CONNECTING if words in said and "FATAL" in said), "")
    return found or ("" if is_lost(error) else "none")


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection broke, so that nobody knows what became of the statement."""
    state = error.sqlstate
    if state is None:  # with a result, it is one that libpq made up for an answer that did not come
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) or error.pgresult is not None
    return state.startswith(LOST)


def may_pass(error: psycopg.Error) -> bool:
    """Whether to try again makes sense, since nothing was done and the reason may be gone."""
    return state_of(error) in PASSING


def unknown(error: Exception, where: str, timeout: float) -> OutcomeUnknownError:
    """The error for a write whose answer never came."""
    return OutcomeUnknownError(
        f"{where}: the connection was lost ({plain(error)}) and could not be had again within {timeout} s; what was to "
        f"be recorded is recorded as a whole or not at all, and nobody knows which; look before recording it again"
    )


def translated(error: psycopg.Error, where: str, timeout: float, schema: str) -> LogError:
    """The error of a log for one of psycopg.

    Parameters:
        error: psycopg's.
        where: the address, without a password.
        timeout: for how many seconds was tried.
        schema: the schema's name.
    """
    state = state_of(error)
    detail = f"({plain(error)}{f'; SQLSTATE {state}' if state else ''})"
    kind, words = next(((kind, words) for states, kind, words in WORDS if state in states), OTHER)
    return kind(f"{where}: " + words.format(detail=detail, timeout=timeout, schema=schema))


def plain(error: Exception) -> str:
    """The message on one line."""
    return " ".join(str(error).split()) or type(error).__name__
