"""What the tests of `AsyncReplayManager` share: a buffer, functions that say what was called, and a clean end."""

import asyncio
import threading
from typing import Any

from aio_gates import left_behind

from statemachine import (
    Backoff,
    BufferConfig,
    ReplayResult,
    due,
)
from statemachine.aio import AsyncReplayBuffer, AsyncReplayManager

CONFIG = BufferConfig(due=due.Count(1))
AT_ONCE = Backoff(first=0, jitter=0)
NEVER = Backoff(first=3600, jitter=0)


class Bench:
    """A buffer, and functions that say what was called, each on the loop; `during` is what a replay does."""

    def __init__(self, **options: Any) -> None:
        self.now, self.calls, self.results = 0.0, list[Any](), list[ReplayResult]()
        self.buffer: AsyncReplayBuffer[Any] = AsyncReplayBuffer(config=CONFIG, clock=lambda: self.now)
        self.entered, self.restored, self.told = asyncio.Event(), asyncio.Event(), asyncio.Event()
        hooks = {"take_snapshot": self.take_snapshot, "restore": self.restore, "on_result": self.on_result}
        options = {"poll_interval": 0.001, "backoff": NEVER, **hooks, **options}
        self.manager: AsyncReplayManager[Any] = AsyncReplayManager(self.buffer, self.replay, **options)

    async def take_snapshot(self, user_id: str) -> str:
        self.calls.append("take_snapshot")
        return "before"

    async def replay(self, frozen: Any) -> int:
        self.calls.append("replay")
        self.entered.set()
        await self.during(frozen)
        return len(await frozen.to_list())

    async def during(self, frozen: Any) -> None:
        await asyncio.sleep(3600)

    async def restore(self, user_id: str, taken: str) -> None:
        await asyncio.sleep(0)
        self.calls.append(("restore", taken, (await self.buffer.state(user_id)).phase))
        self.restored.set()

    async def on_result(self, result: ReplayResult) -> None:
        self.results.append(result)
        self.told.set()

    async def phase(self, user_id: str = "ann") -> str:
        return (await self.buffer.state(user_id)).phase


async def nothing(frozen: Any) -> None:
    pass


def ran(main: Any) -> None:
    """Run it; no task and no thread may be left, and it must not hang."""

    async def all_of_it() -> None:
        async with asyncio.timeout(30) as deadline:
            await main()
        assert not deadline.expired(), "it hung until it was cancelled"
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"

    before = set(threading.enumerate())
    asyncio.run(all_of_it())
    assert not left_behind(before)
