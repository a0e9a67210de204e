"""Whether anything is lost, grows or becomes slow when measurements come and are replayed for long."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from benchmarks.measuring import Curve, Figure, Grid, Scale
from benchmarks.rivals import on_disk
from benchmarks.soak_case import FAILS, PERIODS, RATE, REPLAYS, TICK, WINDOW, Case, Outcome
from benchmarks.soaking import soaked

COLUMNS = (
    "adds/s",
    "add, p50",
    "add, p99",
    "longest add",
    "replays completed",
    "replays failed",
    "added",
    "lost",
    "memory at the start",
    "memory at the end",
)

TUNABLES = "GLIBC_TUNABLES"
"""The environment variable that glibc reads when a process starts."""


def soak(scale: Scale) -> Iterator[Grid | Curve]:
    """A steady stream to one user and to many, in memory and in a file, under replays that take long and may fail."""
    seconds, many = scale.soak_seconds, f"{scale.soak_users:,} users"
    outcomes: dict[str, Outcome] = {}
    with on_disk() as folder:
        for where in ("in memory", "in a file"):
            paths = [str(Path(folder) / f"{name}.db") if where == "in a file" else "" for name in ("one", "many")]
            cases = [Case(1, paths[0], seconds), Case(scale.soak_users, paths[1], seconds)]
            names = [f"{where}, one user", f"{where}, {many}"]
            outcomes.update(zip(names, _together(cases), strict=True))
    yield Grid(
        f"Soak: {RATE:,} measurements/s for {seconds:g} s, while replays of {seconds / REPLAYS:g} s run",
        f"Each line in a process of its own, the two in memory at the same time, then the two in a file (durability "
        f"full). {TICK} come at once, one after another from one thread; those that are late are caught up with, and "
        f"what is still to come when the time is over is left out. One user is due as soon as there is anything, each "
        f"of many with {WINDOW} measurements, from the beginning at a steady pace. A ReplayManager replays in the "
        f"background; every attempt whose number can be divided by {FAILS} fails and is tried again. "
        f"Lost: by serial numbers, among what completed replays have seen and what is live, and by audit(). Memory: "
        f"what is resident of the process, its interpreter and all of the library included, with glibc's caches for "
        f"each thread off; the mean over {seconds / REPLAYS:g} s, from {seconds / REPLAYS:g} s on and at the end. With "
        f"a file, SQLite's page cache of 2 MB for each connection fills up in the first minutes, and stays so.",
        COLUMNS,
        {name: _line(outcome) for name, outcome in outcomes.items()},
        notes={name: _note(outcome) for name, outcome in outcomes.items()},
    )
    yield _curve(outcomes, seconds, "Memory during the soak", "B", lambda outcome: outcome.memory)
    yield _curve(outcomes, seconds, "Adds during the soak, p99", "s", lambda outcome: outcome.slow)


def _together(cases: list[Case]) -> list[Outcome]:
    """What came of the cases, all at the same time, each in a new process."""
    with _no_thread_caches(), ProcessPoolExecutor(len(cases), get_context("spawn")) as pool:
        return list(pool.map(soaked, cases))


@contextmanager
def _no_thread_caches() -> Iterator[None]:
    """Processes started meanwhile keep no freed memory for each thread, where the C library is glibc.

    With hundreds of threads that fills up for minutes, and would look like growth of a buffer.
    """
    before = os.environ.get(TUNABLES)
    os.environ[TUNABLES] = ":".join(filter(None, [before, "glibc.malloc.tcache_count=0"]))
    try:
        yield
    finally:
        if before is None:
            del os.environ[TUNABLES]
        else:
            os.environ[TUNABLES] = before


def _line(outcome: Outcome) -> list[Figure]:
    counts = (outcome.completed, outcome.failed, outcome.added, outcome.lost)
    return [
        Figure(outcome.rate, "/s"),
        *(Figure(latency) for latency in outcome.latencies),
        *(Figure(number, "") for number in counts),
        Figure(outcome.at_start, "B"),
        Figure(outcome.at_end, "B"),
    ]


def _note(outcome: Outcome) -> str:
    found = "".join(f" {what}: {many}." for what, many in outcome.odd.items())
    return (
        f"{outcome.added:,} added = {outcome.replayed:,} replayed + {outcome.live:,} live; the latest add began "
        f"{outcome.late * 1000:.1f} ms after its time.{found}"
    )


def _curve(
    outcomes: dict[str, Outcome], seconds: float, title: str, unit: str, what: Callable[[Outcome], Sequence[float]]
) -> Curve:
    period = seconds / PERIODS
    lines = {
        name: {number: Figure(value, unit) for number, value in enumerate(what(outcome), 1)}
        for name, outcome in outcomes.items()
    }
    sizes = "seconds" if period == 1 else f"times {period:g} s"
    return Curve(title, f"Each figure is of {period:g} s of the runs in the table.", sizes, lines, logarithmic=False)
