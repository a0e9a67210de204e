"""One log in PostgreSQL as two machines have it: the connection of one can be broken, those of the other are sound."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import postgres
from proxy import PATIENCE, Proxy

from events import MeasurementAdded, PostgresLog

Log = PostgresLog[Any]


def at_ten() -> float:
    return 10.0


@contextmanager
def opened(schema: str, settings: str = postgres.QUICK, **options: Any) -> Iterator[tuple[Proxy, Log, Log]]:
    """What stands between the first machine and the server, and both logs; the first has one connection."""
    with (
        Proxy(postgres.address(settings)) as between,
        PostgresLog[Any](between.address, schema=schema, timeout=PATIENCE, max_connections=1, **options) as log,
        PostgresLog[Any](postgres.address(postgres.QUICK), schema=schema, timeout=PATIENCE) as other,
    ):
        yield between, log, other


def found(log: Log, user: str = "ann") -> list[Any]:
    """The measurements of a user, whose offsets are dense."""
    recorded = list(log.read(user))
    assert [one.offset for one in recorded] == list(range(len(recorded)))
    return [one.event.measurement for one in recorded if isinstance(one.event, MeasurementAdded)]
