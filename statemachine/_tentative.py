"""`Tentative`: completions within an application's transaction, until it is known what became of it. Records none."""

from contextlib import suppress
from typing import Any

from attrs import frozen

from events import ReplayCompleted, TruncatedError
from statemachine._journal import Outcome
from statemachine._observing import ObservedJournal
from statemachine._rollbacks import Rollbacks


@frozen
class _Waiting:
    """A completion, and when it was made."""

    outcome: Outcome[Any]
    at: float | None


class Tentative:
    """Remembers them, looks for them in the log when their user is touched, and then tells who has to know.

    Parameters:
        journal: the buffer's, which sees what was committed.
        rollbacks: where a completed snapshot's rollback is forgotten.
    """

    def __init__(self, journal: ObservedJournal[Any], rollbacks: Rollbacks) -> None:
        self._journal, self._rollbacks = journal, rollbacks
        self._waiting: dict[str, _Waiting] = {}

    def add(self, user_id: str, outcome: Outcome[Any], at: float | None) -> None:
        """The user's replay was completed at this time (seconds), if the transaction commits."""
        self._waiting[user_id] = _Waiting(outcome, at)

    def forget(self, user_id: str) -> None:
        """The replay was completed otherwise, so the transaction was rolled back."""
        self._waiting.pop(user_id, None)

    def settle(self, user_id: str) -> None:
        """Look what became of the user's completion, if there is one."""
        waiting = self._waiting.get(user_id)
        if waiting is None:
            return
        before, after = waiting.outcome.before, waiting.outcome.after
        now = self._journal.decided(user_id)
        if now is None or (now.version, now.phase) == (before.version, before.phase):
            return  # not yet, or never: its snapshot is as it was
        if self._waiting.pop(user_id, None) is not waiting:
            return  # another thread was faster
        if not self.is_recorded(user_id, before.version, before.head):
            return
        self._rollbacks.forget(user_id, before.version)
        if self._journal.shared is not None:
            self._journal.shared.account(user_id, before.live, after.live, added=False)
        for event in waiting.outcome.events:
            self._journal.tell(user_id, event, after.version, waiting.at)

    def settle_all(self) -> None:
        """The same for every user."""
        for user_id in list(self._waiting):
            self.settle(user_id)

    def is_recorded(self, user_id: str, version: int, since: int) -> bool:
        """Whether the completion of this version is in the log, at an offset from `since` on.

        What was pruned was completed or cleared, so it is taken for completed.
        """
        with suppress(TruncatedError):
            for recorded in self._journal.log.controls(user_id, since):
                if isinstance(recorded.event, ReplayCompleted) and recorded.event.version == version:
                    return True
            return False
        return True
