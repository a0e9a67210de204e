"""What workers on one server need of it: to be given who is due in turns, to be told in time, and the server's time."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import postgres
import psycopg
import pytest
from attrs import evolve
from proxy import Fault, Passage, Proxy, lost, unanswered

from events import Grant, LogError, LogUnavailableError, MeasurementAdded, PostgresLog, ReplayCompleted
from events._postgres import _reading
from events._postgres._clock import ServerClock
from events._postgres._session import Session

Log = PostgresLog[Any]
Connection = psycopg.Connection[Any]

AT_ONCE, NOW, LATER, MANY = -inf, 10.0, 20.0, 9

ARRIVING = Grant(room=9, notes_arrival=True, due_after=0.0)
"""Whose first measurement makes the user due."""


def opened(schema: str | None = None, **how: Any) -> Log:
    return Log(postgres.address(postgres.QUICK), schema=schema or postgres.new_schema(), **how)


def impatient(schema: str) -> Log:
    """A log whose statements the server lets wait for others for a moment only; it has time for all else."""
    return Log(postgres.address("options=-clock_timeout%3D50"), schema=schema, transaction_pooler=True)


@pytest.fixture
def log() -> Iterator[Log]:
    with opened() as log:
        yield log


@pytest.fixture
def connection() -> Iterator[Connection]:
    """The application's."""
    with psycopg.connect(postgres.address()) as connection:
        yield connection
        connection.rollback()


def begin(log: Log, grant: Grant, *names: str) -> None:
    for name in names:
        log.append(name, [MeasurementAdded(0)], expected_head=0, grant=grant)


def become_due(log: Log, due_at: float, *names: str) -> None:
    begin(log, Grant(due_at=due_at), *names)


Hook = Callable[[str, Callable[[], object]], None]


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch) -> Hook:
    """Has something done each time before a statement is run, as somebody else would just then."""
    run = Session.run

    def hook(wanted: str, act: Callable[[], object]) -> None:
        def hooked(session: Session, statement: str, parameters: Any) -> Any:
            if statement == wanted:
                act()
            return run(session, statement, parameters)

        monkeypatch.setattr(Session, "run", hooked)

    return hook


@pytest.mark.parametrize(("busy", "others"), [(AT_ONCE, 1.0), (1.0, AT_ONCE)])
def test_who_is_due_again_and_again_keeps_nobody_waiting(log: Log, busy: float, others: float) -> None:
    """A worker that asks for one at a time is given those whose time has come and those due at once by turns."""
    become_due(log, busy, "busy")
    become_due(log, others, "ann", "bob")
    given: list[str] = []
    for head in range(1, 6):
        given += log.claim(NOW, LATER, 1)
        log.append("busy", [ReplayCompleted(head)], expected_head=head, grant=Grant(due_at=busy))
    assert sorted(given[:2]) == ["ann", "busy"]
    assert sorted(given[2:4]) == ["bob", "busy"]
    assert given[4:] == ["busy"]


def test_who_asks_for_several_is_given_both_kinds_by_turns(log: Log) -> None:
    """Each in its order, and of one kind all, where there is nobody of the other."""
    become_due(log, AT_ONCE, "at once 1", "at once 2", "at once 3")
    become_due(log, 2.0, "timed 2", "timed 3")
    become_due(log, 1.0, "timed 1")
    assert log.claim(NOW, LATER, 3) == ["at once 1", "timed 1", "at once 2"]
    assert log.claim(NOW, LATER, 3) == ["timed 2", "at once 3", "timed 3"]
    become_due(log, 3.0, "timed 4", "timed 5", "timed 6")
    assert log.claim(NOW, LATER, 3) == ["timed 4", "timed 5", "timed 6"]


def test_who_is_held_by_a_transaction_is_not_waited_for_and_not_forgotten(log: Log, connection: Connection) -> None:
    """The others are given at once; the log says that somebody is due now, and gives the user when the lock is gone."""
    become_due(log, AT_ONCE, "ann")
    become_due(log, 1.0, "bob")
    connection.execute(f"SELECT FROM {log.schema}.streams WHERE user_id = 'ann' FOR UPDATE")
    with impatient(log.schema) as other:
        assert other.claim(NOW, LATER, MANY) == ["bob"]
        assert other.claim(NOW, LATER, MANY) == []
        assert other.next_due(NOW) == NOW
        connection.rollback()
        assert other.next_due(NOW) == NOW
        assert other.claim(NOW, LATER + 5.0, MANY) == ["ann"]
        assert other.next_due(NOW) == LATER
        assert other.claim(LATER, LATER + 5.0, MANY) == ["bob"]


def test_whom_somebody_takes_in_between_is_not_given_but_the_next(log: Log, before: Hook) -> None:
    """Workers that look at the same time share who is due, and none goes away with nothing."""
    become_due(log, AT_ONCE, *"abcde")
    taken: list[str] = []
    with opened(log.schema) as other:

        def take() -> None:
            if not taken:
                taken.append("a")  # not again while it claims itself
                taken[:] = other.claim(NOW, LATER, 3)

        before(log._statements.claim, take)
        assert log.claim(NOW, LATER, 1) == ["d"]
    assert taken == ["a", "b", "c"]


def test_those_behind_many_who_are_held_are_given(log: Log, connection: Connection) -> None:
    """As many as a server usually has connections: the others do not wait for the end of their transactions."""
    held = [f"held {number}" for number in range(100)]
    become_due(log, AT_ONCE, *held, "ann")
    connection.execute(f"SELECT FROM {log.schema}.streams WHERE user_id <> 'ann' FOR UPDATE")
    assert log.claim(NOW, LATER, 1) == ["ann"]


def test_whom_it_has_claimed_is_free_while_it_claims_the_next(log: Log, before: Hook) -> None:
    """Each claim is a transaction of its own, so no add waits for a look."""
    begin(log, Grant(room=MANY, due_at=AT_ONCE), "ann", "bob")
    offsets: list[int | None] = []
    with impatient(log.schema) as other:
        before(log._statements.claim, lambda: offsets.append(other.add("ann", 1, lambda: 0.0)))
        assert log.claim(NOW, LATER, MANY) == ["ann", "bob"]
    assert offsets == [1, 2]


def test_what_was_claimed_is_given_although_the_server_refuses_the_next(log: Log) -> None:
    """Nobody else would be given it before the claim ends; where the first is refused already, the error is raised."""
    become_due(log, AT_ONCE, "ann", "bob", "cid")
    refusal = f"""
        CREATE FUNCTION {log.schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'not %', NEW.user_id; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON {log.schema}.streams FOR EACH ROW WHEN (NEW.user_id = 'cid')
            EXECUTE FUNCTION {log.schema}.refuse()
    """
    with psycopg.connect(postgres.address(), autocommit=True) as owner:
        owner.execute(refusal)
        assert log.claim(NOW, LATER, MANY) == ["ann", "bob"]
        with pytest.raises(LogError, match="not cid"):
            log.claim(NOW, LATER, MANY)
        owner.execute(f"DROP TRIGGER refuse ON {log.schema}.streams")
    assert log.claim(NOW, LATER, MANY) == ["cid"]


def test_a_server_that_is_lost_in_the_middle_of_a_claim_is_waited_for_once(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was claimed is given before the claim ends, and leases are renewed by who looks: it must not wait longer."""
    become_due(log, AT_ONCE, *"abcde")
    attempt, tries = log._attempt, 0

    def lost_from_the_second(work: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries > 1:
            raise LogUnavailableError("nobody there, after the whole timeout")
        return attempt(work)

    monkeypatch.setattr(log, "_attempt", lost_from_the_second)
    assert log.claim(NOW, LATER, MANY) == ["a"]
    assert tries == 2


WRITES: dict[str, Callable[[Log], object]] = {
    "append": lambda log: log.append("ann", [MeasurementAdded(1)], expected_head=1, grant=Grant(due_at=0.0)),
    "create": lambda log: become_due(log, 0.0, "bob"),
    "add": lambda log: log.add("ann", 1, lambda: 0.0),
    "add_many": lambda log: log.add_many("ann", [1], lambda: 0.0),
    "add_each": lambda log: log.add_each([("ann", [1])], lambda: 0.0),
}
"""What makes somebody due, by one event each."""


def entries(log: Log) -> int:
    """How many events there are, as another connection sees them."""
    with psycopg.connect(postgres.address()) as connection:
        ((count,),) = connection.execute(f"SELECT count(*) FROM {log.schema}.events").fetchall()
    return int(count)


@pytest.mark.parametrize("way", WRITES)
def test_who_listens_is_told_once_it_is_committed(log: Log, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as a part of the same transaction: those of all users would have to wait for each other."""
    begin(log, ARRIVING, "ann")
    seen: list[int] = []
    monkeypatch.setattr(Session, "notify", lambda _session, _statement: seen.append(entries(log)))
    WRITES[way](log)
    assert seen == [2]


@pytest.mark.parametrize("way", WRITES)
def test_that_nobody_can_be_told_is_no_error_of_what_was_recorded(log: Log, way: str) -> None:
    """It is recorded, once; who listens looks by himself, too."""
    begin(log, ARRIVING, "ann")
    expected = {"append": 2, "create": None, "add": 1, "add_many": 1, "add_each": [1]}
    log._statements = evolve(log._statements, notify="SELECT 1 / 0")
    assert WRITES[way](log) == expected[way]
    assert entries(log) == 2


@pytest.mark.parametrize("fault", [lost, unanswered])
@pytest.mark.parametrize("way", ["append", "add", "add_each"])
def test_a_connection_that_breaks_while_others_are_told_leaves_no_doubt(way: str, fault: Fault) -> None:
    """What was recorded before is recorded; it is neither asked for nor done again."""
    told: list[bytes] = []

    def breaks(passage: Passage) -> None:
        if b"pg_notify" in passage.request:
            told.append(passage.request)
            fault(passage)
        passage.pass_on()

    with Proxy(postgres.address(postgres.QUICK)) as proxy, Log(proxy.address, schema=postgres.new_schema()) as log:
        begin(log, ARRIVING, "ann")
        expected = {"append": 2, "add": 1, "add_each": [1]}
        proxy.faults = dict.fromkeys(range(proxy.requests, proxy.requests + 50), breaks)
        assert WRITES[way](log) == expected[way]
        proxy.faults = {}
        assert [entry.offset for entry in log.read("ann")] == [0, 1]
        assert log._fences == {}  # nobody had to find out
    assert len(told) == 1


def test_adds_are_recorded_although_no_connection_is_left_to_tell_of_them(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the server goes away just after it has answered for all of them."""
    begin(log, ARRIVING, "ann")
    attempt, tries = log._database.attempt, 0

    def lost_from_the_second(work: Any, **how: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries > 1:
            raise LogUnavailableError("nobody there")
        return attempt(work, **how)

    monkeypatch.setattr(log._database, "attempt", lost_from_the_second)
    assert log.add_each([("ann", [1])], lambda: 0.0) == [1]
    assert tries == 2


def listen(log: Log) -> Connection:
    """A connection that is told what the log tells."""
    connection = psycopg.connect(postgres.address(), autocommit=True)
    connection.execute(f'LISTEN "{log.schema}"')
    return connection


def told(connection: Connection) -> int:
    """How often something was told since the last time."""
    connection.execute("SELECT 1")
    return len(list(connection.notifies(timeout=0)))


def test_adds_for_many_users_are_told_of_once(log: Log) -> None:
    """However many of them become due: who listens looks for all of them then."""
    users = ["ann", "bob", "cid"]
    begin(log, ARRIVING, *users)
    with listen(log) as listener:
        assert log.add_each([(user, [1]) for user in users], lambda: 0.0) == [1, 1, 1]
        assert told(listener) == 1
        assert log.add_each([(user, [1]) for user in users], lambda: 0.0) == [2, 2, 2]
        assert told(listener) == 0


@pytest.mark.parametrize("way", ["append", "add", "add_many"])
def test_what_is_part_of_a_transaction_is_told_when_that_commits(log: Log, connection: Connection, way: str) -> None:
    """Before there is nothing to be found; what is rolled back is never told."""
    begin(log, ARRIVING, "ann")
    with listen(log) as listener:
        for end, expected in ((connection.rollback, 0), (connection.commit, 1)):
            connection.execute("SELECT 1")
            WRITES[way](log.joined(connection))
            assert told(listener) == 0
            end()
            assert told(listener) == expected


def server_time() -> float:
    with psycopg.connect(postgres.address()) as connection:
        ((time,),) = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchall()
    return float(time)


@pytest.mark.parametrize("look", [lambda log: log.next_due(0.0), lambda log: log.position("ann")])
def test_a_log_that_only_looks_learns_the_servers_time(
    log: Log, look: Callable[[Log], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where this machine's own clock stood still, as while a virtual machine is paused."""
    become_due(log, 1.0, "ann")
    monkeypatch.setattr(_reading, "steady", lambda: 0.0)
    log._clock = ServerClock(lambda: 0.0)
    for _ in range(2):
        before = server_time()
        look(log)
        assert before <= log.clock() <= server_time()


WITH_MANY_FILES = """
import os, sys, threading
from events import Grant, MeasurementAdded, PostgresLog

address, schema, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
threading.excepthook = lambda failure: os.write(2, repr(failure).encode()) and os._exit(1)
woken = threading.Semaphore(0)
with PostgresLog(address, schema=schema) as log, log.waking(woken.release):
    assert woken.acquire(timeout=60)  # it listens
    log.append("ann", [MeasurementAdded(0)], expected_head=0, grant=Grant(due_at=0.0))
    assert woken.acquire(timeout=60)
print(files[-1])
"""


def test_who_listens_is_told_in_a_process_with_many_open_files() -> None:
    """As a service with a thousand connections has them."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough, unlimited = 2048, resource.RLIM_INFINITY
    if hard != unlimited and hard < enough:
        pytest.skip(f"this system allows no process more than {hard} open files")
    limit = 0 if soft == unlimited or soft >= enough else enough
    script = [sys.executable, "-c", WITH_MANY_FILES, postgres.address(), postgres.new_schema(), str(limit)]
    ended = subprocess.run(script, cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert int(ended.stdout) > 1024
