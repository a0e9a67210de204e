"""A replay longer than its lease keeps it while the manager runs; and clocks may jump, or break."""

from threading import Event
from typing import Any

import pytest
from managing import PATIENCE, FakePool, FakeRun, Kept, Rig, Stuck, Watched, running

from events import LeaseRenewed, MemoryLog
from statemachine import BufferConfig, StaleSnapshotError, due


def renewals(rig: Rig) -> int:
    return sum(isinstance(recorded.event, LeaseRenewed) for recorded in rig.buffer.events("ann"))


class Renewing(Watched):
    """A buffer that tells of renewals."""

    def renew_lease(self, user_id: str, version: int | None = None) -> None:
        super().renew_lease(user_id, version)
        self.renewed.set()

    renewed: Event


def outlast(rig: Rig) -> None:
    """Let the time go by in steps, in each of which the lease must be renewed, for longer than the lease is."""
    for _ in range(4):
        rig.buffer.renewed = Event()  # type: ignore[attr-defined]
        rig.clock.now += 150
        assert rig.buffer.renewed.wait(PATIENCE)  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", ["start", "replay_ready", "replay_user"])
def test_a_replay_longer_than_its_lease_keeps_it(way: str) -> None:
    """The manager renews it, when half of it has passed: in a pass, started, and for `replay_user` while started."""
    rig = Rig(lambda frozen: outlast(rig), kind=Renewing, config=BufferConfig(due=due.Count(2)))
    rig.buffer.add_measurements("ann", [1] if way == "replay_user" else [1, 2])
    if way == "replay_ready":
        assert [result.ok for result in rig.manager.replay_ready()] == [True]
    else:
        with rig.manager:
            if way == "replay_user":
                assert rig.manager.replay_user("ann").ok
            assert rig.result().ok


def test_a_lease_is_not_renewed_before_half_of_it_has_passed() -> None:
    """However often the manager looks, one event is recorded for each half of a lease, none for a lost one."""
    stuck = Stuck()
    rig = Rig(stuck, "ann", log=MemoryLog(keep_history=True))
    with rig.manager:
        assert stuck.has_begun()
        rig.clock.now += 149
        rig.looks()
        assert renewals(rig) == 0
        rig.clock.now += 1
        rig.looks()
        rig.looks()
        assert renewals(rig) == 1
        stuck.go_on.set()
    assert rig.result().ok


def test_without_a_manager_that_runs_nobody_renews() -> None:
    """`replay_user` alone does not outlast its lease: it is refused, and nothing is lost."""
    rig = Rig(lambda frozen: setattr(rig.clock, "now", 500.0), "ann")
    result = rig.manager.replay_user("ann")
    assert (result.outcome, type(result.error)) == ("stale", StaleSnapshotError)
    assert rig.buffer.measurements("ann") == [1]


def test_a_clock_that_jumps_forward() -> None:
    """Leases run out at once: the replay is refused, and tried again; nothing is lost."""
    stuck = Stuck()
    rig = Rig(stuck, "ann")
    with rig.manager:
        assert stuck.has_begun()
        rig.clock.now += 10**6
        rig.buffer.expire_overdue()
        stuck.go_on.set()
        result = rig.result()
        assert (result.outcome, result.retry_at) == ("stale", rig.clock.now + 10)
        rig.clock.now += 10
        assert rig.result().ok
    assert rig.buffer.audit("ann").ok


def test_a_clock_that_jumps_back() -> None:
    """What is under way goes on and completes."""
    stuck = Stuck()
    rig = Rig(stuck, "ann", max_replay_time=50)
    with rig.manager:
        assert stuck.has_begun()
        rig.clock.now -= 10**6
        rig.looks()
        stuck.go_on.set()
        assert rig.result().ok


@pytest.mark.parametrize("way", ["start", "replay_ready"])
def test_a_clock_that_breaks_while_a_replay_runs(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the replay ends as it would, and no thread is left behind."""
    looked = Event()

    def replay(frozen: Any) -> None:
        sound, rig.clock.now = rig.clock.now, float("nan")
        for _ in range(PATIENCE * 1000):
            if "the clock failed" in caplog.text:
                break
            looked.wait(0.001)
        rig.clock.now = sound

    rig = Rig(replay, "ann")
    if way == "start":
        with rig.manager:
            assert rig.result().ok
    else:
        assert [result.ok for result in rig.manager.replay_ready()] == [True]
    assert running() == []


def test_a_renewal_that_fails_is_not_the_end() -> None:
    """The log is away for a moment: the replay goes on, and completes if it is back in time."""

    class Away(Watched):
        def renew_lease(self, user_id: str, version: int | None = None) -> None:
            tried.set()
            raise OSError("the log is away")

    tried = Event()

    def replay(frozen: Any) -> None:
        rig.clock.now += 150
        assert tried.wait(PATIENCE)

    rig = Rig(replay, "ann", kind=Away)
    assert [result.ok for result in rig.manager.replay_ready()] == [True]


@pytest.mark.parametrize("others", [False, True])
def test_a_look_is_at_the_managers_own_replays_unless_told(others: bool) -> None:
    """A pass looks after those of its threads only; a manager that is started also after the callers' own."""
    kept = Kept()
    own, callers = kept.keep(FakeRun("ann"), kept.pool), kept.keep(FakeRun("bob"), None)
    stranger = kept.keep(FakeRun("cid"), FakePool())
    assert kept.look(**{"others": True} if others else {}) == []
    assert (own.renewed, callers.renewed, stranger.renewed) == ([100.0], [100.0] if others else [], [])


def test_a_broken_clock_is_logged_with_the_time_of_the_next_look(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is renewed or abandoned by a clock that is out of its mind."""
    kept = Kept(max_replay_time=0)
    run = kept.keep(FakeRun(), kept.pool)
    kept.clock.now = float("nan")
    assert (kept.look(), run.renewed) == ([], [])
    assert caplog.messages == ["the clock failed; the next look at the replays is in 0.5 s"]
