"""`ReplayBuffer`: the public shell. Checks arguments, reads the clock, calls hooks; must not decide anything itself."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, TypeVar

from events import Clock, EventLog, LogError, MemoryLog
from statemachine._bulk import Bulk
from statemachine._config import BufferConfig
from statemachine._decide import (
    AbortSnapshot,
    BeginSnapshot,
    ClearBuffer,
    CompleteReplay,
    FinalizeSnapshot,
    RenewLease,
)
from statemachine._declaration import IN_PROGRESS
from statemachine._errors import (
    InvalidArgumentError,
    ReplayBufferError,
    RollbackError,
    StaleSnapshotError,
    UnknownUserError,
    described,
)
from statemachine._rollbacks import AbortHook, EvictHook
from statemachine._shell import LATEST
from statemachine._snapshot import FrozenSnapshot
from statemachine._state import BufferState

M = TypeVar("M")


class ReplayBuffer(Bulk[M]):
    """A buffer of measurements for each user that can be replayed and cleared without losing what arrives meanwhile.

    Each user has an append-only log of events. A snapshot is an offset in it, and completing a replay advances the
    committed offset to there; what was added later has a higher offset and stays. Nothing is copied, and no lock is
    held while a replay runs. Every method may be called from any thread. Each but the adds raises `UnknownUserError`
    for a user without measurements, and each that takes a user raises `InvalidArgumentError` for an id that is not a
    non-empty string.

    Parameters:
        log: where the events are kept; a new `MemoryLog` if omitted.
        config: bounds and timeouts.
        clock: gives the time in seconds; deadlines are measured by it. The log's own if omitted: `time.time`, or the
            server's time for a log that several machines share.
        on_abort: the application's rollback, called with user id, version and reason while the user is in `aborting`.
            If it raises, the user stays there and the sweep (`expire_overdue`) tries again. It may be called again for
            the same version, so it should be idempotent.
        on_evict: called with user id and the evicted measurements, after the eviction was recorded. With it an add to a
            full buffer takes longer, since the log cannot evict by itself.
        take_over: abort the snapshots that are in progress on the log, and run the rollback of every user in
            `aborting`. For an application that knows it is the only process on the log: what is in progress was left by
            one that crashed. Otherwise such snapshots expire at their deadlines.

    Example:
        >>> buffer = ReplayBuffer()
        >>> buffer.add_measurement("ann", 81.5)
        0
        >>> with buffer.snapshot("ann") as frozen:
        ...     offset = buffer.add_measurement("ann", 81.7)  # arrives while the replay runs
        ...     window = list(frozen)
        >>> window, buffer.measurements("ann")
        ([81.5], [81.7])
    """

    def __init__(
        self,
        log: EventLog[M] | None = None,
        config: BufferConfig = BufferConfig(),
        *,
        clock: Clock | None = None,
        on_abort: AbortHook | None = None,
        on_evict: EvictHook | None = None,
        take_over: bool = False,
    ) -> None:
        super().__init__(MemoryLog() if log is None else log, config, clock, on_abort, on_evict)
        self._tails = self._log.tails if self._journal.shared is None else {}
        self._issuer = self._journal.issuer
        if take_over:
            for user_id in self._take_over():
                self._rollbacks.run(user_id)

    def add_measurement(self, user_id: str, measurement: M) -> int:
        """Record a measurement; any object will do, and it comes back as it went in.

        Parameters:
            user_id: whose it is; a non-empty string.
            measurement: the measurement.

        Returns:
            Its offset in the user's stream.

        Raises:
            BufferFullError: the buffer is full and the policy is `reject`, or all that could make room within
                `max_total_measurements` is frozen; nothing was recorded.
            EvictHookError: the measurement was recorded, but `on_evict` raised.

        Example:
            >>> ReplayBuffer().add_measurement("ann", {"weight": 81.5})
            0
        """
        try:
            tail = self._tails[user_id]
        except (KeyError, TypeError):
            tail = None  # not here, lest every error that follows is shown as one of this
        if tail is None:
            return self._add_beyond_grant(user_id, measurement)
        with tail.lock:  # Tail.add, written out: the call would cost a tenth of an add (make bench)
            if tail.issuer is self._issuer and (tail.until is None or self._clock() < tail.until):
                items = tail.items
                length = len(items)
                if length < tail.full_at:
                    items.append(measurement)
                    return tail.start + length
                if length < tail.evicts_to:
                    items += (measurement, tail.eviction)
                    offset = tail.start + length
                    if length >= tail.trim_at:
                        _garbage = tail.trim()  # lives until this function has returned
                    return offset
        return self._add_beyond_grant(user_id, measurement)

    def add_measurements(self, user_id: str, measurements: Iterable[M]) -> range:
        """Record several measurements at once, all or none.

        Parameters:
            user_id: whose they are; a non-empty string.
            measurements: an iterable; if it raises, nothing of it is recorded.

        Returns:
            The range of their offsets.

        Raises:
            BufferFullError: they do not all fit, as with `add_measurement`; nothing was recorded.
            EvictHookError: they were recorded, but `on_evict` raised.

        Example:
            >>> ReplayBuffer().add_measurements("ann", [81.5, 81.7])
            range(0, 2)
        """
        batch = self._batch(user_id, measurements)
        offset = self._added(user_id, batch)
        return range(offset, offset + len(batch))

    def begin_snapshot(self, user_id: str, timestamp: Any = None) -> int:
        """Freeze what is live now. Call it before taking a snapshot of the application's own state.

        Parameters:
            user_id: whose buffer.
            timestamp: what the application calls the time of this snapshot; the clock's time if omitted.

        Returns:
            The snapshot's version, which names it from now on.

        Raises:
            SnapshotInProgressError: one is in progress already.

        Example:
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> buffer.begin_snapshot("ann")
            1
        """
        return self._begin(user_id, timestamp).version

    def finalize_snapshot(self, user_id: str, version: int | None = None) -> FrozenSnapshot[M]:
        """Start the replay: hand out the frozen measurements under a lease of `replay_timeout` seconds.

        Parameters:
            user_id: whose buffer.
            version: the snapshot meant; whichever is in progress if omitted.

        Raises:
            NoSnapshotError: none is in progress.
            StaleSnapshotError: the version named is not the one in progress.
            IllegalTriggerError: it was finalized before, or is being aborted.

        Example:
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> buffer.finalize_snapshot("ann", version=buffer.begin_snapshot("ann"))
            <FrozenSnapshot of user 'ann', version 1: 1 measurements in [0, 1)>
        """
        outcome = self._carry_out(user_id, lambda now: FinalizeSnapshot(now, version), version)
        return self._frozen(user_id, outcome.after)

    def complete_replay(self, user_id: str, version: int | None = None, *, connection: Any = None) -> None:
        """Commit the replay: the frozen measurements leave the buffer, and nothing else does.

        Parameters:
            user_id: whose buffer.
            version: the snapshot meant; whichever is in progress if omitted.
            connection: a connection with an open transaction in the log's own database. The completion is then a part
                of that transaction: it happens together with what else was written in it, when the caller commits, or
                not at all. Nothing is committed here. Until then other writers wait, so compute first and write last.

        Raises:
            NoSnapshotError: none is in progress.
            StaleSnapshotError: the version named expired, was aborted or completed; roll back what was computed.
            IllegalTriggerError: it was not finalized, or is being aborted.
            InvalidArgumentError: the connection has no open transaction, or is not one to the log's database.

        Example:
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> version = buffer.begin_snapshot("ann")
            >>> frozen = buffer.finalize_snapshot("ann")
            >>> buffer.complete_replay("ann", version)
            >>> buffer.state("ann").replayed
            1
        """
        if connection is not None:
            self._complete_within(connection, user_id, version)
            return
        state = self._carry_out(user_id, lambda _: CompleteReplay(version), version).before
        self._tentative.forget(user_id)
        self._rollbacks.forget(user_id, state.version)

    def renew_lease(self, user_id: str, version: int | None = None) -> None:
        """Give the replay its full `replay_timeout` again, counted from now.

        Parameters and errors are those of `complete_replay`.

        Example:
            >>> buffer = ReplayBuffer(clock=lambda: 10.0)
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> with buffer.snapshot("ann") as frozen:
            ...     buffer.renew_lease("ann")
            ...     buffer.state("ann").deadline
            310.0
        """
        self._carry_out(user_id, lambda now: RenewLease(now, version), version)

    def abort_snapshot(self, user_id: str, reason: str = "", version: int | None = None) -> None:
        """Give the snapshot up: frozen and pending measurements are simply live again. Then `on_abort` runs.

        Parameters:
            user_id: whose buffer.
            reason: why; it is recorded and handed to the hook.
            version: the snapshot meant; whichever is in progress if omitted.

        Raises:
            NoSnapshotError: none is in progress.
            StaleSnapshotError: the version named is not the one in progress, or what was in progress is over by now.
            RollbackError: the hook raised, or the log failed after it; the user stays in `aborting` and the sweep tries
                again.

        Example:
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> version = buffer.begin_snapshot("ann")
            >>> buffer.abort_snapshot("ann", "database is away")
            >>> buffer.measurements("ann")
            [81.5]
        """
        if not isinstance(reason, str):
            raise InvalidArgumentError(f"reason must be a string, not {reason!r}", user_id=user_id)
        state = self._touch(user_id, version)
        if version is None and state.phase in IN_PROGRESS:
            version = state.version
        outcome = self._record(
            user_id,
            lambda found: AbortSnapshot(version, reason, not self._rollbacks.needed(user_id, found.version)),
        )
        error = self._rollbacks.run(user_id, insist=True) if outcome.after.phase == "aborting" else None
        if error is not None:
            raise RollbackError(
                f"the rollback of snapshot {state.version} failed ({error!r}); the user stays in aborting until "
                f"expire_overdue() has run it with success; no measurement is lost",
                user_id=user_id,
            ) from error

    def clear_buffer(self, user_id: str, through: int | None = None) -> None:
        """Drop what is live, or what of it has a lower offset than `through`. What is added later stays.

        Parameters:
            user_id: whose buffer.
            through: the first offset that is to stay, at most the head; the head if omitted.

        Raises:
            SnapshotInProgressError: a snapshot is in progress; complete or abort it first.
            InvalidArgumentError: `through` is not a whole number from 0 to the head.

        Example:
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> buffer.clear_buffer("ann")
            >>> buffer.measurements("ann")
            []
        """
        if through is not None:
            self._check_within_head(user_id, through)
        self._touch(user_id)
        self._record(user_id, ClearBuffer(through))

    @contextmanager
    def snapshot(self, user_id: str, timestamp: Any = None) -> Iterator[FrozenSnapshot[M]]:
        """Begin and finalize on entry, in one step; complete on a clean exit, abort on an error, which is raised on.

        Parameters and errors are those of `begin_snapshot`, `finalize_snapshot` and `complete_replay`.

        Example:
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> with buffer.snapshot("ann") as frozen:
            ...     sum(frozen)
            81.5
        """
        frozen = self._frozen(user_id, self._begin(user_id, timestamp, finalize=True))
        try:
            yield frozen
        except BaseException as error:
            with suppress(
                ReplayBufferError, LogError
            ):  # expired, the hook failed, the log away: the first error matters
                self.abort_snapshot(user_id, described(error), frozen.version)
            raise
        if not frozen.settled and not frozen.is_handed_over:
            frozen.complete()

    def expire_overdue(self) -> list[str]:
        """The sweep: expire every overdue snapshot, and try again every rollback that failed.

        It costs as much as there are such users, however many others there are. A `Reaper` calls it periodically.

        Returns:
            The users it has moved on: whose snapshot it expired or whose abort it finished.

        Example:
            >>> now = 0.0
            >>> buffer = ReplayBuffer(clock=lambda: now)
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> version = buffer.begin_snapshot("ann")
            >>> now = 30.0
            >>> buffer.expire_overdue()
            ['ann']
        """
        self._check_open()
        before = {user_id: self._phase(user_id) for user_id in self._log.overdue(self._now())}
        for user_id in self._expire_all():
            self._rollbacks.run(user_id)
        return [user_id for user_id, phase in before.items() if self._phase(user_id) != phase]

    @property
    def abort_errors(self) -> dict[str, Exception]:
        """For each user that stays in `aborting` because the rollback failed: what it raised last.

        Example:
            >>> ReplayBuffer().abort_errors
            {}
        """
        return self._rollbacks.errors

    def close(self) -> None:
        """Close the log. Every call afterwards raises `BufferClosedError`.

        Example:
            >>> buffer = ReplayBuffer()
            >>> buffer.close()
        """
        self._closed = True
        self._tails = {}
        self._log.close()

    def __enter__(self) -> "ReplayBuffer[M]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self, user_id: str, timestamp: Any, latest: int | None = None, *, finalize: bool = False) -> BufferState:
        """The state after a begin, of which every one comes through here; the arguments are those of the command."""

        def begin(now: float) -> BeginSnapshot:
            return BeginSnapshot(now, now if timestamp is None else timestamp, latest, finalize)

        return self._carry_out(user_id, begin).after

    def _frozen(self, user_id: str, state: BufferState) -> FrozenSnapshot[M]:
        """What the snapshot in progress has frozen."""
        assert state.frozen_offset is not None  # as in every state but idle
        return FrozenSnapshot(
            user_id=user_id,
            version=state.version,
            start=state.committed,
            stop=state.frozen_offset,
            timestamp=state.timestamp,
            offsets=state.frozen_offsets,
            log=self._log,
            owner=self,
        )

    def _take_over(self) -> list[str]:
        """Abort what another process has left in progress; the users whose rollback is to be run."""
        users = self._log.overdue(LATEST)
        for user_id in users:
            state = self._journal.state(user_id)
            if state is not None and state.phase in IN_PROGRESS:
                finish = not self._rollbacks.needed(user_id, state.version)
                with suppress(StaleSnapshotError):  # it has ended meanwhile: somebody else is on the log after all
                    self._record(user_id, AbortSnapshot(state.version, "left by a process that is gone", finish))
        return users

    def _complete_within(self, connection: Any, user_id: str, version: int | None) -> None:
        """Complete within the caller's transaction, looking at nothing but what that sees."""
        self._check_version(user_id, version)
        try:
            journal = self._journal.joined(user_id, connection)
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(str(error), user_id=user_id) from error
        state = journal.state(user_id)
        if state is None and self._journal.decided(user_id) is not None:
            raise StaleSnapshotError(
                "the transaction sees a time before the first measurement; roll back", user_id=user_id
            )
        if state is None:
            raise UnknownUserError("no measurement was ever added", user_id=user_id)
        now = self._now()
        if state.is_overdue(now):
            raise StaleSnapshotError(
                f"cannot complete_replay: snapshot {state.version} is overdue; nothing was changed; roll "
                "the transaction back",
                user_id=user_id,
            )
        try:
            outcome = journal.record(user_id, CompleteReplay(version))
        except ReplayBufferError as error:
            error.user_id = user_id
            raise
        self._tentative.add(user_id, outcome, now)

    def _phase(self, user_id: str) -> str:
        return (self._journal.decided(user_id) or BufferState()).phase

    def _add_beyond_grant(self, user_id: str, measurement: M) -> int:
        """An add that the log's tail could not take by itself."""
        self._check_user(user_id)
        if self._journal.shared is not None:
            return self._append(user_id, (measurement,))
        offset = self._log.add(user_id, measurement, self._clock, self._issuer)
        return self._add(user_id, (measurement,)) if offset is None else offset
