"""The CSV reader and hostile files: read row by row, or refused in one line; `replay` ends with 0, 1 or 2."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hostile import bad, reading, replaying, run, shown, survived
from hostile_samples import TABLE_BYTES, mutated
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tried import LONG, SEED, tried

HEADER = "Id,Date,Kg\n"
ROW = "ann,4/12/2016 23:59,81.5\n"
BIG = 200_000
"""Characters, more than the `csv` module takes in one field."""

ODD = (
    "",
    " ",
    '"',
    '""',
    "'",
    "\ufeff",
    "\x1a",
    "\x1b[31m",
    "\r",
    "\u2028",
    "=1+1",
    "@x",
    "[bold]",
    "\U0001f600",
    "x" * 300,
)

TIMES = (
    *("2016-04-12", "20160412T235959", "2016-04-12T24:00", "2016-W15-2", "2016-04-12T10:00+99:99", "2016-04-12T10:00Z"),
    *("2016-04-12T10:00-23:59:59.999999", "0001-01-01T00:00+23:59", "9999-12-31T23:59:59-23:59", "0000-00-00", "T"),
    *(
        "1460505599.",
        "1460505599.5",
        "9999999999999",
        "\u0662\u0660\u0661\u0666-04-12",
        "31-12-16",
        "2/29/2015",
        "4/12/2016 12:59 PM",
    ),
    *("4/12/2016 23:59", "13/4/2016 23:59:59.1234567", "24:00:00", "NaT", "-1", "1e9", "99999999999999999999"),
)

NUMBERS = (
    "81.5",
    "-0",
    "1e308",
    "-1.7976931348623157e308",
    "5e-324",
    "1e400",
    "nan",
    "-inf",
    "1_0",
    "0x1",
    "81,5",
    "\u0663",
    "1e",
)

FIELDS = st.one_of(st.sampled_from((*ODD, *TIMES, *NUMBERS, "ann")), st.text(max_size=5))

ROWS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("ann", "bob", *ODD)), st.sampled_from(TIMES), st.sampled_from(NUMBERS)),
        st.lists(FIELDS, max_size=5).map(tuple),
    ),
    max_size=6,
)


def written(rows: list[tuple[str, ...]], delimiter: str, ending: str, encoding: str, quoted: bool, mark: bool) -> bytes:
    """A file of these rows under the header; fields are quoted all or none, whatever stands in them."""
    quote = (lambda text: '"' + text.replace('"', '""') + '"') if quoted else str
    lines = [delimiter.join(map(quote, row)) for row in [("Id", "Date", "Kg"), *rows]]
    return ("\ufeff" * mark + ending.join(lines)).encode(encoding, "surrogatepass")


FILES = st.builds(
    written,
    ROWS,
    st.sampled_from((",", ",", ";", "\t", "|")),
    st.sampled_from(("\n", "\n", "\r\n", "\n\n", "\r\r\n")),
    st.sampled_from(("utf-8", "utf-8", "utf-8", "utf-16", "utf-32")),
    st.booleans(),
    st.booleans(),
).filter(bool)


@settings(max_examples=1_500 if LONG else 40)
@given(st.one_of(FILES, st.binary(max_size=80), st.builds(mutated, st.just(TABLE_BYTES), st.randoms())))
@example((HEADER + "ann,4/12/2016,\u0663\n").encode())
@example((HEADER + "ann,4/12/2016,1,2\n").encode())
@example((HEADER + "ann,2016-04-12T24:00,1\n").encode())
@example((HEADER + '"ann,4/12/2016,1\n').encode())
@example(b"\xef\xbb\xbf\xef\xbb\xbf" + (HEADER + ROW).encode())
def test_any_file_is_read_or_refused(data: bytes) -> None:
    """Whatever stands in it: rows with a user, a time and a finite number, or an error of one line."""
    assert not (wrong := [word for word in reading(data) if word.startswith("BAD")]), f"{wrong}\n{shown(data)}"


CORPUS: dict[str, Callable[[], str]] = {
    "a quote that is never closed": lambda: HEADER + '"ann,4/12/2016,1\n' + ROW * 10_000,
    "a quote that is never closed, of short lines": lambda: HEADER + '"' + "x\n" * BIG,
    "a field of 200,000 characters": lambda: HEADER + "a" * BIG + ",4/12/2016,1\n",
    "a user of 20,000 characters": lambda: HEADER + "a" * 20_000 + ",4/12/2016,1\n",
    "a row of 200,000 fields": lambda: HEADER + "," * BIG + "\n",
    "a line of two million characters": lambda: HEADER + "ann " * (BIG * 5 // 2),
    "quotes and nothing else": lambda: HEADER + '"' * BIG,
    "line ends and nothing else": lambda: "\n" * 20_000,
    "blank lines between rows": lambda: HEADER + ("\n" * 1000 + ROW) * 10,
    "a number of 30,000 digits": lambda: HEADER + f"ann,4/12/2016,{'1' * 30_000}\n",
    "a fraction of 30,000 digits": lambda: HEADER + f"ann,4/12/2016,0.{'1' * 30_000}\n",
    "a time of 30,000 digits": lambda: HEADER + f"ann,{'1' * 30_000},1\n",
    "seconds with a fraction of 30,000 digits": lambda: HEADER + f"ann,1460505599.{'1' * 30_000},1\n",
    "a time with 30,000 spaces": lambda: HEADER + f"ann,4/12/2016{' ' * 30_000}x,1\n",
    "the largest numbers there are": lambda: HEADER + "ann,4/12/2016,1.7e308\nann,4/12/2016,-1.7e308\n" * 20,
    "the smallest numbers there are": lambda: HEADER + "ann,4/12/2016,5e-324\nann,4/12/2016,0\n" * 20,
    "the first and the last times": lambda: (
        HEADER + "ann,0001-01-01T00:00+23:59,1\nann,9999-12-31T23:59:59-23:59,1\n" * 3
    ),
    "a user for each row": lambda: HEADER + "".join(f"u{number},4/12/2016,1\n" for number in range(40)),
    "names that move the cursor": lambda: (
        HEADER + "".join(f"{odd},4/12/2016,1\n" for odd in ("\x1b[2J", "\u202e", "\a"))
    ),
    "names of markup and formulas": lambda: (
        HEADER + "".join(f"{odd},4/12/2016,1\n" for odd in ("[/]", "=1+1", "@a", "{"))
    ),
}
"""Files that cost little to make, and much to who reads them carelessly."""


def test_hostile_files_end_nothing_hang_nothing_and_take_little_memory() -> None:
    """`holdover replay` ends with 0, 1 or 2, in a process of little memory; with a log and without."""
    draw = Random(SEED)
    cases = {name: make().encode() for name, make in CORPUS.items()}
    for number in range(300 if LONG else 4):
        cases[f"mutation {number} of seed {SEED}"] = mutated(TABLE_BYTES, draw)
    outcomes = survived("replaying", cases)
    assert set(outcomes) == set(cases)
    assert not (wrong := bad(outcomes, cases)), "\n".join(wrong)
    tried(inputs=len(cases))


BROKEN: dict[str, Callable[[], str]] = {
    "lines that end with a carriage return only": lambda: (HEADER + ROW).replace("\n", "\r"),
    "a carriage return in the header": lambda: "Id,Da\rte,Kg\n" + ROW,
    "a column whose name has 200,000 characters": lambda: "x" * BIG + "," + HEADER + "1," + ROW,
    "a header of 200,000 columns": lambda: "," * BIG + "\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_these_files_once_broke_something(name: str) -> None:
    """Each is read, or refused in one line."""
    data = BROKEN[name]().encode()
    assert not (wrong := bad({name: replaying(data)}, {name: data})), wrong[0]


def test_a_format_that_names_a_part_twice(tmp_path: Path) -> None:
    """It is refused in one line, as other formats that make no sense."""
    path = tmp_path / "in.csv"
    path.write_text(HEADER + ROW, encoding="utf-8")
    ended = run("replay", str(path), "--user", "Id", "--time", "Date", "--value", "Kg", "--time-format", "%Y%Y")
    assert ended == "replay: 2"
