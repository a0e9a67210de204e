"""A process's life on a log, and where it ends: writes are counted, and one is its last. Must not know the model.

`Fate` says at which write what happens, and sees what has come to be recorded; `Life` is the buffer and all else that
lives in memory. `Place` is where the log is.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

from crash_comparing import folded
from crash_world import USER, World

from events import EventLog, LogUnavailableError, MemoryLog
from statemachine import ReplayBuffer

T = TypeVar("T")

ADD = "add"

BEFORE, AFTER, UNACKNOWLEDGED = "before", "after", "acknowledgement lost"
WAYS = (BEFORE, AFTER, UNACKNOWLEDGED)
"""The process dies before a write or after it; or it is done, the caller gets an error, and the process lives on."""


class CrashError(BaseException):
    """The process is dead; nothing that it still does matters."""


class DeliberateError(Exception):
    """What the application itself raises."""


class Fate:
    """What becomes of the writes.

    Parameters:
        nth: which one is hit (from 0); -1 for none. An add that the log refuses to do is not to be hit.
        way: how.

    Attributes:
        writes: those that were done.
        struck: what was hit, or "".
        dead: whether the process is.
        recorded: how many that add events were done in this operation; `lost_at`: the same when an error came after.
        in_flight: whether one is being done, of which nobody knows whether it was.
        call: the latest.
    """

    def __init__(self, nth: int = -1, way: str = BEFORE) -> None:
        self.nth, self.way, self.writes, self._next = nth, way, list[int](), 0
        self.struck, self.dead = "", False
        self.begin()

    def begin(self) -> None:
        """Another operation begins."""
        self.recorded, self.in_flight, self.call = 0, False, ""
        self.lost_at: int | None = None

    def noted(self) -> None:
        """Something may have changed; for who wants to know when."""

    def die(self) -> None:
        self.dead = True
        raise CrashError

    def check_alive(self) -> None:
        if self.dead:
            raise CrashError

    def perform(self, call: str, write: Callable[[], T], records: Callable[[T], bool]) -> T:
        """Do a write, unless this is not to be; `records` tells of its result whether it added events."""
        self.check_alive()
        place, self._next, self.call = self._next, self._next + 1, call
        hit = place == self.nth
        if hit:
            self.struck = call
            if self.way == BEFORE:
                self.die()
        self.in_flight = True
        self.noted()
        result = write()
        self.in_flight = False
        self.recorded += records(result)
        if records(result) or not call.startswith(ADD):
            self.writes.append(place)
        self.noted()
        if hit and self.way == AFTER:
            self.die()
        if hit:
            self.lost_at = self.recorded
            raise LogUnavailableError(f"{call} was done, but nobody was told; look what stands in the log")
        return result


class WatchedLog:
    """A log whose writes are known to fate. Nothing can be added to it but by its methods."""

    tails: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, log: EventLog[Any], fate: Fate) -> None:
        self._log, self._fate = log, fate

    def __getattr__(self, name: str) -> Any:
        self._fate.check_alive()
        return getattr(self._log, name)

    def add(self, stream: str, measurement: Any, *how: Any) -> int | None:
        return self._perform(f"{ADD} of {measurement}", lambda: self._log.add(stream, measurement, *how))

    def add_many(self, stream: str, measurements: Sequence[Any], *how: Any) -> int | None:
        return self._perform(f"{ADD} of {list(measurements)}", lambda: self._log.add_many(stream, measurements, *how))

    def _perform(self, call: str, write: Callable[[], int | None]) -> int | None:
        return self._fate.perform(call, write, lambda offset: offset is not None)

    def append(self, stream: str, events: Sequence[Any], **how: Any) -> int:
        call = f"append of {', '.join(type(event).__name__ for event in events)}"
        return self._fate.perform(call, lambda: self._log.append(stream, events, **how), lambda _head: bool(events))

    def truncate(self, stream: str, before: int, state: Any) -> None:
        call = f"truncation before {before}"
        self._fate.perform(call, lambda: self._log.truncate(stream, before, state), lambda _none: False)


class Place(Protocol):
    """Where a log is kept, and where the application has its tables, if it is a database."""

    def open(self) -> EventLog[Any]:
        """The log, as a new process has it."""

    def save_within(self, life: "Life", complete: Callable[[Any], object]) -> None:
        """Save what the user's snapshot holds, `complete` on the same connection, and commit (by way of fate)."""

    def saved(self) -> list[int]:
        """What is saved so."""


class InMemory:
    """A log that outlives the process in which it is, for the sake of the test; there is no other database."""

    def __init__(self) -> None:
        self.log: MemoryLog[Any] = MemoryLog()

    def open(self) -> EventLog[Any]:
        return self.log

    def save_within(self, life: "Life", complete: Callable[[Any], object]) -> None:
        raise NotImplementedError

    def saved(self) -> list[int]:
        return []


class Life:
    """One process: a buffer with its hooks, which die with it.

    Parameters:
        world: what was there before it, and will be.
        place: where the log is.
        fate: what becomes of its writes.
    """

    def __init__(self, world: World, place: Place, fate: Fate) -> None:
        self.world, self.place, self.fate = world, place, fate
        self.log = place.open()
        self.buffer = self._opened()

    def _opened(self, **how: Any) -> ReplayBuffer[Any]:
        scenario = self.world.scenario
        return ReplayBuffer(
            WatchedLog(self.log, self.fate),  # type: ignore[arg-type]
            scenario.config,
            clock=lambda: self.world.now,
            on_abort=self.roll_back if scenario.rolls_back else None,
            on_evict=self.archive if scenario.archives else None,
            **how,
        )

    @property
    def version(self) -> int:
        """That of the user's latest snapshot, as its application knows it."""
        return self.world.model.version

    def reopen(self, *, take_over: bool = False) -> None:
        self.fate.check_alive()
        self.log.close()
        self.log = self.place.open()
        self.buffer = self._opened()
        if take_over:
            self.buffer = self._opened(take_over=True)

    def complete_within(self) -> None:
        def complete(connection: Any) -> None:
            self.buffer.complete_replay(USER, self.version, connection=connection)

        self.place.save_within(self, complete)

    def roll_back(self, user: str, version: int, reason: str) -> None:
        if (phase := folded(self.log, user).phase) != "aborting":
            self.world.wrong.append(f"the rollback of {user}'s snapshot {version} ({reason}) runs in phase {phase}")
        if self.world.failing:
            self.world.failing -= 1
            raise DeliberateError("the application's database is away")
        self.world.restored.append(version)

    def archive(self, user: str, measurements: Sequence[Any]) -> None:
        if user != USER:
            self.world.wrong.append(f"{measurements} of {user}, who is left alone, are said to be evicted")
        self.world.archived += measurements

    def failing(self, _frozen: object) -> None:
        raise DeliberateError("the replay fails")
