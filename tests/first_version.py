"""What stands in `data/first_version.db`, and how it was written: by the first version of `SqliteLog`, once.

The file is never written again. A later version that cannot read it has broken its promise; so it needs an upcaster.
"""

import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from attrs import frozen

from events import Event, SqliteLog
from statemachine import BufferConfig, ReplayBuffer

FILE = Path(__file__).parent / "data" / "first_version.db"


@frozen
class Weight:
    kg: float
    at: datetime


@frozen
class DoorOpened(Event):
    by: str


TYPES = (Weight, DoorOpened)

MEASUREMENTS: list[Any] = [
    81.5,
    2**100,
    "\N{WHITE SMILING FACE}",
    None,
    True,
    b"\x00\xff",
    [1, (2, 3)],
    {"weight": 81.5, 7: [None]},
    datetime(2026, 3, 2, 7, 30, tzinfo=UTC),
    datetime(2026, 3, 2, 7, 30),
    date(2026, 3, 2),
    Decimal("81.50"),
    UUID(int=7),
    Weight(81.5, datetime(2026, 3, 2, tzinfo=UTC)),
]

CONFIG = BufferConfig(max_measurements=20)


class Time:
    """Stands still until somebody sets it."""

    now = 1001.0

    def __call__(self) -> float:
        return self.now


def write(path: Path) -> None:
    """Every kind of event, a checkpoint, a truncated stream, and a snapshot in progress."""
    log, time = SqliteLog[Any](path, types=TYPES, durability="off"), Time()
    buffer = ReplayBuffer(log, CONFIG, clock=time, on_abort=lambda *_: None)
    buffer.add_measurements("bob", range(300))
    buffer.clear_buffer("bob", through=290)
    buffer.prune()
    time.now = 1005.0
    buffer.add_measurements("ann", MEASUREMENTS)
    time.now = 1007.0
    version = buffer.begin_snapshot("ann", timestamp=("monday", 1))
    time.now = 1011.0
    frozen = buffer.finalize_snapshot("ann", version)
    time.now = 1015.0
    buffer.add_measurement("ann", 1)
    time.now = 1017.0
    frozen.renew()
    frozen.complete()
    time.now = 1023.0
    buffer.begin_snapshot("ann")
    buffer.abort_snapshot("ann", "the first version says so")
    buffer.schedule_retry("ann", 5000.0)
    buffer.park("ann", "for the test")
    buffer.release("ann")
    time.now = 1037.0
    buffer.add_measurements("cyd", range(3))
    time.now = 1039.0
    version = buffer.begin_snapshot("cyd")
    time.now = 1043.0
    buffer.finalize_snapshot("cyd", version)
    time.now = 1047.0
    buffer.add_measurement("cyd", 3)
    log.append("door", [DoorOpened("ann"), DoorOpened("bob")], expected_head=0)
    buffer.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
