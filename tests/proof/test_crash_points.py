"""At every write of a scenario the process dies, or is not told that it was done; then all is as the model says.

What is found is compared at once with what plain lists would hold just before and just after that write: what was
acknowledged is there, what was hit is there as a whole or not at all, and nothing else has changed. Then the scenario
goes on. In the end, with nothing hit any more, everybody must get back to idle and be replayed, by the deadlines, the
sweep and a manager alone: `SAFETY` and `LIVENESS` in a message tell which of the two is broken.

A log in memory ends with its process, so there the buffer dies and the log is kept.
"""

import os
from collections.abc import Callable
from itertools import product, starmap
from pathlib import Path
from typing import TypeVar

import pytest
import vfs
from crash_driver import Drive
from crash_life import UNACKNOWLEDGED, WAYS, Fate, InMemory
from crash_on_disk import InFile, Recording, Resumed, copied, killed
from crash_on_server import SERVER_WAYS, Asking
from crash_scenarios import SCENARIOS, drawn
from crash_world import Scenario
from killing import apart
from tried import LONG, SEED, tried

D = TypeVar("D", bound=Drive)

ON_DISK = list(SCENARIOS)[:: 1 if LONG else 2]

IN_MEMORY = [name for name, scenario in SCENARIOS.items() if not scenario.is_for_databases]

ON_SERVER = list(SCENARIOS) if LONG else ["in one transaction", "a manager's rollback"]

SHORTEST = ["a rollback fails once", "a replay", "cleared", "a manager's rollback"][: 4 if LONG else 1]
"""Those in which two processes die."""

SEEDS = range(SEED, SEED + (16 if LONG else 2))


pytestmark = pytest.mark.usefixtures("quiet")


def lived(
    log: str,
    scenario: Scenario,
    make: Callable[[], D],
    hits: int = 1,
    go: Callable[[D], object] = lambda drive: drive.run(),
) -> D:
    """Go one way through a scenario; what is wrong is told with all that one needs to see it again."""
    drive: D | None = None
    try:
        drive = make()
        go(drive)
        assert len(drive.struck) == hits, f"{hits} writes were to be hit"
    except Exception as error:
        test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" (")[0]
        again = f"{'HOLDOVER_PROFILE=prove ' * LONG}HOLDOVER_SEED={SEED} python -m pytest '{test}'"
        struck = drive.struck if drive and drive.struck else ["nothing was hit"]
        told = [f"{log}, {scenario}", *struck, str(error) or repr(error), f"again: {again}"]
        raise AssertionError("\n".join(told)) from error
    return drive


def die_in_memory(scenario: Scenario, every: int) -> None:
    """At each write, in each way."""
    sound = lived("MemoryLog", scenario, lambda: Drive(scenario, InMemory()), hits=0)
    points = list(product(sound.writes, WAYS))[::every]
    for nth, way in points:
        lived("MemoryLog", scenario, lambda nth=nth, way=way: Drive(scenario, InMemory(), Fate(nth, way)))
    tried(scenarios=1, crash_points=len(points), recoveries=len(points))


def die_on_disk(scenario: Scenario, directory: Path, every: int) -> None:
    """At each change of the file; and each write of the log is done once without its being told."""
    recording = lived("SqliteLog", scenario, lambda: Recording(scenario, directory), hits=0, go=id)
    places = recording.places[every // 2 :: every]
    for at in places:
        lived("SqliteLog", scenario, lambda at=at: copied(recording, at, directory / "copy"), go=Resumed.go_on)
    lost = recording.writes[:: max(1, every // 5)]
    for nth in lost:
        place = InFile(directory / f"{nth}.db")
        lived("SqliteLog", scenario, lambda nth=nth, place=place: Drive(scenario, place, Fate(nth, UNACKNOWLEDGED)))
    points = len(places) + len(lost)
    tried(scenarios=1, crash_points=points, recoveries=points)


def die_on_server(scenario: Scenario, every: int) -> None:
    """At requests that begin a write, in each way; in the long version also at others."""
    sound = lived("PostgresLog", scenario, lambda: Asking(scenario), hits=0)
    requests = [*sound.writing, *(range(sound.requests) if LONG else ())]
    points = list(product(requests, SERVER_WAYS))[every // 2 :: every]
    for nth, way in points:
        lived("PostgresLog", scenario, lambda nth=nth, way=way: Asking(scenario, nth, way))
    tried(scenarios=1, crash_points=len(points), recoveries=len(points))


@pytest.mark.parametrize("name", IN_MEMORY)
def test_a_buffer_may_die_at_any_write(name: str) -> None:
    """Its log is as it was just before or just after the write, and the next buffer loses and doubles nothing."""
    die_in_memory(SCENARIOS[name], 1 if LONG else 2)


@pytest.mark.parametrize("name", SHORTEST)
def test_the_next_buffer_may_die_at_any_write_too(name: str) -> None:
    """The first buffer dies at one write, and the one after it at another: all pairs of them in the long version."""
    scenario, pairs, ways = SCENARIOS[name], 0, WAYS if LONG else WAYS[1:2]
    sound = lived("MemoryLog", scenario, lambda: Drive(scenario, InMemory()), hits=0)
    for nth, way in product(sound.writes, ways[:2]):
        once = lived("MemoryLog", scenario, lambda nth=nth, way=way: Drive(scenario, InMemory(), Fate(nth, way)))
        for then in product(once.writes, ways):
            fates = [(nth, way), then]
            lived("MemoryLog", scenario, lambda fates=fates: Drive(scenario, InMemory(), *starmap(Fate, fates)), hits=2)
            pairs += 1
    tried(scenarios=1, crash_points=pairs, recoveries=2 * pairs)


@vfs.needed
@pytest.mark.parametrize("name", ON_DISK)
def test_a_process_may_die_at_any_write_to_its_file(name: str, tmp_path: Path) -> None:
    """The next process finds what was acknowledged, and what was being written as a whole or not at all."""
    die_on_disk(SCENARIOS[name], tmp_path, 1 if LONG else 47)


@vfs.needed
@pytest.mark.parametrize("name", ["a replay", "pruned"] if LONG else ["a replay"])
def test_a_process_that_is_really_killed_leaves_what_the_copies_have(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed by the system at a write, it leaves a file with which the next one goes on as with the copy."""
    scenario = SCENARIOS[name]
    recording = lived("SqliteLog", scenario, lambda: Recording(scenario, tmp_path), hits=0, go=id)
    places = list(recording.places)[:: 3 if LONG else 20]
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    apart(killed, scenario.text, str(tmp_path), places)
    for at in places:
        file = tmp_path / str(at) / "sound.db"
        lived("SqliteLog", scenario, lambda at=at, file=file: Resumed(recording, at, file), go=Resumed.go_on)
    tried(scenarios=1, crash_points=len(places), recoveries=len(places))


@pytest.mark.parametrize("name", ON_SERVER)
def test_a_connection_may_break_at_any_request(name: str) -> None:
    """A process that dies of it has done a thing as a whole or not at all; one that asks again has done it once."""
    die_on_server(SCENARIOS[name], 17 if LONG else 9)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_done_in_whatever_order(seed: int, tmp_path: Path) -> None:
    """Scenarios that nobody has thought of, on every log."""
    die_in_memory(drawn(seed, in_database=False), 1 if LONG else 3)
    if not LONG:
        return
    if vfs.available:
        die_on_disk(drawn(seed, in_database=True), tmp_path, 5)
    scenario = drawn(seed, in_database=True)
    if "prune" not in scenario.operations:  # just after it nobody can know what an answer that was lost has said
        die_on_server(scenario, 40)
