"""What a state lets the log add without asking, and the state after the log has used some of it. Pure."""

from functools import partial
from math import inf
from typing import Any

from attrs import evolve as changed_grant

from events import Grant
from statemachine._config import BufferConfig
from statemachine._decide import bound
from statemachine._state import BufferState, changed, with_added

ENDLESS = 2**40
"""How many evictions are granted: more than will ever come."""


def grant(state: BufferState, config: BufferConfig, *, may_evict: bool, issuer: Any = None) -> Grant:
    """What may be added from `state` on until somebody has to decide again.

    Parameters:
        state: the state at the head.
        config: the bounds.
        may_evict: whether the log may evict by itself, which it may not where a hook has to be told.
        issuer: who may add within the grant.
    """
    until = -inf if state.phase == "aborting" else state.deadline  # the sweep looks for users left in aborting
    allowed, held = bound(state, config)
    evicts = may_evict and config.on_overflow == "evict_oldest"
    if held < allowed or allowed == 0 or not evicts:
        return Grant(max(0, allowed - held), until, issuer=issuer)
    idle = state.frozen_offset is None
    candidates = state.offsets if idle else state.pending_offsets
    victims = candidates.extended(range(state.head, state.head + 2 * ENDLESS, 2))
    granted = Grant(0, until, victims, issuer=issuer)
    return changed_grant(granted, checkpoint_at=partial(after_grant, state, granted)) if idle else granted


def live_within(granted: Grant, events: int) -> int:
    """How many more measurements are live after so many events within `granted`."""
    return events % 2 if granted.victims else events


def after_grant(state: BufferState, granted: Grant, head: int) -> BufferState:
    """The state at `head`, where every event from `state.head` on was appended within `granted`, in constant time."""
    if not granted.victims:
        return with_added(state, head - state.head) if head > state.head else state
    adds, evictions = (head - state.head + 1) // 2, (head - state.head) // 2
    if adds == 0:
        return state
    offsets = state.offsets.extended(range(state.head, state.head + 2 * adds, 2))
    if evictions:
        offsets = offsets.without(granted.victims[0], granted.victims[evictions - 1] + 1)
    return changed(state, head=head, added=state.added + adds, evicted=state.evicted + evictions, offsets=offsets)
