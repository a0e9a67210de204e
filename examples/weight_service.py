"""A small weight-tracking service on holdover: estimates at once, better estimates by replay, state in SQLite.

Every weighing updates an estimate at once, through a simple filter. Now and then a user's window is replayed: in
batches of 20, each in the order of its own times, without what is implausible among the 20. What does not fill a batch
waits in the database for the next replay, so the result does not depend on when replays happen or how often they fail.
Weighings may come late, twice for the same time, or out of order; while a replay runs, others go on arriving.

Run it: python examples/weight_service.py
"""

import json
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from threading import Lock
from typing import Any, NamedTuple

from statemachine import Backoff, BufferConfig, FrozenSnapshot, ReplayBuffer, ReplayManager, due

BATCH = 20
SMOOTHING = 0.1
DAY = 86400.0

SCHEMA = """
pragma journal_mode = wal;
pragma synchronous = normal;
create table if not exists trend (user text primary key, kilograms real, batches integer, rest text);
create table if not exists estimate (user text primary key, kilograms real);
"""


class Weighing(NamedTuple):
    """What a scale sends; `time` is when somebody stood on it, in seconds since the epoch."""

    time: float
    kilograms: float


class Trend(NamedTuple):
    """What replays have made of a user's weighings, and those that wait for their batch to be full."""

    kilograms: float | None = None
    batches: int = 0
    rest: tuple[Weighing, ...] = ()


def smoothed(kilograms: float | None, weighing: Weighing) -> float:
    """The estimate after one more weighing."""
    return weighing.kilograms if kilograms is None else kilograms + SMOOTHING * (weighing.kilograms - kilograms)


def filtered(kilograms: float | None, weighing: Weighing) -> float:
    """The same at once, when nothing is known but the estimate: what is more than a tenth off it is not believed."""
    if kilograms is not None and abs(weighing.kilograms - kilograms) > kilograms / 10:
        return kilograms
    return smoothed(kilograms, weighing)


def plausible(batch: Sequence[Weighing]) -> list[Weighing]:
    """The batch in the order of its times, one for each time (the last that came), without outliers (median rule)."""
    middle = median(weighing.kilograms for weighing in batch)
    spread = median(abs(weighing.kilograms - middle) for weighing in batch)
    by_time = {weighing.time: weighing for weighing in batch if abs(weighing.kilograms - middle) <= 5 * spread + 0.5}
    return sorted(by_time.values())


def replayed(trend: Trend, weighings: Sequence[Weighing]) -> Trend:
    """The trend after more weighings: first these and then those gives what these and those give together."""
    kilograms, batches, rest = trend.kilograms, trend.batches, (*trend.rest, *weighings)
    while len(rest) >= BATCH:
        for weighing in plausible(rest[:BATCH]):
            kilograms = smoothed(kilograms, weighing)
        batches, rest = batches + 1, rest[BATCH:]
    return Trend(kilograms, batches, rest)


class WeightService:
    """Takes weighings, keeps an estimate and a trend for each user, and replays in the background while started.

    Parameters:
        path: the SQLite file.
        options: for the `ReplayManager`, such as `workers`.
    """

    def __init__(self, path: str, *, config: BufferConfig | None = None, clock: Any = None, **options: Any) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.executescript(SCHEMA)
        self._lock = Lock()  # for the connection; never held while a window is worked on
        config = config or BufferConfig(max_measurements=2000, due=due.Count(250) | due.Age(DAY))
        self.buffer: ReplayBuffer[Weighing] = ReplayBuffer(config=config, **({"clock": clock} if clock else {}))
        self.manager = ReplayManager(
            self.buffer, self.replay, take_snapshot=self.trend, restore=self.restore, max_attempts=None, **options
        )

    def add(self, user: str, weighing: Weighing) -> None:
        """Take a weighing: it is estimated at once, and buffered for the next replay."""
        with self._lock, self._database:
            self.buffer.add_measurement(user, weighing)
            self._estimate(user, filtered(self._estimated(user), weighing))

    def replay(self, frozen: FrozenSnapshot[Weighing]) -> None:
        """Work through what was frozen; weighings go on arriving meanwhile."""
        user = frozen.user_id
        self.save(user, replayed(self.trend(user), list(frozen)), self.buffer.pending)

    def restore(self, user: str, trend: Trend) -> None:
        """Go back to the trend before a replay that failed; what it worked on is still in the buffer."""
        self.save(user, trend, self.buffer.measurements)

    def replay_due(self) -> None:
        """Replay whoever is due now, in this thread; `manager.start()` does so in others."""
        for user in self.buffer.ready():
            self.manager.replay_user(user)

    def trend(self, user: str) -> Trend:
        """What the replays so far have made of the user's weighings."""
        with self._lock:
            row = self._database.execute("select kilograms, batches, rest from trend where user = ?", [user]).fetchone()
        return Trend(row[0], row[1], tuple(Weighing(*pair) for pair in json.loads(row[2]))) if row else Trend()

    def save(self, user: str, trend: Trend, since: Callable[[str], list[Weighing]]) -> None:
        """Keep the trend, and estimate anew from it and from what is not in it."""
        with self._lock, self._database:
            row = (user, trend.kilograms, trend.batches, json.dumps(trend.rest))
            self._database.execute("insert or replace into trend values (?, ?, ?, ?)", row)
            kilograms = trend.kilograms
            for weighing in (*trend.rest, *since(user)):
                kilograms = filtered(kilograms, weighing)
            self._estimate(user, kilograms)

    def estimate(self, user: str) -> float | None:
        """The user's weight in kilograms, as well as it is known now."""
        with self._lock:
            return self._estimated(user)

    def finish(self) -> None:
        """Replay what is left, due or not, until that has succeeded, and close the database."""
        for user in self.buffer.users():
            while self.buffer.size(user):
                self.manager.replay_user(user)
        self._database.close()

    def _estimated(self, user: str) -> float | None:
        row = self._database.execute("select kilograms from estimate where user = ?", [user]).fetchone()
        return row[0] if row else None

    def _estimate(self, user: str, kilograms: float | None) -> None:
        self._database.execute("insert or replace into estimate values (?, ?)", [user, kilograms])


def generated(seed: int, users: int = 5, each: int = 300) -> Iterator[tuple[str, Weighing]]:
    """Weighings as scales send them: some late, some twice for the same time, some out of order, some nonsense."""
    chance = random.Random(seed)
    for number in range(each):
        for place in range(users):
            time = number * DAY / 2 - chance.choice([0, 0, 0, 0, DAY, 10 * DAY]) + chance.choice([0, 0, -DAY / 2])
            kilograms = 60 + 7 * place + number / 100 + chance.gauss(0, 0.3)
            yield f"user-{place}", Weighing(time, round(kilograms * chance.choice([1] * 19 + [2.2]), 2))


def main() -> None:
    """Feed the service while it replays in two threads, and show what it knows in the end."""
    service = WeightService(":memory:", workers=2, poll_interval=0.01, backoff=Backoff(first=0.01))
    with service.manager:
        for user, weighing in generated(seed=1):
            service.add(user, weighing)
    for user in service.buffer.users():
        service.manager.replay_user(user)
        trend = service.trend(user)
        print(f"{user}: {service.estimate(user):.2f} kg after {trend.batches} batches; {service.buffer.audit(user)}")
    service.finish()


if __name__ == "__main__":
    main()
