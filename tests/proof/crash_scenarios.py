"""The scenarios whose every write is hit: a dozen and a half by hand, and as many as one likes that are drawn."""

from random import Random
from types import SimpleNamespace

from crash_operations import OPERATIONS
from crash_world import USER, Scenario, World

SCENARIOS = {
    "a replay": Scenario("add_3 begin add finalize add_3 renew add complete add"),
    "the bound": Scenario("add_3 add_3 add begin add_6 add finalize add_3 complete add_6 add add"),
    "the bound, archived": Scenario("add_3 add_3 add begin add_6 add finalize complete add_6 add", archives=True),
    "the bound refuses": Scenario(
        "add_3 add_3 add begin add_6 add_3 finalize complete add add_3", on_overflow="reject"
    ),
    "nobody finalizes": Scenario("add begin add wait add begin wait expire_overdue add begin finalize complete"),
    "a lease runs out": Scenario(
        "add_3 begin finalize add wait renew wait_long complete add expire_overdue replay add"
    ),
    "a late add": Scenario("add_3 begin finalize add wait_long add_3 begin add abort add", rolls_back=True),
    "an abort": Scenario("add_3 begin add abort add_3 begin finalize abort add begin finalize complete"),
    "a rollback": Scenario("add_3 begin add abort add_3 begin finalize abort add replay", rolls_back=True),
    "a rollback fails once": Scenario(
        "add_3 begin the_next_rollback_fails abort add expire_overdue begin add", rolls_back=True
    ),
    "cleared": Scenario("add_3 clear add begin abort schedule_retry add_3 clear add replay"),
    "parked": Scenario("add_3 begin abort park add begin reopen add release replay add park"),
    "pruned": Scenario("add_6 begin finalize complete prune add_3 reopen add begin finalize prune complete"),
    "taken over": Scenario("add_3 begin add take_over add begin finalize add take_over add replay add"),
    "taken over and rolled back": Scenario(
        "add_3 begin add the_next_rollback_fails take_over add take_over add", rolls_back=True
    ),
    "a manager's retries": Scenario(
        "add_3 replay_fails add wait replay_fails wait replay_fails add release replay add"
    ),
    "a manager's rollback": Scenario(
        "add_3 replay_fails add the_next_rollback_fails replay_fails expire_overdue replay", rolls_back=True
    ),
    "in one transaction": Scenario(
        "add_3 begin finalize add complete_within add_3 begin wait begin finalize complete_within"
    ),
}
"""Each is there for one thing, and fits on a line."""

LONGEST = 12
"""How many operations a scenario has at most."""


def drawn(seed: int, *, in_database: bool) -> Scenario:
    """A scenario in which most of what is done is legal."""
    draw = Random(seed)
    options = Scenario(
        "", draw.random() < 0.5, draw.random() < 0.3, draw.choice(["evict_oldest", "evict_oldest", "reject"])
    )
    names = [name for name in OPERATIONS if in_database or name != "complete_within"]
    world, operations = World.of(options), ["add_3"]
    for _ in range(draw.randrange(5, LONGEST)):
        happen(world, operations[-1])
        draw.shuffle(names)
        legal = (name for name in names if is_of_use(world, name))
        operations.append(names[0] if draw.random() < 0.1 else next(legal))
    return Scenario(" ".join(operations), options.rolls_back, options.archives, options.on_overflow)


def is_of_use(world: World, name: str) -> bool:
    """Whether something would be recorded, and nothing refused; or time would pass for somebody."""
    stages, refusal = OPERATIONS[name].stages(world, world.failing, None)
    if name.startswith("wait"):
        return world.model.phase not in ("idle", "parked")
    return refusal is None and (len(stages) > 1 or name in ("reopen", "prune"))


def happen(world: World, name: str) -> None:
    """What the model says becomes of the world."""
    operation = OPERATIONS[name]
    stages, _ = operation.stages(world, world.failing, None)
    world.models[USER] = stages[-1]
    world.count += operation.brings
    if name.startswith(("wait", "the_next")):
        operation.do(SimpleNamespace(world=world))
    elif world.model.phase == "aborting":
        world.failing = 0
