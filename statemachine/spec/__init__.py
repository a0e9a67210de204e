"""The executable specification: a hypothesis state machine that does to a buffer whatever a user can do, and watches.

Subclass `ReplayBufferSpec` to hold a log or a configuration of your own against it:

    class MyLogSpec(ReplayBufferSpec):
        def make_log(self):
            return MyLog(...)

    TestMyLog = MyLogSpec.TestCase
"""

import sys
from contextlib import suppress
from itertools import chain

from hypothesis.stateful import invariant

from statemachine._errors import StaleSnapshotError
from statemachine._state import BufferState, evolve
from statemachine.spec._model import Model
from statemachine.spec._rules import Rules

__all__ = ["Model", "ReplayBufferSpec"]


class ReplayBufferSpec(Rules):
    """Every public operation of a `ReplayBuffer`, in any order, on several users, with time passing and hooks failing.

    After every step, for every user: the very measurements are conserved, in order, each exactly once; what is frozen
    never changes; no measurement is in two completed replays; offsets and the committed offset only go forward; the
    state kept equals the state folded, at every offset; the bounds hold; and in the end every user gets back to idle.

    Attributes:
        configs: a strategy for the configurations to try; override it to specify one of your own.

    Example:
        >>> from hypothesis import settings
        >>> from hypothesis.stateful import run_state_machine_as_test
        >>> run_state_machine_as_test(ReplayBufferSpec, settings=settings(max_examples=5, deadline=None))
    """

    # What must hold after every step. Overdue users are left alone: looking at them would expire them.

    @invariant()
    def users_are_those_that_added(self) -> None:
        """A user is known from its first measurement on."""
        assert sorted(self.buffer.users()) == sorted(self.known)

    @invariant()
    def every_measurement_is_accounted_for(self) -> None:
        """Added = committed + live + evicted + cleared: the very measurements, in order, each exactly once."""
        for user_id, model, state in self.settled():
            counts = (state.added, state.replayed, state.live, state.evicted, state.cleared)
            lists = (model.added, model.replayed, model.live, model.evicted, model.cleared)
            assert counts == tuple(map(len, lists))
            assert sorted(chain.from_iterable(lists[1:])) == model.added
            position = self.log.position(user_id)
            assert position is not None
            assert position.start <= state.oldest, "what is live was dropped from the log"
            assert self.buffer.measurements(user_id) == model.live
            assert self.buffer.size(user_id) == len(model.live)
            in_progress = model.phase in ("snapshotting", "replaying")
            assert (state.phase, state.deadline) == (model.phase, model.deadline if in_progress else None)
            assert state.frozen == (0 if state.phase in ("idle", "parked") else len(model.older))
            assert state.pending == len(model.pending)
            assert (state.attempts, state.retry_at) == (model.attempts, model.retry_at)
            if self.archives:
                assert self.archived.get(user_id, []) == model.evicted
            assert self.replayed.get(user_id, []) == model.replayed
            assert len(set(model.replayed)) == len(model.replayed), "a measurement is in two completed replays"

    @invariant()
    def frozen_measurements_never_change(self) -> None:
        """A snapshot reads the same for as long as it is in progress, and never shows others' measurements."""
        for user_id, model, _state in self.settled():
            for frozen, measurements in self.snapshots.get(user_id, []):
                if frozen.version == model.version and model.phase == "replaying":
                    assert list(frozen) == measurements
                else:
                    with suppress(StaleSnapshotError):
                        assert list(frozen) == measurements

    @invariant()
    def who_is_late_changes_nothing(self) -> None:
        """A snapshot object whose snapshot is over is refused, whatever it tries."""
        for user_id, model, _state in self.settled():
            over = [
                frozen
                for frozen, _ in self.snapshots.get(user_id, [])
                if frozen.version != model.version or model.phase != "replaying"
            ]
            for frozen in over[-1:]:
                for operation in (frozen.complete, frozen.renew, frozen.abort):
                    self.call(StaleSnapshotError, operation)

    @invariant()
    def offsets_only_go_forward(self) -> None:
        """Neither the head nor the committed offset nor the version ever goes back."""
        for user_id, model, state in self.settled():
            head, committed = self.seen.get(user_id, (0, 0))
            assert state.head >= head
            assert state.committed >= committed
            assert state.version == model.version
            assert state.committed <= state.oldest, "what is live is said to be replayed or cleared"
            self.seen[user_id] = state.head, state.committed

    @invariant()
    def state_is_a_fold(self) -> None:
        """The kept state is the fold of the events, and so is the state at every offset that is kept."""
        for user_id, _model, kept in self.settled():
            history = list(self.buffer.events(user_id))
            checkpoint = self.log.checkpoint(user_id, history[0].offset if history else kept.head)
            state = checkpoint.state if checkpoint else BufferState()
            every = 1 + len(history) // 8  # of a long history, samples
            for recorded in history:
                assert recorded.offset == state.head, "offsets are not dense"
                assert state.head % every or self.buffer.state_at(user_id, state.head) == state
                state = evolve(state, recorded.event)
            assert state == kept

    @invariant()
    def hooks_are_called_as_promised(self) -> None:
        """A rollback is run for each snapshot that is given up, in `aborting`; and no hook under a lock."""
        assert not self.complaints, "; ".join(self.complaints)
        for user_id, model, _state in self.settled() if self.rolls_back else []:
            done = dict.fromkeys(version for whose, version in self.rollbacks if whose == user_id)
            assert list(done) == model.rolled_back, "not every rollback was run, or one that had not to be"

    @invariant()
    def parked_users_are_listed(self) -> None:
        """Whoever is parked can be seen."""
        assert sorted(self.buffer.parked()) == [
            u for u, model in sorted(self.models.items()) if model.phase == "parked"
        ]

    @invariant()
    def bounds_hold(self) -> None:
        """Idle: at most the bound; in progress: the pending bound; both added between an abort and a completion."""
        for _user_id, model, state in self.settled():
            if not model.carries and state.frozen_offset is None:
                assert state.live <= max(self.config.max_measurements, self.config.pending_bound)
            assert state.pending <= self.config.pending_bound
            assert state.live <= self.config.carried_bound + self.config.pending_bound

    def teardown(self) -> None:
        """From any state every user gets back to idle, with everything live, and can be replayed to the end."""
        if not hasattr(self, "buffer"):
            return  # hypothesis found the start itself wanting
        try:
            if sys.exc_info()[0] is None:  # else that is what matters
                self.everybody_gets_back()
        finally:
            self.buffer.close()

    def everybody_gets_back(self) -> None:
        """Nobody is stuck, whatever happened, once the rollback works again."""
        self.hook_fails = False
        self.now += self.config.snapshot_timeout + self.config.replay_timeout
        self.buffer.expire_overdue()
        for user_id in self.buffer.users():
            model = self.model(user_id)
            if model.phase == "aborting":
                model.finish_abort()
            if model.phase == "parked":
                self.buffer.release(user_id)
            assert self.buffer.state(user_id).phase == "idle"
            with self.buffer.snapshot(user_id) as frozen:
                assert list(frozen) == model.live
            assert self.buffer.measurements(user_id) == []
