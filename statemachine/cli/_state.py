"""`holdover state`: what a user's events add up to. Must not know how that is found out."""

from typing import Any

import click
from attrs import fields

from events import TruncatedError
from statemachine import BufferState
from statemachine.cli._command import BadInput, OneLineCommand, printable, written
from statemachine.cli._looking import latest, looking, moment, position, state_at
from statemachine.cli._place import Place, log_place, schema_option

TIMES = ("deadline", "arrived_at", "pending_arrived_at", "retry_at")
COUNTS = ("live", "frozen", "pending")


@click.command(cls=OneLineCommand)
@click.argument("place", metavar="LOG", type=log_place)
@click.argument("user")
@click.option("--at", type=click.IntRange(min=0), metavar="OFFSET", help="After the events below this offset.")
@schema_option
def state(place: Place, user: str, at: int | None) -> None:
    """Show the state of a user's buffer in a LOG, one field a line, as it is now or as it was at an offset.

    It only looks: what is overdue does not expire by that. LOG is a file, or the address of a PostgreSQL database:
    postgresql://user@host/database.
    """
    with looking(place) as log:
        if at is None:
            _, found = latest(log, user)
        else:
            head = position(log, user).head
            if at > head:
                raise BadInput(f"--at {at}: is above the head, which is {head}")
            try:
                found = state_at(log, user, at)
            except TruncatedError as error:
                raise BadInput(f"--at {at}: was pruned; history is kept from {error.start} on") from None
    for name, text in _lines(found):
        click.echo(f"{name:<18} {text}")


def _lines(state: BufferState) -> list[tuple[str, str]]:
    values: dict[str, Any] = {attribute.name: getattr(state, attribute.name) for attribute in fields(BufferState)}
    runs = " ".join(str(run) for run in values.pop("offsets").runs)
    counts = {name: getattr(state, name) for name in COUNTS}
    return [(name, _text(name, value)) for name, value in {**values, **counts, "offsets": runs or "none"}.items()]


def _text(name: str, value: Any) -> str:
    if value is None or value == "":
        return "none"
    if name in TIMES:
        return f"{value} ({moment(value)})"
    return printable(written(value, str))
