"""`max_total_measurements`: a bound over all users, kept by evicting from whoever has added nothing for longest."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from copy import deepcopy
from threading import Thread
from typing import Any

import pytest
from conftest import Clock
from hypothesis import given
from hypothesis import strategies as st

from events import MeasurementsEvicted, MemoryLog
from statemachine import (
    BufferConfig,
    BufferFullError,
    EvictHookError,
    InvalidArgumentError,
    ReplayBuffer,
    RollbackError,
)

SMALL = BufferConfig(max_measurements=3, pending_factor=1, max_total_measurements=6)
REJECTING = BufferConfig(max_measurements=3, max_total_measurements=6, on_overflow="reject")


def filled(config: BufferConfig = SMALL, **options: Any) -> ReplayBuffer[int]:
    """Ann, bob and cyd have two each, which is all there may be; ann has added nothing for longest."""
    buffer: ReplayBuffer[int] = ReplayBuffer(MemoryLog(keep_history=True), config, **options)
    for number in range(2):
        for place, user_id in enumerate(("ann", "bob", "cyd")):
            buffer.add_measurement(user_id, 10 * place + number)
    return buffer


def contents(buffer: ReplayBuffer[int]) -> dict[str, list[int]]:
    return {user_id: buffer.measurements(user_id) for user_id in buffer.users()}


def test_the_longest_idle_users_oldest_go_first() -> None:
    """Beyond the bound an add costs the oldest of whoever has added nothing for longest; each is an event."""
    buffer = filled()
    buffer.add_measurement("ann", 2)  # bob is the longest idle now
    assert contents(buffer) == {"ann": [0, 1, 2], "bob": [11], "cyd": [20, 21]}
    buffer.add_measurements("dan", [30, 31])
    assert contents(buffer) == {"ann": [0, 1, 2], "bob": [], "cyd": [21], "dan": [30, 31]}
    evictions = [r.event for r in buffer.events("bob") if isinstance(r.event, MeasurementsEvicted)]
    assert sum(e.stop - e.start for e in evictions) == buffer.state("bob").evicted == 2
    assert all(buffer.audit(user_id).ok for user_id in buffer.users())


def test_a_user_at_its_own_bound_costs_nobody_else() -> None:
    """An add that evicts its own oldest anyway needs no room of others."""
    buffer = filled()
    buffer.add_measurement("cyd", 22)
    assert contents(buffer) == {"ann": [1], "bob": [10, 11], "cyd": [20, 21, 22]}
    buffer.add_measurement("cyd", 23)
    assert contents(buffer) == {"ann": [1], "bob": [10, 11], "cyd": [21, 22, 23]}


def test_frozen_measurements_are_never_evicted_for_others() -> None:
    """Whoever is in progress keeps what is frozen; if there is nothing else, the add is refused and changes nothing."""
    buffer = filled()
    frozen = {user_id: buffer.finalize_snapshot(user_id, buffer.begin_snapshot(user_id)) for user_id in ("ann", "bob")}
    buffer.add_measurements("dan", [30, 31])
    assert contents(buffer) == {"ann": [0, 1], "bob": [10, 11], "cyd": [], "dan": [30, 31]}
    frozen["dan"] = buffer.finalize_snapshot("dan", buffer.begin_snapshot("dan"))
    with pytest.raises(BufferFullError, match="user 'eve': all users together have 6 measurements and may have 6"):
        buffer.add_measurement("eve", 40)
    with pytest.raises(BufferFullError, match="too many are frozen"):
        buffer.add_measurement("ann", 2)
    assert list(buffer.users()) == ["ann", "bob", "cyd", "dan"]
    assert [list(snapshot) for snapshot in frozen.values()] == [[0, 1], [10, 11], [30, 31]]
    frozen["ann"].complete()
    buffer.add_measurement("eve", 40)
    assert contents(buffer) == {"ann": [], "bob": [10, 11], "cyd": [], "dan": [30, 31], "eve": [40]}


def test_pending_ones_may_go() -> None:
    """Of a user in progress the oldest pending one is evicted."""
    buffer = filled()
    buffer.begin_snapshot("cyd")
    buffer.add_measurement("cyd", 22)
    for user_id in ("ann", "bob"):
        buffer.clear_buffer(user_id)
    buffer.add_measurements("dan", [1, 2, 3])
    buffer.add_measurement("eve", 4)
    assert contents(buffer) == {"ann": [], "bob": [], "cyd": [20, 21], "dan": [1, 2, 3], "eve": [4]}


def test_a_rejecting_buffer_refuses() -> None:
    """With `reject` the add is refused, nothing is recorded, and there is room again after a replay."""
    buffer = filled(REJECTING)
    with pytest.raises(BufferFullError, match="none may be evicted; replay or clear some first"):
        buffer.add_measurement("dan", 1)
    with buffer.snapshot("ann"):
        pass
    buffer.add_measurements("dan", [1, 2])
    with pytest.raises(BufferFullError):
        buffer.add_measurements("dan", [3, 4])
    assert contents(buffer) == {"ann": [], "bob": [10, 11], "cyd": [20, 21], "dan": [1, 2]}


def test_what_goes_for_others_is_handed_over_too() -> None:
    """`on_evict` gets what a user lost to make room for another."""
    archive: list[tuple[str, list[int]]] = []
    buffer = filled(on_evict=lambda user_id, evicted: archive.append((user_id, list(evicted))))
    buffer.add_measurements("dan", [1, 2, 3])
    assert archive == [("ann", [0, 1]), ("bob", [10])]


def test_a_hook_that_fails_does_not_lose_the_add() -> None:
    """The measurement is recorded all the same, and the error says so and for whom the hook failed."""

    def fail(user_id: str, evicted: object) -> None:
        raise OSError("the archive is away")

    buffer = filled(on_evict=fail)
    with pytest.raises(EvictHookError, match=r"what user 'ann' lost \(OSError.*IS recorded") as caught:
        buffer.add_measurement("dan", 1)
    assert (caught.value.user_id, caught.value.offset, buffer.measurements("dan")) == ("dan", 0, [1])
    assert buffer.measurements("ann") == [1]


def test_what_a_log_holds_already_is_counted(clock: Clock) -> None:
    """A new buffer on the log keeps the same bound; the longest there go first."""
    first: ReplayBuffer[int] = ReplayBuffer(MemoryLog(keep_history=True), SMALL, clock=clock)
    for user_id in ("bob", "ann", "cyd"):
        clock.now += 1
        first.add_measurements(user_id, [1, 2])
    for user_id in ("cyd", "bob"):
        first.clear_buffer(user_id)
    clock.now += 1
    first.add_measurements("bob", [1, 2])  # seen first, and idle for less long than ann
    again: ReplayBuffer[int] = ReplayBuffer(first._log, SMALL, clock=clock)
    again.add_measurements("dan", [1, 2, 3])
    assert contents(again) == {"bob": [1, 2], "ann": [2], "cyd": [], "dan": [1, 2, 3]}


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "6", 2])
def test_a_bound_that_makes_no_sense_is_refused(wrong: Any) -> None:
    """It is a whole number, and not less than what one user may have."""
    with pytest.raises(InvalidArgumentError, match="max_total_measurements"):
        BufferConfig(max_measurements=3, max_total_measurements=wrong)


class Lists:
    """What all users together must hold, said with lists."""

    def __init__(self) -> None:
        self.older: dict[str, list[int]] = {}
        self.pending: dict[str, list[int]] = {}
        self.carries: set[str] = set()
        self.idle_for: list[str] = []

    def part(self, user_id: str) -> list[int]:
        """What is not frozen of the user's."""
        return self.pending[user_id] if user_id in self.pending else self.older.setdefault(user_id, [])

    def bound(self, user_id: str) -> int:
        if user_id in self.pending:
            return min(3, 9 - len(self.older[user_id]))
        return 6 if user_id in self.carries else 3

    def total(self) -> int:
        return sum(map(len, (*self.older.values(), *self.pending.values())))

    def add(self, user_id: str, batch: list[int]) -> bool:
        """Whether there is room, or some can be made."""
        before = deepcopy((self.older, self.pending))
        part = self.part(user_id)
        others_first = [other for other in self.idle_for if other != user_id] + [user_id]
        while self.total() + len(batch) - max(0, len(part) + len(batch) - self.bound(user_id)) > 6:
            victim = next((self.part(other) for other in others_first if self.part(other)), None)
            if victim is None:
                self.older, self.pending = before
                return False
            del victim[0]
        part += batch
        del part[: max(0, len(part) - self.bound(user_id))]
        self.idle_for = others_first
        return True


STEPS = st.sampled_from(["add", "add", "batch", "begin", "complete", "abort", "clear"])


@given(st.lists(st.tuples(st.sampled_from("abcd"), STEPS), max_size=60))
def test_it_is_what_plain_lists_would_do(steps: list[tuple[str, str]]) -> None:
    """Whatever happens: never more than the bound, the longest idle first, what is frozen never."""
    buffer: ReplayBuffer[int] = ReplayBuffer(config=SMALL)
    lists = Lists()
    for number, (user_id, step) in enumerate(steps):
        if step in ("add", "batch"):
            batch = [10 * number, 10 * number + 1][: 1 if step == "add" else 2]
            with nullcontext() if lists.add(user_id, batch) else pytest.raises(BufferFullError):
                buffer.add_measurements(user_id, batch)
        elif user_id in list(buffer.users()):
            take(step, user_id, buffer, lists)
        lists.idle_for = [user for user in lists.idle_for if lists.older[user] or lists.pending.get(user)]
        for known in buffer.users():
            assert buffer.measurements(known) == lists.older[known] + lists.pending.get(known, [])
        assert sum(buffer.size(known) for known in buffer.users()) <= 6


def take(step: str, user_id: str, buffer: ReplayBuffer[int], lists: Lists) -> None:
    """Begin, end or clear, where that is possible."""
    in_progress = user_id in lists.pending
    if step == "begin" and not in_progress:
        buffer.finalize_snapshot(user_id, buffer.begin_snapshot(user_id))
        lists.pending[user_id] = []
    elif step == "complete" and in_progress:
        buffer.complete_replay(user_id)
        lists.older[user_id] = lists.pending.pop(user_id)
        lists.carries.discard(user_id)
    elif step == "abort" and in_progress:
        buffer.abort_snapshot(user_id)
        lists.older[user_id] += lists.pending.pop(user_id)
        lists.carries.add(user_id)
    elif step == "clear" and not in_progress:
        buffer.clear_buffer(user_id)
        lists.older[user_id] = []
        lists.carries.discard(user_id)


def test_threads_together_stay_within_it() -> None:
    """Several threads add for several users: never more than the bound, and every measurement is accounted for."""
    config = BufferConfig(max_measurements=20, max_total_measurements=50)
    buffer: ReplayBuffer[int] = ReplayBuffer(config=config)

    def add(user_id: str) -> None:
        for number in range(300):
            buffer.add_measurement(user_id, number)

    threads = [Thread(target=add, args=(user_id,)) for user_id in "abcdab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    states = [buffer.state(user_id) for user_id in "abcd"]
    assert sum(state.live for state in states) <= 50
    assert sum(state.added for state in states) == 1800
    assert all(buffer.audit(user_id).ok for user_id in "abcd")
    assert buffer._journal.shared is not None
    assert buffer._journal.shared._live == sum(state.live for state in states)


def test_threads_that_add_batches_are_not_refused() -> None:
    """Where nothing is frozen there is always room to be made, however many add at once."""
    config = BufferConfig(max_measurements=100, max_total_measurements=100)
    buffer: ReplayBuffer[int] = ReplayBuffer(config=config)

    def add(user_id: str) -> None:
        for _ in range(100):
            buffer.add_measurements(user_id, range(60))

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(add, "ab")) == [None, None]
    assert sum(buffer.size(user_id) for user_id in "ab") <= 100


def test_a_snapshot_that_begins_between_the_plan_and_the_add(monkeypatch: pytest.MonkeyPatch) -> None:
    """An add that was to evict its own oldest finds it frozen: it is planned again, and the bound holds."""
    buffer = filled()
    buffer.add_measurement("cyd", 22)
    shared = buffer._journal.shared
    assert shared is not None
    plan, begun = shared.plan, []

    def then_begins(user_id: str, count: int) -> Any:
        planned = plan(user_id, count)
        if not begun:
            begun.append(buffer.begin_snapshot("cyd"))
        return planned

    monkeypatch.setattr(shared, "plan", then_begins)
    buffer.add_measurement("cyd", 23)
    assert contents(buffer) == {"ann": [], "bob": [10, 11], "cyd": [20, 21, 22, 23]}


def test_what_is_overdue_expires_before_an_add_is_refused(clock: Clock) -> None:
    """The user's own snapshot, as with every touch; and others' where there is no room otherwise."""
    rolled_back: list[str] = []
    buffer = filled(clock=clock, on_abort=lambda user_id, version, reason: rolled_back.append(user_id))
    for user_id in ("ann", "bob", "cyd"):
        buffer.begin_snapshot(user_id)
    with pytest.raises(BufferFullError):
        buffer.add_measurement("ann", 2)
    clock.now += 30
    buffer.add_measurement("ann", 2)
    assert rolled_back[0] == "ann"
    assert buffer.size("ann") == 3
    for user_id in ("bob", "cyd"):
        assert buffer.state(user_id).phase == "idle"
    for user_id in ("ann", "bob", "cyd"):
        buffer.begin_snapshot(user_id)
    clock.now += 30
    buffer.add_measurement("dan", 1)
    assert buffer.measurements("dan") == [1]


def test_an_add_that_finds_its_users_snapshot_overdue(clock: Clock) -> None:
    """The measurement is recorded first, and then the rollback runs."""
    found: list[int] = []
    buffer = filled(clock=clock, on_abort=lambda user_id, version, reason: found.append(buffer.size(user_id)))
    buffer.clear_buffer("bob")
    buffer.begin_snapshot("ann")
    clock.now += 30
    buffer.add_measurement("ann", 2)
    assert (found, buffer.state("ann").phase, buffer.measurements("ann")) == ([3], "idle", [0, 1, 2])


def test_a_clear_that_is_counted_late_forgets_nobody() -> None:
    """A user who has added since its clear stays in the order in which they make room."""
    buffer = filled()
    shared = buffer._journal.shared
    assert shared is not None
    shared.account("ann", 0, 0, added=False)
    buffer.add_measurement("dan", 1)
    assert buffer.measurements("ann") == [1]


def test_what_an_add_evicts_of_others_and_of_its_own_is_handed_over() -> None:
    """One add may cost both; the archive gets all of it."""
    archive: list[int] = []
    buffer = filled(on_evict=lambda user_id, evicted: archive.extend(evicted))
    buffer.add_measurements("cyd", [22, 23, 24])
    assert archive == [0, 20, 21]
    assert contents(buffer) == {"ann": [1], "bob": [10, 11], "cyd": [22, 23, 24]}


def granted_from(buffer: ReplayBuffer[int], user_id: str) -> int:
    position = buffer._log.position(user_id)
    assert position is not None
    return position.granted_from


def test_who_adds_without_a_decision_has_added_too() -> None:
    """An add within both bounds needs no decision, and yet its user is the last to make room for others."""
    buffer: ReplayBuffer[int] = ReplayBuffer(MemoryLog(), SMALL)
    for user_id in ("ann", "bob", "cyd"):
        buffer.add_measurement(user_id, 1)
    decided = granted_from(buffer, "ann")
    buffer.add_measurement("ann", 2)
    assert granted_from(buffer, "ann") == decided
    buffer.add_measurements("dan", [1, 2, 3])
    assert contents(buffer) == {"ann": [1, 2], "bob": [], "cyd": [1], "dan": [1, 2, 3]}


def test_who_adds_makes_room_last() -> None:
    """Where everybody else's are frozen, an add costs its own user's oldest."""
    buffer = filled()
    for user_id in ("bob", "cyd"):
        buffer.begin_snapshot(user_id)
    buffer.add_measurement("ann", 2)
    assert contents(buffer) == {"ann": [1, 2], "bob": [10, 11], "cyd": [20, 21]}


def test_whose_first_measurement_came_first_makes_room_first(clock: Clock) -> None:
    """Among what a log holds already it is the time that counts, not the name; an unknown time is before all others."""
    log = MemoryLog[int](keep_history=True)
    for user_id, now in (("eve", None), ("dan", 0.25), ("ann", 0.75), ("bob", 0.5), ("cyd", None)):
        clock.now = now  # type: ignore[assignment]
        ReplayBuffer(log, clock=clock).add_measurement(user_id, 1)
    clock.now = 100.0
    config = BufferConfig(max_measurements=3, max_total_measurements=5)
    buffer: ReplayBuffer[int] = ReplayBuffer(log, config, clock=clock)
    buffer.add_measurements("fay", [1, 2, 3])
    assert {user_id for user_id in buffer.users() if not buffer.size(user_id)} == {"cyd", "dan", "eve"}
    buffer.add_measurement("gus", 1)
    assert buffer.size("bob") == 0


def test_who_has_nothing_is_not_kept_in_mind() -> None:
    """Else a million users who came once would be looked at whenever there is to be room."""
    buffer = filled()
    buffer.clear_buffer("ann")
    shared = buffer._journal.shared
    assert shared is not None
    assert list(shared._users) == ["bob", "cyd"]


def test_a_clear_of_what_another_buffer_has_added() -> None:
    """It is cleared as any other, though it was never counted here."""
    buffer = filled()
    ReplayBuffer[int](buffer._log).add_measurement("eve", 1)
    buffer.clear_buffer("eve")
    assert buffer.size("eve") == 0


def test_a_rejecting_buffer_beyond_both_bounds() -> None:
    """It names the bound over all users, which somebody else has to make room within."""
    buffer: ReplayBuffer[int] = ReplayBuffer(config=REJECTING)
    buffer.add_measurements("bob", [1, 2, 3])
    buffer.add_measurements("ann", [1, 2])
    with pytest.raises(BufferFullError, match="all users together have 5 measurements and may have 6"):
        buffer.add_measurements("ann", [3, 4])


def test_an_overdue_snapshot_expires_before_its_user_adds(clock: Clock) -> None:
    """As without the bound over all users: what is added then was never pending."""
    buffer = filled(clock=clock)
    buffer.begin_snapshot("ann")
    clock.now += 30
    buffer.clear_buffer("bob")
    buffer.add_measurement("ann", 2)
    kinds = [type(recorded.event).__name__ for recorded in buffer.events("ann", 2)]
    assert kinds == ["SnapshotBegun", "SnapshotExpired", "AbortFinished", "MeasurementAdded"]


def test_an_add_does_not_try_a_failed_rollback_again() -> None:
    """That is the sweep's affair: an add costs no call of the application's rollback."""
    calls: list[int] = []

    def fails(user_id: str, version: int, reason: str) -> None:
        calls.append(version)
        raise OSError("away")

    buffer = filled(on_abort=fails)
    buffer.clear_buffer("bob")
    buffer.begin_snapshot("ann")
    with pytest.raises(RollbackError):
        buffer.abort_snapshot("ann")
    buffer.add_measurement("ann", 2)
    assert (calls, buffer.size("ann")) == ([1], 3)


def test_the_arrival_of_a_batch_beyond_both_bounds(clock: Clock) -> None:
    """It is known when they came, though some of them and some of others had to go at once."""
    buffer = filled(clock=clock)
    clock.now += 7
    buffer.add_measurements("dan", range(5))
    assert (buffer.measurements("dan"), buffer.state("dan").arrived_at) == ([2, 3, 4], 107.0)
