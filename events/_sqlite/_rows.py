"""What stands in a row of the tables, and the checksum that proves it. Must not know connections or transactions."""

from collections.abc import Callable, Sequence
from operator import attrgetter, contains
from typing import Any, get_args
from zlib import crc32

from attrs import define, field, fields

from events._codec import Codec
from events._errors import LogDamagedError
from events._events import Event, MeasurementAdded
from events._offsets import Offsets

SPREAD = 0x9E3779B1
"""An odd number that makes neighbouring streams' checksums begin far apart."""

MASK = 0xFFFFFFFF
"""A CRC's 32 bits."""

MOST = 2**62
"""An offset that no stream reaches, and that SQLite can keep."""

Fetch = Callable[..., list[tuple[Any, ...]]]


def place_of(stream: int, offset: int = 0) -> int:
    """Where the checksum of an event begins, were it a measurement; add offsets to go on from there, under `MASK`."""
    return stream * SPREAD + offset


def checksum(stream: int, offset: int, kind: str | None, data: bytes, recorded_at: float | None = None) -> int:
    """The CRC of an event, which also tells whether it stands in its place."""
    place = place_of(stream, offset)
    if kind is not None:
        place += crc32(f"{kind} {recorded_at}".encode())
    return crc32(data, place & MASK)


def event_row(codec: Codec, event: Event) -> tuple[str | None, bytes]:
    """The kind and the data of an event."""
    if type(event) is MeasurementAdded and event.arrived_at is None:
        return None, codec.encode(event.measurement)
    return codec.encode_event(event)


def event_of(codec: Codec, kind: str | None, data: bytes) -> Event:
    """The event of a row."""
    return MeasurementAdded(codec.decode(data)) if kind is None else codec.decode_event(kind, data)


def stored_name(stream: str) -> str | bytes:
    """A stream's name as it is kept: as text wherever that is Unicode."""
    try:
        stream.encode()
    except UnicodeEncodeError:
        return stream.encode(errors="surrogatepass")
    return stream


def name_of(stored: str | bytes) -> str:
    """The way back."""
    return stored if isinstance(stored, str) else stored.decode(errors="surrogatepass")


@define
class Stream:
    """A row of `holdover_streams`, and the head."""

    id: int
    name: str | bytes
    start: int = 0
    granted_from: int = 0
    revision: int = 0
    checkpointed: int = 0
    full_at: int = 0
    opens_to: int = 0
    evicts_to: int = 0
    victims: bytes = b""
    issuer: bytes = b""
    until: float | None = None
    arrived_at: float | None = None
    due_at: float | None = None
    due_after: float | None = None
    due_since: int | None = None
    shelved_since: int | None = None
    head: int = 0
    _decoded: tuple[bytes, Offsets] | None = field(init=False, default=None)  # victims, and what they are

    def victim(self, codec: Codec) -> int:
        """The offset that an add which evicts does so from now.

        Raises:
            LogDamagedError: there is none.
        """
        if self._decoded is None or self._decoded[0] is not self.victims:
            self._decoded = self.victims, codec.decode(self.victims)
        victims = self._decoded[1]
        if type(victims) is not Offsets or self.evicts_to > self.granted_from + 2 * len(victims):
            raise LogDamagedError(f"what may be evicted of stream {self.name!r} is not what was recorded")
        return victims[(self.head - self.granted_from) // 2]

    def checksum(self) -> int:
        """The CRC of all that is kept."""
        return crc32(repr(_kept(self)).encode())


_NAMES = tuple(attribute.name for attribute in fields(Stream) if attribute.name not in ("head", "_decoded"))
_KINDS = tuple(frozenset(get_args(one.type) or (one.type,)) for one in fields(Stream) if one.name in _NAMES)
_kept = attrgetter(*_NAMES)
_numbers = attrgetter(*(name for name, kinds in zip(_NAMES, _KINDS, strict=True) if kinds == {int}))
_changing = attrgetter(*_NAMES[2:])
_COLUMNS = ", ".join(_NAMES)
_BARE = ", ".join(f"+{name}" for name in _NAMES)  # without declared types, for which an application may have converters
_HEAD = 'coalesce((SELECT max("offset") + 1 FROM holdover_events WHERE stream = holdover_streams.id), start)'

_FIND = f"SELECT {_BARE}, +checksum, {_HEAD} FROM holdover_streams WHERE name = ?"
_LIST = f"SELECT {_BARE}, +checksum FROM holdover_streams WHERE "
_INSERT = f"INSERT INTO holdover_streams ({_COLUMNS}, checksum) VALUES ({', '.join('?' * (len(_NAMES) + 1))})"
_UPDATE = f"UPDATE holdover_streams SET {', '.join(f'{name} = ?' for name in _NAMES[2:])}, checksum = ? WHERE id = ?"


def find(fetch: Fetch, name: str, path: str) -> Stream | None:
    """The stream as it is now, or None if it has never had an event.

    Raises:
        LogDamagedError: the row is not as it was written, or events are missing.
    """
    rows = fetch(_FIND, (stored_name(name),))
    if not rows:
        return None
    *row, head = rows[0]
    stream = _checked(row, path)
    if type(head) is not int:
        raise damaged(path, f"the newest event of stream {name!r} is at {head - 1!r:.40}, which is no offset")
    if name_of(stream.name) != name:
        raise damaged(path, f"stream {name!r} is listed under another name")
    if head < stream.granted_from:
        raise damaged(path, f"the newest events of stream {name!r} are missing")
    stream.head = head
    return stream


def listed(fetch: Fetch, condition: str, parameters: Sequence[Any], path: str) -> list[Stream]:
    """The streams that fulfil a condition, without their heads.

    Raises:
        LogDamagedError: a row is not as it was written.
    """
    return [_checked(row, path) for row in fetch(_LIST + condition, parameters)]


def _checked(row: Sequence[Any], path: str) -> Stream:
    *values, found = row
    stream = Stream(*values)
    if stream.checksum() != found:
        raise damaged(path, f"what is kept about stream {stream.name!r} does not fit its checksum")
    numbers = _numbers(stream)
    if not all(map(contains, _KINDS, map(type, values))) or min(numbers) < 0 or max(numbers) > MOST:
        raise damaged(path, f"what is kept about stream {stream.name!r} is not what a log keeps")
    if type(stream.name) is bytes:
        try:
            name_of(stream.name)
        except UnicodeDecodeError as error:
            raise damaged(path, f"the name {stream.name!r:.80} is none ({error.reason})") from error
    return stream


def insertion(stream: Stream) -> tuple[str, tuple[Any, ...]]:
    """The statement that keeps a new stream."""
    return _INSERT, (*_kept(stream), stream.checksum())


def update(stream: Stream) -> tuple[str, tuple[Any, ...]]:
    """The statement that keeps a changed one."""
    return _UPDATE, (*_changing(stream), stream.checksum(), stream.id)


def damaged(path: str, what: str) -> LogDamagedError:
    """An error for what cannot have been written by a log."""
    return LogDamagedError(
        f"{path} is damaged: {what}; nothing of it is guessed; restore a backup, or see what is whole with "
        f"`holdover audit`"
    )
