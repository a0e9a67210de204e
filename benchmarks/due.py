"""What asking who is due costs, by the number of users and of those that are due."""

from collections.abc import Iterator

from benchmarks.measuring import Row, Run, Scale, alternated, compared, timed
from statemachine import BufferConfig, ReplayBuffer
from statemachine import due as policies

SAME = 1.5
"""What counts as "the same": a heap of a hundred times as many is a little deeper, and colder."""

MOST_SECONDS = 1e-3
"""How long a manager may take to find out that there is nothing to do."""

MANY = 1_000_000
"""How many users there are in a full run, beside a few and the usual many."""

CONFIG = BufferConfig(due=policies.Count(2) & (policies.Count(100) | policies.Age(60)))


def due(scale: Scale) -> Iterator[Row]:
    """The rows about `ready`. Every user has two measurements, so that every one is waited for."""
    few, many = scale.populations[0], scale.populations[-1]
    sizes = (few, many, MANY) if many >= 100_000 else (few, many)
    populations = {size: Population(size) for size in sizes}
    yield from _rows(populations, sizes, 0, scale.few_rounds, MOST_SECONDS)
    yield from _rows(populations, (few, many), scale.overdue, scale.few_rounds, None)


def _rows(
    populations: "dict[int, Population]", sizes: tuple[int, ...], due_ones: int, rounds: int, most: float | None
) -> Iterator[Row]:
    runs: dict[str, Run] = {str(size): populations[size].look(due_ones) for size in sizes}
    times = alternated(runs, rounds)
    for size in sizes:
        yield compared(
            f"ready, {due_ones} due of {size:,} users",
            times[str(size)],
            f"the same, of {sizes[0]:,}",
            times[str(sizes[0])],
            most_ratio=SAME,
            most=most,
        )


class Population:
    """A buffer with many users, each of whom will be due some time, and none yet."""

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.buffer: ReplayBuffer[float] = ReplayBuffer(config=CONFIG, clock=lambda: self.now)
        self.users = [f"user-{number}" for number in range(count)]
        for user in self.users:
            self.buffer.add_measurements(user, [81.5, 81.7])

    def look(self, due_ones: int) -> Run:
        """A run that, timed, goes through whoever is ready, where so many are."""
        chosen = self.users[:: max(1, len(self.users) // max(1, due_ones))][:due_ones]
        for user in chosen:
            self.buffer.begin_snapshot(user)
            self.buffer.abort_snapshot(user)
            self.buffer.schedule_retry(user, self.now)

        def run() -> float:
            return timed(lambda: list(self.buffer.ready()))

        assert len(list(self.buffer.ready())) == due_ones
        return run
