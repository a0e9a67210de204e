"""Processes that add and replay and are killed at any moment, and what must hold of their file. Must not know a test.

The processes are forked by a driver, an interpreter of its own that has one thread and no open connection (`apart`).
"""

import json
import mmap
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from itertools import count
from threading import Thread
from typing import Any

from events import MeasurementAdded, ReplayCompleted, SnapshotBegun, SqliteLog
from statemachine import BufferConfig, ReplayBuffer

USERS = ("ann", "bob", "cyd")
THREADS = 2
"""How many threads a process adds with, and replays with."""

FIRST = (-1, 0, 0, 0)
"""Each user's first measurement."""

CONFIG = BufferConfig(max_measurements=10**6)  # so that nothing is evicted
PATIENCE = 60
"""Seconds after which something must have gone wrong."""

IDLE, BUSY, ROLLING_BACK, *IN_TRANSACTION = range(6)
"""Where a thread is; the last three are those at which it has the application's transaction open."""

Measurement = tuple[int, int, int, int]
"""Who added it (process, thread), in which of its calls, at which place of the call's batch."""


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function gives, called in an interpreter of its own."""
    order = [function.__module__, function.__name__, json.dumps(arguments, default=str)]
    done = subprocess.run(
        [sys.executable, "-W", "error", __file__, *order], capture_output=True, text=True, timeout=PATIENCE * 5
    )
    if done.returncode or done.stderr:
        raise RuntimeError(f"{function.__name__} ended with {done.returncode}:\n{done.stderr[-6000:]}")
    return json.loads(done.stdout.splitlines()[-1])


class Worker:
    """A child process.

    Parameters:
        number: which it is; never the same twice on one file.
        body: what it does, given this object.
    """

    def __init__(self, number: int, body: Callable[["Worker"], object]) -> None:
        self.number, self.alive = number, True
        self.places = mmap.mmap(-1, THREADS + 1)  # of each thread and of the rollback, to be seen from outside
        self._told, self._tell = os.pipe()
        self._ordered, self._order = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._live(body)
        os.close(self._tell)
        os.close(self._ordered)
        os.set_blocking(self._told, False)

    def _live(self, body: Callable[["Worker"], object]) -> None:
        signal.alarm(PATIENCE)  # whatever becomes of the driver
        with self.or_die():
            body(self)
        os._exit(0)

    @contextmanager
    def or_die(self) -> Iterator[None]:
        """Whatever goes wrong in any thread ends the process, which the driver sees."""
        try:
            yield
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    def tell(self, *message: Any) -> None:
        """In the child: acknowledge something; a short message is written as a whole or not at all."""
        os.write(self._tell, json.dumps(message).encode() + b"\n")

    def wait(self) -> None:
        """In the child: wait for the driver's `go`."""
        os.read(self._ordered, 1)

    def go(self) -> None:
        """Let the child go on."""
        os.write(self._order, b"!")

    def heard(self) -> list[list[Any]]:
        """What it has told since the last time."""
        parts: list[bytes] = []
        try:
            while part := os.read(self._told, 1 << 16):
                parts.append(part)
            self._ended()
        except BlockingIOError:
            pass
        return [json.loads(line) for line in b"".join(parts).splitlines()]

    def hear(self, messages: int) -> list[list[Any]]:
        """Wait until it has told so many."""
        heard: list[list[Any]] = []
        while len(heard) < messages and self.alive:
            assert select.select([self._told], [], [], PATIENCE)[0], "it tells nothing"
            heard += self.heard()
        assert len(heard) >= messages
        return heard

    def hear_any(self, meanwhile: Callable[[], object]) -> None:
        """Wait until it has something to tell, and do something all the while, such as to hear others."""
        deadline = time.monotonic() + PATIENCE
        while not select.select([self._told], [], [], 0.001)[0]:
            assert time.monotonic() < deadline, "it tells nothing"
            meanwhile()

    def kill(self) -> None:
        """Kill it, whatever it is doing."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait_for(-signal.SIGKILL)

    def wait_for(self, expected: int = 0) -> None:
        """Wait until it has ended in this way."""
        self.alive = False
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert code == expected, f"process {self.number} ended with {code}"

    def close(self) -> None:
        """Forget it, once nothing more is to be heard."""
        for end in (self._told, self._order):
            os.close(end)
        self.places.close()

    def _ended(self) -> None:
        if self.alive:
            self.wait_for()


def opened(path: str, **options: Any) -> ReplayBuffer[Any]:
    """The buffer in the file."""
    log = SqliteLog[Any](path, durability=options.pop("durability", "normal"), timeout=options.pop("timeout", 30.0))
    return ReplayBuffer(log, CONFIG, **options)


def in_threads(worker: Worker, body: Callable[[int], object], threads: int = THREADS) -> None:
    """Call the body in so many threads, with the number of each, and wait for them."""

    def run(thread: int) -> None:
        with worker.or_die():
            body(thread)

    running = [Thread(target=run, args=(thread,)) for thread in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join()


def call(process: int, thread: int, number: int) -> tuple[str, list[Measurement]]:
    """To whom a thread adds what in one of its calls: mostly one, every fifth time three at once."""
    user = USERS[(process + thread + number) % len(USERS)]
    return user, [(process, thread, number, place) for place in range(3 if number % 5 == 4 else 1)]


def adding(path: str, durability: str = "normal", calls: int | None = None) -> Callable[[Worker], None]:
    """A process that adds, without an end or so many times a thread."""

    def body(worker: Worker) -> None:
        buffer = opened(path, durability=durability)

        def add(thread: int) -> None:
            for number in count() if calls is None else range(calls):
                user, batch = call(worker.number, thread, number)
                worker.places[thread] = BUSY
                if len(batch) == 1:
                    first = buffer.add_measurement(user, batch[0])
                else:
                    first = buffer.add_measurements(user, batch).start
                worker.places[thread] = IDLE
                worker.tell("added", thread, number, first)

        in_threads(worker, add)
        buffer.close()

    return body


def prepare(path: str, durability: str = "normal") -> None:
    """Make the file, with the application's own table in it, and each user's first measurement."""
    with opened(path, durability=durability) as buffer, closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE counter (user PRIMARY KEY, total, worth)")
        for user in USERS:
            connection.execute("INSERT INTO counter VALUES (?, 0, 0)", (user,))
        connection.commit()
        for user in USERS:
            buffer.add_measurement(user, FIRST)


def count_in(connection: sqlite3.Connection, user: str, window: Iterable[Measurement]) -> None:
    """What the application makes of a window, in its own table."""
    saved = len(list(window)), worth(window), user
    connection.execute("UPDATE counter SET total = total + ?, worth = worth + ? WHERE user = ?", saved)


def worth(measurements: Iterable[Measurement]) -> int:
    """A number that other measurements would hardly have."""
    return sum(zlib.crc32(repr(tuple(measurement)).encode()) for measurement in measurements)


class Ledger:
    """What the processes on one file have told, and whether the file says the same.

    Parameters:
        path: the file, as `prepare` has made it.
        figures: where is counted: kills, what was acknowledged, lost, doubled.
    """

    def __init__(self, path: str, figures: Counter[str] | None = None) -> None:
        self.path, self.figures = path, Counter[str]() if figures is None else figures
        self.running: list[Worker] = []
        self.numbers = count()
        self.added: dict[tuple[int, int], list[int]] = {}
        self.completed: set[tuple[str, int]] = set()
        self.versions: dict[str, int] = dict.fromkeys(USERS, 0)
        self.latest: dict[str, tuple[Worker, list[Any]]] = {}

    def start(self, body: Callable[[Worker], object]) -> Worker:
        """Start a process."""
        worker = Worker(next(self.numbers), body)
        self.running.append(worker)
        self.added.update({(worker.number, thread): [] for thread in range(THREADS)})
        return worker

    def kill(self, worker: Worker) -> None:
        """Kill a process."""
        worker.kill()
        places = set(worker.places[:])
        self.figures["kills"] += 1
        self.figures["while a call was under way"] += places != {IDLE}
        self.figures["within the application's transaction"] += bool(places & set(IN_TRANSACTION))
        self.figures["within a rollback"] += ROLLING_BACK in places
        self._forget(worker)

    def await_death(self, worker: Worker, expected: int = -signal.SIGKILL) -> None:
        """Wait until a process has ended by itself."""
        worker.wait_for(expected)
        self._forget(worker)

    def _forget(self, worker: Worker) -> None:
        self.hear([worker])
        self.running.remove(worker)
        worker.close()

    def hear(self, workers: Iterable[Worker]) -> None:
        """Note what was acknowledged by now."""
        for worker in workers:
            for message in worker.heard():
                self._note(worker, message)

    def _note(self, worker: Worker, message: list[Any]) -> None:
        match message:
            case ["added", thread, number, first]:
                calls = self.added[worker.number, thread]
                assert number == len(calls)
                calls.append(first)
                self.figures["measurements acknowledged"] += len(call(worker.number, thread, number)[1])
            case [what, user, version, *_]:
                self.versions[user] = max(version, self.versions[user])
                self.latest[user] = worker, message
                if what == "replayed":
                    self.completed.add((user, version))
                    self.figures["replays acknowledged"] += 1

    def check(self) -> None:
        """Compare with the file, at one moment in which nobody can write: what was heard by then must be in it."""
        with (
            opened(self.path) as buffer,
            closing(sqlite3.connect(self.path, isolation_level=None, timeout=30)) as connection,
        ):
            assert set(buffer.users()) == set(USERS)  # which also opens a connection, before the file is held
            connection.execute("BEGIN IMMEDIATE")
            self.hear(self.running)
            histories = {user: list(buffer.events(user)) for user in USERS}
            for user, history in histories.items():
                audit = buffer.audit(user)
                assert audit.ok, f"{user}: {audit}"
                self._check_replays(user, history, buffer.state(user), connection)
            connection.execute("ROLLBACK")
        self._check_adds(histories)

    def _check_adds(self, histories: dict[str, list[Any]]) -> None:
        """Each acknowledged one is there once, at its offset; beyond that, a thread's next call, whole or not."""
        found: dict[Measurement, list[tuple[str, int]]] = defaultdict(list)
        for user, history in histories.items():
            for recorded in history:
                if isinstance(recorded.event, MeasurementAdded):
                    found[tuple(recorded.event.measurement)].append((user, recorded.offset))
        assert len(found.pop(FIRST)) == len(USERS)
        for (process, thread), calls in self.added.items():
            for number, first in enumerate(calls):
                user, batch = call(process, thread, number)
                for offset, measurement in enumerate(batch, first):
                    places = found.pop(measurement, [])
                    self.figures["lost"] += (user, offset) not in places
                    self.figures["doubled"] += len(places) > 1
            told = [(call(process, thread, number)[0], first) for number, first in enumerate(calls)]
            for user in USERS:
                firsts = [first for name, first in told if name == user]
                assert firsts == sorted(firsts), "out of order"
            user, batch = call(process, thread, len(calls))
            in_flight = [place for measurement in batch for place in found.pop(measurement, [])]
            if in_flight:
                first = in_flight[0][1]
                assert in_flight == [(user, first + place) for place in range(len(batch))], f"torn: {in_flight}"
                assert first > max((one for name, one in told if name == user), default=-1), (
                    f"out of order: {in_flight}"
                )
        assert not found, f"nobody was adding {dict(found)}"

    def _check_replays(self, user: str, history: list[Any], state: Any, connection: sqlite3.Connection) -> None:
        """The application's table holds what the completed replays have covered; no acknowledged step was undone."""
        replayed: list[Measurement] = []
        live: list[tuple[int, Measurement]] = []
        frozen_offset, completed = 0, set[int]()
        for recorded in history:
            match recorded.event:
                case MeasurementAdded(measurement=measurement):
                    live.append((recorded.offset, measurement))
                case SnapshotBegun():
                    frozen_offset = recorded.offset
                case ReplayCompleted(version=version):
                    completed.add(version)
                    replayed += [measurement for offset, measurement in live if offset < frozen_offset]
                    live = [(offset, measurement) for offset, measurement in live if offset >= frozen_offset]
        total, saved = connection.execute("SELECT total, worth FROM counter WHERE user = ?", (user,)).fetchone()
        self.figures["lost"] += max(0, len(replayed) - total)
        self.figures["doubled"] += max(0, total - len(replayed))
        self.figures["wrong"] += total == len(replayed) and saved != worth(replayed)
        self.figures["lost"] += len({version for name, version in self.completed if name == user} - completed)
        assert state.replayed == len(replayed)
        assert state.version >= self.versions[user]
        if user in self.latest and not self.latest[user][0].alive:
            self._check_snapshot(state, *self.latest[user][1])

    def _check_snapshot(self, state: Any, what: str, user: str, version: int, deadline: float | None = None) -> None:
        """The snapshot of a process that was killed is as it was told, or one step further."""
        found = state.phase, state.version
        if what == "begun":
            assert found == ("replaying", version) or (*found, state.deadline) == ("snapshotting", version, deadline)
        elif what == "finalized":
            assert found in [("idle", version), ("aborting", version), ("replaying", version)]
            assert state.deadline == (deadline if state.phase == "replaying" else None)
        else:
            assert found in [("idle", version), ("snapshotting", version + 1)]
        self.figures["snapshots left in progress"] += state.phase != "idle"

    def take_over(self) -> None:
        """When all are dead: each snapshot in progress is aborted and rolled back at once, and all is live again."""
        assert not self.running
        with opened(self.path) as buffer:
            before = {user: buffer.state(user) for user in USERS}
            live = {user: buffer.measurements(user) for user in USERS}
        rolled_back: list[tuple[str, int]] = []

        def roll_back(user: str, version: int, _reason: str) -> None:
            rolled_back.append((user, version))

        with opened(self.path, take_over=True, on_abort=roll_back) as buffer:
            for user in USERS:
                after = buffer.state(user)
                assert (after.phase, after.version, after.deadline) == ("idle", before[user].version, None)
                assert (after.live, buffer.measurements(user)) == (before[user].live, live[user])
                assert buffer.audit(user).ok
        assert sorted(rolled_back) == [(user, one.version) for user, one in before.items() if one.phase != "idle"]
        self.latest.clear()

    def close(self) -> None:
        """End all, and have SQLite itself look at the file."""
        for worker in list(self.running):
            self.kill(worker)
        self.check()
        self.take_over()
        with closing(sqlite3.connect(self.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


if __name__ == "__main__":
    module, name, arguments = sys.argv[1:]
    sys.stdout.write(json.dumps(getattr(import_module(module), name)(*json.loads(arguments))))
