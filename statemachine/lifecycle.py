"""`Lifecycle`: a state machine declared as a table, checked when built, compiled to a lookup. Knows no buffer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen
from transitions import Machine

from events import Event, Recorded
from statemachine._errors import DeclarationError, IllegalTriggerError

EVERY_STATE = "*"
"""As a source: the row holds in every state."""

SAME_STATE = "="
"""As a target: the state stays what it is."""


@frozen
class Transition:
    """One row of a lifecycle's table: in `source`, `trigger` is legal, records `event` and leads to `target`.

    Parameters:
        source: a state, several of them, or `EVERY_STATE`.
        trigger: the command, as an order.
        event: the class of the event that records it, in the past tense.
        target: a state, or `SAME_STATE`.
    """

    source: str | tuple[str, ...]
    trigger: str
    event: type[Event]
    target: str


@frozen
class Lifecycle:
    """A lifecycle whose every change of state is an event, so that a state is a fold of recorded events.

    It is declared on the `transitions` library, which is what refuses an ill-formed table, and compiled once into a
    lookup, which is what running code asks: no machine is made for each thing that has a lifecycle.

    Parameters:
        name: what it is the lifecycle of.
        states: the states, in the order in which a diagram shows them.
        initial: the state before the first event.
        transitions: the table.
        final: states that are meant to have no way out.
        guards: trigger to what else must hold for it, in words, for readers of the diagram.
        effects: trigger to what else it changes, likewise.

    Raises:
        DeclarationError: an unknown or unreachable state; a trap, that is a state from which neither a final state nor
            (where there is none) the initial one can be reached; two targets for one trigger in one state; a trigger
            recorded by two kinds of event or an event that records two triggers.

    Example:
        >>> class Opened(Event): pass
        >>> class Closed(Event): pass
        >>> door = Lifecycle("door", ("closed", "open"), "closed", (
        ...     Transition("closed", "open_door",  Opened, "open"),
        ...     Transition("open",   "close_door", Closed, "closed"),
        ... ))
        >>> door.target("closed", "open_door"), door.legal("open"), door.fold([Opened(), Closed(), Opened()])
        ('open', ('close_door',), 'open')
    """

    name: str
    states: tuple[str, ...]
    initial: str
    transitions: tuple[Transition, ...]
    final: tuple[str, ...] = ()
    guards: Mapping[str, str] = field(factory=dict, hash=False)
    effects: Mapping[str, str] = field(factory=dict, hash=False)
    _target: dict[tuple[str, str], str] = field(init=False, eq=False, repr=False)
    _trigger: dict[type[Event], str] = field(init=False, eq=False, repr=False)
    _after: dict[tuple[str, type[Event]], str] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        _check_names(self)
        _check_one_event_a_trigger(self.transitions)
        rows = [
            (source, row.trigger, source if row.target == SAME_STATE else row.target)
            for row in self.transitions
            for source in self.sources(row)
        ]
        _check_one_target(self.name, rows)
        machine = _machine(self, rows)
        compiled = {
            (source, trigger): str(transition.dest)
            for trigger, event in machine.events.items()
            for source, transitions in event.transitions.items()
            for transition in transitions
        }
        _check_ways(self, compiled)
        object.__setattr__(self, "_target", compiled)
        event_of = {row.trigger: row.event for row in self.transitions}
        object.__setattr__(self, "_trigger", {event: trigger for trigger, event in event_of.items()})
        after = {(source, event_of[trigger]): target for (source, trigger), target in compiled.items()}
        object.__setattr__(self, "_after", after)

    def sources(self, transition: Transition) -> tuple[str, ...]:
        """The states that a row of the table starts from."""
        if transition.source == EVERY_STATE:
            return self.states
        return (transition.source,) if isinstance(transition.source, str) else transition.source

    @property
    def triggers(self) -> tuple[str, ...]:
        """Every trigger, in the order of the table."""
        return tuple(dict.fromkeys(row.trigger for row in self.transitions))

    def legal(self, state: str) -> tuple[str, ...]:
        """The triggers that are legal in `state`, in the order of the table."""
        return tuple(trigger for trigger in self.triggers if (state, trigger) in self._target)

    def target(self, state: str, trigger: str) -> str:
        """Where `trigger` leads from `state`.

        Raises:
            IllegalTriggerError: it is not legal there; the error lists what is.
        """
        try:
            return self._target[state, trigger]
        except KeyError:
            raise IllegalTriggerError(trigger, state, self.legal(state)) from None

    def trigger(self, event: Event) -> str | None:
        """The trigger that `event` records, or None for an event that is not in the table."""
        return self._trigger.get(type(event))

    def allows(self, state: str, event: Event) -> bool:
        """Whether `event` can be recorded in `state`."""
        return (state, type(event)) in self._after

    def after(self, state: str, event: Event) -> str:
        """The state after `event`; the same one where the table has no such event there. A fold never refuses."""
        return self._after.get((state, type(event)), state)

    def fold(self, events: Iterable[Event | Recorded], state: str | None = None) -> str:
        """The state after all the events, from `state` or the initial one."""
        state = self.initial if state is None else state
        for event in events:
            state = self.after(state, event.event if isinstance(event, Recorded) else event)
        return state

    def machine(self) -> Machine:
        """A new machine of the `transitions` library with the same table, to add models to."""
        return _machine(self, [(source, trigger, target) for (source, trigger), target in self._target.items()])

    def rows(self) -> Iterator[tuple[str, Transition, str]]:
        """The table, one source at a time: source, row, target."""
        for row in self.transitions:
            for source in self.sources(row):
                yield source, row, self._target[source, row.trigger]


def _machine(lifecycle: Lifecycle, rows: Sequence[tuple[str, str, str]]) -> Machine:
    return Machine(
        model=None,
        states=list(lifecycle.states),
        initial=lifecycle.initial,
        transitions=[[trigger, source, target] for source, trigger, target in rows],
        auto_transitions=False,
    )


def _check_names(lifecycle: Lifecycle) -> None:
    """States and triggers have names, and every state that is named is declared, once."""
    where = f"lifecycle {lifecycle.name!r}"
    for state in lifecycle.states:
        if not state or lifecycle.states.count(state) > 1:
            raise DeclarationError(f"{where}: state {state!r} is empty or declared twice")
    named = [lifecycle.initial, *lifecycle.final]
    for row in lifecycle.transitions:
        if row.trigger in ("", "state") or not lifecycle.sources(row):  # `transitions` keeps a model's state in `state`
            raise DeclarationError(f"{where}: {row} needs a source, and a trigger that is not empty or called 'state'")
        named += [*lifecycle.sources(row), *([] if row.target == SAME_STATE else [row.target])]
    for state in named:
        if state not in lifecycle.states:
            raise DeclarationError(f"{where}: state {state!r} is used but not declared in `states`")
    for trigger in (*lifecycle.guards, *lifecycle.effects):
        if trigger not in lifecycle.triggers:
            raise DeclarationError(f"{where}: words about {trigger!r}, which is no trigger of it")


def _check_one_event_a_trigger(transitions: Iterable[Transition]) -> None:
    """Triggers and events correspond one to one, so that a recorded event tells its trigger."""
    event_of: dict[str, type[Event]] = {}
    trigger_of: dict[type[Event], str] = {}
    for row in transitions:
        if event_of.setdefault(row.trigger, row.event) is not row.event:
            raise DeclarationError(f"trigger {row.trigger!r} is recorded by two kinds of event; give it one")
        if trigger_of.setdefault(row.event, row.trigger) != row.trigger:
            raise DeclarationError(f"event {row.event.__name__} records two triggers; give each its own event")


def _check_one_target(name: str, rows: Iterable[tuple[str, str, str]]) -> None:
    """A trigger means one thing in one state."""
    seen: dict[tuple[str, str], str] = {}
    for source, trigger, target in rows:
        if (source, trigger) in seen:
            raise DeclarationError(
                f"lifecycle {name!r}: trigger {trigger!r} has two targets in state {source!r}: "
                f"{seen[source, trigger]!r} and {target!r}"
            )
        seen[source, trigger] = target


def _check_ways(lifecycle: Lifecycle, compiled: Mapping[tuple[str, str], str]) -> None:
    """Every state can be reached, and from every state the end can be."""
    ways = {(source, target) for (source, _), target in compiled.items() if source != target}
    unreachable = set(lifecycle.states) - _reachable({lifecycle.initial}, ways)
    if unreachable:
        raise DeclarationError(
            f"lifecycle {lifecycle.name!r}: unreachable from {lifecycle.initial!r}: {_list(unreachable)}"
        )
    ends = set(lifecycle.final) or {lifecycle.initial}
    for source, target in ways:
        if source in lifecycle.final:
            raise DeclarationError(f"lifecycle {lifecycle.name!r}: final state {source!r} leads on to {target!r}")
    traps = set(lifecycle.states) - _reachable(ends, {(target, source) for source, target in ways})
    if traps:
        raise DeclarationError(f"lifecycle {lifecycle.name!r}: no way to {_list(ends)} from the trap: {_list(traps)}")


def _reachable(start: set[str], ways: set[tuple[str, str]]) -> set[str]:
    found = set(start)
    while new := {target for source, target in ways if source in found} - found:
        found |= new
    return found


def _list(states: Iterable[Any]) -> str:
    return ", ".join(map(repr, sorted(states)))
