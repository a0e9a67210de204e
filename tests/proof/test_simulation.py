"""Thousands of runs of processes that add, replay, pause and die on a log that fails: no promise is ever broken."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count, takewhile
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from attrs import evolve
from broken_logs import IgnoresTheExpectedHead
from conftest import Clock
from simulated_ending import Realm, ran, report, shortest
from simulated_plan import drawn
from simulated_shared import Request, Shared
from tried import LONG, SEED, tried

from events import Event, LogError, LogFullError, LogUnavailableError, MeasurementAdded, MemoryLog, Position
from statemachine import ReplayBuffer, _decide

pytestmark = pytest.mark.usefixtures("quiet")

SECONDS = {"memory": 60, "file": 20}
"""Of the long version."""

RUNS = {"memory": 100, "file": 8}
"""Of the short one."""


def seeds(world: str) -> Iterator[int]:
    """From the run's own seed on: so many, or in the long version until the time is up."""
    end = process_time() + SECONDS[world]
    return takewhile(lambda seed: process_time() < end if LONG else seed < SEED + RUNS[world], count(SEED))


@pytest.mark.parametrize("world", ["memory", "file"])
def test_no_promise_is_broken_whatever_fails_pauses_or_dies(
    world: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Acknowledged measurements are replayed exactly once, whatever fails; and when nothing fails, all get to rest."""
    realm = Realm(directory=tmp_path) if world == "file" else Realm()
    counts: Counter[str] = Counter()
    for seed in seeds(world):
        run = ran(drawn(seed), realm)
        if run.violation is not None:
            again = f"HOLDOVER_SEED={seed} python -m pytest '{request.node.nodeid}'"
            pytest.fail(report(shortest(drawn(seed), realm), again), pytrace=False)
        counts += Counter(run.counts, simulations=1)
    assert counts["simulations"] >= RUNS[world], "so few runs show nothing"
    tried(**counts)


def test_a_seed_gives_the_same_history_twice() -> None:
    """What has failed once can be looked at again: a seed says everything that happens."""
    for seed in range(5):
        first, again = (ran(drawn(seed)) for _ in range(2))
        assert [str(line) for line in first.lines] == [str(line) for line in again.lines]
        assert [line.events for line in first.lines] == [line.events for line in again.lines]


# logs, and a buffer, with one bug each


class LateAnyhow(Shared):
    """What was slow on its way is done although its sender has looked since."""

    def is_fenced_off(self, request: Request) -> bool:
        return False


class Tearing(Shared):
    """Where the process or the connection goes, a part of an append may be there."""

    def cut_off(self, request: Request) -> None:
        with suppress(LogError):
            self.do(evolve(request, events=request.events[:1]))


class LettingOthersIn(Shared):
    """A transaction that has completed a replay does not keep others out until it ends."""

    def is_held(self, stream: str) -> bool:
        return False


class Losing(MemoryLog[Any]):
    """Every fifth measurement is acknowledged and forgotten."""

    def add(self, stream: str, *of: Any) -> int | None:
        position = self.position(stream)
        if position is not None and position.head % 5 == 4:
            return position.head
        return super().add(stream, *of)


class ForgettingDeadlines(MemoryLog[Any]):
    """Who is overdue is not listed."""

    def overdue(self, now: float) -> list[str]:
        return []


sound_check = _decide._check


def without_fence(state: Any, trigger: str, version: int | None = None) -> None:
    """Whoever completes may, whichever snapshot it was given."""
    sound_check(state, trigger)


BUGS = {
    "a late write is done after all": (Realm(shared=LateAnyhow), 140, "is recorded now; before, it was", 4),
    "an append tears": (Realm(shared=Tearing), 20, "are evicted instead of|only a part|instead of", 8),
    "a transaction lets others in": (Realm(shared=LettingOthersIn), 30, "are saved, and it is not completed", 12),
    "an acknowledged add is lost": (Realm(log=Losing), 0, "were acknowledged at", 8),
    "the expected head is ignored": (Realm(log=IgnoresTheExpectedHead), 0, "not legal|while|twice", 8),
    "deadlines are forgotten": (Realm(log=ForgettingDeadlines), 0, "a sweep leaves the user in", 6),
    "nobody is fenced": (Realm(), 0, "instead of|its results are|not completed", 10),
}
"""Where each bug is, the first seed to try, what is said of it, and in how many steps it can be shown."""


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_found_and_shown_in_a_few_steps(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that cannot fail proves nothing: each bug is found soon, and its history is short enough to be read."""
    realm, first, message, most = BUGS[bug]
    if bug == "nobody is fenced":
        monkeypatch.setattr(_decide, "_check", without_fence)
    plans = (drawn(seed, most=60) for seed in range(first, first + 60))
    plan = next((plan for plan in plans if ran(plan, realm).violation is not None), None)
    assert plan is not None, "it was not found"
    run = shortest(plan, realm)
    shown = report(run, "")
    assert len(run.plan.steps) <= most, shown
    assert re.search(message, str(run.violation)), shown
    assert "the events of user" in shown


# what was found


class GoingAway(MemoryLog[Any]):
    """A log that cannot be reached any more once it has recorded a measurement by decision."""

    is_away = False

    def append(self, stream: str, events: Sequence[Event], **how: Any) -> int:
        head = super().append(stream, events, **how)
        self.is_away = any(isinstance(event, MeasurementAdded) and event.measurement == "late" for event in events)
        return head

    def position(self, stream: str) -> Position | None:
        if self.is_away:
            raise LogUnavailableError("the log is away; nothing was recorded")
        return super().position(stream)


def test_an_add_that_fails_has_recorded_nothing(clock: Clock) -> None:
    """Who is told that an add failed, other than with `OutcomeUnknownError`, adds it again, and has it once."""
    log = GoingAway()
    buffer: ReplayBuffer[str] = ReplayBuffer(log, clock=clock, on_abort=lambda *_of: None)
    buffer.add_measurement("ann", "early")
    buffer.begin_snapshot("ann")
    clock.now += 30.0
    try:
        buffer.add_measurement("ann", "late")
    except LogUnavailableError:
        log.is_away = False
        buffer.add_measurement("ann", "late")
    log.is_away = False
    assert buffer.measurements("ann") == ["early", "late"]


class Untruncated(MemoryLog[Any]):
    """A log that cannot make room."""

    def truncate(self, stream: str, before: int, state: Any) -> None:
        raise LogFullError("no space left; nothing was recorded")


def test_a_completion_that_fails_has_completed_nothing() -> None:
    """Who is told that a completion failed tries again, and is not told then that it came too late."""
    buffer: ReplayBuffer[str] = ReplayBuffer(Untruncated())
    buffer.add_measurement("ann", "early")
    buffer.begin_snapshot("ann")
    frozen = buffer.finalize_snapshot("ann")
    with suppress(LogFullError):
        frozen.complete()
    is_completed = buffer.state("ann").replayed == 1
    assert is_completed == bool(frozen.settled)
