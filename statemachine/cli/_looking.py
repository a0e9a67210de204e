"""`looking`: a log, opened to be looked at and left as it was, and what is seen there. Must not record."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from events import LogDamagedError, LogError, Position, PostgresLog, SqliteLog, TruncatedError
from statemachine._kept import KEPT
from statemachine._known import known_state
from statemachine._state import BufferState, fold
from statemachine.cli._command import BadInput, quoted
from statemachine.cli._place import Place

Log = SqliteLog[Any] | PostgresLog[Any]

Found = TypeVar("Found")


@contextmanager
def looking(place: Place) -> Iterator[Log]:
    """The log that is there, read only; it gives what is of types that this program does not have as `Unregistered`.

    Raises:
        BadInput: there is no log, or it cannot be read; also from within the block.
    """
    try:
        opened = (
            _in_file(place)
            if isinstance(place, Path)
            else closing(place.log(PostgresLog[Any], read_only=True, lenient=True))
        )
        with opened as log:
            yield log
    except (LogError, ImportError) as error:
        raise BadInput(str(error)) from None


@contextmanager
def _in_file(path: Path) -> Iterator[Log]:
    beside = Path(f"{path}-wal")
    was_in_use = beside.exists()
    try:
        with closing(SqliteLog[Any](path, types=KEPT, read_only=True, lenient=True)) as log:
            yield log
    finally:
        if not was_in_use and beside.exists():
            _tidy(path)


def connected(path: Path, mode: str = "ro") -> sqlite3.Connection:
    """A plain connection to a file that exists."""
    return sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode={mode}", uri=True)


def shown(log: Log) -> str:
    """What to call it: the file's name, or the address without a password."""
    return Path(log.path).name if isinstance(log, SqliteLog) else f"{log.path}, schema {log.schema}"


def position(log: Log, user: str) -> Position:
    """Where the user's stream stands.

    Raises:
        BadInput: there is no such user.
    """
    found = log.position(user)
    if found is None:
        raise BadInput(f"{log.path}: there is no user {quoted(user)}")
    return found


def state_at(log: Log, user: str, offset: int) -> BufferState:
    """The user's state after the events below `offset`; nothing expires by that.

    Raises:
        TruncatedError: the offset lies in history that was pruned.
    """
    base = known_state(log, user, offset)
    return fold(base, log.controls(user, min(base.head, offset), offset), offset)


def latest(log: Log, user: str) -> tuple[Position, BufferState]:
    """Where the user's stream stands, and the state there."""
    return steadily(log, user, lambda stands: (stands, state_at(log, user, stands.head)))


def steadily(log: Log, user: str, look: Callable[[Position], Found]) -> Found:
    """What `look` finds where the user's stream stands; it looks again where that was pruned meanwhile.

    Raises:
        BadInput: there is no such user.
        LogDamagedError: it was pruned, but the checkpoint that takes the place of what is gone is not there.
    """
    while True:
        stands = position(log, user)
        try:
            return look(stands)
        except TruncatedError as error:
            if error.start == stands.start:
                raise LogDamagedError(f"{log.path} is damaged: the checkpoint of {quoted(user)} is missing") from None


def moment(seconds: float) -> str:
    """Seconds since 1970 as a time (UTC); what no calendar has, as it is.

    Example:
        >>> moment(0.5), moment(1e300)
        ('1970-01-01T00:00:00.500Z', '1e+300')
    """
    try:
        time = datetime.fromtimestamp(seconds, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return str(seconds)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _tidy(path: Path) -> None:
    """Remove the files that reading has put beside it: SQLite does so when the last one who might write goes."""
    with suppress(sqlite3.Error, UnicodeError), closing(connected(path, "rw")) as connection:
        connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
