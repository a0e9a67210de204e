"""Every sequence of commands up to length 5 (`make prove`: 6) for one user, against the model of plain lists."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tried import LONG, tried

from events import MemoryLog
from statemachine import BufferConfig, ReplayBuffer, ReplayBufferError, RollbackError, due
from statemachine.spec import Model

LENGTH = 6 if LONG else 5
STEP_S = 1000.0  # longer than every deadline

CONFIGS = {
    "evicting": BufferConfig(max_measurements=1, pending_factor=1, due=due.Age(STEP_S)),
    "rejecting": BufferConfig(max_measurements=1, pending_factor=1, on_overflow="reject"),
    "roomy": BufferConfig(max_measurements=100, due=due.Count(3) | due.Count(2) & due.Age(STEP_S)),
}


class World:
    """A buffer and its model, to which the same commands are given."""

    COMMANDS = ("add", "begin", "finalize", "complete", "renew", "abort", "clear", "expire", "retry", "park", "release")

    def __init__(self, config: BufferConfig, rollback: str) -> None:
        self.now, self.count, self.rollback = 0.0, 0, rollback
        self.log: MemoryLog[int] = MemoryLog(keep_history=True)
        self.buffer = ReplayBuffer(
            self.log, config, clock=lambda: self.now, on_abort=None if rollback == "none" else self.on_abort
        )
        self.model: Model[int] = Model(config)
        self.frozen: list[int] = []
        self.replayed: list[int] = []
        self.give("add")

    def on_abort(self, user_id: str, version: int, reason: str) -> None:
        if self.rollback == "failing":
            raise OSError("the database is away")

    def give(self, command: str, version: int | None = None) -> bool:
        """Give the command to both; whether it was accepted. What the model refuses must be refused, and so."""
        refusal, accept, call = getattr(self, f"_{command}")(version)
        try:
            call()
        except ReplayBufferError as error:
            assert type(error) is refusal
        else:
            assert refusal is None, f"{command} was accepted instead of {refusal}"
        if accept is not None:
            accept()
        return accept is not None

    def _add(self, _version: int | None) -> tuple[Any, Callable[[], object] | None, Callable[[], object]]:
        self.count += 1
        measurement = self.count
        refusal = self.model.add([measurement], self.now)
        done = None if refusal else lambda: None
        return refusal, done, lambda: self.buffer.add_measurement("u", measurement)

    def _begin(self, _version: int | None) -> tuple[Any, Callable[[], object] | None, Callable[[], object]]:
        refusal = self.model.refusal("begin_snapshot")
        accept = None if refusal else lambda: self.model.begin(self.now)
        return refusal, accept, lambda: self.buffer.begin_snapshot("u")

    def _finalize(self, version: int | None) -> tuple[Any, Callable[[], object] | None, Callable[[], object]]:
        refusal = self.model.refusal("finalize_snapshot", version)

        def call() -> None:
            self.frozen = list(self.buffer.finalize_snapshot("u", version))
            assert self.frozen == self.model.older

        return refusal, None if refusal else lambda: self.model.finalize(self.now), call

    def _complete(self, version: int | None) -> tuple[Any, Callable[[], object] | None, Callable[[], object]]:
        refusal = self.model.refusal("complete_replay", version)

        def accept() -> None:
            self.replayed += self.frozen
            self.model.complete()

        return refusal, None if refusal else accept, lambda: self.buffer.complete_replay("u", version)

    def _renew(self, version: int | None) -> tuple[Any, Callable[[], object] | None, Callable[[], object]]:
        refusal = self.model.refusal("renew_lease", version)
        accept = None if refusal else lambda: self.model.renew(self.now)
        return refusal, accept, lambda: self.buffer.renew_lease("u", version)

    def _abort(self, version: int | None) -> tuple[Any, Callable[[], object] | None, Callable[[], object]]:
        refusal = self.model.refusal("abort_snapshot", version)
        accept = None if refusal else lambda: self.model.abort(rolled_back=self.rollback != "failing")
        if accept and self.rollback == "failing":
            refusal = RollbackError
        return refusal, accept, lambda: self.buffer.abort_snapshot("u", "", version)

    def _clear(self, _version: int | None) -> tuple[Any, Callable[[], object] | None, Callable[[], object]]:
        refusal = self.model.refusal("clear_buffer")
        return refusal, None if refusal else self.model.clear, lambda: self.buffer.clear_buffer("u")

    def _retry(self, version: int | None) -> tuple[Any, Callable[[], object] | None, Callable[[], object]]:
        refusal, retry_at = self.model.refusal("schedule_retry", version), self.now + STEP_S

        def accept() -> None:
            self.model.retry_at = retry_at

        return refusal, None if refusal else accept, lambda: self.buffer.schedule_retry("u", retry_at, version)

    def _park(self, _version: int | None) -> tuple[Any, Callable[[], object] | None, Callable[[], object]]:
        refusal = self.model.refusal("park")
        return refusal, None if refusal else self.model.park, lambda: self.buffer.park("u")

    def _release(self, _version: int | None) -> tuple[Any, Callable[[], object] | None, Callable[[], object]]:
        refusal = self.model.refusal("release")
        return refusal, None if refusal else self.model.release, lambda: self.buffer.release("u")

    def _expire(self, _version: int | None) -> tuple[Any, Callable[[], object] | None, Callable[[], object]]:
        self.now += STEP_S
        accept = None if self.model.retry_at is None else lambda: None  # a retry's time has come
        if self.model.is_overdue(self.now):
            accept = lambda: self.model.abort(rolled_back=self.rollback != "failing")  # noqa: E731 - as the others
        return None, accept, self.buffer.expire_overdue

    def check(self) -> None:
        """What must hold wherever a sequence of commands may lead."""
        state, model = self.buffer.state("u"), self.model
        assert (state.phase, state.version) == (model.phase, model.version)
        assert self.buffer.measurements("u") == model.live
        assert self.buffer.pending("u") == model.pending
        assert self.replayed == model.replayed
        assert self.buffer.parked() == (["u"] if model.phase == "parked" else [])
        assert list(self.buffer.ready()) == (["u"] if model.is_due(self.now) else [])
        again: ReplayBuffer[int] = ReplayBuffer(self.log, model.config, clock=lambda: self.now)
        assert again.state("u") == state, "a new buffer on the log knows something else"
        assert (state.added, state.replayed, state.evicted, state.cleared) == tuple(
            map(len, (model.added, model.replayed, model.evicted, model.cleared))
        )
        assert sorted(model.replayed + model.live + model.evicted + model.cleared) == model.added
        audit = self.buffer.audit("u")
        assert audit.ok, str(audit)

    def check_refusals(self) -> list[str]:
        """Give every command that must be refused, and commands with stale versions; return those that are accepted."""
        before, head, accepted = self.buffer.state("u"), self.log.position("u"), []
        for command in self.COMMANDS:
            if self._is_accepted(command):
                accepted.append(command)
            else:
                assert not self.give(command)
        for command in ("finalize", "complete", "renew", "abort", "retry"):
            for version in (self.model.version - 1, self.model.version + 1):
                assert not self.give(command, version)
        assert self.buffer.state("u") == before, "a refused command changed the state"
        assert self.log.position("u") == head, "a refused command was recorded"
        return accepted

    def _is_accepted(self, command: str) -> bool:
        if command == "add":
            held = len(self.model.live if self.model.phase in ("idle", "parked") else self.model.pending)
            return self.model.config.on_overflow == "evict_oldest" or held < self._bound()
        if command == "expire":
            return self.model.phase in ("snapshotting", "replaying") or self.model.retry_at is not None
        return getattr(self, f"_{command}")(None)[1] is not None

    def _bound(self) -> int:
        config, model = self.model.config, self.model
        if model.phase in ("idle", "parked"):
            return config.carried_bound if model.carries else config.max_measurements
        return min(config.pending_bound, config.carried_bound + config.pending_bound - len(model.older))


def sequences(config: BufferConfig, rollback: str, length: int) -> Iterator[tuple[str, ...]]:
    """Every sequence of accepted commands up to the length.

    A refused command changes nothing, which is checked wherever one can be given; so what follows it is what follows
    the sequence without it, and all 11 ** 5 (or 6) sequences are covered by these.
    """
    open_ends: list[tuple[str, ...]] = [()]
    while open_ends:
        sequence = open_ends.pop()
        world = World(config, rollback)
        for command in sequence:
            assert world.give(command)
        world.check()
        yield sequence
        accepted = world.check_refusals()
        if len(sequence) < length:
            open_ends += [(*sequence, command) for command in accepted]


@pytest.mark.parametrize(
    ("config", "rollback"),
    [
        ("roomy", "none"),
        ("evicting", "none"),
        ("evicting", "succeeding"),
        ("evicting", "failing"),
        ("rejecting", "none"),
    ],
)
def test_every_sequence_of_commands(config: str, rollback: str) -> None:
    """Whatever the order in which a user's buffer is told what to do, it does what plain lists would."""
    seen = set(sequences(CONFIGS[config], rollback, LENGTH))
    tried(sequences=len(seen))
    assert max(map(len, seen)) == LENGTH
    assert {command for sequence in seen for command in sequence} == set(World.COMMANDS)
    assert all(sequence[:-1] in seen for sequence in seen if sequence)
