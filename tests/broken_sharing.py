"""Logs with one bug each, for the conformance suite to catch; here in clocks, claims, wake-ups and adds to many."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from threading import Barrier, BrokenBarrierError, Lock
from typing import Any

import postgres
from attrs import evolve
from broken_logs import Appending, SoundLog, caught_by

from events import Clock, ConflictError, Event, Grant, LogError, PostgresLog, Tail, UnsupportedTypeError


class SoundSharingLog(Appending):
    """Sound; in memory it notes claims, and wakes who waits, as a log for several machines does."""

    def __init__(self) -> None:
        super().__init__()
        self.claims: dict[str, float] = {}
        self.claiming = Lock()
        self.waiting: list[Callable[[], object]] = []

    def claim(self, now: float, until: float, most: int) -> list[str]:
        with self.claiming:
            return self.noted(self.unclaimed(now)[:most], until)

    notes_claims = True

    def next_due(self, now: float) -> float | None:
        ends = [max(now, self.claims.get(stream, now)) for stream in self.due(now)]
        later = super().next_due(now)
        return min(ends if later is None else [*ends, later], default=None)

    def unclaimed(self, now: float) -> list[str]:
        return [stream for stream in self.due(now) if self.claims.get(stream, now) <= now]

    def noted(self, streams: list[str], until: float) -> list[str]:
        self.claims.update(dict.fromkeys(streams, until))
        return streams

    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        head = self.soundly(stream, events, expected, grant)
        self.claims.pop(stream, None)
        return head

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        self.waiting.append(wake)
        yield
        self.waiting.remove(wake)

    def _set_due(self, stream: str, tail: Tail[Any], due_at: float | None) -> None:
        super()._set_due(stream, tail, due_at)
        if due_at is not None and due_at <= self.clock() + 60:
            self.tell()

    def tell(self) -> None:
        for wake in list(self.waiting):
            wake()


class SoundPostgresLog(PostgresLog[Any], SoundLog):
    """Sound, in a schema of its own."""

    notifies = True

    def __init__(self) -> None:
        schema = postgres.new_schema()
        PostgresLog.__init__(self, postgres.address(postgres.QUICK), schema=schema, notifies=self.notifies)
        known = self._statements
        self._statements = evolve(
            known,
            candidates=self.changed(known.candidates),
            claim=self.changed(known.claim),
            append=evolve(known.append, template=self.changed(known.append.template)),
        )

    def changed(self, statement: str) -> str:
        return statement

    def reopened(self) -> SoundLog:
        return PostgresLog(postgres.address(postgres.QUICK), schema=self.schema)  # type: ignore[return-value]


@caught_by("the_clock_tells_a_time_that_goes_on")
class ClockThatGoesBack(SoundLog):
    times = iter(range(0, -1000, -1))

    @property
    def clock(self) -> Clock:
        return lambda: float(next(self.times))


@caught_by("the_clock_tells_a_time_that_goes_on")
class ClockWithoutATime(SoundLog):
    @property
    def clock(self) -> Clock:
        return lambda: float("inf")


@caught_by("the_next_due_is_the_earliest_after_now")
class CountsWhatIsDueNow(SoundLog):
    def next_due(self, now: float) -> float | None:
        return super().next_due(now - 0.01)


@caught_by("the_next_due_is_the_earliest_after_now")
class SaysWhoIsLast(SoundLog):
    def next_due(self, now: float) -> float | None:
        later = now
        while (found := super().next_due(later)) is not None:
            later = found
        return later if later > now else None


@caught_by("an_append_sets_anew_what_is_next")
class RemembersWhatWasNext(SoundLog):
    def next_due(self, now: float) -> float | None:
        seen: dict[float, float | None] = self.__dict__.setdefault("seen", {})
        return seen.setdefault(now, super().next_due(now))


@caught_by("an_append_sets_anew_what_is_next")
class IsNextInSpiteOfAConflict(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        if stream in self._tails:
            self._set_due(stream, self._tails[stream], grant.due_at)
        return self.soundly(stream, events, expected, grant)


@caught_by("a_claim_gives_the_streams_that_are_due")
class ClaimsInAnyOrder(SoundLog):
    def claim(self, now: float, until: float, most: int) -> list[str]:
        return sorted(super().claim(now, until, most))


@caught_by("a_claim_gives_the_streams_that_are_due")
class ClaimsWhatWillBeDue(SoundSharingLog):
    def claim(self, now: float, until: float, most: int) -> list[str]:
        return super().claim(now + 5.0, until, most)


@caught_by("a_claim_gives_the_streams_that_are_due")
class ClaimsMoreThanWasAsked(SoundSharingLog):
    def claim(self, now: float, until: float, most: int) -> list[str]:
        return super().claim(now, until, most + 1)


@caught_by("a_claim_gives_the_streams_that_are_due")
class ClaimsTheLatestFirst(SoundPostgresLog):
    def changed(self, statement: str) -> str:
        return statement.replace("ORDER BY due_at", "ORDER BY due_at DESC")


@caught_by("a_claim_lasts_until_its_time")
class NotesNoClaims(SoundSharingLog):
    def noted(self, streams: list[str], until: float) -> list[str]:
        return streams


@caught_by("a_claim_lasts_until_its_time")
class KeepsClaimsForEver(SoundSharingLog):
    def noted(self, streams: list[str], until: float) -> list[str]:
        return super().noted(streams, float("inf"))


@caught_by("a_claim_lasts_until_its_time")
class KeepsClaimsABitTooLong(SoundPostgresLog):
    def changed(self, statement: str) -> str:
        return statement.replace("claimed_until <=", "claimed_until <")


@caught_by("an_append_ends_the_claim")
class KeepsClaimsInSpiteOfAnAppend(SoundPostgresLog):
    def changed(self, statement: str) -> str:
        return statement.replace("claimed_until = NULL::float8", "claimed_until = claimed_until")


@caught_by("an_append_ends_the_claim")
class EndsClaimsInSpiteOfAConflict(SoundSharingLog):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        self.claims.pop(stream, None)
        return super().broken(stream, events, expected, grant)


@caught_by("a_claim_decides_nothing")
class HidesWhatIsClaimed(SoundSharingLog):
    def due(self, now: float) -> list[str]:
        return [stream for stream in super().due(now) if self.claims.get(stream, now) <= now]


@caught_by("a_claim_decides_nothing")
class LocksWhatIsClaimed(SoundSharingLog):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        if stream in self.claims:
            raise ConflictError(stream, expected, expected)
        return super().broken(stream, events, expected, grant)


@caught_by("of_several_workers_each_gets_other_streams")
class LooksBeforeItNotes(SoundSharingLog):
    """The first four who ask look together before the first of them notes what it takes."""

    def __init__(self) -> None:
        super().__init__()
        self._barrier, self._calls = Barrier(4), count()

    def claim(self, now: float, until: float, most: int) -> list[str]:
        if next(self._calls) >= self._barrier.parties:
            return super().claim(now, until, most)
        found = self.unclaimed(now)[:most]
        with suppress(BrokenBarrierError):
            self._barrier.wait(10.0)  # at most, so that a change of the suite cannot make it hang
        return self.noted(found, until)


@caught_by("of_several_workers_each_gets_other_streams")
class KeepsTheRestForItself(SoundSharingLog):
    def claim(self, now: float, until: float, most: int) -> list[str]:
        return super().claim(now, until, 2 * most)[:most]


@caught_by("claims_hold_in_every_opening_of_the_log")
class NotesClaimsInOneProcess(SoundSharingLog):
    def reopened(self) -> SoundLog:
        again = super().reopened()
        again.__dict__["claims"] = {}
        return again


@caught_by("who_waits_is_woken_when_a_stream_becomes_due")
class WakesNobodyElse(SoundSharingLog):
    def reopened(self) -> SoundLog:
        again = super().reopened()
        again.__dict__["waiting"] = []
        return again


@caught_by("who_waits_is_woken_when_a_stream_becomes_due")
class WakesByAppendsOnly(SoundSharingLog):
    def add(self, stream: str, measurement: Any, clock: Clock, issuer: Any = None) -> int | None:
        waiting, self.waiting[:] = list(self.waiting), []
        offset = super().add(stream, measurement, clock, issuer)
        self.waiting[:] = waiting
        return offset


@caught_by("who_waits_is_woken_when_a_stream_becomes_due")
class WakesOnce(SoundSharingLog):
    def tell(self) -> None:
        super().tell()
        self.waiting.clear()

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        self.waiting.append(wake)
        yield


@caught_by("who_waits_is_woken_when_a_stream_becomes_due")
class TellsNobody(SoundPostgresLog):
    notifies = False


@caught_by("nobody_is_woken_once_waiting_has_ended")
class WakesForEver(SoundSharingLog):
    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        self.waiting.append(wake)
        yield


@caught_by("nobody_is_woken_once_waiting_has_ended")
class ForgetsWhatIsDueMeanwhile(SoundSharingLog):
    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        yield
        for stream in self._tails:
            self._due.set(stream, None)


Batches = Sequence[tuple[str, Sequence[Any]]]


@caught_by("add_each_adds_to_each_stream_as_add_many_does")
class AddsTheFirstOfEach(SoundLog):
    def add_each(self, batches: Batches, clock: Clock, issuer: Any = None) -> list[int | LogError | None]:
        return super().add_each([(stream, batch[:1]) for stream, batch in batches], clock, issuer)


@caught_by("add_each_adds_to_each_stream_as_add_many_does")
class StopsWhereThereIsNoRoom(SoundLog):
    def add_each(self, batches: Batches, clock: Clock, issuer: Any = None) -> list[int | LogError | None]:
        given: list[int | LogError | None] = []
        for stream, batch in batches:
            full = None in given
            given.append(None if full else self.add_many(stream, batch, clock, issuer))
        return given


@caught_by("add_each_tells_what_failed_and_goes_on")
class StopsAtWhatFails(SoundLog):
    def add_each(self, batches: Batches, clock: Clock, issuer: Any = None) -> list[int | LogError | None]:
        given: list[int | LogError | None] = []
        for stream, batch in batches:
            if type(batch[0]) is object:
                return [*given, *[UnsupportedTypeError("an object")] * (len(batches) - len(given))]
            given.append(self.add_many(stream, batch, clock, issuer))
        return given


@caught_by("add_each_tells_what_failed_and_goes_on")
class SaysThatItWasAdded(SoundLog):
    def add_each(self, batches: Batches, clock: Clock, issuer: Any = None) -> list[int | LogError | None]:
        return [
            1 if type(batch[0]) is object else self.add_many(stream, batch, clock, issuer) for stream, batch in batches
        ]
