"""A scenario, and what outlives a process: time, the application's own state, the models. Must not know any log."""

from typing import Any

from attrs import Factory, define, frozen

from statemachine import BufferConfig, due
from statemachine.spec import Model

USER, OTHER = "ann", "bob"
"""Whose buffer is operated on, and who is to be left alone."""


@frozen
class Scenario:
    """Operations one after the other, on a buffer with these hooks and bounds.

    Parameters:
        text: their names.
        rolls_back: whether there is a rollback hook.
        archives: whether there is one for what is evicted.
        on_overflow: as in the buffer's configuration.
    """

    text: str
    rolls_back: bool = False
    archives: bool = False
    on_overflow: Any = "evict_oldest"

    def __str__(self) -> str:
        hooks = f"{', with a rollback' * self.rolls_back}{', with an archive' * self.archives}"
        return f"{self.text!r} ({self.on_overflow}{hooks})"

    @property
    def operations(self) -> list[str]:
        return self.text.split()

    @property
    def is_for_databases(self) -> bool:
        """Whether a log in no database cannot do it."""
        return "complete_within" in self.operations

    @property
    def config(self) -> BufferConfig:
        return BufferConfig(max_measurements=4, pending_factor=1, due=due.Count(1), on_overflow=self.on_overflow)


class Remembering(Model[int]):
    """The model, which also knows what an application's tables must hold.

    Attributes:
        saved: the measurements whose results were saved in one transaction with their completion.
        aborted: the versions whose snapshot was given up, and `finished`, those for which that has come to its end.
    """

    def __init__(self, config: BufferConfig) -> None:
        super().__init__(config)
        self.saved: list[int] = []
        self.aborted: list[int] = []
        self.finished: list[int] = []

    def abort(self, *, rolled_back: bool) -> None:
        self.aborted.append(self.version)
        super().abort(rolled_back=rolled_back)

    def finish_abort(self) -> None:
        self.finished.append(self.version)
        super().finish_abort()

    def copied(self) -> "Remembering":
        copy = Remembering(self.config)
        copy.__dict__.update({name: value[:] if type(value) is list else value for name, value in vars(self).items()})
        return copy


@define
class World:
    """What outlives a process: the time, the application's own database, and what the models know by now.

    Attributes:
        failing: how many of the next rollbacks fail; `restored`: the versions whose rollback has succeeded.
        archived: what the hook was told was evicted; `unheard`: what an operation that was hit evicted without telling.
        wrong: what the hooks saw that they must not see.
    """

    scenario: Scenario
    models: dict[str, Remembering]
    now: float = 1000.0
    count: int = 0
    failing: int = 0
    restored: list[int] = Factory(list)
    archived: list[int] = Factory(list)
    unheard: list[int] = Factory(list)
    wrong: list[str] = Factory(list)

    @classmethod
    def of(cls, scenario: Scenario) -> "World":
        return cls(scenario, {user: Remembering(scenario.config) for user in (USER, OTHER)})

    @property
    def model(self) -> Remembering:
        return self.models[USER]

    def copied(self) -> "World":
        return World(
            self.scenario,
            {user: model.copied() for user, model in self.models.items()},
            *(self.now, self.count, self.failing),
            *(each[:] for each in (self.restored, self.archived, self.unheard, self.wrong)),
        )

    def batch(self, count: int) -> list[int]:
        """The next measurements, the same until they are recorded."""
        return list(range(self.count, self.count + count))
