"""`Alone`: what a log on one machine answers about sharing the work, and doing much at once. Must not keep anything."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from events._clocks import Clock
from events._errors import LogError


class Alone:
    """A part of such a log. Several processes on it may get the same streams; who appends first has them."""

    notes_claims = False

    @property
    def clock(self) -> Clock:
        """See `EventLog.clock`: this machine's."""
        return time.time

    def add_many(self, stream: str, measurements: Sequence[Any], clock: Clock, issuer: Any = None) -> int | None:
        """See `EventLog.add_many`."""
        raise NotImplementedError  # pragma: no cover - each log has its own

    def add_each(
        self, batches: Sequence[tuple[str, Sequence[Any]]], clock: Clock, issuer: Any = None
    ) -> list[int | LogError | None]:
        """See `EventLog.add_each`: one after the other."""
        return one_by_one(self, batches, clock, issuer)

    def due(self, now: float) -> list[str]:
        """See `EventLog.due`."""
        raise NotImplementedError  # pragma: no cover - each log has its own

    def claim(self, now: float, until: float, most: int) -> list[str]:
        """See `EventLog.claim`: all, since no claims are noted."""
        return self.due(now)

    def waking(self, wake: Callable[[], object]) -> AbstractContextManager[object]:
        """See `EventLog.waking`: never."""
        return nullcontext()


class AddsMany(Protocol):
    """What adds several measurements to a stream."""

    def add_many(self, stream: str, measurements: Sequence[Any], clock: Clock, issuer: Any = None) -> int | None:
        """See `EventLog.add_many`."""


def one_by_one(
    log: AddsMany, batches: Sequence[tuple[str, Sequence[Any]]], clock: Clock, issuer: Any
) -> list[int | LogError | None]:
    """What comes of `EventLog.add_each` where each is added before the next is begun."""
    results: list[int | LogError | None] = []
    for stream, batch in batches:
        try:
            results.append(log.add_many(stream, batch, clock, issuer))
        except LogError as error:
            results.append(error)
    return results
