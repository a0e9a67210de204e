"""What `SqliteLog` does when it is interrupted, overtaken or refused in the middle of something."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event as Signal
from threading import Thread
from typing import Any

import pytest

from events import (
    Event,
    Grant,
    LogBusyError,
    LogClosedError,
    LogDamagedError,
    LogError,
    LogFullError,
    LogUnavailableError,
    MeasurementAdded,
    MeasurementsEvicted,
    Offsets,
    ReplayCompleted,
    SqliteLog,
    UnsupportedTypeError,
)
from events._sqlite import _opening, _rows, _transactions
from events._sqlite._adding import Add
from events._sqlite._failures import translated
from events._sqlite._reading import CONTROLS, Reading
from events._sqlite._tables import create
from events._sqlite._tasks import Task, Writing


def now() -> float:
    return 0.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog[Any]]:
    """A log in which ann has room."""
    log = SqliteLog[Any](tmp_path / "log.db", durability="off", timeout=0.0)
    log.append("ann", [], expected_head=0)
    log.append("ann", [ReplayCompleted(0)], expected_head=0, grant=Grant(room=10**6))
    log.append("bob", [ReplayCompleted(0)], expected_head=0, grant=Grant(room=10**6))
    log._database.checks_every = log._database._look_at = 0.0
    yield log
    log.close()


def adds(log: SqliteLog[Any], *streams: str) -> list[Task]:
    return [Add(stream, (log._codec.encode(7),), now, log._issuers.of(None), log._codec) for stream in streams]


def events(log: SqliteLog[Any], stream: str) -> list[Event]:
    return [entry.event for entry in log.read(stream)]


class Connection:
    """A connection to which something happens at a statement."""

    def __init__(self, connection: sqlite3.Connection, happens: Callable[[str, Callable[[], Any]], Any]) -> None:
        self.connection, self.happens = connection, happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    def execute(self, statement: str, *parameters: Any) -> Any:
        return self.happens(statement, lambda: self.connection.execute(statement, *parameters))


def happening(log: SqliteLog[Any], happens: Callable[[str, Callable[[], Any]], Any]) -> sqlite3.Connection:
    """From now on this happens at each statement of the log; the connection that takes it back."""
    connection = log._database.writer()
    log._database._writing = Connection(connection, happens)  # type: ignore[assignment]
    return connection


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupted_add_is_there_as_a_whole_or_not_at_all(log: SqliteLog[Any], when: str) -> None:
    """Whether the interrupt came before or after the file was written, the next add finds its place."""
    log.add("ann", 1, now)

    def interrupt(_statement: str, execute: Callable[[], Any]) -> None:
        if when == "after":
            execute()
        raise KeyboardInterrupt

    connection = happening(log, interrupt)
    with pytest.raises(KeyboardInterrupt):
        log.add("ann", 2, now)
    log._database._writing = connection
    assert log.add("ann", 3, now) == (2 if when == "before" else 3)
    expected = [1, 3] if when == "before" else [1, 2, 3]
    assert events(log, "ann")[1:] == [MeasurementAdded(measurement) for measurement in expected]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("streams", [("ann", "bob"), ("ann", "cyd")])
def test_the_others_of_an_interrupted_group_learn_what_happened(
    log: SqliteLog[Any], when: str, streams: tuple[str, ...]
) -> None:
    """They are marked as done exactly if they are: in one statement, or in a transaction."""
    log.add("ann", 1, now)
    log.add("bob", 1, now)

    def interrupt(statement: str, execute: Callable[[], Any]) -> Any:
        if "INSERT" not in statement and statement != "COMMIT":
            return execute()
        if when == "after":
            execute()
        raise KeyboardInterrupt

    connection, tasks = happening(log, interrupt), adds(log, *streams)
    with pytest.raises(KeyboardInterrupt):
        log._transactions._run(tasks)
    log._database._writing = connection
    assert not connection.in_transaction
    assert [task.done for task in tasks] == [when == "after"] * 2
    assert len(events(log, "ann")) == (3 if when == "after" else 2)
    assert log.add("ann", 9, now) == len(events(log, "ann")) - 1


def test_an_interrupt_before_the_transaction_began_changes_nothing(log: SqliteLog[Any]) -> None:
    """Nobody is marked as done."""

    def interrupt(_statement: str, _execute: Callable[[], Any]) -> None:
        raise KeyboardInterrupt

    connection, tasks = happening(log, interrupt), adds(log, "ann", "cyd")
    with pytest.raises(KeyboardInterrupt):
        log._transactions._run(tasks)
    log._database._writing = connection
    assert [task.done for task in tasks] == [False, False]


def test_an_add_that_sqlite_refuses_is_refused_in_plain_words(log: SqliteLog[Any]) -> None:
    """It is not there, and the next one finds its place."""
    log.add("ann", 1, now)

    def full(_statement: str, _execute: Callable[[], Any]) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    connection = happening(log, full)
    with pytest.raises(LogError, match="disk is full"):
        log.add("ann", 2, now)
    log._database._writing = connection
    assert log.add("ann", 3, now) == 2


def test_one_that_fails_does_not_take_the_others_with_it(log: SqliteLog[Any]) -> None:
    """A group whose transaction fails is done one by one."""
    log.add("ann", 1, now)
    log.add("bob", 1, now)

    class TooLarge(Task):
        stream = "bob"

        def do(self, writing: Writing) -> None:
            raise sqlite3.DataError("string or blob too big")

    first, last = adds(log, "ann", "bob")
    broken = TooLarge()
    log._transactions._run([first, broken, last])
    assert (first.result, last.result) == (2, 2)
    assert (first.error, last.error) == (None, None)
    assert isinstance(broken.error, LogError)


def test_a_group_that_finds_the_file_held_waits_once(log: SqliteLog[Any]) -> None:
    """Its members do not wait one after the other."""
    other = sqlite3.connect(log.path)
    other.execute("BEGIN IMMEDIATE")
    begun: list[str] = []

    def note(statement: str, execute: Callable[[], Any]) -> Any:
        begun.append(statement)
        return execute()

    happening(log, note)
    tasks = adds(log, "ann", "bob", "cyd")
    log._transactions._run(tasks)
    assert [type(task.error) for task in tasks] == [LogBusyError] * 3
    assert begun == ["BEGIN IMMEDIATE"]
    other.close()


def test_what_another_process_has_written_meanwhile_is_found(log: SqliteLog[Any]) -> None:
    """An add goes by what was known, unless that is no longer so: alone, and in a group."""
    log.add("ann", 1, now)
    log.add("bob", 1, now)
    other = SqliteLog[Any](log.path)
    for name in ("ann", "bob"):
        assert other.add(name, 2, now) == 2
    assert log.add("ann", 3, now) == 3
    tasks = adds(log, "ann", "bob")
    log._transactions._run(tasks)
    assert [task.result for task in tasks] == [4, 3]
    for name, head in (("ann", 5), ("bob", 4)):
        other.append(name, [], expected_head=head, grant=Grant(room=0))
    assert log.add("ann", 4, now) is None, "another grant at the same head is another grant"
    other.append("ann", [], expected_head=5, grant=Grant(room=1))
    assert log.add("ann", 4, now) == 5
    for name, head in (("ann", 6), ("bob", 4)):
        log.append(name, [], expected_head=head, grant=Grant(room=10))
        other.append(name, [], expected_head=head, grant=Grant(room=0))
    tasks = adds(log, "ann", "bob")
    log._transactions._run(tasks)
    assert [task.result for task in tasks] == [None, None]
    other.close()


def test_a_deadline_ends_the_short_way(log: SqliteLog[Any]) -> None:
    """What comes later is not added, whichever way it goes, and a clock that raises is heard."""
    log.append("ann", [ReplayCompleted(1)], expected_head=1, grant=Grant(room=10, until=50.0))
    assert log.add("ann", 1, lambda: 49.0) == 2
    assert log.add("ann", 2, lambda: 49.0) == 3
    assert log.add("ann", 3, lambda: 50.0) is None
    tasks = adds(log, "ann", "ann")
    tasks[1].clock = lambda: 51.0  # type: ignore[attr-defined]
    log._transactions._run(tasks)
    assert [task.result for task in tasks] == [4, None]

    def broken() -> float:
        raise OSError("no time")

    with pytest.raises(OSError, match="no time"):
        log.add("ann", 4, broken)
    assert log.add("ann", 5, now) == 5


def test_evictions_within_a_grant_are_recorded_in_a_group_too(log: SqliteLog[Any]) -> None:
    """Each add of a full stream with the one that goes for it."""
    log.append("ann", [MeasurementAdded(1)], expected_head=1, grant=Grant(victims=Offsets((range(1, 4, 2),))))
    assert log.add("ann", 2, now) == 2
    tasks = adds(log, "ann", "bob", "ann")
    log._transactions._run(tasks)
    assert [task.result for task in tasks] == [4, 1, None]
    assert events(log, "ann")[2:] == [
        MeasurementAdded(2),
        MeasurementsEvicted(1, 2),
        MeasurementAdded(7),
        MeasurementsEvicted(3, 4),
    ]


def test_what_is_known_of_streams_is_bounded(log: SqliteLog[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A log with a million users does not keep them all in memory."""
    monkeypatch.setattr(_transactions, "KNOWN", 3)
    for number in range(20):
        log.append(f"user {number}", [ReplayCompleted(0)], expected_head=0)
        assert len(log._transactions._known) <= 4


def test_an_issuer_that_cannot_be_told_to_others_has_its_own_grant(log: SqliteLog[Any]) -> None:
    """Nobody else adds within it, in this process or another."""
    mine, other = (object(), 1), (object(), 1)
    log.append("ann", [ReplayCompleted(1)], expected_head=1, grant=Grant(room=10, issuer=mine))
    assert log.add("ann", 1, now, other) is None
    assert log.add("ann", 1, now, mine) == 2
    elsewhere = SqliteLog[Any](log.path)
    assert elsewhere.add("ann", 1, now, mine) is None
    elsewhere.close()
    assert log.add("ann", 1, now, (mine[0], 1)) == 3


@pytest.mark.parametrize("where", ["parent", "child"])
def test_no_connection_is_open_during_a_fork(log: SqliteLog[Any], where: str) -> None:
    """They are closed before, and opened again on both sides; streams and their grants are as they were."""
    assert events(log, "ann") == [ReplayCompleted(0)]
    connections = [log._database.writer(), *log._database._idle]
    _transactions._before_fork()
    for connection in connections:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
    go_on = getattr(_transactions.Transactions, f"after_fork_in_{where}")
    _transactions._after_fork(go_on)
    assert log.add("ann", 1, now) == 1
    assert events(log, "ann") == [ReplayCompleted(0), MeasurementAdded(1)]
    assert _transactions._held == []


@pytest.mark.parametrize("forks", [False, True], ids=["plain", "across a fork"])
def test_what_another_opening_has_written_is_seen_at_once(log: SqliteLog[Any], forks: bool) -> None:
    """Where a stream stands is remembered as long as nobody else writes, also across a fork, which ends connections."""
    transactions = log._transactions
    with SqliteLog[Any](log.path, durability="off") as other:
        for number in range(4):
            head = log.append("ann", [ReplayCompleted(number)], expected_head=3 * number + 1, grant=Grant(room=9))
            if forks:
                transactions.before_fork()
            assert other.add("ann", number, now) == head
            if forks:
                transactions.after_fork_in_parent()
            assert log.append("ann", [], expected_head=head + 1, grant=Grant(room=9)) == head + 1
            assert log.add_many("ann", [number], now) == head + 1
            assert log.position("ann") == other.position("ann")
            assert list(log.measurements("ann", range(head, head + 2))) == [number, number]


def test_adds_that_another_opening_was_faster_than_are_made_anew(log: SqliteLog[Any]) -> None:
    """Those of several threads that share a transaction, which do not look first: each is there, at another offset."""
    for stream in ("ann", "bob"):
        log.append(stream, [ReplayCompleted(1)], expected_head=1, grant=Grant(room=9))
    with SqliteLog[Any](log.path, durability="off") as other:
        assert other.add("ann", 1, now) == 2
    tasks = adds(log, "bob", "ann")
    log._transactions._run(tasks)
    assert [task.result for task in tasks] == [2, 3]
    assert list(log.measurements("ann", range(2, 4))) == [1, 7]


def test_what_came_to_nothing_is_not_remembered(log: SqliteLog[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a transaction that failed, or was cut short by a file that is gone, nothing is taken for known."""
    head = log.append("ann", [ReplayCompleted(1)], expected_head=1, grant=Grant(room=9))

    def fail(*_: object) -> Any:
        raise ConnectionError("while the stream is saved")

    with monkeypatch.context() as patched, pytest.raises(ConnectionError):
        patched.setattr("events._sqlite._tasks.update", fail)
        log.append("ann", [ReplayCompleted(2)], expected_head=head)
    log.append("ann", [ReplayCompleted(2)], expected_head=head)
    assert [entry.offset for entry in log.read("ann")] == list(range(head + 1))


@pytest.mark.parametrize("way", ["append", "add", "adds"])
def test_what_an_interrupt_of_the_way_back_has_left_is_not_remembered(
    log: SqliteLog[Any], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One comes while what failed is undone, say: what has not come to its end is taken for nothing."""
    head = log.append("ann", [ReplayCompleted(1)], expected_head=1, grant=Grant(room=9))
    log.add("ann", 7, now)
    transactions = log._transactions
    with monkeypatch.context() as patched:
        patched.setattr(transactions, "_forget", raising)
        patched.setattr(log._database, "_writing", Connection(log._database.writer(), interrupted))
        with pytest.raises((KeyboardInterrupt, LogError)):
            if way == "append":
                log.append("ann", [ReplayCompleted(2)], expected_head=head + 1)
            elif way == "add":
                log.add("ann", 8, now)
            else:
                transactions._run_alone(adds(log, "ann", "ann"))
    assert log.add("ann", 9, now) == head + 1
    log.append("ann", [ReplayCompleted(3)], expected_head=head + 2, grant=Grant(room=9))
    assert [entry.offset for entry in log.read("ann")] == list(range(head + 3))


def interrupted(statement: str, execute: Callable[[], Any]) -> Any:
    """What is written is undone, and whoever undoes it is interrupted."""
    if "INSERT" in statement or statement in ("COMMIT", "ROLLBACK"):
        if statement == "ROLLBACK":
            execute()
        raise KeyboardInterrupt
    return execute()


def raising(*_: object) -> Any:
    raise KeyboardInterrupt


def test_a_fork_waits_for_who_reads_and_who_reads_for_the_fork(log: SqliteLog[Any]) -> None:
    """A thread in the middle of a read keeps its connection; one that comes during the fork waits for its end."""
    database = log._database
    log.shelved()
    (connection,) = database._idle
    reading, go_on = Signal(), Signal()

    def wait(_statement: str, execute: Callable[[], Any]) -> Any:
        reading.set()
        assert go_on.wait(60)
        return execute()

    database._idle[0] = Connection(connection, wait)  # type: ignore[assignment]
    found: list[Any] = []
    first = Thread(target=lambda: found.append(log.shelved()))
    first.start()
    assert reading.wait(60)
    fork = Thread(target=_transactions._before_fork)
    fork.start()
    while not database._forking:
        pass
    second = Thread(target=lambda: found.append(log.shelved()))
    second.start()
    assert found == []
    go_on.set()
    fork.join()
    first.join()
    assert len(found) == 1
    _transactions._after_fork(_transactions.Transactions.after_fork_in_parent)
    second.join()
    assert len(found) == 2


def test_a_closed_log_says_so(log: SqliteLog[Any]) -> None:
    """Whatever is asked of it; closing it again does no harm."""
    reading = log.read("ann")
    log.close()
    log.close()
    for call in (
        lambda: log.add("ann", 1, now),
        lambda: log.append("ann", [], expected_head=1),
        lambda: log.position("ann"),
        lambda: next(reading),
        lambda: log.compact(),
    ):
        with pytest.raises(LogClosedError, match="open it again"):
            call()


def test_what_is_read_when_the_log_is_closed_is_read_to_the_end_and_closed(log: SqliteLog[Any]) -> None:
    """No connection is left open behind."""
    log.shelved()
    (connection,) = log._database._idle

    class Closing(Connection):
        def execute(self, statement: str, *parameters: Any) -> Any:
            rows = self.connection.execute(statement, *parameters)
            log.close()
            return rows

    log._database._idle[0] = Closing(connection, lambda *_: None)  # type: ignore[assignment]
    assert log.shelved() == []
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_the_mode_of_the_file_is_waited_for(tmp_path: Path) -> None:
    """SQLite does not do so itself when it changes to writing ahead."""
    path = tmp_path / "log.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE t (x)")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(LogBusyError, match=r"log.db was held by another transaction for 0.02 s"):
        SqliteLog[Any](path, timeout=0.02)
    other.rollback()
    other.close()
    SqliteLog[Any](path).close()


@pytest.mark.parametrize("broken", [KeyboardInterrupt, sqlite3.OperationalError("disk I/O error")])
def test_tables_are_made_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Any) -> None:
    """Interrupted, there is none of them, and the next opening makes them."""
    from events._sqlite import _tables

    def create(connection: sqlite3.Connection, path: str) -> None:
        def execute(statement: str, *parameters: Any) -> Any:
            if "holdover_checkpoints" in statement:
                raise broken
            return connection.execute(statement, *parameters)

        proxy = Connection(connection, lambda statement, _execute: execute(statement))
        _tables.create(proxy, path)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(_opening, "create", create)
        with pytest.raises(KeyboardInterrupt if broken is KeyboardInterrupt else LogError):
            SqliteLog[Any](tmp_path / "log.db")
    log = SqliteLog[Any](tmp_path / "log.db")
    assert list(log.streams()) == []
    log.close()


def test_who_reads_in_the_old_mode_is_waited_for(tmp_path: Path) -> None:
    """A database of the application's that is being read cannot be put into the other mode at that moment."""
    path = tmp_path / "log.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE t (x)")
    other.execute("BEGIN")
    other.execute("SELECT * FROM t").fetchall()
    with pytest.raises(LogBusyError, match="held by another transaction"):
        SqliteLog[Any](path, timeout=0.02)
    other.execute("ROLLBACK")
    SqliteLog[Any](path, timeout=0.02).close()
    other.close()


def test_until_it_is_read_no_more_or_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode is tried again now and then; another error is not waited for."""
    seconds = iter(range(100))
    monkeypatch.setattr(_opening, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(_opening, "sleep", lambda pause: None)

    class Wal:
        def fetchone(self) -> tuple[str]:
            return ("wal",)

    def failing(times: int, code: int) -> Any:
        errors = [sqlite3.OperationalError("no")] * times

        def execute(_statement: str, _execute: Callable[[], Any]) -> Any:
            if errors:
                errors[0].sqlite_errorcode = code
                raise errors.pop()
            return Wal()

        return Connection(None, execute)  # type: ignore[arg-type]

    opening = _opening.Opening("log.db", "FULL", timeout=10.0)
    opening._write_ahead(failing(3, sqlite3.SQLITE_BUSY))
    with pytest.raises(sqlite3.OperationalError):
        opening._write_ahead(failing(50, sqlite3.SQLITE_BUSY))
    with pytest.raises(sqlite3.OperationalError):
        opening._write_ahead(failing(1, sqlite3.SQLITE_FULL))


def test_tables_that_sqlite_has_rolled_back_are_not_rolled_back_again(tmp_path: Path) -> None:
    """As it does by itself when the disk is full: the first error is the one that is raised."""
    connection = sqlite3.connect(tmp_path / "log.db", isolation_level=None)

    def full(statement: str, execute: Callable[[], Any]) -> Any:
        if "holdover_checkpoints" in statement:
            connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")
        return execute()

    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        create(Connection(connection, full), "log.db")  # type: ignore[arg-type]
    connection.close()


def test_tables_that_another_process_has_made_are_left(log: SqliteLog[Any]) -> None:
    """Of two that open a new file at once, one makes them."""
    create(log._database.writer(), log.path)
    assert list(log.streams()) == ["ann", "bob"]


def test_a_file_that_nobody_can_write_beside_is_read_as_it_is(
    log: SqliteLog[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody writes to it, so nothing has to be put beside it."""
    log.close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    looking = SqliteLog[Any](log.path, read_only=True)
    assert list(looking.streams()) == ["ann", "bob"]
    assert sorted(path.name for path in Path(log.path).parent.iterdir()) == ["log.db"]
    looking.close()


def test_what_may_not_be_looked_at_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may well exist."""
    path = tmp_path / "log.db"
    SqliteLog[Any](path).close()

    def refused(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", refused)
        patched.setattr(os.path, "isdir", lambda path: not path.endswith(".db"))
        with pytest.raises(LogUnavailableError, match="Permission denied"):
            SqliteLog[Any](path, read_only=True)


def test_a_search_that_leads_to_another_place_is_told(log: SqliteLog[Any]) -> None:
    """An index that names another row than it should, rows that are not in their order, a control among adds."""
    row = log._source.fetch(f"{_rows._FIND}", ("bob",))
    with pytest.raises(LogDamagedError, match="'ann' is listed under another name"):
        _rows.find(lambda *_: row, "ann", log.path)
    listed = log._source.fetch(f"{_rows._LIST} id > 0 ORDER BY id DESC")

    class Disorder:
        path = log.path

        def fetch(self, *_: Any) -> Any:
            return listed

    with pytest.raises(LogDamagedError, match="not in their order"):
        list(Reading[Any](Disorder(), log._codec).streams())
    log.append("ann", [ReplayCompleted(1), ReplayCompleted(2)], expected_head=1)
    events = log._source.fetch(CONTROLS, (1, 0, 3, 10))[::-1]
    found = log._find("ann")
    assert found is not None

    class Shuffled(Reading[Any]):
        def _find(self, stream: str) -> Any:
            return found

    class Backwards(Disorder):
        def fetch(self, *_: Any) -> Any:
            return events

    with pytest.raises(LogDamagedError, match="events of stream 'ann' are not in their order"):
        list(Shuffled(Backwards(), log._codec).controls("ann"))
    with pytest.raises(LogDamagedError, match="offset 0 of stream 'ann' holds no measurement"):
        log.measurements("ann", range(1))


def test_a_transaction_that_sqlite_has_rolled_back_stays_so(log: SqliteLog[Any]) -> None:
    """As it does by itself when the disk is full; the application is told, and the log is as it was."""
    connection = sqlite3.connect(log.path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")

    class RolledBack(Task):
        stream = "ann"

        def do(self, writing: Writing) -> None:
            connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(LogError, match="disk is full"):
        log.joined(connection)._do(RolledBack())
    assert not connection.in_transaction
    connection.close()
    assert log.add("ann", 1, now) == 1


def test_an_add_that_is_refused_leaves_no_gap(log: SqliteLog[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever keeps the connection from being had; the next one stands where it would have stood."""
    log.append("ann", [MeasurementAdded(1)], expected_head=1, grant=Grant(victims=Offsets((range(1, 9, 2),))))
    assert log.add("ann", 2, now) == 2
    with monkeypatch.context() as patched:
        patched.setattr(log._database, "_identity", (0, 0))
        with pytest.raises(LogUnavailableError):
            log.add("ann", 3, now)
    assert log.add("ann", 4, now) == 4
    assert len(events(log, "ann")) == 6


@pytest.mark.parametrize("writes", [False, True])
def test_what_fails_of_its_own_leaves_nothing_behind(log: SqliteLog[Any], writes: bool) -> None:
    """Before it has written anything it fails alone; afterwards it takes the transaction with it, and others go on."""

    class Failing(Task):
        stream = "ann"

        def do(self, writing: Writing) -> None:
            found = writing.find("ann")
            assert found is not None
            found.head += 1
            if writes:
                writing.cursor.execute("DELETE FROM holdover_events WHERE stream = ?", (found.id,))
            raise OverflowError("too large")

    failing, (add,) = Failing(), adds(log, "bob")
    log._transactions._run([failing, add])
    assert isinstance(failing.error, OverflowError)
    assert (add.error, add.result) == (None, 1)
    assert log.add("ann", 1, now) == 1
    assert events(log, "ann") == [ReplayCompleted(0), MeasurementAdded(1)]


def test_an_interrupt_while_the_file_is_compacted_doubles_nothing(log: SqliteLog[Any]) -> None:
    """What was added in the same group is committed, and is not added again."""

    class Interrupted(_transactions._Apart):
        def do_apart(self, database: Any) -> None:
            raise KeyboardInterrupt

    tasks = adds(log, "ann", "cyd")
    with pytest.raises(KeyboardInterrupt):
        log._transactions._run([*tasks, Interrupted()])
    assert [task.done for task in tasks] == [True, True]


def test_a_state_that_cannot_be_kept_leaves_no_gap(log: SqliteLog[Any]) -> None:
    """The append is refused, and the next one stands in its place."""
    many = [MeasurementAdded(number) for number in range(300)]
    with pytest.raises(UnsupportedTypeError):
        log.append("ann", many, expected_head=1, state=object())
    assert log.append("ann", many, expected_head=1, state="kept") == 301
    assert log.checkpoint("ann") is not None


def test_a_grant_larger_than_any_log_is_kept(log: SqliteLog[Any]) -> None:
    """SQLite keeps no number above 2**63."""
    log.append("ann", [ReplayCompleted(1)], expected_head=1, grant=Grant(room=2**80, until=-0.0))
    assert log.overdue(0.0) == ["ann"]
    assert log.position("ann") is not None


def test_a_fork_that_is_interrupted_leaves_no_lock(log: SqliteLog[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Python goes on with the fork all the same."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(log._database, "before_fork", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _transactions._before_fork()
    _transactions._after_fork(_transactions.Transactions.after_fork_in_parent)
    _transactions._after_fork(_transactions.Transactions.after_fork_in_parent)
    assert log.add("ann", 1, now) == 1
    assert not _transactions._forks.locked()


def test_an_applications_converters_are_its_own(log: SqliteLog[Any]) -> None:
    """They are for its columns; nor may its connection belong to another thread."""
    sqlite3.register_converter("INTEGER", lambda _: "converted")
    try:
        connection = sqlite3.connect(log.path, isolation_level=None, detect_types=sqlite3.PARSE_DECLTYPES)
        connection.execute("BEGIN IMMEDIATE")
        joined = log.joined(connection)
        assert joined.append("ann", [MeasurementAdded(1)], expected_head=1, state="s") == 2
        assert list(joined.measurements("ann", range(1, 2))) == [1]
        connection.close()
    finally:
        sqlite3.converters.pop("INTEGER")
    connection = sqlite3.connect(log.path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    found: list[Exception] = []

    def join() -> None:
        try:
            log.joined(connection)
        except Exception as error:
            found.append(error)

    thread = Thread(target=join)
    thread.start()
    thread.join()
    connection.close()
    assert isinstance(found[0], (LogError, sqlite3.ProgrammingError))


@pytest.mark.parametrize("timeout", [-1, float("inf"), float("nan"), 1e7])
def test_a_timeout_that_cannot_be_waited_for_is_refused(tmp_path: Path, timeout: float) -> None:
    """SQLite would not wait at all."""
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        SqliteLog[Any](tmp_path / "log.db", timeout=timeout)


CODES = {
    sqlite3.SQLITE_BUSY: LogBusyError,
    sqlite3.SQLITE_BUSY_SNAPSHOT: LogBusyError,
    sqlite3.SQLITE_FULL: LogFullError,
    sqlite3.SQLITE_READONLY: LogUnavailableError,
    sqlite3.SQLITE_NOTADB: LogUnavailableError,
    sqlite3.SQLITE_CORRUPT: LogDamagedError,
    sqlite3.SQLITE_CANTOPEN: LogUnavailableError,
    sqlite3.SQLITE_IOERR: LogUnavailableError,
    sqlite3.SQLITE_TOOBIG: UnsupportedTypeError,
    sqlite3.SQLITE_MISUSE: LogError,
}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("extension", [0, 3 << 8])
def test_each_error_of_sqlite_has_a_name_and_says_what_to_do(code: int, extension: int) -> None:
    """Extended codes too; the file is named."""
    error = sqlite3.OperationalError("words of SQLite")
    error.sqlite_errorcode = code + extension
    found = translated(error, "buffers.db", 5.0)
    assert type(found) is CODES[code]
    assert "buffers.db" in str(found)
    assert "words of SQLite" in str(found)


def test_arguments_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    """Before any file is made."""
    with pytest.raises(ValueError, match="durability must be 'full', 'normal' or 'off', not 'fast'"):
        SqliteLog[Any](tmp_path / "log.db", durability="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="use MemoryLog"):
        SqliteLog[Any](":memory:")
    assert list(tmp_path.iterdir()) == []
