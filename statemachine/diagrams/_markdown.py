"""A diagram as a Markdown page: the picture, every trigger in every state, and the words. Must not know the formats."""

import re
from collections.abc import Iterable, Iterator

from statemachine.diagrams._mermaid import mermaid
from statemachine.diagrams._model import Diagram

REFUSED = "refused"


def markdown(diagram: Diagram) -> str:
    """The page, for a code host that draws Mermaid."""
    return f"""\
# Lifecycle: {_text(diagram.name)}

<!-- Generated from the declaration by `holdover diagram`. Change that, not this. -->

```mermaid
{mermaid(diagram)}```

An arrow says which command leads from state to state, the event that records it and, in brackets, its guard.
The same with the effects: [as a picture]({diagram.slug}.svg), [as DOT]({diagram.slug}.dot).

## Every trigger in every state

A cell tells the event that is recorded and the next state, in bold where that is another one.

{_table(["trigger", *map(_text, diagram.states)], _cells(diagram))}
## Guards and effects

Where its guard does not hold, a trigger is refused as well.

{_table(["trigger", "event", "guard", "effects"], _words(diagram))}"""


def _cells(diagram: Diagram) -> Iterator[list[str]]:
    for command in diagram.commands:
        cells = [_code(command.trigger)]
        for state in diagram.states:
            target = diagram.targets.get((state, command.trigger))
            if target is None:
                cells.append(REFUSED)
            else:
                stays = target == state
                cells.append(f"{_code(command.event)} → {_text(target) if stays else f'**{_text(target)}**'}")
        yield cells


def _words(diagram: Diagram) -> Iterator[list[str]]:
    for command in diagram.commands:
        effects = "<br>".join(map(_text, command.effects))
        yield [_code(command.trigger), _code(command.event), _text(command.guard), effects]


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _text(words: str) -> str:
    """The words, with what may mean something to Markdown escaped."""
    return re.sub(r"[\\`*<>\[\]|&]", r"\\\g<0>", words)


def _code(name: str) -> str:
    return f"`{name.replace('|', chr(92) + '|')}`"
