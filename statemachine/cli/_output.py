"""Writing a file all at once or not at all. Must not know what stands in it."""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from statemachine.cli._command import BadInput


@contextmanager
def written(path: Path) -> Iterator[TextIO]:
    """A text file that takes its place at `path` when the block ends well, and leaves no trace when it does not.

    Raises:
        BadInput: it cannot be written. Whether that can be is found out on entry, so enter before the work begins.
    """
    path = path.resolve()  # a link stays a link
    if path.exists() and not path.is_file():
        raise BadInput(f"{path}: cannot be written: {'is a directory' if path.is_dir() else 'is not a regular file'}")
    if path.exists() and not os.access(path, os.W_OK):
        raise BadInput(f"{path}: cannot be written: Permission denied")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w", encoding="utf-8", newline="") as file:
            yield file
        os.replace(partial, path)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def write_rows(file: TextIO, columns: Iterable[str], rows: Iterable[Mapping[str, Any]], delimiter: str) -> None:
    """Write rows as CSV under a header: the given columns, then whatever else the rows have, as it first comes up."""
    rows = list(rows)
    names = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    writer = csv.DictWriter(file, names, delimiter=delimiter, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
