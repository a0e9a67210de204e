"""The older dict-based buffer, written in the obvious way: the yardstick of the drop-in. Knows no holdover."""

import time
from collections.abc import Callable
from datetime import datetime
from threading import RLock
from typing import Any


class PlainBuffer:
    """One lock, a dict of dicts of lists, and the oldest and newest timestamp looked for in all of them.

    Its clear wipes what has arrived since the get. It does not bear naive and aware timestamps in one buffer.

    Example:
        >>> buffer = PlainBuffer()
        >>> buffer.add_measurement("ann", {"weight": 81.5, "timestamp": datetime(2024, 5, 1)})["buffer_size"]
        1
        >>> window = buffer.get_buffer_measurements("ann")
        >>> result = buffer.add_measurement("ann", {"weight": 81.7, "timestamp": datetime(2024, 5, 2)})  # meanwhile
        >>> buffer.clear_buffer("ann")
        True
        >>> buffer.get_buffer_measurements("ann")
        []
    """

    def __init__(self, config: dict[str, Any] | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.config = config or {}
        self.buffer_hours = self.config.get("buffer_hours", 72)
        self.max_buffer_measurements = self.config.get("max_buffer_measurements", 100)
        self.trigger_mode = self.config.get("trigger_mode", "time_based")
        analysis = self.config.get("outlier_detection", {})
        self.least = analysis.get("min_measurements_for_analysis", 5)
        self.buffers: dict[str, dict[str, Any]] = {}
        self._clock = clock
        self._lock = RLock()

    def add_measurement(self, user_id: str, measurement: dict[str, Any] | None) -> dict[str, Any]:
        if not measurement or "timestamp" not in measurement:
            return {"success": False, "error": "a measurement must have a timestamp", "user_id": user_id}
        with self._lock:
            if user_id not in self.buffers:
                self.buffers[user_id] = {"measurements": []}
            measurements = self.buffers[user_id]["measurements"]
            measurements.append(measurement.copy())
            if len(measurements) > self.max_buffer_measurements:
                measurements.pop(0)
            oldest = min(kept["timestamp"] for kept in measurements)
            newest = max(kept["timestamp"] for kept in measurements)
            ready, reason = self._trigger(len(measurements), oldest)
            return {
                "success": True,
                "user_id": user_id,
                "buffer_size": len(measurements),
                "buffer_ready": ready,
                "trigger_reason": reason,
                "buffer_window_start": oldest,
                "buffer_window_end": newest,
            }

    def get_buffer_measurements(self, user_id: str) -> list[dict[str, Any]] | None:
        with self._lock:
            if user_id not in self.buffers:
                return None
            return [measurement.copy() for measurement in self.buffers[user_id]["measurements"]]

    def clear_buffer(self, user_id: str) -> bool:
        with self._lock:
            if user_id not in self.buffers:
                return False
            self.buffers[user_id] = {"measurements": []}
            return True

    def get_buffer_info(self, user_id: str) -> dict[str, Any] | None:
        with self._lock:
            if user_id not in self.buffers:
                return None
            timestamps = [measurement["timestamp"] for measurement in self.buffers[user_id]["measurements"]]
            oldest = min(timestamps, default=None)
            ready, reason = self._trigger(len(timestamps), oldest)
            return {
                "user_id": user_id,
                "measurement_count": len(timestamps),
                "first_timestamp": oldest,
                "last_timestamp": max(timestamps, default=None),
                "buffer_age_hours": self._age(oldest) if oldest else 0.0,
                "is_ready_for_processing": ready,
                "trigger_reason": reason,
            }

    def get_ready_buffers(self) -> list[str]:
        with self._lock:
            infos = [self.get_buffer_info(user_id) for user_id in self.buffers]
            return [info["user_id"] for info in infos if info and info["is_ready_for_processing"]]

    def _trigger(self, count: int, oldest: datetime | None) -> tuple[bool, str]:
        if oldest is None:
            return False, "empty_buffer"
        if count < self.least:
            return False, "insufficient_measurements"
        if self.trigger_mode == "measurement_count" and count >= self.max_buffer_measurements:
            return True, "measurement_count_trigger"
        if self.trigger_mode == "time_based" and self._age(oldest) >= self.buffer_hours:
            return True, "time_based_trigger"
        return False, "threshold_not_reached"

    def _age(self, oldest: datetime) -> float:
        now = datetime.fromtimestamp(self._clock(), oldest.tzinfo)
        return (now - oldest).total_seconds() / 3600
