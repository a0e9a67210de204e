"""`ObservedJournal`: tells observers what it has recorded of the lifecycle. Must not change what is recorded."""

import logging
from collections.abc import Callable
from typing import TypeVar

from attrs import frozen

from events import (
    AbortBegun,
    Event,
    EventLog,
    MeasurementAdded,
    MeasurementsEvicted,
    ReplayCompleted,
    ReplayParked,
    SnapshotExpired,
)
from statemachine._config import BufferConfig
from statemachine._decide import Command
from statemachine._journal import Journal, Outcome
from statemachine._metrics import Meter
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
    """A `Journal` that counts and logs what it records, and has observers.

    Adds and evictions are no lifecycle events: nobody is told, so that an add costs what it costs.

    Parameters:
        log, config, hand_over, now: as of `Journal`.

    Attributes:
        meter: counts.
        observers: whom to tell, in this order; it is replaced and not changed.
    """

    def __init__(
        self, log: EventLog[M], config: BufferConfig, *, hand_over: bool, now: Callable[[], float | None]
    ) -> None:
        super().__init__(log, config, hand_over=hand_over, now=now)
        self.meter = Meter()
        self.observers: tuple[Observer, ...] = ()

    def record(
        self, user_id: str, command: Command | Callable[[BufferState], Command], at: float | None = None
    ) -> Outcome[M]:
        """See `Journal.record`."""
        outcome = super().record(user_id, command, at)
        if outcome.events and not isinstance(outcome.events[0], (MeasurementAdded, MeasurementsEvicted)):
            now = self._now() if at is None else at
            for event in outcome.events:
                self.tell(user_id, event, outcome.after.version, now)
        return outcome

    def tell(self, user_id: str, event: Event, version: int, at: float | None) -> None:
        """Count an event that is recorded, log it, and tell the observers.

        Parameters:
            user_id: whose.
            event: the event.
            version: the version after it.
            at: when, in seconds, or None.
        """
        kind = type(event)
        seconds = self.meter.count(user_id, event, version, at)
        is_logged = logger.isEnabledFor(LEVELS.get(kind, logging.DEBUG))
        if not is_logged and not self.observers:
            return
        reason = event.reason if isinstance(event, (AbortBegun, ReplayParked)) else ""
        if kind is SnapshotExpired:
            reason = "expired"
        occurrence = Occurrence(user_id, event, version, reason, at, seconds)
        for observer in (_log, *self.observers) if is_logged else self.observers:
            try:  # noqa: SIM105 - `suppress` costs several times as much
                observer(occurrence)
            except Exception:  # it is recorded, and who only watches cannot make the call fail
                pass


def _log(occurrence: Occurrence) -> None:
    """Log it by the logger `holdover`, with fields for whoever filters or stores by them."""
    name, reason = type(occurrence.event).__name__, occurrence.reason
    level = LEVELS.get(type(occurrence.event), logging.DEBUG)
    fields = {"user_id": occurrence.user_id, "version": occurrence.version, "reason": reason, "event": name}
    why = f": {reason}" if reason else ""
    logger.log(level, "user %r: %s, version %d%s", occurrence.user_id, name, occurrence.version, why, extra=fields)
