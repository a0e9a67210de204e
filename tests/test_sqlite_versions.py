"""What older versions have written can be read: files of the first version, and types that have changed since."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import first_version
import pytest
from attrs import frozen
from first_version import CONFIG, MEASUREMENTS, TYPES, DoorOpened

from events import Event, MeasurementAdded, Recorded, Schema, SqliteLog, UnknownTypeError
from statemachine import BufferState, ReplayBuffer
from statemachine._kept import KEPT
from statemachine._state import fold


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A copy of the file that the first version has written."""
    return Path(shutil.copy(first_version.FILE, tmp_path / "old.db"))


@pytest.fixture
def buffer(path: Path) -> Iterator[ReplayBuffer[Any]]:
    with ReplayBuffer[Any](SqliteLog(path, types=TYPES), CONFIG, clock=lambda: 1100.0) as buffer:
        yield buffer


def test_a_file_of_the_first_version_is_read(buffer: ReplayBuffer[Any]) -> None:
    """Every measurement of every kind, every event, and what they add up to."""
    log = buffer._log
    assert list(log.streams()) == ["bob", "ann", "cyd", "door"]
    assert [entry.event for entry in log.read("door")] == [DoorOpened("ann"), DoorOpened("bob")]
    assert buffer.measurements("ann") == [1]
    assert buffer.measurements("bob") == list(range(290, 300))
    assert buffer.measurements("cyd") == [0, 1, 2, 3]
    cyd = buffer.state("cyd")
    assert (cyd.phase, cyd.version, cyd.frozen, cyd.pending) == ("replaying", 1, 3, 1)
    assert all(buffer.audit(user_id).ok for user_id in ("ann", "bob", "cyd"))


def test_the_file_is_what_would_be_written_today(path: Path, tmp_path: Path) -> None:
    """Event by event, and state by state; so nothing was forgotten in this test."""
    today = tmp_path / "today.db"
    first_version.write(today)
    types = [*TYPES, *KEPT]
    with SqliteLog[Any](today, types=types) as new, SqliteLog[Any](path, types=types) as old:
        for stream in ("ann", "bob", "cyd", "door"):
            position = old.position(stream)
            assert position is not None
            assert list(old.read(stream, position.start)) == list(new.read(stream, position.start))
            assert old.checkpoint(stream) == new.checkpoint(stream)
            assert old.position(stream) == new.position(stream)


def test_it_can_be_written_to(buffer: ReplayBuffer[Any]) -> None:
    """As if there had been no other version since."""
    head = buffer.state("ann").head
    assert buffer.add_measurements("ann", MEASUREMENTS) == range(head, head + len(MEASUREMENTS))
    buffer.complete_replay("cyd", version=1)
    assert buffer.measurements("cyd") == [3]
    assert buffer.measurements("ann") == [1, *MEASUREMENTS]


def test_its_checkpoint_is_the_fold(buffer: ReplayBuffer[Any]) -> None:
    """Folding all the events gives what it says."""
    for user_id in ("ann", "cyd"):
        state = buffer.state(user_id)
        assert fold(BufferState(), buffer._log.controls(user_id), state.head) == state


@frozen
class Opened(Event):
    """`DoorOpened` as it is today: it has another name, and says how."""

    who: str
    how: str


def test_an_event_that_has_changed_is_read_by_its_upcaster(path: Path) -> None:
    """It comes as the type of today; what is written today is of the new version."""

    def upcast(fields: dict[str, Any]) -> dict[str, Any]:
        return {"who": fields["by"], "how": "by hand"}

    today = Schema(Opened, name="DoorOpened", version=2, upcasters={1: upcast})
    log = SqliteLog[Any](path, types=[today])
    log.append("door", [Opened("cyd", "with a key")], expected_head=2)
    assert [entry.event for entry in log.read("door")] == [
        Opened("ann", "by hand"),
        Opened("bob", "by hand"),
        Opened("cyd", "with a key"),
    ]
    log.close()


def test_without_the_type_or_its_upcaster_it_says_what_is_missing(path: Path) -> None:
    """Where, which, and what to do; everything else can be read."""
    log = SqliteLog[Any](path)
    with pytest.raises(UnknownTypeError, match="DoorOpened") as caught:
        list(log.read("door"))
    assert caught.value.__notes__ == [f"at offset 0 of stream 'door' in {log.path}"]
    with pytest.raises(UnknownTypeError, match="Weight") as caught:
        log.measurements("ann", range(10, 14))
    assert caught.value.__notes__ == [f"at offset 13 of stream 'ann' in {log.path}"]
    assert list(log.read("cyd", 0, 2)) == [Recorded(0, MeasurementAdded(0, 1037.0)), Recorded(1, MeasurementAdded(1))]
    log.close()
    log = SqliteLog[Any](path, types=[Schema(Opened, name="DoorOpened", version=2)])
    with pytest.raises(UnknownTypeError, match="DoorOpened"):
        list(log.read("door"))
    log.close()
