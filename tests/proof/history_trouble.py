"""`Trouble`: a network that fails at random. Must not know what passes, nor who suffers from it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from threading import Event, Thread

from proxy import Fault, Passage, Proxy, answered_in_part, late, lost, unanswered

TIMEOUT = 0.2
"""Seconds for which a log tries again; the server is away for longer now and then."""

FAULTS: list[Fault] = [lost, unanswered, answered_in_part(3), late]


class Trouble(dict[int, Fault]):
    """What becomes of which request: mostly the usual.

    Attributes:
        delays: whether all are held back just now, to come late.
    """

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self.chance, self.delays = chance, False

    def get(self, _number: int, usual: Fault = Passage.pass_on) -> Fault:  # type: ignore[override]
        if self.delays:
            return late
        return self.chance.choice(FAULTS) if self.chance.random() < 0.02 else usual


@contextmanager
def trouble(between: Proxy, seed: int) -> Iterator[None]:
    """While the block runs, requests get lost, connections are cut, and the server is away."""
    chance, over = Random(seed), Event()
    between.faults = faults = Trouble(chance)

    def away() -> None:
        faults.delays = chance.random() < 0.5  # so that nobody knows what becomes of what was asked last
        over.wait(0.01 * chance.random())
        with between.away():
            faults.delays = False
            over.wait(TIMEOUT * chance.uniform(0.3, 2))

    def meddle() -> None:
        deeds: list[Callable[[], object]] = [between.cut_all, away, away, between.deliver_late]
        while not over.wait(0.3 * chance.random()):
            chance.choice(deeds)()

    meddler = Thread(target=meddle)
    meddler.start()
    try:
        yield
    finally:
        over.set()
        meddler.join()
        between.faults = {}
        between.deliver_late()
