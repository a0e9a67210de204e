"""A manager whose buffer is closed, whose looks and sweeps raise, or that finds no thread to start."""

from threading import Event, Thread
from typing import Any

import pytest
from managing import PATIENCE, Rig, Stuck, Watched, ended, fail, running

from statemachine import BufferClosedError


def test_a_body_that_raises_stops_it() -> None:
    """A manager in `with` drains, and the error is raised on."""
    rig = Rig(sum, "ann")
    with pytest.raises(ValueError, match="bad window"), rig.manager:
        rig.result()
        fail()
    assert running() == []


def test_a_buffer_closed_while_it_runs() -> None:
    """The manager comes to its end by itself; the replay under way has failed, and its result says why."""
    stuck = Stuck()
    rig = Rig(stuck, "ann")
    rig.manager.start()
    assert stuck.has_begun()
    rig.buffer.close()
    stuck.go_on.set()
    rig.manager.run()
    result = rig.result()
    assert (result.outcome, type(result.error), type(result.rollback_error)) == (
        "failed",
        BufferClosedError,
        BufferClosedError,
    )
    assert rig.manager.stop() == []
    assert running() == []
    with pytest.raises(BufferClosedError):
        rig.manager.replay_ready()


def test_a_buffer_closed_under_a_pass() -> None:
    """The pass comes to its end; who was still queued is left out."""
    rig = Rig(lambda frozen: rig.buffer.close(), "ann", "bob")
    assert [(result.user_id, result.outcome) for result in rig.manager.replay_ready()] == [("ann", "failed")]
    assert running() == []


def test_an_interrupt_of_a_pass_drains() -> None:
    """Ctrl-C in the middle of `replay_ready`: what is under way ends, the rest is not begun, no thread is left."""
    stuck = Stuck()
    rig = Rig(stuck, "ann", "bob")
    look = rig.manager._keeper.look
    interrupts = [KeyboardInterrupt()]

    def interrupted(*arguments: Any) -> Any:
        if interrupts and stuck.has_begun():
            raise interrupts.pop()
        stuck.go_on.set()
        return look(*arguments)

    rig.manager._keeper.look = interrupted  # type: ignore[assignment, method-assign]
    with pytest.raises(KeyboardInterrupt):
        rig.manager.replay_ready()
    assert rig.outcomes() == ["completed"]
    assert rig.buffer.state("bob").version == 0
    assert running() == []


@pytest.mark.parametrize("error", [OSError("the log is away"), SystemExit("no")])
def test_a_look_or_a_sweep_that_raises_is_not_the_last(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it raises is logged, and the manager goes on."""

    class Broken(Watched):
        def _claimed(self, most: int) -> list[str]:
            failures = looks.pop() if looks else None
            if failures:
                raise failures
            return super()._claimed(most)

        def expire_overdue(self) -> list[str]:
            if sweeps:
                raise sweeps.pop()
            swept.set()
            return []

    looks, sweeps, swept = [error], [error], Event()
    rig = Rig(sum, "ann", kind=Broken)
    with rig.manager:
        assert rig.result().ok
        assert swept.wait(PATIENCE)
    assert "looking for due users failed" in caplog.text
    assert "the sweep failed" in caplog.text


def test_a_manager_that_cannot_start_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no more threads, `start` raises, those already started end, and it can be tried again."""
    start = Thread.start

    def scarce(thread: Thread) -> None:
        if thread.name == "holdover-manager":
            raise RuntimeError("can't start new thread")
        start(thread)

    rig = Rig(sum, "ann")
    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", scarce)
        with pytest.raises(RuntimeError, match="can't start"):
            rig.manager.start()
        assert not rig.manager.is_running
    assert ended(*running())
    with rig.manager:
        assert rig.result().ok


def test_a_sweep_that_blocks_is_not_waited_for_beyond_the_timeout() -> None:
    """A rollback that does not return costs `stop(timeout)` no more than the timeout; its thread ends when it does."""
    entered, go_on = Event(), Event()
    rig = Rig(sum, "ann", on_abort=lambda *_: entered.set() or go_on.wait(PATIENCE))
    rig.buffer.begin_snapshot("ann")
    rig.clock.now += 30
    rig.manager.start()
    assert entered.wait(PATIENCE)
    assert rig.manager.stop(timeout=0) == []
    left = running()
    assert [thread.name for thread in left] == ["holdover-sweeper"]
    go_on.set()
    assert ended(*left)


def test_the_sweep_ends_when_the_buffer_is_closed() -> None:
    """It does not go on sweeping what is closed."""

    class Closed(Watched):
        def expire_overdue(self) -> list[str]:
            raise BufferClosedError("closed")

    rig = Rig(sum, kind=Closed)
    with rig.manager:
        assert ended(*(thread for thread in running() if thread.name == "holdover-sweeper"))
