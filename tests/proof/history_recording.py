"""`Recorder` notes what is called and what comes of it, and what it noted becomes a `History`. Knows no rule.

A note is written before a call and another one after it, each as a whole. So of a process that was killed all is there
that it was told, and what it was at is known to be of unknown outcome.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from mmap import mmap
from pathlib import Path
from threading import Lock, local
from typing import Any, Self

from attrs import Factory, evolve, frozen
from history_model import BufferModel
from history_values import FAILED, LOOKS, REFUSED, RETURNED, STEP, UNKNOWN, Operation

from events import LogError, OutcomeUnknownError
from statemachine import BufferConfig, ReplayBufferError, RollbackError

Note = Sequence[Any]
"""Who, and of a call: user, name, argument, the buffer's clock, when; of what came of it: what, output, when, clock."""

Ends = dict[str, tuple[int | None, float]]
"""For processes that were killed: when the last of what they did had happened, if that is known, and the clock then."""

ROLLBACK = "the rollback fails, as drawn"


class SteppedClock:
    """A clock that stands still until somebody has it go on by a step; all processes forked from this one see it."""

    def __init__(self) -> None:
        self._memory, self._lock = memoryview(mmap(-1, 8)).cast("d"), Lock()
        self._memory[0] = 100.0

    def __call__(self) -> float:
        return float(self._memory[0])

    def step(self, steps: int = 1) -> None:
        """Go on; by one process only."""
        with self._lock:
            self._memory[0] += steps * STEP


class Recorder:
    """Notes calls.

    Parameters:
        write: takes each note; from any thread.
        clock: the buffer's.
    """

    def __init__(self, write: Callable[[Note], object], clock: Callable[[], float]) -> None:
        self.write, self.clock = write, clock
        self._mine, self._rollbacks = local(), count()

    def note(self, by: str, users: Sequence[str], name: str, argument: Any, call: Callable[[], Any]) -> Any:
        """Make a call and note it, as an operation of each of the users; gives what it gives, None if it raises."""
        names = [by] if len(users) == 1 else [f"{by}/{user}" for user in users]
        self._mine.by, self._mine.rollbacks = by, []
        for one, user in zip(names, users, strict=True):
            self.write((one, user, name, argument, self.clock(), time.monotonic_ns()))
        time.sleep(0)  # others may go first
        outcome, output = self._outcome(call)
        time.sleep(0)
        for one in names:
            self.write((one, outcome, output, time.monotonic_ns(), self.clock()))
        for one in self._mine.rollbacks:
            self.write((one, RETURNED, None, time.monotonic_ns(), self.clock()))
        return output if outcome == RETURNED else None

    def roll_back(self, user: str, version: int, _reason: str) -> None:
        """The application's rollback, which fails every fifth time.

        Otherwise the abort is finished between now and the end of the call in which it runs.
        """
        if next(self._rollbacks) % 5 == 4:
            raise ArithmeticError(ROLLBACK)
        by = f"{self._mine.by}>{len(self._mine.rollbacks)}"
        self._mine.rollbacks.append(by)
        self.write((by, user, "finish", version, self.clock(), time.monotonic_ns()))

    @staticmethod
    def _outcome(call: Callable[[], Any]) -> tuple[str, Any]:
        try:
            return RETURNED, call()
        except RollbackError:  # the abort has begun
            return RETURNED, None
        except ReplayBufferError as error:
            return REFUSED, type(error).__name__
        except OutcomeUnknownError as error:
            return UNKNOWN, type(error).__name__
        except LogError as error:
            return FAILED, type(error).__name__


def operations(notes: Iterable[Note], ends: Ends) -> list[Operation]:
    """The operations that were noted, by the time at which they were called.

    Nothing is to be learnt from a look that failed, or of which nobody knows the outcome.
    """
    found: list[Operation] = []
    calls: dict[str, Note] = {}
    for by, *note in notes:
        if by in calls:
            outcome, output, at, latest = note
            found.append(_operation(by, calls.pop(by), at, outcome, output, latest))
        else:
            calls[by] = note
    for by, call in calls.items():
        returned, latest = ends[by.partition(".")[0]]
        found.append(_operation(by, call, returned, UNKNOWN, "killed", latest))
    found = [_settled(one, found) if one.outcome == UNKNOWN and one.output != "killed" else one for one in found]
    found = [one for one in found if one.name not in LOOKS or one.outcome in (RETURNED, REFUSED)]
    return sorted(found, key=lambda operation: operation.called)


def _operation(by: str, call: Note, returned: int | None, outcome: str, output: Any, latest: float) -> Operation:
    user, name, argument, earliest, called = call
    return Operation(by, user, name, _plain(argument), called, returned, outcome, _plain(output), earliest, latest)


def _settled(unknown: Operation, others: Sequence[Operation]) -> Operation:
    """Who was told that the outcome is unknown is to look: what has not happened by then never will."""
    looks = [
        other.returned
        for other in others
        if other.user == unknown.user
        and other.outcome in (RETURNED, REFUSED)
        and other.name not in ("frozen", "sweep", "finish")  # they ask for something else
        and other.returned is not None
        and other.called > (unknown.returned or 0)
    ]
    return evolve(unknown, returned=min(looks, default=None))


def _plain(value: Any) -> Any:
    """As it was before it was written as JSON."""
    return tuple(_plain(each) for each in value) if isinstance(value, list | tuple) else value


@frozen
class History:
    """What was recorded of one log, and what the log was to obey.

    Attributes:
        config: the values of the `BufferConfig`.
        rolls_back, loses_sight: as of `BufferModel`.
        seed: what the programs were drawn from.
        notes: of all callers; those of each in their order.
        ends: of the processes that were killed.
    """

    config: dict[str, Any]
    seed: int
    notes: list[Note]
    ends: Ends = Factory(dict)
    rolls_back: bool = False
    loses_sight: bool = False

    @property
    def model(self) -> BufferModel:
        """What it is to be explained by."""
        return BufferModel(BufferConfig(**self.config), self.rolls_back, self.loses_sight)

    def by_user(self) -> dict[str, list[Operation]]:
        """Each user's operations."""
        found: dict[str, list[Operation]] = {}
        for operation in operations(self.notes, self.ends):
            found.setdefault(operation.user, []).append(operation)
        return found

    def save(self, path: Path) -> None:
        """Write it down, so that it can be checked again."""
        path.parent.mkdir(parents=True, exist_ok=True)
        values = {name: getattr(self, name) for name in self.__slots__ if not name.startswith("_")}
        path.write_text(json.dumps(values, default=repr) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it again."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
