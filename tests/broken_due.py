"""Logs with one bug each, for the conformance suite to catch; here in due lists, arrivals and shelving."""

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import evolve
from broken_logs import Appending, SoundLog, caught_by

from events import Clock, Event, Grant, MeasurementAdded, Position, Recorded
from events._deadlines import Deadlines


@caught_by("due_lists_the_streams_whose_due_at_has_come")
class ForgetsWhoIsDue(SoundLog):
    def due(self, now: float) -> list[str]:
        found = super().due(now)
        for stream in found:
            self._due.set(stream, None)
        return found


@caught_by("due_lists_the_streams_whose_due_at_has_come")
class ListsDueTooLate(SoundLog):
    def due(self, now: float) -> list[str]:
        return super().due(now - 0.01)


@caught_by("due_lists_the_streams_whose_due_at_has_come")
class ListsDueInAnyOrder(SoundLog):
    def due(self, now: float) -> list[str]:
        return sorted(super().due(now))


@caught_by("an_append_sets_anew_when_a_stream_is_due")
class KeepsTheFirstDueTime(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        first = self.__dict__.setdefault("first", {}).setdefault(stream, grant.due_at)
        return self.soundly(stream, events, expected, evolve(grant, due_at=first))


@caught_by("an_append_sets_anew_when_a_stream_is_due")
class SetsDueInSpiteOfAConflict(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        if stream in self._tails:
            self._set_due(stream, self._tails[stream], grant.due_at)
        return self.soundly(stream, events, expected, grant)


@caught_by("of_equally_due_streams_the_longest_waiting_is_first")
class SendsToTheEndOfTheQueue(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        head = self.soundly(stream, events, expected, grant)
        self._due.set(stream, grant.due_at)
        return head


@caught_by("the_arrival_of_the_first_is_noted")
class NotesNoArrival(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        return self.soundly(stream, events, expected, evolve(grant, notes_arrival=False))


@caught_by("the_arrival_of_the_first_is_noted")
class NotesEveryArrival(SoundLog):
    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        seen = None
        for entry in super().read(stream, start, stop):
            if isinstance(entry.event, MeasurementAdded):
                seen = entry.event.arrived_at if seen is None else seen
                yield Recorded(entry.offset, evolve(entry.event, arrived_at=seen))
            else:
                yield entry


@caught_by("the_arrival_of_the_first_is_noted")
class HidesArrivalsFromControls(SoundLog):
    def controls(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        found = super().controls(stream, start, stop)
        return (entry for entry in found if not isinstance(entry.event, MeasurementAdded))


@caught_by("the_arrival_of_the_first_is_noted")
class KeepsTheOldArrival(SoundLog):
    def position(self, stream: str) -> Position | None:
        position = super().position(stream)
        seen = self.__dict__.setdefault("seen", {})
        if position and position.arrived_at is not None:
            seen[stream] = position.arrived_at
        return position and evolve(position, arrived_at=seen.get(stream))


@caught_by("several_that_are_added_at_once_arrive_together")
class NotesTheArrivalOfWhatDoesNotFit(SoundLog):
    def add_many(self, stream: str, measurements: Sequence[Any], clock: Clock, issuer: Any = None) -> int | None:
        offset = super().add_many(stream, measurements, clock, issuer)
        if offset is None:
            self._tails[stream].arrived_at = clock()
        return offset


@caught_by("what_is_not_within_the_grant_is_no_arrival")
class OpensToAnybody(SoundLog):
    def add(self, stream: str, measurement: Any, clock: Clock, issuer: Any = None) -> int | None:
        return super().add(stream, measurement, clock, self._tails[stream].issuer)


@caught_by("what_is_not_within_the_grant_is_no_arrival")
class OpensTooLate(SoundLog):
    def add_many(self, stream: str, measurements: Sequence[Any], clock: Clock, issuer: Any = None) -> int | None:
        return super().add_many(stream, measurements, lambda: min(clock(), 0.0), issuer)


@caught_by("a_stream_is_due_so_long_after_the_arrival")
class TakesDueAfterForATime(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        due_at = grant.due_at if grant.due_after is None else grant.due_after
        return self.soundly(stream, events, expected, evolve(grant, due_at=due_at, due_after=None))


@caught_by("a_stream_is_due_so_long_after_the_arrival")
class CountsFromTheLatestArrival(SoundLog):
    def add(self, stream: str, measurement: Any, clock: Clock, issuer: Any = None) -> int | None:
        offset = super().add(stream, measurement, clock, issuer)
        tail = self._tails[stream]
        if offset is not None and tail.due_after is not None:
            self._set_due(stream, tail, clock() + tail.due_after)
        return offset


@caught_by("an_arrival_that_is_appended_comes_back_as_it_was")
class DropsAppendedArrivals(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        bare = [MeasurementAdded(e.measurement) if isinstance(e, MeasurementAdded) else e for e in events]
        return self.soundly(stream, bare, expected, grant)


@caught_by("an_arrival_that_is_appended_comes_back_as_it_was")
class LosesArrivalsAtTruncation(SoundLog):
    def truncate(self, stream: str, before: int, state: Any) -> None:
        super().truncate(stream, before, state)
        if before:
            marks = self._tails[stream].marks
            marks[:] = [mark for mark in marks if not isinstance(getattr(mark, "event", None), MeasurementAdded)]


@caught_by("shelved_lists_who_is_shelved_the_longest_first")
class SortsTheShelf(SoundLog):
    def shelved(self) -> list[str]:
        return sorted(super().shelved())


@caught_by("shelved_lists_who_is_shelved_the_longest_first")
class NeverTakesFromTheShelf(SoundLog):
    def shelved(self) -> list[str]:
        ever = self.__dict__.setdefault("ever", {})
        ever.update(dict.fromkeys(super().shelved()))
        return list(ever)


@caught_by("who_is_due_is_known_when_the_log_is_opened_again")
class ForgetsDueTimesWhenOpenedAgain(SoundLog):
    def reopened(self) -> SoundLog:
        again = super().reopened()
        again._due = Deadlines()
        return again


@caught_by("who_is_due_is_known_when_the_log_is_opened_again")
class ForgetsTheShelfWhenOpenedAgain(SoundLog):
    def reopened(self) -> SoundLog:
        again = super().reopened()
        again._shelved = {}
        return again
