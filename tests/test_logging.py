"""Lifecycle events in the standard log: with fields, silent by default, and never in a replay's way."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Clock, begun

from statemachine import BufferConfig, ReplayBuffer
from statemachine._observing import logger

FIELDS = ("user_id", "version", "reason", "event")


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged from DEBUG on."""
    caplog.set_level(logging.DEBUG, "holdover")
    return caplog


@pytest.fixture
def level() -> Iterator[None]:
    """Puts the level back afterwards."""
    before = logger.level
    yield
    logger.setLevel(before)


def fields(record: logging.LogRecord) -> tuple[Any, ...]:
    return (record.levelname, *(getattr(record, name) for name in FIELDS))


def test_lifecycle_events_are_logged_with_their_fields(
    logged: pytest.LogCaptureFixture, buffer: ReplayBuffer[Any], clock: Clock
) -> None:
    """User, version and reason are fields; aborts, expiries and parkings are warnings, completions are information."""
    frozen = begun(buffer)
    frozen.renew()
    buffer.add_measurement("ann", 4)
    frozen.complete()
    begun(buffer).abort("database is away")
    buffer.schedule_retry("ann", 500.0)
    buffer.begin_snapshot("ann")
    clock.now += 30.0
    buffer.expire_overdue()
    buffer.park("ann", "tired")
    buffer.release("ann")
    buffer.clear_buffer("ann")
    records = logged.records
    assert [fields(record) for record in records] == [
        ("DEBUG", "ann", 1, "", "SnapshotBegun"),
        ("DEBUG", "ann", 1, "", "SnapshotFinalized"),
        ("DEBUG", "ann", 1, "", "LeaseRenewed"),
        ("INFO", "ann", 1, "", "ReplayCompleted"),
        ("DEBUG", "ann", 2, "", "SnapshotBegun"),
        ("DEBUG", "ann", 2, "", "SnapshotFinalized"),
        ("WARNING", "ann", 2, "database is away", "AbortBegun"),
        ("DEBUG", "ann", 2, "", "AbortFinished"),
        ("DEBUG", "ann", 2, "", "RetryScheduled"),
        ("DEBUG", "ann", 3, "", "SnapshotBegun"),
        ("WARNING", "ann", 3, "expired", "SnapshotExpired"),
        ("DEBUG", "ann", 3, "", "AbortFinished"),
        ("WARNING", "ann", 3, "tired", "ReplayParked"),
        ("DEBUG", "ann", 3, "", "ReplayReleased"),
        ("DEBUG", "ann", 3, "", "BufferCleared"),
    ]
    assert {record.name for record in records} == {"holdover"}
    assert records[6].getMessage() == "user 'ann': AbortBegun, version 2: database is away"
    assert records[3].getMessage() == "user 'ann': ReplayCompleted, version 1"


def test_adds_and_evictions_are_not_logged(logged: pytest.LogCaptureFixture, buffer: ReplayBuffer[Any]) -> None:
    """A thousand measurements a second make no line in a log."""
    for number in range(20):
        buffer.add_measurement("ann", number)
    assert buffer.state("ann").evicted > 0
    assert logged.records == []


def test_adds_within_a_bound_over_all_users_are_not_logged_either(logged: pytest.LogCaptureFixture) -> None:
    """Nor what they evict, of their own or of others."""
    buffer = ReplayBuffer[int](config=BufferConfig(max_measurements=2, max_total_measurements=2))
    for number in range(6):
        buffer.add_measurement(f"user-{number // 3}", number)
    assert buffer.state("user-0").evicted == 3
    assert logged.records == []


def test_it_is_silent_by_default() -> None:
    """An application that has not set up logging sees nothing, whatever goes wrong."""
    program = (
        "from statemachine import ReplayBuffer\n"
        "buffer = ReplayBuffer()\n"
        "buffer.add_measurement('ann', 1)\n"
        "buffer.begin_snapshot('ann')\n"
        "buffer.abort_snapshot('ann', 'why')\n"
        "buffer.park('ann')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)


def test_what_nobody_listens_to_is_not_put_together(
    buffer: ReplayBuffer[Any], monkeypatch: pytest.MonkeyPatch, level: None
) -> None:
    """Below the level that is enabled nothing but the level is looked at."""
    logger.setLevel(logging.ERROR)
    calls: list[Any] = []
    monkeypatch.setattr(logger, "log", lambda *arguments, **_: calls.append(arguments[0]))
    begun(buffer).abort("why")
    assert calls == []
    logger.setLevel(logging.WARNING)
    begun(buffer).abort("why")
    assert calls == [logging.WARNING]


@pytest.mark.parametrize("by", ["handler", "filter"])
def test_a_handler_that_raises_breaks_no_replay(buffer: ReplayBuffer[Any], by: str, level: None) -> None:
    """A replay is completed though its log line could not be written; the figures have it."""
    failed: list[logging.LogRecord] = []

    class Broken(logging.NullHandler):
        def handle(self, record: logging.LogRecord) -> bool:
            failed.append(record)
            raise OSError("the disk is full")

    handler = Broken()
    logger.setLevel(logging.DEBUG)
    if by == "handler":
        logger.addHandler(handler)
    else:
        logger.addFilter(handler.handle)
    try:
        with buffer.snapshot("ann") as frozen:
            assert list(frozen) == [1, 2, 3]
    finally:
        logger.removeHandler(handler)
        logger.removeFilter(handler.handle)
    assert len(failed) == 3
    assert buffer.state("ann").replayed == 3
    assert buffer.metrics().completed == 1


def test_a_handler_may_use_the_buffer(buffer: ReplayBuffer[Any], level: None) -> None:
    """It is called outside every lock, with what is told already recorded."""
    seen: list[str] = []

    class Curious(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            user_id = record.user_id  # type: ignore[attr-defined]
            buffer.add_measurement(user_id, 9)
            seen.append(buffer.state(user_id).phase)
            buffer.metrics()

    handler = Curious()
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        buffer.begin_snapshot("ann")
        buffer.finalize_snapshot("ann").complete()
    finally:
        logger.removeHandler(handler)
    assert seen == ["snapshotting", "replaying", "idle"]
