"""What a log writes, each in one statement for one stream, and how it is found out whether that was done.

Must not know pools: it works in whatever session it is given.
"""

from collections.abc import Sequence
from time import monotonic
from typing import Any, Protocol

from attrs import frozen

from events._errors import ConflictError, OutcomeUnknownError, UnsupportedTypeError
from events._log import Grant
from events._postgres._quick import Quick
from events._postgres._rows import MOST, EventRow, new_token, stored_name
from events._postgres._statements import Statements

MARGIN = 1.0
"""Seconds by which the server may be off when it says how long ago something was."""

LARGEST = 2**30 - 2**20
"""How many bytes one statement may have; the server takes 1 GiB at most."""

Rows = list[tuple[Any, ...]]


class Running(Protocol):
    """What runs a statement."""

    def run(self, statement: str, parameters: Any) -> Rows:
        """The rows that it gives."""

    def run_quick(self, quick: Quick, parameters: Any) -> Rows:
        """The same, of one that is run often and gives whole numbers."""

    def notify(self, statement: str) -> None:
        """Tell who listens; "" tells nobody."""

    def transaction(self) -> Any:
        """A context in which several statements are done together or not at all."""


def settled(session: Running, statements: Statements, parameters: dict[str, Any]) -> int | None:
    """See to it that what was asked before is done by now, or never will be; the offset of the first event if it was.

    The stream's fence goes up first, so that a server that is slow to notice can no longer do it: whatever writes to a
    stream must name its fence. Then the token tells whether it was done.

    Raises:
        OutcomeUnknownError: it may have been done, and be pruned by now.
    """
    asked_for = monotonic() - parameters["asked_at"]
    with session.transaction():
        ((parameters["fence"], truncated_for),) = session.run(statements.fence_off, parameters)
        found = session.run(statements.find_token, parameters)  # in its own look, after the lock
    if found:
        return int(found[0][0])
    if truncated_for is not None and truncated_for < asked_for + MARGIN:
        raise OutcomeUnknownError(
            f"user id {parameters['user_id']!r}: the connection was lost while something was being recorded, and "
            f"history was pruned since; whether it was recorded, replayed and pruned, or never recorded, nobody knows"
        )
    return None


class Add:
    """Measurements that are added within the stream's grant, or not at all.

    The statement looks at the stream's row as it is at that moment, so no other process needs to be known of.

    Parameters:
        statements: the log's.
        fences: the streams' fences, where they are known to be above 0; it is kept up to date.
        stream, issuer, now: as of `EventLog.add`; the issuer as it is kept, the time by the writer's clock.
        batch: the measurements, encoded; at least one.
        least: the lowest offset that the first of them can get, as far as is known.
        has_room: whether the stream had room when last seen, so that the shorter statement may do.

    Attributes:
        statements, stream, statement, parameters: what asks for it, and of whom.
        full_at: up to which offset the stream has room, once it was added.
        is_soon_due: whether workers are to be told, once it was added.
    """

    def __init__(
        self,
        statements: Statements,
        fences: dict[str, int],
        stream: str,
        issuer: bytes,
        now: float | None,
        batch: Sequence[bytes],
        *,
        least: int = 0,
        has_room: bool = False,
    ) -> None:
        self.statements, self.stream, self._fences, self._has_room = statements, stream, fences, has_room
        check_size(batch)
        is_one = len(batch) == 1
        self.statement = statements.add_anyhow if is_one else statements.add_many
        self.parameters: dict[str, Any] = {
            "user_id": stored_name(stream),
            "issuer": issuer,
            "fence": fences.get(stream, 0),
            "now": None if now is None else float(now),
            "token": new_token(),
            "data": batch[0] if is_one else list(batch),
            "count": len(batch),
            "least": least,
            "asked_at": monotonic(),
        }
        self.full_at, self.is_soon_due = 0, False

    def __call__(self, session: Running, in_doubt: bool) -> int | None:
        """The offset of the first, or None where the grant does not allow it."""
        if in_doubt:
            offset = settled(session, self.statements, self.parameters)
            self._fences[self.stream] = self.parameters["fence"]
            if offset is not None:
                return offset
        if self._has_room and (rows := session.run_quick(self.statements.add, self.parameters)):
            offset, self.full_at = rows[0]
            return int(offset)
        offset = self.taken(session.run_quick(self.statement, self.parameters))
        if offset is None and self.knows_better:
            offset = self.taken(session.run_quick(self.statement, self.parameters))
        if self.is_soon_due:
            session.notify(self.statements.notify)
        return offset

    def taken(self, rows: Rows) -> int | None:
        """What the rows of `statement` say: the same."""
        for offset, full_at_or_fence, soon in rows:
            if offset is not None:
                self.full_at, self.is_soon_due = full_at_or_fence, bool(soon)
                return int(offset)
            if full_at_or_fence:
                self._fences[self.stream] = full_at_or_fence
        return None

    @property
    def knows_better(self) -> bool:
        """Whether the fence has turned out to be another, so that it makes sense to ask again."""
        known = self._fences.get(self.stream, 0)
        was, self.parameters["fence"] = self.parameters["fence"], known
        return bool(was != known)


@frozen
class Append:
    """Events at an expected head, and the grant for what follows.

    Parameters:
        statements, fences: as of `Add`.
        stream, expected_head: as of `EventLog.append`.
        parameters: what else the statement needs; see `append_parameters`.
        is_soon_due: whether workers are to be told.
    """

    statements: Statements
    fences: dict[str, int]
    stream: str
    expected_head: int
    parameters: dict[str, Any]
    is_soon_due: bool

    def __call__(self, session: Running, in_doubt: bool) -> tuple[int, int]:
        """The new head, and the offset of the latest checkpoint.

        Raises:
            ConflictError: the head is another.
        """
        parameters, head = self.parameters, self.parameters["head"]
        parameters["fence"] = self.fences.get(self.stream, 0)
        if in_doubt and self._is_done(session):
            return head, head
        statement = self.statements.append if self.expected_head else self.statements.create
        while True:
            if head and (rows := session.run_quick(statement, parameters)):
                if self.is_soon_due:
                    session.notify(self.statements.notify)
                return head, rows[0][0]
            stands = session.run(self.statements.stands, parameters)
            actual, fence = stands[0] if stands else (0, 0)
            if actual != self.expected_head:
                raise ConflictError(self.stream, self.expected_head, actual)
            if not head:
                return 0, 0
            self.fences[self.stream] = parameters["fence"] = fence

    def _is_done(self, session: Running) -> bool:
        offset = settled(session, self.statements, self.parameters)
        self.fences[self.stream] = self.parameters["fence"]
        return offset is not None


@frozen
class FenceOff:
    """Sees to it that nothing comes late any more to a stream of which it is not known what was recorded."""

    statements: Statements
    fences: dict[str, int]
    stream: str

    def __call__(self, session: Running, _in_doubt: bool) -> None:
        """Do it; twice does no harm."""
        ((self.fences[self.stream], _),) = session.run(self.statements.fence_off, {"user_id": stored_name(self.stream)})


def append_parameters(
    stream: str, rows: Sequence[EventRow], expected_head: int, grant: Grant, issuer: bytes, at: float | None
) -> dict[str, Any]:
    """What the statements of an append need. Of a grant's victims the first run counts, which a range describes."""
    check_size([row.data for row in rows])
    head = expected_head + len(rows)
    full_at = min(head + grant.room, MOST)
    victims = grant.victims.runs[0] if grant.victims else range(0)
    return {
        "user_id": stored_name(stream),
        "expected_head": expected_head,
        "head": head,
        "token": new_token(),
        "least": expected_head,
        "asked_at": monotonic(),
        "kinds": [row.kind for row in rows],
        "arrivals": [row.arrived_at for row in rows],
        "data": [row.data for row in rows],
        "at": at,
        "issuer": issuer,
        "full_at": 0 if grant.notes_arrival else full_at,
        "opens_to": full_at if grant.notes_arrival else 0,
        "evicts_to": head + 2 * len(victims),
        "victim": victims.start,
        "victim_step": victims.step,
        "until": grant.until,
        "due_at": grant.due_at,
        "due_after": grant.due_after,
        "shelved": grant.shelved,
    }


def check_size(data: Sequence[bytes]) -> None:
    """Refuse what the server does not take in one statement: it would end the connection.

    Raises:
        UnsupportedTypeError: it is too large.
    """
    if (size := sum(map(len, data))) > LARGEST:
        raise UnsupportedTypeError(
            f"what is to be recorded has {size:,} bytes, more than PostgreSQL takes at once ({LARGEST:,}); split it"
        )


@frozen
class Keep:
    """A state at an offset of a stream, encoded."""

    statements: Statements
    stream: str
    offset: int
    state: bytes

    def __call__(self, session: Running, _in_doubt: bool) -> None:
        """Keep it; twice does no harm."""
        parameters = {"user_id": stored_name(self.stream), "offset": self.offset, "data": self.state}
        session.run(self.statements.keep, parameters)


@frozen
class Truncate:
    """See `EventLog.truncate`; the state is encoded."""

    statements: Statements
    stream: str
    before: int
    state: bytes

    def __call__(self, session: Running, _in_doubt: bool) -> None:
        """Do it, unless that or more was done already.

        Raises:
            ValueError: `before` is above the head.
        """
        parameters = {"user_id": stored_name(self.stream), "before": self.before, "data": self.state}
        if not session.run(self.statements.truncate, parameters):
            stands = session.run(self.statements.stands, parameters)
            if self.before > (stands[0][0] if stands else 0):
                raise ValueError(
                    f"stream {self.stream!r}: cannot truncate before {self.before}, which is above the head"
                )
