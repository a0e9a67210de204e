"""`Scheduling`: which users are due for a replay, and which are to wait. Must not run any replay."""

from collections.abc import Iterator
from math import inf
from typing import TypeVar

from statemachine._decide import Park, Release, ScheduleRetry
from statemachine._errors import InvalidArgumentError
from statemachine._reading import Reading
from statemachine.due import MOST_SECONDS

M = TypeVar("M")

CLAIM = 2.0
"""Seconds for which a worker has a due user to itself, to begin its replay."""


class Scheduling(Reading[M]):
    """The part of a `ReplayBuffer` that a `ReplayManager` asks whom to replay."""

    def ready(self) -> Iterator[str]:
        """The users who are due for a replay: idle, with measurements, and `BufferConfig.due` says so.

        After a failed replay a user is due when its back-off is over. Who is in progress or parked is not due; an
        overdue snapshot has to be expired first (`expire_overdue`). It costs as much as there are such users, however
        many others there are; where a policy looks at the measurements' own times, as much as there are users who have
        got any since the last call.

        Returns:
            An iterator: first those who are due at once, as by a count, in the order in which they became so; then the
            others, by the time from which they are due. Of buffers that share a log and have different policies, each
            gives only users whom its own policy calls due, but may miss some: who decided last has told the log when.

        Example:
            >>> from statemachine import BufferConfig, ReplayBuffer, due
            >>> buffer = ReplayBuffer(config=BufferConfig(due=due.Count(2)))
            >>> offset, offsets = buffer.add_measurement("ann", 81.5), buffer.add_measurements("bob", [70.1, 70.3])
            >>> list(buffer.ready())
            ['bob']
        """
        self._check_open()
        now = self._now()
        return (user_id for user_id in self._log.due(now) if self._journal.is_due(user_id, now))

    def _claimed(self, most: int) -> list[str]:
        """Users who may be due, for workers that share the log with others: nobody else is given them for now."""
        self._check_open()
        now = self._now()
        return self._log.claim(now, now + CLAIM, most)

    def _next_due_in(self) -> float:
        """In how many seconds the next user is due; `inf` if none is."""
        now = self._now()
        due_at = self._log.next_due(now)
        return inf if due_at is None else due_at - now

    def schedule_retry(self, user_id: str, retry_at: float, version: int | None = None) -> None:
        """After a failed replay: not again before `retry_at`, and then whatever `BufferConfig.due` says.

        Parameters:
            user_id: whose replay failed.
            retry_at: the time in seconds of the buffer's clock.
            version: the snapshot that failed; whichever was the latest if omitted.

        Raises:
            NoSnapshotError: none has failed since the last completed replay.
            StaleSnapshotError: a later snapshot has begun.
            SnapshotInProgressError: it has not failed, but is in progress.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> now = 0.0
            >>> buffer = ReplayBuffer(clock=lambda: now)
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> version = buffer.begin_snapshot("ann")
            >>> buffer.abort_snapshot("ann", "database is away")
            >>> buffer.schedule_retry("ann", retry_at=10.0)
            >>> list(buffer.ready())
            []
            >>> now = 10.0
            >>> list(buffer.ready()), buffer.state("ann").attempts
            (['ann'], 1)
        """
        if isinstance(retry_at, bool) or not isinstance(retry_at, int | float) or not abs(retry_at) <= MOST_SECONDS:
            raise InvalidArgumentError(
                f"retry_at must be a finite number of seconds, not {retry_at!r}", user_id=user_id
            )
        self._touch(user_id, version)
        self._record(user_id, ScheduleRetry(version, float(retry_at)))

    def park(self, user_id: str, reason: str = "") -> None:
        """Begin no replay of the user until `release`. What is live stays, and adds go on.

        Parameters:
            user_id: whose buffer.
            reason: why; it is recorded.

        Raises:
            SnapshotInProgressError: a snapshot is in progress.
            UserParkedError: the user is parked already.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> buffer.park("ann", "her scale is broken")
            >>> buffer.state("ann").phase, buffer.state("ann").reason, buffer.measurements("ann")
            ('parked', 'her scale is broken', [81.5])
        """
        if not isinstance(reason, str):
            raise InvalidArgumentError(f"reason must be a string, not {reason!r}", user_id=user_id)
        self._touch(user_id)
        self._record(user_id, Park(reason))

    def release(self, user_id: str) -> None:
        """Let a parked user be replayed again; its failed attempts are forgotten.

        Raises:
            IllegalTriggerError: the user is not parked.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> buffer.park("ann")
            >>> buffer.release("ann")
            >>> buffer.state("ann").phase
            'idle'
        """
        self._touch(user_id)
        self._record(user_id, Release())

    def parked(self) -> list[str]:
        """The parked users, the longest parked first; `state(user_id).reason` says why.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> buffer = ReplayBuffer()
            >>> offset = buffer.add_measurement("ann", 81.5)
            >>> buffer.park("ann")
            >>> buffer.parked()
            ['ann']
        """
        self._check_open()
        return self._log.shelved()
