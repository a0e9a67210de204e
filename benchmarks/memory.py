"""What is held in memory beside the measurements themselves, as `tracemalloc` counts it."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.lossy import LossyBuffer
from benchmarks.measuring import Row, Scale
from statemachine import BufferConfig, ReplayBuffer

MOST_PER_MEASUREMENT = 16.0
MOST_PER_IDLE_USER = 1536.0
BOUND = BufferConfig().max_measurements
AGAINST = "lossy buffer"


def memory(scale: Scale) -> Iterator[Row]:
    """The rows about memory. Measurements and user ids exist before the counting starts, so they do not count."""
    users = [f"user-{number}" for number in range(scale.idle_users)]
    few = users[: len(users) // 5 + 1]
    measurements = [float(number) for number in range(scale.long)]
    yield _weighed(
        f"a buffered measurement, {scale.long:,} of one user",
        lambda: ReplayBuffer(config=BufferConfig(max_measurements=scale.long)),
        lambda: LossyBuffer(scale.long),
        lambda buffer: _fill(buffer, ["ann"], measurements),
        scale.long,
        MOST_PER_MEASUREMENT,
    )
    yield _weighed(
        f"a buffered measurement, {len(users):,} users x {BOUND} (with the user's share)",
        ReplayBuffer,
        LossyBuffer,
        lambda buffer: _fill(buffer, users, measurements[:1] * BOUND),
        len(users) * BOUND,
        MOST_PER_MEASUREMENT + MOST_PER_IDLE_USER / BOUND,
    )
    yield _weighed(
        "the same at the bound, evicting, averaged over time",
        ReplayBuffer,
        LossyBuffer,
        lambda buffer: _fill_beyond(buffer, few),
        len(few) * BOUND,
        MOST_PER_MEASUREMENT + MOST_PER_IDLE_USER / BOUND,
    )
    for what, prepare in (("replayed and empty", _replayed), ("one measurement", _one)):
        yield _weighed(
            f"an idle user, {what}", ReplayBuffer, LossyBuffer, prepare(users), len(users), MOST_PER_IDLE_USER
        )


def _weighed(
    what: str,
    make: Callable[[], Any],
    make_yardstick: Callable[[], Any],
    fill: Callable[[Any], None],
    count: int,
    most: float,
) -> Row:
    ours, theirs = _bytes(make, fill) / count, _bytes(make_yardstick, fill) / count
    return Row(what, "B", ours, AGAINST, theirs, ratio=ours / theirs if theirs else None, most=most)


def _bytes(make: Callable[[], Any], fill: Callable[[Any], None]) -> int:
    """How much more is allocated after a buffer was made and filled than before."""
    gc.collect()
    tracemalloc.start()
    try:
        buffer = make()
        before = tracemalloc.get_traced_memory()[0]
        fill(buffer)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def _fill(buffer: Any, users: list[str], measurements: Sequence[float]) -> None:
    for user in users:
        for measurement in measurements:
            buffer.add_measurement(user, measurement)


def _fill_beyond(buffer: Any, users: list[str]) -> None:
    """Each user has had a different number of evictions, so that all stages between two truncations are there."""
    for number, user in enumerate(users):
        _fill(buffer, [user], [81.5] * (3 * BOUND + number % (5 * BOUND)))


def _one(users: list[str]) -> Callable[[Any], None]:
    return lambda buffer: _fill(buffer, users, [81.5])


def _replayed(users: list[str]) -> Callable[[Any], None]:
    """Every user had some measurements, which were replayed."""

    def fill(buffer: Any) -> None:
        _fill(buffer, users, [81.5] * 10)
        for user in users:
            if isinstance(buffer, LossyBuffer):
                buffer.clear(user)
            else:
                with buffer.snapshot(user):
                    pass

    return fill
