"""What the commands show: progress bars, tables, the conservation line. Must not know how it came about."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from statemachine.cli._command import quoted

NUMBERS = "{:,}".format


def console() -> Console:
    """Standard output, in colours where that is a terminal (and `NO_COLOR` is not set)."""
    return Console(highlight=False)


def progress() -> Progress:
    """A progress bar on standard error, which is seen only where that is a terminal and goes away when it is done."""
    errors = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
        expand=True,
    )


def named(user: str) -> Text:
    """A user id as it can be shown: one that would move the cursor is shown in quotes and escaped."""
    return Text(user if user.isprintable() else quoted(user))


def table(*columns: str) -> Table:
    """An empty table: the first column holds names, the others numbers."""
    grid = Table(header_style="bold")
    for column in columns:
        grid.add_column(column, justify="left" if column == columns[0] else "right", overflow="fold")
    return grid


def count(number: int, style: str = "") -> Text:
    """A number for a table, in a style unless it is zero."""
    return Text(NUMBERS(number), style=style if number else "dim")


def note(to: Console, words: str, style: str = "") -> None:
    """A line in words; it is not broken, whatever the width."""
    to.print(Text(words, style=style), soft_wrap=True)


def plural(number: int, noun: str) -> str:
    """The number with its noun.

    Example:
        >>> plural(1, "row"), plural(2000, "row")
        ('1 row', '2,000 rows')
    """
    return f"{NUMBERS(number)} {noun}{'' if number == 1 else 's'}"


def conservation(added: int, replayed: int, live: int, evicted: int, lost: int) -> str:
    """The line that says where every row is.

    Example:
        >>> conservation(3, 2, 1, 0, 0)
        'added 3 = replayed 2 + live 1 + evicted 0, lost 0'
    """
    return f"added {added} = replayed {replayed} + live {live} + evicted {evicted}, lost {lost}"
