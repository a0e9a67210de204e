"""Whether two threads on different users slow each other down more than the interpreter makes them."""

from collections.abc import Callable, Iterator
from threading import Barrier, Thread
from typing import Any

from benchmarks.adding import Add, add_all
from benchmarks.lossy import LossyBuffer
from benchmarks.measuring import Row, Run, Scale, alternated, compared, own_copy, timed
from statemachine import BufferConfig, ReplayBuffer

MOST_RATIO = 1.1
"""Ratio of two ratios, which ought to be 1; the rest is for noise."""

USERS = ("ann", "bob")


class Unlocked:
    """A plain class that does about as much as a buffer's add and shares nothing between users."""

    def __init__(self, most: int) -> None:
        self._buffers: dict[str, list[Any]] = {user: [] for user in USERS}
        self._most, self._start = most, 0

    def add_measurement(self, user_id: str, measurement: Any) -> int | None:
        try:
            items = self._buffers[user_id]
        except KeyError:
            return None
        length = len(items)
        if self._start is None or length < self._most:
            items.append(measurement)
            return self._start + length
        return None


def threads(scale: Scale) -> Iterator[Row]:
    """The rows about two threads: what two take for the work that one does in the time of the yardstick."""
    most = 2 * scale.thread_adds + 2
    makers: dict[str, Callable[[], Any]] = {
        "holdover": lambda: ReplayBuffer(config=BufferConfig(max_measurements=most)),
        "lossy": lambda: LossyBuffer(most),
        "plain": lambda: Unlocked(most),
    }
    runs: dict[str, Run] = {}
    for name, make in makers.items():
        runs[f"{name} one"] = _run(make, scale.thread_adds, both_in_one=True)
        runs[f"{name} two"] = _run(make, scale.thread_adds, both_in_one=False)
    times = alternated(runs, scale.few_rounds)
    slowdown = {
        name: [two / one for two, one in zip(times[f"{name} two"], times[f"{name} one"], strict=True)]
        for name in makers
    }
    for against, name, most_ratio in (
        ("a plain method without locks", "plain", MOST_RATIO),
        ("lossy buffer", "lossy", None),
    ):
        yield compared(
            "two threads, different users / one thread, same work",
            slowdown["holdover"],
            against,
            slowdown[name],
            unit="x",
            most_ratio=most_ratio,
        )


def _run(make: Callable[[], Any], adds: int, *, both_in_one: bool) -> Run:
    own = own_copy(add_all)
    shares = [[(user, 81.5)] * adds for user in USERS]
    parts = [[*shares[0], *shares[1]]] if both_in_one else shares

    def run() -> float:
        buffer = make()
        for user in USERS:
            buffer.add_measurement(user, 81.5)
        return _together(own, buffer.add_measurement, parts)

    return run


def _together(drive: Callable[..., object], add: Add, parts: list[list[tuple[str, float]]]) -> float:
    """Seconds from the moment when every thread is ready until the last has finished its part."""
    ready = Barrier(len(parts) + 1)

    def work(part: list[tuple[str, float]]) -> None:
        ready.wait()
        drive(add, part)

    workers = [Thread(target=work, args=(part,)) for part in parts]
    for worker in workers:
        worker.start()
    ready.wait()
    return timed(lambda: _join(workers))


def _join(workers: list[Thread]) -> None:
    for worker in workers:
        worker.join()
