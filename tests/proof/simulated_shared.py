"""`Shared`: what the connections to one log have in common: requests on their way, and transactions. Knows no events.

Here is what can go wrong with a request, and who makes one.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from attrs import field, frozen

from events import Clock, Event, LogBusyError, LogError, LogFullError, LogUnavailableError, OutcomeUnknownError

REFUSALS: dict[str, type[LogError]] = {"refused": LogUnavailableError, "busy": LogBusyError, "full": LogFullError}
"""Faults of which the caller knows that nothing was recorded."""

DOUBTS = ("lost", "late", "unheard")
"""Faults after which nobody knows: the request never arrives, arrives later, or its answer does not."""

DEATHS = ("dies before", "dies after")

FAULTS = (*REFUSALS, *DOUBTS, *DEATHS)


class DeadError(BaseException):
    """The process is gone, and nothing that it still tries is done. No `except Exception` keeps it alive."""


class Caller(Protocol):
    """The process whose connection it is."""

    clock: Clock

    def called(self) -> str | None:
        """A request is made: others may come in between; the fault that befalls it."""

    def answered(self) -> None:
        """It was done, and others may come in between before the answer is heard."""

    def die(self) -> None:
        """Be gone."""


@frozen
class Request:
    """Something to be written to a stream; `events` are those it brings, where that is known beforehand."""

    stream: str
    work: Callable[[Sequence[Event]], Any]
    events: Sequence[Event] = ()
    fence: int = 0


@frozen
class Shared:
    """What the connections to one log have in common.

    Parameters:
        noticed: called with a stream after each write to it.
        late: requests on their way; fences: how often what is on its way to a stream was fenced off.
        held: streams that an open transaction has written to; claims: until when streams are claimed.
    """

    noticed: Callable[[str], object]
    late: list[Request] = field(factory=list)
    fences: Counter[str] = field(factory=Counter)
    held: dict[str, "Transaction"] = field(factory=dict)
    claims: dict[str, float] = field(factory=dict)

    def do(self, request: Request) -> Any:
        """Write it."""
        try:
            return request.work(request.events)
        finally:
            self.noticed(request.stream)

    def cut_off(self, request: Request) -> None:
        """Write it while the connection, or the process, is going: here it is there as a whole all the same."""
        with suppress(LogError):
            self.do(request)

    def is_held(self, stream: str) -> bool:
        """Whether a transaction keeps others out until it ends."""
        return stream in self.held

    def is_fenced_off(self, request: Request) -> bool:
        """Whether somebody has looked since, who did not know what became of it."""
        return request.fence != self.fences[request.stream]

    def arrive(self, number: int) -> str:
        """One of the requests on their way arrives."""
        if not self.late:
            return "nothing is on its way"
        request = self.late[number % len(self.late)]
        if self.is_held(request.stream):
            return "waits for a transaction"
        self.late.remove(request)
        if self.is_fenced_off(request):
            return f"for {request.stream}, fenced off"
        try:
            self.do(request)
        except LogError as error:
            return f"for {request.stream}, {type(error).__name__}"
        return f"for {request.stream}"


class Transaction:
    """An application's open transaction in the log's database: its rows, and what it has written to the log."""

    def __init__(self, caller: Caller, shared: Shared, save: Callable[[], object]) -> None:
        self._caller, self._shared, self._save = caller, shared, save
        self.requests: list[Request] = []
        self.is_open = True

    def write(self, request: Request) -> None:
        """Do it at the commit; until then nobody else writes to the stream."""
        self._shared.held[request.stream] = self
        self.requests.append(request)

    def roll_back(self) -> None:
        """Nothing of it happens."""
        self.is_open = False
        for request in self.requests:
            self._shared.held.pop(request.stream, None)

    def commit(self) -> None:
        """All of it happens, or nothing.

        Raises:
            LogError: it was rolled back, or, where it is `OutcomeUnknownError`, perhaps not.
        """
        fault = self._caller.called()
        if fault in ("late", "unheard", "dies after") or fault is None:
            self._finish()
        else:
            self.roll_back()
        raise_for(fault, "the transaction", self._caller)
        self._caller.answered()

    def _finish(self) -> None:
        self.roll_back()
        self._save()
        for request in self.requests:
            self._shared.do(request)


def raise_for(fault: str | None, what: str, caller: Caller) -> None:
    """Tell the caller of the fault, if there is one, as a log would."""
    if fault in DEATHS:
        caller.die()
        raise DeadError
    if fault in DOUBTS:
        raise OutcomeUnknownError(f"{what}: {fault}")
    if fault is not None:
        raise REFUSALS[fault](f"{what}: {fault}")
