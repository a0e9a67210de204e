"""`Alone`: what a log answers that is on one machine, about sharing the work with others. Must not keep anything."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from events._clocks import Clock


class Alone:
    """A part of such a log. Several processes on it may get the same streams; who appends first has them."""

    @property
    def clock(self) -> Clock:
        """See `EventLog.clock`: this machine's."""
        return time.time

    def due(self, now: float) -> list[str]:
        """See `EventLog.due`."""
        raise NotImplementedError  # pragma: no cover - each log has its own

    def claim(self, now: float, until: float, most: int) -> list[str]:
        """See `EventLog.claim`: all, since no claims are noted."""
        return self.due(now)

    def waking(self, wake: Callable[[], object]) -> AbstractContextManager[object]:
        """See `EventLog.waking`: never."""
        return nullcontext()
