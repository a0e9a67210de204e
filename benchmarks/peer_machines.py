"""State machines that take a user through a cycle (begin, finalize, complete): holdover and others. Knows no figures.

The others are declared with these three steps only, without guards: the shortest table that does it.
"""

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from transitions import Machine
from xstate_statemachine import SyncInterpreter, create_machine
from xstate_statemachine.persistence import SQLiteStore, load_interpreter, persisted, save_interpreter

from benchmarks.measuring import Run, own_copy
from benchmarks.peer_queues import SYNCHRONOUS
from benchmarks.peer_worker import TURNS, driven, triggered
from benchmarks.rivals import let_grow
from events import SqliteLog
from statemachine import ReplayBuffer
from statemachine._declaration import BUFFER_LIFECYCLE

USERS = [f"user-{number}" for number in range(TURNS)]
STEPS = ("begin_snapshot", "finalize_snapshot", "complete_replay")
STATES = ("idle", "snapshotting", "replaying")
TABLE = [[step, source, target] for step, source, target in zip(STEPS, STATES, (*STATES[1:], STATES[0]), strict=True)]

Through = Callable[[Any], object]
"""Takes a user, or what keeps its state, through one cycle."""


def in_turn(through: Through, things: Sequence[Any], cycles: int) -> Run:
    """A run that takes the next of them through a cycle each."""
    turns, own = cycle(things), own_copy(driven)
    return lambda: own(through, list(islice(turns, cycles)))


def replayed(users: Sequence[str], log: SqliteLog[float] | None = None) -> ReplayBuffer[float]:
    """holdover: a buffer in which each of them had a measurement, which was replayed."""
    buffer: ReplayBuffer[float] = ReplayBuffer(log)
    for user in users:
        buffer.add_measurement(user, 81.5)
        with buffer.snapshot(user):
            pass
    return buffer


def called(buffer: ReplayBuffer[float]) -> Through:
    """holdover: its three calls."""

    def through(user: str) -> None:
        version = buffer.begin_snapshot(user)
        buffer.finalize_snapshot(user, version)
        buffer.complete_replay(user, version)

    return through


def entered(buffer: ReplayBuffer[float]) -> Through:
    """holdover: its context manager."""

    def through(user: str) -> None:
        with buffer.snapshot(user):
            pass

    return through


def looked_up() -> Through:
    """holdover: its table alone, which says whether a trigger is legal and where it leads."""
    states = dict.fromkeys(USERS, BUFFER_LIFECYCLE.initial)

    def through(user: str) -> None:
        states[user] = BUFFER_LIFECYCLE.target(states[user], "begin_snapshot")
        states[user] = BUFFER_LIFECYCLE.target(states[user], "finalize_snapshot")
        states[user] = BUFFER_LIFECYCLE.target(states[user], "complete_replay")

    return through


class Model:
    """What `transitions` keeps the state of a user in."""


def models(users: Sequence[str]) -> list[Any]:
    """`transitions`: one machine, and a model for each user, which has gone through a cycle."""
    machine, made = _machine(None), [Model() for _ in users]
    for model in made:
        machine.add_model(model)
    driven(triggered, made)
    return made


def machines(users: Sequence[str]) -> list[Any]:
    """`transitions`: a machine for each user, too."""
    made = [Model() for _ in users]
    for model in made:
        _machine(model)  # which the model keeps alive
    driven(triggered, made)
    return made


def _machine(model: Model | None) -> Machine:
    return Machine(model, states=list(STATES), initial=STATES[0], transitions=TABLE, auto_transitions=False)


XSTATE = create_machine(
    {
        "id": "buffer",
        "initial": STATES[0],
        "states": {source: {"on": {step: target}} for step, source, target in TABLE},
    }
)


def interpreters(users: Sequence[str]) -> list[SyncInterpreter[Any]]:
    """xstate-statemachine: one machine, and an interpreter for each user, which has gone through a cycle."""
    made = [SyncInterpreter(XSTATE).start() for _ in users]
    driven(sent, made)
    return made


def sent(interpreter: SyncInterpreter[Any]) -> None:
    """xstate-statemachine: three events."""
    interpreter.send("begin_snapshot")
    interpreter.send("finalize_snapshot")
    interpreter.send("complete_replay")


def store(path: Path) -> SQLiteStore:
    """xstate-statemachine: its store in a file. It sets `synchronous=NORMAL`, which is set back to FULL here."""
    made = SQLiteStore(path)
    made._conn().execute(SYNCHRONOUS)
    let_grow(path)
    return made


def loaded(kept: SQLiteStore) -> Through:
    """xstate-statemachine: for each event the state is loaded, and saved again."""

    def through(user: str) -> None:
        for step in STEPS:
            with persisted(kept, user, XSTATE) as interpreter:
                interpreter.send(step)

    return through


def saved(kept: SQLiteStore) -> Through:
    """xstate-statemachine: interpreters that stay in memory, and are saved after each event."""
    made = {user: load_interpreter(kept, user, XSTATE) for user in USERS}

    def through(user: str) -> None:
        interpreter, version = made[user]
        for step in STEPS:
            interpreter.send(step)
            version = save_interpreter(kept, user, interpreter, expected_version=version)
        made[user] = interpreter, version

    return through
