"""The lifecycle of a user's buffer, declared once: running code, fold, diagrams and tests all follow this table."""

from events import (
    AbortBegun,
    AbortFinished,
    BufferCleared,
    LeaseRenewed,
    MeasurementAdded,
    MeasurementsEvicted,
    ReplayCompleted,
    ReplayParked,
    ReplayReleased,
    RetryScheduled,
    SnapshotBegun,
    SnapshotExpired,
    SnapshotFinalized,
)
from statemachine.lifecycle import EVERY_STATE, SAME_STATE, Lifecycle, Transition

IN_PROGRESS = ("snapshotting", "replaying")

RETRIABLE = ("idle", "aborting")

CURRENT = "the version is current and the deadline has not passed"

# fmt: off
BUFFER_LIFECYCLE = Lifecycle(
    name="measurement buffer",
    states=("idle", "snapshotting", "replaying", "aborting", "parked"),
    initial="idle",
    transitions=(
        #          state           trigger              event                target
        Transition("idle",         "begin_snapshot",    SnapshotBegun,       "snapshotting"),
        Transition("snapshotting", "finalize_snapshot", SnapshotFinalized,   "replaying"),
        Transition("replaying",    "complete_replay",   ReplayCompleted,     "idle"),
        Transition("replaying",    "renew_lease",       LeaseRenewed,        SAME_STATE),
        Transition(IN_PROGRESS,    "abort_snapshot",    AbortBegun,          "aborting"),
        Transition(IN_PROGRESS,    "expire",            SnapshotExpired,     "aborting"),
        Transition("aborting",     "finish_abort",      AbortFinished,       "idle"),
        Transition("idle",         "clear_buffer",      BufferCleared,       SAME_STATE),
        Transition(RETRIABLE,      "schedule_retry",    RetryScheduled,      SAME_STATE),
        Transition("idle",         "park",              ReplayParked,        "parked"),
        Transition("parked",       "release",           ReplayReleased,      "idle"),
        Transition(EVERY_STATE,    "add_measurement",   MeasurementAdded,    SAME_STATE),
        Transition(EVERY_STATE,    "evict",             MeasurementsEvicted, SAME_STATE),
    ),
    guards={
        "finalize_snapshot": CURRENT,
        "complete_replay":   CURRENT,
        "renew_lease":       CURRENT,
        "abort_snapshot":    "the version is current",
        "expire":            "the deadline has passed",
        "finish_abort":      "the rollback succeeded, or there is none",
        "schedule_retry":    "the latest snapshot was not completed",
        "add_measurement":   "there is room, or the policy is evict_oldest",
        "evict":             "the bound is exceeded; never what is frozen",
    },
    effects={
        "begin_snapshot":    "version + 1; frozen offset := head; deadline := now + snapshot_timeout",
        "finalize_snapshot": "the frozen measurements are handed out; deadline := now + replay_timeout",
        "complete_replay":   "committed := frozen offset; attempts := 0",
        "renew_lease":       "deadline := now + replay_timeout",
        "finish_abort":      "frozen and pending are simply live again",
        "clear_buffer":      "committed := head, or the offset given; where nothing is left, attempts := 0",
        "abort_snapshot":    "attempts + 1",
        "expire":            "attempts + 1",
        "schedule_retry":    "not due before the time given",
        "park":              "no replay begins; what is live stays, and adds go on",
        "release":           "attempts := 0",
        "evict":             "the oldest live (idle) or pending (in progress) are dropped",
    },
)
# fmt: on
