"""A cancelled replay aborts, wherever it is and whoever waited for it."""

import asyncio
from typing import Any

import pytest
from aio_bench import AT_ONCE, Bench, ran
from aio_gates import Gate, cancelled_often

from statemachine import (
    ReplayResult,
    StaleSnapshotError,
)
from statemachine.aio import AsyncReplayBuffer, AsyncReplayManager, CoroutineCancelledError


def test_a_cancelled_replay_aborts_and_restores() -> None:
    """The coroutine gets the cancellation, the snapshot is aborted, `restore` runs, and nothing stays in progress."""

    async def main() -> None:
        bench = Bench()
        await bench.buffer.add_measurements("ann", [1, 2])
        task = asyncio.create_task(bench.manager.replay_user("ann"))
        await bench.entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bench.calls == ["take_snapshot", "replay", ("restore", "before", "aborting")]
        assert [result.outcome for result in bench.results] == ["failed"]
        assert isinstance(bench.results[0].error, CoroutineCancelledError)
        assert await bench.phase() == "idle"
        assert await bench.buffer.measurements("ann") == [1, 2]
        await bench.buffer.close()

    ran(main)


@pytest.mark.parametrize("stage", ["begin", "take_snapshot", "replay", "restore", "on_result"])
def test_cancelled_at_every_stage(stage: str) -> None:
    """Wherever it is cancelled, and again while it cleans up, nothing stays in progress and nothing is lost."""

    async def main() -> None:
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def stand(at: str) -> None:
            if at == stage:
                reached.set()
                await go_on.wait()

        async def take_snapshot(user_id: str) -> None:
            await stand("take_snapshot")

        async def replay(frozen: Any) -> None:
            await stand("replay")
            if stage == "restore":
                raise ValueError("bad window")

        async def restore(user_id: str, taken: Any) -> None:
            await stand("restore")

        async def on_result(result: ReplayResult) -> None:
            await stand("on_result")

        buffer: AsyncReplayBuffer[int] = AsyncReplayBuffer()
        await buffer.add_measurements("ann", [1, 2])
        manager = AsyncReplayManager(
            buffer, replay, take_snapshot=take_snapshot, restore=restore, on_result=on_result, backoff=AT_ONCE
        )
        task = asyncio.create_task(manager.replay_user("ann"))
        if stage == "begin":
            await asyncio.sleep(0)
        else:
            await reached.wait()
        task.cancel()
        if stage in ("restore", "on_result"):  # these are not broken off
            await cancelled_often(task)
            go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await buffer.state("ann")).phase == "idle"
        assert await buffer.size("ann") == (0 if stage == "on_result" else 2)
        assert (await buffer.audit("ann")).ok
        go_on.set()
        await buffer.add_measurement("ann", 3)
        assert stage == "restore" or (await manager.replay_user("ann")).ok
        await buffer.close()

    ran(main)


def test_a_replay_that_swallows_its_cancellation_or_is_plain_is_aborted_when_it_returns() -> None:
    """It cannot be broken off; but it must not complete what nobody waits for any more."""

    async def main() -> None:
        buffer: AsyncReplayBuffer[int] = AsyncReplayBuffer()
        await buffer.add_measurements("ann", [1, 2])
        entered, gate, restored = asyncio.Event(), Gate(), list[str]()

        async def stubborn(frozen: Any) -> str:
            entered.set()
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                return "all the same"
            raise AssertionError

        def plain(frozen: Any) -> None:
            gate()

        def restore(user_id: str, taken: Any) -> None:
            restored.append(user_id)

        for replay, begun in ((stubborn, entered.wait), (plain, gate.is_reached)):
            manager = AsyncReplayManager(buffer, replay, restore=restore)
            task = asyncio.create_task(manager.replay_user("ann"))
            await begun()
            task.cancel()
            if replay is plain:
                await cancelled_often(task)
                gate.opened.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await buffer.measurements("ann") == [1, 2]
        assert restored == ["ann", "ann"]

    ran(main)


@pytest.mark.parametrize("how", ["run", "async with", "stop"])
def test_who_is_cancelled_while_it_runs_cancels_the_replays(how: str) -> None:
    """A cancelled `run`, `async with` or `stop` aborts what is under way and leaves nothing running."""

    async def main() -> None:
        bench = Bench()
        await bench.buffer.add_measurement("ann", 1)

        async def waiting() -> None:
            if how == "run":
                await bench.manager.run()
            elif how == "stop":
                bench.manager.start()
                await bench.entered.wait()
                await bench.manager.stop()
            else:
                async with bench.manager:
                    await asyncio.sleep(3600)

        task = asyncio.create_task(waiting())
        await bench.entered.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not bench.manager.is_running
        assert bench.calls[-1] == ("restore", "before", "aborting")
        assert await bench.phase() == "idle"
        assert await bench.buffer.size("ann") == 1
        await bench.buffer.close()

    ran(main)


def test_what_is_over_before_its_coroutine_began_is_not_run() -> None:
    """A snapshot that was aborted, or whose waiter was cancelled, an instant before: the coroutine never begins."""

    async def main() -> None:
        bench = Bench(take_snapshot=None)
        await bench.buffer.add_measurement("ann", 1)
        abort = bench.buffer.wrapped.abort_snapshot

        class Aborting:
            def __call__(self, frozen: Any) -> Any:
                abort("ann")
                return bench.replay(frozen)

        manager = AsyncReplayManager(bench.buffer, Aborting())
        manager._functions._is_coroutine = True
        result = await manager.replay_user("ann")
        assert isinstance(result.error, StaleSnapshotError)
        gate = Gate()

        def slow(frozen: Any) -> Any:
            gate()
            return bench.replay(frozen)

        manager = AsyncReplayManager(bench.buffer, slow)
        manager._functions._is_coroutine = True
        task = asyncio.create_task(manager.replay_user("ann"))
        await gate.is_reached()
        await cancelled_often(task)
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bench.calls == []
        assert await bench.phase() == "idle"

    ran(main)
