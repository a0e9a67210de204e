"""What hostile input is made of: sound values, events and tables as bytes, and what is done to them. Knows no test."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from events import (
    AbortBegun,
    Event,
    MeasurementAdded,
    MeasurementsEvicted,
    Offsets,
    Recorded,
    ReplayCompleted,
    SnapshotBegun,
)
from events._codec import Codec
from statemachine import BufferConfig, BufferState
from statemachine._kept import KEPT
from statemachine.due import Age, AllOf, Count

VALUES: list[Any] = [
    *(
        None,
        True,
        -1,
        2**63,
        2**70,
        1.5,
        "text",
        "\ud800",
        b"bytes",
        [1, [2, {"a": 3}]],
        (1, (2,)),
        {(1, 2): {3: None}},
    ),
    *(date(2020, 2, 29), datetime(2020, 1, 1, fold=1), datetime(2020, 1, 1, tzinfo=UTC), Decimal("-1E+5"), UUID(int=7)),
    datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=-1), "named")),
    datetime(2020, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    Offsets((range(3), range(5, 15, 2))),
    BufferState(offsets=Offsets((range(3),)), version=7),
    BufferConfig(due=AllOf(Count(3), Age(5.0))),
    Recorded(3, MeasurementAdded((1, 2), 4.0)),
]
"""Of everything that can be kept, some."""

EVENTS: list[Event] = [
    *(MeasurementAdded({"kg": 81.5}, 7.0), MeasurementsEvicted(1, 2), SnapshotBegun(1, datetime(2020, 1, 1), 30.0)),
    *(AbortBegun(1, "why"), ReplayCompleted(2)),
]
"""The same of events."""

TABLES = [
    "Id,Date,Kg\nann,4/12/2016 23:59,81.5\nbob,13/4/2016 1:02:03 PM,-1e5\n",
    '\ufeffId;Date;Kg;Note\r\nann;12.04.2016 23:59;81,5;"a ""quoted""\nnote"\r\n',
    "Id\tDate\tKg\nann\t2016-04-12T10:00:00.5+02:00\t81.5\nann\t2016-04-12T10:00Z\t81.5\n",
    "Id,Date,Kg\nann,1460505599.5,81\n\nann,1460505599250,81\nann,20160412235959,5e-324\n",
]
"""Files of measurements, of several makes."""

CODEC = Codec(KEPT)

ENCODED = [*map(CODEC.encode, VALUES), *(CODEC.encode_event(event)[1] for event in EVENTS)]
"""The bytes of all of them."""

TABLE_BYTES = [text.encode() for text in TABLES]

LENGTHS = (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9")
"""What begins a list, a dict, a text, bytes and an extension whose length has four bytes."""


def _flip(data: bytearray, draw: Random, at: int) -> None:
    data[at] ^= 1 << draw.randrange(8)


def _set(data: bytearray, draw: Random, at: int) -> None:
    data[at] = draw.choice((0, 1, 0x7F, 0x80, 0xC1, 0xFF, draw.randrange(256)))


def _cut(data: bytearray, draw: Random, at: int) -> None:
    del data[at : at + draw.randrange(1, 20)]


def _end(data: bytearray, _draw: Random, at: int) -> None:
    del data[at:]


def _double(data: bytearray, draw: Random, at: int) -> None:
    data[at:at] = data[at : at + draw.randrange(1, 40)] * draw.choice((1, 1, 2, 50))


def _blow_up(data: bytearray, draw: Random, at: int) -> None:
    data[at : at + 1] = draw.choice(LENGTHS) + draw.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\1\0\0", b"\0\0\0\2"))


MUTATIONS: tuple[Callable[[bytearray, Random, int], None], ...] = (_flip, _flip, _set, _cut, _end, _double, _blow_up)


def mutated(samples: list[bytes], draw: Random) -> bytes:
    """One of the samples, or parts of two, changed in a few places."""
    data = bytearray(draw.choice(samples))
    if draw.random() < 0.3:
        other = draw.choice(samples)
        at = draw.randrange(len(other) + 1)
        data[draw.randrange(len(data) + 1) :] = other[at:]
    for _ in range(draw.randrange(1, 5)):
        if data:
            draw.choice(MUTATIONS)(data, draw, draw.randrange(len(data)))
    return bytes(data)
