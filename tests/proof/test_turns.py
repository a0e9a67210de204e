"""Whether `Turns` tries every order: small programs of which one knows how they can come out."""

from collections.abc import Callable, Sequence

import pytest
from turn_deeds import READ, Changed
from turns import StuckError, Turns


class Counter:
    """A number that two threads count up, and how often somebody had to look again."""

    def __init__(self, turns: Turns) -> None:
        self.turns, self.number, self.again = turns, 0, 0

    def read(self) -> int:
        self.turns.touch("number", READ)
        return self.number

    def write(self, number: int) -> None:
        self.turns.touch("number", Changed())
        self.number = number

    def count_carelessly(self) -> None:
        self.write(self.read() + 1)

    def count_under_lock(self) -> None:
        self.turns.acquire("lock")
        self.count_carelessly()
        self.turns.release("lock")

    def count_if_unchanged(self) -> None:
        """Look, and then count under the lock if nobody has counted since."""
        while True:
            self.turns.acquire("lock")
            seen = self.read()
            self.turns.release("lock")
            self.turns.acquire("lock")
            if unchanged := self.read() == seen:
                self.write(seen + 10)
            self.turns.release("lock")
            if unchanged:
                return
            self.again += 1


def outcomes(*names: str, switches: int = 9) -> list[tuple[int, int]]:
    turns, counters, found = Turns(len(names)), list[Counter](), set[tuple[int, int]]()

    def make() -> Sequence[Callable[[], object]]:
        counters[:] = [Counter(turns)]
        return [getattr(counters[0], name) for name in names]

    turns.explore(make, lambda: found.add((counters[0].number, counters[0].again)), switches=switches)
    assert turns.exhausted
    turns.close()
    return sorted(found)


def test_a_lost_update_is_found() -> None:
    """Who reads and then writes without a lock is interrupted in between."""
    assert outcomes("count_carelessly", "count_carelessly") == [(1, 0), (2, 0)]
    assert outcomes("count_carelessly", "count_carelessly", "count_carelessly") == [(1, 0), (2, 0), (3, 0)]


def test_under_a_lock_nothing_is_lost() -> None:
    """Who holds the lock is not interrupted by others who take it, and is by one who does not."""
    assert outcomes("count_under_lock", "count_under_lock") == [(2, 0)]
    assert outcomes("count_under_lock", "count_carelessly") == [(1, 0), (2, 0)]


def test_each_order_of_critical_sections_is_tried() -> None:
    """Before the look, between look and change, and after the change: each is another outcome."""
    assert outcomes("count_under_lock", "count_if_unchanged") == [(11, 0), (11, 1)]
    assert outcomes("count_if_unchanged", "count_under_lock") == [(11, 0), (11, 1)]
    assert outcomes("count_if_unchanged", "count_if_unchanged") == [(20, 0), (20, 1)]


def test_without_a_switch_there_is_one_thread_after_the_other() -> None:
    """How many switches are tried is counted rightly."""
    assert outcomes("count_carelessly", "count_carelessly", switches=0) == [(2, 0)]
    assert outcomes("count_carelessly", "count_carelessly", switches=1) == [(1, 0), (2, 0)]


def test_a_deadlock_is_found() -> None:
    """Who takes two locks in opposite orders waits for ever."""
    turns = Turns(2)

    def taking(first: str, second: str) -> Callable[[], None]:
        def take() -> None:
            for lock in (first, second):
                turns.acquire(lock)
            for lock in (second, first):
                turns.release(lock)

        return take

    with pytest.raises(StuckError, match="deadlock: thread 1 for b, thread 2 for a"):
        turns.explore(lambda: [taking("a", "b"), taking("b", "a")], lambda: None)
