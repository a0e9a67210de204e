"""`Issuers`: who gave a grant, as it can be told to other processes. Must not know logs."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from events._codec import Codec
from events._errors import UnsupportedTypeError


class Issuers:
    """Remembers how each issuer is kept, since the same few come with every add.

    Parameters:
        codec: for the issuers.
        kept: makes what is kept of an encoded one.

    Example:
        >>> issuers = Issuers(Codec())
        >>> issuers.of("a buffer") == issuers.of("a buffer"), issuers.of(object()) == issuers.of(object())
        (True, False)
    """

    def __init__(self, codec: Codec, kept: Callable[[bytes], bytes] = bytes) -> None:
        self._codec, self._kept = codec, kept
        self._known: list[tuple[Any, bytes]] = []
        self._latest: tuple[Any, bytes] = (self, b"")

    def of(self, issuer: Any) -> bytes:
        """The issuer as it is kept; one that cannot be encoded is told apart from all others."""
        latest, kept = self._latest
        return kept if latest is issuer else self._found(issuer)

    def _found(self, issuer: Any) -> bytes:
        kept = next((kept for known, kept in self._known if known == issuer), b"")
        if not kept:
            try:
                encoded = self._codec.encode(issuer)
            except UnsupportedTypeError:
                encoded = b"\xc1" + uuid4().bytes  # which no encoded value begins with
            kept = self._kept(encoded)
            self._known.append((issuer, kept))
        self._latest = issuer, kept
        return kept
