"""`BufferModel`: what one user's buffer does, operation by operation, over states that can be hashed.

Must not import the code that it is a model of. What an operation does can depend on what nobody saw: at which of two
times the clock was read, or whether what was overdue had been noticed; so there may be several states after it.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from attrs import evolve, frozen
from history_values import (
    FAILED,
    IN_PROGRESS,
    LOOKS,
    MERELY_LOOKS,
    REFUSED,
    RETURNED,
    UNKNOWN,
    Answer,
    Operation,
    State,
    shown,
)

from statemachine import BufferConfig
from statemachine.spec._model import LEGAL

DONE: Answer = (RETURNED, None)
STALE: Answer = (REFUSED, "StaleSnapshotError")

INITIAL = State()

Outcome = tuple[Answer, State]


@frozen
class BufferModel:
    """One user's buffer.

    Parameters:
        config: bounds and timeouts.
        rolls_back: whether the application has a rollback, so that an abort is finished by an operation of its own.
        loses_sight: whether what was handed out may no longer be there to be read: the log drops what was replayed, or
            cannot be reached.
    """

    config: BufferConfig
    rolls_back: bool = False
    loses_sight: bool = False
    initial: State = INITIAL

    def step(self, state: State, operation: Operation) -> Iterable[State]:
        """See `Specification.step`."""
        found: set[State] = set()
        for touched in self._touched(state, operation):
            if operation.outcome in (FAILED, UNKNOWN):
                found.add(touched)
            if operation.outcome != FAILED:
                found.update(
                    after
                    for answer, after in self._outcomes(touched, operation)
                    if answer == operation.answer or not operation.known
                )
        return found if operation.known else found - {state}

    def only_looks(self, operation: Operation) -> bool:
        """See `Specification.only_looks`."""
        return operation.name in LOOKS or operation.outcome in (REFUSED, FAILED)

    def level(self, state: State) -> int:
        """See `Specification.level`: offsets are never used again."""
        return state.head

    def latest_level(self, operation: Operation) -> int | None:
        """See `Specification.latest_level`."""
        if operation.outcome != RETURNED:
            return None
        if operation.name == "add":
            return int(operation.output)
        if operation.name == "add_many":
            return int(operation.output[0])
        return int(operation.output["head"]) if operation.name == "state" else None

    def unanswered(self, operation: Operation) -> Operation:
        """See `Specification.unanswered`."""
        return evolve(operation, outcome=UNKNOWN, output=None, returned=None)

    def _touched(self, state: State, operation: Operation) -> Iterator[State]:
        """What is overdue expires when anybody touches the user."""
        overdue = state.phase in IN_PROGRESS and state.deadline is not None and operation.latest >= state.deadline
        if overdue:
            yield self._aborted(state)
        certainly = state.certain and operation.known and operation.outcome != FAILED
        touches = operation.name not in (*MERELY_LOOKS, "finish", "take_over")
        if not (overdue and certainly and touches and operation.earliest >= (state.deadline or 0)):
            yield state

    def _outcomes(self, state: State, operation: Operation) -> list[Outcome]:
        """What the operation may answer, and the state after each answer."""
        argument = operation.argument
        if operation.name in ("add", "add_many"):
            batch = [argument] if operation.name == "add" else argument
            return [self._add(state, batch, is_one=operation.name == "add")]
        if operation.name == "finish":
            finished = state.phase == "aborting" and state.version == argument
            return [(DONE, _idle(state) if finished else state)]
        if operation.name in ("sweep", "take_over"):
            in_progress = operation.name == "take_over" and state.phase in IN_PROGRESS
            return [(DONE, self._aborted(state) if in_progress else state)]
        if not state.head:
            return [((REFUSED, "UnknownUserError"), state)]
        if operation.name in LOOKS:
            return [(answer, state) for answer in self._looked(state, operation)]
        return self._triggered(state, operation)

    def _add(self, state: State, batch: Any, *, is_one: bool) -> Outcome:
        """All or none, and as many of the oldest go as do not fit, but no more than came."""
        idle, most, frozen = state.frozen_offset is None, self.config.max_measurements, len(state.older)
        window = state.older if idle else state.pending
        bound, more = most, self.config.pending_bound
        if idle and state.carries:
            bound = most + more
        elif not idle:
            bound = max(0, min(more, most + 2 * more - frozen))
        excess = max(0, min(len(batch), len(window) + len(batch) - bound))
        if excess and self.config.on_overflow == "reject":
            return (REFUSED, "BufferFullError"), state
        head = state.head + len(batch)
        window = (*window, *zip(range(state.head, head), batch, strict=True))[excess:]
        after = state._replace(
            head=head + bool(excess),
            added=state.added + len(batch),
            evicted=state.evicted + excess,
            **{"older" if idle else "pending": window},
        )
        return (RETURNED, state.head if is_one else (state.head, head)), after

    def _looked(self, state: State, operation: Operation) -> list[Answer]:
        """What is to be seen."""
        if operation.name == "frozen":  # that which was handed out, for as long as it is there
            version, handed_out = operation.argument
            is_over = state.version != version or state.phase == "idle"
            return [(RETURNED, handed_out), *[STALE] * (self.loses_sight and is_over)]
        live, pending = state.older + state.pending, state.pending
        seen = {
            "measurements": lambda: tuple(measurement for _, measurement in live),
            "pending": lambda: tuple(measurement for _, measurement in pending),
            "size": lambda: len(live),
            "state": lambda: shown(state),
        }
        return [(RETURNED, seen[operation.name]())]

    def _triggered(self, state: State, operation: Operation) -> list[Outcome]:
        """What the lifecycle says."""
        name, argument = operation.name, operation.argument
        refusal = _refusal(state, name, argument if name != "clear" else None)
        if refusal is not None:
            return [((REFUSED, refusal), state)]
        head = state.head + 1
        match name:
            case "complete":
                replayed = state.replayed + len(state.older)
                committed = state.frozen_offset or 0
                after = _idle(state)._replace(older=state.pending, carries=False)
                return [(DONE, after._replace(replayed=replayed, committed=committed))]
            case "abort":
                gone: list[Outcome] = (
                    [(STALE, state)] if argument is None else []
                )  # the one it meant was over meanwhile
                return [(DONE, self._aborted(state)), *gone]
            case "clear":
                return [(DONE, _cleared(state, argument))]
        outcomes: list[Outcome] = []
        for time in operation.times():
            certain = operation.known and operation.earliest == operation.latest
            if name == "begin":
                deadline, version = time + self.config.snapshot_timeout, state.version + 1
                begun = state._replace(phase="snapshotting", version=version, frozen_offset=state.head, head=head)
                outcomes.append(((RETURNED, version), begun._replace(deadline=deadline, certain=certain)))
            else:
                deadline = time + self.config.replay_timeout
                after = state._replace(phase="replaying", deadline=deadline, certain=certain, head=head)
                answers = self._handed_out(state) if name == "finalize" else [DONE]
                outcomes += [(answer, after) for answer in answers]
        return outcomes

    def _handed_out(self, state: State) -> list[Answer]:
        """The snapshot, and what was read of it."""
        frozen = tuple(measurement for _, measurement in state.older)
        about = (state.version, state.committed, state.frozen_offset, len(frozen))
        return [(RETURNED, (*about, seen)) for seen in ([frozen, None] if self.loses_sight else [frozen])]

    def _aborted(self, state: State) -> State:
        """Nothing moves; it is finished at once where nothing has to be rolled back."""
        aborting = state._replace(phase="aborting", deadline=None, certain=True, head=state.head + 1)
        return aborting if self.rolls_back else _idle(aborting)


TRIGGERS = {
    "begin": "begin_snapshot",
    "finalize": "finalize_snapshot",
    "complete": "complete_replay",
    "renew": "renew_lease",
    "abort": "abort_snapshot",
    "clear": "clear_buffer",
}


def _refusal(state: State, name: str, version: int | None) -> str | None:
    """The error that it must be refused with, if it must: a stale version first."""
    legal = LEGAL[TRIGGERS[name]]
    if version is not None and name != "begin" and (version != state.version or state.phase not in IN_PROGRESS):
        return "StaleSnapshotError"
    if state.phase in legal:
        return None
    if state.phase == "idle":
        return "NoSnapshotError"
    return "SnapshotInProgressError" if "idle" in legal else "IllegalTriggerError"


def _idle(state: State) -> State:
    """Frozen and pending are simply live again."""
    return state._replace(
        phase="idle",
        head=state.head + 1,
        frozen_offset=None,
        deadline=None,
        certain=True,
        older=state.older + state.pending,
        pending=(),
        carries=True,
    )


def _cleared(state: State, through: int | None) -> State:
    """What is live below an offset goes; where none is given all, and that is recorded even if there is nothing."""
    stop = state.head if through is None else through
    kept = tuple(item for item in state.older if item[0] >= stop)
    if through is not None and len(kept) == len(state.older):
        return state
    return state._replace(
        head=state.head + 1,
        committed=max(state.committed, stop),
        older=kept,
        cleared=state.cleared + len(state.older) - len(kept),
        carries=state.carries and bool(kept),
    )
