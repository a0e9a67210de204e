"""`Plan`: what happens in a simulated run, drawn from a seed and nothing else. Knows no buffer and no log.

A plan is a value: the same plan gives the same run, and one with steps left out is a plan, too. So a run that fails
becomes short by leaving out what it does not need.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from attrs import evolve, frozen
from simulated_shared import DEATHS, DOUBTS, REFUSALS

WEIGHTS = {
    "add": 12,
    "add several": 5,
    "add for users": 3,
    "replay": 9,
    "manage": 4,
    "go on": 26,
    "sweep": 4,
    "look": 7,
    "list ready": 4,
    "prune": 2,
    "clear": 1,
    "park": 1,
    "release": 2,
    "retry": 2,
    "time passes": 9,
    "deadlines pass": 5,
    "pause": 2,
    "wake": 3,
    "die": 1,
    "arrive": 6,
    "rollbacks": 1,
}
"""The steps there are, and how often each is drawn."""

INDISPENSABLE = ("add", "replay", "go on", "time passes")

USERS = ("ann", "bob", "cyd")

LONGEST_WAIT, LATEST_FAULT = 6, 10


@frozen
class Step:
    """One step.

    Attributes:
        what: one of `WEIGHTS`.
        process: which process takes it; `user`: which user it is about; `number`: whatever else is left to choose.
        wait: after so many requests of the step under way it comes in between; None: when that has ended.
        faults: what befalls its requests, by their number from 1 on.
    """

    what: str
    process: int
    user: int
    number: int
    wait: int | None
    faults: tuple[tuple[int, str], ...]


@frozen
class Setup:
    """What is so from the beginning.

    Attributes:
        users, processes: how many there are.
        skews: by how many seconds the processes' clocks are off.
        max_measurements, pending_factor, on_overflow, policy: of the buffers; the policy by its number.
        keeps_history: whether the log does.
        rolls_back, archives: whether there are an `on_abort` and an `on_evict`.
    """

    users: int = 1
    processes: int = 1
    skews: tuple[float, ...] = (0.0, 0.0, 0.0)
    max_measurements: int = 3
    pending_factor: float = 2
    on_overflow: str = "evict_oldest"
    policy: int = 0
    keeps_history: bool = True
    rolls_back: bool = False
    archives: bool = False


@frozen
class Plan:
    """A setup, and the steps in the order in which they are begun."""

    seed: int
    setup: Setup
    steps: tuple[Step, ...]


def drawn(seed: int, most: int = 200) -> Plan:
    """The plan of a seed, of up to so many steps. Each has a mood: which steps there are, how much goes wrong."""
    random = Random(seed)
    setup = Setup(
        users=random.choice([1, 1, 2, 3]),
        processes=random.choice([1, 2, 2, 3]),
        skews=tuple(random.choice([0.0, 0.0, 1.5, -1.5]) for _ in range(3)),
        max_measurements=random.randint(1, 5),
        pending_factor=random.choice([0.5, 1, 2]),
        on_overflow=random.choice(["evict_oldest", "evict_oldest", "reject"]),
        policy=random.randrange(5),
        keeps_history=random.random() < 0.75,
        rolls_back=random.random() < 0.4,
        archives=random.random() < 0.3,
    )
    weights = {what: weight for what, weight in WEIGHTS.items() if what in INDISPENSABLE or random.random() < 0.8}
    faulty, busy = random.choice([0.0, 0.1, 0.3, 0.5]), random.choice([0.0, 0.3, 0.6])
    faults = random.choice([tuple(REFUSALS), DOUBTS, (*REFUSALS, *DOUBTS), (*REFUSALS, *DOUBTS, *DEATHS), DEATHS])
    kinds = random.choices(list(weights), list(weights.values()), k=random.randint(40, most))
    return Plan(seed, setup, tuple(_step(random, what, faults, faulty, busy) for what in kinds))


def _step(random: Random, what: str, faults: tuple[str, ...], faulty: float, busy: float) -> Step:
    several = random.choice([1, 1, 2]) if random.random() < faulty else 0
    return Step(
        what,
        process=random.randrange(12),
        user=random.randrange(12),
        number=random.getrandbits(16),
        wait=random.randint(0, LONGEST_WAIT) if random.random() < busy else None,
        faults=tuple((random.randint(1, LATEST_FAULT), random.choice(faults)) for _ in range(several)),
    )


def shrunk(plan: Plan, fails: Callable[[Plan], bool], most: int = 2000) -> Plan:
    """The shortest plan found that still fails: without steps, faults and what comes in between, as far as it does.

    Parameters:
        plan: one that fails.
        fails: whether another fails likewise.
        most: how many to try at most.
    """
    tries = 0

    def better(simpler: Plan) -> bool:
        nonlocal tries
        tries += 1
        return tries <= most and fails(simpler)

    while True:
        before = plan
        for simpler in (_with_fewer_steps, _with_plainer_steps, _with_a_plainer_setup):
            plan = simpler(plan, better)
        if plan == before or tries > most:
            return plan


def _with_fewer_steps(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    """Leave out halves, quarters, ..., and single steps at last, from the end on."""
    size = max(1, len(plan.steps) // 2)
    while size:
        end = len(plan.steps)
        while end > 0:
            start = max(0, end - size)
            fewer = evolve(plan, steps=plan.steps[:start] + plan.steps[end:])
            if fails(fewer):
                plan = fewer
            end = start
        size //= 2
    return plan


def _with_plainer_steps(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    for place in range(len(plan.steps)):
        for changes in _plainer(plan.steps[place]):
            step = evolve(plan.steps[place], **changes)
            plainer = evolve(plan, steps=(*plan.steps[:place], step, *plan.steps[place + 1 :]))
            if step != plan.steps[place] and fails(plainer):
                plan = plainer
    return plan


def _plainer(step: Step) -> Iterator[dict[str, Any]]:
    yield {"faults": ()}
    yield {"faults": step.faults[:1]}
    yield {"wait": None}
    yield {"number": 0}
    yield {"process": 0}
    yield {"user": 0}


def _with_a_plainer_setup(plan: Plan, fails: Callable[[Plan], bool]) -> Plan:
    plainest = Setup()
    for name in ("archives", "rolls_back", "skews", "policy", "pending_factor", "on_overflow", "keeps_history"):
        plainer = evolve(plan, setup=evolve(plan.setup, **{name: getattr(plainest, name)}))
        if plainer != plan and fails(plainer):
            plan = plainer
    return plan
