"""`Shell`: what every call on a buffer goes through: checks of arguments, expiry on touch, recording. Not public."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, TypeVar

from events import Clock, EventLog
from statemachine._config import BufferConfig
from statemachine._decide import AddMeasurements, Command, EvictOldest, ExpireSnapshot
from statemachine._errors import (
    BufferClosedError,
    BufferFullError,
    EvictHookError,
    InvalidArgumentError,
    ReplayBufferError,
    UnknownUserError,
)
from statemachine._journal import Outcome
from statemachine._observing import ObservedJournal, Observer
from statemachine._rollbacks import AbortHook, EvictHook, Rollbacks
from statemachine._shared_bound import SharedBound
from statemachine._state import BufferState
from statemachine._tentative import Tentative

M = TypeVar("M")

LATEST = 1e300
"""A time that no clock shows."""


class _PlanOutdatedError(Exception):
    """Something has happened since it was planned who makes room."""


class _OverdueError(Exception):
    """The snapshot in progress has to expire first."""


class Shell(Generic[M]):
    """The plumbing under `ReplayBuffer`; its parameters are those."""

    def __init__(
        self,
        log: EventLog[M],
        config: BufferConfig,
        clock: Clock | None,
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
        self._log, self._clock, self._on_evict = log, log.clock if clock is None else clock, on_evict
        self._journal = ObservedJournal(log, config, hand_over=on_evict is not None, now=self._arrival)
        if config.max_total_measurements is not None:
            self._journal.shared = SharedBound(self._journal, config)
        self._rollbacks = Rollbacks(self._journal, on_abort)
        self._tentative = Tentative(self._journal, self._rollbacks)
        self._closed = False

    def _observe(self, observer: Observer) -> None:
        """Have one more told of each lifecycle event that is recorded here."""
        self._journal.observers = (*self._journal.observers, observer)

    def _check_open(self) -> None:
        if self._closed:
            raise BufferClosedError("the buffer was closed; make a new one on the log to go on")

    def _check_user(self, user_id: str) -> None:
        self._check_open()
        if not isinstance(user_id, str) or not user_id:
            raise InvalidArgumentError(f"a user id must be a non-empty string, not {user_id!r}")

    def _check_version(self, user_id: str, version: int | None) -> None:
        self._check_user(user_id)
        if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
            raise InvalidArgumentError(f"a version must be a whole number, not {version!r}", user_id=user_id)

    def _touch(self, user_id: str, version: int | None = None) -> BufferState:
        """The user's state as last decided, after its snapshot was expired and rolled back if it was overdue."""
        self._check_version(user_id, version)
        self._tentative.settle(user_id)
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
        is_odd = type(now) is not float and (isinstance(now, bool) or not isinstance(now, int | float))
        if is_odd or not -LATEST < now < LATEST:
            raise InvalidArgumentError(f"the clock must give a finite number of seconds, not {now!r}")
        return now

    def _arrival(self) -> float | None:
        """The time of an add; no measurement is refused because of the clock."""
        try:
            return self._now()
        except Exception:  # the clock is the application's
            return None

    def _carry_out(self, user_id: str, make: Callable[[float], Command], version: int | None = None) -> Outcome[M]:
        """Record the command that is made for the time, after the snapshot in progress was expired if it was overdue.

        Whether it is, is seen in the state that the command finds, so that the log is asked once.
        """
        self._check_version(user_id, version)
        self._tentative.settle(user_id)
        now = self._now()
        try:
            return self._record(user_id, partial(self._timely, make(now), now, True), now)
        except _OverdueError:
            self._touch(user_id)
            return self._record(user_id, make(self._now()))

    def _timely(self, command: Command, now: float | None, known: bool, found: BufferState) -> Command:
        """The command, if nothing is overdue, and if the user has to be known it is."""
        if known and not found.head:
            raise UnknownUserError("no measurement was ever added")
        if found.deadline is not None and found.is_overdue(self._now() if now is None else now):
            raise _OverdueError
        return command

    def _record(
        self, user_id: str, command: Command | Callable[[BufferState], Command], at: float | None = None
    ) -> Outcome[M]:
        """Record a command; a refusal learns whom it concerns. The parameters are those of `Journal.record`."""
        try:
            return self._journal.record(user_id, command, at)
        except ReplayBufferError as error:
            error.user_id = user_id
            raise

    def _append(self, user_id: str, batch: tuple[M, ...]) -> int:
        """Record measurements within the grant, or else decide; the offset of the first."""
        shared = self._journal.shared
        if shared is not None:
            return self._append_within(shared, user_id, batch)
        offset = self._add_within_grant(user_id, batch)
        return self._add(user_id, batch) if offset is None else offset

    def _append_within(self, shared: SharedBound, user_id: str, batch: tuple[M, ...]) -> int:
        """The same within the bound over all users, once others' oldest have made room; hooks run when all is recorded.

        Where there is no room, there may be once what is overdue has expired, so that is tried before it is refused.
        """
        state = self._journal.decided(user_id)
        expired = [user_id] if state is not None and self._expire(user_id, state) else []
        evicted: list[tuple[str, Outcome[M]]] = []
        try:
            try:
                offset = self._make_room_and_add(shared, user_id, batch, evicted)
            except BufferFullError:
                overdue = [*expired, *self._expire_all()]
                if not overdue:
                    raise
                for each in overdue:  # what is frozen is free again only after that
                    self._rollbacks.run(each)
                expired = []
                offset = self._make_room_and_add(shared, user_id, batch, evicted)
        finally:
            for each in expired:
                self._rollbacks.run(each)
            failed = [error for victim, outcome in evicted for error in self._told(victim, outcome)]
        if failed:
            raise EvictHookError(
                f"on_evict failed for what user {failed[0].user_id!r} lost ({failed[0].__cause__!r}); what was being "
                f"added IS recorded, from offset {offset} on, so do not add it again",
                offset,
                user_id=user_id,
            ) from failed[0].__cause__
        return offset

    def _make_room_and_add(
        self, shared: SharedBound, user_id: str, batch: tuple[M, ...], evicted: list[tuple[str, Outcome[M]]]
    ) -> int:
        """Plan, evict and add in one turn; what was evicted is put into `evicted`."""
        self._tentative.settle_all()
        with shared.turn:
            while True:
                plan, own = shared.plan(user_id, len(batch))
                for victim, count in plan:
                    evicted.append((victim, self._record(victim, EvictOldest(count))))
                if plan:
                    continue
                offset = None if own else self._add_within_grant(user_id, batch)
                if offset is not None:
                    shared.account(user_id, 0, len(batch), added=True)
                    return offset
                try:
                    outcome = self._record(user_id, partial(self._still_evicting, shared, own, batch))
                except _PlanOutdatedError:
                    continue
                evicted.append((user_id, outcome))
                return outcome.before.head

    def _still_evicting(
        self, shared: SharedBound, own: int, batch: tuple[M, ...], found: BufferState
    ) -> AddMeasurements:
        """The add, if it evicts as many of its own as the plan relies on: a snapshot may have begun since."""
        if shared.own_excess(found, len(batch)) < own:
            raise _PlanOutdatedError
        return AddMeasurements(batch, self._arrival())

    def _expire_all(self) -> list[str]:
        """Expire every overdue snapshot; the users whose rollback is to be run (again)."""
        users = self._log.overdue(self._now())
        for user_id in users:
            self._expire(user_id, self._journal.state(user_id) or BufferState())
        return users

    def _add_within_grant(self, user_id: str, batch: tuple[M, ...]) -> int | None:
        if len(batch) == 1:
            return self._log.add(user_id, batch[0], self._clock, self._journal.issuer)
        return self._log.add_many(user_id, batch, self._clock, self._journal.issuer)

    def _add(self, user_id: str, batch: tuple[M, ...]) -> int:
        """Record measurements that need a decision; the offset of the first. They are safe before any hook runs."""
        now, expired = self._arrival(), False
        command = AddMeasurements(batch, now)
        try:
            try:
                outcome = self._record(user_id, partial(self._timely, command, now, False), now)
            except _OverdueError:
                expired = self._expire(user_id, self._journal.decided(user_id) or BufferState())
                outcome = self._record(user_id, command)
            self._handed_over(user_id, outcome)
        finally:
            if expired:
                self._rollbacks.run(user_id)
        return outcome.before.head

    def _handed_over(self, user_id: str, outcome: Outcome[M]) -> None:
        """Give the hook what was evicted, if there is a hook and anything was."""
        for error in self._told(user_id, outcome):
            raise error from error.__cause__

    def _told(self, user_id: str, outcome: Outcome[M]) -> Iterator[EvictHookError]:
        """The same; the error of a hook that fails is given and not raised."""
        if self._on_evict is None or not outcome.evicted:
            return
        try:
            self._on_evict(user_id, outcome.evicted)
        except Exception as cause:
            error = EvictHookError(
                f"on_evict failed ({cause!r}) for {len(outcome.evicted)} evicted measurements; what was being added "
                f"IS recorded, from offset {outcome.before.head} on, so do not add it again",
                outcome.before.head,
                user_id=user_id,
            )
            error.__cause__ = cause
            yield error
