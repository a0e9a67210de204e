"""`Rollbacks`: runs the application's rollback for users left in `aborting`, once at a time and outside every lock."""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from events import LogError
from statemachine._decide import FinishAbort
from statemachine._journal import Journal

AbortHook = Callable[[str, int, str], object]
"""Called with user id, version and reason; restores the application's own state of that user."""

EvictHook = Callable[[str, Sequence[Any]], object]
"""Called with user id and the evicted measurements, oldest first."""


class Rollbacks:
    """Which rollbacks there are, which are running, and how the failed ones failed.

    Parameters:
        journal: where a finished abort is recorded.
        on_abort: the hook for every user, or None.
    """

    def __init__(self, journal: Journal[Any], on_abort: AbortHook | None) -> None:
        self._journal, self._on_abort = journal, on_abort
        self._lock = Lock()
        self._running: set[str] = set()
        self._again: set[str] = set()
        self._own: dict[tuple[str, int], AbortHook] = {}
        self._errors: dict[str, Exception] = {}

    @property
    def errors(self) -> dict[str, Exception]:
        """What the latest rollback raised, for each user whose abort is not finished because of it."""
        with self._lock:
            return dict(self._errors)

    def register(self, user_id: str, version: int, hook: AbortHook) -> None:
        """Give one snapshot a rollback of its own, which runs before the general one."""
        self._own[user_id, version] = hook

    def forget(self, user_id: str, version: int) -> None:
        """The snapshot will not be rolled back any more."""
        self._own.pop((user_id, version), None)

    def needed(self, user_id: str, version: int) -> bool:
        """Whether anything has to run between the begin and the end of this snapshot's abort."""
        return self._on_abort is not None or (user_id, version) in self._own

    def run(self, user_id: str, *, insist: bool = False) -> Exception | None:
        """Roll back and finish the abort, unless that is done or another thread is doing it.

        Parameters:
            user_id: whose abort.
            insist: something has changed that makes it worth another try, so a thread that is at it tries once more.

        Returns:
            What the rollback raised, or the log, in which case the user stays in `aborting`; or None.
        """
        with self._lock:
            if user_id in self._running:
                if insist:
                    self._again.add(user_id)
                return None
            self._running.add(user_id)
        try:
            while True:
                error = self._run(user_id)
                with self._lock:
                    if user_id not in self._again:
                        self._running.discard(user_id)
                        return error
                    self._again.discard(user_id)
        except BaseException:
            with self._lock:
                self._running.discard(user_id)
            raise

    def _run(self, user_id: str) -> Exception | None:
        """A log that is away is told as a hook that fails is: what the caller has recorded before stays recorded."""
        try:
            error = self._roll_back(user_id)
        except LogError as away:
            error = away
        with self._lock:
            if error is None:
                self._errors.pop(user_id, None)
            else:
                self._errors[user_id] = error
        return error

    def _roll_back(self, user_id: str) -> Exception | None:
        state = self._journal.state(user_id)
        if state is None or state.phase != "aborting":
            return None
        try:
            for hook in (self._own.get((user_id, state.version)), self._on_abort):
                if hook is not None:
                    hook(user_id, state.version, state.reason)
        except Exception as error:
            return error
        self._journal.record(user_id, FinishAbort(state.version))
        self.forget(user_id, state.version)
        return None
