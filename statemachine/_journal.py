"""`Journal`: carries the pure part's decisions to the log and keeps each user's latest state. Must not call hooks."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, Generic, TypeVar

from attrs import define

from events import (
    BufferCleared,
    ConflictError,
    Event,
    EventLog,
    Grant,
    LogError,
    MeasurementAdded,
    MeasurementsEvicted,
    Recorded,
    ReplayCompleted,
    TruncatedError,
)
from statemachine._config import BufferConfig
from statemachine._decide import AddMeasurements, Command, decide
from statemachine._earliest import Earliest
from statemachine._grant import Oldest, after_grant, closed, grant, is_bare, live_within, window_of
from statemachine._kept import KEPT
from statemachine._known import check_moved, known_state
from statemachine._shared_bound import SharedBound
from statemachine._state import BufferState, evolve, fold
from statemachine.due import TimestampOf, remembering, seconds_of

M = TypeVar("M")

LEAST_DEAD = 16
"""How many offsets below the oldest live one are not worth a truncation."""


@define  # made at every decision, and twice as fast as one that is frozen
class Outcome(Generic[M]):
    """What recording a command did.

    Attributes:
        before: the state before.
        after: the state after.
        events: what was recorded.
        evicted: the measurements that were evicted, where somebody has asked for them.
    """

    before: BufferState
    after: BufferState
    events: Sequence[Event] = ()
    evicted: Sequence[M] = ()


@define  # likewise
class _Anchor:
    """A state that is known, and the grant under which the log went on from it (None if somebody else's)."""

    state: BufferState
    grant: Grant | None


class Journal(Generic[M]):
    """A user's state, and the way to change it: read, decide, append if nobody else did meanwhile, else again.

    It holds no lock of its own. The log's expected head decides between writers, and states are immutable.

    Parameters:
        log: where the events are.
        config: the bounds.
        hand_over: whether evicted measurements are wanted, in which case the log may not evict by itself.
        now: gives the time in seconds, or None; for logs that keep it.

    Attributes:
        shared: the bound over all users, to be told of every change; or None.
        issuer: what stands on this journal's grants: journals with another bound or hook may not use them.
    """

    def __init__(
        self, log: EventLog[M], config: BufferConfig, *, hand_over: bool, now: Callable[[], float | None]
    ) -> None:
        log.register(*KEPT)
        self.log, self.config, self._hand_over, self._now = log, config, hand_over, now
        self.issuer: Any = (config, hand_over)
        self.shared: SharedBound | None = None
        self._grants_evictions = True
        self._anchors: dict[str, _Anchor] = {}
        self._to_empty: dict[bool, Grant] = {}
        self._earliest, self._ask = Earliest(), remembering(config.due_policy)

    def joined(self, user_id: str, connection: Any) -> "Journal[M]":
        """One that reads and writes this user within the caller's open transaction; see `EventLog.joined`."""
        log = self.log.joined(connection)
        joined = Journal(log, self.config, hand_over=self._hand_over, now=self._now)
        joined.issuer = self.issuer
        joined._grants_evictions = self.shared is None
        if anchor := self._anchors.get(user_id):
            joined._anchors[user_id] = anchor
        return joined

    def state(self, user_id: str) -> BufferState | None:
        """The user's state at the head, or None for a user without events."""
        return self._current(user_id)[1]

    def live(self, user_id: str) -> int | None:
        """How many measurements are live, or None for a user without events."""
        tail = self.log.tails.get(user_id)
        if tail is not None:  # the same as below, in half the time
            with tail.lock:
                granted_from = tail.granted_from
                came = tail.start + len(tail.items) - granted_from
            anchor = self._anchors.get(user_id)
            if anchor is not None and anchor.grant is not None and anchor.state.head == granted_from:
                return anchor.state.live + live_within(anchor.grant, came)
        state = self.state(user_id)
        return None if state is None else state.live

    def decided(self, user_id: str) -> BufferState | None:
        """The state after the last event that was decided, or None for a user without events.

        What the log added since, within its grant, changes neither phase nor version nor deadline, and this costs less.
        """
        position, anchor = self.log.position(user_id), self._anchors.get(user_id)
        if position and anchor and anchor.state.head == position.granted_from:
            return anchor.state
        return self.state(user_id)

    def state_at(self, user_id: str, offset: int) -> BufferState:
        """The state at an offset from the first that is kept to the head.

        Raises:
            TruncatedError: the offset lies before the first that is kept.
        """
        try:
            return self._folded(user_id, offset)
        except TruncatedError as error:
            raise TruncatedError(user_id, offset, error.start) from None

    def record(
        self, user_id: str, command: Command | Callable[[BufferState], Command], at: float | None = None
    ) -> Outcome[M]:
        """Record what `decide` says to the command, or to the one that is made for the state it finds.

        Parameters:
            user_id: whose.
            command: the command.
            at: the time in seconds, where the caller has just looked; it is looked at here otherwise.

        Raises:
            ReplayBufferError: it refuses; nothing was recorded.
        """
        while True:
            start, state, anchor = self._current(user_id)
            before = state or BufferState()
            order = command(before) if callable(command) else command
            events = decide(before, order, self.config)
            if not events:
                return Outcome(before, before)
            after = _after(before, events)
            granted = self._grant(after)
            try:
                evicted = self._evicted(user_id, before, order, events) if self._hand_over else ()
                noted: dict[str, Any] = {}
                if self.log.keeps_history:
                    noted = {"state": after, "at": self._now() if at is None else at}
                self.log.append(user_id, events, expected_head=before.head, grant=granted, **noted)
            except (ConflictError, TruncatedError) as error:
                self._overtaken(user_id, start, error)
                continue
            self._anchors[user_id] = _Anchor(after, granted)
            if self.shared is not None:
                self.shared.account(user_id, before.live, after.live, added=isinstance(order, AddMeasurements))
            if not after.live:
                self._earliest.forget(user_id)
            if not self.log.keeps_history:
                self._truncate(user_id, start, before, anchor, events, after)
            return Outcome(before, after, events, evicted)

    def is_due(self, user_id: str, now: float) -> bool:
        """Whether an idle user is due at `now`; if not, the log is told when to list it again.

        Where somebody else's grant stands in the log at this head, the one that takes its place allows no add: they
        would take what is added within it for something added within their own. The next add is decided, then.
        """
        while True:
            start, state, anchor = self._current(user_id)
            if state is None or state.phase != "idle":
                return False
            oldest = partial(self._oldest, user_id, state)
            try:
                if self._is_due(state, now, oldest):
                    return True
                granted = self._grant(state, now=now, oldest=oldest)
                if anchor is None:
                    granted = closed(granted)
                self.log.append(user_id, [], expected_head=state.head, grant=granted)
            except (ConflictError, TruncatedError) as error:  # something has happened since
                self._overtaken(user_id, start, error)
                continue
            self._anchors[user_id] = _Anchor(state, granted if anchor else None)
            return False

    def _overtaken(self, user_id: str, start: int, error: ConflictError | TruncatedError) -> None:
        """Somebody was faster. Who adds has to decide now, too: at full speed it would be faster again and again."""
        check_moved(self.log, user_id, start, error)
        tail = self.log.tails.get(user_id)
        if tail is not None:
            tail.withdraw()

    def _is_due(self, state: BufferState, now: float, oldest: Oldest) -> bool:
        if not state.live:
            return False
        if state.retry_at is not None:
            return state.retry_at <= now
        return self.config.due_policy.due_from(window_of(state, oldest)) <= now

    def _oldest(self, user_id: str, state: BufferState, timestamp_of: TimestampOf) -> float:
        """The earliest of the live measurements' own times, in seconds; `inf` where none has any."""
        return self._earliest.of(
            user_id,
            state.offsets,
            timestamp_of,
            lambda measurement: seconds_of(measurement, timestamp_of),
            lambda run: self.log.measurements(user_id, run),
        )

    def _grant(self, state: BufferState, **looked: Any) -> Grant:
        """What follows from the state; of idle users who have nothing it is the same for all."""
        if looked or not is_bare(state):
            return self._granted(state, **looked)
        found = self._to_empty.get(state.carries)
        if found is None:
            found = self._to_empty[state.carries] = self._granted(state)
        return found

    def _granted(self, state: BufferState, **looked: Any) -> Grant:
        may_evict = not self._hand_over and self.shared is None and self._grants_evictions
        return grant(state, self.config, may_evict=may_evict, issuer=self.issuer, ask=self._ask, **looked)

    def _current(self, user_id: str) -> tuple[int, BufferState | None, _Anchor | None]:
        """The stream's start, the state at its head, and the anchor from which the log came there within its grant."""
        while (position := self.log.position(user_id)) is not None:
            anchor = self._anchors.get(user_id)
            if anchor and anchor.grant and anchor.state.head == position.granted_from:
                state = after_grant(anchor.state, anchor.grant, position.head, position.arrived_at)
                return position.start, state, anchor
            try:
                state = self._folded(user_id, position.head)
            except TruncatedError as error:
                check_moved(self.log, user_id, position.start, error)
                continue  # another thread truncated it between the two looks and left a later checkpoint
            self._anchors[user_id] = _Anchor(state, None)
            return position.start, state, None  # somebody else's grant, or none that is known
        return 0, None, None

    def _folded(self, user_id: str, offset: int) -> BufferState:
        """The state at `offset`, folded from the nearest known state below it."""
        base = known_state(self.log, user_id, offset)
        anchor = self._anchors.get(user_id)
        if anchor and base.head <= anchor.state.head <= offset:
            base = anchor.state
        return fold(base, self.log.controls(user_id, min(base.head, offset), offset), offset)

    def _evicted(self, user_id: str, before: BufferState, command: Command, events: Sequence[Event]) -> Sequence[M]:
        """The measurements that `events` evict: live before, or just being added."""
        evicted: list[M] = []
        for event in events:
            if isinstance(event, MeasurementsEvicted):
                for run in before.offsets.within(event.start, event.stop).runs:
                    evicted += self.log.measurements(user_id, run)
                if isinstance(command, AddMeasurements):
                    evicted += command.measurements[: max(0, event.stop - before.head)]
        return evicted

    def _truncate(
        self,
        user_id: str,
        start: int,
        before: BufferState,
        anchor: _Anchor | None,
        events: Sequence[Event],
        after: BufferState,
    ) -> None:
        """Drop what is below the oldest live one: always when a replay ended, else when it outweighs what is live.

        The checkpoint is the state at that offset, found by the shortest way: among the events just recorded, within
        the grant before them, or by a fold.
        """
        ended = isinstance(events[0], (ReplayCompleted, BufferCleared))  # which are recorded alone
        oldest = after.oldest
        if not ended and oldest - start <= after.live + LEAST_DEAD:
            return
        try:
            if oldest == after.head:
                state = after
            elif oldest >= before.head:
                state = _after(before, events[: oldest - before.head])
            elif anchor and anchor.grant and anchor.state.head <= oldest:
                noted = before.arrived_at if before.frozen_offset is None else before.pending_arrived_at
                state = after_grant(anchor.state, anchor.grant, oldest, noted)
            else:
                state = self._folded(user_id, oldest)
            self.log.truncate(user_id, oldest, state)
        except LogError:  # what was decided is recorded; a later one truncates, or somebody else has done so
            pass


def _after(state: BufferState, events: Sequence[Event]) -> BufferState:
    if not events or not isinstance(events[0], MeasurementAdded):  # then none of them is, and they are few
        return reduce(evolve, events, state)
    controls = (
        Recorded(offset, event)
        for offset, event in enumerate(events, state.head)
        if not isinstance(event, MeasurementAdded) or event.arrived_at is not None
    )
    return fold(state, controls, state.head + len(events))
