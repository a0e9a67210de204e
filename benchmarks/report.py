"""The tables: on the console, and with the plots in RESULTS.md. Must not know how anything is measured."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from attrs import asdict, frozen
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.measuring import Grid, Row
from benchmarks.sheets import Item, Sheet, ratio_of, sheets, target_of
from benchmarks.wording import compared, written

CHAPTERS: Mapping[str, tuple[str, ...]] = {
    "1. Alternatives": ("alternatives",),
    "2. Peers": ("peers",),
    "3. Limits": ("limits", "adding", "durable", "postgres"),
    "4. Growth": ("growth", "threads"),
    "5. Soak": ("soak",),
}
"""The sections of each chapter, by its title. Those that are in none come last, together."""

LAST = "6. Everything else"

PEERS = "peers"


@frozen
class Measured:
    """What a section yielded.

    Parameters:
        name: of the section.
        about: in a sentence, what it measures.
        items: its rows, grids and curves.
        seconds: how long it took.
    """

    name: str
    about: str
    items: Sequence[Item]
    seconds: float


def printed(sections: Sequence[Measured], console: Console) -> None:
    """Print all tables."""
    for section in sections:
        console.rule(escape(f"{section.name}: {section.about}"), align="left")
        for sheet in sheets(section.items):
            below = "\n".join(filter(None, [sheet.note, *sheet.remarks]))
            shown = Table(
                title=escape(sheet.title), title_justify="left", caption=escape(below), caption_justify="left"
            )
            for number, heading in enumerate(sheet.headings):
                shown.add_column(escape(heading), justify="right" if number else "left")
            for line in sheet.lines:
                shown.add_row(*map(escape, line))
            console.print(shown)


def saved(sections: Sequence[Measured], head: str, folder: Path) -> Path:
    """Write RESULTS.md and its plots.

    Parameters:
        sections: what was measured.
        head: what RESULTS.md says before the first chapter.
        folder: where it goes, and where the plots get a folder `plots`. Older plots of these sections are removed.
    """
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    parts = [head, *_targets(sections), *_faster(sections)]
    for title, members in _chapters(sections):
        parts.append(f"## {title}")
        for section in members:
            parts += [f"### {section.name}"] * (len(members) > 1) + [section.about, *_body(section, folder)]
    results = folder / "RESULTS.md"
    results.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return results


def head(command: str, machine: str, sections: Sequence[Measured]) -> str:
    """What RESULTS.md says before its first chapter."""
    minutes, seconds = divmod(round(sum(section.seconds for section in sections)), 60)
    return f"""\
# What it costs

Measured by `{command}` in {minutes} min {seconds} s: {machine}. This file and the plots are written by it.

- Every comparison is paired: each round runs all that are compared, in random order, and a ratio is the median of the
  rounds' ratios. So a machine that slows down for a while changes both sides of it.
- Figures are medians; quartiles are in brackets, and in the plots whiskers or bands.
- In tables with a yardstick the ratio is holdover's figure to the yardstick's; in tables with a line for each
  alternative, the ratio in brackets is that alternative's figure to holdover's.
- No absolute time is promised, and nothing here is a test. What counts are ratios and the slopes of the lines."""


def as_json(sections: Sequence[Measured]) -> dict[str, list[Any]]:
    """All that was measured: `rows`, `grids` and `curves`, each of which says its section."""
    found: dict[str, list[Any]] = {"rows": [], "grids": [], "curves": []}
    for section in sections:
        for item in section.items:
            verdict = {"ok": item.ok} if isinstance(item, Row) else {}
            found[f"{type(item).__name__.lower()}s"].append({"section": section.name, **asdict(item), **verdict})
    return found


def _chapters(sections: Sequence[Measured]) -> Iterator[tuple[str, list[Measured]]]:
    """Each chapter of which something was measured."""
    by_name = {section.name: section for section in sections}
    for title, names in CHAPTERS.items():
        if members := [by_name.pop(name) for name in names if name in by_name]:
            yield title, members
    if by_name:
        yield LAST, list(by_name.values())


def _targets(sections: Sequence[Measured]) -> list[str]:
    """How many rows have a target, and which of them do not meet it."""
    rows = [item for section in sections for item in section.items if isinstance(item, Row) and item.ok is not None]
    missed = [
        f"- {row.what}: {written(row.holdover, row.unit)}, {ratio_of(row)}, target {target_of(row)}"
        for row in rows
        if not row.ok
    ]
    if not rows:
        return []
    met = f"Of {len(rows)} figures with a target, {len(rows) - len(missed)} meet it."
    return [f"{met} These do not:", "\n".join(missed)] if missed else [met]


def _faster(sections: Sequence[Measured]) -> list[str]:
    """Where a peer is ahead, whatever else it does or leaves out."""
    found = [
        f"- {column}: {name}, {compared(figure)}"
        for section in sections
        for grid in section.items
        if section.name == PEERS and isinstance(grid, Grid)
        for name, line in grid.lines.items()
        for column, figure in zip(grid.columns, line, strict=True)
        if figure and figure.ratio is not None and figure.ratio < 1 and not name.startswith("holdover")
    ]
    told = "Ahead of holdover among its peers (what each does is said below the tables):"
    return [told, "\n".join(found)] if found else []


def _body(section: Measured, folder: Path) -> Iterator[str]:
    """A section's tables as Markdown, each after its plot, which is drawn here."""
    from benchmarks.plots import draw  # only who draws needs what it imports

    for old in (folder / "plots").glob(f"{section.name}-*.svg"):
        old.unlink()
    if not section.items:
        yield "Nothing was measured; the run said why on standard error."
    for sheet in sheets(section.items):
        yield from filter(None, [sheet.title and f"#### {sheet.title}", sheet.note])
        if sheet.drawn:
            plot = _free(folder / "plots", f"{section.name}-{_slug(sheet.title)}")
            draw(sheet.drawn, plot)
            yield f"![{sheet.title}](plots/{plot.name})"
        yield _markdown(sheet)
        if sheet.remarks:
            yield "\n".join(f"- {remark}" for remark in sheet.remarks)


def _free(folder: Path, name: str) -> Path:
    """A file that is not there yet."""
    names = (f"{name}{f'-{number}' * (number > 1)}.svg" for number in count(1))
    return next(folder / free for free in names if not (folder / free).exists())


def _slug(title: str) -> str:
    """A title's first words, as a file is called."""
    return re.sub(r"[^a-z0-9]+", "-", re.split(r"[,:;(](?!\d)", title.lower())[0]).strip("-")


def _markdown(sheet: Sheet) -> str:
    rules = [":--", *["--:"] * (len(sheet.headings) - 1)]
    lines = ([cell.replace("|", "\\|") for cell in line] for line in (sheet.headings, rules, *sheet.lines))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
