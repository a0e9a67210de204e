"""docs/guarantees.md and the README say what is promised and what tried to break it: the checks exist, and were run."""

from collections import Counter

import guarantees
import pytest
from guarantees import PAGE, README, page, places, promises, readme, run, told, tried_by

RULES = [str(number) for number in range(1, 14)]
NAMED = sorted({name for promise in promises() for name in promise["checks"]})


def test_each_rule_of_the_design_has_a_row() -> None:
    """In their order, each once; what follows from several of them has no number."""
    assert [promise["rule"] for promise in promises() if "rule" in promise] == RULES


@pytest.mark.parametrize("name", NAMED)
def test_each_check_exists(name: str) -> None:
    """A promise names no test that is not there."""
    assert places().get(name), f"docs/guarantees.toml names {name}, which is not in tests/"


@pytest.mark.parametrize("promise", promises(), ids=lambda promise: promise["promise"])
def test_each_promise_is_tried_and_bounded(promise: dict[str, object]) -> None:
    """Each is looked at by two checks at least, and says what is not promised."""
    assert len(set(promise["checks"])) == len(promise["checks"]) >= 2  # type: ignore[call-overload, arg-type]
    assert str(promise["not_promised"]).endswith(".")


def test_the_pages_are_current() -> None:
    """Nobody typed a figure or changed a promise in one place only: `make guarantees` would change nothing."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make guarantees`"
    assert README.read_text(encoding="utf-8") == readme(), "run `make guarantees`"


def test_what_was_tried_is_there_still() -> None:
    """The figures are of tests that exist; one that was renamed must be run again."""
    tested = [test.split("::") for test in run()["tests"]]
    assert tested
    for path, *names in tested:
        assert (guarantees.ROOT / path).exists(), path
        assert names[-1] == "runTest" or places().get(names[-1]), names[-1]


def test_figures_are_added_up() -> None:
    """Over the tests of a class, and over a test's own runs; what is zero is not told."""
    tests = {"tests/a.py::TestA::test_b": {"kills": 3, "lost": 0}, "tests/a.py::TestA::test_c": {"kills": 1_000}}
    assert tried_by("TestA", tests) == Counter(kills=1_003)
    assert tried_by("test_b", tests) == Counter(kills=3)
    assert tried_by("test_d", tests) == Counter()
    assert told(Counter(kills=1_003, crash_points=2, lost=0)) == "1,003 kills, 2 crash points"
