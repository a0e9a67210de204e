"""The conformance suite catches broken logs, each by a named test, and has no test that cannot fail."""

import inspect
from typing import Any

import broken_due  # noqa: F401 - registers its logs
import broken_grants  # noqa: F401
import broken_threads  # noqa: F401
import pytest
from broken_durable import SoundSqliteLog
from broken_logs import CANARIES, SoundLog
from broken_sharing import SoundPostgresLog, SoundSharingLog

from events import EventLog, LogError
from events.conformance import EventLogConformance

TESTS = sorted(name for name in dir(EventLogConformance) if name.startswith("test_"))


class Suite(EventLogConformance):
    def __init__(self, log_class: type[SoundLog]) -> None:
        self._log_class = log_class
        self.tells = issubclass(log_class, SoundSharingLog | SoundPostgresLog)
        self.patience = 0.1  # a sound log in memory wakes at once

    def make_log(self) -> EventLog[Any]:
        return self._log_class()

    def reopen(self, log: EventLog[Any]) -> EventLog[Any]:
        assert isinstance(log, SoundLog)
        return log.reopened()

    def connect(self, log: EventLog[Any]) -> Any:
        assert isinstance(log, SoundLog)
        return log.connect()


def run(log_class: type[SoundLog], name: str) -> None:
    """Run one test of the suite as pytest would."""
    suite = Suite(log_class)
    test = getattr(suite, name)
    if "log" not in inspect.signature(test).parameters:
        test()
        return
    log = suite.make_log()
    try:
        test(log)
    finally:
        log.close()


@pytest.mark.parametrize("name", TESTS)
def test_a_sound_log_passes(name: str) -> None:
    """What the suite refuses is refused for its bug, not for the way it is run here."""
    broken = [log_class for log_class, caught in CANARIES if caught == name]
    for sound in (SoundSqliteLog, SoundSharingLog):
        if any(issubclass(log_class, sound) for log_class in broken):
            run(sound, name)
            return
    run(SoundLog, name)


@pytest.mark.parametrize(("log_class", "name"), CANARIES)
def test_a_broken_log_is_caught(log_class: type[SoundLog], name: str) -> None:
    """The named test fails, and not because the broken log falls over: it shows something that must not be seen."""
    with pytest.raises((AssertionError, LogError, pytest.fail.Exception)):
        run(log_class, name)


def test_every_test_of_the_suite_catches_a_broken_log() -> None:
    """A test that never failed proves nothing; a new one needs a broken log that it catches."""
    assert sorted({name for _, name in CANARIES}) == TESTS
