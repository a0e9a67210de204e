"""The pure part, as sentences: given a history, when a command comes, then these events or this refusal."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import frozen
from hypothesis import example, given
from hypothesis import strategies as st

from events import (
    AbortBegun,
    AbortFinished,
    BufferCleared,
    Event,
    LeaseRenewed,
    MeasurementAdded,
    MeasurementsEvicted,
    Recorded,
    ReplayCompleted,
    ReplayParked,
    ReplayReleased,
    RetryScheduled,
    SnapshotBegun,
    SnapshotExpired,
    SnapshotFinalized,
)
from statemachine import (
    BUFFER_LIFECYCLE,
    BufferConfig,
    BufferFullError,
    BufferState,
    IllegalTriggerError,
    NoSnapshotError,
    SnapshotInProgressError,
    StaleSnapshotError,
    UserParkedError,
    evolve,
)
from statemachine._decide import (
    AbortSnapshot,
    AddMeasurements,
    BeginSnapshot,
    ClearBuffer,
    Command,
    CompleteReplay,
    EvictOldest,
    ExpireSnapshot,
    FinalizeSnapshot,
    FinishAbort,
    RenewLease,
    ScheduleRetry,
    decide,
)
from statemachine._grant import after_grant, grant
from statemachine._state import changed, fold, with_added
from statemachine.due import Age, Count

CONFIG = BufferConfig(max_measurements=3, pending_factor=2)
REJECTING = BufferConfig(max_measurements=3, pending_factor=2, on_overflow="reject")

ADDED = [MeasurementAdded(number) for number in range(3)]
BEGUN = [*ADDED, SnapshotBegun(1, "noon", 40.0)]
REPLAYING = [*BEGUN, SnapshotFinalized(1, 310.0)]
ABORTING = [*REPLAYING, AbortBegun(1, "why")]
ABORTED = [*ABORTING, AbortFinished(1)]
COMPLETED = [*REPLAYING, ReplayCompleted(1)]
EXPIRED = [*BEGUN, SnapshotExpired(1)]


def after(history: Sequence[Event], state: BufferState = BufferState()) -> BufferState:
    for event in history:
        state = evolve(state, event)
    return state


@pytest.mark.parametrize(
    ("given_", "when", "then"),
    [
        (ADDED, BeginSnapshot(10.0, "noon"), [SnapshotBegun(1, "noon", 40.0)]),
        (BEGUN, FinalizeSnapshot(10.0, 1), [SnapshotFinalized(1, 310.0)]),
        (BEGUN, FinalizeSnapshot(10.0, None), [SnapshotFinalized(1, 310.0)]),
        (REPLAYING, CompleteReplay(1), [ReplayCompleted(1)]),
        (REPLAYING, RenewLease(20.0, 1), [LeaseRenewed(1, 320.0)]),
        (REPLAYING, AbortSnapshot(1, "why", False), [AbortBegun(1, "why")]),
        (BEGUN, AbortSnapshot(None, "why", True), [AbortBegun(1, "why"), AbortFinished(1)]),
        (BEGUN, ExpireSnapshot(40.0, 1, False), [SnapshotExpired(1)]),
        (BEGUN, ExpireSnapshot(40.0, 1, True), [SnapshotExpired(1), AbortFinished(1)]),
        (BEGUN, ExpireSnapshot(39.9, 1, False), []),
        (BEGUN, ExpireSnapshot(40.0, 2, False), []),
        (ADDED, ExpireSnapshot(math.inf, 0, False), []),
        (ABORTING, FinishAbort(1), [AbortFinished(1)]),
        (ABORTING, FinishAbort(2), []),
        (ABORTED, FinishAbort(1), []),
        (ADDED, ClearBuffer(), [BufferCleared(3)]),
        (ADDED, ClearBuffer(2), [BufferCleared(2)]),
        (ADDED, ClearBuffer(0), []),
        (COMPLETED, BeginSnapshot(10.0, "one"), [SnapshotBegun(2, "one", 40.0)]),
        (COMPLETED, BeginSnapshot(10.0, "one", 1), [SnapshotBegun(2, "one", 40.0)]),
    ],
)
def test_what_a_command_records(given_: list[Event], when: Command, then: list[Event]) -> None:
    """A command that is legal records these events and nothing else."""
    assert decide(after(given_), when, CONFIG) == then


@pytest.mark.parametrize(
    ("given_", "when", "refusal", "words"),
    [
        (ADDED, FinalizeSnapshot(0.0, None), NoSnapshotError, "begin one with begin_snapshot"),
        (ADDED, CompleteReplay(None), NoSnapshotError, "begin one with begin_snapshot"),
        (ADDED, RenewLease(0.0, None), NoSnapshotError, "while idle"),
        (ADDED, AbortSnapshot(None, "", True), NoSnapshotError, "while idle"),
        (BEGUN, BeginSnapshot(0.0, None), SnapshotInProgressError, "until snapshot 1 is completed, or abort it"),
        (REPLAYING, ClearBuffer(), SnapshotInProgressError, "until snapshot 1 is completed"),
        (BEGUN, CompleteReplay(1), IllegalTriggerError, "finalize_snapshot comes first"),
        (BEGUN, RenewLease(0.0, None), IllegalTriggerError, "finalize_snapshot comes first"),
        (REPLAYING, FinalizeSnapshot(0.0, 1), IllegalTriggerError, "legal now: complete_replay, renew_lease"),
        (ABORTING, AbortSnapshot(None, "", True), IllegalTriggerError, "legal now: finish_abort"),
        (ABORTING, CompleteReplay(1), StaleSnapshotError, r"being aborted \(why\)"),
        ([*BEGUN, AbortBegun(1, "")], CompleteReplay(1), StaleSnapshotError, "no reason given"),
        (COMPLETED, CompleteReplay(1), StaleSnapshotError, "completed, aborted or expired"),
        (ABORTED, RenewLease(0.0, 1), StaleSnapshotError, "roll back"),
        (
            ABORTED,
            BeginSnapshot(0.0, None, 0),
            StaleSnapshotError,
            "^cannot begin_snapshot: snapshot 0 is over; snapshot 1 has begun since",
        ),
        (BEGUN, BeginSnapshot(0.0, None, 0), StaleSnapshotError, "snapshot 1 has begun since"),
        (BEGUN, BeginSnapshot(0.0, None, 1), SnapshotInProgressError, "wait until snapshot 1"),
        (EXPIRED, FinalizeSnapshot(0.0, 1), StaleSnapshotError, r"being aborted \(expired\)"),
        (
            [*COMPLETED, SnapshotBegun(2, "", 9.0)],
            AbortSnapshot(1, "", True),
            StaleSnapshotError,
            "snapshot 2 has begun",
        ),
        (REPLAYING, CompleteReplay(2), StaleSnapshotError, "never begun; the latest is 1"),
    ],
)
def test_what_is_refused(given_: list[Event], when: Command, refusal: type[Exception], words: str) -> None:
    """What is not legal is refused by an error that says why and what to do."""
    with pytest.raises(refusal, match=words) as caught:
        decide(after(given_), when, CONFIG)
    assert type(caught.value) is refusal


def test_overflow_when_idle_evicts_the_oldest_live() -> None:
    """Idle: one more than the bound costs the oldest; a batch costs as many as it has too many."""
    assert decide(after(ADDED), AddMeasurements(["x"]), CONFIG) == [MeasurementAdded("x"), MeasurementsEvicted(0, 1)]
    batch = decide(after(ADDED), AddMeasurements("abcde"), CONFIG)
    assert batch[-1] == MeasurementsEvicted(0, 5)
    assert after(batch, after(ADDED)).live == 3


def test_overflow_in_progress_evicts_the_oldest_pending_and_never_the_frozen() -> None:
    """In progress: the bound is on what is pending, and what is frozen stays."""
    full = after([*BEGUN, *(MeasurementAdded(number) for number in range(6))])
    assert decide(full, AddMeasurements(["x"]), CONFIG)[-1] == MeasurementsEvicted(4, 5)
    assert after(decide(full, AddMeasurements(["x"]), CONFIG), full).frozen == 3


def test_overflow_is_rejected_whole() -> None:
    """With `reject` a batch that does not fit is not recorded at all."""
    with pytest.raises(BufferFullError, match="2 measurements are live and 3 may be, so 2 more were not recorded"):
        decide(after(ADDED[:2]), AddMeasurements("ab"), REJECTING)
    full = after([*BEGUN, *(MeasurementAdded(number) for number in range(6))])
    with pytest.raises(BufferFullError, match="6 measurements are pending and 6 may be"):
        decide(full, AddMeasurements("a"), REJECTING)


def test_an_abort_evicts_nothing_and_adds_the_bounds() -> None:
    """After an abort frozen and pending are live together; until a replay completes the bound is both bounds added."""
    full = after([*BEGUN, *(MeasurementAdded(number) for number in range(6)), AbortBegun(1, ""), AbortFinished(1)])
    assert (full.live, full.evicted) == (9, 0)
    assert decide(full, AddMeasurements(["x"]), CONFIG)[-1] == MeasurementsEvicted(0, 1)
    assert len(decide(after([BufferCleared(12)], full), AddMeasurements("1234"), CONFIG)) == 5
    replayed = after([SnapshotBegun(2, "", 9.0), SnapshotFinalized(2, 9.0), ReplayCompleted(2)], full)
    assert len(decide(replayed, AddMeasurements("1234"), CONFIG)) == 5


def test_aborts_in_a_row_stay_bounded() -> None:
    """However often replays fail, what is live stays bounded, and no add evicts more than it brings."""
    state = after(ADDED)
    for version in range(1, 6):
        state = evolve(state, SnapshotBegun(version, "", 9.0))
        for number in range(20):
            before = state
            state = after(decide(state, AddMeasurements([number]), CONFIG), state)
            assert state.evicted - before.evicted <= 1
            assert state.live <= CONFIG.carried_bound + CONFIG.pending_bound
        state = after([AbortBegun(version, ""), AbortFinished(version)], state)
    assert state.live == 15


EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(MeasurementAdded, st.integers()),
    st.builds(MeasurementsEvicted, st.integers(0, 30), st.integers(0, 30)),
    st.builds(SnapshotBegun, st.integers(0, 5), st.none(), st.floats(allow_nan=False)),
    st.builds(SnapshotFinalized, st.integers(0, 5), st.floats(allow_nan=False)),
    st.builds(LeaseRenewed, st.integers(0, 5), st.floats(allow_nan=False)),
    st.builds(ReplayCompleted, st.integers(0, 5)),
    st.builds(AbortBegun, st.integers(0, 5), st.text()),
    st.builds(SnapshotExpired, st.integers(0, 5)),
    st.builds(AbortFinished, st.integers(0, 5)),
    st.builds(BufferCleared, st.integers(0, 30)),
)


@frozen
class Unheard(Event):
    """An event of somebody else's."""


@given(st.lists(EVENTS | st.just(Unheard())))
def test_evolve_is_total_and_follows_the_lifecycle(history: list[Event]) -> None:
    """Whatever was recorded can be folded: nothing raises, every offset counts, and the phase is the lifecycle's."""
    state = after(history)
    assert state.head == len(history)
    assert state.phase == BUFFER_LIFECYCLE.fold(history)
    assert state.added == state.replayed + state.live + state.evicted + state.cleared
    assert 0 <= state.committed <= 30 or state.committed <= state.head


@given(st.lists(EVENTS))
def test_a_fold_needs_no_measurements(history: list[Event]) -> None:
    """Folding the controls alone gives the state that folding every event gives."""
    controls = [Recorded(o, event) for o, event in enumerate(history) if not isinstance(event, MeasurementAdded)]
    assert fold(BufferState(), controls, len(history)) == after(history)


@given(st.lists(EVENTS), st.integers(0, 50))
def test_adding_many_is_adding_each(history: list[Event], count: int) -> None:
    """Advancing by a run of adds gives the state that evolving each of them gives."""
    state = after(history)
    assert with_added(state, count) == after([MeasurementAdded(0)] * count, state)


@given(
    st.integers(1, 5),
    st.lists(st.sampled_from(["add", "begin", "abort", "complete"]), max_size=30),
    st.integers(0, 40),
    st.booleans(),
)
@example(2, ["add", "add"], 3, False)
@example(2, ["add", "add"], 3, True)
@example(2, ["add", "begin"], 5, False)
def test_a_grant_is_what_decide_would_have_said(bound: int, steps: list[str], adds: int, rejects: bool) -> None:
    """What a log adds and evicts within a grant is, event by event, what `decide` would have recorded."""
    config = BufferConfig(max_measurements=bound, pending_factor=1, on_overflow="reject" if rejects else "evict_oldest")
    state = BufferState()
    for step in steps:
        state = after(_legal(step, state, config), state)
    granted = grant(state, config, may_evict=True)
    decided = state
    for number in range(min(adds, granted.room + len(granted.victims))):
        recorded = decide(decided, AddMeasurements([number]), config)
        decided = after(recorded, decided)
        assert after_grant(state, granted, decided.head) == decided
        assert len(recorded) == (2 if granted.victims else 1)
        if granted.victims:
            assert recorded[1] == MeasurementsEvicted(granted.victims[number], granted.victims[number] + 1)
            assert after_grant(state, granted, decided.head - 1).head == decided.head - 1


def _legal(step: str, state: BufferState, config: BufferConfig) -> list[Event]:
    commands: dict[str, Any] = {
        "add": AddMeasurements([0]),
        "begin": BeginSnapshot(0.0, None),
        "abort": AbortSnapshot(None, "", True),
        "complete": CompleteReplay(None),
    }
    try:
        recorded = decide(state, commands[step], config)
    except (IllegalTriggerError, BufferFullError):
        return []
    finalized = [SnapshotFinalized(state.version + 1, 9.0)] if step == "begin" else []
    return [*recorded, *finalized]


def test_a_grant_ends_at_the_deadline_and_at_once_while_aborting() -> None:
    """Idle: no limit in time; in progress: the deadline; aborting: the sweep is to look at once."""
    assert grant(after(ADDED), CONFIG, may_evict=True).until is None
    assert grant(after(BEGUN), CONFIG, may_evict=True).until == 40.0
    assert grant(after(REPLAYING), CONFIG, may_evict=True).until == 310.0
    assert grant(after(ABORTING), CONFIG, may_evict=True).until == -math.inf


def test_a_log_may_not_evict_where_a_hook_must_be_told() -> None:
    """With an eviction hook every eviction is decided, so that it can be handed over."""
    assert len(grant(after(ADDED), CONFIG, may_evict=True).victims) >= 256
    assert not grant(after(ADDED), CONFIG, may_evict=False).victims
    assert not grant(after(ADDED), REJECTING, may_evict=True).victims


def test_a_snapshot_freezes_at_its_begin() -> None:
    """What arrives between begin and finalize is pending, not frozen."""
    state = after([*BEGUN, MeasurementAdded("between"), SnapshotFinalized(1, 310.0)])
    assert (state.frozen, state.pending, state.frozen_offset) == (3, 1, 3)
    assert list(state.frozen_offsets) == [0, 1, 2]
    completed = evolve(state, ReplayCompleted(1))
    assert (completed.replayed, completed.live, completed.committed) == (3, 1, 3)


STALE = {
    "finalize_snapshot": FinalizeSnapshot(0.0, 7),
    "complete_replay": CompleteReplay(7),
    "renew_lease": RenewLease(0.0, 7),
    "abort_snapshot": AbortSnapshot(7, "", True),
    "schedule_retry": ScheduleRetry(7, 0.0),
}


@pytest.mark.parametrize("trigger", STALE)
def test_a_stale_refusal_names_what_was_asked_for(trigger: str) -> None:
    """In a log full of refusals one sees which call it was that came too late."""
    with pytest.raises(StaleSnapshotError, match=f"^cannot {trigger}: snapshot 7 was never begun; the latest is 1"):
        decide(after(REPLAYING), STALE[trigger], CONFIG)


def test_a_retry_of_what_has_not_failed_is_refused_in_full() -> None:
    """The error tells the trigger, the state, what is legal in it, and why."""
    with pytest.raises(NoSnapshotError, match=r"^cannot schedule_retry while idle; no replay has failed") as caught:
        decide(after(COMPLETED), ScheduleRetry(1, 0.0), CONFIG)
    refused = caught.value
    assert (refused.trigger, refused.state) == ("schedule_retry", "idle")
    assert refused.legal == BUFFER_LIFECYCLE.legal("idle")


@pytest.mark.parametrize(("reason", "told"), [("her scale is broken", "her scale is broken"), ("", "no reason given")])
def test_a_parked_user_is_refused_with_what_led_to_it(reason: str, told: str) -> None:
    """How often it failed and why it was parked, for whoever has to release it."""
    parked = after([*ABORTED, ReplayParked(1, reason)])
    with pytest.raises(UserParkedError, match=rf"parked after 1 failed attempts \({told}\); release it first"):
        decide(parked, BeginSnapshot(0.0, None), CONFIG)


def test_nothing_is_evicted_where_nothing_may_be() -> None:
    """Who makes room for others has nothing to give while all of it is frozen, or none is left."""
    assert decide(after(BEGUN), EvictOldest(2), CONFIG) == []
    assert decide(after([*ADDED, BufferCleared(3)]), EvictOldest(2), CONFIG) == []
    assert decide(after(ADDED), EvictOldest(0), CONFIG) == []
    assert decide(after(ADDED), EvictOldest(9), CONFIG) == [MeasurementsEvicted(0, 3)]


@pytest.mark.parametrize("given_", [ABORTING, EXPIRED])
def test_what_is_being_aborted_has_no_deadline(given_: list[Event]) -> None:
    """A rollback takes as long as it takes; and until it is done nothing is thawed."""
    state = after(given_)
    assert (state.phase, state.deadline, state.frozen, state.attempts) == ("aborting", None, 3, 1)


def test_an_idle_user_has_nothing_frozen_and_nothing_pending() -> None:
    """Asked for while idle, both are empty, though measurements are live."""
    state = after(ADDED)
    assert (state.frozen, state.pending, state.live) == (0, 0, 3)
    assert (list(state.frozen_offsets), list(state.pending_offsets)) == ([], [])


@pytest.mark.parametrize("end", [[SnapshotBegun(2, "", 9.0), ReplayCompleted(2)], [BufferCleared(9)]])
def test_a_new_start_forgets_what_has_failed(end: list[Event]) -> None:
    """After a completed replay, or when everything was cleared, the bound and the count of failures are as at first."""
    end = [end[0], SnapshotFinalized(2, 9.0), *end[1:]] if len(end) > 1 else end
    failed = after([MeasurementAdded(0, 5.0), *BEGUN[3:], AbortBegun(1, ""), AbortFinished(1), RetryScheduled(1, 50.0)])
    assert (failed.carries, failed.attempts, failed.retry_at, failed.arrived_at) == (True, 1, 50.0, 5.0)
    state = after(end, failed)
    assert (state.carries, state.attempts, state.retry_at, state.arrived_at) == (False, 0, None, None)


FROZEN_AND_PENDING = [
    MeasurementAdded(0, 5.0),
    SnapshotBegun(1, "", 40.0),
    MeasurementAdded(1, 7.0),
    MeasurementAdded(2),
]


@pytest.mark.parametrize(
    ("given_", "evicted", "ages"),
    [
        ([MeasurementAdded(0, 5.0), MeasurementAdded(1)], (0, 1), (5.0, None)),
        ([MeasurementAdded(0, 5.0), MeasurementAdded(1)], (0, 2), (None, None)),
        (FROZEN_AND_PENDING, (2, 3), (5.0, 7.0)),
        (FROZEN_AND_PENDING, (2, 4), (5.0, None)),
        ([SnapshotBegun(1, "", 40.0), MeasurementAdded(1, 7.0)], (1, 2), (None, None)),
    ],
)
def test_what_is_evicted_to_nothing_is_of_no_age(
    given_: list[Event], evicted: tuple[int, int], ages: tuple[float | None, float | None]
) -> None:
    """Evicting the oldest makes nobody younger; where none is left, live or pending, there is no age."""
    state = after([*given_, MeasurementsEvicted(*evicted)])
    assert (state.arrived_at, state.pending_arrived_at) == ages


def test_parking_and_releasing_leave_nothing_behind() -> None:
    """A parked user waits for no retry; a released one has neither failures nor a reason."""
    history = [*ABORTED, RetryScheduled(1, 50.0), ReplayParked(1, "her scale is broken")]
    parked = after(history)
    assert (parked.phase, parked.reason, parked.retry_at, parked.attempts) == ("parked", "her scale is broken", None, 1)
    released = after([*history, ReplayReleased(1)])
    assert (released.phase, released.reason, released.attempts) == ("idle", "", 0)
    assert released.head == len(history) + 1


def test_what_is_not_legal_changes_nothing_but_the_head() -> None:
    """Recorded history is never refused: an event that makes no sense there takes its offset and no more."""
    state = after(ADDED)
    assert evolve(state, ReplayCompleted(1)) == changed(state, head=4)
    assert evolve(state, SnapshotFinalized(1, 9.0)) == changed(state, head=4)


def test_a_grant_that_evicts_ends_at_the_deadline_too() -> None:
    """Pending is full, so that each add evicts; but no add may pass over a snapshot that is overdue."""
    full = after([*REPLAYING, *(MeasurementAdded(number) for number in range(6))])
    granted = grant(full, CONFIG, may_evict=True)
    assert (granted.room, granted.until) == (0, 310.0)
    assert list(granted.victims.within(0, full.head)) == list(full.pending_offsets)


def test_an_empty_users_grant_is_known_beforehand() -> None:
    """The first may come without being asked for, up to the bound or to what makes the user due; when, is noted."""
    by_age = BufferConfig(max_measurements=3, due=Age(60))
    by_count = BufferConfig(max_measurements=3, due=Count(3))
    for config, room, due_after in ((by_age, 3, 60.0), (by_count, 2, None)):
        granted = grant(after([*ADDED, BufferCleared(3)]), config, may_evict=True)
        assert granted.notes_arrival
        assert (granted.room, granted.due_at, granted.due_after) == (room, None, due_after)


def test_only_the_first_gives_the_age() -> None:
    """An arrival noted of a later one, by whoever wrote it, makes nobody younger."""
    assert after([MeasurementAdded(0, 5.0), MeasurementAdded(1, 9.0)]).arrived_at == 5.0
    assert after([*FROZEN_AND_PENDING, MeasurementAdded(3, 9.0)]).pending_arrived_at == 7.0


def test_a_grant_says_when_to_look_and_stops_where_one_more_would_be_due() -> None:
    """Who will never be due by age alone is listed at no time; who is old enough may add nothing unseen."""
    config = BufferConfig(max_measurements=3, due=Count(2) & Age(60))
    state = after([MeasurementAdded(0, 5.0)])
    fresh = grant(state, config, may_evict=True, now=10.0)
    assert (fresh.room, fresh.due_at) == (2, 65.0)
    old = grant(state, config, may_evict=True, now=70.0)
    assert (old.room, old.due_at) == (0, None)
