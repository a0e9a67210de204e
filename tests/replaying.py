"""`holdover replay` in a process of its own, with somebody's function that can be told to die, to wait and to fail."""

import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result

NOON = datetime(2016, 4, 12, 12)
COLUMNS = ("--user", "User", "--time", "Time", "--value", "Kg")

# KILL_EVERY: it kills itself at every so many calls, of all runs. HOLD: it never returns from a call after so many.
# Counted under a lock: two workers that both wrote before either counted would miss the number at which to die.
MINE = r"""
import os, signal, time
from pathlib import Path
from threading import Event, Lock

counting = Lock()

def mine(frozen):
    with counting:
        with open("calls", "a") as calls:
            calls.write(f"{frozen.user_id} {frozen.version}\n")
        count = len(Path("calls").read_text().splitlines())
        if "KILL_EVERY" in os.environ and count % int(os.environ["KILL_EVERY"]) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    if "HOLD" in os.environ and count > int(os.environ["HOLD"]):
        Event().wait()
    if os.environ.get("FAIL") == frozen.user_id and len(frozen) < 8:
        raise ArithmeticError(f"only {len(frozen)}\0\udc80")
    yield {"user": frozen.user_id, "window": frozen.version, "rows": " ".join(str(row.number) for row in frozen)}
    yield {"user": frozen.user_id, "last": frozen[-1].value, "none": None, "odd": "\0\\"}
"""


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it the current directory, with the process to be named."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "process", raising=False)
    (folder / "process.py").write_text(MINE)


def write_rows(folder: Path, count: int, users: tuple[str, ...]) -> None:
    """A file of the users' rows in turn, so many of each."""
    rows = [f"{user},{NOON + timedelta(minutes=minute)},{minute}.5\n" for minute in range(count) for user in users]
    (folder / "in.csv").write_text("".join(["User,Time,Kg\n", *rows]))


def started(folder: Path, *options: str, **environment: str) -> "subprocess.Popen[str]":
    """The command at work."""
    return subprocess.Popen(
        [sys.executable, "-m", "statemachine", "replay", "in.csv", *COLUMNS, *options],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def calls(folder: Path) -> list[tuple[str, int]]:
    """User and version of each call so far."""
    try:
        lines = (folder / "calls").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(user, int(version)) for user, version in map(str.split, lines)]


def summary(result: Result) -> list[str]:
    """What is shown, but for what is said of an earlier run and the name of the output."""
    lines = result.stdout.replace("whole.csv", "out.csv").splitlines()
    return [line for line in lines if "earlier run" not in line and "complete already" not in line]


def refusal(result: Result) -> str:
    """The one line that a command which does nothing shows."""
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    (line,) = result.stderr.splitlines()
    return line
