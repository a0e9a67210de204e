"""What the standard library has for items that wait in memory: the bare things beside `peer_queues`."""

from collections import deque
from pathlib import Path
from queue import Queue
from time import perf_counter

from benchmarks.measuring import own_copy, timed
from benchmarks.peer_queues import ITEM, put_all, since


class StandardQueue:
    """The standard library's `queue.Queue`: a lock and a deque."""

    path = None

    def __init__(self, _: Path | None) -> None:
        self._queue: Queue[bytes] = Queue()
        self._drive = own_copy(put_all)

    def put(self, items: int) -> float:
        return float(self._drive(self._queue.put, [ITEM] * items))

    def put_batch(self, items: int) -> float:
        return self.put(items)

    def fill(self, items: int) -> None:
        self.put(items)

    def take(self, items: int) -> float:
        start = perf_counter()
        taken = [self._queue.get_nowait() for _ in range(items)]
        for _ in taken:
            self._queue.task_done()
        return since(start, taken, items)

    def close(self) -> None: ...


class BareDeque:
    """A bare `collections.deque`: what remains when nothing is confirmed, counted or locked."""

    path = None

    def __init__(self, _: Path | None) -> None:
        self._deque: deque[bytes] = deque()
        self._drive = own_copy(put_all)

    def put(self, items: int) -> float:
        return float(self._drive(self._deque.append, [ITEM] * items))

    def put_batch(self, items: int) -> float:
        batch = [ITEM] * items
        return timed(lambda: self._deque.extend(batch)) / items

    def fill(self, items: int) -> None:
        self._deque.extend([ITEM] * items)

    def take(self, items: int) -> float:
        start = perf_counter()
        taken = [self._deque.popleft() for _ in range(items)]
        return since(start, taken, items)

    def close(self) -> None: ...
