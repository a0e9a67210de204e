"""Every interleaving: two and three threads on one user come out as if one had come after the other.

Turns are taken at every lock, and at everything in memory that threads share and that no lock guards; what Python does
between two of them nobody else can see. (To go through a dictionary counts as one step, as `list` does it.) What comes
out - what each call gives or how it is refused, the state, the measurements - has to be what some order of whole calls
gives. So of two who begin one wins, and of two who complete or abort; nothing is lost, doubled or out of order; and
nobody waits for ever. Of a pair with too many orders, those with up to two switches are tried, or up to one (a switch
is where a thread has to wait that could have gone on), or some are drawn. The table tells which.

frontrun 0.7 does not explore here: where one thread enters a critical section and another enters two of the same lock,
it tried some of the three orders and no more. `test_turns` has that case.
"""

import sys
from collections.abc import Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from random import Random

import pytest
from attrs import evolve
from interleaving import Found, Interleaving
from tried import LONG, SEED, tried
from turning_files import in_files
from turns import ENDLESS
from user_operations import FROZEN_OPERATIONS, LEFT_OUT, OPERATIONS, STARTS, public_names

TURNS = 250
"""How many turns a pair may take before fewer orders are tried of it."""

READING = {"measurements", "pending", "state", "state_at", "size", "events", "audit", "parked", "users", "metrics"}
EVERY = OPERATIONS | FROZEN_OPERATIONS
WITH_SNAPSHOT = ("replaying", "overdue", "failed")
"""Where there is a snapshot object to use."""

SHORT = [
    ("idle", "add_measurement", "begin_snapshot"),
    ("idle", "begin_snapshot", "begin_snapshot"),
    ("full", "add_measurement", "add_measurements"),
    ("replaying", "add_measurement", "frozen.complete"),
    ("replaying", "frozen.complete", "expire_overdue"),
    ("replaying", "frozen.complete", "measurements"),
    ("nobody", "add_measurement", "add_measurement"),
]

TRIPLES = [
    ("idle", "add_measurement", "snapshot", "abort_snapshot"),
    ("idle", "add_measurement", "snapshot", "expire_overdue"),
    ("idle", "begin_snapshot", "begin_snapshot", "add_measurement"),
    ("full", "add_measurements", "snapshot", "add_measurement"),
    ("replaying", "frozen.complete", "frozen.abort", "expire_overdue"),
]
"""add | replay | abort, add | replay | expire, begin | begin | add, evict | replay, and three who would end one."""


IN_FILES = [
    ("idle", "begin_snapshot", "begin_snapshot"),
    ("idle", "add_measurement", "begin_snapshot"),
    ("replaying", "add_measurement", "complete_replay"),
    ("replaying", "complete_replay", "abort_snapshot"),
    ("replaying", "complete_replay", "expire_overdue"),
    ("full", "add_measurements", "add_measurement"),
    ("full", "add_measurement", "snapshot"),
    ("overdue", "renew_lease", "expire_overdue"),
    ("nobody", "add_measurement", "add_measurement"),
    ("failed", "schedule_retry", "begin_snapshot"),
    ("parked", "release", "begin_snapshot"),
    ("idle", "clear_buffer", "add_measurement"),
]


def interleaving(start: str, *names: str) -> Interleaving:
    labels = [name + "'" * names[:place].count(name) for place, name in enumerate(names)]
    return Interleaving(STARTS[start], {label: EVERY[name] for label, name in zip(labels, names, strict=True)})


def told(start: str, names: Sequence[str], found: Found) -> str:
    exhausted = {ENDLESS: "yes", 0: "no: drawn"}.get(found.switches, f"to {found.switches} switches")
    return f"{start:10} {' | '.join(names):50} {found.runs:7,} {found.states:8,}   {exhausted:14} {found.outcomes:3}\n"


def pairs(start: str) -> list[tuple[str, str]]:
    names = sorted(OPERATIONS) + (sorted(FROZEN_OPERATIONS) if start in WITH_SNAPSHOT else [])
    all_pairs = combinations_with_replacement(names, 2)
    return [pair for pair in all_pairs if not READING.issuperset(pair) and interleaving(start, *pair).makes_sense]


def explored(start: str, *names: str) -> Found:
    return noted(start, names, interleaving(start, *names).explore(TURNS, SEED))


def noted(start: str, names: Sequence[str], found: Found) -> Found:
    """Count it, and print its line of the table."""
    kind = {ENDLESS: "exhausted", 0: "sampled"}.get(found.switches, "with_few_switches")
    tried(interleavings=found.runs, **{f"pairs_{kind}": 1})
    sys.stdout.write(told(start, names, found))
    return found


def test_every_public_operation_is_interleaved_or_left_out_by_name() -> None:
    """Whoever adds a public method finds here that nobody has looked what it does while others are at work."""
    covered = set(EVERY) | set(LEFT_OUT)
    assert public_names() - covered == set()
    assert covered - public_names() == set()


@pytest.mark.parametrize("pair", SHORT, ids=" ".join)
def test_two_at_once_come_out_as_one_after_the_other(pair: tuple[str, ...]) -> None:
    """Whatever two threads do with one user at once, it is as if one had come after the other."""
    assert explored(*pair).runs > 1


@pytest.mark.skipif(not LONG, reason="every pair takes minutes: make prove")
@pytest.mark.parametrize("start", STARTS)
def test_every_two_at_once_come_out_as_one_after_the_other(start: str) -> None:
    """The same of every pair of public operations, from every state in which both make sense."""
    results = [explored(start, *pair) for pair in pairs(start)]
    assert len(results) > 10


@pytest.mark.parametrize("pair", IN_FILES if LONG else IN_FILES[:1], ids=" ".join)
def test_two_with_one_file_come_out_as_one_after_the_other(tmp_path: Path, pair: tuple[str, ...]) -> None:
    """The same of two who have opened one file, as two processes do: turns are taken at what the other can see."""
    start, *names = pair
    with in_files(tmp_path) as opened:
        two = evolve(interleaving(start, *names), opened=opened)
        found = two.explore(TURNS, SEED) if LONG else two.sample(20, SEED)
    noted(start, names, found)
    assert found.runs > 1


@pytest.mark.parametrize("triple", TRIPLES, ids=" ".join)
def test_three_at_once_come_out_as_one_after_the_other(triple: tuple[str, ...]) -> None:
    """Three threads with one user: in every order with few switches, and in others that are drawn."""
    start, *names = triple
    sys.stdout.write(f"HOLDOVER_SEED={SEED}\n")
    drawn = interleaving(start, *names).sample(600 if LONG else 25, Random(f"{SEED} {triple}").randrange(2**32))
    tried(interleavings=drawn.runs, triples=1)
    sys.stdout.write(told(start, names, drawn))
    if LONG:
        explored(start, *names)
    assert drawn.runs
