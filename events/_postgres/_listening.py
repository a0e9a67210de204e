"""`listening`: a thread that hears what the server tells, and calls somebody. Must not know what it is about."""

import logging
import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import psycopg

from events._errors import LogError
from events._postgres._database import Database
from events._postgres._statements import quoted_name

logger = logging.getLogger("holdover")

PAUSE = 1.0
"""Seconds until the server is tried again where it cannot be reached."""


@contextmanager
def listening(database: Database, channel: str, wake: Callable[[], object]) -> Iterator[None]:
    """Have `wake` called, in a thread, whenever the channel is notified; and when it listens again after a break.

    A server that is away does no harm: who listens has to look by itself now and then, too.

    Parameters:
        database: the server.
        channel: what to listen to.
        wake: called without arguments; it must not block.
    """
    ours, theirs = socket.socketpair()

    def listen() -> None:
        while True:
            try:
                with database.connection() as connection:
                    connection.execute(f"LISTEN {quoted_name(channel)}")
                    wake()  # for what was told before
                    if _heard_all(connection, theirs, wake):
                        break
            except (LogError, psycopg.Error) as error:
                logger.warning("%s: cannot listen (%s); looking goes on without", database.path, error)
            if readable(theirs, timeout=PAUSE):
                break
        theirs.close()

    thread = Thread(target=listen, name="holdover-listener", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ours.close()
        thread.join(PAUSE)  # it may be connecting to a server that does not answer


def _heard_all(connection: "psycopg.Connection[Any]", end: socket.socket, wake: Callable[[], object]) -> bool:
    """Listen until the connection breaks (which raises), or the end is told."""
    while True:
        if end in readable(connection, end):
            return True
        if list(connection.notifies(timeout=0)):
            wake()


def readable(*sources: Any, timeout: float | None = None) -> list[Any]:
    """Those of the sources (with a `fileno`) from which something can be read, as soon as there is one."""
    with selectors.DefaultSelector() as selector:
        for source in sources:
            selector.register(source, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(timeout)]
