"""The usual buffer, which loses what arrives during a replay: the yardstick of the benchmarks. Knows no holdover."""

from collections.abc import Sequence
from threading import RLock
from typing import Any


class LossyBuffer:
    """One lock, a dict of lists, a bound: what an application writes in ten minutes.

    Parameters:
        max_measurements: how many measurements a user may have; the oldest goes when another arrives.

    Example:
        >>> buffer = LossyBuffer()
        >>> buffer.add_measurement("ann", 81.5)
        >>> window = buffer.get("ann")
        >>> buffer.add_measurement("ann", 81.7)  # arrives while the replay of the window runs
        >>> buffer.clear("ann")
        >>> buffer.get("ann")
        []
    """

    def __init__(self, max_measurements: int = 100) -> None:
        self._lock = RLock()
        self._buffers: dict[str, list[Any]] = {}
        self._max_measurements = max_measurements

    def add_measurement(self, user_id: str, measurement: Any) -> None:
        with self._lock:
            if user_id not in self._buffers:
                self._buffers[user_id] = []
            buffer = self._buffers[user_id]
            buffer.append(measurement)
            if len(buffer) > self._max_measurements:
                buffer.pop(0)

    def add_measurements(self, user_id: str, measurements: Sequence[Any]) -> None:
        with self._lock:
            if user_id not in self._buffers:
                self._buffers[user_id] = []
            buffer = self._buffers[user_id]
            buffer.extend(measurements)
            if len(buffer) > self._max_measurements:
                del buffer[: len(buffer) - self._max_measurements]

    def get(self, user_id: str) -> list[Any]:
        with self._lock:
            return list(self._buffers.get(user_id, []))

    def users(self) -> list[str]:
        with self._lock:
            return list(self._buffers)

    def clear(self, user_id: str) -> None:
        with self._lock:
            self._buffers.pop(user_id, None)
