"""What a log keeps of a user's state, believed only where it can be true. Must not change anything."""

from typing import Any

from events import EventLog, LogDamagedError, LogError, TruncatedError, UnknownTypeError, Unregistered
from statemachine._declaration import BUFFER_LIFECYCLE
from statemachine._state import BufferState


def known_state(log: EventLog[Any], user_id: str, offset: int) -> BufferState:
    """The state at the latest checkpoint that is not above `offset`, or the initial one.

    Raises:
        LogDamagedError: no buffer was ever in that state there.
        UnknownTypeError: a later version of holdover has written it.
    """
    checkpoint = log.checkpoint(user_id, offset)
    if checkpoint is None:
        return BufferState()
    state = checkpoint.state
    if isinstance(state, Unregistered):
        raise UnknownTypeError(f"{_place(log)}: a later version of holdover has kept the state of {user_id!r}; update")
    if not (isinstance(state, BufferState) and _possible(state, checkpoint.offset)):
        raise _damaged(log, f"the checkpoint of user {user_id!r} at offset {checkpoint.offset} holds no state there")
    return state


def check_moved(log: EventLog[Any], user_id: str, start: int | None, error: LogError) -> None:
    """To be asked before looking again for an error: what was truncated must be so since the stream began at `start`.

    Raises:
        LogDamagedError: it was not, so that the state says something is live which is not kept.
    """
    if isinstance(error, TruncatedError) and error.start == start:
        raise _damaged(log, f"the state of user {user_id!r} is not that of the history, which begins at {start}")


def _possible(state: BufferState, offset: int) -> bool:
    in_progress = state.frozen_offset is not None
    return (
        state.head == offset
        and state.phase in BUFFER_LIFECYCLE.states
        and in_progress == (state.phase not in ("idle", "parked"))
        and state.offsets.below(offset) == state.live
    )


def _damaged(log: EventLog[Any], what: str) -> LogDamagedError:
    return LogDamagedError(
        f"{_place(log)} is damaged: {what}; restore a backup, or see what is whole with `holdover audit`"
    )


def _place(log: EventLog[Any]) -> str:
    return getattr(log, "path", "the log")
