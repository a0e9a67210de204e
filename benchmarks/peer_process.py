"""python-statemachine, which cannot be installed beside holdover: where it is installed, and the process it runs in."""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from benchmarks import peer_worker

REQUIREMENT = "python-statemachine>=3.2,<4"
PLACE = Path(__file__).resolve().parents[1] / "build" / "python-statemachine"


class PythonStatemachine:
    """A process with python-statemachine that waits to be told what to measure, so that it can take part in a round."""

    def __enter__(self) -> "PythonStatemachine":
        self._process = subprocess.Popen(
            [sys.executable, "-P", peer_worker.__file__],
            env={**os.environ, "PYTHONPATH": str(PLACE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def told(self, what: str, number: int) -> float:
        """Its answer; see `peer_worker`."""
        assert self._process.stdin
        assert self._process.stdout
        print(what, number, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())


def installed() -> bool:
    """Whether python-statemachine is there. On first use it is installed into build/, where only its process looks."""
    if not (PLACE / "statemachine").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
        command += ["--target", str(PLACE), REQUIREMENT]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            why = next((line for line in reversed(done.stderr.splitlines()) if line), "pip failed")
            print(f"skipped: python-statemachine, since it cannot be installed: {why}", file=sys.stderr)
            return False
    return True
