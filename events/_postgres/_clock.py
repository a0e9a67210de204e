"""`ServerClock`: the server's time, told without asking it each time. Must not know connections."""

import time

from events._clocks import Clock

DRIFT = 0.001
"""By how much, at most, a second of this machine differs from one of the server's."""


def steady() -> float:
    """Seconds that pass also while the machine sleeps, and that nobody can set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class ServerClock:
    """Tells the time of a server in seconds since 1970, so that machines whose own clocks are wrong agree.

    Each answer that bears the server's time says how far it is ahead of this machine's steady clock, give or take half
    the time the answer took (Cristian, "Probabilistic clock synchronization", 1989). The surest of them is kept, and
    counts for less and less as it ages. One that contradicts it, as after a failover to another server, replaces it.

    Parameters:
        steady: a clock that is never set; only differences matter.

    Example:
        >>> now = 5.0
        >>> clock = ServerClock(lambda: now)
        >>> clock.tell(1000.0, asked_at=4.0, answered_at=5.0)
        >>> now = 15.0
        >>> clock()
        1010.5
    """

    def __init__(self, steady: Clock = steady) -> None:
        self._steady = steady
        self._known = time.time() - steady(), float("inf"), steady()  # how far ahead, the doubt then, and when that was

    def __call__(self) -> float:
        """The server's time now, as far as it is known; this machine's before the first answer."""
        return self._known[0] + self._steady()

    def tell(self, server_time: float, asked_at: float, answered_at: float) -> None:
        """Learn from an answer.

        Parameters:
            server_time: what the server's clock showed when it answered, in seconds since 1970.
            asked_at, answered_at: when it was asked, and when the answer was here, by the steady clock.
        """
        doubt = (answered_at - asked_at) / 2
        ahead = server_time - (asked_at + answered_at) / 2
        known, doubted, told_at = self._known
        aged = doubted + DRIFT * (answered_at - told_at)
        if doubt <= aged or abs(ahead - known) > doubt + aged:
            self._known = ahead, doubt, answered_at
