"""Hostile input: what is done with it, and a child process that survives it, or not. Must not know how it is made.

Run by itself (`python hostile.py decoding < cases`) it is that child.
"""

import pickle
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from functools import cache, partial
from itertools import chain, islice
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from events import LogDamagedError, LogError, SqliteLog, UnknownTypeError
from events._codec import Codec
from statemachine import BufferConfig, ReplayBuffer, ReplayBufferError
from statemachine._kept import KEPT

USERS = ("ann", "bob", "cyd", "dan", "eve", "fay")
"""Who may be in a log."""

MEMORY = 1 << 28
"""Bytes that a child may take beyond what it has when it begins: some hundred times the largest input."""

SECONDS = 60
"""Of the processor, that a child may take for one input: some hundred times what any takes."""

PATIENCE = 1.0
"""The same for one question; Python code is then interrupted, so that one that hangs does not hide the others."""

MOST = 10_000
"""Characters that an error about an input may have."""


def shown(data: bytes) -> str:
    """An input to be pasted; of a long one the ends, since its name says how it is made."""
    if len(data) <= 300:
        return f"bytes.fromhex({data.hex()!r})"
    return f"{len(data):,} bytes: {data[:60].hex()}...{data[-20:].hex()}"


def escaped(error: BaseException) -> str:
    """What went wrong, and in which function of the library."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/tests/" not in frame.filename]
    ours = [frame for frame in frames if "/events/" in frame.filename or "/statemachine/" in frame.filename]
    where = "".join(f" in {Path(frame.filename).stem}.{frame.name}" for frame in ours[-1:])
    return f"{type(error).__name__}{where}: {error!s:.80}"


class HangsError(BaseException):
    """A question took too long; no Exception, so that nobody takes it for an answer."""


def impatient(_signal: int, _frame: object) -> None:
    raise HangsError(f"takes more than {PATIENCE} s")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those in whose place it came."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def told(question: Callable[[], object], allowed: tuple[type[Exception], ...]) -> str:
    """The name of the error that a question ends with, or "answered"; what is not allowed is told with its place.

    An error's text has to be short: it is for somebody to read.
    """
    if signal.getsignal(signal.SIGVTALRM) is impatient:
        signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE)
    try:
        question()
    except allowed as error:
        length = len(str(error))
        if any(isinstance(cause, MemoryError) for cause in causes(error)):
            return "BAD: MemoryError, told as something else"
        return type(error).__name__ if length <= MOST else f"BAD: {type(error).__name__} of {length:,} characters"
    except (Exception, HangsError) as error:
        return f"BAD: {escaped(error)}"
    return "answered"


@cache
def codecs() -> tuple[Codec, Codec]:
    """One that refuses what it does not know, and one that shows it."""
    return Codec(KEPT), Codec(KEPT, lenient=True)


def decoding(data: bytes) -> set[str]:
    """A measurement, a state and events of these bytes are read."""
    questions = [
        question
        for codec in codecs()
        for question in (
            partial(codec.decode, data),
            *(partial(codec.decode_event, name, data) for name in ("SnapshotBegun", "Nothing")),
        )
    ]
    return {told(question, (LogDamagedError, UnknownTypeError)) for question in questions}


def reading(data: bytes) -> set[str]:
    """A CSV file of these bytes is read, row by row; what is given out as a row is one."""
    from statemachine.cli._command import BadInput
    from statemachine.cli._table import Table
    from statemachine.cli._times import Times

    def read() -> None:
        times = Times()
        for row in Table(path, "Id", "Date", "Kg").rows(times.read):
            assert row.user, "a row of nobody"
            assert isfinite(row.value), "a value that is no number"
            assert isinstance(row.time, datetime), "a time that is none"
            assert len(row.columns) == len(row.header), "a ragged row"

    with TemporaryDirectory() as directory:
        path = Path(directory) / "hostile.csv"
        path.write_bytes(data)
        return {told(read, (BadInput,))}


def replaying(data: bytes) -> set[str]:
    """A CSV file of these bytes is given to `holdover replay`; with a log, too, where it is small."""
    with_log = len(data) < 1000
    with TemporaryDirectory() as directory:
        path = Path(directory) / "hostile.csv"
        path.write_bytes(data)
        how = ("--user", "Id", "--time", "Date", "--value", "Kg", "--every", "3", "--output", f"{directory}/out.csv")
        found = {run("replay", str(path), *how)}
        return found | {run("replay", str(path), *how, "--log", f"{directory}/buffer.db")} if with_log else found


def run(*arguments: str) -> str:
    """What a command ends with: its exit code, which is 0, 1 or 2."""
    from click.testing import CliRunner

    from statemachine.cli import holdover

    codes: list[int] = []
    ended = told(lambda: codes.append(CliRunner().invoke(holdover, arguments, catch_exceptions=False).exit_code), ())
    if not codes:
        return f"{ended} ({arguments[0]})"
    return f"{'' if codes[0] in (0, 1, 2) else 'BAD: '}{arguments[0]}: {codes[0]}"


def looking(data: bytes) -> set[str]:
    """A log's file of these bytes is asked everything, and gone on with; and shown by the command line."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "hostile.db"
        path.write_bytes(data)
        return set(until_it_hangs(chain(commands(path), calls(path))))


def until_it_hangs(words: Iterator[str]) -> Iterator[str]:
    """What is told up to a question that takes all the time or memory there is: the others would, too."""
    for word in words:
        yield word
        if word.startswith(("BAD: HangsError", "BAD: MemoryError")):
            return


def commands(path: Path) -> Iterator[str]:
    """What `holdover log`, `state` and `audit` end with, which have exit codes for what is wrong."""
    yield run("audit", str(path))
    yield run("log", str(path))
    for user in USERS[1:4:2]:
        yield run("log", str(path), user)
        yield run("state", str(path), user)


def calls(path: Path) -> Iterator[str]:
    """What an application's calls end with."""
    opened: list[SqliteLog[Any]] = []
    yield told(lambda: opened.append(SqliteLog(path, durability="off")), (LogError,))
    for log in opened:
        config = BufferConfig(max_measurements=3, pending_factor=1)
        with closing(ReplayBuffer(log, config, clock=lambda: 300.0)) as buffer:
            for question in questions(log, buffer):
                yield told(question, (LogError, ReplayBufferError))


def questions(log: SqliteLog[Any], buffer: ReplayBuffer[Any]) -> Iterator[Callable[[], object]]:
    """Whatever can be asked and done."""
    yield lambda: list(islice(log.streams(), 100))
    yield from (partial(ask, 1e9) for ask in (log.overdue, log.due, log.next_due))
    yield log.shelved
    for user in USERS:
        yield partial(log.position, user)
        yield partial(log.recorded_before, user, 500.0)
        yield lambda user=user: list(islice(buffer.events(user), 100))  # type: ignore[misc]
        yield from (partial(ask, user) for ask in (buffer.state, buffer.measurements, buffer.pending, buffer.audit))
        yield partial(buffer.add_measurement, user, "more")
        yield partial(buffer.begin_snapshot, user)
        yield partial(buffer.finalize_snapshot, user)
        yield partial(buffer.complete_replay, user)
    yield buffer.expire_overdue


def survived(target: str, cases: Mapping[str, bytes]) -> dict[str, set[str]]:
    """What each case ended with in a child of little memory; one that ends the child is told, and the rest tried.

    Parameters:
        target: the name of the function of this module that is given each.
        cases: inputs by name.
    """
    outcomes: dict[str, set[str]] = {}
    while left := {name: data for name, data in cases.items() if name not in outcomes}:
        child = subprocess.run([sys.executable, __file__, target], input=pickle.dumps(left), capture_output=True)
        done = [pickle.loads(bytes.fromhex(line)) for line in child.stdout.decode().split()]
        outcomes |= dict(done)
        if child.returncode:
            culprit = next(name for name in left if name not in outcomes)
            outcomes[culprit] = {f"BAD: {_ending(child)}"}
    return outcomes


def _ending(child: subprocess.CompletedProcess[bytes]) -> str:
    if child.returncode == -signal.SIGPROF:
        return f"takes more than {SECONDS} seconds"
    if child.returncode < 0:
        return f"kills the process by {signal.Signals(-child.returncode).name}"
    return f"ends the process: {child.stderr.decode()[-300:]}"


def bad(outcomes: Mapping[str, set[str]], cases: Mapping[str, bytes]) -> list[str]:
    """The cases that ended otherwise than they may, each with its input."""
    return [
        f"{name}: {'; '.join(wrong)}\n    {shown(cases[name])}"
        for name, found in outcomes.items()
        if (wrong := sorted(word for word in found if word.startswith("BAD")))
    ]


def main(target: str) -> None:
    """Be the child."""
    cases: dict[str, bytes] = pickle.load(sys.stdin.buffer)
    act: Callable[[bytes], set[str]] = globals()[target]
    act(b"")  # what is imported on the way belongs to nobody's memory
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGVTALRM, impatient)
    for name, data in cases.items():
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # whose signal ends the process, wherever it is
        print(pickle.dumps((name, act(data))).hex(), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
