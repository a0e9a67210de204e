"""`Schema`: how the values of one registered type are kept and brought up to date. Must not know of bytes."""

import builtins
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args

import attrs
from attrs import field, frozen

from events import _events as happened
from events._errors import LogDamagedError, UnknownTypeError
from events._events import Event, Recorded
from events._offsets import Offsets
from events._values import KEPT, RefusedError

_NOTHING = object()

_BITS = 62
"""Those of the largest number in a field of the library's own: more than any offset, count or time has."""


@frozen
class Schema:
    """How one type is kept by a log that writes to disk.

    The fields of attrs classes and dataclasses are kept by name. For any other type, say with `dump` and `load` what to
    keep of it. When the fields change, raise `version` and add an upcaster, so that what is kept can still be read.

    Parameters:
        type: the class. Its subclasses are not meant: each is registered for itself.
        name: what is written beside its values; the class's name unless given. Keep it when you rename the class.
        version: of the fields, from 1; written beside them.
        upcasters: version n to a function that turns what n wrote (the fields as a dict, or what `dump` returned) into
            what n + 1 would have written.
        dump: value to what is kept of it, which is of kept types again.
        load: the way back.

    Raises:
        ValueError: values of the type cannot be made again from that.

    Example:
        >>> from datetime import timedelta
        >>> Schema(timedelta, dump=timedelta.total_seconds, load=lambda seconds: timedelta(seconds=seconds)).name
        'timedelta'
        >>> @frozen
        ... class Weight:
        ...     kg: float
        >>> schema = Schema(Weight, version=2, upcasters={1: lambda fields: {"kg": fields["pounds"] * 0.45359237}})
        >>> schema.restored(1, {"pounds": 200})
        Weight(kg=90.718474)
    """

    type: "builtins.type[Any]"
    name: str = field(default=attrs.Factory(lambda self: getattr(self.type, "__name__", ""), takes_self=True))
    version: int = 1
    upcasters: Mapping[int, Callable[[Any], Any]] = field(factory=dict, hash=False)
    dump: Callable[[Any], Any] | None = None
    load: Callable[[Any], Any] | None = None
    _strict: bool = field(default=False, repr=False, eq=False, alias="_strict")  # for classes of the library's own
    _fields: Mapping[str, str | None] = field(init=False, repr=False, eq=False, factory=dict)
    _kinds: Mapping[str, frozenset["builtins.type[Any]"]] = field(init=False, repr=False, eq=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.type, builtins.type):
            raise ValueError(f"{self.type!r} is not a class; register classes, or a Schema of a class")
        if self.type in KEPT:
            raise ValueError(f"{self.type.__name__} is kept as it is and cannot be registered")
        if not (type(self.name) is str and self.name):
            raise ValueError(f"the name of {self.type.__qualname__} must be a str that is not empty, not {self.name!r}")
        if not (type(self.version) is int and self.version >= 1):
            raise ValueError(f"{self.name}: version must be an int from 1 on, not {self.version!r}")
        if useless := [version for version in self.upcasters if version not in range(1, self.version)]:
            raise ValueError(f"{self.name}: there is nothing to upcast from {useless} to version {self.version}")
        if (self.dump is None) != (self.load is None):
            raise ValueError(f"{self.name}: dump and load need each other; give both or neither")
        if self.dump is None:
            object.__setattr__(self, "_fields", _fields(self.type))
        if self._strict:
            object.__setattr__(self, "_kinds", _kinds(self.type))

    @property
    def checked(self) -> bool:
        """Whether `misfit` looks at it: it is a class of the library's own, which can be made again from its fields."""
        return self._strict

    def kept(self, value: Any) -> Any:
        """What is kept of a value of the type: a dict of its fields that are set, or what `dump` makes of it."""
        if self.dump is not None:
            return self.dump(value)
        try:
            return {name: getattr(value, name) for name in self._fields}
        except AttributeError:  # a field that its constructor leaves unset
            return {name: getattr(value, name) for name in self._fields if hasattr(value, name)}

    def restored(self, version: int, content: Any) -> Any:
        """The value of which `content` was kept when the type had that version.

        Raises:
            UnknownTypeError: the version is newer, an upcaster is missing, the fields are others, or an upcaster,
                `load` or the constructor failed (its error is the cause).
            LogDamagedError: a field of a class of the library's own holds what cannot be there.
        """
        if version > self.version:
            raise UnknownTypeError(
                f"{self.name}: kept by version {version}, this program knows {self.version}; run the newer program"
            )
        try:
            content = self._upcast(version, content)
            made = self._made(content) if self.load is None else self.load(content)
        except (UnknownTypeError, LogDamagedError):
            raise
        except Exception as error:
            raise UnknownTypeError(
                f"{self.name}: what version {version} kept cannot be made again ({type(error).__name__}: {error}); "
                "give new fields a default, or raise the version in its Schema and add an upcaster"
            ) from error
        if self._kinds and (odd := self.misfit(made)):
            raise LogDamagedError(f"{self.name}: its {odd} is not what was recorded")
        return made

    def misfit(self, value: Any) -> str:
        """The name of a field of the library's own that is of another type than annotated, or a number too large."""
        for name, kinds in self._kinds.items():
            part = getattr(value, name)
            if (kind := type(part)) not in kinds or (kind is int and part.bit_length() > _BITS):
                return name
        return ""

    def _upcast(self, version: int, content: Any) -> Any:
        for old in range(version, self.version):
            if old not in self.upcasters:
                raise UnknownTypeError(
                    f"{self.name}: kept by version {version}, but nothing turns {old} into {old + 1}; "
                    f"add upcasters={{{old}: ...}} to its Schema"
                )
            content = self.upcasters[old](content)
        return content

    def _made(self, content: dict[str, Any]) -> Any:
        """Constructed from its fields; then what the constructor made otherwise, or not at all, becomes what it was."""
        if not content.keys() <= self._fields.keys():
            unknown = sorted(map(str, content.keys() - self._fields.keys()))
            raise UnknownTypeError(
                f"{self.name}: {', '.join(unknown)} was kept, but there is no such field; "
                "raise the version in its Schema and add an upcaster"
            )
        arguments = {alias: content[name] for name, alias in self._fields.items() if alias and name in content}
        made = self.type(**arguments)
        if self._strict:  # the library's own classes hold what they are given
            return made
        for name, part in content.items():
            if getattr(made, name, _NOTHING) is not part:
                object.__setattr__(made, name, part)
        return made


def _fields(kind: type) -> dict[str, str | None]:
    """Each field's name and what its constructor calls it, None where that does not take it."""
    found: dict[str, str | None]
    if "__attrs_attrs__" in vars(kind):
        found = {part.name: part.alias if part.init else None for part in attrs.fields(kind)}
    elif "__dataclass_fields__" in vars(kind):
        found = {part.name: part.name if part.init else None for part in dataclasses.fields(kind)}
    else:
        raise ValueError(
            f"{kind.__qualname__} is not itself an attrs class or a dataclass; "
            "decorate it, or use Schema(dump=..., load=...)"
        )
    if any(base.__module__ == "builtins" and base is not object for base in kind.__mro__):
        raise ValueError(f"{kind.__qualname__} holds more than its fields; use Schema(dump=..., load=...)")
    try:
        inspect.signature(kind).bind(**dict.fromkeys(filter(None, found.values())))
    except TypeError as error:
        raise ValueError(
            f"{kind.__qualname__} cannot be constructed from its fields ({error}); use Schema(dump=..., load=...)"
        ) from error
    return found


def _kinds(kind: type) -> dict[str, frozenset[type]]:
    """The types that are annotated, by field, but for fields of any; a whole number is a time, too."""
    found = {part.name: frozenset(get_args(part.type) or (part.type,)) for part in attrs.fields(kind)}
    return {
        name: kinds | {int} if float in kinds else kinds
        for name, kinds in found.items()
        if not any(one is Any or isinstance(one, TypeVar) for one in kinds)
    }


@frozen(repr=False)
class Unregistered:
    """Stands for a value whose type this program does not have, where it is only to be looked at.

    Parameters:
        name: the type's name.
        version: of its fields.
        fields: what was kept of it: a dict of its fields, or what its `dump` returned.

    Example:
        >>> Unregistered("Weight", 1, {"kg": 81.5})
        Weight(kg=81.5)
    """

    name: str
    version: int
    fields: Any = field(hash=False)  # may hold lists and dicts, though the value itself was a key

    def __repr__(self) -> str:
        if isinstance(self.fields, dict) and all(isinstance(name, str) for name in self.fields):
            return f"{self.name}({', '.join(f'{name}={part!r}' for name, part in self.fields.items())})"
        return f"{self.name}({self.fields!r})"


@frozen(repr=False)
class UnregisteredEvent(Unregistered, Event):
    """The same for an event.

    Example:
        >>> UnregisteredEvent("DoorOpened", 1, {"by": "ann"})
        DoorOpened(by='ann')
    """


def _runs(offsets: Offsets) -> list[list[int]]:
    runs = tuple(run for run in offsets.runs if run)
    if odd := _misplaced(runs):
        raise RefusedError(offsets, f"cannot be kept: they {odd}")
    return [[run.start, run.stop, run.step] for run in runs]


def _offsets(runs: list[list[int]]) -> Offsets:
    made = tuple(range(start, stop, step) for start, stop, step in runs)
    if odd := _misplaced(made):
        raise LogDamagedError(f"Offsets: they {odd}, and did not when they were recorded")
    return Offsets(made)


def _misplaced(runs: tuple[range, ...]) -> str:
    """What is wrong with ranges that are to be offsets in a stream."""
    last = -1
    for run in runs:
        if not (last < run.start < run.stop and run.step > 0):
            return "do not ascend from 0 on"
        last = run[-1]
    return "are above what any stream reaches" if last.bit_length() > _BITS else ""


def _own(kind: type) -> Schema:
    return Schema(kind, _strict=True)


OWN = (
    _own(happened.AbortBegun),
    _own(happened.AbortFinished),
    _own(happened.BufferCleared),
    _own(happened.LeaseRenewed),
    _own(happened.MeasurementAdded),
    _own(happened.MeasurementsEvicted),
    _own(happened.ReplayCompleted),
    _own(happened.ReplayParked),
    _own(happened.ReplayReleased),
    _own(happened.RetryScheduled),
    _own(happened.SnapshotBegun),
    _own(happened.SnapshotExpired),
    _own(happened.SnapshotFinalized),
    Schema(Recorded),
    Schema(Offsets, dump=_runs, load=_offsets),
)
"""What the library itself records."""
