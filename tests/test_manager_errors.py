"""What replays, hooks and the log raise is told, and changes nothing else."""

from typing import Any

import pytest
from managing import Rig, Watched, fail, running

from statemachine import ReplayBuffer, ReplayManager


def test_a_next_attempt_that_cannot_be_recorded(caplog: pytest.LogCaptureFixture) -> None:
    """The log is away: it is logged, the result is told all the same, and the user is put off when it is back."""

    class Away(Watched):
        def schedule_retry(self, user_id: str, retry_at: float, version: int | None = None) -> None:
            if failures:
                raise failures.pop()
            super().schedule_retry(user_id, retry_at, version)

    failures = [OSError("the log is away"), OSError("the log is still away")]
    rig = Rig(fail, "ann", kind=Away)
    result = rig.manager.replay_user("ann")
    assert (result.outcome, result.retry_at) == ("failed", None)
    assert "when to try user 'ann' again could not be recorded" in caplog.text
    assert rig.outcomes() == ["failed"]
    assert rig.manager.replay_ready() == []
    assert "working on user 'ann' failed" in caplog.text
    assert rig.manager.replay_ready() == []
    assert rig.buffer.state("ann").retry_at == rig.clock.now + 10


def test_an_abort_that_cannot_be_recorded() -> None:
    """Replay and abort both fail with the log: the result has both errors, and the snapshot expires by its deadline."""

    class Away(Watched):
        def abort_snapshot(self, user_id: str, reason: str = "", version: int | None = None) -> None:
            raise OSError("the log is away")

    rig = Rig(fail, "ann", kind=Away)
    (result,) = rig.manager.replay_ready()
    assert (result.outcome, str(result.error), str(result.rollback_error)) == (
        "failed",
        "bad window",
        "the log is away",
    )
    assert rig.outcomes() == ["failed"]
    rig.clock.now += 300
    assert rig.buffer.state("ann").phase == "idle"
    assert rig.buffer.measurements("ann") == [1]


@pytest.mark.parametrize("error", [SystemExit("enough"), KeyboardInterrupt()])
def test_what_ends_a_program_ends_no_worker(error: BaseException) -> None:
    """A replay that raises it in a worker has failed like any other, and the others are replayed."""

    def replay(frozen: Any) -> None:
        if frozen.user_id == "ann":
            raise error

    rig = Rig(replay, "ann", "bob")
    results = rig.manager.replay_ready()
    assert [(result.user_id, result.outcome) for result in results] == [("ann", "failed"), ("bob", "completed")]
    assert results[0].error is error
    assert results[0].retry_at == rig.clock.now + 10
    assert running() == []


@pytest.mark.parametrize("hook", ["restore", "on_replay_complete", "on_result", "replay"])
def test_what_ends_a_program_is_raised_on_in_the_callers_thread(hook: str) -> None:
    """`replay_user` raises it when everything is in order: the user is idle or in `aborting`, and nothing is lost."""

    def stop(*_: object) -> None:
        raise SystemExit(hook)

    hooks: dict[str, Any] = {"replay": fail if hook == "restore" else sum, hook: stop}
    buffer: ReplayBuffer[int] = ReplayBuffer()
    buffer.add_measurement("ann", 1)
    with pytest.raises(SystemExit, match=hook):
        ReplayManager(buffer, **hooks).replay_user("ann")
    phase = "aborting" if hook == "restore" else "idle"
    assert (buffer.state("ann").phase, buffer.state("ann").attempts) == (phase, int(hook in ("restore", "replay")))
    assert buffer.audit("ann").ok


@pytest.mark.parametrize("error", [ValueError("mail server is away"), SystemExit("no")])
def test_hooks_that_raise_change_nothing(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """What `on_result` raises is in the result and logged; the replay stays completed, and the others are replayed."""

    def on_result(_result: Any) -> None:
        raise error

    rig = Rig(sum, "ann", "bob", on_result=on_result)
    assert [(result.ok, result.callback_error) for result in rig.manager.replay_ready()] == [(True, error)] * 2
    assert "a hook failed for user 'ann'" in caplog.text


def test_a_hook_may_replay() -> None:
    """`on_result` may replay the same user at once: the user is not in progress any more, and nobody is waited for."""
    inner: list[Any] = []

    def on_result(result: Any) -> None:
        if result.attempt < 3:
            inner.append(rig.manager.replay_user("ann"))

    rig = Rig(fail, "ann", on_result=on_result, max_attempts=3)
    assert [result.attempt for result in rig.manager.replay_ready()] == [1]
    assert [result.attempt for result in inner] == [3, 2]
    assert rig.buffer.parked() == ["ann"]


def test_who_cannot_be_parked_yet_is_put_off() -> None:
    """The last attempt failed and so did its rollback: the user is parked when that is done and the wait over."""
    failures = [OSError("database is away")]

    def restore(*_: object) -> None:
        if failures:
            raise failures.pop()

    rig = Rig(fail, "ann", restore=restore, max_attempts=1)
    result = rig.manager.replay_user("ann")
    assert (result.retry_at, result.parked) == (rig.clock.now + 10, False)
    rig.clock.now += 10
    assert [(result.outcome, result.parked) for result in rig.manager.replay_ready()] == [("parked", True)]
