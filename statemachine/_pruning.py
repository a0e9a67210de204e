"""`Pruning`: drops history that nothing needs any more. Must not drop anything that is live."""

from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from events import TruncatedError
from statemachine._errors import InvalidArgumentError
from statemachine._metering import Metering
from statemachine._state import BufferState
from statemachine.due import MOST_SECONDS

M = TypeVar("M")


class Pruning(Metering[M]):
    """The part of a `ReplayBuffer` that makes room."""

    def prune(self, before: float | datetime | None = None) -> int:
        """Drop each user's history below the oldest live measurement: what was replayed, evicted or cleared.

        What is live stays, and so do all counts: a checkpoint of the state takes the place of what is dropped. The
        space is given back: the file of a log in a file shrinks. Others may add and replay meanwhile.

        Parameters:
            before: drop only what was recorded before this time: seconds of the buffer's clock, or a datetime (a naive
                one is local time). A log knows the times of lifecycle events, so up to the last of them before it.
                Everything that is not needed if omitted.

        Returns:
            How many events were dropped.

        Raises:
            InvalidArgumentError: `before` is no time, or the log does not note times (`MemoryLog`).

        Example:
            >>> from events import MemoryLog
            >>> from statemachine import ReplayBuffer
            >>> buffer = ReplayBuffer(MemoryLog(keep_history=True))
            >>> offsets = buffer.add_measurements("ann", [81.5, 81.7])
            >>> buffer.clear_buffer("ann")
            >>> buffer.prune(), buffer.state("ann").cleared, list(buffer.events("ann"))
            (3, 2, [])
        """
        self._check_open()
        time = _seconds(before)
        dropped = 0
        for user_id in self._log.streams():
            with suppress(TruncatedError):  # somebody else has truncated further by now
                dropped += self._prune(user_id, time)
        self._log.compact()
        return dropped

    def _prune(self, user_id: str, before: float | None) -> int:
        position, state = self._log.position(user_id), self._journal.state(user_id) or BufferState()
        start, cut = position.start if position else 0, state.oldest
        if before is not None:
            recorded = self._log.recorded_before(user_id, before)
            if recorded is None:
                raise InvalidArgumentError("this log does not note when events were recorded; prune without `before`")
            cut = min(cut, recorded)
        if cut <= start:
            return 0
        self._log.truncate(user_id, cut, self._journal.state_at(user_id, cut))
        return cut - start


def _seconds(before: float | datetime | None) -> float | None:
    seconds = before.timestamp() if isinstance(before, datetime) else before
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not abs(seconds) <= MOST_SECONDS:
        raise InvalidArgumentError(f"before must be a datetime or a finite number of seconds, not {before!r}")
    return float(seconds)
