"""A proxy in front of PostgreSQL that loses, cuts and holds back what passes. Must not know what is asked.

It passes one request at a time, from the first byte to the server's being ready again, and counts them over all
connections; so with one connection that is used by one thread, the n-th request is the same one each time.
"""

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from time import monotonic
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

PATIENCE = 60
"""Seconds after which a test fails rather than hangs."""

CANCEL = 80877102
ASKS_BACK = (3, 5, 10, 11)
"""The server's requests for authentication that the client answers."""


class CutError(Exception):
    """The connection is to be cut, on both sides."""


class HeldError(Exception):
    """The connection is to be cut on the client's side only."""


class Wire:
    """One side's messages."""

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(PATIENCE)
        self.end = end

    def exactly(self, count: int) -> bytes:
        """So many bytes, or fewer if the other side is gone."""
        found = b""
        with suppress(ConnectionError):
            while len(found) < count and (more := self.end.recv(count - len(found))):
                found += more
        return found

    def first(self) -> bytes:
        """The message that a connection begins with, which has no type."""
        size = self.exactly(4)
        return size + self.exactly(int.from_bytes(size, "big") - 4) if size else b""

    def message(self) -> bytes:
        """Any other message; nothing if the other side is gone."""
        head = self.exactly(5)
        return head + self.exactly(int.from_bytes(head[1:], "big") - 4) if len(head) == 5 else b""

    def messages(self, last: bytes) -> bytes:
        """All up to one of the types in `last`, or as many as there are."""
        found = b""
        while message := self.message():
            found += message
            if message[:1] in last:
                break
        return found

    def send(self, messages: bytes) -> None:
        """Send, to whom it may concern."""
        with suppress(ConnectionError):
            self.end.sendall(messages)

    def end_talk(self) -> None:
        """Let nothing more pass; who waits for it learns that."""
        with suppress(OSError):
            self.end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection."""
        self.end_talk()
        self.end.close()


class Passage:
    """One request on its way.

    Attributes:
        request: its bytes.
        backend: the process of the server that serves its connection.
        in_transaction: whether a transaction is open on its connection.
    """

    def __init__(self, proxy: "Proxy", connection: "Connection", request: bytes) -> None:
        self.proxy, self.request, self._connection = proxy, request, connection
        self.backend, self.in_transaction = connection.backend, connection.in_transaction

    def pass_on(self) -> None:
        """What happens to a request in peace."""
        self.answer(self.deliver())

    def send(self) -> None:
        """Give it to the server."""
        self._connection.server.send(self.request)

    def deliver(self) -> bytes:
        """Give it to the server, and wait for the answer."""
        self.send()
        return self.awaited()

    def awaited(self) -> bytes:
        """The answer to what was sent."""
        answer = self._connection.server.messages(b"Z")
        self._connection.in_transaction = answer[-1:] in (b"T", b"E")
        return answer

    def answer(self, answer: bytes) -> None:
        """Give the client its answer; if the server is gone, its connection ends."""
        self._connection.client.send(answer)
        if answer[-6:-5] != b"Z":
            raise CutError

    def has_answer(self) -> bool:
        """Whether there is something of an answer by now, or will never be."""
        end = self._connection.server.end
        return end.fileno() < 0 or bool(select.select([end], [], [], 0.001)[0])

    def close(self) -> None:
        """End the server's side."""
        self._connection.server.close()


Fault = Callable[[Passage], None]


def lost(_passage: Passage) -> None:
    """The request never reaches the server."""
    raise CutError


def unanswered(passage: Passage) -> None:
    """It is done, but the answer never comes."""
    passage.deliver()
    raise CutError


def answered_in_part(count: int) -> Fault:
    """It is done, but only so many bytes of the answer come."""

    def fault(passage: Passage) -> None:
        passage.answer(passage.deliver()[:count])
        raise CutError

    return fault


def terminated(passage: Passage) -> None:
    """The server ends the connection, just before the request."""
    with psycopg.connect(passage.proxy.server, autocommit=True) as connection:
        assert connection.execute("SELECT pg_terminate_backend(%s, 60000)", (passage.backend,)).fetchone() == (True,)
    passage.pass_on()


def late(passage: Passage) -> None:
    """The client's connection breaks; the request is on its way still, and comes when `Proxy.deliver_late` says.

    In a transaction, which would keep what it has locked, it is lost.
    """
    if passage.in_transaction:
        raise CutError
    passage.proxy.held.append(passage)
    raise HeldError


class Connection:
    """A client's connection, and the one to the server that belongs to it."""

    backend = 0
    in_transaction = False

    def __init__(self, proxy: "Proxy", client: socket.socket, server: socket.socket) -> None:
        self.proxy, self.client, self.server = proxy, Wire(client), Wire(server)

    def serve(self) -> None:
        """Pass everything, until somebody ends it."""
        held = False
        try:
            if self.begin():
                while (request := self.client.messages(b"SQX")) and request[:1] != b"X":
                    self.proxy.passing(Passage(self.proxy, self, request))
        except CutError:
            pass
        except HeldError:
            held = True
        finally:
            self.client.close()
            if not held:
                self.server.close()

    def begin(self) -> bool:
        """Authentication, and what the server says of itself; whether it goes on from there."""
        first = self.client.first()
        self.server.send(first)
        if int.from_bytes(first[4:8], "big") == CANCEL:
            return False
        while message := self.server.message():
            self.client.send(message)
            kind, body = message[:1], message[5:]
            if kind == b"K":
                self.backend = int.from_bytes(body[:4], "big")
            if kind == b"R" and int.from_bytes(body[:4], "big") in ASKS_BACK:
                self.server.send(self.client.message())
            if kind == b"Z":
                return True
        return False


class Proxy:
    """A server's face for a client; see above. To be closed, or used as a context manager.

    Parameters:
        server: the server's address.

    Attributes:
        address: the proxy's.
        requests: how many have passed, since the count was last set to 0.
        faults: what becomes of which request, by its number; of each other the usual.
        held: the requests that are late.
        refusing: whether new connections are ended at once.
        refused: how many were.
    """

    def __init__(self, server: str) -> None:
        self.server = server
        self.requests, self.refused, self.refusing = 0, 0, False
        self.faults: dict[int, Fault] = {}
        self.held: list[Passage] = []
        self._lock, self._connections, self._closed = Lock(), list[Connection](), False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = self._listener.getsockname()[1]
        self.address = through(server, self.port)
        with psycopg.connect(server) as connection:
            self._where = connection.info.host, connection.info.port
        self._thread = Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all connections."""
        self._closed = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join(PATIENCE)
        self._listener.close()
        self.cut_all()
        for passage in self.held:
            passage.close()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def cut_all(self) -> None:
        """Cut every connection there is."""
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.client.end_talk()
            connection.server.end_talk()

    @contextmanager
    def away(self) -> Iterator[None]:
        """In the block the server cannot be reached: all connections are cut, and new ones are refused."""
        self.refusing = True
        self.cut_all()
        try:
            yield
        finally:
            self.refusing = False

    def deliver_late(self) -> list[bytes]:
        """Give the server what was held back, and see what it answers."""
        answers = [passage.deliver() for passage in self.held]
        while self.held:
            self.held.pop().close()
        return answers

    def let_arrive(self) -> None:
        """The same, until the server has done it or waits for a lock, whose holder may go on; see `see_late_off`."""
        for passage in self.held:
            passage.send()
        until = monotonic() + PATIENCE
        with psycopg.connect(self.server, autocommit=True) as connection:
            for passage in self.held:
                while not (passage.has_answer() or self._waits(connection, passage.backend)):
                    assert monotonic() < until, "neither done nor waiting"

    def see_late_off(self) -> None:
        """Wait for the answers to what has arrived."""
        while self.held:
            passage = self.held.pop()
            passage.awaited()
            passage.close()

    @staticmethod
    def _waits(connection: "psycopg.Connection[Any]", backend: int) -> bool:
        query = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
        return connection.execute(query, (backend,)).fetchone() == (True,)

    def passing(self, passage: Passage) -> None:
        """Pass a request, or let happen to it what was planned."""
        with self._lock:
            fault = self.faults.get(self.requests, Passage.pass_on)
            self.requests += 1
        fault(passage)

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._closed:
                client.close()
                return
            if self.refusing:
                self.refused += 1
                client.close()
                continue
            try:
                server = connected(*self._where)
            except OSError:
                client.close()
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, client, server)
            with self._lock:
                self._connections.append(connection)
            Thread(target=connection.serve, daemon=True).start()


def through(server: str, port: int) -> str:
    """The server's address, by way of a port of this machine."""
    settings = conninfo_to_dict(server)
    changed = {"host": "127.0.0.1", "port": port, "sslmode": "disable", "gssencmode": "disable"}
    parts = {name: quote(str(value), safe="") for name, value in {**settings, **changed}.items() if value is not None}
    return "postgresql://?" + "&".join(f"{name}={value}" for name, value in parts.items() if name != "hostaddr")


def connected(host: str, port: int) -> socket.socket:
    """A connection to the server without any talk."""
    if host.startswith("/"):
        end = socket.socket(socket.AF_UNIX)
        end.connect(f"{host}/.s.PGSQL.{port}")
        return end
    end = socket.create_connection((host, port))
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return end
