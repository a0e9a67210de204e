"""`AsyncReplayManager`: the core's manager, whose replays and hooks may be coroutines."""

import asyncio
import functools
import threading
from typing import Any

import pytest
from aio_bench import AT_ONCE, CONFIG, Bench, nothing, ran

from statemachine import (
    InvalidArgumentError,
    ReplayBuffer,
    SnapshotInProgressError,
)
from statemachine.aio import AsyncReplayBuffer, AsyncReplayManager, LoopError


def test_the_way_of_a_replay() -> None:
    """As the core's, with every function a coroutine function; or every one a plain one, in threads."""

    async def main() -> None:
        bench = Bench()
        bench.during = nothing  # type: ignore[method-assign]
        await bench.buffer.add_measurements("ann", [1, 2])
        result = await bench.manager.replay_user("ann", timestamp="noon")
        assert (result.outcome, result.value, bench.results) == ("completed", 2, [result])
        assert bench.calls == ["take_snapshot", "replay"]
        await bench.buffer.close()
        here, threads = threading.current_thread(), list[Any]()
        buffer: AsyncReplayBuffer[int] = AsyncReplayBuffer(config=CONFIG)
        await buffer.add_measurements("ann", [1, 2])

        def plain(*_arguments: Any) -> int:
            threads.append(threading.current_thread())
            return 7

        manager = AsyncReplayManager(buffer, plain, take_snapshot=plain, on_replay_complete=plain, on_result=plain)
        assert (await manager.replay_user("ann")).value == 7
        assert len(threads) == 4
        assert here not in threads

    ran(main)


def test_replay_functions_of_every_kind() -> None:
    """A partial or an object that is a coroutine function is one; a lambda that gives a coroutine says what to do."""

    class Replay:
        async def __call__(self, frozen: Any) -> int:
            return sum([measurement async for measurement in frozen])

    async def main() -> None:
        for replay in (Replay(), functools.partial(Replay.__call__, Replay())):
            buffer: AsyncReplayBuffer[int] = AsyncReplayBuffer()
            await buffer.add_measurements("ann", [1, 2])
            assert (await AsyncReplayManager(buffer, replay).replay_user("ann")).value == 3
        await buffer.add_measurement("ann", 3)
        result = await AsyncReplayManager(buffer, lambda frozen: Replay()(frozen)).replay_user("ann")
        assert isinstance(result.error, InvalidArgumentError)
        assert "async def" in str(result.error)
        assert await buffer.measurements("ann") == [3]
        given = await AsyncReplayManager(
            buffer, sum, take_snapshot=lambda user_id: asyncio.sleep(0, "before"), restore=print
        ).replay_user("ann")
        assert given.ok

    ran(main)


def test_bad_input_is_refused_as_by_the_core() -> None:
    """When it is made, or when it is asked."""
    buffer: AsyncReplayBuffer[int] = AsyncReplayBuffer()
    with pytest.raises(InvalidArgumentError, match="wrapping"):
        AsyncReplayManager(ReplayBuffer(), sum)  # type: ignore[arg-type]
    for name in ("take_snapshot", "restore", "on_replay_complete", "on_result", "workers", "backoff"):
        with pytest.raises(InvalidArgumentError, match=name):
            AsyncReplayManager(buffer, sum, **{name: "seven"})  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="replay"):
        AsyncReplayManager(buffer, 7)  # type: ignore[arg-type]
    with pytest.raises(LoopError, match="no event loop"):
        AsyncReplayManager(buffer, sum).start()

    async def main() -> None:
        bench = Bench()
        with pytest.raises(InvalidArgumentError, match="timeout"):
            await bench.manager.stop(-1)
        with pytest.raises(InvalidArgumentError, match="progress"):
            await bench.manager.replay_ready(7)  # type: ignore[arg-type]

    ran(main)


def test_a_pass_and_its_cancellation() -> None:
    """All who are due are replayed; cancelled, those under way are aborted, and the rest is not even tried."""

    async def main() -> None:
        bench, progress = Bench(workers=2), list[Any]()
        users = [f"user {number}" for number in range(10)]
        for user in users:
            await bench.buffer.add_measurement(user, 1)
        task = asyncio.create_task(bench.manager.replay_ready())
        while bench.calls.count("replay") < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        states = [await bench.buffer.state(user) for user in users]
        assert {state.phase for state in states} == {"idle"}
        assert sum(state.attempts for state in states) == 2
        bench.during = nothing  # type: ignore[method-assign]

        async def show(done: int, total: int) -> None:
            progress.append((done, total))

        results = await bench.manager.replay_ready(show)
        assert [result.outcome for result in results] == ["completed"] * 8
        assert progress == [(number, 8) for number in range(1, 9)]
        await bench.buffer.close()

    ran(main)


def test_started_it_replays_who_becomes_due_until_it_is_stopped() -> None:
    """Also users added while it runs; `stop` lets what is under way end; a failure is tried again."""

    async def main() -> None:
        bench = Bench(backoff=AT_ONCE)
        failures = [ValueError("bad window")]

        async def during(frozen: Any) -> None:
            if failures:
                raise failures.pop()

        bench.during = during  # type: ignore[method-assign]
        async with bench.manager as manager:
            assert manager.is_running
            await bench.buffer.add_measurement("ann", 1)
            while not bench.results or not bench.results[-1].ok:
                await asyncio.sleep(0.001)
        assert not manager.is_running
        assert [(result.outcome, result.attempt) for result in bench.results] == [("failed", 1), ("completed", 2)]
        assert await manager.stop() == []
        await bench.buffer.park("ann")
        await manager.release_user("ann")
        assert await bench.phase() == "idle"
        await bench.buffer.close()

    ran(main)


def test_run_ends_when_it_is_stopped_elsewhere() -> None:
    """Also by a replay itself, which does not wait for its own end."""

    async def main() -> None:
        bench = Bench()
        await bench.buffer.add_measurement("ann", 1)

        async def during(frozen: Any) -> None:
            assert await bench.manager.stop() == []

        bench.during = during  # type: ignore[method-assign]
        await bench.manager.run()
        assert [result.outcome for result in bench.results] == ["completed"]
        await bench.buffer.close()

    ran(main)


def test_two_at_once_and_adds_from_a_replay() -> None:
    """The core's refusals come through, and a replay may add for its own user, which stays."""

    async def main() -> None:
        bench = Bench()

        async def during(frozen: Any) -> None:
            await bench.buffer.add_measurement("ann", 2)
            with pytest.raises(SnapshotInProgressError):
                await bench.manager.replay_user("ann")

        bench.during = during  # type: ignore[method-assign]
        await bench.buffer.add_measurement("ann", 1)
        assert (await bench.manager.replay_user("ann")).ok
        assert await bench.buffer.measurements("ann") == [2]
        await bench.buffer.close()

    ran(main)
