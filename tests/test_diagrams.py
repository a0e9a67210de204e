"""The diagrams: committed ones are current, they show the whole table, odd ones included, and drift is noticed."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from attrs import evolve

from events import Event
from statemachine import BUFFER_LIFECYCLE, EVERY_STATE, SAME_STATE, Lifecycle, Transition, diagrams

ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "diagrams"
NAMES = ["measurement_buffer.md", "measurement_buffer.dot", "measurement_buffer.svg"]


class Opened(Event): ...


class Closed(Event): ...


class Painted(Event): ...


class Removed(Event): ...


class Locked(Event): ...


DOOR = Lifecycle(
    "door",
    ("closed", "open", "gone"),
    "closed",
    (
        Transition("closed", "open_door", Opened, "open"),
        Transition("open", "close_door", Closed, "closed"),
        Transition(("closed", "open"), "remove", Removed, "gone"),
        Transition("closed", "lock", Locked, SAME_STATE),
        Transition(EVERY_STATE, "paint", Painted, SAME_STATE),
    ),
    final=("gone",),
    guards={"open_door": "it is not locked"},
    effects={"open_door": "a bell rings; opened := opened + 1"},
)

ODD = """:=#"'`%%{}[]<b>&*_x_ \\n -->|~ é end note"""
HOSTILE = Lifecycle(
    '../The | "odd" \\ <one>:\n*it*;',
    ("end", 'a "b": c;', "d|e<f>", "g\\"),
    "end",
    (
        Transition("end", "go", Opened, 'a "b": c;'),
        Transition('a "b": c;', "go|<on>", Closed, "d|e<f>"),
        Transition("d|e<f>", "stop;", Removed, "g\\"),
        Transition("d|e<f>", "loop", Locked, SAME_STATE),
        Transition(EVERY_STATE, "tick: tock", Painted, SAME_STATE),
    ),
    final=("g\\",),
    guards={"go": ODD, "tick: tock": ODD},
    effects={"go": ODD, "loop": f"; {'a' * 70} b\nc ;"},
)
LIFECYCLES = [BUFFER_LIFECYCLE, DOOR, HOSTILE]


def changed() -> Lifecycle:
    """The buffer's lifecycle with one target state changed."""
    rows = [
        evolve(row, target="snapshotting") if row.trigger == "finish_abort" else row
        for row in BUFFER_LIFECYCLE.transitions
    ]
    return evolve(BUFFER_LIFECYCLE, transitions=tuple(rows))


def cells(lifecycle: Lifecycle) -> dict[tuple[str, str], str]:
    """The cells of the page's first table, by state and trigger, as the declaration names them."""
    lines = diagrams.markdown(lifecycle).partition("## Every trigger in every state")[2].splitlines()
    head, _, *rows = (re.split(r" (?<!\\)\| ", line[2:-2]) for line in lines if line.startswith("| "))
    rows = rows[: len(lifecycle.triggers)]
    plain = [[re.sub(r"\\(.)", r"\1", cell) for cell in row] for row in (head, *rows)]
    return {
        (state, row[0].strip("`")): cell for row in plain[1:] for state, cell in zip(plain[0][1:], row[1:], strict=True)
    }


# What they show


@pytest.mark.parametrize("lifecycle", LIFECYCLES, ids=["buffer", "door", "hostile"])
def test_every_pair_has_its_cell(lifecycle: Lifecycle) -> None:
    """For every state and trigger the page says the event and the next state, or that it is refused."""
    event = {row.trigger: row.event.__name__ for row in lifecycle.transitions}
    expected = {}
    for state in lifecycle.states:
        for trigger in lifecycle.triggers:
            target = lifecycle.target(state, trigger) if trigger in lifecycle.legal(state) else None
            shown = target if target == state else f"**{target}**"
            expected[state, trigger] = "refused" if target is None else f"`{event[trigger]}` → {shown}"
    assert cells(lifecycle) == expected


def test_page_tells_every_guard_and_effect() -> None:
    """Each trigger's guard and effects stand on the page in the declaration's words, timeouts among them."""
    page = diagrams.markdown(BUFFER_LIFECYCLE)
    for trigger in BUFFER_LIFECYCLE.triggers:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{trigger}` |") and " → " not in line)
        assert BUFFER_LIFECYCLE.guards.get(trigger, "") in row
        for effect in BUFFER_LIFECYCLE.effects.get(trigger, "").split("; "):
            assert effect in row


def test_mermaid_as_a_whole() -> None:
    """Arrows carry command, event and guard; what is legal everywhere is noted once; no state is painted as present."""
    head, _, body = diagrams.mermaid(DOOR).partition("stateDiagram-v2\n")
    assert head.startswith("---\nconfig:\n")
    assert body == (
        "    direction TB\n"
        "    [*] --> closed\n"
        "    closed --> open: open_door / Opened<br/>[it is not locked]\n"
        "    open --> closed: close_door / Closed\n"
        "    closed --> gone: remove / Removed\n"
        "    open --> gone: remove / Removed\n"
        "    closed --> closed: lock / Locked\n"
        "    gone --> [*]\n"
        "    note right of closed\n"
        "        In every state, without changing it#58;\n"
        "        paint / Painted\n"
        "    end note\n"
    )


def test_mermaid_without_notes() -> None:
    """A lifecycle without commands for every state has no note."""
    lifecycle = evolve(DOOR, transitions=DOOR.transitions[:-1])
    assert "note" not in diagrams.mermaid(lifecycle)
    assert "In every state" not in diagrams.dot(lifecycle)


def test_mermaid_never_trips_over_words() -> None:
    """Quotes, colons, semicolons and their like are written as their numbers, and read back as what they were."""
    text = diagrams.mermaid(HOSTILE)
    labels = re.findall(
        r"(?:: |state \"|^        )(.*?)(?:\" as \w+)?$", text.partition("direction TB\n")[2], re.MULTILINE
    )
    assert len(labels) == 4 + 4 + 2
    for label in labels:
        assert not re.search(r"[:;#\"`%{}<>|\\&*]", re.sub(r"#\d+;|<br/>", "", label))
    read = html.unescape(text.replace("#", "&#"))
    assert f"go / Opened<br/>[{ODD}]" in read
    assert 'state "a "b": c;" as state_2' in read
    assert "state_3 --> state_4: stop; / Removed" in read


def test_dot_and_svg_show_all_words() -> None:
    """The picture has a box for every state, an arrow for every change, and all words, of odd lifecycles as well."""
    pygraphviz = pytest.importorskip("pygraphviz")
    for lifecycle in LIFECYCLES:
        graph = pygraphviz.AGraph(string=diagrams.dot(lifecycle))
        drawn = {edge for edge in graph.edges() if not edge[0].startswith("(") and not edge[1].startswith("(")}
        quoted = {state: state.replace("\\", "\\\\") for state in lifecycle.states}
        assert drawn == {
            (quoted[source], quoted[target]) for source, row, target in lifecycle.rows() if row.source != EVERY_STATE
        }
        assert ("(initial)", lifecycle.initial) in graph.edges()
        assert len(graph.nodes()) == len(lifecycle.states) + 1 + len(lifecycle.final)
        written = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", diagrams.svg(lifecycle))).split())
        for words in (*lifecycle.guards.values(), *lifecycle.effects.values()):
            for part in filter(None, words.split(";")):
                assert " ".join(part.split()) in written


def test_long_words_are_broken_into_lines_of_like_length() -> None:
    """A guard of more than 44 characters stands on several lines of about the same length; a short one on one line."""
    text = diagrams.dot(BUFFER_LIFECYCLE)
    assert ">[the version is current and</font>" in text
    assert ">the deadline has not passed]</font>" in text
    assert ">[the rollback succeeded, or there is none]</font>" in text


def test_arrow_back_to_a_state_with_a_loop_arrives_from_below() -> None:
    """An arrow does not cut through a loop: back to a state that has one it arrives at the other side."""
    text = diagrams.dot(DOOR)
    assert '"open" -> "closed" [headport=s,' in text
    assert text.count("headport") == 1
    assert "headport" not in diagrams.dot(evolve(DOOR, transitions=(*DOOR.transitions[:3], DOOR.transitions[-1])))


def test_file_names() -> None:
    """Files are named after the lifecycle, with nothing in the name that a file system would trip over."""
    assert list(diagrams.render(BUFFER_LIFECYCLE)) == NAMES
    assert next(iter(diagrams.render(HOSTILE))) == "the_odd_one_it.md"
    assert next(iter(diagrams.render(evolve(DOOR, name="?!")))) == "lifecycle.md"


def test_same_declaration_same_text() -> None:
    """Two processes with different hash seeds draw the same, without a date or the version of a tool, line by line."""
    script = (
        "import sys; from statemachine import BUFFER_LIFECYCLE, diagrams; "
        "sys.stdout.buffer.write('\\0'.join(diagrams.render(BUFFER_LIFECYCLE).values()).encode())"
    )
    drawn = [
        subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    ]
    assert drawn[0] == drawn[1]
    for text in drawn[0].decode().split("\0"):
        assert text.endswith("\n")
        assert not text.endswith("\n\n")
        assert "generated by" not in text.lower()


# Whether they are current


def test_committed_diagrams_are_current() -> None:
    """What is committed is what the declaration gives; `holdover diagram` renews it."""
    assert diagrams.drift(BUFFER_LIFECYCLE, COMMITTED) == []


def test_changed_target_is_a_drift_of_every_file() -> None:
    """One changed target state shows in each file, as a difference that a reviewer can read."""
    page, dot, svg = diagrams.drift(changed(), COMMITTED)
    assert page.startswith(f"{COMMITTED / NAMES[0]} differs from the declaration\n")
    assert "-    aborting --> idle: finish_abort" in page
    assert "+    aborting --> snapshotting: finish_abort" in page
    assert '+    "aborting" -> "snapshotting"' in dot
    assert "+edge aborting->snapshotting: finish_abort / AbortFinished" in svg


def test_where_things_stand_is_no_drift(tmp_path: Path) -> None:
    """A picture laid out by another Graphviz or with other fonts is current as long as it says the same."""
    assert len(diagrams.write(BUFFER_LIFECYCLE, tmp_path)) == 3
    picture = tmp_path / NAMES[2]
    moved = re.sub(r"(\b[xy]|\bd|points)=\"[^\"]*\"", r'\1="7"', picture.read_text(encoding="utf-8"))
    picture.write_text(moved, encoding="utf-8")
    assert diagrams.drift(BUFFER_LIFECYCLE, tmp_path) == []
    assert diagrams.write(BUFFER_LIFECYCLE, tmp_path) == []
    assert picture.read_text(encoding="utf-8") == moved
    picture.write_text(moved.replace("finish_abort", "stop_abort"), encoding="utf-8")
    (description,) = diagrams.drift(BUFFER_LIFECYCLE, tmp_path)
    assert "-edge aborting->idle:s: stop_abort" in description


def test_missing_and_broken_files_are_drift(tmp_path: Path) -> None:
    """A missing file is named, a broken picture as well; writing renews all."""
    diagrams.write(BUFFER_LIFECYCLE, tmp_path)
    (tmp_path / NAMES[1]).unlink()
    (tmp_path / NAMES[2]).write_bytes(b"\xff\x00")
    missing, broken = diagrams.drift(BUFFER_LIFECYCLE, tmp_path)
    assert missing == f"{tmp_path / NAMES[1]} is missing"
    assert "-(this is no SVG)" in broken
    assert [path.name for path in diagrams.write(BUFFER_LIFECYCLE, tmp_path)] == NAMES
    assert diagrams.drift(BUFFER_LIFECYCLE, tmp_path) == []


def test_missing_pygraphviz_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra `diagrams`, Mermaid and DOT are drawn, and an SVG's error says which extra to install."""
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    assert diagrams.mermaid(DOOR)
    assert diagrams.dot(DOOR)
    with pytest.raises(ImportError, match=r"pip install 'holdover\[diagrams\]'"):
        diagrams.svg(DOOR)
