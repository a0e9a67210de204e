"""Drives the executable specification by hand, through a history that takes every rule both ways."""

from collections.abc import Iterator
from typing import Any

from statemachine import BufferConfig
from statemachine.spec import ReplayBufferSpec


class Draws:
    """Stands in for what hypothesis would draw."""

    def __init__(self, *values: Any) -> None:
        self.values: Iterator[Any] = iter(values)

    def draw(self, strategy: object) -> Any:
        return next(self.values)


INVARIANTS = [
    "users_are_those_that_added",
    "every_measurement_is_accounted_for",
    "frozen_measurements_never_change",
    "who_is_late_changes_nothing",
    "offsets_only_go_forward",
    "state_is_a_fold",
    "hooks_are_called_as_promised",
    "parked_users_are_listed",
    "bounds_hold",
]


def drive(machine: ReplayBufferSpec) -> None:
    """One history that takes every rule both ways, whatever hypothesis happens to draw."""
    machine.start(Draws(BufferConfig(max_measurements=3, pending_factor=1)), rolls_back=True, archives=True)
    ann = Draws(*["ann"] * 100)
    steps: list[Any] = [
        lambda: machine.add_measurements("ann", 0),
        lambda: machine.begin_snapshot("ann"),
        lambda: machine.ask("ann"),
        *[machine.advance] * 4,
        lambda: machine.add_measurements("ann", 0),
        lambda: machine.add_measurements("ann", 5),
        lambda: machine.add_from_a_failing_source("ann"),
        lambda: machine.racing_begins(ann),
        lambda: machine.racing_begins(ann),
        lambda: machine.begin_snapshot("ann"),
        lambda: machine.clear_buffer(ann),
        lambda: machine.complete_replay(ann, "any"),
        lambda: machine.finalize_snapshot(ann, "stale"),
        lambda: machine.finalize_snapshot(ann, "current"),
        lambda: machine.snapshot(ann, fails=0, wait=0.0),
        lambda: machine.renew_lease(ann, "future"),
        lambda: machine.renew_lease(ann, "any"),
        lambda: machine.add_a_burst("ann", 9),
        lambda: machine.use_a_snapshot_object(Draws("ann", machine.snapshots["ann"][-1]), "renew"),
        lambda: machine.use_a_snapshot_object(Draws("ann", machine.snapshots["ann"][-1]), "complete"),
        lambda: machine.use_a_snapshot_object(Draws("ann", machine.snapshots["ann"][-1]), "abort"),
        lambda: machine.begin_snapshot("ann"),
        lambda: machine.finalize_snapshot(ann, "any"),
        lambda: machine.drop_all_memory(),
        lambda: machine.prune(),
        lambda: machine.complete_within_a_transaction(ann, "stale", True),
        lambda: machine.complete_within_a_transaction(ann, "any", False),
        lambda: machine.complete_replay(ann, "current"),
        lambda: machine.prune(),
        lambda: machine.drop_all_memory(),
        lambda: machine.snapshot(ann, fails=1, wait=0.0),
        lambda: machine.snapshot(ann, fails=0, wait=0.0),
        lambda: machine.clear_buffer(ann),
        lambda: machine.add_measurements("ann", 3),
        lambda: machine.begin_snapshot("ann"),
        lambda: machine.finalize_snapshot(ann, "any"),
        lambda: machine.complete_within_a_transaction(ann, "current", True),
        lambda: machine.abort_snapshot(ann, "any"),
        lambda: machine.clear_the_oldest(ann, 0),
        lambda: machine.clear_the_oldest(ann, 2),
        lambda: machine.begin_snapshot("ann"),
        lambda: machine.clear_the_oldest(ann, 1),
        lambda: machine.abort_snapshot(ann, "current"),
        lambda: machine.abort_snapshot(ann, "any"),
        lambda: machine.begin_snapshot("ann"),
        lambda: machine.arrive_at_the_deadline(ann, 1),
        lambda: machine.begin_snapshot("ann"),
        lambda: machine.arrive_at_the_deadline(ann, 2),
        lambda: machine.snapshot(ann, fails=1, wait=None),
        lambda: machine.release(ann),
        *(
            lambda trigger=trigger, meanwhile=meanwhile: machine.overtaken(ann, trigger, meanwhile)
            for trigger, meanwhile in (
                ("begin_snapshot", "add_measurement"),
                ("finalize_snapshot", "renew_lease"),
                ("renew_lease", "renew_lease"),
                ("complete_replay", "abort_snapshot"),
                ("begin_snapshot", "begin_snapshot"),
                ("abort_snapshot", "finalize_snapshot"),
            )
        ),
        lambda: machine.begin_snapshot("ann"),
        lambda: machine.finalize_snapshot(ann, "any"),
        lambda: machine.use_a_snapshot_object(Draws("ann", machine.snapshots["ann"][-1]), "abort"),
        lambda: machine.hooks_change_their_mind(),
        lambda: machine.begin_snapshot("ann"),
        lambda: machine.time_passes(30.0),
        lambda: machine.add_measurement("ann"),
        lambda: machine.expire_overdue(),
        lambda: machine.drop_all_memory(),
        lambda: machine.hooks_change_their_mind(),
        lambda: machine.expire_overdue(),
        lambda: machine.begin_snapshot("ann"),
        lambda: machine.hooks_change_their_mind(),
        lambda: machine.abort_snapshot(ann, "any"),
        lambda: machine.ask("ann"),
        lambda: machine.hooks_change_their_mind(),
        lambda: machine.expire_overdue(),
        lambda: machine.schedule_retry(ann, "stale", 50.0),
        lambda: machine.schedule_retry(ann, "current", 50.0),
        lambda: machine.ready(),
        lambda: machine.drop_all_memory(),
        lambda: machine.ready(),
        lambda: machine.time_passes(50.0),
        lambda: machine.ready(),
        lambda: machine.park(ann),
        lambda: machine.ready(),
        lambda: machine.add_measurement("ann"),
        lambda: machine.begin_snapshot("ann"),
        lambda: machine.park(ann),
        lambda: machine.drop_all_memory(),
        lambda: machine.advance(),
        lambda: machine.release(ann),
        lambda: machine.schedule_retry(ann, "any", 0.0),
        lambda: machine.begin_snapshot("ann"),
        lambda: machine.time_passes(30.0),
        lambda: machine.expire_overdue(),
        lambda: machine.ready(),
        lambda: machine.park(ann),
        lambda: machine.add_a_burst("bob", 70),
        lambda: machine.park(Draws("bob")),
        lambda: machine.add_measurement("cyd"),
        lambda: machine.hooks_change_their_mind(),
        lambda: machine.snapshot(Draws("cyd"), fails=3, wait=1.0),
        lambda: machine.ask("bob"),
        lambda: machine.add_for_users(0),
        lambda: machine.add_for_users(2),
    ]
    for step in steps:
        step()
        for invariant in INVARIANTS:
            getattr(machine, invariant)()
    machine.teardown()
