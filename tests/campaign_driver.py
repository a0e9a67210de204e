"""`Campaign`: starts processes on a server, kills and pauses some, restarts the server, and checks what is left.

Must not know a test. It is a driver as in `killing`: it forks, so it has one thread, and no connection until the end.
"""

import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

import psycopg
from campaign_server import Mode, Server
from killing import PATIENCE, Worker
from pg_campaign import (
    ADDED,
    BEFORE_COMPLETING,
    COMMITTING,
    COMPLETING,
    COMPUTING,
    THREADS,
    UNKNOWN,
    USERS,
    WRITTEN,
    Row,
    Scene,
    Told,
    adding,
    calls,
    faults,
    replaying,
    save,
)

from events import MeasurementAdded, ReplayCompleted, SnapshotBegun, SnapshotExpired
from statemachine import ReplayBuffer

ADDERS, WORKERS = 3, 3
"""How many processes there are at a time."""

Kind = Callable[[Scene], Callable[[Worker], None]]


class Campaign:
    """One round.

    Parameters:
        server: the server.
        scene: what the processes share.
        seed: for what is chosen at random.
    """

    def __init__(self, server: Server, scene: Scene, seed: int) -> None:
        self.server, self.scene, self.chance = server, scene, Random(seed)
        self.figures, self.waits, self.numbers = Counter[str](), list[float](), count()
        self.running: dict[Worker, Kind] = {}
        self.heard: dict[int, list[str]] = {}  # of each adder
        self.under_way: dict[tuple[Worker, int], tuple[str, int]] = {}  # the latest replay of each thread
        self.ended: dict[tuple[str, int], str] = {}
        self.versions = dict.fromkeys(USERS, 0)
        self.orphans: dict[tuple[str, int], float] = {}

    def run(self, deeds: list[Callable[[], object]]) -> None:
        """Do these, while the processes are at work."""
        try:
            for kind in [adding] * ADDERS + [replaying] * WORKERS:
                self.start(kind)
            for deed in deeds:
                self.go_on()
                deed()
            self.go_on()
            self.end()
        finally:
            for worker in self.running:
                if worker.alive:
                    os.kill(worker.pid, signal.SIGKILL)

    def start(self, kind: Kind) -> None:
        worker = Worker(next(self.numbers), kind(self.scene))
        self.running[worker] = kind
        if kind is adding:
            self.heard[worker.number] = []

    def one_of(self, kind: Kind) -> Worker:
        return self.chance.choice([worker for worker, of_kind in self.running.items() if of_kind is kind])

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until it holds, hearing all the while."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "nothing happens any more"
            time.sleep(0.0005)
            for worker in self.running:
                self.hear(worker)

    def hear(self, worker: Worker) -> None:
        """Note what it has told by now."""
        for message in worker.heard():
            match message:
                case ["begun", user, version, slot]:
                    self.under_way[worker, slot] = user, version
                    self.versions[user] = max(version, self.versions[user])
                    if (died_at := self.orphans.pop((user, version - 1), None)) is not None:
                        self.waits.append(time.monotonic() - died_at)
                case ["ended", user, version, outcome]:
                    self.ended[user, version] = outcome
                    self.figures[f"replays {outcome}"] += 1
                case ["stale"]:
                    self.figures["late completions refused"] += 1
                case [outcome, number]:
                    assert number == len(self.heard[worker.number])
                    self.heard[worker.number].append(outcome)

    def go_on(self) -> None:
        """Wait until every adder has added some more, and some more replays were completed."""
        adders = [worker.number for worker, kind in self.running.items() if kind is adding]
        more = {number: self.heard[number].count(ADDED) + 3 for number in adders}
        completed = self.figures["replays completed"] + 3
        self.until(
            lambda: (
                self.figures["replays completed"] >= completed
                and all(self.heard[number].count(ADDED) >= enough for number, enough in more.items())
            )
        )

    def kill_adder(self) -> None:
        self.kill(self.one_of(adding))

    def kill_worker(self) -> None:
        """Kill one in the midst of a replay."""
        victim, place = self.one_of(replaying), self.chance.choice([COMPUTING, WRITTEN, COMPLETING, COMMITTING])
        self.until(lambda: place in victim.places[:])
        self.kill(victim)

    def kill(self, victim: Worker) -> None:
        """Kill it; another takes its place."""
        victim.kill()
        self.hear(victim)
        kind = self.running.pop(victim)
        self.figures["kills"] += 1
        self.figures["kills within a replay"] += any(victim.places[:])
        for replay in self.interrupted(victim):
            self.orphans[replay] = time.monotonic()
        victim.close()
        self.start(kind)

    def pause_worker(self) -> None:
        """Pause one in the midst of a replay until others have taken its users over; then it goes on."""
        victim = self.one_of(replaying)
        while not (zombies := self.paused(victim)):
            os.kill(victim.pid, signal.SIGCONT)
        self.until(lambda: all(self.versions[user] > version for user, version in zombies))
        os.kill(victim.pid, signal.SIGCONT)
        self.until(lambda: all(replay in self.ended for replay in zombies))
        self.figures["pauses"] += 1
        self.figures["paused replays taken over"] += len(zombies)
        self.figures["paused and completed"] += sum(self.ended[replay] == "completed" for replay in zombies)

    def paused(self, victim: Worker) -> list[tuple[str, int]]:
        """Pause it; its replays that are where others can take over."""
        place = self.chance.choice(BEFORE_COMPLETING)
        self.until(lambda: place in victim.places[:])
        os.kill(victim.pid, signal.SIGSTOP)
        os.waitpid(victim.pid, os.WUNTRACED)
        self.hear(victim)
        return self.interrupted(victim)

    def interrupted(self, worker: Worker) -> list[tuple[str, int]]:
        """The replays, user and version, in whose midst a process stands still, if they have not begun to complete."""
        return [self.under_way[worker, slot] for slot in range(THREADS) if worker.places[slot] in BEFORE_COMPLETING]

    def restart(self, mode: Mode) -> None:
        self.server.restart(mode)
        self.figures[f"restarts, {mode}"] += 1

    def end(self) -> None:
        """Have all processes come to an end by themselves."""
        for worker in self.running:
            worker.go()
        self.until(lambda: not any(worker.alive for worker in self.running))
        self.running.clear()

    def told(self) -> Told:
        """What the adders have told; of one that was killed, what came of its last call is unknown."""
        told = Told()
        for number, outcomes in self.heard.items():
            for call, outcome in zip(calls(number), [*outcomes, UNKNOWN], strict=False):
                getattr(told, outcome).append(call)
        return told

    def check(self) -> None:
        """Replay what is left, and compare the application's table with what was told and with the history."""
        told = self.told()
        with self.scene.opened() as buffer, psycopg.connect(self.scene.address) as connection:
            self.drain(buffer)
            rows: list[Row] = connection.execute(
                f"SELECT user_id, version, number FROM {self.scene.table} ORDER BY place"
            ).fetchall()
            for user in USERS:
                audit = buffer.audit(user)
                self.figures["audits failed"] += not audit.ok
                self.figures["left or evicted"] += audit.live + audit.evicted + audit.cleared
                saved = [row for row in rows if row[0] == user]
                self.figures["not as in the history"] += saved != self.replayed(user, list(buffer.events(user)))
        self.figures += faults(rows, told)
        for name in ("added", "unknown", "refused"):
            self.figures[f"measurements {name}"] = sum(len(batch) for _, batch in getattr(told, name))
        self.figures["measurements replayed"] = len(rows)

    def drain(self, buffer: ReplayBuffer[int]) -> None:
        """Replay until nobody has any measurement left, or a replay in progress."""
        deadline = time.monotonic() + PATIENCE

        def replay(frozen: Any) -> None:
            with psycopg.connect(self.scene.address) as connection:
                save(connection, self.scene, frozen, list(frozen))
                frozen.complete(connection=connection)

        manager = self.scene.manager(buffer, replay)
        while any(buffer.size(user) for user in USERS):
            assert time.monotonic() < deadline, "it is not replayed"
            manager.replay_ready()
            time.sleep(0.01)

    def replayed(self, user: str, history: list[Any]) -> list[Row]:
        """What the application's table has to hold of a user, each measurement under the version that completed."""
        replayed: list[Row] = []
        live: list[int] = []
        frozen = 0
        for recorded in history:
            match recorded.event:
                case MeasurementAdded(measurement=number):
                    live.append(number)
                case SnapshotBegun():
                    frozen = len(live)
                case ReplayCompleted(version=version):
                    replayed += [(user, version, number) for number in live[:frozen]]
                    live = live[frozen:]
                case SnapshotExpired():
                    self.figures["leases expired"] += 1
        return replayed


def campaign(
    directory: str, server: list[Any], seed: int, lease: float, deeds: dict[str, int], saves_first: bool = False
) -> tuple[dict[str, int], list[float]]:
    """A round of these deeds (methods of `Campaign`, and how often), in some order, and a restart of the server.

    Returns:
        What was counted, and after how many leases the users of workers that were killed were taken over.
    """
    logging.basicConfig(filename=f"{directory}/log")
    bound = 30 if seed % 3 == 0 else 10**6  # so that some adds are refused, in some rounds
    scene = Scene(server[0], f"campaign_{seed}", lease, bound, saves_first)
    scene.prepare()
    round_ = Campaign(Server(*server), scene, seed)
    todo = [getattr(round_, name) for name, times in deeds.items() for _ in range(times)]
    todo.append(lambda: round_.restart("fast" if seed % 2 else "immediate"))
    round_.chance.shuffle(todo)
    round_.run(todo)
    round_.check()
    return dict(round_.figures), [wait / lease for wait in round_.waits]
