"""Errors that are raised in another process arrive as they were."""

import pickle
from typing import Any

import pytest

import events
import statemachine
from events import ConflictError, LogError, TruncatedError
from statemachine import (
    EvictHookError,
    IllegalTriggerError,
    PartlyAddedError,
    ReplayBuffer,
    ReplayBufferError,
    SnapshotInProgressError,
)

ARGUMENTS: dict[type[Exception], tuple[Any, ...]] = {
    ConflictError: ("ann", 3, 4),
    TruncatedError: ("ann", 3, 4),
    EvictHookError: ("why", 7),
    PartlyAddedError: ({"ann": range(3)}, {"bob": ValueError("no")}),
}
"""Of those whose constructor takes more than a message."""


def errors(base: type[Exception]) -> list[type[Exception]]:
    """All that are derived from it, itself included."""
    return [base, *(each for kind in base.__subclasses__() for each in errors(kind))]


KINDS = [
    kind for kind in errors(LogError) + errors(ReplayBufferError) if kind.__module__.startswith(("events", "state"))
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_can_be_sent_to_another_process(kind: type[Exception]) -> None:
    """It keeps its message and all that it tells besides; a pool of processes hangs where it cannot."""
    usual = ("begin", "idle", ("park",)) if issubclass(kind, IllegalTriggerError) else ("why",)
    error = kind(*ARGUMENTS.get(kind, usual))
    error.user_id = "ann"  # type: ignore[attr-defined]
    error.add_note("at offset 3")
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is kind
    assert (str(arrived), repr(arrived), arrived.args) == (str(error), repr(error), error.args)
    assert repr(vars(arrived)) == repr(vars(error))


def test_a_refusal_arrives_as_it_was_raised() -> None:
    """What was asked for, in which state, what is legal there, and of whom."""
    buffer = ReplayBuffer[int]()
    buffer.add_measurement("ann", 1)
    buffer.begin_snapshot("ann")
    with pytest.raises(SnapshotInProgressError) as caught:
        buffer.begin_snapshot("ann")
    arrived = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(arrived, SnapshotInProgressError)
    assert (arrived.user_id, arrived.trigger, arrived.state) == ("ann", "begin_snapshot", "snapshotting")
    assert "user 'ann': cannot begin_snapshot" in str(arrived)


def test_no_error_is_left_out() -> None:
    """Each error that the packages name is one of those above."""
    named = {vars(module)[name] for module in (events, statemachine) for name in module.__all__ if "Error" in name}
    assert named <= set(KINDS)
