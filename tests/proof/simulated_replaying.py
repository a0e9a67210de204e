"""Processes that replay, as an application should that has read the documentation. Must not decide when.

Their results count where the replay was completed, and are rolled back where they are told that it came too late.
"""

from contextlib import suppress

from simulated_adding import add
from simulated_shared import Transaction
from simulated_steps import order, step, truth_of, zombie
from simulated_witness import check
from simulation import Job, Process

from events import LogError, OutcomeUnknownError, ReplayCompleted
from statemachine import (
    Backoff,
    FrozenSnapshot,
    ReplayManager,
    ReplayResult,
    StaleSnapshotError,
    TruncatedHistoryError,
)
from statemachine.spec._world import DeliberateError

Window = tuple[int, ...]


@step("replay")
def replay(process: Process, user: str, number: int) -> Job:
    """A replay in the application's own words, in one of several ways."""
    way = WAYS[number % len(WAYS)]
    return way(process, user, number // len(WAYS))


def by_hand(process: Process, user: str, number: int) -> Job:
    """Begin, finalize, compute; write the results down, complete, and roll them back if it was too late."""
    version = order(process, user, "begin_snapshot", None, lambda: process.buffer.begin_snapshot(user))
    yield f"begun {version}"
    frozen = order(process, user, "finalize_snapshot", version, lambda: process.buffer.finalize_snapshot(user, version))
    yield f"finalized {version}"
    window = read(process, frozen)
    for _ in range(number % 3):
        if number & 4:
            order(process, user, "renew_lease", version, frozen.renew)
        if number & 8:
            add(process, user, 0)
        yield f"computing {version}"
        check(read(process, frozen) == window, user, f"what snapshot {version} froze has changed")
    if number & 48 == 48:
        order(process, user, "abort_snapshot", version, lambda: frozen.abort("changed its mind"))
        check(version in truth_of(process, user).over, user, f"snapshot {version} was aborted, and is not over")
        return f"aborted {version}"
    if number & 64 and process.log.keeps_history:
        return (yield from in_a_transaction(process, frozen, window))
    return (yield from then_completed(process, frozen, window))


def then_completed(process: Process, frozen: FrozenSnapshot[int], window: Window) -> Job:
    user, version = frozen.user_id, frozen.version
    write(process, user, version, window)
    yield f"results of {version} written"
    in_doubt = False
    for _ in range(3):
        try:
            order(process, user, "complete_replay", version, frozen.complete)
        except StaleSnapshotError:
            zombie(process)
            if not in_doubt or is_completed(process, user, version) is False:
                roll_back(process, user, version)
            return f"too late with {version}"
        except LogError as error:
            in_doubt = in_doubt or isinstance(error, OutcomeUnknownError)
            yield f"{type(error).__name__} at completing {version}"
        else:
            return completed(process, user, version)
    return f"given up {version}"


def in_a_transaction(process: Process, frozen: FrozenSnapshot[int], window: Window) -> Job:
    user, version = frozen.user_id, frozen.version
    process.check_alive()
    witness = process.world.witness
    transaction = Transaction(process, process.world.shared, lambda: witness.saved(user, version, window))
    process.transactions.append(transaction)
    try:
        frozen.complete(connection=transaction)
    except StaleSnapshotError:
        zombie(process)
        transaction.roll_back()
        return f"too late with {version}"
    except LogError:
        transaction.roll_back()
        raise
    yield f"completing {version} in a transaction"
    transaction.commit()
    return completed(process, user, version)


def in_a_block(process: Process, user: str, number: int) -> Job:
    """With `buffer.snapshot`, in whose block it sometimes fails."""
    try:
        with process.buffer.snapshot(user) as frozen:
            yield f"begun and finalized {frozen.version}"
            window = read(process, frozen)
            if number % 4 == 0:
                raise DeliberateError("the replay fails")
            write(process, user, frozen.version, window)
            yield f"results of {frozen.version} written"
    except StaleSnapshotError:
        zombie(process)
        with suppress(UnboundLocalError):
            if (user, frozen.version) in process.world.witness.rows:
                roll_back(process, user, frozen.version)
        return "too late"
    return completed(process, user, frozen.version)


WAYS = (by_hand, by_hand, in_a_block)


@step("manage")
def manage(process: Process, user: str, number: int) -> str:
    """The manager replays who is due, or this user; others come in between while its replay function runs."""
    manager = ReplayManager(
        process.buffer,
        lambda frozen: managed(process, frozen, number),
        restore=lambda user, _taken: restored(process, user),
        max_attempts=3,
        backoff=Backoff(first=5.0, longest=60.0),
        chance=lambda: 0.5,
    )
    if number % 3:
        return told(process, [manager.replay_user(user)])
    claimed = process.buffer._claimed(1 + number % 2)
    return told(process, [result for each in claimed if (result := manager._replay_due(each, None))])


def managed(process: Process, frozen: FrozenSnapshot[int], number: int) -> int:
    """The replay function."""
    user = frozen.user_id
    window = read(process, frozen)
    process.answered()
    if number & 8:
        add(process, user, 0)
    check(read(process, frozen) == window, user, f"what snapshot {frozen.version} froze has changed")
    if number & 48 == 48:
        raise DeliberateError("the replay fails")
    write(process, user, frozen.version, window)
    process.answered()
    return frozen.version


def restored(process: Process, user: str) -> None:
    """What the manager calls to roll back: nothing has been completed that is not over."""
    process.check_alive()
    truth = truth_of(process, user)
    for version in [version for each, version in process.world.witness.rows if each == user]:
        if version in truth.over:
            roll_back(process, user, version)


def told(process: Process, results: list[ReplayResult]) -> str:
    """The manager's results are true."""
    for result in results:
        truth = truth_of(process, result.user_id)
        is_completed = result.version in truth.completed
        check(is_completed or not result.ok, result.user_id, f"{result} is ok, and was not completed")
        if result.outcome == "stale":
            zombie(process)
            check(not is_completed, result.user_id, f"{result} is stale, and was completed")
    return ", ".join(f"{result.user_id} {result.version} {result.outcome}" for result in results) or "nobody"


def read(process: Process, frozen: FrozenSnapshot[int]) -> Window:
    """The frozen measurements: these, or an error."""
    window = tuple(frozen)
    expected = truth_of(process, frozen.user_id).frozen[frozen.version]
    check(window == expected, frozen.user_id, f"snapshot {frozen.version} reads {window}, froze {expected}")
    return window


def write(process: Process, user: str, version: int, window: Window) -> None:
    """The results go into the application's database; they count if the replay is completed."""
    process.check_alive()
    process.world.witness.rows[user, version] = window


def roll_back(process: Process, user: str, version: int) -> None:
    """The results are taken out of it."""
    process.check_alive()
    done = version in truth_of(process, user).completed
    check(not done, user, f"the application was told to roll back {version}, which was completed")
    process.world.witness.rows.pop((user, version), None)


def completed(process: Process, user: str, version: int) -> str:
    """The application was told that the replay is completed."""
    check(version in truth_of(process, user).completed, user, f"was told that {version} is completed, and it is not")
    return f"completed {version}"


def is_completed(process: Process, user: str, version: int) -> bool | None:
    """What a look shows; None where it shows nothing."""
    truth = truth_of(process, user)
    try:
        history = list(process.buffer.events(user))
    except (LogError, TruncatedHistoryError):
        return None
    if any(isinstance(each.event, ReplayCompleted) and each.event.version == version for each in history):
        return True
    return None if truth.truncations else False
