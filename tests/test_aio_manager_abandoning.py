"""Replays that are given up by the manager, or by an application that forgets it."""

import asyncio
import threading
from typing import Any

import pytest
from aio_bench import Bench, ran
from aio_gates import left_behind


@pytest.mark.parametrize("stage", ["take_snapshot", "replay"])
def test_an_abandoned_replay_is_cancelled(stage: str) -> None:
    """Past `max_replay_time` its coroutine is cancelled and the snapshot given up; the user can be replayed again."""

    async def main() -> None:
        stuck, cancelled = asyncio.Event(), asyncio.Event()

        async def stand(at: str) -> None:
            if at == stage:
                stuck.set()
                try:
                    await asyncio.sleep(3600)
                finally:
                    cancelled.set()

        bench = Bench(max_replay_time=10, take_snapshot=lambda user_id: stand("take_snapshot"))
        bench.during = lambda frozen: stand("replay")  # type: ignore[method-assign]
        await bench.buffer.add_measurement("ann", 1)
        async with bench.manager:
            await stuck.wait()
            bench.now = 10.0
            await cancelled.wait()
            if stage == "replay":
                await bench.restored.wait()
            await bench.told.wait()
        assert [result.outcome for result in bench.results] == ["abandoned"]
        assert await bench.phase() == "idle"
        assert await bench.buffer.measurements("ann") == [1]
        await bench.buffer.close()

    ran(main)


def test_a_stop_that_does_not_wait_any_longer_cancels() -> None:
    """What it abandons is cancelled, and restored by the time it returns."""

    async def main() -> None:
        bench = Bench()
        await bench.buffer.add_measurement("ann", 1)
        bench.manager.start()
        await bench.entered.wait()
        assert await bench.manager.stop(0) == ["ann"]
        assert bench.calls[-1] == ("restore", "before", "aborting")
        assert await bench.phase() == "idle"
        await bench.buffer.close()

    ran(main)


def test_a_manager_that_is_forgotten_begins_nothing_without_its_loop() -> None:
    """When the loop is gone, nobody is replayed, no attempt is counted against anybody, and its threads end."""
    bench: Any = None

    async def main() -> None:
        nonlocal bench
        bench = Bench(restore=None)
        await bench.buffer.add_measurement("ann", 1)
        bench.manager.start()
        await bench.entered.wait()

    before = set(threading.enumerate())
    asyncio.run(main())
    buffer = bench.buffer.wrapped
    while bench.manager.is_running:
        if buffer.state("ann").phase == "idle" and not list(buffer.ready()):
            buffer.add_measurement("bob", 1)
    assert not left_behind(before)
    assert buffer.state("ann").phase == "idle"
    assert buffer.measurements("ann") == [1]
    assert buffer.state("ann").attempts <= 1
    assert buffer.state("bob").attempts == 0
