"""The world of the specification: a buffer, its clock and hooks, and a model for each user. Knows no rule."""

from collections.abc import Callable
from threading import Thread
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from events import EventLog, MeasurementAdded, MemoryLog, Position
from statemachine import due
from statemachine._buffer import ReplayBuffer
from statemachine._config import BufferConfig
from statemachine._errors import ReplayBufferError
from statemachine._snapshot import FrozenSnapshot
from statemachine._state import BufferState
from statemachine.spec._model import Model, Refusal

T = TypeVar("T")


def own_time(measurement: int) -> float:
    """The time of a measurement, which has nothing to do with when it arrives."""
    return 900.0 + 60.0 * (measurement % 7)


POLICIES = (
    None,
    due.Count(1),
    due.Age(60),
    due.Age(60, own_time),
    due.Count(1) & (due.Age(300) | due.Age(400, own_time)),
)

CONFIGS = st.builds(
    BufferConfig,
    max_measurements=st.integers(1, 4),
    due=st.sampled_from(POLICIES),
    pending_factor=st.sampled_from([0.5, 1, 2]),
    on_overflow=st.sampled_from(["evict_oldest", "evict_oldest", "reject"]),
)


class DeliberateError(Exception):
    """What the specification itself raises inside user code."""


class Overtaken:
    """The log, as one buffer has it: somebody gets in when it has been read where a stream stands."""

    def __init__(self, log: EventLog[Any], get_in: Callable[[], object]) -> None:
        self._log, self._get_in = log, get_in

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def position(self, stream: str) -> Position | None:
        found = self._log.position(stream)
        self._get_in()
        return found


class World(RuleBasedStateMachine):
    """What the rules act on and the invariants look at."""

    configs: st.SearchStrategy[BufferConfig] = CONFIGS

    patience: float = 10.0
    """Seconds to wait for another thread that nothing must hold up."""

    def make_log(self) -> EventLog[Any]:
        """An empty log; override it to specify one of your own."""
        return MemoryLog()

    def reopen(self, log: EventLog[Any]) -> EventLog[Any]:
        """The log as a new process would see it; a log in memory is passed on as it is."""
        return log

    def connect(self) -> Any:
        """A connection to the log's database with an open transaction; None for a log that is in none."""
        return None

    @initialize(data=st.data(), rolls_back=st.booleans(), archives=st.booleans())
    def start(self, data: st.DataObject, rolls_back: bool, archives: bool) -> None:
        """A new buffer, with or without hooks."""
        self.config = data.draw(self.configs)
        self.now, self.count = 1000.0, 0
        self.rolls_back, self.archives, self.hook_fails = rolls_back, archives, False
        self.models: dict[str, Model[int]] = {}
        self.snapshots: dict[str, list[tuple[FrozenSnapshot[int], list[int]]]] = {}
        self.archived: dict[str, list[int]] = {}
        self.replayed: dict[str, list[int]] = {}
        self.rollbacks: list[tuple[str, int]] = []
        self.complaints: list[str] = []
        self.seen: dict[str, tuple[int, int]] = {}
        self.meanwhile: Callable[[], object] | None = None
        self.log = self.make_log()
        self.buffer = self.make_buffer()

    def make_buffer(self) -> ReplayBuffer[int]:
        """A buffer on the log, as the application would make it."""
        return self.attach()

    def attach(self) -> ReplayBuffer[int]:
        """One more buffer on the log, with a memory of its own."""
        log: Any = Overtaken(self.log, self.get_in)
        return ReplayBuffer(
            log,
            self.config,
            clock=self.clock,
            on_abort=self.on_abort if self.rolls_back else None,
            on_evict=self.on_evict if self.archives else None,
        )

    def clock(self) -> float:
        """The time."""
        return self.now

    def get_in(self) -> None:
        """A call has read, and not yet recorded: that is when somebody else gets in, if anybody is to."""
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()

    def on_abort(self, user_id: str, version: int, reason: str) -> None:
        """The application's rollback: sees the aborting state, is under no lock, and sometimes fails."""
        if self.is_free(user_id):
            state = self.buffer.state(user_id)
            if (state.phase, state.version) != ("aborting", version):
                self.complaints.append(f"rollback of {user_id}, {version} runs in {state.phase}, {state.version}")
        if self.hook_fails:
            raise DeliberateError(f"the rollback of {user_id} fails")
        self.rollbacks.append((user_id, version))

    def on_evict(self, user_id: str, measurements: Any) -> None:
        """The application's archive of what was evicted."""
        self.is_free(user_id)
        self.archived.setdefault(user_id, []).extend(measurements)

    def is_free(self, user_id: str) -> bool:
        """Whether another thread can use the buffer while a hook runs, as it must."""
        questions = Thread(target=lambda: (self.buffer.size(user_id), self.buffer.abort_errors), daemon=True)
        questions.start()
        questions.join(self.patience)
        if questions.is_alive():
            self.complaints.append(f"a hook runs under a lock that others need for {user_id}")
        return not questions.is_alive()

    def model(self, user_id: str) -> Model[int]:
        """The user's model, as of now: an overdue snapshot has expired by the time anything touches its user."""
        model = self.models.setdefault(user_id, Model(self.config))
        if model.is_overdue(self.now):
            model.abort(rolled_back=self.rollback_works)
        return model

    def add(self, user_id: str, batch: list[int]) -> Refusal:
        """Tell the model of an add; where that finds an overdue snapshot, it is recorded before the rollback runs."""
        model = self.models.setdefault(user_id, Model(self.config))
        if not (self.rolls_back and model.is_overdue(self.now)):
            return self.model(user_id).add(batch, self.now)
        model.abort(rolled_back=False)
        refusal = model.add(batch, self.now)
        if self.rollback_works:
            model.finish_abort()
        return refusal

    @property
    def known(self) -> list[str]:
        """The users that have ever had a measurement."""
        return [user_id for user_id, model in self.models.items() if model.added]

    def pick(self, data: st.DataObject, trigger: str) -> str:
        """One of the known users, and most often one for whom the trigger is legal."""
        ready = [user_id for user_id in self.known if self.models[user_id].refusal(trigger) is None]
        return data.draw(st.sampled_from(ready * 3 + self.known))

    @property
    def rollback_works(self) -> bool:
        """Whether an abort that begins now is finished at once."""
        return not (self.rolls_back and self.hook_fails)

    def call(self, refusal: Refusal, call: Callable[[], T]) -> T | None:
        """Make a call that must succeed, or must be refused with this very error."""
        if refusal is None:
            return call()
        try:
            result = call()
        except ReplayBufferError as error:
            assert type(error) is refusal, f"{error!r} instead of {refusal.__name__}"
            assert error.user_id is not None, f"{error!r} does not say whom it concerns"
            return None
        raise AssertionError(f"{result!r} instead of {refusal.__name__}")

    def version(self, model: Model[int], which: str) -> int | None:
        """A version to name in a call."""
        named = {"any": None, "current": model.version, "stale": model.version - 1, "future": model.version + 1}
        return named[which]

    def new(self, count: int) -> list[int]:
        """Measurements that were never there before."""
        self.count += count
        return list(range(self.count - count, self.count))

    def landed(self, user_id: str, batch: list[int], offsets: range) -> None:
        """Measurements stand at the offsets that the caller was told, as far as they are kept. Touches nobody."""
        assert len(offsets) == len(batch)
        position = self.log.position(user_id)
        assert position is not None
        for recorded in self.log.read(user_id, max(position.start, offsets.start), offsets.stop):
            assert isinstance(recorded.event, MeasurementAdded)
            assert recorded.event.measurement == batch[recorded.offset - offsets.start]

    def handed_out(self, user_id: str, frozen: FrozenSnapshot[int]) -> None:
        """A snapshot object shows what was frozen, and says what it is."""
        model, state = self.models[user_id], self.buffer.state(user_id)
        assert list(frozen) == model.older
        assert (frozen.user_id, frozen.version, frozen.timestamp) == (user_id, model.version, model.timestamp)
        assert (frozen.start, frozen.stop) == (state.committed, state.frozen_offset)
        self.snapshots.setdefault(user_id, []).append((frozen, list(model.older)))

    def settled(self) -> list[tuple[str, Model[int], BufferState]]:
        """The users that can be looked at without changing them: user, model, state."""
        quiet = [user_id for user_id in self.known if not self.models[user_id].is_overdue(self.now)]
        return [(user_id, self.models[user_id], self.buffer.state(user_id)) for user_id in quiet]
