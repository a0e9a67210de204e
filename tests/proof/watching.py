"""`watched`: has all that a buffer keeps in memory take turns when it is touched. Must not know which orders are tried.

Every object of the library that can be reached from the buffer is made one of a class that tells of each attribute that
is read or set; dictionaries and locks are replaced by ones that tell likewise. Nothing is listed, so nothing can be
forgotten: what the library will keep some day is watched from then on. What cannot change is left alone.
"""

import logging
from _thread import LockType
from _thread import RLock as ReentrantLockType
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import attrs
from turn_deeds import READ, Changed, Deed, Put, Taken
from turns import Turns

import events._memory as memory
import events._tail as tail

READING = ("__getitem__", "__contains__", "__iter__", "__len__", "get", "keys", "values", "items", "copy")
CHANGING = ("__setitem__", "__delitem__", "pop", "popitem", "setdefault", "clear", "update")
READING_LIST = ("__getitem__", "__contains__", "__iter__", "__len__")
CHANGING_LIST = (
    "__iadd__",
    "__setitem__",
    "__delitem__",
    "append",
    "extend",
    "insert",
    "pop",
    "remove",
    "clear",
    "sort",
)
CONSTANT = (FunctionType, MethodType, BuiltinFunctionType, type)
OURS = ("events", "statemachine")


class Watch:
    """Who is told of touches, and the names of what is watched. Names are the same in each run."""

    def __init__(self) -> None:
        self.turns: Turns | None = None
        self.names: dict[int, tuple[str, Any]] = {}

    def touch(self, target: object, name: str, deed: Deed) -> None:
        if self.turns is not None and self.turns.running is not None and id(target) in self.names:
            self.turns.touch(f"{self.names[id(target)][0]}.{name}", deed)


WATCH = Watch()


class WatchedDict(dict[Any, Any]):
    """A dictionary that tells when it is touched. What is put in is watched from then on."""

    def __init__(self, name: str, content: dict[Any, Any]) -> None:
        super().__init__()
        WATCH.names[id(self)] = name, self
        for key, value in content.items():
            dict.__setitem__(self, key, observed(value, f"{name}[{key!r}]"))


class WatchedList(list[Any]):
    """A list that tells when it is changed; whose it is tells when it is read."""

    def __init__(self, name: str, content: list[Any]) -> None:
        super().__init__(content)
        WATCH.names[id(self)] = name, self


class WatchedLock:
    """A lock that is taken in turns. It is there for those who take turns; nobody else may use it meanwhile."""

    def __init__(self, name: str, reentrant: bool) -> None:
        self.name, self._reentrant, self._owner, self._depth = name, reentrant, None, 0

    def acquire(self) -> bool:
        turns = WATCH.turns
        if turns is None or turns.running is None:
            return True
        if not (self._reentrant and self._depth and self._owner == turns.running):
            turns.acquire(self.name)
            self._owner = turns.running
        self._depth += 1
        return True

    def release(self) -> None:
        turns = WATCH.turns
        if turns is None or turns.running is None:
            return
        self._depth -= 1
        if not self._depth:
            turns.release(self.name)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()


def _telling_list(method: str) -> Callable[..., Any]:
    original = getattr(list, method)

    def told(self: WatchedList, *arguments: Any, **keywords: Any) -> Any:
        WATCH.touch(self, "content", READ if method in READING_LIST else Changed(self))
        return original(self, *arguments, **keywords)

    return told


for _method in READING_LIST + CHANGING_LIST:
    setattr(WatchedList, _method, _telling_list(_method))


def _telling(method: str) -> Callable[..., Any]:
    original = getattr(dict, method)

    def told(self: WatchedDict, *arguments: Any, **keywords: Any) -> Any:
        if method == "pop":  # of what is not there changes nothing
            WATCH.touch(self, "content", Taken(lambda: dict.__contains__(self, arguments[0]), self))
        elif method == "__setitem__" and not dict.keys(self) - {arguments[0]}:
            WATCH.touch(self, "content", Put(arguments))
        else:
            WATCH.touch(self, "content", Changed(self) if method in CHANGING else READ)
        if method == "__setitem__":
            key, value = arguments
            arguments = key, observed(value, f"{WATCH.names[id(self)][0]}[{key!r}]")
        if method == "__iter__":  # all at once, as `list` goes through a dictionary
            return iter(list(dict.keys(self)))
        return original(self, *arguments, **keywords)

    return told


for _method in READING + CHANGING:
    setattr(WatchedDict, _method, _telling(_method))


@lru_cache
def watched_class(kind: type) -> type:
    """A subclass that tells of each touch of an attribute; of one that holds a set, as of a change."""
    get, put = kind.__getattribute__, kind.__setattr__

    def __getattribute__(self: Any, name: str) -> Any:  # noqa: N807
        if name.startswith("__") or isinstance(getattr(kind, name, None), FunctionType | property):
            return get(self, name)
        value = get(self, name)
        if isinstance(value, (*CONSTANT, WatchedDict, WatchedLock)):
            return value
        WATCH.touch(self, name, Changed() if isinstance(value, set) else READ)
        return get(self, name)

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807
        WATCH.touch(self, name, Put(value))
        own = WATCH.names.get(id(self))
        put(self, name, observed(value, f"{own[0]}.{name}") if own else value)

    told = {"__getattribute__": __getattribute__, "__setattr__": __setattr__}
    return type(kind.__name__, (kind,), {**told, "__slots__": (), "__module__": kind.__module__, "is_watched": True})


def observed(value: Any, name: str) -> Any:
    """The value, or what takes its place, watched under this name."""
    if id(value) in WATCH.names:
        return value
    if isinstance(value, LockType | ReentrantLockType):
        return WatchedLock(name, isinstance(value, ReentrantLockType))
    if type(value) is dict:
        return WatchedDict(name, value)
    if type(value) is list:
        return WatchedList(name, value)
    kind = type(value)
    if kind.__module__.split(".")[0] not in OURS or attrs.has(kind) or issubclass(kind, BaseException | tuple | type):
        return value
    WATCH.names[id(value)] = name, value
    for attribute, content in list(_attributes(value)):
        object.__setattr__(value, attribute, observed(content, f"{name}.{attribute}"))
    if not hasattr(kind, "is_watched"):
        value.__class__ = watched_class(kind)
    return value


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        for name in kind.__dict__.get("__slots__", ()):
            if hasattr(value, name):
                yield name, getattr(value, name)


@contextmanager
def watched(turns: Turns) -> Iterator[None]:
    """A context in which `turns` is told of touches."""
    eviction = watched_class(tail.Eviction)  # the log asks for its very type, so it has to be made as one
    memory.Eviction = eviction  # type: ignore[misc, assignment]
    logger, was = logging.getLogger("holdover"), logging.getLogger("holdover").disabled
    logger.disabled = True  # thousands of runs say the same
    WATCH.turns, WATCH.names = turns, {}
    try:
        yield
    finally:
        WATCH.turns, WATCH.names = None, {}
        logger.disabled = was
        memory.Eviction = tail.Eviction  # type: ignore[misc]


def begin_anew() -> None:
    """Forget what was watched in the run before."""
    WATCH.names = {}
