"""Many threads and processes at once: what each of them is told, some order of all their calls explains."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import postgres
import pytest
from history_processes import read_notes, recorded
from history_programs import Caller
from history_recording import History, Note, Recorder, SteppedClock
from history_timeline import explained
from history_trouble import TIMEOUT, trouble
from history_values import UNKNOWN
from killing import apart
from proxy import Proxy
from tried import LONG, SEED, tried

from events import EventLog, MemoryLog, PostgresLog, SqliteLog
from statemachine import BufferConfig, ReplayBuffer

USERS = ("ann", "bob")
THREADS = 4

BOUNDS: list[dict[str, Any]] = [
    {"max_measurements": 3},
    {"max_measurements": 4, "on_overflow": "reject"},
    {"max_measurements": 30},
    {"max_measurements": 1, "pending_factor": 3},
]
"""Small enough for evictions and refusals, also between an abort and the next replay."""

Record = Callable[[Path, int], History]
"""Records a history, given a directory that is empty and a seed."""


def config_for(seed: int) -> dict[str, Any]:
    """Bounds and timeouts, by a clock that goes on in steps of 20 seconds."""
    return {"snapshot_timeout": 30.0, "replay_timeout": 50.0, **BOUNDS[seed % len(BOUNDS)]}


class GivingWay(MemoryLog[str]):
    """Lets other threads go first whenever it is asked something, as a log on a disk does."""


def giving_way(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        time.sleep(0)
        result = method(*arguments, **named)
        time.sleep(0)
        return result

    return call


for _name in ("position", "checkpoint", "controls", "measurements", "append", "truncate", "add", "add_many"):
    setattr(GivingWay, _name, giving_way(getattr(MemoryLog, _name)))


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Threads take turns often; other interpreters find these modules; no log of what fails on purpose."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    caplog.set_level("CRITICAL")
    caplog.set_level("CRITICAL", "psycopg.pool")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def in_threads(
    log: EventLog[str], seed: int, calls: int, *, rolls_back: bool = False, loses_sight: bool = False
) -> History:
    """What threads were told that call so often each."""
    notes: list[Note] = []
    clock, config = SteppedClock(), config_for(seed)
    recorder = Recorder(notes.append, clock)
    on_abort = recorder.roll_back if rolls_back else None
    buffer = ReplayBuffer(log, BufferConfig(**config), clock=clock, on_abort=on_abort)
    barrier = Barrier(THREADS)

    def run(caller: Caller) -> None:
        barrier.wait()
        for _ in range(calls):
            caller.call()

    callers = [Caller(recorder, buffer, f"t{number}", seed, USERS, clock) for number in range(THREADS)]
    threads = [Thread(target=run, args=(caller,)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    Caller(recorder, buffer, "end", seed, USERS).look()
    return History(config, seed, notes, {}, rolls_back, loses_sight)


def on_memory(_directory: Path, seed: int) -> History:
    """A log in memory, which drops what was replayed in three of four histories; half of them with rollbacks."""
    keeps = seed % 4 == 3
    with ReplayBuffer(log := GivingWay(keep_history=keeps)):
        return in_threads(log, seed, 600 if LONG else 300, rolls_back=seed % 8 > 3, loses_sight=not keeps)


def on_sqlite(directory: Path, seed: int) -> History:
    """A file."""
    with SqliteLog[str](directory / "log.db", durability="off") as log:
        return in_threads(log, seed, 300 if LONG else 120, rolls_back=seed % 8 > 3)


def on_postgres(_directory: Path, seed: int) -> History:
    """A server."""
    with PostgresLog[str](postgres.address(postgres.QUICK), schema=postgres.new_schema()) as log:
        return in_threads(log, seed, 200 if LONG else 60, rolls_back=seed % 8 > 3)


def weak(between: Proxy, schema: str) -> PostgresLog[str]:
    """One that soon gives up."""
    return PostgresLog(between.address, schema=schema, timeout=TIMEOUT)


def on_postgres_in_trouble(_directory: Path, seed: int) -> History:
    """A server that is lost, and found again, all the time."""
    schema = postgres.new_schema()
    with PostgresLog[str](postgres.address(postgres.QUICK), schema=schema) as direct:
        with Proxy(postgres.address(postgres.QUICK)) as between, weak(between, schema) as log, trouble(between, seed):
            history = in_threads(log, seed, 300, loses_sight=True)
        recorder = Recorder(history.notes.append, lambda: history.notes[-1][-1])
        buffer = ReplayBuffer(direct, BufferConfig(**history.config), clock=recorder.clock)
        Caller(recorder, buffer, "end", seed, USERS).look()
    return history


def of_processes(directory: Path, seed: int, **where: Any) -> History:
    """What processes were told, some of which were killed."""
    scene = {"directory": str(directory), "seed": seed, "config": config_for(seed), "users": USERS, **where}
    kills, notes = (10, 5000) if LONG else (2, 3000)
    ends = {process: tuple(end) for process, end in apart(recorded, scene, kills, notes).items()}
    return History(config_for(seed), seed, list(read_notes(directory)), ends)


def of_processes_on_postgres(directory: Path, seed: int) -> History:
    """The same, on a server."""
    return of_processes(directory, seed, address=postgres.address(postgres.QUICK), schema=postgres.new_schema())


HISTORIES = {
    "memory": (on_memory, 40),
    "sqlite": (on_sqlite, 30),
    "postgres": (on_postgres, 25),
    "processes on sqlite": (of_processes, 8),
    "processes on postgres": (of_processes_on_postgres, 3),
    "postgres in trouble": (on_postgres_in_trouble, 4),
}
"""How each kind is recorded, and how many of them when there is time."""

TAKE_LONG = ("processes on postgres", "postgres in trouble")

KINDS = [
    pytest.param(
        kind,
        *recorded_so,
        id=kind,
        marks=pytest.mark.skipif(not LONG and kind in TAKE_LONG, reason="takes longer than a test may"),
    )
    for kind, recorded_so in HISTORIES.items()
]


@pytest.mark.parametrize(("kind", "record", "many"), KINDS)
def test_some_order_explains_what_everybody_was_told(tmp_path: Path, kind: str, record: Record, many: int) -> None:
    """However many call at once, and whoever is killed or cut off: it is as if they had called one after the other."""
    for seed in range(SEED, SEED + (many if LONG else 1)):
        directory = tmp_path / str(seed)
        directory.mkdir()
        history = record(directory, seed)
        operations = explained(history, kind.replace(" ", "-"))
        unknown = sum(operation.outcome == UNKNOWN for operation in operations)
        tried(histories=1, operations=len(operations), kills=len(history.ends), unknown_outcomes=unknown)
        assert operations
