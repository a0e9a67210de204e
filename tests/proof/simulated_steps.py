"""`step` registers what is done in a kind of step, and `order` holds what came of it against plain lists. Does none."""

from collections.abc import Callable
from typing import TypeVar

from simulated_witness import Truth, check
from simulation import Action, Process

from statemachine import ReplayBufferError, RollbackError, StaleSnapshotError

T = TypeVar("T")

ACTIONS: dict[str, Action] = {}
"""What each kind of step does."""


def step(what: str) -> Callable[[Action], Action]:
    """Register what is done in a kind of step."""

    def register(action: Action) -> Action:
        ACTIONS[what] = action
        return action

    return register


def truth_of(process: Process, user: str) -> Truth:
    return process.world.witness.truths[user]


def order(process: Process, user: str, trigger: str, version: int | None, work: Callable[[], T]) -> T:
    """Do it; where nothing else happened meanwhile, it is refused exactly where plain lists say so."""
    truth, world = truth_of(process, user), process.world
    refusal = truth.model.refusal(trigger, version)
    is_known, in_progress = truth.head > 0, truth.model.phase in ("snapshotting", "replaying")
    deadline, others = truth.model.deadline, truth.head - world.recorded_here(user)

    def is_quiet() -> bool:
        is_overdue = in_progress and process.clock() >= deadline
        return is_known and not is_overdue and truth.head - world.recorded_here(user) == others

    try:
        result = work()
    except RollbackError:
        raise  # it was done, and then the application's rollback failed
    except ReplayBufferError as error:
        check(type(error) is refusal or not is_quiet(), user, f"{trigger} {version}: {error!r} instead of {refusal}")
        if isinstance(error, StaleSnapshotError):
            zombie(process)
        raise
    check(refusal is None or not is_quiet(), user, f"{trigger} {version} was done instead of {refusal}")
    return result


def zombie(process: Process) -> None:
    process.world.counts["zombies_refused"] += 1
