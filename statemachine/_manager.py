"""`ReplayManager`: replays due users, and tries again what failed. Must not know what a replay computes."""

import random
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from attrs import evolve as changed

from statemachine._backoff import Backoff
from statemachine._buffer import ReplayBuffer
from statemachine._errors import (
    BufferClosedError,
    IllegalTriggerError,
    InvalidArgumentError,
    StaleSnapshotError,
    UnknownUserError,
)
from statemachine._keeper import Keeper
from statemachine._pool import Pool
from statemachine._progress import Progress
from statemachine._run import Job, ReplayResult, Run, Tracing, no_tracing
from statemachine._service import Service, Services, one_pass
from statemachine._settling import Settling
from statemachine._snapshot import FrozenSnapshot

M = TypeVar("M")


class ReplayManager(Generic[M]):
    """Runs replays: begin, the application's own snapshot, finalize, replay, complete; or else roll back.

    A failure anywhere aborts the snapshot and calls `restore` in the aborting state, in which no other replay of the
    user can begin. No measurement leaves the buffer then. The user is due again after a back-off, and after
    `max_attempts` failures it is parked: no replay begins until `release_user`, and its measurements are kept. Failures
    and parking are events, so they survive a restart where the log does.

    `replay_user` replays one user here and now; `replay_ready` all that are due; `start` and `run` go on doing so until
    `stop`. While a replay runs in `replay_ready`, `start` or `run`, the manager renews its lease, or, once it has taken
    `max_replay_time`, abandons it: it counts as failed, and its late completion is refused. A thread cannot be ended
    from outside, so one whose replay function never returns is left to itself, and another takes its place.

    Where a snapshot is over while its replay function still runs, and there is something to roll back (`restore`, or
    the buffer's `on_abort`), the user stays in `aborting` until the function returns: restoring beside a replay that
    goes on writing would restore nothing. Hooks are not watched: one that never returns keeps its thread.

    Parameters:
        buffer: the buffer.
        replay: called with the `FrozenSnapshot`; does the application's work. What it returns is in the result.
        take_snapshot: called with the user id after the begin; returns the application's state to go back to.
        restore: called with the user id and what `take_snapshot` returned (None without one) to go back to it. It
            should be idempotent: it is called again if it raises. Not called where `take_snapshot` itself failed.
        on_replay_complete: called with the `ReplayResult` after a completion, which it cannot undo by raising.
        on_result: called with every `ReplayResult`, whatever the outcome, once what follows from it is recorded. For a
            replay that is abandoned the thread that renews leases calls it, so it must not block.
        workers: how many threads `replay_ready`, `start` and `run` replay in.
        max_attempts: after how many failed attempts a user is parked; None for never.
        backoff: how long to wait after a failure.
        max_replay_time: seconds of the buffer's clock after which a replay is abandoned; None for never.
        poll_interval: seconds between two looks at who is due and who is overdue.
        tracing: what surrounds each replay, such as `statemachine.otel.tracing()`.
        chance: gives random numbers from 0 to 1, for the jitter.

    Raises:
        InvalidArgumentError: an argument has the wrong type or makes no sense.

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
        on_result: Callable[[ReplayResult], object] | None = None,
        workers: int = 1,
        max_attempts: int | None = 5,
        backoff: Backoff = Backoff(),
        max_replay_time: float | None = None,
        poll_interval: float = 0.25,
        tracing: Tracing = no_tracing,
        chance: Callable[[], float] = random.random,
    ) -> None:
        _check_is(buffer, ReplayBuffer, "buffer")
        _check_is(backoff, Backoff, "backoff")
        hooks = [("take_snapshot", take_snapshot), ("restore", restore), ("on_replay_complete", on_replay_complete)]
        hooks = [(name, hook) for name, hook in [*hooks, ("on_result", on_result)] if hook is not None]
        for name, function in [("replay", replay), ("tracing", tracing), ("chance", chance), *hooks]:
            if not callable(function):
                raise InvalidArgumentError(f"{name} must be a function, not {function!r}")
        _check_whole(workers, "workers")
        if max_attempts is not None:
            _check_whole(max_attempts, "max_attempts")
        if max_replay_time is not None:
            _check_seconds(max_replay_time, "max_replay_time")
        _check_seconds(poll_interval, "poll_interval")
        self._buffer, self._job = buffer, Job(replay, take_snapshot, restore, tracing)
        self._settling = Settling(buffer, max_attempts, backoff, chance, on_replay_complete, on_result)
        self._keeper = Keeper(buffer, self._settling, max_replay_time, poll_interval)
        self._workers, self._poll_interval = workers, poll_interval
        self._services = Services(self._service)

    def replay_user(self, user_id: str, timestamp: Any = None) -> ReplayResult:
        """Replay one user's buffer now, in this thread, whether it is due or not.

        Its lease is renewed only while the manager is started, since nobody else is there to do it.

        Parameters:
            user_id: whose buffer.
            timestamp: as for `ReplayBuffer.begin_snapshot`.

        Returns:
            How it went; what the callbacks raise is in it, unless it is a Ctrl-C or the like, which is raised on.

        Raises:
            UnknownUserError: no measurement was ever added for the user.
            SnapshotInProgressError: another replay of the user is under way, or its rollback is.
            UserParkedError: too many replays of the user have failed; see `release_user`.
        """
        result = self._replay(user_id, None, timestamp)
        assert result is not None  # as always where no pool has given it up
        for error in (result.error, result.rollback_error, result.callback_error):
            if error is not None and not isinstance(error, Exception):
                raise error  # Ctrl-C, or sys.exit
        return result

    def replay_ready(self, progress: Progress = False) -> list[ReplayResult]:
        """One pass: replay every user who is due now, in `workers` threads, and wait until that is done.

        Parameters:
            progress: True for a bar (it needs the package rich), or a function that is called with how many users are
                done and how many there are.

        Returns:
            How each replay went, in the order in which they ended. Users whose replay somebody else has begun
            meanwhile are not among them.

        Example:
            >>> from statemachine import BufferConfig, due
            >>> buffer = ReplayBuffer(config=BufferConfig(due=due.Count(2)))
            >>> offsets = buffer.add_measurements("ann", [81.5, 81.7])
            >>> [result.outcome for result in ReplayManager(buffer, replay=sum).replay_ready()]
            ['completed']
        """
        return one_pass(self._buffer, self._keeper, self._replay_due, self._workers, self._poll_interval, progress)

    def run(self) -> None:
        """Replay users as they become due, until `stop` is called elsewhere or this thread is interrupted.

        It drains as `stop` does before it returns, or before an interrupt (Ctrl-C) is raised on.
        """
        self.start()
        try:
            self._services.join()
        finally:
            self.stop()

    def start(self) -> None:
        """Replay users as they become due, in threads of its own. Does nothing if it is started already.

        Where a `stop` still waits for replays, the new threads begin beside those.
        """
        self._services.start()

    def stop(self, timeout: float | None = None) -> list[str]:
        """Begin no replay any more, and wait until those under way have ended. Does nothing if it is not started.

        Called by a replay function or hook that it runs itself, it only asks for that and does not wait.

        Parameters:
            timeout: seconds to wait; what has not ended then is abandoned. As long as it takes if omitted.

        Returns:
            The users whose replay was abandoned.

        Raises:
            InvalidArgumentError: `timeout` is no finite number of seconds of at least 0.
        """
        if timeout is not None and (timeout != 0 or timeout is False):
            _check_seconds(timeout, "timeout")
        return self._services.stop(timeout)

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not come to an end."""
        return self._services.are_running

    def release_user(self, user_id: str) -> None:
        """Let a parked user be replayed again; see `ReplayBuffer.release`."""
        self._buffer.release(user_id)

    def __enter__(self) -> "ReplayManager[M]":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _service(self) -> Service:
        return Service(self._buffer, self._keeper, self._replay_due, self._workers, self._poll_interval)

    def _replay(
        self, user_id: str, pool: Pool | None, timestamp: Any = None, latest: int | None = None
    ) -> ReplayResult | None:
        """Replay the user here and now; None where the pool's keeper has given it up and said so already.

        Where snapshot `latest` is the one after which the user was found due, nobody may have begun another since:
        another process, or a worker that was handed the same user, may have replayed it meanwhile, with success or not.
        """
        version = self._buffer._begin(user_id, timestamp, latest).version
        run = Run(self._buffer, self._job, user_id, version, self._buffer._now())
        with self._keeper.keeping(run, pool):
            result = run.perform()
            if run.abandoned is None:
                return self._settling.settle(result)
        if pool is not None:
            pool.retire(run.thread)
            return None
        return result if result.ok else changed(result, outcome="abandoned", error=run.abandoned)

    def _replay_due(self, user_id: str, pool: Pool) -> ReplayResult | None:
        """Replay a user who was found due, park it or put it off; None where nothing was replayed."""
        try:
            if self._keeper.has(user_id):
                return None
            state = self._buffer._touch(user_id)
            if not self._buffer._journal.is_due(user_id, self._buffer._now()):
                return None
            if self._settling.is_exhausted(state.attempts):
                return self._settling.settle(ReplayResult(user_id, state.version, "parked", attempt=state.attempts))
            if state.attempts and state.retry_at is None:  # it expired, say, and nobody was there to put it off
                self._settling.put_off(user_id, state.version, state.attempts)
                return None
            return self._replay(user_id, pool, latest=state.version)
        except (IllegalTriggerError, StaleSnapshotError, UnknownUserError, BufferClosedError):
            return None


def _check_is(value: object, kind: type, name: str) -> None:
    if not isinstance(value, kind):
        raise InvalidArgumentError(f"{name} must be a {kind.__name__}, not {value!r}")


def _check_whole(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgumentError(f"{name} must be a whole number of at least 1, not {value!r}")


def _check_seconds(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InvalidArgumentError(f"{name} must be a positive, finite number of seconds, not {value!r}")
