"""What a durable log costs, beside bare `sqlite3` with the same pragmas."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from itertools import count, cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.adding import Add, add_all
from benchmarks.measuring import Row, Run, Scale, alternated, compared, own_copy, timed
from benchmarks.rivals import INSERT, Bare, let_grow, on_disk, opened
from benchmarks.together import together
from events import Codec, Durability, Event, EventLog, SqliteLog
from statemachine import BufferConfig, FrozenSnapshot, ReplayBuffer

MOST_RATIO = 1 / 0.9
"""An add, where the yardstick is one bare row: at least 0.9 of its rate."""

MOST_THREADS_RATIO = 1 / 5
"""An add, where 16 threads add: at least 5 times that rate."""

MOST_BATCH_RATIO = 1 / 0.5
MOST_SECONDS_TO_REOPEN = 0.5

ADDS = 20
"""How many adds a run times: few, since the machine may change its speed at any moment."""

THREAD_ADDS = 100
"""The same where several threads add: enough that it does not matter how they begin and end."""

ROOMY = BufferConfig(max_measurements=10**9)
BOUND = BufferConfig().max_measurements
WEIGHING = {"weight": 81.5, "timestamp": datetime(2026, 1, 5, 7, 30, tzinfo=UTC)}
ENCODED = Codec().encode(WEIGHING)
NUMBER = 81.5
NUMBER_ENCODED = Codec().encode(NUMBER)
ONE_ROW = "sqlite3, a row"


def durable(scale: Scale) -> Iterator[Row]:
    """The rows about `SqliteLog`. Single adds are of a number, the others of a dict with a datetime."""
    with on_disk() as name:
        folder = Path(name)
        for durability, most_ratio in (("full", MOST_RATIO), ("normal", None), ("off", None)):
            yield from _singles(scale, folder / f"{durability}.db", durability, most_ratio)
        yield from _threads(scale, folder / "threads.db")
        yield from _batches(scale, folder / "batches.db")
        yield from _cycles(scale, folder / "cycles.db")
        yield _reopened(scale, folder / "reopened.db")
        yield _pruned(scale, folder / "pruned.db")


def _singles(scale: Scale, path: Path, durability: Any, most_ratio: float | None) -> Iterator[Row]:
    users = [f"user-{number}" for number in range(min(100, scale.users))]
    with _buffer(path, users, durability=durability) as buffer, Bare(_beside(path), NUMBER_ENCODED, durability) as bare:
        runs = {
            "bare": bare.rows(ADDS),
            "one user": _adds(buffer, users[:1], NUMBER),
            f"{len(users)} users": _adds(buffer, users, NUMBER),
            "a dict with a datetime": _adds(buffer, users[:1], WEIGHING),
        }
        times = alternated(runs, scale.rounds)
    yardstick = times.pop("bare")
    for name, each in times.items():
        target = most_ratio if name.endswith(("user", "users")) else None
        yield compared(f"durable add, {durability}, {name}", each, ONE_ROW, yardstick, most_ratio=target)


def _threads(scale: Scale, path: Path) -> Iterator[Row]:
    users = [f"user-{number}" for number in range(16)]
    with _buffer(path, users) as buffer, Bare(_beside(path), NUMBER_ENCODED) as bare:
        runs: dict[str, Run] = {"bare": bare.rows(ADDS)}
        for threads in (2, 4, 16):
            runs[f"{threads} threads, each its own user"] = _together(buffer.add_measurement, users[:threads])
            runs[f"{threads} threads, one user"] = _together(buffer.add_measurement, users[:1] * threads)
        times = alternated(runs, scale.few_rounds)
    yardstick = times.pop("bare")
    for name, each in times.items():
        most_ratio = MOST_THREADS_RATIO if name.startswith("16") else None
        yield compared(f"durable add, full, {name}", each, f"{ONE_ROW}, one thread", yardstick, most_ratio=most_ratio)


def _batches(scale: Scale, path: Path) -> Iterator[Row]:
    for kind, measurement, most_ratio in (("numbers", NUMBER, MOST_BATCH_RATIO), ("weighings", WEIGHING, None)):
        with _buffer(path, [kind]) as buffer, Bare(_beside(path), Codec().encode(measurement)) as bare:
            runs = {
                "ours": _batch(buffer, kind, [measurement] * scale.batch),
                "bare": lambda bare=bare: timed(lambda: bare.many(scale.batch)) / scale.batch,
            }
            times = alternated(runs, scale.few_rounds)
        what = f"durable add_measurements of {scale.batch} {kind}, each"
        yield compared(what, times["ours"], "sqlite3, executemany, encoded", times["bare"], most_ratio=most_ratio)


def _cycles(scale: Scale, path: Path) -> Iterator[Row]:
    """What adds seldom pay for. There is no target for these."""
    with ExitStack() as stack:
        buffer = stack.enter_context(_buffer(path, ["ann"]))
        bounded = stack.enter_context(_buffer(path.with_name("bounded.db"), ["bob"], config=BufferConfig()))
        bounded.add_measurements("bob", [WEIGHING] * BOUND)
        bare = stack.enter_context(Bare(_beside(path), ENCODED))
        application = stack.enter_context(Bare(path, ENCODED))  # its table lies in the log's file
        times = alternated(
            {
                "row": bare.rows(ADDS),
                "rows": lambda: bare.rows(3)() * 3,
                "cycle": _cycle(buffer, lambda frozen: frozen.complete()),
                "joined": _cycle(buffer, lambda frozen: _completed(frozen, application)),
                "bound": _adds(bounded, ["bob"]),
                "first": _firsts(buffer),
            },
            scale.few_rounds,
        )
    three = "sqlite3, three rows, each committed"
    window = f"durable begin + finalize + complete, {BOUND} frozen"
    yield compared(window, times["cycle"], three, times["rows"])
    yield compared(f"{window}, with a result in one transaction", times["joined"], three, times["rows"])
    yield compared("durable add, full, at the bound (each evicts)", times["bound"], ONE_ROW, times["row"])
    yield compared("durable add, full, a user's very first", times["first"], ONE_ROW, times["row"])


def _reopened(scale: Scale, path: Path) -> Row:
    users, each = scale.populations[-1], 10
    _populate(path, users, each)
    numbers = count()

    def ours() -> float:
        start = perf_counter()
        buffer = ReplayBuffer(SqliteLog[Any](path))
        buffer.add_measurement(f"user-{next(numbers) * 7919 % users}", WEIGHING)
        taken = perf_counter() - start
        buffer.close()
        return taken

    def bare() -> float:
        start = perf_counter()
        with closing(opened(beside)) as connection:
            connection.execute(INSERT, (ENCODED,))
            return perf_counter() - start

    beside = _beside(path)
    with Bare(beside, ENCODED):
        pass
    times = alternated({"ours": ours, "bare": bare}, scale.few_rounds)
    what = f"durable reopening and one add, {users:,} users, {users * each:,} events"
    against = "sqlite3, open a small file, a row"
    return compared(what, times["ours"], against, times["bare"], most=MOST_SECONDS_TO_REOPEN)


def _pruned(scale: Scale, path: Path) -> Row:
    users = [f"user-{number}" for number in range(scale.populations[0])]
    with _buffer(path, users, durability="off") as buffer:
        for user in users:
            buffer.add_measurements(user, [WEIGHING] * BOUND)
            with buffer.snapshot(user):
                pass
            buffer.add_measurement(user, WEIGHING)
    before = path.stat().st_size
    with _buffer(path, durability="off") as buffer:
        buffer.prune()
    after = path.stat().st_size
    what = f"a durable file, pruned, {len(users):,} users with 1 measurement left of {BOUND + 2}"
    return Row(what, "B", after, "not pruned", before, after / before)


def _buffer(
    path: Path, users: Sequence[str] = (), *, config: BufferConfig = ROOMY, durability: Durability = "full"
) -> ReplayBuffer[Any]:
    """A buffer on a file, in which these users have a measurement."""
    buffer = ReplayBuffer(SqliteLog[Any](path, durability=durability), config)
    for user in users:
        buffer.add_measurement(user, WEIGHING)
    let_grow(path)
    return buffer


def _beside(path: Path) -> Path:
    """Where bare rows go that are compared with what goes into `path`."""
    return path.with_name(f"bare-{path.name}")


def _adds(buffer: ReplayBuffer[Any], users: Iterable[str], item: Any = WEIGHING) -> Run:
    """A run that adds for the next of the users in turn."""
    own, turns = own_copy(add_all), cycle(users)
    return lambda: own(buffer.add_measurement, [(user, item) for user in islice(turns, ADDS)])


def _firsts(buffer: ReplayBuffer[Any]) -> Run:
    """A run that adds for users who have never had anything."""
    own, numbers = own_copy(add_all), count()
    return lambda: own(buffer.add_measurement, [(f"new-{number}", WEIGHING) for number in islice(numbers, ADDS)])


def _batch(buffer: ReplayBuffer[Any], user: str, batch: list[Any]) -> Run:
    return lambda: timed(lambda: buffer.add_measurements(user, batch)) / len(batch)


def _together(add: Add, users: Sequence[str]) -> Run:
    """A run in which one thread for each of these adds for it; seconds an add, from the first to the last of them."""
    own = own_copy(add_all)
    works = [lambda user=user: own(add, [(user, NUMBER)] * THREAD_ADDS) for user in users]
    run = together(works)
    return lambda: run() / (len(users) * THREAD_ADDS)


def _cycle(buffer: ReplayBuffer[Any], complete: Callable[[FrozenSnapshot[Any]], object]) -> Run:
    """A run that replays a window of a user, and adds it before the clock starts."""

    def whole() -> None:
        version = buffer.begin_snapshot("ann")
        complete(buffer.finalize_snapshot("ann", version))

    def run() -> float:
        buffer.add_measurements("ann", [WEIGHING] * (BOUND - buffer.size("ann")))
        return timed(whole)

    return run


def _completed(frozen: FrozenSnapshot[Any], application: Bare) -> None:
    """Complete in the transaction in which the application keeps its result."""
    application.connection.execute("BEGIN IMMEDIATE")
    application.connection.execute(INSERT, (application.data,))
    frozen.complete(connection=application.connection)
    application.connection.execute("COMMIT")


def _populate(path: Path, users: int, each: int) -> None:
    """Fill a file as a buffer does it, but in one transaction, and with what it decides for the first user for all."""
    with closing(SqliteLog[Any](path, durability="off")) as log, Bare(path, ENCODED, "off") as bare:
        bare.connection.execute("BEGIN")
        noting = Noting(log.joined(bare.connection))
        ReplayBuffer(noting).add_measurements("user-0", [WEIGHING] * each)
        for number in range(1, users):
            noting.log.append(f"user-{number}", **noting.noted)
        bare.connection.execute("COMMIT")


class Noting:
    """A log that notes what is appended to it."""

    def __init__(self, log: EventLog[Any]) -> None:
        self.log = log
        self.noted: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.log, name)

    def append(self, stream: str, events: Sequence[Event], **rest: Any) -> int:
        self.noted = {"events": events, **rest}
        return self.log.append(stream, events, **rest)
