"""What tests share: a clock, a buffer, and how hypothesis looks.

`make test` says the same twice: it draws the same examples each time, so nobody's change is refused for somebody else's
luck. `make prove` draws others each time, and many more.
"""

import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tried import LONG, Tally, counted

from statemachine import BufferConfig, FrozenSnapshot, ReplayBuffer

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("test", UNHURRIED, derandomize=True)
settings.register_profile("prove", UNHURRIED, max_examples=1000, print_blob=True)
settings.load_profile("prove" if LONG else "test")


UNTRACED = {
    *("test_exhaustive", "test_canaries", "test_vfs", "test_sqlite_power", "test_sqlite_faults"),
    *(
        "test_simulation",
        "test_crash_points",
        "test_linearizability",
        "test_history_checker",
        "test_interleavings",
        "test_named_bugs",
    ),
    *("test_fuzz_codec", "test_fuzz_csv", "test_fuzz_logs"),
    *("test_postgres_campaign", "test_kill_campaign", "runTest"),
    *(f"test_{log}_log.test_a_log_does_what_plain_lists_would_do" for log in ("sqlite", "postgres")),
}
"""Modules and tests that draw at random, or try everything. What they happen to reach counts for no coverage, which
others must reach on purpose; to count it would take longer than the tests."""


@pytest.hookimpl(wrapper=True, trylast=True)  # inside what hypothesis does here
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    trace = sys.gettrace()
    module, name = item.path.stem, getattr(item, "originalname", item.name)
    if UNTRACED & {module, name, f"{module}.{name}"}:
        sys.settrace(None)
    try:
        with counted(item):
            return (yield)
    finally:
        sys.settrace(trace)


@pytest.hookimpl(tryfirst=True)  # before hypothesis looks at its seed
def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Tally())


class Clock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def quiet() -> Iterator[None]:
    """What is logged of thousands of aborts helps nobody."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


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
