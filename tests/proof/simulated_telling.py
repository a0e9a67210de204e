"""`told`: a run that failed, in words: its steps line by line, and the timeline of its user. Runs nothing."""

from collections.abc import Iterator, Sequence
from typing import Any

from attrs import define, field

from events import Recorded


@define
class Line:
    """One step, as it is told afterwards.

    Attributes:
        depth: within how many others it came.
        now: when; `who`: the process, or "" where none takes it; `what`: the step.
        outcome: what came of it; `faults`: what befell it; `events`: the users and events that it recorded.
    """

    depth: int
    now: float
    who: str
    what: str
    outcome: str = ""
    faults: list[str] = field(factory=list)
    events: list[tuple[str, Recorded]] = field(factory=list)

    def __str__(self) -> str:
        faults = "".join(f"  [{fault}]" for fault in self.faults)
        return f"{self.now:9.2f}  {self.who:<18}{'  ' * self.depth}{self.what}: {self.outcome}{faults}"


def history(lines: Sequence[Line]) -> Iterator[str]:
    """A line for each step; what is further in came in between the requests of the step above it."""
    for number, line in enumerate(lines, 1):
        yield f"{number:4}  {line}"


def timeline(lines: Sequence[Line], user: str) -> Iterator[str]:
    """The user's events in the order of their offsets, and the step that recorded each."""
    recorded = [
        (event.offset, line.now, number, line, event)
        for number, line in enumerate(lines, 1)
        for each, event in line.events
        if each == user
    ]
    for offset, now, number, line, event in sorted(recorded, key=lambda entry: entry[0]):
        yield f"{offset:4}  {now:9.2f}  {short(event.event):<60}  step {number}, {line.who or line.what}"


def short(event: Any) -> str:
    """An event without the names of its fields."""
    values = ", ".join(str(getattr(event, name)) for name in type(event).__slots__ if not name.startswith("__"))
    return f"{type(event).__name__}({values})"


def told(lines: Sequence[Line], user: str, message: str, replay: str) -> str:
    """All of it."""
    return "\n".join(
        [
            message,
            f"the shortest history found, {len(lines)} steps:",
            *history(lines),
            f"the events of user {user} (offset, time, event, step):",
            *timeline(lines, user),
            f"again: {replay}",
        ]
    )
