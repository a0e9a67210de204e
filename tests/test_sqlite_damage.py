"""A `SqliteLog` in a file that was damaged: all is as it was, or an error says so; nothing is made up or left out."""

import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from attrs import evolve
from enduring import checked_error
from tried import LONG, SEED, tried

from events import LogDamagedError, LogError, Offsets, SqliteLog
from events._codec import Codec
from events._sqlite._adding import Add
from events._sqlite._rows import Stream
from statemachine import BufferConfig, ReplayBuffer, ReplayBufferError, due
from statemachine._kept import KEPT

USERS = ("ann", "bob", "cyd", "dan", "eve ü", "fay")
CONFIG = BufferConfig(max_measurements=6, due=due.Count(3))
PAGE = 4096


def build(path: Path) -> None:
    """Users in each state, one with checkpoints; closed, so that all is in the one file."""
    now = iter(range(100, 1000))
    with ReplayBuffer[Any](SqliteLog(path, durability="off"), CONFIG, clock=lambda: float(next(now))) as buffer:
        for user in USERS:
            buffer.add_measurements(user, [f"{user} {number}" for number in range(4)])
            buffer.add_measurement(user, f"{user} last")
        for number in range(60):
            with buffer.snapshot("bob"):
                buffer.add_measurements("bob", [("bob", number, part) for part in range(3)])
        buffer.begin_snapshot("cyd", "noon")
        buffer.add_measurement("cyd", "pending")
        buffer.begin_snapshot("dan")
        buffer.finalize_snapshot("dan")
        buffer.add_measurement("dan", 8.5)
        buffer.clear_buffer("eve ü", 4)
        buffer.add_measurement("eve ü", {"a": 1})
        buffer.begin_snapshot("fay")
        buffer.abort_snapshot("fay", "no reason")
        buffer.add_measurement("fay", 2)


@cache
def whole() -> bytes:
    with TemporaryDirectory() as directory:
        build(Path(directory) / "whole.db")
        return (Path(directory) / "whole.db").read_bytes()


def everything(path: Path) -> dict[str, Any]:
    """All that can be read."""
    log: SqliteLog[Any] = SqliteLog(path, durability="off")
    with ReplayBuffer(log, CONFIG, clock=lambda: 300.0) as buffer:
        found: dict[str, Any] = {"users": list(islice(buffer.users(), 1000))}
        found |= {"overdue": log.overdue(1e9), "due": log.due(1e9), "shelved": log.shelved()}
        for user in USERS:
            found[f"{user}'s events"] = list(islice(buffer.events(user), 10_000))
            found[f"{user}'s state"] = buffer.state(user)
            found[f"{user}'s measurements"] = buffer.measurements(user)
            found[f"{user}'s checkpoint"] = log.checkpoint(user)
            found[f"{user}'s audit"] = buffer.audit(user)
        return found


@cache
def sound() -> dict[str, Any]:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "sound.db"
        path.write_bytes(whole())
        found = everything(path)
    assert all(found[f"{user}'s audit"].ok for user in USERS)
    return found


def damaged(directory: Path, data: bytes) -> Path:
    """A file of this content, and nothing beside it."""
    path = directory / "damaged.db"
    for suffix in ("-wal", "-shm", "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    path.write_bytes(data)
    return path


def flipped(at: int, bit: int) -> bytes:
    data = bytearray(whole())
    data[at] ^= 1 << bit
    return bytes(data)


def outcome(path: Path) -> str:
    """Whole, refused, or in which way it went wrong."""
    try:
        found = everything(path)
    except LogError as error:
        return "refused" if str(path) in str(error) else f"no file named: {error}"
    except Exception as error:
        return audited(path, f"{type(error).__name__} escaped")
    return audited(path, difference(found))


def difference(found: dict[str, Any]) -> str:
    """In what way something else is read than was recorded."""
    differing = {about.split("'s ")[-1] for about, value in sound().items() if found[about] != value}
    for user in USERS:
        recorded = {one.offset: one for one in sound()[f"{user}'s events"]}
        if any(recorded.get(one.offset) != one for one in found[f"{user}'s events"]):
            return "another event"
    if "events" in differing:
        return "events missing or out of order"
    if differing & {"state", "measurements", "audit"}:
        return "seen by the audit" if all(told(found, user) for user in USERS) else "another state"
    if "checkpoint" in differing:
        return "an older checkpoint"  # which does no harm: the same state is folded from there
    return "another list of users" if differing else "whole"


def told(found: dict[str, Any], user: str) -> bool:
    """Whether all of the user's is as it was, or the audit says that it is not."""
    alike = all(found[about] == sound()[about] for about in (f"{user}'s state", f"{user}'s measurements"))
    return alike or bool(found[f"{user}'s audit"].findings)


UNSEEN = ("UnknownUserError escaped", "another list of users", "events missing or out of order")
"""What a bit in the keys of a search tree may do, where no checksum is: a search goes past what is there."""


def audited(path: Path, what: str) -> str:
    """Where a search went past something, `holdover audit` sees that: it asks SQLite to look at every key."""
    if what not in UNSEEN:
        return what
    try:
        with closing(sqlite3.connect(path)) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchall()
    except sqlite3.Error:
        return "seen by the audit"
    return what if found == [("ok",)] else "seen by the audit"


def bad(outcomes: Counter[str]) -> list[str]:
    """Those that must not be."""
    good = ("whole", "refused", "right", "an older checkpoint", "seen by the audit")
    return [one for one in outcomes if one not in good]


def test_a_sound_file_is_whole(tmp_path: Path) -> None:
    """Otherwise the tests below would find nothing; and they would see what is missing, or is another."""
    assert outcome(damaged(tmp_path, whole())) == "whole"
    path = damaged(tmp_path, whole())
    with ReplayBuffer[Any](SqliteLog(path), CONFIG, clock=lambda: 300.0) as buffer:
        buffer.add_measurement("ann", "one more")
    assert outcome(path) == "another event"
    (event, *others), (changed, *_) = sound()["ann's events"], sound()["bob's events"]
    assert difference(sound() | {"ann's events": [changed, *others]}) == "another event"
    assert difference(sound() | {"ann's events": others}) == "events missing or out of order"
    assert difference(sound() | {"ann's events": [*others, event]}) == "events missing or out of order"
    assert difference(sound() | {"ann's measurements": []}) == "another state"
    other = {"bob's state": evolve(sound()["bob's state"], added=190)}
    assert difference(sound() | other) == "another state"
    odd = evolve(sound()["bob's audit"], findings=("added: the kept state says 190",))
    assert difference(sound() | other | {"bob's audit": odd}) == "seen by the audit"
    assert difference(sound() | other | {"ann's audit": odd}) == "another state"
    assert difference(sound() | {"due": []}) == "another list of users"
    assert len(whole()) % PAGE == 0
    assert len(whole()) > 12 * PAGE


LENGTHS = 60


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    """At any length but none at all, and one byte, which SQLite takes for none."""
    size = len(whole())
    edges = {place + off for place in range(0, size, PAGE) for off in (-1, 0, 1)} - {-1, 0, 1}
    lengths = {2, 15, 16, 17, 99, 100, 101, 511, 512, 513, *edges, *range(2, size - PAGE, size // LENGTHS)}
    outcomes = Counter(outcome(damaged(tmp_path, whole()[:length])) for length in lengths)
    assert set(outcomes) == {"refused"}
    assert sum(outcomes.values()) > 100


def test_a_file_whose_last_page_was_cut_is_refused(tmp_path: Path) -> None:
    """What follows is read as zeros, so that events, and whole users' histories, are missing without a word."""
    size = len(whole())
    outcomes = Counter(outcome(damaged(tmp_path, whole()[:length])) for length in range(size - PAGE + 2, size, 60))
    assert set(outcomes) <= {"refused", "whole"}


def flips(page: int, most: int) -> list[tuple[int, int]]:
    """Places of bits, drawn from the bytes of a page that are not zero, and some that are."""
    draw = Random(SEED + page)
    start = page * PAGE
    used = [at for at in range(start, start + PAGE) if whole()[at]] + draw.sample(range(start, start + PAGE), 8)
    return [(draw.choice(used), draw.randrange(8)) for _ in range(most)]


@pytest.mark.parametrize("part", range(4))
def test_one_flipped_bit_is_harmless_or_an_error(part: int, tmp_path: Path) -> None:
    """On every page: all is as it was, or an error names the file."""
    outcomes: Counter[str] = Counter()
    for page in range(part, len(whole()) // PAGE, 4):
        for at, bit in flips(page, 100 if LONG else 7):
            outcomes[outcome(damaged(tmp_path, flipped(at, bit)))] += 1
    tried(flipped_bits=sum(outcomes.values()))
    assert not bad(outcomes)
    assert outcomes["refused"] > sum(outcomes.values()) / 3


def adding(path: Path) -> str:
    """Go on with a file that was damaged: what is acknowledged is right, whatever else is refused."""
    try:
        log: SqliteLog[Any] = SqliteLog(path, durability="off")
    except LogError:
        return "refused"
    with ReplayBuffer(log, CONFIG, clock=lambda: 300.0) as buffer:
        results = []
        for user in USERS:
            try:
                results.append(added(buffer, user))
            except LogError:
                results.append("refused")
            except ReplayBufferError as error:
                results.append(f"{type(error).__name__} escaped")
        return max(results, key=lambda result: (result not in ("right", "refused"), result == "refused"))


def added(buffer: ReplayBuffer[Any], user: str) -> str:
    before = list(buffer.events(user))
    if before != sound()[f"{user}'s events"]:
        return "events missing or out of order"
    offset = buffer.add_measurement(user, "one more")
    found = list(buffer.events(user))
    one = found[offset - found[0].offset]
    right = one.offset == offset and one.event.measurement == "one more"  # type: ignore[attr-defined]
    return "right" if right and found[: len(before)] == before else "wrong"


@pytest.mark.parametrize("part", range(2))
def test_adding_to_a_damaged_file_is_refused_or_right(part: int, tmp_path: Path) -> None:
    """What is told to be at an offset is there, below it is what was there before."""
    outcomes: Counter[str] = Counter()
    for page in range(part, len(whole()) // PAGE, 2):
        for at, bit in flips(page, 60 if LONG else 3):
            path = damaged(tmp_path, flipped(at, bit))
            outcomes[audited(path, adding(path))] += 1
    tried(flipped_bits=sum(outcomes.values()))
    assert not bad(outcomes)
    assert outcomes["right"]
    assert outcomes["refused"]


def edited(directory: Path, *statements: str) -> Path:
    """The file after somebody has changed a row: the pages are sound, what is in them is not."""
    path = damaged(directory, whole())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount
    return path


STREAM_EDITS = [
    *(f"{column} = {column} + 1" for column in ("start", "granted_from", "revision", "checkpointed", "full_at")),
    *(f"{column} = {column} - 1" for column in ("granted_from", "full_at", "opens_to", "checksum")),
    *(f"{column} = coalesce({column}, 0) + 0.5" for column in ("until", "arrived_at", "due_at", "due_after")),
    *(f"{column} = coalesce({column}, 0) + 1" for column in ("due_since", "shelved_since")),
    *("issuer = x'00'", "issuer = 'text'", "start = 'text'", "checksum = 'text'", "start = x'ff'", "full_at = 1e300"),
    *("until = 'text'", "id = id + 1000"),
]
CHECKPOINT_EDITS = [
    *("data = substr(data, 1, length(data) - 1)", "data = x''", "checksum = checksum + 1", "checksum = 'text'"),
    '"offset" = "offset" - 1',
]
EVENT_EDITS = [
    *("kind = 'SnapshotBegun'", "kind = 'Nothing'", "kind = ''", "kind = NULL", "checksum = checksum + 1"),
    *("checksum = 'text'", "checksum = x'00'", "data = x''", "data = data || x'00'", "data = x'c1'"),
    '"offset" = "offset" + 1000000',
    "stream = stream + 1000",
]
OLD = 'stream = 2 AND "offset" = (SELECT min("offset") FROM holdover_events WHERE stream = 2 AND kind = \'{}\')'


@pytest.mark.parametrize("edit", STREAM_EDITS)
def test_what_is_kept_about_a_user_is_as_it_was_written(edit: str, tmp_path: Path) -> None:
    """Every column of the row, also the grant's."""
    assert outcome(edited(tmp_path, f"UPDATE holdover_streams SET {edit} WHERE id = 4")) == "refused"


@pytest.mark.parametrize("edit", CHECKPOINT_EDITS)
def test_a_checkpoint_is_as_it_was_written(edit: str, tmp_path: Path) -> None:
    """A state that was changed is not gone on from."""
    assert outcome(edited(tmp_path, f"UPDATE holdover_checkpoints SET {edit}")) == "refused"


@pytest.mark.parametrize("edit", EVENT_EDITS)
@pytest.mark.parametrize("kind", ["SnapshotBegun", "ReplayCompleted"])
def test_an_event_is_as_it_was_written(kind: str, edit: str, tmp_path: Path) -> None:
    """Its kind, offset, checksum and data, and that it is there."""
    if edit == f"kind = '{kind}'":
        edit = "kind = 'SnapshotFinalized'"
    assert outcome(edited(tmp_path, f"UPDATE holdover_events SET {edit} WHERE {OLD.format(kind)}")) == "refused"


@pytest.mark.parametrize(
    "statement",
    [
        f"DELETE FROM holdover_events WHERE {OLD.format('SnapshotBegun')}",
        'DELETE FROM holdover_events WHERE stream = 2 AND "offset" = 0',
        "UPDATE holdover_format SET version = 'text'",
        "DELETE FROM holdover_format",
    ],
)
def test_what_is_missing_is_not_passed_over(statement: str, tmp_path: Path) -> None:
    """Neither events nor the format."""
    assert outcome(edited(tmp_path, statement)) == "refused"


ROW_EDITS = {
    "a kind that is no text": (
        f"UPDATE holdover_events SET kind = CAST(kind AS BLOB) WHERE {OLD.format('SnapshotBegun')}"
    ),
    "data that is text": f"UPDATE holdover_events SET data = 'text' WHERE {OLD.format('SnapshotBegun')}",
    "a checkpoint that is text": "UPDATE holdover_checkpoints SET data = 'text'",
    "a name that is a number": "UPDATE holdover_streams SET name = 7 WHERE id = 4",
    "a name that is not UTF-8": "UPDATE holdover_streams SET name = x'ff' WHERE id = 4",
    "a user of another name": "UPDATE holdover_streams SET name = 'don' WHERE id = 4",
    "the newest events gone": 'DELETE FROM holdover_events WHERE stream = 4 AND "offset" > 2',
}


@pytest.mark.parametrize(
    "statement",
    ROW_EDITS.values(),
    ids=ROW_EDITS.keys(),
)
def test_what_only_a_checksum_cannot_tell(statement: str, tmp_path: Path) -> None:
    """All these are changes that an error should tell."""
    assert outcome(edited(tmp_path, statement)) == "refused"


def test_a_schema_that_is_not_unicode_is_told(tmp_path: Path) -> None:
    """SQLite quotes what it does not understand."""
    path = damaged(tmp_path, whole().replace(b"UNIQUE NOT NULL", b"UNIQUE \xceOT NULL"))
    with pytest.raises(LogError) as error:
        SqliteLog[Any](path)
    checked_error(error.value, path)


def test_each_event_is_read_once_and_in_its_place(tmp_path: Path) -> None:
    """One flipped bit in a page's list of rows makes it name one of them twice, and another not at all."""
    data = bytearray(whole())
    first = next(start for start in range(11 * PAGE, len(data), PAGE) if data[start] == 10)  # behind all the roots
    assert rows(data, first) > 30
    place = first + 8 + 2 * 20
    data[place : place + 2] = data[place + 2 : place + 4]
    assert outcome(damaged(tmp_path, bytes(data))) == "refused"


def rows(data: bytearray, page: int) -> int:
    return int.from_bytes(data[page + 3 : page + 5])


def test_users_out_of_order_are_not_listed_for_ever(tmp_path: Path) -> None:
    """A flipped bit in a row's number, on a page that is searched by it."""
    path = damaged(tmp_path, whole())
    with closing(sqlite3.connect(path)) as connection:
        page = (
            connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'holdover_streams'").fetchone()[0] - 1
        )
    start = page * PAGE
    pointer = int.from_bytes(whole()[start + 8 + 8 : start + 8 + 10])  # to the fifth of six rows
    length = 2 if whole()[start + pointer] & 0x80 else 1
    assert whole()[start + pointer + length] == 5
    listed = list(listing(damaged(tmp_path, flipped(start + pointer + length, 5))))
    assert len(listed) <= len(USERS)


def listing(path: Path) -> list[str]:
    log: SqliteLog[Any] = SqliteLog(path)
    try:
        return list(islice(log.streams(), 100))
    except LogDamagedError:
        return []
    finally:
        log.close()


def test_when_an_event_was_recorded_is_as_it_was_written(tmp_path: Path) -> None:
    """What is pruned by time depends on it."""
    path = edited(tmp_path, f"UPDATE holdover_events SET recorded_at = 1.0 WHERE {OLD.format('SnapshotBegun')}")
    log: SqliteLog[Any] = SqliteLog(path)
    try:
        with pytest.raises(LogDamagedError):
            log.recorded_before("bob", 50.0)
    finally:
        log.close()


LOST_CHECKPOINT = """
import sys
from events import LogDamagedError, SqliteLog
from statemachine import ReplayBuffer

with ReplayBuffer(SqliteLog(sys.argv[1])) as buffer:
    try:
        buffer.state("ann")
    except LogDamagedError as error:
        print(error)
"""


def test_a_checkpoint_that_is_missing_where_history_was_pruned_is_told(tmp_path: Path) -> None:
    """Nothing before the first event that is kept is known, then; it is not looked for for ever."""
    path = tmp_path / "pruned.db"
    with ReplayBuffer[Any](SqliteLog(path)) as buffer:
        buffer.add_measurements("ann", [1, 2, 3])
        buffer.clear_buffer("ann")
        buffer.add_measurement("ann", 4)
        assert buffer.prune()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM holdover_checkpoints")
    command = [sys.executable, "-c", LOST_CHECKPOINT, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    assert str(path) in ended.stdout


def forged(directory: Path, statement: str, *parameters: Any) -> Path:
    """The file after the row of the second user was changed, and its checksum with it."""
    path = damaged(directory, whole())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute(f"UPDATE holdover_streams SET {statement} WHERE id = 2", parameters).rowcount
        (*values, _checksum) = connection.execute("SELECT * FROM holdover_streams WHERE id = 2").fetchone()
        connection.execute("UPDATE holdover_streams SET checksum = ? WHERE id = 2", (Stream(*values).checksum(),))
    return path


@pytest.mark.parametrize("edit", ["granted_from = 'x'", "checkpointed = x''", "start = -1", "revision = 1 << 62 | 1"])
def test_a_column_holds_what_a_log_keeps_there(edit: str, tmp_path: Path) -> None:
    """Whether its checksum fits or not."""
    assert outcome(forged(tmp_path, edit)) == "refused"


def test_a_name_that_is_no_text_is_damage(tmp_path: Path) -> None:
    """Bytes stand only for a name that is no Unicode; these are for none."""
    assert outcome(forged(tmp_path, "name = x'ff00'")) == "refused"


def test_an_event_at_no_whole_offset_is_damage(tmp_path: Path) -> None:
    """The head is one more than the highest offset, which has to be a number that one can count with."""
    newest = '(SELECT max("offset") FROM holdover_events WHERE stream = 2)'
    edit = f'UPDATE holdover_events SET "offset" = 9e999 WHERE stream = 2 AND "offset" = {newest}'
    assert outcome(edited(tmp_path, edit)) == "refused"


@pytest.mark.parametrize("victims", ["x", Offsets((range(3),))])
def test_only_what_was_recorded_as_a_victim_is_evicted(victims: Any, tmp_path: Path) -> None:
    """Where the victims are something else, or too few, nothing is added."""
    evicts = "victims = ?, full_at = 0, opens_to = 0, until = NULL, issuer = x'', evicts_to = granted_from + 2000"
    path = forged(tmp_path, evicts, Codec().encode(victims))
    told = pytest.raises(LogDamagedError, match="what may be evicted of stream 'bob' is not what was recorded")
    with closing(SqliteLog[Any](path, types=KEPT)) as log, told:
        log._do(Add("bob", (b"1",), lambda: 0.0, b"", log._codec))
