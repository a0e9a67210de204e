"""`Offsets`: ascending offsets as a few ranges, so that a million cost what ten cost. Knows nothing of events."""

from collections.abc import Iterator

from attrs import field, frozen


@frozen(eq=False)
class Offsets:
    """An immutable, ascending sequence of offsets, kept as ranges.

    Offsets that keep a distance (1 while nothing but adds happens, 2 while each add evicts) share one range, so there
    are as many ranges as there were interruptions, not as many as offsets.

    Parameters:
        runs: ascending, non-empty ranges that do not overlap.

    Attributes:
        count: how many they are.

    Example:
        >>> Offsets().extended(range(0, 5)).extended(range(5, 7)).runs
        (range(0, 7),)
    """

    runs: tuple[range, ...] = ()
    count: int = field(init=False, default=-1)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "count", sum(map(len, self.runs)))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return (offset for run in self.runs for offset in run)

    def __getitem__(self, place: int) -> int:
        """The offset at `place`, counted from 0."""
        left = place if place >= 0 else len(self)
        for run in self.runs:
            if left < len(run):
                return run[left]
            left -= len(run)
        raise IndexError(f"{place} of {len(self)} offsets")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Offsets):
            return NotImplemented
        return self.runs == other.runs or list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # equal ones may be cut into ranges differently

    def extended(self, run: range) -> "Offsets":
        """With the offsets of `run`, which lie above all others, at the end."""
        if not run:
            return self
        if self.runs and (joined := _joined(self.runs[-1], run)) is not None:
            return Offsets((*self.runs[:-1], joined))
        return Offsets((*self.runs, run))

    def below(self, offset: int) -> int:
        """How many of them lie below `offset`."""
        if not self.runs or self.runs[-1][-1] < offset:
            return self.count
        return sum(_place(run, offset) for run in self.runs)

    def within(self, start: int, stop: int) -> "Offsets":
        """Those in `[start, stop)`."""
        if not self.runs or (start <= self.runs[0][0] and self.runs[-1][-1] < stop):
            return self
        cut = (run[_place(run, start) : _place(run, stop)] for run in self.runs)
        return Offsets(tuple(run for run in cut if run))

    def without(self, start: int, stop: int) -> "Offsets":
        """Those not in `[start, stop)`."""
        if start >= stop or not self.runs:
            return self
        above = self.within(stop, self.runs[-1][-1] + 1)
        return above if start <= self.runs[0][0] else Offsets(self.within(0, start).runs + above.runs)


def _place(run: range, offset: int) -> int:
    """How many of the run lie below `offset`."""
    return min(len(run), max(0, -((run.start - offset) // run.step)))


def _joined(run: range, following: range) -> range | None:
    """Both as one range, where that is one."""
    gap = following[0] - run[-1]
    for part in (run, following):
        if len(part) > 1 and part.step != gap:
            return None
    return range(run[0], following[-1] + 1, gap)
