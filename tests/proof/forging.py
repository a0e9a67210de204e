"""Logs in SQLite whose rows were forged: changed, with checksums that fit again. Must not know what is then read."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from events import MeasurementAdded, Offsets, ReplayParked, ReplayReleased, RetryScheduled, SqliteLog
from events._codec import Codec
from events._sqlite._rows import Stream, checksum
from events._values import REGISTERED
from statemachine import BufferConfig, BufferState, ReplayBuffer
from statemachine._kept import KEPT

CODEC = Codec(KEPT)
CONFIG = BufferConfig(max_measurements=3, pending_factor=1)


PRUNED = "stream = 2"
"""Where bob's checkpoint is."""

Forge = Callable[[sqlite3.Connection], object]

ODD: dict[str, Any] = {
    "nothing": None,
    "a text": "x",
    "a list": [[1], {"a": 2}],
    "bytes": b"\xff\x00",
    "minus one": -1,
    "a half": 2.5,
    "no number": float("nan"),
    "infinity": float("inf"),
    "2**63 - 1": 2**63 - 1,
    "2**64": 2**64,
    "5,000 digits": 10**5000,
    "a state": BufferState(),
    "a configuration": CONFIG,
}
"""What stands in the place of a number or a text."""

ODD_OFFSETS: dict[str, Any] = {
    "an empty run": Offsets((range(0),)),
    "runs that descend": Offsets((range(5, 0, -1), range(3))),
    "2**40 offsets": Offsets((range(2**40),)),
}


def unchecked() -> AbstractContextManager[object]:
    """Here the codec packs offsets that it refuses otherwise."""
    return patch("events._schema._misplaced", return_value="")


def packed(value: Any) -> bytes:
    """As the codec packs it, or would if it did not refuse it."""
    with unchecked():
        return CODEC.encode(value)


COLUMN_VALUES = ("NULL", "'x'", "x'ff00'", "-1", "2.5", "9223372036854775807", "-9223372036854775808", "9e999", "''")
"""What SQLite can keep in any column, whatever it was declared to be."""

COLUMNS = {
    "holdover_streams": (
        "name = 'dan'",
        *("id", "name", "start", "granted_from", "revision", "checkpointed", "full_at", "opens_to", "evicts_to"),
        *("victims", "issuer", "until", "arrived_at", "due_at", "due_after", "due_since", "shelved_since"),
    ),
    "holdover_events": ("stream = 4 AND kind IS NOT NULL", "stream", '"offset"', "kind", "recorded_at", "data"),
    "holdover_checkpoints": (PRUNED, "stream", '"offset"', "data"),
    "holdover_format": ("TRUE", "version"),
}
"""Each table's: which row, and the columns."""

KINDS = ("Recorded", "BufferState", "Offsets", "Nothing", "-", "MeasurementAdded", "SnapshotBegun")
"""Names of what is no event, or another one."""


def build(path: Path) -> None:
    """A user in each state, one of whom was pruned; every kind of event."""
    now = iter(range(100, 1000))
    log: SqliteLog[Any] = SqliteLog(path, durability="off")
    with ReplayBuffer[Any](log, CONFIG, clock=lambda: float(next(now))) as buffer:
        buffer.add_measurements("ann", [1, 2, 3, 4])
        buffer.add_measurements("bob", [1, 2, 3])
        with buffer.snapshot("bob") as frozen:
            buffer.add_measurement("bob", "pending")
            frozen.renew()
        buffer.prune()
        buffer.add_measurement("cyd", 1)
        buffer.begin_snapshot("cyd", "noon")
        buffer.add_measurements("dan", ["first", "second"])
        buffer.finalize_snapshot("dan", buffer.begin_snapshot("dan"))
        buffer.add_measurement("dan", 8.5)
        buffer.add_measurements("eve", [1, 2])
        buffer.clear_buffer("eve", 1)
        buffer.abort_snapshot("eve", "no reason", buffer.begin_snapshot("eve"))
        log.append(
            "fay",
            [MeasurementAdded(1), RetryScheduled(0, 7.0), ReplayParked(0, "why"), ReplayReleased(0)],
            expected_head=0,
        )


@cache
def whole() -> bytes:
    """A sound log's file."""
    with TemporaryDirectory() as directory:
        build(Path(directory) / "whole.db")
        return (Path(directory) / "whole.db").read_bytes()


def sound() -> sqlite3.Connection:
    """The same in memory, where there is no write-ahead log, to be changed."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.deserialize(whole()[:18] + b"\1\1" + whole()[20:])
    return connection


def forged(forge: Forge, *, fitting: bool = True) -> bytes:
    """The file after `forge`, and after the checksums were made to fit again, where that is wanted and possible."""
    with closing(sound()) as connection:
        forge(connection)
        if not fitting:
            return connection.serialize()
        connection.create_function("fitting", 5, _fitting)
        connection.execute('UPDATE holdover_events SET checksum = fitting(stream, "offset", kind, data, recorded_at)')
        connection.execute("UPDATE holdover_checkpoints SET checksum = fitting(stream, \"offset\", '', data, NULL)")
        rows = connection.execute("SELECT rowid, * FROM holdover_streams").fetchall()
        sums = [(Stream(*values[:-1]).checksum(), row) for row, *values in rows]
        connection.executemany("UPDATE holdover_streams SET checksum = ? WHERE rowid = ?", sums)
        return connection.serialize()


def _fitting(stream: Any, offset: Any, kind: Any, data: Any, recorded_at: Any) -> int:
    """The checksum, also of what cannot have one."""
    if not isinstance(stream, int):  # which the sum would repeat two thousand million times
        return 0
    try:
        return checksum(stream, offset, kind, data, recorded_at)
    except (TypeError, AttributeError):
        return 0


def changed_fields() -> Iterator[tuple[str, Forge]]:
    """Every field of every kind of event, in turn: another type, or a number that cannot be."""
    first = """
        SELECT kind, stream, "offset", data FROM holdover_events WHERE kind IS NOT NULL
        GROUP BY kind HAVING min(stream) ORDER BY kind
    """
    with closing(sound()) as connection:
        firsts = connection.execute(first).fetchall()
    for kind, stream, offset, data in firsts:
        version, fields = CODEC.decode(data)
        contents = {
            f"{kind}.{field} is {word}": [version, {**fields, field: value}]
            for field in fields
            for word, value in (ODD | ODD_OFFSETS).items()
        }
        contents |= {
            f"{kind} has no fields": [version, {}],
            f"{kind} has a field more": [version, {**fields, "more": 1}],
            f"{kind} has version 0": [0, fields],
            f"{kind} has a later version": [version + 1, fields],
            f"{kind} has a version of 5,000 digits": [10**5000, fields],
            f"{kind} has a list of fields": [version, list(fields.values())],
            f"{kind} has fields that are numbers": [version, {1: 2, "a": 3}],
        }
        for name, content in contents.items():
            yield name, _changes("events", packed(content), f'stream = {stream} AND "offset" = {offset}')


def changed_states() -> Iterator[tuple[str, Forge]]:
    """A checkpoint that holds something else than a state, or a state that cannot be."""
    with closing(sound()) as connection:
        ((data,),) = connection.execute(f"SELECT data FROM holdover_checkpoints WHERE {PRUNED}").fetchall()
    schema = CODEC._schemas[BufferState]
    fields = schema.kept(CODEC.decode(data))
    for word, value in (ODD | ODD_OFFSETS).items():
        yield f"the checkpoint is {word}", _changes("checkpoints", packed(value), PRUNED)
        for field in fields:
            with unchecked():
                content = {name: CODEC._keep(part, 50) for name, part in {**fields, field: value}.items()}
            state = CODEC._extension((REGISTERED, CODEC._pack([schema.name, schema.version, content])))
            yield f"the checkpoint's {field} is {word}", _changes("checkpoints", CODEC._pack(state), PRUNED)


def _changes(table: str, data: bytes, condition: str) -> Forge:
    return lambda connection: connection.execute(f"UPDATE holdover_{table} SET data = ? WHERE {condition}", (data,))


def changed_columns() -> Iterator[tuple[str, Forge]]:
    """Every column of every table: each kind of value that SQLite can keep there."""
    for table, (condition, *columns) in COLUMNS.items():
        for column in columns:
            for value in COLUMN_VALUES:
                yield (
                    f"{table}.{column} is {value}",
                    _runs(f"UPDATE OR REPLACE {table} SET {column} = {value} WHERE {condition}"),
                )
    for kind in KINDS:
        yield (
            f"an event is called {kind}",
            _runs(f"UPDATE holdover_events SET kind = '{kind}' WHERE stream = 4 AND kind IS NOT NULL"),
        )
    for word, value in (ODD | ODD_OFFSETS).items():
        victims = f"victims = x'{packed(value).hex()}', evicts_to = 2000, full_at = 0, until = NULL"
        yield f"the victims are {word}", _runs(f"UPDATE holdover_streams SET {victims} WHERE name = 'ann'")


def _runs(statement: str) -> Forge:
    def forge(connection: sqlite3.Connection) -> None:
        try:
            connection.execute(statement)
        except sqlite3.IntegrityError:  # SQLite itself does not let that in
            return

    return forge
