"""What a replay computes: outliers, or whatever the user's own function does. Must not know buffers or threads."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from attrs import frozen

from statemachine import FrozenSnapshot
from statemachine.cli._command import BadInput, imported, quoted
from statemachine.cli._outliers import THRESHOLD, modified_z_scores
from statemachine.cli._table import Row

EXTRA = ("row", "window", "median", "modified_z_score")


@frozen
class Judged:
    """A row for the output, and the line of the input after whose like it is put in order."""

    number: int
    columns: Mapping[str, Any]


Process = Callable[[FrozenSnapshot[Row]], list[Judged]]


class Outliers:
    """The replay that comes with holdover: takes the window in time order and picks out the outliers.

    Parameters:
        header: the columns of the file. To them come its line, the window (version of the snapshot), the window's
            median and the modified z-score; a name that the file has already gets an underscore.
    """

    def __init__(self, header: tuple[str, ...]) -> None:
        self._extra = tuple(_unlike(header, name) for name in EXTRA)
        self.columns = [*header, *self._extra]

    def __call__(self, frozen: FrozenSnapshot[Row]) -> list[Judged]:
        """The outliers of a window."""
        rows = frozen.by_timestamp(attrgetter("time"))
        centre, scores = modified_z_scores([row.value for row in rows])
        return [
            Judged(row.number, row.columns | self._verdict(row.number, frozen.version, centre, round(score, 3)))
            for row, score in zip(rows, scores, strict=True)
            if abs(score) > THRESHOLD
        ]

    def _verdict(self, *values: object) -> dict[str, object]:
        return dict(zip(self._extra, values, strict=True))


class OwnProcess:
    """A function of the user's in the place of `Outliers`.

    Parameters:
        name: `module:function`. The module is looked for in the current directory as well.

    Raises:
        BadInput: there is no such thing, or it cannot be called.
    """

    def __init__(self, name: str) -> None:
        self.columns: list[str] = []
        self._function = _imported(name)

    def __call__(self, frozen: FrozenSnapshot[Row]) -> list[Judged]:
        """What the function returned for a window. What it raises makes the replay fail, and an exit does too."""
        first = min(row.number for row in frozen)
        try:
            return [Judged(first, columns) for columns in _checked(self._function(frozen))]
        except SystemExit as error:
            raise RuntimeError(f"called sys.exit({error.code!r})") from error


def _checked(rows: Iterable[Any] | None) -> Iterator[Mapping[str, Any]]:
    for row in () if rows is None else rows:
        if not isinstance(row, Mapping):
            raise TypeError(f"must return rows as dictionaries (or None), not {quoted(str(row))}")
        yield row


def _imported(name: str) -> Callable[[FrozenSnapshot[Row]], Iterable[Any] | None]:
    function: Callable[[FrozenSnapshot[Row]], Iterable[Any] | None] = imported("--process", name, "module:function")
    if not callable(function):
        raise BadInput(f"--process {quoted(name)}: is not a function")
    return function


def _unlike(taken: Iterable[str], name: str) -> str:
    while name in taken:
        name += "_"
    return name
