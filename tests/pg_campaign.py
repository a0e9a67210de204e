"""Processes that add to and replay from one PostgreSQL server, and what must hold of their results in the end.

Must not know who kills or pauses them. They are forked by a driver, as those of `killing`.
"""

import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from random import Random
from threading import Event, Thread, local
from typing import Any

import psycopg
from attrs import Factory, define, frozen
from killing import IDLE, PATIENCE, Worker

from events import LogError, OutcomeUnknownError, PostgresLog
from statemachine import Backoff, BufferConfig, BufferFullError, ReplayBuffer, ReplayManager, StaleSnapshotError, due

USERS = ("ann", "bob", "cyd", "dan", "eve")
THREADS = 2
"""How many threads a process replays with."""

COMPUTING, WRITTEN, COMPLETING, COMMITTING = range(IDLE + 1, IDLE + 5)
"""Where a replay is."""

BEFORE_COMPLETING = (COMPUTING, WRITTEN)
"""Where it does not hold its user yet, so that others can take the user over."""

ADDED, UNKNOWN, REFUSED = "added", "unknown", "refused"
"""What a call of an adder has come to: it returned, raised `OutcomeUnknownError`, or said that nothing was recorded."""

HOUR = 3600

LEVELS = [psycopg.IsolationLevel.READ_COMMITTED] * 4 + [psycopg.IsolationLevel.SERIALIZABLE]
"""Of the application's transactions; the last fails wherever its user gets a measurement meanwhile."""

EACH = 10**6
"""More than any process adds."""

Row = tuple[str, int, int]
"""What the application saves of each measurement that it replays: user, version, number."""

Call = tuple[str, list[int]]
"""To whom an adder adds what."""


@frozen
class Scene:
    """Where it all happens.

    Attributes:
        address: the server's.
        schema: the log's schema; the application's table is called after it.
        lease: seconds that a replay may take, unless it is renewed.
        bound: how many measurements a user may have; more are refused.
        saves_first: whether the application commits its results before the completion.
    """

    address: str
    schema: str
    lease: float
    bound: int
    saves_first: bool = False

    @property
    def table(self) -> str:
        """The application's table, without any constraint that would keep doubles out."""
        return f"results_of_{self.schema}"

    def opened(self, timeout: float = 10.0) -> ReplayBuffer[int]:
        """The buffer, by the server's clock; opening is tried again while the server is away."""
        config = BufferConfig(
            max_measurements=self.bound,
            on_overflow="reject",
            due=due.Count(8) | due.Age(0.1),
            snapshot_timeout=self.lease,
            replay_timeout=self.lease,
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                log = PostgresLog[int](self.address, schema=self.schema, timeout=timeout)
                return ReplayBuffer(log, config)
            except LogError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def manager(self, buffer: ReplayBuffer[int], replay: Callable[[Any], object], **options: Any) -> ReplayManager[int]:
        """Replays whoever is due, however often that fails."""
        backoff = Backoff(first=0.05, longest=0.3)
        return ReplayManager(buffer, replay, max_attempts=None, backoff=backoff, poll_interval=0.05, **options)

    def prepare(self) -> None:
        """Make the tables."""
        self.opened().close()
        with psycopg.connect(self.address) as connection:
            connection.execute(
                f"CREATE TABLE {self.table} (place bigserial, user_id text, version bigint, number bigint)"
            )


def calls(process: int) -> Iterator[Call]:
    """To whom an adder adds what, call after call: mostly one number, now and then several. None comes twice."""
    chance, numbers = Random(process), count(process * EACH)
    while True:
        yield chance.choice(USERS), list(islice(numbers, chance.choice([1, 1, 1, 1, 5])))


def adding(scene: Scene) -> Callable[[Worker], None]:
    """A process that adds until it is told to end; every third does not wait for a server that is away."""

    def body(worker: Worker) -> None:
        live_with_wrong_clock(worker.number)
        ended, chance = told_to_end(worker), Random(worker.number)
        buffer = scene.opened(timeout=10.0 if worker.number % 3 else 0.1)
        for number, (user, batch) in enumerate(calls(worker.number)):
            if ended.is_set():
                break
            worker.tell(outcome(buffer, user, batch), number)
            ended.wait(chance.random() * 0.006)
        buffer.close()

    return body


def outcome(buffer: ReplayBuffer[int], user: str, batch: list[int]) -> str:
    """Add, and what has come of it."""
    try:
        if len(batch) == 1:
            buffer.add_measurement(user, batch[0])
        else:
            buffer.add_measurements(user, batch)
    except OutcomeUnknownError:
        return UNKNOWN
    except (LogError, BufferFullError):
        return REFUSED
    return ADDED


def replaying(scene: Scene) -> Callable[[Worker], None]:
    """A process that replays until it is told to end."""

    def body(worker: Worker) -> None:
        live_with_wrong_clock(worker.number)
        ended, buffer = told_to_end(worker), scene.opened()
        manager = scene.manager(
            buffer,
            Replay(worker, scene),
            workers=THREADS,
            on_result=lambda result: worker.tell("ended", result.user_id, result.version, result.outcome),
        )
        manager.start()
        ended.wait()
        manager.stop()
        buffer.close()

    return body


def live_with_wrong_clock(process: int) -> None:
    """Two of three processes are an hour ahead, or behind."""
    wrong, true_time = (0, HOUR, -HOUR)[process % 3], time.time
    time.time = lambda: true_time() + wrong


def told_to_end(worker: Worker) -> Event:
    """Set once the driver has let the process go on."""
    signal.alarm(4 * PATIENCE)  # a round may take longer than what `killing` allows
    ended = Event()

    def wait() -> None:
        with worker.or_die():
            worker.wait()
        ended.set()

    Thread(target=wait, daemon=True).start()
    return ended


class Replay:
    """What the application does: save each measurement in its own table, together with the completion.

    It dawdles now and then, wherever it is, and at times for longer than the lease. Where the scene says so, it makes
    the mistake of saving them first.
    """

    def __init__(self, worker: Worker, scene: Scene) -> None:
        self.worker, self.scene, self.chance = worker, scene, Random(worker.number)
        self._slots, self._mine = count(), local()

    def __call__(self, frozen: Any) -> None:
        if not hasattr(self._mine, "slot"):
            self._mine.slot = next(self._slots)
        self.worker.tell("begun", frozen.user_id, frozen.version, self._mine.slot)
        try:
            self._reach(COMPUTING)
            window = list(frozen)
            with psycopg.connect(self.scene.address) as connection:
                connection.isolation_level = self.chance.choice(LEVELS)
                save(connection, self.scene, frozen, window)
                if self.scene.saves_first:
                    connection.commit()
                    connection.execute("SELECT 1")
                self._reach(WRITTEN)
                self._reach(COMPLETING, dawdles=False)
                frozen.complete(connection=connection)
                self._reach(COMMITTING)
        except StaleSnapshotError:
            self.worker.tell("stale")
            raise
        finally:
            self._reach(IDLE, dawdles=False)

    def _reach(self, place: int, *, dawdles: bool = True) -> None:
        self.worker.places[self._mine.slot] = place
        if dawdles and self.chance.random() < 0.3:
            longest = 2 * self.scene.lease if place == COMPUTING and self.chance.random() < 0.1 else 0.1
            time.sleep(longest * self.chance.random())


def save(connection: "psycopg.Connection[Any]", scene: Scene, frozen: Any, window: list[int]) -> None:
    """Write what was replayed, in its order."""
    connection.execute(
        f"INSERT INTO {scene.table} (user_id, version, number) "
        "SELECT %s, %s, number FROM unnest(%s::bigint[]) WITH ORDINALITY AS replayed (number, place) ORDER BY place",
        (frozen.user_id, frozen.version, window),
    )


@define
class Told:
    """What the adders were told of their calls."""

    added: list[Call] = Factory(list)
    unknown: list[Call] = Factory(list)
    refused: list[Call] = Factory(list)

    @property
    def owners(self) -> dict[int, str]:
        """Whose each number is."""
        return {number: user for user, batch in self.added + self.unknown + self.refused for number in batch}


def faults(rows: Iterable[Row], told: Told) -> Counter[str]:
    """What is wrong with the application's table when everything was replayed.

    Parameters:
        rows: the table, in the order in which it was written.
        told: what the adders were told.
    """
    found, users, owners = Counter[str](), defaultdict[int, list[str]](list), told.owners
    latest: dict[tuple[str, int], int] = {}
    for user, _version, number in rows:
        users[number].append(user)
        adder = user, number // EACH
        found["out of order"] += number < latest.get(adder, -1)
        latest[adder] = max(number, latest.get(adder, -1))
    for number, those in users.items():
        found["doubled"] += len(those) - 1
        found["of somebody else"] += set(those) != {owners.get(number)}
    for _user, batch in told.added:
        found["lost"] += sum(number not in users for number in batch)
    for _user, batch in told.unknown:
        found["torn"] += len({number in users for number in batch}) > 1
    for _user, batch in told.refused:
        found["there though refused"] += sum(number in users for number in batch)
    return +found
