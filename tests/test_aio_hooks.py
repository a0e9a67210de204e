"""Hooks that are coroutine functions run on the loop, and any other in threads."""

import asyncio
import threading
from typing import Any

import pytest
from aio_gates import GatedLog

from events import MemoryLog
from statemachine import (
    BufferConfig,
    EvictHookError,
    ReplayBuffer,
    RollbackError,
)
from statemachine.aio import AsyncReplayBuffer

MAKERS = [MemoryLog, GatedLog]


def test_in_memory_without_hooks_nothing_leaves_the_loop() -> None:
    """What cannot block is done on the loop's thread; a hop would cost a hundred times an add."""
    threads: set[threading.Thread] = set()

    def clock() -> float:
        threads.add(threading.current_thread())
        return 0.0

    async def main() -> None:
        buffer: AsyncReplayBuffer[int] = AsyncReplayBuffer(clock=clock)
        await buffer.add_measurement("ann", 1)
        async with buffer.snapshot("ann") as frozen:
            assert await frozen.to_list() == [1]
        assert buffer._reach.calls._executor is None

    asyncio.run(main())
    assert threads == {threading.current_thread()}


def test_hooks_may_be_coroutine_functions_and_call_the_buffer() -> None:
    """They run on the loop, where they can await, also this buffer, for however many users at once."""

    async def main() -> None:
        loop_thread, evicted = threading.current_thread(), []

        async def on_evict(user_id: str, measurements: Any) -> None:
            assert threading.current_thread() is loop_thread
            await asyncio.sleep(0)
            evicted.append((user_id, list(measurements), await buffer.size(user_id)))

        async def on_abort(user_id: str, version: int, reason: str) -> None:
            assert (await buffer.state(user_id)).phase == "aborting"

        buffer: AsyncReplayBuffer[int] = AsyncReplayBuffer(
            config=BufferConfig(max_measurements=1), on_evict=on_evict, on_abort=on_abort
        )
        users = [f"user {number}" for number in range(100)]  # more than there are slots for threads
        for measurement in (1, 2):
            await asyncio.gather(*(buffer.add_measurement(user, measurement) for user in users))
        assert sorted(evicted) == sorted((user, [1], 1) for user in users)
        await buffer.begin_snapshot("user 7")
        await buffer.abort_snapshot("user 7")
        assert (await buffer.state("user 7")).phase == "idle"
        await buffer.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_plain_hooks_run_in_threads() -> None:
    """A hook that blocks does not hold up the loop."""

    async def main() -> None:
        seen = []
        shared: ReplayBuffer[int] = ReplayBuffer(on_abort=lambda *_: seen.append(threading.current_thread()))
        buffer = AsyncReplayBuffer.wrapping(shared)
        await buffer.add_measurement("ann", 1)
        await buffer.begin_snapshot("ann")
        await buffer.abort_snapshot("ann")
        assert seen
        assert threading.current_thread() not in seen
        assert buffer.wrapped is shared
        await buffer.close()

    asyncio.run(main())


def test_hooks_that_fail() -> None:
    """A coroutine hook that raises, or is cancelled, is an error as any hook's; the sweep tries the rollback again."""

    async def main() -> None:
        failures: list[BaseException] = [OSError("away"), asyncio.CancelledError()]

        async def on_abort(user_id: str, version: int, reason: str) -> None:
            if failures:
                raise failures.pop()

        async def on_evict(user_id: str, measurements: Any) -> None:
            raise ValueError("no")

        buffer: AsyncReplayBuffer[int] = AsyncReplayBuffer(
            config=BufferConfig(max_measurements=1), on_abort=on_abort, on_evict=on_evict
        )
        await buffer.add_measurement("ann", 1)
        with pytest.raises(EvictHookError, match="IS recorded"):
            await buffer.add_measurement("ann", 2)
        await buffer.begin_snapshot("ann")
        with pytest.raises(RollbackError, match="cancelled"):
            await buffer.abort_snapshot("ann")
        assert await buffer.expire_overdue() == []
        assert str(buffer.abort_errors["ann"]) == "away"
        assert await buffer.expire_overdue() == ["ann"]
        await buffer.close()

    asyncio.run(main())


def test_a_hook_may_take_its_time_and_be_any_awaitable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread looks whether there still is a loop, and goes on waiting; what is awaited need not be a coroutine."""
    monkeypatch.setattr("statemachine.aio._home.PATIENCE", 0.001)
    looked, done = threading.Event(), list[str]()

    class Restoring:
        def __await__(self) -> Any:
            while not looked.is_set():
                yield
            done.append("restored")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        is_closed = loop.is_closed
        buffer: AsyncReplayBuffer[int] = AsyncReplayBuffer(on_abort=lambda *_: Restoring())
        await buffer.add_measurement("ann", 1)
        await buffer.begin_snapshot("ann")

        def watched() -> bool:
            if threading.current_thread() is not threading.main_thread():
                looked.set()
            return is_closed()

        monkeypatch.setattr(loop, "is_closed", watched)
        await buffer.abort_snapshot("ann")
        assert done == ["restored"]
        await buffer.close()

    asyncio.run(main())


def test_a_users_rollback_never_runs_on_the_loop() -> None:
    """While a replay of a user has something to restore, its calls go to threads; those of others stay."""

    async def main() -> None:
        seen: list[Any] = []
        buffer: AsyncReplayBuffer[int] = AsyncReplayBuffer()
        for user in ("ann", "bob"):
            await buffer.add_measurement(user, 1)
        version = await buffer.begin_snapshot("ann")
        restore = lambda *_: seen.append(threading.current_thread())  # noqa: E731
        buffer.wrapped._rollbacks.register("ann", version, restore)
        await buffer.measurements("bob")
        assert buffer._reach.calls._executor is None
        await buffer.abort_snapshot("ann")
        assert seen
        assert threading.current_thread() not in seen
        await buffer.close()

    asyncio.run(main())


def test_the_reason_of_an_abort_reaches_the_rollback() -> None:
    """Given to the buffer or to the snapshot object, it comes with the version to the hook."""

    async def main() -> None:
        aborted: list[tuple[str, int, str]] = []
        buffer: AsyncReplayBuffer[int] = AsyncReplayBuffer(on_abort=lambda *call: aborted.append(call))
        await buffer.add_measurement("ann", 1)
        await buffer.abort_snapshot("ann", "database is away", await buffer.begin_snapshot("ann"))
        await buffer.begin_snapshot("ann")
        await (await buffer.finalize_snapshot("ann")).abort("outliers everywhere")
        assert aborted == [("ann", 1, "database is away"), ("ann", 2, "outliers everywhere")]

    asyncio.run(main())
