"""The open end of a stream in memory, where measurements are added; must not know logs or what events mean."""

import sys
from bisect import bisect_left
from collections.abc import Callable
from operator import attrgetter
from threading import Lock
from typing import Any, Generic, TypeVar

from attrs import define

from events._events import Event, MeasurementsEvicted
from events._offsets import Offsets

M = TypeVar("M")

TRIM = 128
"""How many slots evicting adds fill before those of the evicted are dropped: fewer cost time, more cost memory."""

NEVER = sys.maxsize
"""A length that no list reaches."""


offset_of = attrgetter("offset")


@define  # never changed, and made in half of the time of one that is frozen
class Control:
    """Stands in a slot of a tail for an event that is not a measurement's; no measurement is of this class."""

    offset: int
    event: Event


class Arrival(Control):
    """Stands in the marks of a tail for a measurement whose arrival was noted; its slot holds the bare measurement."""

    __slots__ = ()


class Eviction:
    """Stands in a slot of a tail for the eviction that follows an add: one object for a whole grant of them.

    Parameters:
        offset: that of the first add under the grant; its eviction stands one further, the next two further on.
        victims: the offsets to be evicted, in order.
        checkpoint_at: as of the grant.

    Attributes:
        stop: the offset after the last event under the grant, or None while that is the stream's head.
    """

    __slots__ = ("checkpoint_at", "offset", "stop", "victims")

    def __init__(self, offset: int, victims: Offsets, checkpoint_at: Callable[[int], Any] | None) -> None:
        self.offset, self.victims, self.checkpoint_at = offset, victims, checkpoint_at
        self.stop: int | None = None

    def reaches(self, offset: int) -> bool:
        """Whether evictions under the grant stand at `offset` or later."""
        return self.stop is None or self.stop > offset

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
        marks: the controls, arrivals and evictions in `items`, each once, in offset order.
        start: the offset of the first slot.
        full_at: length of `items` up to which measurements may be added.
        opens_to: length of `items` up to which they may be added once the arrival of the first has been noted.
        evicts_to: length of `items` up to which they may be added with `eviction` after each.
        trim_at: length of `items` from which such an add is to call `trim`.
        until: the time from which none may be added without a decision, or None.
        issuer: who may add within the grant.
        arrived_at: when the first measurement within the grant arrived, where that is noted.
        due_at: the time from which the stream is due, or None.
        due_after: as of the grant.
        shelved: as of the grant.
        granted_from: the offset after the last event that was decided rather than granted.
        checkpoint: the fold's state at `start`, unless `checkpoint_at` is there to give it.
    """

    __slots__ = (
        "arrived_at",
        "checkpoint",
        "checkpoint_at",
        "due_after",
        "due_at",
        "eviction",
        "evicts_to",
        "full_at",
        "granted_from",
        "issuer",
        "items",
        "lock",
        "marks",
        "opens_to",
        "shelved",
        "start",
        "trim_at",
        "until",
    )

    def __init__(self) -> None:
        self.lock = Lock()
        self.items: list[Any] = []
        self.marks: list[Control | Arrival | Eviction] = []
        self.start = 0
        self.full_at = 0
        self.opens_to = 0
        self.evicts_to = 0
        self.trim_at = NEVER
        self.eviction: Eviction | None = None
        self.until: float | None = None
        self.issuer: Any = None
        self.granted_from = 0
        self.arrived_at: float | None = None
        self.due_at: float | None = None
        self.due_after: float | None = None
        self.shelved = False
        self.checkpoint: Any = None
        self.checkpoint_at: Callable[[int], Any] | None = None

    def add(self, measurement: M, clock: Callable[[], float], issuer: Any = None) -> int | None:
        """Append within the grant; the offset, or None where the grant does not allow it."""
        with self.lock:
            if self.issuer == issuer and (self.until is None or clock() < self.until):
                items = self.items
                length = len(items)
                if length < self.full_at:
                    items.append(measurement)
                    return self.start + length
                if length < self.evicts_to:
                    items += (measurement, self.eviction)
                    offset = self.start + length
                    if length >= self.trim_at:
                        _garbage = self.trim()  # lives until this function has returned
                    return offset
        return None

    def withdraw(self) -> None:
        """Let nothing more be added within the grant, as if it were used up."""
        with self.lock:
            self.full_at = self.opens_to = self.evicts_to = 0

    def trim(self) -> list[Any]:
        """Drop what was evicted under the grant, once that has come to what was added under it.

        To be called under the lock, with `eviction` set. What is returned must be let go of after the lock is: the
        measurements may have finalizers that come back here.
        """
        eviction: Any = self.eviction
        evicted = (self.start + len(self.items) - eviction.offset) // 2
        oldest = eviction.victims[evicted] if evicted < len(eviction.victims) else 0
        garbage: list[Any] = []
        if oldest >= eviction.offset:
            garbage = self.drop(oldest)
            self.checkpoint_at = eviction.checkpoint_at
        self.trim_at = len(self.items) + TRIM
        return garbage

    def drop(self, before: int) -> list[Any]:
        """Take out the slots and marks below offset `before`, under the lock; let go of what is returned after it."""
        dropped = before - self.start
        garbage, self.items = self.items, self.items[dropped:]
        self.full_at -= dropped
        self.opens_to -= dropped
        self.evicts_to -= dropped
        self.trim_at -= dropped
        self.start = before
        first = bisect_left(self.marks, before, key=offset_of)
        if first:
            last = self.marks[first - 1]
            first -= isinstance(last, Eviction) and last.reaches(before)
        del self.marks[:first]
        return garbage
