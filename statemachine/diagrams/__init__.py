"""Diagrams of a `Lifecycle`: Mermaid in a Markdown page, DOT and SVG, and whether files of them are current.

They are drawn from the declaration alone, and the same declaration gives the same text: the change of a lifecycle is a
readable diff. They show a lifecycle, not something that has one, so no state is painted as the present one.
"""

import difflib
from pathlib import Path

from statemachine.diagrams import _dot, _markdown, _mermaid, _svg
from statemachine.diagrams._model import extract
from statemachine.lifecycle import Lifecycle

__all__ = ["dot", "drift", "markdown", "mermaid", "render", "svg", "write"]


def mermaid(lifecycle: Lifecycle) -> str:
    """The lifecycle as a Mermaid `stateDiagram-v2`.

    Example:
        >>> from statemachine import BUFFER_LIFECYCLE
        >>> "    [*] --> idle" in mermaid(BUFFER_LIFECYCLE).splitlines()
        True
    """
    return _mermaid.mermaid(extract(lifecycle))


def markdown(lifecycle: Lifecycle) -> str:
    """A Markdown page with the Mermaid diagram, the table of every trigger in every state, guards and effects.

    Example:
        >>> from statemachine import BUFFER_LIFECYCLE
        >>> markdown(BUFFER_LIFECYCLE).splitlines()[0]
        '# Lifecycle: measurement buffer'
    """
    return _markdown.markdown(extract(lifecycle))


def dot(lifecycle: Lifecycle) -> str:
    """The lifecycle as DOT text.

    Example:
        >>> from statemachine import BUFFER_LIFECYCLE
        >>> dot(BUFFER_LIFECYCLE).splitlines()[0]
        'digraph "measurement buffer" {'
    """
    return _dot.dot(extract(lifecycle))


def svg(lifecycle: Lifecycle) -> str:
    """The lifecycle as an SVG picture. Its layout depends on the Graphviz that makes it and on the fonts it finds.

    Raises:
        ImportError: the extra `diagrams` is not installed.

    Example:
        >>> from statemachine import BUFFER_LIFECYCLE
        >>> svg(BUFFER_LIFECYCLE).count("finish_abort")
        1
    """
    return _svg.svg(dot(lifecycle))


def render(lifecycle: Lifecycle) -> dict[str, str]:
    """Every diagram of the lifecycle.

    Returns:
        File name to text: a Markdown page, DOT and SVG, named after the lifecycle.

    Raises:
        ImportError: the extra `diagrams` is not installed.

    Example:
        >>> from statemachine import BUFFER_LIFECYCLE
        >>> list(render(BUFFER_LIFECYCLE))
        ['measurement_buffer.md', 'measurement_buffer.dot', 'measurement_buffer.svg']
    """
    slug = extract(lifecycle).slug
    return {f"{slug}.md": markdown(lifecycle), f"{slug}.dot": dot(lifecycle), f"{slug}.svg": svg(lifecycle)}


def write(lifecycle: Lifecycle, folder: str | Path) -> list[Path]:
    """Write the diagrams of the lifecycle where any of them has drifted; make the folder if there is none.

    Current files are left alone, so that another Graphviz or other fonts do not move a picture that says the same.

    Returns:
        The files written: all of them, or none.

    Raises:
        ImportError: the extra `diagrams` is not installed.
        OSError: the folder or a file cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from statemachine import BUFFER_LIFECYCLE
        >>> with TemporaryDirectory() as folder:
        ...     [path.name for path in write(BUFFER_LIFECYCLE, folder)], write(BUFFER_LIFECYCLE, folder)
        (['measurement_buffer.md', 'measurement_buffer.dot', 'measurement_buffer.svg'], [])
    """
    if not drift(lifecycle, folder):
        return []
    Path(folder).mkdir(parents=True, exist_ok=True)
    written = {Path(folder, name): text for name, text in render(lifecycle).items()}
    for path, text in written.items():
        path.write_text(text, encoding="utf-8", newline="\n")
    return list(written)


def drift(lifecycle: Lifecycle, folder: str | Path) -> list[str]:
    """What is missing or differs among the files that `write` would make in `folder`; nothing where all are current.

    Of an SVG it compares what it says, that is its boxes, its arrows and the text at each, not where they stand.

    Returns:
        A description for each such file, with the difference below its first line.

    Raises:
        ImportError: the extra `diagrams` is not installed.
        OSError: a file cannot be read.

    Example:
        >>> from statemachine import BUFFER_LIFECYCLE
        >>> drift(BUFFER_LIFECYCLE, "no/such/folder")[0]
        'no/such/folder/measurement_buffer.md is missing'
    """
    found = (_difference(Path(folder, name), text) for name, text in render(lifecycle).items())
    return [description for description in found if description]


def _difference(path: Path, expected: str) -> str:
    if not path.exists():
        return f"{path} is missing"
    actual = path.read_text(encoding="utf-8", errors="replace")
    lines = _svg.said if path.suffix == ".svg" else str.splitlines
    difference = list(difflib.unified_diff(lines(actual), lines(expected), "file", "declaration", n=1, lineterm=""))
    return "\n".join([f"{path} differs from the declaration", *difference]) if difference else ""
