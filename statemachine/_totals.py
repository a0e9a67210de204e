"""`totals`: what all users hold together, added up in one pass. Must not keep, change or expire anything."""

from typing import Any

from attrs import frozen

from events import Position, TruncatedError
from statemachine._declaration import IN_PROGRESS
from statemachine._journal import Journal
from statemachine._state import BufferState


@frozen
class Totals:
    """Sums over all users; the names are those of `Metrics`."""

    users: int
    in_progress: int
    aborting: int
    live: int
    pending: int
    added: int
    replayed: int
    evicted: int
    cleared: int


def totals(journal: Journal[Any]) -> Totals:
    """Add up all users' states as they are while it comes by, in time proportional to the number of users.

    For most users nothing but their grant was used since their last decision. What came and went within it is counted
    here without making a state of it, since there may be a million of them.
    """
    users = in_progress = aborting = pending = added = replayed = evicted = cleared = 0
    log, anchors = journal.log, journal._anchors
    tails = log.tails
    for user_id in log.streams():
        tail = tails.get(user_id)
        if tail is None:
            position = log.position(user_id) or Position(0, 0, 0)
            head, granted_from = position.head, position.granted_from
        else:
            with tail.lock:
                head, granted_from = tail.start + len(tail.items), tail.granted_from
        anchor, came, went = anchors.get(user_id), 0, 0
        if anchor is not None and anchor.grant is not None and anchor.state.head == granted_from:
            state, came = anchor.state, head - granted_from
            if came and anchor.grant.victims.runs:
                came, went = came - came // 2, came // 2
        else:
            state = _state(journal, user_id, head)
        users += 1
        added += state.added + came
        replayed += state.replayed
        evicted += state.evicted + went
        cleared += state.cleared
        if state.frozen_offset is not None:
            pending += state.pending + came - went
            in_progress += state.phase in IN_PROGRESS
            aborting += state.phase == "aborting"
    live = added - replayed - evicted - cleared
    return Totals(users, in_progress, aborting, live, pending, added, replayed, evicted, cleared)


def _state(journal: Journal[Any], user_id: str, head: int) -> BufferState:
    """A user's state by a fold, without keeping it: who only counts must not fill the memory with all users' states."""
    while True:
        try:
            return journal.state_at(user_id, head)
        except TruncatedError:  # truncated since the head was read
            position = journal.log.position(user_id)
            head = position.head if position else head
