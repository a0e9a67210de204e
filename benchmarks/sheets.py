"""Tables of text, of rows, grids and curves. Must not know where they are shown."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from attrs import frozen

from benchmarks.measuring import Curve, Grid, Row
from benchmarks.wording import compared, in_full, quartiles, written

MOST_SIZES = 9
"""How many sizes of a curve its table shows."""

Item = Row | Grid | Curve


@frozen
class Sheet:
    """A table of text; the first column is what a line is about.

    Parameters:
        headings: those of the columns.
        lines: the cells.
        drawn: the grid or curve of which there is a plot, too.
        title: what it is about; "" where the headings say it.
        note: what a reader has to know.
        remarks: what has to be said about single lines.
    """

    headings: Sequence[str]
    lines: Sequence[Sequence[str]]
    drawn: Grid | Curve | None = None
    title: str = ""
    note: str = ""
    remarks: Sequence[str] = ()


def sheets(items: Sequence[Item]) -> Iterator[Sheet]:
    """The tables of a section; rows that follow each other are in one."""
    for kind, same in groupby(items, type):
        if kind is Row:
            yield _of_rows([item for item in same if isinstance(item, Row)])
            continue
        for item in same:
            if isinstance(item, Grid):
                yield _of_grid(item)
            elif isinstance(item, Curve):
                yield _of_curve(item)


def ratio_of(row: Row) -> str:
    if row.ratio is None:
        return ""
    return f"{row.ratio:.2f}" + (f" {quartiles(row.quartiles)}" if row.quartiles else "")


def target_of(row: Row) -> str:
    ratios = [] if row.most_ratio is None else [f"ratio ≤ {row.most_ratio:.2f}"]
    return ", ".join(ratios + ([] if row.most is None else [f"≤ {written(row.most, row.unit)}"]))


def _of_rows(rows: Sequence[Row]) -> Sheet:
    verdicts = {None: "", True: "yes", False: "no"}
    return Sheet(
        ("what", "holdover", "yardstick", "ratio (quartiles)", "target", "met"),
        [
            (
                row.what,
                written(row.holdover, row.unit),
                _yardstick(row),
                ratio_of(row),
                target_of(row),
                verdicts[row.ok],
            )
            for row in rows
        ],
    )


def _yardstick(row: Row) -> str:
    return "" if row.yardstick is None else f"{written(row.yardstick, row.unit)}, {row.against}"


def _of_grid(grid: Grid) -> Sheet:
    return Sheet(
        ("", *grid.columns),
        [(name, *map(in_full, figures)) for name, figures in grid.lines.items()],
        grid if grid.drawn else None,
        grid.title,
        grid.note,
        [f"{name}: {note}" for name, note in grid.notes.items()],
    )


def _of_curve(curve: Curve) -> Sheet:
    sizes = sorted({size for figures in curve.lines.values() for size in figures})
    if len(sizes) > MOST_SIZES:
        sizes = [sizes[round(place * (len(sizes) - 1) / (MOST_SIZES - 1))] for place in range(MOST_SIZES)]
    return Sheet(
        (curve.sizes, *(f"{size:,}" for size in sizes)),
        [(name, *(compared(figures.get(size)) for size in sizes)) for name, figures in curve.lines.items()],
        curve,
        curve.title,
        curve.note,
    )
