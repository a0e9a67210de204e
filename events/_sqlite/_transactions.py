"""`Transactions`: carries out groups of tasks, each group in one transaction. Must not know what a task writes."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Lock
from weakref import WeakSet

from events._clocks import Clock, time_of
from events._codec import Codec
from events._errors import LogClosedError
from events._sqlite._database import Database
from events._sqlite._failures import FAILURES
from events._sqlite._group import GroupCommit
from events._sqlite._rows import Stream, checksum
from events._sqlite._tasks import ADD, ADD_ONE, IF_UNCHANGED, Task, Writing

KNOWN = 10_000
"""How many streams are remembered at most."""

PAGES = 1000
"""How many free pages are given back at a time, so that others can write in between."""


class Transactions:
    """One for all threads of the process: they share the connection for writing, and transactions.

    Parameters:
        database: the connections.
        codec: for states and arrivals.
    """

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database, self._codec = database, codec
        self._statements: dict[int, str] = {}
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._at_work = Lock()
        self._group: GroupCommit[Task] = GroupCommit(self._run_alone)
        self._known: dict[str, Stream] = {}
        self._seen: tuple[sqlite3.Connection, int] | None = None
        self._is_sure = True

    def do(self, task: Task) -> object:
        """Do the task and commit it, together with those of other threads; what it gives.

        Raises:
            LogError: it could not be done; nothing of it was.
        """
        return self._group.submit(task)

    def add_alone(self, name: str, data: bytes, clock: Clock, issuer: bytes) -> int | None:
        """Add one measurement to a stream that is known to have room, where no other thread writes; the short way.

        Returns:
            Its offset, or None where it has to go the long way, or cannot be added.
        """
        group = self._group
        try:
            if not group.enter():
                return None
            stream = self._known.get(name)
            if stream is None or stream.head >= stream.full_at or stream.issuer != issuer:
                return None
            if stream.until is not None and not ((now := time_of(clock)) is not None and now < stream.until):
                return None
            offset, number = stream.head, stream.id
            row = number, offset, number, stream.revision, checksum(number, offset, None, data), data
            try:
                with self._at_work:
                    if not self._is_sure:
                        return None
                    self._is_sure = False
                    self._database.writer().execute(ADD_ONE, row)
                    stream.head = offset + 1
                    self._is_sure = True
            except BaseException as error:
                self._known.pop(name, None)
                if isinstance(error, sqlite3.IntegrityError):  # another process has written to the stream
                    return None
                if isinstance(error, FAILURES):
                    raise self._database.translated(error) from error
                raise
            return offset
        finally:
            group.leave()

    def _forget_if_written(self, connection: sqlite3.Connection) -> None:
        """Take nothing for known where somebody has written through another connection since the last look."""
        seen = connection, connection.execute("PRAGMA data_version").fetchone()[0]
        if seen != self._seen:
            self._known.clear()
            self._seen = seen

    def compact(self) -> None:
        """Give free pages back to the file system."""
        self._group.submit(_Compact())

    def close(self) -> None:
        """Close the connections, after what is under way."""
        if not self._database.closed:
            self._group.submit(_Close())

    def before_fork(self) -> None:
        """Let who writes come to an end, and nobody begin; close the connections."""
        self._at_work.acquire()
        try:
            self._database.before_fork()
        except BaseException:  # an interrupt, which does not keep Python from forking
            self.after_fork_in_parent()
            raise

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._database.after_fork_in_parent()
        self._at_work.release()

    def after_fork_in_child(self) -> None:
        """Go on, without the parent's threads."""
        self._database.after_fork_in_child()
        self._begin()

    def _run_alone(self, group: list[Task]) -> None:
        with self._at_work:
            if not self._is_sure:
                self._known.clear()
            self._is_sure = False  # until all has come to its end, which an interrupt, or two, may keep it from
            self._run(group)
            self._is_sure = True

    def _run(self, group: list[Task]) -> None:
        """Do the tasks, all in one transaction; where that fails, each in its own."""
        try:
            if not self._added(group):
                self._transact(group)
        except Exception as error:
            self._fail(group, error)

    def _fail(self, tasks: list[Task], error: Exception) -> None:
        """One transaction for all has failed, perhaps because of one of them."""
        busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
        if len(tasks) > 1 and not busy and not isinstance(error, LogClosedError):
            for task in tasks:
                self._run([task])
                task.done = True
            return
        for task in tasks:
            task.error = self._database.translated(error) if isinstance(error, FAILURES) else error

    def _added(self, tasks: list[Task]) -> bool:
        """Whether the tasks were done in one statement, where they are all adds to streams well known."""
        values: list[object] = []
        count = 0
        connection: sqlite3.Connection | None = None
        before = 0
        try:
            for number, task in enumerate(tasks):
                rows = task.put_rows(values, self._known)
                if not rows:
                    self._forget(tasks[:number])
                    return False
                count += rows
            statement = self._statements.get(count)
            if statement is None:
                statement = self._statements[count] = ADD + ", ".join([IF_UNCHANGED] * count)
            connection = self._database.writer()
            before = connection.total_changes
            connection.execute(statement, values)
        except sqlite3.IntegrityError:  # another process has written to one of the streams
            self._forget(tasks)
            return False
        except BaseException as error:
            if isinstance(error, Exception) or connection is None or connection.total_changes == before:
                self._forget(tasks)
            else:  # an interrupt that came when all was done
                _mark_done(tasks)
            raise
        return True

    def _transact(self, tasks: list[Task]) -> None:
        apart = [task for task in tasks if isinstance(task, _Apart)]
        if together := [task for task in tasks if not isinstance(task, _Apart)]:
            self._transact_together(together)
            _mark_done(together)
        for task in apart:
            try:
                task.do_apart(self._database)
            except Exception as error:
                self._fail([task], error)

    def _transact_together(self, tasks: list[Task]) -> None:
        connection = self._database.writer()
        if len(self._known) > KNOWN:
            self._known.clear()
        writing = Writing(self._database.path, connection.cursor(), self._known, self._codec)
        staged = False
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._forget_if_written(connection)
            for task in tasks:
                task.error, before = None, connection.total_changes
                try:
                    task.result = task.do(writing)
                except FAILURES:
                    raise
                except Exception as error:
                    if connection.total_changes != before:
                        raise
                    self._forget([task])
                    task.error = error
            staged = True
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            elif staged and not isinstance(error, Exception):  # an interrupt that came when all was done
                _mark_done(tasks)
                raise
            self._forget(tasks)
            raise

    def _forget(self, tasks: list[Task]) -> None:
        """What is known of the tasks' streams may not be so."""
        for task in tasks:
            self._known.pop(task.stream, None)


class _Apart(Task):
    """Something that is done between transactions."""

    def do_apart(self, database: Database) -> None:
        """Do it."""
        raise NotImplementedError  # pragma: no cover - each has its own


class _Compact(_Apart):
    def do_apart(self, database: Database) -> None:
        connection = database.writer()
        free = -1
        while (left := connection.execute("PRAGMA freelist_count").fetchone()[0]) not in (0, free):
            free = left
            connection.execute(f"PRAGMA incremental_vacuum({PAGES})").fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


class _Close(_Apart):
    def do_apart(self, database: Database) -> None:
        database.close()


def _mark_done(tasks: list[Task]) -> None:
    for task in tasks:
        task.done = True


_all: "WeakSet[Transactions]" = WeakSet()


_held: list[Transactions] = []


_forks = Lock()
"""One thread forks at a time."""


def _before_fork() -> None:
    _forks.acquire()
    for transactions in list(_all):
        transactions.before_fork()
        _held.append(transactions)


def _after_fork(go_on: Callable[[Transactions], None]) -> None:
    while _held:
        go_on(_held.pop())
    with suppress(RuntimeError):  # where an interrupt came before it was taken
        _forks.release()


getattr(os, "register_at_fork", lambda **_: None)(  # where there are forks at all
    before=_before_fork,
    after_in_parent=partial(_after_fork, Transactions.after_fork_in_parent),
    after_in_child=partial(_after_fork, Transactions.after_fork_in_child),
)
