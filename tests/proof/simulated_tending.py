"""Processes that sweep, prune, park and look; and time, and what befalls processes. Must not decide when."""

from typing import Any

from simulated_steps import order, step, truth_of
from simulated_witness import check
from simulation import Process


@step("go on")
def go_on(process: Process, _user: str, number: int) -> str:
    ready = [running for running in process.jobs if not running.is_under_way]
    return process.world.go_on(process, ready[number % len(ready)]) if ready else "nothing is under way"


@step("sweep")
def sweep(process: Process, _user: str, _number: int) -> str:
    return f"expired {process.buffer.expire_overdue()}"


@step("prune")
def prune(process: Process, _user: str, _number: int) -> str:
    return f"dropped {process.buffer.prune()}"


@step("clear")
def clear(process: Process, user: str, number: int) -> str:
    through = None if number % 2 else number // 2 % (truth_of(process, user).head + 1)
    order(process, user, "clear_buffer", None, lambda: process.buffer.clear_buffer(user, through))
    return f"cleared through {through}"


@step("park")
def park(process: Process, user: str, _number: int) -> str:
    order(process, user, "park", None, lambda: process.buffer.park(user, "its scale is broken"))
    return "parked"


@step("release")
def release(process: Process, user: str, _number: int) -> str:
    order(process, user, "release", None, lambda: process.buffer.release(user))
    return "released"


@step("retry")
def retry(process: Process, user: str, number: int) -> str:
    retry_at = process.clock() + number % 100
    order(process, user, "schedule_retry", None, lambda: process.buffer.schedule_retry(user, retry_at))
    return f"to be tried again at {retry_at}"


@step("look")
def look(process: Process, user: str, number: int) -> str:
    """What a buffer says was so at some moment between question and answer."""
    truth, buffer = truth_of(process, user), process.buffer
    since = len(truth.summaries) - 1
    match number % 4:
        case 0:
            found: Any = tuple(buffer.measurements(user))
            possible: Any = [summary[-1] for summary in truth.summaries[since:]]
        case 1:
            state = buffer.state(user)
            counts = (state.added, state.replayed, state.evicted, state.cleared, state.attempts)
            found = (state.phase, state.version, state.head, *counts)
            possible = [summary[:-1] for summary in truth.summaries[since:]]
        case 2:
            audit = buffer.audit(user)
            check(audit.ok, user, f"the audit finds: {audit}")
            found = (audit.head, audit.added, audit.replayed, audit.evicted, audit.cleared)
            possible = [summary[2:7] for summary in truth.summaries[since:]]
        case _:
            history = list(buffer.events(user))
            start = history[0].offset if history else 0
            found, possible = history, [truth.history[start : start + len(history)]]
    check(found in possible, user, f"a look shows {found}, and there was {possible}")
    return str(found)[:60]


@step("list ready")
def list_ready(process: Process, _user: str, _number: int) -> str:
    """Who is due is listed, and nobody else is."""
    world, now = process.world, process.clock()
    was_calm, world.is_calm = world.is_calm, True
    try:
        ready = sorted(process.buffer.ready())
    finally:
        world.is_calm = was_calm
    due = sorted(user for user in world.users if truth_of(process, user).model.is_due(now))
    held = [user for user in world.users if user in world.shared.held]
    user = next(iter({*ready} ^ {*due}), "")
    check(ready == due or held, user, f"ready gives {ready}, and due are {due}")
    return str(ready)


@step("time passes")
def time_passes(process: Process, _user: str, number: int) -> str:
    process.world.now += (number % 64) / 4
    return f"to {process.world.now}"


@step("deadlines pass")
def deadlines_pass(process: Process, _user: str, number: int) -> str:
    process.world.now += (31.0, 301.0, 1000.0)[number % 3]
    return f"to {process.world.now}"


@step("pause")
def pause(process: Process, _user: str, _number: int) -> str:
    process.is_paused = True
    process.world.counts["pauses"] += 1
    return ""


@step("wake")
def wake(process: Process, _user: str, _number: int) -> str:
    process.is_paused = False
    return ""


@step("die")
def die(process: Process, _user: str, _number: int) -> str:
    process.die()
    return ""


@step("arrive")
def arrive(process: Process, _user: str, number: int) -> str:
    return process.world.shared.arrive(number)


@step("rollbacks")
def rollbacks(process: Process, _user: str, number: int) -> str:
    process.world.rollbacks_fail = number % 3 == 0
    return "fail" if process.world.rollbacks_fail else "succeed"
