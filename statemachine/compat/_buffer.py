"""`ReplayBuffer`: the older interface, on the core. Must not have rules of its own on what is kept or cleared."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime
from threading import local
from typing import Any

from events import Clock
from statemachine import _buffer
from statemachine._config import MOST, BufferConfig
from statemachine._errors import InvalidArgumentError
from statemachine._observing import Occurrence
from statemachine._snapshot import FrozenSnapshot
from statemachine.compat._triggers import DEFAULTS, READY, Triggers, checked_hours
from statemachine.compat._user import Measurement, User, checked


class ReplayBuffer:
    """A buffer of measurement dicts for each user, used by get, replay and clear, that loses nothing in between.

    `clear_buffer` drops what the calling thread was last handed by `get_buffer_measurements` for that user, and nothing
    else; a thread that was handed nothing since its last clear of that user clears everything. So read and clear in one
    thread, and read again before a clear that is to drop what has arrived since.

    From a read until its clear nothing of it is evicted, and up to `max_buffer_measurements` more are kept beside it:
    those stay when it is cleared, and then no more may be held. Further reads before that clear hold nothing more; and
    where three threads overlap at one user, or after `abort_snapshot`, more than the bound may stay until the next read
    and clear. A read that is never followed by a clear holds what it read, so read to replay, and use
    `get_buffer_info` to look.

    `begin_snapshot`, `finalize_snapshot`, `complete_replay` and `abort_snapshot` are those of
    `statemachine.ReplayBuffer`, so an application can move call by call. What a read holds gives way to them (it can
    still be cleared). A read does not disturb a snapshot in progress; a clear ends it if it has to. Leases are
    practically endless here, and a user that was removed goes on to take some 2 KB of memory.

    Parameters:
        config: a dict, or None for all defaults: `buffer_hours` (72), `max_buffer_measurements` (100, for each user),
            `trigger_mode` (`"time_based"` or `"measurement_count"`) and, in `outlier_detection`,
            `min_measurements_for_analysis` (5), below which nothing triggers. Other keys are kept and mean nothing.
        clock: gives the time in seconds since the epoch.

    Attributes:
        config: the config as given.

    Raises:
        InvalidArgumentError: a value in the config is of the wrong type or makes no sense (a bound of 0 among them).

    Example:
        >>> buffer = ReplayBuffer({"trigger_mode": "measurement_count", "max_buffer_measurements": 5})
        >>> for day in range(1, 6):
        ...     result = buffer.add_measurement("ann", {"weight": 81.5, "timestamp": datetime(2024, 5, day)})
        >>> result["buffer_ready"], result["trigger_reason"]
        (True, 'measurement_count_trigger')
        >>> window = buffer.get_buffer_measurements("ann")
        >>> result = buffer.add_measurement("ann", {"weight": 81.7, "timestamp": datetime(2024, 5, 6)})  # meanwhile
        >>> buffer.clear_buffer("ann")
        True
        >>> len(window), [measurement["weight"] for measurement in buffer.get_buffer_measurements("ann")]
        (5, [81.7])
    """

    def __init__(self, config: dict[Any, Any] | None = None, *, clock: Clock = time.time) -> None:
        self._triggers = Triggers(config, clock)
        self.config, self._clock = self._triggers.config, clock
        bounds = BufferConfig(max_measurements=self._triggers.most, pending_factor=1, replay_timeout=MOST)
        self._core: _buffer.ReplayBuffer[Measurement] = _buffer.ReplayBuffer(config=bounds, clock=clock)
        self._core._observe(self._look_again)
        self._users: dict[str, User] = {}  # every user ever seen
        self._marks = local()  # its attributes are the calling thread's marks, by user; they end with the thread
        self._last_cleanup: datetime | None = None

    def add_measurement(self, user_id: str, measurement: Measurement) -> dict[str, Any]:
        """Buffer a copy of a dict that has a datetime under `timestamp`; a naive one means local time.

        Returns:
            A dict with `success` True, `user_id`, `buffer_size` (how many are held), `buffer_ready`, `trigger_reason`,
            `buffer_window_start` and `buffer_window_end` (oldest and newest event time). If the measurement was
            refused: `success` False, `error` (why) and `user_id`; nothing was changed. No bad input raises.

        Example:
            >>> ReplayBuffer().add_measurement("ann", {"timestamp": "yesterday"})["error"]
            "a measurement must be a dict with a datetime under 'timestamp'; this dict has 'yesterday' there"
        """
        try:
            if not isinstance(user_id, str) or not user_id:
                raise InvalidArgumentError(f"a user id must be a non-empty string, not {user_id!r}")
            kept, event_time = checked(measurement)
        except Exception as error:  # also of a tzinfo of the application's own
            return {"success": False, "error": str(error), "user_id": user_id}
        user = self._users.get(user_id) or self._users.setdefault(user_id, User(self._core, user_id))
        with user.lock:
            size, oldest, newest = user.add(kept, event_time)
            reason = self._triggers.reason(size, oldest)
            ready = reason in READY
            user.triggered += ready
        return {
            "success": True,
            "user_id": user_id,
            "buffer_size": size,
            "buffer_ready": ready,
            "trigger_reason": reason,
            "buffer_window_start": oldest and oldest[1],
            "buffer_window_end": newest and newest[1],
        }

    def get_buffer_measurements(self, user_id: str) -> list[Measurement] | None:
        """The measurements, copied, the one added first first; None for an unknown user.

        The calling thread's next clear drops these.
        """
        with self._known(user_id) as user:
            if user is None:
                return None
            measurements, stop = user.read()
            vars(self._marks)[user_id] = user.seen, stop
        return [dict(measurement) for measurement in measurements]

    def clear_buffer(self, user_id: str) -> bool:
        """Drop what this thread was last handed, or everything if it was handed nothing since its last clear.

        Returns whether the user is known; it stays so.
        """
        seen, stop = vars(self._marks).pop(user_id, (0, None))
        with self._known(user_id) as user:
            if user is not None:
                user.clear(stop if seen == user.seen else None)
            return user is not None

    def get_buffer_info(self, user_id: str) -> dict[str, Any] | None:
        """What is held for a user, without reading it; None for an unknown user.

        A dict with `user_id`, `measurement_count`, `first_timestamp` and `last_timestamp` (the oldest and newest event
        time, None when empty), `buffer_age_hours` (since the oldest event; 0 when empty), `is_ready_for_processing`
        and `trigger_reason`.
        """
        with self._known(user_id) as user:
            if user is None:
                return None
            size, oldest, newest = user.held()
        reason = self._triggers.reason(size, oldest)
        return {
            "user_id": user_id,
            "measurement_count": size,
            "first_timestamp": oldest and oldest[1],
            "last_timestamp": newest and newest[1],
            "buffer_age_hours": self._triggers.age(oldest) if oldest else 0.0,
            "is_ready_for_processing": reason in READY,
            "trigger_reason": reason,
        }

    @property
    def buffers(self) -> Mapping[str, dict[str, Any]]:
        """The buffer info of every known user, in the order first seen, as it is now."""
        return {user_id: info for user_id in list(self._users) if (info := self.get_buffer_info(user_id))}

    @property
    def total_measurements(self) -> int:
        """How many measurements are held, of all users."""
        return sum(info["measurement_count"] for info in self.buffers.values())

    def get_ready_buffers(self) -> list[str]:
        """The users whose buffer is ready, in the order first seen."""
        return [user_id for user_id, info in self.buffers.items() if info["is_ready_for_processing"]]

    def force_trigger_buffer(self, user_id: str) -> bool:
        """Whether the user holds something, so that a replay makes sense, ready or not."""
        info = self.get_buffer_info(user_id)
        return info is not None and info["measurement_count"] > 0

    def get_stats(self) -> dict[str, Any]:
        """Counts since the buffer was made, and what there is now.

        A dict with `total_measurements_buffered` (ever added), `buffers_created` (users seen), `buffers_triggered`
        (adds that reported a ready buffer), `buffers_cleaned` (users removed), `measurements_evicted` (which had to
        make room), `last_cleanup_time` (of `cleanup_old_buffers`, local time; None before the first), `active_buffers`
        (known users), `total_buffered_measurements` (held now), `ready_for_processing` (how many users) and `config`
        (with the defaults of what was not given).
        """
        users, infos, metrics = list(self._users.values()), self.buffers.values(), self._core.metrics()
        return {
            "total_measurements_buffered": metrics.added,
            "buffers_created": sum(user.seen for user in users),
            "buffers_triggered": sum(user.triggered for user in users),
            "buffers_cleaned": sum(user.seen - user.known for user in users),
            "measurements_evicted": metrics.evicted,
            "last_cleanup_time": self._last_cleanup,
            "active_buffers": len(infos),
            "total_buffered_measurements": sum(info["measurement_count"] for info in infos),
            "ready_for_processing": sum(info["is_ready_for_processing"] for info in infos),
            "config": {**DEFAULTS, **self.config},
        }

    def cleanup_old_buffers(self, max_age_hours: float | None = None) -> int:
        """Remove the users whose newest event is older than so many hours (default: two times `buffer_hours`).

        Returns how many were removed; who is empty has no newest event, and stays. Raises `InvalidArgumentError` where
        `max_age_hours` is not a number of at least 0.
        """
        hours = 2 * self._triggers.hours if max_age_hours is None else checked_hours("max_age_hours", max_age_hours)
        removed = 0
        for user in list(self._users.values()):
            with user.lock:
                newest = user.held()[2]
                if newest is not None and self._triggers.age(newest) > hours:
                    user.remove()
                    removed += 1
        self._last_cleanup = datetime.fromtimestamp(self._clock())
        return removed

    def cleanup(self) -> None:
        """Forget every user and measurement, also what is being replayed. The buffer can be used on."""
        for user in list(self._users.values()):
            with user.lock:
                if user.known:
                    user.remove()

    def begin_snapshot(self, user_id: str, timestamp: Any = None) -> int:
        """See `statemachine.ReplayBuffer.begin_snapshot`; what a read holds gives way to it."""
        with self._known(user_id) as user:
            return self._core.begin_snapshot(user_id, timestamp) if user is None else user.begin(timestamp)

    def finalize_snapshot(self, user_id: str, version: int | None = None) -> FrozenSnapshot[Measurement]:
        """See `statemachine.ReplayBuffer.finalize_snapshot`: no copies; this thread's next clear drops them."""
        frozen = self._core.finalize_snapshot(user_id, version)
        vars(self._marks)[user_id] = self._users[user_id].seen, frozen.stop
        return frozen

    def complete_replay(self, user_id: str, version: int | None = None) -> None:
        """See `statemachine.ReplayBuffer.complete_replay`; it also completes what a read holds."""
        self._core.complete_replay(user_id, version)

    def abort_snapshot(self, user_id: str, reason: str = "", version: int | None = None) -> None:
        """See `statemachine.ReplayBuffer.abort_snapshot`."""
        self._core.abort_snapshot(user_id, reason, version)

    def _look_again(self, occurrence: Occurrence) -> None:
        """Something but an add has happened, whoever did it."""
        self._users[occurrence.user_id].changed = True

    @contextmanager
    def _known(self, user_id: str) -> Iterator[User | None]:
        """The user, locked, or None if it is not known."""
        user = self._users.get(user_id)
        with nullcontext() if user is None else user.lock:
            yield user if user is not None and user.known else None
