"""Processes that add: what they are told they believe, and where nobody knows they look. Must not decide when."""

from collections.abc import Callable, Sequence

from simulated_steps import step, truth_of
from simulated_witness import ABSENT, ASKED, REFUSED, UNKNOWN, check
from simulation import Process

from events import LogError, OutcomeUnknownError
from statemachine import (
    BufferFullError,
    EvictHookError,
    PartlyAddedError,
    ReplayBufferError,
    TruncatedHistoryError,
    UnknownUserError,
)


@step("add")
def add(process: Process, user: str, _number: int) -> str:
    (measurement,) = batch = process.world.new(1)
    return added(process, user, batch, lambda: process.buffer.add_measurement(user, measurement))


@step("add several")
def add_several(process: Process, user: str, number: int) -> str:
    batch = process.world.new(2 + number % 3)
    return added(process, user, batch, lambda: process.buffer.add_measurements(user, batch).start)


@step("add for users")
def add_for_users(process: Process, _user: str, number: int) -> str:
    """Ask for all users at once; what came of each is looked at as if it had been asked for alone."""
    witness, world = process.world.witness, process.world
    batches = {user: world.new(1 + number % 2) for user in world.users}
    for user, batch in batches.items():
        witness.told(user, batch, ASKED)
    truncations = {user: truth_of(process, user).truncations for user in batches}
    try:
        offsets, errors = process.buffer.add_for_users(batches), {}
    except PartlyAddedError as error:
        offsets, errors = error.added, error.errors
    for user, offset in offsets.items():
        witness.acknowledged(user, batches[user], offset.start)
    return " ".join(outcome_of(process, user, batches[user], errors[user], truncations[user]) for user in errors)


def added(process: Process, user: str, batch: Sequence[int], ask: Callable[[], int]) -> str:
    """Add; where the outcome is unknown, look, and add again what is not there."""
    witness, truth = process.world.witness, truth_of(process, user)
    outcome = ""
    for _ in range(2):
        witness.told(user, batch, ASKED)
        truncations = truth.truncations
        try:
            offset = ask()
        except EvictHookError as error:
            offset = error.offset
        except (ReplayBufferError, LogError) as error:
            outcome = outcome_of(process, user, batch, error, truncations)
            if not outcome.endswith(ABSENT):
                break
        else:
            witness.acknowledged(user, batch, offset)
            return f"{outcome} {list(batch)} at {offset}"
    return f"{list(batch)} {outcome}"


def outcome_of(process: Process, user: str, batch: Sequence[int], error: Exception, truncations: int) -> str:
    """What an error means for what was to be added."""
    witness, name = process.world.witness, type(error).__name__
    check(isinstance(error, BufferFullError | LogError), user, f"an add raised {error!r}")
    if not isinstance(error, OutcomeUnknownError):
        witness.told(user, batch, REFUSED)
        return f"{name}: {REFUSED}"
    witness.told(user, batch, UNKNOWN)
    try:
        recorded = [each.event for each in process.buffer.events(user)]
    except UnknownUserError:
        recorded = []
    except (LogError, TruncatedHistoryError):
        return f"{name}: {UNKNOWN}"
    there = [getattr(event, "measurement", None) for event in recorded]
    if batch[0] in there:
        witness.acknowledged(user, batch, truth_of(process, user).where[batch[0]])
        return f"{name}, and it is there"
    if truth_of(process, user).truncations != truncations:
        return f"{name}: {UNKNOWN}"
    witness.told(user, batch, ABSENT)
    return f"{name}: {ABSENT}"
