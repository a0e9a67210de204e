"""`Address`: where a server is, as it may be shown: without the password. Must not connect."""

from typing import Any
from urllib.parse import quote

from attrs import field, frozen


@frozen
class Address:
    """An address of a PostgreSQL database.

    Attributes:
        settings: libpq's names and values, the password among them.
        shown: the address as it may be printed.

    Example:
        >>> address = Address.of("postgresql://app:secret@db.example.org:6432/measurements")
        >>> address, address.settings["password"]
        (Address(shown='postgresql://app@db.example.org:6432/measurements'), 'secret')
    """

    settings: dict[str, Any] = field(repr=False)
    shown: str

    @classmethod
    def of(cls, text: str) -> "Address":
        """Read an address: a URI, or libpq's `host=... dbname=...`.

        Raises:
            ValueError: it is neither; the text is not in the message, since there may be a password in it.
        """
        import psycopg
        from psycopg.conninfo import conninfo_to_dict

        try:
            settings = conninfo_to_dict(text)
        except psycopg.Error:
            raise _no_address() from None
        user, host, port, database = (str(settings.get(name) or "") for name in ("user", "host", "port", "dbname"))
        at = f"{quote(user, safe='')}@" if user else ""
        if "@" in host[1:] + database:  # a part of the password, most likely
            raise _no_address()
        name = quote(database, safe="")
        if host.startswith(("/", "@")) or "," in host:  # a socket's directory, or several
            ports = f"&port={port}" if port else ""
            return cls(settings, f"postgresql://{at}/{name}?host={quote(host, safe='/,:')}{ports}")
        where = (f"[{host}]" if ":" in host else quote(host)) + (f":{port}" if port else "")
        return cls(settings, f"postgresql://{at}{where}/{name}")


def _no_address() -> ValueError:
    return ValueError(
        "that is no address of a PostgreSQL database; write postgresql://user:password@host:port/database (with %xx "
        "for special characters in the password: %40 for @, %2F for /), or libpq's host=... dbname=..."
    )
