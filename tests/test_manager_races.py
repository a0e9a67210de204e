"""Races between the end of a replay and its being given up, and what is left of it in memory."""

import gc
import weakref
from threading import Event
from typing import Any

import pytest
from managing import PATIENCE, Rig, Stuck, Watched, ended, fail, worker

from statemachine import (
    RollbackError,
)
from statemachine._run import Job, Run


class Pausing(Watched):
    """A buffer in which a completion or an abort waits until it is let go."""

    paused: str = ""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.there, self.go_on = Event(), Event()

    def pause(self, here: str) -> None:
        if self.paused == here:
            self.paused = ""
            self.there.set()
            assert self.go_on.wait(PATIENCE)

    def complete_replay(self, user_id: str, version: int | None = None, **how: Any) -> None:
        self.pause("completion")
        super().complete_replay(user_id, version, **how)

    def abort_snapshot(self, user_id: str, reason: str = "", version: int | None = None) -> None:
        self.pause("abort")
        super().abort_snapshot(user_id, reason, version)


def test_a_replay_that_has_returned_is_not_abandoned() -> None:
    """Race, the function first: while its completion is on its way the manager leaves it alone, and it is told once."""
    rig = Rig(sum, "ann", kind=Pausing, max_replay_time=50)
    rig.buffer.paused = "completion"  # type: ignore[attr-defined]
    with rig.manager:
        assert rig.buffer.there.wait(PATIENCE)  # type: ignore[attr-defined]
        thread = worker()
        rig.clock.now += 50
        rig.looks()
        rig.buffer.go_on.set()  # type: ignore[attr-defined]
        assert rig.result().ok
        assert worker() is thread, "a sound thread was given up"
    assert rig.outcomes() == []
    assert rig.buffer.state("ann").replayed == 1


def test_a_replay_that_returns_while_it_is_abandoned_does_not_complete() -> None:
    """Race, the manager first: before its abort is recorded the function returns; it is told once, as abandoned."""
    stuck = Stuck()
    rig = Rig(stuck, "ann", kind=Pausing, max_replay_time=50)
    rig.buffer.paused = "abort"  # type: ignore[attr-defined]
    with rig.manager:
        assert stuck.has_begun()
        thread = worker()
        rig.clock.now += 50
        assert rig.buffer.there.wait(PATIENCE)  # type: ignore[attr-defined]
        stuck.go_on.set()
        assert ended(thread), "it is replaced, so it must take nobody else"
        rig.buffer.go_on.set()  # type: ignore[attr-defined]
        assert rig.result().outcome == "abandoned"
    assert rig.outcomes() == []
    assert rig.buffer.measurements("ann") == [1]
    assert rig.buffer.state("ann").attempts == 1


def test_it_is_abandoned_once() -> None:
    """Of two who look after it at once, one tells."""
    rig = Rig(sum, "ann")
    run = Run(rig.buffer, Job(sum), "ann", rig.buffer.begin_snapshot("ann"), 0.0)
    first, second = run.abandon("too long"), run.abandon("too long")
    assert (first and first.outcome, second) == ("abandoned", None)


def test_an_abandoned_replay_leaves_nothing_in_memory() -> None:
    """When its function has returned, neither the run nor its rollback is kept."""
    stuck = Stuck()
    rig = Rig(stuck, "ann", max_replay_time=50, restore=lambda *_: None)
    with rig.manager:
        assert stuck.has_begun()
        (run,) = map(weakref.ref, rig.manager._keeper._runs)
        thread = worker()
        rig.clock.now += 50
        rig.result()
        stuck.go_on.set()
        assert ended(thread)
    del thread
    gc.collect()
    assert run() is None
    assert not rig.manager._keeper._runs


def test_an_old_replay_that_comes_back_during_a_later_rollback_is_forgotten() -> None:
    """Its own rollback is not kept because another one of the user is not finished."""
    rig = Rig(sum, "ann", restore=lambda *_: None)

    def take_snapshot(user: str) -> None:
        rig.clock.now += 30
        rig.buffer._rollbacks.register(user, rig.buffer.begin_snapshot(user), fail)
        with pytest.raises(RollbackError):
            rig.buffer.abort_snapshot(user)

    rig.manager._job = Job(sum, take_snapshot, lambda *_: None)
    assert rig.manager.replay_user("ann").outcome == "stale"
    assert list(rig.buffer._rollbacks._own) == [("ann", 2)]
