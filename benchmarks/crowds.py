"""What several threads get done at once: adding, in memory and in a file, and replaying."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from time import sleep
from typing import Any

from benchmarks.adding import Add, add_all
from benchmarks.lossy import LossyBuffer
from benchmarks.measuring import Curve, Figure, Run, Scale, alternated, figure, own_copy, timed
from benchmarks.rivals import Bare, insert_all, let_grow, on_disk
from benchmarks.together import together
from events import Codec, SqliteLog
from statemachine import BufferConfig, ReplayBuffer, ReplayManager, due

ROOMY = BufferConfig(max_measurements=10**9)
DURABLE_ADDS = 60
"""How many adds each thread does on a file: so many that it does not matter how they begin and end."""

REPLAY = 0.005
"""Seconds for which a replay waits, as one does that asks a database or a service."""

ONE, OWN = "one user", "each its own user"
LOCKED = "sqlite3, one connection under a lock"
REPLAYS, WAITS = "holdover, ReplayManager", "only the waiting, in a pool of as many threads"


class Unlocked:
    """A plain class that does as much as a buffer's add, with no lock at all: for users who are alone."""

    def __init__(self, most: int) -> None:
        self._buffers: dict[str, list[Any]] = {}
        self._most = most

    def add_measurement(self, user_id: str, measurement: Any) -> None:
        if user_id not in self._buffers:
            self._buffers[user_id] = []
        buffer = self._buffers[user_id]
        buffer.append(measurement)
        if len(buffer) > self._most:
            buffer.pop(0)


def by_threads(scale: Scale) -> Iterator[Curve]:
    """The curves over the number of threads that add."""
    yield _in_memory(scale)
    with on_disk() as name:
        yield _in_a_file(scale, Path(name))


def _in_memory(scale: Scale) -> Curve:
    lossy, plain = (lambda: LossyBuffer(10**9)), (lambda: Unlocked(10**9))
    makers: dict[str, tuple[Callable[[], Any], str]] = {
        f"holdover, {ONE}": (lambda: ReplayBuffer(config=ROOMY), ONE),
        f"holdover, {OWN}": (lambda: ReplayBuffer(config=ROOMY), OWN),
        f"lossy buffer, {ONE}": (lossy, ONE),
        f"lossy buffer, {OWN}": (lossy, OWN),
        f"a class without locks, {OWN}": (plain, OWN),
    }
    each = {threads: scale.thread_adds // threads for threads in scale.threads}
    runs = {
        f"{name} {threads}": _fresh(make, _users(threads, whose), adds)
        for name, (make, whose) in makers.items()
        for threads, adds in each.items()
    }
    times = alternated(runs, scale.few_rounds)
    note = (
        "All threads together. The interpreter runs one of them at a time, so there is nothing to gain; what is lost "
        "shows how long they wait for each other."
    )
    done = {threads: threads * adds for threads, adds in each.items()}
    return Curve("Adds by several threads, in memory", note, "threads", _rates(list(makers), done, times))


def _in_a_file(scale: Scale, folder: Path) -> Curve:
    runs: dict[str, Run] = {}
    with ExitStack() as stack:
        buffer = ReplayBuffer(SqliteLog[float](folder / "ours.db"), ROOMY)
        stack.callback(buffer.close)
        let_grow(folder / "ours.db")
        bare = stack.enter_context(Bare(folder / "bare.db", Codec().encode(81.5)))
        rows = _rows_under_a_lock(bare)
        for user in _users(max(scale.threads), OWN):
            buffer.add_measurement(user, 81.5)
        for threads in scale.threads:
            for whose in (ONE, OWN):
                works = _adders(buffer.add_measurement, _users(threads, whose), DURABLE_ADDS)
                runs[f"holdover, {whose} {threads}"] = together(works)
            runs[f"{LOCKED} {threads}"] = together([rows] * threads)
        times = alternated(runs, scale.few_rounds)
    note = (
        'On a `SqliteLog`, `durability="full"`, all threads together: each add is on the disk before it returns. '
        "Threads that add at once share one wait for the disk. Bare `sqlite3` inserts the same bytes with the same "
        "pragmas, and commits each row."
    )
    done = {threads: threads * DURABLE_ADDS for threads in scale.threads}
    lines = _rates([f"holdover, {ONE}", f"holdover, {OWN}", LOCKED], done, times)
    return Curve("Durable adds by several threads, on a file", note, "threads", lines)


def by_workers(scale: Scale) -> Curve:
    """The curve over the number of threads that replay."""
    runs: dict[str, Run] = {}
    for workers in scale.workers:
        runs[f"{REPLAYS} {workers}"] = _replays(workers, scale.replays)
        runs[f"{WAITS} {workers}"] = _waits(workers, scale.replays)
    times = alternated(runs, scale.few_rounds // 3 + 1)
    note = (
        f"{scale.replays} users are due, and one pass of a `ReplayManager` (`replay_ready`) replays them, in memory. "
        f"Each replay waits {REPLAY * 1000:g} ms, as one does that asks a database; threads that compute instead share "
        "the interpreter."
    )
    done = dict.fromkeys(scale.workers, scale.replays)
    return Curve("Replays by several workers", note, "workers", _rates([REPLAYS, WAITS], done, times))


def _rates(
    names: Sequence[str], done: Mapping[int, int], times: Mapping[str, list[float]]
) -> dict[str, dict[int, Figure]]:
    """How many were done a second, by name and number of threads."""
    return {
        name: {
            threads: figure([adds / time for time in times[f"{name} {threads}"]], unit="/s")
            for threads, adds in done.items()
        }
        for name in names
    }


def _users(threads: int, whose: str) -> list[str]:
    return [f"user-{number if whose == OWN else 0}" for number in range(threads)]


def _adders(add: Add, users: Sequence[str], adds: int) -> list[Run]:
    """For each thread the adding for its user."""
    own = own_copy(add_all)
    return [lambda work=[(user, 81.5)] * adds: own(add, work) for user in users]


def _fresh(make: Callable[[], Any], users: Sequence[str], adds: int) -> Run:
    """A run in which threads add to a new buffer that knows their users."""

    def run() -> float:
        buffer = make()
        for user in users:
            buffer.add_measurement(user, 81.5)
        return together(_adders(buffer.add_measurement, users, adds))()

    return run


def _rows_under_a_lock(bare: Bare) -> Run:
    """What threads do that share a connection."""
    lock = Lock()

    def rows() -> float:
        for _ in range(DURABLE_ADDS):
            with lock:
                insert_all(bare.connection, bare.data, 1)
        return 0.0

    return rows


def _replays(workers: int, users: int) -> Run:
    def run() -> float:
        buffer: ReplayBuffer[float] = ReplayBuffer(config=BufferConfig(due=due.Count(1)))
        for number in range(users):
            buffer.add_measurement(f"user-{number}", 81.5)
        manager = ReplayManager(buffer, lambda frozen: sleep(REPLAY), workers=workers)
        taken = timed(manager.replay_ready)
        assert not list(buffer.ready())
        return taken

    return run


def _waits(workers: int, users: int) -> Run:
    def wait_all() -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(sleep, [REPLAY] * users))

    return lambda: timed(wait_all)
