"""One loop, and what becomes of threads and coroutines without it."""

import asyncio
import threading
from typing import Any

import pytest
from aio_gates import Gate, at, gated, left_behind

from statemachine import ReplayBuffer, RollbackError
from statemachine.aio import AsyncReplayBuffer, LoopError

Buffer = AsyncReplayBuffer[Any]


def test_another_loop_is_refused() -> None:
    """It stays on the loop of its first call; elsewhere, and where no loop runs, it says so."""
    buffer: Buffer = AsyncReplayBuffer()
    asyncio.run(buffer.add_measurement("ann", 1))
    with pytest.raises(LoopError, match="another event loop"):
        asyncio.run(buffer.add_measurement("ann", 2))
    with pytest.raises(LoopError, match="no event loop is running"):
        buffer._reach.home.enter()
    assert buffer.wrapped.measurements("ann") == [1]


def test_coroutine_hooks_without_their_loop_are_refused() -> None:
    """Called before there is a loop, on the loop's own thread, or after its end: an error, no deadlock, no warning."""

    async def on_abort(user_id: str, version: int, reason: str) -> None:
        pass

    def aborted(shared: ReplayBuffer[Any]) -> str:
        shared.begin_snapshot("ann")
        try:
            shared.abort_snapshot("ann")
        except Exception as error:
            return str(error.__cause__)
        finally:
            shared._rollbacks.run("ann")
        return ""

    buffer: Buffer = AsyncReplayBuffer(on_abort=on_abort)
    buffer.wrapped.add_measurement("ann", 1)
    assert "no loop is known" in aborted(buffer.wrapped)

    async def main() -> str:
        await buffer.expire_overdue()
        return aborted(buffer.wrapped)

    assert "own thread" in asyncio.run(main())

    assert buffer.wrapped.state("ann").phase == "aborting"
    error = buffer.wrapped.expire_overdue() or buffer.abort_errors["ann"]
    assert "closed" in str(error)


@pytest.mark.parametrize("has_begun", [True, False])
def test_a_loop_that_is_closed_under_a_hook_lets_its_thread_go(
    has_begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that waits for a coroutine which will never end finds that out."""
    monkeypatch.setattr("statemachine.aio._home.PATIENCE", 0.001)
    sent, errors = threading.Event(), list[Any]()

    async def on_abort(user_id: str, version: int, reason: str) -> None:
        loop.stop()
        await asyncio.Event().wait()

    def abort() -> None:
        try:
            buffer.wrapped.abort_snapshot("ann")
        except RollbackError as error:
            errors.append(error.__cause__)

    buffer: Buffer = AsyncReplayBuffer(on_abort=on_abort)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(buffer.add_measurement("ann", 1))
    send = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *a, **context: (send(*a, **context), sent.set()))
    buffer.wrapped.begin_snapshot("ann")
    thread = threading.Thread(target=abort)
    thread.start()
    assert sent.wait(60)
    if has_begun:
        loop.run_forever()
    tasks = asyncio.all_tasks(loop)
    loop.close()
    thread.join(60)
    assert "closed under a coroutine" in str(errors[0])
    assert len(tasks) == has_begun
    for task in tasks:  # asyncio complains of what it left pending
        task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_no_thread_is_left_behind_after_a_close() -> None:
    """Its threads end with it, also where a call is under way."""

    async def main() -> None:
        buffer, log = await gated()
        gate = Gate()
        log.before = at(gate, "add")
        task = asyncio.create_task(buffer.add_measurement("ann", 4))
        await gate.is_reached()
        await buffer.close()
        gate.opened.set()
        assert await task == 3

    before = set(threading.enumerate())
    asyncio.run(main())
    assert not left_behind(before)
