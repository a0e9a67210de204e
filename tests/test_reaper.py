"""The background reaper: sweeps from start to stop, whatever a sweep does."""

from threading import Event, Thread
from threading import enumerate as threads
from typing import Any

import pytest

from statemachine import InvalidArgumentError, Reaper, ReplayBuffer


def running() -> list[Thread]:
    return [thread for thread in threads() if thread.name == "holdover-reaper"]


def test_it_expires_what_nobody_touches() -> None:
    """With a reaper running an overdue snapshot is over though nothing calls for its user."""
    now, rolled_back = 0.0, Event()
    buffer: ReplayBuffer[int] = ReplayBuffer(clock=lambda: now, on_abort=lambda *_: rolled_back.set())
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    with Reaper(buffer, interval=0.001) as reaper:
        assert reaper.is_running
        assert not rolled_back.is_set()
        now = 30.0
        assert rolled_back.wait(60)
    assert buffer.state("ann").phase == "idle"
    assert reaper.sweeps >= 1


def test_no_thread_runs_but_between_start_and_stop() -> None:
    """Starting twice is starting once, stopping twice is stopping once, and it can be started again."""
    reaper = Reaper(ReplayBuffer(), interval=1000)
    assert running() == []
    for _ in range(2):
        reaper.start()
        reaper.start()
        assert len(running()) == 1
        reaper.stop()
        reaper.stop()
        assert not reaper.is_running
        assert running() == []


def test_a_sweep_that_raises_is_not_the_last() -> None:
    """The error can be seen, and the next sweep runs all the same."""

    class Broken(ReplayBuffer[int]):
        def expire_overdue(self) -> list[str]:
            if not failed.is_set():
                failed.set()
                raise SystemExit("the log is away")
            recovered.set()
            seen.append(reaper.error)
            go_on.wait(60)
            return []

    failed, recovered, go_on = Event(), Event(), Event()
    seen: list[Any] = []
    reaper = Reaper(Broken(), interval=0.001)
    reaper.start()
    assert recovered.wait(60)
    go_on.set()
    reaper.stop()
    assert str(seen[0]) == "the log is away"
    assert reaper.error is None


@pytest.mark.parametrize("interval", [0, -1, float("nan"), float("inf"), "1", True])
def test_an_interval_is_a_positive_number(interval: Any) -> None:
    """An interval that makes no sense is refused at once, not in the thread."""
    with pytest.raises(InvalidArgumentError, match="interval must be a positive number of seconds"):
        Reaper(ReplayBuffer(), interval)


class Ticks:
    """Stands for the stop of a reaper: so many sweeps pass, each at once, before it is asked for."""

    def __init__(self, times: int) -> None:
        self.times, self.waited = times, list[float]()

    def wait(self, timeout: float) -> bool:
        self.waited.append(timeout)
        return len(self.waited) >= self.times


def test_sweeps_are_counted_from_none() -> None:
    """One each, a second apart unless told; a reaper that was never started has none, no error, and can be stopped."""
    reaper = Reaper(ReplayBuffer())
    reaper.stop()
    assert (reaper.sweeps, reaper.error) == (0, None)
    stop = Ticks(3)
    reaper._run(stop)  # type: ignore[arg-type]
    assert (reaper.sweeps, stop.waited) == (3, [1.0, 1.0, 1.0])


def test_a_sweep_that_fails_is_logged_with_the_time_of_the_next(caplog: pytest.LogCaptureFixture) -> None:
    """With what it raised."""
    buffer: ReplayBuffer[int] = ReplayBuffer()
    buffer.close()
    Reaper(buffer, 0.25)._run(Ticks(1))  # type: ignore[arg-type]
    assert caplog.messages == ["the sweep failed; the next one follows in 0.25 s"]
    assert caplog.records[0].exc_info is not None


def test_it_does_not_keep_the_process_from_ending() -> None:
    """Who forgets to stop it need not kill the process."""
    with Reaper(ReplayBuffer(), 1000):
        assert [thread.daemon for thread in running()] == [True]
