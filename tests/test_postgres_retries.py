"""What `PostgresLog` tries again, and what it finds out first, so that nothing is lost and nothing done twice."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from copy import deepcopy
from functools import cache
from itertools import count
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import postgres
import psycopg
import pytest
from attrs import evolve, frozen
from enduring import NOW, History, Life, history, saved, told_between
from proxy import PATIENCE, CutError, Fault, Passage, Proxy, answered_in_part, late, lost, terminated, unanswered
from tried import LONG, tried
from two_machines import Log, at_ten, found, opened

from events import (
    ConflictError,
    Grant,
    LogBusyError,
    LogError,
    LogUnavailableError,
    MeasurementAdded,
    Offsets,
    OutcomeUnknownError,
    PostgresLog,
    SnapshotBegun,
)
from statemachine import BufferConfig, ReplayBuffer
from statemachine.due import Age, Count

LEVELS = {
    "read committed": postgres.QUICK,
    "repeatable read": "options=-csynchronous_commit%3Doff%20-cdefault_transaction_isolation%3Drepeatable%5C%20read",
    "serializable": "options=-csynchronous_commit%3Doff%20-cdefault_transaction_isolation%3Dserializable",
}
"""What an address may say of transactions; a log that keeps nothing in its connections has to live with it."""

at_any_level = pytest.mark.parametrize("level", LEVELS if LONG else ["read committed", "serializable"])
at_some_level = pytest.mark.parametrize("level", LEVELS if LONG else ["read committed"])


@pytest.fixture
def schema() -> str:
    return postgres.new_schema()


@contextmanager
def opened_at(schema: str, level: str) -> Iterator[tuple[Proxy, Log, Log]]:
    with opened(schema, LEVELS[level], transaction_pooler=level != "read committed") as all_three:
        yield all_three


def next_requests(between: Proxy, *faults: Fault) -> None:
    """What becomes of the next requests."""
    between.faults = {between.requests + place: fault for place, fault in enumerate(faults)}


def head(log: Log) -> int:
    """Of ann's stream."""
    position = log.position("ann")
    assert position is not None
    return position.head


def roomy(log: Log, user: str) -> None:
    """There is room, and the log has seen that there is."""
    log.append(user, [MeasurementAdded("first")], expected_head=0, grant=Grant(room=100))


def empty(log: Log, user: str) -> None:
    """The arrival of the next measurement is noted."""
    log.append(user, [MeasurementAdded("first")], expected_head=0, grant=Grant(room=100, notes_arrival=True))


def full(log: Log, user: str) -> None:
    """Each further add evicts a measurement."""
    victims = Offsets((range(1),))
    log.append(user, [MeasurementAdded("first")], expected_head=0, grant=Grant(victims=victims))


def one(log: Log, user: str) -> int | None:
    return log.add(user, "new", at_ten)


def several(log: Log, user: str) -> int | None:
    return log.add_many(user, ["new", "newer"], at_ten)


WAYS = {
    "one, with room": (roomy, one),
    "one, whose arrival is noted": (empty, one),
    "one, which evicts": (full, one),
    "several, with room": (roomy, several),
    "several, the arrival noted": (empty, several),
}
Way = tuple[Callable[[Log, str], None], Callable[[Log, str], int | None]]

each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def prepared(log: Log, way: Way, user: str) -> None:
    """The user stands as is needed, and the connection knows the statements, so that the add is its next request."""
    prepare, add = way
    prepare(log, f"{user}'s double")
    add(log, f"{user}'s double")
    prepare(log, user)


@at_some_level
@each_way
def test_what_comes_late_is_refused(way: Way, level: str, schema: str) -> None:
    """An add that was still on its way when it was tried again does nothing when it arrives."""
    with opened_at(schema, level) as (between, log, other):
        prepared(log, way, "ann")
        next_requests(between, late)
        assert way[1](log, "ann") == 1
        before = list(other.read("ann"))
        (answer,) = between.deliver_late()
        assert b"UPDATE 0" in answer or b"SELECT 1" in answer or b"SELECT 0" in answer
        assert list(other.read("ann")) == before
        assert found(other).count("new") == 1


@at_any_level
@each_way
def test_it_may_come_at_any_moment(way: Way, level: str, schema: str) -> None:
    """Wherever between the requests that find out what became of an add it arrives after all, it is there once."""
    arrived_at: list[int] = []
    with opened_at(schema, level) as (between, log, other):
        for moment in count(1):
            user = f"user {moment}"

            def arrives(passage: Passage, moment: int = moment) -> None:
                between.let_arrive()
                arrived_at.append(moment)
                passage.pass_on()

            prepared(log, way, user)
            next_requests(between, late, *[Passage.pass_on] * (moment - 1), arrives)
            assert way[1](log, user) == 1
            if moment not in arrived_at:
                break
            between.see_late_off()
            assert found(other, user).count("new") == 1
    assert len(arrived_at) >= 5


@at_some_level
@each_way
def test_what_was_done_gives_the_offset_that_it_was_done_at(way: Way, level: str, schema: str) -> None:
    """The answer got lost, and others have added since: the offset that is told is the measurement's own."""
    with opened_at(schema, level) as (between, log, other):

        def overtaken(passage: Passage) -> None:
            passage.deliver()
            other.append("ann", [MeasurementAdded("other")], expected_head=head(other))
            raise CutError

        prepared(log, way, "ann")
        next_requests(between, overtaken)
        assert way[1](log, "ann") == 1
        assert found(other).count("new") == found(other).count("other") == 1
        assert found(other)[1] == "new"


def test_it_is_tried_again_as_often_as_it_breaks(schema: str) -> None:
    """Each of the requests that are to find out what became of an add breaks, too, one after the other."""
    with opened(schema, transaction_pooler=True) as (between, log, other):
        for last in (lost, unanswered):
            prepared(log, (roomy, one), f"{last}")
            faults = [fault for place in range(4) for fault in (*[Passage.pass_on] * place, last)]
            next_requests(between, *faults)
            reached = between.requests + len(faults)
            assert one(log, f"{last}") == 1
            assert between.requests >= reached
            assert found(other, f"{last}") == ["first", "new"]


def test_the_first_event_of_a_user_is_there_once(schema: str) -> None:
    """An append that makes the user: its answer is lost, or it comes late."""
    with opened(schema) as (between, log, other):
        roomy(log, "somebody")
        for user, fault in (("ann", unanswered), ("bob", late), ("cid", lost)):
            next_requests(between, fault)
            assert log.append(user, [MeasurementAdded("new")], expected_head=0) == 1
            between.deliver_late()
            assert found(other, user) == ["new"]
            roomy(log, f"somebody after {user}")


def test_an_append_that_was_overtaken_after_it_was_done_was_done(schema: str) -> None:
    """A begin whose answer is lost, and another's event above it: it has won all the same."""
    with opened(schema) as (between, log, other):
        prepared(log, (roomy, one), "ann")
        log.append("ann", [MeasurementAdded("second")], expected_head=1)

        def overtaken(passage: Passage) -> None:
            passage.deliver()
            other.append("ann", [MeasurementAdded("other")], expected_head=3)
            raise CutError

        next_requests(between, overtaken)
        assert log.append("ann", [SnapshotBegun(1, None, 40.0)], expected_head=2) == 3
        assert found(other) == ["first", "second", "other"]


def test_an_append_that_was_overtaken_before_it_was_done_is_a_conflict(schema: str) -> None:
    """It never arrived and never will, since the head has moved: that is known, and is decided again."""
    with opened(schema) as (between, log, other):
        prepared(log, (roomy, one), "ann")
        log.append("ann", [MeasurementAdded("second")], expected_head=1)

        def overtaken(_passage: Passage) -> None:
            other.append("ann", [MeasurementAdded("other")], expected_head=2)
            raise CutError

        next_requests(between, overtaken)
        with pytest.raises(ConflictError):
            log.append("ann", [MeasurementAdded("new")], expected_head=2)
        assert found(other) == ["first", "second", "other"]


def test_what_was_done_and_then_pruned_is_not_done_again(schema: str) -> None:
    """The answer got lost, and before it is looked for, another machine has replayed the measurement and pruned it."""
    with opened(schema) as (between, log, other):

        def pruned(passage: Passage) -> None:
            passage.deliver()
            other.truncate("ann", 2, "the state")
            raise CutError

        prepared(log, (roomy, one), "ann")
        next_requests(between, pruned)
        with suppress(OutcomeUnknownError):
            assert one(log, "ann") == 1
        assert head(other) == 2


def waits(schema: str) -> bool:
    """Whether a statement on the schema waits for a lock."""
    query = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid <> pg_backend_pid() AND query LIKE %s"
    with psycopg.connect(postgres.address()) as connection:
        return bool(connection.execute(query, (f"%{schema}%",)).fetchall())


def until_it_waits(schema: str) -> None:
    until = monotonic() + PATIENCE
    while not waits(schema):
        assert monotonic() < until, "it never waited"


def application(level: str = "read committed") -> "psycopg.Connection[Any]":
    """An application's connection, with a transaction open that has seen the data."""
    connection = psycopg.connect(postgres.address(LEVELS[level]))
    connection.execute("SELECT count(*) FROM pg_class")
    return connection


@at_any_level
@pytest.mark.parametrize("add", [one, several])
def test_who_waited_for_another_transaction_goes_on(
    add: Callable[[Log, str], int | None], level: str, schema: str
) -> None:
    """A transaction that commits while an add waits for it makes that fail in strict servers; it is tried again."""
    with opened_at(schema, level) as (_, log, other), ThreadPoolExecutor() as pool, application() as connection:
        roomy(log, "ann")
        assert other.joined(connection).add("ann", "earlier", at_ten) == 1
        waiting = pool.submit(add, log, "ann")
        until_it_waits(schema)
        connection.commit()
        assert waiting.result(PATIENCE) == 2
        assert found(other)[:3] == ["first", "earlier", "new"]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_a_joined_transaction_that_another_came_before_is_refused(level: str, schema: str) -> None:
    """The log cannot do the application's transaction again, so it says that the application has to."""
    with opened(schema) as (_, log, other):
        roomy(log, "ann")
        with application(level) as connection:
            assert other.add("ann", "earlier", at_ten) == 1
            with pytest.raises(LogBusyError, match="do the whole transaction again") as refused:
                log.joined(connection).add("ann", "new", at_ten)
            assert log.path in str(refused.value)
            connection.rollback()
            with connection.transaction():
                assert log.joined(connection).add("ann", "new", at_ten) == 2
        assert found(other) == ["first", "earlier", "new"]


def test_of_two_transactions_that_wait_for_each_other_one_is_refused(schema: str) -> None:
    """The server ends a deadlock of applications; the one that loses is told to do its transaction again."""
    with opened(schema) as (_, log, other), ThreadPoolExecutor() as pool:
        for user in ("ann", "bob"):
            roomy(log, user)

        def both(connection: "psycopg.Connection[Any]", first: str, second: str, go_on: Event) -> bool:
            with connection:
                joined = log.joined(connection)
                joined.add(first, "new", at_ten)
                has_first[first].set()
                assert go_on.wait(PATIENCE)
                try:
                    joined.add(second, "new", at_ten)
                except LogBusyError as error:
                    assert "do the whole transaction again" in str(error)
                    connection.rollback()
                    return False
            return True

        has_first = {"ann": Event(), "bob": Event()}
        done = [
            pool.submit(both, application(), "ann", "bob", has_first["bob"]),
            pool.submit(both, application(), "bob", "ann", has_first["ann"]),
        ]
        assert sorted(one.result(PATIENCE) for one in done) == [False, True]
        assert found(other, "ann") == found(other, "bob") == ["first", "new"]


def test_a_transaction_that_takes_too_long_is_told_of(schema: str) -> None:
    """Who waits for a user for too long gets an error that says so; nothing of it is recorded."""
    hasty = postgres.address("options=-clock_timeout%3D50ms")
    with (
        opened(schema) as (_, log, other),
        application() as connection,
        PostgresLog[Any](hasty, schema=schema, timeout=PATIENCE, transaction_pooler=True) as impatient,
    ):
        roomy(log, "ann")
        other.joined(connection).add("ann", "held", at_ten)
        for call in (
            lambda: impatient.add("ann", "new", at_ten),
            lambda: impatient.add_many("ann", ["new", "newer"], at_ten),
            lambda: impatient.append("ann", [MeasurementAdded("new")], expected_head=1),
            lambda: impatient.truncate("ann", 1, None),
        ):
            with pytest.raises(LogBusyError, match="another transaction has held the user") as refused:
                call()
            assert impatient.path in str(refused.value)
            assert found(impatient) == ["first"], "who reads waits for nobody"
        connection.rollback()
        assert impatient.add("ann", "new", at_ten) == 1
        assert found(impatient) == ["first", "new"]


def test_a_log_waits_no_longer_than_its_timeout(schema: str) -> None:
    """Also where the server would wait for ever."""
    with (
        opened(schema) as (_, log, other),
        application() as connection,
        PostgresLog[Any](postgres.address(postgres.QUICK), schema=schema, timeout=1) as impatient,
    ):
        roomy(log, "ann")
        other.joined(connection).add("ann", "held", at_ten)
        with pytest.raises(LogBusyError, match="another transaction has held the user for 1 s"):
            impatient.add("ann", "new", at_ten)


def test_a_refused_call_leaves_the_rest_of_the_transaction(schema: str) -> None:
    """What the application has written stays in its transaction, and it may go on with another user."""
    with opened(schema) as (_, log, other), application() as holder, application() as connection:
        for user in ("ann", "bob"):
            roomy(log, user)
        other.joined(holder).add("ann", "held", at_ten)
        connection.execute("SET LOCAL lock_timeout = '50ms'")
        connection.execute(f"CREATE TABLE {schema}.results (replayed int)")
        with pytest.raises(LogBusyError, match="another transaction has held the user"):
            log.joined(connection).add("ann", "refused", at_ten)
        assert log.joined(connection).add("bob", "new", at_ten) == 1
        connection.execute(f"INSERT INTO {schema}.results VALUES (1)")
        connection.commit()
        holder.rollback()
        assert connection.execute(f"SELECT replayed FROM {schema}.results").fetchall() == [(1,)]
        assert (found(other, "ann"), found(other, "bob")) == (["first"], ["first", "new"])


def test_no_connection_is_free(schema: str) -> None:
    """As many threads as there are connections are at it: who waits too long is told so, and nothing is lost."""
    came, may_go = Event(), Event()

    def held_up(passage: Passage) -> None:
        came.set()
        assert may_go.wait(PATIENCE)
        passage.pass_on()

    with opened(schema) as (between, log, other), ThreadPoolExecutor() as pool:
        roomy(log, "ann")
        with PostgresLog[Any](between.address, schema=schema, timeout=1, max_connections=1) as narrow:
            assert narrow.add("ann", "new", at_ten) == 1
            next_requests(between, held_up)
            waiting = pool.submit(narrow.add, "ann", "slow", at_ten)
            assert came.wait(PATIENCE)
            with pytest.raises(LogBusyError, match=r"all of the log's 1 connections were in use.*max_connections"):
                narrow.add("ann", "refused", at_ten)
            may_go.set()
            assert waiting.result(PATIENCE) == 2
            assert narrow.add("ann", "last", at_ten) == 3
        assert found(other) == ["first", "new", "slow", "last"]


@pytest.mark.parametrize("fault", [lost, unanswered])
def test_a_joined_connection_that_breaks_leaves_nothing_behind(fault: Fault, schema: str) -> None:
    """Wherever in a completion it breaks, the application learns that, and nothing of its transaction is there."""
    with opened(schema) as (between, _, other), ReplayBuffer[Any](other, clock=at_ten) as buffer:
        buffer.add_measurement("ann", 1)
        version = buffer.begin_snapshot("ann")
        buffer.finalize_snapshot("ann")
        for place in count():
            with closing(psycopg.connect(between.address)) as connection:
                connection.execute("SELECT 1")
                next_requests(between, *[Passage.pass_on] * place, fault)
                try:
                    buffer.complete_replay("ann", version, connection=connection)
                except LogUnavailableError:
                    assert buffer.state("ann").phase == "replaying"
                    continue
                between.faults = {}
                connection.commit()
                break
        assert place > 3
        assert buffer.state("ann").phase == "idle"
        assert buffer.audit("ann").ok


FURTHER = 4
"""How many calls are made after the one that met the fault."""

PARTS = 4 if LONG else 1
"""Into how many tests a fault's places are dealt, so that several processes share them."""

CONFIG = BufferConfig(max_measurements=3, pending_factor=1, due=Count(2) | Age(1000))


@pytest.fixture
def checkpoints_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A life is short; it is to have some checkpoints all the same."""
    monkeypatch.setattr("events._postgres._log.EVERY", 4)


class PostgresLife(Life):
    """The life of a buffer in one schema, through a proxy.

    Parameters:
        proxy: the proxy.

    Attributes:
        timeout: the log's.
        schema: the schema.
        user: whose snapshot was finalized last.
    """

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(Path())
        self.proxy, self.timeout, self.schema = proxy, 60.0, postgres.new_schema()
        self.user = ""

    def calls(self) -> list[Callable[[], object]]:
        add, several, begin, finalize = self.add, self.add_several, self.begin, self.finalize
        return [
            *super().calls(),
            *(finalize("ann"), add("ann"), self.renew, self.complete, add("cid"), begin("cid"), finalize("cid")),
            *(self.complete, add("cid"), several("cid", 2), self.sweep, begin("cid"), several("cid", 2)),
            *(finalize("cid"), self.complete, several("cid", 2), self.prune, add("cid"), self.claim, add("cid")),
            *(add("ann"), self.look),
        ]

    def open(self) -> None:
        log: PostgresLog[Any] = PostgresLog(
            self.proxy.address, schema=self.schema, timeout=self.timeout, max_connections=1
        )
        self.buffer = ReplayBuffer(log, CONFIG, clock=lambda: NOW, on_abort=self.roll_back)

    def wait_at_most(self, timeout: float) -> None:
        """From now on, also in the log that is open."""
        self.timeout = timeout
        if self.buffer is not None:
            database = self.buffer._log._database  # type: ignore[attr-defined]
            database.options = evolve(database.options, timeout=timeout)

    def finalize(self, user: str) -> Callable[[], object]:
        def finalize() -> None:
            self.user = user
            self.open_buffer.finalize_snapshot(user)

        return finalize

    def complete(self) -> None:
        self.open_buffer.complete_replay(self.user)

    def renew(self) -> None:
        self.open_buffer.renew_lease(self.user)

    def make_results(self) -> None:
        table = f"{self.schema}.results"
        with psycopg.connect(self.proxy.address) as connection:
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (replayed int)")
            connection.execute(f"INSERT INTO {table} SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM {table})")

    def complete_with_results(self) -> None:
        with psycopg.connect(self.proxy.address) as connection:
            connection.execute(f"UPDATE {self.schema}.results SET replayed = replayed + 1")
            self.open_buffer.complete_replay("bob", connection=connection)

    def look(self) -> None:
        """Whatever can be asked gives the answers that the history gives."""
        buffer = self.open_buffer
        assert sorted(buffer.users()) == sorted(self.told)
        for user, told in self.told.items():
            state = buffer.state(user)
            assert list(buffer.measurements(user)) == [told[offset] for offset in state.offsets]

    def sweep(self) -> None:
        assert self.open_buffer.expire_overdue() == []

    def claim(self) -> None:
        """A claim whose answer is lost gives nobody the user until it ends, and then everybody."""
        log = self.open_buffer._log
        due = log.due(NOW)
        assert due
        first, second = log.claim(NOW, NOW + 1, 10), log.claim(NOW + 1, NOW + 2, 10)
        assert {*first, *second} == set(due)


class Witness:
    """Sees what is in a schema, past the proxy.

    Parameters:
        schema: the schema.
    """

    def __init__(self, schema: str) -> None:
        self.connection = psycopg.connect(postgres.address(), autocommit=True)
        self.schema = schema
        self.buffer: ReplayBuffer[Any] | None = None

    def close(self) -> None:
        self.connection.close()
        if self.buffer is not None:
            self.buffer.close()

    def history(self) -> History:
        """Each user's, of which an audit is sound; nothing before there are tables."""
        if self.buffer is None:
            try:
                log: PostgresLog[Any] = PostgresLog(postgres.address(), schema=self.schema, migrate=False)
            except LogUnavailableError:
                return {}
            self.buffer = ReplayBuffer(log, CONFIG, clock=lambda: NOW)
        found = history(self.buffer)
        for audit in map(self.buffer.audit, found):
            assert audit.ok, str(audit)
        return found

    def results(self) -> int:
        """How often results were saved."""
        if self.connection.execute("SELECT to_regclass(%s)", (f"{self.schema}.results",)).fetchone() == (None,):
            return 0
        rows = self.connection.execute(f"SELECT replayed FROM {self.schema}.results").fetchall()
        return sum(replayed for (replayed,) in rows)


@frozen
class Sound:
    """A life in which nothing fails.

    Parameters:
        requests: how many it takes, up to the end of each of its calls.
        histories: the history after each of its calls.
        told: what was told by then.
    """

    requests: tuple[int, ...]
    histories: tuple[History, ...]
    told: tuple[dict[str, dict[int, Any]], ...]


@cache
def sound_life() -> Sound:
    with Proxy(postgres.address(postgres.QUICK)) as between, lived(between) as (life, witness):
        requests, histories, told = [], [], []
        for call in life.calls():
            call()
            requests.append(between.requests)
            histories.append(witness.history())
            told.append(deepcopy(life.told))
        life.check(histories[-1])
        return Sound(tuple(requests), tuple(histories), tuple(told))


@contextmanager
def lived(between: Proxy) -> Iterator[tuple[PostgresLife, Witness]]:
    life = PostgresLife(between)
    with closing(life), closing(Witness(life.schema)) as witness:
        yield life, witness


def lasting(fault: Fault) -> Fault:
    """The same, and the server cannot be reached from then on."""

    def and_away(passage: Passage) -> None:
        passage.proxy.refusing = True
        fault(passage)

    return and_away


@frozen
class Kind:
    """What happens to a request.

    Parameters:
        name: its name.
        fault: what happens.
        every: to every how many of them it does in a short run; in a long one, to 12 times as many.
        timeout: the log's in the call that meets it: where the server stays away, it has to pass.
    """

    name: str
    fault: Fault
    every: int
    timeout: float = 60.0

    def __str__(self) -> str:
        return self.name


KINDS = [
    Kind("lost", lost, 300),
    Kind("unanswered", unanswered, 150),
    *(Kind(f"answered-to-{count}", answered_in_part(count), 200) for count in (1, 40)),
    Kind("terminated", terminated, 200),
    Kind("late", late, 150),
    Kind("lost-and-away", lasting(lost), 250, 1.0),
    Kind("unanswered-and-away", lasting(unanswered), 400, 1.0),
]


def live(kind: Kind, nth: int) -> str:
    """Live with one fault; which error was seen, if any."""
    sound, seen = sound_life(), ""
    with Proxy(postgres.address(postgres.QUICK)) as between, lived(between) as (life, witness):
        between.faults[nth] = kind.fault
        struck = -1
        for place, call in enumerate(life.calls()):
            life.wait_at_most(kind.timeout if struck < 0 and nth < sound.requests[place] else 60.0)
            try:
                call()
            except (LogError, psycopg.Error) as error:
                assert not seen, "one fault is seen once"
                seen = type(error).__name__
                between.refusing = False
                after_an_error(life, witness, call, error, place)
            if struck < 0 and between.requests > nth:
                struck = place
                between.deliver_late()
                assert witness.history() == sound.histories[place]
            if place == struck + FURTHER >= FURTHER:
                break
        assert struck >= 0
        found = witness.history()
        assert found == sound.histories[place]
        assert witness.results() == saved(found)
        life.check(found)
    return seen


def after_an_error(
    life: PostgresLife, witness: Witness, call: Callable[[], object], error: Exception, place: int
) -> None:
    """Look whether it was done, as the error says one should, and do it if it was not."""
    sound = sound_life()
    before, after = sound.histories[place - 1] if place else {}, sound.histories[place]
    found = witness.history()
    assert isinstance(error, LogError) or call in (life.make_results, life.complete_with_results)
    assert found in (before, after) or (call in life.atomic and told_between(found, before, after))
    assert witness.results() == saved(found)
    if isinstance(error, LogError) and not isinstance(error, OutcomeUnknownError) and call not in life.atomic:
        assert found == before, "it says that nothing was recorded"
    life.told = deepcopy(sound.told[place - 1]) if place else {}
    if life.buffer is not None:
        life.reopen()
    if found == before or call in life.atomic:
        call()
    else:
        life.told = deepcopy(sound.told[place])


@pytest.mark.usefixtures("checkpoints_often")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_whatever_breaks_nothing_is_lost_or_doubled(kind: Kind, part: int) -> None:
    """The connection breaks at each request of a buffer's life in turn, and it is lived down."""
    sound = sound_life()
    step = max(1, kind.every // 12) if LONG else kind.every
    first = part * step if LONG else step // 2
    seen = Counter(live(kind, nth) for nth in range(first, sound.requests[-1], PARTS * step))
    tried(broken_connections=sum(seen.values()))
    assert sound.requests[-1] > 200
    assert sum(seen.values()) >= 1
