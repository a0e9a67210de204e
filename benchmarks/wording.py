"""How figures are written: the one place that knows units. Knows nothing of tables, plots, or what is measured."""

from benchmarks.measuring import Figure

SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))

NONE = "\N{EN DASH}"
"""What stands for a figure that there is not."""

TIMES = "\N{MULTIPLICATION SIGN}"


def written(value: float, unit: str) -> str:
    """A figure with its unit, as one reads it: `"118 µs"`, `"1.5 MB"`, `"12,300/s"`, `"17"`."""
    if unit == "s":
        return _scaled(value, SECONDS)
    if unit == "B":
        return _scaled(value, BYTES)
    if unit == "x":
        return ratio(value)
    return f"{value:,.0f}" if unit == "" and value == round(value) else _three_digits(value) + unit


def ratio(value: float) -> str:
    """A ratio; the finer, the nearer to 1 it is."""
    if 0 < value < 0.1:
        return f"{value:.2g}{TIMES}"
    return (f"{value:,.2f}" if value < 10 else _three_digits(value)) + TIMES


def quartiles(spread: tuple[float, float]) -> str:
    """The quartiles of a ratio."""
    return f"({spread[0]:.2f} to {spread[1]:.2f})"


def compared(figure: Figure | None) -> str:
    """A figure, and how many times holdover's it is."""
    if figure is None:
        return NONE
    value = written(figure.value, figure.unit)
    return value if figure.ratio is None else f"{value} ({ratio(figure.ratio)})"


def in_full(figure: Figure | None) -> str:
    """A figure with its quartiles: those of the ratio where there is one, or else its own."""
    if figure is None:
        return NONE
    value = written(figure.value, figure.unit)
    if figure.ratio is not None and figure.quartiles is not None:
        edges = " to ".join(ratio(edge).rstrip(TIMES) for edge in figure.quartiles)
        return f"{value} ({ratio(figure.ratio)}, {edges})"
    if figure.ratio is None and figure.spread is not None:
        return f"{value} ({' to '.join(written(edge, figure.unit) for edge in figure.spread)})"
    return compared(figure)


def better(unit: str) -> str:
    """Which way is the good one."""
    return "more is better" if unit == "/s" else "less is better"


def _scaled(value: float, scales: tuple[tuple[float, str], ...]) -> str:
    rounded = abs(float(f"{value:.3g}"))
    power, name = next(((power, name) for power, name in scales if rounded >= power), scales[-1])
    return f"{_three_digits(value / power)} {name}"


def _three_digits(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.12g}"
