"""How cost grows with what there is: users, events of a user, threads that add, workers that replay."""

from collections.abc import Iterator

from benchmarks.crowds import by_threads, by_workers
from benchmarks.histories import by_events
from benchmarks.measuring import Curve, Scale
from benchmarks.populations import by_users


def growth(scale: Scale) -> Iterator[Curve]:
    """The curves of cost against size."""
    yield from by_users(scale)
    yield from by_events(scale)
    yield from by_threads(scale)
    yield by_workers(scale)
