"""A diagram as DOT text, which Graphviz lays out. Must not know Graphviz itself."""

import html
import textwrap
from collections.abc import Iterable, Iterator

from statemachine.diagrams._model import Arrow, Command, Diagram

WIDEST = 44
"""How many characters of a guard or an effect stand on one line."""

FONT = 'fontname="Helvetica,Arial,sans-serif", fontcolor="#1f2933"'
GREY = "#52606d"
AT_REST = "#f5f6f8"

STYLE = f"""\
    graph [rankdir=TB, nodesep=0.5, ranksep=0.55, pad=0.25, labeljust=l, labelloc=b, fontsize=14, {FONT}]
    node [shape=box, style="rounded,filled", color="#4a6fa5", fillcolor="#e6f0fa", penwidth=1.3]
    node [margin="0.3,0.15", height=0.6, fontsize=17, {FONT}]
    edge [color="{GREY}", arrowsize=0.8, fontsize=14, {FONT}]
"""

DOT = "width=0.2, color=black, fillcolor=black"


def dot(diagram: Diagram) -> str:
    """The DOT text: states as boxes, a black dot before the initial one, a ringed dot after each final one."""
    return "\n".join([f"digraph {_quoted(diagram.name)} {{", STYLE, *_statements(diagram), "}"]) + "\n"


def _statements(diagram: Diagram) -> Iterator[str]:
    yield f'    "(initial)" [shape=point, {DOT}]'
    for state in diagram.states:
        at_rest = f', fillcolor="{AT_REST}"' if state in (diagram.initial, *diagram.final) else ""
        yield f"    {_quoted(state)} [label={_quoted(state)}{at_rest}]"
    for state in diagram.final:
        yield f'    {_end(state)} [shape=doublecircle, label="", height=0.2, {DOT}]'
    yield f'    "(initial)" -> {_quoted(diagram.initial)}'
    for arrow in diagram.arrows:
        yield _drawn(diagram, arrow)
    for state in diagram.final:
        yield f"    {_quoted(state)} -> {_end(state)}"
    if diagram.everywhere:
        yield f"    label={_note(diagram.everywhere)}"


def _drawn(diagram: Diagram, arrow: Arrow) -> str:
    # An arrow back up to a state with a loop arrives from below; at the side it would cut through the loop.
    back = diagram.states.index(arrow.target) < diagram.states.index(arrow.source)
    looped = any(other.source == other.target == arrow.target for other in diagram.arrows)
    port = "headport=s, " if back and looped else ""
    return f"    {_quoted(arrow.source)} -> {_quoted(arrow.target)} [{port}label={_label(arrow.commands)}]"


def _note(commands: Iterable[Command]) -> str:
    """What holds in every state, in a box below all else; the empty row keeps it at a distance."""
    lines = ["<b>In every state, without changing it:</b>", *_lines(commands)]
    return (
        f'<<table border="0" cellspacing="0"><tr><td height="12"></td></tr><tr>{_cell(lines, border=1)}</tr></table>>'
    )


def _label(commands: Iterable[Command]) -> str:
    return f'<<table border="0"><tr>{_cell(_lines(commands))}</tr></table>>'


def _cell(lines: Iterable[str], border: int = 0) -> str:
    """A cell of an HTML-like label. Graphviz passes over line ends and tabs there, but not over spaces."""
    text = "".join(f"\n\t{line}<br/>" for line in lines)
    return f'<td border="{border}" color="{GREY}" cellpadding="5" align="left" balign="left">{text}\n\t</td>'


def _lines(commands: Iterable[Command]) -> Iterator[str]:
    """Command and event, and below them in grey the guard in brackets and the effects."""
    for command in commands:
        yield f"<b>{_escaped(command.trigger)}</b> / {_escaped(command.event)}"
        for words in [*([f"[{command.guard}]"] if command.guard else []), *command.effects]:
            for line in _balanced(words):
                yield f'<font point-size="13" color="{GREY}">{_escaped(line)}</font>'


def _balanced(words: str) -> list[str]:
    """As few lines as `WIDEST` allows, all about as long as each other."""
    wrapped = [textwrap.wrap(words, width, break_long_words=False) for width in range(1, WIDEST + 1)]
    return next(lines for lines in wrapped if len(lines) == len(wrapped[-1]))


def _end(state: str) -> str:
    return _quoted(f"(after {state})")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)
