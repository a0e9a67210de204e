"""Buffers that people write to replay a window: four ways, of which only the first loses anything. Know no holdover.

They add as the lossy buffer does, under its one lock and with its bound. A replay takes a `snapshot`, works on it, and
then says `complete`, or `abort` where it failed.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from benchmarks.lossy import LossyBuffer


class Replayable(Protocol):
    """What can be filled in one thread while it is replayed in another."""

    def add_measurement(self, user_id: str, measurement: Any) -> object: ...

    def add_measurements(self, user_id: str, measurements: Sequence[Any]) -> object: ...

    def snapshot(self, user_id: str) -> Iterable[Any]:
        """What is to be replayed."""

    def complete(self, user_id: str) -> object:
        """What the snapshot gave has been replayed, and is to go."""

    def abort(self, user_id: str) -> object:
        """The replay has failed; the next one is to get it all again."""

    def live(self, user_id: str) -> list[Any]:
        """All that is to be replayed some day."""


class GetAndClear(LossyBuffer):
    """Get, replay, clear: what has arrived since the get is wiped."""

    def snapshot(self, user_id: str) -> Sequence[Any]:
        return self.get(user_id)

    def complete(self, user_id: str) -> None:
        self.clear(user_id)

    def abort(self, user_id: str) -> None:
        """Nothing: it was not cleared."""

    def live(self, user_id: str) -> list[Any]:
        return self.get(user_id)


class Locked(GetAndClear):
    """The lock is held from the get to the clear: nothing is copied, and who adds has to wait."""

    def snapshot(self, user_id: str) -> Sequence[Any]:
        self._lock.acquire()
        return self._buffers.get(user_id, [])

    def complete(self, user_id: str) -> None:
        self.clear(user_id)
        self._lock.release()

    def abort(self, user_id: str) -> None:
        self._lock.release()


class Copied(GetAndClear):
    """A copy is replayed, and as many are removed as were copied, less what the bound has removed meanwhile."""

    def __init__(self, max_measurements: int = 100) -> None:
        super().__init__(max_measurements)
        self._copied: dict[str, int] = {}

    def add_measurement(self, user_id: str, measurement: Any) -> None:
        with self._lock:
            if user_id not in self._buffers:
                self._buffers[user_id] = []
            buffer = self._buffers[user_id]
            buffer.append(measurement)
            if len(buffer) > self._max_measurements:
                buffer.pop(0)
                self._forget(user_id, 1)

    def add_measurements(self, user_id: str, measurements: Sequence[Any]) -> None:
        with self._lock:
            before = len(self._buffers.get(user_id, ()))
            super().add_measurements(user_id, measurements)
            self._forget(user_id, before + len(measurements) - len(self._buffers[user_id]))

    def snapshot(self, user_id: str) -> Sequence[Any]:
        with self._lock:
            copy = self.get(user_id)
            self._copied[user_id] = len(copy)
            return copy

    def complete(self, user_id: str) -> None:
        with self._lock:
            del self._buffers.get(user_id, [])[: self._copied.pop(user_id)]

    def abort(self, user_id: str) -> None:
        with self._lock:
            del self._copied[user_id]

    def _forget(self, user_id: str, evicted: int) -> None:
        if user_id in self._copied:
            self._copied[user_id] = max(0, self._copied[user_id] - evicted)


class Swapped(GetAndClear):
    """Two queues: the full one is replayed while a fresh one is filled, and goes in front of that after a failure."""

    def __init__(self, max_measurements: int = 100) -> None:
        super().__init__(max_measurements)
        self._taken: dict[str, list[Any]] = {}

    def snapshot(self, user_id: str) -> Sequence[Any]:
        with self._lock:
            self._taken[user_id], self._buffers[user_id] = self._buffers.get(user_id, []), []
            return self._taken[user_id]

    def complete(self, user_id: str) -> None:
        with self._lock:
            taken = self._taken.pop(user_id)
        del taken  # not under the lock: that may take long

    def abort(self, user_id: str) -> None:
        with self._lock:
            merged = self._taken.pop(user_id)
            merged += self._buffers[user_id]
            if len(merged) > self._max_measurements:
                del merged[: len(merged) - self._max_measurements]
            self._buffers[user_id] = merged

    def live(self, user_id: str) -> list[Any]:
        with self._lock:
            return [*self._taken.get(user_id, ()), *self.get(user_id)]
