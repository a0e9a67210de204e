"""Every error a log raises, each telling what was refused, for which stream or file, and what to do next."""

from typing import Any


class Picklable:
    """An error that can be sent to another process, whatever its constructor takes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (type(self), *getattr(self, "args", ())), vars(self)


def _again(kind: type[Exception], *arguments: Any) -> Exception:
    return kind.__new__(kind, *arguments)  # which sets `args`; the rest is in what is set after it


class LogError(Picklable, Exception):
    """Base of what a log raises."""


class ConflictError(LogError):
    """The stream's head was not the expected one: somebody else appended first. Read again, decide again.

    Parameters:
        stream: the stream's name.
        expected: the head the writer had seen.
        actual: the head there is.
    """

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(f"stream {stream!r}: expected head {expected}, found {actual}; read again and decide again")
        self.stream, self.expected, self.actual = stream, expected, actual


class TruncatedError(LogError):
    """The offsets asked for lie before the first that the log still has.

    Parameters:
        stream: the stream's name.
        offset: the lowest offset asked for.
        start: the first offset that is kept.
    """

    def __init__(self, stream: str, offset: int, start: int) -> None:
        super().__init__(f"stream {stream!r}: offset {offset} was truncated; the first one kept is {start}")
        self.stream, self.offset, self.start = stream, offset, start


class UnsupportedTypeError(LogError, TypeError):
    """The value holds something that the log cannot give back as it was. Nothing was recorded."""


class UnknownTypeError(LogError, LookupError):
    """What is kept holds a type, or a version of one, that this program has not registered. Nothing was changed."""


class LogClosedError(LogError):
    """The log was closed. Nothing was recorded."""


class LogBusyError(LogError):
    """Another process or transaction held the log for longer than the time allowed. Nothing was recorded."""


class LogFullError(LogError):
    """There is no space left for what was to be recorded. Nothing was; what was recorded before can be read."""


class LogUnavailableError(LogError):
    """The log cannot be opened, written or read: a read-only file, a directory, a failing disk, a newer format.

    Nothing was recorded.
    """


class LogDamagedError(LogError):
    """What is kept is not what was recorded: the file was cut, overwritten, or changed by something else."""


class OutcomeUnknownError(LogUnavailableError):
    """The connection was lost while something was being recorded: it is there as a whole or not at all. Look first."""
