"""`Quick`: a statement that is run so often that what psycopg does around it would cost as much as the server does.

Its values are encoded here, and it is prepared by name. Must not know what it does, or connections.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from struct import Struct, pack
from typing import Any

from attrs import field, frozen

PACKED = {"int8": Struct(">q"), "float8": Struct(">d"), "bool": Struct(">?")}

ELEMENTS = {"bytea": 17, "text": 25, "float8": 701}
"""The server's numbers of the types of which there are arrays."""

_PLACE = re.compile(r"%\((\w+)\)s(?:::(\w+(?:\[\])?))?")


@frozen
class Quick:
    """A statement with named places, prepared once in each session. It gives whole numbers.

    Parameters:
        name: what it is called in a session.
        template: the statement, with `%(name)s` for a text or bytes and `%(name)s::type` for all else.

    Attributes:
        places: the names of the values, and their types.
        statement: as the server takes it.
        formats: that each value is binary.

    Example:
        >>> quick = Quick(b"add", "SELECT %(a)s::int8 + %(b)s::int8 + %(a)s::int8")
        >>> quick.statement, quick.places
        (b'SELECT $1::int8 + $2::int8 + $1::int8', {'a': 'int8', 'b': 'int8'})
    """

    name: bytes
    template: str
    places: dict[str, str] = field(init=False)
    statement: bytes = field(init=False)
    formats: list[int] = field(init=False)
    _encoders: list[tuple[str, Callable[[Any], bytes]]] = field(init=False)

    @places.default
    def _find_places(self) -> dict[str, str]:
        return dict(_PLACE.findall(self.template))

    @statement.default
    def _number_places(self) -> bytes:
        numbers = {place: number for number, place in enumerate(self.places, 1)}
        kinds = {place: f"::{kind}" if kind else "" for place, kind in self.places.items()}
        return _PLACE.sub(lambda found: f"${numbers[found[1]]}{kinds[found[1]]}", self.template).encode()

    @formats.default
    def _find_formats(self) -> list[int]:
        return [1] * len(self.places)

    @_encoders.default
    def _find_encoders(self) -> list[tuple[str, Callable[[Any], bytes]]]:
        return [(place, encoder(kind)) for place, kind in self.places.items()]

    def values(self, parameters: Mapping[str, Any]) -> list[bytes | None]:
        """The values, encoded, in the order of their places."""
        return [None if (value := parameters[place]) is None else encode(value) for place, encode in self._encoders]


def encoder(kind: str) -> Callable[[Any], bytes]:
    r"""How a value is written for PostgreSQL, in binary.

    Parameters:
        kind: the type to which the statement casts it; "" for a text or bytes.

    Example:
        >>> encoder("")("ann"), encoder("int8")(1)
        (b'ann', b'\x00\x00\x00\x00\x00\x00\x00\x01')
    """
    if kind in PACKED:
        return PACKED[kind].pack
    return partial(array, kind[:-2]) if kind.endswith("[]") else plain


def plain(value: str | bytes) -> bytes:
    """A text or bytes."""
    return value.encode() if isinstance(value, str) else value


def array(kind: str, values: Sequence[Any]) -> bytes:
    """An array of texts, bytes or numbers; None is NULL."""
    encode = encoder(kind)
    parts = [pack(">5i", 1, None in values, ELEMENTS[kind], len(values), 1)]
    for value in values:
        item = None if value is None else encode(value)
        parts += [pack(">i", -1)] if item is None else [pack(">i", len(item)), item]
    return b"".join(parts)
