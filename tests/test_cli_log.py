"""`holdover log` and `holdover state`: what is in a log's file, seen without changing it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from click.testing import CliRunner, Result

from events import Event, LogDamagedError, SqliteLog, TruncatedError, UnregisteredEvent
from statemachine import BufferConfig, ReplayBuffer
from statemachine.cli import _log as log_module
from statemachine.cli import _looking, holdover
from statemachine.cli._log import lines
from statemachine.cli._looking import looking
from tests.conftest import Clock


@frozen
class Weight:
    kg: float


@frozen
class DoorOpened(Event):
    by: str


def run(*arguments: object) -> Result:
    return CliRunner().invoke(holdover, [str(argument) for argument in arguments])


def refusal(*arguments: object) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    return line


def cells(result: Result) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if line[0] == "│"]


@pytest.fixture
def buffer(tmp_path: Path, clock: Clock) -> Iterator[ReplayBuffer[Any]]:
    """A buffer in a file: ann has replayed two, is replaying one more, and one is pending; ben has evicted one."""
    log = SqliteLog[Any](tmp_path / "b.db", durability="off", types=[Weight, DoorOpened])
    with ReplayBuffer(log, BufferConfig(max_measurements=3), clock=clock) as buffer:
        buffer.add_measurements("ann", [Weight(81.5), Weight(81.7)])
        with buffer.snapshot("ann", "first"):
            pass
        buffer.add_measurement("ann", {"kg": 81.6})
        buffer.finalize_snapshot("ann", buffer.begin_snapshot("ann"))
        buffer.add_measurement("ann", 81.4)
        buffer.add_measurements("ben", [1, 2, 3, 4])
        yield buffer


@pytest.fixture
def path(buffer: ReplayBuffer[Any], tmp_path: Path) -> Path:
    """Its file, which nobody has open any more."""
    buffer.close()
    return tmp_path / "b.db"


def test_the_users_and_how_they_stand(path: Path) -> None:
    """A row for each user, in the order in which they came, and a line that sums up."""
    result = run("log", path)
    assert cells(result) == [
        ["ann", "9", "2", "replaying", "2", "2", "0", "0"],
        ["ben", "5", "3", "idle", "0", "0", "1", "0"],
    ]
    for word in ("user", "events", "live", "phase", "version", "replayed", "evicted", "cleared"):
        assert word in result.stdout
    assert result.stdout.splitlines()[-1] == "b.db: 2 users, 14 events"
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_users_events(path: Path) -> None:
    """A line each: offset, time where it is recorded, name and fields; types that are not known are shown, too."""
    result = run("log", path, "ann")
    assert result.exit_code == 0
    time = "1970-01-01T00:01:40.000Z"
    assert [line.split(maxsplit=3) for line in result.stdout.splitlines()] == [
        ["0", time, "MeasurementAdded", "measurement=Weight(kg=81.5) arrived_at=100.0"],
        ["1", "MeasurementAdded", "measurement=Weight(kg=81.7)"],
        ["2", time, "SnapshotBegun", "version=1 timestamp='first' deadline=130.0"],
        ["3", time, "SnapshotFinalized", "version=1 deadline=400.0"],
        ["4", time, "ReplayCompleted", "version=1"],
        ["5", time, "MeasurementAdded", "measurement={'kg': 81.6} arrived_at=100.0"],
        ["6", time, "SnapshotBegun", "version=2 timestamp=100.0 deadline=130.0"],
        ["7", time, "SnapshotFinalized", "version=2 deadline=400.0"],
        ["8", time, "MeasurementAdded", "measurement=81.4 arrived_at=100.0"],
    ]


def test_measurements_within_a_grant_have_no_time(buffer: ReplayBuffer[Any], tmp_path: Path) -> None:
    """Nobody looks at the clock for them, so the place of the time is empty."""
    for weight in (1.5, 2.5):
        buffer.add_measurement("cleo", weight)
    first, second = run("log", tmp_path / "b.db", "cleo").stdout.splitlines()
    assert first.split()[1] == "1970-01-01T00:01:40.000Z"
    assert second.split() == ["1", "MeasurementAdded", "measurement=2.5"]
    assert second.index("Measure") == first.index("Measure")


def test_events_of_types_that_are_not_known(buffer: ReplayBuffer[Any], tmp_path: Path) -> None:
    """Events of a lifecycle of one's own are shown by what was kept of them, and cannot move the cursor."""
    log: SqliteLog[Any] = buffer._log  # type: ignore[assignment]
    log.append("door", [DoorOpened("a\x1b\n")], expected_head=0, at=1e300)
    assert run("log", tmp_path / "b.db", "door").stdout.split() == ["0", "1e+300", "DoorOpened", r"by='a\x1b\n'"]


def test_an_event_whose_content_is_no_fields() -> None:
    """What its `dump` made of it is shown as it is."""
    assert log_module._parts(UnregisteredEvent("Door", 1, [1])) == ("Door", {"fields": [1]})


def test_follow_goes_on_with_what_comes(buffer: ReplayBuffer[Any], tmp_path: Path) -> None:
    """It waits, prints what has come, tells what was pruned, and ends when it is interrupted."""
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        match len(waited):
            case 1:
                buffer.add_measurement("ann", 81.3)
            case 3:
                buffer.complete_replay("ann")
                buffer.clear_buffer("ann")
                buffer.prune()
                buffer.add_measurement("ann", 81.2)
            case 4:
                raise KeyboardInterrupt

    seen = []
    with looking(tmp_path / "b.db") as log, pytest.raises(KeyboardInterrupt):
        for line in lines(log, "ann", sleep):
            seen.append(line.split(maxsplit=3))  # noqa: PERF401 - it ends by an interrupt
    assert [line[0] for line in seen] == [*"0123456789", "10", "12"]
    assert seen[-2] == ["10", "pruned,", "up", "to before 12"]
    assert seen[-1][3:] == ["measurement=81.2 arrived_at=100.0"]
    assert len(waited) == 4


def test_follow_ends_with_an_interrupt(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is how one leaves it, so the exit code is 0; without --follow it is an abort as anywhere."""

    def interrupt(_argument: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(log_module.time, "sleep", interrupt)
    result = run("log", path, "ann", "--follow")
    assert (result.exit_code, len(result.stdout.splitlines()), result.stderr) == (0, 9, "")
    monkeypatch.setattr(log_module.click, "echo", interrupt)
    assert run("log", path, "ann").exit_code == 1


def test_follow_needs_a_user(path: Path) -> None:
    """One line."""
    assert refusal("log", path, "--follow") == "Error: --follow needs a USER"


def test_long_histories_are_read_bit_by_bit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many events are read at a time, each is shown once."""
    whole = run("log", path, "ann").stdout
    monkeypatch.setattr(log_module, "CHUNK", 2)
    assert run("log", path, "ann").stdout == whole


def test_the_state_now_and_then(path: Path) -> None:
    """Every field of the state on a line, now or at an offset."""

    def state(*options: object) -> dict[str, str]:
        result = run("state", path, "ann", *options)
        assert (result.exit_code, result.stderr) == (0, "")
        return dict(line.split(maxsplit=1) for line in result.stdout.splitlines())

    now = state()
    assert (now["phase"], now["version"], now["head"], now["committed"]) == ("replaying", "2", "9", "2")
    assert (now["live"], now["frozen"], now["pending"], now["added"], now["replayed"]) == ("2", "1", "1", "4", "2")
    assert now["deadline"] == "400.0 (1970-01-01T00:06:40.000Z)"
    assert now["offsets"] == "range(5, 9, 3)"
    then = state("--at", 2)
    assert (then["phase"], then["head"], then["live"], then["frozen_offset"]) == ("idle", "2", "2", "none")
    assert (state("--at", 9), state("--at", 0)["offsets"]) == (now, "none")


def test_looking_expires_nothing_and_changes_nothing(path: Path, clock: Clock) -> None:
    """The snapshot has been overdue since 1970, and stays in progress; the file is the same, and alone, afterwards."""
    before = path.read_bytes()
    for arguments in (["log", path], ["log", path, "ann"], ["state", path, "ann"], ["audit", path]):
        assert run(*arguments).exit_code == 0
    assert "replaying" in run("state", path, "ann").stdout
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_looking_while_others_write(buffer: ReplayBuffer[Any], tmp_path: Path) -> None:
    """What is not in the file itself yet is seen, and the files beside it stay."""
    files = sorted(tmp_path.iterdir())
    assert "b.db-wal" in [file.name for file in files]
    assert run("state", tmp_path / "b.db", "ann").exit_code == 0
    assert sorted(tmp_path.iterdir()) == files
    buffer.add_measurement("ann", 1.0)
    assert len(run("log", tmp_path / "b.db", "ann").stdout.splitlines()) == 10


def test_who_and_what_is_not_there(buffer: ReplayBuffer[Any], tmp_path: Path) -> None:
    """An unknown user, an offset above the head or that was pruned: one line each."""
    path = tmp_path / "b.db"
    for arguments in (["log", path, "zoe"], ["state", path, "zoe"], ["state", path, "zoe", "--at", 1]):
        assert refusal(*arguments) == f"Error: {path}: there is no user 'zoe'"
    assert refusal("state", path, "ann", "--at", 10) == "Error: --at 10: is above the head, which is 9"
    assert "-1 is not in the range x>=0" in refusal("state", path, "ann", "--at", -1)
    assert buffer.prune() == 6
    assert refusal("state", path, "ann", "--at", 4) == "Error: --at 4: was pruned; history is kept from 5 on"
    assert run("state", path, "ann", "--at", 5).exit_code == 0
    assert run("log", path, "ann").stdout.split()[0] == "5"


@pytest.mark.parametrize("command", [["log"], ["log", "ann"], ["state", "ann"], ["audit"]], ids=" ".join)
def test_files_that_cannot_be_read(tmp_path: Path, command: list[str]) -> None:
    """A missing file, a directory, text, a database without a log, a later format: one line each; nothing is made."""
    text, other, later = tmp_path / "text", tmp_path / "other.db", tmp_path / "later.db"
    text.write_text("no database, but text that is long enough to be one " * 40)
    SqliteLog(later).close()
    for database, statement in ((other, "CREATE TABLE a (b)"), (later, "UPDATE holdover_format SET version = 99")):
        with closing(sqlite3.connect(database)) as connection:
            connection.execute(statement)
            connection.commit()
    before = sorted(tmp_path.iterdir())
    name, *rest = command
    for path, complaint in [
        (tmp_path / "missing.db", "does not exist"),
        (tmp_path, "is a directory"),
        (tmp_path / "missing" / "b.db", "there is no directory"),
        (text, "is not a SQLite database"),
        (other, "holds no log of holdover"),
        (later, "was written by a later version of holdover"),
    ]:
        line = refusal(name, path, *rest)
        assert line.startswith(f"Error: {path} ")
        assert complaint in line
    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_event_is_one_line(path: Path) -> None:
    """What was read before it is shown; then one line, and exit code 2."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE holdover_events SET data = x'00' WHERE stream = 1 AND \"offset\" = 4")
        connection.commit()
    result = run("log", path, "ann")
    assert (result.exit_code, len(result.stdout.splitlines()), result.stderr.count("\n")) == (2, 4, 1)
    assert "the event at offset 4 of stream 'ann' does not fit its checksum" in result.stderr
    assert "does not fit its checksum" in refusal("state", path, "ann")


def test_a_state_of_a_later_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not guessed what it says."""
    with closing(SqliteLog[Any](path, types=[Weight])) as log:
        log.truncate("ann", 2, Weight(1.0))
    assert "a later version of holdover has kept the state of 'ann'; update" in refusal("state", path, "ann")


def test_pruning_between_two_looks(path: Path) -> None:
    """Where it is pruned in the middle, it looks again; where the checkpoint is missing, it says so."""
    starts = iter([1, 2])

    class Pruned:
        path = "b.db"

        def position(self, _user: str) -> object:
            class Stands:
                start = next(starts)

            return Stands

    looks: list[int] = []

    def look(stands: Any) -> str:
        looks.append(stands.start)
        raise TruncatedError("ann", 0, 2)

    with pytest.raises(LogDamagedError, match="the checkpoint of 'ann' is missing"):
        _looking.steadily(Pruned(), "ann", look)  # type: ignore[arg-type]
    assert looks == [1, 2]


def test_times_of_a_stream_that_is_not_there(path: Path) -> None:
    """There are none."""
    with looking(path) as log:
        assert log.times("zoe", 0, 9) == {}
        assert log.times("ann", 3, 5) == {3: 100.0, 4: 100.0}


def test_a_number_of_thousands_of_digits_is_not_written_out(buffer: ReplayBuffer[Any], tmp_path: Path) -> None:
    """Python does not, by itself; all else of the event or the state is shown."""
    buffer.add_measurement("eve", 10**5000)
    buffer.begin_snapshot("eve", [10**5000])
    assert "measurement=(int, too large to be shown)" in run("log", tmp_path / "b.db", "eve").stdout
    assert "(list, too large to be shown)" in run("state", tmp_path / "b.db", "eve").stdout


def test_a_file_whose_errors_cannot_be_read_is_told_of(buffer: ReplayBuffer[Any], tmp_path: Path) -> None:
    """SQLite quotes in its messages what it does not understand, and that may be no text."""
    buffer.close()
    damaged = (tmp_path / "b.db").read_bytes().replace(b"UNIQUE NOT NULL", b"UNIQUE \xceOT NULL")
    (tmp_path / "b.db").write_bytes(damaged)
    for command in ("log", "audit"):
        assert "is damaged" in refusal(command, tmp_path / "b.db")
