"""What a thread does to a place that threads share, and what is known of the place. Must not know of turns.

A place needs no turns where only one thread touches it, where nobody changes it, or where all hold the same lock
meanwhile: nobody can come in between. Which places those are is learnt from the runs; where a run shows that one was
taken for such a place wrongly, everything begins anew.
"""

import re
from collections.abc import Callable, Sequence

from attrs import Factory, define, frozen

ADDRESS = re.compile(" at 0x[0-9a-f]+")


@frozen
class Read:
    """The place is read."""


@frozen
class Changed:
    """What the place holds is changed, in a way that may depend on what it held."""

    content: object = None


@frozen
class Put:
    """The place holds `value` from now on, whatever it held."""

    value: object
    content: object = None


@frozen
class Taken:
    """What the place holds is taken out, which changes it if there is anything (`there` tells, when it is done)."""

    there: Callable[[], bool]
    content: object


Deed = Read | Changed | Put | Taken
READ = Read()


@define
class Place:
    """What the runs have shown of a place: who touched it, whether it changed, which locks all of them held."""

    threads: set[int] = Factory(set)
    changed: bool = False
    locks: set[str] | None = None

    def note(self, thread: int, changes: bool, held: Sequence[str]) -> bool:
        """Note a touch; whether the place needs turns."""
        self.threads.add(thread)
        self.changed = self.changed or changes
        self.locks = set(held) if self.locks is None else self.locks & set(held)
        return len(self.threads) > 1 and self.changed and not self.locks


def fingerprint(value: object) -> str:
    """The value in words, without where in memory it is."""
    return ADDRESS.sub("", repr(value))
