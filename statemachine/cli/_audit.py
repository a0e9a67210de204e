"""`holdover audit`: proves a log sound, user by user, or says what is wrong. Must not change anything, or expire it."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from events import LogError, Position, Recorded
from statemachine._audit import Audit, audited
from statemachine._known import known_state
from statemachine.cli._command import BadInput, OneLineCommand, quoted
from statemachine.cli._looking import Log, connected, looking, position, shown, state_at, steadily
from statemachine.cli._place import Place, log_place, schema_option
from statemachine.cli._show import NUMBERS, console, note, plural, progress
from statemachine.cli._stray import stray_rows

FATES = ("added", "replayed", "live", "evicted", "cleared")
"""What is summed up: of each user added = replayed + live + evicted + cleared."""

REPORT_EVERY = 1000
"""After how many events the progress is told again."""


@click.command(cls=OneLineCommand)
@click.argument("place", metavar="LOG", type=log_place)
@schema_option
def audit(place: Place) -> None:
    """Prove of every user in a LOG that each measurement is accounted for exactly once.

    The history is gone through event by event: offsets are dense, every event is legal where it stands, and it all adds
    up to the state that is worked with. SQLite checks the file as well. Others may write meanwhile. LOG is a file, or
    the address of a PostgreSQL database: postgresql://user@host/database.

    Exit code: 0 if all is sound, 1 if something is wrong, 2 if the log cannot be read.
    """
    errors = Console(stderr=True, highlight=False)
    sums: Counter[str] = Counter()
    findings = 0
    with looking(place) as log, progress() as bars:
        unsound, users = _asked(place, log, bars)
        for finding in unsound:
            note(errors, f"{place if isinstance(place, Path) else shown(log)}: {finding}", "red")
            findings += 1
        for user, result in _audits(log, users, bars):
            sums.update({fate: getattr(result, fate, 0) for fate in (*FATES, "lost")})
            for words in _complaints(result):
                note(errors, f"user {quoted(user)}: {words}", "red")
                findings += 1
    counts = " + ".join(f"{fate} {sums[fate]}" for fate in FATES[1:])
    verdict = plural(findings, "finding") if findings else "sound"
    line = f"added {sums['added']} = {counts}, lost {sums['lost']}; {plural(len(users), 'user')}, {verdict}"
    note(console(), line, "bold red" if findings else "bold green")
    if findings:
        raise SystemExit(1)


def _complaints(result: Audit | str) -> list[str]:
    if isinstance(result, str):
        return [result]
    lost = [f"{NUMBERS(result.lost)} of {plural(result.added, 'measurement')} lost"] if result.lost else []
    return [*result.findings, *lost]


def _audits(log: Log, users: Iterable[str], bars: Progress) -> Iterator[tuple[str, Audit | str]]:
    """Each user's audit, or why there is none."""
    task = bars.add_task("Auditing", total=sum(_length(log, user) for user in users))
    for user in users:
        try:
            yield user, steadily(log, user, partial(_audit, log, user, partial(bars.advance, task)))
        except (LogError, BadInput) as error:
            yield user, str(error)


def _length(log: Log, user: str) -> int:
    with suppress(LogError, BadInput):  # which will be found
        stands = position(log, user)
        return stands.head - stands.start
    return 0


def _audit(log: Log, user: str, advance: Callable[[float], object], stands: Position) -> Audit:
    base = known_state(log, user, stands.start)
    history = _counted(log.read(user, base.head, stands.head), advance)
    return audited(base, history, state_at(log, user, stands.head))


def _counted(history: Iterable[Recorded], advance: Callable[[float], object]) -> Iterator[Recorded]:
    for number, recorded in enumerate(history, 1):
        yield recorded
        if number % REPORT_EVERY == 0:
            advance(REPORT_EVERY)


def _asked(place: Place, log: Log, bars: Progress) -> tuple[list[str], list[str]]:
    """What is wrong with the file, or the tables, as a whole; and the users."""
    task = bars.add_task("Checking what it is in", total=None)
    findings, users = _file(place) if isinstance(place, Path) else (stray_rows(place, log), list(log.streams()))
    bars.remove_task(task)
    return findings, users


def _file(file: Path) -> tuple[list[str], list[str]]:
    """What SQLite finds wrong in the file; and the users, listed without the log, which would stop at a damaged one."""
    found: list[str] = []
    users: list[str] = []
    try:
        with closing(connected(file)) as connection:
            connection.text_factory = bytes
            found += [_text(words) for (words,) in connection.execute("PRAGMA integrity_check")]
            names = connection.execute("SELECT name FROM holdover_streams ORDER BY id").fetchall()
            users += [_text(name) for (name,) in names]
    except (sqlite3.Error, UnicodeError) as error:
        found.append(str(error))
    return [" ".join(words.split()) for words in found if words != "ok"], users


def _text(stored: object) -> str:
    """A text, or a name that is kept as bytes since it is no Unicode; what is damaged names nobody."""
    with suppress(UnicodeDecodeError):
        return stored.decode(errors="surrogatepass") if isinstance(stored, bytes) else str(stored)
    return repr(stored)
