"""The log readers and hostile files and tables: what cannot be read is told in an error's words, and nothing hangs."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import forging
import postgres
from forging import Forge, changed_columns, changed_fields, changed_states, forged, sound
from hostile import bad, survived, told
from hostile_samples import mutated
from test_sqlite_damage import PAGE, damaged, outcome
from test_sqlite_damage import bad as bad_outcomes
from test_sqlite_damage import whole as other_whole
from tried import LONG, SEED, tried

from events import Grant, LogError, MeasurementAdded, PostgresLog, ReplayCompleted, SqliteLog
from statemachine._kept import KEPT


def chosen(cases: Iterable[tuple[str, Any]], most: int) -> dict[str, Any]:
    """Some of them, others for each seed; where there is time, all."""
    listed = sorted(cases, key=lambda case: case[0])
    return dict(Random(SEED).sample(listed, len(listed) if LONG else most))


def looked_at(cases: dict[str, bytes]) -> dict[str, set[str]]:
    """What each file ends with; no question may end otherwise than with an answer, or an error that is documented."""
    outcomes = survived("looking", cases)
    assert set(outcomes) == set(cases)
    assert not (wrong := bad(outcomes, cases)), "\n".join(wrong)
    tried(files=len(cases))
    return outcomes


BUT_FOR_CHECKSUMS: dict[str, Forge] = {
    "a measurement is another": lambda connection: connection.execute(
        "UPDATE holdover_events SET data = x'05' WHERE stream = 1 AND kind IS NULL"
    ),
    **{
        name: dict(forges())[name]
        for forges, name in (
            (changed_fields, "SnapshotBegun.timestamp is a half"),
            (changed_states, "the checkpoint's timestamp is a half"),
            (changed_columns, "holdover_streams.due_after is 2.5"),
            (changed_columns, "holdover_events.recorded_at is 2.5"),
            (changed_columns, "holdover_format.version is -1"),
        )
    },
}
"""Changes after which all could be read, and would make sense."""


def test_a_row_that_was_changed_is_found_by_the_audit() -> None:
    """Any column of any table, to any kind of value, or to what it might be as well: nothing breaks, and it is told."""
    forges = chosen(changed_columns(), 3) | BUT_FOR_CHECKSUMS
    before = content(forged(lambda _connection: None, fitting=False))
    cases = {name: forged(forge, fitting=False) for name, forge in forges.items()}
    cases = {name: data for name, data in cases.items() if content(data) != before}
    unseen = [name for name, found in looked_at(cases).items() if "audit: 0" in found]
    assert not unseen


def content(data: bytes) -> list[str]:
    """All that is in a file."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(data)
        connection.text_factory = bytes
        return list(map(repr, connection.execute("SELECT * FROM holdover_events, holdover_streams").fetchall())) + [
            repr(connection.execute(f"SELECT * FROM holdover_{table}").fetchall())
            for table in ("checkpoints", "format")
        ]


FORGERIES: dict[str, Callable[[], Iterable[tuple[str, Forge]]]] = {
    "the checkpoint is a text": changed_states,
    "the checkpoint's phase is a text": changed_states,
    "the checkpoint's offsets is 2**40 offsets": changed_states,
    "the checkpoint's version is nothing": changed_states,
    "MeasurementsEvicted.stop is a text": changed_fields,
    "SnapshotBegun.deadline is a text": changed_fields,
    "SnapshotBegun has a version of 5,000 digits": changed_fields,
    "the victims are a text": changed_columns,
    "holdover_streams.granted_from is 'x'": changed_columns,
    "holdover_streams.name is 2.5": changed_columns,
    "holdover_streams.revision is 9223372036854775807": changed_columns,
}
"""Each of which once ended with a TypeError, an AttributeError, a loop without end or all the memory."""


def test_what_was_forged_is_harmless_or_an_error() -> None:
    """Rows of values that no buffer records, whose checksums fit: by another program, or a fault of this one."""
    forges = {name: dict(listed())[name] for name, listed in FORGERIES.items()}
    for listed in (changed_fields, changed_states, changed_columns):
        forges |= chosen(listed(), 2)
    head = 'holdover_events."offset" is 9e999'
    unfitting = {f"{head}, and no checksum fits": forged(dict(changed_columns())[head], fitting=False)}
    looked_at(unfitting | {name: forged(forge) for name, forge in forges.items()})


FOREIGN: dict[str, str] = {
    "tables of the same names with other columns": (
        "DROP TABLE holdover_streams; CREATE TABLE holdover_streams (name TEXT, age INTEGER)"
    ),
    "no table of streams": "DROP TABLE holdover_streams",
    "no table of events": "DROP TABLE holdover_events",
    "no table of checkpoints": "DROP TABLE holdover_checkpoints",
    "a view in the place of the events": (
        "ALTER TABLE holdover_events RENAME TO kept; CREATE VIEW holdover_events AS SELECT * FROM kept"
    ),
    "a view of nothing in the place of the streams": (
        "DROP TABLE holdover_streams; CREATE VIEW holdover_streams AS SELECT * FROM holdover_events WHERE FALSE"
    ),
    "an index called as the format": (
        "DROP TABLE holdover_format; CREATE INDEX holdover_format ON holdover_streams (name)"
    ),
    "a later format": "UPDATE holdover_format SET version = 2",
    "two formats": "INSERT INTO holdover_format VALUES (2)",
    "no format": "DELETE FROM holdover_format",
    "a trigger that refuses": (
        "CREATE TRIGGER no BEFORE INSERT ON holdover_events BEGIN SELECT raise(ABORT, 'no'); END"
    ),
    "a trigger that takes back": ("CREATE TRIGGER no BEFORE INSERT ON holdover_events BEGIN SELECT raise(IGNORE); END"),
    "another application's": "DROP TABLE holdover_streams; DROP TABLE holdover_format; CREATE TABLE users (id INTEGER)",
    "text in UTF-16": "PRAGMA encoding = 'UTF-16'",
}


def foreign(statements: str) -> bytes:
    with closing(sound()) as connection:
        connection.executescript(statements)
        return connection.serialize()


def test_a_foreign_file_is_refused() -> None:
    """Not a database, another application's, a later version's, or of the same tables with something else in them."""
    cases = {name: foreign(statements) for name, statements in FOREIGN.items()}
    data = forging.whole()
    cases |= {
        "nothing": b"",
        "a text": b"Id,Date,Kg\n" * 1000,
        "a header and nothing more": data[:100],
        "a header and zeros": data[:100] + bytes(len(data) - 100),
        "zeros": bytes(PAGE * 4),
        "the file twice": data * 2,
        "a megabyte more than the file": data + b"\xff" * 1_000_000,
        "pages of another size": data[:16] + b"\2\0" + data[18:],
        "a size of 4 billion pages": data[:28] + b"\xff\xff\xff\xff" + data[32:],
    }
    draw = Random(SEED)
    for number in range(100 if LONG else 3):
        cases[f"mutation {number} of seed {SEED}"] = mutated([data], draw)
    looked_at(chosen(cases.items(), 5))


def pages() -> list[bytes]:
    data = other_whole()
    return [data[start : start + PAGE] for start in range(0, len(data), PAGE)]


def test_pages_in_each_others_place_are_harmless_or_an_error(tmp_path: Path) -> None:
    """Two exchanged, one twice, one of zeros: all is as it was, or an error names the file, or the audit sees it."""
    old = pages()
    changes = {
        f"{one} and {two} exchanged": {one: old[two], two: old[one]} for one, two in combinations(range(len(old)), 2)
    }
    changes |= {
        f"{one} over {two}": {two: old[one]} for one in range(len(old)) for two in range(len(old)) if one != two
    }
    changes |= {f"{one} of zeros": {one: bytes(PAGE)} for one in range(len(old))}
    picked = chosen(changes.items(), 8)
    outcomes = {
        name: outcome(damaged(tmp_path, b"".join(new.get(number, page) for number, page in enumerate(old))))
        for name, new in picked.items()
    }
    wrong = bad_outcomes(Counter(outcomes.values()))
    assert not wrong, [name for name, ended in outcomes.items() if ended in wrong]
    tried(files=len(picked))


def beside(directory: Path) -> list[bytes]:
    """The write-ahead logs of another log, with some of the same users, and of another application's file."""
    one, two = directory / "one.db", directory / "two.db"
    forging.build(one)
    with closing(SqliteLog[Any](one)) as log:
        log.append("ann's sister", [MeasurementAdded("x" * 5000)], expected_head=0)
        first = Path(f"{one}-wal").read_bytes()
    with closing(sqlite3.connect(two, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("CREATE TABLE holdover_events (a)")
        connection.execute("INSERT INTO holdover_events VALUES (?)", ("x" * 50_000,))
        return [first, Path(f"{two}-wal").read_bytes()]


def test_a_write_ahead_log_of_another_file_is_harmless_or_an_error(tmp_path: Path) -> None:
    """Found beside a log, whole, cut anywhere or changed: nothing of it is taken for what was recorded."""
    draw = Random(SEED)
    outcomes: Counter[str] = Counter()
    for data in beside(tmp_path):
        assert len(data) > PAGE
        cuts = [*(0, 32, 33, 4152)[: 4 if LONG else 1], *(draw.randrange(len(data)) for _ in range(30 if LONG else 1))]
        for foreign_log in (
            data,
            *(data[:cut] for cut in cuts),
            mutated([data], draw),
            bytes(len(data)),
            other_whole(),
        ):
            for suffix in ("-wal", "-journal"):
                path = damaged(tmp_path, other_whole())
                Path(f"{path}{suffix}").write_bytes(foreign_log)
                outcomes[outcome(path)] += 1
    assert not bad_outcomes(outcomes)
    tried(files=sum(outcomes.values()))


CHANGES = [
    *("UPDATE events SET data = ''", "UPDATE events SET data = '\\xc1'", "UPDATE events SET data = '\\x00ff'"),
    *("UPDATE events SET kind = 'Nothing'", "UPDATE events SET kind = 'Recorded'", "UPDATE events SET kind = ''"),
    "UPDATE events SET kind = '-', data = ''",
    "UPDATE events SET kind = '-', data = decode(repeat('7f', 9000), 'hex')",
    "UPDATE events SET kind = NULL",
    "UPDATE events SET arrived_at = 'NaN'",
    'UPDATE events SET "offset" = "offset" - 100',
    'UPDATE events SET "offset" = "offset" + 4611686018427387904',
    *("UPDATE streams SET head = head + 5", "UPDATE streams SET granted_from = -1", "UPDATE streams SET start = -5"),
    *("UPDATE streams SET until = 'NaN'", "UPDATE streams SET due_at = '-infinity'", "UPDATE streams SET issuer = ''"),
    *("UPDATE streams SET victim = -7, evicts_to = 2000", "UPDATE streams SET user_id = '\\ud800'"),
    *("UPDATE checkpoints SET data = ''", "UPDATE checkpoints SET data = '\\xc1'", "DELETE FROM checkpoints"),
    'UPDATE checkpoints SET "offset" = "offset" + 3',
]
"""What somebody may do to the tables."""


def test_tables_that_somebody_has_changed_are_harmless_or_an_error() -> None:
    """In PostgreSQL: no question and no add ends otherwise than with an answer, or an error that is documented."""
    address = postgres.address(postgres.QUICK)
    wrong = {}
    changes = CHANGES if LONG else Random(SEED).sample(CHANGES, 3)
    for change in changes:
        schema = postgres.new_schema()
        with PostgresLog[Any](address, schema=schema, types=KEPT) as log:
            history = [*map(MeasurementAdded, range(4)), ReplayCompleted(1)]
            log.append("ann", history, expected_head=0, grant=Grant(room=10), at=5.0)
            log.truncate("ann", 1, None)
            with log._database.connection() as connection:
                connection.execute(f"SET search_path = {schema}".encode())
                try:
                    connection.execute(change.encode())
                except Exception as error:  # the server itself does not let that in
                    assert "violates" in str(error) or "out of range" in str(error), change
        with PostgresLog[Any](address, schema=schema, types=KEPT) as log:
            ended = [told(question, (LogError,)) for question in asked(log)]
            if worse := [word for word in ended if word.startswith("BAD")]:
                wrong[change] = worse
    assert not wrong
    tried(tables=len(changes))


def asked(log: PostgresLog[Any]) -> list[Callable[[], object]]:
    """What can be asked of a log, and added to it."""
    return [
        *(lambda: list(log.read("ann", 1)), lambda: list(log.controls("ann", 1)), lambda: log.position("ann")),
        *(lambda: log.measurements("ann", range(1, 4)), lambda: log.checkpoint("ann"), lambda: list(log.streams())),
        *(lambda: log.overdue(1e9), lambda: log.due(1e9), lambda: log.next_due(0.0), lambda: log.shelved()),
        *(lambda: log.recorded_before("ann", 9.0), lambda: log.times("ann", 0, 9)),
        *(lambda: log.add("ann", 5, lambda: 6.0), lambda: log.add_many("ann", [5, 6], lambda: 6.0)),
    ]
