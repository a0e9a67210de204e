"""How much the checks tried: counted where it is tried, told at the end of a run. Must not know what is tried.

`tried(kills=60)` in a test adds to what that test tried. What hypothesis draws is counted by itself. A run's sums are
printed, and written to the file that HOLDOVER_TRIED names, from which docs/guarantees.md is made. All that is drawn is
drawn from one SEED, so that a run can be had again.
"""

import json
import os
import platform
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis.statistics import collector

LONG = os.environ.get("HOLDOVER_PROFILE") == "prove"
"""Whether to look for as long as `make prove`, and not as briefly as `make test`."""

SEED = int(os.environ.setdefault("HOLDOVER_SEED", str(Random().randrange(1_000_000_000) if LONG else 0)))
"""What is drawn in this run is drawn from this, in all its processes, which inherit it."""

WORD = "tried"
STATEFUL = ("runTest", "test_a_log_does_what_plain_lists_would_do")
_counts: Counter[str] = Counter()


def tried(**counts: int) -> None:
    """Add to what the running test has tried, in the words in which it will be told: `tried(crash_points=120)`."""
    _counts.update(counts)


@contextmanager
def counted(item: pytest.Item) -> Iterator[None]:
    """What is tried within belongs to this test."""
    _counts.clear()
    drawn, heard_before = "histories" if item.name in STATEFUL else "examples", collector.value

    def note(statistics: Any) -> None:
        cases = statistics.get("generate-phase", {}).get("test-cases", ())
        tried(**{drawn: sum(case["status"] == "valid" for case in cases)})
        if heard_before:
            heard_before(statistics)

    with collector.with_value(note):
        yield
    item.user_properties.append((WORD, dict(_counts)))


class Tally:
    """Adds up what all the tests of a run tried, wherever they ran."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, int]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        counts = dict(report.user_properties).get(WORD)
        if report.when == "call" and report.passed and isinstance(counts, dict) and counts:
            name, _, _parameters = report.nodeid.partition("[")
            sums = Counter(self.tests.get(name, {}))
            sums.update(counts)
            self.tests[name] = dict(sums)

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        if LONG and config.option.hypothesis_seed is None:
            config.option.hypothesis_seed = str(SEED)

    def pytest_terminal_summary(self, terminalreporter: Any, exitstatus: int) -> None:
        if LONG:
            terminalreporter.write_line(f"HOLDOVER_PROFILE=prove HOLDOVER_SEED={SEED} draws the same again")
        path = os.environ.get("HOLDOVER_TRIED")
        if not path:
            return
        terminalreporter.section("what was tried")
        for name, counts in sorted(self.tests.items()):
            told = ", ".join(f"{count:,} {word.replace('_', ' ')}" for word, count in counts.items())
            terminalreporter.write_line(f"{name.rpartition('/')[2]}: {told}")
        if exitstatus == 0:
            self.write(Path(path))

    def write(self, path: Path) -> None:
        """What a test tried at its last run takes the place of what it tried before."""
        known = json.loads(path.read_text(encoding="utf-8"))["tests"] if path.exists() else {}
        python = f"{platform.python_implementation()} {platform.python_version()}"
        run = {"python": python, "tests": {**known, **self.tests}}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(run, indent=1, sort_keys=True) + "\n", encoding="utf-8")
