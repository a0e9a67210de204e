"""One file, many processes, threads and forks: offsets stay dense, versions fence, nobody waits without an end."""

import json
import multiprocessing
import os
import sqlite3
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from threading import Barrier, Event, Thread, current_thread
from typing import Any

import pytest
from killing import CONFIG, PATIENCE, THREADS, USERS, Ledger, Worker, adding, apart, call, opened, prepare

from events import LogBusyError, SqliteLog
from statemachine import ReplayBuffer, SnapshotInProgressError, StaleSnapshotError

ROUNDS, CALLS, CHILDREN = 60, 40, 3


def ended(workers: list[Worker]) -> None:
    for worker in workers:
        if worker.alive:
            worker.wait_for()
        worker.close()


def race(directory: str) -> list[list[str]]:
    """Two processes begin a snapshot of the same user at once, for one user after the other."""
    path, users = f"{directory}/race.db", [f"user {number}" for number in range(ROUNDS)]
    with opened(path) as buffer:
        for user in users:
            buffer.add_measurement(user, 1)

    def begins(worker: Worker) -> None:
        buffer = opened(path)
        for user in users:
            worker.wait()
            try:
                version = buffer.begin_snapshot(user)
                worker.tell(f"won {version}")
            except SnapshotInProgressError:
                worker.tell("refused")

    workers = [Worker(number, begins) for number in range(2)]
    outcomes = []
    for _ in users:
        for worker in workers:
            worker.go()
        outcomes.append(sorted(worker.hear(1)[0][0] for worker in workers))
    ended(workers)
    with opened(path) as buffer:
        assert all((buffer.state(user).phase, buffer.state(user).version) == ("snapshotting", 1) for user in users)
    return outcomes


def test_of_two_processes_that_begin_at_once_exactly_one_wins(tmp_path: Path) -> None:
    """The other is told that a snapshot is in progress."""
    assert apart(race, tmp_path) == [["refused", "won 1"]] * ROUNDS


def crowd(directory: str) -> dict[str, int]:
    """Processes add to the same users and to their own, while others look."""
    path = f"{directory}/crowd.db"
    prepare(path)
    ledger = Ledger(path)
    total = 3 * THREADS * sum(len(call(0, 0, number)[1]) for number in range(CALLS)) + len(USERS)

    def reads(worker: Worker, *, read_only: bool) -> None:
        log = SqliteLog[Any](path, read_only=read_only, timeout=30)
        with ReplayBuffer(log, CONFIG) as buffer:
            seen: dict[str, list[Any]] = {user: [] for user in USERS}
            while sum(map(len, seen.values())) < total:
                for user in USERS:
                    history = list(buffer.events(user))
                    assert [recorded.offset for recorded in history] == list(range(len(history))), "not dense"
                    assert history[: len(seen[user])] == seen[user], "what was seen has changed"
                    calls = Counter(recorded.event.measurement[:3] for recorded in history[1:])  # type: ignore[union-attr]
                    assert all(count == len(call(*which)[1]) for which, count in calls.items()), "torn"
                    assert buffer.size(user) >= len(history), "the head went back"
                    seen[user] = history
                worker.tell("looked")

    readers = [
        ledger.start(lambda worker, read_only=read_only: reads(worker, read_only=read_only))
        for read_only in (False, True)
    ]
    for _ in range(3):
        ledger.start(adding(path, calls=CALLS))
    looks = 0
    while any(worker.alive for worker in ledger.running):
        time.sleep(0.001)
        for worker in ledger.running:
            if worker in readers:
                looks += len(worker.heard())
            elif worker.alive:
                ledger.hear([worker])
    ledger.check()
    return {**ledger.figures, "looks": looks, "total": total}


def test_processes_add_to_the_same_users_and_readers_never_see_a_gap_or_a_torn_append(tmp_path: Path) -> None:
    """Every offset is given once; each batch is seen as a whole; what was seen stays as it is."""
    figures = apart(crowd, tmp_path)
    assert figures["measurements acknowledged"] == figures["total"] - len(USERS)
    assert (figures["lost"], figures["doubled"]) == (0, 0)
    assert figures["looks"] >= 2


def making(directory: str) -> list[list[int]]:
    """Some processes open a file that is not there yet, all at once, and add."""
    found = []
    for number in range(5):
        path = f"{directory}/new{number}.db"

        def adds(worker: Worker, path: str = path) -> None:
            worker.wait()
            with opened(path) as buffer:
                worker.tell(buffer.add_measurement("ann", worker.number))

        workers = [Worker(each, adds) for each in range(4)]
        for worker in workers:
            worker.go()
        found.append(sorted(worker.hear(1)[0][0] for worker in workers))
        ended(workers)
        with opened(path) as buffer:
            assert sorted(buffer.measurements("ann")) == [0, 1, 2, 3]
            assert buffer.audit("ann").ok
    return found


def test_several_processes_may_make_the_file_at_once(tmp_path: Path) -> None:
    """All find the same log in it."""
    assert apart(making, tmp_path) == [[0, 1, 2, 3]] * 5


def stale(directory: str) -> list[str]:
    """A process completes after another has taken over and begun again."""
    path, said = f"{directory}/stale.db", list[str]()
    prepare(path)

    def completes_late(worker: Worker) -> None:
        buffer = opened(path)
        frozen = buffer.finalize_snapshot("ann", buffer.begin_snapshot("ann"))
        worker.tell("begun")
        for _ in range(2):
            worker.wait()
            for act in (frozen.complete, frozen.renew, lambda: completed_within(frozen)):
                try:
                    act()
                    worker.tell("done")
                except StaleSnapshotError:
                    worker.tell("stale")

    def completed_within(frozen: Any) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                frozen.complete(connection=connection)
            finally:
                connection.execute("ROLLBACK")

    def takes_over(worker: Worker) -> None:
        buffer = opened(path, take_over=True)
        buffer.add_measurement("ann", 2)
        frozen = buffer.finalize_snapshot("ann", buffer.begin_snapshot("ann"))
        worker.tell("begun")
        worker.wait()
        frozen.complete()
        worker.tell("completed", len(frozen))

    first = Worker(0, completes_late)
    first.hear(1)
    second = Worker(1, takes_over)
    second.hear(1)
    first.go()
    said += [message for (message,) in first.hear(3)]
    second.go()
    assert second.hear(1) == [["completed", 2]]
    first.go()
    said += [message for (message,) in first.hear(3)]
    ended([first, second])
    with opened(path) as buffer:
        state = buffer.state("ann")
        assert (state.phase, state.version, state.replayed, state.live) == ("idle", 2, 2, 0)
        assert buffer.audit("ann").ok
    return said


def test_a_process_that_completes_with_a_stale_version_changes_nothing(tmp_path: Path) -> None:
    """Whether the later snapshot is still in progress or completed, and also within a transaction."""
    assert set(apart(stale, tmp_path)) == {"stale"}


def test_many_threads_may_use_one_log(tmp_path: Path) -> None:
    """Adds of all threads, batches and replays: dense, each once, each thread's in order."""
    path, threads, start = tmp_path / "threads.db", 6, Barrier(7)
    told: list[tuple[str, int, tuple[int, ...]]] = []
    windows: list[Any] = []
    buffer: ReplayBuffer[Any] = ReplayBuffer(SqliteLog(path, durability="normal"), CONFIG)
    buffer.add_measurement("ann", (-1, 0, 0, 0))

    def add(thread: int) -> None:
        start.wait()
        for number in range(CALLS):
            user, batch = call(0, thread, number)
            first = buffer.add_measurements(user, batch).start
            told.extend((user, offset, measurement) for offset, measurement in enumerate(batch, first))

    def replay() -> None:
        start.wait()
        for _ in range(10):
            with buffer.snapshot("ann") as frozen:
                windows.extend(frozen)

    running = [Thread(target=add, args=(thread,)) for thread in range(threads)] + [Thread(target=replay)]
    for each in running:
        each.start()
    for each in running:
        each.join(PATIENCE)
    assert windows + buffer.measurements("ann") == [(-1, 0, 0, 0), *in_order(told, "ann")]
    for user in USERS:
        assert buffer.audit(user).ok
        assert buffer.state(user).added == len(in_order(told, user)) + (user == "ann")
        for thread in range(threads):
            own = [measurement for measurement in in_order(told, user) if measurement[1] == thread]
            assert own == sorted(own)
    buffer.close()


def in_order(told: list[tuple[str, int, tuple[int, ...]]], user: str) -> list[tuple[int, ...]]:
    return [measurement for name, _, measurement in sorted(told) if name == user]


@contextmanager
def held(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody's transaction, open."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def test_a_file_that_is_held_for_too_long_is_a_clear_error(tmp_path: Path) -> None:
    """It names the file and what to do; nothing is recorded; once the file is free it works."""
    path = tmp_path / "held.db"
    with ReplayBuffer(SqliteLog[Any](path, timeout=0.05)) as buffer:
        buffer.add_measurements("ann", [1])
        before = list(buffer.events("ann"))
        with held(path) as connection:
            for act in (
                lambda: buffer.add_measurement("ann", 2),
                lambda: buffer.add_measurements("ann", [2, 3]),
                lambda: buffer.add_measurement("bob", 2),
                lambda: buffer.begin_snapshot("ann"),
                lambda: buffer.clear_buffer("ann"),
            ):
                with pytest.raises(
                    LogBusyError, match=r"held\.db was held .* 0\.05 s .* try again, keep .* longer timeout"
                ):
                    act()
            assert list(buffer.events("ann")) == before
            assert list(buffer.users()) == ["ann"]
            connection.execute("COMMIT")
        assert buffer.add_measurement("ann", 2) == 1
        assert buffer.audit("ann").ok


def test_threads_that_wait_together_for_a_held_file_are_all_told(tmp_path: Path) -> None:
    """None hangs, and nothing of theirs is recorded."""
    path, errors = tmp_path / "held.db", list[LogBusyError]()
    with ReplayBuffer(SqliteLog[Any](path, timeout=0.05)) as buffer:
        buffer.add_measurements("ann", [1])

        def add() -> None:
            try:
                buffer.add_measurement("ann", 2)
            except LogBusyError as error:
                errors.append(error)

        with held(path):
            running = [Thread(target=add) for _ in range(8)]
            for each in running:
                each.start()
            for each in running:
                each.join(PATIENCE)
        assert len(errors) == 8
        assert buffer.measurements("ann") == [1]


def test_who_has_time_waits_for_a_held_file(tmp_path: Path) -> None:
    """The add goes through once the other's transaction has ended."""
    path, waiting, offsets = tmp_path / "held.db", Event(), list[int]()
    with ReplayBuffer(SqliteLog[Any](path, timeout=PATIENCE)) as buffer:
        buffer.add_measurement("ann", 1)

        def add() -> None:
            waiting.set()
            offsets.append(buffer.add_measurement("ann", 2))

        with held(path) as connection:
            thread = Thread(target=add)
            thread.start()
            assert waiting.wait(PATIENCE)
            assert offsets == []
            connection.execute("COMMIT")
            thread.join(PATIENCE)
        assert offsets == [1]


@pytest.mark.parametrize("read_only", [False, True])
def test_reading_does_not_wait_for_who_writes(tmp_path: Path, read_only: bool) -> None:
    """A log can be opened and read while somebody's transaction is open."""
    path = tmp_path / "held.db"
    with ReplayBuffer(SqliteLog[Any](path)) as buffer:
        buffer.add_measurement("ann", 1)
        with held(path), ReplayBuffer(SqliteLog[Any](path, timeout=0.05, read_only=read_only)) as other:
            assert other.measurements("ann") == [1]


def forked(way: str, child: Callable[[int], None], number: int) -> Callable[[], int | None]:
    """Fork a child that does this and leaves in some way; what waits for it and gives its exit code."""
    if way == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=child, args=(number,))
        process.start()
        return lambda: process.join(PATIENCE) or process.exitcode
    pid = os.fork()
    if pid == 0:
        child(number)
        os._exit(0) if way == "_exit" else sys.exit(0)
    return lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def forking(directory: str, way: str) -> dict[str, list[Any]]:
    """A process that adds in threads forks; the children add through the log they find open."""
    warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is just what is tried here
    path, stop = f"{directory}/{way}.db", Event()
    told: dict[int, Any] = {}
    reading, writing = os.pipe()

    def add(thread: int) -> None:
        for number in count():
            told[buffer.add_measurement("ann", [thread, number])] = [thread, number]
            if stop.is_set():
                return

    def child(number: int) -> None:
        first = buffer.add_measurement("ann", ["child", number])
        batch = buffer.add_measurements("bob", [[number, place] for place in range(3)])
        assert ["child", number] in buffer.measurements("ann")
        assert [recorded.offset for recorded in buffer.events("ann")][:first] == list(range(first))
        os.write(writing, json.dumps([number, first, batch.start]).encode() + b"\n")

    with opened(path) as buffer:
        threads = [Thread(target=add, args=(thread,)) for thread in range(2)]
        for thread in threads:
            thread.start()
        codes = [forked(way, child, number)() for number in range(CHILDREN)]
        before = len(told)
        while len(told) < before + 10:  # they go on
            time.sleep(0.001)
        stop.set()
        for thread in threads:
            thread.join()
        for line in os.read(reading, 1 << 16).splitlines():
            number, first, batch = json.loads(line)
            told[first] = ["child", number]
            assert buffer.measurements("bob")[batch : batch + 3] == [[number, place] for place in range(3)]
        assert buffer.measurements("ann") == [told[offset] for offset in range(len(told))]
        assert all(buffer.audit(user).ok for user in buffer.users())
        assert buffer.size("bob") == 3 * CHILDREN
    with closing(sqlite3.connect(path)) as connection:
        return {"codes": codes, "check": connection.execute("PRAGMA integrity_check").fetchone()}


@pytest.mark.parametrize("way", ["_exit", "exit", "multiprocessing"])
def test_a_child_after_a_fork_uses_the_log_on_a_connection_of_its_own(tmp_path: Path, way: str) -> None:
    """The parent's threads go on; both see all that was added; how the child leaves does not harm the parent."""
    assert apart(forking, tmp_path, way) == {"codes": [0] * CHILDREN, "check": ["ok"]}


def outliving(directory: str) -> list[Any]:
    """The parent closes its log while the child goes on adding."""
    path = f"{directory}/outliving.db"
    buffer = opened(path)
    buffer.add_measurement("ann", 0)

    def goes_on(worker: Worker) -> None:
        worker.tell(buffer.add_measurement("ann", 1))
        worker.wait()
        worker.tell(buffer.add_measurement("ann", 2))

    worker = Worker(0, goes_on)
    worker.hear(1)
    buffer.close()
    worker.go()
    worker.hear(1)
    ended([worker])
    with opened(path) as again:
        return again.measurements("ann")


def test_what_a_child_adds_is_kept_when_its_parent_closes(tmp_path: Path) -> None:
    """The parent's log is not the child's."""
    assert apart(outliving, tmp_path) == [0, 1, 2]


def forked_within(directory: str) -> list[Any]:
    """A thread is in the middle of a transaction when another forks."""
    path, within, forked = f"{directory}/within.db", Event(), Event()

    def clock() -> float:
        """Asked for the time of an arrival within the log's transaction."""
        if current_thread() is adder:
            within.set()
            forked.wait(1)  # a fork may wait for the transaction to end, so this does not wait for ever
        return 1000.0

    buffer = opened(path, clock=clock, timeout=0.5)
    adder = Thread(target=lambda: buffer.add_measurement("ann", 1))
    buffer.add_measurement("ann", 0)
    buffer.clear_buffer("ann")
    adder.start()
    assert within.wait(PATIENCE)

    def adds(worker: Worker) -> None:
        worker.wait()
        try:
            worker.tell("added", buffer.add_measurement("ann", 2))
        except LogBusyError:
            worker.tell("busy")

    worker = Worker(0, adds)
    forked.set()
    adder.join()
    worker.go()
    told = worker.hear(1)[0]
    ended([worker])
    with closing(buffer):
        return [told, sorted(buffer.measurements("ann"))]


def test_a_child_may_be_forked_in_the_middle_of_a_transaction(tmp_path: Path) -> None:
    """It does not wait for a lock that only its memory knows of."""
    assert apart(forked_within, tmp_path) == [["added", 3], [1, 2]]
