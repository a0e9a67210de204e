"""`ReplayManager`: runs an application's replay, to completion or rollback. Must not know what it computes."""

import time
from collections.abc import Callable
from threading import Event
from typing import Any, Generic, Literal, TypeVar

from attrs import evolve as changed
from attrs import frozen

from statemachine._buffer import ReplayBuffer
from statemachine._errors import ReplayBufferError, RollbackError, StaleSnapshotError, described
from statemachine._snapshot import FrozenSnapshot

M = TypeVar("M")


@frozen
class ReplayResult:
    """How one replay went.

    Attributes:
        user_id: whose replay it was.
        version: the snapshot's version.
        outcome: `"completed"`; `"failed"`, where something raised; or `"stale"`, where the replay finished after its
            snapshot had expired or been aborted, so that its completion was refused.
        measurements: how many were frozen; 0 where the failure came before.
        value: what the replay function returned, or None.
        error: what raised, for an outcome other than `"completed"`.
        callback_error: what `on_replay_complete` raised; the replay stays completed.
        rollback_error: what `restore` (or the buffer's `on_abort`) raised; the user stays in `aborting` until the
            sweep has run it with success.
        duration: seconds from before the begin to after the end.
    """

    user_id: str
    version: int
    outcome: Literal["completed", "failed", "stale"]
    measurements: int = 0
    value: Any = None
    error: Exception | None = None
    callback_error: Exception | None = None
    rollback_error: BaseException | None = None
    duration: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the replay was completed."""
        return self.outcome == "completed"


class ReplayStillRunningError(ReplayBufferError):
    """The snapshot expired, but its replay function has not returned; the rollback waits for that."""


class ReplayManager(Generic[M]):
    """Runs replays: begin, the application's own snapshot, finalize, replay, complete; or else roll back.

    A failure anywhere aborts the snapshot and calls `restore` in the aborting state, in which no other replay of the
    user can begin. No measurement leaves the buffer then. Several threads may use one manager.

    Where a snapshot expires while its replay function still runs, the user stays in `aborting` until that returns:
    restoring beside a replay that goes on writing would restore nothing.

    Parameters:
        buffer: the buffer.
        replay: called with the `FrozenSnapshot`; does the application's work.
        take_snapshot: called with the user id after the begin; returns the application's state to go back to.
        restore: called with the user id and what `take_snapshot` returned (None without one) to go back to it. It
            should be idempotent: it is called again if it raises. Not called where `take_snapshot` itself failed.
        on_replay_complete: called with the `ReplayResult` after a completion, which it cannot undo by raising.

    Example:
        >>> buffer = ReplayBuffer()
        >>> offsets = buffer.add_measurements("ann", [81.5, 81.7])
        >>> manager = ReplayManager(buffer, replay=lambda frozen: max(frozen))
        >>> result = manager.replay_user("ann")
        >>> result.outcome, result.value, buffer.measurements("ann")
        ('completed', 81.7, [])
    """

    def __init__(
        self,
        buffer: ReplayBuffer[M],
        replay: Callable[[FrozenSnapshot[M]], Any],
        *,
        take_snapshot: Callable[[str], Any] | None = None,
        restore: Callable[[str, Any], object] | None = None,
        on_replay_complete: Callable[[ReplayResult], object] | None = None,
    ) -> None:
        self._buffer, self._replay = buffer, replay
        self._take_snapshot, self._restore, self._on_replay_complete = take_snapshot, restore, on_replay_complete

    def replay_user(self, user_id: str, timestamp: Any = None) -> ReplayResult:
        """Replay one user's buffer now, in this thread.

        Parameters:
            user_id: whose buffer.
            timestamp: as for `ReplayBuffer.begin_snapshot`.

        Returns:
            How it went; what the callbacks raise is in it.

        Raises:
            UnknownUserError: no measurement was ever added for the user.
            SnapshotInProgressError: another replay of the user is under way, or its rollback is.
        """
        begun = time.perf_counter()
        version = self._buffer.begin_snapshot(user_id, timestamp)
        run = _Run(self, user_id, version)
        try:
            result = run.perform()
        except Exception as error:
            result = run.give_up(error)
        except BaseException as error:  # the interpreter is being told to stop: leave no half-done replay behind
            run.give_up(error)
            raise
        finally:
            run.returned.set()
        result = changed(result, duration=time.perf_counter() - begun)
        if result.ok and self._on_replay_complete is not None:
            try:
                self._on_replay_complete(result)
            except Exception as error:
                result = changed(result, callback_error=error)
        return result


class _Run(Generic[M]):
    """One replay on its way."""

    def __init__(self, manager: ReplayManager[M], user_id: str, version: int) -> None:
        self._manager, self._buffer = manager, manager._buffer
        self.user_id, self.version = user_id, version
        self.returned = Event()
        self._taken: Any = None
        self._measurements = 0

    def perform(self) -> ReplayResult:
        manager = self._manager
        if manager._take_snapshot is not None:
            self._taken = manager._take_snapshot(self.user_id)
        if manager._restore is not None:
            self._buffer._rollbacks.register(self.user_id, self.version, self._roll_back)
        frozen = self._buffer.finalize_snapshot(self.user_id, self.version)
        self._measurements = len(frozen)
        value = manager._replay(frozen)
        if frozen.settled != "completed":  # a replay may complete by itself
            frozen.complete()
        return ReplayResult(self.user_id, self.version, "completed", self._measurements, value)

    def give_up(self, error: BaseException) -> ReplayResult:
        """Abort, or where that happened already, do the rollback that waits for this replay to have returned."""
        self.returned.set()
        outcome: Literal["failed", "stale"] = "failed"
        rollback_error: BaseException | None = None
        try:
            self._buffer.abort_snapshot(self.user_id, described(error), self.version)
        except StaleSnapshotError:
            outcome = "stale"
            rollback_error = self._buffer._rollbacks.run(self.user_id, insist=True)
            if self._buffer.state(self.user_id).phase != "aborting":
                self._buffer._rollbacks.forget(self.user_id, self.version)
        except RollbackError as failed:
            rollback_error = failed.__cause__
        return ReplayResult(
            self.user_id,
            self.version,
            outcome,
            self._measurements,
            error=error if isinstance(error, Exception) else None,
            rollback_error=rollback_error,
        )

    def _roll_back(self, user_id: str, version: int, reason: str) -> None:
        if not self.returned.is_set():
            raise ReplayStillRunningError(
                f"snapshot {version} is over ({reason}), but its replay has not returned; restore waits for that",
                user_id=user_id,
            )
        assert self._manager._restore is not None
        self._manager._restore(user_id, self._taken)
