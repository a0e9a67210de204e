"""What being watched costs: adds and replays of an instrumented buffer, and reading its figures."""

from collections.abc import Iterator
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from benchmarks.adding import BOUND, _adds, _work
from benchmarks.measuring import Row, Run, Scale, alternated, compared, paired, timed
from statemachine import ReplayBuffer
from statemachine.otel import instrument

MOST_RATIO = 1.05
MOST_SECONDS = 2e-6
"""For each user, of a reading: two seconds for a million."""


def metering(scale: Scale) -> Iterator[Row]:
    """The rows about `metrics()` and `instrument`. Logging is at its default: silent."""
    users = [f"user-{number}" for number in range(scale.users)]
    firsts, below = _work(users, 1), _work(users, BOUND - 2)
    yield paired(
        f"add, below the bound, instrumented ({len(users)} users)",
        _adds(_instrumented, firsts, below),
        "the same, not instrumented",
        _adds(ReplayBuffer, firsts, below),
        scale.rounds,
        MOST_RATIO,
    )
    yield paired(
        "begin, finalize, complete, instrumented",
        _replays(_instrumented, users),
        "the same, not instrumented",
        _replays(ReplayBuffer, users),
        scale.few_rounds,
    )
    runs = {str(count): _reads(count) for count in scale.populations}
    times = alternated(runs, scale.few_rounds)
    smallest = scale.populations[0]
    for count in scale.populations:
        yield compared(
            f"metrics() of {count:,} users",
            times[str(count)],
            f"of {smallest:,}",
            times[str(smallest)],
            most=count * MOST_SECONDS,
        )


def _instrumented() -> ReplayBuffer[Any]:
    """A buffer and a reader that nobody asks while it is timed."""
    buffer: ReplayBuffer[Any] = ReplayBuffer()
    instrument(buffer, MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    return buffer


def _replays(make: Any, users: list[str]) -> Run:
    def run() -> float:
        buffer = make()
        for user in users:
            buffer.add_measurement(user, 81.5)

        def replay_all() -> None:
            for user in users:
                version = buffer.begin_snapshot(user)
                buffer.finalize_snapshot(user, version)
                buffer.complete_replay(user, version)

        return timed(replay_all) / len(users)

    return run


def _reads(count: int) -> Run:
    buffer: ReplayBuffer[float] = ReplayBuffer()
    for number in range(count):
        buffer.add_measurements(f"user-{number}", [81.5, 81.7])
        buffer.add_measurement(f"user-{number}", 81.6)
    return lambda: timed(buffer.metrics)
