"""What PostgreSQL's errors become: words that say what was refused, and what to do next."""

from typing import Any

import psycopg
import pytest
from psycopg import errors

from events import (
    LogBusyError,
    LogDamagedError,
    LogError,
    LogFullError,
    LogUnavailableError,
    OutcomeUnknownError,
    UnsupportedTypeError,
)
from events._postgres._failures import LOST, OTHER, PASSING, WORDS, is_lost, may_pass, translated, unknown

WHERE = "postgresql://app@db.example.org/data"

MEANT: dict[str, tuple[type[LogError], str]] = {
    "55P03": (LogBusyError, "has held the user for 2.5 s .*keep transactions short"),
    "57014": (LogBusyError, "has held the user for 2.5 s .*longer timeout"),
    "40001": (LogBusyError, "came in between .*do the whole transaction again"),
    "40P01": (LogBusyError, "came in between .*do the whole transaction again"),
    "53300": (LogBusyError, "no connection left .*allow it more"),
    "53100": (LogFullError, "disk is full .*make room and try again"),
    "28P01": (LogUnavailableError, "refused user or password"),
    "28000": (LogUnavailableError, "refused user or password"),
    "3D000": (LogUnavailableError, "no such database .*create it first"),
    "42501": (LogUnavailableError, "may not do that .*grant it what it needs in schema holdover"),
    "3F000": (LogUnavailableError, "tables of schema holdover are not there .*migrate=True"),
    "42P01": (LogUnavailableError, "tables of schema holdover are not there .*migrate=True"),
    "42703": (LogUnavailableError, "tables of schema holdover are not there .*restore a backup"),
    "25006": (LogUnavailableError, "nothing can be written there .*name the primary server"),
    "54000": (UnsupportedTypeError, "larger than the server keeps"),
    "54001": (UnsupportedTypeError, "larger than the server keeps"),
    "22P05": (UnsupportedTypeError, "larger than the server keeps, or other"),
    "22021": (UnsupportedTypeError, "larger than the server keeps, or other"),
    "53200": (UnsupportedTypeError, "larger than the server keeps"),
    "26000": (LogUnavailableError, "prepared statement got lost .*transaction_pooler=True"),
    "42P05": (LogUnavailableError, "prepared statement got lost .*transaction_pooler=True"),
    "XX001": (LogDamagedError, "finds its data damaged .*restore a backup"),
    "XX002": (LogDamagedError, "finds its data damaged .*restore a backup"),
    "": (LogUnavailableError, "cannot be reached .*check that the server runs"),
}


def failed(state: str) -> psycopg.Error:
    """The error that psycopg raises for it, on two lines as the server likes to write."""
    kind = errors.lookup(state) if state else psycopg.OperationalError
    return kind("it went\n  wrong")


def test_every_meaning_is_looked_at() -> None:
    """A state that is added without a test is missed here."""
    assert sorted(MEANT) == sorted(state for states, _, _ in WORDS for state in states)


@pytest.mark.parametrize("state", MEANT)
def test_an_error_says_what_was_refused_and_what_to_do(state: str) -> None:
    """On one line, with the address, the server's own words and its state."""
    kind, words = MEANT[state]
    error = translated(failed(state), WHERE, 2.5, "holdover")
    assert type(error) is kind
    with pytest.raises(kind, match=words):
        raise error
    assert str(error).startswith(f"{WHERE}: ")
    assert "it went wrong" in str(error)
    assert not state or f"SQLSTATE {state}" in str(error)
    assert "\n" not in str(error)


def test_an_error_nobody_thought_of_is_passed_on() -> None:
    """With the server's words; an error without words is called by its name."""
    error = translated(failed("22012"), WHERE, 2.5, "holdover")
    assert type(error) is OTHER[0]
    assert str(error) == f"{WHERE}: the server failed (it went wrong; SQLSTATE 22012); nothing was recorded"
    assert "(DivisionByZero; SQLSTATE 22012)" in str(translated(errors.DivisionByZero(), WHERE, 2.5, "holdover"))


def test_an_answer_that_never_came_is_told_apart() -> None:
    """Nothing is said of what was recorded but that nobody knows."""
    error = unknown(failed(""), WHERE, 2.5)
    assert isinstance(error, OutcomeUnknownError)
    assert "nobody knows which; look before recording it again" in str(error)


@pytest.mark.parametrize(
    ("error", "lost", "passes"),
    [
        (psycopg.OperationalError("server closed the connection"), True, False),
        (psycopg.InterfaceError("the connection is closed"), True, False),
        (psycopg.DataError("not this"), False, False),
        (psycopg.ProgrammingError("nor this"), False, False),
        *((failed(state), True, False) for state in ("08006", *LOST[1:])),
        *((failed(state), False, True) for state in PASSING),
        (failed("55P03"), False, False),
        (failed("23505"), False, False),
    ],
)
def test_what_may_have_been_done_is_told_from_what_may_be_tried_again(error: Any, lost: bool, passes: bool) -> None:
    """Where the connection is gone nobody knows; where the server has rolled back it may be tried; else neither."""
    assert (is_lost(error), may_pass(error)) == (lost, passes)
