"""`Alone`: what a log on one machine answers about sharing the work, and doing much at once. Must not keep anything."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from events._clocks import Clock
from events._errors import LogError


class Alone:
    """A part of such a log. Several processes on it may get the same streams; who appends first has them."""

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
        results: list[int | LogError | None] = []
        for stream, batch in batches:
            try:
                results.append(self.add_many(stream, batch, clock, issuer))
            except LogError as error:
                results.append(error)
        return results

    def due(self, now: float) -> list[str]:
        """See `EventLog.due`."""
        raise NotImplementedError  # pragma: no cover - each log has its own

    def claim(self, now: float, until: float, most: int) -> list[str]:
        """See `EventLog.claim`: all, since no claims are noted."""
        return self.due(now)

    def waking(self, wake: Callable[[], object]) -> AbstractContextManager[object]:
        """See `EventLog.waking`: never."""
        return nullcontext()
