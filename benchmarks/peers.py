"""holdover beside libraries that do its job, or a part of it: queues and logs on disk and in memory, state machines.

Must not know how a library is called: `peer_queues`, `peer_machines` and `peer_process` do.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks import peer_machines as machines
from benchmarks import peer_notes as notes
from benchmarks.measuring import Figure, Grid, Run, Scale, alternated, figure
from benchmarks.peer_plain import BareDeque, StandardQueue
from benchmarks.peer_process import PythonStatemachine, installed
from benchmarks.peer_queues import TAKEN, AckQueue, DiskDeque, Holdover, Lite, Peer, Recorder
from benchmarks.peer_worker import triggered, weighed
from benchmarks.rivals import let_grow, on_disk
from events import SqliteLog

PUTS, PUTS_IN_MEMORY = 20, 200
"""How many items a run puts one by one: few, since the machine may change its speed at any moment."""

TAKES, TAKES_IN_MEMORY = 5, 10
"""How many batches a run takes and confirms."""

CYCLES, CYCLES_ON_DISK = 100, 10
"""How many users a run takes through a cycle."""

SAMPLE = 1_000
"""How many users are weighed where a user costs too much time."""

Kind = Callable[[Path | None], Peer]

DURABLE: Mapping[str, Kind] = {
    notes.HOLDOVER: Holdover,
    "eventsourcing": Recorder,
    "persist-queue": AckQueue,
    "litequeue": Lite,
    "diskcache.Deque": DiskDeque,
}
IN_MEMORY: Mapping[str, Kind] = {
    notes.HOLDOVER: Holdover,
    "eventsourcing": Recorder,
    "persist-queue": AckQueue,
    "litequeue": Lite,
    "queue.Queue": StandardQueue,
    "collections.deque": BareDeque,
}


def peers(scale: Scale) -> Iterator[Grid]:
    """Items on disk, items in memory, and state machines."""
    for grid in (_durable, _in_memory, _machines):
        with ExitStack() as stack:
            yield grid(scale, stack)


def _durable(scale: Scale, stack: ExitStack) -> Grid:
    """Every job has a file of its own."""
    folder = Path(stack.enter_context(on_disk()))

    def made(kind: Kind, name: str, job: str) -> Peer:
        peer = stack.enter_context(closing(kind(folder / f"{name}-{job}")))
        assert peer.path
        let_grow(peer.path)
        return peer

    makes = {name: partial(made, kind, name) for name, kind in DURABLE.items()}
    jobs = _jobs(makes, scale.batch, PUTS, TAKES)
    jobs[f"open a file of {scale.backlog:,}, put one"] = {
        name: _reopening(kind, folder / f"{name}-opened", scale.backlog) for name, kind in DURABLE.items()
    }
    title = "Queues and logs on disk, SQLite, synchronous=FULL"
    return _grid(title, notes.DURABLE, jobs, scale.few_rounds, notes.DURABLE_EACH)


def _in_memory(scale: Scale, stack: ExitStack) -> Grid:
    def made(kind: Kind, job: str) -> Peer:
        return stack.enter_context(closing(kind(None)))

    makes = {name: partial(made, kind) for name, kind in IN_MEMORY.items()}
    jobs = _jobs(makes, scale.batch, PUTS_IN_MEMORY, TAKES_IN_MEMORY)
    return _grid("Queues and logs in memory", notes.IN_MEMORY, jobs, scale.few_rounds, notes.IN_MEMORY_EACH)


def _jobs(makes: Mapping[str, Callable[[str], Peer]], batch: int, puts: int, takes: int) -> dict[str, dict[str, Run]]:
    """For each job a run of each alternative."""
    return {
        "put one": {name: partial(make("one").put, puts) for name, make in makes.items()},
        f"put {batch:,}, each": {name: partial(make("many").put_batch, batch) for name, make in makes.items()},
        f"take {TAKEN} and confirm": {name: _taking(make("taken"), takes) for name, make in makes.items()},
    }


def _taking(peer: Peer, times: int) -> Run:
    def once() -> float:
        peer.fill(TAKEN)
        return peer.take(TAKEN)

    def run() -> float:
        return sum(once() for _ in range(times)) / times

    return run


def _reopening(kind: Kind, path: Path, items: int) -> Run:
    with closing(kind(path)) as peer:
        peer.fill(items)

    def run() -> float:
        start = perf_counter()
        with closing(kind(path)) as peer:
            return perf_counter() - start + peer.put(1)

    return run


def _grid(title: str, note: str, jobs: Mapping[str, Mapping[str, Run]], rounds: int, each: Mapping[str, str]) -> Grid:
    columns = {job: _figures(runs, rounds) for job, runs in jobs.items()}
    lines = {name: [column[name] for column in columns.values()] for name in each}
    return Grid(title, note, tuple(columns), lines, drawn=tuple(columns), notes=each)


def _figures(runs: Mapping[str, Run], rounds: int) -> dict[str, Figure]:
    times = alternated(runs, rounds)
    ours = times[notes.HOLDOVER]
    return {name: figure(each, None if name == notes.HOLDOVER else ours) for name, each in times.items()}


def _machines(scale: Scale, stack: ExitStack) -> Grid:
    other = stack.enter_context(PythonStatemachine()) if installed() else None
    columns = {
        "a cycle, in memory": _cycles(scale, other),
        "a cycle, each step on disk": _cycles_on_disk(scale, stack),
        f"memory for each of {scale.many_users:,} users": _weights(scale, other),
    }
    names = [name for name in notes.MACHINES_EACH if any(name in column for column in columns.values())]
    lines = {name: [column.get(name) for column in columns.values()] for name in names}
    sample = f"Memory of the others: of a sample of {_sample(scale):,} users, after a cycle each."
    said = {name: notes.MACHINES_EACH[name] for name in names}
    title = "State machines: a user's full cycle of begin, finalize and complete"
    return Grid(title, f"{notes.MACHINES}\n{sample}", tuple(columns), lines, drawn=tuple(columns), notes=said)


def _cycles(scale: Scale, other: PythonStatemachine | None) -> dict[str, Figure]:
    users = machines.USERS
    buffer = machines.replayed(users)
    turns: dict[str, tuple[machines.Through, Sequence[object]]] = {
        notes.CALLS: (machines.called(buffer), users),
        notes.CONTEXT: (machines.entered(buffer), users),
        notes.ALONE: (machines.looked_up(), users),
        notes.MODELS: (triggered, machines.models(users)),
        notes.INTERPRETERS: (machines.sent, machines.interpreters(users)),
    }
    runs = {name: machines.in_turn(through, things, CYCLES) for name, (through, things) in turns.items()}
    if other:
        runs[notes.INSTANCES] = partial(other.told, "cycles", CYCLES)
    return _figures(runs, scale.rounds)


def _cycles_on_disk(scale: Scale, stack: ExitStack) -> dict[str, Figure]:
    folder = Path(stack.enter_context(on_disk()))
    buffer = stack.enter_context(machines.replayed(machines.USERS, SqliteLog(folder / "holdover.db")))
    let_grow(folder / "holdover.db")
    stores = [stack.enter_context(closing(machines.store(folder / name))) for name in ("saved.db", "loaded.db")]
    through = {
        notes.CALLS: machines.called(buffer),
        notes.CONTEXT: machines.entered(buffer),
        notes.INTERPRETERS: machines.saved(stores[0]),
        notes.STORED: machines.loaded(stores[1]),
    }
    runs = {name: machines.in_turn(each, machines.USERS, CYCLES_ON_DISK) for name, each in through.items()}
    return _figures(runs, scale.few_rounds)


def _weights(scale: Scale, other: PythonStatemachine | None) -> dict[str, Figure]:
    sample = _sample(scale)
    ours = weighed(machines.replayed, scale.many_users)
    theirs = {
        notes.MODELS: weighed(machines.models, sample),
        notes.EACH_A_MACHINE: weighed(machines.machines, sample),
        notes.INTERPRETERS: weighed(machines.interpreters, sample),
    }
    if other:
        theirs[notes.INSTANCES] = other.told("weigh", sample)
    return {notes.CALLS: Figure(ours, "B")} | {
        name: Figure(each, "B", ratio=each / ours) for name, each in theirs.items()
    }


def _sample(scale: Scale) -> int:
    return min(SAMPLE, scale.many_users)
