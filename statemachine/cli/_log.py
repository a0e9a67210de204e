"""`holdover log`: the streams of a log, and a user's events. Must not know what they add up to."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import click
from attrs import fields
from rich.text import Text

from events import Event, Recorded, TruncatedError, Unregistered
from statemachine.cli._command import BadInput, OneLineCommand, printable, written
from statemachine.cli._looking import Log, latest, looking, moment, position, shown
from statemachine.cli._place import Place, log_place, schema_option
from statemachine.cli._show import console, count, named, note, plural, table

CHUNK = 1000
"""How many events are read at a time."""

INTERVAL = 0.2
"""Seconds between two looks for more."""


@click.command(cls=OneLineCommand)
@click.argument("place", metavar="LOG", type=log_place)
@click.argument("user", required=False)
@schema_option
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
def log(place: Place, user: str | None, follow: bool) -> None:
    """Show the users in a LOG, or the events of one USER.

    Each event has a line: its offset, when it was recorded (UTC; measurements that need no decision are recorded
    without), its name and fields. It only looks, also while others write. LOG is a file, or the address of a PostgreSQL
    database: postgresql://user@host/database.
    """
    if follow and user is None:
        raise BadInput("--follow needs a USER")
    with looking(place) as opened:
        if user is None:
            _show_users(opened)
            return
        try:
            for line in lines(opened, user, time.sleep if follow else None):
                click.echo(line)
        except KeyboardInterrupt:
            if not follow:
                raise


def lines(log: Log, user: str, sleep: Callable[[float], object] | None) -> Iterator[str]:
    """A line for each event of the user; what is pruned meanwhile is told of.

    Parameters:
        log: the log.
        user: whose.
        sleep: waits so many seconds for more; None to end at the head.

    Raises:
        BadInput: there is no such user.
    """
    stands = position(log, user)
    offset = stands.start
    while True:
        while offset < stands.head:
            stop = min(stands.head, offset + CHUNK)
            try:
                times = log.times(user, offset, stop)
                for recorded in log.read(user, offset, stop):
                    yield _line(recorded, times.get(recorded.offset))
                    offset = recorded.offset + 1
            except TruncatedError as error:
                yield f"{offset:>8}  pruned, up to before {error.start}"
                offset = error.start
        if sleep is None:
            return
        sleep(INTERVAL)
        stands = position(log, user)


def _show_users(log: Log) -> None:
    grid = table("user", "events", "live", "phase", "version", "replayed", "evicted", "cleared")
    users = events = 0
    for user in log.streams():
        stands, state = latest(log, user)
        users, events = users + 1, events + stands.head - stands.start
        grid.add_row(
            named(user),
            count(stands.head - stands.start),
            count(state.live, "yellow"),
            Text(state.phase),
            count(state.version),
            count(state.replayed, "green"),
            count(state.evicted, "red"),
            count(state.cleared),
        )
    screen = console()
    screen.print(grid)
    note(screen, f"{shown(log)}: {plural(users, 'user')}, {plural(events, 'event')}")


def _line(recorded: Recorded, at: float | None) -> str:
    name, values = _parts(recorded.event)
    shown = " ".join(f"{field}={written(value)}" for field, value in values.items() if value is not None)
    at = values.get("arrived_at") if at is None else at
    when = "" if at is None else moment(at)
    return printable(f"{recorded.offset:>8}  {when:<24}  {name:<19}  {shown}".rstrip())


def _parts(event: Event) -> tuple[str, dict[str, Any]]:
    if isinstance(event, Unregistered):
        return event.name, event.fields if isinstance(event.fields, dict) else {"fields": event.fields}
    return type(event).__name__, {field.name: getattr(event, field.name) for field in fields(type(event))}
