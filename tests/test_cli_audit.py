"""`holdover audit`: proves a log's file sound, or says what is wrong with whom."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from events import MeasurementAdded, ReplayCompleted, SqliteLog
from statemachine import BufferConfig, ReplayBuffer
from statemachine.cli import _audit, holdover
from statemachine.cli._show import progress


def audited(path: Path) -> Result:
    return CliRunner().invoke(holdover, ["audit", str(path)])


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(statement)
        connection.commit()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog[Any]]:
    """Three users: ann has replayed three and has one; ben has evicted two of five; cleo has cleared one."""
    log = SqliteLog[Any](tmp_path / "b.db", durability="off")
    with ReplayBuffer(log, BufferConfig(max_measurements=3)) as buffer:
        buffer.add_measurements("ann", [1, 2, 3])
        with buffer.snapshot("ann"):
            buffer.add_measurement("ann", 4)
        buffer.add_measurements("ben", [1, 2, 3, 4, 5])
        buffer.add_measurement("cleo", 1)
        buffer.clear_buffer("cleo")
        yield log


@pytest.fixture
def path(log: SqliteLog[Any]) -> Path:
    log.close()
    return Path(log.path)


def test_a_sound_log(path: Path) -> None:
    """The last line says where every measurement is; the exit code is 0."""
    result = audited(path)
    assert result.stdout == "added 10 = replayed 3 + live 4 + evicted 2 + cleared 1, lost 0; 3 users, sound\n"
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_log_that_was_pruned_is_audited_from_its_checkpoints(path: Path) -> None:
    """What is gone still counts."""
    with closing(SqliteLog[Any](path)) as log, ReplayBuffer(log) as buffer:
        assert buffer.prune() > 0
    assert audited(path).stdout.startswith("added 10 = replayed 3 + live 4 + evicted 2 + cleared 1, lost 0; 3 users, ")


def test_an_empty_log_is_sound(tmp_path: Path) -> None:
    """Nothing was added, and nothing is lost."""
    SqliteLog(tmp_path / "b.db").close()
    assert audited(tmp_path / "b.db").stdout.endswith("lost 0; 0 users, sound\n")


def test_an_illegal_history_is_found(log: SqliteLog[Any]) -> None:
    """Events that nobody may have recorded there: each is told with its user, and the others are audited too."""
    position = log.position("ann")
    assert position is not None
    log.append("ann", [ReplayCompleted(7), MeasurementAdded(5)], expected_head=position.head)
    result = audited(Path(log.path))
    assert result.exit_code == 1
    assert result.stderr == f"user 'ann': offset {position.head}: ReplayCompleted is not legal while idle\n"
    assert result.stdout == "added 11 = replayed 3 + live 5 + evicted 2 + cleared 1, lost 0; 3 users, 1 finding\n"


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE holdover_events SET data = x'05' WHERE stream = 1 AND \"offset\" = 1",
            "offset 1 of stream 'ann' does",
        ),
        ('DELETE FROM holdover_events WHERE stream = 1 AND "offset" = 1', "not all of the offsets 0 to "),
        ("UPDATE holdover_streams SET revision = 99 WHERE id = 1", "what is kept about stream 'ann' does not fit"),
    ],
)
def test_a_damaged_user_is_a_finding_and_the_others_are_audited(path: Path, statement: str, words: str) -> None:
    """It is said who and what; what is known of the others is summed up; exit code 1; the file is not touched."""
    change(path, statement)
    before = path.read_bytes()
    result = audited(path)
    assert (result.exit_code, result.stdout) == (
        1,
        "added 6 = replayed 0 + live 3 + evicted 2 + cleared 1, lost 0; 3 users, 1 finding\n",
    )
    (line,) = result.stderr.splitlines()
    assert line.startswith("user 'ann': ")
    assert words in line
    assert path.read_bytes() == before


def test_a_checkpoint_that_is_missing_is_found(path: Path) -> None:
    """Without it nobody can know what the pruned history added up to."""
    with closing(SqliteLog[Any](path)) as log, ReplayBuffer(log) as buffer:
        buffer.prune()
    change(path, "DELETE FROM holdover_checkpoints WHERE stream = 1")
    result = audited(path)
    assert result.exit_code == 1
    assert "the checkpoint of stream 'ann' at offset 5 is missing" in result.stderr


@pytest.mark.parametrize(("name", "shown"), [("x'ff'", r"b'\\xff'"), ("7.5", "7.5"), ("'zoe'", "zoe")])
def test_a_user_whose_name_is_damaged(path: Path, name: str, shown: str) -> None:
    """What is listed and cannot be found, or is no name, is a finding; the others are audited."""
    change(path, f"UPDATE holdover_streams SET name = {name} WHERE id = 1")
    result = audited(path)
    assert result.exit_code == 1
    assert shown in result.stderr
    assert result.stdout.startswith("added 6 = replayed 0 + live 3 + evicted 2 + cleared 1, lost 0; 3 users, 1 finding")


def test_a_user_whose_name_is_no_unicode(tmp_path: Path) -> None:
    """It is audited as any other."""
    with closing(SqliteLog[int](tmp_path / "b.db")) as log, ReplayBuffer(log) as buffer:
        buffer.add_measurement("\ud800", 1)
    assert audited(tmp_path / "b.db").stdout.endswith("lost 0; 1 user, sound\n")


def test_what_sqlite_finds_wrong_is_told(path: Path) -> None:
    """An index that does not fit its table: SQLite's own check sees it."""
    change(
        path,
        "UPDATE sqlite_schema SET sql = replace(sql, 'WHERE until IS NOT NULL', 'WHERE until IS NULL') "
        "WHERE name = 'holdover_overdue'",
    )
    result = audited(path)
    assert result.exit_code == 1
    assert f"{path}: " in result.stderr
    assert "holdover_overdue" in result.stderr
    assert "finding" in result.stdout


def test_a_check_that_fails_is_a_finding(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite cannot even check, that is what is wrong."""

    def refuse(_path: Path) -> sqlite3.Connection:
        raise sqlite3.DatabaseError("malformed")

    monkeypatch.setattr(_audit, "connected", refuse)
    assert audited(path).stderr == f"{path}: malformed\n"


def test_a_loss_would_be_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the sums not to add up, that is a finding of its own."""
    lost = _audit.Audit(first=0, head=9, added=4, replayed=1, live=1, evicted=1, cleared=0, findings=())
    monkeypatch.setattr(_audit, "audited", lambda *_arguments: lost)
    result = audited(path)
    assert result.stderr.splitlines()[0] == "user 'ann': 1 of 4 measurements lost"
    assert "lost 3; 3 users, 3 findings" in result.stdout


def test_the_progress_is_told_now_and_then(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar knows how many events there are, and moves."""
    monkeypatch.setattr(_audit, "REPORT_EVERY", 2)
    bars = progress()
    monkeypatch.setattr(_audit, "progress", lambda: bars)
    assert audited(path).exit_code == 0
    (task,) = bars.tasks
    assert task.total == 7 + 6 + 2
    assert task.completed == 6 + 6 + 2
