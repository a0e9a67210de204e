"""A `SqliteLog` when power is cut: what `durability` promises, at every place of a buffer's life."""

from bisect import bisect_right
from pathlib import Path

import pytest
import vfs
from enduring import CONFIG, NOW, History, Life, found_in, history, saved, told_between
from tried import LONG, SEED, tried
from vfs import NAME, Disk, Survivors, kept, lost, some, torn

from events import Durability, LogError, SqliteLog
from statemachine import ReplayBuffer

SURVIVORS = [lost, kept, torn, *(some(SEED + seed) for seed in range(8 if LONG else 2))]

pytestmark = vfs.needed


class Cuts:
    """A life, and what a power cut at each of its places leaves behind."""

    def __init__(self, directory: Path, durability: Durability) -> None:
        self.cut = directory / "cut"
        self.cut.mkdir()
        self.marks, self.histories = [0], [{}]
        with Disk(directory / "life.db") as self.disk:
            life = Life(self.disk.database, vfs=NAME, durability=durability)
            for call in life.calls():
                call()
                self.marks.append(len(self.disk.changes))
                self.histories.append(life.history())
            life.close()

    def after(self, survivors: Survivors, at: int) -> tuple[int, int]:
        """How many calls were acknowledged before a cut at this place, and how many are found; sound, if any is."""
        acknowledged = bisect_right(self.marks, at) - 1
        found, results = found_in(self.disk.after_power_cut(self.cut, survivors, at))
        assert (results or 0) == saved(found), "results and completion are there together or not at all"
        for place in range(acknowledged + 1, 0, -1):
            if place < len(self.histories) and found == self.histories[place]:
                return acknowledged, place
        for place in range(min(acknowledged + 1, len(self.histories) - 1), 0, -1):
            if told_between(found, self.histories[place - 1], self.histories[place]):
                return acknowledged, place - 1
        raise AssertionError(f"no beginning of what was recorded: {found}")

    def acknowledged(self, at: int) -> int:
        """How many events of all users were acknowledged before a cut at this place."""
        return sum(state.head for _, state in self.histories[bisect_right(self.marks, at) - 1].values())

    def places(self, every: int) -> range:
        return range(0, len(self.disk.changes) + 1, 1 if LONG else every)


def named(survivors: Survivors) -> str:
    return survivors.__name__


def test_cuts_are_made_at_every_place_that_matters(tmp_path: Path) -> None:
    """A life has syncs and writes between most calls, so a cut can fall into each."""
    cuts = Cuts(tmp_path, "full")
    assert len(cuts.marks) > 30
    assert len(cuts.disk.changes) > 300
    assert all(earlier < later for earlier, later in zip(cuts.marks[:-1], cuts.marks[1:], strict=True))


@pytest.mark.parametrize("survivors", SURVIVORS, ids=named)
def test_with_full_durability_what_returned_survives_every_power_cut(survivors: Survivors, tmp_path: Path) -> None:
    """At every place, whatever of the unsynced is found: all that was acknowledged, and at most the call under way."""
    cuts = Cuts(tmp_path, "full")
    for at in cuts.places(every=3 if survivors is lost else 9):
        acknowledged, found = cuts.after(survivors, at)
        tried(power_cuts=1)
        assert found >= acknowledged, f"cut after {at} changes"


@pytest.mark.parametrize("survivors", SURVIVORS, ids=named)
def test_with_normal_durability_a_power_cut_costs_only_the_newest(survivors: Survivors, tmp_path: Path) -> None:
    """What is found is sound and a beginning of what was recorded; and some that was acknowledged is not in it."""
    cuts = Cuts(tmp_path, "normal")
    shortfalls = []
    for at in cuts.places(every=11):
        acknowledged, found = cuts.after(survivors, at)
        tried(power_cuts=1)
        shortfalls.append(acknowledged - found)
    assert (max(shortfalls) > 0) == (survivors is not kept), "this test can tell, then"


@pytest.mark.parametrize("survivors", SURVIVORS, ids=named)
def test_without_durability_a_power_cut_may_damage_the_file(survivors: Survivors, tmp_path: Path) -> None:
    """It opens, perhaps with much less than was acknowledged, or it is an error of the log that names the file."""
    cuts = Cuts(tmp_path, "off")
    short = 0
    for at in cuts.places(every=25):
        database = cuts.disk.after_power_cut(cuts.cut, survivors, at)
        try:
            found = opened(database)
        except LogError as error:
            assert str(database) in str(error)
            short += 1
        else:
            short += sum(state.head for _, state in found.values()) < cuts.acknowledged(at)
    assert bool(short) == (survivors is not kept)


def opened(path: Path) -> History:
    log: SqliteLog[object] = SqliteLog(path, durability="off")
    with ReplayBuffer(log, CONFIG, clock=lambda: NOW) as buffer:
        return history(buffer)
