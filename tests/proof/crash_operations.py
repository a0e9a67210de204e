"""The operations of a scenario, and what the model of plain lists says of each. Must not know any log.

An operation records one thing after the other: an add at most the expiry of an overdue snapshot, then the measurements,
then the end of the abort. Its plan does the same to the model, stops after each, is told whether the caller got an
error there although it was recorded, and returns the error with which it must be refused, if it must be.
"""

from collections.abc import Callable, Generator
from typing import Any

from attrs import evolve, frozen
from crash_world import USER, Remembering, World

from statemachine import Backoff, ReplayManager, RollbackError, StaleSnapshotError
from statemachine.spec._model import Refusal

MOST_ATTEMPTS = 3
BACKOFF = Backoff(first=10.0, jitter=0.0)
Plan = Generator[None, bool, Refusal]

Doing = Callable[[Any], object]
"""Does an operation; it is given the life of a process (see `crash_driver`)."""


@frozen
class Operation:
    """Something that is done, what the model says of it, and how many measurements it brings."""

    do: Doing
    plan: Callable[[World, Remembering], Plan]
    brings: int = 0

    def stages(self, world: World, failing: int, lost_at: int | None) -> tuple[list[Remembering], Refusal]:
        """The models before the operation and after each thing that it records, and its refusal.

        Parameters:
            world: as it was before, for the time and the model.
            failing: how many rollbacks were to fail then.
            lost_at: after how many recorded things the caller got an error all the same; None for never.
        """
        model = world.model.copied()
        seen, plan = [model.copied()], self.plan(evolve(world, failing=failing), model)
        try:
            next(plan)
            while True:
                seen.append(model.copied())
                plan.send(len(seen) - 1 == lost_at)
        except StopIteration as end:
            return seen, end.value


def given_up(world: World, model: Remembering) -> Generator[None, bool, bool]:
    """A snapshot is aborted or expires, and is rolled back; whether the caller got an error on the way."""
    model.abort(rolled_back=not world.scenario.rolls_back)
    return (yield) or (yield from rolled_back(world, model))


def rolled_back(world: World, model: Remembering) -> Generator[None, bool, bool]:
    """The rollback runs, if one has to and it works. Where the log goes away in it, its caller goes on all the same."""
    if model.phase == "aborting" and not world.failing:
        model.finish_abort()
        yield
    return False


def touched(world: World, model: Remembering) -> Generator[None, bool, bool]:
    """What is overdue expires."""
    return (yield from given_up(world, model)) if model.is_overdue(world.now) else False


def adding(count: int) -> Operation:
    def plan(world: World, model: Remembering) -> Plan:
        overdue = model.is_overdue(world.now)
        if overdue:
            model.abort(rolled_back=not world.scenario.rolls_back)
            if (yield):
                return None
        refusal = model.add(world.batch(count), world.now)
        if refusal is None:
            yield
        if overdue:
            yield from rolled_back(world, model)
        return refusal

    def do(life: Any) -> None:
        if count == 1:
            life.buffer.add_measurement(USER, life.world.count)
        else:
            life.buffer.add_measurements(USER, life.world.batch(count))

    return Operation(do, plan, count)


def command(
    trigger: str, do: Doing, change: Callable[[World, Remembering], object], *, named: bool = True
) -> Operation:
    """One of which a single event comes, for the version that is in progress where it is `named`."""

    def plan(world: World, model: Remembering) -> Plan:
        if (yield from touched(world, model)):
            return None
        refusal = model.refusal(trigger, model.version if named else None)
        if refusal is None:
            change(world, model)
            yield
        return refusal

    return Operation(do, plan)


def completing_within(world: World, model: Remembering) -> Plan:
    refusal = StaleSnapshotError if model.is_overdue(world.now) else model.refusal("complete_replay", model.version)
    if refusal is None:
        model.saved += model.older
        model.complete()
        yield
    return refusal


def aborting(world: World, model: Remembering) -> Plan:
    if (yield from touched(world, model)):
        return None
    refusal = model.refusal("abort_snapshot", model.version)
    if refusal is not None:
        return refusal
    lost = yield from given_up(world, model)
    return RollbackError if model.phase == "aborting" and not lost else None


def sweeping(world: World, model: Remembering) -> Plan:
    yield from touched(world, model) if model.is_overdue(world.now) else rolled_back(world, model)
    return None


def taking_over(world: World, model: Remembering) -> Plan:
    in_progress = model.phase in ("snapshotting", "replaying")
    yield from given_up(world, model) if in_progress else rolled_back(world, model)
    return None


def replaying(fails: bool) -> Operation:
    """A manager's replay, which follows up its failure."""

    def plan(world: World, model: Remembering) -> Plan:
        if (yield from touched(world, model)):
            return None
        refusal = model.refusal("begin_snapshot")
        if refusal is not None:
            return refusal
        model.begin(world.now)
        if (yield):
            return None  # nobody knows of the snapshot
        model.finalize(world.now)
        if not (yield) and not fails:
            model.complete()
            yield  # whoever gets an error then finds out that it is completed
            return None
        yield from given_up(world, model)
        if model.phase == "idle" and model.attempts >= MOST_ATTEMPTS:
            model.park()
        else:
            model.retry_at = world.now + BACKOFF.delay(model.attempts, 0.0)
        yield
        return None

    def do(life: Any) -> None:
        replay = life.failing if fails else list
        ReplayManager(life.buffer, replay, max_attempts=MOST_ATTEMPTS, backoff=BACKOFF).replay_user(USER)

    return Operation(do, plan)


def nothing(world: World, model: Remembering) -> Plan:
    return None
    yield


def waiting(seconds: float) -> Operation:
    def do(life: Any) -> None:
        life.world.now += seconds

    return Operation(do, nothing)


def let_fail(life: Any) -> None:
    life.world.failing = 1


OPERATIONS: dict[str, Operation] = {
    "add": adding(1),
    "add_3": adding(3),
    "add_6": adding(6),
    "begin": command(
        "begin_snapshot", lambda life: life.buffer.begin_snapshot(USER), lambda w, m: m.begin(w.now), named=False
    ),
    "finalize": command(
        "finalize_snapshot",
        lambda life: life.buffer.finalize_snapshot(USER, life.version),
        lambda w, m: m.finalize(w.now),
    ),
    "renew": command(
        "renew_lease", lambda life: life.buffer.renew_lease(USER, life.version), lambda w, m: m.renew(w.now)
    ),
    "complete": command(
        "complete_replay", lambda life: life.buffer.complete_replay(USER, life.version), lambda w, m: m.complete()
    ),
    "complete_within": Operation(lambda life: life.complete_within(), completing_within),
    "abort": Operation(lambda life: life.buffer.abort_snapshot(USER, "the test says so", life.version), aborting),
    "the_next_rollback_fails": Operation(let_fail, nothing),
    "expire_overdue": Operation(lambda life: life.buffer.expire_overdue(), sweeping),
    "clear": command("clear_buffer", lambda life: life.buffer.clear_buffer(USER), lambda w, m: m.clear(), named=False),
    "schedule_retry": command(
        "schedule_retry",
        lambda life: life.buffer.schedule_retry(USER, life.world.now + 50, life.version),
        lambda w, m: setattr(m, "retry_at", w.now + 50),
    ),
    "park": command("park", lambda life: life.buffer.park(USER), lambda w, m: m.park(), named=False),
    "release": command("release", lambda life: life.buffer.release(USER), lambda w, m: m.release(), named=False),
    "replay": replaying(fails=False),
    "replay_fails": replaying(fails=True),
    "prune": Operation(lambda life: life.buffer.prune(), nothing),
    "reopen": Operation(lambda life: life.reopen(), nothing),
    "take_over": Operation(lambda life: life.reopen(take_over=True), taking_over),
    "wait": waiting(31.0),
    "wait_long": waiting(301.0),
}
"""Every operation by its name. After `wait` a begun snapshot is overdue, after `wait_long` also a replay."""
