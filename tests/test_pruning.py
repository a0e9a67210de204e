"""`prune`: history that nothing needs is dropped, what is live stays, and the file shrinks."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Clock

from events import MemoryLog, SqliteLog, TruncatedError
from statemachine import BufferConfig, InvalidArgumentError, ReplayBuffer, StaleSnapshotError, TruncatedHistoryError
from statemachine.due import MOST_SECONDS


@pytest.fixture
def buffer(tmp_path: Path, clock: Clock) -> Iterator[ReplayBuffer[Any]]:
    with ReplayBuffer[Any](SqliteLog(tmp_path / "log.db", durability="off"), clock=clock) as buffer:
        yield buffer


def replayed(buffer: ReplayBuffer[Any], user_id: str, *measurements: Any) -> None:
    buffer.add_measurements(user_id, measurements)
    with buffer.snapshot(user_id):
        pass


def test_what_was_replayed_goes_and_what_is_live_stays(buffer: ReplayBuffer[Any]) -> None:
    """Counts and state are those of before; the audit goes from the checkpoint on."""
    replayed(buffer, "ann", 1, 2)
    buffer.add_measurements("ann", [3, 4])
    state = buffer.state("ann")
    assert buffer.prune() == 5
    assert buffer.state("ann") == state
    assert buffer.measurements("ann") == [3, 4]
    assert [recorded.offset for recorded in buffer.events("ann")] == [5, 6]
    assert (buffer.audit("ann").first, buffer.audit("ann").ok) == (5, True)
    with pytest.raises(TruncatedHistoryError, match="kept from offset 5 on"):
        buffer.state_at("ann", 4)
    assert buffer.prune() == 0


def test_what_is_frozen_stays(buffer: ReplayBuffer[Any]) -> None:
    """Pruning beside a replay takes nothing from it; afterwards its measurements are gone, and it says so."""
    replayed(buffer, "ann", 1)
    buffer.add_measurements("ann", [2, 3])
    with buffer.snapshot("ann") as frozen:
        buffer.add_measurement("ann", 4)
        assert buffer.prune() == 4
        assert list(frozen) == [2, 3]
    assert buffer.prune() == 4
    with pytest.raises(StaleSnapshotError, match="no longer kept"):
        list(frozen)
    assert buffer.measurements("ann") == [4]


def test_only_what_was_recorded_before_a_time(buffer: ReplayBuffer[Any], clock: Clock) -> None:
    """By the buffer's clock, in seconds or as a datetime."""
    clock.now = 1000.0
    replayed(buffer, "ann", 1)
    clock.now = 2000.0
    replayed(buffer, "ann", 2)
    assert buffer.prune(before=1000) == 0
    assert buffer.prune(before=1000.5) == 4
    assert buffer.prune(before=datetime.fromtimestamp(1999, UTC)) == 0
    assert buffer.prune(before=datetime.fromtimestamp(2001, UTC)) == 4
    assert buffer.state("ann").replayed == 2


def test_every_user_is_pruned(buffer: ReplayBuffer[Any]) -> None:
    """Also those that nobody has touched since the log was opened."""
    for number in range(10):
        replayed(buffer, f"user {number}", number)
    again = ReplayBuffer[Any](SqliteLog(buffer._log.path))  # type: ignore[attr-defined]
    assert again.prune() == 40
    again.close()
    assert [buffer.state(user_id).replayed for user_id in buffer.users()] == [1] * 10


def test_the_file_shrinks(buffer: ReplayBuffer[Any]) -> None:
    """The space goes back to the file system, not only to the next measurements."""
    for number in range(20):
        replayed(buffer, "ann", *[f"{number} {'x' * 1000}"] * 100)
    path = buffer._log.path  # type: ignore[attr-defined]
    before = os.path.getsize(path) + os.path.getsize(f"{path}-wal")
    assert before > 2_000_000
    assert buffer.prune() == 20 * 103
    assert os.path.getsize(path) + os.path.getsize(f"{path}-wal") < 200_000
    assert buffer.state("ann").replayed == 2000


def test_where_another_is_faster_nothing_is_lost(buffer: ReplayBuffer[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds that the history is gone already goes on with the next user."""
    replayed(buffer, "ann", 1)
    replayed(buffer, "bob", 1)
    truncate = buffer._log.truncate

    def overtaken(stream: str, before: int, state: Any) -> None:
        truncate(stream, before, state)
        if stream == "ann":
            raise TruncatedError(stream, 0, before)

    monkeypatch.setattr(buffer._log, "truncate", overtaken)
    assert buffer.prune() == 4


@pytest.mark.parametrize("wrong", [True, "yesterday", float("nan"), float("inf"), 10**400])
def test_what_is_no_time_is_refused(buffer: ReplayBuffer[Any], wrong: Any) -> None:
    """Before anything is dropped."""
    replayed(buffer, "ann", 1)
    with pytest.raises(InvalidArgumentError, match="before must be a datetime or a finite number of seconds"):
        buffer.prune(before=wrong)
    assert len(list(buffer.events("ann"))) == 4


def test_a_log_in_memory_is_pruned_without_a_time() -> None:
    """It notes none, and says so."""
    buffer = ReplayBuffer[Any](MemoryLog(keep_history=True), BufferConfig(max_measurements=2))
    buffer.add_measurements("ann", [1, 2, 3])
    with pytest.raises(InvalidArgumentError, match="does not note when events were recorded"):
        buffer.prune(before=0)
    assert buffer.prune() == 1
    assert buffer.measurements("ann") == [2, 3]


def test_any_time_that_is_a_number_may_be_named(buffer: ReplayBuffer[Any]) -> None:
    """The largest that is taken for a time at all is one."""
    replayed(buffer, "ann", 1)
    assert (buffer.prune(before=-MOST_SECONDS), buffer.prune(before=MOST_SECONDS)) == (0, 4)
