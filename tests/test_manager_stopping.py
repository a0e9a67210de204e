"""`ReplayManager.stop`: a graceful drain, from wherever it is called, and no thread left behind."""

from math import inf
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from managing import PATIENCE, FakePool, FakeRun, Kept, Rig, Stuck, ended, fail, running

from statemachine import InvalidArgumentError


def test_stop_waits_for_what_is_under_way_and_begins_nothing_more() -> None:
    """The replay under way is completed, who was queued behind it stays as he is, and no thread is left."""
    stuck = Stuck()
    rig = Rig(stuck, "ann", "bob")
    rig.manager.start()
    assert stuck.has_begun()
    stopper = Thread(target=rig.manager.stop)
    stopper.start()
    (service,) = rig.manager._services._services
    assert service._asked_to_end.wait(PATIENCE)
    stuck.go_on.set()
    stopper.join(PATIENCE)
    assert not stopper.is_alive()
    assert rig.outcomes() == ["completed"]
    assert rig.buffer.state("bob").version == 0
    assert running() == []


def test_stopping_what_is_not_started_does_nothing() -> None:
    """Before `start`, and twice afterwards; starting twice is starting once, and it can be started again."""
    rig = Rig(sum)
    assert rig.manager.stop() == []
    for user in ("ann", "bob"):
        rig.manager.start()
        rig.manager.start()
        assert len(running()) == 3
        rig.buffer.add_measurement(user, 1)
        assert rig.result().user_id == user
        assert rig.manager.stop() == []
        assert rig.manager.stop() == []
        assert running() == []


def test_what_has_not_ended_after_the_timeout_is_abandoned() -> None:
    """`stop(timeout)` returns whose it was; that replay is refused when it comes in late, and nothing is lost."""
    stuck = Stuck()
    rig = Rig(stuck, "ann")
    rig.manager.start()
    assert stuck.has_begun()
    (thread,) = [thread for thread in running() if thread.name == "holdover-worker"]
    assert rig.manager.stop(timeout=0) == ["ann"]
    assert not rig.manager.is_running
    assert ended(*(other for other in running() if other is not thread))
    assert running() == [thread], "only the one that cannot be ended from outside"
    result = rig.result()
    assert (result.outcome, result.retry_at) == ("abandoned", rig.clock.now + 10)
    assert "the manager was stopped" in str(result.error)
    stuck.go_on.set()
    assert ended(thread)
    assert rig.outcomes() == []
    assert rig.buffer.measurements("ann") == [1]
    assert rig.buffer.audit("ann").ok


def test_a_drain_waits_for_some_time_before_it_abandons() -> None:
    """What ends within the timeout is completed."""
    stuck = Stuck()
    rig = Rig(stuck, "ann")
    rig.manager.start()
    assert stuck.has_begun()
    looked = rig.manager._keeper.look

    def look(*arguments: Any, **options: Any) -> Any:
        stuck.go_on.set()
        return looked(*arguments, **options)

    rig.manager._keeper.look = look  # type: ignore[method-assign]
    assert rig.manager.stop(timeout=PATIENCE) == []
    assert rig.outcomes() == ["completed"]


def test_stop_from_inside_a_replay_only_asks() -> None:
    """It cannot wait for itself; the replay is completed, and whoever calls `stop` from outside does wait."""
    stuck = Stuck()
    asked: list[Any] = []

    def replay(frozen: Any) -> None:
        asked.append(rig.manager.stop())
        stuck(frozen)

    rig = Rig(replay, "ann", "bob")
    rig.manager.start()
    assert stuck.has_begun()
    assert asked == [[]]
    stuck.go_on.set()
    assert rig.manager.stop() == []
    assert running() == []
    assert rig.outcomes() == ["completed"]
    assert rig.buffer.state("bob").version == 0


@pytest.mark.parametrize("hook", ["on_result", "on_replay_complete", "take_snapshot", "restore"])
def test_stop_from_a_hook(hook: str) -> None:
    """From every hook: it is stopped, and no thread is left."""
    rig = Rig(fail if hook == "restore" else sum, "ann", **{hook: lambda *_: rig.manager.stop()})
    rig.manager.start()
    rig.manager._services.join()
    assert rig.buffer.state("ann").phase == "idle"
    assert rig.manager.stop() == []
    assert running() == []


def test_stop_from_a_rollback_in_the_sweep() -> None:
    """The sweep's thread cannot wait for its own end either."""
    rig = Rig(sum, "ann", on_abort=lambda *_: rig.manager.stop())
    rig.buffer.begin_snapshot("ann")
    rig.clock.now += 30
    rig.manager.run()
    assert rig.buffer.state("ann").phase == "idle"
    assert running() == []


def test_two_who_stop_at_once_both_wait() -> None:
    """The second one waits as well, and the shorter timeout of the two counts."""
    stuck = Stuck()
    rig = Rig(stuck, "ann")
    rig.manager.start()
    assert stuck.has_begun()
    threads = running()
    told: list[list[str]] = []
    patient = Thread(target=lambda: told.append(rig.manager.stop()))
    patient.start()
    (service,) = rig.manager._services._services
    assert service._asked_to_end.wait(PATIENCE)
    assert rig.manager.stop(timeout=0) == ["ann"]
    patient.join(PATIENCE)
    assert told == [["ann"]]
    stuck.go_on.set()
    assert ended(*threads)
    assert running() == []


def test_start_while_another_stop_drains() -> None:
    """It runs again at once, beside what is still under way; the next `stop` waits for both."""
    stuck = Stuck()
    rig = Rig(lambda frozen: stuck(frozen) if frozen.user_id == "ann" else None, "ann")
    rig.manager.start()
    assert stuck.has_begun()
    stopper = Thread(target=rig.manager.stop)
    stopper.start()
    (service,) = rig.manager._services._services
    assert service._asked_to_end.wait(PATIENCE)
    rig.manager.start()
    rig.buffer.add_measurement("bob", 1)
    assert rig.result().user_id == "bob"
    assert stopper.is_alive()
    stuck.go_on.set()
    assert rig.manager.stop() == []
    stopper.join(PATIENCE)
    assert rig.outcomes() == ["completed"]
    assert running() == []


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "1", True, False])
def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    """A timeout that makes no sense is refused, and the manager goes on."""
    rig = Rig(sum)
    with rig.manager:
        with pytest.raises(InvalidArgumentError, match="timeout must be"):
            rig.manager.stop(timeout)
        rig.buffer.add_measurement("ann", 1)
        assert rig.result().ok


def test_a_hook_that_blocks_is_not_waited_for_beyond_the_timeout() -> None:
    """`stop(timeout)` returns though a hook does not; its thread ends when it does."""
    stuck = Stuck()
    rig = Rig(sum, "ann", on_result=lambda result: stuck([]))
    rig.manager.start()
    assert stuck.has_begun()
    threads = running()
    assert rig.manager.stop(timeout=0) == []
    assert "holdover-worker" in [thread.name for thread in running()], "it waited for the hook"
    assert rig.buffer.state("ann").replayed == 1
    stuck.go_on.set()
    assert ended(*threads)


def test_the_shortest_timeout_asked_counts() -> None:
    """Who asks for an end within a minute is not made to wait by somebody who would wait for an hour."""
    service = Rig(sum).manager._services._make()
    service.stop(60)
    end = service._end
    service.stop(3600)
    service.stop(None)
    assert service._end == end
    service.stop(0)
    assert service._end < end
    assert ended(*running())


@pytest.mark.parametrize(
    ("end", "waits"),
    [(inf, [0.5, 0.5]), (10.25, [0.25, 0.25]), (10.0, [0.0, 0.0]), (9.0, [0.0, 0.0])],
    ids=["no end", "soon", "now", "over"],
)
def test_a_drain_waits_no_longer_than_it_may(end: float, waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """From look to look, or to the end; at the end, what goes on is abandoned, and its thread counted on no more."""
    monkeypatch.setattr("statemachine._keeper.time", SimpleNamespace(monotonic=lambda: 10.0))
    kept = Kept(False, True)
    ann, bob = kept.keep(FakeRun("ann"), kept.pool), kept.keep(FakeRun("bob"), kept.pool)
    kept.keep(FakeRun("cid"), None)
    kept.keep(FakeRun("dan"), FakePool())
    over = end <= 10.0
    assert kept.drain(lambda: end) == (["ann", "bob"] if over else [])
    assert kept.pool.timeouts == waits
    assert kept.pool.retired == ([ann.thread, bob.thread] if over else [])
    assert (ann.renewed, bob.renewed) == (([], []) if over else ([100.0], [100.0]))
    assert kept.keeper.has("cid")
    assert kept.keeper.has("dan")


def test_a_drain_tells_all_that_were_abandoned_by_its_looks() -> None:
    """Each look may abandon some; none of them is forgotten for the next."""
    kept = Kept(False, False, False, True, max_replay_time=50)
    for number, user in enumerate(("ann", "bob")):
        kept.keep(FakeRun(user, begun_at=50.0 + number), kept.pool)
    look = kept.keeper.look

    def later(pool: Any) -> Any:
        results = look(pool)
        kept.clock.now += 1
        return results

    kept.keeper.look = later  # type: ignore[assignment, method-assign]
    assert kept.drain() == ["ann", "bob"]


def test_a_replay_that_ends_while_it_is_abandoned_is_abandoned() -> None:
    """Its thread may let go of it at any moment."""
    kept = Kept(max_replay_time=0)
    kept.keep(FakeRun(), kept.pool).on_abandon = lambda: kept.let_go("ann")
    assert kept.look() == ["ann"]
    assert not kept.keeper.has("ann")
