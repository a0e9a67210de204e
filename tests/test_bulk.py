"""Adds for many users at once: `add_for_users`, on every log."""

import asyncio
from collections.abc import Sequence
from typing import Any

import postgres
import psycopg
import pytest
from proxy import Fault, Passage, Proxy, lost, unanswered

from events import (
    EventLog,
    LogBusyError,
    LogFullError,
    LogUnavailableError,
    MemoryLog,
    OutcomeUnknownError,
    PostgresLog,
    SqliteLog,
)
from events._postgres import _session
from statemachine import (
    BufferConfig,
    BufferFullError,
    InvalidArgumentError,
    PartlyAddedError,
    ReplayBuffer,
    due,
)
from statemachine.aio import AsyncReplayBuffer


def opened(**how: Any) -> PostgresLog[Any]:
    return PostgresLog(postgres.address(postgres.QUICK), schema=postgres.new_schema(), **how)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def log(request: pytest.FixtureRequest, tmp_path: Any) -> EventLog[Any]:
    if request.param == "memory":
        return MemoryLog()
    return opened() if request.param == "postgres" else SqliteLog(tmp_path / "log.db", durability="off")


def test_each_users_measurements_are_recorded(log: EventLog[Any]) -> None:
    """New users and known ones, below the bound and at it, with one or many; nothing is recorded for nobody."""
    with ReplayBuffer(log, BufferConfig(max_measurements=3)) as buffer:
        buffer.add_measurement("bob", 0)
        assert buffer.add_for_users({"ann": [1, 2], "bob": iter([3]), "cid": []}) == {
            "ann": range(2),
            "bob": range(1, 2),
            "cid": range(0),
        }
        assert buffer.add_for_users({"cid": []})["cid"].start == 0
        for number in range(4, 9):
            buffer.add_for_users({"ann": [number], "bob": [number, number]})
        assert buffer.measurements("ann") == [6, 7, 8]
        assert buffer.measurements("bob") == [7, 8, 8]
        nothing = buffer.add_for_users({"ann": []})["ann"]
        assert nothing.start == nothing.stop == buffer.state("ann").head
        assert buffer.add_for_users({}) == {}
        assert list(buffer.users()) == ["bob", "ann"]


def test_who_has_no_room_is_told_and_the_others_are_added_to(log: EventLog[Any]) -> None:
    """The error says for whom it failed and why, and where the others' measurements are."""
    with ReplayBuffer(log, BufferConfig(max_measurements=2, on_overflow="reject")) as buffer:
        buffer.add_measurements("bob", [0, 0])
        with pytest.raises(PartlyAddedError, match=r"1 of 3 users .* 'bob'") as refused:
            buffer.add_for_users({"ann": [1], "bob": [2], "cid": [3, 4]})
        assert refused.value.added == {"ann": range(1), "cid": range(2)}
        assert [type(error) for error in refused.value.errors.values()] == [BufferFullError]
        assert buffer.measurements("bob") == [0, 0]


def test_within_the_bound_over_all_users_each_is_planned() -> None:
    """Where users share a bound, the oldest of who has added nothing for longest go."""
    with ReplayBuffer(config=BufferConfig(max_measurements=2, max_total_measurements=3)) as buffer:
        buffer.add_for_users({"ann": [1, 2], "bob": [3]})
        buffer.add_for_users({"bob": [4], "cid": [5]})
        assert [buffer.measurements(user) for user in ("ann", "bob", "cid")] == [[], [3, 4], [5]]


@pytest.mark.parametrize("wrong", [[("ann", [1])], None, {"": [1]}, {1: [1]}, {"ann": 1}])
def test_what_makes_no_sense_is_refused_before_anything_is_recorded(wrong: Any) -> None:
    """No mapping, no user id, nothing to go through."""
    buffer = ReplayBuffer[Any]()
    batches = {"bob": [1], **wrong} if isinstance(wrong, dict) else wrong
    with pytest.raises(InvalidArgumentError):
        buffer.add_for_users(batches)
    assert list(buffer.users()) == []
    with pytest.raises(InvalidArgumentError):
        asyncio.run(AsyncReplayBuffer[Any](buffer._log).add_for_users(batches))
    assert list(buffer.users()) == []


def test_a_log_that_fails_for_one_user_fails_for_that_one() -> None:
    """Its error stands for the user, and the next one is added to."""

    class Full(MemoryLog[Any]):
        def add_many(self, stream: str, measurements: Sequence[Any], *how: Any) -> int | None:
            if stream == "bob":
                raise LogFullError("no space left")
            return super().add_many(stream, measurements, *how)

    with ReplayBuffer(Full()) as buffer:
        buffer.add_for_users({"ann": [1], "cid": [1]})
        with pytest.raises(PartlyAddedError, match="no space left") as refused:
            buffer.add_for_users({"ann": [2], "bob": [2], "cid": [2]})
        assert list(refused.value.errors) == ["bob"]
        assert buffer.measurements("cid") == [1, 2]


def test_more_users_than_a_pipeline_takes() -> None:
    """Each is added to, in as many pipelines as it takes."""
    users = [f"user {number}" for number in range(300)]
    with ReplayBuffer(opened()) as buffer:
        log = buffer._log
        assert all(offsets == range(1) for offsets in buffer.add_for_users({user: [0] for user in users}).values())
        assert log.add_each([(user, [1]) for user in users], log.clock, buffer._journal.issuer) == [1] * 300


def test_a_user_whom_somebody_holds_keeps_nobody_else_waiting() -> None:
    """The pipeline breaks at that user; those behind it are found out about one by one, and not added twice."""
    with ReplayBuffer(opened(timeout=1.0)) as buffer, psycopg.connect(postgres.address()) as application:
        users = [f"user {number}" for number in range(9)]
        buffer.add_for_users({user: [0] for user in users})
        schema = buffer._log.schema  # type: ignore[attr-defined]
        application.execute(f"SELECT 1 FROM {schema}.streams WHERE user_id = 'user 4' FOR UPDATE")
        with pytest.raises(PartlyAddedError) as refused:
            buffer.add_for_users({user: [1] for user in users})
        assert {user: type(error) for user, error in refused.value.errors.items()} == {"user 4": LogBusyError}
        application.rollback()
        for user in users:
            assert buffer.measurements(user) == ([0] if user == "user 4" else [0, 1])
            buffer.add_measurement(user, 2)
            assert buffer.audit(user).ok


def test_another_process_had_to_find_out_about_a_user() -> None:
    """Its fence is another one now, which the pipeline learns, and adds once."""
    log = opened()
    with ReplayBuffer(log) as buffer:
        buffer.add_for_users({"ann": [0], "bob": [0]})
        with psycopg.connect(postgres.address()) as application:
            application.execute(f"UPDATE {log.schema}.streams SET fence = 7 WHERE user_id = 'ann'")
        assert buffer.add_for_users({"ann": [1], "bob": [1]}) == {"ann": range(1, 2), "bob": range(1, 2)}
        assert buffer.add_measurement("ann", 2) == 2
        assert buffer.measurements("ann") == [0, 1, 2]


def test_a_server_that_is_away_is_not_asked_for_each_user() -> None:
    """One has waited for it; the others are told so, and nothing of theirs was recorded."""
    log = opened(timeout=1.0)
    buffer = ReplayBuffer(log)
    buffer.add_for_users({"ann": [0], "bob": [0], "cid": [0]})
    log._database._settings["port"] = "1"
    log._database._pool.close()  # type: ignore[union-attr]
    log._database._pool = None
    with pytest.raises(PartlyAddedError) as refused:
        buffer.add_for_users({"ann": [1], "bob": [1], "cid": [1]})
    assert refused.value.added == {}
    assert all(isinstance(error, LogUnavailableError) for error in refused.value.errors.values())
    assert "not tried" in str(refused.value.errors["cid"])
    buffer.close()


def test_what_the_codec_does_not_take_is_told_for_its_user() -> None:
    """Also as the first of all; nothing of it is recorded, and the others are."""
    with ReplayBuffer(opened()) as buffer:
        buffer.add_for_users({"ann": [0], "bob": [0], "cid": [0]})
        for odd in ("ann", "bob", "cid"):
            with pytest.raises(PartlyAddedError) as refused:
                buffer.add_for_users({user: [object() if user == odd else 1] for user in ("ann", "bob", "cid")})
            assert list(refused.value.errors) == [odd]
        assert all(buffer.measurements(user) == [0, 1, 1] for user in ("ann", "bob", "cid"))


CUTS: dict[str, Fault] = {"not asked": lost, "not answered": unanswered}


@pytest.mark.parametrize("place", [0, 3, 8])
@pytest.mark.parametrize("fault", CUTS.values(), ids=CUTS)
def test_a_connection_that_breaks_among_many_doubles_none(fault: Fault, place: int) -> None:
    """What became of each user whose answer is missing is found out before it is done again."""
    users = [f"user {number}" for number in range(9)]
    schema = postgres.new_schema()
    with (
        Proxy(postgres.address(postgres.QUICK)) as between,
        ReplayBuffer(PostgresLog[Any](between.address, schema=schema, max_connections=1)) as buffer,
    ):
        buffer.add_for_users({user: [0] for user in users})
        between.faults = {between.requests + place: fault}
        assert (
            buffer._log.add_each([(user, [1]) for user in users], buffer._log.clock, buffer._journal.issuer) == [1] * 9
        )
        assert between.requests > max(between.faults)
        assert all(buffer.measurements(user) == [0, 1] for user in users)


def test_of_whom_it_stays_unknown_is_told_so() -> None:
    """The server is asked and goes away: who was not answered may have been added to or not."""
    schema = postgres.new_schema()
    with (
        Proxy(postgres.address(postgres.QUICK)) as between,
        ReplayBuffer(PostgresLog[Any](between.address, schema=schema, max_connections=1, timeout=1.0)) as buffer,
        ReplayBuffer(PostgresLog[Any](postgres.address(postgres.QUICK), schema=schema)) as witness,
    ):
        buffer.add_for_users({user: [0] for user in ("ann", "bob", "cid")})

        def gone(passage: Passage) -> None:
            between.refusing = True
            unanswered(passage)

        between.faults = {between.requests + 1: gone}
        batches = [(user, [1]) for user in ("ann", "bob", "cid")]
        ann, bob, cid = buffer._log.add_each(batches, buffer._log.clock, buffer._journal.issuer)
        assert ann == 1
        assert isinstance(bob, OutcomeUnknownError)
        assert isinstance(cid, LogUnavailableError)
        assert [witness.measurements(user) for user in ("ann", "bob", "cid")] == [[0, 1], [0, 1], [0]]


@pytest.mark.parametrize("answered", [0, 3])
def test_where_no_answer_comes_it_is_found_out_what_was_done(answered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason: those whose answers came have them, and nobody is added to twice."""
    users = [f"user {number}" for number in range(9)]
    with ReplayBuffer(opened(max_connections=1)) as buffer:
        buffer.add_for_users({user: [0] for user in users})
        fetch, calls = _session.fetch_many, iter([True] * 2 * answered)

        def fetched(pgconn: Any) -> Any:
            if next(calls, False):
                return (yield from fetch(pgconn))
            return []

        monkeypatch.setattr(_session, "fetch_many", fetched)
        assert (
            buffer._log.add_each([(user, [1]) for user in users], buffer._log.clock, buffer._journal.issuer) == [1] * 9
        )
        monkeypatch.undo()
        assert all(buffer.measurements(user) == [0, 1] for user in users)


def test_who_interrupts_many_adds_can_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the answers; the session is not used again, and what was asked is done or not."""

    def interrupted(pgconn: Any) -> Any:
        raise KeyboardInterrupt
        yield

    with ReplayBuffer(opened(max_connections=1)) as buffer:
        buffer.add_for_users({"ann": [0], "bob": [0]})
        monkeypatch.setattr(_session, "fetch_many", interrupted)
        with pytest.raises(KeyboardInterrupt):
            buffer.add_for_users({"ann": [1], "bob": [1]})
        monkeypatch.undo()
        assert buffer.add_measurement("ann", 2) == buffer.state("ann").head - 1
        assert all(buffer.audit(user).ok for user in ("ann", "bob"))


def test_a_session_that_was_ended_meanwhile_is_replaced() -> None:
    """Nobody was asked in it, so all are asked in another."""
    log = opened()
    with ReplayBuffer(log) as buffer:
        buffer.add_for_users({"ann": [0], "bob": [0]})
        assert log._database._pool is not None
        with log._database._pool.connection() as session:
            pass
        session.close()
        assert log.add_each([("ann", [1]), ("bob", [1])], log.clock, buffer._journal.issuer) == [1, 1]


def test_who_becomes_due_by_many_adds_is_told_of_once() -> None:
    """One word to those who listen, after all of them."""
    config = BufferConfig(due=due.Age(1.0))
    with ReplayBuffer(opened(), config) as buffer, psycopg.connect(postgres.address(), autocommit=True) as listener:
        users = ["ann", "bob", "cid"]
        buffer.add_for_users({user: [0] for user in users})
        for user in users:
            buffer.begin_snapshot(user)
            buffer.finalize_snapshot(user).complete()
        listener.execute(f"LISTEN {buffer._log.schema}")  # type: ignore[attr-defined]
        buffer._log.add_each([(user, [1]) for user in users], buffer._log.clock, buffer._journal.issuer)
        told = list(listener.notifies(timeout=30.0, stop_after=1))
        told += listener.notifies(timeout=0.0)
        assert len(told) == 1


def test_within_a_transaction_each_is_a_part_of_it() -> None:
    """A log joined to an application's transaction adds one after the other, to be committed with the rest."""
    log = opened()
    with ReplayBuffer(log) as buffer, psycopg.connect(postgres.address()) as application:
        buffer.add_for_users({"ann": [0], "bob": [0]})
        application.execute("SELECT 1")
        joined = log.joined(application)
        assert joined.add_each([("ann", [1]), ("bob", [1, 2])], log.clock, buffer._journal.issuer) == [1, 1]
        application.rollback()
        assert buffer.measurements("ann") == [0]


def test_what_is_no_mapping_is_named() -> None:
    """The error shows what was given in place of users and their measurements."""
    with pytest.raises(InvalidArgumentError, match="measurements must map users to iterables, not be 5"):
        ReplayBuffer[Any]().add_for_users(5)  # type: ignore[arg-type]


def test_who_has_room_needs_no_decision() -> None:
    """That is what makes many adds fast: the log is asked once for all users, and adds within what was granted."""

    class Noting(MemoryLog[Any]):
        def add_each(self, *what: Any) -> Any:
            answers.append(super().add_each(*what))
            return answers[-1]

    answers: list[Any] = []
    with ReplayBuffer(Noting()) as buffer:
        buffer.add_for_users({"ann": [0], "bob": [0]})
        assert buffer.add_for_users({"ann": [1], "bob": [1, 2]}) == {"ann": range(1, 2), "bob": range(1, 3)}
    assert answers == [[None, None], [1, 1]]


@pytest.mark.parametrize("answers", [[], [None, None]])
def test_a_log_that_answers_for_other_users_than_asked_is_not_believed(answers: list[None]) -> None:
    """An answer too few or too many may be any user's: to go on could add twice."""

    class Confused(MemoryLog[Any]):
        def add_each(self, *what: Any) -> Any:
            return answers

    with ReplayBuffer(Confused()) as buffer, pytest.raises(ValueError, match="zip"):
        buffer.add_for_users({"ann": [1]})
