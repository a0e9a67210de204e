"""What became of the mutants: the table, docs/mutants.json, and which survivors are known. Must not run any test."""

import json
import platform
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parent.parent.parent
FIGURES = ROOT / "docs" / "mutants.json"
LISTED = Path(__file__).with_name("survivors.toml")

KILLED, TIMED_OUT, SURVIVED, NO_CHANGE, BROKEN = "killed", "timed out", "survived", "no change", "not tried"
COUNTED = KILLED, TIMED_OUT, SURVIVED

ENOUGH = 95
"""How many of a hundred mutants are to be killed, those that timed out included."""

Survivor = tuple[str, str, str, str]
"""Module, function, the changed lines before, and after."""


@frozen
class Fate:
    """What became of one mutant, and which test killed it."""

    mutant: Survivor
    outcome: str
    test: str = ""


def listed(path: Path = LISTED) -> Iterator[Survivor]:
    """The survivors that are known; there is a reason beside each."""
    for entry in tomllib.loads(path.read_text(encoding="utf-8"))["survivor"]:
        assert entry["reason"], f"{entry['module']}: {entry['function']}: a survivor needs a reason"
        for was, now in entry["changes"]:
            yield entry["module"], entry["function"], was, now


def score(counts: Counter[str]) -> float:
    """How many of a hundred were killed."""
    return 100 * (counts[KILLED] + counts[TIMED_OUT]) / max(1, sum(counts[each] for each in COUNTED))


def by_module(fates: Iterable[Fate]) -> dict[str, Counter[str]]:
    """How many mutants of each module came to which end."""
    counts: dict[str, Counter[str]] = {}
    for fate in fates:
        counts.setdefault(fate.mutant[0], Counter())[fate.outcome] += 1
    return counts


def table(modules: dict[str, Counter[str]]) -> str:
    """One line for each module, and one for all."""
    rows = [*sorted(modules.items()), ("in all", sum(modules.values(), Counter()))]
    lines = [f"{'':32}{'killed':>9}{'timed out':>11}{'survived':>10}{'':>9}"]
    for name, counts in rows:
        lines.append(f"{name:32}{counts[KILLED]:9}{counts[TIMED_OUT]:11}{counts[SURVIVED]:10}{score(counts):8.1f} %")
    return "\n".join(lines)


def write(modules: dict[str, Counter[str]], tests: int) -> None:
    """Keep the figures, from which docs/guarantees.md is made."""

    def told(counts: Counter[str]) -> dict[str, int]:
        return {each.replace(" ", "_"): counts[each] for each in COUNTED}

    figures = {
        "tool": f"mutmut {metadata.version('mutmut')}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "tests": tests,
        "modules": {name: told(counts) for name, counts in sorted(modules.items())},
        "all": told(sum(modules.values(), Counter())),
    }
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def surprises(fates: Iterable[Fate], *, whole: bool) -> Iterator[str]:
    """Survivors that nobody has listed; after a whole run also what is listed and no survivor any more."""
    left, known = {fate.mutant for fate in fates if fate.outcome == SURVIVED}, set(listed())
    for module, function, was, now in sorted(left - known):
        yield f"not listed in {LISTED.name}: {module}, {function}\n  - {was}\n  + {now}"
    for module, function, was, now in sorted(known - left) if whole else ():
        yield f"listed in {LISTED.name}, but no survivor: {module}, {function}\n  - {was}\n  + {now}"
