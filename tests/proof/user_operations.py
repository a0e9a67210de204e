"""Every public operation on one user, and the states they begin in. A new public method is to be listed here."""

from collections.abc import Callable, Iterator
from contextlib import suppress

from interleaved import ANN, LATER, Caller, Operation, World

from events import Recorded
from statemachine import FrozenSnapshot, ReplayBuffer, TruncatedHistoryError


def _replay(caller: Caller) -> None:
    version = caller.call("begin_snapshot", ANN)
    frozen = caller.call("finalize_snapshot", ANN, version, given=_whose)
    caller.call("__iter__", of=frozen, given=list)
    caller.call("complete", of=frozen)


def _whose(frozen: FrozenSnapshot[int]) -> tuple[int, int, int, int]:
    return frozen.version, frozen.start, frozen.stop, len(frozen)


def _gone_through(events: Iterator[Recorded]) -> str:
    """What is truncated meanwhile cannot be gone through, as `events` says."""
    with suppress(TruncatedHistoryError):
        list(events)
    return ""


def _add_for_users(caller: Caller) -> None:
    values = [10 * (caller.number + 1) + value for value in (7, 8)]
    added = caller.call("add_for_users", {ANN: values})
    caller.acknowledged(added[ANN].start, values)


def _expire(caller: Caller) -> None:
    """Time passes, and the sweep comes by."""
    caller.world.between()
    caller.world.clock.pass_by(LATER)
    caller.call("expire_overdue", given=lambda _users: "")


def _abort(caller: Caller) -> None:
    """An abort means the snapshot that it finds in progress, and no later one."""
    version = caller.in_progress() if caller.world.whole else None
    caller.call("abort_snapshot", ANN, "", version)


def _plain(name: str, *arguments: object, given: Callable[..., object] = lambda value: value) -> Operation:
    return lambda caller: caller.call(name, ANN, *arguments, given=given)


def _of_all(name: str, given: Callable[..., object]) -> Operation:
    return lambda caller: caller.call(name, given=given)


def _of_frozen(name: str, *arguments: object, given: Callable[..., object] = lambda value: value) -> Operation:
    """An operation of the snapshot that was in progress at the start."""
    return lambda caller: caller.call(name, *arguments, of=caller.world.frozen, given=given)


OPERATIONS: dict[str, Operation] = {
    "add_measurement": lambda caller: caller.add(1),
    "add_measurements": lambda caller: caller.add(2, 3),
    "add_for_users": _add_for_users,
    "begin_snapshot": _plain("begin_snapshot"),
    "finalize_snapshot": _plain("finalize_snapshot", given=_whose),
    "complete_replay": _plain("complete_replay"),
    "abort_snapshot": _abort,
    "renew_lease": _plain("renew_lease"),
    "clear_buffer": _plain("clear_buffer"),
    "schedule_retry": _plain("schedule_retry", 200.0),
    "park": _plain("park"),
    "release": _plain("release"),
    "snapshot": _replay,
    "expire_overdue": _expire,
    "prune": _of_all("prune", lambda _dropped: ""),
    "measurements": _plain("measurements"),
    "pending": _plain("pending"),
    "state": _plain("state"),
    "state_at": _plain("state_at", 0),
    "size": _plain("size"),
    "events": _plain("events", given=_gone_through),
    "audit": _plain("audit", given=lambda audit: audit.ok),
    "ready": _of_all("ready", list),
    "parked": _of_all("parked", list),
    "users": _of_all("users", list),
    "metrics": _of_all("metrics", lambda metrics: metrics.users),
}
"""The public methods of a buffer that change or read something, each as a thread would use it."""

FROZEN_OPERATIONS: dict[str, Operation] = {
    "frozen.complete": _of_frozen("complete"),
    "frozen.abort": _of_frozen("abort", "changed its mind"),
    "frozen.renew": _of_frozen("renew"),
    "frozen.by_timestamp": _of_frozen("by_timestamp", lambda value: -value),
}
"""The same of a snapshot in progress."""

LEFT_OUT = {
    "close": "ends everything, for all users; its races have tests of their own",
    "config": "cannot change",
    "abort_errors": "is of rollbacks that fail, which are tested apart",
    "frozen.count": "reads as by_timestamp does",
    "frozen.index": "reads as by_timestamp does",
    "frozen.settled": "tells what this object's own complete or abort has done",
    "frozen.is_handed_over": "is of transactions, which memory has none of",
    **{f"frozen.{name}": "cannot change" for name in ("start", "stop", "timestamp", "user_id", "version")},
}
"""Public names that no thread here uses, and why."""


def public_names() -> set[str]:
    """The public names of a buffer and of its snapshots."""
    names = {name for name in dir(ReplayBuffer) if not name.startswith("_")}
    return names | {f"frozen.{name}" for name in dir(FrozenSnapshot) if not name.startswith("_")}


def _nobody(_world: World) -> None:
    """Ann has never had a measurement."""


def _idle(world: World) -> None:
    """There is room for two more."""
    Caller(world, -1).acknowledged(world.buffer.add_measurements(ANN, [1, 2]).start, [1, 2])


def _full(world: World) -> None:
    """The next add evicts."""
    Caller(world, -1).acknowledged(world.buffer.add_measurements(ANN, [1, 2, 3, 4]).start, [1, 2, 3, 4])


def _begun(world: World) -> None:
    _idle(world)
    world.buffer.begin_snapshot(ANN)


def _replaying(world: World) -> None:
    """Two are frozen, one is pending."""
    _begun(world)
    world.frozen = world.buffer.finalize_snapshot(ANN)
    Caller(world, -1).acknowledged(world.buffer.add_measurement(ANN, 3), [3])


def _overdue(world: World) -> None:
    _replaying(world)
    world.clock.pass_by(LATER)


def _failed(world: World) -> None:
    """A replay was aborted, so frozen and pending are live together."""
    _replaying(world)
    world.buffer.abort_snapshot(ANN)


def _parked(world: World) -> None:
    _full(world)
    world.buffer.park(ANN)


STARTS: dict[str, Callable[[World], None]] = {
    "nobody": _nobody,
    "idle": _idle,
    "full": _full,
    "begun": _begun,
    "replaying": _replaying,
    "overdue": _overdue,
    "failed": _failed,
    "parked": _parked,
}
"""The states in which threads begin."""
