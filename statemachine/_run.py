"""`Run`: one replay on its way, to completion or rollback, and `ReplayResult`, how it went. Knows no threads."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from threading import Lock, Thread, current_thread
from typing import Any, Generic, Literal, TypeVar

from attrs import field, frozen

from statemachine._buffer import ReplayBuffer
from statemachine._errors import ReplayBufferError, RollbackError, StaleSnapshotError, described
from statemachine._snapshot import FrozenSnapshot
from statemachine._state import BufferState

M = TypeVar("M")

logger = logging.getLogger("holdover")

Outcome = Literal["completed", "failed", "stale", "abandoned", "parked"]


@frozen
class ReplayResult:
    """How one replay went.

    Attributes:
        user_id: whose replay it was.
        version: the snapshot's version.
        outcome: `"completed"`; `"failed"`, where something raised; `"stale"`, where the replay finished after its
            snapshot had expired or been aborted, so that its completion was refused; `"abandoned"`, where it took
            longer than `max_replay_time` or the manager was stopped; `"parked"`, where none was begun, since too many
            had failed.
        measurements: how many were frozen; 0 where the failure came before.
        value: what the replay function returned, or None.
        error: what raised; with `"completed"`, after the replay function had completed its snapshot by itself.
        callback_error: what `on_replay_complete` or `on_result` raised last; the replay stays what it was.
        rollback_error: what `restore` (or the buffer's `on_abort`) raised; the user stays in `aborting` until the
            sweep has run it with success. Where the abort itself raised (the log is away, say), it expires instead.
        duration: seconds from the begin to the end.
        attempt: which attempt it was since the last completed replay, from 1 on.
        retry_at: when it is tried again, in seconds of the buffer's clock, or None.
        parked: whether the user is parked now.
    """

    user_id: str
    version: int
    outcome: Outcome
    measurements: int = 0
    value: Any = None
    error: BaseException | None = None
    callback_error: BaseException | None = None
    rollback_error: BaseException | None = None
    duration: float = 0.0
    attempt: int = 1
    retry_at: float | None = None
    parked: bool = False

    @property
    def ok(self) -> bool:
        """Whether the replay was completed."""
        return self.outcome == "completed"


class ReplayStillRunningError(ReplayBufferError):
    """The snapshot is over, but its replay function has not returned; the rollback waits for that."""


class ReplayTooLongError(ReplayBufferError):
    """The replay took longer than `max_replay_time`, or than the manager that was stopped would wait."""


class ReplayNotCommittedError(ReplayBufferError):
    """The replay function handed its completion over to a transaction, and did not commit that."""


Tracing = Callable[[str, int], AbstractContextManager[Callable[[ReplayResult], object]]]
"""What surrounds each replay, such as `statemachine.otel.tracing()`: given user id and version, a context that takes
the result."""


def no_tracing(_user_id: str, _version: int) -> AbstractContextManager[Callable[[ReplayResult], object]]:
    """Surrounds a replay with nothing."""
    return nullcontext(lambda _result: None)


@frozen
class Job(Generic[M]):
    """What the application has done in a replay; see `ReplayManager`."""

    replay: Callable[[FrozenSnapshot[M]], Any]
    take_snapshot: Callable[[str], Any] | None = None
    restore: Callable[[str, Any], object] | None = None
    tracing: Tracing = field(default=no_tracing)


class Run(Generic[M]):
    """One replay of one user, begun already.

    Attributes:
        user_id: whose.
        version: the snapshot's.
        attempt: which attempt it is.
        begun_at: when it began, in seconds of the buffer's clock.
        thread: where it runs.
        abandoned: what it was abandoned for, or None. Whoever abandons it says how it went, and nobody else does.
    """

    def __init__(self, buffer: ReplayBuffer[M], job: Job[M], user_id: str, version: int, begun_at: float) -> None:
        self._buffer, self._job = buffer, job
        self.user_id, self.version, self.begun_at = user_id, version, begun_at
        state = buffer._journal.decided(user_id) or BufferState()
        self.attempt, self._replayed = 1 + state.attempts, state.replayed
        self._started = time.perf_counter()
        self.thread: Thread = current_thread()
        self.abandoned: ReplayTooLongError | None = None
        self._ending = Lock()
        self._returned = self._may_roll_back = False
        self._taken: Any = None
        self._frozen: FrozenSnapshot[M] | None = None
        self._renew_from = float("inf")

    def perform(self) -> ReplayResult:
        """Go all the way, here and now; what the application raises is in the result, whatever it is."""
        stack = ExitStack()
        trace = self._trace(stack)
        try:
            try:
                result = self._complete()
            except BaseException as error:  # also where the interpreter is told to stop: no half-done replay is left
                result = self._give_up(error)
            with suppress(Exception):  # it watches, and must not change what it sees
                trace(result)
            return result
        finally:
            with suppress(Exception):
                stack.close()

    def _trace(self, stack: ExitStack) -> Callable[[ReplayResult], object]:
        """Enter the tracing; a replay does not fail for want of it."""
        try:
            return stack.enter_context(self._job.tracing(self.user_id, self.version))
        except Exception:
            logger.exception("tracing the replay of user %r failed; it goes on without", self.user_id)
            return stack.enter_context(no_tracing(self.user_id, self.version))

    def renew(self, now: float) -> None:
        """Extend the lease when half of it has passed; without it, a late replay learns that from its completion."""
        if self._frozen is not None and now >= self._renew_from and not self._returned and not self._frozen.settled:
            self._renew_from = now + self._buffer.config.replay_timeout / 2
            with suppress(Exception):
                self._frozen.renew()

    def abandon(self, why: str) -> ReplayResult | None:
        """Give it up although its function has not returned, so that its completion will be refused.

        Returns:
            How it went, or None where the function has returned, and it comes to an end by itself.
        """
        error = ReplayTooLongError(why, user_id=self.user_id)
        with self._ending:
            if self._returned or self.abandoned is not None:
                return None
            self.abandoned = error
        _, rollback_error = self._abort(why)
        if self._has_completed:
            return self._result("completed", error=error)
        return self._result("abandoned", error=error, rollback_error=rollback_error)

    def _complete(self) -> ReplayResult:
        job = self._job
        if job.take_snapshot is not None:
            self._taken = job.take_snapshot(self.user_id)
        if job.restore is not None or self._buffer._rollbacks.needed(self.user_id, self.version):
            self._buffer._rollbacks.register(self.user_id, self.version, self._roll_back)
        frozen = self._buffer.finalize_snapshot(self.user_id, self.version)
        self._renew_from = self._buffer._now() + self._buffer.config.replay_timeout / 2
        self._frozen = frozen
        value = job.replay(frozen)
        self._come_back()
        if not self._has_completed:  # a replay may complete by itself
            if frozen.is_handed_over:
                raise ReplayNotCommittedError(
                    "the replay function completed within a transaction that was not committed when it returned",
                    user_id=self.user_id,
                )
            frozen.complete()
        return self._result("completed", value=value)

    def _come_back(self) -> None:
        """The function has returned: from here on it cannot be abandoned; if it was, it must not complete."""
        with self._ending:
            self._returned = True
            if self.abandoned is not None:
                raise StaleSnapshotError(f"snapshot {self.version} was abandoned", user_id=self.user_id)

    def _give_up(self, error: BaseException) -> ReplayResult:
        with self._ending:
            self._returned = self._may_roll_back = True
        if self._has_completed:
            return self._result("completed", error=error)
        outcome, rollback_error = self._abort(described(error))
        return self._result(outcome, error=error, rollback_error=rollback_error)

    @property
    def _has_completed(self) -> bool:
        """Whether the snapshot was completed, be it by the replay function itself, by either of the two ways."""
        frozen = self._frozen
        if frozen is None or frozen.settled == "completed":
            return frozen is not None
        if frozen.is_handed_over:
            return self._buffer._tentative.is_recorded(self.user_id, self.version, frozen.stop)
        state = self._buffer._journal.decided(self.user_id) or BufferState()
        ended = state.version == self.version and state.phase == "idle" and not state.attempts
        return ended and state.replayed - self._replayed == len(frozen)

    def _abort(self, reason: str) -> tuple[Outcome, BaseException | None]:
        """Abort, or where that happened already, do the rollback that waits for the function to have returned."""
        try:
            try:
                self._buffer.abort_snapshot(self.user_id, reason, self.version)
            except StaleSnapshotError:
                return "stale", self._roll_back_late()
        except RollbackError as failed:
            return "failed", failed.__cause__
        except BaseException as failed:  # the log is away or the buffer closed: the snapshot will expire
            return "failed", failed
        return "failed", None

    def _roll_back_late(self) -> BaseException | None:
        rollbacks = self._buffer._rollbacks
        error = rollbacks.run(self.user_id, insist=True)
        state = self._buffer.state(self.user_id)
        if (state.phase, state.version) != ("aborting", self.version):
            rollbacks.forget(self.user_id, self.version)
        return error

    def _result(self, outcome: Outcome, **values: Any) -> ReplayResult:
        return ReplayResult(
            self.user_id,
            self.version,
            outcome,
            measurements=0 if self._frozen is None else len(self._frozen),
            duration=time.perf_counter() - self._started,
            attempt=self.attempt,
            **values,
        )

    def _roll_back(self, user_id: str, version: int, reason: str) -> None:
        if not self._may_roll_back:
            raise ReplayStillRunningError(
                f"snapshot {version} is over ({reason}), but its replay has not returned; the rollback waits for that",
                user_id=user_id,
            )
        if self._job.restore is not None:
            self._job.restore(user_id, self._taken)
