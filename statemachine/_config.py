"""`BufferConfig`: the bounds and timeouts of a buffer, checked when made."""

from functools import cached_property
from typing import Any, Literal

from attrs import Attribute, field, frozen

from statemachine._errors import InvalidArgumentError
from statemachine.due import Age, Count, DuePolicy

MOST = 2**40
"""More than will ever be held or waited for, and few enough to compute with."""


DUE_FROM = 5
"""The fewest measurements that are due by default."""

DUE_AFTER = 72 * 3600.0
"""The age in seconds from which they are."""


def _positive(_config: object, attribute: "Attribute[Any]", value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MOST:
        raise InvalidArgumentError(f"{attribute.name} must be a positive, finite number (to 2**40), not {value!r}")


def _whole(_config: object, attribute: "Attribute[Any]", value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise InvalidArgumentError(f"{attribute.name} must be a whole number from 1 to 2**40, not {value!r}")


def _total(config: Any, attribute: "Attribute[Any]", value: Any) -> None:
    if value is None:
        return
    _whole(config, attribute, value)
    if value < config.max_measurements:
        raise InvalidArgumentError(
            f"{attribute.name} ({value}) is for all users together, so it must not be less than max_measurements, "
            f"which is {config.max_measurements}"
        )


def _due(config: Any, _attribute: object, due: object) -> None:
    if due is None:
        return
    if not isinstance(due, DuePolicy):
        raise InvalidArgumentError(
            f"due must be a policy of statemachine.due such as Count(100) | Age(3600), not {due!r}; "
            f"there are Count, Age, AnyOf and AllOf"
        )
    unreachable = [count for count in due.counts() if count > config.max_measurements]
    if unreachable:
        raise InvalidArgumentError(
            f"due waits for {max(unreachable)} measurements, but max_measurements is {config.max_measurements}"
        )


def _policy(_config: object, attribute: "Attribute[Any]", value: object) -> None:
    if value not in ("evict_oldest", "reject"):
        raise InvalidArgumentError(f"{attribute.name} must be 'evict_oldest' or 'reject', not {value!r}")


@frozen(kw_only=True)
class BufferConfig:
    """The bounds and timeouts of a `ReplayBuffer`.

    Parameters:
        max_measurements: how many live measurements an idle user may have.
        pending_factor: while a snapshot is in progress, `pending_factor * max_measurements` may be pending.
        on_overflow: `"evict_oldest"` makes room by evicting the oldest live (idle) or pending (in progress)
            measurement; `"reject"` refuses the new one with `BufferFullError`.
        snapshot_timeout: seconds from begin until a snapshot that is not finalized expires.
        replay_timeout: seconds from finalize, or the last renewal, until a replay expires.
        due: when a user is due for a replay, a policy of `statemachine.due`. If omitted, with 5 measurements or more,
            as soon as there are `max_measurements`, or the oldest arrived three days ago.
        max_total_measurements: how many measurements all users together may have; beyond it `on_overflow` applies,
            where `"evict_oldest"` evicts the oldest of the user who has added nothing for longest.

    Raises:
        InvalidArgumentError: a value is of the wrong type, negative, zero, NaN or infinite.

    Example:
        >>> BufferConfig(max_measurements=500).pending_bound
        1000
        >>> BufferConfig(replay_timeout=-1)
        Traceback (most recent call last):
        ...
        statemachine._errors.InvalidArgumentError: replay_timeout must be a positive, finite number (to 2**40), not -1
    """

    max_measurements: int = field(default=100, validator=_whole)
    pending_factor: float = field(default=2, validator=_positive)
    on_overflow: Literal["evict_oldest", "reject"] = field(default="evict_oldest", validator=_policy)
    snapshot_timeout: float = field(default=30.0, validator=_positive)
    replay_timeout: float = field(default=300.0, validator=_positive)
    due: DuePolicy | None = field(default=None, validator=_due)
    max_total_measurements: int | None = field(default=None, validator=_total)

    due_policy: DuePolicy = field(init=False, eq=False, repr=False)
    """When a user is due: `due`, or the default policy."""

    def __attrs_post_init__(self) -> None:
        fewest, most = min(DUE_FROM, self.max_measurements), self.max_measurements
        policy = self.due or Count(fewest) & (Count(most) | Age(DUE_AFTER))
        object.__setattr__(self, "due_policy", policy)

    @cached_property
    def pending_bound(self) -> int:
        """How many measurements may be pending."""
        return max(1, int(self.pending_factor * self.max_measurements))

    @cached_property
    def carried_bound(self) -> int:
        """How many measurements an idle user may have between an abort and the next completed replay."""
        return self.max_measurements + self.pending_bound
