"""What `holdover replay` tells at the end. Must not change or compute anything but sums."""

from heapq import nlargest
from pathlib import Path

from rich.console import Console

from statemachine.cli._command import quoted
from statemachine.cli._job import Outcome
from statemachine.cli._show import conservation, console, count, named, note, plural, table
from statemachine.cli._turn import Window

SHOWN = 20
"""How many users, and how many failed replays, are shown one by one."""


def report(outcome: Outcome, source: Path, output: Path | None) -> None:
    """Print a table by user, whatever went wrong, and last the conservation line.

    Parameters:
        outcome: of the run.
        source: the file that was read.
        output: where the rows were written, or None.
    """
    screen, errors = console(), Console(stderr=True, highlight=False)
    _summary(screen, outcome, source)
    _users(screen, outcome)
    _complaints(errors, outcome)
    _flagged(screen, outcome, output)
    accounts = outcome.accounts
    lost = sum(account.lost for account in accounts)
    line = conservation(
        added=sum(account.added for account in accounts),
        replayed=sum(account.replayed for account in accounts),
        live=sum(account.live for account in accounts),
        evicted=sum(account.evicted for account in accounts),
        lost=lost,
    )
    note(screen, line, "bold green" if outcome.ok else "bold red" if lost else "bold yellow")


def _summary(screen: Console, outcome: Outcome, source: Path) -> None:
    rows = plural(sum(account.fed for account in outcome.accounts), "row")
    chosen = outcome.times[0].name
    note(screen, f"{source.name}: {rows} of {plural(len(outcome.accounts), 'user')}, times read as {chosen}")
    if outcome.earlier:
        earlier = f"{plural(outcome.earlier, 'row')} had been added by an earlier run"
        note(screen, "The run was complete already; nothing was left to do." if outcome.is_idle else f"{earlier}.")
    day_first = [times.name for times in outcome.times if times.name.startswith("%d")]
    if chosen.startswith("%m") and day_first:
        note(screen, f"The day may come first as well; --time-format '{day_first[0]}' reads it so.", "yellow")


def _users(screen: Console, outcome: Outcome) -> None:
    grid = table("user", "added", "replayed", "live", "evicted", "replays", "flagged")
    for account in nlargest(SHOWN, outcome.accounts, key=lambda account: account.added):
        grid.add_row(
            named(account.user),
            count(account.added),
            count(account.replayed, "green"),
            count(account.live, "yellow"),
            count(account.evicted, "red"),
            count(account.replays),
            count(account.flagged, "cyan"),
        )
    screen.print(grid)
    if len(outcome.accounts) > SHOWN:
        note(screen, f"and {plural(len(outcome.accounts) - SHOWN, 'more user')}", "dim")


def _complaints(errors: Console, outcome: Outcome) -> None:
    for failure in outcome.failures[:SHOWN]:
        note(errors, _failure(failure), "red")
    if len(outcome.failures) > SHOWN:
        note(errors, f"and {plural(len(outcome.failures) - SHOWN, 'more failed replay')}", "red")
    if outcome.stopped:
        note(errors, outcome.stopped, "red")
    for account in outcome.accounts:
        for finding in account.findings:
            note(errors, f"user {quoted(account.user)}: {finding}", "red")


def _failure(failure: Window) -> str:
    rows = plural(failure.measurements, "row")
    return f"user {quoted(failure.user)}: replay {failure.version}, of {rows}, {failure.outcome}: {failure.why}"


def _flagged(screen: Console, outcome: Outcome, output: Path | None) -> None:
    flagged = plural(sum(account.flagged for account in outcome.accounts), "row")
    where = "; --output writes them" if output is None else f", written to {output}"
    note(screen, f"{flagged} flagged{where}")
