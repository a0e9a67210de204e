"""`Chunks`: an async iterator over something that blocks, a chunk at a time. Must not know what it iterates over."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T", covariant=True)

CHUNK = 4096
"""How many items are taken at a time."""

Call = Callable[..., Awaitable[Any]]
"""Calls a function with arguments, in a thread where it may block."""


class Chunks(AsyncIterator[T]):
    """Takes items in chunks, each with one call, and lets others run between two of them.

    It needs no closing, so a loop over it may be left at any time. A cancelled step can be taken again: what was
    fetched when it was cancelled is not lost.

    Parameters:
        call: makes the calls.
        opened: gives the iterator; called at the first step, and what it raises is raised there.
        size: how many items to a chunk.
    """

    def __init__(self, call: Call, opened: Callable[[], Iterator[T]], size: int = CHUNK) -> None:
        self._call, self._opened, self._size = call, opened, size
        self._iterator: Iterator[T] | None = None
        self._items: deque[T] = deque()
        self._exhausted = False
        self._error: Exception | None = None

    def __aiter__(self) -> "Chunks[T]":
        return self

    async def __anext__(self) -> T:
        if not self._items and not self._exhausted:
            await self._call(self._fetch)
            await asyncio.sleep(0)
        if self._items:
            return self._items.popleft()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopAsyncIteration

    def _fetch(self) -> None:
        try:
            if self._iterator is None:
                self._iterator = self._opened()
            self._items.extend(islice(self._iterator, self._size))
            self._exhausted = len(self._items) < self._size
        except Exception as error:  # to be raised after the items before it
            self._error, self._exhausted = error, True
