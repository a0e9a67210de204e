"""Where a log is: a file, or a schema of a PostgreSQL database. Must not know what a log holds."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import field, frozen

from events import PostgresLog
from statemachine._kept import KEPT
from statemachine.cli._command import BadInput, is_address

if TYPE_CHECKING:
    import psycopg

SCHEMA = "holdover"
"""The schema that is meant where none is named."""

_NAMED = "holdover.schema"


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

    def log(self, **options: Any) -> PostgresLog[Any]:
        """The log, opened with these options of `PostgresLog`.

        Raises:
            BadInput: the address or the schema's name makes no sense.
            LogError, ImportError: as `PostgresLog`.
        """
        logging.getLogger("psycopg").addHandler(logging.NullHandler())  # what matters of it comes as an error
        try:
            return PostgresLog(self.address, schema=self.schema, types=(*KEPT, *options.pop("types", ())), **options)
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


class LogPlace(click.ParamType):
    """The type of a parameter that says where a log is: a `Path`, or a `Server` where an address is given."""

    name = "log"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        """See `click.ParamType.convert`."""
        schema = None if ctx is None else ctx.meta.get(_NAMED)
        if is_address(value):
            return Server(value, schema or SCHEMA)
        if schema is not None:
            self.fail("is a file, and has no --schema; give the address of a database, or leave --schema out")
        return Path(value)


class AddressPlace(LogPlace):
    """The same where only an address will do."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Server:
        """See `click.ParamType.convert`."""
        place = super().convert(value, param, ctx)
        if isinstance(place, Path):
            self.fail("is a file; give the address of a database: postgresql://user@host/database")
        return place


def _remember(context: click.Context, _parameter: click.Parameter, schema: str | None) -> None:
    context.meta[_NAMED] = schema


schema_option = click.option(
    "--schema",
    metavar="NAME",
    is_eager=True,  # so that it is known when the address is read
    expose_value=False,
    callback=_remember,
    show_default=SCHEMA,
    help="Of an address: the schema in which the log is.",
)
"""Goes with a parameter that is a `LogPlace`, whose `Server` then has the schema."""
