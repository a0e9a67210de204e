"""What keeps items until they were worked on: holdover and others, behind the same few calls. Knows no figures.

Where there was a choice, it was made in the others' favour: items come to them encoded, what they need besides is made
before the clock starts, and what they leave behind is cleared away after it stopped.
"""

from collections.abc import Callable, Sequence
from itertools import count, islice
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol
from uuid import uuid4

from diskcache import Cache, Deque
from eventsourcing.persistence import StoredEvent, Tracking
from eventsourcing.popo import POPOProcessRecorder
from eventsourcing.sqlite import SQLiteDatastore, SQLiteProcessRecorder
from litequeue import LiteQueue
from persistqueue import SQLiteAckQueue

from benchmarks.adding import add_all
from benchmarks.measuring import own_copy, timed
from events import Codec, MemoryLog, SqliteLog
from statemachine import BufferConfig, ReplayBuffer

SYNCHRONOUS = "PRAGMA synchronous = FULL"
TEXT = '{"weight": 81.5, "timestamp": "2026-01-05T07:30:00+00:00"}'
ITEM = Codec().encode(TEXT)
"""An item is these bytes for all of them, or the text for those that take only text."""

TAKEN = 100
"""How many items are taken and confirmed at once."""


class Peer(Protocol):
    """What is timed. It is made with the path of its file, which may be there already, or with None: in memory."""

    @property
    def path(self) -> Path | None: ...

    def put(self, items: int) -> float:
        """Put items one by one, each of them kept before the next; seconds an item."""

    def put_batch(self, items: int) -> float:
        """Put items in the fewest steps that there are; seconds an item."""

    def fill(self, items: int) -> None:
        """Clear away what is left of items that were confirmed, and put items in any way."""

    def take(self, items: int) -> float:
        """Take as many items as there are and confirm that they were worked on; seconds altogether."""

    def close(self) -> None: ...


class Holdover:
    """A `ReplayBuffer` with one user, on a `SqliteLog` or a `MemoryLog`. A batch is what a snapshot has frozen."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._log: Any = SqliteLog[bytes](path) if path else MemoryLog[bytes]()
        self._buffer: ReplayBuffer[bytes] = ReplayBuffer(self._log, BufferConfig(max_measurements=10**9))
        self._drive = own_copy(add_all)

    def put(self, items: int) -> float:
        return float(self._drive(self._buffer.add_measurement, [("ann", ITEM)] * items))

    def put_batch(self, items: int) -> float:
        batch = [ITEM] * items
        return timed(lambda: self._buffer.add_measurements("ann", batch)) / items

    def fill(self, items: int) -> None:
        self._buffer.add_measurements("ann", [ITEM] * items)

    def take(self, items: int) -> float:
        start = perf_counter()
        with self._buffer.snapshot("ann") as frozen:
            taken = list(frozen)
        return since(start, taken, items)

    def close(self) -> None:
        self._buffer.close()


class Recorder:
    """A process recorder of eventsourcing, with one aggregate, and its own follower.

    A batch is a page of notifications; it is confirmed by recording how far the follower has come, which it also
    remembers. The library sets WAL and leaves `synchronous` as SQLite was built; it is set here on the pool's one
    connection.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self._datastore = path, None
        self._recorder: Any
        if path is None:
            self._recorder = POPOProcessRecorder()
        else:
            self._datastore = SQLiteDatastore(str(path), pool_size=1, max_overflow=0)
            with self._datastore.get_connection(commit=True) as connection:
                connection.cursor().execute(SYNCHRONOUS)
            self._recorder = SQLiteProcessRecorder(self._datastore)
            self._recorder.create_table()
        aggregate = uuid4()
        self._events = (StoredEvent(aggregate, version, "Measured", ITEM) for version in count(1))
        self._position: int | None = None

    def put(self, items: int) -> float:
        events, insert = [[event] for event in islice(self._events, items)], self._recorder.insert_events
        return timed(lambda: [insert(each) for each in events]) / items

    def put_batch(self, items: int) -> float:
        events = list(islice(self._events, items))
        return timed(lambda: self._recorder.insert_events(events)) / items

    def fill(self, items: int) -> None:
        self._recorder.insert_events(list(islice(self._events, items)))

    def take(self, items: int) -> float:
        start = perf_counter()
        page = self._recorder.select_notifications(self._position, items, inclusive_of_start=False)
        taken = [each.state for each in page]
        self._position = page[-1].id
        self._recorder.insert_tracking(Tracking("follower", self._position))
        return since(start, taken, items)

    def close(self) -> None:
        if self._datastore:
            self._datastore.close()


class AckQueue:
    """persist-queue's `SQLiteAckQueue`.

    It has no way to put or take several in one transaction, so a batch is as many puts, or gets and acks. It sets WAL
    and leaves `synchronous` as SQLite was built; it is set here on its connection.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._queue = SQLiteAckQueue(str(path.parent), db_file_name=path.name) if path else SQLiteAckQueue(":memory:")
        self._queue._putter.execute(SYNCHRONOUS)
        self._drive = own_copy(put_all)

    def put(self, items: int) -> float:
        return float(self._drive(self._queue.put, [ITEM] * items))

    def put_batch(self, items: int) -> float:
        return self.put(items // 10 + 1)  # each costs the same, and fewer are enough

    def fill(self, items: int) -> None:
        self._queue.clear_acked_data(max_delete=0, keep_latest=0)
        self.put(items)

    def take(self, items: int) -> float:
        start = perf_counter()
        taken = [self._queue.get(block=False, raw=True) for _ in range(items)]
        for each in taken:
            self._queue.ack(each)
        return since(start, taken, items)

    def close(self) -> None:
        self._queue.close()


class Lite:
    """litequeue; it takes text. It sets `synchronous=NORMAL`, which is set back to FULL here.

    Each `pop` begins a transaction of its own; puts, and what marks items as done, can be put together in one.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self._queue = path, LiteQueue(path) if path else LiteQueue(memory=True)
        self._queue.conn.execute(SYNCHRONOUS)
        self._drive = own_copy(put_all)

    def put(self, items: int) -> float:
        return float(self._drive(self._queue.put, [TEXT] * items))

    def put_batch(self, items: int) -> float:
        return timed(lambda: self._put_all(items)) / items

    def fill(self, items: int) -> None:
        self._queue.prune()
        self._put_all(items)

    def take(self, items: int) -> float:
        start = perf_counter()
        taken = [self._queue.pop() for _ in range(items)]
        with self._queue.transaction():
            for each in taken:
                self._queue.done(each.message_id)
        return since(start, taken, items)

    def close(self) -> None:
        self._queue.close()

    def _put_all(self, items: int) -> None:
        with self._queue.transaction():
            self._drive(self._queue.put, [TEXT] * items)


class DiskDeque:
    """diskcache's `Deque`; what is taken is gone when the transaction that takes it ends. Its own default is NORMAL."""

    def __init__(self, path: Path | None) -> None:
        assert path, "it has no memory mode"
        self.path = path / "cache.db"
        self._cache = Cache(path, eviction_policy="none", sqlite_synchronous=2)
        self._deque = Deque.fromcache(self._cache)
        self._drive = own_copy(put_all)

    def put(self, items: int) -> float:
        return float(self._drive(self._deque.append, [ITEM] * items))

    def put_batch(self, items: int) -> float:
        return timed(lambda: self.fill(items)) / items

    def fill(self, items: int) -> None:
        with self._deque.transact():
            self._deque.extend([ITEM] * items)

    def take(self, items: int) -> float:
        start = perf_counter()
        with self._deque.transact():
            taken = [self._deque.popleft() for _ in range(items)]
        return since(start, taken, items)

    def close(self) -> None:
        self._cache.close()


def put_all(put: Callable[[Any], object], items: Sequence[Any]) -> float:
    """Put everything; seconds an item."""
    start = perf_counter()
    for item in items:
        put(item)
    return (perf_counter() - start) / len(items)


def since(start: float, taken: Sequence[Any], items: int) -> float:
    """How many seconds it took to take them all."""
    time = perf_counter() - start
    assert len(taken) == items
    return time
