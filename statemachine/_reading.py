"""`Reading`: what can be asked of a buffer. Must not change anything but expire what is overdue."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from events import Offsets, Recorded, TruncatedError
from statemachine._audit import Audit, audited
from statemachine._config import BufferConfig
from statemachine._errors import InvalidArgumentError, TruncatedHistoryError, UnknownUserError
from statemachine._known import check_moved, known_state
from statemachine._shell import Shell
from statemachine._state import BufferState

M = TypeVar("M")

Found = TypeVar("Found")


class Reading(Shell[M]):
    """The questions of a `ReplayBuffer`."""

    def measurements(self, user_id: str) -> list[M]:
        """The live measurements, frozen and pending ones included, oldest first.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> buffer.measurements("ann")
            [81.5]
        """
        return self._read(user_id, lambda state: state.offsets)

    def pending(self, user_id: str) -> list[M]:
        """The measurements that arrived since the freeze point of the snapshot in progress; none when idle.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> version = buffer.begin_snapshot("ann")
            >>> offset = buffer.add_measurement("ann", 81.7)
            >>> buffer.pending("ann")
            [81.7]
        """
        return self._read(user_id, lambda state: state.pending_offsets)

    def state(self, user_id: str) -> BufferState:
        """The user's state now: phase, version, offsets and counts.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> buffer.state("ann").phase, buffer.state("ann").live
            ('idle', 1)
        """
        return self._latest(user_id)

    def size(self, user_id: str) -> int:
        """How many measurements are live: `state(user_id).live` at a fraction of its cost.

        It only looks: an overdue snapshot stays as it is.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> buffer.size("ann")
            1
        """
        self._check_user(user_id)
        live = self._journal.live(user_id)
        if live is None:
            raise UnknownUserError("no measurement was ever added", user_id=user_id)
        return live

    def users(self) -> Iterator[str]:
        """The users that ever had a measurement, in the order of their first.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> list(buffer.users())
            ['ann']
        """
        self._check_open()
        return self._log.streams()

    def events(self, user_id: str, start: int = 0, stop: int | None = None) -> Iterator[Recorded]:
        """The user's history, from offset `start` (or the first that is kept, if that is later) up to before `stop`.

        Raises:
            InvalidArgumentError: an offset is not a whole number of at least 0.
            TruncatedHistoryError: while iterating, if what was still to come has been truncated.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> buffer = ReplayBuffer(clock=lambda: 7.0)
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> list(buffer.events("ann"))
            [Recorded(offset=0, event=MeasurementAdded(measurement=81.5, arrived_at=7.0))]
        """
        for offset in (start, 0 if stop is None else stop):
            _check_offset(user_id, offset)
        self._touch(user_id)
        position = self._log.position(user_id)
        return self._history(user_id, max(start, position.start if position else 0), stop)

    def state_at(self, user_id: str, offset: int) -> BufferState:
        """The user's state after the events below `offset`, for any offset that is kept.

        Raises:
            InvalidArgumentError: `offset` is not a whole number from 0 to the head.
            TruncatedHistoryError: it lies in history that was truncated.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> buffer = ReplayBuffer()
            >>> offsets = buffer.add_measurements("ann", [81.5, 81.7])
            >>> buffer.state_at("ann", 1).live
            1
        """
        self._check_within_head(user_id, offset)
        try:
            return self._journal.state_at(user_id, offset)
        except TruncatedError as error:
            raise _truncated(user_id, error) from None

    def audit(self, user_id: str) -> Audit:
        """Go through the user's history and check that every measurement is accounted for exactly once.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> print(buffer.audit("ann"))
            added 1 = replayed 0 + live 1 + evicted 0 + cleared 0, lost 0
        """
        return self._steadily(user_id, lambda: self._audited(user_id))

    @property
    def config(self) -> BufferConfig:
        """The bounds and timeouts this buffer was made with."""
        return self._journal.config

    def _check_within_head(self, user_id: str, offset: int) -> None:
        _check_offset(user_id, offset)
        head = self._latest(user_id).head
        if offset > head:
            raise InvalidArgumentError(f"offset {offset} is above the head, {head}", user_id=user_id)

    def _read(self, user_id: str, chosen: Callable[[BufferState], Offsets]) -> list[M]:
        """The measurements at the chosen offsets, read again from the start if they were dropped meanwhile."""

        def read() -> list[M]:
            state = self._latest(user_id)
            return [m for run in chosen(state).runs for m in self._log.measurements(user_id, run)]

        return self._steadily(user_id, read)

    def _audited(self, user_id: str) -> Audit:
        head = self._latest(user_id).head
        position = self._log.position(user_id)
        base = known_state(self._log, user_id, position.start if position else 0)
        history = self._log.read(user_id, base.head, head)
        return audited(base, history, self._journal.state_at(user_id, head))

    def _steadily(self, user_id: str, look: Callable[[], Found]) -> Found:
        """What is found; once more where it was truncated meanwhile, and what takes its place is there."""
        start: int | None = None
        while True:
            try:
                return look()
            except TruncatedError as error:
                check_moved(self._log, user_id, start, error)
                start = error.start

    def _history(self, user_id: str, start: int, stop: int | None) -> Iterator[Recorded]:
        try:
            yield from self._log.read(user_id, start, stop)
        except TruncatedError as error:
            raise _truncated(user_id, error) from None


def _check_offset(user_id: str, offset: int) -> None:
    if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
        raise InvalidArgumentError(f"an offset must be a whole number of at least 0, not {offset!r}", user_id=user_id)


def _truncated(user_id: str, error: TruncatedError) -> TruncatedHistoryError:
    return TruncatedHistoryError(
        f"offset {error.offset} was truncated; history is kept from offset {error.start} on "
        f"(MemoryLog drops what was replayed unless made with keep_history=True; other logs when pruned)",
        user_id=user_id,
    )
