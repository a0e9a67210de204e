"""`AsyncReplayBuffer`: what the core does, for coroutines; on the loop where nothing can block, else in threads."""

import asyncio
import threading
from typing import Any

import pytest
from aio_gates import Gate, GatedLog, at, gated, left_behind

from events import MemoryLog
from statemachine import (
    BufferClosedError,
    BufferConfig,
    InvalidArgumentError,
    StaleSnapshotError,
    TruncatedHistoryError,
    UnknownUserError,
    due,
)
from statemachine.aio import AsyncReplayBuffer
from statemachine.aio._chunks import Chunks

MAKERS = [MemoryLog, GatedLog]


@pytest.mark.parametrize("make", MAKERS)
def test_every_call_does_what_the_cores_does(make: Any) -> None:
    """On the loop or in threads: the same results in the same order."""

    async def main() -> None:
        now = 0.0
        config = BufferConfig(max_measurements=5, due=due.Count(2))
        async with AsyncReplayBuffer(make(keep_history=True), config, clock=lambda: now) as buffer:
            assert await buffer.add_measurement("ann", 1) == 0
            assert await buffer.add_measurements("ann", iter([2, 3])) == range(1, 3)
            assert [user async for user in buffer.users()] == ["ann"] == [user async for user in buffer.ready()]
            version = await buffer.begin_snapshot("ann", "noon")
            frozen = await buffer.finalize_snapshot("ann", version)
            await buffer.add_measurement("ann", 4)
            assert (frozen.user_id, frozen.version, frozen.start, frozen.stop, frozen.timestamp) == (
                "ann", 1, 0, 3, "noon",
            )  # fmt: skip
            assert len(frozen) == 3
            assert repr(frozen) == "<AsyncFrozenSnapshot of user 'ann', version 1: 3 measurements in [0, 3)>"
            assert [measurement async for measurement in frozen] == await frozen.to_list() == [1, 2, 3]
            assert await frozen.by_timestamp(lambda measurement: -measurement) == [3, 2, 1]
            assert await buffer.pending("ann") == [4]
            now = 10.0
            await frozen.renew()
            await buffer.renew_lease("ann", version)
            assert (await buffer.state("ann")).deadline == 310.0
            await buffer.complete_replay("ann", version)
            assert (await buffer.state_at("ann", 1)).live == await buffer.size("ann") == 1
            await buffer.begin_snapshot("ann")
            await buffer.abort_snapshot("ann", "database is away")
            await buffer.schedule_retry("ann", 20.0)
            await buffer.park("ann", "broken")
            assert await buffer.parked() == ["ann"]
            await buffer.release("ann")
            assert await buffer.parked() == [] == await buffer.expire_overdue()
            assert (await buffer.audit("ann")).ok
            assert (await buffer.metrics()).replayed == 3
            assert len([recorded async for recorded in buffer.events("ann", 1, 4)]) == 3
            await buffer.clear_buffer("ann", (await buffer.state("ann")).head)
            assert await buffer.measurements("ann") == []
            assert buffer.config is config
            assert buffer.abort_errors == {}
        with pytest.raises(BufferClosedError):
            await buffer.size("ann")
        with pytest.raises(BufferClosedError):
            await buffer.audit("ann")

    before = set(threading.enumerate())
    asyncio.run(main())
    assert not left_behind(before)


def test_a_log_that_blocks_does_not_hold_up_the_loop() -> None:
    """While a call stands still in the database, other tasks go on."""

    async def main() -> None:
        buffer, log = await gated()
        gate = Gate()
        log.before = at(gate, "add")
        task = asyncio.create_task(buffer.add_measurement("ann", 4))
        await gate.is_reached()
        assert await buffer.measurements("ann") == [1, 2, 3]
        gate.opened.set()
        assert await task == 3
        await buffer.close()

    asyncio.run(main())


@pytest.mark.parametrize("make", MAKERS)
def test_bad_input_is_refused_as_by_the_core(make: Any) -> None:
    """The same errors, raised where it is awaited."""

    async def main() -> None:
        buffer: AsyncReplayBuffer[Any] = AsyncReplayBuffer(make())
        with pytest.raises(InvalidArgumentError):
            await buffer.add_measurements("ann", 7)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgumentError):
            await buffer.add_measurement("", 7)
        with pytest.raises(UnknownUserError):
            await buffer.begin_snapshot("bob")
        events = buffer.events("bob")
        with pytest.raises(UnknownUserError):
            await anext(events)
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        await buffer.close()

    asyncio.run(main())
    with pytest.raises(InvalidArgumentError, match="on_abort"):
        AsyncReplayBuffer(on_abort=7)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="ReplayBuffer"):
        AsyncReplayBuffer.wrapping(MemoryLog())  # type: ignore[arg-type]


def test_chunks_give_what_is_there_before_they_raise() -> None:
    """However long, in order; an error comes after what came before it."""

    def numbers() -> Any:
        yield from range(7)
        raise TruncatedHistoryError("gone")

    async def main() -> None:
        async def call(function: Any) -> Any:
            return function()

        assert [number async for number in Chunks(call, lambda: iter(range(10)), size=5)] == list(range(10))
        got = []
        with pytest.raises(TruncatedHistoryError):
            async for number in Chunks(call, numbers, size=4):
                got.append(number)  # noqa: PERF401 - it raises
        assert got == list(range(7))

    asyncio.run(main())


def test_a_stale_snapshot_says_so() -> None:
    """Reading and completing one that is over is refused, as in the core."""

    async def main() -> None:
        buffer: AsyncReplayBuffer[int] = AsyncReplayBuffer()
        await buffer.add_measurement("ann", 1)
        async with buffer.snapshot("ann") as frozen:
            await frozen.complete()  # a replay may complete by itself
        assert frozen.settled == "completed"
        with pytest.raises(StaleSnapshotError):
            await frozen.to_list()
        with pytest.raises(StaleSnapshotError):
            await frozen.complete()

    asyncio.run(main())


def test_a_key_that_raises_stop_iteration_does_not_hang() -> None:
    """No asyncio future takes a StopIteration; it comes as the cause of another error."""

    def key(measurement: int) -> int:
        raise StopIteration

    async def main() -> None:
        buffer, _log = await gated()
        async with buffer.snapshot("ann") as frozen:
            with pytest.raises(RuntimeError, match="StopIteration"):
                await frozen.by_timestamp(key)
        await buffer.close()

    asyncio.run(main())
