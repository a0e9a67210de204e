"""Runs python-statemachine in a process of its own, since its package has the name of ours. Imports none of ours.

It is told on its standard input what to measure, a line each, and answers each with a figure:

    cycles 20       so many full cycles, each of another instance; seconds a cycle
    weigh 1000      so many instances; bytes an instance
"""

import gc
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from time import perf_counter
from typing import Any

TURNS = 100
"""How many users, or what keeps their states, take turns."""


def driven(through: Callable[[Any], object], things: Sequence[Any]) -> float:
    """Take each of them once through its cycle; seconds a cycle."""
    start = perf_counter()
    for thing in things:
        through(thing)
    return (perf_counter() - start) / len(things)


def triggered(model: Any) -> None:
    """A cycle of what has its triggers as methods."""
    model.begin_snapshot()
    model.finalize_snapshot()
    model.complete_replay()


def weighed(fill: Callable[[Sequence[str]], object], users: int) -> float:
    """How many bytes a user takes in what `fill` returns, as `tracemalloc` counts it; their names do not count."""
    names = [f"user-{number}" for number in range(users)]
    gc.collect()
    gc.disable()  # with so many of them alive it would take most of the time, and find next to nothing
    tracemalloc.start()
    try:
        kept = fill(names)
        gc.collect()
        allocated = tracemalloc.get_traced_memory()[0]
        del kept
        return allocated / users
    finally:
        tracemalloc.stop()
        gc.enable()


def _work(make: Callable[[], Any]) -> None:
    def fill(users: Sequence[str]) -> list[Any]:
        made = [make() for _ in users]
        driven(triggered, made)
        return made

    turns = cycle([make() for _ in range(TURNS)])
    for line in sys.stdin:
        what, number = line.split()
        if what == "weigh":
            print(weighed(fill, int(number)), flush=True)
        else:
            gc.collect()
            gc.disable()
            print(driven(triggered, list(islice(turns, int(number)))), flush=True)
            gc.enable()


if __name__ == "__main__":
    from statemachine import State, StateMachine

    class Buffer(StateMachine):
        idle, snapshotting, replaying = State(initial=True), State(), State()
        begin_snapshot = idle.to(snapshotting)
        finalize_snapshot = snapshotting.to(replaying)
        complete_replay = replaying.to(idle)

    _work(Buffer)
