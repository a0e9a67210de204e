"""Scenarios lived through with crashes, each followed by a recovery and compared with the model. Must not know any log.

After a crash the log must stand as the model says just before or just after the write that was hit; where fate has seen
which of the two, as that one. What was hit and is not there at all is done again, and the scenario goes on. At its end
the deadlines pass, and what `expire_overdue` and a manager do by themselves must bring everybody to rest, replayed.
"""

from typing import Any

from crash_comparing import DifferenceError, check_hooks, compared, folded
from crash_life import CrashError, Fate, Life, Place
from crash_operations import BACKOFF, OPERATIONS, Operation
from crash_world import OTHER, USER, Remembering, Scenario, World

from events import LogError
from statemachine import ReplayBufferError, ReplayManager

PASSES = 3
"""How many passes of a manager are enough: the first may only put off what has expired."""


class Drive:
    """One way through a scenario.

    Parameters:
        scenario: what is done.
        place: where.
        fates: of each process that lives: when it has crashed, the next one lives; the last does not.
        world: what was there before; a world in which the other user has two measurements if omitted.

    Attributes:
        name: of the operation that is done; `struck`: what was hit, and when; `births`: how many processes there were.
        writes: those that the last process has done in the scenario.
    """

    errors: tuple[type[BaseException], ...] = (CrashError, ReplayBufferError, LogError)
    """What a call may raise; anything else is nobody's to expect."""

    def __init__(self, scenario: Scenario, place: Place, *fates: Fate, world: World | None = None) -> None:
        self.scenario, self.place = scenario, place
        self.fates = iter((*fates, Fate()))
        self.world = World.of(scenario) if world is None else world
        self.name, self.struck = "", list[str]()
        self.births, self.writes = 0, list[int]()
        if world is None:
            with_nothing_hit = Life(self.world, place, Fate())
            with_nothing_hit.buffer.add_measurements(OTHER, ["left", "alone"])
            self.world.models[OTHER].add(["left", "alone"], self.world.now)  # type: ignore[list-item]
        self.be_born()

    def be_born(self) -> None:
        """The next process begins."""
        self.fate = next(self.fates)
        self.births += 1
        self.life = Life(self.world, self.place, self.fate)

    def run(self, start: int = 0) -> None:
        """From an operation on, and to the end."""
        try:
            for index in range(start, len(self.scenario.operations)):
                while not self.is_done(index):
                    pass
            self.come_to_rest()
        finally:
            self.life.log.close()

    def is_done(self, index: int) -> bool:
        """Do an operation; whether it was done, or else is to be done again."""
        self.name = name = self.scenario.operations[index]
        operation, failing = OPERATIONS[name], self.world.failing
        self.fate.begin()
        error = self.error_of(operation)
        stages, refusal = operation.stages(self.world, failing, self.fate.lost_at)
        if self.fate.struck and len(self.struck) < self.births:
            self.struck.append(f"{self.fate.way} {self.fate.struck}, in operation {index + 1} ({name})")
        if self.is_hit(error):
            possible = self.possible(stages)
            if self.fate.dead:
                self.life.log.close()
                self.be_born()
            return self.goes_on(operation, stages, possible)
        if type(error) is not (refusal or type(None)):
            wanted = refusal.__name__ if refusal else "success"
            raise DifferenceError("SAFETY", f"operation {index + 1} ({name}): {error!r} instead of {wanted}") from error
        self.settle(operation, stages, len(stages) - 1)
        return True

    def error_of(self, operation: Operation) -> BaseException | None:
        try:
            operation.do(self.life)
        except self.errors as error:
            return error
        return None

    def is_hit(self, _error: BaseException | None) -> bool:
        return self.fate.dead or self.fate.lost_at is not None

    def possible(self, stages: list[Remembering]) -> list[int]:
        """What may be found: where the process lives on, what its plan says it does; or else what was done by then."""
        done = self.fate.recorded
        return [done, done + 1][: 1 + self.fate.in_flight] if self.fate.dead else [len(stages) - 1]

    def goes_on(self, operation: Operation, stages: list[Remembering], possible: list[int]) -> bool:
        """Find out which of the possible stages the log is in; whether something of the operation is there."""
        place = compared(self.life.log, stages, possible, self.world.models[OTHER])
        if place:
            evicted = stages[place].evicted[len(self.world.model.evicted) :]
            self.world.unheard += [each for each in evicted if each not in self.world.archived]
            self.settle(operation, stages, place)
        return place > 0

    def settle(self, operation: Operation, stages: list[Remembering], place: int) -> None:
        """From now on it is as the stage at this place says, and so are the hooks' and the application's tables."""
        self.world.models[USER] = model = stages[place].copied()
        self.world.count += operation.brings
        check_hooks(self.world)
        if self.scenario.is_for_databases and (saved := self.place.saved()) != model.saved:
            raise DifferenceError("SAFETY", f"saved are {saved}, but completed with it were {model.saved}")

    def come_to_rest(self) -> None:
        """Nothing is hit any more: everybody gets back to idle, and what is live is replayed."""
        self.writes, self.fate.nth, self.world.failing = [*self.fate.writes], -1, 0
        model, buffer = self.world.model, self.life.buffer
        compared(self.life.log, [model], [0], self.world.models[OTHER])
        if not model.is_overdue(self.world.now) and (said := buffer.state(USER)) != folded(self.life.log, USER):
            raise DifferenceError("SAFETY", f"the buffer says {said}, but its log {folded(self.life.log, USER)}")
        self.world.now += 1000.0
        buffer.expire_overdue()
        for user in (USER, OTHER):
            if (phase := folded(self.life.log, user).phase) not in ("idle", "parked"):
                why = "although every deadline has passed and expire_overdue() was called"
                raise DifferenceError("LIVENESS", f"{user} stays in {phase}, {why}")
        if model.is_overdue(self.world.now):
            model.abort(rolled_back=True)
        elif model.phase == "aborting":
            model.finish_abort()
        compared(self.life.log, [model], [0], self.world.models[OTHER])
        check_hooks(self.world)
        self.replay_all()

    def replay_all(self) -> None:
        """What is live is replayed once, in order, by what a manager does by itself; who is parked is let go before."""
        buffer, models = self.life.buffer, self.world.models
        parked = [user for user, model in models.items() if model.phase == "parked"]
        if buffer.parked() != parked:
            raise DifferenceError("LIVENESS", f"parked are {parked}, but listed are {buffer.parked()}")
        for user in parked:
            buffer.release(user)
        replayed: list[tuple[str, list[Any]]] = []
        manager = ReplayManager(
            buffer, lambda frozen: replayed.append((frozen.user_id, list(frozen))), max_attempts=None, backoff=BACKOFF
        )
        for _ in range(PASSES):
            if any(map(buffer.size, models)):
                self.world.now += 5000.0
                manager.replay_ready()
        live = [(user, model.live) for user, model in models.items() if model.live]
        if sorted(replayed) != sorted(live):
            raise DifferenceError("LIVENESS", f"a manager was to replay {live} once and in order, but did {replayed}")
        for user, model in models.items():
            state, audit = folded(self.life.log, user), buffer.audit(user)
            if (state.live, state.replayed, audit.ok) != (0, len(model.replayed) + len(model.live), True):
                raise DifferenceError("SAFETY", f"in the end, {state}; {audit}")
