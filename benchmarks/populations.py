"""What a call costs by how many users there are: adds, replays, looking who is due, the sweep."""

import gc
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.adding import add_all
from benchmarks.lossy import LossyBuffer
from benchmarks.measuring import Curve, Figure, Run, Scale, alternated, figure, own_copy, timed
from statemachine import BufferConfig, ReplayBuffer
from statemachine import due as policies

LATER = 1e9
"""Seconds until the snapshots that are in progress all the time are overdue."""

RETRIED = LATER / 2
"""The time from which those are due whose replay has failed."""

CONFIG = BufferConfig(max_measurements=10**6, due=policies.Count(10**6) | policies.Age(10 * LATER))

ADDS = 200
REPLAYS = 20
LOOKS = 10
"""How often a run does each of them."""

REPLAYED_EVERY = 10
"""Of so many users one has a snapshot in progress."""

ADD, BEGIN, CYCLE = "holdover, add", "holdover, begin + finalize", "holdover, begin + finalize + complete"
LOSSY_ADD = "lossy buffer, add"


class Population:
    """Buffers with many users, each of whom will be due some time; some have a snapshot in progress.

    Parameters:
        size: how many users.
        overdue: how many of them can be made due, and how many others overdue.
    """

    def __init__(self, size: int, overdue: int) -> None:
        self.now = LATER
        self.buffer: ReplayBuffer[float] = ReplayBuffer(config=CONFIG, clock=lambda: self.now)
        self.lossy = LossyBuffer(CONFIG.max_measurements)
        users = [f"user-{number}" for number in range(size)]
        for user in users:
            self.buffer.add_measurement(user, 81.5)
            self.lossy.add_measurement(user, 81.5)
        for user in users[::REPLAYED_EVERY]:
            self.buffer.begin_snapshot(user)
        self.now = 0.0
        del users[::REPLAYED_EVERY]
        self._overdue, self._retried, self._idle = users[:overdue], users[overdue : 2 * overdue], users[2 * overdue :]
        for user in self._retried:
            self.buffer.begin_snapshot(user)
            self.buffer.abort_snapshot(user)
            self.buffer.schedule_retry(user, RETRIED)

    def runs(self) -> dict[str, Run]:
        """What is timed, by the name of its line."""
        due = f"holdover, ready(), {len(self._retried)} due"
        return {
            ADD: self._adds(self.buffer.add_measurement),
            LOSSY_ADD: self._adds(self.lossy.add_measurement),
            BEGIN: self._begins,
            CYCLE: self._cycles,
            "holdover, ready(), nobody due": self._looks,
            due: self._looks_later,
            "holdover, expire_overdue(), nobody overdue": self._sweeps,
            f"holdover, expire_overdue(), {len(self._overdue)} overdue": self._expires,
        }

    def _some(self, count: int) -> list[str]:
        """Idle users drawn at random, so that they are as cold as those of an application are."""
        return random.choices(self._idle, k=count)

    def _adds(self, add: Callable[[str, float], object]) -> Run:
        own = own_copy(add_all)
        return lambda: own(add, [(user, 81.5) for user in self._some(ADDS)])

    def _begins(self) -> float:
        users = list(dict.fromkeys(self._some(REPLAYS)))

        def begin_all() -> None:
            for user in users:
                self.buffer.begin_snapshot(user)
                self.buffer.finalize_snapshot(user)

        taken = timed(begin_all)
        for user in users:
            self.buffer.abort_snapshot(user)
        return taken / len(users)

    def _cycles(self) -> float:
        users = self._some(REPLAYS)

        def replay_all() -> None:
            for user in users:
                version = self.buffer.begin_snapshot(user)
                self.buffer.finalize_snapshot(user, version).complete()

        taken = timed(replay_all)
        for user in users:
            self.buffer.add_measurement(user, 81.5)  # so that nobody is idle and empty for good
        return taken / len(users)

    def _looks(self) -> float:
        return timed(lambda: [list(self.buffer.ready()) for _ in range(LOOKS)]) / LOOKS

    def _looks_later(self) -> float:
        before, self.now = self.now, RETRIED
        assert len(list(self.buffer.ready())) == len(self._retried)
        taken = self._looks()
        self.now = before
        return taken

    def _sweeps(self) -> float:
        return timed(lambda: [self.buffer.expire_overdue() for _ in range(LOOKS)]) / LOOKS

    def _expires(self) -> float:
        for user in self._overdue:
            self.buffer.begin_snapshot(user)
        self.now += CONFIG.snapshot_timeout
        return timed(self.buffer.expire_overdue)


def by_users(scale: Scale) -> Iterator[Curve]:
    """The curves over the number of users."""
    with _no_collection():
        populations = {size: Population(size, scale.overdue) for size in scale.growing_users}
        runs = {(name, size): run for size, each in populations.items() for name, run in each.runs().items()}
        times = alternated({f"{name} {size}": run for (name, size), run in runs.items()}, scale.rounds)
        del populations
    lines: dict[str, dict[int, Figure]] = {}
    for name, size in runs:
        ours = times[f"{ADD} {size}"] if name == LOSSY_ADD else None
        lines.setdefault(name, {})[size] = figure(times[f"{name} {size}"], ours)
    first = {name: lines.pop(name) for name in (ADD, LOSSY_ADD, BEGIN, CYCLE)}
    drawn = (
        "Who adds or is replayed is drawn at random, so of many users hardly one is still in the processor's caches."
    )
    yield Curve("Adding and replaying, by the number of users", f"In memory. {drawn}", "users", first)
    note = (
        f"In memory. Every user waits to become due, and one of {REPLAYED_EVERY} has a snapshot in progress. Snapshots "
        "that were completed in the meantime have left their deadlines behind, and the sweep clears them away."
    )
    yield Curve("Looking who is due, and sweeping, by the number of users", note, "users", lines)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage is looked for among the many objects that are made here, and that stay for a while."""
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()
