"""`simulate`: runs a plan in one thread: processes with buffers on one log, which fails, and a clock of their own.

The order in which things happen is the plan's: a step may come in between any two requests to the log of another.
"""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any

from attrs import define, field, frozen
from simulated_log import SimulatedLog
from simulated_plan import USERS, Plan, Step
from simulated_shared import DeadError, Shared, Transaction
from simulated_telling import Line
from simulated_witness import ViolationError, Witness, check

from events import EventLog, LogError
from statemachine import (
    BufferConfig,
    BufferFullError,
    IllegalTriggerError,
    ReplayBuffer,
    RollbackError,
    StaleSnapshotError,
    TruncatedHistoryError,
    UnknownUserError,
)
from statemachine.spec._world import POLICIES, DeliberateError

DEEPEST = 4
"""How many steps may be under way within each other."""

MOST_REQUESTS = 5000
"""How many requests one step may make; a step that makes more will not come to an end."""

Job = Generator[str, None, str]
Action = Callable[["Process", str, int], "str | Job"]


@define
class Frame:
    """A step under way."""

    step: Step
    line: Line
    requests: int = 0


@frozen
class Running:
    """A generator, and what it is about."""

    job: Job
    name: str
    is_under_way: list[bool] = field(factory=list)


class Process:
    """A process: its memory is its buffer, its manager, and what it has under way."""

    def __init__(self, world: "World", number: int, life: int) -> None:
        self.world, self.number, self.life = world, number, life
        self.name = f"process {number}" + (f", life {life}" if life > 1 else "")
        self.is_alive, self.is_paused = True, False
        self.jobs: list[Running] = []
        self.transactions: list[Transaction] = []
        setup = world.plan.setup
        skew = setup.skews[number]
        self.clock = lambda: world.now + skew
        self.log = SimulatedLog(world.open_log(), world.shared, self)
        self.buffer: ReplayBuffer[int] = ReplayBuffer(
            self.log,
            world.config,
            clock=self.clock,
            on_abort=self._on_abort if setup.rolls_back else None,
            on_evict=self._on_evict if setup.archives else None,
        )

    def called(self) -> str | None:
        """A request to the log is made; see `simulated_log.Caller`."""
        self.check_alive()
        fault = self.world.request_made()
        self.check_alive()
        return fault

    def answered(self) -> None:
        """See `simulated_log.Caller`."""
        self.world.others_come_in_between()
        self.check_alive()

    def check_alive(self) -> None:
        """Nothing more is done by who is gone."""
        if not self.is_alive:
            raise DeadError

    def die(self) -> None:
        """All that is in memory is gone, and the server rolls back its transactions."""
        if self.is_alive:
            self.world.counts["deaths"] += 1
            self.vanish()

    def vanish(self) -> None:
        """Be gone, as at the end of a run, too. What a generator still has to do at its end is refused."""
        self.is_alive = False
        for transaction in self.transactions:
            if transaction.is_open:
                transaction.roll_back()
        for running in self.jobs:
            if not running.is_under_way:
                with suppress(DeadError):
                    running.job.close()
        self.jobs = []

    def _on_abort(self, user: str, version: int, _reason: str) -> None:
        """The application's rollback."""
        truth = self.world.witness.truths[user]
        check(version in truth.over, user, f"the rollback of snapshot {version} runs, which was not given up")
        self.answered()
        if self.world.rollbacks_fail:
            raise DeliberateError(f"the rollback of {user} fails")
        truth.rolled_back.add(version)

    def _on_evict(self, user: str, measurements: Sequence[int]) -> None:
        """The application's archive."""
        self.world.witness.archived.extend(measurements)


class World:
    """A run of a plan.

    Parameters:
        plan: what happens.
        actions: what each kind of step does.
        open_log: gives a process the log itself.
        shared: what the connections to it have in common.
    """

    def __init__(
        self,
        plan: Plan,
        actions: dict[str, Action],
        open_log: Callable[[], EventLog[Any]],
        shared: Callable[..., Shared] = Shared,
    ) -> None:
        setup = plan.setup
        self.plan, self.actions, self.now = plan, actions, 1000.0
        self.config = BufferConfig(
            max_measurements=setup.max_measurements,
            pending_factor=setup.pending_factor,
            on_overflow=setup.on_overflow,
            due=POLICIES[setup.policy],
        )
        self.users = USERS[: setup.users]
        self.open_log, self.shared = open_log, shared(self._noticed)
        self.witness = Witness(self.open_log(), self.config, setup.rolls_back, self.users)
        self.rollbacks_fail, self.is_calm, self.count = False, False, 0
        self.lines: list[Line] = []
        self.counts: Counter[str] = Counter()
        self.violation: ViolationError | None = None
        self._frames: list[Frame] = []
        self._next, self._wait = 0, 0
        self.processes = [Process(self, number, 1) for number in range(setup.processes)]

    def run(self) -> None:
        """Do what is planned.

        Raises:
            ViolationError: a promise was broken.
        """
        while self._next < len(self.plan.steps):
            self._take_next()

    def recorded_here(self, user: str) -> int:
        """How many of the user's events the step under way has recorded so far, those that came in between left out."""
        return sum(each == user for each, _ in self._frames[-1].line.events)

    def new(self, count: int) -> list[int]:
        """Measurements that were never there before."""
        self.count += count
        return list(range(self.count - count, self.count))

    def request_made(self) -> str | None:
        """Others may come in between; the fault that befalls the request."""
        self._raise()
        if not self._frames:
            return None
        frame = self._frames[-1]
        frame.requests += 1
        if frame.requests > MOST_REQUESTS:
            self.violation = ViolationError("", f"{frame.line.what} makes requests on and on")
            raise self.violation
        if self.is_calm:
            return None
        fault = next((fault for place, fault in frame.step.faults if place == frame.requests), None)
        self.others_come_in_between()
        if fault is not None:
            self.counts["faults"] += 1
            frame.line.faults.append(fault)
        return fault

    def others_come_in_between(self) -> None:
        """Take the next steps here, where they say so."""
        while not self.is_calm and self._next < len(self.plan.steps) and 0 < len(self._frames) < DEEPEST:
            wait = self.plan.steps[self._next].wait
            if wait is None:
                return
            if self._wait < wait:
                self._wait += 1
                return
            self._take_next()

    def _take_next(self) -> None:
        step = self.plan.steps[self._next]
        self._next, self._wait = self._next + 1, 0
        self.take(step)
        self._raise()

    def _raise(self) -> None:
        """Again, should somebody have kept it to himself."""
        if self.violation is not None:
            raise self.violation

    def take(self, step: Step) -> None:
        """Take one step."""
        place = step.process % len(self.processes)
        process, user = self.processes[place], self.users[step.user % len(self.users)]
        line = Line(len(self._frames), self.now, "" if step.what in NOBODYS else process.name, step.what)
        self.lines.append(line)
        self.counts["steps"] += 1
        self._frames.append(Frame(step, line))
        try:
            line.outcome = self._done(process, step, user, line)
        except DeadError:
            line.outcome = "dead"
        except ViolationError as violation:
            line.outcome = f"VIOLATION: {violation}"
            self.violation = self.violation or violation
            raise
        finally:
            self._frames.pop()

    def _done(self, process: Process, step: Step, user: str, line: Line) -> str:
        if not process.is_alive:
            self.processes[process.number] = Process(self, process.number, process.life + 1)
            return "starts again"
        if process.is_paused and step.what not in ("wake", "die", *NOBODYS):
            return "paused"
        try:
            outcome = self.actions[step.what](process, user, step.number)
            if isinstance(outcome, str):
                return outcome
            running = Running(outcome, f"{step.what} {user}")
            process.jobs.append(running)
            return self.go_on(process, running, line)
        except EXPECTED as error:
            return described(error)
        except Exception as error:
            raise ViolationError(user, f"{step.what} raised {error!r}") from error

    def go_on(self, process: Process, running: Running, line: Line | None = None) -> str:
        """Let a job do its next part."""
        line = line or self._frames[-1].line
        line.what = running.name if line.what == running.name.split()[0] else f"{line.what} ({running.name})"
        running.is_under_way.append(True)
        try:
            return next(running.job)
        except StopIteration as end:
            process.jobs = [each for each in process.jobs if each is not running]
            return str(end.value)
        except BaseException:
            process.jobs = [each for each in process.jobs if each is not running]
            raise
        finally:
            running.is_under_way.clear()

    def _noticed(self, stream: str) -> None:
        """Something may have been written to the stream."""
        latest = self.now + max(self.plan.setup.skews)
        group = self.witness.look(stream, latest)
        if self._frames:
            self._frames[-1].line.events.extend((stream, recorded) for recorded in group)


EXPECTED = (
    *(LogError, DeliberateError, IllegalTriggerError, StaleSnapshotError, UnknownUserError, BufferFullError),
    *(RollbackError, TruncatedHistoryError),
)
"""What a call may raise when things go wrong, or others were faster."""

NOBODYS = ("time passes", "deadlines pass", "arrive", "rollbacks")
"""Steps that no process takes."""


def described(error: Exception) -> str:
    """An error on one short line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:60]}"
