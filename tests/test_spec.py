"""The executable specification, held against the log in memory; and that it covers all there is."""

import ast
import inspect
import os

import pytest
from hypothesis import settings

from events import MemoryLog
from statemachine import FrozenSnapshot, ReplayBuffer, spec
from statemachine.spec import ReplayBufferSpec, _rules, _world

LONG = os.environ.get("HOLDOVER_PROFILE") == "prove"

NOT_COVERED = {
    "config": "does nothing; test_the_configuration_can_be_read covers it",
    "by_timestamp": "is `sorted`; test_by_timestamp_keeps_the_order_of_arrival_among_equals covers it",
    "settled": "does nothing; test_settling_a_snapshot_inside_its_block_is_fine covers it",
    "index": "comes with Sequence; test_it_is_the_sequence_that_was_frozen covers it",
    "count": "comes with Sequence, on top of iteration",
}


class KeepingHistorySpec(ReplayBufferSpec):
    def make_log(self) -> MemoryLog[int]:
        return MemoryLog(keep_history=True)


TestTruncating = ReplayBufferSpec.TestCase
TestTruncating.settings = settings(max_examples=5000 if LONG else 150, stateful_step_count=50)
TestKeepingHistory = KeepingHistorySpec.TestCase
TestKeepingHistory.settings = settings(max_examples=2000 if LONG else 50, stateful_step_count=50)


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
