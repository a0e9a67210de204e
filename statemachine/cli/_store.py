"""`Store`: where a replay keeps its buffer, and what came of each window. Must not know options, or which database."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

from attrs import frozen

from events import EventLog, LogError, Schema
from statemachine import BufferConfig, FrozenSnapshot, ReplayBufferError
from statemachine.cli._command import BadInput, described, printable, quoted
from statemachine.cli._continuing import ContinuingBuffer
from statemachine.cli._process import Judged, Process
from statemachine.cli._table import Row
from statemachine.cli._turn import Window

TIMEOUT = 60.0
"""Seconds to wait for another transaction."""


@frozen
class Statements:
    """The SQL of a store.

    Attributes:
        tables: make the tables, where they are not there.
        run: gives what makes the run what it is: names and values.
        claim: keeps one of them.
        save: keeps what came of a window: user, version, measurements, error, judged.
        windows: gives all those, in the order of users and versions.
    """

    tables: tuple[str, ...]
    run: str
    claim: str
    save: str
    windows: str


class Home(Protocol):
    """A log, with room for tables beside it, for one run at a time.

    Attributes:
        name: what to call it.
        another: what to choose instead: another one of these.
        where: what the log's own errors call it.
        log: the log.
        statements: its SQL.
    """

    @property
    def name(self) -> str: ...  # pragma: no cover - a declaration

    @property
    def another(self) -> str: ...  # pragma: no cover - a declaration

    @property
    def where(self) -> str: ...  # pragma: no cover - a declaration

    @property
    def log(self) -> EventLog[Any]: ...  # pragma: no cover - a declaration

    @property
    def statements(self) -> Statements: ...  # pragma: no cover - a declaration

    def transaction(self) -> AbstractContextManager[Any]:
        """A transaction of this thread's own, on a connection that the log can join.

        Raises:
            LogError: what goes wrong with the database.
        """


OpenHome = Callable[[Sequence[Schema]], AbstractContextManager[Home]]


class Store:
    """The buffer of one run of `holdover replay`, and its results, in one database.

    What a window's replay returned is saved in the transaction that completes the replay, so it is there exactly once,
    whenever the process is killed. It is a context manager.

    Parameters:
        open_home: opens the database, for a log of the given types.
        fingerprint: what makes the run what it is, by what to call it. Two runs that differ in it share no home.
        header: the names of the table's columns.

    Raises:
        BadInput: it cannot be used, or belongs to another run.
    """

    def __init__(self, open_home: OpenHome, fingerprint: Mapping[str, str], header: tuple[str, ...]) -> None:
        self._stack, self._where = ExitStack(), ""
        with self._stack, self._in_plain_words():
            self._home = self._stack.enter_context(
                open_home([Schema(Row, dump=_dumped, load=partial(_loaded, header))])
            )
            self._where = self._home.where
            self._claim({name: printable(value) for name, value in fingerprint.items()})
            self._stack = self._stack.pop_all()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    @contextmanager
    def buffer(self, config: BufferConfig) -> Iterator[ContinuingBuffer]:
        """The buffer; what goes wrong with its database is told in one line, and the run can be continued."""
        with self._in_plain_words():
            yield ContinuingBuffer(self._home.log, config)

    def saving(self, buffer: ContinuingBuffer, process: Process) -> Process:
        """The process, which then completes its replay by itself, together with saving what came of it.

        Where that cannot be saved, the snapshot stays in progress, and the next run takes it up.
        """

        def saved(frozen: FrozenSnapshot[Row]) -> list[Judged]:
            try:
                try:
                    judged = process(frozen)
                    text = json.dumps([[row.number, _texts(row.columns)] for row in judged])
                except LogError:  # its rows could not be read
                    raise
                except Exception as error:
                    self._save(frozen, error=described(error))
                    raise
                self._save(frozen, judged=text)
            except (LogError, ReplayBufferError) as trouble:
                buffer.leave(frozen.user_id)
                raise self._told(trouble) from trouble
            return judged

        return saved

    def windows(self) -> list[Window]:
        """What came of each window so far."""
        return [
            Window(user, version, measurements, len(json.loads(judged)), "failed" if error else "completed", error)
            for user, version, measurements, error, judged in self._rows()
        ]

    def judged(self) -> list[Judged]:
        """The rows that the replays returned, in the order of the file's lines."""
        rows = [Judged(number, columns) for *_, judged in self._rows() for number, columns in json.loads(judged)]
        return sorted(rows, key=lambda row: row.number)

    def _save(self, frozen: FrozenSnapshot[Row], *, judged: str = "[]", error: str = "") -> None:
        with self._transaction() as connection:
            window = frozen.user_id, frozen.version, len(frozen), error, judged
            connection.execute(self._home.statements.save, window)
            if not error:
                frozen.complete(connection=connection)

    def _claim(self, fingerprint: Mapping[str, str]) -> None:
        """Make the tables in a new home; refuse that of another run."""
        home, statements = self._home, self._home.statements
        is_empty = next(home.log.streams(), None) is None
        with self._transaction() as connection:
            for statement in statements.tables:
                connection.execute(statement)
            found = dict(connection.execute(statements.run))
            if not found:
                if not is_empty:
                    raise BadInput(f"{home.name}: is the log of something else; choose another {home.another}")
                for each in fingerprint.items():
                    connection.execute(statements.claim, each)
        differences = [
            f"{name} was {quoted(found.get(name, ''))} and is {quoted(value)}"
            for name, value in fingerprint.items()
            if found and found.get(name) != value
        ]
        if differences:
            raise BadInput(
                f"{home.name}: belongs to another run: {'; '.join(differences)}; choose another {home.another} for "
                f"this one"
            )

    def _transaction(self) -> AbstractContextManager[Any]:
        return self._home.transaction()

    def _rows(self) -> list[Any]:
        with self._in_plain_words(), self._home.transaction() as connection:
            return list(connection.execute(self._home.statements.windows))

    @contextmanager
    def _in_plain_words(self) -> Iterator[None]:
        try:
            yield
        except ImportError as error:
            raise BadInput(str(error)) from None
        except LogError as error:
            raise self._told(error) from None

    def _told(self, error: Exception) -> BadInput:
        what = str(error)
        return BadInput(what if self._where in what else f"{self._where}: {what}")


def _dumped(row: Row) -> dict[str, Any]:
    return {"time": row.time, "value": row.value, "number": row.number, "user": row.user, "fields": list(row.fields)}


def _loaded(header: tuple[str, ...], kept: dict[str, Any]) -> Row:
    return Row(header=header, **kept | {"fields": tuple(kept["fields"])})


def _texts(columns: Mapping[str, Any]) -> dict[str, str]:
    """What will stand in the output."""
    return {_text(name): _text(value) for name, value in columns.items()}


def _text(value: Any) -> str:
    return "" if value is None else str(value)
