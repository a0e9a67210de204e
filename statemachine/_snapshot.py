"""`FrozenSnapshot`: the frozen measurements as an immutable sequence that reads them from the log, without a copy."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Protocol, TypeVar, overload

from attrs import field, frozen

from events import EventLog, Offsets, TruncatedError
from statemachine._errors import StaleSnapshotError

M = TypeVar("M", covariant=True)

CHUNK = 4096
"""How many measurements an iteration takes from the log at a time."""


class Owner(Protocol):
    """What a snapshot needs of the buffer it comes from."""

    def complete_replay(
        self, user_id: str, version: int | None = None, *, connection: Any = None
    ) -> None: ...  # pragma: no cover
    def abort_snapshot(
        self, user_id: str, reason: str = "", version: int | None = None
    ) -> None: ...  # pragma: no cover
    def renew_lease(self, user_id: str, version: int | None = None) -> None: ...  # pragma: no cover


@frozen(eq=False, repr=False)
class FrozenSnapshot(Sequence[M]):
    """The measurements that a snapshot froze, in offset order. They are the same for as long as they can be read.

    Reading one whose replay is over gives its own measurements, or `StaleSnapshotError` once the log has dropped them.

    Attributes:
        user_id: whose they are.
        version: the snapshot's version; every operation below names it, so a stale snapshot can change nothing.
        start: the committed offset when they were frozen.
        stop: the frozen offset.
        timestamp: what `begin_snapshot` was given, or the clock's time then.

    Example:
        >>> from statemachine import ReplayBuffer
        >>> buffer = ReplayBuffer()
        >>> offsets = buffer.add_measurements("ann", [81.5, 81.7, 140.0])
        >>> version = buffer.begin_snapshot("ann")
        >>> frozen = buffer.finalize_snapshot("ann")
        >>> len(frozen), frozen[-1], list(frozen)
        (3, 140.0, [81.5, 81.7, 140.0])
        >>> frozen.complete()
    """

    user_id: str
    version: int
    start: int
    stop: int
    timestamp: Any
    _offsets: Offsets
    _log: EventLog[Any]
    _owner: Owner
    _settled: list[str] = field(factory=list, init=False)

    def __repr__(self) -> str:
        return (
            f"<FrozenSnapshot of user {self.user_id!r}, version {self.version}: "
            f"{len(self)} measurements in [{self.start}, {self.stop})>"
        )

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[M]:
        runs = self._offsets.runs
        if len(runs) == 1 and len(runs[0]) <= CHUNK:
            return iter(self._chunk(runs[0]))
        return chain.from_iterable(self._chunks(self._offsets))

    @overload
    def __getitem__(self, index: int) -> M: ...
    @overload
    def __getitem__(self, index: slice) -> list[M]: ...
    def __getitem__(self, index: int | slice) -> M | list[M]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"{self!r} has no place {index}")
        offset = self._offsets[place]
        return next(chain.from_iterable(self._chunks(Offsets((range(offset, offset + 1),)))))

    def by_timestamp(self, key: Callable[[Any], Any]) -> list[M]:
        """The measurements by their own time; those of equal time stay in the order in which they arrived.

        Parameters:
            key: gives a measurement's time, as for `sorted`.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> with ReplayBuffer() as buffer:
            ...     offsets = buffer.add_measurements("ann", [("10:05", 81.7), ("10:00", 81.5)])
            ...     with buffer.snapshot("ann") as frozen:
            ...         frozen.by_timestamp(lambda measurement: measurement[0])
            [('10:00', 81.5), ('10:05', 81.7)]
        """
        return sorted(self, key=key)

    def complete(self, *, connection: Any = None) -> None:
        """Commit these measurements; see `ReplayBuffer.complete_replay`.

        Parameters:
            connection: one with an open transaction in the log's database, which this then is a part of.
        """
        self._owner.complete_replay(self.user_id, self.version, connection=connection)
        self._settled.append("completed" if connection is None else "")

    def abort(self, reason: str = "") -> None:
        """Give the snapshot up; see `ReplayBuffer.abort_snapshot`."""
        self._owner.abort_snapshot(self.user_id, reason, self.version)
        self._settled.append("aborted")

    def renew(self) -> None:
        """Extend the replay's lease; see `ReplayBuffer.renew_lease`."""
        self._owner.renew_lease(self.user_id, self.version)

    @property
    def settled(self) -> str:
        """`"completed"` or `"aborted"` once this object's `complete` or `abort` has succeeded, else `""`.

        A `complete` within a transaction leaves it as it is: whether that commits is not known here.
        """
        return next(filter(None, self._settled), "")

    @property
    def is_handed_over(self) -> bool:
        """Whether a `complete` has made it a part of a transaction, so that it completes if that commits."""
        return "" in self._settled

    def _chunks(self, offsets: Offsets) -> Iterator[Sequence[M]]:
        for run in offsets.runs:
            for place in range(0, len(run), CHUNK):
                yield self._chunk(run[place : place + CHUNK])

    def _chunk(self, offsets: range) -> Sequence[M]:
        try:
            return self._log.measurements(self.user_id, offsets)
        except TruncatedError:
            raise StaleSnapshotError(
                f"snapshot {self.version} is over and its measurements are no longer kept in the log",
                user_id=self.user_id,
            ) from None
