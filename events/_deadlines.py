"""Which streams are overdue, in time proportional to their number; must not know what a deadline is for."""

import heapq
from threading import Lock


class Deadlines:
    """A deadline for some streams; those that have passed are found without looking at the others.

    A heap with lazy deletion: a changed deadline leaves its old entry behind, and the heap is rebuilt when such
    entries outnumber the others, so it never holds more than twice what it must.

    Example:
        >>> deadlines = Deadlines()
        >>> deadlines.set("ann", 30.0); deadlines.set("bob", 300.0)
        >>> deadlines.due(30.0)
        ['ann']
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._current: dict[str, tuple[float, int, str]] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._count = 0

    def __len__(self) -> int:
        """How many entries the heap holds, outdated ones included."""
        return len(self._heap)

    def set(self, stream: str, deadline: float | None) -> None:
        """Give the stream this deadline (seconds) in place of the one it had; None for none at all."""
        with self._lock:
            if deadline is None:
                self._current.pop(stream, None)
            else:
                self._count += 1
                self._current[stream] = entry = (deadline, self._count, stream)
                heapq.heappush(self._heap, entry)
            if len(self._heap) > 2 * len(self._current) + 16:
                self._heap = list(self._current.values())
                heapq.heapify(self._heap)

    def due(self, now: float) -> list[str]:
        """The streams whose deadline is not after `now`, earliest first, and of equal ones the one that was set first.

        They stay due until `set` says otherwise.
        """
        with self._lock:
            passed = self._take(now)
            self._give_back(passed)
            return [stream for _, _, stream in passed]

    def next(self, now: float) -> float | None:
        """The earliest deadline after `now`; None where there is none.

        Example:
            >>> deadlines = Deadlines()
            >>> deadlines.set("ann", 30.0); deadlines.set("bob", 300.0)
            >>> deadlines.next(30.0), deadlines.next(300.0)
            (300.0, None)
        """
        with self._lock:
            passed = self._take(now)
            while self._heap and self._current.get(self._heap[0][2]) is not self._heap[0]:
                heapq.heappop(self._heap)
            earliest = self._heap[0][0] if self._heap else None
            self._give_back(passed)
            return earliest

    def _take(self, now: float) -> list[tuple[float, int, str]]:
        passed: list[tuple[float, int, str]] = []
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            if self._current.get(entry[2]) is entry:
                passed.append(entry)
        return passed

    def _give_back(self, passed: list[tuple[float, int, str]]) -> None:
        for entry in passed:
            heapq.heappush(self._heap, entry)
