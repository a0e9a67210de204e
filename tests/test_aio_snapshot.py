"""`async with buffer.snapshot(user)`: completed, or aborted, and nothing between."""

import asyncio
import logging
from typing import Any

import pytest
from aio_gates import Gate, GatedLog, all_slots_taken, cancelled_often, gated

from statemachine.aio import AsyncReplayBuffer

Buffer = AsyncReplayBuffer[Any]


@pytest.mark.parametrize("stop_at", ["append 1", "append 2", "body", "append 3"])
def test_a_snapshot_cancelled_anywhere_leaves_none(stop_at: str) -> None:
    """In the begin, the finalize, the body or the completion: it is aborted, or it was completed, and nothing between.

    The body's snapshot is not handed out where begin or finalize were cancelled.
    """

    async def main() -> None:
        buffer, log = await gated()
        gate, appends, entered = Gate(), 0, asyncio.Event()

        def before(name: str) -> None:
            nonlocal appends
            appends += name == "append"
            if stop_at == f"{name} {appends}":
                gate()

        log.before = before

        async def replay() -> None:
            async with buffer.snapshot("ann"):
                entered.set()
                if stop_at == "body":
                    await asyncio.sleep(3600)

        task = asyncio.create_task(replay())
        if stop_at == "body":
            await entered.wait()
            task.cancel()
        else:
            await gate.is_reached()
            await cancelled_often(task)
            gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        log.before = lambda name: None
        state = await buffer.state("ann")
        assert state.phase == "idle"
        assert entered.is_set() == (stop_at in ("body", "append 3"))
        assert state.live == (0 if stop_at == "append 3" else 3), "complete was under way, and is carried through"
        assert (await buffer.audit("ann")).ok
        await buffer.close()

    asyncio.run(main())


def test_a_completion_that_never_began_aborts() -> None:
    """Cancelled while it waits for a thread, it is not done, and the snapshot is aborted."""

    async def main() -> None:
        buffer, log = await gated()
        leave = asyncio.Event()
        frozen_ones = []

        async def replay() -> None:
            async with buffer.snapshot("ann") as frozen:
                frozen_ones.append(frozen)
                await leave.wait()

        task = asyncio.create_task(replay())
        while not frozen_ones:
            await asyncio.sleep(0)
        end = await all_slots_taken(buffer, log)
        leave.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await end()
        assert (frozen_ones[0].settled, (await buffer.state("ann")).phase) == ("", "idle")
        assert await buffer.measurements("ann") == [1, 2, 3]
        await buffer.close()

    asyncio.run(main())


def test_cancelled_again_while_the_rollback_runs() -> None:
    """The rollback of a cancelled snapshot goes on to its end, however often it is cancelled meanwhile."""

    async def main() -> None:
        reached, go_on, done = asyncio.Event(), asyncio.Event(), []

        async def on_abort(user_id: str, version: int, reason: str) -> None:
            reached.set()
            await go_on.wait()
            done.append(reason)

        buffer, _log = await gated(on_abort=on_abort)

        async def replay() -> None:
            async with buffer.snapshot("ann"):
                await asyncio.sleep(3600)

        task = asyncio.create_task(replay())
        while (await buffer.state("ann")).phase != "replaying":
            await asyncio.sleep(0)
        task.cancel()
        await reached.wait()
        await cancelled_often(task)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert done == ["cancelled"]
        assert (await buffer.state("ann")).phase == "idle"
        await buffer.close()

    asyncio.run(main())


@pytest.mark.parametrize("make", [AsyncReplayBuffer, lambda: AsyncReplayBuffer(GatedLog())])
def test_timeouts_and_task_groups(make: Any) -> None:
    """A timeout becomes a TimeoutError, a failing sibling an exception group, and each leaves no snapshot."""

    async def main() -> None:
        buffer = make()
        await buffer.add_measurements("ann", [1, 2, 3])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0), buffer.snapshot("ann"):
                await asyncio.sleep(3600)
        assert (await buffer.state("ann")).phase == "idle"
        entered = asyncio.Event()

        async def replay() -> None:
            async with buffer.snapshot("ann"):
                entered.set()
                await asyncio.sleep(3600)

        async def fail() -> None:
            await entered.wait()
            raise ValueError("sibling")

        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(replay())
                group.create_task(fail())
        assert (await buffer.state("ann")).phase == "idle"
        assert await buffer.measurements("ann") == [1, 2, 3]
        await buffer.close()

    asyncio.run(main())


def test_an_error_aborts_and_is_raised_on() -> None:
    """In the body; and where even aborting fails, the error of the body is the one that is raised."""

    async def main() -> None:
        buffer, log = await gated()
        with pytest.raises(ValueError, match="bad window"):
            async with buffer.snapshot("ann"):
                raise ValueError("bad window")
        assert (await buffer.state("ann")).phase == "idle"

        def fail(name: str) -> None:
            raise OSError("disk is full")

        with pytest.raises(ValueError, match="bad window"):
            async with buffer.snapshot("ann"):
                log.before = fail
                raise ValueError("bad window")
        log.before = lambda name: None
        assert (await buffer.state("ann")).phase == "replaying"  # until its lease ends
        await buffer.close()

    logging.getLogger("holdover").addHandler(logging.NullHandler())
    asyncio.run(main())
