"""What a state lets the log add without asking, and the state after the log has used some of it. Pure."""

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

from events import Grant, Offsets
from statemachine._config import BufferConfig
from statemachine._decide import bound, evictable
from statemachine._state import BufferState, changed, is_empty, with_added
from statemachine.due import AT_ONCE, NOT_AS_IT_IS, DuePolicy, RoomAndDue, TimestampOf, Window, room_and_due

EMPTY = Window(0, arrived_at=0.0)
"""A window before its first measurement; when it is due is told in seconds from that one's arrival."""

ENDLESS = 2**40
"""How many evictions are granted: more than will ever come."""

Oldest = Callable[[TimestampOf], float]
"""Gives the earliest of the measurements' own times, in seconds."""


def grant(
    state: BufferState,
    config: BufferConfig,
    *,
    may_evict: bool,
    issuer: Any = None,
    now: float = AT_ONCE,
    oldest: Oldest | None = None,
    ask: RoomAndDue | None = None,
) -> Grant:
    """What may be added from `state` on until somebody has to decide again, and when to look at the user meanwhile.

    Parameters:
        state: the state at the head.
        config: the bounds, and when a user is due.
        may_evict: whether the log may evict by itself, which it may not where a hook has to be told.
        issuer: who may add within the grant.
        now: the time, where somebody has just looked and the user was not due.
        oldest: the measurements' own times, where that somebody looked at them.
        ask: `remembering(config.due_policy)`, for who gives many grants.
    """
    until = -inf if state.phase == "aborting" else state.deadline  # the sweep looks for users left in aborting
    shelved = state.phase == "parked"
    allowed, held = bound(state, config)
    if state.frozen_offset is not None and held < allowed:  # nobody in progress is due
        return Grant(allowed - held, until, issuer=issuer, notes_arrival=not held)
    room, due_at, due_after = _until_due(
        state, config.due_policy, max(0, allowed - held), now, oldest, ask or partial(room_and_due, config.due_policy)
    )
    looked = oldest is not None and config.due_policy.looks_inside
    if held < allowed or allowed == 0 or not may_evict or config.on_overflow == "reject" or looked:
        return Grant(
            0 if looked else room,  # the time of whatever comes next has to be looked at, too
            until,
            issuer=issuer,
            notes_arrival=not held,
            due_at=due_at,
            due_after=due_after,
            shelved=shelved,
        )
    victims = evictable(state).extended(range(state.head, state.head + 2 * ENDLESS, 2))
    checkpoint_at = partial(_after_evictions, state, victims) if state.frozen_offset is None else None
    return Grant(0, until, victims, checkpoint_at, issuer, due_at=due_at, shelved=shelved)


def _until_due(
    state: BufferState, policy: DuePolicy, room: int, now: float, oldest: Oldest | None, ask: RoomAndDue
) -> tuple[int, float | None, float | None]:
    """The room without what would make the user due unseen; when to look at it; how long after the next arrival."""
    if state.phase != "idle":
        return room, None, None
    if state.retry_at is not None:
        waits = state.retry_at > now
        return room, state.retry_at if waits else None, AT_ONCE if is_empty(state) and not waits else None
    if is_empty(state):
        if not policy.moves_with_arrival:
            return 0, None, None
        room, after = ask(EMPTY, room, AT_ONCE)
        return room, None, after if after < NOT_AS_IT_IS else None
    room, due_at = ask(window_of(state, oldest), room, now)
    return room, due_at if due_at < NOT_AS_IT_IS else None, None


def is_bare(state: BufferState) -> bool:
    """Whether nothing but `carries` decides what is granted: an idle user without measurements, or a retry to come."""
    return state.phase == "idle" and not state.offsets.runs and state.retry_at is None


def closed(granted: Grant) -> Grant:
    """An idle user's grant without leave to add anything; when to look at the user stays as it is."""
    return Grant(due_at=granted.due_at)


def window_of(state: BufferState, oldest: Oldest | None = None) -> Window:
    """An idle user's live measurements, as a policy sees them. What arrived nobody knows when, arrived long ago."""
    return Window(state.live, AT_ONCE if state.arrived_at is None else state.arrived_at, oldest)


def live_within(granted: Grant, events: int) -> int:
    """How many more measurements are live after so many events within `granted`."""
    return events % 2 if granted.victims else events


def after_grant(state: BufferState, granted: Grant, head: int, arrived_at: float | None = None) -> BufferState:
    """The state at `head`, where every event from `state.head` on was appended within `granted`, in constant time.

    Parameters:
        state: the state when the grant was given.
        granted: the grant.
        head: the offset after the last of the events.
        arrived_at: when the first of them arrived, where that was noted.
    """
    if not granted.victims:
        return with_added(state, head - state.head, arrived_at) if head > state.head else state
    return _after_evictions(state, granted.victims, head)


def _after_evictions(state: BufferState, victims: Offsets, head: int) -> BufferState:
    """The same, where each event at an even distance from `state.head` is an add, and the next evicts a victim."""
    adds, evictions = (head - state.head + 1) // 2, (head - state.head) // 2
    if adds == 0:
        return state
    offsets = state.offsets.extended(range(state.head, state.head + 2 * adds, 2))
    if evictions:
        offsets = offsets.without(victims[0], victims[evictions - 1] + 1)
    return changed(state, head=head, added=state.added + adds, evicted=state.evicted + evictions, offsets=offsets)
