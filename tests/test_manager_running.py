"""`ReplayManager`, running: workers, one pass, users added meanwhile, fairness, and bad input."""

from threading import Barrier, Event, Thread
from typing import Any

import pytest
from managing import PATIENCE, Rig, Stuck, Watched, fail, running

from statemachine import (
    BufferConfig,
    BufferState,
    ReplayManager,
    SnapshotInProgressError,
    StaleSnapshotError,
    due,
)


def test_one_pass_replays_everybody_who_is_due() -> None:
    """`replay_ready` replays those who are due and no others, waits for that, and leaves no thread behind."""
    rig = Rig(sum, "ann", "bob", config=BufferConfig(due=due.Count(2)))
    rig.buffer.add_measurement("bob", 2)
    assert [(result.user_id, result.value) for result in rig.manager.replay_ready()] == [("bob", 3)]
    assert rig.buffer.measurements("ann") == [1]
    assert running() == []
    assert rig.manager.replay_ready() == []


def test_workers_replay_at_once() -> None:
    """With three workers, three users are replayed at the same time; in a pass and when started."""
    together = Barrier(3)
    rig = Rig(lambda frozen: together.wait(PATIENCE), "ann", "bob", "eve", workers=3)
    assert [result.ok for result in rig.manager.replay_ready()] == [True] * 3
    for user in ("ann", "bob", "eve"):
        rig.buffer.add_measurement(user, 2)
    with rig.manager:
        assert [rig.result().ok for _ in range(6)] == [True] * 6
    assert running() == []


def test_a_pass_has_no_more_workers_than_users() -> None:
    """A thousand workers for one user are one thread."""
    seen: list[int] = []
    rig = Rig(lambda frozen: seen.append(len(running())), "ann", workers=1000)
    rig.manager.replay_ready()
    assert seen == [1]


def test_one_pass_tells_of_failures_too() -> None:
    """In the order in which they ended, each with what raised."""
    rig = Rig(lambda frozen: fail() if frozen.user_id == "bob" else None, "ann", "bob")
    results = rig.manager.replay_ready()
    assert [(result.user_id, result.outcome) for result in results] == [("ann", "completed"), ("bob", "failed")]
    assert str(results[1].error) == "bad window"


def test_a_pass_expires_what_is_overdue() -> None:
    """It is put off then, as every failed attempt, since nobody else has said when to try it again."""
    rig = Rig(sum, "ann")
    rig.buffer.begin_snapshot("ann")
    rig.clock.now += 30
    assert rig.manager.replay_ready() == []
    assert rig.buffer.state("ann").retry_at == rig.clock.now + 10
    rig.clock.now += 10
    assert [result.attempt for result in rig.manager.replay_ready()] == [2]


def test_whom_somebody_else_replays_meanwhile_is_left_out() -> None:
    """A queued user whom somebody else has replayed, or begun, by then is no result and no error."""

    def replay(frozen: Any) -> None:
        if frozen.user_id == "ann":
            rig.buffer.complete_replay(
                "bob", rig.buffer.finalize_snapshot("bob", rig.buffer.begin_snapshot("bob")).version
            )
            rig.buffer.begin_snapshot("eve")
            rig.buffer.park("joe")

    rig = Rig(replay, "ann", "bob", "eve", "joe")
    assert [result.user_id for result in rig.manager.replay_ready()] == ["ann"]
    assert [rig.buffer.state(user).phase for user in ("bob", "eve", "joe")] == ["idle", "snapshotting", "parked"]


def test_of_two_who_find_a_user_due_one_replays_it() -> None:
    """Two managers on one buffer: who begins second is refused, and says nothing."""

    class Slow(Watched):
        def _begin(self, *arguments: Any, **named: Any) -> BufferState:
            both.wait(PATIENCE)
            try:
                return super()._begin(*arguments, **named)
            except StaleSnapshotError:
                refused.set()
                raise

    both, refused, results = Barrier(2), Event(), []
    rig = Rig(lambda frozen: refused.wait(PATIENCE), "ann", kind=Slow)
    other = ReplayManager(rig.buffer, lambda frozen: refused.wait(PATIENCE))
    threads = [
        Thread(target=lambda manager=manager: results.extend(manager.replay_ready()))
        for manager in (rig.manager, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [(result.ok, result.value) for result in results] == [(True, True)]
    assert rig.buffer.audit("ann").ok


def test_users_added_while_it_runs() -> None:
    """Who comes later is replayed too, again and again, and nothing is due any more when it stops."""
    rig = Rig(list)
    with rig.manager:
        assert rig.manager.is_running
        rig.looks()
        for number in range(3):
            for user in ("ann", "bob"):
                rig.buffer.add_measurement(user, number)
                assert (rig.result().user_id, rig.buffer.size(user)) == (user, 0)
    assert not rig.manager.is_running
    assert rig.buffer.state("ann").replayed == rig.buffer.state("bob").replayed == 3
    assert running() == []


def test_it_does_not_wait_for_the_next_look_while_there_is_more_to_do() -> None:
    """After a replay it asks at once who is due: the interval is only for when nobody was."""
    rig = Rig(
        lambda frozen: rig.buffer.add_measurement("bob", 1) if frozen.user_id == "ann" else None,
        "ann",
        poll_interval=10**6,
    )
    with rig.manager:
        assert [rig.result().user_id, rig.result().user_id] == ["ann", "bob"]


def test_one_busy_user_does_not_starve_the_others() -> None:
    """Somebody who is due again at once is replayed again only after everybody else who is due."""

    def replay(frozen: Any) -> None:
        order.append(frozen.user_id)
        rig.buffer.add_measurement("ann", 1)  # ann is due again as soon as she can be
        if len(order) == 2:
            rig.buffer.add_measurements("eve", [1])

    order: list[str] = []
    rig = Rig(replay, "ann", "bob", "joe")
    with rig.manager:
        for _ in range(8):
            rig.result()
    assert order[:3] == ["ann", "bob", "joe"]
    assert set(order[3:5]) == {"ann", "eve"}
    assert set(order[5:8]) == {"ann"}


def test_one_user_who_is_stuck_does_not_hold_up_the_others() -> None:
    """With another worker, everybody else is replayed meanwhile."""
    stuck = Stuck()
    rig = Rig(lambda frozen: stuck(frozen) if frozen.user_id == "ann" else None, "ann", "bob", "eve", workers=2)
    with rig.manager:
        assert {rig.result().user_id, rig.result().user_id} == {"bob", "eve"}
        stuck.go_on.set()
    assert rig.outcomes() == ["completed"]


def test_a_rollback_that_blocks_holds_up_nobody_else() -> None:
    """The sweep has a thread of its own: leases are renewed and others replayed while a rollback takes long."""
    entered, go_on = Event(), Event()

    def on_abort(*_: object) -> None:
        entered.set()
        assert go_on.wait(PATIENCE)

    rig = Rig(sum, "ann", on_abort=on_abort)
    rig.buffer.begin_snapshot("ann")
    rig.clock.now += 30
    with rig.manager:
        assert entered.wait(PATIENCE)
        rig.buffer.add_measurement("bob", 1)
        assert rig.result().user_id == "bob"
        go_on.set()
    assert rig.buffer.state("ann").phase == "idle"
    assert running() == []


def test_run_goes_on_until_it_is_stopped_elsewhere() -> None:
    """`run` replays in threads of its own and returns when somebody calls `stop`."""
    rig = Rig(sum, "ann")
    runner = Thread(target=rig.manager.run)
    runner.start()
    assert rig.result().ok
    assert rig.manager.stop() == []
    runner.join(PATIENCE)
    assert not runner.is_alive()
    assert running() == []


def test_an_interrupt_of_run_drains_and_is_raised_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C: what is under way ends, no thread is left, and the interrupt is raised."""
    stuck = Stuck()
    rig = Rig(stuck, "ann")

    def interrupted() -> None:
        assert stuck.has_begun()
        stuck.go_on.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(rig.manager._services, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rig.manager.run()
    assert rig.outcomes() == ["completed"]
    assert running() == []


def test_a_replay_that_returns_nothing_is_completed() -> None:
    """The value is None then, and the measurements leave the buffer."""
    result = Rig(lambda frozen: None, "ann").manager.replay_user("ann")
    assert (result.ok, result.value, result.measurements) == (True, None, 1)


def test_whom_the_manager_replays_nobody_else_can() -> None:
    """`replay_user` is refused while a started manager replays the user, and works for others."""
    stuck = Stuck()
    rig = Rig(lambda frozen: stuck(frozen) if frozen.user_id == "ann" else None, "ann")
    with rig.manager:
        assert stuck.has_begun()
        rig.buffer.add_measurement("bob", 1)
        with pytest.raises(SnapshotInProgressError):
            rig.manager.replay_user("ann")
        assert rig.manager.replay_user("bob").ok
        stuck.go_on.set()


def test_nobody_is_queued_again_before_the_others_are_through() -> None:
    """While somebody is queued the manager asks nobody: whoever is queued stays queued once."""
    stuck = Stuck()
    rig = Rig(stuck, "ann", "bob")
    with rig.manager:
        assert stuck.has_begun()
        asked = rig.buffer.times_asked
        rig.looks()
        (service,) = rig.manager._services._services
        assert (rig.buffer.times_asked, service._pool.queued) == (asked, 1)
        stuck.go_on.set()
