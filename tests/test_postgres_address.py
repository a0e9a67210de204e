"""Where a PostgreSQL server is: every way to say it, the password shown nowhere, and psycopg needed only then."""

import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from events import LogUnavailableError, PostgresLog
from events._postgres._address import Address

SECRET = "s3:c/r@t%25 é"
QUOTED = "s3%3Ac%2Fr%40t%2525%20%C3%A9"

ADDRESSES = {
    f"postgresql://app:{QUOTED}@db.example.org:6432/measurements": {
        "user": "app",
        "host": "db.example.org",
        "port": "6432",
        "dbname": "measurements",
    },
    f"postgres://db.example.org/measurements?user=app&password={QUOTED}&sslmode=require": {
        "user": "app",
        "host": "db.example.org",
        "dbname": "measurements",
        "sslmode": "require",
    },
    f"host=db.example.org port=6432 dbname='my data' user=app password='{SECRET}'": {
        "user": "app",
        "host": "db.example.org",
        "port": "6432",
        "dbname": "my data",
    },
    f"postgresql://app:{QUOTED}@/measurements?host=/run/postgresql": {
        "user": "app",
        "host": "/run/postgresql",
        "dbname": "measurements",
    },
    f"postgresql://:{QUOTED}@": {},
    f"postgresql://app:{QUOTED}@[2001:db8::1]:6432/measurements": {
        "user": "app",
        "host": "2001:db8::1",
        "port": "6432",
        "dbname": "measurements",
    },
    f"postgresql://a%40p%2Fp:{QUOTED}@db.example.org/measurements": {
        "user": "a@p/p",
        "host": "db.example.org",
        "dbname": "measurements",
    },
    f"service=measurements password='{SECRET}'": {"service": "measurements"},
}

ODD_ADDRESSES = {
    f"postgresql://app:{QUOTED}@/measurements?host=/run/postgresql&port=5433": {
        "user": "app",
        "host": "/run/postgresql",
        "port": "5433",
        "dbname": "measurements",
    },
    f"postgresql://app:{QUOTED}@one.example.org:5432,two.example.org:5433/measurements": {
        "user": "app",
        "host": "one.example.org,two.example.org",
        "port": "5432,5433",
        "dbname": "measurements",
    },
}


@pytest.mark.parametrize(("text", "settings"), [*ADDRESSES.items(), *ODD_ADDRESSES.items()])
def test_every_way_to_say_it_is_read_and_shown_without_the_password(text: str, settings: dict[str, str]) -> None:
    """All that libpq takes is handed on to it as it is; what is printed says where, and never how to get in."""
    address = Address.of(text)
    assert address.settings == {**settings, "password": SECRET}
    for printed in (address.shown, repr(address), str(address), f"{address}"):
        assert "postgresql://" in printed
        assert SECRET not in printed
        assert QUOTED not in printed


@pytest.mark.parametrize(("text", "settings"), [*ADDRESSES.items(), *ODD_ADDRESSES.items()])
def test_what_is_shown_leads_to_the_same_place(text: str, settings: dict[str, str]) -> None:
    """Who copies it from an error gets to the same host, port and database, as the same user."""
    place = {name: value for name, value in settings.items() if name in ("user", "host", "port", "dbname")}
    assert Address.of(Address.of(text).shown).settings == place


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://app:{QUOTED}@db.example.org:6432/data?no_such_setting=1",
        f"postgresql://app:{QUOTED}%zz@db.example.org/data",
        f"host=db.example.org password='{SECRET}' nonsense",
        f"{SECRET}.db",
    ],
)
def test_what_is_no_address_is_refused_without_being_repeated(text: str) -> None:
    """There may be a password in it: neither the message nor a traceback of it shows what was given."""
    with pytest.raises(ValueError, match=r"write postgresql://user:password@host:port/database") as refused:
        Address.of(text)
    printed = "".join(traceback.format_exception(refused.value))
    assert SECRET not in printed
    assert QUOTED not in printed


def test_a_server_that_is_not_there_is_named_without_the_password(tmp_path: Path) -> None:
    """In the error, and in all that it was caused by."""
    with pytest.raises(LogUnavailableError, match="cannot be reached") as refused:
        PostgresLog(f"postgresql://app:{QUOTED}@/data?host={tmp_path}", timeout=0.01)
    printed = "".join(traceback.format_exception(refused.value))
    assert str(tmp_path) in str(refused.value)
    assert SECRET not in printed
    assert QUOTED not in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"schema": "my-data"}, "letters, digits and underscores, not 'my-data'"),
        ({"schema": 'x"; DROP TABLE events; --'}, "letters, digits and underscores"),
        ({"schema": "größe"}, "letters, digits and underscores"),
        ({"schema": ""}, "letters, digits and underscores"),
        ({"schema": "x" * 64}, "up to 63"),
        ({"timeout": -1}, "above 0, to 2,000,000, not -1"),
        ({"timeout": 0}, "above 0"),
        ({"timeout": float("nan")}, "not nan"),
        ({"timeout": float("inf")}, "not inf"),
        ({"max_connections": 0}, "at least 1, not 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], words: str) -> None:
    """Before anything is connected to, with the value and what it may be."""
    with pytest.raises(ValueError, match=words):
        PostgresLog("postgresql://nowhere.invalid", **arguments)


def test_without_psycopg_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra by name; it is missed only when a log is opened."""
    for part in ("_database", "_failures", "_joined", "_listening", "_opening"):
        monkeypatch.delitem(sys.modules, f"events._postgres.{part}", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImportError, match=r"pip install 'holdover\[postgres\]'"):
        PostgresLog("postgresql://nowhere.invalid")


def test_psycopg_is_not_imported_by_who_does_not_use_it() -> None:
    """To import `events`, or to use another log, costs nothing of it."""
    script = "import sys, events; events.MemoryLog(); print(sorted(m for m in sys.modules if m.startswith('psycopg')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
