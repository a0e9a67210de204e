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

    It counts what goes through one buffer. Room is reserved before an add, so that threads together stay within it.

    Parameters:
        states: where the users' states are; what they hold already is counted.
        config: the bounds; `max_total_measurements` must be given.
    """

    def __init__(self, states: States, config: BufferConfig) -> None:
        assert config.max_total_measurements is not None
        self._states, self._config, self._most = states, config, config.max_total_measurements
        self._lock = Lock()
        self._reserved = 0
        held = {user_id: states.state(user_id) or BufferState() for user_id in states.log.streams()}
        self._live = sum(state.live for state in held.values())
        oldest_first = sorted(
            (user_id for user_id in held if held[user_id].live), key=lambda u: held[u].arrived_at or 0
        )
        self._users = OrderedDict.fromkeys(oldest_first)

    def reserve(self, user_id: str, count: int) -> tuple[int, Plan]:
        """Reserve room for an add.

        Returns:
            How much was reserved, to be given back by `release` once the add is recorded or refused; and an empty plan.
            Or whom to evict from first: then nothing was reserved, and it is to be asked again after that.

        Raises:
            BufferFullError: there is no room, and none can be made.
        """
        with self._lock:
            excess = self._live + self._reserved + count - self._most
            if excess > 0:
                own = self._own_excess(user_id, count)
                count, excess = count - own, excess - own
            if excess <= 0:
                self._reserved += count
                return count, []
            plan = [] if self._config.on_overflow == "reject" else self._plan(user_id, excess)
            if plan:
                return 0, plan
            why = "none may be evicted" if self._config.on_overflow == "reject" else "too many are frozen"
            raise BufferFullError(
                f"all users together have {self._live} measurements and may have {self._most} "
                f"(max_total_measurements), and {why}; replay or clear some first",
                user_id=user_id,
            )

    def release(self, reserved: int) -> None:
        """Give back what was reserved: by now the add is counted, or it was refused."""
        with self._lock:
            self._reserved -= reserved

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
                self._users.pop(user_id, None)
            elif added:
                self._users[user_id] = None
                self._users.move_to_end(user_id)

    def _own_excess(self, user_id: str, count: int) -> int:
        """How many of its own the user's add will evict anyway."""
        state = self._states.state(user_id) or BufferState()
        allowed, held = bound(state, self._config)
        return max(0, min(count, held + count - allowed)) if self._config.on_overflow == "evict_oldest" else 0

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
