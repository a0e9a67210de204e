"""Logs with one bug each, for the conformance suite to catch; here in grants, victims and truncation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve
from broken_logs import Appending, SoundLog, caught_by

from events import Checkpoint, Clock, Event, Grant, Offsets, Recorded, Tail


@caught_by("nothing_is_added_without_a_grant")
class GrantsByDefault(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        return self.soundly(stream, events, expected, evolve(grant, room=grant.room or 1))


@caught_by("add_uses_the_room_exactly")
class GrantsOneTooMany(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        return self.soundly(stream, events, expected, evolve(grant, room=grant.room + 1))


@caught_by("add_uses_the_room_exactly")
class NeverUsesUpTheRoom(SoundLog):
    def add(self, stream: str, measurement: Any, clock: Clock) -> int | None:
        self._tails[stream].full_at += 1
        return super().add(stream, measurement, clock)


@caught_by("add_many_adds_all_or_none")
class AddsAsManyAsFit(SoundLog):
    def add_many(self, stream: str, measurements: Sequence[Any], clock: Clock) -> int | None:
        tail = self._tails[stream]
        return super().add_many(stream, measurements[: tail.full_at - len(tail.items)], clock)


@caught_by("add_many_adds_all_or_none")
class CountsAddManyAsOne(SoundLog):
    def add_many(self, stream: str, measurements: Sequence[Any], clock: Clock) -> int | None:
        first = super().add_many(stream, measurements, clock)
        self._tails[stream].full_at += 0 if first is None else len(measurements) - 1
        return first


@caught_by("add_many_of_none_adds_nothing")
class AddsAtLeastOne(SoundLog):
    def add_many(self, stream: str, measurements: Sequence[Any], clock: Clock) -> int | None:
        return super().add_many(stream, measurements or [None], clock)


@caught_by("an_add_many_that_breaks_off_leaves_nothing_behind")
class AddsOneByOne(SoundLog):
    def add_many(self, stream: str, measurements: Sequence[Any], clock: Clock) -> int | None:
        return min(offset for m in measurements if (offset := self.add(stream, m, clock)) is not None)


@caught_by("a_new_append_replaces_the_grant")
class SumsUpGrants(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        tail = self._tails.get(stream)
        left = max(0, tail.full_at - len(tail.items)) if tail else 0
        return self.soundly(stream, events, expected, evolve(grant, room=grant.room + left))


@caught_by("nothing_is_added_from_until_on", "no_victim_is_evicted_from_until_on")
class IgnoresUntil(SoundLog):
    def add(self, stream: str, measurement: Any, clock: Clock) -> int | None:
        return super().add(stream, measurement, lambda: float("-inf"))


@caught_by("nothing_is_added_from_until_on")
class AddsManyAtUntil(SoundLog):
    def add_many(self, stream: str, measurements: Sequence[Any], clock: Clock) -> int | None:
        return super().add_many(stream, measurements, lambda: clock() - 0.01)


@caught_by("overdue_lists_the_streams_whose_until_has_come")
class ForgetsWhoIsOverdue(SoundLog):
    def overdue(self, now: float) -> list[str]:
        found = super().overdue(now)
        for stream in found:
            self._deadlines.set(stream, None)
        return found


@caught_by("overdue_lists_the_streams_whose_until_has_come")
class ListsOverdueTooLate(SoundLog):
    def overdue(self, now: float) -> list[str]:
        return super().overdue(now - 0.01)


@caught_by("an_append_sets_anew_when_a_stream_is_overdue")
class KeepsListingTheOverdue(SoundLog):
    def overdue(self, now: float) -> list[str]:
        ever = self.__dict__.setdefault("ever", set())
        ever.update(super().overdue(now))
        return sorted(ever)


@caught_by("a_borrowed_tail_adds_as_the_log_does")
class LendsCopiesOfTails(SoundLog):
    @property
    def tails(self) -> Mapping[str, Tail[Any]]:
        return {stream: Tail() for stream in self._tails}


@caught_by("each_add_evicts_the_next_victim", "a_reader_sees_a_measurement_together_with_its_eviction")
class EvictsWithoutARecord(SoundLog):
    def add(self, stream: str, measurement: Any, clock: Clock) -> int | None:
        tail = self._tails[stream]
        tail.full_at = max(tail.full_at, len(tail.items) + bool(tail.evicts_to))
        return super().add(stream, measurement, clock)


@caught_by("each_add_evicts_the_next_victim")
class EvictsTheWrongOnes(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        wrong = Offsets(tuple(range(run.start + 1, run.stop + 1, run.step) for run in grant.victims.runs))
        return self.soundly(stream, events, expected, evolve(grant, victims=wrong))


@caught_by("each_add_evicts_the_next_victim")
class HidesEvictionsFromControls(SoundLog):
    def controls(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        granted_from = self._tails[stream].granted_from
        return (entry for entry in super().controls(stream, start, stop) if entry.offset < granted_from)


@caught_by("a_new_append_replaces_the_victims")
class KeepsOldVictims(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        first = self.__dict__.setdefault("first", grant.victims)
        return self.soundly(stream, events, expected, evolve(grant, room=0, victims=first))


@caught_by("truncation_does_not_change_evictions")
class WinsAVictimByTruncation(SoundLog):
    def truncate(self, stream: str, before: int, state: Any) -> None:
        super().truncate(stream, before, state)
        if self._tails[stream].eviction:
            self._tails[stream].evicts_to += 2


@caught_by("truncation_does_not_change_evictions")
class LosesEvictionsAtTruncation(SoundLog):
    def truncate(self, stream: str, before: int, state: Any) -> None:
        super().truncate(stream, before, state)
        self._tails[stream].marks[:] = [mark for mark in self._tails[stream].marks if mark.offset >= before]


@caught_by("what_is_kept_reads_as_before")
class TruncatesOneTooMany(SoundLog):
    def truncate(self, stream: str, before: int, state: Any) -> None:
        super().truncate(stream, min(before + 1, len(self._tails[stream].items)), state)


@caught_by("what_is_not_kept_cannot_be_read")
class ReadsWhatIsLeft(SoundLog):
    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        return super().read(stream, max(start, self._tails[stream].start), stop)


@caught_by("offsets_are_never_used_again")
class UsesOffsetsAgain(SoundLog):
    def truncate(self, stream: str, before: int, state: Any) -> None:
        super().truncate(stream, before, state)
        self._tails[stream].start = 0


@caught_by("the_checkpoint_stands_at_the_new_start")
class ForgetsTheCheckpoint(SoundLog):
    def checkpoint(self, stream: str, at: int | None = None) -> Checkpoint | None:
        return None


@caught_by("the_checkpoint_stands_at_the_new_start")
class KeepsTheFirstCheckpoint(SoundLog):
    def truncate(self, stream: str, before: int, state: Any) -> None:
        super().truncate(stream, before, self.__dict__.setdefault("first", state))


@caught_by("truncating_less_changes_nothing")
class ReplacesTheCheckpointTooLate(SoundLog):
    def truncate(self, stream: str, before: int, state: Any) -> None:
        super().truncate(stream, before, state)
        self._tails[stream].checkpoint = state


@caught_by("truncating_above_the_head_is_refused")
class TruncatesWhatIsThere(SoundLog):
    def truncate(self, stream: str, before: int, state: Any) -> None:
        tail = self._tails[stream]
        super().truncate(stream, min(before, tail.start + len(tail.items)), state)


@caught_by("a_truncated_stream_keeps_its_grant")
class WinsRoomByTruncation(SoundLog):
    def truncate(self, stream: str, before: int, state: Any) -> None:
        full_at = self._tails[stream].full_at
        super().truncate(stream, before, state)
        self._tails[stream].full_at = full_at


@caught_by("truncating_a_stream_leaves_the_others_alone")
class TruncatesAllStreams(SoundLog):
    def truncate(self, stream: str, before: int, state: Any) -> None:
        for name, tail in self._tails.items():
            super().truncate(name, min(before, tail.start + len(tail.items)), state)


@caught_by("a_read_that_is_overtaken_by_truncation_has_no_gap")
class SkipsWhatWasTruncatedMeanwhile(SoundLog):
    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        entry = next(iter(super().read(stream, start, start + 1)))
        yield entry
        yield from super().read(stream, max(start + 1, self._tails[stream].start), stop)
