"""The plots: bars for a `Grid`, lines for a `Curve`, each an SVG that is understood at a glance. Knows no tables."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from math import ceil, floor, log10
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from benchmarks.measuring import Curve, Figure, Grid
from benchmarks.wording import NONE, better, compared, written

STRONG = ("#1f6feb", "#d9480f", "#2b8a3e", "#9c36b5", "#0c8599", "#c2255c")
"""For holdover: distinguishable, also for who does not see red and green apart, by their lightness and their labels."""

GREYS = (("#868e96", "-"), ("#343a40", "--"), ("#6c757d", "-."), ("#495057", ":"))
"""For all others."""

BAR, INK, PALE = "#c3c9d0", "#24292f", "#6e7781"

SETTINGS: Any = {
    "text.parse_math": False,
    "svg.fonttype": "none",  # text stays text: small files, sharp letters
    "svg.hashsalt": "holdover",  # so that a file changes only where a figure does
    "font.size": 11,
    "axes.axisbelow": True,
    "axes.edgecolor": "#d0d7de",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.1,
}
WIDTH = 10.0
"""Inches; a README is about as wide as that."""

POINTS = 72 * WIDTH

LETTER = 6.0
"""Points a letter of what is written at the bars."""

FAR = 30
"""Bars whose lengths differ by more than this factor get a logarithmic axis."""


def draw(item: Grid | Curve, path: Path) -> None:
    """Draw it to a file; what kind of file, its ending says."""
    with rc_context(SETTINGS):
        canvas = _bars(item) if isinstance(item, Grid) else _lines(item)
        canvas.suptitle(fill(item.title, 95), x=0.012, ha="left", fontsize=13, fontweight="bold")
        canvas.savefig(
            path, facecolor="white", metadata={"Date": None, "Creator": None} if path.suffix == ".svg" else {}
        )


def is_holdovers(name: str, names: Sequence[str]) -> bool:
    """Whether a line is holdover's: those that say so are, or else all."""
    return name.startswith("holdover") or not any(other.startswith("holdover") for other in names)


def _bars(grid: Grid) -> Canvas:
    across = min(2, len(grid.drawn))
    down = ceil(len(grid.drawn) / across)
    canvas = Canvas(figsize=(WIDTH, 0.6 + down * (0.7 + 0.32 * len(grid.lines))))
    for number, column in enumerate(grid.drawn):
        place = grid.columns.index(column)
        figures = {name: line[place] for name, line in grid.lines.items()}
        panel = canvas.add_subplot(down, across, number + 1)
        _panel(panel, figures, room=POINTS / across - (150 if across == 1 else 110))
        panel.set_title(fill(column, 40))
        if number % across:
            panel.tick_params(labelleft=False)
    return canvas


def _panel(panel: Axes, figures: Mapping[str, Figure | None], room: float) -> None:
    """A bar for each alternative in so many points of width; holdover's stand out."""
    ours = [place for place, name in enumerate(figures) if is_holdovers(name, list(figures))]
    bars = [(place, figure) for place, figure in enumerate(figures.values()) if figure is not None]
    start, end = _reach([figure for _, figure in bars], room)
    panel.set_xscale("log" if start else "linear")
    panel.set_xlim(start, end)
    panel.set_ylim(len(figures) - 0.4, -0.6)
    for place, figure in bars:
        edges = figure.spread or (figure.value, figure.value)
        panel.barh(place, figure.value - start, left=start, height=0.62, color=STRONG[0] if place in ours else BAR)
        panel.plot(edges, (place, place), color=INK, linewidth=1.2, solid_capstyle="butt")
        ends = max(figure.value, *edges), place
        panel.annotate(compared(figure), ends, (4, 0), textcoords="offset points", va="center", fontsize=10)
    for place, known in enumerate(figures.values()):
        if known is None:
            panel.annotate(NONE, (start, place), (4, 0), textcoords="offset points", va="center", color=PALE)
    panel.set_yticks(range(len(figures)), figures)
    panel.tick_params(axis="y", length=0, labelcolor=INK)
    for place in ours:
        panel.get_yticklabels()[place].set(color=STRONG[0], fontweight="bold")
    unit = bars[0][1].unit if bars else ""
    panel.set_xlabel(f"{better(unit)}{', logarithmic' * bool(start)}", fontsize=9, color=PALE, loc="left")
    most = max((figure.value for _, figure in bars), default=0.0)
    panel.xaxis.set_major_locator(FixedLocator(_few_powers(start, most)) if start else NullLocator())
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    panel.tick_params(axis="x", labelsize=9)
    panel.spines["bottom"].set_visible(False)


def _reach(figures: Sequence[Figure], room: float) -> tuple[float, float]:
    """From where to where an axis goes, if what is written at the bars is to have its place; from 0 if it is linear."""
    values = [figure.value for figure in figures]
    least, most = min(values), max(max([figure.value, *(figure.spread or ())]) for figure in figures)
    share = 1 - max(len(compared(figure)) for figure in figures) * LETTER / room
    if least > 0 and max(values) / least > FAR:
        start = 10.0 ** floor(log10(least / 1.5))
        return start, start * (most / start) ** (1 / share)
    return 0.0, (most or 1.0) / share


def _few_powers(start: float, most: float) -> list[float]:
    """Powers of ten for an axis that is short: the first, the last and perhaps one between."""
    powers = range(round(log10(start)), floor(log10(most)) + 1)
    return [10.0**power for power in powers[:: max(1, (len(powers) - 1) // 2)]]


def _lines(curve: Curve) -> Canvas:
    canvas = Canvas(figsize=(WIDTH, 4.9))
    axes = canvas.add_subplot()
    figures = [figure for line in curve.lines.values() for figure in line.values()]
    unit = figures[0].unit
    sizes = sorted({size for line in curve.lines.values() for size in line})
    low, high = _heights(figures, curve.logarithmic)
    if curve.logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(sizes[0] / 1.1, sizes[-1] * 1.1)
        axes.xaxis.set_major_locator(FixedLocator(sizes))
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 200 else (1.0, 3.0)))
        _guides(axes, curve, sizes, (low, high))
    else:
        axes.set_xlim(sizes[0], sizes[-1])
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.set_ylim(low, high)
    for axis, of in ((axes.xaxis, ""), (axes.yaxis, unit)):
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _, of=of: written(value, of if value else "")))
    axes.grid(color="#eaeef2", linewidth=0.8)
    axes.set_xlabel(curve.sizes)
    axes.set_title(
        better(unit) + "; median and quartiles" * any(figure.spread for figure in figures),
        fontsize=9,
        color=PALE,
        fontweight="normal",
    )
    _trace(axes, curve)
    return canvas


def _heights(figures: Sequence[Figure], logarithmic: bool) -> tuple[float, float]:
    """From where to where the upright axis goes. A logarithmic one is not so short that noise looks like a slope."""
    edges = [edge for figure in figures for edge in (figure.value, *(figure.spread or ()))]
    if not logarithmic:
        return min(0.0, *edges), max(edges) * 1.08 or 1.0
    low, high = min(edge for edge in edges if edge > 0) / 3, max(edges) * 1.5
    short = max(1.0, (100 / (high / low)) ** 0.5)
    return low / short, high * short


def _trace(axes: Axes, curve: Curve) -> None:
    """The lines, with a name at the end of each."""
    strong, greys = cycle(STRONG), cycle(GREYS)
    ends = []
    for name, line in curve.lines.items():
        ours = is_holdovers(name, list(curve.lines))
        color, dashes = (next(strong), "-") if ours else next(greys)
        sizes = sorted(line)
        values = [line[size].value for size in sizes]
        spreads = [line[size].spread or (line[size].value,) * 2 for size in sizes]
        lower, upper = zip(*spreads, strict=True)
        axes.fill_between(sizes, lower, upper, color=color, alpha=0.15, linewidth=0)
        marker = "o" if len(sizes) <= 20 else ""
        axes.plot(sizes, values, dashes, color=color, linewidth=2.2 if ours else 1.6, marker=marker, markersize=4)
        ends.append((sizes[-1], values[-1], name, color, ours))
    ends.sort(key=lambda end: end[1])
    heights = apart([_share(axes, end[1]) for end in ends], 0.055)
    for (size, value, name, color, ours), height in zip(ends, heights, strict=True):
        axes.annotate(
            name,
            (size, value),
            (1.02, height),
            textcoords="axes fraction",
            va="center",
            color=color,
            fontweight="bold" if ours else "normal",
            fontsize=10,
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.7,
                "alpha": 0.6,
                "shrinkA": 1,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
        )


def _share(axes: Axes, value: float) -> float:
    """How high a value is in the axes, from 0 to 1."""
    low, high = axes.get_ylim()
    if axes.get_yscale() == "log":
        low, high, value = log10(low), log10(high), log10(value)
    return (value - low) / (high - low)


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Heights at least `gap` apart, as near as can be to those that are wanted, which ascend.

    Example:
        >>> [round(height, 2) for height in apart([0.5, 0.5, 0.9], 0.1)]
        [0.45, 0.55, 0.9]
    """
    groups: list[tuple[float, int]] = []  # of those that touch each other: the height of the first, and how many
    for place, height in enumerate(wanted):
        mean, count = height - place * gap, 1
        while groups and groups[-1][0] > mean:
            other, others = groups.pop()
            mean, count = (mean * count + other * others) / (count + others), count + others
        groups.append((mean, count))
    means = [mean for mean, count in groups for _ in range(count)]
    return [mean + place * gap for place, mean in enumerate(means)]


def _guides(axes: Axes, curve: Curve, sizes: Sequence[int], heights: tuple[float, float]) -> None:
    """Dotted lines as steep as what does not depend on the size, and what grows as it does."""
    low, high = heights
    first, last = sizes[0], sizes[-1]
    start = low * (high / low) ** 0.04
    top = min(last, first * (high / start) ** 0.97)
    for name, size, value in (("O(1)", last, start), ("O(n)", top, start * top / first)):
        axes.plot((first, size), (start, value), ":", color="#8c959f", linewidth=1.1)
        axes.annotate(name, (size, value), (-6, 2), textcoords="offset points", ha="right", color=PALE, fontsize=9)
