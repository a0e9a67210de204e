"""What stands in a log, and what the model says: as facts, in words, and whether they are the same. Changes nothing."""

from typing import Any

from crash_world import OTHER, USER, Remembering, World

from events import EventLog
from statemachine import BufferState
from statemachine._state import evolve

Facts = dict[str, Any]


def folded(log: EventLog[Any], user: str) -> BufferState:
    """The user's state by the events alone, however overdue a snapshot is."""
    position = log.position(user)
    if position is None:
        return BufferState()
    checkpoint = log.checkpoint(user, position.start) if position.start else None
    state = checkpoint.state if checkpoint else BufferState()
    for recorded in log.read(user, position.start):
        assert recorded.offset == state.head, f"offsets are not dense: {recorded} follows {state.head - 1}"
        state = evolve(state, recorded.event)
    return state


def found_in(log: EventLog[Any], user: str) -> Facts:
    """What the log says."""
    state = folded(log, user)
    frozen, rest = (
        [each for run in offsets.runs for each in log.measurements(user, run)]
        for offsets in (state.frozen_offsets, state.offsets.without(0, state.frozen_offset or 0))
    )
    return {
        "phase": state.phase,
        "version": state.version,
        "frozen": frozen,
        "not frozen": rest,
        "deadline": state.deadline,
        "attempts": state.attempts,
        "retry at": state.retry_at,
        "raised bound": state.carries,
        "added, replayed, evicted, cleared": (state.added, state.replayed, state.evicted, state.cleared),
    }


def told_by(model: Remembering) -> Facts:
    """What the model says."""
    in_progress = model.phase in ("snapshotting", "replaying")
    is_frozen = in_progress or model.phase == "aborting"
    counted = (model.added, model.replayed, model.evicted, model.cleared)
    return {
        "phase": model.phase,
        "version": model.version,
        "frozen": model.older if is_frozen else [],
        "not frozen": model.pending if is_frozen else model.older,
        "deadline": model.deadline if in_progress else None,
        "attempts": model.attempts,
        "retry at": model.retry_at,
        "raised bound": model.carries,
        "added, replayed, evicted, cleared": tuple(map(len, counted)),
    }


def in_words(facts: Facts, beside: Facts | None = None) -> str:
    """The facts; of those in which they are as the others, nothing."""
    return ", ".join(f"{name} {value}" for name, value in facts.items() if beside is None or beside[name] != value)


class DifferenceError(AssertionError):
    """The log or the hooks are not as the model says (`SAFETY`), or somebody is stuck (`LIVENESS`)."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text}")


def compared(log: EventLog[Any], stages: list[Remembering], possible: list[int], other: Remembering) -> int:
    """Which of the possible stages the user is in, the last of equal ones; nothing else has changed."""
    found = found_in(log, USER)
    place = next((p for p in reversed(possible) if p < len(stages) and told_by(stages[p]) == found), None)
    if place is None:
        must_be = " or ".join(str(place) for place in possible)
        lines = [f"found is     {in_words(found)}", f"it must be stage {must_be} of what the operation goes through:"]
        for number, stage in enumerate(stages):
            lines.append(f"  stage {number}  {in_words(told_by(stage), found) or 'as found'}")
        raise DifferenceError("SAFETY", "\n".join(lines))
    if (untouched := found_in(log, OTHER)) != (before := told_by(other)):
        raise DifferenceError("SAFETY", f"{OTHER}, who was left alone, has changed: {in_words(untouched, before)}")
    return place


def check_hooks(world: World) -> None:
    """What the hooks were called for is what they are for."""
    model, scenario = world.model, world.scenario
    if world.wrong:
        raise DifferenceError("SAFETY", "; ".join(world.wrong))
    if scenario.rolls_back and (forgotten := [each for each in model.finished if each not in world.restored]):
        raise DifferenceError(
            "SAFETY", f"the aborts of {forgotten} are finished, but no rollback of them has succeeded"
        )
    if needless := [each for each in world.restored if each not in model.aborted]:
        raise DifferenceError("SAFETY", f"snapshots {needless} were rolled back, but never aborted")
    told = [each for each in model.evicted if each not in world.unheard]
    if scenario.archives and world.archived != told:
        raise DifferenceError("SAFETY", f"calls that succeeded have evicted {told}, but on_evict got {world.archived}")
