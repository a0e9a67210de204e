"""`take_over=True`: what a crashed process has left in progress is aborted at once, and rolled back."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Clock

from events import EventLog, MemoryLog, SqliteLog
from statemachine import ReplayBuffer, StaleSnapshotError
from statemachine.aio import AsyncReplayBuffer

Reopen = Callable[[], EventLog[Any]]


@pytest.fixture(params=["memory", "sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Reopen:
    """Gives the same log, as another process would open it."""
    memory = MemoryLog[Any]()
    return lambda: memory if request.param == "memory" else SqliteLog(tmp_path / "log.db", durability="off")


def left(reopen: Reopen, clock: Clock) -> None:
    """Ann in snapshotting, bob in replaying, cyd in aborting with a rollback that failed, dan idle."""

    def fails(user_id: str, version: int, reason: str) -> None:
        raise OSError("the database is away")

    with ReplayBuffer(reopen(), clock=clock, on_abort=fails) as buffer:
        for user_id in ("ann", "bob", "cyd", "dan"):
            buffer.add_measurements(user_id, [1, 2])
        buffer.begin_snapshot("ann")
        buffer.finalize_snapshot("bob", buffer.begin_snapshot("bob"))
        buffer.add_measurement("bob", 3)
        buffer.begin_snapshot("cyd")
        with pytest.raises(Exception, match="the database is away"):
            buffer.abort_snapshot("cyd", "test")


def test_without_it_they_keep_their_deadlines(reopen: Reopen, clock: Clock) -> None:
    """Another process may be at work on them; time did not stand still meanwhile."""
    left(reopen, clock)
    clock.now += 29
    with ReplayBuffer(reopen(), clock=clock) as buffer:
        assert (buffer.state("ann").phase, buffer.state("ann").deadline) == ("snapshotting", 130.0)
        assert (buffer.state("bob").phase, buffer.state("bob").deadline) == ("replaying", 400.0)
        clock.now += 1
        assert buffer.state("ann").phase == "idle"
        assert buffer.state("bob").phase == "replaying"


def test_without_it_the_sweep_runs_the_rollback_again(reopen: Reopen, clock: Clock) -> None:
    """For the user that was left in aborting, also in the new process."""
    left(reopen, clock)
    rolled_back: list[Any] = []
    with ReplayBuffer(reopen(), clock=clock, on_abort=lambda *about: rolled_back.append(about)) as buffer:
        assert buffer.state("cyd").phase == "aborting"
        assert buffer.expire_overdue() == ["cyd"]
        assert buffer.state("cyd").phase == "idle"
    assert rolled_back == [("cyd", 1, "test")]


def test_they_are_aborted_and_rolled_back_at_once(reopen: Reopen, clock: Clock) -> None:
    """Everything is live again, before anything touches those users."""
    left(reopen, clock)
    rolled_back: list[Any] = []
    log = reopen()
    with ReplayBuffer(log, clock=clock, on_abort=lambda *about: rolled_back.append(about), take_over=True) as buffer:
        assert log.overdue(1e300) == []
        gone = "left by a process that is gone"
        assert sorted(rolled_back) == [("ann", 1, gone), ("bob", 1, gone), ("cyd", 1, "test")]
        assert [buffer.state(user_id).phase for user_id in buffer.users()] == ["idle"] * 4
        assert buffer.measurements("bob") == [1, 2, 3]
        assert buffer.state("bob").attempts == 1
        assert all(buffer.audit(user_id).ok for user_id in buffer.users())


def test_without_a_hook_they_are_idle_at_once(reopen: Reopen, clock: Clock) -> None:
    """Whoever was in aborting has nothing left to wait for either."""
    left(reopen, clock)
    with ReplayBuffer(reopen(), clock=clock, take_over=True) as buffer:
        assert [buffer.state(user_id).phase for user_id in buffer.users()] == ["idle"] * 4


def test_a_rollback_that_fails_again_does_not_keep_the_application_from_starting(reopen: Reopen, clock: Clock) -> None:
    """The error is to be seen, and the sweep tries again."""
    left(reopen, clock)
    away = [True]

    def restore(user_id: str, version: int, reason: str) -> None:
        if away:
            raise OSError("still away")

    with ReplayBuffer(reopen(), clock=clock, on_abort=restore, take_over=True) as buffer:
        assert sorted(buffer.abort_errors) == ["ann", "bob", "cyd"]
        away.clear()
        assert sorted(buffer.expire_overdue()) == ["ann", "bob", "cyd"]


def test_a_process_that_was_not_gone_after_all_is_fenced(reopen: Reopen, clock: Clock) -> None:
    """Its completion is refused; nothing it has replayed counts twice."""
    log = reopen()
    slow = ReplayBuffer[int](log, clock=clock)
    slow.add_measurement("ann", 1)
    frozen = slow.finalize_snapshot("ann", slow.begin_snapshot("ann"))
    taken = reopen()
    ReplayBuffer[int](taken, clock=clock, take_over=True)
    with pytest.raises(StaleSnapshotError):
        frozen.complete()
    assert slow.measurements("ann") == [1]
    log.close()
    taken.close()


def test_on_an_event_loop_the_rollbacks_run_with_the_first_sweep(reopen: Reopen, clock: Clock) -> None:
    """They may be coroutines, which nobody can wait for while the buffer is being made."""
    left(reopen, clock)
    rolled_back: list[str] = []

    async def restore(user_id: str, version: int, reason: str) -> None:
        rolled_back.append(user_id)

    async def main() -> None:
        async with AsyncReplayBuffer[Any](reopen(), clock=clock, on_abort=restore, take_over=True) as buffer:
            assert (await buffer.state("bob")).phase == "aborting"
            assert sorted(await buffer.expire_overdue()) == ["ann", "bob", "cyd"]

    asyncio.run(main())
    assert sorted(rolled_back) == ["ann", "bob", "cyd"]


def test_on_an_event_loop_without_a_hook_they_are_idle_at_once(reopen: Reopen, clock: Clock) -> None:
    """Where nothing has to run nobody waits for the first sweep."""
    left(reopen, clock)

    async def main() -> list[str]:
        async with AsyncReplayBuffer[Any](reopen(), clock=clock, take_over=True) as buffer:
            return [(await buffer.state(user_id)).phase for user_id in ("ann", "bob")]

    assert asyncio.run(main()) == ["idle", "idle"]


def test_who_is_not_alone_takes_over_nothing_that_has_begun_since(clock: Clock) -> None:
    """Whoever was believed to be gone completes its replay while it is to be aborted, and begins the next."""

    class Overtaken(MemoryLog[Any]):
        meanwhile: Callable[[], object] | None = None

        def append(self, *arguments: Any, **options: Any) -> int:
            overtakes, self.meanwhile = self.meanwhile, None
            if overtakes is not None:
                overtakes()
            return super().append(*arguments, **options)

    def complete_and_begin() -> None:
        first.complete_replay("ann")
        first.begin_snapshot("ann")

    log = Overtaken()
    first: ReplayBuffer[Any] = ReplayBuffer(log, clock=clock)
    first.add_measurements("ann", [1, 2])
    first.finalize_snapshot("ann", first.begin_snapshot("ann"))
    log.meanwhile = complete_and_begin
    second: ReplayBuffer[Any] = ReplayBuffer(log, clock=clock, take_over=True)
    state = second.state("ann")
    assert (state.phase, state.version, state.replayed, state.attempts) == ("snapshotting", 2, 2, 0)
