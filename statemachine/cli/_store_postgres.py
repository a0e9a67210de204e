"""`server_home`: a schema in PostgreSQL, the home of a run of `holdover replay`. Must not know what is saved there."""

import os
import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from attrs import evolve

from events import Durability, LogUnavailableError, PostgresLog, Schema
from statemachine.cli._command import BadInput
from statemachine.cli._place import Server
from statemachine.cli._store import TIMEOUT, Statements

if TYPE_CHECKING:
    import psycopg
    from psycopg_pool import ConnectionPool

PATIENCE = "2s"
"""For how long the server may take to notice that the run before is gone."""

KEEPALIVES = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}
"""By which the server notices that the machine of a run is gone, in seconds."""

COMMITS = {"full": "on", "normal": "off", "off": "off"}
"""What `synchronous_commit` is for a durability."""


def statements(schema: str) -> Statements:
    """The statements for a schema.

    Example:
        >>> statements("holdover").run
        'SELECT name, value FROM "holdover".replay_run'
    """
    return Statements(
        tables=(
            f'CREATE TABLE IF NOT EXISTS "{schema}".replay_run (name text PRIMARY KEY, value text NOT NULL)',
            f"""
            CREATE TABLE IF NOT EXISTS "{schema}".replay_windows (
                user_id text COLLATE "C" NOT NULL,
                version bigint NOT NULL,        -- of the snapshot
                measurements bigint NOT NULL,
                error text NOT NULL,            -- why its replay failed, or ''
                judged text NOT NULL,           -- what its replay returned: [[number, {{column: text}}], ...]
                PRIMARY KEY (user_id, version)
            )
            """,
        ),
        run=f'SELECT name, value FROM "{schema}".replay_run',
        claim=f'INSERT INTO "{schema}".replay_run VALUES (%s, %s)',
        save=f"""
            INSERT INTO "{schema}".replay_windows AS old VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (user_id, version) DO UPDATE
            SET measurements = excluded.measurements, error = excluded.error, judged = excluded.judged
        """,
        windows=f"""
            SELECT user_id, version, measurements, error, judged FROM "{schema}".replay_windows
            ORDER BY user_id, version
        """,
    )


class Alone:
    """Keeps a second run away from the schema: it would add the same rows once more.

    It does so for as long as one connection holds, which ends with the process. Nothing is written after it is lost,
    for another run may have begun; nor in another life of the server, which may have forgotten the newest rows.

    Parameters:
        lock: the connection.
        log: the log in the schema.

    Raises:
        BadInput: another run has it.
    """

    def __init__(self, lock: "psycopg.Connection[Any]", log: PostgresLog[Any]) -> None:
        import psycopg

        self._lock, self._path = lock, log.path
        for name, seconds in KEEPALIVES.items():
            lock.execute(f"SET {name} = {seconds}")
        lock.execute(f"SET lock_timeout = '{PATIENCE}'")
        try:
            lock.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"holdover replay {log.schema}",))
        except psycopg.errors.LockNotAvailable:
            raise BadInput(f"{log.path}, schema {log.schema}: another run is at work on it; wait for its end") from None
        self._life = _life(lock)
        self._known = WeakSet[psycopg.Connection[Any]]()

    def check(self, connection: "psycopg.Connection[Any]") -> None:
        """See to it that what is written through the connection now is written alone.

        Raises:
            LogUnavailableError: it may be not.
        """
        with _in_plain_words(f"{self._path}: the run cannot go on; run it again"):
            if select.select([self._lock], [], [], 0)[0]:  # it says something, mostly that it is over
                self._lock.execute("SELECT 1")
            if connection not in self._known:
                if _life(connection) != self._life:
                    raise LogUnavailableError(f"{self._path}: the server was started anew; run it again to go on")
                self._known.add(connection)


class GuardedLog(PostgresLog[Any]):
    """A `PostgresLog` that writes only as long as it is alone, once it was said what keeps it so."""

    alone: Alone

    def _attempt(self, work: Callable[[Any, bool], Any]) -> Any:
        def guarded(session: Any, in_doubt: bool) -> Any:
            self.alone.check(session)
            return work(session, in_doubt)

        return super()._attempt(guarded)


class ServerHome:
    """See `statemachine.cli._store.Home`."""

    another = "--schema"

    def __init__(self, log: PostgresLog[Any], pool: "ConnectionPool[psycopg.Connection[Any]]", alone: Alone) -> None:
        self.name, self.where, self.log = f"{log.path}, schema {log.schema}", log.path, log
        self.statements = statements(log.schema)
        self._pool, self._alone = pool, alone

    @contextmanager
    def transaction(self) -> "Iterator[psycopg.Connection[Any]]":
        """A transaction of this thread's own."""
        with _in_plain_words(self.where), self._pool.connection() as connection, connection.transaction():
            self._alone.check(connection)
            yield connection


@contextmanager
def server_home(server: Server, durability: Durability, types: Sequence[Schema]) -> Iterator[ServerHome]:
    """The schema, for one run at a time.

    Parameters:
        server: the schema; it and its tables are made if they are not there.
        durability: `"full"` waits for the server's disk at each row, the others do not.
        types: the log's.

    Raises:
        BadInput: the address makes no sense, or another run has the schema.
        LogError, ImportError: as `PostgresLog`.
    """
    server = evolve(server, address=_committing(server.address, durability))
    with closing(server.log(GuardedLog, types=types, timeout=TIMEOUT)) as log:
        from psycopg_pool import ConnectionPool

        with (
            _in_plain_words(log.path),
            server.connect() as lock,
            ConnectionPool(
                server.address, kwargs={"autocommit": True}, min_size=1, max_size=4, timeout=TIMEOUT, open=True
            ) as pool,
        ):
            log.alone = Alone(lock, log)
            yield ServerHome(log, pool, log.alone)


def _life(connection: "psycopg.Connection[Any]") -> Any:
    """Which life of the server this is."""
    return connection.execute("SELECT extract(epoch FROM pg_postmaster_start_time())::float8").fetchone()


def _committing(address: str, durability: Durability) -> str:
    """The address with the durability in it, unless it has one of its own."""
    try:
        from psycopg.conninfo import conninfo_to_dict, make_conninfo

        settings: dict[str, Any] = conninfo_to_dict(address)
    except Exception:
        return address  # whoever opens it says what is wrong
    own = settings.get("options") or os.environ.get("PGOPTIONS", "")
    options = f"-csynchronous_commit={COMMITS[durability]} {own}".strip()
    return make_conninfo(**{**settings, "options": options})


@contextmanager
def _in_plain_words(where: str) -> Iterator[None]:
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise LogUnavailableError(f"{where}: {' '.join(str(error).split())}") from error
