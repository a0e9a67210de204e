"""A diagram as a Mermaid `stateDiagram-v2`, which code hosts draw. Must not know the page around it."""

import re
from collections.abc import Iterator

from statemachine.diagrams._model import Command, Diagram

HEAD = """\
---
config:
  state:
    nodeSpacing: 80
    rankSpacing: 60
---
stateDiagram-v2
    direction TB
"""

RESERVED = {"accDescr", "accTitle", "class", "classDef", "click", "default", "end", "href", "note", "scale", "state"}
RESERVED |= {"as", "direction", "hide", "style"}


def mermaid(diagram: Diagram) -> str:
    """The Mermaid text. Arrows carry command, event and guard; the effects are left to the page, for want of room."""
    return HEAD + "".join(f"    {line}\n" for line in _lines(diagram))


def _lines(diagram: Diagram) -> Iterator[str]:
    names = _names(diagram.states)
    for state, name in names.items():
        if name != state:
            yield f'state "{_escaped(state)}" as {name}'
    yield f"[*] --> {names[diagram.initial]}"
    for arrow in diagram.arrows:
        label = "<br/>".join(line for command in arrow.commands for line in _label(command))
        yield f"{names[arrow.source]} --> {names[arrow.target]}: {label}"
    for state in diagram.final:
        yield f"{names[state]} --> [*]"
    if diagram.everywhere:
        yield f"note right of {names[diagram.initial]}"
        yield "    In every state, without changing it#58;"
        for command in diagram.everywhere:
            yield f"    {_escaped(command.title)}"
        yield "end note"


def _label(command: Command) -> Iterator[str]:
    yield _escaped(command.title)
    if command.guard:
        yield f"[{_escaped(command.guard)}]"


def _names(states: tuple[str, ...]) -> dict[str, str]:
    """State to the name it has in the text: its own, unless Mermaid would trip over one of them."""
    if all(re.fullmatch(r"[A-Za-z_]\w*", state) and state not in RESERVED for state in states):
        return {state: state for state in states}
    return {state: f"state_{number}" for number, state in enumerate(states, 1)}


def _escaped(text: str) -> str:
    """The text with every character that may mean something to Mermaid as its number."""
    return re.sub(r"[^\w ,.()\[\]+=/'-]", lambda match: f"#{ord(match[0])};", text)
