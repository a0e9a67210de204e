"""What a log may keep beside the events: states on the way, times, types; and giving back space. All of it optional."""

from typing import Any

import pytest

from events import Checkpoint, EventLog
from events.conformance._base import Hooks, contents, control


class Keeping(Hooks):
    """Tests of what comes with an append, and of `register` and `compact`."""

    def filled(self, log: EventLog[Any], length: int = 1000, step: int = 100) -> None:
        """A stream of measurements; with each append the state after it, and the time."""
        for head in range(0, length, step):
            batch = self.added(*range(head, head + step - 1))
            log.append(
                "ann", [*batch, control(head)], expected_head=head, state=self.state(head + step), at=float(head)
            )

    def test_a_checkpoint_is_a_state_that_was_given(self, log: EventLog[Any]) -> None:
        """It stands where that state was, and not above the offset asked for; or there is none."""
        self.filled(log)
        for at in (None, 0, 99, 100, 101, 555, 1000):
            checkpoint = log.checkpoint("ann", at)
            if checkpoint is not None:
                assert checkpoint.offset in range(100, 1 + (1000 if at is None else at), 100)
                assert checkpoint.state == self.state(checkpoint.offset)

    def test_the_checkpoint_at_the_start_is_what_truncation_left(self, log: EventLog[Any]) -> None:
        """Later ones do not hide it, earlier ones are gone, and it is there for every offset above."""
        self.filled(log)
        log.truncate("ann", 650, self.state(650))
        assert log.checkpoint("ann", 649) is None
        assert log.checkpoint("ann", 650) == log.checkpoint("ann", 699) == Checkpoint(650, self.state(650))
        latest = log.checkpoint("ann")
        assert latest is not None
        assert latest.offset >= 650
        assert log.checkpoint("bob", 0) is None

    def test_states_and_times_change_nothing_else(self, log: EventLog[Any]) -> None:
        """The events are those of an append without them."""
        self.filled(log, 200)
        read = [entry.event for entry in log.read("ann")]
        assert read == [*self.added(*range(99)), control(0), *self.added(*range(100, 199)), control(100)]

    def test_what_was_recorded_before_a_time_ends_at_an_event_of_then(self, log: EventLog[Any]) -> None:
        """Where a log notes times at all."""
        self.filled(log)
        if log.recorded_before("ann", 1.0) is None:
            pytest.skip("times are not noted")
        assert [log.recorded_before("ann", time) for time in (0.0, 0.5, 100.0, 100.5, 5000.0)] == [
            0,
            100,
            100,
            200,
            1000,
        ]
        log.truncate("ann", 150, self.state(150))
        assert log.recorded_before("ann", 0.5) == 150
        assert log.recorded_before("bob", 5000.0) == 0

    def test_compacting_changes_nothing_that_can_be_read(self, log: EventLog[Any]) -> None:
        """It gives back space, however often it is called."""
        self.filled(log)
        log.truncate("ann", 950, self.state(950))
        before = contents(log, "ann")
        log.compact()
        log.compact()
        assert contents(log, "ann") == before
        assert log.append("ann", self.added(1000), expected_head=1000) == 1001

    def test_registering_again_does_no_harm(self, log: EventLog[Any]) -> None:
        """Whoever needs a type says so, and does not ask who else has."""
        kinds = [type(event) for event in self.own_events]
        log.register(*kinds)
        log.register(*kinds)
        log.append("ann", self.own_events, expected_head=0)
        assert [entry.event for entry in log.read("ann")] == list(self.own_events)
