"""The conformance suite's model, taken through every one of its rules by hand, whatever hypothesis happens to draw."""

from fractions import Fraction
from typing import Any

import pytest

from events import EventLog, Grant, MemoryLog, Offsets
from events.conformance._base import Hooks
from events.conformance._model import BesideLists


class InMemory(Hooks):
    def make_log(self) -> EventLog[Any]:
        return MemoryLog()


@pytest.fixture
def model() -> BesideLists:
    return BesideLists(InMemory())


def agree(model: BesideLists) -> None:
    """The log and the lists say the same."""
    model.both_say_the_same()
    model.both_hold_the_same()


def test_adds_within_room(model: BesideLists) -> None:
    """Where there is room, one and many are added, and what arrives first makes the stream due later."""
    model.append("ann", [True, False], wrong=1, grant=Grant(4))
    assert model.streams == {}
    model.append("ann", [True, False], wrong=0, grant=Grant(4, notes_arrival=True, due_after=1.0))
    model.add("ann")
    agree(model)
    assert model.log.due(0.0) == []
    model.wait()
    assert model.log.due(1.0) == ["ann"]
    model.add_many("ann", 3)
    model.add_many("ann", 1)
    model.add("ann")
    model.append("ann", [False], wrong=-1, grant=Grant(4))
    model.append("bob", [False], wrong=0, grant=Grant(1, notes_arrival=True))
    model.add("bob")
    assert len(model.streams["ann"].events) == 6
    agree(model)


def test_adds_that_evict(model: BesideLists) -> None:
    """Where there are victims, each add is followed by the eviction of the next, and no batch is added."""
    model.append("bob", [True, True, True], wrong=0, grant=Grant(victims=Offsets((range(2),))))
    model.add("bob")
    model.add("bob")
    model.add("bob")
    model.add_many("bob", 1)
    assert len(model.streams["bob"].events) == 7
    agree(model)


def test_adds_that_come_too_late(model: BesideLists) -> None:
    """When the grant is over nothing is added; what is shelved is listed."""
    model.append("ann", [True], wrong=0, grant=Grant(4, until=1.0, shelved=True))
    model.wait()
    model.add("ann")
    model.add_many("ann", 2)
    model.append("ann", [True], wrong=0, grant=Grant(1, due_at=1.0))
    agree(model)
    assert len(model.streams["ann"].events) == 2
    assert model.log.due(1.0) == ["ann"]


def test_reads_and_truncations(model: BesideLists) -> None:
    """What is cut off is gone, and the rest is read between any two offsets, measurements and others."""
    model.truncate("ann", Fraction(1, 2))
    model.read("ann", Fraction(0), None)
    assert model.streams == {}
    model.append("ann", [True, False, True, False], wrong=0, grant=Grant())
    model.truncate("ann", Fraction(1, 2))
    model.truncate("ann", Fraction(0))
    model.read("ann", Fraction(0), None)
    model.read("ann", Fraction(1, 2), Fraction(1))
    assert model.streams["ann"].start == 2
    agree(model)
    model.teardown()
