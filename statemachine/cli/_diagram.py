"""`holdover diagram`: writes a lifecycle's diagrams, or tells whether they are current. Must not know how they look."""

import shlex

import click
from rich.console import Console
from rich.text import Text

from statemachine import Lifecycle, diagrams
from statemachine.cli._command import BadInput, OneLineCommand, imported, quoted

FOLDER = "diagrams"
BUFFER = "statemachine:BUFFER_LIFECYCLE"
COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@click.command(cls=OneLineCommand)
@click.option("--output", default=FOLDER, show_default=True, metavar="FOLDER", help="Where the diagrams are.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 and say what differs if any is not current.")
@click.option("--lifecycle", default=BUFFER, show_default=True, metavar="MODULE:NAME", help="What to draw.")
def diagram(output: str, check: bool, lifecycle: str) -> None:
    """Draw a lifecycle as Mermaid (in a Markdown page), DOT and SVG."""
    declared = _imported(lifecycle)
    try:
        if check:
            _check(declared, output, lifecycle)
        else:
            _write(declared, output)
    except ImportError as error:
        raise BadInput(str(error)) from None
    except OSError as error:
        raise BadInput(f"--output {quoted(output)}: {error.filename}: {error.strerror}") from None


def _write(lifecycle: Lifecycle, folder: str) -> None:
    written = diagrams.write(lifecycle, folder)
    for path in written:
        _say(f"wrote {path}")
    if not written:
        _say(_current(lifecycle, folder))


def _check(lifecycle: Lifecycle, folder: str, name: str) -> None:
    drifted = diagrams.drift(lifecycle, folder)
    if not drifted:
        _say(_current(lifecycle, folder))
        return
    for description in drifted:
        first, *difference = description.splitlines()
        _say(first, "bold")
        for line in difference:
            _say(f"  {line}", COLOURS.get(line[:1], ""))
    options = {"--output": (folder, FOLDER), "--lifecycle": (name, BUFFER)}
    needed = [part for option, (given, default) in options.items() if given != default for part in (option, given)]
    _say(f"Renew with: {shlex.join(['holdover', 'diagram', *needed])}")
    raise SystemExit(1)


def _current(lifecycle: Lifecycle, folder: str) -> str:
    return f"The diagrams of the {lifecycle.name} in {folder} are current."


def _say(line: str, style: str = "") -> None:
    Console(highlight=False, soft_wrap=True).print(Text(line, style))


def _imported(name: str) -> Lifecycle:
    """The lifecycle at `module:name`; the module is looked for in the current directory as well."""
    found = imported("--lifecycle", name, f"MODULE:NAME, such as {BUFFER}")
    if not isinstance(found, Lifecycle):
        raise BadInput(f"--lifecycle {quoted(name)}: is a {type(found).__name__}, not a Lifecycle")
    return found
