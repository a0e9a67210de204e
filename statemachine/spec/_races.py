"""What users do to each other, a rule for each: they begin at once, and get in between. Knows no other rule."""

from threading import Barrier, Thread

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from statemachine._buffer import ReplayBuffer
from statemachine._errors import ReplayBufferError, RollbackError, SnapshotInProgressError, UserParkedError
from statemachine.spec._model import Refusal
from statemachine.spec._world import World

STEPS = st.sampled_from(
    ["begin_snapshot", "finalize_snapshot", "complete_replay", "renew_lease", "abort_snapshot"],
)


class Races(World):
    """Where two are at it, what they do is done one after the other, and the second is told what the first has left."""

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def racing_begins(self, data: st.DataObject) -> None:
        """Two threads begin at once: exactly one wins, unless a snapshot is in progress already."""
        user_id = self.pick(data, "begin_snapshot")
        model = self.model(user_id)
        self.buffer.state(user_id)  # so that the expiry of an overdue one is not part of the race
        barrier, outcomes = Barrier(2), []

        def begin() -> None:
            barrier.wait()
            try:
                outcomes.append(self.buffer.begin_snapshot(user_id))
            except (SnapshotInProgressError, UserParkedError):
                outcomes.append(0)

        threads = [Thread(target=begin) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if model.refusal("begin_snapshot") is None:
            model.begin(self.now)
            assert sorted(outcomes) == [0, model.version]
        else:
            assert outcomes == [0, 0]

    @precondition(lambda self: self.known)
    @rule(data=st.data(), trigger=STEPS, meanwhile=st.one_of(st.just("add_measurement"), STEPS))
    def overtaken(self, data: st.DataObject, trigger: str, meanwhile: str) -> None:
        """Somebody gets in between what a call has read and what it records: it does what is right by then."""
        user_id = self.pick(data, trigger)
        version = self.model(user_id).version
        self.buffer.state(user_id)  # so that no expiry comes in between
        another, batch = self.attach(), self.new(1)

        def get_in() -> None:
            if meanwhile == "add_measurement":
                self.call(self.add(user_id, batch), lambda: another.add_measurement(user_id, batch[0]))
            else:
                self.step(another, user_id, meanwhile, version)

        self.meanwhile = get_in
        self.step(self.buffer, user_id, trigger, version, refusable=True)
        self.meanwhile = None

    def step(
        self, buffer: ReplayBuffer[int], user_id: str, trigger: str, version: int, *, refusable: bool = False
    ) -> None:
        """Make a call, and compare what came of it with what had to come of it at the moment it was recorded.

        What records nothing may also be `refusable` for what it has read before somebody got in.
        """
        named = {} if trigger == "begin_snapshot" else {"version": version}
        before = self.models[user_id].refusal(trigger, named.get("version")) if refusable else None
        raised: Refusal = None
        try:
            result = getattr(buffer, trigger)(user_id, **named)
        except ReplayBufferError as error:
            raised = type(error)
        if before is not None and raised is before:
            return
        model = self.models[user_id]
        refusal = model.refusal(trigger, named.get("version"))
        if refusal is None and trigger == "abort_snapshot":
            model.abort(rolled_back=self.rollback_works)
            refusal = None if self.rollback_works else RollbackError
        elif refusal is None and trigger == "complete_replay":
            self.replayed.setdefault(user_id, []).extend(model.older)
            model.complete()
        elif refusal is None and trigger == "finalize_snapshot":
            model.finalize(self.now)
        elif refusal is None and trigger == "renew_lease":
            model.renew(self.now)
        elif refusal is None:
            model.begin(self.now)
        assert raised is refusal, f"{trigger} raised {raised}, and not {refusal}"
        if refusal is None and trigger == "finalize_snapshot":
            self.handed_out(user_id, result)
        if refusal is None and trigger == "renew_lease":
            assert buffer.state(user_id).deadline == model.deadline
