"""What the manager's tests share: a buffer with a clock, a manager that tells its results, and its threads."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from queue import Queue
from threading import Event, Semaphore, Thread
from threading import enumerate as threads
from typing import Any

from conftest import Clock

from events import EventLog
from statemachine import Backoff, BufferConfig, ReplayBuffer, ReplayManager, ReplayResult, due
from statemachine._keeper import Keeper

PATIENCE = 60
"""Seconds that a test waits at most for what comes at once, so that it fails and does not hang."""


class Watched(ReplayBuffer[Any]):
    """A buffer that tells when somebody asks who is due."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.asked, self.times_asked = Semaphore(0), 0

    def _claimed(self, most: int) -> list[str]:
        self.times_asked += 1
        self.asked.release()
        return super()._claimed(most)


class Rig:
    """A manager whose users are due with one measurement, and wait 10 s after a failure."""

    def __init__(
        self,
        replay: Callable[[Any], Any],
        *users: str,
        log: EventLog[Any] | None = None,
        on_abort: Any = None,
        kind: type[Watched] = Watched,
        config: BufferConfig = BufferConfig(due=due.Count(1)),
        **options: Any,
    ) -> None:
        self.clock = Clock()
        self.results: Queue[ReplayResult] = Queue()
        self.buffer = kind(log, config, clock=self.clock, on_abort=on_abort)
        for user in users:
            self.buffer.add_measurement(user, 1)
        usual = {"on_result": self.results.put, "poll_interval": 0.001, "backoff": Backoff(first=10, jitter=0)}
        self.manager = ReplayManager(self.buffer, replay, **{**usual, **options})
        self.looked, self.look = Semaphore(0), self.manager._keeper.look
        self.manager._keeper.look = self.looks_once  # type: ignore[method-assign]

    def looks_once(self, *arguments: Any, **options: Any) -> Any:
        self.looked.release()
        return self.look(*arguments, **options)

    def result(self) -> ReplayResult:
        """The next that the manager tells."""
        return self.results.get(timeout=PATIENCE)

    def outcomes(self) -> list[str]:
        """Of all results that were told and not taken yet."""
        return [self.results.get_nowait().outcome for _ in range(self.results.qsize())]

    def looks(self, times: int = 3) -> None:
        """Wait until the manager has begun so many more looks at who is due; all but the last are through then."""
        while self.looked.acquire(blocking=False):
            pass
        for _ in range(times):
            assert self.looked.acquire(timeout=PATIENCE)

    def comes_to(self, condition: Callable[[], object]) -> bool:
        """Wait until it holds, or for so many looks that it never will."""
        for _ in range(10**4):
            if condition():
                return True
            self.looks(1)
        return False


class Stuck:
    """A replay function that does not return before it is let go."""

    def __init__(self) -> None:
        self.entered, self.go_on = Event(), Event()

    def __call__(self, frozen: Any) -> int:
        self.entered.set()
        assert self.go_on.wait(PATIENCE)
        return sum(frozen)

    def has_begun(self) -> bool:
        return self.entered.wait(PATIENCE)


def fail(*_: Any) -> None:
    raise ValueError("bad window")


def running() -> list[Thread]:
    """The threads of managers; those of `aio`, which other tests may have left to the garbage collector, are none."""
    return [thread for thread in threads() if thread.name.startswith("holdover-") and "-call" not in thread.name]


def ended(*those: Thread) -> bool:
    """Wait until these threads are gone."""
    for thread in those:
        thread.join(PATIENCE)
    return not any(thread.is_alive() for thread in those)


def worker() -> Thread:
    """The only worker's thread."""
    (thread,) = [thread for thread in running() if thread.name == "holdover-worker"]
    return thread


class FakeRun:
    """A replay under way that only notes what is asked of it, and what was done when it was given up."""

    def __init__(self, user_id: str = "ann", begun_at: float = 100.0) -> None:
        self.user_id, self.begun_at, self.thread = user_id, begun_at, Thread()
        self.renewed: list[float] = []
        self.on_abandon: Callable[[], object] = lambda: None

    def renew(self, now: float) -> None:
        self.renewed.append(now)

    def abandon(self, why: str) -> ReplayResult:
        self.on_abandon()
        return ReplayResult(self.user_id, 1, "abandoned", error=RuntimeError(why))


class FakePool:
    """A pool of no threads, whose waits end as given, and without waiting."""

    def __init__(self, *waits: bool) -> None:
        self.waits, self.timeouts, self.retired = list(waits), list[float](), list[Thread]()

    def wait(self, timeout: float) -> bool:
        self.timeouts.append(timeout)
        return self.waits.pop(0)

    def retire(self, thread: Thread) -> None:
        self.retired.append(thread)

    def close(self) -> None: ...

    def retire_all(self) -> None: ...

    def join(self) -> None: ...


class Settled:
    """Nothing follows from a replay that is abandoned."""

    def settle(self, result: ReplayResult) -> ReplayResult:
        return result


class Kept:
    """A keeper that looks every half second after these replays: of its pool, of no pool, and of another manager's."""

    def __init__(self, *waits: bool, max_replay_time: float | None = None) -> None:
        self.clock, self.pool = Clock(), FakePool(*waits)
        buffer: ReplayBuffer[Any] = ReplayBuffer(clock=self.clock)
        self.keeper = Keeper(buffer, Settled(), max_replay_time, 0.5)  # type: ignore[arg-type]
        self.kept: dict[str, AbstractContextManager[None]] = {}

    def keep(self, run: FakeRun, pool: Any) -> FakeRun:
        """Have the keeper look after the run, until it is let go."""
        self.kept[run.user_id] = self.keeper.keeping(run, pool)  # type: ignore[arg-type]
        self.kept[run.user_id].__enter__()
        return run

    def let_go(self, user_id: str) -> None:
        """The run has come to its end."""
        self.kept[user_id].__exit__(None, None, None)

    def look(self, **options: Any) -> list[str]:
        """Who was abandoned by a look."""
        return [result.user_id for result in self.keeper.look(self.pool, **options)]  # type: ignore[arg-type]

    def drain(self, *end: Callable[[], float]) -> list[str]:
        """Who was abandoned by a drain."""
        return [result.user_id for result in self.keeper.drain(self.pool, *end)]  # type: ignore[arg-type]
