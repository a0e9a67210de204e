"""The executable specification, held against the log in memory; and that it covers all there is."""

import ast
import inspect
from collections.abc import Sequence
from typing import Any

import pytest
from driving import INVARIANTS, Draws, drive
from hypothesis import settings
from tried import LONG

from events import MeasurementsEvicted, MemoryLog, ReplayCompleted, SnapshotBegun
from statemachine import BufferConfig, FrozenSnapshot, ReplayBuffer, ReplayBufferError, spec
from statemachine.spec import ReplayBufferSpec, _rules, _world

NOT_COVERED = {
    "metrics": "adds up what the state says; test_metrics_are_the_sums_of_the_states covers it",
    "config": "does nothing; test_the_configuration_can_be_read covers it",
    "by_timestamp": "is `sorted`; test_by_timestamp_keeps_the_order_of_arrival_among_equals covers it",
    "is_handed_over": "does nothing; test_what_is_handed_over_is_settled_by_the_commit covers it",
    "settled": "does nothing; test_settling_a_snapshot_inside_its_block_is_fine covers it",
    "index": "comes with Sequence; test_it_is_the_sequence_that_was_frozen covers it",
    "count": "comes with Sequence, on top of iteration",
}


class KeepingHistorySpec(ReplayBufferSpec):
    def make_log(self) -> MemoryLog[int]:
        return MemoryLog(keep_history=True)


TestTruncating = ReplayBufferSpec.TestCase
TestTruncating.settings = settings(max_examples=400 if LONG else 30, stateful_step_count=40)
TestKeepingHistory = KeepingHistorySpec.TestCase
TestKeepingHistory.settings = settings(max_examples=100 if LONG else 12, stateful_step_count=40)


@pytest.mark.parametrize("public", [ReplayBuffer, FrozenSnapshot])
def test_every_public_operation_is_covered(public: type) -> None:
    """A new public method needs a rule in the specification, or a reason, by name, for having none."""
    tree = ast.parse(inspect.getsource(spec) + inspect.getsource(_rules) + inspect.getsource(_world))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_object(node.value)}
    used |= {"complete", "abort", "renew"} & {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    names = {name for name in dir(public) if not name.startswith("_")} - set(getattr(public, "__slots__", ()))
    assert names - used == names & set(NOT_COVERED)


def _is_object(node: ast.expr) -> bool:
    """Whether the expression is the specification's buffer, or a snapshot object."""
    return ast.unparse(node) in ("self.buffer", "frozen")


def test_by_hand() -> None:
    """A sound buffer goes all the way, and the history was worth it."""
    machine = ReplayBufferSpec()
    machine.teardown()  # before a start there is nothing to end
    drive(machine)
    assert machine.pick(Draws("bob"), "park") == "bob"
    assert set(machine.replayed) == {"ann"}
    assert machine.rollbacks != []
    assert machine.archived["ann"] != []


def test_by_hand_without_hooks() -> None:
    """The same where adds are rejected at the bound, nothing has to be told, and own times say who is due."""
    machine = ReplayBufferSpec()
    config = BufferConfig(max_measurements=2, pending_factor=1, on_overflow="reject", due=_world.POLICIES[3])
    machine.start(Draws(config), rolls_back=False, archives=False)
    machine.add_measurements("ann", 2)
    machine.add_measurements("ann", 1)
    machine.ready()
    machine.add_measurement("ann")
    machine.begin_snapshot("ann")
    machine.add_for_users(3)
    machine.time_passes(30.0)
    machine.add_measurement("ann")
    machine.ready()
    for invariant in INVARIANTS:
        getattr(machine, invariant)()
    assert machine.models["ann"].live == machine.buffer.measurements("ann") == [0, 1, 10]
    machine.teardown()


def started(**hooks: bool) -> ReplayBufferSpec:
    """Where ann has a measurement."""
    machine = ReplayBufferSpec()
    machine.start(Draws(BufferConfig(max_measurements=3)), **{"rolls_back": False, "archives": False, **hooks})
    machine.add_measurement("ann")
    return machine


def test_a_hook_under_a_lock_is_caught() -> None:
    """The specification looks at the buffer from another thread while a hook runs, and does not wait for ever."""
    machine = started()
    machine.patience = 0.05
    with machine.buffer._log.tails["ann"].lock:
        machine.on_evict("ann", [])
        machine.on_abort("ann", 1, "")
    with pytest.raises(AssertionError, match="under a lock"):
        machine.hooks_are_called_as_promised()


def test_a_rollback_at_the_wrong_time_is_caught() -> None:
    """It belongs into `aborting`, and to the snapshot that is being given up."""
    machine = started(rolls_back=True)
    machine.on_abort("ann", 1, "")
    with pytest.raises(AssertionError, match="rollback of ann, 1 runs in idle, 0"):
        machine.hooks_are_called_as_promised()
    machine.complaints.clear()
    with pytest.raises(AssertionError, match="not every rollback was run"):
        machine.hooks_are_called_as_promised()


def test_after_a_failure_nothing_else_is_looked_for() -> None:
    """What has failed is told, and not what follows from it."""
    machine = started()
    machine.models["ann"].older.clear()
    with pytest.raises(ZeroDivisionError):
        try:
            raise ZeroDivisionError
        finally:
            machine.teardown()
    machine = started()
    machine.models["ann"].older.clear()
    with pytest.raises(AssertionError):
        machine.teardown()


# Canaries: buffers that break a rule, each of which the specification must catch.


class ClearsToHead(MemoryLog[int]):
    """What the usual buffer does: a completion clears all there is."""

    def append(self, stream: str, events: Sequence[Any], **options: Any) -> int:
        head = super().append(stream, events, **options)
        if isinstance(events[-1], ReplayCompleted):
            self._tails[stream].items[:] = [None] * len(self._tails[stream].items)
        return head


class ForgetsEvictions(MemoryLog[int]):
    """Evicts without a record."""

    def append(self, stream: str, events: Sequence[Any], **options: Any) -> int:
        kept = [event for event in events if not isinstance(event, MeasurementsEvicted)]
        return super().append(stream, kept, **options)


class BeginsWithoutLooking(MemoryLog[int]):
    """Lets a begin through whatever the head is."""

    def append(self, stream: str, events: Sequence[Any], *, expected_head: int, **options: Any) -> int:
        if isinstance(events[0], SnapshotBegun):
            self.measurements(stream, range(0))
            expected_head = self._tails[stream].start + len(self._tails[stream].items)
            events = [SnapshotBegun(1, None, events[0].deadline)]
        return super().append(stream, events, expected_head=expected_head, **options)


class ForgetsDeadlines(MemoryLog[int]):
    """The sweep finds nobody."""

    def overdue(self, now: float) -> list[str]:
        return []


@pytest.mark.parametrize("broken", [ClearsToHead, ForgetsEvictions, BeginsWithoutLooking, ForgetsDeadlines])
def test_a_broken_buffer_is_caught(broken: type[MemoryLog[int]]) -> None:
    """The specification is worth something only if it fails for what is wrong."""

    class Broken(ReplayBufferSpec):
        def make_log(self) -> MemoryLog[int]:
            return broken()

    with pytest.raises((AssertionError, LookupError, TypeError, ReplayBufferError)):
        drive(Broken())


def test_a_refusal_that_does_not_come_is_caught() -> None:
    """The specification notices a call that should have been refused."""
    machine = ReplayBufferSpec()
    with pytest.raises(AssertionError, match="'accepted' instead of KeyError"):
        machine.call(KeyError, lambda: "accepted")  # type: ignore[arg-type]
