"""What the asyncio tests share: a log whose calls stand still, in place of a database, and who has threads left."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from events import MemoryLog
from statemachine.aio import AsyncReplayBuffer
from statemachine.aio._calls import SLOTS


class Gate:
    """A place where a thread stands still until it is let through."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.opened.wait(60), "nobody opened the gate"

    async def is_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, 60), "nobody came to the gate"


class GatedLog(MemoryLog[Any]):
    """A log that is not known to be in memory, and calls what the test wants before each append and read."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.before: Callable[[str], object] = lambda name: None

    @property
    def tails(self) -> Any:
        return {}

    def add(self, stream: str, measurement: Any, clock: Any, issuer: Any = None) -> int | None:
        self.before("add")
        return super().add(stream, measurement, clock, issuer)

    def append(self, stream: str, events: Any, **options: Any) -> int:
        self.before("append")
        return super().append(stream, events, **options)

    def measurements(self, stream: str, offsets: range) -> Any:
        self.before("measurements")
        return super().measurements(stream, offsets)

    def close(self) -> None:
        self.before("close")
        super().close()


def at(gate: Gate, event: str) -> Callable[..., None]:
    """For `GatedLog.before`: stand still at the next call so named, and at no other."""
    waiting = [event]

    def before(name: str) -> None:
        if name in waiting:
            waiting.remove(name)
            gate()

    return before


async def gated(log: GatedLog | None = None, **options: Any) -> tuple[AsyncReplayBuffer[Any], GatedLog]:
    """A buffer on such a log, in which ann has three measurements."""
    log = log or GatedLog()
    buffer: AsyncReplayBuffer[Any] = AsyncReplayBuffer(log, **options)
    await buffer.add_measurements("ann", [1, 2, 3])
    return buffer, log


async def cancelled_often(task: "asyncio.Task[Any]", times: int = 3) -> None:
    """Cancel it again and again; it must not end, since its thread stands still."""
    for _ in range(times):
        task.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not task.done(), "it did not wait for its thread"


def left_behind(before: set[threading.Thread]) -> list[threading.Thread]:
    """The threads that are still there after those that are ending have ended."""
    new = [thread for thread in threading.enumerate() if thread not in before]
    for thread in new:
        thread.join(10)
    return [thread for thread in new if thread.is_alive()]


async def all_slots_taken(buffer: AsyncReplayBuffer[Any], log: GatedLog) -> Callable[[], Awaitable[None]]:
    """Keep every slot busy, so that the next call waits; what is returned ends that."""
    opened, reached = threading.Event(), threading.Semaphore(0)

    def stand(name: str) -> None:
        if name == "measurements":
            reached.release()
            assert opened.wait(60)

    log.before = stand
    tasks = [asyncio.create_task(buffer.measurements("ann")) for _ in range(SLOTS)]
    for _ in tasks:
        assert await asyncio.to_thread(reached.acquire, timeout=60)

    async def end() -> None:
        opened.set()
        await asyncio.gather(*tasks)

    return end
