"""What is done when a log is opened: its tables are looked at, made, or brought up to date. Must not know streams."""

from importlib.resources import files
from pathlib import PurePath
from typing import Any

import psycopg
from attrs import frozen

from events._errors import LogUnavailableError
from events._postgres._statements import quoted_name

MADE_BEFORE = ("23505", "42P06", "42P07")
"""What the server says to who makes a schema or table that somebody else has just made, or made long ago."""

RACES = (*MADE_BEFORE, "40001", "40P01")
"""What it says to who does so at the same moment."""


@frozen
class Migration:
    """One step from a version of the tables to the next.

    Parameters:
        version: the version after it; they count from 1.
        name: the file's.
        script: the statements, with `{schema}` for the schema's quoted name.
    """

    version: int
    name: str
    script: str


def migrations() -> list[Migration]:
    """All there are, in their order.

    Example:
        >>> [migration.name for migration in migrations()]
        ['0001_streams.sql']
    """
    found = (entry for entry in (files("events._postgres") / "migrations").iterdir() if entry.name.endswith(".sql"))
    return sorted(
        (
            Migration(int(PurePath(entry.name).stem.split("_")[0]), entry.name, entry.read_text(encoding="utf-8"))
            for entry in found
        ),
        key=lambda migration: migration.version,
    )


def migrate(connection: psycopg.Connection[Any], where: str, schema: str, steps: list[Migration]) -> None:
    """Bring the tables to the latest version, each step in a transaction of its own.

    Any number of processes may do so at once: of those that make a schema at the same moment one does, and the others
    look again; later steps wait for who holds the row that says the version.

    Parameters:
        connection: with autocommit.
        where: the address, for errors.
        schema: the schema's name.
        steps: the migrations.

    Raises:
        LogUnavailableError: a later version of holdover was here.
    """
    latest = steps[-1].version
    while (version := check(connection, where, schema, latest)) < latest:
        try:
            with connection.transaction():
                _step(connection, schema, version, steps)
        except psycopg.Error as error:
            has_lost = check(connection, where, schema, latest) > version
            if error.sqlstate not in RACES or (error.sqlstate in MADE_BEFORE and not has_lost):
                raise


def check(connection: psycopg.Connection[Any], where: str, schema: str, latest: int) -> int:
    """The version of the tables; 0 where there are none.

    Raises:
        LogUnavailableError: it is later than `latest`.
    """
    table = f"{quoted_name(schema)}.log"
    if connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() == (None,):
        return 0
    (version,) = connection.execute(f"SELECT max(version) FROM {table}").fetchone() or (0,)
    if version > latest:
        raise LogUnavailableError(
            f"{where}: schema {schema} was written by a later version of holdover (its version is {version}, this "
            f"program knows {latest}); update holdover, or name another schema"
        )
    return int(version)


def _step(connection: psycopg.Connection[Any], schema: str, version: int, steps: list[Migration]) -> None:
    quoted = quoted_name(schema)
    if not version:
        exists = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
        if connection.execute(exists, (schema,)).fetchone() is None:  # one that exists may be somebody else's to make
            connection.execute(f"CREATE SCHEMA {quoted}")
        connection.execute(
            f"CREATE TABLE {quoted}.log (version integer NOT NULL, identity uuid NOT NULL DEFAULT gen_random_uuid())"
        )
        connection.execute(f"INSERT INTO {quoted}.log (version) VALUES (0)")
    (found,) = connection.execute(f"SELECT version FROM {quoted}.log FOR UPDATE").fetchone() or (version,)
    if found == version:  # else another process was faster
        step = next(step for step in steps if step.version == version + 1)
        connection.execute(step.script.replace("{schema}", quoted))
        connection.execute(f"UPDATE {quoted}.log SET version = %s", (step.version,))
