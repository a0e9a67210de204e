"""`holdover replay`: its options and what they set in motion. Must not know how that is done."""

from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import TextIO

import click

from events import Durability
from statemachine.cli._command import BadInput, OneLineCommand, duration, file_path, quoted
from statemachine.cli._job import OpenStore, run
from statemachine.cli._outliers import THRESHOLD
from statemachine.cli._output import write_rows, written
from statemachine.cli._place import Place, log_place, schema_option
from statemachine.cli._process import Outliers, OwnProcess
from statemachine.cli._report import report
from statemachine.cli._show import progress
from statemachine.cli._store import OpenHome, Store
from statemachine.cli._store_postgres import server_home
from statemachine.cli._store_sqlite import file_home
from statemachine.cli._table import Table
from statemachine.cli._times import COMMON, TimeFormat, Times, strptime_format
from statemachine.cli._turn import Due


@click.command(cls=OneLineCommand)
@click.argument("file", type=file_path, metavar="FILE.csv")
@click.option("--user", required=True, metavar="COLUMN", help="The column that says whose a measurement is.")
@click.option("--time", required=True, metavar="COLUMN", help="The column that says when it was measured.")
@click.option("--value", required=True, metavar="COLUMN", help="The column that says what was measured: a number.")
@click.option(
    "--every", type=click.IntRange(min=1), metavar="N", help="Replay a user's rows, N at a time.", show_default="100"
)
@click.option(
    "--window",
    type=duration,
    metavar="DURATION",
    help="Replay them as soon as they span so much time: 90s, 30m, 72h, 7d, 2w.",
)
@click.option("--output", type=file_path, metavar="OUT.csv", help="Write the rows that the replays return here.")
@click.option("--process", metavar="MODULE:FUNCTION", help="Your own replay, in the place of the search for outliers.")
@click.option(
    "--time-format", metavar="FORMAT", help="How times are written, as for Python's strptime: '%d/%m/%Y %H:%M'."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    metavar="N",
    help="How many replays may run at once.",
)
@click.option(
    "--log",
    type=log_place,
    metavar="LOG",
    help="Keep the buffer in this file, or at this address of a PostgreSQL database, and continue there after an "
    "interruption.",
)
@schema_option
@click.option(
    "--durability",
    type=click.Choice(["full", "normal", "off"]),
    default="normal",
    show_default=True,
    help="What the log survives, beside a crash of the process. full: a loss of power, too, waiting for the disk at "
    "each row. normal: that costs the newest rows, which the next run adds again. off: that may damage the file. In "
    "PostgreSQL they set synchronous_commit, unless the address does: full to on, normal and off to off.",
)
def replay(
    file: Path,
    user: str,
    time: str,
    value: str,
    every: int | None,
    window: timedelta | None,
    output: Path | None,
    process: str | None,
    time_format: str | None,
    workers: int,
    log: Place | None,
    durability: Durability,
) -> None:
    """Feed a CSV file of measurements through the buffer while replays run beside, and see that nothing is lost.

    The rows are added in the file's order. Whenever enough have come from a user (--every or --window), they are frozen
    and replayed in another thread, while the next ones are added. What is left at the end of the file is replayed then.

    A replay takes its rows in time order and flags outliers: those whose modified z-score (by median and median
    absolute deviation) is beyond 3.5. --process puts a function of yours in its place. It is called with the frozen
    rows, each with user, time, value, number (the line in the file) and columns (a dictionary), and returns the rows to
    write, as dictionaries, or None. If it raises, its rows stay in the buffer, and come again with the next replay.

    Times are read in any common format, one for the whole file: ISO 8601, 4/12/2016 11:59:00 PM, 4/12/2016 23:59,
    12.04.2016 23:59, 2016/04/12, seconds or milliseconds since 1970, and more. Where both fit every row, the month
    comes before the day (US); --time-format says it otherwise. Columns are separated by commas, semicolons or tabs.

    With --log the buffer, and what the replays return, are kept in LOG: a file, or the address of a PostgreSQL database
    (postgresql://user@host/database). If the run is interrupted, even killed, the same command continues it: no row is
    added twice, each result is there exactly once, and the output is the same as without the interruption. A window
    whose replay was under way is replayed again, with the same rows. holdover log, audit and state show what is there.

    \b
    Examples:
      holdover replay examples/heart_rate.csv --user User --time Time --value HeartRate
      holdover replay weights.csv --user Id --time Date --value WeightKg --window 7d --output outliers.csv

    Exit code: 0 if every row was replayed and accounted for, 1 if not, 2 if something given was wrong.
    """  # noqa: D301 - the backslash tells click to leave the lines below it as they are
    if every is not None and window is not None:
        raise BadInput("--every and --window cannot go together; choose one")
    due = Due(every or 100) if window is None else Due(None, window)
    times = Times(COMMON if time_format is None else [_format(time_format)])
    table = Table(file, user, time, value)
    own = Outliers(table.header) if process is None else OwnProcess(process)
    fingerprint = {
        "--user": user,
        "--time": time,
        "--value": value,
        "--time-format": time_format or "any",
        "--every": str(due.every or "none"),
        "--window": str(due.window or "none"),
        "--process": process or f"outliers beyond {THRESHOLD}",
        "the file's name": file.name,
    }
    open_store = None if log is None else _opening(log, durability, fingerprint, table, output)
    with ExitStack() as stack:
        target = None if output is None else stack.enter_context(_other_file(output, file))
        with progress() as bars:
            outcome = run(table, times, due, own, workers, bars, open_store)
        if target is not None:
            write_rows(target, own.columns, (row.columns for row in outcome.judged), table.delimiter)
    report(outcome, file, output)
    if not outcome.ok:
        raise SystemExit(1)


def _opening(
    log: Place, durability: Durability, fingerprint: dict[str, str], table: Table, output: Path | None
) -> OpenStore:
    if isinstance(log, Path):
        if log.resolve() in (table.path.resolve(), output and output.resolve()):
            raise BadInput(f"{log}: is the file that is read or written; --log has to be another one")
        open_home: OpenHome = partial(file_home, log, durability)
    else:
        open_home = partial(server_home, log, durability)

    def opened() -> Store:
        with open(table.path, "rb") as file:
            content = file_digest(file, "sha256").hexdigest()
        return Store(open_home, {**fingerprint, "the file's content": content}, table.header)

    return opened


def _format(pattern: str) -> TimeFormat:
    try:
        return strptime_format(pattern)
    except ValueError as error:
        raise BadInput(f"--time-format {quoted(pattern)}: {error}") from None


def _other_file(output: Path, source: Path) -> AbstractContextManager[TextIO]:
    if output.exists() and output.samefile(source):
        raise BadInput(f"{output}: is the file that is read; --output has to be another one")
    return written(output)
