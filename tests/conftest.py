"""What tests share: a clock, a buffer, and how long hypothesis looks (`make prove`: for long)."""

import os
from typing import Any

import pytest
from hypothesis import settings

from statemachine import BufferConfig, FrozenSnapshot, ReplayBuffer

settings.register_profile("test", deadline=None)
settings.register_profile("prove", deadline=None, max_examples=5000, print_blob=True)
settings.load_profile(os.environ.get("HOLDOVER_PROFILE", "test"))


class Clock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buffer(clock: Clock) -> ReplayBuffer[Any]:
    """A buffer in which ann has three measurements."""
    buffer: ReplayBuffer[Any] = ReplayBuffer(config=BufferConfig(max_measurements=5), clock=clock)
    buffer.add_measurements("ann", [1, 2, 3])
    return buffer


def begun(buffer: ReplayBuffer[Any]) -> FrozenSnapshot[Any]:
    """Ann's snapshot, begun and finalized."""
    return buffer.finalize_snapshot("ann", buffer.begin_snapshot("ann"))
