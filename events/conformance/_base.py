"""What the conformance tests share: the hooks for authors of logs, and small helpers. Holds no test of its own."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import pytest
from attrs import frozen

from events import Clock, Event, EventLog, MeasurementAdded, Recorded, ReplayCompleted

T = TypeVar("T")


@frozen
class DoorOpened(Event):
    """An event of somebody else's lifecycle, with a field."""

    by: str


@frozen
class DoorLocked(Event):
    """An event of somebody else's lifecycle, without one."""


class Hooks:
    """What an author of a log gives the suite. See `EventLogConformance`."""

    odd_measurements: Sequence[Any] = (
        None,
        False,
        0,
        "",
        b"\x00",
        (),
        [1, [2]],
        2**100,
        float("inf"),
        "\N{WHITE SMILING FACE}\n'\"",
        DoorLocked(),
        MeasurementAdded(1),
        ReplayCompleted(1),
        Recorded(0, MeasurementAdded(1)),
        range(3),
        MeasurementAdded,
    )
    """Measurements that a log could mistake for something else, but must give back as they are."""

    own_events: Sequence[Event] = (DoorOpened("ann"), DoorLocked())
    """Events that the log's author did not think of."""

    tells: bool = False
    """Whether those who wait are woken when a stream becomes due."""

    histories: int | None = None
    """How many histories are drawn to compare the log with plain lists; None for half as many as the hypothesis profile
    that is loaded gives examples. A slow log may want fewer."""

    patience: float = 30.0
    """Seconds to wait for something that must come, in another thread."""

    def make_log(self) -> EventLog[Any]:
        """A new and empty log."""
        raise NotImplementedError("give make_log(): the suite needs a new and empty log for each test")

    def reopen(self, log: EventLog[Any]) -> EventLog[Any] | None:
        """Another log on what `log` keeps, whether that is closed or still open; None where nothing is durable."""
        return None

    def connect(self, log: EventLog[Any]) -> Any:
        """A connection to the log's database with an open transaction; None for a log that is in none.

        It has `commit`, `rollback` and `close`, as in Python's database interface (PEP 249).
        """
        return None

    def measurement(self, number: int) -> Any:
        """A measurement; another one for each number."""
        return {"number": number} if number % 2 else number

    def state(self, number: int) -> Any:
        """The state of a checkpoint; another one for each number."""
        return {"folded": number}

    @pytest.fixture
    def log(self) -> Iterator[EventLog[Any]]:
        """The log that a test works on; closed after it."""
        log = self.make_log()
        yield log
        log.close()

    def added(self, *numbers: int) -> list[Event]:
        """The events of the measurements with these numbers."""
        return [MeasurementAdded(self.measurement(number)) for number in numbers]


def control(number: int) -> Event:
    """An event that is not a measurement's; another one for each number."""
    return ReplayCompleted(number)


def at(now: float) -> Clock:
    """A clock that always shows this time."""
    return lambda: now


def recorded(events: Sequence[Event], start: int = 0) -> list[Recorded]:
    """The events with the offsets they have, where the first has `start`."""
    return [Recorded(offset, event) for offset, event in enumerate(events, start)]


def without_measurements(history: Sequence[Recorded]) -> list[Recorded]:
    """What is left of a history for `controls`."""
    return [entry for entry in history if not isinstance(entry.event, MeasurementAdded)]


def contents(log: EventLog[Any], stream: str) -> tuple[object, ...]:
    """All that can be read of a stream, to be compared with what it is later."""
    position = log.position(stream)
    start = position.start if position else 0
    return position, list(log.read(stream, start)), list(log.controls(stream, start)), log.checkpoint(stream)


def together(*jobs: Callable[[], T]) -> list[T]:
    """What the jobs return, in their order, when each runs in a thread of its own and all begin at once."""
    begin = Barrier(len(jobs))

    def run(job: Callable[[], T]) -> T:
        begin.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as threads:
        return list(threads.map(run, jobs))


class Torn(Sequence[T]):
    """A sequence that breaks in the middle of being read, with `OSError`."""

    def __init__(self, items: Sequence[T]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items) + 1

    def __getitem__(self, place: Any) -> Any:
        """The item at `place`, as long as there is one."""
        if place >= len(self._items):
            raise OSError("torn")
        return self._items[place]
