"""Every error of the package, each telling what was refused, for whom, in which state, and what to do next."""

from events._errors import Picklable


class ReplayBufferError(Picklable, Exception):
    """Base of all errors that `statemachine` raises.

    Attributes:
        user_id: the user it concerns, or None.

    Example:
        >>> str(UnknownUserError("no measurement was ever added", user_id="ann"))
        "user 'ann': no measurement was ever added"
    """

    def __init__(self, message: str, *, user_id: str | None = None) -> None:
        super().__init__(message)
        self.user_id = user_id

    def __str__(self) -> str:
        message = super().__str__()
        return message if self.user_id is None else f"user {self.user_id!r}: {message}"


class InvalidArgumentError(ReplayBufferError, ValueError, TypeError):
    """An argument has the wrong type or a value that makes no sense. Nothing was changed."""


class UnknownUserError(ReplayBufferError, LookupError):
    """No measurement was ever added for this user."""


class BufferFullError(ReplayBufferError):
    """The overflow policy is `reject` and the buffer has no room. Nothing was recorded."""


class StaleSnapshotError(ReplayBufferError):
    """The snapshot named is not the one in progress: it was completed, expired or aborted, or a later one has begun."""


class DeclarationError(ReplayBufferError):
    """A `Lifecycle` was declared in a way that cannot work."""


class IllegalTriggerError(ReplayBufferError):
    """The trigger is not legal in the present state.

    Attributes:
        trigger: what was asked for.
        state: the present state.
        legal: the triggers that are legal in it.
    """

    def __init__(
        self, trigger: str, state: str, legal: tuple[str, ...], hint: str = "", *, user_id: str | None = None
    ) -> None:
        message = f"cannot {trigger} while {state}"
        super().__init__(f"{message}; {hint or 'legal now: ' + ', '.join(legal)}", user_id=user_id)
        self.trigger, self.state, self.legal = trigger, state, legal


class SnapshotInProgressError(IllegalTriggerError):
    """A snapshot is in progress, so this must wait until it is completed or aborted."""


class NoSnapshotError(IllegalTriggerError):
    """No snapshot is in progress."""


class UserParkedError(IllegalTriggerError):
    """Replays of the user failed too often, and none begins until it is released."""


class RollbackError(ReplayBufferError):
    """The application's rollback raised (its error is the cause); the user stays in `aborting` until it succeeds."""


class EvictHookError(ReplayBufferError):
    """The `on_evict` hook raised (its error is the cause) after the measurement was recorded: do not add it again.

    Attributes:
        offset: the offset of the (first) measurement that was added.
    """

    def __init__(self, message: str, offset: int, *, user_id: str | None = None) -> None:
        super().__init__(message, user_id=user_id)
        self.offset = offset


class PartlyAddedError(ReplayBufferError):
    """Of several users' measurements, some were not recorded.

    Attributes:
        added: the offsets of those that were, for each user.
        errors: what was raised instead, for each of the other users.
    """

    def __init__(self, added: dict[str, range], errors: dict[str, Exception]) -> None:
        user_id, first = next(iter(errors.items()))
        super().__init__(
            f"{len(errors)} of {len(added) + len(errors)} users could not be added to (see .errors), the others were "
            f"(see .added); for user {user_id!r}: {first}"
        )
        self.added, self.errors = added, errors


class TruncatedHistoryError(ReplayBufferError, LookupError):
    """The offset lies in history that was truncated; a checkpoint stands at the first one that is kept."""


class BufferClosedError(ReplayBufferError):
    """The buffer was closed. Nothing was recorded."""


def described(error: BaseException) -> str:
    """An error as the reason of an abort, also where its own `repr` fails."""
    try:
        return repr(error)
    except Exception:
        return type(error).__name__
