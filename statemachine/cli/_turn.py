"""`Turn`: what a feeder knows of one user, when a replay is due, and how it went. Must not know buffers or threads."""

from concurrent.futures import Future
from datetime import datetime, timedelta
from threading import Event

from attrs import define, field, frozen

from statemachine import ReplayResult
from statemachine.cli._command import described
from statemachine.cli._table import Row


@frozen
class Window:
    """How the replay of one window went.

    Attributes:
        user: whose it is.
        version: the snapshot's.
        measurements: how many rows it had.
        flagged: how many rows the replay returned.
        outcome: `"completed"`, or what else.
        why: what raised, or "".
    """

    user: str
    version: int
    measurements: int
    flagged: int = 0
    outcome: str = "completed"
    why: str = ""

    @property
    def ok(self) -> bool:
        """Whether the replay was completed."""
        return self.outcome == "completed"

    @classmethod
    def of(cls, result: ReplayResult) -> "Window":
        """The one that was replayed so."""
        flagged = len(result.value) if result.ok else 0
        why = "" if result.error is None else described(result.error)
        return cls(result.user_id, result.version, result.measurements, flagged, result.outcome, why)


@define(eq=False)
class Turn:
    """What has come from one user since the last freeze, the replay under way, and the windows before.

    Of the rows that were `fed`, `earlier` ones have still to come again, since an earlier run has added them.
    """

    user: str
    fed: int = 0
    earlier: int = 0
    count: int = 0
    first: datetime = datetime.max
    last: datetime = datetime.min
    failed: int = 0
    windows: dict[int, Window] = field(factory=dict)
    frozen: Event = field(factory=Event)
    has_frozen: bool = True
    under_way: Future[ReplayResult] | None = None

    def note(self, row: Row) -> None:
        """It has come since the last freeze."""
        self.first = min(self.first, row.time) if self.count else row.time
        self.last = max(self.last, row.time) if self.count else row.time
        self.count += 1


@frozen
class Due:
    """When a user's replay is due: after so many rows, or as soon as they span so much time."""

    every: int | None
    window: timedelta | None = None

    def __call__(self, turn: "Turn") -> bool:
        """Whether what came since the last freeze is enough."""
        if self.window is not None:
            return turn.count > 0 and turn.last - turn.first >= self.window
        return turn.count >= (self.every or 1)


@frozen
class Account:
    """What became of one user's rows.

    Attributes:
        user: whose they are.
        fed: how many were given to the buffer.
        added, replayed, live, evicted: what the buffer says of them.
        replays: how many replays were completed.
        flagged: how many rows those returned.
        findings: what the audit found wrong; nothing, it is hoped.
    """

    user: str
    fed: int
    added: int
    replayed: int
    live: int
    evicted: int
    replays: int
    flagged: int
    findings: tuple[str, ...]

    @property
    def lost(self) -> int:
        """How many rows were given to the buffer that it does not account for."""
        return self.fed - self.replayed - self.live - self.evicted
