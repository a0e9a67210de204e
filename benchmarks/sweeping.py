"""What the sweep costs, by the number of users and of those that are overdue."""

from collections.abc import Iterator

from benchmarks.measuring import Row, Run, Scale, alternated, compared, timed
from statemachine import ReplayBuffer

SAME = 1.5
"""What counts as "the same": a heap of a hundred times as many is a little deeper, and colder."""

LATER = 1e9


def sweeping(scale: Scale) -> Iterator[Row]:
    """The rows about `expire_overdue`. Every user has a snapshot in progress, so that every one is waited for."""
    smallest = scale.populations[0]
    populations = {count: Population(count) for count in scale.populations}
    for overdue in (0, scale.overdue):
        runs: dict[str, Run] = {str(count): each.sweep(overdue) for count, each in populations.items()}
        times = alternated(runs, scale.few_rounds)
        for count in scale.populations:
            yield compared(
                f"expire_overdue, {overdue} overdue of {count:,} users",
                times[str(count)],
                f"the same, of {smallest:,}",
                times[str(smallest)],
                most_ratio=SAME,
            )


class Population:
    """A buffer with many users, each with a snapshot in progress whose deadline is far away."""

    def __init__(self, count: int) -> None:
        self.now = LATER
        self.buffer: ReplayBuffer[float] = ReplayBuffer(clock=lambda: self.now)
        self.users = [f"user-{number}" for number in range(count)]
        for user in self.users:
            self.buffer.add_measurement(user, 81.5)
            self.buffer.begin_snapshot(user)
        self.now = 0.0

    def sweep(self, overdue: int) -> Run:
        """A run that lets some snapshots become overdue and then, timed, sweeps."""
        chosen = self.users[:: max(1, len(self.users) // max(1, overdue))][:overdue]
        for user in chosen:
            self.buffer.abort_snapshot(user)

        def run() -> float:
            for user in chosen:
                self.buffer.begin_snapshot(user)
            self.now += self.buffer.config.snapshot_timeout
            return timed(self.buffer.expire_overdue)

        return run
