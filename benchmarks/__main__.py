"""Where `python -m benchmarks` begins: runs every measurement, prints the table. Knows nothing of how to measure."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import asdict
from rich.console import Console
from rich.table import Table

from benchmarks.adding import adding
from benchmarks.applying import applying
from benchmarks.due import due
from benchmarks.durable import durable
from benchmarks.measuring import Row, Scale
from benchmarks.memory import memory
from benchmarks.metering import metering
from benchmarks.postgres import postgres
from benchmarks.replacing import replacing
from benchmarks.snapshots import snapshots
from benchmarks.sweeping import sweeping
from benchmarks.threads import threads

FULL = Scale(
    rounds=201,
    few_rounds=31,
    users=200,
    windows=(10, 1_000, 100_000, 1_000_000),
    batch=1_000,
    long=1_000_000,
    idle_users=10_000,
    thread_adds=200_000,
    populations=(1_000, 10_000, 100_000),
    overdue=100,
    weighings=500,
    connections=(1, 2, 4, 8, 16),
    processes=(1, 2, 4),
    server_adds=40,
    server_rounds=7,
    server_users=100,
    wakes=60,
)
QUICK = Scale(
    rounds=31,
    few_rounds=9,
    users=50,
    windows=(10, 1_000, 100_000),
    batch=1_000,
    long=100_000,
    idle_users=1_000,
    thread_adds=30_000,
    populations=(1_000, 10_000),
    overdue=100,
    weighings=200,
    connections=(1, 2, 4, 8, 16),
    processes=(1, 2),
    server_adds=8,
    server_rounds=2,
    server_users=6,
    wakes=4,
)
SECTIONS: tuple[Callable[[Scale], Iterator[Row]], ...] = (
    adding,
    snapshots,
    memory,
    threads,
    sweeping,
    due,
    metering,
    replacing,
    applying,
    durable,
    postgres,
)


def measured(scale: Scale, only: Sequence[str] = ()) -> list[Row]:
    """All rows of the table, or those of some sections; each section says on standard error that it has begun."""
    rows = []
    for section in SECTIONS:
        if only and section.__name__ not in only:
            continue
        print(f"measuring: {section.__name__} ...", file=sys.stderr)
        rows += list(section(scale))
    return rows


def machine() -> str:
    """Which interpreter on which machine the figures are of."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def table(rows: list[Row]) -> Table:
    """The rows as they are printed."""
    shown = Table(caption="ratios: the median of paired rounds, quartiles in brackets", caption_justify="left")
    shown.add_column("what")
    for heading in ("holdover", "yardstick", "ratio", "target"):
        shown.add_column(heading, justify="right")
    shown.add_column("", justify="left")
    verdicts = {None: "", True: "[green]ok", False: "[red]over"}
    for row in rows:
        yardstick = "" if row.yardstick is None else f"{_figure(row.yardstick, row.unit)}\n[dim]{row.against}"
        shown.add_row(row.what, _figure(row.holdover, row.unit), yardstick, _ratio(row), _target(row), verdicts[row.ok])
    return shown


def _figure(value: float, unit: str) -> str:
    if unit == "s":
        power, name = next(((p, n) for p, n in ((1e-3, "ms"), (1e-6, "µs")) if value >= p), (1e-9, "ns"))
        return f"{value / power:,.3g} {name}" if value < 1000 * power else f"{value:,.3g} s"
    if unit == "B":
        return f"{value / 1e6:,.2f} MB" if value >= 1e5 else f"{value:,.1f} bytes"
    return f"{value:.2f} x"


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return ""
    return f"{row.ratio:.2f}" + (f"\n[dim]({row.quartiles[0]:.2f} to {row.quartiles[1]:.2f})" if row.quartiles else "")


def _target(row: Row) -> str:
    targets = [] if row.most_ratio is None else [f"{row.most_ratio:.2f}"]
    return "\n".join(targets + ([] if row.most is None else [_figure(row.most, row.unit)]))


def main(words: Sequence[str] | None = None) -> None:
    """Run the benchmarks, as the given words (those of the command line if omitted) say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What holdover costs, as a table.")
    parser.add_argument("--quick", action="store_true", help="a short run with smaller sizes: coarse figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to this file too")
    names = [section.__name__ for section in SECTIONS]
    parser.add_argument("--only", action="append", choices=names, help="measure this section; may be given again")
    arguments = parser.parse_args(words)
    rows = measured(QUICK if arguments.quick else FULL, arguments.only or ())
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(table(rows))
    console.print(machine())
    if arguments.json:
        written = {"machine": machine(), "rows": [{**asdict(row), "ok": row.ok} for row in rows]}
        arguments.json.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
