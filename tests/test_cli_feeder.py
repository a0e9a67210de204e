"""The feeder of `holdover replay`: adds rows while replays run in other threads, and keeps the windows apart."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any

import pytest

from statemachine import BufferFullError, FrozenSnapshot, ReplayBuffer
from statemachine.cli._feeder import Due, Feeder, config_for
from statemachine.cli._process import Judged, Process
from statemachine.cli._table import Row

NOON = datetime(2016, 4, 12, 12)


def row(user: str, number: int) -> Row:
    return Row(user, NOON + timedelta(minutes=number), 80.0, number, (), ())


def feed(feeder: Feeder, count: int) -> None:
    for number in range(count):
        feeder.feed(row("ann", number))


@contextmanager
def feeding(process: Process, due: Due, most: int = 1000) -> Iterator[tuple[Feeder, ReplayBuffer[Row]]]:
    buffer = ReplayBuffer[Row](config=config_for(due.every, most))
    with ThreadPoolExecutor(2) as executor:
        yield Feeder(buffer, process, due, executor, lambda _rows: None), buffer


def test_rows_are_added_while_a_replay_runs() -> None:
    """The feeder goes on with the same user's rows while his replay has not returned, and none of them is lost."""
    started, release, windows = Event(), Event(), []

    def slow(frozen: FrozenSnapshot[Row]) -> list[Judged]:
        started.set()
        assert release.wait(60)
        windows.append([each.number for each in frozen])
        return []

    with feeding(slow, Due(3)) as (feeder, buffer):
        feed(feeder, 5)
        assert started.wait(60)
        assert (buffer.state("ann").phase, buffer.state("ann").frozen, buffer.state("ann").pending) == (
            "replaying",
            3,
            2,
        )
        release.set()
        assert list(feeder.finish()) == ["ann"]
        (account,) = feeder.accounts()
    assert windows == [[0, 1, 2], [3, 4]]
    assert (account.added, account.replayed, account.live, account.lost, account.replays) == (5, 5, 0, 0, 2)


def test_the_next_row_waits_for_a_replay_that_is_behind() -> None:
    """When a user's next replay is due while the last one runs, his next row waits, so that windows keep their size."""
    started, release, windows = Event(), Event(), []

    def slow(frozen: FrozenSnapshot[Row]) -> list[Judged]:
        started.set()
        assert release.wait(60)
        windows.append(len(frozen))
        return []

    with feeding(slow, Due(3)) as (feeder, buffer):
        thread = Thread(target=feed, args=(feeder, 10))
        thread.start()
        assert started.wait(60)
        assert buffer.state("ann").pending <= 3
        release.set()
        thread.join()
        list(feeder.finish())
    assert windows == [3, 3, 3, 1]


def test_a_buffer_that_is_full_has_a_replay_make_room() -> None:
    """Where a window of time would hold more rows than are kept, it is replayed earlier; nothing is evicted."""
    windows = []

    def note(frozen: FrozenSnapshot[Row]) -> list[Judged]:
        windows.append(len(frozen))
        return []

    with feeding(note, Due(None, timedelta(days=9)), most=5) as (feeder, _buffer):
        feed(feeder, 18)
        list(feeder.finish())
        (account,) = feeder.accounts()
    assert windows == [5, 5, 5, 3]
    assert (account.added, account.replayed, account.evicted, account.lost) == (18, 18, 0, 0)


def test_a_full_buffer_whose_replay_fails_refuses_the_row() -> None:
    """Where no replay can make room, the row is refused, and what was added is still there."""

    def fail(_frozen: FrozenSnapshot[Row]) -> list[Judged]:
        raise ArithmeticError("no")

    with feeding(fail, Due(None, timedelta(days=9)), most=5) as (feeder, buffer):
        with pytest.raises(BufferFullError):
            feed(feeder, 99)
        kept = [each.number for each in buffer.measurements("ann")]
        (account,) = feeder.accounts()
    assert kept == list(range(len(kept)))
    assert (account.fed, account.added, account.live, account.lost) == (len(kept), len(kept), len(kept), 0)


def test_what_is_said_of_a_full_buffer_does_not_depend_on_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row refused while the replay still ran is tried again when that has failed: what is said is what is so then."""
    refused, add = Event(), ReplayBuffer[Row].add_measurement

    def look(buffer: ReplayBuffer[Row], user: str, added: Row) -> None:
        try:
            add(buffer, user, added)
        except BufferFullError:
            if buffer.state(user).phase == "replaying":
                refused.set()
            raise

    def fail(_frozen: FrozenSnapshot[Row]) -> list[Judged]:
        assert refused.wait(60)
        raise ArithmeticError("no")

    monkeypatch.setattr(ReplayBuffer, "add_measurement", look)
    with feeding(fail, Due(None, timedelta(days=9)), most=5) as (feeder, _buffer):
        with pytest.raises(BufferFullError, match=r"^user 'ann': 10 measurements are live"):
            feed(feeder, 99)
        (account,) = feeder.accounts()
    assert (account.added, account.live, account.lost) == (10, 10, 0)


def test_an_error_while_a_replay_begins_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong before the freeze reaches the feeder instead of leaving it waiting."""

    def refuse(_self: Any, _user: str, _timestamp: Any, _latest: int | None = None) -> int:
        raise LookupError("unexpected")

    monkeypatch.setattr(ReplayBuffer, "_begin", refuse)
    with feeding(lambda _frozen: [], Due(1)) as (feeder, _buffer):
        feeder.feed(row("ann", 1))
        with pytest.raises(LookupError, match="unexpected"):
            list(feeder.finish())
