"""A `PostgresLog` of which nobody knows what it has recorded: what comes late then, and how the doubt ends."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from math import inf, nan
from time import monotonic
from typing import Any

import postgres
import psycopg
import pytest
import two_machines
from proxy import PATIENCE, CutError, Fault, Passage, Proxy, answered_in_part, late, lost, unanswered
from psycopg import errors
from psycopg.adapt import Transformer
from psycopg.pq import ExecStatus
from two_machines import Log, at_ten, found

from events import (
    ConflictError,
    Grant,
    LogError,
    LogUnavailableError,
    MeasurementAdded,
    Offsets,
    OutcomeUnknownError,
    PostgresLog,
)
from events._postgres import _database, _writing
from events._postgres._failures import is_lost
from events._postgres._quick import Quick
from events._postgres._session import Session
from events._postgres._statements import statements
from events._postgres._writing import MARGIN, settled
from statemachine import ReplayBuffer, UnknownUserError

Call = Callable[[Log], object]

ROOM = Grant(room=1000)


@pytest.fixture
def schema() -> str:
    return postgres.new_schema()


@contextmanager
def opened(schema: str, **how: Any) -> Iterator[tuple[Proxy, Log, Log]]:
    """A log whose one connection can be broken, in which ann has a measurement, and the same log on another machine."""
    with two_machines.opened(schema, **how) as (between, log, other):
        log.append("ann", [MeasurementAdded("first")], expected_head=0, grant=ROOM)
        yield between, log, other


def execute(statement: str) -> list[Any]:
    with psycopg.connect(postgres.address(), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def befalls(between: Proxy, *coming: tuple[bytes, Fault]) -> None:
    """What becomes of the next request in which there are certain words, and then of the next one with others."""
    left = list(coming)

    def chosen(passage: Passage) -> None:
        fault = left.pop(0)[1] if left and left[0][0] in passage.request else Passage.pass_on
        fault(passage)

    between.faults = dict.fromkeys(range(between.requests, between.requests + 1000), chosen)


@pytest.fixture
def last(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault], Fault]:
    """Makes a fault the last: by then the log's time is up, and nothing is tried again."""
    passed = 0.0
    monkeypatch.setattr(_database, "monotonic", lambda: monotonic() + passed)

    def and_time_is_up(fault: Fault) -> Fault:
        def happens(passage: Passage) -> None:
            nonlocal passed
            passed += 2 * PATIENCE
            fault(passage)

        return happens

    return and_time_is_up


def head(log: Log, user: str = "ann") -> int:
    position = log.position(user)
    return 0 if position is None else position.head


def create(log: Log) -> object:
    return log.append("new", [MeasurementAdded("once")], expected_head=0, grant=ROOM)


def add(log: Log) -> object:
    return log.add("ann", "once", at_ten)


def add_many(log: Log) -> object:
    return log.add_many("ann", ["once", "more"], at_ten)


def append(log: Log) -> object:
    return log.append("ann", [MeasurementAdded("once")], expected_head=1)


def add_each(log: Log) -> object:
    """In a pipeline; an error is raised here, as the other ways do."""
    (result,) = log.add_each([("ann", ["once"])], at_ten)
    if isinstance(result, LogError):
        raise result
    return result


def buffered(log: Log) -> object:
    return ReplayBuffer(log, clock=at_ten).add_measurement("ann", "once")


def nothing(log: Log) -> None:
    """Ann has a measurement, and room."""


def full(log: Log) -> None:
    """Each further add evicts a measurement."""
    victims = Offsets((range(2),))
    log.append("ann", [MeasurementAdded("second")], expected_head=1, grant=Grant(victims=victims))


def granted(log: Log) -> None:
    """The next add of a buffer is within its grant."""
    ReplayBuffer(log, clock=at_ten).add_measurement("ann", "second")


Way = tuple[Call, Call]

WAYS: dict[str, Way] = {
    "add": (nothing, add),
    "an add that evicts": (full, add),
    "add_many": (nothing, add_many),
    "append": (nothing, append),
    "add_each": (nothing, add_each),
    "a buffer's add": (granted, buffered),
}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
pooled_or_not = pytest.mark.parametrize("transaction_pooler", [False, True], ids=["sessions", "pooler"])

RAISES_FENCE = b"streams.fence + 1"
"""Is in the request that sees to it that nothing comes late."""


def left_unknown(between: Proxy, log: Log, call: Call, *coming: tuple[bytes, Fault]) -> None:
    """The call ends without anybody knowing."""
    befalls(between, *coming)
    with pytest.raises(OutcomeUnknownError):
        call(log)
    between.faults = {}


@pytest.mark.parametrize("tries", [1, 2])
@pooled_or_not
def test_nobody_is_made_by_what_comes_late(
    transaction_pooler: bool, tries: int, schema: str, last: Callable[[Fault], Fault]
) -> None:
    """A new user's first measurement is on its way when the log gives up: once somebody looked, it makes no user."""
    with opened(schema, transaction_pooler=transaction_pooler) as (between, log, other):
        left_unknown(between, log, create, *[(b"once", late)] * (tries - 1), (b"once", last(late)))
        assert len(between.held) == tries
        assert log.position("new") is None
        between.deliver_late()
        assert log.position("new") is other.position("new") is None
        assert create(log) == 1
        assert found(other, "new") == ["once"]


@pytest.mark.parametrize("looks", [True, False], ids=["after a look", "without a look"])
@pooled_or_not
def test_nobody_is_made_twice(
    transaction_pooler: bool, looks: bool, schema: str, last: Callable[[Fault], Fault]
) -> None:
    """The first measurement was recorded again, with or without a look before, when it arrives after all."""
    with opened(schema, transaction_pooler=transaction_pooler) as (between, log, other):
        left_unknown(between, log, create, (b"once", last(late)))
        assert not looks or log.position("new") is None
        assert create(log) == 1
        assert log.add("new", "next", at_ten) == 1
        between.deliver_late()
        assert found(other, "new") == ["once", "next"]
        assert [*other.streams()] == ["ann", "new"]


@pytest.mark.parametrize("expected_head", [0, 1])
def test_an_append_may_come_at_any_moment(expected_head: int, schema: str) -> None:
    """Wherever between the requests that find out what became of it it arrives after all, it is there once."""
    arrived_at: list[int] = []
    with opened(schema) as (between, log, other):
        for moment in count(1):
            user = f"user {moment}"

            def arrives(passage: Passage, moment: int = moment) -> None:
                between.let_arrive()
                arrived_at.append(moment)
                passage.pass_on()

            for name in (f"{user}'s double", user):  # so that the connection knows the statements
                befalls(between)
                for head in range(expected_head + (name != user)):
                    log.append(name, [MeasurementAdded("before")], expected_head=head)
            between.faults = {between.requests: late, between.requests + moment: arrives}
            assert log.append(user, [MeasurementAdded("once")], expected_head=expected_head) == expected_head + 1
            if moment not in arrived_at:
                break
            between.see_late_off()
            assert found(other, user) == ["before"] * expected_head + ["once"]
    assert len(arrived_at) >= 5


def fenced_off(between: Proxy, log: Log, last: Callable[[Fault], Fault]) -> None:
    """Somebody was to be made, was not, and never will be by what was asked then."""
    left_unknown(between, log, create, (b"once", last(lost)))
    assert log.position("new") is None


def test_who_is_fenced_off_is_not_there(schema: str, last: Callable[[Fault], Fault]) -> None:
    """The row that stands in the way of what comes late is nobody: it is not listed, and has nothing."""
    with opened(schema) as (between, log, other):
        fenced_off(between, log, last)
        assert execute(f"SELECT head, fence FROM {schema}.streams WHERE user_id = 'new'") == [(0, 1)]
        for some in (log, other):
            assert [*some.streams()] == ["ann"]
            assert some.position("new") is None
            assert some.checkpoint("new") is some.checkpoint("new", 0) is None
            assert [*some.read("new")] == [*some.controls("new")] == []
            assert some.recorded_before("new", inf) == 0
            assert some.overdue(inf) == some.due(inf) == some.shelved() == some.claim(inf, inf, 10) == []
            assert some.next_due(0.0) is None
            assert some.add("new", "refused", at_ten) is some.add_many("new", ["refused"] * 2, at_ten) is None
            assert some.append("new", [], expected_head=0, grant=ROOM) == 0
            with pytest.raises(ConflictError, match="expected head 1, found 0"):
                some.append("new", [MeasurementAdded("refused")], expected_head=1)
            with pytest.raises(ValueError, match="above the head"):
                some.truncate("new", 1, None)
        buffer = ReplayBuffer(other, clock=at_ten)
        assert list(buffer.users()) == ["ann"]
        with pytest.raises(UnknownUserError):
            buffer.state("new")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "by another process"])
def test_who_is_fenced_off_is_made_as_anybody(
    elsewhere: bool, schema: str, last: Callable[[Fault], Fault], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one statement by who raised the fence; who does not know of it is refused once, looks, and then knows it."""
    ran: list[object] = []
    for name in ("run", "run_quick"):
        run = getattr(Session, name)
        monkeypatch.setattr(Session, name, lambda *call, run=run: [ran.append(call[1]), run(*call)][1])
    with opened(schema) as (between, log, other):
        fenced_off(between, log, last)
        maker = other if elsewhere else log
        known = maker._statements
        ran.clear()
        assert create(maker) == 1
        assert maker.add("new", "next", at_ten) == 1
        assert maker.append("new", [MeasurementAdded("after")], expected_head=2) == 3
        assert ran == [known.create, *[known.stands, known.create] * elsewhere, known.add, known.append]
        for late_comer in (log, other):
            with pytest.raises(ConflictError, match="expected head 0, found 3"):
                create(late_comer)
        assert found(other, "new") == ["once", "next", "after"]


def test_who_is_fenced_off_comes_after_who_was_there_before(schema: str, last: Callable[[Fault], Fault]) -> None:
    """Users are listed in the order of their first event, whenever it was first tried to record one."""
    with opened(schema) as (between, log, other):
        fenced_off(between, log, last)
        other.append("bob", [MeasurementAdded("first")], expected_head=0)
        assert create(log) == 1
        assert [*other.streams()] == ["ann", "bob", "new"]


def in_doubt(between: Proxy, log: Log, way: Way, fault: Fault, last: Callable[[Fault], Fault]) -> Call:
    """Such a call has ended without anybody knowing, since neither it nor the question what became of it was answered.

    Returns:
        The call.
    """
    prepare, call = way
    prepare(log)
    left_unknown(between, log, call, (b"once", fault), (RAISES_FENCE, last(lost)))
    return call


@each_way
def test_what_comes_late_after_a_look_is_refused(way: Way, schema: str, last: Callable[[Fault], Fault]) -> None:
    """Nobody knows what became of a write; somebody looks, and it is not there: so it stays."""
    with opened(schema) as (between, log, other):
        call = in_doubt(between, log, way, late, last)
        before = [*log.read("ann")]
        between.deliver_late()
        assert [*other.read("ann")] == before
        call(log)
        assert found(other).count("once") == 1


@pytest.mark.parametrize("looks", [True, False], ids=["after a look", "without a look"])
@each_way
def test_what_was_recorded_again_does_not_come_late(
    way: Way, looks: bool, schema: str, last: Callable[[Fault], Fault]
) -> None:
    """Nobody knows what became of a write, so it is made again; when the first one arrives, it is refused."""
    with opened(schema) as (between, log, other):
        call = in_doubt(between, log, way, late, last)
        assert not looks or log.position("ann") is not None
        call(log)
        before = [*other.read("ann")]
        between.deliver_late()
        assert [*other.read("ann")] == before
        assert found(other).count("once") == 1


@each_way
def test_a_look_shows_what_was_done(way: Way, schema: str, last: Callable[[Fault], Fault]) -> None:
    """Nobody knows, but it was recorded: who looks finds it."""
    with opened(schema) as (between, log, other):
        in_doubt(between, log, way, unanswered, last)
        assert found(log).count("once") == found(other).count("once") == 1


def fence(schema: str) -> int:
    """How often it was seen to that nothing comes late to ann."""
    ((raised,),) = execute(f"SELECT fence FROM {schema}.streams WHERE user_id = 'ann'")
    return int(raised)


def test_a_doubt_lasts_until_somebody_could_look(schema: str, last: Callable[[Fault], Fault]) -> None:
    """As long as the server cannot be asked, nobody is told what is there; then the first look ends it for good."""
    with opened(schema) as (between, log, other):
        left_unknown(between, log, add, (b"once", last(late)))
        for refused in (lambda: log.position("ann"), lambda: add(log), lambda: add_each(log)):
            befalls(between, (RAISES_FENCE, last(lost)))
            with pytest.raises(LogUnavailableError):
                refused()
            assert fence(schema) == 0
        between.faults = {}
        for _ in range(2):
            assert found(log) == ["first"]
            assert log.position("bob") is None
            assert fence(schema) == 1
        between.deliver_late()
        assert add(log) == 1
        assert fence(schema) == 1
        assert found(other) == ["first", "once"]


@pytest.mark.parametrize("commits", [True, False])
def test_a_joined_look_ends_the_doubt_with_its_transaction(
    commits: bool, schema: str, last: Callable[[Fault], Fault]
) -> None:
    """Within an application's transaction it was missed and recorded again: if that commits, it is there once."""
    with opened(schema) as (between, log, other):
        left_unknown(between, log, add, (b"once", last(late)))
        with psycopg.connect(postgres.address()) as connection:
            connection.execute("SELECT 1")
            joined = log.joined(connection)
            assert "once" not in found(joined)
            assert add(joined) == 1
            connection.commit() if commits else connection.rollback()
        assert commits or found(log) == ["first"]
        between.deliver_late()
        assert found(other).count("once") == commits


@each_way
def test_a_log_that_is_closed_in_doubt_says_that_it_is_unknown(way: Way, schema: str) -> None:
    """The answer is lost, and the log closed before it could be found out: not that nothing was recorded."""
    prepare, call = way
    with opened(schema) as (between, log, other):

        def closed(passage: Passage) -> None:
            passage.deliver()
            log.close()
            raise CutError

        prepare(log)
        left_unknown(between, log, call, (b"once", closed))
        assert found(other).count("once") == 1


def pruned(log: Log) -> None:
    """Ann's first measurement is gone."""
    log.append("ann", [MeasurementAdded("second")], expected_head=1, grant=ROOM)
    log.truncate("ann", 1, "the state")


def pruned_by_buffer(log: Log) -> None:
    """The same, as an application does it."""
    buffer = ReplayBuffer(log, clock=at_ten)
    buffer.clear_buffer("ann")
    buffer.add_measurement("ann", "second")
    assert buffer.prune() > 0


PRUNED: dict[str, Way] = {
    "add": (pruned, add),
    "add_many": (pruned, add_many),
    "add_each": (pruned, add_each),
    "a buffer's add": (pruned_by_buffer, buffered),
}


@pytest.mark.parametrize("fresh", [True, False], ids=["in a fresh process", "in the same"])
@pytest.mark.parametrize("fault", [lost, unanswered])
@pytest.mark.parametrize("way", PRUNED.values(), ids=PRUNED)
def test_what_was_pruned_long_before_leaves_no_doubt(way: Way, fault: Fault, fresh: bool, schema: str) -> None:
    """History was pruned before the write was asked for, so that cannot have been pruned: it is found or done again."""
    prune, call = way
    with opened(schema) as (between, log, other):
        prune(log)
        execute(f"UPDATE {schema}.streams SET truncated_at = clock_timestamp() - interval '1 hour'")
        start = head(log)
        with PostgresLog[Any](between.address, schema=schema, timeout=PATIENCE, max_connections=1) as new:
            befalls(between, (b"once", fault))
            call(new if fresh else log)
        recorded = [one.event for one in other.read("ann", start)]
        assert recorded.count(MeasurementAdded("once")) == 1


class Answering:
    """A server that says when history was pruned, and that a write is not there."""

    def __init__(self, pruned: float | None) -> None:
        self.pruned = pruned

    def run(self, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        return [(1, self.pruned)] if "truncated_at" in statement else []

    def run_quick(self, quick: Quick, parameters: Any) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    def notify(self, statement: str) -> None:
        raise NotImplementedError

    def transaction(self) -> Any:
        return contextmanager(lambda: iter([None]))()


@pytest.mark.parametrize(
    ("asked", "pruned", "known"),
    [
        (0.0, None, True),
        (100.0, None, True),
        (0.0, MARGIN, True),
        (0.0, MARGIN / 2, False),
        (100.0, 0.0, False),
        (100.0, 99.0, False),
        (100.0, 100.0 + MARGIN / 2, False),
        (100.0, 100.0 + MARGIN, True),
    ],
)
def test_what_was_pruned_since_it_was_asked_for_is_unknown(
    asked: float, pruned: float | None, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it took to ask again (seconds ago); the server's clock may be off by the margin."""
    monkeypatch.setattr(_writing, "monotonic", lambda: 5000.0)
    parameters = {"user_id": "ann", "asked_at": 5000.0 - asked}
    if known:
        assert settled(Answering(pruned), statements("holdover", notifies=True), parameters) is None
    else:
        with pytest.raises(OutcomeUnknownError, match=r"'ann'.*pruned since"):
            settled(Answering(pruned), statements("holdover", notifies=True), parameters)
    assert parameters["fence"] == 1


def test_an_error_that_libpq_made_up_is_a_lost_connection() -> None:
    """It has a result, but no SQLSTATE, since no server said it; without a result psycopg itself refused something."""
    with psycopg.connect(postgres.address()) as connection:
        error = errors.error_from_result(connection.pgconn.make_empty_result(ExecStatus.FATAL_ERROR))
        assert error.sqlstate is None
        assert not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        assert is_lost(error)
        assert not is_lost(type(error)())
        with pytest.raises(psycopg.errors.UndefinedTable) as said:
            connection.execute("SELECT FROM no_such_table")
        assert not is_lost(said.value)


def garbled(passage: Passage) -> None:
    """It is done, but the answer has an impossible length: libpq makes up an error, and gives the connection up."""
    passage.deliver()
    passage.answer(b"C\0\0\0\0")


@each_way
def test_an_answer_that_makes_no_sense_was_no_answer(way: Way, schema: str) -> None:
    """What the server did is found out, and not said to be undone."""
    prepare, call = way
    with opened(schema) as (between, log, other):
        prepare(log)
        befalls(between, (b"once", garbled))
        call(log)
        assert found(other).count("once") == 1


def test_a_connection_may_be_cut_anywhere_in_an_answer(schema: str) -> None:
    """However many bytes of it came, an add within its room is there once, and its offset is told."""
    sizes: list[int] = []

    def measured(passage: Passage) -> None:
        answer = passage.deliver()
        sizes.append(len(answer))
        passage.answer(answer)

    with opened(schema) as (between, log, other):
        befalls(between, (b"number", measured))
        assert log.add("ann", "number 0", at_ten) == 1
        cuts = range(0, sizes[0], 7)
        for place, cut in enumerate(cuts, 2):
            befalls(between, (b"number", answered_in_part(cut)))
            assert log.add("ann", f"number {place}", at_ten) == place
        assert found(other) == ["first", "number 0", *(f"number {place + 2}" for place in range(len(cuts)))]
    assert len(cuts) > 10


@contextmanager
def refusing_at_commit(schema: str) -> Iterator[None]:
    """In the block nothing can be committed, though each statement does well."""
    execute(
        f"CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'refused at commit' USING ERRCODE = 'check_violation'; END $$"
    )
    execute(
        f"CREATE CONSTRAINT TRIGGER refuses AFTER INSERT ON {schema}.events DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW EXECUTE FUNCTION {schema}.refuse()"
    )
    yield
    execute(f"DROP TRIGGER refuses ON {schema}.events")


@each_way
def test_what_fails_at_commit_was_not_recorded(way: Way, schema: str) -> None:
    """The server gives the offset, and then cannot commit: that is an error, and the log goes on afterwards."""
    prepare, call = way
    with opened(schema) as (_, log, other):
        prepare(log)
        before = [*other.read("ann")]
        with refusing_at_commit(schema), pytest.raises(LogError, match=r"refused at commit.*nothing was recorded"):
            call(log)
        assert [*other.read("ann")] == before
        call(log)
        assert len([*other.read("ann")]) > len(before)


def test_each_user_is_told_what_failed_at_commit(schema: str) -> None:
    """Of many users at once, too: whose measurements could not be committed has an error, and the others an offset."""
    with opened(schema) as (_, log, other):
        for user in ("bob", "cid"):
            log.append(user, [MeasurementAdded("first")], expected_head=0, grant=ROOM)
        execute(f"CREATE TABLE {schema}.barred AS SELECT 'bob' AS user_id")
        with refusing_at_commit(schema):
            execute(
                f"CREATE OR REPLACE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"IF NEW.user_id IN (SELECT user_id FROM {schema}.barred) THEN "
                "RAISE EXCEPTION 'refused at commit' USING ERRCODE = 'check_violation'; END IF; RETURN NULL; END $$"
            )
            results = log.add_each([(user, ["once"]) for user in ("ann", "bob", "cid")], at_ten)
        assert [found(other, user).count("once") for user in ("ann", "bob", "cid")] == [
            isinstance(result, int) for result in results
        ]
        assert isinstance(results[1], LogError)


def sent_and_read(kind: str, value: object) -> object:
    """What the server takes a value for, in the way in which the statements that are run often send it."""
    quick = Quick(b"test", f"SELECT %(value)s::{kind}")
    with psycopg.connect(postgres.address()) as connection:
        values: Sequence[Any] = quick.values({"value": value})
        result = connection.pgconn.exec_params(
            quick.statement, values, param_formats=quick.formats, result_format=psycopg.pq.Format.BINARY
        )
        assert result.status == ExecStatus.TUPLES_OK, result.error_message
        transformer = Transformer(connection)
        transformer.set_pgresult(result)
        (row,) = transformer.load_rows(0, 1, tuple)
        return row[0]


TEXTS = ["plain", "", "NULL", "{a,b}", 'a "quoted" \\ one', "näher 🙂", " spaces "]
BYTES = [b"", b"\0", bytes(range(256)), b"\\x00", b"large" * 100_000]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[(kind, []) for kind in ("text[]", "bytea[]", "float8[]")],
        *[(kind, [None]) for kind in ("text[]", "bytea[]", "float8[]")],
        *[(kind, None) for kind in ("text", "text[]", "bytea", "bytea[]", "float8", "float8[]", "int8", "bool")],
        ("text[]", TEXTS),
        ("text[]", [None, *TEXTS, None, "last"]),
        ("bytea[]", BYTES),
        ("bytea[]", [None, *BYTES, None, b"last"]),
        ("float8[]", [0.1, -1e300, inf, -inf, 5e-324]),
        ("float8[]", [None, 1.5, None]),
        ("float8[]", [1, -2, None, 2**53]),
        ("float8", 3),
        ("float8", -0.5),
        ("float8", inf),
        ("int8", 0),
        ("int8", -1),
        ("int8", 2**63 - 1),
        ("int8", -(2**63)),
        ("bool", True),
        ("bool", False),
        *[("text", text) for text in TEXTS],
        *[("bytea", data) for data in BYTES],
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_value_is_for_the_server_what_it_is_here(kind: str, value: object) -> None:
    """What is encoded here is read back as it was, one by one and in arrays."""
    assert sent_and_read(kind, value) == value


def test_what_is_no_number_is_none_for_the_server() -> None:
    """A measurement's time may be anything that a float can be."""
    assert str(sent_and_read("float8", nan)) == "nan"
    assert str(sent_and_read("float8[]", [nan, None])) == "[nan, None]"
    assert str(sent_and_read("float8", -0.0)) == "-0.0"


def test_values_find_their_places() -> None:
    """Each is sent once, wherever and however often the statement names it."""
    quick = Quick(b"test", "SELECT %(b)s::int8 - %(a)s::int8, %(b)s::int8 IS NULL, length(%(c)s::text)")
    assert quick.places == {"b": "int8", "a": "int8", "c": "text"}
    with psycopg.connect(postgres.address(), autocommit=True) as connection:
        result = connection.pgconn.exec_params(
            quick.statement, quick.values({"a": 1, "b": 10, "c": "four", "d": "no place"}), param_formats=quick.formats
        )
        assert [result.get_value(0, column) for column in range(3)] == [b"9", b"f", b"4"]
