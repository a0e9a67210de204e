"""The checker of histories sees what it is there to see, and judges as another one does."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attrs import evolve
from detangle import lin
from history_checker import check
from history_model import BufferModel
from history_recording import History, operations
from history_timeline import explained
from history_values import REFUSED, RETURNED, UNKNOWN, Operation, State
from tried import LONG, SEED, tried

from statemachine import BufferConfig

MODEL = BufferModel(BufferConfig(max_measurements=3, snapshot_timeout=30.0, replay_timeout=50.0))
HISTORIES = 1500 if LONG else 100


class InDetangle(lin.Model):
    """The same model for the other checker: a state is the set of those that are possible."""

    def init(self) -> frozenset[State]:
        return frozenset({MODEL.initial})

    def step(self, state: frozenset[State], op: lin.Operation) -> tuple[bool, frozenset[State]]:
        after = frozenset(following for each in state for following in MODEL.step(each, op.arg))
        return bool(after), after


def detangle_agrees(history: Sequence[Operation]) -> bool:
    """What the other checker says."""
    found = [
        lin.Operation(
            place, one.by, one.name, one, one.called, 0.0, one.output, "ok" if one.known else "info", one.returned
        )
        for place, one in enumerate(history)
    ]
    return lin.check(found, InDetangle()).ok


def called(name: str, output: Any, start: int, stop: int | None, argument: Any = None, **other: Any) -> Operation:
    """One that returned, unless something else is said."""
    values = {"outcome": RETURNED, "earliest": 100.0, "latest": 100.0, **other}
    return Operation(f"t{start}", "ann", name, argument, start, stop, output=output, **values)


ADDED = called("add", 0, 0, 10, "a")
EXPLAINED = {
    "two at once, the later one first": [called("add", 1, 0, 10, "a"), called("add", 0, 5, 15, "b")],
    "a killed one that happened": [
        ADDED,
        called("add", None, 20, 25, "b", outcome=UNKNOWN),
        called("measurements", ("a", "b"), 30, 40),
    ],
    "a killed one that did not": [
        ADDED,
        called("add", None, 20, 25, "b", outcome=UNKNOWN),
        called("measurements", ("a",), 30, 40),
    ],
    "one in doubt that happened late": [
        ADDED,
        called("add", None, 20, None, "b", outcome=UNKNOWN),
        called("size", 1, 30, 40),
        called("size", 2, 50, 60),
    ],
    "of two begins one wins": [
        ADDED,
        called("begin", 1, 20, 40),
        called("begin", "SnapshotInProgressError", 20, 40, outcome=REFUSED),
    ],
}

CANARIES = {
    "an acknowledged add is lost": [ADDED, called("measurements", (), 20, 30)],
    "an offset is used twice": [ADDED, called("add", 0, 20, 30, "b")],
    "an offset comes before an older one": [called("add", 1, 0, 10, "a"), called("add", 0, 20, 30, "b")],
    "a stale view": [ADDED, called("add", 1, 20, 30, "b"), called("measurements", ("a",), 40, 50)],
    "a view of the future": [ADDED, called("measurements", ("a", "b"), 20, 30), called("add", 1, 40, 50, "b")],
    "both begins win": [ADDED, called("begin", 1, 20, 40), called("begin", 2, 20, 40)],
    "a zombie completes": [
        ADDED,
        called("begin", 1, 20, 30),
        called("abort", None, 40, 50, 1),
        called("begin", 2, 60, 70),
        called("finalize", (2, 0, 4, 1, ("a",)), 80, 90, 2),
        called("complete", None, 100, 110, 1),
    ],
    "a completion clears to the head": [
        ADDED,
        called("begin", 1, 20, 30),
        called("finalize", (1, 0, 1, 1, ("a",)), 40, 50, 1),
        called("add", 3, 60, 70, "b"),
        called("complete", None, 80, 90, 1),
        called("measurements", (), 100, 110),
    ],
    "frozen at the finalize": [
        ADDED,
        called("begin", 1, 20, 30),
        called("add", 2, 40, 50, "b"),
        called("finalize", (1, 0, 1, 2, ("a", "b")), 60, 70, 1),
    ],
    "recorded, though it failed": [
        ADDED,
        called("add", "LogBusyError", 20, 30, "b", outcome="failed"),
        called("size", 2, 40, 50),
    ],
    "a killed one happens after its death": [
        ADDED,
        called("add", None, 20, 25, "b", outcome=UNKNOWN),
        called("size", 1, 30, 40),
        called("size", 2, 50, 60),
    ],
    "what is overdue is not seen to be": [
        ADDED,
        called("begin", 1, 20, 30),
        called("finalize", (1, 0, 1, 1, ("a",)), 40, 50, 1, earliest=140.0, latest=140.0),
    ],
    "more than the bound": [
        *(called("add", n, 20 * n, 20 * n + 10, f"m{n}") for n in range(4)),
        called("size", 4, 90, 95),
    ],
}


@pytest.mark.parametrize("history", EXPLAINED.values(), ids=EXPLAINED)
def test_what_has_an_explanation_is_let_pass(history: list[Operation]) -> None:
    """Calls at once may have happened in any order, and one that was killed at any time until then, or never."""
    assert check(history, MODEL) is None
    assert detangle_agrees(history)


@pytest.mark.parametrize("history", CANARIES.values(), ids=CANARIES)
def test_each_canary_is_seen(history: list[Operation]) -> None:
    """A history that no order explains is refused, by both checkers."""
    assert check(history, MODEL) is not None
    assert not detangle_agrees(history)


def sequential(chance: Random, length: int) -> list[Operation]:
    """What the model itself answers, one call after the other, each spread over some time around its effect."""
    state, history = MODEL.initial, list[Operation]()
    for place in range(length):
        name = chance.choice(
            ["add", "add", "add", "begin", "finalize", "complete", "abort", "clear", "size", "pending"]
        )
        known = chance.choice([state.version, state.version, None])
        argument = f"m{place}" if name == "add" else known if name in ("finalize", "complete", "abort") else None
        asked = Operation("", "ann", name, argument, 0, None, RETURNED, None, 100.0, 100.0)
        (outcome, output), after = MODEL._outcomes(state, asked)[0]
        one = evolve(
            asked,
            by=f"t{place}",
            called=10 * place - chance.randint(0, 30),
            returned=10 * place + chance.randint(0, 30),
            outcome=outcome,
            output=output,
        )
        if chance.random() < 0.1:
            one = evolve(one, outcome=UNKNOWN, output=None, returned=chance.choice([None, one.returned]))
            after = chance.choice([state, after])
        state = after
        if one.known or name not in ("size", "pending"):
            history.append(one)
    return history


def doctored(history: list[Operation], chance: Random) -> list[Operation]:
    """One answer is another one's, or one happened at another time."""
    known = [place for place, one in enumerate(history) if one.known]
    if not known:
        return history
    place, other = chance.choice(known), history[chance.choice(known)]
    wrong: Callable[[Operation], Operation] = chance.choice(
        [
            lambda one: evolve(one, outcome=other.outcome, output=other.output) if one.name == other.name else one,
            lambda one: evolve(one, output=one.output + 1) if isinstance(one.output, int) else one,
            lambda one: evolve(one, called=one.called + 40, returned=(one.returned or 0) + 40),
        ]
    )
    return [*history[:place], wrong(history[place]), *history[place + 1 :]]


def test_both_checkers_judge_the_same() -> None:
    """Over histories that the model made, and others in which something was changed afterwards."""
    verdicts: list[bool] = []
    for seed in range(SEED, SEED + HISTORIES):
        chance = Random(seed)
        history = sequential(chance, 14)
        assert check(history, MODEL) is None, f"HOLDOVER_SEED={seed}: {history}"
        for _ in range(chance.randint(0, 2)):
            history = doctored(history, chance)
        failure = check(history, MODEL)
        verdicts.append(failure is None)
        assert (failure is None) == detangle_agrees(history), f"HOLDOVER_SEED={seed}: {history}"
        if failure is not None:
            before = [one for one in failure.operations if one is not failure.odd]
            until = failure.odd.returned
            seen = [
                one if one.returned is not None and one.returned < until else MODEL.unanswered(one)
                for one in [*before, failure.odd]
            ]
            assert detangle_agrees(seen), f"HOLDOVER_SEED={seed}: not the shortest"
    assert 0.2 < sum(verdicts) / len(verdicts) < 0.9
    tried(histories=len(verdicts))


def test_a_failure_shows_what_happened_and_can_be_checked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user, the answer, how the buffer may have stood, the threads side by side; and the history is kept."""
    monkeypatch.setattr("history_timeline.SAVED", tmp_path)
    notes: list[Any] = [
        ("t0", "ann", "add", "t0:0", 100.0, 1_000_000),
        ("t1", "ann", "add", "t1:0", 100.0, 1_500_000),
        ("t0", RETURNED, 0, 2_000_000, 100.0),
        ("t0", "ann", "measurements", None, 100.0, 3_000_000),
        ("t0", RETURNED, ("t1:0",), 4_000_000, 100.0),
        ("t0", "ann", "size", None, 100.0, 5_000_000),
    ]
    history = History({"max_measurements": 3}, 7, notes, {"t0": (6_000_000, 100.0), "t1": (None, 100.0)})
    with pytest.raises(AssertionError) as told:
        explained(history, "memory")
    lines = str(told.value).splitlines()
    assert lines[0] == "no order of user 'ann''s operations explains what t0 was told: measurements() -> (t1:0,)"
    assert lines[2].endswith("idle, version 0, head 1, committed 0, live [t0:0]")
    assert [line.split() for line in lines if line.startswith(">")] == [
        [">", "2.000", "3.000", "measurements()", "->", "(t1:0,)"]
    ]
    assert any(line.split() == ["0.500", "?", "add(t1:0)", "->", "?"] for line in lines)
    saved = tmp_path / "memory-7.json"
    assert lines[-2].endswith(saved.name)
    assert operations(History.load(saved).notes, History.load(saved).ends)
    with pytest.raises(AssertionError, match=r"no order of user 'ann'"):
        explained(History.load(saved), "again")
