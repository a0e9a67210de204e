"""SQLite's errors in plain words, which name the file and what to do. Knows no connection."""

import sqlite3

from events._errors import (
    LogBusyError,
    LogDamagedError,
    LogError,
    LogFullError,
    LogUnavailableError,
    UnsupportedTypeError,
)

FAILURES = (sqlite3.Error, UnicodeError)
"""What the `sqlite3` module raises when SQLite fails: the second where it cannot read SQLite's own message."""


def translated(error: Exception, path: str, timeout: float, *, read_only: bool = False) -> LogError:
    """The error of a log for an error of SQLite.

    Parameters:
        error: SQLite's.
        path: the file.
        timeout: for how many seconds others were waited for.
        read_only: whether the log was opened only to look.
    """
    if isinstance(error, UnicodeError):
        return LogDamagedError(f"{path} is damaged (SQLite's own message cannot be read: {error}); restore a backup")
    code = getattr(error, "sqlite_errorcode", 0)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    detail = f"({error}; {name})"
    if code == sqlite3.SQLITE_BUSY_SNAPSHOT:
        return LogBusyError(
            f"{path} was written to since this transaction first read it {detail}; nothing was recorded; roll it back, "
            f"and begin the next with BEGIN IMMEDIATE"
        )
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return LogBusyError(
                f"{path} was held by another transaction for {timeout} s {detail}; nothing was recorded; try again, "
                f"keep transactions short, or open the log with a longer timeout"
            )
        case sqlite3.SQLITE_FULL:
            return LogFullError(
                f"no space left for {path} {detail}; nothing was recorded, and all that was before can be read; make "
                f"room (or prune the log) and try again"
            )
        case sqlite3.SQLITE_READONLY if read_only:
            return LogUnavailableError(f"{path} was opened with read_only=True, so nothing can be recorded {detail}")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return LogUnavailableError(
                f"{path} may not be written {detail}; check the permissions of the file and its directory, or open it "
                f"with read_only=True"
            )
        case sqlite3.SQLITE_NOTADB:
            return LogUnavailableError(f"{path} is not a SQLite database {detail}; choose another file")
        case sqlite3.SQLITE_CORRUPT:
            return LogDamagedError(
                f"{path} is damaged {detail}; stop writing to it, copy it, and restore a backup or save what can be "
                f"read with `sqlite3 FILE .recover`"
            )
        case sqlite3.SQLITE_CANTOPEN:
            return LogUnavailableError(
                f"{path} cannot be opened {detail}; check that it and its directory exist and may be read and written"
            )
        case sqlite3.SQLITE_IOERR:
            return LogUnavailableError(
                f"{path} cannot be read or written {detail}; check the disk and try again; what was to be recorded is "
                f"not (should the process end before it is tried again, it may be found whole when the log is reopened)"
            )
        case sqlite3.SQLITE_TOOBIG:
            return UnsupportedTypeError(f"{path}: a value is larger than SQLite keeps {detail}; split it")
        case _:
            return LogError(f"{path}: {error} ({name})")
