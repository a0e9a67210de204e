"""What it costs to come to know a user by how long the user's history is: folding it, and reopening a file."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.measuring import Curve, Run, Scale, alternated, figure, timed
from benchmarks.rivals import INSERT, Bare, on_disk, opened
from events import Codec, EventLog, MemoryLog, SqliteLog
from statemachine import BufferConfig, ReplayBuffer

BOUND = BufferConfig().max_measurements
ROOMY = BufferConfig(max_measurements=10**9)
MOST_EVENTS = {"holdover, every add evicts": 100_000}
"""How many events of a history are folded at most: more of these take seconds."""

REPLAY = 3
"""How many events a replay is: begun, frozen, completed."""

LOOP = "a loop over a list of as many"
BARE = "sqlite3, open and insert a row"


def by_events(scale: Scale) -> Iterator[Curve]:
    """The curves over the number of a user's events."""
    yield _folded(scale)
    with on_disk() as name:
        yield _reopened(scale, Path(name))


def added(log: EventLog[Any], events: int) -> None:
    """A history of adds only."""
    buffer: ReplayBuffer[float] = ReplayBuffer(log, ROOMY)
    for start in range(0, events, 1000):
        buffer.add_measurements("ann", [81.5] * min(1000, events - start))


def replayed(log: EventLog[Any], events: int) -> None:
    """A history with a replay after every hundred adds."""
    buffer: ReplayBuffer[float] = ReplayBuffer(log, ROOMY)
    for _ in range(events // (BOUND + REPLAY)):
        buffer.add_measurements("ann", [81.5] * BOUND)
        with buffer.snapshot("ann"):
            pass


def evicted(log: EventLog[Any], events: int) -> None:
    """A history at the bound, where every add evicts, which is an event too."""
    buffer: ReplayBuffer[float] = ReplayBuffer(log)
    for _ in range(events // 2):
        buffer.add_measurement("ann", 81.5)


HISTORIES: dict[str, Callable[[EventLog[Any], int], None]] = {
    "holdover, adds only": added,
    "holdover, a replay for every 100 adds": replayed,
    "holdover, every add evicts": evicted,
}


def _folded(scale: Scale) -> Curve:
    runs: dict[str, Run] = {}
    for size in scale.growing_events:
        for name, make in HISTORIES.items():
            if size > MOST_EVENTS.get(name, size):
                continue
            log: MemoryLog[float] = MemoryLog(keep_history=True)
            make(log, size)
            runs[f"{name} {size}"] = lambda log=log: timed(lambda: ReplayBuffer(log, ROOMY).state("ann"))
        items = [81.5] * size
        runs[f"{LOOP} {size}"] = lambda items=items: timed(lambda: deque(iter(items), maxlen=0))
    times = alternated(runs, scale.few_rounds // 2 + 1)
    note = (
        "What a new buffer pays to know the state of a user whose history of so many events a `MemoryLog` has kept as "
        "a whole (`keep_history=True`); by default what is committed or evicted is truncated, and hardly any of it is "
        "paid. A fold looks at what was decided, not at what was added, so it grows with replays and evictions."
    )
    return _curve("Folding a user's whole history", note, (*HISTORIES, LOOP), scale, times)


def _reopened(scale: Scale, folder: Path) -> Curve:
    """One user's history with replays, in a file that is opened anew for each run."""
    runs: dict[str, Run] = {}
    for size in scale.growing_events:
        path = folder / f"{size}.db"
        with closing(SqliteLog[float](path, durability="off")) as log:
            replayed(log, size)
        with Bare(path, Codec().encode(81.5), "off") as bare:
            bare.many(size)
        runs[f"holdover, open and state() {size}"] = _opens(path, lambda buffer: buffer.state("ann"))
        runs[f"holdover, open and add {size}"] = _opens(path, lambda buffer: buffer.add_measurement("ann", 81.5))
        runs[f"{BARE} {size}"] = _opens_bare(path)
    times = alternated(runs, scale.few_rounds // 2 + 1)
    note = (
        'A file of one user with so many events, a replay after every 100 adds; `durability="full"`. Bare `sqlite3` '
        "opens the same file, with the same pragmas, in which it has a table of as many rows."
    )
    lines = ("holdover, open and state()", "holdover, open and add", BARE)
    return _curve("Reopening a file, by the number of events in it", note, lines, scale, times)


def _curve(title: str, note: str, names: tuple[str, ...], scale: Scale, times: dict[str, list[float]]) -> Curve:
    lines = {
        name: {size: figure(times[f"{name} {size}"]) for size in scale.growing_events if f"{name} {size}" in times}
        for name in names
    }
    return Curve(title, note, "events", lines)


def _opens(path: Path, use: Callable[[ReplayBuffer[float]], object]) -> Run:
    def run() -> float:
        start = perf_counter()
        buffer = ReplayBuffer(SqliteLog[float](path), ROOMY)
        use(buffer)
        taken = perf_counter() - start
        buffer.close()
        return taken

    return run


def _opens_bare(path: Path) -> Run:
    def run() -> float:
        start = perf_counter()
        with closing(opened(path)) as connection:
            connection.execute(INSERT, (Codec().encode(81.5),))
            return perf_counter() - start

    return run
