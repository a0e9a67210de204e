"""A replay that takes longer than `max_replay_time` is abandoned: told once, refused when it is late, replaced."""

from threading import Event, Thread
from typing import Any

import pytest
from managing import PATIENCE, Rig, Stuck, ended, running, worker

from events import MemoryLog
from statemachine import BufferConfig, due
from statemachine._run import ReplayStillRunningError


@pytest.mark.parametrize("way", ["start", "replay_ready"])
def test_past_max_replay_time_it_is_abandoned_and_another_thread_takes_its_place(way: str) -> None:
    """Its completion is refused, it is told once, the only worker is replaced, and nothing is lost."""
    stuck = Stuck()
    rig = Rig(lambda frozen: ann(frozen) if frozen.user_id == "ann" else None, "ann", "bob", max_replay_time=1000)
    threads: list[Thread] = []

    def ann(frozen: Any) -> None:
        threads.append(worker())
        rig.clock.now += 1000
        stuck(frozen)

    if way == "start":
        with rig.manager:
            results = [rig.result(), rig.result()]
    else:
        results = rig.manager.replay_ready()
        assert sorted(rig.outcomes()) == ["abandoned", "completed"]
    late, other = sorted(results, key=lambda result: result.user_id)  # bob's may be told before ann's is settled
    assert [late.outcome, other.outcome] == ["abandoned", "completed"]
    assert "took longer than 1000 s" in str(late.error)
    assert late.retry_at == rig.clock.now + 10
    assert running() == threads
    stuck.go_on.set()
    assert ended(*threads)
    assert rig.outcomes() == []
    assert rig.buffer.measurements("ann") == [1]
    assert rig.buffer.state("ann").attempts == 1
    assert rig.buffer.audit("ann").ok


def test_a_replay_just_short_of_max_replay_time_is_left_alone() -> None:
    """A second before, it is not abandoned."""
    stuck = Stuck()
    rig = Rig(stuck, "ann", max_replay_time=100)
    with rig.manager:
        assert stuck.has_begun()
        rig.clock.now += 99
        rig.looks()
        stuck.go_on.set()
    assert rig.outcomes() == ["completed"]


def test_a_replay_of_the_callers_own_is_abandoned_too() -> None:
    """`replay_user` beside a started manager: it is told once, and says so itself when the function has returned."""
    told: list[Any] = []

    def replay(frozen: Any) -> None:
        rig.clock.now += 1000
        told.append(rig.result())

    rig = Rig(replay, config=BufferConfig(due=due.Count(2)), max_replay_time=1000)
    rig.buffer.add_measurement("ann", 1)
    with rig.manager:
        result = rig.manager.replay_user("ann")
    assert (result.outcome, result.error) == (told[0].outcome, told[0].error)
    assert result.outcome == "abandoned"
    assert rig.outcomes() == []


@pytest.mark.parametrize("rollback", ["restore", "on_abort"])
def test_restore_waits_until_an_abandoned_replay_has_returned(rollback: str) -> None:
    """The user stays in `aborting`, however often it is swept, is then restored, and tried again after the back-off."""
    stuck, restored = Stuck(), Event()

    def restore(*_: object) -> None:
        phases.append((rig.buffer.state("ann").phase, stuck.go_on.is_set()))
        restored.set()

    phases: list[Any] = []
    rig = Rig(
        lambda frozen: None if restored.is_set() else stuck(frozen), "ann", max_replay_time=50, **{rollback: restore}
    )
    with rig.manager:
        assert stuck.has_begun()
        rig.clock.now += 50
        result = rig.result()
        assert (result.outcome, type(result.rollback_error)) == ("abandoned", ReplayStillRunningError)
        rig.clock.now += 10
        rig.buffer.expire_overdue()
        rig.looks()
        assert (rig.buffer.state("ann").phase, phases) == ("aborting", [])
        stuck.go_on.set()
        assert restored.wait(PATIENCE)
        assert (rig.result().attempt, rig.buffer.size("ann")) == (2, 0)
    assert phases == [("aborting", True)]
    assert rig.buffer.abort_errors == {}
    assert not rig.buffer._rollbacks._own


@pytest.mark.parametrize("wait", [29, 30])
def test_a_snapshot_of_the_application_that_hangs(wait: int) -> None:
    """`take_snapshot` is watched as the replay is, also after the snapshot has expired: abandoned, told, replaced."""
    stuck = Stuck()
    rig = Rig(sum, "ann", "bob", take_snapshot=lambda user: stuck([]) if user == "ann" else None, max_replay_time=29)
    rig.manager.start()
    assert stuck.has_begun()
    thread = worker()
    rig.clock.now += wait
    assert sorted([rig.result().outcome, rig.result().outcome]) == ["abandoned", "completed"]
    assert rig.buffer.state("ann").retry_at == rig.clock.now + 10
    stuck.go_on.set()
    rig.manager.stop()
    assert ended(thread)
    assert rig.buffer.measurements("ann") == [1]
    assert rig.outcomes() == []


def test_a_function_that_completed_its_snapshot_and_never_returns_has_completed() -> None:
    """There is nothing to abandon: the thread is replaced, and the result says completed, and that it took too long."""
    stuck = Stuck()

    def replay(frozen: Any) -> None:
        frozen.complete()
        stuck(frozen)

    rig = Rig(replay, "ann", config=BufferConfig(due=due.Count(1)), log=MemoryLog(keep_history=True), max_replay_time=9)
    rig.manager.start()
    assert stuck.has_begun()
    thread = worker()
    rig.clock.now += 9
    result = rig.result()
    assert (result.outcome, "took longer" in str(result.error), result.retry_at) == ("completed", True, None)
    stuck.go_on.set()
    rig.manager.stop()
    assert ended(thread)
    assert (rig.outcomes(), rig.buffer.state("ann").replayed) == ([], 1)


def test_the_same_in_the_callers_thread() -> None:
    """`replay_user` returns that it was completed."""

    def replay(frozen: Any) -> None:
        frozen.complete()
        rig.clock.now += 9
        rig.result()

    rig = Rig(replay, config=BufferConfig(due=due.Count(2)), max_replay_time=9)
    rig.buffer.add_measurement("ann", 1)
    with rig.manager:
        assert rig.manager.replay_user("ann").ok


def test_without_a_rollback_it_is_tried_again_though_the_first_has_not_returned() -> None:
    """There is nothing to restore, so the back-off is all it waits for."""
    stuck = Stuck()
    rig = Rig(lambda frozen: stuck(frozen) if frozen.version == 1 else None, "ann", max_replay_time=50)
    with rig.manager:
        assert stuck.has_begun()
        thread = worker()
        rig.clock.now += 50
        assert rig.result().outcome == "abandoned"
        rig.clock.now += 10
        assert (rig.result().attempt, thread.is_alive()) == (2, True)
        stuck.go_on.set()
        assert ended(thread)
    assert rig.buffer.audit("ann").ok
