"""Processes killed at every step of a replay, in a rollback, in a batch, while opening: what is found afterwards."""

import os
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from killing import BUSY, FIRST, Ledger, Worker, apart, call, count_in, opened, prepare

from events import AbortBegun, MeasurementAdded
from statemachine import UnknownUserError

STEPS = ("begin", "finalize", "transaction", "count", "complete", "commit")
BATCH = 300


def die(*_whatever: Any) -> None:
    """As if somebody else had killed this process just here."""
    os.kill(os.getpid(), signal.SIGKILL)


def replayed(worker: Worker, path: str, user: str, last: str = "commit") -> None:
    """Replay a user, as far as a step."""
    steps = iter(STEPS)

    def done(*told: Any) -> None:
        if told:
            worker.tell(*told)
        if next(steps) == last:
            die()

    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        buffer = opened(path)
        version = buffer.begin_snapshot(user)
        done("begun", user, version, buffer.state(user).deadline)
        frozen = buffer.finalize_snapshot(user, version)
        done("finalized", user, version, buffer.state(user).deadline)
        window = list(frozen)
        connection.execute("BEGIN IMMEDIATE")
        done()
        count_in(connection, user, window)
        done()
        frozen.complete(connection=connection)
        done()
        connection.execute("COMMIT")
        done("replayed", user, version)


def killed_at_each_step(directory: str) -> dict[str, dict[str, int]]:
    """A replay is killed after a step, then taken over, then done again."""
    found = {}
    for step in STEPS:
        path = f"{directory}/{step}.db"
        prepare(path)
        ledger = Ledger(path)
        for last in (step, "commit"):
            ledger.await_death(ledger.start(partial(replayed, path=path, user="ann", last=last)))
            ledger.check()
            ledger.take_over()
        ledger.close()
        with opened(path) as buffer, closing(sqlite3.connect(path)) as connection:
            total = connection.execute("SELECT total FROM counter WHERE user = 'ann'").fetchone()[0]
            found[step] = {**ledger.figures, "total": total, "live": buffer.state("ann").live}
    return found


def test_killed_after_any_step_of_a_replay_its_results_are_saved_exactly_once(tmp_path: Path) -> None:
    """Results and committed offset are saved together or not at all; done again, the counter is not off by one.

    The snapshot in progress keeps its deadline, and taking over aborts it at once (see `Ledger`).
    """
    found = apart(killed_at_each_step, tmp_path)
    assert list(found) == list(STEPS)
    for step, figures in found.items():
        assert (figures["total"], figures["live"]) == (1, 0), step
        assert (figures["lost"], figures["doubled"], figures["wrong"]) == (0, 0, 0), step
        assert figures["snapshots left in progress"] == (step != "commit"), step


def keeps_its_deadline(directory: str) -> list[Any]:
    path = f"{directory}/deadline.db"
    prepare(path)

    def body(worker: Worker) -> None:
        buffer = opened(path, clock=lambda: 1000.0)
        worker.tell("begun", "ann", buffer.begin_snapshot("ann"), buffer.state("ann").deadline)
        buffer.finalize_snapshot("bob", buffer.begin_snapshot("bob"))
        worker.tell("finalized", "bob", 1, buffer.state("bob").deadline)
        die()

    worker = Worker(0, body)
    worker.wait_for(-signal.SIGKILL)
    told = worker.heard()
    found = []
    for now in (1029.0, 1030.0, 1299.0, 1300.0):
        with opened(path, clock=lambda now=now: now) as buffer:
            expired = buffer.expire_overdue()
            found.append([expired, [buffer.state(user).deadline for user in ("ann", "bob")]])
    return [told, found]


def test_a_snapshot_in_progress_at_the_crash_keeps_its_deadline(tmp_path: Path) -> None:
    """Neither earlier nor later than it was told."""
    told, found = apart(keeps_its_deadline, tmp_path)
    assert told == [["begun", "ann", 1, 1030.0], ["finalized", "bob", 1, 1300.0]]
    assert found == [[[], [1030.0, 1300.0]], [["ann"], [None, 1300.0]], [[], [None, 1300.0]], [["bob"], [None, None]]]


def in_a_rollback(directory: str, again: bool) -> None:
    path = f"{directory}/rollback.db"
    prepare(path)

    def aborts(_worker: Worker) -> None:
        buffer = opened(path, on_abort=die)
        buffer.finalize_snapshot("ann", buffer.begin_snapshot("ann"))
        buffer.add_measurement("ann", 7)
        buffer.abort_snapshot("ann", "bad window")

    def takes_over(_worker: Worker) -> None:
        opened(path, on_abort=die, take_over=True)

    for number, body in enumerate([aborts, takes_over] if again else [aborts]):
        Worker(number, body).wait_for(-signal.SIGKILL)


@pytest.mark.parametrize("how", ["take_over", "sweep", "killed again"])
def test_the_rollback_runs_again_for_who_was_left_in_aborting(tmp_path: Path, how: str) -> None:
    """With the version and the reason that were recorded, at once with `take_over=True` or by the sweep."""
    apart(in_a_rollback, tmp_path, how == "killed again")
    called: list[tuple[str, int, str]] = []

    def roll_back(*told: Any) -> None:
        called.append(told)

    with opened(f"{tmp_path}/rollback.db", on_abort=roll_back, take_over=how == "take_over") as buffer:
        if how != "take_over":
            assert (buffer.state("ann").phase, called) == ("aborting", [])
            assert buffer.expire_overdue() == ["ann"]
        assert buffer.state("ann").phase == "idle"
        assert called == [("ann", 1, "bad window")]
        assert [tuple(buffer.measurements("ann")[0]), buffer.measurements("ann")[1]] == [FIRST, 7]
        assert sum(isinstance(recorded.event, AbortBegun) for recorded in buffer.events("ann")) == 1
        assert buffer.audit("ann").ok


def large_batches(directory: str, kills: int) -> Counter[str]:
    """Large batches, and histories that are replayed and pruned, killed after a moment each."""
    path, chance, figures = f"{directory}/batches.db", Random(1), Counter[str]()
    told: dict[tuple[int, int], int] = {}

    def body(worker: Worker) -> None:
        buffer = opened(path, take_over=True)
        for number in range(10**6):
            batch = [(worker.number, number, place) for place in range(BATCH)]
            worker.places[0] = BUSY
            worker.tell(number, buffer.add_measurements("ann", batch).start)
            if number % 3 == 2:
                with buffer.snapshot("ann"):
                    buffer.add_measurement("bob", number)
                buffer.prune()

    for process in range(kills):
        worker = Worker(process, body)
        worker.hear_any(lambda: None)
        time.sleep(chance.random() * 0.03)  # whenever it comes, what follows holds
        worker.kill()
        told |= {(process, number): first for number, first in worker.heard()}
        worker.close()
        with opened(path) as buffer:
            audit = buffer.audit("ann")
            assert audit.ok
            assert all(buffer.audit(user).ok for user in buffer.users())
            kept: dict[tuple[int, int], list[tuple[int, int]]] = {}
            for recorded in buffer.events("ann"):
                if isinstance(recorded.event, MeasurementAdded):
                    adder, number, place = recorded.event.measurement
                    kept.setdefault((adder, number), []).append((recorded.offset, place))
        for (first, _), places in ((places[0], places) for places in kept.values()):
            figures["torn"] += places != [(first + place, place) for place in range(BATCH)]
        for key, first in told.items():
            figures["lost"] += first >= audit.first and (first, 0) not in kept.get(key, [])
        in_flight, parts = divmod(audit.added - len(told) * BATCH, BATCH)
        figures["torn"] += parts != 0
        assert 0 <= in_flight <= process + 1
        figures["pruned"] = audit.first
    figures["acknowledged"] = len(told)
    return figures


def test_a_batch_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    """Also while what was replayed is being pruned."""
    figures = apart(large_batches, tmp_path, 10)
    assert (figures["torn"], figures["lost"]) == (0, 0)
    assert figures["acknowledged"] >= 10


def opening(directory: str, kills: int) -> int:
    """Processes that make a new file are killed after a moment; how many files were whole by then."""
    chance, acknowledged = Random(1), 0
    for number in range(kills):
        path = f"{directory}/new{number}.db"

        def body(worker: Worker, path: str = path) -> None:
            worker.tell(0)
            worker.tell(opened(path).add_measurement("ann", 1))
            signal.pause()

        workers = [Worker(process, body) for process in range(2)]
        heard = [workers[0].hear(1), []]
        time.sleep(chance.random() * 0.006)  # whenever it comes, what follows holds
        told = 0
        for worker, before in zip(workers, heard, strict=True):
            worker.kill()
            told += max(0, len(before) + len(worker.heard()) - 1)
            worker.close()
        with opened(path) as buffer:
            with suppress(UnknownUserError):
                assert buffer.audit("ann").ok
                assert told <= buffer.size("ann") <= 2
            assert told == 0 or "ann" in buffer.users()
            buffer.add_measurement("ann", 2)
        acknowledged += told
    return acknowledged


def test_killed_while_the_file_is_made_it_can_be_opened_and_used(tmp_path: Path) -> None:
    """By two at once: what they had acknowledged is there, and what follows is as ever."""
    assert 0 <= apart(opening, tmp_path, 12) <= 24


def one_of_two(directory: str) -> list[Any]:
    """One is killed with the application's transaction open, for whose end another waits."""
    path = f"{directory}/two.db"
    prepare(path)
    ledger = Ledger(path)

    def holds(worker: Worker) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            buffer = opened(path)
            frozen = buffer.finalize_snapshot("ann", buffer.begin_snapshot("ann"))
            window = list(frozen)
            connection.execute("BEGIN IMMEDIATE")
            count_in(connection, "ann", window)
            frozen.complete(connection=connection)
            worker.tell("holds")
            worker.wait()

    def adds(worker: Worker) -> None:
        buffer = opened(path)
        user, (measurement,) = call(worker.number, 0, 0)
        buffer.state(user)
        worker.tell("ready")
        worker.wait()
        worker.places[0] = BUSY
        worker.tell("added", 0, 0, buffer.add_measurement(user, measurement))

    adder = ledger.start(adds)
    adder.hear(1)
    holder = ledger.start(holds)
    holder.hear(1)
    adder.go()
    while BUSY not in adder.places[:]:
        time.sleep(0.001)
    ledger.kill(holder)
    ledger.await_death(adder, 0)
    ledger.check()
    ledger.take_over()
    return [ledger.figures, ledger.added[adder.number, 0]]


def test_one_that_is_killed_does_not_keep_another_waiting(tmp_path: Path) -> None:
    """Its transaction is as if it had never been, and the other's add goes through."""
    figures, offsets = apart(one_of_two, tmp_path)
    assert (figures["measurements acknowledged"], figures["kills"], offsets) == (1, 1, [3])  # after begun and finalized
    assert (figures["lost"], figures["doubled"]) == (0, 0)


def naive(worker: Worker, path: str) -> None:
    """An application that saves its results first and completes afterwards, and dies in between."""
    buffer = opened(path)
    frozen = buffer.finalize_snapshot("ann", buffer.begin_snapshot("ann"))
    with closing(sqlite3.connect(path)) as connection:
        count_in(connection, "ann", frozen)
        connection.commit()
    die()


def hasty(worker: Worker, path: str) -> None:
    """One that acknowledges before it has added."""
    worker.tell("added", 0, 0, 1)
    die()


def careless(worker: Worker, path: str) -> None:
    """One that adds a second time what was added."""
    buffer, (user, batch) = opened(path), call(worker.number, 0, 0)
    worker.tell("added", 0, 0, buffer.add_measurements(user, batch).start)
    buffer.add_measurements(user, batch)
    die()


def canaries(directory: str) -> list[list[int]]:
    found = []
    for number, body in enumerate((naive, hasty, careless)):
        path = f"{directory}/canary{number}.db"
        prepare(path)
        ledger = Ledger(path)
        ledger.await_death(ledger.start(partial(body, path=path)))
        ledger.check()
        found.append([ledger.figures["lost"], ledger.figures["doubled"]])
    return found


def test_the_check_finds_what_is_wrong(tmp_path: Path) -> None:
    """It can fail: a result saved apart from its completion, an add acknowledged too early, one that is made twice."""
    assert apart(canaries, tmp_path) == [[0, 1], [1, 0], [0, 1]]
