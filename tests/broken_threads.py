"""Logs with one bug each, for the conformance suite to catch; here between threads, and when opened again.

Races are not left to luck: a broken log waits at its weak spot until another thread has come there too.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Barrier, BrokenBarrierError, Lock
from threading import Event as Signal
from typing import Any, TypeVar

from broken_logs import Appending, SoundLog, caught_by

from events import Checkpoint, Clock, ConflictError, Event, Grant, MemoryLog, Recorded, Tail
from events._deadlines import Deadlines

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds that a broken log waits at most, so that a change of the suite cannot make it hang."""


class Racing(Appending):
    """Lets the first two who come to the weak spot go on together, and everybody later alone."""

    def __init__(self) -> None:
        super().__init__()
        self._barrier = Barrier(2)

    def meet(self) -> None:
        try:
            self._barrier.wait(PATIENCE)
        except BrokenBarrierError:
            return
        self._barrier.abort()


@caught_by("concurrent_writers_are_each_seen_once_in_commit_order", "writers_in_two_open_logs_are_each_seen_once")
class TellsTwoAddsTheSameOffset(Racing):
    def add(self, stream: str, measurement: Any, clock: Clock) -> int | None:
        offset = len(self._tails[stream].items)
        self.meet()
        return offset if super().add(stream, measurement, clock) is not None else None


@caught_by("concurrent_writers_are_each_seen_once_in_commit_order")
class LosesAConcurrentAdd(Racing):
    def add(self, stream: str, measurement: Any, clock: Clock) -> int | None:
        tail = self._tails[stream]
        offset = len(tail.items)
        self.meet()
        with tail.lock:
            tail.items[offset:] = [measurement]
        return offset


@caught_by("writers_of_different_streams_do_not_meet")
class LosesAStreamCreatedAtTheSameTime(Racing):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        others = dict(self._tails)
        if stream in others:
            return self.soundly(stream, events, expected, grant)
        self.meet()
        alone = MemoryLog[Any]()
        head = alone.append(stream, events, expected_head=expected, grant=grant)
        self._tails = {**others, **alone.tails}
        return head


@caught_by("one_of_several_creators_wins")
class ChecksTheHeadBeforeItAppends(Racing):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        seen = self.head(stream)
        self.meet()
        if seen != expected:
            return self.soundly(stream, events, expected, grant)
        while True:
            with suppress(ConflictError):
                return self.soundly(stream, events, self.head(stream), grant)


@caught_by("threads_share_the_room_of_a_grant")
class ChecksTheRoomBeforeItAdds(Racing):
    def add(self, stream: str, measurement: Any, clock: Clock) -> int | None:
        tail = self._tails[stream]
        with tail.lock:
            left = tail.full_at - len(tail.items)
            if left > 1:
                tail.items.append(measurement)
                return len(tail.items) - 1
        if left < 1:
            return None
        self.meet()
        with tail.lock:
            tail.items.append(measurement)
            return len(tail.items) - 1


class Halfway(Appending):
    """Stops, once, in the middle of a change until somebody has looked at what shows it."""

    def __init__(self) -> None:
        super().__init__()
        self._step, self._half, self._seen = Lock(), Signal(), Signal()

    @contextmanager
    def first_half(self) -> Iterator[None]:
        """Go on behind this block only after a look that began behind it too."""
        with self._step:
            yield
            waits = not self._half.is_set()
            self._half.set()
        if waits:
            self._seen.wait(PATIENCE)

    def looked(self, look: Callable[[], T]) -> T:
        with self._step:
            half, found = self._half.is_set(), look()
        if half:
            self._seen.set()
        return found


class ReadHalfway(Halfway):
    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        read = super().read
        yield from self.looked(lambda: list(read(stream, start, stop)))

    def controls(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        controls = super().controls
        yield from self.looked(lambda: list(controls(stream, start, stop)))


@caught_by("a_reader_sees_all_of_an_append_or_nothing")
class AppendsInTwoSteps(ReadHalfway):
    def broken(self, stream: str, events: Sequence[Event], expected: int, grant: Grant) -> int:
        if expected == 0:
            return self.soundly(stream, events, expected, grant)
        with self.first_half():
            head = self.soundly(stream, events[:1], expected, grant)
        return self.soundly(stream, events[1:], head, grant)


@caught_by("a_reader_sees_a_measurement_together_with_its_eviction")
class EvictsInASecondStep(ReadHalfway):
    def add(self, stream: str, measurement: Any, clock: Clock) -> int | None:
        tail = self._tails[stream]
        with self.first_half():
            tail.items.append(measurement)
        tail.items.append(tail.eviction)
        return len(tail.items) - 2


@caught_by("a_reader_beside_truncation_has_no_gap")
class TruncatesInTwoSteps(Halfway):
    def truncate(self, stream: str, before: int, state: Any) -> None:
        if before > 1:
            with self.first_half():
                self._tails[stream].checkpoint = state
        super().truncate(stream, before, state)

    def checkpoint(self, stream: str, at: int | None = None) -> Checkpoint | None:
        checkpoint = super().checkpoint
        return self.looked(lambda: checkpoint(stream, at))


class OpensACopy(SoundLog):
    """Opens what there was, as it was: a place for bugs in opening again."""

    def reopened(self) -> SoundLog:
        again = super().reopened()
        again._tails = {stream: self.copied(tail) for stream, tail in self._tails.items()}
        return again

    def copied(self, tail: Tail[Any]) -> Tail[Any]:
        copy = Tail[Any]()
        for name in set(Tail.__slots__) - {"lock"}:
            setattr(copy, name, getattr(tail, name))
        copy.items, copy.marks = tail.items[:], tail.marks[:]
        return copy


@caught_by("two_open_logs_are_one", "writers_in_two_open_logs_are_each_seen_once")
class DoesNotSeeTheOther(OpensACopy):
    pass


@caught_by("all_is_there_when_the_log_is_opened_again")
class LosesTheLastEvent(OpensACopy):
    def copied(self, tail: Tail[Any]) -> Tail[Any]:
        copy = super().copied(tail)
        del copy.items[-1:]
        return copy


@caught_by("all_is_there_when_the_log_is_opened_again")
class LosesTheCheckpoint(OpensACopy):
    def copied(self, tail: Tail[Any]) -> Tail[Any]:
        copy = super().copied(tail)
        copy.checkpoint = None
        return copy


@caught_by("offsets_go_on_when_the_log_is_opened_again")
class StartsOffsetsAgain(OpensACopy):
    def copied(self, tail: Tail[Any]) -> Tail[Any]:
        copy = super().copied(tail)
        copy.start = 0
        return copy


@caught_by("a_grant_does_not_grow_when_the_log_is_opened_again")
class GrantsAgain(OpensACopy):
    def copied(self, tail: Tail[Any]) -> Tail[Any]:
        copy = super().copied(tail)
        copy.full_at += 1
        return copy


@caught_by("a_grant_does_not_grow_when_the_log_is_opened_again")
class ForgetsDeadlines(OpensACopy):
    def reopened(self) -> SoundLog:
        again = super().reopened()
        again._deadlines = Deadlines()
        return again
