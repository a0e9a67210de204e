"""`recorded`: processes that call on one log, are killed at random and replaced. Must not know what has to hold.

It is a driver as in `killing`: it forks, so it has one thread, and a connection only while it does not fork.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from attrs import frozen
from history_programs import Caller
from history_recording import Ends, Note, Recorder, SteppedClock
from killing import PATIENCE, Worker, in_threads
from pg_campaign import told_to_end

from events import EventLog, PostgresLog, SqliteLog
from statemachine import BufferConfig, ReplayBuffer

THREADS = 2
"""How many threads a process calls with."""

PROCESSES = 3
"""How many there are at a time."""

END = "end"
"""Who has the last look."""


@frozen
class Scene:
    """Where it happens.

    Attributes:
        directory: for the notes, a file of each process, and for the log's own.
        seed: what is drawn from.
        config: the values of the `BufferConfig`.
        users: whose buffers.
        address, schema: of a PostgreSQL log; None for a file.
    """

    directory: str
    seed: int
    config: dict[str, Any]
    users: list[str]
    address: str | None = None
    schema: str | None = None

    def log(self, process: str) -> EventLog[str]:
        """The log, opened."""
        if self.address is None:
            return SqliteLog(f"{self.directory}/log.db", durability="off", timeout=30.0)
        return PostgresLog(self.named(process), schema=self.schema or "")

    def named(self, process: str) -> str:
        """The server's address for a process, by whose name its connections are told from those of others."""
        address = self.address or ""
        return f"{address}{'&' if '?' in address else '?'}application_name={self.schema}_{process}"

    def notes(self, process: str) -> Path:
        """What a process has noted."""
        return Path(self.directory, f"{process}.notes")


def calling(scene: Scene, clock: SteppedClock, *, takes_over: bool) -> Callable[[Worker], None]:
    """A process that calls until it is told to end."""

    def body(worker: Worker) -> None:
        ended, process = told_to_end(worker), f"p{worker.number}"
        with closing(open(scene.notes(process), "ab", buffering=0)) as notes:
            recorder = Recorder(lambda note: notes.write(json.dumps(note).encode() + b"\n"), clock)
            buffer = opened(scene, recorder, process, takes_over=takes_over)

            def call(thread: int) -> None:
                caller = Caller(recorder, buffer, f"{process}.{thread}", scene.seed, scene.users)
                while not ended.is_set():
                    caller.call()

            in_threads(worker, call, THREADS)
            buffer.close()

    return body


def opened(scene: Scene, recorder: Recorder, process: str, *, takes_over: bool) -> ReplayBuffer[str]:
    """The buffer; to take over is an operation of each user."""
    log, config, made = scene.log(process), BufferConfig(**scene.config), list[ReplayBuffer[str]]()

    def make() -> None:
        made.append(ReplayBuffer(log, config, clock=recorder.clock, take_over=takes_over))

    if takes_over:
        recorder.note(process, scene.users, "take_over", None, make)
    else:
        make()
    return made[0]


class Driver:
    """Starts processes, kills them, and has time go on."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.chance, self.clock, self.numbers = scene, Random(scene.seed), SteppedClock(), count()
        self.running: list[Worker] = []
        self.ends: Ends = {}

    def start(self, *, takes_over: bool = False) -> None:
        self.running.append(Worker(next(self.numbers), calling(self.scene, self.clock, takes_over=takes_over)))

    def kill(self, victim: Worker) -> None:
        """Kill it; whatever it was at has had its effect when this returns, or never will."""
        victim.kill()
        victim.close()
        self.running.remove(victim)
        if self.scene.address is not None:
            self._await_silence(f"p{victim.number}")
        self.ends[f"p{victim.number}"] = time.monotonic_ns(), self.clock()

    def _await_silence(self, process: str) -> None:
        """The server may still be busy with what it was last asked for."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        name, deadline = f"{self.scene.schema}_{process}", time.monotonic() + PATIENCE
        with psycopg.connect(self.scene.address or "", autocommit=True) as connection:
            while connection.execute(query, (name,)).fetchone() != (0,):
                assert time.monotonic() < deadline, "the server does not notice that a process is gone"

    def go_on(self, notes: int) -> None:
        """Wait until each process has noted so much more, and then for a little while."""
        sizes = {worker: self._size(worker) + notes for worker in self.running}
        deadline = time.monotonic() + PATIENCE
        while any(self._size(worker) < size for worker, size in sizes.items()):
            assert time.monotonic() < deadline, "a process does nothing any more"
            assert not any(worker.heard() for worker in self.running)
            assert all(worker.alive for worker in self.running), "a process has ended by itself"
            time.sleep(0.0005)
        time.sleep(self.chance.random() * 0.003)

    def _size(self, worker: Worker) -> int:
        path = self.scene.notes(f"p{worker.number}")
        return path.stat().st_size if path.exists() else 0

    def run(self, kills: int, notes: int) -> None:
        """So many kills, with so many bytes of notes of each process in between."""
        for _ in range(PROCESSES):
            self.start()
        while len(self.ends) < kills:
            self.go_on(round(notes * self.chance.uniform(0.2, 1.8)))
            if self.chance.random() < 0.5:
                self.clock.step(self.chance.choice([1, 1, 2, 3]))
            all_at_once = self.chance.random() < 0.2
            for victim in self.running[:] if all_at_once else [self.chance.choice(self.running)]:
                self.kill(victim)
            takes_over = all_at_once and self.scene.address is None
            if takes_over:
                self.start(takes_over=True)
                self.go_on(1)
            while len(self.running) < PROCESSES:
                self.start()
        self.go_on(notes)
        self.end()

    def end(self) -> None:
        """Have all come to an end by themselves, and look at every user."""
        for worker in self.running:
            worker.go()
        for worker in self.running:
            worker.wait_for()
            worker.close()
        self.running.clear()
        with closing(open(self.scene.notes(END), "ab", buffering=0)) as file:
            recorder = Recorder(lambda note: file.write(json.dumps(note).encode() + b"\n"), self.clock)
            buffer = opened(self.scene, recorder, END, takes_over=False)
            Caller(recorder, buffer, END, self.scene.seed, self.scene.users).look()
            buffer.close()


def read_notes(directory: Path) -> Iterator[Note]:
    """All notes of all processes; a last one that was cut short was not made, and the call had not begun."""
    for path in sorted(directory.glob("*.notes")):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield json.loads(line)


def recorded(scene: dict[str, Any], kills: int, notes: int) -> Ends:
    """Processes on a log, so many of which are killed; their notes are in the directory, and these are their ends."""
    driver = Driver(Scene(**scene))
    try:
        driver.run(kills, notes)
    finally:
        for worker in driver.running:
            if worker.alive:
                os.kill(worker.pid, 9)
    return driver.ends
