"""Where a log is: a file, or a schema of a PostgreSQL database. Must not know what a log holds."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import field, frozen

from events import PostgresLog
from statemachine._kept import KEPT
from statemachine.cli._command import BadInput, is_address, quoted

if TYPE_CHECKING:
    import psycopg

SCHEMA = "holdover"
"""The schema that is meant where none is named."""

_NAMED = "holdover.schema"

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # what matters of it comes as an error


Log = TypeVar("Log", bound=PostgresLog[Any])


@frozen
class Server:
    """A schema of a PostgreSQL database, which may hold a log.

    Attributes:
        address: the database's, with the password, so it is for psycopg and nobody else; a log's `path` can be shown.
        schema: the schema.

    Example:
        >>> Server("postgresql://app:secret@db.example.org/measurements")
        Server(schema='holdover')
    """

    address: str = field(repr=False)
    schema: str = SCHEMA

    def log(self, kind: type[Log], **options: Any) -> Log:
        """The log, opened with these options of `PostgresLog`.

        Raises:
            BadInput: the address or the schema's name makes no sense.
            LogError, ImportError: as `PostgresLog`.
        """
        try:
            return kind(self.address, schema=self.schema, types=(*KEPT, *options.pop("types", ())), **options)
        except ValueError as error:
            raise BadInput(str(error)) from None

    def connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        """A plain connection, with autocommit, to a database in which a log could be opened.

        Raises:
            psycopg.Error: it cannot be had any more.
        """
        import psycopg

        return psycopg.connect(self.address, autocommit=True, fallback_application_name="holdover")


Place = Path | Server


def log_place(text: str) -> Place:
    """Where a log is, as the type of a parameter: a `Path`, or a `Server` where an address is given."""
    schema = click.get_current_context().meta.get(_NAMED)
    if is_address(text):
        return Server(text, schema or SCHEMA)
    if schema is not None:
        raise click.BadParameter(f"{quoted(text)} is a file, and has no --schema; give an address, or leave it out.")
    return Path(text)


def server(text: str) -> Server:
    """The same where only an address will do."""
    place = log_place(text)
    if isinstance(place, Path):
        raise click.BadParameter(f"{quoted(text)} is a file; give an address: postgresql://user@host/database.")
    return place


def _remember(context: click.Context, _parameter: click.Parameter, schema: str | None) -> None:
    context.meta[_NAMED] = schema


schema_option = click.option(
    "--schema",
    metavar="NAME",
    is_eager=True,  # so that it is known when the address is read
    expose_value=False,
    callback=_remember,
    help=f"Of an address: the schema in which the log is; {SCHEMA} if omitted.",
)
"""Goes with a parameter of the type `log_place`, whose `Server` then has the schema."""
