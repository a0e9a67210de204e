"""What `holdover replay` reads, and how it says what it cannot read."""

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from statemachine.cli import _table
from statemachine.cli._command import duration
from statemachine.cli._replay import replay
from statemachine.cli._table import Table
from statemachine.cli._times import Times, strptime_format

GOOD = "Id,Date,Kg\nann,4/12/2016 23:59,81.5\n"


def invoke(path: Path, *options: str) -> Result:
    return CliRunner().invoke(replay, [str(path), "--user", "Id", "--time", "Date", "--value", "Kg", *options])


def refusal(result: Result) -> str:
    """The one line on standard error of a command that was refused."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    return line


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "in.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("text", "expected", "name"),
    [
        ("2016-04-12", datetime(2016, 4, 12), "ISO 8601"),
        ("20160412T235959", datetime(2016, 4, 12, 23, 59, 59), "ISO 8601"),
        ("2016-04-12 23:59:59.25", datetime(2016, 4, 12, 23, 59, 59, 250_000), "ISO 8601"),
        ("2016-04-12T23:59:59Z", datetime(2016, 4, 12, 23, 59, 59, tzinfo=UTC), "ISO 8601"),
        ("2016-04-12 10:00+02:00", datetime(2016, 4, 12, 10, tzinfo=timezone(timedelta(hours=2))), "ISO 8601"),
        ("2016-04-12 10:00:00 +0000", datetime(2016, 4, 12, 10, tzinfo=UTC), "ISO 8601"),
        ("2016-4-1 7:54", datetime(2016, 4, 1, 7, 54), "%Y-%m-%d %H:%M"),
        ("1460505599", datetime(2016, 4, 12, 23, 59, 59, tzinfo=UTC), "seconds since 1970"),
        ("1460505599.5", datetime(2016, 4, 12, 23, 59, 59, 500_000, tzinfo=UTC), "seconds since 1970"),
        ("1460505599250", datetime(2016, 4, 12, 23, 59, 59, 250_000, tzinfo=UTC), "milliseconds since 1970"),
        ("20160412235959", datetime(2016, 4, 12, 23, 59, 59), "%Y%m%d%H%M%S"),
        ("4/1/2016 7:54:05 AM", datetime(2016, 4, 1, 7, 54, 5), "%m/%d/%Y %I:%M:%S %p"),
        ("4/1/2016 12:54 pm", datetime(2016, 4, 1, 12, 54), "%m/%d/%Y %I:%M %p"),
        ("04/12/2016, 11:59PM", datetime(2016, 4, 12, 23, 59), "%m/%d/%Y, %I:%M%p"),
        ("4/12/2016 23:59", datetime(2016, 4, 12, 23, 59), "%m/%d/%Y %H:%M"),
        ("4/12/2016", datetime(2016, 4, 12), "%m/%d/%Y"),
        ("13/4/2016 23:59", datetime(2016, 4, 13, 23, 59), "%d/%m/%Y %H:%M"),
        ("31-12-16", datetime(2016, 12, 31), "%d-%m-%y"),
        ("12.04.2016 23:59:59", datetime(2016, 4, 12, 23, 59, 59), "%d.%m.%Y %H:%M:%S"),
        ("2016/04/12 23:59", datetime(2016, 4, 12, 23, 59), "%Y/%m/%d %H:%M"),
    ],
)
def test_common_times_are_read_without_being_told(text: str, expected: datetime, name: str) -> None:
    """ISO, US and European ways to write a time are recognized, with 12 and with 24 hours."""
    times = Times()
    moment = times.read(text)
    assert (moment, moment.utcoffset()) == (expected, expected.utcoffset())
    assert times.fitting[0].name == name


def test_one_format_reads_the_whole_column() -> None:
    """A row that only fits with the day first makes all rows day first; nothing is guessed row by row."""
    first_pass = Times()
    assert first_pass.read("4/5/2016") == datetime(2016, 4, 5)
    assert first_pass.read("13/5/2016") == datetime(2016, 5, 13)
    assert first_pass.chosen().read("4/5/2016") == datetime(2016, 5, 4)


def test_a_number_is_not_taken_for_an_iso_time() -> None:
    """1460121200000 is milliseconds, though Python's fromisoformat reads a day of the year 1460 in it."""
    assert Times().read("1460121200000").year == 2016


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "in.csv: the file is empty"),
        ("\n\n", "in.csv: the file is empty"),
        ("Id,Da\rte,Kg\n", "in.csv: the header is not a row of a CSV file: new-line character"),
        ("Id,Date,Kg\n", "in.csv: there are no rows below the header"),
        ("Id,Date\nann,x\n", "in.csv: there is no column 'Kg'; the columns are 'Id', 'Date'"),
        ("Id,Date,Kg,Kg\n", "in.csv: the header has the column 'Kg' more than once"),
        (GOOD + "ann,yesterday,81\n", "row 3, column 'Date': cannot read 'yesterday' as a time; --time-format can say"),
        (GOOD + "ann,,81\n", "row 3, column 'Date': cannot read '' as a time"),
        (GOOD + "ann,2016-04-12,81\n", "row 3, column 'Date': '2016-04-12' is not written like the rows above (%m/%d/"),
        (GOOD + "\nann,4/12/2016 23:59,heavy\n", "row 4, column 'Kg': cannot read 'heavy' as a finite number"),
        (GOOD + "ann,4/12/2016 23:59,nan\n", "row 3, column 'Kg': cannot read 'nan' as a finite number"),
        (GOOD + "ann,4/12/2016 23:59,-inf\n", "row 3, column 'Kg': cannot read '-inf' as a finite number"),
        (GOOD + "ann,4/12/2016 23:59,1_0\n", "row 3, column 'Kg': cannot read '1_0' as a finite number"),
        (GOOD + 'ann,4/12/2016 23:59,"81,5"\n', "row 3, column 'Kg': cannot read '81,5' as a finite number"),
        (GOOD + " ,4/12/2016 23:59,81\n", "row 3, column 'Id': the user is missing"),
        (GOOD + "ann,81\n", "row 3: 2 fields, but the header has 3"),
        (GOOD + "ann,4/12/2016 23:59,81,5\n", "row 3: 4 fields, but the header has 3"),
        (GOOD + 'ann,"4/12/2016 23:59"?,81\n', "row 3: is not a row of a CSV file: "),
        (GOOD.encode() + b"ann,\xff\xfe,81\n", "row 3: is not text in UTF-8"),
        (b"PNG\0\0\n", "row 1: is binary, not text"),
        (
            "Id,Date,Kg\nann,2016-04-12T10:00Z,81\nann,2016-04-12T10:00,81\n",
            "row 3, column 'Date': '2016-04-12T10:00' has no time zone, but the rows above have one",
        ),
        (
            "Id,Date,Kg\nann,2016-04-12T10:00,81\nann,2016-04-12T10:00Z,81\n",
            "row 3, column 'Date': '2016-04-12T10:00Z' has a time zone, but the rows above have none",
        ),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    """A broken file gives one line with file, row and column, exit code 2, and no traceback."""
    line = refusal(invoke(written(tmp_path, content)))
    assert line.startswith("Error: ")
    assert complaint in line


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    """It is named in one line."""
    assert refusal(invoke(tmp_path / "no.csv")).endswith("no.csv: cannot be read: No such file or directory")


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    """It is named in one line."""
    assert refusal(invoke(tmp_path)).endswith(": is a directory, not a file")


def test_a_pipe_cannot_be_read_twice(tmp_path: Path) -> None:
    """A pipe is refused rather than waited for."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "is not a regular file" in refusal(invoke(pipe))


def test_a_file_that_goes_away_meanwhile(tmp_path: Path) -> None:
    """A file that disappears between two looks is an error of one line as well."""
    path = written(tmp_path, GOOD)
    table = Table(path, "Id", "Date", "Kg")
    path.unlink()
    with pytest.raises(Exception, match="cannot be read: No such file"):
        list(table.rows(Times().read))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--every", "0"), "'--every'"),
        (("--every", "many"), "'--every'"),
        (("--window", "soon"), "'soon' is not a duration such as 90s, 30m, 72h, 7d or 2w."),
        (("--window", "0h"), "'0h' is not a duration such as"),
        (("--window", "99999999999d"), "'99999999999d' is longer than a calendar reaches."),
        (("--every", "5", "--window", "72h"), "--every and --window cannot go together"),
        (("--evry", "5"), "'--evry'"),
        (("--time-format", "%Q"), "--time-format '%Q': "),
        (("--time-format", "%Y%Y"), "--time-format '%Y%Y': has a part twice"),
        (("--time-format", "%Y"), "row 2, column 'Date': cannot read '4/12/2016 23:59' as a time (%Y)"),
        (("--process", "json"), "--process 'json': must be module:function"),
        (("--process", "no_such_module:f"), "--process 'no_such_module:f': ModuleNotFoundError: "),
        (("--process", "json:no_such"), "--process 'json:no_such': AttributeError: "),
        (("--process", "json:__name__"), "--process 'json:__name__': is not a function"),
        (
            ("--output", "/no/such/folder/out.csv"),
            "/no/such/folder/out.csv: cannot be written: No such file or directory",
        ),
        (("--output", "/"), "/: cannot be written: is a directory"),
        (("--output", os.devnull), f"{os.devnull}: cannot be written: is not a regular file"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: tuple[str, ...], complaint: str) -> None:
    """Each is refused in one line before anything is replayed."""
    assert complaint in refusal(invoke(written(tmp_path, GOOD), *options))


def test_a_column_that_was_not_named(tmp_path: Path) -> None:
    """A missing option is one line that tells where to read more."""
    result = CliRunner().invoke(replay, [str(written(tmp_path, GOOD)), "--user", "Id", "--time", "Date"])
    assert refusal(result) == "Error: Missing option '--value'. (holdover replay --help says more)"


def test_the_input_is_not_overwritten(tmp_path: Path) -> None:
    """An output that is the input is refused, and the input stays as it is."""
    path = written(tmp_path, GOOD)
    assert "is the file that is read" in refusal(invoke(path, "--output", str(tmp_path / "." / "in.csv")))
    assert path.read_text() == GOOD


def test_a_write_protected_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be written is refused before the work starts."""
    output = tmp_path / "out.csv"
    output.write_text("mine")
    monkeypatch.setattr(os, "access", lambda path, _mode: path != output)  # for root every file is writable
    assert refusal(invoke(written(tmp_path, GOOD), "--output", str(output))).endswith(": Permission denied")
    assert output.read_text() == "mine"


@pytest.mark.parametrize(
    "content",
    [
        "Id;Date;Kg;Note\nann;12.04.2016 23:59;81,5;a,b,c,d,e\n",
        "\ufeffId\tDate\tKg\r\nann\t2016-04-12\t81.5\r\n",
        '\n Id , Date ,Kg\n ann ,4/12/2016, 81.5 \n\n"ann","4/12/2016",81.5\n\n',
    ],
)
def test_files_of_many_makes(tmp_path: Path, content: str) -> None:
    """Semicolons (with a decimal comma), tabs, a byte order mark, blank lines and spaces are all read."""
    rows = list(Table(written(tmp_path, content), "Id", "Date", "Kg").rows(Times().read))
    assert {(row.user, row.time.date(), row.value) for row in rows} == {("ann", datetime(2016, 4, 12).date(), 81.5)}


def test_the_format_may_be_said(tmp_path: Path) -> None:
    """--time-format makes 4/5/2016 the fourth of May."""
    result = invoke(written(tmp_path, "Id,Date,Kg\nann,4/5/2016,81\n"), "--time-format", "%d/%m/%Y")
    assert result.exit_code == 0
    assert "times read as %d/%m/%Y" in result.stdout
    assert strptime_format("%d/%m/%Y").read("4/5/2016") == datetime(2016, 5, 4)


def test_month_first_is_said_where_the_day_may_come_first(tmp_path: Path) -> None:
    """Where both fit every row, the month comes first, and the output says how to have it otherwise."""
    result = invoke(written(tmp_path, "Id,Date,Kg\nann,4/5/2016,81\n"))
    assert "times read as %m/%d/%Y\n" in result.stdout
    assert "--time-format '%d/%m/%Y' reads it so" in result.stdout
    sure = invoke(written(tmp_path, "Id,Date,Kg\nann,4/13/2016,81\n"))
    assert "reads it so" not in sure.stdout


def test_the_progress_is_told_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then the reader says how far it is."""
    monkeypatch.setattr(_table, "REPORT_EVERY", 2)
    told: list[int] = []
    path = written(tmp_path, GOOD + "ann,4/12/2016 23:59,81.5\n" * 2)
    assert len(list(Table(path, "Id", "Date", "Kg").rows(Times().read, told.append))) == 3
    assert told == [len(GOOD), path.stat().st_size]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("72h", 259_200), ("1.5 H", 5400), ("7d", 604_800), ("2w", 1_209_600)],
)
def test_durations(text: str, seconds: int) -> None:
    """Seconds, minutes, hours, days and weeks."""
    assert duration(text) == timedelta(seconds=seconds)
