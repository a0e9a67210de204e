"""Where `python -m benchmarks` begins: its arguments, sizes and sections. Must not know how to measure or print."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from inspect import getmodule
from pathlib import Path
from time import perf_counter

from rich.console import Console

from benchmarks.adding import adding
from benchmarks.alternatives import alternatives
from benchmarks.applying import applying
from benchmarks.durable import durable
from benchmarks.growth import growth
from benchmarks.limits import limits
from benchmarks.measuring import Curve, Grid, Row, Scale
from benchmarks.memory import memory
from benchmarks.metering import metering
from benchmarks.peers import peers
from benchmarks.postgres import postgres
from benchmarks.replacing import replacing
from benchmarks.report import Measured, as_json, head, printed, saved
from benchmarks.snapshots import snapshots
from benchmarks.soak import soak

HERE = Path(__file__).parent

FULL = Scale(
    rounds=61,
    few_rounds=15,
    users=200,
    windows=(10, 100, 1_000, 10_000, 100_000, 1_000_000),
    batch=1_000,
    long=1_000_000,
    idle_users=5_000,
    thread_adds=50_000,
    populations=(1_000, 10_000, 100_000),
    overdue=10,
    weighings=500,
    connections=(1, 2, 4, 8, 16),
    processes=(1, 2, 4),
    server_adds=40,
    server_rounds=5,
    server_users=50,
    wakes=40,
    backlog=10_000,
    many_users=100_000,
    contest_seconds=0.3,
    contest_rounds=12,
    soak_seconds=60.0,
    soak_users=1_000,
    growing_users=(100, 1_000, 10_000, 100_000, 1_000_000),
    growing_events=(1_000, 10_000, 100_000, 1_000_000),
    threads=(1, 2, 4, 8, 16),
    workers=(1, 2, 4, 8),
    replays=40,
)
QUICK = Scale(
    rounds=31,
    few_rounds=9,
    users=50,
    windows=(10, 100, 1_000, 10_000, 100_000),
    batch=1_000,
    long=100_000,
    idle_users=1_000,
    thread_adds=30_000,
    populations=(1_000, 10_000),
    overdue=10,
    weighings=200,
    connections=(1, 2, 4, 8, 16),
    processes=(1, 2),
    server_adds=8,
    server_rounds=2,
    server_users=6,
    wakes=4,
    backlog=1_000,
    many_users=2_000,
    contest_seconds=0.2,
    contest_rounds=2,
    soak_seconds=6.0,
    soak_users=1_000,
    growing_users=(100, 1_000, 10_000),
    growing_events=(1_000, 10_000),
    threads=(1, 2, 4),
    workers=(1, 2, 4),
    replays=16,
)
SECTIONS: tuple[Callable[[Scale], Iterator[Row | Grid | Curve]], ...] = (
    alternatives,
    limits,
    adding,
    snapshots,
    memory,
    growth,
    metering,
    replacing,
    applying,
    durable,
    peers,
    postgres,
    soak,
)


def measured(scale: Scale, only: Sequence[str] = ()) -> list[Measured]:
    """What all sections yield, or some; each says on standard error that it has begun, and how long it took."""
    found = []
    for section in SECTIONS:
        name = section.__name__
        if only and name not in only:
            continue
        print(f"measuring: {name} ...", file=sys.stderr)
        start = perf_counter()
        items = list(section(scale))
        taken = perf_counter() - start
        print(f"measured: {name}, {taken:.1f} s", file=sys.stderr)
        about = (getmodule(section).__doc__ or "").partition("\n")[0]
        found.append(Measured(name, about, items, taken))
    return found


def machine() -> str:
    """Which interpreter on which machine the figures are of."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def main(words: Sequence[str] | None = None) -> None:
    """Run the benchmarks, as the given words (those of the command line if omitted) say."""
    words = sys.argv[1:] if words is None else words
    arguments = _arguments(words)
    sections = measured(QUICK if arguments.quick else FULL, arguments.only or ())
    console = Console(width=None if sys.stdout.isatty() else 150)
    printed(sections, console)
    console.print(machine())
    folder = arguments.output or (None if arguments.quick or arguments.only else HERE)
    if folder:
        command = " ".join(["python -m benchmarks", *words]) if words else "make bench"
        results = saved(sections, head(command, machine(), sections), folder)
        console.print(f"written: {results}", soft_wrap=True)
    if arguments.json:
        written = {"machine": machine(), **as_json(sections)}
        arguments.json.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What holdover costs. All of it in full is written to benchmarks/RESULTS.md and benchmarks/plots.",
    )
    parser.add_argument("--quick", action="store_true", help="a short run with smaller sizes: coarse figures")
    names = [section.__name__ for section in SECTIONS]
    parser.add_argument("--only", action="append", choices=names, help="measure this section; may be given again")
    parser.add_argument("--output", type=Path, metavar="DIR", help="write RESULTS.md and plots there, whatever was run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file too")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
