"""`ContinuingBuffer`: a buffer that goes on with the snapshots another process has left. Must not know databases."""

from typing import Any

from events import EventLog, LogError
from statemachine import BufferConfig, BufferState, FrozenSnapshot, ReplayBuffer, ReplayBufferError
from statemachine.cli._table import Row


class ContinuingBuffer(ReplayBuffer[Row]):
    """A `ReplayBuffer` in which a begin takes up the snapshot that is in progress, whoever has begun it.

    So the window of a replay that was interrupted is replayed with exactly the rows it was frozen with. What came after
    them stays pending, as it would have without the interruption. To abort it instead would mix the two.

    Only for who is alone on the log, and begins no snapshot of a user before the last one is over.

    Parameters:
        log: where the events are kept.
        config: bounds and timeouts; the latter long enough for somebody to come back.
    """

    def __init__(self, log: EventLog[Row], config: BufferConfig) -> None:
        super().__init__(log, config)
        self._left = set[str]()

    def leave(self, user_id: str) -> None:
        """Leave the user's snapshot in progress from now on, for another process to take up."""
        self._left.add(user_id)

    def _begin(self, user_id: str, timestamp: Any, latest: int | None = None, *, finalize: bool = False) -> BufferState:
        """See `ReplayBuffer._begin`; the state in which the snapshot in progress is, where there is one."""
        state = self.state(user_id)
        if state.frozen_offset is None:
            return super()._begin(user_id, timestamp, latest, finalize=finalize)
        if finalize:
            self.finalize_snapshot(user_id, state.version)
        return self.state(user_id)

    def finalize_snapshot(self, user_id: str, version: int | None = None) -> FrozenSnapshot[Row]:
        """See `ReplayBuffer.finalize_snapshot`; where that was done already, its measurements are handed out again."""
        state = self.state(user_id)
        if state.phase != "replaying":
            try:
                return super().finalize_snapshot(user_id, version)
            except LogError:
                self.leave(user_id)
                raise
        return self._frozen(user_id, state)

    def abort_snapshot(self, user_id: str, reason: str = "", version: int | None = None) -> None:
        """See `ReplayBuffer.abort_snapshot`; refused where it is to be left in progress."""
        if user_id in self._left:
            raise ReplayBufferError("the snapshot stays in progress, to be continued", user_id=user_id)
        super().abort_snapshot(user_id, reason, version)
