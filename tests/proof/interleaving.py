"""`Interleaving`: one start, some operations, every order of their turns, and what must hold after each."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from attrs import asdict, evolve, frozen
from interleaved import ANN, CONFIG, Clock, Operation, World, job
from turning_files import WatchedConnection
from turns import ENDLESS, Make, StuckError, Turns
from watching import WATCH, begin_anew, observed, watched

from events import MemoryLog
from statemachine import ReplayBuffer, UnknownUserError

REFUSED = re.compile(r"'\w+Error'")

BOUNDS = ((ENDLESS, 1), (2, 2), (1, 6))
"""What is tried: every order of turns; else those with up to 2 switches of who could go on; else up to 1."""


@frozen
class Found:
    """How far it was looked.

    Attributes:
        runs: how many interleavings were made.
        states: how many different states they came to.
        switches: every order with so many switches was tried; `ENDLESS` for all orders, 0 where they are drawn.
        outcomes: how many different outcomes there were.
    """

    runs: int
    states: int
    switches: int
    outcomes: int


def in_memory(clock: Clock) -> Sequence[ReplayBuffer[int]]:
    """One buffer in memory for all threads."""
    return [ReplayBuffer(MemoryLog(), CONFIG, clock=clock)]


@frozen
class Interleaving:
    """Operations on one user, begun at once.

    Parameters:
        start: brings the buffer into the state they begin in.
        operations: what each thread does, by name.
        opened: opens the log anew, once for all threads, or once for each, as processes do.
    """

    start: Callable[[World], None]
    operations: dict[str, Operation]
    opened: Callable[[Clock], Sequence[ReplayBuffer[int]]] = in_memory

    def explore(self, most: int, seed: int) -> Found:
        """Make every run, or where these take more than `most` turns, every one with few switches, or else draw them.

        Raises:
            AssertionError: a run came out as no order of whole calls does, or was not sound.
        """
        allowed, runs, states, seen = self._orders_of_whole_calls(), 0, 0, set[str]()
        for switches, share in BOUNDS:
            with self._turns(allowed, seen) as (turns, make, check):
                turns.explore(make, check, most * share, switches)
            runs, states = runs + turns.runs, states + turns.states
            if turns.exhausted:
                return Found(runs, states, switches, len(seen))
        drawn = self._drawn(allowed, most // 20, seed)
        return evolve(drawn, runs=runs + drawn.runs, states=states)

    def sample(self, most: int, seed: int) -> Found:
        """Draw so many runs."""
        return self._drawn(self._orders_of_whole_calls(), most, seed)

    def _drawn(self, allowed: set[str], most: int, seed: int) -> Found:
        seen = set[str]()
        with self._turns(allowed, seen) as (turns, make, check):
            turns.sample(make, check, seed, most)
        return Found(turns.runs, 0, 0, len(seen))

    @contextmanager
    def _turns(self, allowed: set[str], seen: set[str]) -> Iterator[tuple[Turns, Make, Callable[[], None]]]:
        turns, world = Turns(len(self.operations)), list[World]()

        def check() -> None:
            try:
                came_out = outcome(world[0])
            except Exception as error:
                raise AssertionError(
                    f"{self.name}: run {turns.runs} left what is not sound\n  {world[0].results}\n  {error!r}\n"
                    f"the turns it took:\n{turns.timeline(self._names)}"
                ) from error
            seen.add(came_out)
            if came_out not in allowed:
                raise AssertionError(self._told(turns, came_out, allowed))

        with watched(turns):
            try:
                yield turns, lambda: self._make(world, whole=False), check
            except StuckError as error:
                raise AssertionError(f"{self.name}: {error}\n{turns.timeline(self._names)}") from error
        turns.close()

    @property
    def makes_sense(self) -> bool:
        """Whether each operation is accepted there, alone or after another."""
        alone = [evolve(self, operations={name: operation}) for name, operation in self.operations.items()]
        if not any(REFUSED.search(came_out) for each in alone for came_out in each._orders_of_whole_calls()):
            return True
        return any(not REFUSED.search(came_out) for came_out in self._orders_of_whole_calls())

    def _orders_of_whole_calls(self) -> set[str]:
        """How it comes out where one call is made after the other, in every order; each is sound, too."""
        turns, outcomes = Turns(len(self.operations)), set[str]()
        world: list[World] = []
        turns.content = lambda: world[0].content()
        with watched(turns):
            turns.explore(lambda: self._make(world, whole=True), lambda: outcomes.add(outcome(world[0])))
        turns.close()
        return outcomes

    def _make(self, world: list[World], whole: bool) -> Sequence[Callable[[], None]]:
        begin_anew()
        clock = Clock()
        for buffer in world[0].buffers if world else ():
            buffer.close()
        buffers = self.opened(clock)
        world[:] = [World(clock, buffers, whole, [[] for _ in self.operations])]
        self.start(world[0])
        if not whole:
            WATCH.names[id(clock)] = "clock", clock
            WATCH.names[id(WatchedConnection)] = "file", WatchedConnection
        if not whole and self.opened is in_memory:
            observed(buffers[0], "buffer")
        callers = enumerate(self.operations.values())
        return [job(operation, world[0].caller(number)) for number, operation in callers]

    @property
    def name(self) -> str:
        """What is begun at once, and where."""
        return f"{' | '.join(self.operations)}, begun {self.start.__name__[1:]}"

    @property
    def _names(self) -> list[str]:
        return list(self.operations)

    def _told(self, turns: Turns, came_out: str, allowed: set[str]) -> str:
        orders = "\n".join(f"  {each}" for each in islice(sorted(allowed), 6))
        return (
            f"{self.name}: run {turns.runs} came out as no order of "
            f"whole calls does\n  {came_out}\nwhich would be one of {len(allowed)}:\n{orders}\n"
            f"the turns it took:\n{turns.timeline(self._names)}"
        )


def outcome(world: World) -> str:
    """What the calls gave and what is left, after it was looked whether that is sound."""
    return f"{world.results} {left(world)}"


def left(world: World) -> Any:
    """The user's state and measurements, as one who comes anew sees them."""
    buffer = world.buffer
    anew: ReplayBuffer[int] = ReplayBuffer(buffer._log, CONFIG, clock=world.clock)
    try:
        state = anew.state(ANN)
    except UnknownUserError:
        assert not world.added, f"{world.added} were acknowledged, and are lost"
        return None
    live = anew.measurements(ANN)
    for each in world.buffers:
        assert each.state(ANN) == state, f"{each.state(ANN)} is kept, and the log says {state}"
    assert anew.audit(ANN).ok, str(anew.audit(ANN))
    assert state.added == len(world.added), f"{len(world.added)} were acknowledged, and {state.added} are there"
    acknowledged = [world.added.get(offset) for offset in state.offsets]
    assert live == acknowledged, f"{live} are live, and {acknowledged} were acknowledged at these offsets"
    return asdict(state, recurse=False), live
