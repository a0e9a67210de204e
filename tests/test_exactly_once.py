"""`complete(connection=...)`: results and the committed offset are saved together, or not at all."""

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Clock

from events import LogBusyError, LogUnavailableError, MemoryLog, SqliteLog
from statemachine import (
    BufferConfig,
    FrozenSnapshot,
    IllegalTriggerError,
    InvalidArgumentError,
    NoSnapshotError,
    ReplayBuffer,
    ReplayManager,
    StaleSnapshotError,
    UnknownUserError,
)
from statemachine.aio import AsyncReplayBuffer


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "application.db")


@pytest.fixture
def application(path: str) -> Iterator[sqlite3.Connection]:
    """The application's connection and its table of results."""
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("CREATE TABLE results (total)")
    connection.commit()
    yield connection
    connection.close()


@pytest.fixture
def buffer(path: str, application: sqlite3.Connection, clock: Clock) -> Iterator[ReplayBuffer[int]]:
    """A buffer in the application's own file, in which ann has three measurements."""
    log = SqliteLog[int](path, durability="off", timeout=0.0)
    with ReplayBuffer(log, BufferConfig(max_measurements=5), clock=clock) as buffer:
        buffer.add_measurements("ann", [1, 2, 3])
        yield buffer


def begun(buffer: ReplayBuffer[int]) -> FrozenSnapshot[int]:
    return buffer.finalize_snapshot("ann", buffer.begin_snapshot("ann"))


def results(application: sqlite3.Connection) -> list[int]:
    return [total for (total,) in application.execute("SELECT total FROM results")]


def test_results_and_the_committed_offset_are_saved_together(
    buffer: ReplayBuffer[int], application: sqlite3.Connection
) -> None:
    """With the commit both are there; what arrived meanwhile stays."""
    frozen = begun(buffer)
    buffer.add_measurement("ann", 4)
    with application:
        application.execute("INSERT INTO results VALUES (?)", (sum(frozen),))
        frozen.complete(connection=application)
        assert buffer.state("ann").phase == "replaying", "not before the commit"
    assert results(application) == [6]
    assert buffer.measurements("ann") == [4]
    assert buffer.audit("ann").ok
    assert buffer.state("ann").replayed == 3


def test_a_rollback_takes_both_back(buffer: ReplayBuffer[int], application: sqlite3.Connection) -> None:
    """The snapshot is as it was, and can be completed after all."""
    frozen = begun(buffer)
    application.execute("INSERT INTO results VALUES (6)")
    frozen.complete(connection=application)
    application.rollback()
    assert results(application) == []
    assert buffer.state("ann").phase == "replaying"
    assert buffer.metrics().completed == 0
    assert list(frozen) == [1, 2, 3]
    frozen.complete()
    assert buffer.metrics().completed == 1


def test_a_lost_connection_takes_both_back(buffer: ReplayBuffer[int], path: str) -> None:
    """As a crash between the write and the commit does."""
    frozen, connection = begun(buffer), sqlite3.connect(path)
    connection.execute("INSERT INTO results VALUES (6)")
    frozen.complete(connection=connection)
    connection.close()
    assert buffer.state("ann").phase == "replaying"
    assert buffer.measurements("ann") == [1, 2, 3]


def test_what_is_handed_over_is_settled_by_the_commit(
    buffer: ReplayBuffer[int], application: sqlite3.Connection
) -> None:
    """The `with` block neither completes it again nor takes it for completed."""
    with buffer.snapshot("ann") as frozen:
        assert not frozen.is_handed_over
        application.execute("INSERT INTO results VALUES (6)")
        frozen.complete(connection=application)
        assert frozen.is_handed_over
        assert frozen.settled == ""
    assert buffer.state("ann").phase == "replaying"
    application.commit()
    assert buffer.state("ann").replayed == 3


def test_an_error_after_it_aborts_what_was_rolled_back(
    buffer: ReplayBuffer[int], application: sqlite3.Connection
) -> None:
    """The first error is raised, and the measurements are live again."""
    with pytest.raises(ZeroDivisionError), buffer.snapshot("ann") as frozen, application:
        frozen_sum = sum(frozen)
        application.execute("INSERT INTO results VALUES (?)", (frozen_sum,))
        frozen.complete(connection=application)
        raise ZeroDivisionError
    assert buffer.state("ann").phase == "idle"
    assert buffer.measurements("ann") == [1, 2, 3]
    assert results(application) == []


def test_an_error_while_the_transaction_is_open_is_not_hidden(
    buffer: ReplayBuffer[int], application: sqlite3.Connection
) -> None:
    """The abort cannot be recorded while the application holds the file, so the snapshot expires later."""
    with pytest.raises(ZeroDivisionError), buffer.snapshot("ann") as frozen:
        application.execute("INSERT INTO results VALUES (6)")
        frozen.complete(connection=application)
        raise ZeroDivisionError
    application.rollback()
    assert buffer.state("ann").phase == "replaying"


def test_a_late_replay_is_refused_in_its_transaction(
    buffer: ReplayBuffer[int], application: sqlite3.Connection, clock: Clock
) -> None:
    """It rolls back what it saved; nothing waits for anything, and the expiry is recorded when it has."""
    frozen = begun(buffer)
    clock.now += 300
    application.execute("INSERT INTO results VALUES (6)")
    with pytest.raises(StaleSnapshotError, match="overdue"):
        frozen.complete(connection=application)
    application.rollback()
    assert buffer.state("ann").phase == "idle"
    assert buffer.measurements("ann") == [1, 2, 3]


def test_a_stale_one_is_refused_and_leaves_the_transaction(
    buffer: ReplayBuffer[int], application: sqlite3.Connection
) -> None:
    """Whoever writes several things in one transaction can still commit the others."""
    frozen = begun(buffer)
    frozen.abort("too slow")
    application.execute("INSERT INTO results VALUES (7)")
    with pytest.raises(StaleSnapshotError) as caught:
        frozen.complete(connection=application)
    assert caught.value.user_id == "ann"
    application.commit()
    assert results(application) == [7]
    assert buffer.measurements("ann") == [1, 2, 3]


def test_twice_in_one_transaction_is_once(buffer: ReplayBuffer[int], application: sqlite3.Connection) -> None:
    """The second sees what the first has done, though nobody else does."""
    frozen = begun(buffer)
    application.execute("INSERT INTO results VALUES (6)")
    frozen.complete(connection=application)
    with pytest.raises(StaleSnapshotError):
        frozen.complete(connection=application)
    with pytest.raises(NoSnapshotError):
        buffer.complete_replay("ann", connection=application)
    application.commit()
    assert buffer.state("ann").replayed == 3


def test_other_calls_are_refused_as_without_a_transaction(
    buffer: ReplayBuffer[int], application: sqlite3.Connection
) -> None:
    """Unknown users, wrong versions, what was not finalized."""
    application.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnknownUserError):
        buffer.complete_replay("bob", connection=application)
    with pytest.raises(InvalidArgumentError, match="version"):
        buffer.complete_replay("ann", "1", connection=application)  # type: ignore[arg-type]
    application.rollback()
    buffer.begin_snapshot("ann")
    application.execute("BEGIN IMMEDIATE")
    with pytest.raises(IllegalTriggerError, match="finalize_snapshot comes first"):
        buffer.complete_replay("ann", connection=application)


def test_a_connection_that_cannot_be_joined_is_refused(
    buffer: ReplayBuffer[int], application: sqlite3.Connection, tmp_path: Path
) -> None:
    """Without a transaction, to another file, in memory, or no connection at all: the error says what to do."""
    frozen = begun(buffer)
    with pytest.raises(InvalidArgumentError, match="no open transaction to join"):
        frozen.complete(connection=application)
    with pytest.raises(InvalidArgumentError, match=r"must be a sqlite3\.Connection, not 7"):
        frozen.complete(connection=7)
    for elsewhere in (str(tmp_path / "other.db"), ":memory:"):
        other = sqlite3.connect(elsewhere)
        other.execute("CREATE TABLE t (x)")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InvalidArgumentError, match="only one file commits as a whole"):
            frozen.complete(connection=other)
        other.close()
    assert buffer.state("ann").phase == "replaying"


def test_a_connection_whose_own_file_is_gone_is_told(
    buffer: ReplayBuffer[int], application: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can say whether it was the log's."""

    def gone(*_: str) -> bool:
        raise FileNotFoundError(2, "No such file or directory")

    frozen = begun(buffer)
    application.execute("BEGIN IMMEDIATE")
    with monkeypatch.context() as patched:
        patched.setattr(os.path, "samefile", gone)
        with pytest.raises(LogUnavailableError, match="is gone"):
            frozen.complete(connection=application)
    application.rollback()
    assert buffer.state("ann").phase == "replaying"


def test_a_log_in_memory_has_no_transaction_to_join(application: sqlite3.Connection) -> None:
    """It says so, instead of completing at once."""
    buffer = ReplayBuffer[int](MemoryLog())
    buffer.add_measurement("ann", 1)
    frozen = begun(buffer)
    with pytest.raises(InvalidArgumentError, match="MemoryLog is in no database"):
        frozen.complete(connection=application)
    assert buffer.state("ann").phase == "replaying"


def test_a_transaction_that_began_before_the_latest_add_sees_its_own_past(
    buffer: ReplayBuffer[int], application: sqlite3.Connection
) -> None:
    """It cannot be written to any more, and the error says so; nothing is lost or half done."""
    frozen = begun(buffer)
    application.execute("BEGIN")
    assert results(application) == []
    buffer.add_measurement("ann", 4)
    with pytest.raises(LogBusyError):
        frozen.complete(connection=application)
    application.rollback()
    with application:
        application.execute("INSERT INTO results VALUES (6)")
        frozen.complete(connection=application)
    assert buffer.measurements("ann") == [4]


def test_rows_and_texts_of_the_applications_liking_do_no_harm(buffer: ReplayBuffer[int], path: str) -> None:
    """Its row factory and text factory are its own affair."""
    connection = sqlite3.connect(path)
    connection.row_factory, connection.text_factory = sqlite3.Row, bytes
    frozen = begun(buffer)
    connection.execute("BEGIN IMMEDIATE")
    frozen.complete(connection=connection)
    connection.commit()
    connection.close()
    assert buffer.state("ann").replayed == 3


def test_metrics_and_bounds_learn_of_it_when_it_is_committed(
    path: str, application: sqlite3.Connection, clock: Clock
) -> None:
    """Not before, and once."""
    config = BufferConfig(max_measurements=3, max_total_measurements=4, on_overflow="reject")
    with ReplayBuffer[int](SqliteLog(path, durability="off"), config, clock=clock) as buffer:
        buffer.add_measurements("ann", [1, 2, 3])
        frozen = begun(buffer)
        clock.now += 7
        application.execute("BEGIN IMMEDIATE")
        frozen.complete(connection=application)
        assert buffer.metrics().completed == 0
        application.commit()
        clock.now += 1
        assert buffer.add_measurements("bob", [1, 2, 3]) == range(3)
        metrics = buffer.metrics()
        assert (metrics.completed, metrics.replay_duration.last, metrics.seconds_since_completed) == (1, 7.0, 1.0)
        assert buffer.state("ann").live == 0
        assert buffer.metrics().completed == 1


def test_pruned_since_it_counts_as_completed(buffer: ReplayBuffer[int], application: sqlite3.Connection) -> None:
    """Only what was completed or cleared can be pruned."""
    frozen = begun(buffer)
    application.execute("BEGIN IMMEDIATE")
    frozen.complete(connection=application)
    application.commit()
    assert buffer.prune() == 6
    assert buffer.metrics().completed == 1


def test_one_that_was_rolled_back_and_aborted_is_never_counted(
    buffer: ReplayBuffer[int], application: sqlite3.Connection
) -> None:
    """Whatever the user does afterwards."""
    frozen = begun(buffer)
    application.execute("BEGIN IMMEDIATE")
    frozen.complete(connection=application)
    application.rollback()
    frozen.abort()
    buffer.clear_buffer("ann")
    assert buffer.metrics().completed == 0


def test_two_threads_that_look_at_once_count_it_once(
    buffer: ReplayBuffer[int], application: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes second finds it settled."""
    frozen = begun(buffer)
    application.execute("BEGIN IMMEDIATE")
    frozen.complete(connection=application)
    application.commit()
    decided = buffer._journal.decided

    def overtaken(user_id: str) -> Any:
        monkeypatch.undo()
        buffer.state("ann")
        return decided(user_id)

    monkeypatch.setattr(buffer._journal, "decided", overtaken)
    assert buffer.metrics().completed == 1


@pytest.mark.parametrize("commits", [True, False])
def test_a_managed_replay_may_complete_in_its_transaction(
    buffer: ReplayBuffer[int], application: sqlite3.Connection, commits: bool
) -> None:
    """Committed, it is completed; not committed when the function returns, it has failed and is rolled back."""

    def replay(frozen: FrozenSnapshot[int]) -> int:
        total = sum(frozen)
        application.execute("INSERT INTO results VALUES (?)", (total,))
        frozen.complete(connection=application)
        if commits:
            application.commit()
        else:
            application.rollback()
        return total

    result = ReplayManager(buffer, replay).replay_user("ann")
    assert (result.ok, result.measurements) == (commits, 3)
    assert results(application) == ([6] if commits else [])
    assert buffer.state("ann").live == (0 if commits else 3)
    assert "not committed" in str(result.error) if not commits else result.value == 6


def test_a_managed_replay_is_completed_whatever_begins_after_its_commit(
    buffer: ReplayBuffer[int], application: sqlite3.Connection
) -> None:
    """Another process may be faster than the function's return."""

    def replay(frozen: FrozenSnapshot[int]) -> None:
        application.execute("BEGIN IMMEDIATE")
        frozen.complete(connection=application)
        application.commit()
        buffer.add_measurement("ann", 4)
        buffer.begin_snapshot("ann")

    assert ReplayManager(buffer, replay).replay_user("ann").outcome == "completed"


def test_within_a_bound_over_all_users_the_log_evicts_nothing_by_itself(
    path: str, application: sqlite3.Connection
) -> None:
    """Nor after a completion within a transaction: the count of all users stays right."""
    config = BufferConfig(max_measurements=3, max_total_measurements=6)
    with ReplayBuffer[int](SqliteLog(path, durability="off"), config) as buffer:
        buffer.add_measurements("ann", [1, 2, 3])
        frozen = begun(buffer)
        buffer.add_measurements("ann", [4, 5, 6])
        application.execute("BEGIN IMMEDIATE")
        frozen.complete(connection=application)
        application.commit()
        for number in range(5):
            buffer.add_measurement("ann", number)
        buffer.add_measurements("bob", [1, 2, 3])
        assert (buffer.size("ann"), buffer.size("bob")) == (3, 3)


def test_on_an_event_loop(path: str, application: sqlite3.Connection) -> None:
    """The same, awaited; the connection is used in a thread."""

    async def main() -> Any:
        async with AsyncReplayBuffer[int](SqliteLog(path, durability="off")) as buffer:
            await buffer.add_measurements("ann", [1, 2, 3])
            async with buffer.snapshot("ann") as frozen:
                total = sum(await frozen.to_list())
                application.execute("INSERT INTO results VALUES (?)", (total,))
                await frozen.complete(connection=application)
                handed_over = frozen.is_handed_over
                application.commit()
            state = await buffer.state("ann")
            return handed_over, state.phase, state.replayed, await buffer.prune()

    assert asyncio.run(main()) == (True, "idle", 3, 6)
    assert results(application) == [6]


REFUSED = {
    "cyd, who is unknown": UnknownUserError,
    "bob, whose first measurement it cannot see": StaleSnapshotError,
    "ann, whose lease is over": StaleSnapshotError,
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_in_a_transaction_says_what_and_whom_it_concerns(
    buffer: ReplayBuffer[int], application: sqlite3.Connection, clock: Clock, case: str
) -> None:
    """As outside of one: who reads the error knows which user's it was, and what was wrong."""
    begun(buffer)
    application.execute("BEGIN")
    assert results(application) == []
    buffer.add_measurement("bob", 1)
    clock.now += 300
    user_id = case[:3]
    with pytest.raises(REFUSED[case]) as refused:
        buffer.complete_replay(user_id, connection=application)
    assert refused.value.user_id == user_id
    assert str(refused.value).startswith(f"user '{user_id}': ")
    assert not str(refused.value).endswith("None")


def test_who_watches_learns_of_it_at_the_next_touch(
    buffer: ReplayBuffer[int], application: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged when its user is looked at next, and not only with the next metrics."""
    frozen = begun(buffer)
    application.execute("BEGIN IMMEDIATE")
    frozen.complete(connection=application)
    application.commit()
    with caplog.at_level("INFO", "holdover"):
        buffer.state("ann")
    assert caplog.messages == ["user 'ann': ReplayCompleted, version 1"]


def test_a_completion_that_was_committed_leaves_no_rollback(
    buffer: ReplayBuffer[int], application: sqlite3.Connection
) -> None:
    """The rollback of its own that a manager has registered for it is forgotten, as after any completion."""
    frozen = begun(buffer)
    buffer._rollbacks.register("ann", frozen.version, lambda *about: None)
    application.execute("BEGIN IMMEDIATE")
    frozen.complete(connection=application)
    application.commit()
    buffer.state("ann")
    assert not buffer._rollbacks.needed("ann", frozen.version)


def test_a_completion_is_no_add(path: str, application: sqlite3.Connection, clock: Clock) -> None:
    """Who completes has added nothing, so it makes room for others before who has added since."""
    config = BufferConfig(max_measurements=3, max_total_measurements=4)
    with ReplayBuffer[int](SqliteLog(path, durability="off"), config, clock=clock) as buffer:
        buffer.add_measurement("ann", 1)
        frozen = begun(buffer)
        buffer.add_measurement("ann", 2)
        buffer.add_measurement("bob", 1)
        application.execute("BEGIN IMMEDIATE")
        frozen.complete(connection=application)
        application.commit()
        buffer.add_measurements("cyd", [1, 2, 3])
        assert (buffer.measurements("ann"), buffer.measurements("bob")) == ([], [1])


def test_a_rolled_back_completion_is_not_taken_for_an_earlier_one(
    buffer: ReplayBuffer[int], application: sqlite3.Connection
) -> None:
    """Also where what is older has been pruned: only the one that was committed is counted."""
    begun(buffer).complete()
    buffer.prune()
    buffer.add_measurement("ann", 4)
    frozen = begun(buffer)
    application.execute("BEGIN IMMEDIATE")
    frozen.complete(connection=application)
    application.rollback()
    frozen.abort()
    assert buffer.metrics().completed == 1
