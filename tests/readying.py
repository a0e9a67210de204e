"""What the tests of `ready` share: a log that counts looks, and the shortest ways to a buffer's states."""

from collections.abc import Sequence
from typing import Any

from conftest import Clock

from events import MemoryLog, Position
from statemachine import BufferConfig, ReplayBuffer, due


class CountingLog(MemoryLog[Any]):
    """Counts how often a stream is looked at, and how many measurements are read."""

    looks = read_measurements = 0

    def position(self, stream: str) -> Position | None:
        self.looks += 1
        return super().position(stream)

    def measurements(self, stream: str, offsets: range) -> Sequence[Any]:
        self.read_measurements += len(offsets)
        return super().measurements(stream, offsets)


def made(clock: Clock, policy: due.DuePolicy | None = None, log: Any = None, **config: Any) -> ReplayBuffer[Any]:
    return ReplayBuffer(log, BufferConfig(due=policy, **config), clock=clock)


def ready(buffer: ReplayBuffer[Any]) -> list[str]:
    return list(buffer.ready())


def replayed(buffer: ReplayBuffer[Any], user_id: str) -> None:
    with buffer.snapshot(user_id):
        pass


def failed(buffer: ReplayBuffer[Any], user_id: str) -> None:
    buffer.begin_snapshot(user_id)
    buffer.abort_snapshot(user_id)


def own_time(measurement: Any) -> Any:
    return measurement["time"]
