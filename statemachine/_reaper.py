"""`Reaper`: a thread that sweeps overdue snapshots while it is started. Must not know what a sweep does."""

from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any

from statemachine._buffer import ReplayBuffer
from statemachine._errors import InvalidArgumentError
from statemachine._observing import logger


class Reaper:
    """Calls `expire_overdue` every `interval` seconds in a background thread, from `start` to `stop`.

    Without one, an overdue snapshot expires when something touches its user. A sweep that raises is logged (logger
    `holdover`) and kept in `error`; the next one runs all the same.

    Parameters:
        buffer: the buffer to sweep.
        interval: seconds between sweeps.

    Attributes:
        sweeps: how many sweeps were done.
        error: what the latest sweep raised, or None.

    Raises:
        InvalidArgumentError: `interval` is not a positive number.

    Example:
        >>> with Reaper(ReplayBuffer(), interval=0.5) as reaper:
        ...     reaper.is_running
        True
        >>> reaper.is_running
        False
    """

    def __init__(self, buffer: ReplayBuffer[Any], interval: float = 1.0) -> None:
        if isinstance(interval, bool) or not isinstance(interval, int | float) or not 0 < interval < float("inf"):
            raise InvalidArgumentError(f"interval must be a positive number of seconds, not {interval!r}")
        self._buffer, self._interval = buffer, interval
        self._lock = Lock()
        self._stop = Event()
        self._thread: Thread | None = None
        self.sweeps = 0
        self.error: BaseException | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._thread is not None

    def start(self) -> None:
        """Start sweeping, at once and then periodically. Does nothing if it is running."""
        with self._lock:
            if self._thread is None:
                self._stop = Event()
                self._thread = Thread(target=self._run, args=(self._stop,), name="holdover-reaper", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Stop, after the sweep under way. Does nothing if it is not running."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop.set()
        if thread is not None:
            thread.join()

    def __enter__(self) -> "Reaper":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, stop: Event) -> None:
        while True:
            try:
                self._buffer.expire_overdue()
                self.error = None
            except BaseException as error:  # a hook may raise anything, and this thread is not the one to end
                self.error = error
                logger.exception("the sweep failed; the next one follows in %s s", self._interval)
            self.sweeps += 1
            if stop.wait(self._interval):
                return
