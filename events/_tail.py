"""The open end of a stream in memory, where measurements are added; must not know logs or what events mean."""

from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

from attrs import frozen

from events._events import MeasurementsEvicted, Recorded
from events._offsets import Offsets

M = TypeVar("M")


@frozen
class Control(Recorded):
    """Stands in a slot of a tail for an event that is not a measurement's; no measurement is of this class."""


class Eviction:
    """Stands in a slot of a tail for the eviction that follows an add: one object for a whole grant of them.

    Parameters:
        offset: that of the first add under the grant; its eviction stands one further, the next two further on.
        victims: the offsets to be evicted, in order.

    Attributes:
        stop: the offset after the last event under the grant, or None while that is the stream's head.
    """

    __slots__ = ("offset", "stop", "victims")

    def __init__(self, offset: int, victims: Offsets) -> None:
        self.offset, self.victims = offset, victims
        self.stop: int | None = None

    def at(self, offset: int) -> MeasurementsEvicted:
        """The event that stands at `offset`."""
        victim = self.victims[(offset - self.offset) // 2]
        return MeasurementsEvicted(victim, victim + 1)


class Tail(Generic[M]):
    """One stream in memory: its events, its grant, and the lock for both.

    A slot holds the bare measurement, a `Control`, or an `Eviction`. So a measurement costs a list slot and no more.

    Attributes:
        lock: to be held while any of the others is read together or changed.
        items: one slot for each offset from `start` on.
        marks: the controls and evictions in `items`, each once, in offset order.
        start: the offset of the first slot.
        full_at: length of `items` up to which measurements may be added.
        evicts_to: length of `items` up to which they may be added with `eviction` after each.
        until: the time from which none may be added without a decision, or None.
        granted_from: the offset after the last event that was decided rather than granted.
        checkpoint: the fold's state at `start`, or None while that is 0.
    """

    __slots__ = (
        "checkpoint",
        "eviction",
        "evicts_to",
        "full_at",
        "granted_from",
        "items",
        "lock",
        "marks",
        "start",
        "until",
    )

    def __init__(self) -> None:
        self.lock = Lock()
        self.items: list[Any] = []
        self.marks: list[Control | Eviction] = []
        self.start = 0
        self.full_at = 0
        self.evicts_to = 0
        self.eviction: Eviction | None = None
        self.until: float | None = None
        self.granted_from = 0
        self.checkpoint: Any = None

    def add(self, measurement: M, clock: Callable[[], float]) -> int | None:
        """Append within the grant; the offset, or None where the grant does not allow it."""
        with self.lock:
            if self.until is None or clock() < self.until:
                items = self.items
                length = len(items)
                if length < self.full_at:
                    items.append(measurement)
                    return self.start + length
                if length < self.evicts_to:
                    items += (measurement, self.eviction)  # one step: a reader sees both or none
                    return self.start + length
        return None
