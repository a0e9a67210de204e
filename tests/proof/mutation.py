"""Which mutants the tests kill: `make mutants`. Must not know how a mutant is made.

Every test is run once, to see that it passes, how long it takes, and which lines it runs. Then, for each mutant, a copy
of the process puts it in place and runs the tests that run a changed line until one fails: those first that killed
others of that function, then the fastest, and last those that never ended. Endless loops and deadlocks are told apart.
"""

import argparse
import gc
import mmap
import os
import resource
import signal
import struct
import sys
import time
import tomllib
import traceback
from collections import Counter, defaultdict
from typing import Any, TextIO

import coverage
import mutation_figures as figures
import pytest
from _pytest.runner import runtestprotocol
from attrs import define, field, frozen
from mutants import Module, Mutant
from mutation_figures import BROKEN, KILLED, NO_CHANGE, ROOT, SURVIVED, TIMED_OUT, Fate

SLOW = 0.5
"""Tests that take more seconds (of the processor) are left out: they would be run for every mutant that survives."""

MEMORY = 4 * 2**30
"""More bytes than that no test needs."""

PLACE = struct.Struct("i")

ENDS = {0: SURVIVED, 1: KILLED, 2: NO_CHANGE, -signal.SIGPROF: TIMED_OUT, -signal.SIGALRM: TIMED_OUT}
"""What the end of a copy of the process says."""


@frozen
class Trial:
    """A test that passes, and the seconds it takes."""

    item: pytest.Item
    seconds: float

    def passes(self) -> bool:
        """Run it; this process ends if that takes far longer than it did, on the processor or by the clock."""
        signal.setitimer(signal.ITIMER_PROF, 2 + 5 * self.seconds)
        signal.setitimer(signal.ITIMER_REAL, 6 + 30 * self.seconds)
        return not any(report.failed for report in runtestprotocol(self.item, log=False, nextitem=None))


@frozen
class Trials:
    """The tests by name, and which of them run which line of which module."""

    tests: dict[str, Trial]
    lines: dict[str, dict[int, list[str]]]

    def reach(self, mutant: Mutant, kills: Counter[str]) -> list[Trial]:
        """The tests that can tell a mutant, the likeliest and fastest first."""
        lines = self.lines[mutant.module.path]
        names = {name for line in mutant.lines for name in lines.get(line, ())} & self.tests.keys()
        return [self.tests[each] for each in sorted(names, key=lambda n: (-kills[n], self.tests[n].seconds, n))]


@define
class Hunt:
    """The plugin: takes over when the tests have been collected.

    Attributes:
        wanted: what was asked for on the command line.
        modules: the paths of those to mutate.
        told: where the progress goes.
        fates: what became of the mutants.
    """

    wanted: argparse.Namespace
    modules: list[str]
    told: TextIO
    fates: list[Fate] = field(factory=list)
    tests: int = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Draw what `make test` draws. That it fails is enough: nobody needs the shortest example."""
        from hypothesis import Phase, settings  # pytest wants to be the first to import it

        settings.register_profile("mutants", settings(), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of running the tests: see which mutants they kill."""
        if session.testsfailed:
            raise pytest.UsageError("some tests cannot be collected; run pytest --collect-only to see which")
        sys.modules["conftest"].UNTRACED.clear()  # which of them run which line is to be known here
        modules = [Module(path, str(ROOT / path)) for path in self.modules]
        trials = self._tried(session.items, modules)
        self.tests = len(trials.tests)
        mutants = [mutant for module in modules for mutant in module.mutants() if self._is_wanted(mutant)]
        self.say(f"{len(mutants)} mutants, {self.tests} tests")
        gc.collect()
        gc.freeze()
        self._check(list(trials.tests.values()))
        self._hunt(mutants, trials)
        return True

    def _check(self, tests: list[Trial]) -> None:
        """A check that cannot pass proves nothing: in a copy without a mutant every test has to."""
        at = mmap.mmap(-1, PLACE.size)
        _copied(None, tests, at)
        if os.wait()[1]:
            name = tests[PLACE.unpack(at)[0]].item.nodeid
            self.say(f"this fails in a copy of the process without any mutant: {name}")
            raise pytest.UsageError(name)

    def _is_wanted(self, mutant: Mutant) -> bool:
        name = f"{mutant.module.path}:{mutant.function.name}"
        if not any(name.startswith(only) for only in self.wanted.only or [""]):
            return False
        return not self.wanted.listed or named(mutant) in self.wanted.listed

    def _tried(self, items: list[pytest.Item], modules: list[Module]) -> Trials:
        traced = coverage.Coverage(data_file=None, config_file=False, include=[module.file for module in modules])
        tests, failed = {}, []
        traced.start()
        for number, item in enumerate(items):
            if number % 200 == 0:
                self.say(f"the tests as they are: {number} of {len(items)}")
            traced.switch_context(item.nodeid)
            begun = time.process_time()
            reports = runtestprotocol(item, log=False, nextitem=None)
            seconds = time.process_time() - begun
            failed += [f"{item.nodeid}\n{report.longreprtext}" for report in reports if report.failed]
            if seconds < SLOW and not any(report.skipped for report in reports):
                tests[item.nodeid] = Trial(item, seconds)
        traced.stop()
        if failed:
            self.say("these fail without any mutant:\n" + "\n".join(failed))
            raise pytest.UsageError(f"{len(failed)} tests fail")
        data = traced.get_data()
        return Trials(tests, {module.path: data.contexts_by_lineno(module.file) for module in modules})

    def _hunt(self, mutants: list[Mutant], trials: Trials) -> None:
        kills: defaultdict[str, Counter[str]] = defaultdict(Counter)
        running: dict[int, tuple[Mutant, list[Trial], mmap.mmap]] = {}
        begun = time.monotonic()

        def ended() -> None:
            pid, status = os.wait()
            mutant, tests, at = running.pop(pid)
            outcome = ENDS.get(os.waitstatus_to_exitcode(status), BROKEN)
            test = tests[PLACE.unpack(at)[0]].item.nodeid if tests else ""
            kills[mutant.function.name][test] += {KILLED: 1, TIMED_OUT: -1}.get(outcome, 0)
            self._note(Fate(named(mutant), outcome, test), len(mutants), time.monotonic() - begun)

        for mutant in mutants:
            while len(running) >= self.wanted.jobs:
                ended()
            tests, at = trials.reach(mutant, kills[mutant.function.name]), mmap.mmap(-1, PLACE.size)
            running[_copied(mutant, tests, at)] = mutant, tests, at
        while running:
            ended()

    def _note(self, fate: Fate, of: int, seconds: float) -> None:
        self.fates.append(fate)
        if fate.outcome in (SURVIVED, BROKEN):
            module, function, was, now = fate.mutant
            self.say(f"{fate.outcome}: {module}, {function}\n  - {was}\n  + {now}")
        if (done := len(self.fates)) % 50 == 0:
            killed = figures.score(Counter(each.outcome for each in self.fates))
            left = seconds / done * (of - done) / 60
            self.say(f"{done} of {of}: {killed:.1f} % killed, {left:.0f} min to go")

    def say(self, text: str) -> None:
        """Tell whoever waits."""
        print(text, file=self.told, flush=True)


def named(mutant: Mutant) -> figures.Survivor:
    """As it would be listed."""
    return mutant.module.path, mutant.function.name, *mutant.change()


def _copied(mutant: Mutant | None, tests: list[Trial], at: mmap.mmap) -> int:
    """Run the tests with the mutant in a copy of the process, which says at which place it is; the id of the copy."""
    if pid := os.fork():
        return pid
    code = 4
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        code = 0 if mutant is None or mutant.install() else 2
        for place, test in enumerate(tests if not code else ()):
            PLACE.pack_into(at, 0, place)
            code = 1  # also if what it raises ends the session
            if not test.passes():
                break
            code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> int:
    """Hunt, tell, and write the figures down."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("only", nargs="*", help="path or path:function; everything if omitted, and the figures kept")
    options.add_argument("--jobs", type=int, default=1, help="how many mutants to try at once")
    options.add_argument("--listed", action="store_true", help="only the known survivors")
    wanted = options.parse_args()
    if wanted.listed:
        wanted.listed = set(figures.listed())
    given: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    modules = [
        path for path in given["only_mutate"] if any(path in each or each in path for each in wanted.only or [path])
    ]
    os.chdir(ROOT)
    with open(os.dup(1), "w", encoding="utf-8") as told:
        hunt = Hunt(wanted, modules, told)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what tests print, and pytest
        arguments = [*given["pytest_add_cli_args"], *given["pytest_add_cli_args_test_selection"]]
        pytest.main(["-q", "-s", "--tb=native", *arguments], plugins=[hunt])
        if not hunt.fates:
            hunt.say("nothing was tried")
            return 1
        return _told(hunt, whole=not wanted.only and not wanted.listed)


def _told(hunt: Hunt, *, whole: bool) -> int:
    modules = figures.by_module(hunt.fates)
    for surprise in figures.surprises(hunt.fates, whole=whole):
        hunt.say(surprise)
    hunt.say(figures.table(modules))
    if whole:
        figures.write(modules, hunt.tests)
    enough = figures.score(sum(modules.values(), Counter())) >= figures.ENOUGH
    return 0 if enough and not any(counts[BROKEN] for counts in modules.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
