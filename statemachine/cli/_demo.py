"""`holdover demo`: the lost update, seen beside a buffer that has none. Must not know the other commands."""

import time
from array import array
from collections.abc import Callable
from statistics import quantiles
from threading import Event, RLock, Thread
from typing import Protocol

import click
from attrs import define, field
from rich.text import Text

from statemachine import BufferConfig, ReplayBuffer, ReplayManager
from statemachine.cli._command import OneLineCommand, number
from statemachine.cli._show import console, count, plural, progress, table

USER = "ann"


class LossyBuffer:
    """The usual buffer: one lock, a list for each user. It is correct in every line, and loses all the same."""

    def __init__(self, max_measurements: int) -> None:
        self._lock = RLock()
        self._windows: dict[str, list[int]] = {}
        self._max_measurements = max_measurements

    def add_measurement(self, user_id: str, measurement: int) -> None:
        """Add one; the oldest goes if there is no room."""
        with self._lock:
            window = self._windows.setdefault(user_id, [])
            window.append(measurement)
            if len(window) > self._max_measurements:
                window.pop(0)

    def get(self, user_id: str) -> list[int]:
        """What is there now."""
        with self._lock:
            return list(self._windows.get(user_id, ()))

    def clear(self, user_id: str) -> None:
        """Drop what is there now. Which is not what `get` returned."""
        with self._lock:
            self._windows[user_id] = []


class Adding(Protocol):
    """A buffer that measurements are added to."""

    def add_measurement(self, user_id: str, measurement: int, /) -> object: ...  # pragma: no cover


@define(eq=False)
class Side:
    """One of the two buffers, with a producer and a replayer of its own.

    Attributes:
        name: what it is called.
        buffer: the buffer.
        replay: replays once, and returns how many measurements that were.
        buffered: how many are in the buffer.
        replayed: how many were replayed so far.
        durations: how long each add took, in nanoseconds.
    """

    name: str
    buffer: Adding
    replay: Callable[[], int]
    buffered: Callable[[], int]
    replayed: int = 0
    durations: "array[int]" = field(factory=lambda: array("q"))

    @property
    def added(self) -> int:
        """How many were added so far."""
        return len(self.durations)

    @property
    def lost(self) -> int:
        """How many are neither replayed nor in the buffer."""
        return self.added - self.replayed - self.buffered()

    def percentiles(self) -> tuple[float, float]:
        """The median and the 99th percentile of an add, in microseconds."""
        cuts = quantiles(self.durations, n=100, method="inclusive")
        return cuts[49] / 1000, cuts[98] / 1000


def lossy_side(capacity: int, work: Callable[[], object]) -> Side:
    """The usual buffer, replayed in the usual way."""
    buffer = LossyBuffer(capacity)

    def replay() -> int:
        window = buffer.get(USER)
        work()
        buffer.clear(USER)
        return len(window)

    return Side("the usual", buffer, replay, lambda: len(buffer.get(USER)))


def holdover_side(capacity: int, work: Callable[[], object], replay_seconds: float) -> Side:
    """A `ReplayBuffer`, replayed by a `ReplayManager`."""
    config = BufferConfig(max_measurements=capacity, replay_timeout=60 + 2 * replay_seconds)
    buffer = ReplayBuffer[int](config=config)
    manager = ReplayManager(buffer, lambda _frozen: work())
    return Side("holdover", buffer, lambda: manager.replay_user(USER).measurements, lambda: buffer.state(USER).live)


def produce(
    side: Side,
    total: int,
    rate: float,
    first: Event,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Add `total` measurements, the n-th one n / rate seconds after the start, however long each takes.

    Parameters:
        side: the buffer.
        total: how many.
        rate: how many per second.
        first: set when the first one is in.
        clock, sleep: the time, in seconds.
    """
    add, now, durations = side.buffer.add_measurement, time.perf_counter_ns, side.durations
    start = clock()
    for measurement in range(total):
        ahead = start + measurement / rate - clock()
        if ahead > 0:
            sleep(ahead)
        begun = now()
        add(USER, measurement)
        durations.append(now() - begun)
        first.set()


def compete(side: Side, total: int, rate: float, pause: float) -> Thread:
    """Start the side's producer, and beside it a replayer that pauses (seconds) and replays until all is added."""
    first = Event()
    producer = Thread(target=produce, args=(side, total, rate, first), daemon=True)

    def replay_meanwhile() -> None:
        producer.start()
        first.wait()
        producer.join(pause)
        while producer.is_alive():
            side.replayed += side.replay()
            producer.join(pause)

    replayer = Thread(target=replay_meanwhile, daemon=True)
    replayer.start()
    return replayer


@click.command(cls=OneLineCommand)
@click.option("--seconds", type=number, default=3.0, show_default=True, help="How long measurements are added.")
@click.option("--rate", type=number, default=1000.0, show_default=True, help="How many per second, to each buffer.")
@click.option("--replay-seconds", type=number, default=1.0, show_default=True, help="How long each replay takes.")
def demo(seconds: float, rate: float, replay_seconds: float) -> None:
    """See the lost update: the usual buffer and holdover side by side, under the same load.

    Two threads add measurements at the same rate, one to the usual buffer (get the window, replay it, clear the
    buffer), one to holdover's. Beside each a replay runs, again and again, with a pause of the same length before
    it. Then it is counted what became of the measurements.
    """
    total = max(2, int(seconds * rate))

    def work() -> None:
        time.sleep(replay_seconds)

    sides = [lossy_side(total, work), holdover_side(total, work, replay_seconds)]
    watch(sides, total, rate, replay_seconds)
    show(sides)


def watch(sides: list[Side], total: int, rate: float, pause: float) -> None:
    """Run the sides against each other, and show how far they are."""
    with progress() as bars:
        task = bars.add_task("Adding, replays beside", total=total * len(sides))
        threads = [compete(side, total, rate, pause) for side in sides]
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
                bars.update(task, completed=sum(side.added for side in sides))


def show(sides: list[Side]) -> None:
    """A table of what became of the measurements, and the same in words."""
    screen = console()
    grid = table("buffer", "added", "replayed", "buffered", "lost", "add p50", "add p99")
    for side in sides:
        median, slowest = (f"{duration:,.1f} µs" for duration in side.percentiles())
        grid.add_row(
            Text(side.name),
            count(side.added),
            count(side.replayed, "green"),
            count(side.buffered(), "yellow"),
            Text(f"{side.lost:,}", style="bold red" if side.lost else "bold green"),
            median,
            slowest,
        )
    screen.print(grid)
    screen.print(Text(moral(*sides)))


def moral(lossy: Side, holdover: Side) -> str:
    """What one sees, in a sentence.

    Parameters:
        lossy: the usual buffer.
        holdover: the other one.
    """
    if not lossy.lost:
        return "Neither buffer lost anything this time: nothing arrived during a replay. Try longer ones."
    return (
        f"The usual buffer lost {plural(lossy.lost, 'measurement')} of {lossy.added:,} "
        f"({lossy.lost / lossy.added:.0%}): whatever arrived during a replay was wiped by the clear after it. "
        f"holdover, under the same load, lost {holdover.lost or 'none'}."
    )
