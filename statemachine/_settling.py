"""`Settling`: what follows from a replay's result: the next attempt, parking, and who is told. Knows no threads."""

import logging
from collections.abc import Callable
from typing import Any

from attrs import evolve as changed
from attrs import frozen

from statemachine._backoff import Backoff
from statemachine._buffer import ReplayBuffer
from statemachine._errors import BufferClosedError, IllegalTriggerError, StaleSnapshotError, described
from statemachine._run import ReplayResult

logger = logging.getLogger("holdover")

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
            try:
                result = self._follow_up(result)
            except (IllegalTriggerError, StaleSnapshotError, BufferClosedError):
                pass  # somebody has begun, parked, cleared or closed meanwhile
            except Exception:  # the log is away, say; whoever finds the user due puts it off
                logger.exception("when to try user %r again could not be recorded", result.user_id)
        for hook in (self.on_replay_complete if result.ok else None, self.on_result):
            try:
                if hook is not None:
                    hook(result)
            except BaseException as error:  # the thread is not the hook's to end
                logger.exception("a hook failed for user %r", result.user_id)
                result = changed(result, callback_error=error)
        return result

    def put_off(self, user_id: str, version: int, attempts: int) -> float:
        """Schedule the next attempt after so many that have failed; the time of it."""
        retry_at = self.buffer._now() + self.backoff.delay(max(1, attempts), self.chance())
        self.buffer.schedule_retry(user_id, retry_at, version)
        return retry_at

    def _follow_up(self, result: ReplayResult) -> ReplayResult:
        """Park the user, or schedule the next attempt."""
        user_id = result.user_id
        state = self.buffer.state(user_id)
        if state.phase == "idle" and self.is_exhausted(state.attempts):
            last = "its replays expired or were aborted" if result.error is None else described(result.error)
            self.buffer.park(user_id, last)
            return changed(result, parked=True)
        return changed(result, retry_at=self.put_off(user_id, result.version, state.attempts))
