"""How single values become bytes and come back: those that msgpack has no form for. Knows no msgpack and no event."""

import reprlib
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from events._errors import UnknownTypeError, UnsupportedTypeError

PLAIN: frozenset[type] = frozenset({str, int, float, bool, NoneType, bytes})
"""Types whose values are kept as they stand (an int that needs more than 64 bits as `INTEGER`)."""

INTEGER, TUPLE, PAIRS, DATETIME, DATE, DECIMAL, IDENTIFIER, REGISTERED = range(1, 9)
"""What the bytes stand for. The numbers are written beside them, so they keep their meaning for ever."""

MICROSECOND = timedelta(microseconds=1)
MOMENT = struct.Struct(">HBBBBBIB")
OFFSET = struct.Struct(">q")
INTO_UTC = "convert it with astimezone(timezone.utc)"
UTC_MARK = b"+" + OFFSET.pack(0)


class RefusedError(Exception):
    """A value that cannot be kept. On its way out of the containers around it, it learns where it stands.

    Parameters:
        value: what is refused.
        why: the reason and the remedy, as the end of a sentence that begins with the place and the type.
    """

    def __init__(self, value: Any, why: str) -> None:
        super().__init__(why)
        self.kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
        self.why, self.path, self._at = why, "", value

    def told(self, root: str) -> UnsupportedTypeError:
        """The same for the user; `root` is what to call the outermost value."""
        return UnsupportedTypeError(f"{root}{self.path}: {self.kind} {self.why}")

    def climb(self, parts: Iterable[tuple[str, Any]], whole: Any) -> None:
        """It stood in `whole`, in the part that is the very object seen last."""
        self.path = next((label for label, part in parts if part is self._at), "") + self.path
        self._at = whole


def shown(value: Any) -> str:
    """A short text for an error, also of what has no repr, such as an int of 5,000 digits."""
    try:
        return reprlib.repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def shortened(text: object) -> str:
    """Its beginning, for an error."""
    return f"{text!s:.200}"


def described(error: Exception) -> str:
    """An error within another's text: not its `repr`, which shows all that was read, or fails to."""
    try:
        return f"{type(error).__name__}: {error!s:.200}"
    except Exception:
        return type(error).__name__


def labelled(value: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The parts of a dict with what to call them."""
    for key, part in value.items():
        yield f", its key {shown(key)}", key
        yield f"[{shown(key)}]", part


def integer_bytes(value: int) -> bytes:
    """An int of any size."""
    return int.to_bytes(value, value.bit_length() // 8 + 1, "big", signed=True)


def _integer(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _moment_bytes(value: datetime) -> bytes:
    zone = value.tzinfo
    if zone is UTC:
        mark = UTC_MARK
    elif zone is None:
        mark = b""
    else:
        mark = _zone_bytes(value, zone)
    local = MOMENT.pack(
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.fold
    )
    return local + mark


def _zone_bytes(value: datetime, zone: tzinfo) -> bytes:
    """A zone by its key, anything else by its offset then; refused where that would be another moment."""
    if type(zone) is ZoneInfo and isinstance(zone.key, str) and _is_found_by_its_key(zone):
        return b"@" + zone.key.encode()
    if type(zone) is timezone:
        own, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # tells whether its name was given
        mark = b"=" if name else b"+"
        return mark + OFFSET.pack(own // MICROSECOND) + "".join(name).encode("utf-8", "surrogatepass")
    offset = value.utcoffset()
    if offset is None or value.replace(tzinfo=timezone(offset)) != value:
        raise RefusedError(value, f"in a time zone that cannot be kept ({shown(zone)}); {INTO_UTC}")
    return b"+" + OFFSET.pack(offset // MICROSECOND)


def _is_found_by_its_key(zone: ZoneInfo) -> bool:
    """Whether reading will find this very zone, which is not so for one read from a file or kept out of the cache."""
    try:
        return ZoneInfo(zone.key) is zone
    except (LookupError, ValueError, OSError):
        return False


def _moment(data: bytes) -> datetime:
    year, month, day, hour, minute, second, microsecond, fold = MOMENT.unpack_from(data)
    zone = _zone(data[MOMENT.size :])
    return datetime(year, month, day, hour, minute, second, microsecond, zone, fold=fold)


def _zone(data: bytes) -> tzinfo | None:
    if not data:
        return None
    mark, rest = data[:1], data[1:]
    if mark == b"@":
        return _zone_by_key(rest.decode())
    offset = timedelta(microseconds=OFFSET.unpack_from(rest)[0])
    return timezone(offset, rest[OFFSET.size :].decode("utf-8", "surrogatepass")) if mark == b"=" else timezone(offset)


def _zone_by_key(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except (LookupError, ValueError, OSError) as error:
        raise UnknownTypeError(f"the time zone {key!r} is not known here; pip install tzdata") from error


def _date(data: bytes) -> date:
    return date.fromordinal(_integer(data))


def _decimal(data: bytes) -> Decimal:
    return Decimal(data.decode())


def _identifier(data: bytes) -> UUID:
    return UUID(bytes=data)


KEEP: Mapping[type, tuple[int, Callable[[Any], bytes]]] = {
    datetime: (DATETIME, _moment_bytes),
    date: (DATE, lambda value: integer_bytes(value.toordinal())),
    Decimal: (DECIMAL, lambda value: str(value).encode()),
    UUID: (IDENTIFIER, lambda value: value.bytes),
}
"""Type to what its bytes stand for, and how to make them."""

REVIVE: Mapping[int, Callable[[bytes], Any]] = {
    INTEGER: _integer,
    DATETIME: _moment,
    DATE: _date,
    DECIMAL: _decimal,
    IDENTIFIER: _identifier,
}
"""The way back."""

KEPT: frozenset[type] = PLAIN.union(KEEP, (list, tuple, dict))
"""Every type that needs no registration."""
