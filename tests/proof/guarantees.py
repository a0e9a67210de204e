"""Makes docs/guarantees.md and the README's table of what is promised. Must not hold a promise or a figure of its own.

The words come from docs/guarantees.toml, the figures from docs/tried.json (`make prove`) and docs/mutants.json
(`make mutants`). Run as a program it writes both pages; `--check` says whether they are current.
"""

import json
import re
import sys
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGE = DOCS / "guarantees.md"
MARKS = "<!-- made of docs/guarantees.toml by `make guarantees` -->\n", "<!-- until here -->\n"
DEFINED = re.compile(r"^ *(?:def |class )?(test_\w+|Test\w+)(?:\(| = |:)", re.MULTILINE)

HEAD = """# What is guaranteed, what tried to break it, and how much was tried

One row for each rule of the design, then what follows from several of them. Behind each promise stand the checks that
look for the counterexample. All of them run in `make test`, briefly and always alike; `make prove` draws anew and looks
for longer, and the figures here are those of its last run, on {python}. To run one of them alone, for as long as there:

```sh
HOLDOVER_PROFILE=prove .venv/bin/python -m pytest -k NAME
```

A check without a figure does what its name says, once. A failure prints its seed and how to replay it.

| | the promise | what tries to break it, and how much was tried | what is not promised |
|---|---|---|---|
"""

CHECK_THE_CHECKS = (
    "test_a_named_bug_is_caught",
    "test_a_broken_log_is_caught",
    "test_a_bug_is_found_and_shown_in_a_few_steps",
    "test_each_canary_is_seen",
    "test_both_checkers_judge_the_same",
)

CHECKING = """A check that cannot fail proves nothing. Bugs with names (clear to head, freeze at finalize, no fence)
are put into the real code one by one, and the executable specification finds each; broken logs are found by the
conformance suite, and histories that nothing explains by the checker of histories:
"""

MUTANTS = """
`make mutants` changes the code in every small way that {tool} knows, and runs {tests:,} quick tests against each
change. What survived is listed with the reason in
[`tests/proof/survivors.toml`](../tests/proof/survivors.toml). The last whole run, on {python}:

| | killed | timed out | survived | found out |
|---|---|---|---|---|
"""


def promises() -> list[dict[str, Any]]:
    """What is promised, each with its checks."""
    return tomllib.loads((DOCS / "guarantees.toml").read_text(encoding="utf-8"))["guarantee"]  # type: ignore[no-any-return]


@cache
def places() -> dict[str, list[str]]:
    """The files in which each test, or class of tests, stands."""
    found: dict[str, list[str]] = {}
    for package in ("tests", "events/conformance"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for name in set(DEFINED.findall(path.read_text(encoding="utf-8"))):
                found.setdefault(name, []).append(path.relative_to(ROOT).as_posix())
    return found


def run() -> dict[str, Any]:
    """The last `make prove`: what each of its tests tried."""
    return json.loads((DOCS / "tried.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def tried_by(name: str, tests: dict[str, dict[str, int]]) -> Counter[str]:
    """What a test, or all the tests of a class, tried at the last run."""
    total: Counter[str] = Counter()
    for test, counts in tests.items():
        if name in test.split("::"):
            total.update(counts)
    return total


def told(counts: Counter[str]) -> str:
    """Figures in words."""
    return ", ".join(f"{number:,} {word.replace('_', ' ')}" for word, number in counts.items() if number)


def check(name: str, tests: dict[str, dict[str, int]]) -> str:
    """A check, where it stands, and how much it tried."""
    (place, *_) = places()[name]
    figures = told(tried_by(name, tests))
    return f"[`{name}`](../{place})" + (f": {figures}" if figures else "")


def page() -> str:
    """What docs/guarantees.md should be."""
    last = run()
    rows = []
    for number, promise in enumerate(promises(), 1):
        checks = "<br>".join(check(name, last["tests"]) for name in promise["checks"])
        first = f'<a id="promise-{number}"></a>{promise.get("rule", "")}'
        rows.append(f"| {first} | {promise['promise']} | {checks} | {promise['not_promised']} |\n")
    return HEAD.format(python=last["python"]) + "".join(rows) + checked(last["tests"]) + mutants()


def checked(tests: dict[str, dict[str, int]]) -> str:
    """What checks the checks, and how much was found."""
    rows = "".join(f"- {check(name, tests)}\n" for name in CHECK_THE_CHECKS)
    return f"\n## Who checks the checks\n\n{CHECKING}\n{rows}"


def mutants() -> str:
    """How many small changes to the code were found out by the tests."""
    figures = json.loads((DOCS / "mutants.json").read_text(encoding="utf-8"))
    modules = [*((f"`{name}`", counts) for name, counts in figures["modules"].items()), ("in all", figures["all"])]
    rows = (
        f"| {name} | {found['killed']:,} | {found['timed_out']:,} | {found['survived']:,} | {share(found):.1f} % |\n"
        for name, found in modules
    )
    return MUTANTS.format(**figures) + "".join(rows)


def share(counts: dict[str, int]) -> float:
    """How many of a hundred were found out."""
    return 100 * (1 - counts["survived"] / max(1, sum(counts.values())))


def table() -> str:
    """The README's table."""
    rows = [
        f"| {promise.get('rule', '')} | {promise['promise']} "
        f"| [{len(promise['checks'])} checks](docs/guarantees.md#promise-{number}) |\n"
        for number, promise in enumerate(promises(), 1)
    ]
    return "| | the promise | what tries to break it |\n|---|---|---|\n" + "".join(rows)


def readme() -> str:
    """What the README should be."""
    text = README.read_text(encoding="utf-8")
    start, stop = text.index(MARKS[0]) + len(MARKS[0]), text.index(MARKS[1])
    return text[:start] + table() + text[stop:]


def main() -> None:
    """Write the pages, or check them."""
    wrong = [
        path for path, text in ((PAGE, page()), (README, readme())) if not path.exists() or path.read_text() != text
    ]
    if "--check" in sys.argv:
        sys.exit(f"not current: {', '.join(map(str, wrong))}; run `make guarantees`" if wrong else 0)
    for path, text in ((PAGE, page()), (README, readme())):
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
