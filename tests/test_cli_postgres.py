"""`holdover log`, `state`, `audit` and `replay --log` with the address of a PostgreSQL database in a file's place."""

import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import postgres
import psycopg
import pytest
from click.testing import CliRunner, Result
from replaying import COLUMNS, calls, prepare, refusal, started, summary, write_rows
from tried import LONG

from events import LogUnavailableError, MeasurementAdded, PostgresLog, ReplayCompleted, SqliteLog
from events._postgres._database import Database
from statemachine import BufferConfig, ReplayBuffer
from statemachine.cli import _store_postgres, holdover
from statemachine.cli._place import Server
from statemachine.cli._store import Store
from statemachine.cli._store_postgres import server_home
from tests.conftest import Clock

USERS = r"a\nn", "ben", "cleo"
MINE = "--process", "process:mine"


@pytest.fixture
def address() -> str:
    return postgres.address(postgres.QUICK)


@pytest.fixture
def schema() -> str:
    return postgres.new_schema()


@pytest.fixture
def there(address: str, schema: str) -> tuple[str, str, str]:
    """What stands on the command line for a log that nobody else has."""
    return address, "--schema", schema


@pytest.fixture
def server(address: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a process to be named and a file of three users' rows in turn."""
    prepare(tmp_path, monkeypatch)
    write_rows(tmp_path, 12, USERS)
    return tmp_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(holdover, [str(argument) for argument in arguments])


def replayed(*options: str) -> Result:
    return run("replay", "in.csv", *COLUMNS, *MINE, *options)


def kept(server: "psycopg.Connection[Any]", schema: str) -> set[tuple[str, int]]:
    """User and version of each window whose result is there."""
    try:
        return set(server.execute(f"SELECT user_id, version FROM {schema}.replay_windows WHERE error = ''").fetchall())
    except psycopg.errors.UndefinedTable:
        return set()


def filled(log: Any, clock: Clock) -> None:
    """Ann has replayed two, is replaying one more, and one is pending; ben has evicted one; cleo has cleared one."""
    with ReplayBuffer[int](log, BufferConfig(max_measurements=3), clock=clock) as buffer:
        buffer.add_measurements("ann", [1, 2])
        with buffer.snapshot("ann", "first"):
            pass
        buffer.add_measurement("ann", 3)
        buffer.finalize_snapshot("ann", buffer.begin_snapshot("ann"))
        buffer.add_measurement("ann", 4)
        buffer.add_measurements("ben", [1, 2, 3, 4])
        buffer.add_measurement("cleo", 1)
        buffer.clear_buffer("cleo")


@pytest.fixture
def log(address: str, schema: str, clock: Clock) -> Iterator[PostgresLog[Any]]:
    with closing(PostgresLog[Any](address, schema=schema)) as log:
        filled(log, clock)
        yield PostgresLog[Any](address, schema=schema)


def test_what_is_seen_is_the_same_as_in_a_file(
    log: PostgresLog[Any], there: tuple[str, ...], tmp_path: Path, clock: Clock
) -> None:
    """The users, a user's events, his state and the audit: line by line, but for the name of the log."""
    filled(SqliteLog[Any](tmp_path / "b.db", durability="off"), clock)
    for command, *more in (["log"], ["log", "ann"], ["state", "ann"], ["state", "ann", "--at", "4"], ["audit"]):
        file = run(command, tmp_path / "b.db", *more)
        server = run(command, there[0], *more, *there[1:])
        assert (server.exit_code, server.stderr) == (0, "")
        assert server.stdout.replace(f"{log.path}, schema {log.schema}", "b.db") == file.stdout
        assert len(file.stdout) > 50
    log.close()


def test_looking_changes_nothing_and_makes_nothing(
    server: "psycopg.Connection[Any]", schema: str, there: tuple[str, ...]
) -> None:
    """A schema that is not there is not made by looking for it; one line says so."""
    assert f"schema {schema} holds no log" in refusal(run("log", *there))
    assert server.execute("SELECT to_regnamespace(%s)", (schema,)).fetchone() == (None,)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "INSERT INTO {schema}.events (user_id, \"offset\", data) VALUES ('zoe', 3, '\\x01')",
            "events of user 'zoe': 1 from offset 3 to 3, but there is no such user",
        ),
        (
            "INSERT INTO {schema}.checkpoints VALUES ('zoe', 2, '\\x01'), ('zoe', 5, '\\x01')",
            "checkpoints of user 'zoe': 2 from offset 2 to 5, but there is no such user",
        ),
        (
            "INSERT INTO {schema}.events (user_id, \"offset\", data) VALUES ('ben', 5, '\\x01')",
            "events of user 'ben': 6 from offset 0 to 5, though kept are 0 to 4",
        ),
        (
            "INSERT INTO {schema}.checkpoints VALUES ('ben', 6, '\\x01')",
            "checkpoints of user 'ben': 1 from offset 6 to 6, though kept are 0 to 4",
        ),
        (
            "DELETE FROM {schema}.events WHERE user_id = 'ben' AND \"offset\" = 2",
            "of stream 'ben' not all of the offsets 0 to 4 are there",
        ),
    ],
)
def test_rows_that_belong_to_nothing_or_are_missing_are_found(
    log: PostgresLog[Any], server: "psycopg.Connection[Any]", there: tuple[str, ...], statement: str, words: str
) -> None:
    """Each is a finding, with exit code 1; everybody else is audited."""
    log.close()
    server.execute(statement.format(schema=log.schema))
    result = run("audit", *there)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert words in line
    assert result.stdout.endswith("3 users, 1 finding\n")


def test_an_illegal_history_is_found(log: PostgresLog[Any], there: tuple[str, ...]) -> None:
    """Events that nobody may have recorded there are told with their user."""
    log.append("ben", [ReplayCompleted(7), MeasurementAdded(5)], expected_head=5)
    log.close()
    result = run("audit", *there)
    assert result.stderr.startswith("user 'ben': offset 5: ReplayCompleted is not legal while idle\n")
    assert result.exit_code == 1


def test_tables_that_cannot_be_read_are_one_line(
    log: PostgresLog[Any], server: "psycopg.Connection[Any]", there: tuple[str, ...]
) -> None:
    """Where not even the check can be made, it says why; the exit code is 2."""
    log.close()
    server.execute(f"DROP TABLE {log.schema}.checkpoints")
    line = refusal(run("audit", *there))
    assert line.startswith(f"Error: {log.path}: UndefinedTable: ")


@pytest.mark.parametrize("durability", ["full", "normal"])
def test_with_a_server_the_output_is_the_same(folder: Path, there: tuple[str, ...], durability: str) -> None:
    """Whether the buffer is in memory or in a database: the same bytes in --output, and the same on the screen."""
    memory = replayed("--every", "5", "--output", "whole.csv")
    result = replayed("--every", "5", "--output", "out.csv", "--log", *there, "--durability", durability)
    assert (result.exit_code, result.stderr, summary(result)) == (0, "", summary(memory))
    assert (folder / "out.csv").read_bytes() == (folder / "whole.csv").read_bytes()
    output, called = (folder / "out.csv").read_bytes(), calls(folder)
    (folder / "out.csv").unlink()
    second = replayed("--every", "5", "--output", "out.csv", "--log", *there)
    assert "The run was complete already; nothing was left to do." in second.stdout
    assert ((folder / "out.csv").read_bytes(), calls(folder)) == (output, called)
    assert run("audit", *there).exit_code == 0


@pytest.mark.parametrize(
    ("durability", "options", "commit"), [("full", "", "on"), ("off", "", "off"), ("full", postgres.QUICK, "off")]
)
def test_durability_is_the_servers_commit_setting(schema: str, durability: Any, options: str, commit: str) -> None:
    """For the log and for the results; an address that says it by itself is obeyed."""
    place = Server(postgres.address(*filter(None, [options, "application_name=mine"])), schema)
    with server_home(place, durability, []) as home:
        with home.transaction() as connection:
            assert connection.execute("SHOW synchronous_commit").fetchone() == (commit,)
            assert connection.execute("SHOW application_name").fetchone() == ("mine",)
        assert home.log._database.fetch("SHOW synchronous_commit", {}) == [(commit,)]


def test_killed_at_a_window_and_run_again(
    folder: Path, there: tuple[str, ...], schema: str, server: "psycopg.Connection[Any]"
) -> None:
    """Killed in the middle of a replay, again and again, and run again at once: the same bytes, and each row once."""
    write_rows(folder, 22, USERS)
    assert replayed("--every", "5", "--output", "whole.csv").exit_code == 0
    (folder / "calls").unlink()
    kills = 0
    while True:
        before, done = kept(server, schema), len(calls(folder))
        options = ("--every", "5", "--log", *there, "--output", "out.csv")
        with started(folder, *MINE, *options, KILL_EVERY="7" if LONG else "9") as running:
            shown, errors = running.communicate()
        assert not before & set(calls(folder)[done:])  # what was kept is not replayed again
        if running.returncode != -signal.SIGKILL:
            break
        kills += 1
        assert not (folder / "out.csv").exists()
    assert (running.returncode, errors) == (0, "")
    assert kills >= 1 + LONG
    assert shown.splitlines()[-1] == "added 66 = replayed 66 + live 0 + evicted 0, lost 0"
    assert (folder / "out.csv").read_bytes() == (folder / "whole.csv").read_bytes()
    assert run("audit", *there).exit_code == 0


class Faults:
    """Makes the n-th write fail: that one only, or all from there on. It counts from 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at: int | None = None
        self.lasting, self.count = False, 0
        attempt, transaction = Database.attempt, Store._transaction

        def attempting(database: Database, work: Any, *, writes: bool = True) -> object:
            if writes:
                self.write()
            return attempt(database, work, writes=writes)

        @contextmanager
        def saving(store: Store) -> Iterator[Any]:
            self.write()
            with transaction(store) as connection:
                yield connection
                self.write()

        monkeypatch.setattr(Database, "attempt", attempting)
        monkeypatch.setattr(Store, "_transaction", saving)

    def write(self) -> None:
        here, self.count = self.count, self.count + 1
        if self.at is not None and (here >= self.at if self.lasting else here == self.at):
            raise LogUnavailableError("the server is away")


def test_writes_failing_in_turn(folder: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever write fails, the run ends with one line, and the next one makes it whole: the same bytes."""
    write_rows(folder, 4, ("ann", "ben"))
    monkeypatch.setenv("FAIL", "ben")
    options = ("--every", "3", "--output")
    whole = replayed(*options, "whole.csv")
    faults, ended = Faults(monkeypatch), 0
    every = 1 if LONG else 5
    for at in range(0, 1000, every):
        there = ("--log", address, "--schema", postgres.new_schema())
        faults.at, faults.lasting, faults.count = at, at % 2 == 0, 0
        first = replayed(*options, "out.csv", *there)
        if faults.count <= at:
            break
        faults.at = None
        if first.exit_code == 2:
            ended += 1
            assert first.stderr.count("\n") == 1
            assert "the server is away" in first.stderr
        second = replayed(*options, "out.csv", *there)
        assert (second.exit_code, second.stderr) == (whole.exit_code, whole.stderr), at
        assert summary(second) == summary(whole), at
        assert (folder / "out.csv").read_bytes() == (folder / "whole.csv").read_bytes(), at
    assert ended * every > 10


def test_failures_of_an_earlier_run_are_told_again(
    folder: Path, there: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed is in the database, whatever characters are in its message; the second run says the same."""
    monkeypatch.setenv("FAIL", "ben")
    memory = replayed("--every", "5")
    results = [replayed("--every", "5", "--log", *there) for _ in range(2)]
    assert (
        memory.stderr.splitlines()[0] == r"user 'ben': replay 1, of 5 rows, failed: ArithmeticError: only 5\x00\udc80"
    )
    assert [(result.exit_code, result.stderr) for result in results] == [(1, memory.stderr)] * 2


def test_the_log_of_another_run_is_refused(folder: Path, there: tuple[str, ...], schema: str) -> None:
    """One line says what differs, and what to do."""
    assert replayed("--every", "5", "--log", *there).exit_code == 0
    line = refusal(replayed("--every", "6", "--log", *there))
    assert line.endswith(
        f", schema {schema}: belongs to another run: --every was '5' and is '6'; choose another --schema for this one"
    )


def test_the_log_of_an_application_is_refused(
    folder: Path, log: PostgresLog[Any], there: tuple[str, ...], server: "psycopg.Connection[Any]"
) -> None:
    """A schema that is the log of something else is not mixed up with a run; nothing is changed."""
    log.close()
    line = refusal(replayed("--log", *there))
    assert line == f"Error: {log.path}, schema {log.schema}: is the log of something else; choose another --schema"
    assert server.execute(f"SELECT to_regclass('{log.schema}.replay_run')").fetchone() == (None,)


def test_two_runs_at_once_are_refused(
    folder: Path, there: tuple[str, ...], schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run on the schema while the first is at work would add every row again; another schema is no matter."""
    monkeypatch.setattr(_store_postgres, "PATIENCE", "10ms")
    options = ("--every", "1")
    with started(folder, *MINE, "--log", *there, *options, HOLD="0") as running:
        while not calls(folder):
            assert running.poll() is None
            time.sleep(0.001)
        line = refusal(replayed("--log", *there, *options))
        assert replayed("--log", there[0], "--schema", postgres.new_schema(), *options).exit_code == 0
        running.kill()
    assert line.endswith(f", schema {schema}: another run is at work on it; wait for its end")


def test_whoever_loses_the_schema_adds_nothing_more(
    folder: Path, there: tuple[str, ...], server: "psycopg.Connection[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the connection that keeps other runs away is lost, the run ends, since another may have begun."""
    assert replayed("--every", "5", "--output", "whole.csv").exit_code == 0
    add, find, locks = ReplayBuffer.add_measurement, _store_postgres._life, list[int]()

    def found(connection: "psycopg.Connection[Any]") -> Any:
        locks.append(connection.info.backend_pid)
        return find(connection)

    def adding(buffer: ReplayBuffer[Any], user: str, row: Any) -> int:
        if row.number == 20:
            server.execute("SELECT pg_terminate_backend(%s, 10000)", (locks[0],))
        return add(buffer, user, row)

    with monkeypatch.context() as patched:
        patched.setattr(_store_postgres, "_life", found)
        patched.setattr(ReplayBuffer, "add_measurement", adding)
        assert ": the run cannot go on; run it again: " in refusal(replayed("--every", "5", "--log", *there))
    result = replayed("--every", "5", "--log", *there, "--output", "out.csv")
    assert result.exit_code == 0
    assert "18 rows had been added by an earlier run." in result.stdout
    assert (folder / "out.csv").read_bytes() == (folder / "whole.csv").read_bytes()


def test_what_the_server_only_mentions_ends_no_run(schema: str, address: str) -> None:
    """A word of the server on the connection that keeps others away is no loss of it."""
    with server_home(Server(address, schema), "off", []) as home:
        lock = home._alone._lock
        lock.execute(f"LISTEN {schema}")
        with home.transaction() as connection:
            connection.execute(f"NOTIFY {schema}")
        assert select.select([lock], [], [], 60)[0]
        home.log.append("ann", [MeasurementAdded(1)], expected_head=0)
        assert not select.select([lock], [], [], 0)[0]


def test_nothing_is_written_in_another_life_of_the_server(
    schema: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that was started anew may have forgotten the newest rows, so the run ends, and the next goes on."""
    with server_home(Server(address, schema), "off", []) as home:
        home.log.append("ann", [MeasurementAdded(1)], expected_head=0)
        monkeypatch.setattr(_store_postgres, "_life", lambda _connection: (0.0,))
        with pytest.raises(LogUnavailableError, match="was started anew; run it again to go on"), home.transaction():
            raise AssertionError("it was let in")


SECRET = "s3cret"

ADDRESSES = [
    f"postgresql://app:{SECRET}@localhost:1/db",
    f"postgres://app:{SECRET}@localhost:1/db?connect_timeout=2",
    f"postgresql://localhost:1/db?user=app&password={SECRET}",
    f"postgresql+psycopg://app:{SECRET}@localhost:1/db",
    f"POSTGRESQL://app:{SECRET}@localhost:1/db",
    f"postgresql:/app:{SECRET}@localhost:1/db",
    f"postgresql://app:{SECRET}%zz@localhost:1/db",
    f"postgresql://app:{SECRET} and more@localhost:1/db",
    f"postgresql://app:{SECRET}\udcff@localhost:1/db",
    f"postgresql://app:{SECRET}'\"@localhost:1/db?no_such_option=1",
    f"postgresql://app:{SECRET}/1@localhost:1/db",
    f"postgresql://app:1@{SECRET}@localhost:1/db",
]

COMMANDS = [
    ("log", "{}"),
    ("audit", "{}"),
    ("state", "{}", "ann"),
    ("replay", "in.csv", *COLUMNS, "--log", "{}"),
    ("replay", "in.csv", *COLUMNS, "--output", "{}"),
    ("replay", "{}", *COLUMNS),
    ("copy", "b.db", "{}"),
    ("copy", "{}", "b.db"),
    ("log", "b.db", "ann", "{}"),
    ("state", "b.db", "ann", "--at={}"),
    ("{}",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_shows_a_password(folder: Path, command: tuple[str, ...]) -> None:
    """Wherever an address is given, well-formed or not: the error is there, and the password is not."""
    SqliteLog[int]("b.db").close()
    for address in ADDRESSES:
        result = run(*(argument.format(address) if "{}" in argument else argument for argument in command))
        assert (result.exit_code, result.stdout) == (2, "")
        assert "Error: " in result.stderr
        assert SECRET not in result.stderr
        assert SECRET not in repr(result.exception)


def test_what_is_no_file_and_no_address(folder: Path, address: str) -> None:
    """Each says in one line what was meant."""
    assert "is a file, and has no --schema; give an address" in refusal(run("log", "b.db", "--schema", "x"))
    assert "is a file; give an address: postgresql://" in refusal(run("copy", "b.db", "c.db"))
    assert "schema must be up to 63 letters" in refusal(run("log", address, "--schema", "a b"))
    assert "there is no user 'zoe'" in refusal(run("state", address, "zoe", "--schema", filled_schema(address)))


def filled_schema(address: str) -> str:
    schema = postgres.new_schema()
    PostgresLog[int](address, schema=schema).close()
    return schema


def test_without_psycopg_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, for every command that takes an address; files need no psycopg."""
    SqliteLog[int]("b.db").close()
    for module in ("psycopg", "psycopg.conninfo", "events._postgres._database"):
        monkeypatch.setitem(sys.modules, module, None)
    there = "postgresql://localhost/db"
    for command in (["log", there], ["audit", there], ["state", there, "ann"], ["copy", "b.db", there]):
        assert "pip install 'holdover[postgres]'" in refusal(run(*command))
    assert "pip install 'holdover[postgres]'" in refusal(replayed("--log", there))
    assert run("audit", "b.db").exit_code == 0
