"""Every example in a docstring runs and says what it prints; and every public name has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import events
import statemachine

MODULES = sorted(
    module.name
    for package in (events, statemachine)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    """What a docstring shows is what one gets."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("package", [events, statemachine])
def test_public_names_are_documented(package: object) -> None:
    """Every public class and function says what it is."""
    for name in package.__all__:  # type: ignore[attr-defined]
        value = getattr(package, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("public", [statemachine.ReplayBuffer, statemachine.FrozenSnapshot, statemachine.Lifecycle])
def test_public_methods_have_an_example_that_runs(public: type) -> None:
    """A reader of a public method sees it used; a lifecycle's are used together in the class's example."""
    for name, method in inspect.getmembers(public, inspect.isfunction):
        if not name.startswith("_") and method.__module__.startswith("statemachine"):
            assert method.__doc__, f"{name} has no docstring"
            documented = ">>>" in method.__doc__ or name in (public.__doc__ or "") or "; see `" in method.__doc__
            assert documented or public is statemachine.Lifecycle, f"{name} has no example"
