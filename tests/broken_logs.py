"""Logs with one bug each, for the conformance suite to catch; here in reading and appending."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from attrs import evolve

from events import (
    ConflictError,
    Event,
    Grant,
    MeasurementAdded,
    MemoryLog,
    Position,
    Recorded,
)

CANARIES: list[tuple[type["SoundLog"], str]] = []
"""A broken log, and the name of a test in the suite that must fail for it."""

Log = TypeVar("Log", bound="type[SoundLog]")


def caught_by(*tests: str) -> Callable[[Log], Log]:
    def register(log: Log) -> Log:
        CANARIES.extend((log, f"test_{test}") for test in tests)
        return log

    return register


class SoundLog(MemoryLog[Any]):
    """Sound, and as good as durable: what is opened again shares the memory."""

    def reopened(self) -> "SoundLog":
        again = type(self)()
        again.__dict__.update(self.__dict__)
        return again

    def connect(self) -> Any:
        """A connection with an open transaction; there is no database here."""
        return None


@caught_by("any_range_can_be_read")
class ReadsTheStopToo(SoundLog):
    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        return super().read(stream, start, None if stop is None else stop + 1)


@caught_by("any_range_can_be_read", "a_log_does_what_plain_lists_would_do")
class SkipsTheLast(SoundLog):
    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        return iter(list(super().read(stream, start, stop))[:-1])


@caught_by("any_range_can_be_read_without_the_measurements")
class TakesMeasurementsForControls(SoundLog):
    def controls(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        return self.read(stream, start, stop)


@caught_by("any_range_can_be_read_without_the_measurements")
class RenumbersControls(SoundLog):
    def controls(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        found = super().controls(stream, start, stop)
        return (Recorded(offset, entry.event) for offset, entry in enumerate(found, start))


@caught_by("measurements_can_be_read_in_steps")
class IgnoresSteps(SoundLog):
    def measurements(self, stream: str, offsets: range) -> Sequence[Any]:
        return super().measurements(stream, range(offsets.start, offsets.start + len(offsets)))


@caught_by("a_read_ends_at_the_head_there_was_when_it_began")
class ReadsOnAndOn(SoundLog):
    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        while entries := list(super().read(stream, start, start + 1)):
            yield from entries
            start += 1


@caught_by("a_long_stream_reads_as_a_short_one")
class LosesWherePiecesMeet(SoundLog):
    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        return (entry for entry in super().read(stream, start, stop) if (entry.offset - start) % 1024 < 1023)


@caught_by("a_stream_that_never_had_an_event_is_unknown")
class KnowsEveryStream(SoundLog):
    def position(self, stream: str) -> Position | None:
        return super().position(stream) or Position(0, 0, 0)


@caught_by("streams_do_not_mix")
class IgnoresCase(SoundLog):
    def append(
        self, stream: str, events: Sequence[Event], *, expected_head: int, grant: Grant = Grant(), **kept: Any
    ) -> int:
        stream = stream.lower()
        known = self.position(stream)
        head = known.head if known and expected_head == 0 else expected_head
        return super().append(stream, events, expected_head=head, grant=grant)


@caught_by("streams_are_listed_in_the_order_of_their_first_events")
class SortsStreams(SoundLog):
    def streams(self) -> Iterator[str]:
        return iter(sorted(super().streams()))


@caught_by("what_had_no_event_has_no_place_in_the_list")
class ListsWhatFailed(SoundLog):
    def append(
        self, stream: str, events: Sequence[Event], *, expected_head: int, grant: Grant = Grant(), **kept: Any
    ) -> int:
        self.__dict__.setdefault("tried", {})[stream] = True
        return super().append(stream, events, expected_head=expected_head, grant=grant)

    def streams(self) -> Iterator[str]:
        return iter(self.__dict__.get("tried", {}))


@caught_by("any_measurement_comes_back_as_it_was")
class UnwrapsEvents(SoundLog):
    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        for entry in super().read(stream, start, stop):
            inner = entry.event.measurement if isinstance(entry.event, MeasurementAdded) else None
            yield Recorded(entry.offset, inner) if isinstance(inner, Event) else entry


@caught_by("any_event_comes_back_as_it_was")
class KnowsOnlyItsOwnEvents(SoundLog):
    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        for entry in super().read(stream, start, stop):
            known = type(entry.event).__module__ == "events._events"
            yield entry if known else Recorded(entry.offset, Event())


class Appending(SoundLog):
    """Sound: a place for a bug in an append to a stream that may be unknown."""

    def head(self, stream: str) -> int:
        position = self.position(stream)
        return position.head if position else 0

    def append(
        self, stream: str, events: Sequence[Event], *, expected_head: int, grant: Grant = Grant(), **kept: Any
    ) -> int:
        return self.broken(stream, events, expected_head, grant)

    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        return self.soundly(stream, events, expected, grant)

    def soundly(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        return super().append(stream, events, expected_head=expected, grant=grant)


@caught_by("an_append_gives_dense_offsets_and_returns_the_new_head")
class ReturnsTheOldHead(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        return self.soundly(stream, events, expected, grant) - len(events)


@caught_by("the_position_tells_where_the_stream_stands")
class CountsAddsAsAppends(SoundLog):
    def position(self, stream: str) -> Position | None:
        position = super().position(stream)
        return position and evolve(position, granted_from=position.head)


@caught_by("an_append_at_a_wrong_head_conflicts_and_appends_nothing", "an_unknown_stream_has_head_0")
class IgnoresTheExpectedHead(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        return self.soundly(stream, events, self.head(stream), grant)


@caught_by("an_append_at_a_wrong_head_conflicts_and_appends_nothing")
class MissesAConflictByOne(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        head = self.head(stream)
        return self.soundly(stream, events, head if expected == head - 1 else expected, grant)


@caught_by("an_append_at_a_wrong_head_conflicts_and_appends_nothing")
class MissesAConflictAbove(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        return self.soundly(stream, events, min(expected, self.head(stream)), grant)


@caught_by("an_append_at_a_wrong_head_conflicts_and_appends_nothing")
class AppendsTheFirstOfAConflict(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        if stream in self._tails and self.head(stream) != expected:
            self._tails[stream].items.append("half")
        return self.soundly(stream, events, expected, grant)


@caught_by("what_was_added_within_a_grant_moves_the_expected_head")
class OverlooksAdds(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        position = self.position(stream)
        stale = position is not None and expected == position.granted_from
        return self.soundly(stream, events, self.head(stream) if stale else expected, grant)


@caught_by("a_conflict_leaves_the_grant_as_it_was")
class GrantsInSpiteOfAConflict(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        try:
            return self.soundly(stream, events, expected, grant)
        except ConflictError:
            if stream in self._tails:
                self._set_grant(stream, self._tails[stream], grant)
            raise


@caught_by("a_conflict_leaves_the_grant_as_it_was")
class WithdrawsTheGrantAtAConflict(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        try:
            return self.soundly(stream, events, expected, grant)
        except ConflictError as error:
            if error.actual:
                self._tails[stream].full_at = 0
            raise


@caught_by("an_append_that_breaks_off_leaves_nothing_behind")
class AppendsOneByOne(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        self.soundly(stream, [], expected, grant)
        for event in events:
            expected = self.soundly(stream, [event], expected, grant)
        return expected


@caught_by("an_append_without_events_replaces_the_grant")
class SkipsAppendsWithoutEvents(Appending):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        return self.soundly(stream, events, expected, grant) if events else expected


@caught_by("closing_twice_does_no_harm")
class ClosesOnce(SoundLog):
    def close(self) -> None:
        assert not self.__dict__.setdefault("closed", False), "closed twice"
        self.__dict__["closed"] = True
