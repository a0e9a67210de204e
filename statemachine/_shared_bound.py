"""`SharedBound`: how many measurements all users together may have, and whose have to go. Must not record anything."""

from collections import OrderedDict
from itertools import chain
from threading import Lock
from typing import Any, Protocol

from events import EventLog
from statemachine._config import BufferConfig
from statemachine._decide import bound, evictable
from statemachine._errors import BufferFullError
from statemachine._state import BufferState

Plan = list[tuple[str, int]]
"""Whose oldest to evict, and how many of them."""


class States(Protocol):
    """Where the users' states are."""

    log: EventLog[Any]

    def state(self, user_id: str) -> BufferState | None:
        """The user's state at the head."""


class SharedBound:
    """Counts what is live over all users, and knows in which order they last added something.

    It counts what goes through one buffer. One add at a time plans, evicts and records, so that threads together stay
    within it.

    Parameters:
        states: where the users' states are; what they hold already is counted.
        config: the bounds; `max_total_measurements` must be given.

    Attributes:
        turn: the lock for that; no hook runs under it.
    """

    def __init__(self, states: States, config: BufferConfig) -> None:
        assert config.max_total_measurements is not None
        self._states, self._config, self._most = states, config, config.max_total_measurements
        self.turn, self._lock = Lock(), Lock()
        held = {user_id: states.state(user_id) or BufferState() for user_id in states.log.streams()}
        self._live = sum(state.live for state in held.values())
        oldest_first = sorted(
            (user_id for user_id in held if held[user_id].live), key=lambda u: held[u].arrived_at or 0
        )
        self._users = OrderedDict.fromkeys(oldest_first)

    def plan(self, user_id: str, count: int) -> tuple[Plan, int]:
        """Whom to evict from before the user adds so many, and how many of its own the add then has to evict.

        To be called under `turn`, and again after the evictions, until the plan is empty.

        Raises:
            BufferFullError: there is no room, and none can be made.
        """
        with self._lock:
            own = self.own_excess(self._states.state(user_id) or BufferState(), count)
            excess = self._live + count - own - self._most
            if excess <= 0:
                return [], own if self._live + count > self._most else 0
            plan = [] if self._config.on_overflow == "reject" else self._plan(user_id, excess)
            if plan:
                return plan, 0
            why = "none may be evicted" if self._config.on_overflow == "reject" else "too many are frozen"
            raise BufferFullError(
                f"all users together have {self._live} measurements and may have {self._most} "
                f"(max_total_measurements), and {why}; replay or clear some first",
                user_id=user_id,
            )

    def own_excess(self, state: BufferState, count: int) -> int:
        """How many of its own a user in `state` evicts by adding so many."""
        if self._config.on_overflow == "reject":
            return 0
        allowed, held = bound(state, self._config)
        return max(0, min(count, held + count - allowed))

    def account(self, user_id: str, before: int, after: int, *, added: bool) -> None:
        """Count a change.

        Parameters:
            user_id: whose.
            before: how many of the user's measurements were live; only the difference matters.
            after: how many are.
            added: whether some were added, whatever else was evicted.
        """
        with self._lock:
            self._live += after - before
            if not after:
                if not (self._states.state(user_id) or BufferState()).live:  # others may have added since
                    self._users.pop(user_id, None)
            elif added:
                self._users[user_id] = None
                self._users.move_to_end(user_id)

    def _plan(self, adding: str, excess: int) -> Plan:
        """From who added nothing for longest to the one that is adding now; none at all if that is too little."""
        plan: Plan = []
        for user_id in chain((user_id for user_id in self._users if user_id != adding), [adding]):
            state = self._states.state(user_id) or BufferState()
            count = min(excess, len(evictable(state)))
            if count:
                plan.append((user_id, count))
                excess -= count
            if not excess:
                return plan
        return []
