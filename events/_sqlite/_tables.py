"""The tables of a log in SQLite, how they are made, and what is refused. Must not know what is written into them."""

import sqlite3

from events._errors import LogUnavailableError

FORMAT = 1
"""Which tables these are. A program refuses a file of a later format, which it could only guess about."""

TABLES = (
    "CREATE TABLE holdover_format (version INTEGER NOT NULL)",
    f"INSERT INTO holdover_format VALUES ({FORMAT})",
    """
    CREATE TABLE holdover_streams (
        id INTEGER PRIMARY KEY,     -- in the order of their first events
        name UNIQUE NOT NULL,
        start INTEGER NOT NULL,     -- the first offset that is kept
        granted_from INTEGER NOT NULL,
        revision INTEGER NOT NULL,  -- goes up with each change of this row
        checkpointed INTEGER NOT NULL,  -- the offset of the latest checkpoint, or 0
        full_at INTEGER NOT NULL,   -- the offset up to which the grant allows measurements
        opens_to INTEGER NOT NULL,  -- the same once the arrival of the first was noted
        evicts_to INTEGER NOT NULL, -- the offset up to which each add evicts the next of the victims
        victims BLOB NOT NULL,      -- offsets, encoded
        issuer BLOB NOT NULL,       -- who gave the grant
        until REAL, arrived_at REAL, due_at REAL, due_after REAL,
        due_since INTEGER,          -- among streams of the same due_at, the lowest waits longest
        shelved_since INTEGER,
        checksum INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE holdover_events (
        stream INTEGER NOT NULL,
        "offset" INTEGER NOT NULL,
        kind TEXT,                  -- the event's type, or null for a measurement and nothing else
        recorded_at REAL,           -- seconds since 1970 by the buffer's clock, where somebody noted it
        checksum INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (stream, "offset")
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE holdover_checkpoints (
        stream INTEGER NOT NULL,
        "offset" INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (stream, "offset")
    ) WITHOUT ROWID
    """,
    "CREATE INDEX holdover_overdue ON holdover_streams (until) WHERE until IS NOT NULL",
    "CREATE INDEX holdover_due ON holdover_streams (due_at, due_since) WHERE due_at IS NOT NULL",
    "CREATE INDEX holdover_shelved ON holdover_streams (shelved_since) WHERE shelved_since IS NOT NULL",
)


def check_format(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the tables are there.

    Raises:
        LogUnavailableError: they are of a later format.
    """
    found = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'holdover_format'").fetchone()
    if found is None:
        return False
    version = connection.execute("SELECT max(version) FROM holdover_format").fetchone()[0]
    if version != FORMAT:
        raise LogUnavailableError(
            f"{path} was written by a later version of holdover (its format is {version}, this program knows "
            f"{FORMAT}); update holdover, or choose another file"
        )
    return True


def create(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables, unless another process was faster."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not check_format(connection, path):
            for statement in TABLES:
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
