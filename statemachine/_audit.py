"""`audited`: proves conservation on a real history, by plain dictionaries of its own rather than by `evolve`."""

from collections.abc import Callable, Iterable

from attrs import frozen

from events import (
    BufferCleared,
    Event,
    MeasurementAdded,
    MeasurementsEvicted,
    Recorded,
    ReplayCompleted,
    SnapshotBegun,
)
from statemachine._declaration import BUFFER_LIFECYCLE
from statemachine._state import BufferState


@frozen
class Audit:
    """What became of a user's measurements, and whatever in the history is not as it must be.

    Attributes:
        first: the offset the audit began at: 0, or that of the checkpoint where older history was truncated.
        head: the offset it ended before.
        added: how many measurements were ever added; likewise `replayed`, `evicted` and `cleared`.
        live: how many are in the buffer.
        findings: what is wrong, in words; empty for a sound history.

    Example:
        >>> Audit(first=0, head=3, added=3, replayed=1, live=2, evicted=0, cleared=0, findings=()).ok
        True
    """

    first: int
    head: int
    added: int
    replayed: int
    live: int
    evicted: int
    cleared: int
    findings: tuple[str, ...]

    @property
    def lost(self) -> int:
        """How many measurements are neither in the buffer nor accounted for."""
        return self.added - self.replayed - self.live - self.evicted - self.cleared

    @property
    def ok(self) -> bool:
        """Whether nothing was lost and nothing else is wrong."""
        return self.lost == 0 and not self.findings

    def __str__(self) -> str:
        counts = (
            f"added {self.added} = replayed {self.replayed} + live {self.live} + evicted {self.evicted} "
            f"+ cleared {self.cleared}, lost {self.lost}"
        )
        return "\n".join([counts, *self.findings])


class _Auditor:
    """Walks a history and moves each measurement's offset from live to its one fate."""

    def __init__(self, base: BufferState) -> None:
        self.phase, self.version, self.head, self.committed = base.phase, base.version, base.head, base.committed
        self.frozen_offset = base.frozen_offset
        self.live = dict.fromkeys(base.offsets)
        self.count = {fate: getattr(base, fate) for fate in ("added", "replayed", "evicted", "cleared")}
        self.findings: list[str] = []

    def walk(self, recorded: Recorded) -> None:
        offset, event = recorded.offset, recorded.event
        self._expect(offset == self.head, offset, f"expected offset {self.head}; offsets are not dense")
        self.head = offset + 1
        if not BUFFER_LIFECYCLE.allows(self.phase, event):
            self.findings.append(f"offset {offset}: {type(event).__name__} is not legal while {self.phase}")
            return
        after = BUFFER_LIFECYCLE.after(self.phase, event)
        self._apply(offset, event)
        self.phase = after
        if after == BUFFER_LIFECYCLE.initial:
            self.frozen_offset = None

    def _apply(self, offset: int, event: Event) -> None:
        if isinstance(event, MeasurementAdded):
            self.live[offset] = None
            self.count["added"] += 1
        elif isinstance(event, MeasurementsEvicted):
            self._evict(offset, event.start, event.stop)
        elif isinstance(event, BufferCleared):
            self._expect(event.through <= offset, offset, f"cleared through {event.through}, which is above itself")
            self._commit(offset, event.through)
            self._move("cleared", lambda live: live < event.through)
        else:
            self._step(offset, event)

    def _step(self, offset: int, event: Event) -> None:
        """An event of a snapshot: its version has to be the right one."""
        begun = isinstance(event, SnapshotBegun)
        expected = self.version + begun
        version = getattr(event, "version", None)
        self._expect(version == expected, offset, f"{type(event).__name__} has version {version}, expected {expected}")
        self.version = expected
        if begun:
            self.frozen_offset = offset
        elif isinstance(event, ReplayCompleted):
            frozen = self.frozen_offset or 0
            self._commit(offset, frozen)
            self._move("replayed", lambda live: live < frozen)

    def _evict(self, offset: int, start: int, stop: int) -> None:
        lowest = 0 if self.frozen_offset is None else self.frozen_offset
        self._expect(start >= lowest, offset, f"evicted from {start}, which is frozen")
        older = sum(1 for live in self.live if lowest <= live < start)
        self._expect(older == 0, offset, f"evicted from {start}, though {older} older ones stayed")
        moved = self._move("evicted", lambda live: start <= live < stop)
        self._expect(moved > 0, offset, f"evicted [{start}, {stop}), where nothing is live")

    def _commit(self, offset: int, to: int) -> None:
        self._expect(to >= self.committed, offset, f"the committed offset went back from {self.committed}")
        self.committed = max(self.committed, to)

    def _move(self, fate: str, chosen: Callable[[int], bool]) -> int:
        moved = [offset for offset in self.live if chosen(offset)]
        for offset in moved:
            del self.live[offset]
        self.count[fate] += len(moved)
        return len(moved)

    def _expect(self, holds: bool, offset: int, otherwise: str) -> None:
        if not holds:
            self.findings.append(f"offset {offset}: {otherwise}")

    def compare(self, kept: BufferState) -> None:
        """The state that the buffer works with has to be the one that the history adds up to."""
        for name, found in (
            ("phase", self.phase),
            ("version", self.version),
            ("head", self.head),
            ("committed", self.committed),
            ("frozen_offset", self.frozen_offset),
            ("offsets", list(self.live)),
            *self.count.items(),
        ):
            value = list(kept.offsets) if name == "offsets" else getattr(kept, name)
            if value != found:
                self.findings.append(f"{name}: the kept state says {value!r}, the history {found!r}")


def audited(base: BufferState, history: Iterable[Recorded], kept: BufferState) -> Audit:
    """Audit a history.

    Parameters:
        base: the state where the history begins: the initial one, or a checkpoint.
        history: the events from there on.
        kept: the state that the buffer holds to be that after the last of them.
    """
    auditor = _Auditor(base)
    for recorded in history:
        auditor.walk(recorded)
    auditor.compare(kept)
    return Audit(
        first=base.head, head=auditor.head, live=len(auditor.live), findings=tuple(auditor.findings), **auditor.count
    )
