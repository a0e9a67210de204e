"""`Feeder`: fills a `ReplayBuffer` row by row while replays run beside. Must not know files or what replays compute."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor

from events import LogError
from statemachine import BufferConfig, BufferFullError, ReplayBuffer, ReplayManager, ReplayResult
from statemachine.cli._command import BadInput
from statemachine.cli._process import Judged, Process
from statemachine.cli._table import Row
from statemachine.cli._turn import Account, Due, Turn, Window

MOST = 1_000_000
"""How many rows of one user are kept at most, where no fewer make a replay due."""

_CENTURY = 100 * 365 * 86_400.0


def config_for(every: int | None, most: int = MOST) -> BufferConfig:
    """The buffer's bounds: nothing is evicted, and a replay may take its time, an interruption of the run included."""
    return BufferConfig(
        max_measurements=max(every or 1, most),
        pending_factor=1,
        on_overflow="reject",
        snapshot_timeout=_CENTURY,
        replay_timeout=_CENTURY,
    )


class Feeder:
    """Adds rows to a buffer, and has a user's replay run in another thread whenever it is due.

    A window holds exactly the rows since the freeze before it, so the result does not depend on how fast the threads
    are: when a user's next replay is due while the last one still runs, his next row waits for it. Other users' rows
    and replays do not. A replay that fails leaves its rows live; they are replayed again when as many more have come.

    Parameters:
        buffer: where the rows go; it must reject what it has no room for.
        process: what a replay does. If it raises `BadInput`, that is raised on, and ends the run.
        due: when a user's replay is due.
        executor: runs the replays.
        keep: is given what the replays return.

    Attributes:
        earlier: how many rows an earlier run has added.
        is_idle: whether nothing was added or replayed so far.
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
        self._manager = ReplayManager(buffer, process, take_snapshot=self._has_frozen, max_attempts=None)
        self._turns: dict[str, Turn] = {}
        self.earlier, self.is_idle = 0, True

    @property
    def users(self) -> int:
        """How many users have had a row."""
        return len(self._turns)

    @property
    def failures(self) -> list[Window]:
        """The windows whose replay failed."""
        return [window for turn in self._turns.values() for window in turn.windows.values() if not window.ok]

    def resume(self, windows: Iterable[Window]) -> None:
        """Go on where an earlier run was interrupted: the same rows are to be fed again, from the first on.

        Those that are in the buffer already are passed over. Replays that were under way begin anew at once, with the
        rows they had; what had come since counts for the next window, as it did.

        Parameters:
            windows: those that were settled.
        """
        for user in self._buffer.users():
            self._turns[user] = Turn(user)
        for window in windows:
            self._turns[window.user].windows[window.version] = window
        for turn in self._turns.values():
            self._restore(turn)

    def _restore(self, turn: Turn) -> None:
        state = self._buffer.state(turn.user)
        turn.earlier = state.added
        self.earlier += state.added
        latest = turn.windows.get(state.version)
        if state.frozen_offset is None and latest is not None and not latest.ok:
            turn.failed = latest.measurements
        since = self._buffer.measurements(turn.user)[max(state.frozen, turn.failed) :]
        if state.frozen_offset is not None:
            self._start(turn)
        for row in since:
            turn.note(row)

    def feed(self, row: Row) -> None:
        """Add a row, and start the user's replay if it is due.

        Raises:
            BufferFullError: there is no room, and cannot be made, since the user's replay fails. Nothing was added.
        """
        turn = self._turns.get(row.user)
        if turn is None:
            turn = self._turns[row.user] = Turn(row.user)
        if turn.earlier:
            turn.earlier -= 1
            turn.fed += 1
            return
        if self._due(turn):  # and could not begin at once, since the last one was running
            self._next(turn)
        self._add(turn, row)
        turn.fed += 1
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
                fed=turn.fed,
                added=state.added,
                replayed=state.replayed,
                live=state.live,
                evicted=state.evicted,
                replays=sum(window.ok for window in turn.windows.values()),
                flagged=sum(window.flagged for window in turn.windows.values()),
                findings=self._buffer.audit(turn.user).findings,
            )

    def _add(self, turn: Turn, row: Row) -> None:
        self.is_idle = False
        while True:
            if not turn.has_frozen:
                self._settle(turn)  # raises why
            try:
                self._buffer.add_measurement(row.user, row)
                return
            except BufferFullError:
                if turn.failed and turn.under_way is None:
                    raise
                self._settle(turn)
                if not turn.failed:
                    self._start(turn)

    def _next(self, turn: Turn) -> None:
        self._settle(turn)
        if turn.count >= turn.failed:
            self._start(turn)

    def _start(self, turn: Turn) -> None:
        """Begin a replay in another thread, and go on as soon as its window is frozen."""
        self.is_idle = False
        turn.has_frozen = False
        turn.frozen.clear()
        turn.under_way = self._executor.submit(self._replay, turn)
        turn.frozen.wait()

    def _has_frozen(self, user: str) -> None:
        turn = self._turns[user]
        turn.count, turn.has_frozen = 0, True
        turn.frozen.set()

    def _replay(self, turn: Turn) -> ReplayResult:
        try:
            return self._manager.replay_user(turn.user)
        finally:
            turn.frozen.set()  # also where it could not begin, so that the feeder does not wait for ever

    def _settle(self, turn: Turn) -> None:
        """Wait for the replay under way, if there is one, and note how it went.

        Raises:
            BadInput, LogError: what came of it could not be recorded.
        """
        if turn.under_way is None:
            return
        result, turn.under_way = turn.under_way.result(), None
        for error in (result.error, result.rollback_error):
            if isinstance(error, (BadInput, LogError)):
                raise error
        turn.windows[result.version] = Window.of(result)
        turn.failed = 0 if result.ok else result.measurements
        if result.ok:
            self._keep(result.value)
