"""`Feeder`: fills a `ReplayBuffer` row by row while replays run beside. Must not know files or what replays compute."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from datetime import datetime, timedelta
from threading import Event

from attrs import define, field, frozen

from statemachine import BufferConfig, BufferFullError, ReplayBuffer, ReplayManager, ReplayResult
from statemachine.cli._process import Judged, Process
from statemachine.cli._table import Row

MOST = 1_000_000
"""How many rows of one user are kept at most, where no fewer make a replay due."""

_DAY = 86_400.0


def config_for(every: int | None, most: int = MOST) -> BufferConfig:
    """The buffer's bounds: nothing is evicted, and a replay may take its time, since only one process is at work."""
    return BufferConfig(
        max_measurements=max(every or 1, most),
        pending_factor=1,
        on_overflow="reject",
        snapshot_timeout=_DAY,
        replay_timeout=_DAY,
    )


@frozen
class Due:
    """When a user's replay is due: after so many rows, or as soon as they span so much time."""

    every: int | None
    window: timedelta | None = None

    def __call__(self, turn: "_Turn") -> bool:
        """Whether what came since the last freeze is enough."""
        if self.window is not None:
            return turn.count > 0 and turn.last - turn.first >= self.window
        return turn.count >= (self.every or 1)


@define(eq=False)
class _Turn:
    """What has come from one user since the last freeze, and the replay under way."""

    user: str
    added: int = 0
    count: int = 0
    first: datetime = datetime.max
    last: datetime = datetime.min
    failed: int = 0
    replays: int = 0
    flagged: int = 0
    frozen: Event = field(factory=Event)
    under_way: Future[ReplayResult] | None = None

    def note(self, row: Row) -> None:
        self.first = min(self.first, row.time) if self.count else row.time
        self.last = max(self.last, row.time) if self.count else row.time
        self.added += 1
        self.count += 1


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


class Feeder:
    """Adds rows to a buffer, and has a user's replay run in another thread whenever it is due.

    A window holds exactly the rows since the freeze before it, so the result does not depend on how fast the threads
    are: when a user's next replay is due while the last one still runs, his next row waits for it. Other users' rows
    and replays do not. A replay that fails leaves its rows live; they are replayed again when as many more have come.

    Parameters:
        buffer: where the rows go; it must reject what it has no room for.
        process: what a replay does.
        due: when a user's replay is due.
        executor: runs the replays.
        keep: is given what the replays return.
    """

    def __init__(
        self,
        buffer: ReplayBuffer[Row],
        process: Process,
        due: Due,
        executor: Executor,
        keep: Callable[[list[Judged]], object],
    ) -> None:
        self._buffer, self._due, self._executor, self._keep = buffer, due, executor, keep
        self._manager = ReplayManager(buffer, process, take_snapshot=lambda user: self._turns[user].frozen.set())
        self._turns: dict[str, _Turn] = {}
        self.failures: list[ReplayResult] = []

    @property
    def users(self) -> int:
        """How many users have had a row."""
        return len(self._turns)

    def feed(self, row: Row) -> None:
        """Add a row, and start the user's replay if it is due.

        Raises:
            BufferFullError: there is no room, and cannot be made, since the user's replay fails. Nothing was added.
        """
        turn = self._turns.get(row.user)
        if turn is None:
            turn = self._turns[row.user] = _Turn(row.user)
        if self._due(turn):  # and could not begin at once, since the last one was running
            self._next(turn)
        self._add(turn, row)
        turn.note(row)
        if self._due(turn) and (turn.under_way is None or turn.under_way.done()):
            self._next(turn)

    def finish(self) -> Iterator[str]:
        """Wait for the replays under way, and replay what has come since; yields each user who is through."""
        for turn in self._turns.values():
            self._settle(turn)
            if turn.count:
                self._start(turn)
        for turn in self._turns.values():
            self._settle(turn)
            yield turn.user

    def accounts(self) -> Iterator[Account]:
        """What became of each user's rows, by what the buffer says."""
        for turn in self._turns.values():
            state = self._buffer.state(turn.user)
            yield Account(
                user=turn.user,
                fed=turn.added,
                added=state.added,
                replayed=state.replayed,
                live=state.live,
                evicted=state.evicted,
                replays=turn.replays,
                flagged=turn.flagged,
                findings=self._buffer.audit(turn.user).findings,
            )

    def _add(self, turn: _Turn, row: Row) -> None:
        while True:
            try:
                self._buffer.add_measurement(row.user, row)
                return
            except BufferFullError:
                self._settle(turn)
                if turn.failed:
                    raise
                self._start(turn)

    def _next(self, turn: _Turn) -> None:
        self._settle(turn)
        if turn.count >= turn.failed:
            self._start(turn)

    def _start(self, turn: _Turn) -> None:
        """Begin a replay in another thread, and go on as soon as its window is frozen."""
        turn.frozen.clear()
        turn.under_way = self._executor.submit(self._replay, turn)
        turn.frozen.wait()
        turn.count = 0

    def _replay(self, turn: _Turn) -> ReplayResult:
        try:
            return self._manager.replay_user(turn.user)
        finally:
            turn.frozen.set()  # also where it could not begin, so that the feeder does not wait for ever

    def _settle(self, turn: _Turn) -> None:
        """Wait for the replay under way, if there is one, and note how it went."""
        if turn.under_way is None:
            return
        result, turn.under_way = turn.under_way.result(), None
        if result.ok:
            turn.failed = 0
            turn.replays += 1
            turn.flagged += len(result.value)
            self._keep(result.value)
        else:
            turn.failed = result.measurements
            self.failures.append(result)
