"""What the lost update is avoided with: a lock, a copy, two queues, holdover; and what each of them costs."""

import gc
import tracemalloc
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from threading import Thread
from time import perf_counter, sleep
from typing import Any

from attrs import frozen

from benchmarks.measuring import WARM_UP, Curve, Figure, Grid, Run, Scale, alternated, figure, own_copy, timed
from benchmarks.usual import Copied, GetAndClear, Locked, Replayable, Swapped
from statemachine import BufferConfig, ReplayBuffer

USER = "ann"
MOST = 10**9
"""The bound: nobody ever evicts."""

REPLAY = 0.05
"""Seconds that a replay takes once it has gone through its window."""

HOLDOVER = "holdover"


class Holdover:
    """holdover, as the others are driven; its adds are called without anything in between."""

    def __init__(self) -> None:
        buffer: ReplayBuffer[Any] = ReplayBuffer(config=BufferConfig(max_measurements=MOST))
        self.add_measurement, self.add_measurements = buffer.add_measurement, buffer.add_measurements
        self.complete, self.abort, self.live = buffer.complete_replay, buffer.abort_snapshot, buffer.measurements
        self._buffer = buffer

    def snapshot(self, user_id: str) -> Sequence[Any]:
        return self._buffer.finalize_snapshot(user_id, self._buffer.begin_snapshot(user_id))


ALTERNATIVES: Mapping[str, Callable[[], Replayable]] = {
    HOLDOVER: Holdover,
    "get, replay, clear (lossy)": lambda: GetAndClear(MOST),
    "lock held during the replay": lambda: Locked(MOST),
    "copy, remove the copied": lambda: Copied(MOST),
    "two queues, swap and merge": lambda: Swapped(MOST),
}
NOTES = {
    "lock held during the replay": "Its snapshot costs nothing but the lock; whoever adds waits for the whole replay. "
    "The next replay takes the lock again before a waiting thread wakes, so that few adds get in at all.",
    "two queues, swap and merge": "What is being replayed is in neither queue that others see.",
}


@frozen
class Outcome:
    """What came of one round of one alternative.

    Attributes:
        rate: adds a second.
        half: seconds within which half of the adds were done.
        most: seconds within which 99 of a hundred were.
        longest: seconds that the longest took.
        added: how many were added.
        lost: how many of them are neither live nor in a completed replay.
        doubled: how often one is there once more.
    """

    rate: float
    half: float
    most: float
    longest: float
    added: int
    lost: int
    doubled: int


def alternatives(scale: Scale) -> Iterator[Grid | Curve]:
    """The table of the ways to replay a window that is being filled, and what a snapshot costs in each."""
    yield _beside_replays(scale)
    yield _snapshots(scale)


def _beside_replays(scale: Scale) -> Grid:
    contests = {name: Contest(make, scale.contest_seconds) for name, make in ALTERNATIVES.items()}
    alternated(contests, scale.contest_rounds)
    outcomes = {name: contest.outcomes[WARM_UP:] for name, contest in contests.items()}
    held = scale.long // 10
    weight = f"bytes, {held:,} held"
    columns = {
        "adds/s": ("rate", "/s"),
        "add, p50": ("half", "s"),
        "add, p99": ("most", "s"),
        "longest add": ("longest", "s"),
    }
    lines = {}
    for name, each in outcomes.items():
        figures = [_column(each, outcomes[HOLDOVER], *column) for column in columns.values()]
        counts = [Figure(sum(getattr(one, what) for one in each), "") for what in ("added", "lost", "doubled")]
        lines[name] = [*figures, Figure(_bytes(ALTERNATIVES[name], held) / held, "B"), *counts]
    return Grid(
        f"Adds at full speed during replays of {REPLAY * 1000:.0f} ms",
        f"In memory: one thread adds to one user while another replays, one window after the other. "
        f"{scale.contest_rounds} rounds of {scale.contest_seconds} s each; in every second one each third "
        f"replay fails, and the next one gets its window again. An add is timed from the return of the one before it, "
        f"with one look at the clock for each, which all have to pay for. The longest is the median of the rounds' "
        f"longest; 5 ms of it are the interpreter's, which lets a thread that works run for so long. Bytes: the most "
        f"allocated while a snapshot is taken and gone through, for each of {held:,} held. Added, lost, doubled: in "
        f"all rounds together, by serial numbers among what completed replays have seen and what is live.",
        (*columns, weight, "added", "lost", "doubled"),
        lines,
        drawn=("adds/s", "longest add", "lost", weight),
        notes=NOTES,
    )


def _column(each: list[Outcome], ours: list[Outcome], what: str, unit: str) -> Figure:
    own = [getattr(one, what) for one in ours]
    return figure([getattr(one, what) for one in each], None if each is ours else own, unit)


class Contest:
    """A run in which one thread adds while another replays; every second time each third replay fails.

    Parameters:
        make: makes the buffer.
        seconds: for how long to add.

    Attributes:
        outcomes: what came of each run so far.
    """

    def __init__(self, make: Callable[[], Replayable], seconds: float) -> None:
        self._make, self._seconds = make, seconds
        self._add = own_copy(add_until)
        self.outcomes: list[Outcome] = []

    def __call__(self) -> float:
        buffer, latencies, replayed = self._make(), array("d"), array("q")
        buffer.add_measurement(USER, 0)
        began = perf_counter()
        end = began + self._seconds
        replaying = Thread(target=replay_until, args=(buffer, end, len(self.outcomes) % 2 == 1, replayed))
        replaying.start()
        self._add(buffer.add_measurement, end, latencies)
        taken = perf_counter() - began
        replaying.join()
        accounted = replayed.tolist() + buffer.live(USER)
        added, distinct, adds = len(latencies) + 1, len(set(accounted)), len(latencies)
        ordered = sorted(latencies)
        self.outcomes.append(
            Outcome(
                adds / taken,
                ordered[adds // 2],
                ordered[adds * 99 // 100],
                ordered[-1],
                added,
                added - distinct,
                len(accounted) - distinct,
            )
        )
        return taken / adds


def add_until(add: Callable[[str, Any], object], end: float, latencies: "array[float]") -> None:
    """Add the numbers from 1 on until then, and at least one; how long each took is noted."""
    clock, note = perf_counter, latencies.append
    last = clock()
    for serial in count(1):
        add(USER, serial)
        now = clock()
        note(now - last)
        last = now
        if now >= end:
            return


def replay_until(buffer: Replayable, end: float, fails: bool, replayed: "array[int]") -> None:
    """Replay one window after another until then, and note what completed replays have seen."""
    for number in count(1):
        window = buffer.snapshot(USER)
        try:
            seen = replay(window, fails and number % 3 == 0)
        except ReplayFailedError:
            buffer.abort(USER)
        else:
            buffer.complete(USER)
            replayed += seen
        if perf_counter() >= end:
            return


class ReplayFailedError(Exception):
    """A replay fails as it was told to."""


def replay(window: Any, fails: bool) -> "array[int]":
    """Go through the window, and take a while."""
    seen = array("q")
    for serial in window:
        seen.append(serial)
    sleep(REPLAY)
    if fails:
        raise ReplayFailedError
    return seen


def _bytes(make: Callable[[], Replayable], held: int) -> int:
    """The most that is allocated while a snapshot is taken and gone through, the measurements not counted."""
    measurements = [float(number) for number in range(held)]
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        buffer = make()
        for measurement in measurements:
            buffer.add_measurement(USER, measurement)
        tracemalloc.reset_peak()
        window = buffer.snapshot(USER)
        assert sum(1 for _ in window) == held
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def _snapshots(scale: Scale) -> Curve:
    lines: dict[str, dict[int, Figure]] = {name: {} for name in ALTERNATIVES}
    for size in scale.windows:
        times = alternated({name: _snapshot(make(), size) for name, make in ALTERNATIVES.items()}, scale.few_rounds)
        for name, each in times.items():
            lines[name][size] = figure(each, None if name == HOLDOVER else times[HOLDOVER])
    return Curve(
        "Taking a snapshot",
        "In memory, nobody else adds. A copy is made under the lock, so that adds wait for it. That of the lock is the "
        "time to take it, after which adds wait for the whole replay. holdover records two events, which is what makes "
        "a snapshot that takes too long expire and a late replay be refused; the others know neither. Each takes three "
        "untimed ones before, since a copy of a million measurements leaves nothing else in the processor's caches.",
        "buffered measurements",
        lines,
    )


def _snapshot(buffer: Replayable, size: int) -> Run:
    buffer.add_measurement(USER, 0.0)
    buffer.add_measurements(USER, [float(number) for number in range(1, size)])

    def run() -> float:
        for _ in range(3):  # so that others' copies are not what is left in the processor's caches
            buffer.snapshot(USER)
            buffer.abort(USER)
        held: list[object] = []  # a copy is not given back while the clock runs
        taken = timed(lambda: held.append(buffer.snapshot(USER)))
        buffer.abort(USER)
        return taken

    return run
