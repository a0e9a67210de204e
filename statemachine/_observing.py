"""`ObservedJournal`: tells observers what it has recorded of the lifecycle. Must not change what is recorded."""

import logging
from collections.abc import Callable
from typing import TypeVar

from attrs import frozen

from events import (
    AbortBegun,
    Event,
    EventLog,
    ReplayCompleted,
    ReplayParked,
    SnapshotBegun,
    SnapshotExpired,
    SnapshotFinalized,
)
from statemachine._config import BufferConfig
from statemachine._decide import AddMeasurements, Command, EvictOldest
from statemachine._journal import Journal, Outcome
from statemachine._state import BufferState

M = TypeVar("M")

logger = logging.getLogger("holdover")
logger.addHandler(logging.NullHandler())

LEVELS: dict[type[Event], int] = {
    ReplayCompleted: logging.INFO,
    AbortBegun: logging.WARNING,
    SnapshotExpired: logging.WARNING,
    ReplayParked: logging.WARNING,
}
"""How loud an event is logged; the others at DEBUG."""


@frozen
class Occurrence:
    """A lifecycle event that was recorded by this process.

    Attributes:
        user_id: whose.
        event: the event.
        version: the snapshot's version; the latest where the event names none.
        reason: of an abort or a parking; "expired" of an expiry; else "".
        at: when, in seconds of the buffer's clock, or None where that gives none.
        seconds: what a finalize took since the begin, and a completion since the finalize; None for other events, and
            where the one before was not recorded here.
    """

    user_id: str
    event: Event
    version: int
    reason: str
    at: float | None
    seconds: float | None


Observer = Callable[[Occurrence], object]
"""Is told of each occurrence, in the thread that recorded it and outside every lock. What it raises is dropped."""


class ObservedJournal(Journal[M]):
    """A `Journal` with observers.

    Adds and evictions are no lifecycle events: nobody is told, so that an add costs what it costs.

    Parameters:
        log, config, hand_over, now: as of `Journal`.

    Attributes:
        observers: whom to tell, in this order; it is replaced and not changed.
    """

    def __init__(
        self, log: EventLog[M], config: BufferConfig, *, hand_over: bool, now: Callable[[], float | None]
    ) -> None:
        super().__init__(log, config, hand_over=hand_over, now=now)
        self._since: dict[str, tuple[int, float | None]] = {}
        self.observers: tuple[Observer, ...] = (log_occurrence,)

    def record(self, user_id: str, command: Command | Callable[[BufferState], Command]) -> Outcome[M]:
        """See `Journal.record`."""
        if isinstance(command, (AddMeasurements, EvictOldest)):
            return super().record(user_id, command)
        outcome = super().record(user_id, command)
        if outcome.events:
            now = self._now()
            for event in outcome.events:
                self.tell(user_id, event, outcome.after.version, now)
        return outcome

    def tell(self, user_id: str, event: Event, version: int, at: float | None) -> None:
        """Tell the observers of an event that is recorded.

        Parameters:
            user_id: whose.
            event: the event.
            version: the version after it.
            at: when, in seconds, or None.
        """
        reason = "expired" if isinstance(event, SnapshotExpired) else getattr(event, "reason", "")
        occurrence = Occurrence(user_id, event, version, reason, at, self._seconds(user_id, event, version, at))
        for observer in self.observers:
            try:  # noqa: SIM105 - `suppress` costs several times as much
                observer(occurrence)
            except Exception:  # it is recorded, and who only watches cannot make the call fail
                pass

    def _seconds(self, user_id: str, event: Event, version: int, at: float | None) -> float | None:
        """What `Occurrence.seconds` says. Only of snapshots in progress is anything kept."""
        if isinstance(event, SnapshotBegun):
            self._since[user_id] = version, at
            return None
        if not isinstance(event, (SnapshotFinalized, ReplayCompleted, AbortBegun, SnapshotExpired)):
            return None
        begun, since = self._since.get(user_id, (None, None))
        if isinstance(event, SnapshotFinalized):
            self._since[user_id] = version, at
        elif begun == version:
            self._since.pop(user_id, None)
        if begun != version or since is None or at is None or isinstance(event, (AbortBegun, SnapshotExpired)):
            return None
        return max(0.0, at - since)  # a clock may be set back


def log_occurrence(occurrence: Occurrence) -> None:
    """Log it by the logger `holdover`, with fields for whoever filters or stores by them."""
    level = LEVELS.get(type(occurrence.event), logging.DEBUG)
    if logger.isEnabledFor(level):
        name, reason = type(occurrence.event).__name__, occurrence.reason
        fields = {"user_id": occurrence.user_id, "version": occurrence.version, "reason": reason, "event": name}
        why = f": {reason}" if reason else ""
        logger.log(level, "user %r: %s, version %d%s", occurrence.user_id, name, occurrence.version, why, extra=fields)
