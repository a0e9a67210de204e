"""`Table`: the rows of a CSV file, read as a stream. Must not know buffers, replays or how times are written."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from math import isfinite
from pathlib import Path

from attrs import field, frozen

from statemachine.cli._command import BadInput, quoted

DELIMITERS = ",;\t"
REPORT_EVERY = 1000
"""After how many lines the progress is told again."""


def _nobody(_bytes: int) -> None:
    """Whom the progress is told when nobody wants to know."""


@frozen
class Row:
    """One row of the file: what a replay gets as a measurement.

    Attributes:
        user: whose it is.
        time: when it was measured; has a time zone if the file's times have one.
        value: what was measured, a finite number.
        number: the line of the file on which it stands; the header is line 1.
        header: the names of all columns.
        fields: what stands in them, as text.

    Example:
        >>> row = Row("ann", datetime(2016, 4, 12), 81.5, 2, ("Id", "Date", "Kg"), ("ann", "4/12/2016", "81.5"))
        >>> row.columns
        {'Id': 'ann', 'Date': '4/12/2016', 'Kg': '81.5'}
    """

    user: str
    time: datetime
    value: float
    number: int
    header: tuple[str, ...] = field(repr=False)
    fields: tuple[str, ...] = field(repr=False)

    @property
    def columns(self) -> dict[str, str]:
        """The row as it stands in the file: text by column name."""
        return dict(zip(self.header, self.fields, strict=True))


class Table:
    """A CSV file with a header, separated by commas, semicolons or tabs, in UTF-8.

    Parameters:
        path: the file.
        user, time, value: the names of the columns that matter.

    Attributes:
        header: the names of all columns.
        delimiter: what separates them: the one that finds the wanted columns, or else the most.
        size: bytes of the file.

    Raises:
        BadInput: there is no such file, it cannot be read or is empty, or it has no such column.
    """

    def __init__(self, path: Path, user: str, time: str, value: str) -> None:
        self.path, self._wanted = path, (user, time, value)
        self.size = self._regular_size()
        first = next((line for line in self._lines(_nobody) if line.strip("\r\n")), None)
        if first is None:
            raise self.bad("the file is empty")
        self.delimiter, self.header = max(
            ((delimiter, self._header(first, delimiter)) for delimiter in DELIMITERS),
            key=lambda found: (set(self._wanted) <= set(found[1]), len(found[1])),
        )
        if repeated := [name for name, count in Counter(self.header).items() if count > 1]:
            raise self.bad(f"the header has the column {quoted(repeated[0])} more than once")
        self._places = [self._place(name) for name in self._wanted]

    def rows(self, read_time: Callable[[str], datetime], report: Callable[[int], object] = _nobody) -> Iterator[Row]:
        """The rows in the file's order; blank lines are passed over.

        Parameters:
            read_time: reads a time, or raises `ValueError` with what is wrong.
            report: is told now and then how many bytes have been read.

        Raises:
            BadInput: a row cannot be read; says which and why.
        """
        reader = csv.reader(self._lines(report), delimiter=self.delimiter, strict=True)
        filled = filter(None, reader)
        try:
            next(filled, None)  # the header
            for fields in filled:
                yield self._row(tuple(fields), reader.line_num, read_time)
        except csv.Error as error:
            raise self.bad(f"is not a row of a CSV file: {error}", reader.line_num) from None

    def bad(self, what: str, number: int | None = None, column: str | None = None) -> BadInput:
        """The error that names file, row and column."""
        row = "" if number is None else f", row {number}"
        place = "" if column is None else f", column {quoted(column)}"
        return BadInput(f"{self.path}{row}{place}: {what}")

    def _row(self, fields: tuple[str, ...], number: int, read_time: Callable[[str], datetime]) -> Row:
        if len(fields) != len(self.header):
            raise self.bad(f"{len(fields)} fields, but the header has {len(self.header)}", number)
        user, time, value = (fields[place].strip() for place in self._places)
        if not user:
            raise self.bad("the user is missing", number, self._wanted[0])
        try:
            moment = read_time(time)
        except ValueError as error:
            raise self.bad(str(error), number, self._wanted[1]) from None
        try:
            amount = self._number(value)
        except ValueError:
            raise self.bad(f"cannot read {quoted(value)} as a finite number", number, self._wanted[2]) from None
        return Row(user, moment, amount, number, self.header, fields)

    def _number(self, text: str) -> float:
        if self.delimiter == ";":  # whoever separates columns by semicolons writes 72,5
            text = text.replace(",", ".")
        number = float(text)
        if "_" in text or not isfinite(number):
            raise ValueError(text)
        return number

    def _regular_size(self) -> int:
        if self.path.is_dir():
            raise self.bad("is a directory, not a file")
        if self.path.exists() and not self.path.is_file():
            raise self.bad("is not a regular file; it has to be read twice, so save it first")
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise self.bad(f"cannot be read: {error.strerror}") from None

    def _lines(self, report: Callable[[int], object]) -> Iterator[str]:
        """The lines as text, decoded one by one so that an error knows its line."""
        try:
            with open(self.path, "rb") as file:
                for number, line in enumerate(file, 1):
                    yield self._text(line, number)
                    if number % REPORT_EVERY == 0:
                        report(file.tell())
        except OSError as error:
            raise self.bad(f"cannot be read: {error.strerror}") from None

    def _text(self, line: bytes, number: int) -> str:
        if b"\0" in line:
            raise self.bad("is binary, not text", number)
        try:
            return line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise self.bad("is not text in UTF-8", number) from None

    def _header(self, line: str, delimiter: str) -> tuple[str, ...]:
        try:
            return tuple(name.strip() for name in next(csv.reader([line], delimiter=delimiter)))
        except csv.Error as error:
            raise self.bad(f"the header is not a row of a CSV file: {error}") from None

    def _place(self, name: str) -> int:
        if name not in self.header:
            names = ", ".join(quoted(column) for column in self.header)
            raise self.bad(f"there is no column {quoted(name)}; the columns are {names}")
        return self.header.index(name)
