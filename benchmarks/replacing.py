"""What adding to the drop-in costs, beside the class it takes the place of, written in the obvious way."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import cycle, islice
from time import perf_counter
from typing import Any

from benchmarks.measuring import Row, Run, Scale, own_copy, paired
from benchmarks.plain import PlainBuffer
from statemachine.compat import ReplayBuffer

MOST_RATIO = 0.5
AGAINST = "plain class"
BOUND = 100

Work = list[tuple[str, dict[str, Any]]]


def replacing(scale: Scale) -> Iterator[Row]:
    """The rows about `statemachine.compat.ReplayBuffer.add_measurement`."""
    users = [f"user-{number}" for number in range(scale.users // 20 + 1)]
    for kind, zone in (("aware", UTC), ("naive", None)):
        window = _work(users, BOUND, zone)
        yield paired(
            f"drop-in: add, a window from empty to {BOUND}, {kind} timestamps",
            _adds(ReplayBuffer, [], window),
            AGAINST,
            _adds(PlainBuffer, [], window),
            scale.rounds,
            MOST_RATIO,
        )
        filled, beyond = _work(users, BOUND + 1, zone), _work(users, 3 * BOUND, zone)
        yield paired(
            f"drop-in: add, at the bound of {BOUND}, {kind} timestamps",
            _adds(ReplayBuffer, filled, beyond),
            AGAINST,
            _adds(PlainBuffer, filled, beyond),
            scale.rounds,
            MOST_RATIO,
        )


def _work(users: list[str], each: int, zone: tzinfo | None) -> Work:
    """`each` measurements for every user, the users in turn, a minute from one to the next, every third late."""
    first = datetime.now(zone) - timedelta(hours=48)
    work = []
    for number, user in enumerate(islice(cycle(users), each * len(users))):
        minutes = number - 5 if number % 3 == 0 else number
        measurement = {
            "weight": 80 + number % 7 / 10,
            "timestamp": first + timedelta(minutes=minutes / len(users)),
            "source": "scale",
            "unit": "kg",
            "metadata": {"device": "a", "firmware": {"major": 1}},
        }
        work.append((user, measurement))
    return work


def add_all(add: Any, work: Work) -> float:
    """Add everything; seconds an add."""
    start = perf_counter()
    for user_id, measurement in work:
        add(user_id, measurement)
    return (perf_counter() - start) / len(work)


def _adds(make: Any, before: Work, work: Work) -> Run:
    """A run that makes a fresh buffer, adds some measurements and then, timed, the others."""
    fill, drive = own_copy(add_all), own_copy(add_all)

    def run() -> float:
        buffer = make()
        if before:
            fill(buffer.add_measurement, before)
        return float(drive(buffer.add_measurement, work))

    return run
