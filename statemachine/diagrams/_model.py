"""What a diagram of a lifecycle shows, extracted once for every format. Must not know how any of them is written."""

import re
from collections.abc import Mapping

from attrs import field, frozen

from statemachine.lifecycle import Lifecycle


@frozen
class Command:
    """A trigger, the event that records it, and the words about it: its guard or "", and its effects."""

    trigger: str
    event: str
    guard: str
    effects: tuple[str, ...]

    @property
    def title(self) -> str:
        """The command and what it records, as an arrow is labelled: `begin_snapshot / SnapshotBegun`."""
        return f"{self.trigger} / {self.event}"


@frozen
class Arrow:
    """All the commands that lead from one state to one other, or back to the same."""

    source: str
    target: str
    commands: tuple[Command, ...]


@frozen
class Diagram:
    """What a diagram shows. Every collection is in the order of the declaration, so equal tables are drawn equally.

    Attributes:
        name: what it is the lifecycle of.
        states: every state.
        initial: the state before the first event.
        final: the states without a way out.
        commands: every command.
        arrows: the changes of state, and what leaves only some states as they are.
        everywhere: the commands that are legal in every state and change none; drawn once, not as a loop on each.
        targets: (state, trigger) to the next state; a pair that is missing is refused.
    """

    name: str
    states: tuple[str, ...]
    initial: str
    final: tuple[str, ...]
    commands: tuple[Command, ...]
    arrows: tuple[Arrow, ...]
    everywhere: tuple[Command, ...]
    targets: Mapping[tuple[str, str], str] = field(hash=False)

    @property
    def slug(self) -> str:
        """The name as the stem of a file's name."""
        return re.sub(r"\W+", "_", self.name.lower()).strip("_") or "lifecycle"


def extract(lifecycle: Lifecycle) -> Diagram:
    """What a diagram of `lifecycle` shows."""
    commands = {
        row.trigger: Command(
            row.trigger,
            row.event.__name__,
            _one_line(lifecycle.guards.get(row.trigger, "")),
            tuple(filter(None, map(_one_line, lifecycle.effects.get(row.trigger, "").split(";")))),
        )
        for row in lifecycle.transitions
    }
    targets = {(source, row.trigger): target for source, row, target in lifecycle.rows()}
    everywhere = [
        trigger for trigger in commands if all(targets.get((state, trigger)) == state for state in lifecycle.states)
    ]
    arrows: dict[tuple[str, str], list[Command]] = {}
    for (source, trigger), target in targets.items():
        if trigger not in everywhere:
            arrows.setdefault((source, target), []).append(commands[trigger])
    return Diagram(
        name=_one_line(lifecycle.name),
        states=lifecycle.states,
        initial=lifecycle.initial,
        final=lifecycle.final,
        commands=tuple(commands.values()),
        arrows=tuple(Arrow(source, target, tuple(labels)) for (source, target), labels in arrows.items()),
        everywhere=tuple(commands[trigger] for trigger in everywhere),
        targets=targets,
    )


def _one_line(words: str) -> str:
    return " ".join(words.split())
