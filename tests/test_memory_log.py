"""`MemoryLog` keeps what `EventLog` promises: the exported conformance suite, as any log's author would run it."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from events import Event, EventLog, Grant, MemoryLog, Offsets, Tail
from events.conformance import EventLogConformance


class TestMemoryLog(EventLogConformance):
    def make_log(self) -> EventLog[Any]:
        return MemoryLog()


class TestMemoryLogThatKeepsHistory(EventLogConformance):
    def make_log(self) -> EventLog[Any]:
        return MemoryLog(keep_history=True)


class SparseLog(MemoryLog[Any]):
    """Does what a log must and not what it may: it ignores victims and lends no tails."""

    @property
    def tails(self) -> Mapping[str, Tail[Any]]:
        return {}

    def append(
        self, stream: str, events: Sequence[Event], *, expected_head: int, grant: Grant = Grant(), **kept: Any
    ) -> int:
        plain = evolve(grant, victims=Offsets(), checkpoint_at=None)
        return super().append(stream, events, expected_head=expected_head, grant=plain)


class TestSparseLog(EventLogConformance):
    def make_log(self) -> EventLog[Any]:
        return SparseLog()
