"""The executable specification for logs that outlive their opening: alone, and where two openings take turns."""

from abc import abstractmethod
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule
from tried import LONG

from events import EventLog
from statemachine import ReplayBuffer
from statemachine.spec import ReplayBufferSpec


class OpenedAnew(ReplayBufferSpec):
    """The rules, unchanged; dropping all memory opens the log anew."""

    @abstractmethod
    def open(self) -> EventLog[Any]:
        """The log of this run."""

    def reopen(self, log: EventLog[Any]) -> EventLog[Any]:
        log.close()
        return self.open()


class TakingTurns(OpenedAnew):
    """The same, where at any time another opening of the same log goes on, with a memory of its own."""

    turn = 0

    def make_buffer(self) -> ReplayBuffer[int]:
        first = super().make_buffer()
        self.logs = self.log, self.open()
        self.log = self.logs[1]
        second = super().make_buffer()
        self.log = self.logs[0]
        self.buffers = first, second
        return first

    def reopen(self, log: EventLog[Any]) -> EventLog[Any]:
        for each in self.logs:
            each.close()
        return super().reopen(log)

    @rule()
    def another_one_goes_on(self) -> None:
        self.turn = 1 - self.turn
        self.log, self.buffer = self.logs[self.turn], self.buffers[self.turn]

    @rule()
    def both_add(self) -> None:
        """Each remembers where the stream stood after its own add, and the other's has come since."""
        for _ in range(4):
            self.add_measurement("ann")
            self.another_one_goes_on()

    def teardown(self) -> None:
        if hasattr(self, "buffers"):
            try:
                super().teardown()
            finally:
                for each in self.logs:
                    each.close()


def slowly(examples: int) -> settings:
    """So many histories in `make test`, and eight times as many in `make prove`."""
    return settings(
        max_examples=examples * (8 if LONG else 1),
        stateful_step_count=30,
        suppress_health_check=[HealthCheck.too_slow],
    )
