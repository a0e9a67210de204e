"""What a log promises: the `EventLog` protocol and the values it speaks in. Must not know any one log."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from attrs import field, frozen

from events._clocks import Clock
from events._errors import LogError
from events._events import Event, Recorded
from events._offsets import Offsets
from events._tail import Tail

M = TypeVar("M")

NO_OFFSETS = Offsets()

HORIZON = 60.0
"""Seconds ahead within which a log that wakes others tells them of who will be due."""


@frozen
class Grant:
    """What a log may append to a stream by itself until the next `append`: measurements, and nothing else.

    The pure part computes it from the state, so that an add within it needs no decision; the log only counts.
    It is the idea of credit-based flow control: the receiver says beforehand how much it can take.

    Parameters:
        room: how many measurements may be added.
        until: the time (seconds, the writer's clock) from which nothing may be added without a decision, and from which
            the stream is listed by `overdue`; None for never.
        victims: where given (and `room` is 0), each further add is followed by `MeasurementsEvicted` of the next of
            these offsets, until they run out. A log may ignore them.
        checkpoint_at: where given, everything below the next victim is dead, and a log that does not keep history may
            truncate it; this gives the fold's state at the new start, at any later time.
        issuer: who gave it, as a value; adds that do not come with the same value are not within it.
        notes_arrival: whether the first measurement added within it is recorded with the time at which it arrived.
        due_at: the time from which the stream is listed by `due`; None for never.
        due_after: where given, `due_at` becomes the time so many seconds after the arrival that is noted.
        shelved: whether the stream is listed by `shelved`.

    Example:
        >>> Grant(room=100).room
        100
    """

    room: int = 0
    until: float | None = None
    victims: Offsets = field(default=NO_OFFSETS)
    checkpoint_at: Callable[[int], Any] | None = None
    issuer: Any = None
    notes_arrival: bool = False
    due_at: float | None = None
    due_after: float | None = None
    shelved: bool = False

    @victims.validator
    def _either_room_or_victims(self, _attribute: object, victims: Offsets) -> None:
        if self.room and victims:
            raise ValueError("a grant has either room or victims; grant the evictions when the room is used up")


NO_GRANT = Grant()


@frozen(slots=False)  # made at every look and never kept, so it is to be cheap to make rather than small
class Position:
    """Where a stream stands.

    Parameters:
        start: the first offset that is kept.
        head: the offset that the next event will get.
        granted_from: the head after the last `append`; what follows it was added within its grant.
        arrived_at: when the first measurement added within the grant arrived, where that is noted.
    """

    start: int
    head: int
    granted_from: int
    arrived_at: float | None = None


@frozen
class Checkpoint:
    """A fold's state that stands in for the events before `offset`. What `state` is, the log does not ask."""

    offset: int
    state: Any


class EventLog(Protocol[M]):
    """Append-only streams of events, each with dense offsets from 0 that are never used again.

    Streams are independent of each other. Every method may be called from any thread. A stream comes into being with
    its first event. To write a log of your own, implement this and subclass `events.conformance.EventLogConformance`
    in a test: it holds what these docstrings promise against your log.

    Attributes:
        keeps_history: False where committed history should be truncated as soon as possible.
        tails: for logs in this process's memory, stream to `Tail`: callers may add to it directly, which saves a call.
            Other logs have an empty one.
        notes_claims: whether a claim keeps a stream from others.
        clock: tells the time by which deadlines are best measured: for a log of several machines the server's.
    """

    @property
    def keeps_history(self) -> bool: ...  # pragma: no cover - a declaration

    @property
    def tails(self) -> Mapping[str, Tail[M]]: ...  # pragma: no cover - a declaration

    @property
    def notes_claims(self) -> bool: ...  # pragma: no cover - a declaration

    @property
    def clock(self) -> Clock: ...  # pragma: no cover - a declaration

    def add(self, stream: str, measurement: M, clock: Clock, issuer: Any = None) -> int | None:
        """Append one `MeasurementAdded` within the stream's grant; its offset, or None where that does not allow it."""

    def add_many(self, stream: str, measurements: Sequence[M], clock: Clock, issuer: Any = None) -> int | None:
        """The same for several (at least one), all or none; the offset of the first. Their offsets are consecutive.

        For more than one, nothing is evicted.
        """

    def add_each(
        self, batches: Sequence[tuple[str, Sequence[M]]], clock: Clock, issuer: Any = None
    ) -> list[int | LogError | None]:
        """`add_many` for several streams, as fast as the log can; in place of an offset the error, where one failed.

        Each is added or not whatever becomes of the others: it is many writes, not one.
        """

    def register(self, *types: Any) -> None:
        """Make types known that measurements, events, states or issuers consist of; the same again does no harm.

        A log that writes them down needs that; one in memory takes any.
        """

    def append(
        self,
        stream: str,
        events: Sequence[Event],
        *,
        expected_head: int,
        grant: Grant = NO_GRANT,
        state: Any = None,
        at: float | None = None,
    ) -> int:
        """Append all the events or none, if the head is the expected one, and set the grant for what follows.

        An append of no events only sets the grant; where the stream has none either, it does nothing.

        Parameters:
            stream: the stream's name.
            events: what happened.
            expected_head: the head that the caller has seen.
            grant: what may be added after them.
            state: the fold's state after them, which a log may keep as a checkpoint now and then; None to keep none.
            at: the time (seconds), for `recorded_before`.

        Returns:
            The new head.

        Raises:
            ConflictError: the head is another; nothing was appended and the grant is as it was.
        """

    def position(self, stream: str) -> Position | None:
        """Where the stream stands, or None if it has never had an event."""

    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        """The events in `[start, stop)` in offset order, up to the head as it was when reading began.

        Raises:
            TruncatedError: `start` lies before what is kept (also later, if that is truncated while being read).
        """

    def controls(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        """As `read`, without each `MeasurementAdded` that has no `arrived_at`.

        It is all that a fold has to look at, since the offsets are dense.
        """

    def measurements(self, stream: str, offsets: range) -> Sequence[M]:
        """The measurements at the given (ascending) offsets, each of which must hold a `MeasurementAdded`.

        Raises:
            TruncatedError: one of them is no longer kept.
        """

    def streams(self) -> Iterator[str]:
        """The names of the streams that have ever had an event, in the order of their first."""

    def overdue(self, now: float) -> list[str]:
        """The streams whose grant's `until` is not after `now`, in any order. It costs as much as there are of them."""

    def due(self, now: float) -> list[str]:
        """The streams whose grant's `due_at` is not after `now`, earliest first, and of equal ones the longest waiting.

        It costs as much as there are of them.
        """

    def next_due(self, now: float) -> float | None:
        """The time from which `claim` may give a stream that it does not give now; None where there is none.

        That is the earliest `due_at` after `now`. Where claims are noted, and a stream is due, it is the time at which
        its claim ends, or `now` where it is not claimed.
        """

    def claim(self, now: float, until: float, most: int) -> list[str]:
        """As `due`, for workers that share the streams: each is given to one of them, and to nobody else until a time.

        It eases the work, and decides nothing: whoever then appends first has it. An append ends the claim.

        Parameters:
            now: as for `due`.
            until: the time (seconds) from which others are given it, too, should nothing be appended.
            most: how many streams at most. A log that is not for several machines may note no claims, and give all.

        Returns:
            Streams that are due, from those that are due at once (`-inf`) and those whose time has come by turns.
        """

    def waking(self, wake: Callable[[], object]) -> AbstractContextManager[object]:
        """A context in which `wake` is called, in some thread, when a stream has become due, or will within `HORIZON`.

        A log that cannot tell calls it never, so look now and then, too.
        """

    def shelved(self) -> list[str]:
        """The streams whose grant says so, in the order in which it began to. It costs as much as there are of them."""

    def truncate(self, stream: str, before: int, state: Any) -> None:
        """Forget the events before `before` and keep `state`, the fold of them, in their place.

        A stream already truncated that far, or further, is left as it is. Offsets are not used again.

        Raises:
            ValueError: `before` is above the head.
        """

    def checkpoint(self, stream: str, at: int | None = None) -> Checkpoint | None:
        """The latest checkpoint, or the latest that is not above offset `at`; None if there is none.

        At the first offset that is kept stands what the last truncation left in place of what it dropped. Above it may
        stand states that came with an `append`.
        """

    def recorded_before(self, stream: str, time: float) -> int | None:
        """The offset after the last event that was appended before `time`, as far as the log was told the times.

        The first offset that is kept where there is none such; None where the log does not note times.
        """

    def compact(self) -> None:
        """Give back the space of what was truncated, where a log does not do so by itself."""

    def joined(self, connection: Any) -> "EventLog[M]":
        """The log as a part of a transaction that the caller has open on `connection`, in the log's own database.

        What is appended to it is there when the caller commits, together with what the caller wrote, or not at all.

        Raises:
            TypeError: the log is in no database, or the connection is of another kind.
            ValueError: the connection has no open transaction, or another database.
        """

    def close(self) -> None:
        """Let go of files and connections. Calling it twice does no harm."""
