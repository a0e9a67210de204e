"""`holdover replay`: rows go in while replays run beside, and every one of them is accounted for."""

import csv
import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from statemachine import ReplayBuffer
from statemachine.cli import _job, _show
from statemachine.cli._feeder import config_for
from statemachine.cli._replay import replay
from statemachine.cli._sample import sample_text
from statemachine.cli._table import Row

NOON = datetime(2016, 4, 12, 12)


def invoke(path: Path, *options: str) -> Result:
    return CliRunner().invoke(replay, [str(path), "--user", "User", "--time", "Time", "--value", "Kg", *options])


def measurements(tmp_path: Path, *rows: tuple[str, int, float], header: str = "User,Time,Kg") -> Path:
    """A file with a row for each user, minute after noon and value."""
    path = tmp_path / "in.csv"
    lines = [f"{user},{NOON + timedelta(minutes=minute)},{value}\n" for user, minute, value in rows]
    path.write_text("".join([header, "\n", *lines]))
    return path


def conservation(result: Result) -> str:
    return str(result.stdout.splitlines()[-1])


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a module with a function `mine` into the current directory, and give the option's value for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(body: str) -> str:
        name = f"process_{abs(hash(body))}"
        (tmp_path / f"{name}.py").write_text(f"def mine(frozen):\n    {body}\n")
        return f"{name}:mine"

    return write


def test_the_last_line_says_where_every_row_is(tmp_path: Path) -> None:
    """The sample's 2,000 rows are all replayed, and the last line of the output says so and exits with 0."""
    path = tmp_path / "heart_rate.csv"
    path.write_text(sample_text())
    result = CliRunner().invoke(replay, [str(path), "--user", "User", "--time", "Time", "--value", "HeartRate"])
    assert conservation(result) == "added 2000 = replayed 2000 + live 0 + evicted 0, lost 0"
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.search(r"ann +│ +400 │ +400 │ +0 │ +0 │ +4 │", result.stdout)


def test_outliers_are_written_in_the_order_of_the_file(tmp_path: Path) -> None:
    """The output has the file's columns, the row, the window, the median and the score of each outlier."""
    rows = [
        (user, minute, 240.0 if minute == 3 else 70.0 + minute % 3) for minute in range(8) for user in ("ben", "ann")
    ]
    output = tmp_path / "out.csv"
    result = invoke(measurements(tmp_path, *rows), "--output", str(output))
    assert result.exit_code == 0
    assert f"2 rows flagged, written to {output}" in result.stdout
    assert list(csv.reader(lines(output))) == [
        ["User", "Time", "Kg", "row", "window", "median", "modified_z_score"],
        ["ben", "2016-04-12 12:03:00", "240.0", "8", "1", "71.0", "113.99"],
        ["ann", "2016-04-12 12:03:00", "240.0", "9", "1", "71.0", "113.99"],
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_a_name_that_the_file_has_already_gets_an_underscore(tmp_path: Path) -> None:
    """A file with a column `row` keeps it."""
    path = tmp_path / "in.csv"
    path.write_text("User,Time,Kg,row,row_\n" + "ann,2016-04-12,70,first,1\n" * 9 + "ann,2016-04-12,240,last,1\n")
    output = tmp_path / "out.csv"
    assert invoke(path, "--output", str(output)).exit_code == 0
    (found,) = csv.DictReader(lines(output))
    assert (found["row"], found["row_"], found["row__"]) == ("last", "1", "11")


def test_the_output_does_not_depend_on_the_threads(tmp_path: Path) -> None:
    """However many workers there are, each window holds the same rows, so the written rows are the same."""
    path = tmp_path / "heart_rate.csv"
    path.write_text(sample_text())
    outputs = []
    for workers in ("1", "2", "8", "8"):
        output = tmp_path / f"{workers}.csv"
        columns = ("--user", "User", "--time", "Time", "--value", "HeartRate")
        options = ("--every", "30", "--workers", workers, "--output", str(output))
        assert CliRunner().invoke(replay, [str(path), *columns, *options]).exit_code == 0
        outputs.append(output.read_text())
    assert len(outputs[0].splitlines()) > 10
    assert set(outputs) == {outputs[0]}


def test_a_window_of_time(tmp_path: Path, process: Callable[[str], str]) -> None:
    """With --window a replay is due as soon as a user's rows span so much time, late rows counted in."""
    rows = [("ann", minute, 80.0) for minute in (0, 10, 30, 31, 60, 29, 70, 71)]
    mine = process("return [{'rows': ' '.join(str(row.time.minute) for row in frozen)}]")
    output = tmp_path / "out.csv"
    result = invoke(measurements(tmp_path, *rows), "--window", "30m", "--process", mine, "--output", str(output))
    assert result.exit_code == 0
    assert lines(output) == ["rows", "0 10 30", "31 0 29", "10 11"]


def test_a_run_that_is_stopped_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, process: Callable[[str], str]
) -> None:
    """A replay that always fails stops the run when the buffer is full; what was added is live; exit code 1."""
    monkeypatch.setattr(_job, "config_for", partial(config_for, most=5))
    path = measurements(tmp_path, *(("ann", minute, 80.0) for minute in range(99)))
    result = invoke(path, "--window", "9d", "--process", process("raise ArithmeticError('no')"))
    assert result.exit_code == 1
    assert re.search(r"^stopped at row \d+: user 'ann': \d+ measurements are live", result.stderr, re.MULTILINE)
    assert re.fullmatch(r"added (\d+) = replayed 0 \+ live \1 \+ evicted 0, lost 0", conservation(result))


def test_a_failed_replay_leaves_its_rows_live(tmp_path: Path, process: Callable[[str], str]) -> None:
    """The failure is reported with user and error, its rows count as live, others are served; exit code 1."""
    rows = [(user, minute, 80.0) for minute in range(4) for user in ("ann", "ben")]
    mine = process("assert frozen.user_id != 'ann', 'not ann'")
    result = invoke(measurements(tmp_path, *rows), "--process", mine)
    assert result.exit_code == 1
    assert result.stderr == "user 'ann': replay 1, of 4 rows, failed: AssertionError: not ann\n"
    assert conservation(result) == "added 8 = replayed 4 + live 4 + evicted 0, lost 0"


def test_a_failed_window_is_tried_again_when_twice_as_much_has_come(
    tmp_path: Path, process: Callable[[str], str]
) -> None:
    """So a replay that keeps failing costs no more than the rows are worth, and one that recovers replays them all."""
    path = measurements(tmp_path, *(("ann", minute, 80.0) for minute in range(8)))
    output = tmp_path / "out.csv"
    mine = process("1 / (len(frozen) > 4)\n    return [{'rows': len(frozen)}]")
    result = invoke(path, "--every", "2", "--process", mine, "--output", str(output))
    assert [line.split(", ")[1] for line in result.stderr.splitlines()] == ["of 2 rows", "of 4 rows"]
    assert lines(output) == ["rows", "8"]
    assert conservation(result) == "added 8 = replayed 8 + live 0 + evicted 0, lost 0"
    assert result.exit_code == 1


def test_your_own_replay_takes_the_place_of_the_outliers(tmp_path: Path, process: Callable[[str], str]) -> None:
    """It gets the frozen rows with all that they have, and what it returns is written window by window."""
    rows = [("ann", 2, 80.0), ("ann", 1, 81.0), ("ben", 0, 90.0), ("ben", 1, 91.0)]
    mine = process(
        "for row in frozen.by_timestamp(lambda row: row.time):\n"
        "        yield {'who': row.user, 'kg': row.value, 'line': row.number} | ({} if row.number < 4 else row.columns)"
    )
    output = tmp_path / "out.csv"
    result = invoke(measurements(tmp_path, *rows), "--process", mine, "--output", str(output))
    assert result.exit_code == 0
    assert list(csv.reader(lines(output))) == [
        ["who", "kg", "line", "User", "Time", "Kg"],
        ["ann", "81.0", "3", "", "", ""],
        ["ann", "80.0", "2", "", "", ""],
        ["ben", "90.0", "4", "ben", "2016-04-12 12:00:00", "90.0"],
        ["ben", "91.0", "5", "ben", "2016-04-12 12:01:00", "91.0"],
    ]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("return [1]", "TypeError: must return rows as dictionaries (or None), not '1'"),
        ("raise SystemExit(3)", "RuntimeError: called sys.exit(3)"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
    ],
)
def test_what_your_own_replay_must_not_do(tmp_path: Path, process: Callable[[str], str], body: str, error: str) -> None:
    """Returning something else, exiting or raising makes the replay fail, in one line, with the rows still there."""
    result = invoke(measurements(tmp_path, ("ann", 0, 80.0)), "--process", process(body))
    assert result.stderr == f"user 'ann': replay 1, of 1 row, failed: {error}\n"
    assert conservation(result) == "added 1 = replayed 0 + live 1 + evicted 0, lost 0"


def test_a_replay_may_return_nothing(tmp_path: Path, process: Callable[[str], str]) -> None:
    """None is no rows, and the output is empty but for its end of line."""
    output = tmp_path / "out.csv"
    options = ("--process", process("return None"), "--output", str(output))
    assert invoke(measurements(tmp_path, ("ann", 0, 80.0)), *options).exit_code == 0
    assert output.read_text() == "\n"


def test_a_refused_run_leaves_the_output_as_it_was(tmp_path: Path) -> None:
    """The output is replaced all at once at the end, or not at all."""
    output = tmp_path / "out.csv"
    output.write_text("mine")
    path = measurements(tmp_path, ("ann", 0, 80.0))
    path.write_text(path.read_text() + "broken\n")
    assert invoke(path, "--output", str(output)).exit_code == 2
    assert output.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_of_many_users_the_first_twenty_by_count_are_shown(tmp_path: Path) -> None:
    """And a line says how many more there are; the last line counts them all."""
    rows = [(f"user{number:02}", minute, 80.0) for number in range(23) for minute in range(number + 1)]
    result = invoke(measurements(tmp_path, *rows))
    assert re.findall(r"user\d\d", result.stdout) == [f"user{number:02}" for number in range(22, 2, -1)]
    assert "and 3 more users" in result.stdout
    assert conservation(result) == "added 276 = replayed 276 + live 0 + evicted 0, lost 0"


def test_of_many_failures_the_first_twenty_are_shown(tmp_path: Path, process: Callable[[str], str]) -> None:
    """And a line says how many more there are."""
    rows = [(f"user{number:02}", 0, 80.0) for number in range(21)]
    result = invoke(measurements(tmp_path, *rows), "--process", process("1 / 0"))
    assert len(result.stderr.splitlines()) == 21
    assert result.stderr.endswith("and 1 more failed replay\n")


def test_a_user_id_cannot_move_the_cursor(tmp_path: Path) -> None:
    """An id with a control character is shown escaped."""
    result = invoke(measurements(tmp_path, ("\x1b[2J", 0, 80.0)))
    assert "\x1b[2J" not in result.stdout
    assert r"'\x1b[2J'" in result.stdout


def test_a_loss_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the buffer forgot a row, the last line would say so, as would the audit's findings, and the exit code is 1."""
    add = ReplayBuffer.add_measurement

    def forgetful(self: ReplayBuffer[Row], user_id: str, measurement: Row) -> int:
        return 0 if measurement.number == 3 else add(self, user_id, measurement)

    class Findings:
        findings = ("something is wrong",)

    monkeypatch.setattr(ReplayBuffer, "add_measurement", forgetful)
    monkeypatch.setattr(ReplayBuffer, "audit", lambda _self, _user: Findings)
    result = invoke(measurements(tmp_path, *(("ann", minute, 80.0) for minute in range(4))))
    assert conservation(result) == "added 3 = replayed 3 + live 0 + evicted 0, lost 1"
    assert result.stderr == "user 'ann': something is wrong\n"
    assert result.exit_code == 1


def test_progress_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar is shown where standard error is a terminal, and nothing at all elsewhere."""
    assert _show.progress().disable
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not _show.progress().disable


def test_help_has_an_example() -> None:
    """A newcomer finds a command to copy, each on a line of its own."""
    result = CliRunner().invoke(replay, ["--help"])
    assert "  holdover replay examples/heart_rate.csv --user User --time Time --value HeartRate\n" in result.stdout
