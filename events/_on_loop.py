"""`OnLoop`: a connection that only coroutines can use, for a thread. Must not know loops or databases."""

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen


@frozen
class OnLoop:
    """What a log can join in place of a connection: one of asyncio's, and the way to it.

    Parameters:
        connection: the connection, such as a `psycopg.AsyncConnection`.
        call: has something awaited on the connection's event loop, waits for that in this thread (which is not the
            loop's), and returns what it gives or raises what it raises.

    Example:
        >>> import asyncio
        >>> async def answer():
        ...     return 42
        >>> OnLoop(connection=None, call=lambda awaitable: asyncio.run(awaitable)).call(answer())
        42
    """

    connection: Any
    call: Callable[[Awaitable[Any]], Any]
