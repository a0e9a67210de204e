"""What adding costs: below the bound, at it, during a replay, with a hook, and many at once."""

from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from time import perf_counter
from typing import Any

from benchmarks.lossy import LossyBuffer
from benchmarks.measuring import Row, Run, Scale, own_copy, paired, timed
from statemachine import BufferConfig, ReplayBuffer

MOST_RATIO = 1.25

MOST_USUAL_RATIO = 1.05
"""The same of the add that happens nearly always."""

AGAINST = "lossy buffer"
BOUND = BufferConfig().max_measurements

Add = Callable[[str, Any], object]
Work = Sequence[tuple[str, float]]


def adding(scale: Scale) -> Iterator[Row]:
    """The rows about `add_measurement` and `add_measurements`."""
    users = [f"user-{number}" for number in range(scale.users)]
    firsts = _work(users, 1)
    below = _work(users, BOUND - 2)
    rounds = scale.rounds
    yield paired(
        f"add, below the bound ({len(users)} users)",
        _adds(ReplayBuffer, firsts, below),
        AGAINST,
        _adds(LossyBuffer, firsts, below),
        rounds,
        MOST_USUAL_RATIO,
    )
    few = users[: len(users) // 10 + 1]
    filled = _work(few, BOUND + 1)
    beyond = _work(few, 30 * BOUND)  # long enough for what is done once in a few hundred adds to have its share
    yield paired(
        "add, at the bound (each evicts the oldest)",
        _adds(ReplayBuffer, filled, beyond),
        AGAINST,
        _adds(LossyBuffer, filled, beyond),
        rounds,
        MOST_RATIO,
    )
    frozen, pending = _work(users, BOUND // 5), _work(users, BOUND // 2)
    yield paired(
        "add, while a replay is in progress (pending)",
        _adds(lambda: _replaying(frozen, users), [], pending),
        AGAINST,
        _adds(LossyBuffer, frozen, pending),
        rounds,
        MOST_RATIO,
    )
    yield from _slow_path(scale, users)
    yield from _batches(scale)


def _slow_path(scale: Scale, users: list[str]) -> Iterator[Row]:
    """Where every add is decided. There is no target for these; they are here so that nobody has to guess."""
    rounds = scale.few_rounds
    filled, beyond = _work(users[:20], BOUND + 1), _work(users[:20], BOUND // 2)
    yield paired(
        "add, at the bound with an on_evict hook",
        _adds(lambda: ReplayBuffer(on_evict=lambda user_id, evicted: None), filled, beyond),
        AGAINST,
        _adds(LossyBuffer, filled, beyond),
        rounds,
    )
    few = _work(users[:20], BOUND)
    yield paired(
        "add, with a bound over all users, below it",
        _adds(lambda: ReplayBuffer(config=BufferConfig(max_total_measurements=10**9)), [], few),
        AGAINST,
        _adds(LossyBuffer, [], few),
        rounds,
    )
    yield paired(
        "add, with a bound over all users, at it",
        _adds(lambda: ReplayBuffer(config=BufferConfig(max_total_measurements=BOUND)), filled[:BOUND], few),
        AGAINST,
        _adds(LossyBuffer, filled[:BOUND], few),
        rounds,
    )
    firsts = _work(users, 1)
    yield paired(
        "add, a user's very first", _adds(ReplayBuffer, [], firsts), AGAINST, _adds(LossyBuffer, [], firsts), rounds
    )
    window = _work(users, BOUND)
    yield paired(
        f"add, a user's first {BOUND}, the very first included",
        _adds(ReplayBuffer, [], window),
        AGAINST,
        _adds(LossyBuffer, [], window),
        rounds,
    )


def _batches(scale: Scale) -> Iterator[Row]:
    batch = [float(number) for number in range(scale.batch)]
    times = 20
    most = (times + 2) * len(batch)
    yield paired(
        f"add_measurements of {len(batch)}, one such call",
        _extends(lambda: ReplayBuffer(config=BufferConfig(max_measurements=most)), batch, times),
        "list.extend under the lock",
        _extends(lambda: LossyBuffer(most), batch, times),
        scale.rounds,
        MOST_RATIO,
    )
    yield paired(
        f"add_measurements of {len(batch)} to a bound of {BOUND}, one such call",
        _extends(ReplayBuffer, batch, 2),
        "list.extend under the lock",
        _extends(LossyBuffer, batch, 2),
        scale.few_rounds,
    )


def _work(users: list[str], each: int) -> Work:
    """`each` measurements for every user, the users in turn."""
    return [(user, float(number)) for number, user in enumerate(islice(cycle(users), each * len(users)))]


def _replaying(frozen: Work, users: list[str]) -> ReplayBuffer[float]:
    """A buffer in which every user has frozen measurements and a replay in progress."""
    buffer: ReplayBuffer[float] = ReplayBuffer()
    for user, measurement in frozen:
        buffer.add_measurement(user, measurement)
    for user in users:
        buffer.begin_snapshot(user)
        buffer.finalize_snapshot(user)
    return buffer


def add_all(add: Add, work: Work) -> float:
    """Add everything; seconds an add."""
    start = perf_counter()
    for user_id, measurement in work:
        add(user_id, measurement)
    return (perf_counter() - start) / len(work)


def _adds(make: Callable[[], Any], before: Work, work: Work) -> Run:
    """A run that makes a fresh buffer, adds some measurements and then, timed, the others."""
    fill, drive = own_copy(add_all), own_copy(add_all)

    def run() -> float:
        buffer = make()
        if before:
            fill(buffer.add_measurement, before)
        return float(drive(buffer.add_measurement, work))

    return run


def _extends(make: Callable[[], Any], batch: list[float], times: int) -> Run:
    def run() -> float:
        buffer = make()
        buffer.add_measurement("ann", 0.0)
        return timed(lambda: [buffer.add_measurements("ann", batch) for _ in range(times)]) / times

    return run
