"""What is interleaved: the operations on one user, where they begin, and how a run came out. Must not know of turns."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from attrs import Factory, define, frozen
from turn_deeds import READ, Changed, Put
from watching import WATCH

from statemachine import BufferConfig, FrozenSnapshot, ReplayBuffer, ReplayBufferError
from statemachine._declaration import IN_PROGRESS

ANN = "ann"
CONFIG = BufferConfig(max_measurements=4, pending_factor=1)
LATER = 1000.0
"""Seconds after which every snapshot is overdue."""


class Clock:
    """A clock that stands still until an operation lets time pass.

    Attributes:
        read_before: threads whose call has read the clock some time ago, and what it said.
    """

    def __init__(self) -> None:
        self._now = 100.0
        self.read_before: dict[int | None, float] = {}

    def __call__(self) -> float:
        WATCH.touch(self, "now", READ)
        running = WATCH.turns.running if WATCH.turns else None
        return self.read_before.get(running, self._now)

    def pass_by(self, seconds: float) -> None:
        WATCH.touch(self, "now", Changed())
        self._now += seconds


@define
class World:
    """One run's buffer, and what its calls have given.

    Attributes:
        whole: whether turns are taken between calls, and only there.
        results: for each thread what its calls gave, or how they were refused.
        added: what was acknowledged, by offset.
        frozen: the snapshot that was in progress at the start, if one was.
    """

    clock: Clock
    buffers: Sequence[ReplayBuffer[int]]
    whole: bool
    results: list[list[tuple[str, Any]]] = Factory(list)
    added: dict[int, int] = Factory(dict)
    frozen: FrozenSnapshot[int] | None = None

    @property
    def buffer(self) -> ReplayBuffer[int]:
        return self.buffers[0]

    def caller(self, number: int) -> "Caller":
        """The hold of a thread."""
        return Caller(self, number)

    def between(self) -> None:
        """Between two calls."""
        if self.whole and WATCH.turns is not None:
            WATCH.turns.touch("calls", Put(None))

    def content(self) -> object:
        """All there is, without touching it."""
        log = self.buffer._log
        position = log.position(ANN)
        events = list(log.read(ANN, position.start)) if position else []
        return self.clock._now, self.buffer._journal.state(ANN), events


class Refused(Exception):  # noqa: N818 - it is no error here
    """The call was refused, as was noted; what relies on it is not done."""


@frozen
class Caller:
    """One thread's hold on the world: makes calls, and notes what they give."""

    world: World
    number: int

    @property
    def buffer(self) -> ReplayBuffer[int]:
        return self.world.buffers[self.number % len(self.world.buffers)]

    def call(
        self, name: str, *arguments: Any, of: Any = None, given: Callable[[Any], Any] = lambda value: value
    ) -> Any:
        """Make a call; what it gives is compared as what `given` makes of it."""
        world = self.world
        if world.whole:
            self._take_time(*arguments)
        results = world.results[self.number]
        try:
            value = getattr(of if of is not None else self.buffer, name)(*arguments)
            results.append((name, given(value)))
        except ReplayBufferError as error:
            results.append((name, type(error).__name__))
            raise Refused from None
        finally:
            world.clock.read_before.pop(self.number, None)
            self._knows(results)
        return value

    def _take_time(self, *arguments: object) -> None:
        """Before a call does what it is for, what is overdue may expire; and time may pass since it read the clock."""
        world = self.world
        world.between()
        with suppress(ReplayBufferError):
            self.buffer.state(ANN)
        world.between()
        world.clock.read_before[self.number] = world.clock._now
        self._knows(world.clock._now, *arguments)
        world.between()

    def _knows(self, *more: object) -> None:
        if WATCH.turns is not None:
            WATCH.turns.knows((self.world.results[self.number], more))

    def in_progress(self) -> int | None:
        """The version of the snapshot in progress, if there is one."""
        self.world.between()
        version = None
        with suppress(ReplayBufferError):
            state = self.buffer.state(ANN)
            version = state.version if state.phase in IN_PROGRESS else None
        self._knows(version)
        return version

    def add(self, *values: int) -> None:
        """Add measurements that nobody else adds."""
        several = [10 * (self.number + 1) + value for value in values]
        if len(several) == 1:
            first = self.call("add_measurement", ANN, several[0])
        else:
            first = self.call("add_measurements", ANN, several).start
        self.acknowledged(first, several)

    def acknowledged(self, first: int, values: Sequence[int]) -> None:
        for offset, value in enumerate(values, first):
            assert offset not in self.world.added, f"offset {offset} was given twice"
            self.world.added[offset] = value


Operation = Callable[[Caller], object]


def job(operation: Operation, caller: Caller) -> Callable[[], None]:
    """What a thread does. An error that no promise knows is a result that no order of calls gives."""

    def run() -> None:
        try:
            operation(caller)
        except Refused:
            pass
        except Exception as error:
            caller.world.results[caller.number].append(("raised", repr(error)))

    return run
