"""`Run`: one replay on its way, to completion or rollback, and `ReplayResult`, how it went. Knows no threads."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from threading import Event, Thread, current_thread
from typing import Any, Generic, Literal, TypeVar

from attrs import field, frozen

from statemachine._buffer import ReplayBuffer
from statemachine._errors import ReplayBufferError, RollbackError, StaleSnapshotError, described
from statemachine._snapshot import FrozenSnapshot

M = TypeVar("M")

logger = logging.getLogger("holdover")

RollbackFailure = BaseException | None


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
        callback_error: what `on_replay_complete` or `on_result` raised; the replay stays what it was.
        rollback_error: what `restore` (or the buffer's `on_abort`) raised; the user stays in `aborting` until the
            sweep has run it with success.
        duration: seconds from the begin to the end.
        attempt: which attempt it was since the last completed replay, from 1 on.
        retry_at: when it is tried again, in seconds of the buffer's clock, or None.
        parked: whether the user is parked now.
    """

    user_id: str
    version: int
    outcome: Literal["completed", "failed", "stale", "abandoned", "parked"]
    measurements: int = 0
    value: Any = None
    error: BaseException | None = None
    callback_error: Exception | None = None
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
        abandoned: what it was abandoned for, or None.
    """

    def __init__(self, buffer: ReplayBuffer[M], job: Job[M], user_id: str, version: int, begun_at: float) -> None:
        self._buffer, self._job = buffer, job
        self.user_id, self.version, self.begun_at = user_id, version, begun_at
        state = buffer._journal.decided(user_id)
        self.attempt = 1 + (state.attempts if state else 0)
        self._started = time.perf_counter()
        self.thread: Thread = current_thread()
        self.abandoned: ReplayTooLongError | None = None
        self._returned = Event()
        self._taken: Any = None
        self._frozen: FrozenSnapshot[M] | None = None
        self._renew_from = float("inf")

    def perform(self) -> ReplayResult:
        """Go all the way, here and now; what the application raises is in the result."""
        with ExitStack() as stack:
            trace = self._trace(stack)
            try:
                result = self._complete()
            except Exception as error:
                result = self._give_up(error)
            except BaseException as error:  # the interpreter is being told to stop: leave no half-done replay behind
                self._give_up(error)
                raise
            finally:
                self._returned.set()
            with suppress(Exception):  # it watches, and must not change what it sees
                trace(result)
        return result

    def _trace(self, stack: ExitStack) -> Callable[[ReplayResult], object]:
        """Enter the tracing; a replay does not fail for want of it."""
        try:
            return stack.enter_context(self._job.tracing(self.user_id, self.version))
        except Exception:
            logger.exception("tracing the replay of user %r failed; it goes on without", self.user_id)
            return stack.enter_context(no_tracing(self.user_id, self.version))

    def renew(self, now: float) -> None:
        """Extend the lease when half of it has passed; without it, a late replay learns that from its completion."""
        if self._frozen is not None and now >= self._renew_from and not self._frozen.settled:
            self._renew_from = now + self._buffer.config.replay_timeout / 2
            with suppress(ReplayBufferError):
                self._frozen.renew()

    def abandon(self, why: str) -> ReplayResult | None:
        """Give it up although its function has not returned, so that its completion will be refused.

        Returns:
            How it went, or None where it had come to an end by itself.
        """
        error = ReplayTooLongError(why, user_id=self.user_id)
        rollback_error: RollbackFailure = None
        self.abandoned = error
        try:
            self._buffer.abort_snapshot(self.user_id, why, self.version)
        except StaleSnapshotError:
            self.abandoned = None
            return None
        except RollbackError as failed:
            rollback_error = failed.__cause__
        return self._result("abandoned", error=error, rollback_error=rollback_error)

    def _complete(self) -> ReplayResult:
        job = self._job
        if job.take_snapshot is not None:
            self._taken = job.take_snapshot(self.user_id)
        if job.restore is not None:
            self._buffer._rollbacks.register(self.user_id, self.version, self._roll_back)
        frozen = self._buffer.finalize_snapshot(self.user_id, self.version)
        self._renew_from = self._buffer._now() + self._buffer.config.replay_timeout / 2
        self._frozen = frozen
        value = job.replay(frozen)
        if frozen.settled != "completed":  # a replay may complete by itself
            frozen.complete()
        return self._result("completed", value=value)

    def _give_up(self, error: BaseException) -> ReplayResult:
        """Abort, or where that happened already, do the rollback that waits for this replay to have returned."""
        self._returned.set()
        if self._frozen is not None and self._frozen.settled == "completed":
            return self._result("completed", error=error)
        outcome: Literal["failed", "stale"] = "failed"
        rollback_error: RollbackFailure = None
        try:
            self._buffer.abort_snapshot(self.user_id, described(error), self.version)
        except StaleSnapshotError:
            outcome = "stale"
            rollback_error = self._buffer._rollbacks.run(self.user_id, insist=True)
            if self._buffer.state(self.user_id).phase != "aborting":
                self._buffer._rollbacks.forget(self.user_id, self.version)
        except RollbackError as failed:
            rollback_error = failed.__cause__
        return self._result(outcome, error=error, rollback_error=rollback_error)

    def _result(self, outcome: Any, **values: Any) -> ReplayResult:
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
        if not self._returned.is_set():
            raise ReplayStillRunningError(
                f"snapshot {version} is over ({reason}), but its replay has not returned; restore waits for that",
                user_id=user_id,
            )
        assert self._job.restore is not None
        self._job.restore(user_id, self._taken)
