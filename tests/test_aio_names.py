"""The asyncio face has the core's names, with the same parameters."""

import inspect
from typing import Any

import pytest

from statemachine import FrozenSnapshot, ReplayBuffer, ReplayManager
from statemachine.aio import AsyncFrozenSnapshot, AsyncReplayBuffer, AsyncReplayManager

NOT_AWAITED = {"users", "events", "ready", "snapshot", "start", "wrapping", "__len__", "__repr__"}
"""What gives an async iterator or context, or cannot block."""

EXCLUDED: dict[type, dict[str, str]] = {
    ReplayBuffer: {},
    ReplayManager: {},
    FrozenSnapshot: {
        "index": "of a Sequence; an async one has none: use to_list()",
        "count": "likewise",
    },
}

PAIRS = [(ReplayBuffer, AsyncReplayBuffer), (FrozenSnapshot, AsyncFrozenSnapshot), (ReplayManager, AsyncReplayManager)]

NAMES = [
    (core, aio, name)
    for core, aio in PAIRS
    for name in dir(core)
    if not name.startswith("_") and name not in EXCLUDED[core]
]


def parameters(function: Any) -> list[tuple[Any, ...]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize(("core", "aio", "name"), NAMES)
def test_each_name_of_the_core_is_there(core: type, aio: type, name: str) -> None:
    """Same names, same parameters; a new method of the core must be added here or excluded by name."""
    theirs, ours = getattr(core, name), getattr(aio, name)
    if inspect.isfunction(theirs):
        assert parameters(ours) == parameters(theirs)
    else:
        assert isinstance(ours, property), f"{name} is a property there"


@pytest.mark.parametrize(("core", "aio"), [PAIRS[0], PAIRS[2]])
def test_they_are_made_of_the_same(core: type, aio: type) -> None:
    """The constructors take the same."""
    assert parameters(aio) == parameters(core)


@pytest.mark.parametrize("aio", [aio for _core, aio in PAIRS])
def test_what_is_awaited_does_not_depend_on_the_log(aio: type) -> None:
    """A method is a coroutine function, or by its name one that cannot block: never the one or the other."""
    for name, method in inspect.getmembers(aio, inspect.isfunction):
        if not name.startswith("_") and name not in NOT_AWAITED:
            assert inspect.iscoroutinefunction(method), f"{name} cannot be awaited"


@pytest.mark.parametrize("aio", [aio for _core, aio in PAIRS])
def test_public_methods_say_what_they_do(aio: type) -> None:
    """Each has an example that runs, or names the method of the core that has one."""
    for name, method in inspect.getmembers(aio, lambda value: inspect.isfunction(value) or inspect.ismethod(value)):
        if not name.startswith("_"):
            said = method.__doc__ or ""
            assert ">>>" in said or "see `" in said or name in (aio.__doc__ or ""), f"{name} has no example"


def test_nothing_is_excluded_in_vain() -> None:
    """An exclusion whose name is gone, or is there by now, is taken out."""
    for core, aio in PAIRS:
        for name in EXCLUDED[core]:
            assert hasattr(core, name)
            assert not hasattr(aio, name)
