"""What stands in a row of the tables. Must not know statements or connections."""

import os
import re

from attrs import frozen

from events._codec import Codec
from events._errors import LogDamagedError
from events._events import Event, MeasurementAdded, MeasurementsEvicted

ONE_EVICTED = "-"
"""The kind of an eviction that the server has recorded together with an add; its data is the offset, in 8 bytes."""

MOST = 2**62
"""An offset that no stream reaches."""

_ESCAPED = re.compile("[\\\\\0\ud800-\udfff]")

_ESCAPE = re.compile(r"\\(\\|x[0-9a-f]{4})")


def stored_name(stream: str) -> str:
    r"""A stream's name as text that PostgreSQL can keep.

    Example:
        >>> stored_name("ann"), stored_name("a\0b")
        ('ann', 'a\\x0000b')
    """
    return _ESCAPED.sub(lambda found: "\\\\" if found[0] == "\\" else f"\\x{ord(found[0]):04x}", stream)


def name_of(stored: str) -> str:
    """The way back."""
    return _ESCAPE.sub(lambda found: "\\" if found[1] == "\\" else chr(int(found[1][1:], 16)), stored)


def new_token() -> int:
    """A number that no other add has, in whichever process."""
    return int.from_bytes(os.urandom(8), "big", signed=True)


@frozen
class EventRow:
    """An event as it is kept."""

    kind: str | None
    arrived_at: float | None
    data: bytes

    @classmethod
    def of(cls, codec: Codec, event: Event) -> "EventRow":
        """The row of an event."""
        if type(event) is MeasurementAdded:
            at = event.arrived_at
            if at is None or type(at) is float:
                return cls(None, at, codec.encode(event.measurement))
        kind, data = codec.encode_event(event)
        return cls(kind, None, data)


def event_of(codec: Codec, kind: str | None, arrived_at: float | None, data: bytes) -> Event:
    """The event of a row."""
    if kind is None:
        return MeasurementAdded(codec.decode(data), arrived_at)
    if kind == ONE_EVICTED:
        victim = int.from_bytes(data, "big", signed=True)
        return MeasurementsEvicted(victim, victim + 1)
    return codec.decode_event(kind, data)


def damaged(path: str, what: str) -> LogDamagedError:
    """An error for what cannot have been written by a log."""
    return LogDamagedError(
        f"{path} is damaged: {what}; nothing of it is guessed; restore a backup, or see what is whole with "
        f"`holdover audit`"
    )
