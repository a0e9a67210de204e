"""Many tasks that add while replays run, fail, and are cancelled at random: nothing is lost, doubled or reordered."""

import asyncio
import random
import threading
from typing import Any

import pytest
from aio_gates import GatedLog, left_behind

from events import MemoryLog
from statemachine import Backoff, BufferConfig, ReplayBufferError, due
from statemachine.aio import AsyncFrozenSnapshot, AsyncReplayBuffer, AsyncReplayManager

USERS = ("ann", "bob", "cyd")
ADDS = 60


class Campaign:
    """One seeded run."""

    def __init__(self, seed: int, log: Any) -> None:
        self.chance = random.Random(seed)
        config = BufferConfig(max_measurements=10_000, due=due.Count(1))
        self.buffer: AsyncReplayBuffer[int] = AsyncReplayBuffer(log, config)
        self.added: dict[str, list[int]] = {user: [] for user in USERS}
        self.replayed: dict[str, list[int]] = {user: [] for user in USERS}
        self.taken: dict[tuple[str, int], list[int]] = {}
        self.adding = len(USERS)

    async def add(self, user: str) -> None:
        """Add one after the other; a cancelled add is recorded or not, which the history tells."""
        for number in range(ADDS):
            task = asyncio.create_task(self.buffer.add_measurement(user, number))
            for _ in range(self.chance.randrange(3)):
                await asyncio.sleep(0)
            if self.chance.random() < 0.1:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.adding -= 1

    async def replay(self, frozen: AsyncFrozenSnapshot[int]) -> None:
        window = [measurement async for measurement in frozen]
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)
        if self.chance.random() < 0.2:
            raise ValueError("bad window")
        self.taken[frozen.user_id, frozen.version] = window

    async def by_hand(self, user: str) -> None:
        """Snapshots of one's own, beside the manager's."""
        async with self.buffer.snapshot(user) as frozen:
            await self.replay(frozen)

    async def cancelled_at_random(self, make: Any, least: int = 0) -> None:
        while self.adding:
            task = asyncio.ensure_future(make())
            for _ in range(self.chance.randrange(40)):
                await asyncio.sleep(0)
            for _ in range(self.chance.randrange(least, 3)):
                task.cancel()
                await asyncio.sleep(0)
            for result in await asyncio.gather(task, return_exceptions=True):
                allowed = (ReplayBufferError, ValueError, asyncio.CancelledError)
                assert not isinstance(result, BaseException) or isinstance(result, allowed), result

    async def run(self) -> None:
        self.tasks = asyncio.all_tasks()
        manager = AsyncReplayManager(
            self.buffer, self.replay, workers=2, max_attempts=None, backoff=Backoff(first=0), poll_interval=0.001
        )
        async with asyncio.TaskGroup() as group:
            for user in USERS:
                group.create_task(self.add(user))
                group.create_task(self.cancelled_at_random(lambda user=user: self.by_hand(user)))
                group.create_task(self.cancelled_at_random(lambda user=user: manager.replay_user(user)))
            group.create_task(self.cancelled_at_random(manager.run, least=1))
            group.create_task(self.cancelled_at_random(manager.replay_ready))
        await manager.stop()
        await self.check()
        await self.buffer.close()

    async def check(self) -> None:
        assert asyncio.all_tasks() == self.tasks, "a task was left behind"
        for user in USERS:
            state, replayed, version = await self.buffer.state(user), list[int](), 0
            assert state.phase in ("idle", "parked"), "a snapshot stayed in progress"
            assert (await self.buffer.audit(user)).lost == 0
            added = []
            async for recorded in self.buffer.events(user):
                kind = type(recorded.event).__name__
                if kind == "MeasurementAdded":
                    added.append(recorded.event.measurement)  # type: ignore[union-attr]
                elif kind == "ReplayCompleted":
                    version = recorded.event.version  # type: ignore[union-attr]
                    replayed += self.taken[user, version]
            assert added == sorted(set(added)), "an add was doubled, or out of order"
            assert added == replayed + await self.buffer.measurements(user)
            assert len(added) >= ADDS / 2


@pytest.mark.parametrize("make", [MemoryLog, GatedLog])
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_whatever_is_cancelled(seed: int, make: Any) -> None:
    """Each measurement was in exactly one completed replay, or is live, in order; no task, no thread is left."""
    before = set(threading.enumerate())
    asyncio.run(asyncio.wait_for(Campaign(seed, make(keep_history=True)).run(), 120))
    assert not left_behind(before)
