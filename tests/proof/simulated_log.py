"""`SimulatedLog`: one process's connection to a log that several share, and what goes wrong on it. Knows no buffer.

It fails as the logs in databases may, and keeps what they promise: nothing was recorded, unless the error is
`OutcomeUnknownError`; and what was slow on its way does nothing any more once the same connection has looked.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any

from simulated_shared import DOUBTS, REFUSALS, Caller, Request, Shared, Transaction, raise_for

from events import (
    Checkpoint,
    Clock,
    ConflictError,
    Event,
    EventLog,
    LogBusyError,
    LogError,
    Position,
    Recorded,
)
from events._alone import one_by_one
from events._clocks import time_of


class SimulatedLog:
    """An `EventLog` that is reached over a connection.

    Parameters:
        log: where things are really kept.
        shared: what all connections to it have in common.
        caller: the process.
    """

    tails: Mapping[str, Any] = MappingProxyType({})
    notes_claims = True

    def __init__(self, log: EventLog[Any], shared: Shared, caller: Caller) -> None:
        self._log, self._shared, self._caller = log, shared, caller
        self._doubted: set[str] = set()

    @property
    def keeps_history(self) -> bool:
        return self._log.keeps_history

    @property
    def clock(self) -> Clock:
        return self._caller.clock

    def register(self, *types: Any) -> None:
        self._log.register(*types)

    def add(self, stream: str, measurement: Any, clock: Clock, issuer: Any = None) -> int | None:
        asked_at = at_the_time_of(clock)
        return self._write(stream, lambda _events: self._log.add(stream, measurement, asked_at, issuer))

    def add_many(self, stream: str, measurements: Sequence[Any], clock: Clock, issuer: Any = None) -> int | None:
        asked_at = at_the_time_of(clock)
        return self._write(stream, lambda _events: self._log.add_many(stream, measurements, asked_at, issuer))

    def add_each(
        self, batches: Sequence[tuple[str, Sequence[Any]]], clock: Clock, issuer: Any = None
    ) -> list[int | LogError | None]:
        return one_by_one(self, batches, clock, issuer)

    def append(self, stream: str, events: Sequence[Event], *, expected_head: int, **noted: Any) -> int:
        def work(events: Sequence[Event]) -> int:
            head = self._log.append(stream, events, expected_head=expected_head, **noted)
            self._shared.claims.pop(stream, None)
            return head

        return self._write(stream, work, events)

    def truncate(self, stream: str, before: int, state: Any) -> None:
        self._write(stream, lambda _events: self._log.truncate(stream, before, state))

    def position(self, stream: str) -> Position | None:
        self._ask(stream)
        self._end_doubt(stream)
        return self._log.position(stream)

    def read(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        return self._given(stream, self._log.read(stream, start, stop))

    def controls(self, stream: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        return self._given(stream, self._log.controls(stream, start, stop))

    def measurements(self, stream: str, offsets: range) -> Sequence[Any]:
        self._ask(stream)
        return self._log.measurements(stream, offsets)

    def checkpoint(self, stream: str, at: int | None = None) -> Checkpoint | None:
        self._ask(stream)
        return self._log.checkpoint(stream, at)

    def streams(self) -> Iterator[str]:
        self._ask("streams")
        return self._log.streams()

    def overdue(self, now: float) -> list[str]:
        self._ask("overdue")
        return self._log.overdue(now)

    def due(self, now: float) -> list[str]:
        self._ask("due")
        return self._log.due(now)

    def next_due(self, now: float) -> float | None:
        self._ask("next due")
        return self._log.next_due(now)

    def shelved(self) -> list[str]:
        self._ask("shelved")
        return self._log.shelved()

    def recorded_before(self, stream: str, time: float) -> int | None:
        self._ask(stream)
        return self._log.recorded_before(stream, time)

    def claim(self, now: float, until: float, most: int) -> list[str]:
        self._ask("claim")
        claims = self._shared.claims
        claimed = [stream for stream in self._log.due(now) if claims.get(stream, now) <= now][:most]
        claims.update(dict.fromkeys(claimed, until))
        return claimed

    def waking(self, wake: Callable[[], object]) -> AbstractContextManager[object]:
        return nullcontext()

    def compact(self) -> None:
        """Nothing: space is no matter here."""

    def joined(self, connection: Any) -> "JoinedLog":
        if not isinstance(connection, Transaction):
            raise TypeError(f"not a transaction: {connection!r}")
        return JoinedLog(self._log, self._shared, self._caller, connection)

    def close(self) -> None:
        """Nothing: the log is shared."""

    def _ask(self, what: str) -> None:
        fault = self._caller.called()
        raise_for("refused" if fault in (*REFUSALS, *DOUBTS) else fault, what, self._caller)

    def _given(self, stream: str, found: Iterable[Recorded]) -> Iterator[Recorded]:
        """What was found, one by one; where it fails, it does so in the middle."""
        fault = self._caller.called()
        for place, recorded in enumerate(found):
            if fault is not None and place == 1:
                break
            yield recorded
        raise_for("refused" if fault in (*REFUSALS, *DOUBTS) else fault, stream, self._caller)

    def _write(self, stream: str, work: Callable[[Sequence[Event]], Any], events: Sequence[Event] = ()) -> Any:
        fault = self._caller.called()
        if fault in REFUSALS:
            raise_for(fault, stream, self._caller)
        self._end_doubt(stream)
        self._check_free(stream)
        request = Request(stream, work, tuple(events), self._shared.fences[stream])
        if fault is None:
            result = self._shared.do(request)
            self._caller.answered()
            return result
        if fault in DOUBTS:
            self._doubted.add(stream)
        if fault == "late":
            self._shared.late.append(request)
        elif fault in ("unheard", "dies after"):
            self._shared.cut_off(request)
        raise_for(fault, stream, self._caller)
        return None

    def _check_free(self, stream: str) -> None:
        if self._shared.is_held(stream):
            raise LogBusyError(f"{stream}: a transaction has written to it")

    def _end_doubt(self, stream: str) -> None:
        """See to it that nothing of this connection's comes late any more, before it looks or writes again."""
        if stream in self._doubted:
            self._shared.fences[stream] += 1
            self._doubted.discard(stream)


class JoinedLog(SimulatedLog):
    """The same within a transaction: nobody else sees what is appended before the commit."""

    def __init__(self, log: EventLog[Any], shared: Shared, caller: Caller, transaction: Transaction) -> None:
        super().__init__(log, shared, caller)
        self._transaction = transaction

    def append(self, stream: str, events: Sequence[Event], *, expected_head: int, **noted: Any) -> int:
        raise_for(self._refusal(), stream, self._caller)
        self._check_free(stream)
        position = self._log.position(stream)
        head = position.head if position else 0
        if head != expected_head:
            raise ConflictError(stream, expected_head, head)

        def work(events: Sequence[Event]) -> int:
            return self._log.append(stream, events, expected_head=expected_head, **noted)

        self._transaction.write(Request(stream, work, tuple(events)))
        return head + len(events)

    def _refusal(self) -> str | None:
        fault = self._caller.called()
        return "refused" if fault in (*REFUSALS, *DOUBTS) else fault


def at_the_time_of(clock: Clock) -> Clock:
    """The clock as it stood when the request was made, however late that arrives."""
    now = time_of(clock)
    return clock if now is None else lambda: now
