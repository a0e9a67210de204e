"""A life of a buffer in one file, call by call, to be lived on a bad disk; must not know what is wrong with the disk.

It is the same each time: the clock stands still, so the histories of two lives can be compared event by event.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from events import LogError, MeasurementAdded, Recorded, SqliteLog
from statemachine import BufferConfig, BufferState, FrozenSnapshot, ReplayBuffer, RollbackError

CONFIG = BufferConfig(max_measurements=3, pending_factor=1)
NOW = 100.0
History = dict[str, tuple[list[Recorded], BufferState]]


class ResultsError(Exception):
    """The application's own statement failed, on its own connection."""


@contextmanager
def told_apart() -> Iterator[None]:
    """Errors of the application's own statements, which are not the log's."""
    try:
        yield
    except sqlite3.Error as error:
        raise ResultsError from error


class Life:
    """A buffer on a `SqliteLog`, and the calls that are made one after the other.

    Parameters:
        path: the file.
        options: how the log is opened.

    Attributes:
        told: for each user, the offsets that were told and what was added.
    """

    def __init__(self, path: Path, **options: Any) -> None:
        self.path, self.options = path, options
        self.told: dict[str, dict[int, Any]] = {}
        self.restored: list[tuple[str, int]] = []
        self.buffer: ReplayBuffer[Any] | None = None
        self.application: sqlite3.Connection | None = None
        self.frozen: FrozenSnapshot[Any] | None = None

    def calls(self) -> list[Callable[[], object]]:
        """Every call, in order. One that has failed is to be made again before the next."""
        add, several, begin, finalize = self.add, self.add_several, self.begin, self.finalize
        return [
            *(self.open, self.make_results),
            *(add("ann"), add("ann"), add("ann"), add("ann"), several("ann", 2), add("bob"), several("bob", 5)),
            *(begin("ann"), add("ann"), add("bob"), finalize("ann"), add("ann"), several("ann", 2), add("ann")),
            *(self.complete, add("ann"), self.reopen, add("ann"), several("ann", 3)),
            *(begin("bob"), add("bob"), finalize("bob"), self.reopen, self.complete_with_results, add("bob")),
            *(begin("bob"), add("bob"), self.abort, add("bob"), add("bob")),
            *(self.clear, add("ann"), self.prune, add("ann"), begin("ann"), add("ann"), self.reopen),
        ]

    def open(self) -> None:
        log: SqliteLog[Any] = SqliteLog(self.path, **self.options)
        buffer = ReplayBuffer(log, CONFIG, clock=lambda: NOW, on_abort=self.roll_back)
        try:
            list(buffer.users())  # from now on there is a connection that reads
        except LogError:
            buffer.close()
            raise
        self.buffer = buffer

    def reopen(self) -> None:
        self.close()
        self.open()

    def close(self) -> None:
        if self.buffer is not None:
            self.buffer.close()
            self.buffer = None
        if self.application is not None:
            self.application.close()
            self.application = None

    def add(self, user: str) -> Callable[[], object]:
        return lambda: self.add_one(user, self.next(user))

    def add_one(self, user: str, measurement: Any) -> None:
        offset = self.open_buffer.add_measurement(user, measurement)
        assert offset not in self.told.setdefault(user, {}), "told twice"
        self.told[user][offset] = measurement

    def add_several(self, user: str, count: int) -> Callable[[], object]:
        def several() -> None:
            first = self.next(user)
            measurements = range(first, first + count)
            offsets = self.open_buffer.add_measurements(user, measurements)
            assert not self.told.setdefault(user, {}).keys() & set(offsets), "told twice"
            self.told[user].update(zip(offsets, measurements, strict=True))

        return several

    def next(self, user: str) -> int:
        return len(self.told.get(user, ()))

    def begin(self, user: str) -> Callable[[], object]:
        return lambda: self.open_buffer.begin_snapshot(user)

    def finalize(self, user: str) -> Callable[[], object]:
        def finalize() -> None:
            self.frozen = self.open_buffer.finalize_snapshot(user)

        return finalize

    def complete(self) -> None:
        assert self.frozen is not None
        self.frozen.complete()

    def complete_with_results(self) -> None:
        """The completion and the application's results, in one transaction."""
        connection = self.connected()
        try:
            self.execute("BEGIN IMMEDIATE")
            self.execute("UPDATE results SET replayed = replayed + 1")
            self.open_buffer.complete_replay("bob", connection=connection)
            self.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.rollback()

    def make_results(self) -> None:
        self.execute("CREATE TABLE IF NOT EXISTS results (replayed)")
        self.execute("INSERT INTO results SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM results)")

    def connected(self) -> sqlite3.Connection:
        if self.application is None:
            vfs = self.options.get("vfs", "")
            uri = self.path.as_uri() + (f"?vfs={vfs}" if vfs else "")
            with told_apart():
                self.application = sqlite3.connect(uri, uri=True, isolation_level=None)
                self.application.execute("PRAGMA synchronous = FULL")
        return self.application

    def execute(self, statement: str) -> None:
        with told_apart():
            self.connected().execute(statement)

    def abort(self) -> None:
        """Where the log fails when the rollback ends, the rollback has failed, and the log's error is the reason."""
        buffer = self.open_buffer
        if buffer.state("bob").phase != "aborting":
            try:
                buffer.abort_snapshot("bob")
            except RollbackError as failed:
                raise buffer.abort_errors["bob"] from failed
        elif buffer.expire_overdue() != ["bob"]:
            raise buffer.abort_errors["bob"]

    def roll_back(self, user: str, version: int, reason: str) -> None:
        self.restored.append((user, version))

    def clear(self) -> None:
        self.open_buffer.clear_buffer("ann")

    def prune(self) -> None:
        self.open_buffer.prune()

    @property
    def open_buffer(self) -> ReplayBuffer[Any]:
        assert self.buffer is not None
        return self.buffer

    @property
    def atomic(self) -> tuple[Callable[[], object], ...]:
        """All calls are but these: what failed in them may have been done in part, and is finished the next time."""
        return self.open, self.make_results, self.abort, self.prune, self.reopen

    def history(self) -> History:
        """What the buffer says, of all users."""
        return history(self.open_buffer)

    def check(self, found: History) -> None:
        """What was told is there, once, at its offset, as far as it was not pruned; and nothing else is."""
        for user, (recorded, state) in found.items():
            added = {one.offset: one.event.measurement for one in recorded if isinstance(one.event, MeasurementAdded)}
            start = recorded[0].offset if recorded else state.head
            assert added == {offset: value for offset, value in self.told[user].items() if offset >= start}
            assert state.added == len(self.told[user])
        assert found.keys() == self.told.keys()


def history(buffer: ReplayBuffer[Any]) -> History:
    """Each user's events and state."""
    return {user: (list(buffer.events(user)), buffer.state(user)) for user in buffer.users()}


def found_in(path: Path) -> tuple[History, int | None]:
    """What another process finds, of which an audit is sound, and how often results were saved (None: no table yet)."""
    log: SqliteLog[Any] = SqliteLog(path, durability="off")
    with ReplayBuffer(log, CONFIG, clock=lambda: NOW) as buffer, closing(sqlite3.connect(path)) as connection:
        table = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'results'").fetchall()
        rows = connection.execute("SELECT replayed FROM results").fetchall() if table else []
        found = history(buffer)
        for audit in map(buffer.audit, found):
            assert audit.ok, str(audit)
        return found, rows[0][0] if rows else None


def saved(found: History) -> int:
    """How often results must have been saved with a completed replay: bob's only one."""
    return int("bob" in found and found["bob"][1].replayed > 0)


def checked_error(error: Exception, path: Path) -> None:
    """It is a log's, names the file, and says what to do."""
    assert isinstance(error, LogError), repr(error)
    assert str(path) in str(error)
    assert ";" in str(error)


def told_between(found: History, before: History, after: History) -> bool:
    """Whether what is found is at least what there was before a call, and at most what there was after it."""
    known: dict[tuple[str, int], Recorded] = {}
    for user, one in _events(before, after):
        known[user, one.offset] = one
    for user, (recorded, state) in found.items():
        first, last = before.get(user, ([], BufferState()))[1].head, after.get(user, ([], BufferState()))[1].head
        offsets = [one.offset for one in recorded]
        if not first <= state.head <= last or offsets != list(range(state.head - len(offsets), state.head)):
            return False
        kept = after[user][0][0].offset if after[user][0] else after[user][1].head
        if (offsets and offsets[0] > kept) or any(known[user, one.offset] != one for one in recorded):
            return False
    return before.keys() <= found.keys() <= after.keys()


def _events(*histories: History) -> Iterator[tuple[str, Recorded]]:
    for one in histories:
        for user, (recorded, _) in one.items():
            yield from ((user, each) for each in recorded)
