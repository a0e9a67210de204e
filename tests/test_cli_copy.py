"""`holdover copy`: a log in a file, copied into PostgreSQL, where everybody goes on as if nothing had happened."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from math import nextafter
from pathlib import Path
from typing import Any

import postgres
import psycopg
import pytest
from attrs import frozen
from click.testing import CliRunner, Result

from events import LogBusyError, LogError, MeasurementAdded, Offsets, Position, PostgresLog, SqliteLog, _copying
from events._codec import Codec
from events._copying import CHUNK, Copied, copying, kept
from events._sqlite._rows import Stream
from statemachine import BufferConfig, ReplayBuffer, ReplayManager, RollbackError, due
from statemachine.cli import holdover
from statemachine.cli._sample import sample_text
from tests.conftest import Clock

CONFIG = BufferConfig(max_measurements=4, pending_factor=1, due=due.Count(3) | due.Age(60))


@frozen
class Weight:
    kg: float


@pytest.fixture
def address() -> str:
    return postgres.address(postgres.QUICK)


@pytest.fixture
def schema() -> str:
    return postgres.new_schema()


@pytest.fixture
def server(address: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "b.db"


def copied(path: Path, address: str, schema: str) -> Result:
    return CliRunner().invoke(holdover, ["copy", str(path), address, "--schema", schema])


def refusal(result: Result) -> str:
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    (line,) = result.stderr.splitlines()
    return line


def roll_back(user: str, *_arguments: object) -> None:
    if user == "aborting":
        raise ConnectionError("away")


def fail(*_arguments: object) -> None:
    raise ArithmeticError("no")


def in_every_state(log: Any, clock: Clock) -> None:
    """Users who are idle, in every form of a grant, and in every phase of a snapshot; see the names."""
    buffer = ReplayBuffer[Any](log, CONFIG, clock=clock, on_abort=roll_back)
    buffer.add_measurement("one", Weight(81.5))
    buffer.add_measurements("with room", [1, {"kg": 2}])
    clock.now += 1
    buffer.add_measurements("full", [1, 2, 3, 4])
    buffer.add_measurements("pruned", [1, 2, 3])
    with buffer.snapshot("pruned"):
        buffer.add_measurement("pruned", "pending")
    assert buffer.prune() > 0
    buffer.add_measurement("pruned", 4)
    buffer.add_measurements("at the bound", range(7))
    buffer.add_measurements("among its victims", range(4))
    for number in range(3):
        buffer.add_measurement("among its victims", number)
    for user in ("snapshotting", "replaying", "pending at the bound", "aborting"):
        buffer.add_measurements(user, [1, 2, 3])
        clock.now += 1
        buffer.begin_snapshot(user, "morning")
        buffer.add_measurement(user, "pending")
    for user in ("replaying", "pending at the bound", "aborting"):
        buffer.finalize_snapshot(user)
    buffer.add_measurements("pending at the bound", range(9))
    buffer.add_measurement("pending at the bound", 9)
    with pytest.raises(RollbackError):
        buffer.abort_snapshot("aborting", "why")
    buffer.add_measurement("cleared", 1)
    buffer.clear_buffer("cleared")
    for user in ("a\\b\0c", "\ud800", "ü \U0001f600", "'; --"):
        buffer.add_measurement(user, user)
    buffer.add_measurements("long", range(4))
    for number in range(CHUNK // 2):
        buffer.add_measurement("long", number)
    buffer.clear_buffer("long")
    manager = ReplayManager(buffer, fail, max_attempts=2)
    for user in ("parked", "to be tried again"):
        buffer.add_measurements(user, [1, 2, 3])
        assert not manager.replay_user(user).ok
    assert not manager.replay_user("parked").ok


@pytest.fixture
def source(path: Path, clock: Clock) -> Iterator[SqliteLog[Any]]:
    with closing(SqliteLog[Any](path, durability="off", types=[Weight])) as log:
        in_every_state(log, clock)
        yield log


@pytest.fixture
def target(source: SqliteLog[Any], path: Path, address: str, schema: str) -> Iterator[PostgresLog[Any]]:
    """The log that it was copied into."""
    result = copied(path, address, schema)
    assert (result.exit_code, result.stderr) == (0, "")
    with closing(PostgresLog[Any](address, schema=schema, types=[Weight])) as log:
        users = list(source.streams())
        events = sum(1 for user in users for _ in source.read(user, position(source, user).start))
        assert result.stdout == f"b.db: {len(users)} users, {events:,} events; all the same in {shown(log)}\n"
        yield log


def audit(log: PostgresLog[Any]) -> Result:
    return CliRunner().invoke(holdover, ["audit", postgres.address(), "--schema", log.schema])


def shown(log: PostgresLog[Any]) -> str:
    return f"{log.path}, schema {log.schema}"


def position(log: Any, user: str) -> Position:
    found = log.position(user)
    assert isinstance(found, Position)
    return found


def due_times(log: SqliteLog[Any]) -> list[float]:
    """When somebody becomes due, and just before."""
    times = [0.0]
    while (later := log.next_due(times[-1])) is not None:
        times += [nextafter(later, 0.0), later]
    return times


def described(log: Any, moments: Iterable[float] = ()) -> dict[str, Any]:
    """All that can be asked of a log; who is due or overdue at more than the usual moments."""
    places = {user: position(log, user) for user in log.streams()}
    moments = [*moments, 0.0, *(100.0 + second for second in range(8)), 130.0, 160.0, 1e5, 1e10]
    return {
        "positions": list(places.items()),
        "events": {user: list(log.read(user, place.start)) for user, place in places.items()},
        "controls": {user: list(log.controls(user, place.start)) for user, place in places.items()},
        "checkpoints": {
            user: [log.checkpoint(user, at) for at in (None, *range(place.start, place.head, 200))]
            for user, place in places.items()
        },
        "recorded_before": {
            user: [log.recorded_before(user, moment) for moment in (0.0, 103.0, 1e5)] for user in places
        },
        "times": {user: log.times(user, 0, place.head) for user, place in places.items()},
        "due": [log.due(moment) for moment in moments],
        "overdue": [sorted(log.overdue(moment)) for moment in moments],
        "shelved": log.shelved(),
    }


def test_everything_is_there_as_it_was(source: SqliteLog[Any], target: PostgresLog[Any]) -> None:
    """For every user in every state: position, events, checkpoints, times, who is due, overdue or shelved, in order."""
    for log in (source, target):
        ReplayBuffer(log, CONFIG)  # makes its types known
    moments = due_times(source)
    expected = described(source, moments)
    assert described(target, moments) == expected
    assert expected["shelved"] == ["parked"]
    assert len(expected["due"][-1]) > 5
    assert len(expected["overdue"][-1]) == 4
    assert any(checkpoint.offset for checkpoint in expected["checkpoints"]["long"] if checkpoint)
    assert audit(target).exit_code == 0


def test_everybody_goes_on_there(source: SqliteLog[Any], target: PostgresLog[Any], clock: Clock) -> None:
    """States, adds, evictions, snapshots that complete, aborts that end, and the audit: all as in the file."""
    clock.now = 110.0
    ends = []
    for log in (source, target):
        buffer = ReplayBuffer[Any](log, CONFIG, clock=clock)
        users = list(buffer.users())
        states = {user: buffer.state(user) for user in users}
        offsets = [buffer.add_measurement(user, number) for user in users for number in range(9)]
        frozen = buffer.finalize_snapshot("snapshotting", 1)
        assert list(frozen) == [1, 2, 3]
        frozen.complete()
        buffer.complete_replay("replaying", 1)
        buffer.complete_replay("pending at the bound", 1)
        swept = sorted(buffer.expire_overdue())
        assert all(buffer.audit(user).ok for user in users)
        found = described(log)
        ends.append((states, offsets, swept, [found[what] for what in ("events", "due", "overdue", "shelved")]))
    assert ends[0] == ends[1]
    assert {state.phase for state in ends[0][0].values()} == {"idle", "parked", "snapshotting", "replaying", "aborting"}


def test_adds_go_on_within_the_same_grant(source: SqliteLog[Any], target: PostgresLog[Any], clock: Clock) -> None:
    """Nobody has to decide anew: what the file would have taken without, the database takes without, and no more.

    But for victims: of those the database keeps one run, after which somebody decides.
    """
    clock.now = 110.0
    taken: list[dict[str, list[int | None]]] = []
    for log in (source, target):
        issuer = ReplayBuffer[Any](log, CONFIG, clock=clock)._issuer
        users = list(log.streams())
        before = [position(log, user).granted_from for user in users]
        taken.append({user: [log.add(user, number, clock, issuer) for number in range(9)] for user in users})
        assert [position(log, user).granted_from for user in users] == before
    for user in users:
        in_file, there = taken[0][user], [offset for offset in taken[1][user] if offset is not None]
        assert there == in_file[: len(there)], user
        if in_file[0] is not None:
            assert there, user
        if user in ("one", "with room", "replaying", "pruned", "cleared", "snapshotting"):
            assert taken[0][user] == taken[1][user]
    assert taken[1]["at the bound"][:4] == [8, 10, 12, 14]


def test_whose_victims_are_of_several_runs() -> None:
    """PostgreSQL keeps one run of them: the one that the next add evicts from; after it somebody decides."""
    codec = Codec()
    victims = codec.encode(Offsets((range(3, 6), range(9, 15, 2))))
    stream = Stream(1, "ann", granted_from=20, evicts_to=32, victims=victims)
    for place, expected in enumerate([(26, 3, 1)] * 3 + [(32, 3, 2)] * 3 + [(0, 0, 1)]):
        stream.head = 20 + 2 * place
        row = kept(codec, stream)
        assert (row["evicts_to"], row["victim"], row["victim_step"]) == expected
        if expected[0]:
            assert row["victim"] + row["victim_step"] * place == [3, 4, 5, 9, 11, 13][place]


def test_again_it_passes_over_who_is_there(
    path: Path, source: SqliteLog[Any], target: PostgresLog[Any], address: str
) -> None:
    """Nothing is copied twice, and it says so."""
    users = len(list(source.streams()))
    assert f"({users} users had been there already); all the same" in copied(path, address, target.schema).stdout


KILLED = """
import os, signal, sys
from events import PostgresLog
from events._copying import copying

path, address, schema, users = sys.argv[1:]

def report(events):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

left = int(users)
with PostgresLog(address, schema=schema) as log, copying(path, log) as under_way:
    for copied in under_way.run(report):
        pass
"""


def test_killed_in_the_middle_and_run_again(source: SqliteLog[Any], path: Path, address: str, schema: str) -> None:
    """Killed in the middle of a user, it leaves him out; the same command goes on behind those who are there."""
    killed = subprocess.run([sys.executable, "-c", KILLED, path, address, schema, "5"], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with closing(PostgresLog[Any](address, schema=schema, types=[Weight])) as log:
        users = list(source.streams())
        assert list(log.streams()) == users[:4]
        result = copied(path, address, schema)
        assert "(4 users had been there already); all the same" in result.stdout
        ReplayBuffer(source, CONFIG), ReplayBuffer(log, CONFIG)
        assert described(log) == described(source)


def test_who_is_there_and_differs_is_refused(
    source: SqliteLog[Any], path: Path, target: PostgresLog[Any], address: str
) -> None:
    """A user who went on in either place, or who is somebody else, is left as he is; one line says who."""
    ReplayBuffer[Any](target, CONFIG).add_measurement("with room", 5)
    before = described(target)
    line = refusal(copied(path, address, target.schema))
    assert line.startswith(
        f"Error: user 'with room' is not in {shown(target)}, as in {path}: one of the two has gone on"
    )
    assert line.endswith("nothing of that user was changed; copy into another schema")
    assert described(target) == before


def test_a_user_of_whom_events_are_missing_there_is_refused(
    path: Path, target: PostgresLog[Any], address: str, server: "psycopg.Connection[Any]"
) -> None:
    """He stands as he should, but that is not all."""
    server.execute(f"DELETE FROM {target.schema}.events WHERE user_id = 'full' AND \"offset\" = 2")
    assert "user 'full' is not in" in refusal(copied(path, address, target.schema))


def test_others_who_are_there_stay(source: SqliteLog[Any], path: Path, address: str, schema: str) -> None:
    """A log that other users are in takes more; those are not touched."""
    with closing(PostgresLog[Any](address, schema=schema)) as log:
        log.append("zoe", [MeasurementAdded(1)], expected_head=0)
        assert copied(path, address, schema).exit_code == 0
        assert list(log.streams()) == ["zoe", *source.streams()]


def test_it_is_compared_at_the_end(source: SqliteLog[Any], path: Path, address: str, schema: str) -> None:
    """What is not there although it was copied is found."""
    with (
        closing(PostgresLog[Any](address, schema=schema)) as log,
        pytest.raises(LogError, match="user 'one' is not in"),
        copying(path, log) as under_way,
    ):
        assert [each for each in under_way.run() if each.stream == "one"] == [Copied("one", 1, False)]
        under_way._server.execute(f"DELETE FROM {schema}.events")
        under_way.check()


def test_while_it_is_copied_nobody_can_write(source: SqliteLog[Any], path: Path, target: PostgresLog[Any]) -> None:
    """Who adds to the file meanwhile waits, and is then refused; who reads goes on. Afterwards all is as before."""
    with copying(path, target), closing(SqliteLog[int](path, timeout=0.0)) as other:
        with pytest.raises(LogBusyError):
            other.append("one", [MeasurementAdded(2)], expected_head=1)
        assert position(other, "one").head == 1
    source.append("one", [MeasurementAdded(2)], expected_head=1)
    with closing(sqlite3.connect(path)) as writer, pytest.raises(LogBusyError, match="held by another transaction"):
        writer.execute("BEGIN IMMEDIATE")
        with copying(path, target, timeout=0.0):
            pass


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE holdover_events SET data = x'05' WHERE stream = 2 AND \"offset\" = 1",
            "offset 1 of stream 'with room'",
        ),
        ("UPDATE holdover_events SET data = 'a' WHERE stream = 2 AND \"offset\" = 1", "offset 1 of stream 'with room'"),
        ('DELETE FROM holdover_events WHERE stream = 3 AND "offset" = 1', "of stream 'full' offset 1 is missing"),
        ("UPDATE holdover_streams SET revision = 99 WHERE id = 2", "what is kept about stream 'with room' does not"),
        ("UPDATE holdover_checkpoints SET data = x'05'", "does not fit its checksum"),
        ("DELETE FROM holdover_events WHERE stream = 2", "the newest events of stream 'with room' are missing"),
    ],
)
def test_what_is_damaged_is_not_copied(
    source: SqliteLog[Any], path: Path, address: str, schema: str, statement: str, words: str
) -> None:
    """Each row is looked at: one that does not fit its checksum, or is missing, ends it; that user is not there."""
    source.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    line = refusal(copied(path, address, schema))
    assert " is damaged: " in line
    assert words in line
    with closing(PostgresLog[Any](address, schema=schema)) as log:
        assert all(f"'{user}'" not in line for user in log.streams())


def test_what_cannot_be_copied(
    path: Path, tmp_path: Path, address: str, schema: str, server: "psycopg.Connection[Any]"
) -> None:
    """No such file, no log, a file that cannot be read any more, a server that is away: a line each."""
    assert refusal(copied(path, address, schema)) == f"Error: {path} does not exist"
    path.write_text("no database, but text that is long enough to be one " * 40)
    assert "is not a SQLite database" in refusal(copied(path, address, schema))
    assert server.execute("SELECT to_regnamespace(%s)", (schema,)).fetchone() == (None,)  # nothing was made for it
    SqliteLog[int](tmp_path / "c.db").close()
    away = refusal(copied(tmp_path / "c.db", "postgresql://localhost:1/db", schema))
    assert away.startswith("Error: postgresql://localhost:1/db: cannot be reached")


def test_a_server_that_goes_away_meanwhile(source: SqliteLog[Any], path: Path, address: str, schema: str) -> None:
    """It is told as any error of a log; what was copied is there, and the rest comes when it is done again."""
    with closing(PostgresLog[Any](address, schema=schema)) as log:
        with pytest.raises(LogError, match="terminating connection"), copying(path, log) as under_way:
            for _ in under_way.run():
                under_way._server.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        assert list(log.streams()) == ["one"]
    assert "(1 user had been there already)" in copied(path, address, schema).stdout


def test_a_run_of_replay_that_was_interrupted(path: Path, tmp_path: Path, address: str, schema: str) -> None:
    """A sample of heart rates, replayed in part: what is there is audited there."""
    text = "".join(sample_text().splitlines(keepends=True)[:300])
    (tmp_path / "in.csv").write_text(text)
    columns = ("--user", "User", "--time", "Time", "--value", "HeartRate")
    replay = ["replay", str(tmp_path / "in.csv"), *columns, "--every", "40", "--log", str(path)]
    assert CliRunner().invoke(holdover, replay).exit_code == 0
    assert copied(path, address, schema).exit_code == 0
    audits = [CliRunner().invoke(holdover, ["audit", *where]) for where in ([str(path)], [address, "--schema", schema])]
    assert audits[0].stdout == audits[1].stdout
    assert audits[1].exit_code == 0


def test_a_user_who_is_listed_and_cannot_be_found(
    source: SqliteLog[Any], path: Path, address: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where SQLite's index of names is damaged: it is told, and nobody is left out silently."""
    monkeypatch.setattr(_copying, "find", lambda *_arguments: None)
    assert "stream 'one' is not where it should be" in refusal(copied(path, address, schema))
