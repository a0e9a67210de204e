"""What a log writes, each in one statement for one stream, and how it is found out whether that was done.

Must not know pools: it works in whatever session it is given.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from attrs import frozen

from events._errors import ConflictError, OutcomeUnknownError, UnsupportedTypeError
from events._log import Grant
from events._postgres._rows import MOST, EventRow, new_token, stored_name
from events._postgres._statements import Statements

LARGEST = 2**30 - 2**20
"""How many bytes one statement may have; the server takes 1 GiB at most."""

Rows = list[tuple[Any, ...]]


class Running(Protocol):
    """What runs a statement."""

    def run(self, statement: str, parameters: Any) -> Rows:
        """The rows that it gives."""

    def transaction(self) -> Any:
        """A context in which several statements are done together or not at all."""


class Add:
    """Measurements that are added within the stream's grant, or not at all.

    The statement looks at the stream's row as it is at that moment, so no other process needs to be known of. Where its
    answer is lost, the stream's fence goes up first, so that a server that is slow to notice can no longer do it; then
    its token says whether it was done.

    Parameters:
        statements: the log's.
        fences: the streams' fences, where they are known to be above 0; it is kept up to date.
        stream, issuer, now: as of `EventLog.add`; the issuer as it is kept, the time by the writer's clock.
        batch: the measurements, encoded; at least one.
        least: the lowest offset that the first of them can get, as far as is known.
        has_room: whether the stream had room when last seen, so that the shorter statement may do.

    Attributes:
        statement, parameters: what asks for it.
        full_at: up to which offset the stream has room, once it was added.
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
        self._statements, self._fences, self._stream = statements, fences, stream
        self._least, self._has_room = least, has_room
        check_size(batch)
        self.statement = statements.add_anyhow if len(batch) == 1 else statements.add_many
        self.parameters: dict[str, Any] = {
            "user_id": stored_name(stream),
            "issuer": issuer,
            "fence": fences.get(stream, 0),
            "now": now,
            "token": new_token(),
            "data": batch[0] if len(batch) == 1 else list(batch),
            "count": len(batch),
        }
        self.full_at = 0

    def __call__(self, session: Running, in_doubt: bool) -> int | None:
        """The offset of the first, or None where the grant does not allow it."""
        if in_doubt and (offset := self._fate(session)) is not None:
            return offset
        if self._has_room and (rows := session.run(self._statements.add, self.parameters)):
            offset, self.full_at = rows[0]
            return int(offset)
        offset = self.taken(session.run(self.statement, self.parameters))
        return self.taken(session.run(self.statement, self.parameters)) if self.knows_better else offset

    def taken(self, rows: Rows) -> int | None:
        """What the rows of `statement` say: the same."""
        for offset, full_at_or_fence, _ in rows:
            if offset is not None:
                self.full_at = full_at_or_fence
                return int(offset)
            if full_at_or_fence:
                self._fences[self._stream] = full_at_or_fence
        return None

    @property
    def knows_better(self) -> bool:
        """Whether the fence has turned out to be another, so that it makes sense to ask again."""
        known = self._fences.get(self._stream, 0)
        was, self.parameters["fence"] = self.parameters["fence"], known
        return bool(was != known)

    def _fate(self, session: Running) -> int | None:
        """See to it that what was asked before is done by now, or never will be; its offset if it was.

        Raises:
            OutcomeUnknownError: it may have been done, and be pruned by now.
        """
        with session.transaction():
            fenced = session.run(self._statements.fence_off, self.parameters)
            found = session.run(self._statements.find_token, self.parameters)  # in its own look, after the lock
        for fence, start in fenced:
            self._fences[self._stream] = self.parameters["fence"] = fence
            if not found and start > self._least:
                raise pruned(self._stream, start)
        return int(found[0][0]) if found else None


@frozen
class Append:
    """Events at an expected head, and the grant for what follows.

    Only one append can find the head as it is, so one whose answer is lost may be tried again. If the head has moved,
    the token of the first event tells whether it was this one.

    Parameters:
        statements: the log's.
        fences: as of `Add`.
        stream, expected_head: as of `EventLog.append`.
        parameters: what else the statement needs; see `append_parameters`.
    """

    statements: Statements
    fences: dict[str, int]
    stream: str
    expected_head: int
    parameters: dict[str, Any]

    def __call__(self, session: Running, in_doubt: bool) -> tuple[int, int]:
        """The new head, and the offset of the latest checkpoint.

        Raises:
            ConflictError: the head is another.
            OutcomeUnknownError: it may have been done, and be pruned by now.
        """
        parameters, head = self.parameters, self.parameters["head"]
        if head:
            rows = session.run(self.statements.append if self.expected_head else self.statements.create, parameters)
            if rows:
                ((_, checkpointed, fence, _),) = rows
                if fence:
                    self.fences[self.stream] = fence
                return head, checkpointed
            if in_doubt and session.run(self.statements.is_there, parameters):
                return head, head
        found = session.run(self.statements.position, parameters)
        start, actual = found[0][:2] if found else (0, 0)
        if in_doubt and start > self.expected_head:
            raise pruned(self.stream, start)
        if actual or self.expected_head:
            raise ConflictError(self.stream, self.expected_head, actual)
        return 0, 0


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


def pruned(stream: str, start: int) -> OutcomeUnknownError:
    """The error for what may have been recorded and dropped again before anybody could look."""
    return OutcomeUnknownError(
        f"stream {stream!r}: the connection was lost while something was being recorded, and history was pruned before "
        f"{start} since; whether it was recorded, replayed and pruned, or never recorded, nobody knows"
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
            found = session.run(self.statements.position, parameters)
            if self.before > (found[0][1] if found else 0):
                raise ValueError(
                    f"stream {self.stream!r}: cannot truncate before {self.before}, which is above the head"
                )
