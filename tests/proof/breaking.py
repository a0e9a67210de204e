"""`broken`: puts a bug into the running library, and takes it out again. Must not know which bugs there are."""

import ast
import inspect
import linecache
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from types import CodeType, FunctionType, ModuleType
from typing import Any


class OutdatedBugError(Exception):
    """The list of bugs does not fit the code any more."""


class HangError(BaseException):
    """It takes so long that it will not come to an end. No `Exception`, lest somebody takes it for an answer."""


@contextmanager
def broken(where: str, old: str, new: str) -> Iterator[None]:
    """Within the block the library has this bug, for every thread of the process.

    Parameters:
        where: `"package.module:function"`, `"package.module:Class.method"` or `"package.module:CONSTANT"`.
        old: what stands there exactly once.
        new: what is to stand in its place.

    Raises:
        OutdatedBugError: it does not stand there, or more than once.
    """
    module, name, function = _found(where)
    put = _code_of(module, function, where, old, new) if function else _constant_of(module, name, where, old, new)
    put_back = put()
    try:
        yield
    finally:
        put_back()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What hangs in the block is ended, with a `HangError`; to be called in the main thread."""

    def end(*_: Any) -> None:
        raise HangError(f"not at an end after {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def running_code(where: str) -> Any:
    """The code of the function, or the constant, as it is now."""
    module, name, function = _found(where)
    return function.__code__ if function else getattr(module, name)


def _found(where: str) -> tuple[ModuleType, str, FunctionType | None]:
    module, _, name = where.partition(":")
    return import_module(module), name, _function(import_module(module), name)


def _function(module: ModuleType, name: str) -> FunctionType | None:
    """The function of that name, whatever it is wrapped in; None for a constant."""
    thing: Any = module
    for part in name.split("."):
        thing = inspect.getattr_static(thing, part)
    thing = getattr(thing, "fget", None) or getattr(thing, "__func__", thing)
    thing = thing.func if isinstance(thing, cached_property) else inspect.unwrap(thing)
    return thing if isinstance(thing, FunctionType) else None


def _code_of(
    module: ModuleType, function: FunctionType, where: str, old: str, new: str
) -> Callable[[], Callable[[], None]]:
    """How to swap the function's code for that of the changed function.

    The whole module is compiled, so that the code refers to its class, its closure and its module as it did before.
    """
    lines, first = inspect.getsourcelines(function)
    text = _replaced("".join(lines), where, old, new)
    around = inspect.getsource(module).splitlines(keepends=True)
    source = "".join([*around[: first - 1], text, *around[first - 1 + len(lines) :]])
    sound, changed = function.__code__, _find(_compiled(source, where), function.__code__)

    def put() -> Callable[[], None]:
        function.__code__ = changed
        return lambda: setattr(function, "__code__", sound)

    return put


def _find(outer: CodeType, sought: CodeType) -> CodeType:
    """The code object in `outer` that stands where the sought one stands in its module."""
    inner = [constant for constant in outer.co_consts if isinstance(constant, CodeType)]
    for code in inner:
        if (code.co_qualname, code.co_firstlineno) == (sought.co_qualname, sought.co_firstlineno):
            return code
    return next(_find(code, sought) for code in inner if sought.co_qualname.startswith(f"{code.co_qualname}."))


def _constant_of(module: ModuleType, name: str, where: str, old: str, new: str) -> Callable[[], Callable[[], None]]:
    """How to swap a constant for the changed one, in every module that uses it."""
    source, sound = inspect.getsource(module), getattr(module, name)
    statement = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and name in (getattr(target, "id", None) for target in node.targets)
    )
    text = _replaced(ast.get_source_segment(source, statement) or "", where, old, new)
    namespace = dict(vars(module))
    exec(_compiled(text, where), namespace)
    users = [user for user in list(sys.modules.values()) if getattr(user, "__dict__", {}).get(name) is sound]

    def give(value: Any) -> None:
        for user in users:
            setattr(user, name, value)

    def put() -> Callable[[], None]:
        give(namespace[name])
        return lambda: give(sound)

    return put


def _replaced(text: str, where: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise OutdatedBugError(
            f"{where} holds {text.count(old)} times what a named bug replaces there, and not once; "
            f"see what became of it and bring the list of bugs up to date: {old!r}"
        )
    return text.replace(old, new)


def _compiled(source: str, where: str) -> CodeType:
    """The code, under a name of its own: so coverage does not count it, and a traceback shows what ran."""
    name = f"<{where}, broken on purpose>"
    linecache.cache[name] = len(source), None, source.splitlines(keepends=True), name
    return compile(source, name, "exec", dont_inherit=True)
