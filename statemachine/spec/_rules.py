"""What users do, a rule for each: it asks the model what must happen, and then does it to the buffer."""

from contextlib import suppress
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from statemachine._errors import (
    InvalidArgumentError,
    PartlyAddedError,
    RollbackError,
    StaleSnapshotError,
    UnknownUserError,
)
from statemachine.spec._model import Refusal
from statemachine.spec._races import Races
from statemachine.spec._world import DeliberateError

USERS = st.sampled_from(["ann", "ann", "ann", "bob", "cyd"])
VERSIONS = st.sampled_from(["any", "any", "current", "current", "stale", "future"])


class Rules(Races):
    """Every public operation of a `ReplayBuffer` and of a `FrozenSnapshot`."""

    @rule()  # without arguments and first in the alphabet, so hypothesis tries it more often than any other
    def advance(self) -> None:
        """The usual course: a snapshot begins, is finalized, renewed, completed; and another measurement arrives."""
        self.now += 1.0
        user_id = self.known[self.count % len(self.known)] if self.known else "ann"
        model = self.model(user_id)
        if model.phase == "idle" and model.live:
            self.step(self.buffer, user_id, "begin_snapshot", model.version)
        elif model.phase == "snapshotting":
            self.step(self.buffer, user_id, "finalize_snapshot", model.version)
        elif model.phase == "replaying":
            self.step(self.buffer, user_id, "renew_lease", model.version)
            self._complete_within(user_id, model.version, commits=False)
            self.step(self.buffer, user_id, "complete_replay", model.version)
        elif model.phase == "parked":
            self.buffer.release(user_id)
            model.release()
        self.add_measurement(user_id)

    @rule(user_id=USERS)
    def add_measurement(self, user_id: str) -> None:
        """One measurement arrives."""
        (measurement,) = batch = self.new(1)
        offset = self.call(self.add(user_id, batch), lambda: self.buffer.add_measurement(user_id, measurement))
        if offset is not None:
            self.landed(user_id, batch, range(offset, offset + 1))

    @rule(user_id=USERS, count=st.integers(0, 12))
    def add_measurements(self, user_id: str, count: int) -> None:
        """Several arrive at once."""
        batch = self.new(count)
        if not batch and user_id not in self.known:
            assert self.buffer.add_measurements(user_id, batch) == range(0)
            return
        refusal = self.add(user_id, batch) if batch else None  # an empty batch touches nobody
        offsets = self.call(refusal, lambda: self.buffer.add_measurements(user_id, iter(batch)))
        if offsets is not None:
            self.landed(user_id, batch, offsets)

    @rule(count=st.integers(0, 6))
    def add_for_users(self, count: int) -> None:
        """Several users' arrive at once: each user's all or none, whatever becomes of the others."""
        batches = {"ann": self.new(count), "bob": self.new(1), "cyd": self.new(2)}
        refusals = {user_id: self.add(user_id, batch) if batch else None for user_id, batch in batches.items()}
        errors: dict[str, Exception] = {}
        try:
            added = self.buffer.add_for_users(batches)
        except PartlyAddedError as error:
            added, errors = error.added, error.errors
        assert {user_id: type(error) for user_id, error in errors.items()} == {
            user_id: refusal for user_id, refusal in refusals.items() if refusal is not None
        }
        assert {user_id: len(offsets) for user_id, offsets in added.items()} == {
            user_id: len(batch) for user_id, batch in batches.items() if user_id not in errors
        }

    @rule(user_id=USERS, count=st.integers(2, 70))
    def add_a_burst(self, user_id: str, count: int) -> None:
        """Many arrive one by one."""
        for measurement in self.new(count):
            self.call(
                self.add(user_id, [measurement]),
                lambda measurement=measurement: self.buffer.add_measurement(user_id, measurement),  # type: ignore[misc]
            )

    @rule(user_id=USERS)
    def add_from_a_failing_source(self, user_id: str) -> None:
        """The source of a batch fails half-way: nothing of it is added."""

        def source() -> Any:
            yield -1
            raise DeliberateError

        outcome = "swallowed"
        try:
            self.buffer.add_measurements(user_id, source())
        except DeliberateError:
            outcome = "raised on"
        assert outcome == "raised on"

    @rule(user_id=USERS)
    def begin_snapshot(self, user_id: str) -> None:
        """A snapshot begins, unless one is in progress."""
        if user_id not in self.known:
            self.call(UnknownUserError, lambda: self.buffer.begin_snapshot(user_id))
            return
        model = self.model(user_id)
        refusal = model.refusal("begin_snapshot")
        version = self.call(refusal, lambda: self.buffer.begin_snapshot(user_id, timestamp=self.now))
        if refusal is None:
            model.begin(self.now)
            assert version == model.version

    @precondition(lambda self: self.known)
    @rule(data=st.data(), which=VERSIONS)
    def finalize_snapshot(self, data: st.DataObject, which: str) -> None:
        """The frozen measurements are handed out."""
        user_id = self.pick(data, "finalize_snapshot")
        model = self.model(user_id)
        version = self.version(model, which)
        refusal = model.refusal("finalize_snapshot", version)
        frozen = self.call(refusal, lambda: self.buffer.finalize_snapshot(user_id, version))
        if frozen is not None:
            model.finalize(self.now)
            self.handed_out(user_id, frozen)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), which=VERSIONS)
    def complete_replay(self, data: st.DataObject, which: str) -> None:
        """A replay completes: exactly what was frozen leaves."""
        user_id = self.pick(data, "complete_replay")
        model = self.model(user_id)
        version = self.version(model, which)
        refusal = model.refusal("complete_replay", version)
        self.call(refusal, lambda: self.buffer.complete_replay(user_id, version))
        if refusal is None:
            self.replayed.setdefault(user_id, []).extend(model.older)
            model.complete()

    @precondition(lambda self: self.known)
    @rule(data=st.data(), which=VERSIONS, commits=st.booleans())
    def complete_within_a_transaction(self, data: st.DataObject, which: str, commits: bool) -> None:
        """A replay completes together with what the application saves, or neither does. Nobody is expired by it."""
        user_id = self.pick(data, "complete_replay")
        self._complete_within(user_id, self.version(self.models[user_id], which), commits=commits)

    def _complete_within(self, user_id: str, version: int | None, *, commits: bool) -> None:
        model = self.models[user_id]
        overdue = model.is_overdue(self.now)
        refusal: Refusal = StaleSnapshotError if overdue else model.refusal("complete_replay", version)
        connection = self.connect()
        if connection is None:
            refusal, connection, commits = InvalidArgumentError, object(), False
        self.call(refusal, lambda: self.buffer.complete_replay(user_id, version, connection=connection))
        if commits:
            connection.commit()
        if commits and refusal is None:
            self.replayed.setdefault(user_id, []).extend(model.older)
            model.complete()
        if hasattr(connection, "close"):
            connection.close()

    @rule()
    def prune(self) -> None:
        """History that nothing needs is dropped, and nothing else is to be seen of it."""
        assert self.buffer.prune() >= 0
        assert self.buffer.prune() == 0

    @precondition(lambda self: self.known)
    @rule(data=st.data(), which=VERSIONS)
    def renew_lease(self, data: st.DataObject, which: str) -> None:
        """A replay asks for more time."""
        user_id = self.pick(data, "renew_lease")
        model = self.model(user_id)
        version = self.version(model, which)
        refusal = model.refusal("renew_lease", version)
        self.call(refusal, lambda: self.buffer.renew_lease(user_id, version))
        if refusal is None:
            model.renew(self.now)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), which=VERSIONS)
    def abort_snapshot(self, data: st.DataObject, which: str) -> None:
        """A snapshot is given up, and the rollback succeeds or fails."""
        user_id = self.pick(data, "abort_snapshot")
        model = self.model(user_id)
        version = self.version(model, which)
        refusal = model.refusal("abort_snapshot", version)
        if refusal is None:
            model.abort(rolled_back=self.rollback_works)
            refusal = None if self.rollback_works else RollbackError
        self.call(refusal, lambda: self.buffer.abort_snapshot(user_id, "the test says so", version))
        if refusal is RollbackError:
            assert isinstance(self.buffer.abort_errors[user_id], DeliberateError)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def clear_buffer(self, data: st.DataObject) -> None:
        """The application drops what is live."""
        user_id = self.pick(data, "clear_buffer")
        model = self.model(user_id)
        refusal = model.refusal("clear_buffer")
        self.call(refusal, lambda: self.buffer.clear_buffer(user_id))
        if refusal is None:
            model.clear()

    @precondition(lambda self: self.known)
    @rule(data=st.data(), count=st.integers(0, 4))
    def clear_the_oldest(self, data: st.DataObject, count: int) -> None:
        """The application drops what it was handed, and what arrived since stays."""
        user_id = self.pick(data, "clear_buffer")
        model = self.model(user_id)
        refusal = model.refusal("clear_buffer")
        offsets = self.buffer.state(user_id).offsets
        count = min(count, len(offsets))
        through = offsets[count - 1] + 1 if count else 0
        self.call(refusal, lambda: self.buffer.clear_buffer(user_id, through))
        if refusal is None and count:
            model.clear_oldest(count)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), fails=st.sampled_from([0, 0, 1, 3]), wait=st.sampled_from([0.0, 1.0, 50.0, None]))
    def snapshot(self, data: st.DataObject, fails: int, wait: float | None) -> None:
        """A replay as a `with` block. If it fails, it is put off or its user parked, perhaps not at once."""
        user_id = self.pick(data, "begin_snapshot")
        model = self.model(user_id)
        refusal = model.refusal("begin_snapshot")
        if refusal is not None:
            self.call(refusal, lambda: self.buffer.snapshot(user_id).__enter__())
            return
        for _ in range(fails or 1):
            if model.refusal("begin_snapshot") is None:
                self._replay(user_id, fails=bool(fails))
        if fails and wait is None:
            self._park(user_id)
        elif fails:
            self._put_off(user_id, wait or 0.0, model.version)

    def _replay(self, user_id: str, *, fails: bool) -> None:
        """A measurement arrives meanwhile."""
        model = self.model(user_id)
        (measurement,) = batch = self.new(1)
        model.begin(self.now)
        model.finalize(self.now)
        with suppress(DeliberateError), self.buffer.snapshot(user_id) as frozen:
            self.handed_out(user_id, frozen)
            self.call(model.add(batch, self.now), lambda: self.buffer.add_measurement(user_id, measurement))
            if fails:
                raise DeliberateError
        if fails:
            model.abort(rolled_back=self.rollback_works)
        else:
            self.replayed.setdefault(user_id, []).extend(model.older)
            model.complete()

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data(), operation=st.sampled_from(["complete", "abort", "renew"]))
    def use_a_snapshot_object(self, data: st.DataObject, operation: str) -> None:
        """A snapshot object is used, perhaps long after its snapshot is over."""
        user_id = data.draw(st.sampled_from(sorted(self.snapshots)))
        frozen, measurements = data.draw(st.sampled_from(self.snapshots[user_id]))
        model = self.model(user_id)
        trigger = {"complete": "complete_replay", "abort": "abort_snapshot", "renew": "renew_lease"}[operation]
        refusal = model.refusal(trigger, frozen.version)
        if refusal is None and operation == "complete":
            self.replayed.setdefault(user_id, []).extend(measurements)
            model.complete()
        elif refusal is None and operation == "abort":
            model.abort(rolled_back=self.rollback_works)
            refusal = None if self.rollback_works else RollbackError
        elif refusal is None:
            model.renew(self.now)
        self.call(refusal, getattr(frozen, operation))

    @precondition(lambda self: self.known)
    @rule(data=st.data(), which=VERSIONS, seconds=st.sampled_from([0.0, 1.0, 50.0]))
    def schedule_retry(self, data: st.DataObject, which: str, seconds: float) -> None:
        """A replay that failed is not to be tried again before a while."""
        user_id = self.pick(data, "schedule_retry")
        self._put_off(user_id, seconds, self.version(self.model(user_id), which))

    def _put_off(self, user_id: str, seconds: float, version: int | None) -> None:
        model = self.model(user_id)
        refusal = model.refusal("schedule_retry", version)
        self.call(refusal, lambda: self.buffer.schedule_retry(user_id, self.now + seconds, version))
        if refusal is None:
            model.retry_at = self.now + seconds
            self.ready()

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def park(self, data: st.DataObject) -> None:
        """No replay of the user is to begin."""
        self._park(self.pick(data, "park"))

    def _park(self, user_id: str) -> None:
        model = self.model(user_id)
        refusal = model.refusal("park")
        self.call(refusal, lambda: self.buffer.park(user_id, "the test says so"))
        if refusal is None:
            model.park()

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """A parked user may be replayed again."""
        user_id = self.pick(data, "release")
        model = self.model(user_id)
        refusal = model.refusal("release")
        self.call(refusal, lambda: self.buffer.release(user_id))
        if refusal is None:
            model.release()

    @rule()
    def ready(self) -> None:
        """Who is due is listed, each once; nobody else is."""
        due = [user_id for user_id, model in self.models.items() if model.is_due(self.now)]
        assert sorted(self.buffer.ready()) == sorted(due)

    @rule(seconds=st.sampled_from([1.0, 1.0, 29.0, 30.0, 60.0, 300.0]))
    def time_passes(self, seconds: float) -> None:
        """Nothing happens for a while, but that somebody becomes due."""
        self.now += seconds
        self.ready()

    @precondition(lambda self: self.known)
    @rule(data=st.data(), count=st.sampled_from([1, 1, 2, 3]))
    def arrive_at_the_deadline(self, data: st.DataObject, count: int) -> None:
        """A measurement arrives, and then nothing happens until a snapshot is overdue and more arrive."""
        user_id = self.pick(data, "abort_snapshot")
        self.add_measurement(user_id)
        self.now = max(self.now, self.models[user_id].deadline)
        self._complete_within(user_id, self.models[user_id].version, commits=True)
        if count == 1:
            self.add_measurement(user_id)
        else:
            self.add_measurements(user_id, count)
        self.expire_overdue()  # nothing is left of that one for the sweep

    @rule()
    def expire_overdue(self) -> None:
        """The sweep: what is overdue expires, and failed rollbacks are tried again."""
        moved = []
        for user_id, model in self.models.items():
            before = model.phase
            if model.is_overdue(self.now):
                model.abort(rolled_back=self.rollback_works)
            elif before == "aborting" and self.rollback_works:
                model.finish_abort()
            moved += [user_id] if model.phase != before else []
        assert sorted(self.buffer.expire_overdue()) == sorted(moved)

    @rule()
    def hooks_change_their_mind(self) -> None:
        """The database that the rollback needs goes away, or comes back."""
        self.hook_fails = not self.hook_fails

    @rule()
    def drop_all_memory(self) -> None:
        """The process ends and another one begins on the same log. Snapshot objects go with their log."""
        before, self.log = self.log, self.reopen(self.log)
        self.buffer = self.make_buffer()
        if self.log is not before:
            self.snapshots = {}
        self.snapshots = {
            user_id: [(frozen, own) for frozen, own in snapshots if frozen.version == self.models[user_id].version]
            for user_id, snapshots in self.snapshots.items()
        }
        for user_id, snapshots in list(self.snapshots.items()):
            if not snapshots:
                del self.snapshots[user_id]

    @rule(user_id=USERS)
    def ask(self, user_id: str) -> None:
        """Every question, about a user that may not exist and may be overdue."""
        if user_id not in self.known:
            for question in (self.buffer.state, self.buffer.measurements, self.buffer.pending, self.buffer.audit):
                self.call(UnknownUserError, lambda question=question: question(user_id))  # type: ignore[misc]
            return
        model = self.model(user_id)
        assert self.buffer.pending(user_id) == model.pending
        assert self.buffer.measurements(user_id) == model.live
        assert self.buffer.audit(user_id).ok, str(self.buffer.audit(user_id))
        assert self.buffer.state(user_id).phase == model.phase
