"""Workers and adders on one PostgreSQL server, killed, paused, cut off: each measurement is replayed exactly once."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import postgres
import pytest
from attrs import astuple
from campaign_driver import campaign
from campaign_server import Server, own_server
from conftest import Clock
from killing import apart
from pg_campaign import HOUR, Row, Told, faults
from tried import LONG, SEED, tried

from events import MeasurementAdded, PostgresLog
from statemachine import BufferConfig, ReplayBuffer, due

SEEDS, LEASE = (5, 1.0) if LONG else (1, 0.5)
DEEDS = (
    {"kill_worker": 4, "kill_adder": 2, "pause_worker": 4}
    if LONG
    else {"kill_worker": 2, "kill_adder": 1, "pause_worker": 2}
)
"""What is done in a round, in some order, and how often."""

FAULTS = {
    *("lost", "doubled", "torn", "out of order", "of somebody else", "there though refused", "paused and completed"),
    *("not as in the history", "audits failed", "left or evicted"),
}


TRIED = ("kills", "pauses", "late completions refused", "leases expired", "measurements added", "measurements replayed")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with own_server() as server:
        yield server


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_acknowledged_measurement_is_replayed_exactly_once(tmp_path: Path, server: Server, seed: int) -> None:
    """Workers killed, or paused past their lease and continued, adders killed, the server restarted: all count once."""
    figures, waits = apart(campaign, tmp_path, astuple(server), SEED + seed, LEASE, DEEDS)
    shown = [f"{name}: {figure}" for name, figure in sorted(figures.items())]
    taken_over = f"taken over after {', '.join(f'{wait:.2f}' for wait in sorted(waits))} leases"
    sys.stdout.write(f"seed {seed}: {', '.join(shown)}; {taken_over}\n")
    tried(**{word: figures[word] for word in TRIED})
    assert {name: figures[name] for name in FAULTS & set(figures) if figures[name]} == {}
    assert figures["kills"] == DEEDS["kill_worker"] + DEEDS["kill_adder"]
    assert figures["paused replays taken over"] >= figures["pauses"] == DEEDS["pause_worker"]
    assert figures["measurements replayed"] >= figures["measurements added"] > 0


@pytest.mark.skipif(not LONG, reason="takes as long as a round")
def test_results_that_are_saved_before_the_completion_are_doubled(tmp_path: Path, server: Server) -> None:
    """The campaign sees what it is there to see: an application that saves first doubles what a zombie has replayed."""
    figures, _ = apart(campaign, tmp_path, astuple(server), SEEDS, LEASE, DEEDS, True)
    assert figures["doubled"] > 0
    assert figures["not as in the history"] > 0
    assert not figures.get("lost")


TOLD = Told(
    added=[("ann", [1]), ("ann", [2, 3]), ("bob", [4])],
    unknown=[("ann", [5, 6])],
    refused=[("bob", [7])],
)
SOUND = [("ann", 1, 1), ("ann", 1, 2), ("ann", 2, 3), ("bob", 1, 4)]
MORE = [("ann", 3, 5), ("ann", 3, 6)]


@pytest.mark.parametrize("rows", [SOUND, SOUND + MORE])
def test_a_sound_table_has_no_faults(rows: list[Row]) -> None:
    """What nobody knows the outcome of is there once or not at all."""
    assert faults(rows, TOLD) == {}


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (SOUND[1:], "lost"),
        ([], "lost"),
        (SOUND + SOUND[2:3], "doubled"),
        ([*SOUND, ("ann", 3, 3)], "doubled"),
        (SOUND + MORE + [("ann", 4, 6)], "doubled"),
        (SOUND + MORE[:1], "torn"),
        ([SOUND[1], SOUND[0], *SOUND[2:]], "out of order"),
        ([*SOUND[:3], ("ann", 2, 4)], "of somebody else"),
        ([*SOUND, ("bob", 1, 99)], "of somebody else"),
        ([*SOUND, ("bob", 2, 7)], "there though refused"),
    ],
)
def test_each_fault_is_seen(rows: list[Row], fault: str) -> None:
    """A table that was doctored: the checker names what is wrong with it, and nothing else."""
    assert set(faults(rows, TOLD)) == {fault}


def machine(schema: str, **options: Any) -> ReplayBuffer[int]:
    """A buffer on a log of its own, as on another machine; users are due after half an hour."""
    log = PostgresLog[int](postgres.address(postgres.QUICK), schema=schema)
    return ReplayBuffer(log, BufferConfig(due=due.Age(HOUR / 2)), **options)


@pytest.fixture
def fast_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplayBuffer[int]]:
    """One whose own clock is an hour fast, when another has just added something for ann."""
    schema, right = postgres.new_schema(), time.time
    with machine(schema) as other:
        other.add_measurement("ann", 1)
        monkeypatch.setattr(time, "time", lambda: right() + HOUR)
        with machine(schema) as buffer:
            monkeypatch.undo()
            yield buffer


def test_a_machine_that_is_fast_claims_nobody_who_is_not_due(fast_machine: ReplayBuffer[int]) -> None:
    """Else nobody else could claim them for an hour, should it then die."""
    assert fast_machine._claimed(1) == []


def test_the_first_arrival_that_a_fast_machine_notes_is_by_the_servers_clock(fast_machine: ReplayBuffer[int]) -> None:
    """Else its new users are due an hour late."""
    fast_machine.add_measurement("bob", 1)
    (added,) = fast_machine.events("bob")
    assert isinstance(added.event, MeasurementAdded)
    assert added.event.arrived_at is not None
    assert abs(added.event.arrived_at - time.time()) < HOUR / 2


def test_a_claim_ends_with_the_finding_that_the_user_is_not_due(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where an add comes in between: else nobody is given the user for the time of the claim once they are due."""
    schema = postgres.new_schema()
    with machine(schema, clock=clock) as worker, machine(schema, clock=clock) as adder:
        adder.add_measurement("ann", 1)
        clock.now += HOUR / 2
        assert worker._claimed(1) == ["ann"]
        clock.now -= 0.01  # by the next answer the server's time is known better
        append = worker._log.append

        def append_late(*arguments: Any, **options: Any) -> int:
            monkeypatch.undo()
            adder.add_measurement("ann", 2)
            return append(*arguments, **options)

        monkeypatch.setattr(worker._log, "append", append_late)
        assert not worker._journal.is_due("ann", clock.now)
        clock.now += 0.01
        assert adder._claimed(1) == ["ann"]
