"""`Witness`: sees each event as soon as it is in the log, and holds it against plain lists. Asks no buffer anything.

What the buffers say, and what the application was told, is then compared with what the witness has seen.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from events import (
    AbortBegun,
    AbortFinished,
    BufferCleared,
    Event,
    EventLog,
    LeaseRenewed,
    MeasurementAdded,
    MeasurementsEvicted,
    Recorded,
    ReplayCompleted,
    ReplayParked,
    ReplayReleased,
    RetryScheduled,
    SnapshotBegun,
    SnapshotExpired,
    SnapshotFinalized,
)
from statemachine import BufferConfig
from statemachine.spec._model import Model

ASKED, ACKNOWLEDGED, UNKNOWN, REFUSED, ABSENT = "asked", "acknowledged", "unknown", "refused", "absent"
"""What the application knows of a measurement; absent: nobody knew, and a look has shown that it is not there."""

MAY_COME = (ASKED, UNKNOWN)


class ViolationError(BaseException):
    """A promise was broken. No `except Exception` hides it."""

    def __init__(self, user: str, message: str) -> None:
        super().__init__(f"user {user}: {message}")
        self.user = user


def check(holds: object, user: str, message: str) -> None:
    """What was promised of the user holds, or else."""
    if not holds:
        raise ViolationError(user, message)


Summary = tuple[Any, ...]
"""Phase, version, head, counts and live measurements, all at one moment."""

EMPTY: Summary = ("idle", 0, 0, 0, 0, 0, 0, 0, ())


class Truth:
    """What has happened to one user.

    Attributes:
        history: all events; `where`: the offset of each measurement in it.
        model: what the events come to, with plain lists.
        frozen: what each snapshot froze; `completed`: the versions whose replay was completed.
        over: those that were given up; `rolled_back`: those whose rollback has succeeded.
        summaries: what was so after each write, from the first on.
        start: the first offset that is kept; `truncations`: how often older history was dropped.
    """

    def __init__(self, user: str, config: BufferConfig, rows: dict[tuple[str, int], tuple[int, ...]]) -> None:
        self.user, self.model, self._rows = user, Model[int](config), rows
        self.history: list[Recorded] = []
        self.where: dict[int, int] = {}
        self.frozen: dict[int, tuple[int, ...]] = {}
        self.completed: set[int] = set()
        self.over: set[int] = set()
        self.rolled_back: set[int] = set()
        self.summaries: list[Summary] = [EMPTY]
        self.start = self.truncations = 0

    @property
    def head(self) -> int:
        return len(self.history)

    def happened(self, group: Sequence[Recorded], now: float, rolls_back: bool) -> None:
        """The events of one write."""
        self._are_dense(group)
        self._add([recorded for recorded in group if isinstance(recorded.event, MeasurementAdded)], group)
        for recorded in group:
            if not isinstance(recorded.event, MeasurementAdded | MeasurementsEvicted):
                self._step(recorded.offset, recorded.event, now, rolls_back)
        self.summaries.append(self._summary())

    def _are_dense(self, group: Sequence[Recorded]) -> None:
        for recorded in group:
            check(recorded.offset == self.head, self.user, f"{recorded} has an offset other than {self.head}")
            self.history.append(recorded)

    def _summary(self) -> Summary:
        model = self.model
        counts = map(len, (model.added, model.replayed, model.evicted, model.cleared))
        return (model.phase, model.version, self.head, *counts, model.attempts, tuple(model.live))

    def _add(self, added: Sequence[Recorded], group: Iterable[Recorded]) -> None:
        """The measurements, and exactly the evictions that keep the bound."""
        if not added:
            check(not _evictions(group), self.user, f"{group} evicts, and adds nothing")
            return
        measurements, arrived_at = [], None
        for recorded in added:
            event: Any = recorded.event
            check(event.measurement not in self.where, self.user, f"{event.measurement} is recorded twice")
            self.where[event.measurement] = recorded.offset
            measurements.append(event.measurement)
            arrived_at = event.arrived_at if arrived_at is None else arrived_at
        live, before = self.model.live + measurements, len(self.model.evicted)
        refusal = self.model.add(measurements, 0.0 if arrived_at is None else arrived_at)
        check(refusal is None, self.user, f"{measurements} are recorded, and there is no room for them")
        evicted = [each for start, stop in _evictions(group) for each in live if start <= self.where[each] < stop]
        expected = self.model.evicted[before:]
        check(evicted == expected, self.user, f"{evicted} are evicted instead of {expected}")

    def _legal(self, trigger: str, event: Event) -> None:
        refusal = self.model.refusal(trigger, getattr(event, "version", None) if trigger != "park" else None)
        check(refusal is None, self.user, f"{event} is recorded, which is not legal: {refusal and refusal.__name__}")

    def _step(self, offset: int, event: Event, now: float, rolls_back: bool) -> None:
        """What is not a measurement: legal, of the right version, and nothing but what it says."""
        model, user = self.model, self.user
        match event:
            case SnapshotBegun(version=version, deadline=deadline):
                check(model.refusal("begin_snapshot") is None, user, f"{event} while {model.phase}")
                check(version == model.version + 1, user, f"{event} after version {model.version}")
                model.begin(now)
                model.deadline, self.frozen[version] = deadline, tuple(model.older)
            case SnapshotFinalized(deadline=deadline):
                self._legal("finalize_snapshot", event)
                model.finalize(now)
                model.deadline = deadline
            case LeaseRenewed(deadline=deadline):
                self._legal("renew_lease", event)
                model.deadline = deadline
            case ReplayCompleted(version=version):
                self._legal("complete_replay", event)
                result = self._rows.get((user, version))
                check(result == self.frozen[version], user, f"{event}, and its results are {result}")
                self.completed.add(version)
                model.complete()
            case AbortBegun(version=version) | SnapshotExpired(version=version):
                self._legal("abort_snapshot", event)
                early = isinstance(event, SnapshotExpired) and now < model.deadline
                check(not early, user, f"{event} at {now}, before its deadline {model.deadline}")
                self.over.add(version)
                model.abort(rolled_back=False)
            case AbortFinished(version=version):
                check((model.phase, model.version) == ("aborting", version), user, f"{event} while {model.phase}")
                done = not rolls_back or version in self.rolled_back
                check(done, user, f"{event}, and no rollback has succeeded")
                model.finish_abort()
            case BufferCleared(through=through):
                self._legal("clear_buffer", event)
                check(through <= offset, user, f"{event} at {offset}")
                model.clear_oldest(sum(self.where[each] < through for each in model.older))
            case RetryScheduled(retry_at=retry_at):
                self._legal("schedule_retry", event)
                model.retry_at = retry_at
            case ReplayParked():
                self._legal("park", event)
                model.park()
            case ReplayReleased():
                check(model.refusal("release") is None, user, f"{event} while {model.phase}")
                model.release()


def _evictions(group: Iterable[Recorded]) -> list[tuple[int, int]]:
    return [(each.event.start, each.event.stop) for each in group if isinstance(each.event, MeasurementsEvicted)]


class Witness:
    """All users' truths, and what the application was told.

    Parameters:
        log: the log itself, not over a connection.
        config: the buffers'.
        rolls_back: whether an abort is finished only after the application's rollback.
        users: their names.
    """

    def __init__(self, log: EventLog[Any], config: BufferConfig, rolls_back: bool, users: Sequence[str]) -> None:
        self._log, self._rolls_back = log, rolls_back
        self.rows: dict[tuple[str, int], tuple[int, ...]] = {}
        self.truths = {user: Truth(user, config, self.rows) for user in users}
        self.known: dict[int, str] = {}
        self.archived: list[int] = []
        self._committed: list[tuple[str, int]] = []
        self._batches: list[tuple[str, tuple[int, ...]]] = []

    def look(self, user: str, latest: float) -> list[Recorded]:
        """See what is new, at a time that no clock is ahead of."""
        truth, position = self.truths[user], self._log.position(user)
        head = position.head if position else 0
        if position and position.start != truth.start:
            truth.start, truth.truncations = position.start, truth.truncations + 1
        check(head >= truth.head, user, f"the head has gone back from {truth.head} to {head}")
        if head == truth.head:
            return []
        group = list(self._log.read(user, truth.head))
        for recorded in group:
            self._is_wanted(user, recorded.event)
        truth.happened(group, latest, self._rolls_back)
        return group

    def _is_wanted(self, user: str, event: Event) -> None:
        if isinstance(event, MeasurementAdded):
            known = self.known.get(event.measurement, "never asked for")
            check(known in MAY_COME, user, f"{event.measurement} is recorded now; before, it was {known}")

    def acknowledged(self, user: str, batch: Sequence[int], first: int) -> None:
        """The application was told that these are recorded from this offset on."""
        where = self.truths[user].where
        found = [where.get(measurement) for measurement in batch]
        told = list(range(first, first + len(batch)))
        check(found == told, user, f"{list(batch)} were acknowledged at {told}, and are at {found}")
        self.known.update(dict.fromkeys(batch, ACKNOWLEDGED))

    def told(self, user: str, batch: Sequence[int], what: str) -> None:
        """The application was told, or has found out, what became of these."""
        where = self.truths[user].where
        there = [measurement for measurement in batch if measurement in where]
        check(what in MAY_COME or not there, user, f"{there} were {what}, and are recorded")
        self.known.update(dict.fromkeys(batch, what))
        self._batches.append((user, tuple(batch)))

    def saved(self, user: str, version: int, window: tuple[int, ...]) -> None:
        """Results were committed in one transaction with the completion, so from now on they count."""
        self.rows[user, version] = window
        self._committed.append((user, version))

    def at_the_end(self) -> None:
        """Everything that was acknowledged is accounted for exactly once, and in order."""
        for user, truth in self.truths.items():
            model = truth.model
            results = [each for version in sorted(truth.completed) for each in self.rows[user, version]]
            check(results == model.replayed, user, f"results of {results}, and replayed are {model.replayed}")
            in_order = sorted(results, key=truth.where.__getitem__)
            check(results == in_order, user, f"the replays were not in order: {results}")
            fates = sorted([*results, *model.live, *model.evicted, *model.cleared])
            check(fates == sorted(truth.where), user, f"recorded are {sorted(truth.where)}, accounted for {fates}")
            archived = [each for each in self.archived if each in truth.where]
            check(len(set(archived)) == len(archived), user, f"on_evict was handed {archived}, some twice")
            check(set(archived) <= set(model.evicted), user, f"on_evict was handed {archived}, not all of it evicted")
        for user, version in self._committed:
            check(
                version in self.truths[user].completed, user, f"results of {version} are saved, and it is not completed"
            )
        for user, batch in self._batches:
            offsets = [self.truths[user].where.get(measurement) for measurement in batch]
            first = offsets[0]
            whole = offsets == ([None] * len(batch) if first is None else list(range(first, first + len(batch))))
            check(whole, user, f"of the batch {batch} only a part was recorded: at {offsets}")
