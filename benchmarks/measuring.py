"""How things are measured: in paired rounds of random order, judged by medians. Knows nothing of what is measured."""

import gc
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median, quantiles
from time import perf_counter
from types import FunctionType
from typing import Any

from attrs import Factory, frozen

Run = Callable[[], float]
"""Prepares something, does it, and returns what one operation of it took, in seconds; only the doing is timed."""

WARM_UP = 2
"""How many rounds run before the first that counts."""


@frozen
class Scale:
    """How much of everything a run of the benchmarks does.

    Parameters:
        rounds: how many paired rounds the cheap measurements get.
        few_rounds: how many the expensive ones get.
        users: how many users the adds are spread over.
        windows: the numbers of buffered measurements that snapshots are taken at; the first is the yardstick.
        batch: how many measurements `add_measurements` is given.
        long: how many measurements the largest window has that is iterated over or weighed.
        idle_users: how many users are weighed.
        thread_adds: how many adds several threads do together.
        populations: the numbers of users whose metrics are read; the first is the yardstick.
        overdue: how many users are due, and how many overdue, among many others.
        weighings: how many each user of the example application has.
        connections: the numbers of connections to a server that write at once.
        processes: the numbers of processes that work at once; the first is 1, the yardstick.
        server_adds: how many rows each connection to a server writes in a run.
        server_rounds: how many paired rounds the measurements get that replay on a server.
        server_users: how many users they replay.
        wakes: how often it is timed how long somebody took to wake up.
        backlog: how many items a file holds that is opened again.
        many_users: how many users are weighed beside other state machines.
        contest_seconds: for how long each way to replay is filled and replayed in a round.
        contest_rounds: how many paired rounds that gets.
        soak_seconds: for how long the soak adds.
        soak_users: how many users it spreads them over.
        growing_users: how many users there are, ever more.
        growing_events: how many events a user has, ever more.
        threads: how many threads add at once.
        workers: how many threads replay at once.
        replays: how many users they replay.
    """

    rounds: int
    few_rounds: int
    users: int
    windows: tuple[int, ...]
    batch: int
    long: int
    idle_users: int
    thread_adds: int
    populations: tuple[int, ...]
    overdue: int
    weighings: int
    connections: tuple[int, ...]
    processes: tuple[int, ...]
    server_adds: int
    server_rounds: int
    server_users: int
    wakes: int
    backlog: int
    many_users: int
    contest_seconds: float
    contest_rounds: int
    soak_seconds: float
    soak_users: int
    growing_users: tuple[int, ...]
    growing_events: tuple[int, ...]
    threads: tuple[int, ...]
    workers: tuple[int, ...]
    replays: int


@frozen
class Row:
    """One line of the table.

    Parameters:
        what: what was measured.
        unit: of both figures: `"s"`, `"B"` (bytes) or `"x"` (a ratio itself).
        holdover: holdover's figure (a median).
        against: what the yardstick is, or "" where there is none.
        yardstick: the yardstick's figure.
        ratio: the median of the paired ratios.
        quartiles: the lower and the upper quartile of those.
        most_ratio: the target for the ratio.
        most: the target for holdover's figure, in `unit`.
    """

    what: str
    unit: str
    holdover: float
    against: str = ""
    yardstick: float | None = None
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    most_ratio: float | None = None
    most: float | None = None

    @property
    def ok(self) -> bool | None:
        """Whether every target is met, or None where there is none."""
        if self.most is None and self.most_ratio is None:
            return None
        ratio_met = self.most_ratio is None or (self.ratio is not None and self.ratio <= self.most_ratio)
        return ratio_met and (self.most is None or self.holdover <= self.most)


@frozen
class Figure:
    """One figure of a `Grid` or a `Curve`: a median, and how it compares with holdover's of the same rounds.

    Parameters:
        value: the median (or the one figure there is), in `unit`.
        unit: `"s"`, `"B"` (bytes), `"/s"` (a rate), `"x"` (a ratio) or `""` (a count).
        spread: its lower and upper quartile, where there was more than one round.
        ratio: the median of the paired ratios, this to holdover's; None for its own, and where nothing is paired.
        quartiles: the lower and the upper quartile of those.
    """

    value: float
    unit: str = "s"
    spread: tuple[float, float] | None = None
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None


@frozen
class Grid:
    """A table with one line for each alternative and a column for each job; holdover is the first line.

    Parameters:
        title: what is compared, and in which unit of work.
        note: what was the same for all, and what a reader has to know to judge.
        columns: the jobs.
        lines: the figures of each alternative, one for each column; None where it does not do that job.
        drawn: the columns that are drawn as bars, each in a panel of its own.
        notes: for an alternative, what has to be said about it alone.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    lines: Mapping[str, Sequence[Figure | None]]
    drawn: tuple[str, ...] = ()
    notes: Mapping[str, str] = Factory(dict)


@frozen
class Curve:
    """Cost against size: lines in one plot, both axes logarithmic unless said otherwise.

    Parameters:
        title: what is measured.
        note: what a reader has to know.
        sizes: what the sizes count, with its unit: "users", "buffered measurements", "seconds".
        lines: for each line its figures, by size.
        logarithmic: whether the axes are.
    """

    title: str
    note: str
    sizes: str
    lines: Mapping[str, Mapping[int, Figure]]
    logarithmic: bool = True


def alternated(runs: Mapping[str, Run], rounds: int) -> dict[str, list[float]]:
    """What each run took in each round; every round runs all of them, in an order of its own.

    A machine that slows down for a while slows all runs of a round, so a ratio of two figures of one round means more
    than one of two averages. The garbage collector runs between rounds only.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    with _no_collection():
        for number in range(-WARM_UP, rounds):
            for name in random.sample(list(runs), len(runs)):
                time = runs[name]()
                if number >= 0:
                    times[name].append(time)
    return times


def paired(
    what: str,
    holdover: Run,
    against: str,
    yardstick: Run,
    rounds: int,
    most_ratio: float | None = None,
    most: float | None = None,
) -> Row:
    """Time both in alternation and make a row of it; the targets are those of `Row`."""
    times = alternated({"holdover": holdover, "yardstick": yardstick}, rounds)
    return compared(what, times["holdover"], against, times["yardstick"], most_ratio=most_ratio, most=most)


def compared(
    what: str,
    holdover: list[float],
    against: str,
    yardstick: list[float],
    *,
    unit: str = "s",
    most_ratio: float | None = None,
    most: float | None = None,
) -> Row:
    """A row of two series, the figures of which are paired by their places."""
    ratios = [ours / theirs for ours, theirs in zip(holdover, yardstick, strict=True)]
    found = _quartiles(ratios)
    return Row(what, unit, median(holdover), against, median(yardstick), median(ratios), found, most_ratio, most)


def figure(times: Sequence[float], ours: Sequence[float] | None = None, unit: str = "s") -> Figure:
    """The figure of a series, beside holdover's of the same rounds where that is given."""
    if ours is None:
        return Figure(median(times), unit, _quartiles(times))
    ratios = [theirs / own for theirs, own in zip(times, ours, strict=True)]
    return Figure(median(times), unit, _quartiles(times), median(ratios), _quartiles(ratios))


def _quartiles(series: Sequence[float]) -> tuple[float, float]:
    lower, _, upper = quantiles(series, n=4, method="inclusive") if len(series) > 1 else [*series] * 3
    return lower, upper


def timed(operation: Callable[[], object]) -> float:
    """How many seconds it took."""
    start = perf_counter()
    operation()
    return perf_counter() - start


def own_copy(function: Callable[..., Any]) -> Any:
    """The function with byte code of its own.

    The interpreter specializes the calls in a piece of code for what they usually call. One loop that drives both sides
    in turn would be specialized for neither.
    """
    assert isinstance(function, FunctionType)
    return FunctionType(function.__code__.replace(), function.__globals__, closure=function.__closure__)


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
