"""A `SqliteLog` on a file that is not as it should be: refused with the file's name and what to do, and left alone."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any

import pytest
from enduring import checked_error

from events import LogError, LogUnavailableError, SqliteLog
from statemachine import ReplayBuffer

NOBODY = 65534
posix = pytest.mark.skipif(sys.platform == "win32", reason="permissions and names are those of POSIX")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log in which ann has one measurement."""
    return made(tmp_path / "log.db")


def made(path: Path) -> Path:
    with ReplayBuffer[Any](SqliteLog(path)) as buffer:
        buffer.add_measurement("ann", 81.5)
    return path


def measurements(path: Path | str, **options: Any) -> list[Any]:
    with ReplayBuffer[Any](SqliteLog(path, **options)) as buffer:
        return buffer.measurements("ann")


def refused(path: Path, **options: Any) -> LogError:
    """The error of opening; the file and its neighbours stay as they are."""
    before = contents(path)
    with pytest.raises(LogUnavailableError) as error:
        SqliteLog[Any](path, **options).close()
    assert contents(path) == before
    checked_error(error.value, path)
    return error.value


def contents(path: Path) -> dict[str, bytes]:
    directory = path.parent
    return (
        {each.name: each.read_bytes() for each in directory.iterdir() if each.is_file()} if directory.is_dir() else {}
    )


@pytest.mark.parametrize("read_only", [False, True])
def test_a_directory_is_no_file(tmp_path: Path, read_only: bool) -> None:
    """In place of the file, and where the file's own directory is missing, or is a file."""
    assert "is a directory" in str(refused(tmp_path, read_only=read_only))
    assert "no directory" in str(refused(tmp_path / "missing" / "log.db", read_only=read_only))
    (tmp_path / "file").write_text("")
    assert "no directory" in str(refused(tmp_path / "file" / "log.db", read_only=read_only))


FOREIGN = {
    "text": b"weight,time\n81.5,10:00\n" * 1000,
    "short": b"xy",
    "random": Random(1).randbytes(20_000),
    "zeros": bytes(4096),
    "another version of SQLite": b"** This file contains an SQLite 2.1 database **\0" + bytes(4096),
}


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_file_that_is_no_database_is_left_alone(content: bytes, read_only: bool, tmp_path: Path) -> None:
    """It is somebody's."""
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    assert "not a SQLite database" in str(refused(path, read_only=read_only))


def test_an_empty_file_is_a_new_log(tmp_path: Path) -> None:
    """As `mktemp` leaves them."""
    path = tmp_path / "log.db"
    path.touch()
    assert measurements(made(path)) == [81.5]


@pytest.mark.parametrize("read_only", [True, False])
def test_a_newer_format_is_refused_and_untouched(path: Path, read_only: bool) -> None:
    """What a later version has written would only be guessed at."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE holdover_format SET version = 2")
    assert "later version" in str(refused_for_its_format(path, read_only))


def test_opening_a_log_writes_nothing(path: Path) -> None:
    """It is there already."""
    before = path.read_bytes()
    assert measurements(path) == [81.5]
    assert path.read_bytes() == before


def test_reading_does_not_wait_for_who_writes(path: Path) -> None:
    """Nor does opening: a write-ahead log is there so that readers need not."""
    log: SqliteLog[Any] = SqliteLog(path, timeout=0)
    with (
        ReplayBuffer(log) as buffer,
        closing(sqlite3.connect(path, isolation_level=None)) as writing,
    ):
        writing.execute("BEGIN IMMEDIATE")
        writing.execute("CREATE TABLE results (mean)")
        assert buffer.measurements("ann") == [81.5]
        assert measurements(path, timeout=0) == [81.5]


def test_a_newer_format_is_untouched_in_another_journal_mode(path: Path) -> None:
    """A copy that `VACUUM INTO` made has no write-ahead log, and keeps none."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE holdover_format SET version = 2")
        connection.execute("PRAGMA journal_mode = DELETE")
    refused_for_its_format(path, read_only=False)


def refused_for_its_format(path: Path, read_only: bool) -> LogError:
    before = path.read_bytes()
    with pytest.raises(LogUnavailableError) as error:
        SqliteLog[Any](path, read_only=read_only)
    assert path.read_bytes() == before
    checked_error(error.value, path)
    return error.value


def test_the_applications_own_tables_are_left_alone(tmp_path: Path) -> None:
    """A log works beside them, whatever they are called and whatever the file's settings are."""
    path = tmp_path / "application.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(
            """
            PRAGMA page_size = 1024; PRAGMA user_version = 7; PRAGMA application_id = 9;
            CREATE TABLE streams (name); CREATE TABLE events (name); CREATE VIEW names AS SELECT name FROM streams;
            INSERT INTO streams VALUES ('mine');
            """
        )
        before = list(connection.iterdump())
    assert measurements(made(path)) == [81.5]
    with closing(sqlite3.connect(path)) as connection:
        after = [line for line in connection.iterdump() if "holdover_" not in line]
        assert set(before) <= set(after)
        assert connection.execute("PRAGMA user_version").fetchone() == (7,)
        assert connection.execute("PRAGMA application_id").fetchone() == (9,)


def test_an_applications_database_without_a_log_can_not_be_only_looked_at(tmp_path: Path) -> None:
    """There is nothing to see, and nothing is made."""
    path = tmp_path / "application.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE own (name)")
    assert "holds no log" in str(refused(path, read_only=True))


def test_a_log_in_memory_is_refused() -> None:
    """Each connection would have one of its own."""
    with pytest.raises(ValueError, match="MemoryLog"):
        SqliteLog(":memory:")


NAMES = [
    *("a b.db", "50%.db", "50%25.db", "#1.db", "what?mode=memory.db", "Gewicht für Jörg.db", "体重.db"),
    *("file:log.db", "a&b=c;d.db", 'it\'s "q".db', "new\nline.db", "-rf", "~", "\\"),
]


@posix
@pytest.mark.parametrize("name", NAMES)
def test_any_name_will_do(name: str, tmp_path: Path) -> None:
    """Of the file and of its directory, and it is that file that is written."""
    directory = tmp_path / name
    directory.mkdir()
    assert measurements(made(directory / name)) == [81.5]
    assert sorted(os.listdir(tmp_path)) == [name]
    assert os.listdir(directory) == [name]
    with ReplayBuffer[Any](SqliteLog(directory / name)) as buffer:
        complete_within(buffer, sqlite3.connect(directory / name, isolation_level=None))
        assert buffer.measurements("ann") == []


def complete_within(buffer: ReplayBuffer[Any], connection: sqlite3.Connection) -> None:
    buffer.begin_snapshot("ann")
    buffer.finalize_snapshot("ann")
    with closing(connection):
        connection.execute("BEGIN IMMEDIATE")
        buffer.complete_replay("ann", connection=connection)
        connection.execute("COMMIT")


@posix
def test_a_name_that_is_not_unicode_will_do(tmp_path: Path) -> None:
    """POSIX names are bytes."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.db"))
    assert measurements(made(path)) == [81.5]
    assert path.exists()


def test_the_directory_may_be_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means what it meant when the log was opened, also to connections that are opened later."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    log: SqliteLog[Any] = SqliteLog("log.db")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with ReplayBuffer(log) as buffer:
        buffer.add_measurement("ann", 81.5)
        assert buffer.measurements("ann") == [81.5]
    assert os.listdir(tmp_path / "elsewhere") == []
    assert measurements(tmp_path / "log.db") == [81.5]


@posix
def test_a_symbolic_link_leads_to_the_file(path: Path, tmp_path: Path) -> None:
    """Through either name it is one log, also for a transaction of the application."""
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with ReplayBuffer[Any](SqliteLog(link)) as linked, ReplayBuffer[Any](SqliteLog(path)) as direct:
        linked.add_measurement("ann", 81.7)
        assert direct.measurements("ann") == [81.5, 81.7]
        complete_within(direct, sqlite3.connect(link, isolation_level=None))
        assert linked.measurements("ann") == []
    assert link.is_symlink()
    dangling = tmp_path / "dangling.db"
    dangling.symlink_to(tmp_path / "target.db")
    assert measurements(made(dangling)) == [81.5]
    assert (tmp_path / "target.db").exists()


ODD_PATHS: dict[str, tuple[Callable[[Path], Path], type[Exception]]] = {
    "a link to itself": (lambda directory: looping(directory / "log.db"), RuntimeError),
    "a name too long": (lambda directory: directory / ("x" * 300), OSError),
}


def looping(path: Path) -> Path:
    path.symlink_to(path)
    return path


@posix
@pytest.mark.parametrize(("make", "_now"), ODD_PATHS.values(), ids=ODD_PATHS.keys())
def test_a_path_that_leads_nowhere_is_an_error_of_the_log(
    make: Callable[[Path], Path], _now: type[Exception], tmp_path: Path
) -> None:
    """So that an application that catches those has caught it."""
    refused(make(tmp_path))


WRITES: dict[str, Callable[[ReplayBuffer[Any]], object]] = {
    "add_measurement": lambda buffer: buffer.add_measurement("ann", 1),
    "add_measurement of somebody new": lambda buffer: buffer.add_measurement("zoe", 1),
    "add_measurements": lambda buffer: buffer.add_measurements("ann", [1, 2]),
    "begin_snapshot": lambda buffer: buffer.begin_snapshot("ann"),
    "finalize_snapshot": lambda buffer: buffer.finalize_snapshot("bob"),
    "complete_replay": lambda buffer: buffer.complete_replay("cyd"),
    "renew_lease": lambda buffer: buffer.renew_lease("cyd"),
    "abort_snapshot": lambda buffer: buffer.abort_snapshot("cyd"),
    "clear_buffer": lambda buffer: buffer.clear_buffer("ann"),
    "prune": lambda buffer: buffer.prune(),
}


def test_a_log_opened_to_look_at_can_not_be_changed(path: Path) -> None:
    """Everything that would write is refused in words; reading works; the file stays as it is."""
    with ReplayBuffer[Any](SqliteLog(path), clock=lambda: 100.0) as buffer:
        for user in ("bob", "cyd"):
            buffer.add_measurement(user, user)
            buffer.begin_snapshot(user)
        buffer.finalize_snapshot("cyd")
        with buffer.snapshot("ann"):
            buffer.add_measurement("ann", "pending")
    before = path.read_bytes()
    log: SqliteLog[Any] = SqliteLog(path, read_only=True)
    with ReplayBuffer(log, clock=lambda: 101.0) as buffer:
        states = {user: buffer.state(user) for user in buffer.users()}
        for write in WRITES.values():
            with pytest.raises(LogUnavailableError) as error:
                write(buffer)
            checked_error(error.value, path)
        log.compact()
        assert {user: buffer.state(user) for user in buffer.users()} == states
        assert buffer.measurements("ann") == ["pending"]
        assert all(buffer.audit(user).ok for user in states)
    assert path.read_bytes() == before
    assert not Path(f"{path}-wal").exists() or Path(f"{path}-wal").stat().st_size == 0
    with ReplayBuffer[Any](SqliteLog(path), clock=lambda: 101.0) as buffer:
        assert {user: buffer.state(user) for user in buffer.users()} == states


def test_who_only_looks_is_not_told_to_look(path: Path) -> None:
    """The remedy is to open it without read_only."""
    with ReplayBuffer[Any](SqliteLog(path, read_only=True)) as buffer:
        with pytest.raises(LogUnavailableError) as error:
            buffer.add_measurement("ann", 1)
        assert "or open it with read_only=True" not in str(error.value)


def test_who_only_looks_sees_what_others_add(path: Path) -> None:
    """Also what was added since it was opened."""
    with (
        ReplayBuffer[Any](SqliteLog(path, read_only=True)) as looking,
        ReplayBuffer[Any](SqliteLog(path)) as writing,
    ):
        writing.add_measurement("ann", 2)
        assert looking.measurements("ann") == [81.5, 2]


def test_a_file_that_is_gone_is_not_written(path: Path, tmp_path: Path) -> None:
    """An add to a removed or replaced file is refused: nobody would find it. What is put back is written again."""
    log: SqliteLog[Any] = SqliteLog(path)
    log._database.checks_every = 0
    with ReplayBuffer(log) as buffer:
        buffer.add_measurement("ann", 2)
        assert buffer.measurements("ann") == [81.5, 2]
        away = path.rename(tmp_path / "away.db")
        for write in (lambda: buffer.add_measurement("ann", 3), lambda: buffer.begin_snapshot("ann")):
            with pytest.raises(LogUnavailableError, match="is gone") as error:
                write()
            checked_error(error.value, path)
        shutil.copy(away, path)
        with pytest.raises(LogUnavailableError, match="another file") as error:
            buffer.add_measurement("ann", 4)
        checked_error(error.value, path)
        path.unlink()
        away.rename(path)
        assert buffer.add_measurement("ann", 5) == 2
    assert measurements(path) == [81.5, 2, 5]


def test_a_file_that_was_found_gone_stays_so(path: Path, tmp_path: Path) -> None:
    """Who tries again after the error is not told that it is recorded, however seldom is looked."""
    log: SqliteLog[Any] = SqliteLog(path)
    with ReplayBuffer(log) as buffer:
        buffer.add_measurement("ann", 2)
        path.rename(tmp_path / "away.db")
        log._database.checks_every, log._database._look_at = 3600, 0.0
        for _ in range(2):
            with pytest.raises(LogUnavailableError, match="is gone"):
                buffer.add_measurement("ann", 3)


def test_a_file_that_is_gone_is_not_made_anew(path: Path) -> None:
    """By a question least of all: what was put back then would replace it, or be replaced by it."""
    with ReplayBuffer[Any](SqliteLog(path)) as buffer:
        path.unlink()
        with pytest.raises(LogError):
            buffer.measurements("ann")
        assert not path.exists()


@pytest.mark.parametrize("existing", [False, True])
def test_a_file_that_was_replaced_before_the_first_write_is_not_written(existing: bool, tmp_path: Path) -> None:
    """A measurement that is acknowledged is in the file at the path."""
    path, other = tmp_path / "log.db", made(tmp_path / "other.db")
    if existing:
        made(path)
    with ReplayBuffer[Any](SqliteLog(path)) as buffer:
        other.replace(path)
        with pytest.raises(LogUnavailableError, match="another file"):
            buffer.add_measurement("ann", "lost")


def test_a_transaction_in_a_file_that_is_gone_is_refused(path: Path, tmp_path: Path) -> None:
    """With an error of the log, as everything else on that file."""
    with ReplayBuffer[Any](SqliteLog(path)) as buffer:
        buffer.begin_snapshot("ann")
        buffer.finalize_snapshot("ann")
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            path.rename(tmp_path / "away.db")
            with pytest.raises(LogUnavailableError, match="is gone"):
                buffer.complete_replay("ann", connection=connection)


UNPRIVILEGED = """
import os, sys
import msgpack
from events import LogUnavailableError, SqliteLog
from statemachine import ReplayBuffer
from statemachine.due import Count

if os.getuid() == 0:
    os.setgroups([])
    os.setgid({nobody})
    os.setuid({nobody})
path = sys.argv[1]

def outcome(action, **options):
    try:
        with ReplayBuffer(SqliteLog(path, **options)) as buffer:
            print(repr(action(buffer)))
    except LogUnavailableError as error:
        print("refused", path in str(error) and ";" in str(error), error)
    except Exception as error:
        print(type(error).__name__, error)

def add(buffer):
    return buffer.add_measurement("ann", 2)

def look(buffer):
    return buffer.measurements("ann")

outcome(add)
outcome(look, read_only=True)
"""


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A log that an ordinary user can reach, but owned by whoever runs the tests."""
    directory = Path(mkdtemp())
    directory.chmod(0o755)
    yield made(directory / "log.db")
    directory.chmod(0o755)
    shutil.rmtree(directory)


def as_nobody(path: Path) -> list[str]:
    """What an ordinary user meets who adds, and who looks at it read-only."""
    script = UNPRIVILEGED.format(nobody=NOBODY)
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", script, str(path)]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    if "Permission" in ended.stderr and "setuid" in ended.stderr:
        pytest.skip("root may not become another user here")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


@posix
def test_a_read_only_file_can_be_looked_at(foreign: Path) -> None:
    """An add is refused in words, and read_only=True opens it, as those words say."""
    foreign.chmod(0o444)
    foreign.parent.chmod(0o777)
    before = foreign.read_bytes()
    added, looked = as_nobody(foreign)
    assert added.startswith("refused True")
    assert "read_only=True" in added
    assert looked == "[81.5]"
    assert foreign.read_bytes() == before


@posix
def test_a_read_only_directory_is_told(foreign: Path) -> None:
    """There can be no write-ahead log in it: refused in words, with nothing changed."""
    foreign.chmod(0o666)
    foreign.parent.chmod(0o555)
    before = foreign.read_bytes()
    assert as_nobody(foreign)[0].startswith("refused True")
    assert foreign.read_bytes() == before


@posix
def test_a_log_in_a_read_only_directory_can_be_looked_at(foreign: Path) -> None:
    """The error of who would add to it advises read_only=True."""
    foreign.parent.chmod(0o555)
    assert as_nobody(foreign)[1] == "[81.5]"


@posix
@pytest.mark.parametrize("mode", [0o000, 0o200])
def test_a_file_that_may_not_be_read_is_told(foreign: Path, mode: int) -> None:
    """To who would add, and to who would look."""
    foreign.chmod(mode)
    assert all(line.startswith("refused True") for line in as_nobody(foreign))


@posix
def test_a_directory_that_may_not_be_entered_is_told(foreign: Path) -> None:
    """As an error of the log."""
    foreign.parent.chmod(0o700)
    assert all(line.startswith("refused True") for line in as_nobody(foreign))
