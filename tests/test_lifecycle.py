"""The generic lifecycle: what a declaration refuses, what the lookup answers, and that `transitions` agrees with it."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, frozen
from transitions import MachineError

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
    EVERY_STATE,
    SAME_STATE,
    DeclarationError,
    IllegalTriggerError,
    Lifecycle,
    Transition,
)

FIRMWARE_UPDATE: Lifecycle = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "firmware_update.py"))[
    "FIRMWARE_UPDATE"
]


@frozen
class Opened(Event): ...


@frozen
class Closed(Event): ...


@frozen
class Painted(Event): ...


@frozen
class Removed(Event): ...


class Unheard(Event): ...


OPEN = Transition("closed", "open_door", Opened, "open")
CLOSE = Transition("open", "close_door", Closed, "closed")
PAINT = Transition(EVERY_STATE, "paint", Painted, SAME_STATE)
REMOVE = Transition(("closed", "open"), "remove", Removed, "gone")
DOOR = Lifecycle("door", ("closed", "open", "gone"), "closed", (OPEN, CLOSE, PAINT, REMOVE), final=("gone",))
LIFECYCLES = (BUFFER_LIFECYCLE, FIRMWARE_UPDATE, DOOR)
PAIRS = [
    (lifecycle, state, trigger)
    for lifecycle in LIFECYCLES
    for state in lifecycle.states
    for trigger in lifecycle.triggers
]


def pair_name(value: object) -> str:
    return value.name.replace(" ", "_") if isinstance(value, Lifecycle) else str(value)


# What a declaration refuses


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"initial": "ajar"}, "'ajar' is used but not declared"),
        ({"final": ("gone", "ajar")}, "'ajar' is used but not declared"),
        (
            {"transitions": (OPEN, CLOSE, PAINT, REMOVE, Transition("ajar", "remove", Removed, "gone"))},
            "'ajar' is used",
        ),
        ({"transitions": (evolve(OPEN, source=("closed", "ajar")), CLOSE, REMOVE)}, "'ajar' is used but not declared"),
        ({"transitions": (evolve(OPEN, target="ajar"), CLOSE, REMOVE)}, "'ajar' is used but not declared"),
        ({"states": ("closed", "open", "gone", "open")}, "'open' is empty or declared twice"),
        ({"states": ("closed", "open", "gone", "")}, "'' is empty or declared twice"),
    ],
    ids=["initial", "final", "source", "one source of several", "target", "twice", "empty"],
)
def test_states_are_declared_once(change: dict[str, Any], complaint: str) -> None:
    """Every state that is used is declared, once and with a name."""
    with pytest.raises(DeclarationError, match=complaint):
        evolve(DOOR, **change)


@pytest.mark.parametrize("change", [{"trigger": ""}, {"trigger": "state"}, {"source": ()}])
def test_a_row_that_could_never_be_triggered_is_refused(change: dict[str, Any]) -> None:
    """A trigger has a name of its own and starts from some state."""
    with pytest.raises(DeclarationError, match="needs a source, and a trigger that is not empty or called 'state'"):
        evolve(DOOR, transitions=(evolve(OPEN, **change), CLOSE, PAINT, REMOVE))


def test_an_event_that_is_not_in_the_table_changes_nothing() -> None:
    """Strangers' events are allowed nowhere and lead nowhere, and a lifecycle can be a key."""
    assert not DOOR.allows("closed", Unheard())
    assert {DOOR: "door"}[DOOR] == "door"


def test_unreachable_state_is_refused() -> None:
    """A state that cannot be reached from the initial one is an error, and all such states are named."""
    with pytest.raises(DeclarationError, match="unreachable from 'closed': 'ajar', 'stuck'"):
        evolve(
            DOOR,
            states=("closed", "open", "gone", "stuck", "ajar"),
            transitions=(
                *DOOR.transitions,
                Transition("ajar", "remove", Removed, "gone"),
                Transition("stuck", "remove", Removed, "gone"),
            ),
        )


def test_trap_of_one_state_is_refused() -> None:
    """Without final states, a state with no way back to the initial one is a trap."""
    with pytest.raises(DeclarationError, match="no way to 'closed' from the trap: 'open'"):
        Lifecycle("door", ("closed", "open"), "closed", (OPEN, PAINT))


def test_trap_of_two_states_is_refused() -> None:
    """Two states that lead only to each other are a trap, although each of them has a way out."""
    with pytest.raises(DeclarationError, match="no way to 'closed' from the trap: 'ajar', 'open'"):
        Lifecycle(
            "door",
            ("closed", "open", "ajar"),
            "closed",
            (OPEN, Transition("open", "close_door", Closed, "ajar"), Transition("ajar", "open_door", Opened, "open")),
        )


def test_trap_beside_final_states_is_refused() -> None:
    """With final states, a way back to the initial state is no way out where that leads to no final one."""
    with pytest.raises(DeclarationError, match="no way to 'gone', 'sold' from the trap: 'ajar'"):
        Lifecycle(
            "door",
            ("closed", "gone", "sold", "ajar"),
            "closed",
            (
                Transition("closed", "open_door", Opened, "ajar"),
                Transition("closed", "remove", Removed, "gone"),
                Transition("closed", "sell", Closed, "sold"),
            ),
            final=("gone", "sold"),
        )


def test_no_need_to_come_back_where_there_is_an_end() -> None:
    """A state from which a final one can be reached is no trap, though nothing leads back to the initial one."""
    lifecycle = Lifecycle(
        "door", ("closed", "open", "gone"), "closed", (OPEN, evolve(REMOVE, source="open")), ("gone",)
    )
    assert lifecycle.fold([Opened(), Removed()]) == "gone"


def test_final_state_has_no_way_out() -> None:
    """A final state that leads on is an error; what leaves it as it is may happen in it."""
    with pytest.raises(DeclarationError, match="final state 'gone' leads on to 'closed'"):
        evolve(DOOR, transitions=(*DOOR.transitions, Transition("gone", "close_door", Closed, "closed")))
    assert DOOR.legal("gone") == ("paint",)


@pytest.mark.parametrize("source", ["closed", ("open", "closed"), EVERY_STATE], ids=["one", "several", "every state"])
def test_two_targets_are_refused(source: str | tuple[str, ...]) -> None:
    """A trigger that leads to two targets from one state is an error, however its second row names that state."""
    with pytest.raises(DeclarationError, match="'open_door' has two targets in state 'closed': 'open' and 'gone'"):
        evolve(DOOR, transitions=(OPEN, Transition(source, "open_door", Opened, "gone"), CLOSE, REMOVE))


def test_two_targets_by_every_state_first_are_refused() -> None:
    """The same where the row for every state comes first."""
    with pytest.raises(DeclarationError, match="'paint' has two targets in state 'open': 'open' and 'closed'"):
        evolve(DOOR, transitions=(PAINT, Transition("open", "paint", Painted, "closed"), *DOOR.transitions[:2], REMOVE))


def test_trigger_has_one_kind_of_event() -> None:
    """A trigger that two kinds of event record is an error."""
    with pytest.raises(DeclarationError, match="'close_door' is recorded by two kinds of event"):
        evolve(DOOR, transitions=(*DOOR.transitions, Transition("closed", "close_door", Unheard, SAME_STATE)))


def test_event_records_one_trigger() -> None:
    """An event that records two triggers is an error: a fold could not tell them apart."""
    with pytest.raises(DeclarationError, match="event Closed records two triggers"):
        evolve(DOOR, transitions=(*DOOR.transitions, Transition("closed", "slam", Closed, SAME_STATE)))


@pytest.mark.parametrize("words", ["guards", "effects"])
def test_words_are_about_a_trigger_of_the_table(words: str) -> None:
    """A guard or an effect of a trigger that does not exist is an error, so a renamed trigger takes its words along."""
    change: dict[str, Any] = {words: {"knock": "somebody is there"}}
    with pytest.raises(DeclarationError, match="words about 'knock', which is no trigger of it"):
        evolve(DOOR, **change)


# What a lifecycle answers


@pytest.mark.parametrize(("lifecycle", "state", "trigger"), PAIRS, ids=pair_name)
def test_lookup_and_machine_agree(lifecycle: Lifecycle, state: str, trigger: str) -> None:
    """For every state and trigger, a machine of `transitions` goes where the lookup says, or refuses as it does."""

    class Model:
        state: str

    model = Model()
    lifecycle.machine().add_model(model, initial=state)
    if trigger in lifecycle.legal(state):
        assert getattr(model, trigger)()
        assert model.state == lifecycle.target(state, trigger)
    else:
        with pytest.raises(IllegalTriggerError):
            lifecycle.target(state, trigger)
        with pytest.raises(MachineError):
            getattr(model, trigger)()
        assert model.state == state


@pytest.mark.parametrize("lifecycle", LIFECYCLES, ids=pair_name)
def test_machine_has_no_transitions_of_its_own(lifecycle: Lifecycle) -> None:
    """A model cannot be moved past the table: the machine has its triggers and no others, such as `to_idle`."""

    class Model: ...

    model, machine = Model(), lifecycle.machine()
    machine.add_model(model)
    assert set(machine.events) == set(lifecycle.triggers)
    assert not [name for name in dir(model) if name.startswith("to_")]


def test_machine_is_a_new_one_each_time() -> None:
    """A model added to one machine of a lifecycle is not in another."""
    machine = DOOR.machine()
    machine.add_model(type("Model", (), {})())
    assert len(machine.models) == 1
    assert DOOR.machine().models == []


def test_the_table_of_the_buffer_is_the_designs() -> None:
    """The buffer's lifecycle is the table of the design: these rows, its four states and `parked`, no others."""
    states = ("idle", "snapshotting", "replaying", "aborting", "parked")
    expected = {
        ("idle", "begin_snapshot", SnapshotBegun, "snapshotting"),
        ("snapshotting", "finalize_snapshot", SnapshotFinalized, "replaying"),
        ("replaying", "complete_replay", ReplayCompleted, "idle"),
        ("replaying", "renew_lease", LeaseRenewed, "replaying"),
        ("snapshotting", "abort_snapshot", AbortBegun, "aborting"),
        ("replaying", "abort_snapshot", AbortBegun, "aborting"),
        ("snapshotting", "expire", SnapshotExpired, "aborting"),
        ("replaying", "expire", SnapshotExpired, "aborting"),
        ("aborting", "finish_abort", AbortFinished, "idle"),
        ("idle", "clear_buffer", BufferCleared, "idle"),
        ("idle", "schedule_retry", RetryScheduled, "idle"),
        ("aborting", "schedule_retry", RetryScheduled, "aborting"),
        ("idle", "park", ReplayParked, "parked"),
        ("parked", "release", ReplayReleased, "idle"),
        *((state, "add_measurement", MeasurementAdded, state) for state in states),
        *((state, "evict", MeasurementsEvicted, state) for state in states),
    }
    rows = [(source, row.trigger, row.event, target) for source, row, target in BUFFER_LIFECYCLE.rows()]
    assert set(rows) == expected
    assert len(rows) == len(expected)
    assert (BUFFER_LIFECYCLE.states, BUFFER_LIFECYCLE.initial, BUFFER_LIFECYCLE.final) == (states, "idle", ())


def test_every_state_of_the_buffer_is_reached_and_left() -> None:
    """A user can get into each of the states, and from each back to idle."""
    begun, finalized, aborted = SnapshotBegun(1, None, 30.0), SnapshotFinalized(1, 300.0), AbortBegun(1, "")
    assert BUFFER_LIFECYCLE.fold([]) == "idle"
    assert BUFFER_LIFECYCLE.fold([begun]) == "snapshotting"
    assert BUFFER_LIFECYCLE.fold([begun, finalized]) == "replaying"
    assert BUFFER_LIFECYCLE.fold([begun, finalized, ReplayCompleted(1)]) == "idle"
    assert BUFFER_LIFECYCLE.fold([begun, aborted]) == "aborting"
    assert BUFFER_LIFECYCLE.fold([begun, finalized, SnapshotExpired(1), AbortFinished(1)]) == "idle"
    assert BUFFER_LIFECYCLE.fold([ReplayParked(1, "")]) == "parked"
    assert BUFFER_LIFECYCLE.fold([ReplayParked(1, ""), ReplayReleased(1)]) == "idle"


def test_legal_is_in_the_order_of_the_table() -> None:
    """What is legal in a state is listed in the order of the table; in an unknown state nothing is."""
    assert DOOR.triggers == ("open_door", "close_door", "paint", "remove")
    assert DOOR.legal("closed") == ("open_door", "paint", "remove")
    assert DOOR.legal("ajar") == ()


def test_refusal_says_trigger_state_and_what_is_legal() -> None:
    """Who asks for an illegal trigger learns what was asked, in which state, and what is legal there."""
    with pytest.raises(IllegalTriggerError) as refused:
        DOOR.target("open", "open_door")
    assert str(refused.value) == "cannot open_door while open; legal now: close_door, paint, remove"
    assert (refused.value.trigger, refused.value.state) == ("open_door", "open")
    assert refused.value.legal == ("close_door", "paint", "remove")


def test_fold_takes_events_and_recorded_ones() -> None:
    """A state is the fold of events, bare or as a log returns them, from the initial state or a given one."""
    assert DOOR.fold([Opened(), Recorded(1, Closed()), Recorded(2, Opened())]) == "open"
    assert DOOR.fold(iter([Closed()]), state="open") == "closed"
    assert DOOR.fold([], state="open") == "open"


@pytest.mark.parametrize("state", DOOR.states)
@pytest.mark.parametrize("event", [Opened(), Closed(), Painted(), Removed(), Unheard()], ids=lambda e: type(e).__name__)
def test_after_is_total(state: str, event: Event) -> None:
    """A fold never refuses what was recorded: an event that the table does not have there leaves the state as it is."""
    trigger = DOOR.trigger(event)
    assert DOOR.allows(state, event) == (trigger in DOOR.legal(state))
    if trigger in DOOR.legal(state):
        assert DOOR.after(state, event) == DOOR.target(state, str(trigger))
    else:
        assert DOOR.after(state, event) == state


def test_an_event_tells_its_trigger() -> None:
    """The trigger that an event records is found from the event alone; a stranger records none."""
    assert DOOR.trigger(Opened()) == "open_door"
    assert DOOR.trigger(Unheard()) is None


def test_recorded_events_are_folded_as_bare_ones() -> None:
    """As they come from a log."""
    assert DOOR.fold([Recorded(0, Opened())]) == DOOR.fold([Opened()]) == "open"


def test_a_refused_declaration_is_named() -> None:
    """Who declares several knows which one is meant."""
    with pytest.raises(DeclarationError, match=r"^lifecycle 'door': state 'gone' is used but not declared"):
        evolve(DOOR, states=("closed", "open"))
    with pytest.raises(DeclarationError, match=r"^lifecycle 'door': trigger 'open_door' has two targets"):
        evolve(DOOR, transitions=(OPEN, Transition("closed", "open_door", Opened, "gone"), CLOSE, REMOVE))


def test_the_machine_begins_where_the_lifecycle_does() -> None:
    """It has the declared states and no other."""
    machine = DOOR.machine()
    assert (machine.initial, set(machine.states)) == ("closed", set(DOOR.states))
