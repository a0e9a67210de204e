"""`holdover replay --log`: the buffer is in a file, and an interrupted run is continued as if nothing had happened."""

import csv
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from click.testing import CliRunner, Result
from replaying import COLUMNS, NOON, calls, prepare, refusal, started, summary, write_rows

from events import LogUnavailableError, MemoryLog, SqliteLog
from events._sqlite._transactions import Transactions
from statemachine import BufferConfig, FrozenSnapshot, ReplayBuffer
from statemachine.cli import holdover
from statemachine.cli._continuing import ContinuingBuffer
from statemachine.cli._feeder import Feeder, config_for
from statemachine.cli._process import Judged
from statemachine.cli._sample import sample_text
from statemachine.cli._store import Store
from statemachine.cli._table import Row
from statemachine.cli._turn import Due

SAMPLE = ("--user", "User", "--time", "Time", "--value", "HeartRate")
USERS = "ann", "ben", "cleo"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a process to be named and a file of three users' rows in turn."""
    prepare(tmp_path, monkeypatch)
    write_rows(tmp_path, 12, USERS)
    return tmp_path


def replayed(*options: str, columns: tuple[str, ...] = COLUMNS, source: str = "in.csv") -> Result:
    return CliRunner().invoke(holdover, ["replay", source, *columns, *options])


def kept(log: Path) -> set[tuple[str, int]]:
    """User and version of each window whose result is in the file."""
    with closing(sqlite3.connect(log)) as connection:
        try:
            return set(connection.execute("SELECT user, version FROM holdover_replay_windows WHERE error = ''"))
        except sqlite3.OperationalError:  # not there yet
            return set()


@pytest.mark.parametrize("durability", ["full", "normal", "off"])
def test_with_a_log_the_output_is_the_same(tmp_path: Path, durability: str) -> None:
    """Whether the buffer is in memory or in a file: the same bytes in --output, and the same on the screen."""
    source, log, output = tmp_path / "heart_rate.csv", tmp_path / "b.db", tmp_path / "out.csv"
    source.write_text("".join(sample_text().splitlines(keepends=True)[:400]))
    options = ("--every", "30", "--output", str(output))
    memory = replayed(*options, columns=SAMPLE, source=str(source))
    expected = output.read_bytes()
    result = replayed(*options, "--log", str(log), "--durability", durability, columns=SAMPLE, source=str(source))
    assert (result.exit_code, result.stderr, result.stdout) == (0, "", memory.stdout)
    assert output.read_bytes() == expected
    assert len(expected.splitlines()) > 2


def test_a_complete_run_says_so_and_writes_the_output_again(folder: Path) -> None:
    """The second run adds and replays nothing, and the output is there again."""
    options = ("--log", "b.db", "--every", "5", "--process", "process:mine", "--output", "out.csv")
    first = replayed(*options)
    output, called = (folder / "out.csv").read_bytes(), calls(folder)
    (folder / "out.csv").unlink()
    second = replayed(*options)
    assert "The run was complete already; nothing was left to do." in second.stdout
    assert summary(second) == summary(first)
    assert ((folder / "out.csv").read_bytes(), calls(folder)) == (output, called)
    assert second.exit_code == 0


@pytest.mark.parametrize(
    "options", [("--every", "5"), ("--window", "3m"), ("--every", "3", "--workers", "1")], ids=" ".join
)
def test_killed_at_a_window_and_run_again(folder: Path, options: tuple[str, ...]) -> None:
    """Killed (SIGKILL) in the middle of a replay, again and again: the same bytes as without, and each row once."""
    write_rows(folder, 22, USERS)
    process = ("--process", "process:mine", *options)
    assert replayed(*process, "--output", "whole.csv").exit_code == 0
    (folder / "calls").unlink()
    log, kills = folder / "b.db", 0
    while True:
        before, done = kept(log), len(calls(folder))
        with started(folder, *process, "--log", "b.db", "--output", "out.csv", KILL_EVERY="7") as running:
            shown, errors = running.communicate()
        assert not before & set(calls(folder)[done:])  # what was kept is not replayed again
        if running.returncode != -signal.SIGKILL:
            break
        kills += 1
        assert not (folder / "out.csv").exists()
    assert (running.returncode, errors) == (0, "")
    assert kills >= 2
    assert shown.splitlines()[-1] == "added 66 = replayed 66 + live 0 + evicted 0, lost 0"
    assert (folder / "out.csv").read_bytes() == (folder / "whole.csv").read_bytes()
    with open(folder / "out.csv", newline="") as file:
        numbers = [int(number) for row in csv.DictReader(file) for number in row["rows"].split()]
    assert sorted(numbers) == list(range(2, 68))
    assert CliRunner().invoke(holdover, ["audit", "b.db"]).exit_code == 0


def test_killed_from_outside_and_run_again(folder: Path) -> None:
    """Killed as soon as some more windows are in the file, wherever it then is: the same bytes as without."""
    write_rows(folder, 22, USERS)
    options = ("--process", "process:mine", "--every", "2")
    assert replayed(*options, "--output", "whole.csv").exit_code == 0
    (folder / "calls").unlink()
    for wanted in (1, 9, 20):
        with started(folder, *options, "--log", "b.db", HOLD=f"{wanted + 8}") as running:
            while len(kept(folder / "b.db")) < wanted and running.poll() is None:
                time.sleep(0.001)
            running.kill()
    assert 20 <= len(kept(folder / "b.db")) < 33
    result = replayed(*options, "--log", "b.db", "--output", "out.csv")
    assert result.exit_code == 0
    assert "had been added by an earlier run." in result.stdout
    assert (folder / "out.csv").read_bytes() == (folder / "whole.csv").read_bytes()
    assert result.stdout.splitlines()[-1] == "added 66 = replayed 66 + live 0 + evicted 0, lost 0"


class Faults:
    """Makes the n-th write fail: that one only, or all from there on. It counts from 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: int | None = None
        self.lasting, self.count = False, 0
        do, transaction = Transactions.do, Store._transaction

        def doing(transactions: Transactions, task: Any) -> object:
            self.write()
            return do(transactions, task)

        @contextmanager
        def saving(store: Store) -> Iterator[sqlite3.Connection]:
            self.write()
            with transaction(store) as connection:
                yield connection
                self.write()

        monkeypatch.setattr(Transactions, "do", doing)
        monkeypatch.setattr(Store, "_transaction", saving)

    def write(self) -> None:
        here, self.count = self.count, self.count + 1
        if self.at is not None and (here >= self.at if self.lasting else here == self.at):
            raise LogUnavailableError("the disk is away")


@pytest.mark.parametrize(("lasting", "failing"), [(True, "ben"), (False, "")], ids=["lasting", "once"])
def test_each_write_failing_in_turn(folder: Path, monkeypatch: pytest.MonkeyPatch, lasting: bool, failing: str) -> None:
    """Whichever write fails, the run ends with one line, and the next one makes it whole: the same bytes."""
    write_rows(folder, 4, ("ann", "ben"))
    monkeypatch.setenv("FAIL", failing)
    options = ("--process", "process:mine", "--every", "3")
    whole = replayed(*options, "--output", "whole.csv")
    faults, ended = Faults(monkeypatch), 0
    for at in range(1000):
        log = f"{at}.db"
        every = (*options, "--log", log, "--durability", "off", "--output", "out.csv")
        faults.at, faults.lasting, faults.count = at, lasting, 0
        first = replayed(*every)
        if faults.count <= at:
            break
        faults.at = None
        if first.exit_code == 2:
            ended += 1
            assert first.stderr.count("\n") == 1
            assert "the disk is away" in first.stderr
        second = replayed(*every)
        assert (second.exit_code, second.stderr) == (whole.exit_code, whole.stderr), at
        assert summary(second) == summary(whole), at
        assert (folder / "out.csv").read_bytes() == (folder / "whole.csv").read_bytes(), at
    assert ended > 15


def test_a_snapshot_that_was_begun_and_no_more(folder: Path) -> None:
    """Killed between begin and finalize: the window keeps its rows, and what came after them stays for the next."""
    options = ("--process", "process:mine", "--every", "5")
    assert replayed(*options, "--output", "whole.csv").exit_code == 0
    finalize = ReplayBuffer.finalize_snapshot
    with pytest.MonkeyPatch.context() as patched:

        def stop(buffer: ReplayBuffer[Any], user: str, version: int | None = None) -> Any:
            if user == "ben":
                raise LogUnavailableError("away")
            return finalize(buffer, user, version)

        patched.setattr(ReplayBuffer, "finalize_snapshot", stop)
        assert replayed(*options, "--log", "b.db").exit_code == 2
    phase = CliRunner().invoke(holdover, ["state", "b.db", "ben"]).stdout.splitlines()[0]
    assert phase.split() == ["phase", "snapshotting"]
    assert replayed(*options, "--log", "b.db", "--output", "out.csv").exit_code == 0
    assert (folder / "out.csv").read_bytes() == (folder / "whole.csv").read_bytes()


def test_a_window_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no failure of the replay: the run ends with one line, and the next one replays that window."""
    options = ("--process", "process:mine", "--every", "5")
    assert replayed(*options, "--output", "whole.csv").exit_code == 0

    def refuse(_log: Any, _user: str, _offsets: range) -> Any:
        raise LogUnavailableError("cannot be read")

    with monkeypatch.context() as patched:
        patched.setattr(SqliteLog, "measurements", refuse)
        assert refusal(replayed(*options, "--log", "b.db")) == f"Error: {folder / 'b.db'}: cannot be read"
    assert kept(folder / "b.db") == set()
    result = replayed(*options, "--log", "b.db", "--output", "out.csv")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (folder / "out.csv").read_bytes() == (folder / "whole.csv").read_bytes()


def test_no_row_is_added_to_a_window_that_could_not_be_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the next replay could not begin, the row after it is not added: it would belong to another window."""
    release, begin = Event(), ReplayBuffer._begin

    def wait(_frozen: FrozenSnapshot[Row]) -> list[Judged]:
        assert release.wait(60)
        return []

    def refuse(buffer: ReplayBuffer[Row], user: str, timestamp: Any, latest: int | None = None) -> int:
        if buffer.state(user).version:
            raise LogUnavailableError("away")
        return begin(buffer, user, timestamp, latest)

    monkeypatch.setattr(ReplayBuffer, "_begin", refuse)
    rows = [Row("ann", NOON + timedelta(minutes=number), 80.0, number, (), ()) for number in range(5)]
    buffer = ReplayBuffer[Row](config=config_for(2))
    with ThreadPoolExecutor(1) as executor:
        feeder = Feeder(buffer, wait, Due(2), executor, lambda _rows: None)
        for row in rows[:4]:
            feeder.feed(row)  # the first two are being replayed, so the other two wait for that
        release.set()
        with pytest.raises(LogUnavailableError, match="away"):
            feeder.feed(rows[4])
    assert [row.number for row in buffer.measurements("ann")] == [2, 3]


def test_failures_of_an_earlier_run_are_told_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is in the file, so the second run says the same, with the same exit code."""
    monkeypatch.setenv("FAIL", "ben")
    options = ("--process", "process:mine", "--every", "5")
    memory = replayed(*options)
    results = [replayed(*options, "--log", "b.db") for _ in range(2)]
    assert memory.stderr.splitlines() == [
        r"user 'ben': replay 1, of 5 rows, failed: ArithmeticError: only 5\x00\udc80",
        r"user 'ben': replay 3, of 2 rows, failed: ArithmeticError: only 2\x00\udc80",
    ]
    assert [(result.exit_code, result.stderr) for result in results] == [(1, memory.stderr)] * 2


def test_many_failures_do_not_park_a_user(folder: Path) -> None:
    """A replay that fails at every window is tried again with the next, however often."""
    write_rows(folder, 40, USERS)
    (folder / "process.py").write_text("def mine(frozen):\n    raise ArithmeticError('no')\n")
    result = replayed("--process", "process:mine", "--every", "1")
    assert result.exit_code == 1
    assert len([line for line in result.stderr.splitlines() if "'ann'" in line]) == 7  # after 1, 2, 4 ... 32, and 40
    assert result.stdout.splitlines()[-1] == "added 120 = replayed 0 + live 120 + evicted 0, lost 0"


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--every", "6"), "--every was '5' and is '6'"),
        (("--window", "1h"), "--every was '5' and is 'none'; --window was 'none' and is '1:00:00'"),
        (("--every", "5", "--process", "process:mine"), "--process was 'outliers beyond 3.5' and is 'process:mine'"),
        (("--every", "5", "--time-format", "%Y-%m-%d %H:%M:%S"), "--time-format was 'any' and is '%Y-%m-%d %H:%M:%S'"),
    ],
)
def test_the_log_of_another_run_is_refused(folder: Path, options: tuple[str, ...], difference: str) -> None:
    """One line says what differs, and nothing is changed."""
    assert replayed("--log", "b.db", "--every", "5").exit_code == 0
    with closing(sqlite3.connect("b.db")) as connection:
        before = list(connection.iterdump())
    line = refusal(replayed("--log", "b.db", *options))
    assert line == f"Error: b.db: belongs to another run: {difference}; choose another file for this one"
    with closing(sqlite3.connect("b.db")) as connection:
        assert list(connection.iterdump()) == before


def test_the_log_of_another_file_is_refused(folder: Path) -> None:
    """Another name or another content is another run; workers, output and durability are not."""
    assert replayed("--log", "b.db", "--every", "5").exit_code == 0
    assert replayed("--log", "b.db", "--every", "5", "--workers", "2", "--durability", "off").exit_code == 0
    (folder / "other.csv").write_text((folder / "in.csv").read_text())
    line = refusal(replayed("--log", "b.db", "--every", "5", source="other.csv"))
    assert "the file's name was 'in.csv' and is 'other.csv'; choose" in line
    write_rows(folder, 13, USERS)
    assert "the file's content was " in refusal(replayed("--log", "b.db", "--every", "5"))


def test_the_log_of_an_application_is_refused(folder: Path) -> None:
    """A log that holds something else is not mixed up with a run."""
    with closing(SqliteLog[float]("b.db")) as log, ReplayBuffer(log) as buffer:
        buffer.add_measurement("ann", 81.5)
    assert refusal(replayed("--log", "b.db")) == "Error: b.db: is the log of something else; choose another file"


def test_a_file_that_cannot_be_the_log(folder: Path) -> None:
    """A directory, a file that is no database, the file that is read or written: one line each."""
    (folder / "text").write_text("no database, but text that is long enough to be one " * 40)
    for name, complaint in [
        (".", "cannot be opened: Is a directory"),
        ("missing/b.db", "cannot be opened: No such file or directory"),
        ("text", "is not a SQLite database"),
        ("in.csv", "is the file that is read or written"),
        ("out.csv", "is the file that is read or written"),
    ]:
        assert complaint in refusal(replayed("--log", name, "--output", "out.csv"))
    assert not (folder / "out.csv").exists()


def test_a_damaged_table_of_results_is_one_line(folder: Path) -> None:
    """What SQLite says of the command's own tables is told in one line, with the file."""
    assert replayed("--log", "b.db").exit_code == 0
    with closing(sqlite3.connect("b.db")) as connection:
        connection.execute("DROP TABLE holdover_replay_windows")
        connection.execute("CREATE TABLE holdover_replay_windows (a)")
        connection.commit()
    assert refusal(replayed("--log", "b.db")) == f"Error: {folder / 'b.db'}: no such column: user"


def test_two_runs_at_once_are_refused(folder: Path) -> None:
    """A second run on the file while the first is at work would add every row again, so it is refused."""
    with started(folder, "--log", "b.db", "--process", "process:mine", "--every", "1", HOLD="0") as running:
        while not calls(folder):
            assert running.poll() is None
            time.sleep(0.001)
        line = refusal(replayed("--log", "b.db", "--process", "process:mine", "--every", "1"))
        running.kill()
    assert line == "Error: b.db: another run is at work on it; wait for its end"


def test_where_the_system_has_no_such_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works without."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    assert replayed("--log", "b.db").exit_code == 0


def test_without_msgpack_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, for this command and for those that look; without --log it is not needed."""
    assert replayed("--log", "b.db").exit_code == 0
    monkeypatch.setitem(sys.modules, "msgpack", None)
    assert replayed().exit_code == 0
    assert "pip install 'holdover[sqlite]'" in refusal(replayed("--log", "c.db"))
    for arguments in (["log", "b.db"], ["audit", "b.db"], ["state", "b.db", "ann"]):
        assert "pip install 'holdover[sqlite]'" in refusal(CliRunner().invoke(holdover, arguments))


def test_times_with_zones_and_odd_names_are_kept(folder: Path) -> None:
    """Whatever can stand in a column comes back as it was after an interruption, in the middle of a window too."""
    rows = [f"{user},2016-04-12T12:00:00+0{hour}:30,{hour}.25,ü\U0001f600 “x”\n" for hour in range(8) for user in "añ"]
    (folder / "in.csv").write_text("".join(["User,Time,Kg,Note\n", *rows]), encoding="utf-8")
    (folder / "process.py").write_text(
        "import os\ndef mine(frozen):\n"
        "    if os.environ.get('DIE') and frozen.version == 2: os._exit(9)\n"
        "    return [{**row.columns, 'at': repr(row.time), 'row': repr(row)} for row in frozen]\n"
    )
    options = ("--process", "process:mine", "--every", "3")
    assert replayed(*options, "--output", "whole.csv").exit_code == 0
    with started(folder, *options, "--log", "b.db", DIE="yes") as running:
        assert running.communicate() == ("", "")
    assert running.returncode == 9
    assert replayed(*options, "--log", "b.db", "--output", "out.csv").exit_code == 0
    assert (folder / "out.csv").read_bytes() == (folder / "whole.csv").read_bytes()
    assert "tzinfo" in (folder / "out.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_block_goes_on_with_the_snapshot_that_is_in_progress(steps: int) -> None:
    """However far another process had come with it; it is completed, and nothing else."""
    buffer: ReplayBuffer[Any] = ContinuingBuffer(MemoryLog(), BufferConfig())
    buffer.add_measurement("ann", 1)
    for step in ("begin_snapshot", "finalize_snapshot")[:steps]:
        getattr(buffer, step)("ann")
    buffer.add_measurement("ann", 2)
    with buffer.snapshot("ann") as frozen:
        assert list(frozen) == ([1] if steps else [1, 2])
    assert (buffer.state("ann").phase, buffer.state("ann").version) == ("idle", 1)
    assert buffer.measurements("ann") == ([2] if steps else [])
