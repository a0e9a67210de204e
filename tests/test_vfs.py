"""The faulty disk: what it fails, what it finds after a power cut, and that it does not break the interpreter."""

import sqlite3
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
import vfs
from tried import LONG, SEED
from vfs import Change, Disk, Survivors, kept, lost, some, torn

pytestmark = vfs.needed

SURVIVORS = [lost, kept, torn, *(some(SEED + seed) for seed in range(9 if LONG else 1))]
COMMITS = 3


@pytest.fixture(params=["wal", "delete", "truncate", "persist"] if LONG else ["wal", "delete"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path, mode: str) -> Path:
    """A database with two empty tables, made with the ordinary VFS and closed."""
    path = tmp_path / "a database.db"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(f"PRAGMA journal_mode = {mode}").fetchone() == (mode,)
        connection.execute("CREATE TABLE debit (number INTEGER PRIMARY KEY, reason TEXT)")
        connection.execute("CREATE TABLE credit (number INTEGER PRIMARY KEY, reason TEXT)")
    return path


@pytest.fixture
def disk(path: Path) -> Iterator[Disk]:
    with Disk(path) as disk:
        yield disk


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    """Where the files go that are found after a power cut."""
    (tmp_path / "cut").mkdir()
    return tmp_path / "cut"


def opened(disk: Disk, mode: str, synchronous: str = "FULL") -> "closing[sqlite3.Connection]":
    connection = sqlite3.connect(disk.uri, uri=True, isolation_level=None, timeout=60, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("PRAGMA wal_autocheckpoint = 6")
    except sqlite3.Error:
        connection.close()
        raise
    return closing(connection)


def transfer(connection: sqlite3.Connection, number: int) -> None:
    """One transaction that writes to both tables, to several pages each."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO debit VALUES (?, ?)", (number, "rent" * 1000))
        connection.execute("INSERT INTO credit VALUES (?, ?)", (number, "rent" * 1000))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def transferred(database: Path) -> list[int]:
    """Whose transfers are there, after making sure that the database is sound and none is there by half."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        debit, credit = (
            [number for (number,) in connection.execute(f"SELECT number FROM {table} ORDER BY number")]
            for table in ("debit", "credit")
        )
    assert debit == credit, "half a transaction"
    return debit


def history(disk: Disk, mode: str, synchronous: str) -> list[int]:
    """Some transfers, and where in the disk's changes each of them was acknowledged."""
    marks = []
    with opened(disk, mode, synchronous) as connection:
        for number in range(COMMITS):
            transfer(connection, number)
            marks.append(len(disk.changes))
    assert transferred(disk.database) == list(range(COMMITS))
    return marks


def shortfalls(disk: Disk, marks: list[int], cut: Path, survivors: Survivors) -> list[int]:
    """For a power cut at each place: how many acknowledged transfers it lost. What is found is always a prefix."""
    shortfalls = []
    for at in range(len(disk.changes) + 1):
        found = transferred(disk.after_power_cut(cut, survivors, at))
        acknowledged = bisect_right(marks, at)
        assert found == list(range(len(found)))
        assert len(found) <= acknowledged + 1, "one that had not begun"
        shortfalls.append(max(0, acknowledged - len(found)))
    return shortfalls


@pytest.mark.parametrize("survivors", SURVIVORS, ids=lambda survivors: survivors.__name__)
def test_what_was_committed_survives_every_power_cut(disk: Disk, mode: str, cut: Path, survivors: Survivors) -> None:
    """With synchronous=FULL each acknowledged transaction is found, wherever power is cut, in every journal mode."""
    marks = history(disk, mode, "FULL")
    assert not any(shortfalls(disk, marks, cut, survivors))


@pytest.mark.parametrize("mode", ["wal"], indirect=True)
@pytest.mark.parametrize("survivors", SURVIVORS, ids=lambda survivors: survivors.__name__)
def test_without_a_sync_for_each_commit_the_newest_are_lost(disk: Disk, cut: Path, survivors: Survivors) -> None:
    """With a WAL and synchronous=NORMAL the newest may be lost, the rest is sound, and a checkpoint loses nothing."""
    marks = history(disk, "wal", "NORMAL")
    shortfall = shortfalls(disk, marks, cut, survivors)
    assert any(shortfall) == (survivors is not kept)
    assert shortfall[-1] == 0, "the checkpoint when it was closed"


def test_without_any_sync_all_is_lost(disk: Disk, mode: str, cut: Path) -> None:
    """With synchronous=OFF nothing that was acknowledged need be found: the check above can fail."""
    marks = history(disk, mode, "OFF")
    assert shortfalls(disk, marks, cut, lost)[marks[-1]] == COMMITS


def test_unsynced_changes_found_at_random_leave_a_broken_database(disk: Disk, mode: str, cut: Path) -> None:
    """With synchronous=OFF some power cut leaves halves of transactions, or no sound database at all."""
    marks = history(disk, mode, "OFF")
    with pytest.raises((AssertionError, sqlite3.DatabaseError)):
        for seed in range(20):
            shortfalls(disk, marks, cut, some(seed))


def test_a_file_that_was_never_synced_is_found_only_if_its_creation_is(tmp_path: Path) -> None:
    """Creation is durable with the first sync; without it, what was written is in no directory."""
    file = str(tmp_path / "new.db")
    disk = Disk(file)
    created, written = Change("open", file), Change("write", file, 2, b"abcd")
    disk.changes = [created, written]
    (tmp_path / "cut").mkdir()

    def found(survivors: Survivors, at: int | None = None) -> bytes | None:
        database = disk.after_power_cut(tmp_path / "cut", survivors, at)
        return database.read_bytes() if database.exists() else None

    assert found(lost) is None
    assert found(lambda unsynced: [written]) is None
    assert found(kept) == b"\0\0abcd"
    assert found(torn) == b"\0\0ab"
    assert {found(some(seed)) for seed in range(20)} == {None, b"", b"\0\0ab", b"\0\0abcd"}
    disk.changes += [Change("sync", file), Change("truncate", file, 3), Change("delete", file)]
    assert found(lost, at=3) == b"\0\0abcd"
    assert found(lost, at=4) == b"\0\0abcd"
    assert found(torn, at=4) == b"\0\0a"
    assert found(kept) is None, "deleting is immediate"


def test_a_sync_is_of_one_file(tmp_path: Path) -> None:
    """What was written to the database is not durable because its WAL is."""
    file = str(tmp_path / "new.db")
    disk = Disk(file)
    disk.changes = [
        *(Change("open", file), Change("write", file, 0, b"page")),
        *(Change("open", f"{file}-wal"), Change("write", f"{file}-wal", 0, b"frame"), Change("sync", f"{file}-wal")),
    ]
    (tmp_path / "cut").mkdir()
    assert not disk.after_power_cut(tmp_path / "cut").exists()
    assert (tmp_path / "cut" / "new.db-wal").read_bytes() == b"frame"


FAULTS = [
    {"code": sqlite3.SQLITE_FULL},
    {"code": sqlite3.SQLITE_FULL, "lasting": True, "torn": True},
    {"code": sqlite3.SQLITE_IOERR_FSYNC},
    {"code": sqlite3.SQLITE_IOERR_WRITE, "torn": True},
]


def attempts(disk: Disk, mode: str) -> tuple[list[int], list[int]]:
    """Which transfers were acknowledged, and the codes of the errors that the others met."""
    acknowledged, codes = [], []
    try:
        with opened(disk, mode) as connection:
            for number in range(COMMITS):
                try:
                    transfer(connection, number)
                    acknowledged.append(number)
                except sqlite3.Error as error:
                    codes.append(error.sqlite_errorcode)
    except sqlite3.Error as error:
        codes.append(error.sqlite_errorcode)
    return acknowledged, codes


@pytest.mark.parametrize("mode", ["wal", "delete"], indirect=True)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_every_fault_is_met_and_loses_nothing(path: Path, mode: str, fault: dict[str, int]) -> None:
    """Whichever operation fails, what was acknowledged is there, nothing is there by half, and work can go on."""
    pristine = path.read_bytes()
    with Disk(path) as disk, disk.counting() as count:
        assert attempts(disk, mode) == (list(range(COMMITS)), [])
    assert count.operations == len(disk.changes) > 5 * COMMITS
    assert not count.reached
    seen = set()
    for nth in range(0, count.operations, 1 if LONG else 4):
        path.write_bytes(pristine)
        with Disk(path) as disk:
            with disk.failing(nth, **fault) as failing:
                acknowledged, codes = attempts(disk, mode)
            assert failing.reached
            assert set(acknowledged) <= set(transferred(path)) <= set(range(COMMITS))
            with opened(disk, mode) as connection:
                transfer(connection, COMMITS)
            assert set(acknowledged) | {COMMITS} <= set(transferred(path))
        seen.update(codes)
    assert fault["code"] in seen


@pytest.mark.parametrize("mode", ["wal"], indirect=True)
def test_the_operation_that_fails_is_not_done(disk: Disk) -> None:
    """The nth fails, the others do not, and the disk knows what it did; other codes and later blocks start anew."""
    with opened(disk, "wal") as connection:
        before = len(disk.changes)
        with disk.counting() as count, disk.failing(2, sqlite3.SQLITE_IOERR_WRITE) as fault:
            with pytest.raises(sqlite3.OperationalError) as refused:
                transfer(connection, 1)
            assert refused.value.sqlite_errorcode == sqlite3.SQLITE_IOERR_WRITE
        assert fault.reached
        assert count.operations == 3
        assert len(disk.changes) - before == 2
        transfer(connection, 1)
    assert transferred(disk.database) == [1]


@pytest.mark.parametrize("mode", ["wal"], indirect=True)
def test_a_lasting_fault_ends_with_its_block(disk: Disk) -> None:
    """A disk that is full stays full, until there is room again."""
    with opened(disk, "wal") as connection:
        with disk.failing(0, lasting=True) as fault:
            for number in range(3):
                with pytest.raises(sqlite3.OperationalError, match="full"):
                    transfer(connection, number)
            assert fault.operations >= 3
        transfer(connection, 3)
    assert transferred(disk.database) == [3]


@pytest.mark.parametrize("mode", ["wal"], indirect=True)
def test_half_of_a_torn_write_is_on_the_disk(disk: Disk) -> None:
    """A WAL begins with a header of 32 bytes; the disk gets 16 of them."""
    with opened(disk, "wal") as connection, disk.failing(0, torn=True):
        with pytest.raises(sqlite3.OperationalError, match="full"):
            transfer(connection, 1)
        wal = Path(f"{disk.database}-wal")
        assert disk.changes[-1].data == wal.read_bytes()
        assert wal.stat().st_size == 16


@pytest.mark.parametrize("mode", ["delete"], indirect=True)
def test_reading_other_databases_and_temporary_files_do_not_fail(disk: Disk, tmp_path: Path) -> None:
    """A disk is that of one database, and of what must last."""
    with opened(disk, "delete") as connection:
        other = f"file:{tmp_path / 'other.db'}?vfs={vfs.NAME}"
        connection.execute("PRAGMA cache_size = 5")
        with disk.failing(0, lasting=True) as fault, closing(sqlite3.connect(other, uri=True)) as elsewhere:
            elsewhere.execute("CREATE TABLE entry (number)")
            connection.execute("PRAGMA temp_store = FILE")
            connection.execute("CREATE TEMP TABLE large (filler)")
            connection.executemany("INSERT INTO large VALUES (?)", ((str(n) * 1000,) for n in range(300)))
            assert connection.execute("SELECT filler FROM large ORDER BY filler DESC").fetchone() == ("99" * 500 * 2,)
            assert connection.execute("SELECT count(*) FROM debit").fetchone() == (0,)
        assert fault.operations == 0


@pytest.mark.parametrize("mode", ["wal"], indirect=True)
def test_threads_commit_under_power_cuts_and_faults(disk: Disk, cut: Path) -> None:
    """Callbacks come from many threads at once; what each was told is true after every power cut."""
    marks: dict[int, int] = {}

    def work(worker: int, connection: sqlite3.Connection) -> None:
        for number in range(worker, 20, 4):
            while number not in marks:
                try:
                    transfer(connection, number)
                    marks[number] = len(disk.changes)
                except sqlite3.OperationalError as error:
                    assert error.sqlite_errorcode == sqlite3.SQLITE_FULL

    with ExitStack() as stack:
        connections = [stack.enter_context(opened(disk, "wal")) for _ in range(4)]
        threads = [Thread(target=work, args=each) for each in enumerate(connections)]
        with disk.failing(7) as first, disk.failing(20) as second:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert first.reached
    assert second.reached
    assert sorted(marks) == list(range(20))
    for at in range(0, len(disk.changes) + 1, 5):
        found = transferred(disk.after_power_cut(cut, some(at), at))
        assert {number for number, mark in marks.items() if mark <= at} <= set(found)
    assert transferred(disk.database) == list(range(20))


@pytest.mark.parametrize("mode", ["wal"], indirect=True)
def test_what_goes_wrong_in_a_callback_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not raise through C, and must not pass for a fault either."""
    with pytest.raises(ZeroDivisionError), Disk(path) as disk, opened(disk, "wal") as connection:
        monkeypatch.setattr(disk, "perform", lambda change, call: 1 // 0)
        with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
            transfer(connection, 1)
    with Disk(path):
        pass


@pytest.mark.parametrize("mode", ["wal"], indirect=True)
def test_a_database_has_one_disk(disk: Disk, path: Path) -> None:
    """A second one would see nothing."""
    with pytest.raises(AssertionError, match="another disk"), Disk(path):
        pass
    assert vfs.DISKS[str(disk.database)] is disk


@pytest.mark.parametrize("mode", ["wal"], indirect=True)
def test_connections_may_outlive_the_disk(path: Path) -> None:
    """After the block it is an ordinary disk again, also to those who still have the database open."""
    with Disk(path) as disk:
        connection = opened(disk, "wal")
        known = len(disk.changes)
    with connection as still_open, disk.failing(0, lasting=True) as fault:
        transfer(still_open, 1)
    assert transferred(path) == [1]
    assert len(disk.changes) == known
    assert not fault.reached


FORGETFUL = """
import gc, sqlite3, sys, threading
sys.path.insert(0, {tests!r})
from vfs import Disk

class Collecting(Disk):
    def perform(self, change, call):
        return super().perform(change, lambda change: call(change) if gc.collect() >= 0 else None)

def forget(disk, mode, keep):
    connection = sqlite3.connect(disk.uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA cache_size = 5")
    connection.execute(f"PRAGMA journal_mode = {{mode}}")
    connection.execute("CREATE TABLE entry (filler)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO entry VALUES (?)", [("x" * 1000,)] * 50)
    keep.append([connection, keep])

def work(number, mode):
    with Collecting(f"{{number}}.db") as disk:
        for _ in range(3):
            forget(disk, mode, [])
            connection = sqlite3.connect(disk.uri, uri=True)
            connection.execute("DROP TABLE entry")
            connection.close()

gc.disable()
gc.freeze()  # what is collected are the connections, and soon
threads = [threading.Thread(target=work, args=each) for each in enumerate(("wal", "delete") * 2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.kept = []
for mode in ("wal", "delete"):
    forget(Disk(f"{{mode}} kept.db").__enter__(), mode, sys.kept)
    forget(Disk(f"{{mode}} garbage.db").__enter__(), mode, [])
print("done")
"""


def test_forgotten_connections_do_not_break_the_interpreter(tmp_path: Path) -> None:
    """Closed by the collector, amid the callbacks of others, or at the interpreter's end: it exits as ever."""
    script = FORGETFUL.format(tests=str(Path(vfs.__file__).parent))
    command = [sys.executable, "-W", "ignore", "-X", "faulthandler", "-c", script]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("module", [SimpleNamespace(), SimpleNamespace(__file__=__file__)])
def test_a_python_with_a_hidden_sqlite_skips(monkeypatch: pytest.MonkeyPatch, module: SimpleNamespace) -> None:
    """A module built into the interpreter, or a file that is no library: the tests that need the disk say so."""
    assert vfs.works()
    monkeypatch.setattr(vfs, "_sqlite3", module)
    assert not vfs.works()


def test_a_vfs_in_another_library_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The VFS has to be known to the library that the module calls."""
    monkeypatch.setattr(vfs, "register", lambda library: None)
    monkeypatch.setattr(vfs, "NAME", "elsewhere")
    assert not vfs.works()
