"""A `SqliteLog` on a disk that fails: each operation in turn, and nothing acknowledged is lost, nothing is doubled."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import pytest
import vfs
from attrs import frozen
from enduring import History, Life, ResultsError, checked_error, found_in, saved, told_between
from tried import LONG, tried
from vfs import NAME, Change, Disk, Fault

from events import LogError, LogFullError, LogUnavailableError, MeasurementAdded, SqliteLog
from statemachine import BufferConfig, ReplayBuffer

FURTHER = 30 if LONG else 4
"""How many calls are made after the one that failed."""

PARTS = 6
"""Into how many tests a fault's places are dealt, so that several processes share them."""

pytestmark = vfs.needed


class Hasty(Disk):
    """Syncs are not waited for: what a process sees does not depend on them. They are counted, and fail, as ever."""

    def perform(self, change: Change, call: Callable[[Change], int]) -> int:
        return super().perform(change, (lambda change: sqlite3.SQLITE_OK) if change.kind == "sync" else call)


@frozen
class Kind:
    """A way to fail."""

    code: int
    lasting: bool = False
    torn: bool = False
    every: int = 23

    def __str__(self) -> str:
        named = {getattr(sqlite3, name): name for name in ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC")}
        return f"{named[self.code]}{'-lasting' * self.lasting}{'-torn' * self.torn}"

    def on(self, disk: Disk, nth: int) -> Any:
        return disk.failing(nth, self.code, lasting=self.lasting, torn=self.torn)


KINDS = [
    Kind(sqlite3.SQLITE_FULL, every=9),
    *(Kind(code) for code in (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC)),
    *(Kind(code, torn=True) for code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)),
    *(Kind(code, lasting=True) for code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_FSYNC)),
    Kind(sqlite3.SQLITE_IOERR_WRITE, lasting=True, torn=True),
]


@cache
def sound_life() -> tuple[int, tuple[History, ...]]:
    """On a sound disk: how many operations a life takes, and the history after each of its calls."""
    with TemporaryDirectory() as directory, Hasty(Path(directory) / "sound.db") as disk, disk.counting() as counted:
        life = Life(disk.database, vfs=NAME)
        histories = []
        for call in life.calls():
            call()
            histories.append(life.history())
        life.close()
        return counted.operations, tuple(histories)


@contextmanager
def unchanged(life: Life, call: Callable[[], object], before: History, after: History) -> Iterator[None]:
    """What the block does fails with an error that says so, and what can be read then is what could be read before."""
    open_before = life.buffer is not None
    with pytest.raises((LogError, ResultsError)) as refused:
        yield
    if not isinstance(refused.value, ResultsError):
        checked_error(refused.value, life.path)
        assert isinstance(refused.value, (LogFullError, LogUnavailableError))
    if open_before and life.buffer is not None:
        assert life.history() == before or (call in life.atomic and told_between(life.history(), before, after))


def live(path: Path, kind: Kind, nth: int) -> bool:
    """Live with one fault, every refused call made again; whether a call was refused."""
    _, histories = sound_life()
    raised, last = None, len(histories) - 1
    with Hasty(path) as disk:
        life = Life(path, vfs=NAME)
        with kind.on(disk, nth) as fault:
            for place, call in enumerate(life.calls()):
                before = histories[place - 1] if place else {}
                try:
                    call()
                except (LogError, ResultsError) as error:
                    raised = place
                    refused_again(life, fault, call, error, before, histories[place])
                    fault.nth, fault.lasting = -1, False  # there is room again
                    call()
                if place == (last if raised is None else min(raised + FURTHER, last)):
                    break
            assert fault.reached or raised is None
            assert life.history() == histories[place]
            life.check(life.history())
            life.close()
        assert fault.reached
    found, results = found_in(path)
    assert found == histories[place]
    assert (results or 0) == saved(found)
    return raised is not None


def refused_again(
    life: Life, fault: Fault, call: Callable[[], object], error: Exception, before: History, after: History
) -> None:
    """What was refused is not there; as long as the fault lasts, all that writes is refused, and reading goes on."""
    with unchanged(life, call, before, after):
        raise error
    if fault.lasting:
        with unchanged(life, call, before, after):
            call()
        if life.buffer is not None:
            with unchanged(life, call, before, after):
                life.buffer.add_measurement("zoe", "never told, never tried again")


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_whatever_fails_nothing_is_lost_or_doubled(kind: Kind, part: int, tmp_path: Path) -> None:
    """Each write, sync, truncation and deletion of a buffer's life fails in turn, and is lived down."""
    operations, _ = sound_life()
    step = 1 if LONG else kind.every
    places = range(part * step, operations, PARTS * step)
    refused = sum(live(tmp_path / f"{nth}.db", kind, nth) for nth in places)
    tried(faults=len(places))
    assert operations > 300
    assert refused >= len(places) / 2, "most faults are seen by who called; the others struck while closing"


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_FSYNC], ids=["full", "sync"])
def test_a_process_that_ends_before_the_disk_works_again(code: int, tmp_path: Path) -> None:
    """What was acknowledged is found afterwards, and of the call that was refused last all or nothing."""
    operations, histories = sound_life()
    found_whole = 0
    for nth in range(60, operations, 3 if LONG else 9):
        path = tmp_path / f"{nth}.db"
        life = Life(path, vfs=NAME)
        calls = life.calls()
        with Hasty(path) as disk, disk.failing(nth, code, lasting=True):
            place = next((place for place, call in enumerate(calls) if not succeeds(call)), None)
            life.close()
        if place is None:
            continue
        (found, results), before, after = found_in(path), histories[place - 1], histories[place]
        assert (results or 0) == saved(found)
        assert found in (before, after) or (calls[place] in life.atomic and told_between(found, before, after))
        found_whole += before != found
    assert found_whole, "a sync that failed after the write had succeeded; nobody can know, then"


def succeeds(call: Callable[[], object]) -> bool:
    try:
        call()
    except (LogError, ResultsError):
        return False
    return True


class Gated(Hasty):
    """Once told to, it holds the next operation up."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.entered, self.opened = Event(), Event()
        self.entered.set()
        self.opened.set()

    def perform(self, change: Change, call: Callable[[Change], int]) -> int:
        self.entered.set()
        assert self.opened.wait(60)
        return super().perform(change, call)


class Together:
    """Four threads that add at once: the first is held up by the disk, and the others queue up behind it.

    Attributes:
        told: what was added, by user and the offset that was told.
        refused: what was refused.
    """

    def __init__(self, log: SqliteLog[Any], buffer: ReplayBuffer[Any]) -> None:
        self.log, self.buffer = log, buffer
        self.told: dict[tuple[str, int], Any] = {}
        self.refused: list[Any] = []
        self.threads = [Thread(target=self.add, args=(f"user {n}", f"third of {n}"), daemon=True) for n in range(4)]

    def add(self, user: str, measurement: Any) -> None:
        try:
            self.told[user, self.buffer.add_measurement(user, measurement)] = measurement
        except (LogFullError, LogUnavailableError) as error:
            checked_error(error, Path(self.log.path))
            self.refused.append(measurement)

    def begin(self, disk: Gated) -> None:
        """All have come, and none is done."""
        disk.entered.clear()
        disk.opened.clear()
        self.threads[0].start()
        assert disk.entered.wait(60)
        for thread in self.threads[1:]:
            thread.start()
        queue = self.log._transactions._group._queue
        for _ in range(10_000):
            if len(queue) == 3:
                return
            self.threads[1].join(0.001)
        raise AssertionError("they never queued up")

    def end(self, disk: Gated) -> None:
        disk.opened.set()
        for thread in self.threads:
            thread.join()

    def check(self, buffer: ReplayBuffer[Any]) -> None:
        """What was told is there, at its offset; nothing else is."""
        found = {
            (user, one.offset): one.event.measurement
            for user in buffer.users()
            for one in buffer.events(user)
            if isinstance(one.event, MeasurementAdded)
        }
        assert found == self.told
        assert all(buffer.audit(user).ok for user in buffer.users())


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
def test_a_fault_that_hits_a_group_is_lived_down_or_told_to_all_of_it(lasting: bool, tmp_path: Path) -> None:
    """Threads that share a commit: each is told what is true of its own measurement, wherever the commit fails."""
    refused = []
    for nth in count():
        path = tmp_path / f"{nth}.db"
        with Gated(path) as disk:
            log: SqliteLog[Any] = SqliteLog(path, vfs=NAME)
            with ReplayBuffer(log, clock=lambda: 100.0) as buffer:
                together = Together(log, buffer)
                for user in range(4):
                    together.add(f"user {user}", "first")
                    together.add(f"user {user}", "second")
                together.begin(disk)
                with disk.failing(nth, lasting=lasting) as fault:
                    together.end(disk)
                    together.check(buffer)
                refused.append(len(together.refused))
                together.add("user 0", "there is room again")
                together.check(buffer)
        with ReplayBuffer(SqliteLog(path), clock=lambda: 100.0) as buffer:
            together.check(buffer)
        if not fault.reached:
            break
    alone = refused.index(3 if lasting else 0)
    assert alone > 0, "the first was alone in its commit"
    assert refused[:alone] == [4 if lasting else 1] * alone
    assert refused[alone:-1] == [3 if lasting else 0] * (len(refused) - alone - 1), "one by one the others succeed"
    assert len(refused) - alone > 3
    assert refused[-1] == 0


FULL_DISK = """
import resource, signal, sys
from events import LogFullError, LogUnavailableError, SqliteLog
from statemachine import ReplayBuffer

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, told, refused = sys.argv[1], [], 0
with ReplayBuffer(SqliteLog(path)) as buffer:
    def add(number):
        offset = buffer.add_measurement("ann", [number, "x" * 2000])
        assert offset == len(told)
        told.append(number)
    def check():
        found = [one.event.measurement[0] for one in buffer.events("ann")]
        assert found == told, (found, told)
        assert buffer.audit("ann").ok
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    for number in range(1000):
        try:
            add(number)
        except (LogFullError, LogUnavailableError) as error:
            assert path in str(error) and ";" in str(error), error
            refused += 1
            check()
            if refused == 5:
                break
    else:
        raise AssertionError("never full")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    add(1000)
    check()
print(len(told), refused)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no resource limits")
def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """With the ordinary VFS and a real limit: it is refused, what was told can be read, and with room it goes on."""
    path = tmp_path / "full.db"
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    told, refused = map(int, ended.stdout.split())
    assert refused == 5
    assert told > 20
    with ReplayBuffer[Any](SqliteLog(path)) as buffer:
        assert buffer.state("ann").added == told


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    directory = tmp_path / "small"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(directory)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system can only be mounted by root")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_a_file_system_that_is_full(small_disk: Path) -> None:
    """The error says so, what was told can be read, and once room was made it goes on."""
    path, filler = small_disk / "full.db", small_disk / "filler"
    filler.write_bytes(bytes(200_000))
    told: list[int] = []
    with ReplayBuffer[Any](SqliteLog(path), BufferConfig(max_measurements=1000)) as buffer:

        def measurements() -> list[int]:
            return [number for number, _ in buffer.measurements("ann")]

        with pytest.raises((LogFullError, LogUnavailableError)) as refused:
            for number in range(1000):
                buffer.add_measurement("ann", (number, "x" * 2000))
                told.append(number)
        checked_error(refused.value, path)
        assert measurements() == told
        with pytest.raises((LogFullError, LogUnavailableError)):
            buffer.add_measurements("ann", [(number, "x" * 2000) for number in range(1000, 1400)])
        assert measurements() == told
        filler.unlink()
        assert buffer.add_measurement("ann", (1400, "")) == len(told)
        assert measurements() == [*told, 1400]
    assert len(told) > 10
    with ReplayBuffer[Any](SqliteLog(path)) as buffer:
        assert [number for number, _ in buffer.measurements("ann")] == [*told, 1400]
        assert buffer.audit("ann").ok
