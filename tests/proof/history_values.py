"""What is noted of a call, `Operation`, and where a buffer can stand, `State`. Must not know what leads where."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from attrs import frozen

STEP = 20.0
"""Seconds by which the clock goes on at a time."""

Answer = tuple[str, Any]
"""`RETURNED` and what was given, or `REFUSED` and the name of the error."""

RETURNED, REFUSED, FAILED, UNKNOWN = "returned", "refused", "failed", "unknown"
"""What has come of a call. One that failed said that nothing was recorded."""

IN_PROGRESS = ("snapshotting", "replaying")
LOOKS = ("measurements", "pending", "state", "size", "frozen")
MERELY_LOOKS = ("size", "frozen")
"""Do not even expire what is overdue."""

Item = tuple[int, Any]
"""An offset, and the measurement there."""


@frozen(eq=False)
class Operation:
    """A call, and what was seen of it.

    Attributes:
        by: who called, a thread.
        user: whose buffer.
        name, argument: what was asked for.
        called, returned: when, in nanoseconds. Where the outcome is unknown, `returned` is when it had happened if
            ever, or None if nobody knows that either.
        outcome: what has come of it.
        output: what was given, or the name of the error.
        earliest, latest: between which times of the buffer's clock.
    """

    by: str
    user: str
    name: str
    argument: Any
    called: int
    returned: int | None
    outcome: str
    output: Any
    earliest: float
    latest: float

    @property
    def known(self) -> bool:
        return self.outcome != UNKNOWN

    @property
    def answer(self) -> Answer:
        return self.outcome, self.output

    def times(self) -> Iterator[float]:
        """What the clock may have shown."""
        time = self.earliest
        while time <= self.latest:
            yield time
            time += STEP


class State(NamedTuple):
    """Where a user's buffer stands; the words are those of `BufferState`.

    Attributes:
        certain: whether whoever comes after the deadline must find the snapshot overdue. One that was begun while the
            clock went on may come in between.
        older: the live measurements, or while a snapshot is in progress the frozen ones.
    """

    phase: str = "idle"
    version: int = 0
    head: int = 0
    committed: int = 0
    frozen_offset: int | None = None
    deadline: float | None = None
    certain: bool = True
    older: tuple[Item, ...] = ()
    pending: tuple[Item, ...] = ()
    carries: bool = False
    added: int = 0
    replayed: int = 0
    evicted: int = 0
    cleared: int = 0


def shown(state: State) -> dict[str, Any]:
    """What `ReplayBuffer.state` shows of it."""
    values = state._asdict()
    del values["certain"]
    older, pending = len(values.pop("older")), len(values.pop("pending"))
    counts = {"live": older + pending, "frozen": 0 if state.frozen_offset is None else older, "pending": pending}
    return {**values, **counts}


SHOWN = tuple(shown(State()))
"""The attributes of `BufferState` that the model knows."""
