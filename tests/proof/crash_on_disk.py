"""Processes that die at any write to a file: each write, sync, truncation and deletion that the system is asked for.

A scenario is lived through once, on a disk that keeps what is written. A process that dies leaves what it has written
by then, so each place is had by writing that much to another directory, and the next process goes on there: hundreds in
the time in which a few are really killed. That it is the same is shown by some that kill themselves at a write.
"""

import os
import signal
import sqlite3
from bisect import bisect_right
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from attrs import frozen
from crash_comparing import found_in
from crash_driver import Drive
from crash_life import Fate, Life
from crash_operations import OPERATIONS, Operation
from crash_world import USER, Remembering, Scenario, World
from vfs import NAME, Change, Disk, kept

from events import EventLog, SqliteLog


class InFile:
    """A log in a file, in which the application has a table, too.

    Parameters:
        path: the file; made with the table if it is not there.
        vfs: the VFS to go through.
    """

    def __init__(self, path: Path, vfs: str = "") -> None:
        self.path, self.vfs = path, vfs
        if not path.exists():
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("CREATE TABLE results (measurement)")

    def open(self) -> EventLog[Any]:
        return SqliteLog(self.path, vfs=self.vfs, durability="full" if self.vfs else "off")

    def save_within(self, life: Life, complete: Callable[[Any], object]) -> None:
        uri = self.path.as_uri() + (f"?vfs={self.vfs}" if self.vfs else "")
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            window = [(measurement,) for measurement in found_in(life.log, USER)["frozen"]]
            connection.executemany("INSERT INTO results VALUES (?)", window)
            complete(connection)
            life.fate.perform("COMMIT", lambda: connection.execute("COMMIT"), lambda _cursor: True)

    def saved(self) -> list[int]:
        with closing(sqlite3.connect(self.path)) as connection:
            return [measurement for (measurement,) in connection.execute("SELECT * FROM results ORDER BY rowid")]


class Hasty(Disk):
    """Syncs are not waited for: a process that dies takes nothing with it that it has written.

    Parameters:
        path: as of `Disk`.
        last: how many changes are made before the process kills itself; none if omitted.
    """

    def __init__(self, path: Path, last: int | None = None) -> None:
        super().__init__(path)
        self.last = last

    def perform(self, change: Change, call: Callable[[Change], int]) -> int:
        if len(self.changes) == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().perform(change, (lambda change: sqlite3.SQLITE_OK) if change.kind == "sync" else call)


@frozen
class Moment:
    """What was known when so many changes had been made: in which operation it was, and what had been recorded."""

    at: int
    index: int
    recorded: int
    in_flight: bool
    call: str
    world: World


class Noting(Fate):
    """Nothing is hit, but everything is noted."""

    note: Callable[[], object] = staticmethod(lambda: None)

    def begin(self) -> None:
        super().begin()
        self.call = "its first write"
        self.noted()

    def noted(self) -> None:
        self.note()


class Recording(Drive):
    """A way through a scenario on which nothing is hit.

    Attributes:
        moments: what was known when, in order.
        stages: those of each operation.
        places: after how many changes a process may die within the scenario.
    """

    def __init__(self, scenario: Scenario, directory: Path, last: int | None = None) -> None:
        place = InFile(directory / "sound.db", NAME)
        self.moments: list[Moment] = []
        self.stages: list[list[Remembering]] = []
        self.places = range(0)
        self.disk = Hasty(place.path, last)
        with self.disk:
            fate = Noting()
            super().__init__(scenario, place, fate)
            fate.note = self.note
            self.run()

    def note(self) -> None:
        fate, at = self.fate, len(self.disk.changes)
        self.moments.append(Moment(at, len(self.stages), fate.recorded, fate.in_flight, fate.call, self.world.copied()))

    def settle(self, operation: Operation, stages: list[Remembering], place: int) -> None:
        super().settle(operation, stages, place)
        self.stages.append(stages)

    def come_to_rest(self) -> None:
        self.places = range(self.moments[0].at, len(self.disk.changes))
        self.fate.note = lambda: None  # type: ignore[attr-defined]
        super().come_to_rest()


class Resumed(Drive):
    """The next process, where one has died after so many changes.

    Parameters:
        recording: what had happened by then.
        at: how many changes were made.
        path: the file that is left.
    """

    def __init__(self, recording: Recording, at: int, path: Path) -> None:
        moments = recording.moments
        self.moment = moments[bisect_right(moments, at, key=lambda moment: moment.at) - 1]
        self.stages = recording.stages[self.moment.index]
        self.in_flight = self.moment.in_flight and at > self.moment.at
        super().__init__(recording.scenario, InFile(path), world=self.moment.world.copied())
        change, when = recording.disk.changes[at], "in" if self.in_flight else "not in"
        self.struck.append(
            f"before {change.kind} {at} ({Path(change.file).name}, at {change.offset}), {when} the {self.moment.call}, "
            f"in operation {self.moment.index + 1} ({self.scenario.operations[self.moment.index]})"
        )

    def go_on(self) -> None:
        """Look what is there, and go on to the end."""
        done = self.moment.recorded
        possible = [done, done + 1][: 1 + self.in_flight]
        operation = OPERATIONS[self.scenario.operations[self.moment.index]]
        self.run(self.moment.index + self.goes_on(operation, self.stages, possible))


def copied(recording: Recording, at: int, directory: Path) -> Resumed:
    """Go on where a process has died after so many changes, by a copy of what it has left."""
    directory.mkdir(exist_ok=True)
    return Resumed(recording, at, recording.disk.after_power_cut(directory, kept, at))


def killed(text: str, directory: str, places: list[int]) -> None:
    """For each place leave a file whose process has killed itself there. To be called where nothing is open."""
    for at in places:
        own = Path(directory, str(at))
        own.mkdir()
        if (child := os.fork()) == 0:
            try:
                Recording(Scenario(text), own, last=at)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "it lived on"
