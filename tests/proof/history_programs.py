"""`Caller`: what a thread calls on a buffer, drawn from a seed, and noted. Must not know what has to come of it."""

from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Any

from history_recording import Recorder, SteppedClock
from history_values import SHOWN

from events import LogError
from statemachine import FrozenSnapshot, ReplayBuffer, StaleSnapshotError

WEIGHTS = {
    "add": 40,
    "add_many": 8,
    "begin": 8,
    "finalize": 8,
    "complete": 8,
    "abort": 3,
    "renew": 3,
    "clear": 2,
    "clear_through": 2,
    "measurements": 5,
    "pending": 3,
    "state": 5,
    "size": 3,
    "frozen": 3,
    "sweep": 1,
    "step": 1,
}
"""What a caller does how often."""


class Caller:
    """A thread that calls this and that.

    Parameters:
        by: its name; up to the first dot that of its process.
        seed: what to draw from.
        users: whose buffers.
        clock: one to step now and then; None for none.
    """

    def __init__(
        self,
        recorder: Recorder,
        buffer: ReplayBuffer[str],
        by: str,
        seed: int,
        users: Sequence[str],
        clock: SteppedClock | None = None,
    ) -> None:
        self.recorder, self.buffer, self.by, self.users, self.clock = recorder, buffer, by, users, clock
        self.chance, self._numbers = Random(f"{seed} {by}"), count()
        self._versions: dict[str, int] = {}
        self._offsets: dict[str, int] = {}
        self._frozen: dict[str, tuple[FrozenSnapshot[str], tuple[str, ...]]] = {}

    def call(self) -> None:
        """Call something."""
        (name,) = self.chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
        getattr(self, name)(self.chance.choice(self.users))

    def look(self) -> None:
        """Call all that shows how each user stands."""
        for user in self.users:
            for question in (self.state, self.measurements, self.pending, self.size):
                question(user)

    def add(self, user: str) -> None:
        measurement = self._new()
        offset = self._note(user, "add", measurement, lambda: self.buffer.add_measurement(user, measurement))
        if offset is not None:
            self._offsets[user] = offset

    def add_many(self, user: str) -> None:
        batch = [self._new() for _ in range(self.chance.randint(2, 4))]

        def add() -> tuple[int, int]:
            offsets = self.buffer.add_measurements(user, batch)
            return offsets.start, offsets.stop

        self._note(user, "add_many", batch, add)

    def begin(self, user: str) -> None:
        version = self._note(user, "begin", None, lambda: self.buffer.begin_snapshot(user))
        if version is not None:
            self._versions[user] = version

    def finalize(self, user: str) -> None:
        version = self._version(user)

        def finalize() -> tuple[Any, ...]:
            frozen = self.buffer.finalize_snapshot(user, version)
            self._versions[user] = frozen.version
            about = (frozen.version, frozen.start, frozen.stop, len(frozen))
            try:
                measurements = tuple(frozen)
            except (StaleSnapshotError, LogError):
                return *about, None
            self._frozen[user] = frozen, measurements
            return *about, measurements

        self._note(user, "finalize", version, finalize)

    def frozen(self, user: str) -> None:
        """Read a snapshot that was handed out once more, perhaps long after it is over."""
        if user in self._frozen:
            snapshot, handed_out = self._frozen[user]
            self._note(user, "frozen", (snapshot.version, handed_out), lambda: tuple(snapshot))

    def complete(self, user: str) -> None:
        version = self._version(user)
        self._note(user, "complete", version, lambda: self.buffer.complete_replay(user, version))

    def abort(self, user: str) -> None:
        version = self._version(user)
        self._note(user, "abort", version, lambda: self.buffer.abort_snapshot(user, "drawn", version))

    def renew(self, user: str) -> None:
        version = self._version(user)
        self._note(user, "renew", version, lambda: self.buffer.renew_lease(user, version))

    def clear(self, user: str) -> None:
        self._note(user, "clear", None, lambda: self.buffer.clear_buffer(user))

    def clear_through(self, user: str) -> None:
        """Clear what is older than what this caller has added last."""
        if user in self._offsets:
            through = self._offsets[user]
            self._note(user, "clear", through, lambda: self.buffer.clear_buffer(user, through))

    def measurements(self, user: str) -> None:
        self._note(user, "measurements", None, lambda: tuple(self.buffer.measurements(user)))

    def pending(self, user: str) -> None:
        self._note(user, "pending", None, lambda: tuple(self.buffer.pending(user)))

    def size(self, user: str) -> None:
        self._note(user, "size", None, lambda: self.buffer.size(user))

    def state(self, user: str) -> None:
        def state() -> dict[str, Any]:
            found = self.buffer.state(user)
            return {name: getattr(found, name) for name in SHOWN}

        self._note(user, "state", None, state)

    def sweep(self, _user: str) -> None:
        """An operation of each user."""

        def sweep() -> None:
            self.buffer.expire_overdue()

        self.recorder.note(self.by, self.users, "sweep", None, sweep)

    def step(self, _user: str) -> None:
        """Time goes on."""
        if self.clock is not None:
            self.clock.step()

    def _note(self, user: str, name: str, argument: Any, call: Callable[[], Any]) -> Any:
        return self.recorder.note(self.by, [user], name, argument, call)

    def _version(self, user: str) -> int | None:
        """Which snapshot is meant: mostly the one this caller knows of, or whichever, at times one that is over."""
        known = self._versions.get(user)
        stale = None if known is None else max(1, known - 1)
        return self.chance.choice([known, known, known, None, None, stale])

    def _new(self) -> str:
        return f"{self.by}:{next(self._numbers)}"
