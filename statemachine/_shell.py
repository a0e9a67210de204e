"""`Shell`: what every call on a buffer goes through: checks of arguments, expiry on touch, recording. Not public."""

from collections.abc import Callable
from math import isfinite
from typing import Generic, TypeVar

from events import Clock, EventLog
from statemachine._config import BufferConfig
from statemachine._decide import AddMeasurements, Command, ExpireSnapshot
from statemachine._errors import (
    BufferClosedError,
    EvictHookError,
    InvalidArgumentError,
    ReplayBufferError,
    UnknownUserError,
)
from statemachine._journal import Journal, Outcome
from statemachine._rollbacks import AbortHook, EvictHook, Rollbacks
from statemachine._state import BufferState

M = TypeVar("M")


class Shell(Generic[M]):
    """The plumbing under `ReplayBuffer`; its parameters are those."""

    def __init__(
        self,
        log: EventLog[M],
        config: BufferConfig,
        clock: Clock,
        on_abort: AbortHook | None,
        on_evict: EvictHook | None,
    ) -> None:
        if not isinstance(config, BufferConfig):
            raise InvalidArgumentError(f"config must be a BufferConfig, not {config!r}")
        if not hasattr(log, "tails"):
            raise InvalidArgumentError(f"log must be an EventLog, not {log!r}")
        for name, hook in (("clock", clock), ("on_abort", on_abort), ("on_evict", on_evict)):
            if hook is not None and not callable(hook):
                raise InvalidArgumentError(f"{name} must be a function, not {hook!r}")
        self._log, self._clock, self._on_evict = log, clock, on_evict
        self._journal = Journal(log, config, hand_over=on_evict is not None)
        self._rollbacks = Rollbacks(self._journal, on_abort)
        self._closed = False

    def _check_open(self) -> None:
        if self._closed:
            raise BufferClosedError("the buffer was closed; make a new one on the log to go on")

    def _check_user(self, user_id: str) -> None:
        self._check_open()
        if not isinstance(user_id, str) or not user_id:
            raise InvalidArgumentError(f"a user id must be a non-empty string, not {user_id!r}")

    def _touch(self, user_id: str, version: int | None = None) -> BufferState:
        """The user's state as last decided, after its snapshot was expired and rolled back if it was overdue."""
        self._check_user(user_id)
        if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
            raise InvalidArgumentError(f"a version must be a whole number, not {version!r}", user_id=user_id)
        state = self._journal.decided(user_id)
        if state is None:
            raise UnknownUserError("no measurement was ever added", user_id=user_id)
        if self._expire(user_id, state):
            self._rollbacks.run(user_id)
            state = self._journal.decided(user_id) or state
        return state

    def _latest(self, user_id: str) -> BufferState:
        """The user's state at the head, expired and rolled back likewise."""
        touched = self._touch(user_id)
        return self._journal.state(user_id) or touched

    def _expire(self, user_id: str, state: BufferState) -> bool:
        """Expire the snapshot in progress if it is overdue, and tell whether it was."""
        if state.deadline is None or not state.is_overdue(now := self._now()):
            return False
        self._journal.record(
            user_id,
            lambda found: ExpireSnapshot(now, state.version, not self._rollbacks.needed(user_id, found.version)),
        )
        return True

    def _now(self) -> float:
        """The time, if the clock is in its right mind: a deadline that is no number would never come."""
        now = self._clock()
        if isinstance(now, bool) or not isinstance(now, int | float) or not isfinite(now):
            raise InvalidArgumentError(f"the clock must give a finite number of seconds, not {now!r}")
        return now

    def _arrival(self) -> float | None:
        """The time of an add; no measurement is refused because of the clock."""
        try:
            return self._now()
        except InvalidArgumentError:
            return None

    def _record(self, user_id: str, command: Command | Callable[[BufferState], Command]) -> Outcome[M]:
        """Record a command; a refusal learns whom it concerns."""
        try:
            return self._journal.record(user_id, command)
        except ReplayBufferError as error:
            error.user_id = user_id
            raise

    def _add(self, user_id: str, batch: tuple[M, ...]) -> int:
        """Record measurements that need a decision; the offset of the first. They are safe before any hook runs."""
        state = self._journal.decided(user_id)
        expired = state is not None and self._expire(user_id, state)
        try:
            outcome = self._record(user_id, AddMeasurements(batch, self._arrival()))
            if outcome.evicted and self._on_evict is not None:
                self._hand_over(user_id, outcome, self._on_evict)
        finally:
            if expired:
                self._rollbacks.run(user_id)
        return outcome.before.head

    def _hand_over(self, user_id: str, outcome: Outcome[M], on_evict: EvictHook) -> None:
        try:
            on_evict(user_id, outcome.evicted)
        except Exception as error:
            raise EvictHookError(
                f"on_evict failed ({error!r}) for {len(outcome.evicted)} evicted measurements; what was being added "
                f"IS recorded, from offset {outcome.before.head} on, so do not add it again",
                outcome.before.head,
                user_id=user_id,
            ) from error
