"""`Codec`: values and events as bytes, and back as they were. Must not know where the bytes are kept."""

import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

from events._errors import LogDamagedError, UnknownTypeError
from events._events import Event
from events._schema import OWN, Schema, Unregistered, UnregisteredEvent
from events._values import (
    INTEGER,
    KEEP,
    PAIRS,
    PLAIN,
    REGISTERED,
    REVIVE,
    TUPLE,
    RefusedError,
    described,
    integer_bytes,
    labelled,
    shortened,
    shown,
)

DEPTH = 100
"""How deep values may be nested: each level costs some Python calls on the way in and out, of 1,000 there are."""

BUFFER = 4096
"""Bytes a packer begins with; one whose buffer has grown far beyond is not used again."""

REMEDY = (
    "cannot be kept; convert it, or register the type: types=[...] for attrs classes and dataclasses, "
    "a Schema with dump and load for others"
)


class Codec:
    """Turns values into bytes that give back equal values of the same types, and refuses the others before it writes.

    Kept without registration: str, int, float, bool, None, bytes, list, tuple, dict, datetime, date, Decimal and UUID,
    nested up to 100 deep. Of subclasses none is: they would come back as something else. Nothing that is read can run
    code but the constructors and `load` functions that were registered. Any number of threads may use one codec.

    Parameters:
        types: further classes (attrs classes or dataclasses), or a `Schema` of any class.
        lenient: whether to show what is not registered as `Unregistered` and `UnregisteredEvent`, instead of raising.

    Raises:
        ImportError: msgpack is not installed.
        ValueError: as with `register`.

    Example:
        >>> from attrs import frozen
        >>> @frozen
        ... class Weight:
        ...     kg: float
        >>> codec = Codec([Weight])
        >>> codec.decode(codec.encode({"morning": (Weight(81.5), None)}))
        {'morning': (Weight(kg=81.5), None)}
        >>> Codec(lenient=True).decode(codec.encode([Weight(81.5)]))
        [Weight(kg=81.5)]
    """

    def __init__(self, types: Iterable[type | Schema] = (), *, lenient: bool = False) -> None:
        try:
            import msgpack  # type: ignore[import-untyped]
        except ImportError as error:
            raise ImportError(
                f"a log that writes to disk needs msgpack, which cannot be imported ({error}); "
                "install it with: pip install 'holdover[sqlite]'",
                name="msgpack",
            ) from error
        self._lenient = lenient
        self._schemas: dict[type, Schema] = {}
        self._names: dict[str, Schema] = {}
        self._containers: dict[type, Callable[[Any, int], Any]] = {
            list: self._keep_items,
            dict: self._keep_dict,
            tuple: self._keep_tuple,
        }
        # What ExtType checks of its arguments holds here, and costs more than all the rest of a datetime.
        self._extension: Callable[[tuple[int, bytes]], Any] = partial(tuple.__new__, msgpack.ExtType)
        self._packer = partial(
            msgpack.Packer,
            default=self._big,
            strict_types=True,
            unicode_errors="surrogatepass",
            buf_size=BUFFER,
        )
        self._idle: list[Any] = []  # a packer is neither re-entrant nor for two threads: one takes it, and puts it back
        self._broken = (ValueError, TypeError, LookupError, ArithmeticError, struct.error, msgpack.UnpackException)
        self._unpackb = partial(msgpack.unpackb, strict_map_key=False, unicode_errors="surrogatepass")
        self._outermost = partial(self._unpackb, ext_hook=partial(self._revive, DEPTH))
        self.register(*OWN, *types)

    def register(self, *types: type | Schema) -> None:
        """Keep values of these types too. The same again is harmless.

        Parameters:
            types: attrs classes or dataclasses, or a `Schema` of any class.

        Raises:
            ValueError: the name is another type's, the type has another schema, or the class needs a `Schema`.

        Example:
            >>> codec = Codec()
            >>> codec.register(Schema(set, dump=list, load=set))
            >>> codec.decode(codec.encode({1}))
            {1}
        """
        for given in types:
            schema = given if isinstance(given, Schema) else Schema(given)
            present = self._schemas.get(schema.type) or self._names.get(schema.name)
            if present == schema:
                continue
            if present is not None:
                raise ValueError(
                    f"{schema} cannot be registered beside {present}: one schema a type, and one type a name; "
                    "give Schema(..., name=...) another name, or register it once"
                )
            self._schemas[schema.type] = self._names[schema.name] = schema
            self._containers[schema.type] = self._keep_registered

    def encode(self, value: Any) -> bytes:
        """The value as bytes.

        Raises:
            UnsupportedTypeError: something in it would not come back as it was; says what, where, and what to do.

        Example:
            >>> Codec().encode([1, {2}])  # doctest: +ELLIPSIS
            Traceback (most recent call last):
            ...
            events._errors.UnsupportedTypeError: measurement[1]: set cannot be kept; convert it, or ...
        """
        try:
            return self._pack(value if type(value) in PLAIN else self._keep(value, DEPTH))
        except RefusedError as refused:
            raise refused.told("measurement") from None

    def decode(self, data: bytes) -> Any:
        """The value that was encoded.

        Raises:
            UnknownTypeError: it holds a type that is not registered, or one of another version that cannot be read.
            LogDamagedError: these bytes are not what a codec has written.

        Example:
            >>> Codec().decode(Codec().encode(81.5))
            81.5
        """
        try:
            return self._outermost(data)
        except UnknownTypeError:
            raise
        except self._broken as error:
            raise LogDamagedError(f"{shown(data)} is not what was recorded ({described(error)})") from error

    def encode_event(self, event: Event) -> tuple[str, bytes]:
        """The event's name, and its fields with their version.

        Raises:
            UnsupportedTypeError: its class is not registered, or something in it would not come back as it was.

        Example:
            >>> from events import ReplayCompleted
            >>> name, data = Codec().encode_event(ReplayCompleted(1))
            >>> name
            'ReplayCompleted'
        """
        name = type(event).__name__
        try:
            schema = self._schemas.get(type(event))
            if schema is None:
                raise RefusedError(event, REMEDY)
            name = schema.name
            return name, self._pack([schema.version, self._keep_content(schema, event, DEPTH)])
        except RefusedError as refused:
            raise refused.told(name) from None

    def decode_event(self, name: str, data: bytes) -> Event:
        """The event that was encoded.

        Raises:
            UnknownTypeError: it is, or holds, what is not registered, or is of another version that cannot be read.
            LogDamagedError: these bytes are not what a codec has written.

        Example:
            >>> from events import ReplayCompleted
            >>> Codec().decode_event(*Codec().encode_event(ReplayCompleted(1)))
            ReplayCompleted(version=1)
        """
        content = self.decode(data)
        if not (type(content) is list and len(content) == 2 and type(content[0]) is int):
            raise LogDamagedError(f"{name}: {shown(data)} is not an event as it was recorded")
        version, fields = content
        if version.bit_length() > 64:
            raise LogDamagedError(f"{name}: {shown(data)} is not an event as it was recorded")
        event = self._restored(name, version, fields, UnregisteredEvent)
        if not isinstance(event, Event):
            raise UnknownTypeError(f"{name} is registered, but is not an event; make it a subclass of Event")
        return event

    def _pack(self, kept: Any) -> bytes:
        try:
            packer = self._idle.pop()
        except IndexError:
            packer = self._packer()
        try:
            data: bytes = packer.pack(kept)
        except ValueError as error:
            raise RefusedError(
                kept, f"is larger than what can be kept ({error}); keep it elsewhere, and record where"
            ) from None
        if len(data) <= BUFFER:
            self._idle.append(packer)
        return data

    def _big(self, value: int) -> Any:
        return self._extension((INTEGER, integer_bytes(value)))

    def _keep(self, value: Any, room: int) -> Any:
        """The same in what msgpack has a form for; `room` is how many levels of containers are left."""
        kind = type(value)
        if kind in PLAIN:
            return value
        if kind in KEEP:
            code, to_bytes = KEEP[kind]
            return self._extension((code, to_bytes(value)))
        keep = self._containers.get(kind)
        if keep is None:
            raise RefusedError(value, REMEDY)
        if not room:
            raise RefusedError(value, f"is nested more than {DEPTH} deep, or within itself; make it flatter")
        return keep(value, room - 1)

    def _keep_items(self, value: Any, room: int) -> Any:
        if PLAIN.issuperset(map(type, value)):
            return value
        try:
            return [self._keep(item, room) for item in value]
        except RefusedError as refused:
            refused.climb(((f"[{place}]", item) for place, item in enumerate(value)), value)
            raise

    def _keep_tuple(self, value: tuple[Any, ...], room: int) -> Any:
        kept = self._keep_items(value, room)
        return self._extension((TUPLE, self._pack(list(kept))))

    def _keep_dict(self, value: dict[Any, Any], room: int) -> Any:
        try:
            if PLAIN.issuperset(map(type, value)):
                if PLAIN.issuperset(map(type, value.values())):
                    return value
                return {key: part if type(part) in PLAIN else self._keep(part, room) for key, part in value.items()}
            # Pairs and not a dict: different keys (two that hold a nan) can have the same bytes.
            pairs = [self._keep(part, room) for part in chain.from_iterable(value.items())]
        except RefusedError as refused:
            refused.climb(labelled(value), value)
            raise
        return self._extension((PAIRS, self._pack(pairs)))

    def _keep_registered(self, value: Any, room: int) -> Any:
        schema = self._schemas[type(value)]
        content = self._keep_content(schema, value, room)
        return self._extension((REGISTERED, self._pack([schema.name, schema.version, content])))

    def _keep_content(self, schema: Schema, value: Any, room: int) -> Any:
        if odd := schema.misfit(value):
            raise RefusedError(value, f"cannot be kept: its {odd} is of no type that could be read again")
        content = schema.kept(value)
        if schema.dump is None and not schema.checked:
            try:  # a constructor that does not take what it has made would be found out too late
                schema.restored(schema.version, content)
            except UnknownTypeError as error:
                remedy = f"cannot be made again from what is kept of it ({error}); give it a Schema with dump and load"
                raise RefusedError(value, remedy) from error
        try:
            if schema.dump is not None:
                return self._keep(content, room)
            return {name: self._keep(part, room) for name, part in content.items()}
        except RefusedError as refused:
            fields = content.items() if schema.dump is None else ()
            refused.climb([*((f".{name}", part) for name, part in fields), (".dump()", content)], value)
            raise

    def _within(self, room: int, data: bytes) -> Any:
        """What is read within another value; each level takes 40 KB of the C stack, so few are left room for."""
        return self._unpackb(data, ext_hook=partial(self._revive, room - 1))

    def _revive(self, room: int, code: int, data: bytes) -> Any:
        if code in (TUPLE, REGISTERED, PAIRS) and not room:
            raise ValueError(f"nested more than {DEPTH} deep")
        if code == TUPLE:
            return tuple(self._within(room, data))
        if code == REGISTERED:
            name, version, content = self._within(room, data)
            return self._restored(name, version, content, Unregistered)
        if code == PAIRS:
            flat: Iterator[Any] = iter(self._within(room, data))
            return dict(zip(flat, flat, strict=True))
        if code in REVIVE:
            return REVIVE[code](data)
        raise UnknownTypeError(f"kind {code} was kept by a newer version of holdover; run that")

    def _restored(self, name: str, version: int, content: Any, stand_in: type[Unregistered]) -> Any:
        try:
            if name not in self._names:
                raise UnknownTypeError(
                    f"{shortened(name)} is not registered; name its class in types=[...], or a Schema of that name"
                )
            return self._names[name].restored(version, content)
        except UnknownTypeError:
            if self._lenient:
                return stand_in(name, version, content)
            raise
