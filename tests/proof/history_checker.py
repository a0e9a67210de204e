"""`check`: whether some order of the operations explains a history of concurrent ones. Must not know what they do.

It is the search of Wing and Gong in Lowe's just-in-time form: it goes through the history by time and keeps every
situation in which the system can be. An operation is put into the order no sooner than an answer makes that necessary,
and a situation that was met before is not gone into again. What later answers tell about how far the system was spares
most of the rest: offsets make the search nearly a straight line.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from attrs import frozen

S = TypeVar("S", bound=Hashable)


class Called(Protocol):
    """What the search has to know of an operation.

    Attributes:
        called: when it began.
        returned: when it was over, and its effect with it; None where nobody knows.
        known: whether it is known what it answered. Of another it is not even known whether it happened.
    """

    @property
    def called(self) -> int: ...

    @property
    def returned(self) -> int | None: ...

    @property
    def known(self) -> bool: ...


class Specification(Protocol[S]):
    """What one user's operations do, one after the other. States are hashable."""

    initial: S

    def step(self, state: S, operation: Any) -> Iterable[S]:
        """The states that an operation with this answer may leave; none where it cannot be answered so.

        Of an operation whose answer is not known only those that differ from `state`.
        """

    def only_looks(self, operation: Any) -> bool:
        """Whether an operation that changes nothing may as well be put into the order at once."""

    def level(self, state: S) -> int:
        """A number that never falls from a state to the next."""

    def latest_level(self, operation: Any) -> int | None:
        """The level above which an operation cannot have been so answered, as far as its answer tells."""

    def unanswered(self, operation: Any) -> Any:
        """The operation, as long as it is not known what it answers."""


Situation = tuple[S, frozenset[int]]
"""A state, and which of the operations that are under way have had their effect."""


@frozen
class Failure:
    """The shortest part of a history that has no explanation.

    Attributes:
        operations: those that it has; the others begin later.
        odd: the one among them whose answer is the last, and the first that nothing explains.
        states: in which the system may have been before; none of them explains that answer.
    """

    operations: list[Any]
    odd: Any
    states: list[Any]


ENDLESS = 2**62


def check(operations: Sequence[Called], specification: Specification[Any]) -> Failure | None:
    """The shortest part of the history that no order explains; None where there is an order for all.

    Parameters:
        operations: one user's; what belongs to others was taken out, since users do not depend on each other.
        specification: what they do, one after the other.
    """
    if _Search(operations, specification).run():
        return None
    answers = sorted(one.returned for one in operations if one.known and one.returned is not None)
    shortest = bisect_left(
        answers, True, key=lambda until: not _Search(_part(operations, until, specification), specification).run()
    )
    until = answers[shortest]
    (odd, *_others) = [one for one in operations if one.known and one.returned == until]
    before = _Search(_part(operations, until - 1, specification), specification)
    before.run()
    states = list(dict.fromkeys(state for state, _ in before.situations))
    return Failure([one for one in operations if one.called <= until], odd, states)


def _part(operations: Sequence[Called], until: int, specification: Specification[Any]) -> list[Called]:
    """What was to be seen of the history at a time."""
    return [
        one if one.returned is not None and one.returned <= until else specification.unanswered(one)
        for one in operations
        if one.called <= until
    ]


class _Search:
    def __init__(self, operations: Sequence[Called], specification: Specification[Any]) -> None:
        self.operations, self.specification = operations, specification
        self.situations: set[Situation[Any]] = {(specification.initial, frozenset())}
        self.under_way: set[int] = set()
        self.levels = [
            ENDLESS if (level := specification.latest_level(operation)) is None else level for operation in operations
        ]
        self._calls, self._lowest_after = self._lowest_levels()

    def run(self) -> bool:
        """Go through all; whether there is an explanation."""
        for _, is_answer, place in sorted(self._moments()):
            if not is_answer:
                self.under_way.add(place)
                continue
            before, self.situations = self.situations, set(self._with(place))
            if not self.operations[place].known:  # it has happened by now, or never will
                self.situations |= {(state, done - {place}) for state, done in before}
            self.under_way.discard(place)
            if not self.situations:
                return False
        return True

    def _moments(self) -> Iterator[tuple[int, bool, int]]:
        """When each begins and ends; of what is simultaneous the beginnings first."""
        for place, operation in enumerate(self.operations):
            yield operation.called, False, place
            if operation.returned is not None:
                yield operation.returned, True, place

    def _lowest_levels(self) -> tuple[list[int], list[int]]:
        """When operations begin, and the lowest level of those that begin then or later."""
        by_call = sorted(range(len(self.operations)), key=lambda place: self.operations[place].called)
        lowest = [ENDLESS]
        for place in reversed(by_call):
            lowest.append(min(lowest[-1], self.levels[place]))
        return [self.operations[place].called for place in by_call], lowest[::-1]

    def _with(self, wanted: int) -> Iterator[Situation[Any]]:
        """The situations in which the operation has had its effect; others that are under way may have come first."""
        now = self.operations[wanted].returned
        assert now is not None
        later = self._lowest_after[bisect_left(self._calls, now + 1)]
        seen = set(self.situations)
        waiting = list(seen)
        while waiting:
            state, done = waiting.pop()
            if wanted in done:
                yield state, done - {wanted}
                continue
            for following in self._next(state, done, later):
                if following not in seen:
                    seen.add(following)
                    waiting.append(following)

    def _next(self, state: Any, done: frozenset[int], later: int) -> list[Situation[Any]]:
        """The situations one operation further on from which the rest can be reached, as far as levels tell."""
        following: list[Situation[Any]] = []
        open_ones = [place for place in self.under_way if place not in done]
        for place in open_ones:
            operation = self.operations[place]
            after = list(self.specification.step(state, operation))
            if after == [state] and self.specification.only_looks(operation):
                return [(state, done | {place})]
            if after:
                limit = min([later, *(self.levels[other] for other in open_ones if other != place)])
                following += [(each, done | {place}) for each in after if self.specification.level(each) <= limit]
        return following
