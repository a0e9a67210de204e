"""Calls that are cancelled, wherever and however often: nothing half done stays."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from aio_gates import Gate, GatedLog, all_slots_taken, at, cancelled_often, gated

from statemachine.aio import AsyncReplayBuffer, CoroutineCancelledError
from statemachine.aio._home import Home

Buffer = AsyncReplayBuffer[Any]


async def cancelled_in(buffer: Buffer, log: GatedLog, name: str, call: Awaitable[Any]) -> None:
    """Cancel the call, often, while its thread stands still in the log."""
    gate = Gate()
    log.before = at(gate, name)
    task = asyncio.ensure_future(call)
    await gate.is_reached()
    await cancelled_often(task)
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_cancelled_begin_leaves_no_snapshot() -> None:
    """It is waited for and undone."""

    async def main() -> None:
        buffer, log = await gated()
        await cancelled_in(buffer, log, "append", buffer.begin_snapshot("ann"))
        state = await buffer.state("ann")
        assert (state.phase, state.version, state.live) == ("idle", 1, 3)
        await buffer.close()

    asyncio.run(main())


@pytest.mark.parametrize("named", [True, False])
def test_a_cancelled_finalize_aborts(named: bool) -> None:
    """It is waited for and undone, whether the snapshot was named or not."""

    async def main() -> None:
        buffer, log = await gated()
        version = await buffer.begin_snapshot("ann")
        call = buffer.finalize_snapshot("ann", version if named else None)
        await cancelled_in(buffer, log, "append", call)
        assert (await buffer.state("ann")).phase == "idle"
        assert await buffer.measurements("ann") == [1, 2, 3]
        await buffer.close()

    asyncio.run(main())


@pytest.mark.parametrize("named", [True, False])
def test_what_is_cancelled_before_it_began(named: bool) -> None:
    """A begin or an add that waits for a thread is not done at all; a finalize that waits for one aborts."""

    async def main() -> None:
        buffer, log = await gated()
        version = await buffer.begin_snapshot("ann")
        end = await all_slots_taken(buffer, log)
        calls = [buffer.finalize_snapshot("ann", version if named else None), buffer.add_measurement("ann", 4)]
        tasks = [asyncio.create_task(call) for call in calls]
        for task in tasks:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)
        await end()
        assert (await buffer.state("ann")).phase == "idle"
        assert await buffer.measurements("ann") == [1, 2, 3]
        await buffer.close()

    asyncio.run(main())


def test_a_cancelled_finalize_does_not_abort_somebody_elses_replay() -> None:
    """One that was refused, since the replay runs already, leaves that replay alone."""

    async def main() -> None:
        buffer, log = await gated()
        frozen = await buffer.finalize_snapshot("ann", await buffer.begin_snapshot("ann"))
        end = await all_slots_taken(buffer, log)
        task = asyncio.create_task(buffer.finalize_snapshot("ann"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await end()
        assert (await buffer.state("ann")).phase == "replaying"
        await frozen.complete()
        await buffer.close()

    asyncio.run(main())


@pytest.mark.parametrize("of", ["snapshot", "buffer"])
def test_a_cancelled_abort_is_carried_through(of: str) -> None:
    """Also where every thread is busy: an abort waits for none."""

    async def main() -> None:
        buffer, log = await gated()
        frozen = await buffer.finalize_snapshot("ann", await buffer.begin_snapshot("ann"))
        end = await all_slots_taken(buffer, log)
        abort = frozen.abort("no") if of == "snapshot" else buffer.abort_snapshot("ann", "no")
        task = asyncio.create_task(abort)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await end()
        assert frozen.settled == ("aborted" if of == "snapshot" else "")
        assert (await buffer.state("ann")).phase == "idle"
        await buffer.close()

    asyncio.run(main())


def test_a_coroutine_cancelled_before_it_began() -> None:
    """What is cancelled before the loop has come to it never begins, and its thread learns that."""

    async def main() -> None:
        begun = []

        async def begin() -> None:
            begun.append(True)

        home = Home()
        home.enter()
        errand = await asyncio.to_thread(home.errand, begin())
        errand.cancel()
        with pytest.raises(CoroutineCancelledError):
            await asyncio.to_thread(errand.run)
        assert begun == []

    asyncio.run(main())
