"""`Metrics` and `Meter`: a buffer's figures as plain numbers. Must not know logs, or how figures are exported."""

import re
from collections import defaultdict
from threading import RLock
from typing import Any

from attrs import Factory, asdict, frozen

from events import AbortBegun, Event, ReplayCompleted, RetryScheduled, SnapshotBegun, SnapshotExpired, SnapshotFinalized
from statemachine._totals import Totals

MOST_KINDS = 50
"""How many kinds of aborts are told apart."""

MOST_LETTERS = 80
"""How many letters of a reason tell kinds apart."""

OTHER = "other"
"""The kind of all that come after those."""

NO_REASON = "no reason given"

TIMED = (SnapshotFinalized, ReplayCompleted)
"""The events whose time since the one before them counts."""

AFTER_BEGIN = frozenset({*TIMED, AbortBegun, SnapshotExpired})

_ERROR = re.compile(r"([^\W\d][\w.]*)\(.*\)", re.DOTALL)


@frozen
class Durations:
    """How long something took, in seconds of the buffer's clock; all 0 before the first.

    Attributes:
        count: how many there were.
        total: all of them together.
        longest: the longest.
        last: the latest.
    """

    count: int = 0
    total: float = 0.0
    longest: float = 0.0
    last: float = 0.0


@frozen(kw_only=True)
class Metrics:
    """A buffer's figures at one time: plain numbers, of which `attrs.asdict` makes what json can dump.

    The sums over users are of the log: they come from the users' states, whoever recorded them and however long ago.
    The counts of lifecycle events and their durations are of the buffer object that was asked: what it has recorded
    since it was made. They begin at none after a restart, as counters in monitoring do, and do not have what another
    buffer on the same log has recorded.

    Attributes:
        users: how many users ever had a measurement.
        in_progress: how many of them have a snapshot in progress, overdue ones included.
        aborting: how many are in `aborting`: a rollback is running, or has failed and waits for the sweep.
        parked: how many are parked.
        live: how many measurements are live, frozen and pending ones included.
        pending: how many of them are pending; those in `aborting` are pending until the abort is finished.
        added: how many measurements were ever added.
        replayed: how many of them completed replays have covered.
        evicted: how many were evicted.
        cleared: how many were dropped by `clear_buffer`.
        begun: how many snapshots were begun.
        completed: how many replays were completed.
        expired: how many snapshots expired.
        aborted: how many were aborted, by the kind of the reason: `ValueError('bad window')` counts as `ValueError`,
            another reason by its first 80 letters, and what comes after the first 50 kinds as `other`.
        retries: how many retries were scheduled.
        snapshot_duration: of snapshots, from begin to finalize, where this object has recorded both.
        replay_duration: of completed replays, from finalize to completion, likewise.
        seconds_since_completed: seconds since the latest completed replay; None before the first, and where the clock
            gives no time.

    Example:
        >>> import json
        >>> from attrs import asdict
        >>> from statemachine import ReplayBuffer
        >>> buffer = ReplayBuffer()
        >>> offsets = buffer.add_measurements("ann", [81.5, 81.7])
        >>> json.dumps(asdict(buffer.metrics()))[:50]
        '{"users": 1, "in_progress": 0, "aborting": 0, "par'
    """

    users: int
    in_progress: int
    aborting: int
    parked: int
    live: int
    pending: int
    added: int
    replayed: int
    evicted: int
    cleared: int
    begun: int
    completed: int
    expired: int
    aborted: dict[str, int] = Factory(dict)
    retries: int
    snapshot_duration: Durations
    replay_duration: Durations
    seconds_since_completed: float | None


class Meter:
    """Counts a buffer's lifecycle events and their durations, in memory that does not grow with them.

    Its lock may be taken twice by one thread: a finalizer that the interpreter runs meanwhile may use the buffer.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._counts: dict[type[Event], int] = defaultdict(int)
        self._aborted: dict[str, int] = {}
        self._since: dict[str, tuple[int, float | None]] = {}
        self._durations: dict[type[Event], list[Any]] = {kind: [0, 0.0, 0.0, 0.0] for kind in TIMED}
        self._completed_at: float | None = None

    def count(self, user_id: str, event: Event, version: int, at: float | None) -> float | None:
        """Count an event.

        Parameters:
            user_id: whose.
            event: the event.
            version: the version after it.
            at: when, in seconds, or None.

        Returns:
            What a finalize took since the begin, and a completion since the finalize, in seconds; None for other
            events, and where the one before was not counted here. Only of snapshots in progress is anything kept.
        """
        kind = type(event)
        with self._lock:
            self._counts[kind] += 1
            if kind is SnapshotBegun:
                self._since[user_id] = version, at
                return None
            if isinstance(event, AbortBegun):
                self._count_abort(kind_of(event.reason))
            if kind not in AFTER_BEGIN:
                return None
            begun, since = self._since.get(user_id, (None, None))
            if kind is SnapshotFinalized:
                self._since[user_id] = version, at
            elif begun == version:
                del self._since[user_id]
            if kind is ReplayCompleted:
                self._completed_at = at
            if begun != version or since is None or at is None or kind not in self._durations:
                return None
            seconds = max(0.0, at - since)  # a clock may be set back
            durations = self._durations[kind]
            durations[0] += 1
            durations[1] += seconds
            durations[2], durations[3] = max(durations[2], seconds), seconds
            return seconds

    def _count_abort(self, kind: str) -> None:
        if kind not in self._aborted and len(self._aborted) >= MOST_KINDS:
            kind = OTHER
        self._aborted[kind] = self._aborted.get(kind, 0) + 1

    def metrics(self, totals: Totals, parked: int, now: float | None) -> Metrics:
        """The figures at time `now` (seconds, or None), with sums that somebody else has added up."""
        sums: dict[str, Any] = asdict(totals)
        with self._lock:
            counts, completed_at = self._counts, self._completed_at
            return Metrics(
                **sums,
                parked=parked,
                begun=counts.get(SnapshotBegun, 0),
                completed=counts.get(ReplayCompleted, 0),
                expired=counts.get(SnapshotExpired, 0),
                aborted=dict(self._aborted),
                retries=counts.get(RetryScheduled, 0),
                snapshot_duration=Durations(*self._durations[SnapshotFinalized]),
                replay_duration=Durations(*self._durations[ReplayCompleted]),
                seconds_since_completed=None if now is None or completed_at is None else max(0.0, now - completed_at),
            )


def kind_of(reason: str) -> str:
    """What a reason counts as: an error that was raised by its class, anything else by its text, cut to a length.

    Example:
        >>> kind_of("ValueError('bad window')"), kind_of("database is away")
        ('ValueError', 'database is away')
    """
    error = _ERROR.fullmatch(reason)
    text = (error[1] if error else reason)[:MOST_LETTERS].strip()
    return text.encode("utf-8", "replace").decode() or NO_REASON  # half a surrogate pair cannot be exported
