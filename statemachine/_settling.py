"""`Settling`: what follows from a replay's result: the next attempt, parking, and who is told. Knows no threads."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from attrs import evolve as changed
from attrs import frozen

from statemachine._backoff import Backoff
from statemachine._buffer import ReplayBuffer
from statemachine._errors import IllegalTriggerError, StaleSnapshotError, described
from statemachine._run import ReplayResult

Hook = Callable[[ReplayResult], object] | None


@frozen
class Settling:
    """How often and when a failed replay is tried again, and whom to tell. The parameters are `ReplayManager`'s."""

    buffer: ReplayBuffer[Any]
    max_attempts: int | None
    backoff: Backoff
    chance: Callable[[], float]
    on_replay_complete: Hook
    on_result: Hook

    def is_exhausted(self, attempts: int) -> bool:
        """Whether so many failed attempts are too many."""
        return self.max_attempts is not None and attempts >= self.max_attempts

    def settle(self, result: ReplayResult) -> ReplayResult:
        """Record what follows from the result, tell the hooks, and return it with what came of that."""
        if not result.ok:
            with suppress(IllegalTriggerError, StaleSnapshotError):  # somebody has begun, parked or cleared meanwhile
                result = self._put_off(result)
        for hook in (self.on_replay_complete if result.ok else None, self.on_result):
            try:
                if hook is not None:
                    hook(result)
            except Exception as error:
                result = changed(result, callback_error=error)
        return result

    def _put_off(self, result: ReplayResult) -> ReplayResult:
        """Park the user, or schedule the next attempt."""
        user_id = result.user_id
        state = self.buffer.state(user_id)
        if state.phase == "idle" and self.is_exhausted(state.attempts):
            last = "its replays expired or were aborted" if result.error is None else described(result.error)
            self.buffer.park(user_id, last)
            return changed(result, parked=True)
        retry_at = self.buffer._now() + self.backoff.delay(max(1, state.attempts), self.chance())
        self.buffer.schedule_retry(user_id, retry_at, result.version)
        return changed(result, retry_at=retry_at)
