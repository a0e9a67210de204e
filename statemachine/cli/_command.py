"""What every command shares: errors of one line, and the kinds of its options. Must not know what a command does."""

import re
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import reduce
from importlib import import_module
from math import isfinite
from pathlib import Path
from reprlib import Repr
from typing import Any

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/.*", re.IGNORECASE | re.DOTALL)
_SHORT = Repr()
_SHORT.maxstring = 60


def quoted(text: str) -> str:
    """The text in quotes and on one line, with its middle left out where it is long.

    Example:
        >>> quoted("a" * 100)
        "'aaaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaaa'"
    """
    return _SHORT.repr(text)


def printable(text: str) -> str:
    r"""The text on one line that cannot move the cursor.

    Example:
        >>> print(printable("ann" + chr(10)), end="")
        ann\n
    """
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def written(value: Any, how: Callable[[Any], str] = repr) -> str:
    """A measurement, or a time as it was given; a number of thousands of digits is not written out.

    Example:
        >>> written(81.5), written(10**5000)
        ('81.5', '(int, too large to be shown)')
    """
    try:
        return how(value)
    except ValueError:
        return f"({type(value).__name__}, too large to be shown)"


def described(error: BaseException) -> str:
    """An error on one line.

    Example:
        >>> described(ValueError("of two" + chr(10) + "lines"))
        'ValueError: of two lines'
    """
    return printable(" ".join(f"{type(error).__name__}: {error}".split()))


class BadInput(click.ClickException):
    """Something given is wrong, or cannot be read or written. Shown as one line; the exit code is 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))  # whatever it quotes of other people's errors, one line it is


class OneLineCommand(click.Command):
    """A command whose usage errors are one line as well, without the usage in front."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As `click.Command.make_context`, but raises `BadInput` for what was typed wrongly."""
        given = list(args)
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            message = _without_addresses(error.format_message(), given)
            raise BadInput(f"{message} (holdover {info_name} --help says more)") from None


class OneLineGroup(click.Group):
    """Commands, of which one that is not there may be the address of a database, typed in its place."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See `click.Group.resolve_command`."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(_without_addresses(error.message, args), ctx) from None


def file_path(text: str) -> Path:
    """A file, as the type of a parameter; an address is refused, and not shown, as there may be a password in it."""
    if is_address(text):
        raise click.BadParameter("that is an address; a file is meant.")
    return Path(text)


def is_address(text: str) -> bool:
    """Whether this is an address rather than a file: well-formed or not, and of a database or not.

    Example:
        >>> is_address("postgresql://db.example.org/measurements"), is_address("b.db"), is_address("C:/b.db")
        (True, False, False)
    """
    return _ADDRESS.match(text.strip()) is not None


def _without_addresses(message: str, arguments: list[str]) -> str:
    """The message without what may be an address among the arguments: there may be a password in it."""
    for argument in arguments:
        if found := _ADDRESS.search(argument):
            for form in (found[0], repr(found[0])[1:-1]):
                message = message.replace(form, "an address")
    return message


def duration(text: str) -> timedelta:
    """A length of time, such as 90s, 30m, 72h, 7d or 2w, as the type of an option.

    Example:
        >>> duration("72h")
        datetime.timedelta(days=3)
    """
    match = _DURATION.fullmatch(text.strip())
    try:
        length = timedelta(**{_UNITS[match[2].lower()]: float(match[1])}) if match else timedelta()
    except OverflowError:
        raise click.BadParameter(f"{quoted(text)} is longer than a calendar reaches.") from None
    if not length:
        raise click.BadParameter(f"{quoted(text)} is not a duration such as 90s, 30m, 72h, 7d or 2w.")
    return length


def number(text: str) -> float:
    """A finite number above zero, as the type of an option.

    Example:
        >>> number("1000")
        1000.0
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not isfinite(value) or value <= 0:
        raise click.BadParameter(f"{quoted(text)} is not a finite number above 0.")
    return value


def imported(option: str, name: str, form: str) -> Any:
    """What stands at `module:name`; the module is looked for in the current directory as well.

    Parameters:
        option: the option that was given it, for the error.
        name: as it was given.
        form: what it must look like, for the error.

    Raises:
        BadInput: it does not look like that, or cannot be imported.

    Example:
        >>> imported("--process", "builtins:sum", "module:function") is sum
        True
    """
    module, _, path = name.partition(":")
    if not module or not path:
        raise BadInput(f"{option} {quoted(name)}: must be {form}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return reduce(getattr, path.split("."), import_module(module))
    except (Exception, SystemExit) as error:  # importing runs the user's code, which may raise anything
        raise BadInput(f"{option} {quoted(name)}: {type(error).__name__}: {error}") from None
