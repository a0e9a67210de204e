"""`Model`: one user's buffer as plain lists, to compare the real one with. Must not import what it is a model of."""

from typing import Any, Generic, TypeVar

from statemachine._config import BufferConfig
from statemachine._errors import (
    BufferFullError,
    IllegalTriggerError,
    NoSnapshotError,
    ReplayBufferError,
    SnapshotInProgressError,
    StaleSnapshotError,
    UserParkedError,
)
from statemachine.due import AllOf, AnyOf, Count

M = TypeVar("M")

Refusal = type[ReplayBufferError] | None
"""The error that a call must raise, or None where it must succeed."""

LEGAL = {
    "begin_snapshot": ("idle",),
    "finalize_snapshot": ("snapshotting",),
    "complete_replay": ("replaying",),
    "renew_lease": ("replaying",),
    "abort_snapshot": ("snapshotting", "replaying"),
    "clear_buffer": ("idle",),
    "schedule_retry": ("idle", "aborting"),
    "park": ("idle",),
    "release": ("parked",),
}
"""The phases in which a command is legal."""


class Model(Generic[M]):
    """What a user's buffer must do, said with lists and nothing clever.

    Parameters:
        config: bounds and timeouts.

    Attributes:
        older: the live measurements, or while a snapshot is in progress the frozen ones.
        pending: those that arrived since the freeze point.
        timestamp: when the latest snapshot began.
        since: when the oldest of `older` arrived; and `pending_since`, of `pending`.
        attempts: how many snapshots failed since one was completed; `retry_at`: when the next one may begin, or None.
        replayed: those that completed replays have covered, in order; likewise `evicted` and `cleared`.
        rolled_back: the snapshots whose rollback is done.
    """

    def __init__(self, config: BufferConfig) -> None:
        self.config = config
        self.phase, self.version, self.deadline, self.carries = "idle", 0, 0.0, False
        self.timestamp = self.since = self.pending_since = 0.0
        self.attempts = 0
        self.retry_at: float | None = None
        self.added: list[M] = []
        self.older: list[M] = []
        self.pending: list[M] = []
        self.replayed: list[M] = []
        self.evicted: list[M] = []
        self.cleared: list[M] = []
        self.rolled_back: list[int] = []

    @property
    def live(self) -> list[M]:
        """All live measurements, oldest first."""
        return self.older + self.pending

    def is_overdue(self, now: float) -> bool:
        """Whether the next touch must expire the snapshot."""
        return self.phase in ("snapshotting", "replaying") and now >= self.deadline

    def refusal(self, trigger: str, version: int | None = None) -> Refusal:
        """How `trigger` must be refused for `version`, if it must."""
        over = trigger != "schedule_retry" and self.phase not in ("snapshotting", "replaying")
        if version is not None and (version != self.version or over):
            return StaleSnapshotError
        if self.phase in LEGAL[trigger]:
            return NoSnapshotError if trigger == "schedule_retry" and not self.attempts else None
        if self.phase == "parked":
            return UserParkedError
        if trigger == "release":
            return IllegalTriggerError
        if self.phase == "idle":
            return NoSnapshotError
        return SnapshotInProgressError if "idle" in LEGAL[trigger] else IllegalTriggerError

    def is_due(self, now: float, policy: Any = None) -> bool:
        """Whether `ready` must list the user."""
        if self.phase != "idle" or not self.older:
            return False
        if policy is None and self.retry_at is not None:
            return now >= self.retry_at
        policy = policy or self.config.due_policy
        if isinstance(policy, AnyOf | AllOf):
            answers = [self.is_due(now, part) for part in policy.policies]
            return any(answers) if isinstance(policy, AnyOf) else all(answers)
        if isinstance(policy, Count):
            return len(self.older) >= policy.measurements
        times = [self.since] if policy.timestamp_of is None else map(policy.timestamp_of, self.older)
        return bool(now - min(times) >= policy.seconds)

    def add(self, measurements: list[M], now: float = 0.0) -> Refusal:
        """Add them all, evicting as many of the oldest as do not fit; or refuse, if that is the policy."""
        if self.phase in ("idle", "parked"):
            into, bound = self.older, self.config.max_measurements
            if self.carries:
                bound += self.config.pending_bound
        else:
            into, bound = self.pending, self.config.pending_bound
            bound = max(0, min(bound, self.config.max_measurements + 2 * bound - len(self.older)))
        excess = min(len(measurements), len(into) + len(measurements) - bound)
        if excess > 0 and self.config.on_overflow == "reject":
            return BufferFullError
        if not self.older and into is self.older:
            self.since = now
        if not self.pending and into is self.pending:
            self.pending_since = now
        self.added += measurements
        into += measurements
        self.evicted += into[: max(0, excess)]
        del into[: max(0, excess)]
        return None

    def begin(self, now: float) -> None:
        """Freeze what is live."""
        self.phase, self.version, self.deadline = "snapshotting", self.version + 1, now + self.config.snapshot_timeout
        self.timestamp, self.retry_at = now, None

    def finalize(self, now: float) -> None:
        """Start the replay."""
        self.phase, self.deadline = "replaying", now + self.config.replay_timeout

    def renew(self, now: float) -> None:
        """Start its lease again."""
        self.deadline = now + self.config.replay_timeout

    def complete(self) -> None:
        """What was frozen is replayed; what was pending is the new window."""
        self.replayed += self.older
        self.older, self.pending, self.phase, self.carries = self.pending, [], "idle", False
        self.since, self.attempts = self.pending_since, 0

    def abort(self, *, rolled_back: bool) -> None:
        """Give up; back to idle if the rollback succeeds."""
        self.phase, self.attempts = "aborting", self.attempts + 1
        if rolled_back:
            self.finish_abort()

    def finish_abort(self) -> None:
        """Everything is simply live again."""
        self.rolled_back.append(self.version)
        self.since = self.since if self.older else self.pending_since
        self.older, self.pending, self.phase, self.carries = self.live, [], "idle", True

    def clear(self) -> None:
        """Drop what is live."""
        self.clear_oldest(len(self.older))

    def clear_oldest(self, count: int) -> None:
        """Drop that many of the oldest."""
        self.cleared += self.older[:count]
        del self.older[:count]
        if not self.older:
            self.carries, self.attempts, self.retry_at = False, 0, None

    def park(self) -> None:
        """Let nobody begin."""
        self.phase, self.retry_at = "parked", None

    def release(self) -> None:
        """Let them again."""
        self.phase, self.attempts = "idle", 0
