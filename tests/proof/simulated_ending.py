"""`ran`: a plan run to its end: when nothing fails any more, every user gets back to idle, with nothing left over."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import simulated_adding  # noqa: F401 - registers what is done in its steps
import simulated_replaying  # noqa: F401
import simulated_tending  # noqa: F401
from attrs import frozen
from simulated_plan import Plan, Step, shrunk
from simulated_shared import Shared
from simulated_steps import ACTIONS
from simulated_telling import told
from simulated_witness import ViolationError, check
from simulation import World

from events import EventLog, MemoryLog, SqliteLog

LONG = 100_000.0
"""Seconds after which every deadline has passed."""

MOST_PARTS = 20
"""In how many steps whatever is under way has ended."""


@frozen
class Realm:
    """Where plans are run.

    Parameters:
        log: makes a log in memory, given whether to keep history.
        shared: what the connections to it have in common.
        directory: where a file of `SqliteLog` takes the place of the log in memory; each process opens it for itself.
    """

    log: Callable[..., EventLog[Any]] = MemoryLog
    shared: Callable[..., Shared] = Shared
    directory: Path | None = None

    @contextmanager
    def opening(self, plan: Plan) -> Iterator[Callable[[], EventLog[Any]]]:
        """How the processes get at an empty log."""
        if self.directory is None:
            log = self.log(keep_history=plan.setup.keeps_history)
            yield lambda: log
            return
        with ExitStack() as stack, TemporaryDirectory(dir=self.directory) as directory:
            path = Path(directory) / "log.db"
            yield lambda: stack.enter_context(closing(SqliteLog(path, durability="off", timeout=0.1)))


def ran(plan: Plan, realm: Realm = Realm()) -> World:
    """The world after the plan; its `violation` says what was broken, if anything was."""
    with realm.opening(plan) as open_log:
        world = World(plan, ACTIONS, open_log, realm.shared)
        try:
            world.run()
            comes_to_rest(world)
        except ViolationError as violation:
            world.violation = violation
        finally:
            for process in world.processes:
                process.vanish()
    return world


def shortest(plan: Plan, realm: Realm = Realm()) -> World:
    """The world after the shortest plan found in which something is broken, too."""
    return ran(shrunk(plan, lambda shorter: ran(shorter, realm).violation is not None), realm)


def report(world: World, again: str) -> str:
    """What was broken in a run, and how it came to that; `again` says how to have it once more."""
    violation = world.violation
    assert violation is not None
    setup = str(world.plan.setup)
    return told(world.lines, violation.user, f"{violation}\n{setup}", again)


def comes_to_rest(world: World) -> None:
    """Let the faults stop, the processes start again or wake, and all that is due be replayed.

    Raises:
        ViolationError: somebody is stuck, or something is not accounted for.
    """
    world.is_calm, world.rollbacks_fail = True, False
    for place, process in enumerate(world.processes):
        if process.is_paused or not process.is_alive:
            _take(world, "wake", place)
    if world.plan.seed % 2:
        _let_time_pass(world)
    _end_what_is_under_way(world)
    _let_time_pass(world)
    by = world.plan.seed % len(world.processes)
    _take(world, "sweep", by)
    for user, truth in world.witness.truths.items():
        phase = truth.model.phase
        check(phase in ("idle", "parked"), user, f"long after every deadline a sweep leaves the user in {phase}")
    for process in range(len(world.processes)):
        _take(world, "list ready", process)
    for place, user in enumerate(world.users):
        _replay_all(world, place, by)
        truth = world.witness.truths[user]
        at_rest = truth.model.phase == "idle" and not truth.model.live
        check(at_rest, user, f"at the end the user is {truth.model.phase} with {truth.model.live}")
        for process in range(len(world.processes)):
            _take(world, "look", process, place, place + process)
    world.witness.at_the_end()


def _take(world: World, what: str, process: int, user: int = 0, number: int = 0) -> None:
    """Take a step in which nothing fails; one that changes nothing is not worth telling."""
    world.take(Step(what, process, user, number, None, ()))
    if not world.lines[-1].events:
        world.lines.pop()


def _let_time_pass(world: World) -> None:
    world.now += LONG


def _end_what_is_under_way(world: World) -> None:
    for _ in range(MOST_PARTS):
        for place, process in enumerate(world.processes):
            for number in range(len(process.jobs)):
                _take(world, "go on", place, number=number)
    check(not world.shared.held, "", f"transactions never ended: {world.shared.held}")
    while world.shared.late:
        _take(world, "arrive", 0)


def _replay_all(world: World, user: int, process: int) -> None:
    """Replay the user until nothing is left; once, since nothing is added any more."""
    model = world.witness.truths[world.users[user]].model
    if model.phase == "parked":
        _take(world, "release", process, user)
    if model.live:
        _take(world, "replay", process, user)
        _end_what_is_under_way(world)
