"""Each named bug is put into the real code, and the specification catches it; sound code passes what they fail.

`make prove` writes the shortest history that shows a bug to build/counterexamples, to see what such a thing looks like.
"""

import sys
import traceback
from pathlib import Path
from types import CodeType

import pytest
from breaking import HangError, OutdatedBugError, broken, running_code, within
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import run_state_machine_as_test
from named_bugs import BUGS, IN_A_FILE, IN_MEMORY, TWO_OPENINGS, Bug
from named_log_bugs import LOG_BUGS
from test_sqlite_spec import SqliteSpec, TwoProcessesSpec
from tried import LONG, tried

from events import LogError
from statemachine import ReplayBufferError
from statemachine.spec import ReplayBufferSpec

MACHINES = {IN_MEMORY: ReplayBufferSpec, IN_A_FILE: SqliteSpec, TWO_OPENINGS: TwoProcessesSpec}
HISTORIES = 1000 if LONG else 300
SAME = 0
"""The seed of every run: whether a bug is caught must not be a matter of luck."""

PATIENCE = 300.0 if LONG else 60.0
"""Seconds after which a bug that makes the code hang counts as not caught."""

COUNTEREXAMPLES = Path(__file__).parents[2] / "build" / "counterexamples"
SHRINKING = 1
"""Seconds for finding a shorter history of one bug."""

ALL = BUGS + LOG_BUGS


def drawing(*phases: Phase, histories: int) -> settings:
    """So many histories; always the same ones for the same seed."""
    return settings(
        database=None,
        deadline=None,
        derandomize=False,
        phases=(Phase.generate, *phases),
        report_multiple_bugs=False,
        print_blob=False,
        max_examples=histories,
        stateful_step_count=40,
        suppress_health_check=list(HealthCheck),
    )


def specified(against: str, how: settings, patience: float = 10.0) -> None:
    """Hold the specification against a log; `patience` is for another thread that a lock must not hold up (seconds)."""

    class Specification(MACHINES[against]):  # type: ignore[misc]
        racing_begins = None  # what threads do is not the same twice, which shrinking takes amiss

    Specification.patience = patience
    run_state_machine_as_test(seed(SAME)(Specification), settings=how)


def caught(bug: Bug, how: settings) -> Exception | None:
    """What the specification says to the bug; None if nothing."""
    try:
        with within(PATIENCE), broken(bug.where, bug.old, bug.new):
            specified(bug.against, how, patience=0.5 if bug.rule == 10 else 10.0)
    except (AssertionError, ReplayBufferError, LogError) as error:
        return error
    except HangError:
        pytest.fail(f"{bug.name}: the code hangs, which nobody is told")
    return None


def told(bug: Bug, error: Exception) -> list[str]:
    """What was caught, where, and by what."""
    place = [frame for frame in traceback.extract_tb(error.__traceback__) if "/spec/" in frame.filename][-1]
    shown = [line for line in getattr(error, "__notes__", []) if "state." not in line or "(" in line]
    checks = [f"state.{name}()" for name in dir(MACHINES[bug.against]) if name in INVARIANTS]
    history = [line for line in shown if line not in checks]
    steps = sum(line.startswith("state.") for line in history) - 2  # without the start and the end
    return [
        f"{bug.name} (breaks rule {bug.rule}, in {bug.against})",
        f"in {bug.where}: {bug.old!r}\n  became {bug.new!r}",
        f"caught by {place.name}, which says: {type(error).__name__}: {str(error) or place.line}",
        f"the shortest history that was found, {steps} steps:",
        *(f"  {line}" for line in history),
    ]


INVARIANTS = {each.function.__name__ for each in ReplayBufferSpec.setup_state().invariants}


@pytest.mark.parametrize("bug", [bug for bug in ALL if LONG or not bug.only_long], ids=lambda bug: bug.name)
def test_a_named_bug_is_caught(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody might get wrong is found out, by a check that knows nothing of it, and in plain words."""
    monkeypatch.setattr(engine, "MAX_SHRINKING_SECONDS", SHRINKING)
    histories = HISTORIES
    error = caught(bug, drawing(*[Phase.shrink] * LONG, histories=histories))
    assert error is not None, f"{bug.name}: not caught in {histories} histories"
    tried(named_bugs=1)
    if LONG:
        lines = told(bug, error)
        sys.stdout.write("\n".join(lines))
        COUNTEREXAMPLES.mkdir(parents=True, exist_ok=True)
        name = "".join(letter if letter.isalnum() else "_" for letter in bug.name)
        (COUNTEREXAMPLES / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("against", MACHINES if LONG else [IN_MEMORY])  # test_sqlite_spec.py has the others, too
def test_sound_code_passes(against: str) -> None:
    """What is said of a bug is said because of the bug: without one, the same histories pass."""
    specified(against, drawing(histories=10))


def test_each_rule_has_a_named_bug() -> None:
    """A rule that nothing was ever seen to break is a rule that nobody checks."""
    assert {bug.rule for bug in ALL} == set(range(1, 14))
    assert len({bug.name for bug in ALL}) == len(ALL)


@pytest.mark.parametrize("bug", ALL, ids=lambda bug: bug.name)
def test_a_bug_is_taken_out_again(bug: Bug) -> None:
    """The list fits the code as it is, and whatever happens meanwhile, no bug stays in it."""
    sound = running_code(bug.where)
    with pytest.raises(KeyError), broken(bug.where, bug.old, bug.new):
        assert running_code(bug.where) != sound
        raise KeyError
    assert running_code(bug.where) is sound


def test_a_list_that_is_outdated_says_so() -> None:
    """Whoever changes code that a bug is made of is told what to bring up to date."""
    for text in ("no such text", "state"):
        with (
            pytest.raises(OutdatedBugError, match="bring the list of bugs up to date"),
            broken(BUGS[0].where, text, ""),
        ):
            pytest.fail("it was put in all the same")


def test_a_hang_is_no_catch() -> None:
    """A bug that makes the code hang is not waited for, and not taken for one that was found."""
    with pytest.raises(HangError), within(0.05):
        while True:
            pass
    assert isinstance(running_code(BUGS[0].where), CodeType)
