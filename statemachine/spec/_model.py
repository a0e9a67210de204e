"""`Model`: one user's buffer as plain lists, to compare the real one with. Must not import what it is a model of."""

from typing import Generic, TypeVar

from statemachine._config import BufferConfig
from statemachine._errors import (
    BufferFullError,
    IllegalTriggerError,
    NoSnapshotError,
    ReplayBufferError,
    SnapshotInProgressError,
    StaleSnapshotError,
)

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
}
"""The phases in which a command is legal."""


class Model(Generic[M]):
    """What a user's buffer must do, said with lists and nothing clever.

    Parameters:
        config: bounds and timeouts.

    Attributes:
        older: the live measurements, or while a snapshot is in progress the frozen ones.
        pending: those that arrived since the freeze point.
        replayed: those that completed replays have covered, in order; likewise `evicted` and `cleared`.
    """

    def __init__(self, config: BufferConfig) -> None:
        self.config = config
        self.phase, self.version, self.deadline, self.carries = "idle", 0, 0.0, False
        self.added: list[M] = []
        self.older: list[M] = []
        self.pending: list[M] = []
        self.replayed: list[M] = []
        self.evicted: list[M] = []
        self.cleared: list[M] = []

    @property
    def live(self) -> list[M]:
        """All live measurements, oldest first."""
        return self.older + self.pending

    def is_overdue(self, now: float) -> bool:
        """Whether the next touch must expire the snapshot."""
        return self.phase in ("snapshotting", "replaying") and now >= self.deadline

    def refusal(self, trigger: str, version: int | None = None) -> Refusal:
        """How `trigger` must be refused for `version`, if it must."""
        if version is not None and (version != self.version or self.phase not in ("snapshotting", "replaying")):
            return StaleSnapshotError
        if self.phase in LEGAL[trigger]:
            return None
        if self.phase == "idle":
            return NoSnapshotError
        return SnapshotInProgressError if "idle" in LEGAL[trigger] else IllegalTriggerError

    def add(self, measurements: list[M]) -> Refusal:
        """Add them all, evicting as many of the oldest as do not fit; or refuse, if that is the policy."""
        if self.phase == "idle":
            into, bound = self.older, self.config.max_measurements
            if self.carries:
                bound += self.config.pending_bound
        else:
            into, bound = self.pending, self.config.pending_bound
            bound = max(0, min(bound, self.config.max_measurements + 2 * bound - len(self.older)))
        excess = min(len(measurements), len(into) + len(measurements) - bound)
        if excess > 0 and self.config.on_overflow == "reject":
            return BufferFullError
        self.added += measurements
        into += measurements
        self.evicted += into[: max(0, excess)]
        del into[: max(0, excess)]
        return None

    def begin(self, now: float) -> None:
        """Freeze what is live."""
        self.phase, self.version, self.deadline = "snapshotting", self.version + 1, now + self.config.snapshot_timeout

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

    def abort(self, *, rolled_back: bool) -> None:
        """Give up; back to idle if the rollback succeeds."""
        self.phase = "aborting"
        if rolled_back:
            self.finish_abort()

    def finish_abort(self) -> None:
        """Everything is simply live again."""
        self.older, self.pending, self.phase, self.carries = self.live, [], "idle", True

    def clear(self) -> None:
        """Drop what is live."""
        self.clear_oldest(len(self.older))

    def clear_oldest(self, count: int) -> None:
        """Drop that many of the oldest."""
        self.cleared += self.older[:count]
        del self.older[:count]
        self.carries = False
