"""`decide`: command and state in, events or a refusal out. Pure: time comes in with the command."""

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from events import (
    AbortBegun,
    AbortFinished,
    BufferCleared,
    Event,
    LeaseRenewed,
    MeasurementAdded,
    MeasurementsEvicted,
    Offsets,
    ReplayCompleted,
    ReplayParked,
    ReplayReleased,
    RetryScheduled,
    SnapshotBegun,
    SnapshotExpired,
    SnapshotFinalized,
)
from statemachine._config import BufferConfig
from statemachine._declaration import BUFFER_LIFECYCLE, IN_PROGRESS
from statemachine._errors import (
    BufferFullError,
    IllegalTriggerError,
    NoSnapshotError,
    SnapshotInProgressError,
    StaleSnapshotError,
    UserParkedError,
)
from statemachine._state import BufferState, is_empty


@frozen
class AddMeasurements:
    """Record these, which arrived at time `now` (seconds; None where nobody knows), all or none."""

    measurements: Sequence[Any]
    now: float | None = None


@frozen
class BeginSnapshot:
    """Freeze what is live at time `now` (seconds), unless another snapshot has begun since `latest` (None: anyway).

    With `finalize` the replay starts at once: both events are recorded together.
    """

    now: float
    timestamp: Any
    latest: int | None = None
    finalize: bool = False


@frozen
class FinalizeSnapshot:
    """Start the replay of snapshot `version` (None: whichever is in progress) at time `now`."""

    now: float
    version: int | None


@frozen
class CompleteReplay:
    """Commit what the snapshot froze."""

    version: int | None


@frozen
class RenewLease:
    """Give the replay its full time again, from `now` on."""

    now: float
    version: int | None


@frozen
class AbortSnapshot:
    """Give the snapshot up; `finish` where no rollback has to run in between."""

    version: int | None
    reason: str
    finish: bool


@frozen
class ExpireSnapshot:
    """Give snapshot `version` up if it is overdue at `now`; `finish` as in `AbortSnapshot`."""

    now: float
    version: int
    finish: bool


@frozen
class FinishAbort:
    """The rollback of snapshot `version` is done."""

    version: int


@frozen
class ClearBuffer:
    """Drop what is live below offset `through` (None: everything)."""

    through: int | None = None


@frozen
class EvictOldest:
    """Make room elsewhere: evict up to so many of the oldest that are not frozen."""

    count: int


@frozen
class ScheduleRetry:
    """Do not try again before `retry_at` (seconds), if `version` (None: whichever was the latest) has failed."""

    version: int | None
    retry_at: float


@frozen
class Park:
    """Begin no replay until released."""

    reason: str


@frozen
class Release:
    """Let the parked user be replayed again."""


SnapshotCommand = (
    BeginSnapshot | FinalizeSnapshot | CompleteReplay | RenewLease | AbortSnapshot | ExpireSnapshot | FinishAbort
)

Command = SnapshotCommand | AddMeasurements | ClearBuffer | EvictOldest | ScheduleRetry | Park | Release

WHEN_IDLE = ("begin_snapshot", "clear_buffer", "park")


def decide(state: BufferState, command: Command, config: BufferConfig) -> list[Event]:
    """The events that `command` records in `state`; none where there is nothing to do.

    Raises:
        ReplayBufferError: the command is refused, and nothing happens.
    """
    if isinstance(command, SnapshotCommand):
        return _decide_snapshot(state, command, config)
    match command:
        case AddMeasurements(measurements=measurements, now=now):
            return _add(state, measurements, now, config)
        case ClearBuffer(through=through):
            _check(state, "clear_buffer")
            if through is None:
                return [BufferCleared(state.head)]
            return [BufferCleared(through)] if state.offsets.below(through) else []
        case EvictOldest(count=count):
            return _eviction(evictable(state), count)
        case ScheduleRetry(version=version, retry_at=retry_at):
            return _schedule(state, version, retry_at)
        case Park(reason=reason):
            _check(state, "park")
            return [ReplayParked(state.version, reason)]
        case _:  # Release
            _check(state, "release")
            return [ReplayReleased(state.version)]


def _decide_snapshot(state: BufferState, command: SnapshotCommand, config: BufferConfig) -> list[Event]:
    """The commands that take a snapshot from its begin to its end."""
    match command:
        case BeginSnapshot(now=now, timestamp=timestamp, latest=latest, finalize=finalize):
            if latest is not None and latest != state.version:
                raise StaleSnapshotError(_staleness(state, "begin_snapshot", latest))
            _check(state, "begin_snapshot")
            begun = SnapshotBegun(state.version + 1, timestamp, now + config.snapshot_timeout)
            return [begun, SnapshotFinalized(begun.version, now + config.replay_timeout)] if finalize else [begun]
        case FinalizeSnapshot(now=now, version=version):
            _check(state, "finalize_snapshot", version)
            return [SnapshotFinalized(state.version, now + config.replay_timeout)]
        case CompleteReplay(version=version):
            _check(state, "complete_replay", version)
            return [ReplayCompleted(state.version)]
        case RenewLease(now=now, version=version):
            _check(state, "renew_lease", version)
            return [LeaseRenewed(state.version, now + config.replay_timeout)]
        case AbortSnapshot(version=version, reason=reason, finish=finish):
            _check(state, "abort_snapshot", version)
            return [AbortBegun(state.version, reason), *_finished(state, finish)]
        case ExpireSnapshot(now=now, version=version, finish=finish):
            if state.version != version or not state.is_overdue(now):
                return []
            return [SnapshotExpired(version), *_finished(state, finish)]
        case _:  # FinishAbort
            version = command.version
            aborting = state.phase == "aborting" and state.version == version
            return [AbortFinished(version)] if aborting else []


def bound(state: BufferState, config: BufferConfig) -> tuple[int, int]:
    """How many measurements may be live (idle) or pending (in progress), and how many are.

    After an abort frozen and pending ones are live together, so the bound is both bounds until a replay completes. A
    further snapshot may freeze more than that once more at most: what is pending then counts against the same sum.
    """
    if state.frozen_offset is None:
        return (config.carried_bound if state.carries else config.max_measurements), state.live
    frozen = state.frozen
    reserve = config.carried_bound + config.pending_bound - frozen
    return max(0, min(config.pending_bound, reserve)), state.live - frozen


def evictable(state: BufferState) -> Offsets:
    """The offsets of the measurements that may be evicted, oldest first: never frozen ones."""
    return state.offsets if state.frozen_offset is None else state.pending_offsets


def _eviction(candidates: Offsets, count: int) -> list[Event]:
    count = min(count, len(candidates))
    return [MeasurementsEvicted(candidates[0], candidates[count - 1] + 1)] if count > 0 else []


def _schedule(state: BufferState, version: int | None, retry_at: float) -> list[Event]:
    if version is not None and version != state.version:
        raise StaleSnapshotError(_staleness(state, "schedule_retry", version))
    _check(state, "schedule_retry")
    if not state.attempts:
        hint = "no replay has failed since the last one that was completed"
        raise NoSnapshotError("schedule_retry", state.phase, BUFFER_LIFECYCLE.legal(state.phase), hint)
    return [RetryScheduled(state.version, retry_at)]


def _add(state: BufferState, measurements: Sequence[Any], now: float | None, config: BufferConfig) -> list[Event]:
    """The adds, followed by the eviction of as many of the oldest as are over the bound, but no more than came."""
    allowed, held = bound(state, config)
    count = len(measurements)
    excess = min(count, held + count - allowed)
    events: list[Event] = [MeasurementAdded(measurement) for measurement in measurements]
    if is_empty(state) and measurements:
        events[0] = MeasurementAdded(measurements[0], now)
    if excess <= 0:
        return events
    if config.on_overflow == "reject":
        kind = "live" if state.frozen_offset is None else "pending"
        raise BufferFullError(
            f"{held} measurements are {kind} and {allowed} may be, so {count} more were not recorded; "
            f"replay or clear them first, raise max_measurements, or choose on_overflow='evict_oldest'"
        )
    candidates = evictable(state).extended(range(state.head, state.head + count))
    return [*events, *_eviction(candidates, excess)]


def _finished(state: BufferState, finish: bool) -> list[Event]:
    return [AbortFinished(state.version)] if finish else []


def _check(state: BufferState, trigger: str, version: int | None = None) -> None:
    """Refuse a stale version, then a trigger that is not legal in the state's phase."""
    if version is not None and (version != state.version or state.phase not in IN_PROGRESS):
        raise StaleSnapshotError(_staleness(state, trigger, version))
    try:
        BUFFER_LIFECYCLE.target(state.phase, trigger)
    except IllegalTriggerError as error:
        kind, hint = _refusal(state, trigger)
        raise kind(trigger, state.phase, error.legal, hint) from None


def _staleness(state: BufferState, trigger: str, version: int) -> str:
    if version > state.version:
        what = f"snapshot {version} was never begun; the latest is {state.version}"
    elif version < state.version:
        what = f"snapshot {version} is over; snapshot {state.version} has begun since"
    elif state.phase == "aborting":
        what = f"snapshot {version} is being aborted ({state.reason or 'no reason given'})"
    else:
        what = f"snapshot {version} is over: it was completed, aborted or expired"
    next_step = "roll back what its replay computed, unless you completed it yourself"
    return f"cannot {trigger}: {what}; nothing was changed; {next_step}"


def _refusal(state: BufferState, trigger: str) -> tuple[type[IllegalTriggerError], str]:
    """The kind of error for a trigger that the lifecycle refuses, and a hint what to do."""
    if state.phase == "parked":
        failures = f"{state.attempts} failed attempts ({state.reason or 'no reason given'})"
        return UserParkedError, f"the user was parked after {failures}; release it first"
    if trigger == "release":
        return IllegalTriggerError, "the user is not parked"
    if state.phase == "idle":
        return NoSnapshotError, "no snapshot is in progress; begin one with begin_snapshot"
    if trigger in WHEN_IDLE and state.phase == "aborting":
        return SnapshotInProgressError, "the rollback has not succeeded yet; expire_overdue() tries it again"
    if trigger in (*WHEN_IDLE, "schedule_retry"):
        return SnapshotInProgressError, f"wait until snapshot {state.version} is completed, or abort it"
    if state.phase == "snapshotting":
        return IllegalTriggerError, f"finalize_snapshot comes first (snapshot {state.version})"
    return IllegalTriggerError, ""
