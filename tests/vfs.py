"""A disk that fails, or loses power, where a test says so, under the `sqlite3` module; must not know what is stored.

It is a copy of SQLite's default VFS under another name, registered in the very library that the module is linked with.
Only what must last goes through Python: writing, truncating, syncing and deleting a database, its journal and its WAL.
Reading, locks, shared memory and temporary files stay as they are. What is written by other
processes, or through the ordinary VFS, is not seen.

Example:
    with Disk(path) as disk, closing(sqlite3.connect(disk.uri, uri=True)) as connection:
        with disk.failing(3, sqlite3.SQLITE_IOERR_FSYNC) as fault: ...
        copy = disk.after_power_cut(directory, torn)
"""

import _sqlite3
import ctypes
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from ctypes import CFUNCTYPE, Structure, c_char_p, c_int, c_int64, c_void_p
from math import inf
from pathlib import Path
from random import Random
from threading import RLock
from typing import Any

import pytest
from attrs import frozen

NAME = "faulty"
OPEN_CREATE = 0x4
OPEN_LASTING = 0x100 | 0x800 | 0x80000
"""A database, its rollback journal or its WAL is being opened; nothing else that SQLite opens is to outlive it."""


@frozen
class Change:
    """One operation on one file: "open" (which creates it if need be), "write", "truncate", "sync" or "delete".

    `offset` is where a write begins, or the size that a truncation leaves.
    """

    kind: str
    file: str
    offset: int = 0
    data: bytes = b""

    def halved(self) -> "Change":
        """A write of which half was done; anything else is done whole."""
        return Change(self.kind, self.file, self.offset, self.data[: len(self.data) // 2])


Survivors = Callable[[Sequence[Change]], Iterable[Change]]
"""Which of the changes that were never synced a power cut leaves behind."""


def lost(unsynced: Sequence[Change]) -> Iterable[Change]:
    """Nothing unsynced is found."""
    return ()


def kept(unsynced: Sequence[Change]) -> Iterable[Change]:
    """All of it is found, as when only the process dies."""
    return unsynced


def torn(unsynced: Sequence[Change]) -> Iterable[Change]:
    """All is found, but half of the last write."""
    return [*unsynced[:-1], *(change.halved() for change in unsynced[-1:])]


def some(seed: int) -> Survivors:
    """Each change is found, or half of it, or nothing, independently of the others."""

    def survivors(unsynced: Sequence[Change]) -> Iterable[Change]:
        draw = Random(seed)
        found = ((change, draw.choice(("lost", "halved", "kept"))) for change in unsynced)
        return [change.halved() if fate == "halved" else change for change, fate in found if fate != "lost"]

    return survivors


class Fault:
    """Where a disk fails, how many operations it met, and whether it was reached."""

    def __init__(self, nth: float, code: int, lasting: bool, torn: bool) -> None:
        self.nth, self.code, self.lasting, self.torn = nth, code, lasting, torn
        self.operations, self.reached = 0, False

    def strikes(self) -> bool:
        """Whether the next operation fails."""
        position, self.operations = self.operations, self.operations + 1
        striking = position == self.nth or (self.lasting and position > self.nth)
        self.reached |= striking
        return striking


class Disk:
    """The files of one database: the database, its rollback journal and its WAL. Not those of attached ones.

    To be entered before the database is opened: the files found then count as synced, and closing one of them after
    reading it would drop the locks that this process holds on it.

    Attributes:
        database: its path as SQLite names it, without symbolic links.
        uri: for `sqlite3.connect(disk.uri, uri=True)`.
        changes: what was done since it was entered, in order; its length is the place of a power cut at this moment.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.database = Path(os.path.realpath(path))
        self.uri = f"{self.database.as_uri()}?vfs={NAME}"
        self.changes: list[Change] = []
        self._files = [f"{self.database}{suffix}" for suffix in ("", "-journal", "-wal")]
        self._found: dict[str, bytes] = {}
        self._faults: list[Fault] = []
        # Reentrant, since Python may collect a forgotten connection, and so close it, wherever it allocates memory.
        self._lock = RLock()

    def __enter__(self) -> "Disk":
        assert not DISKS.keys() & set(self._files), f"another disk has {self.database}"
        self._found = {file: Path(file).read_bytes() for file in self._files if os.path.exists(file)}
        DISKS.update(dict.fromkeys(self._files, self))
        return self

    def __exit__(self, *exception: object) -> None:
        """Raises what went wrong in here, if anything did: SQLite was told of an error that nobody asked for."""
        for file in self._files:
            del DISKS[file]
        trouble, TROUBLE[:] = TROUBLE[:], []
        if trouble:
            raise trouble[0]

    @contextmanager
    def failing(
        self, nth: float, code: int = sqlite3.SQLITE_FULL, *, lasting: bool = False, torn: bool = False
    ) -> Iterator[Fault]:
        """Let the nth change from now on (from 0) fail with this code, undone; with `lasting`, all later ones too.

        With `torn`, half of the bytes are written if it is a write.
        """
        fault = Fault(nth, code, lasting, torn)
        with self._lock:
            self._faults.append(fault)
        try:
            yield fault
        finally:
            with self._lock:
                self._faults.remove(fault)

    def counting(self) -> AbstractContextManager[Fault]:
        """Let nothing fail; `operations` says how many changes there were."""
        return self.failing(inf)

    def perform(self, change: Change, call: Callable[[Change], int]) -> int:
        """Make the change by calling what SQLite would have called, unless it is to fail; one at a time."""
        with self._lock:
            striking = [fault for fault in self._faults if fault.strikes()]
            halved = any(fault.torn for fault in striking) and change.kind == "write"
            if halved:
                change = change.halved()
            result = call(change) if halved or not striking else striking[0].code
            if result == sqlite3.SQLITE_OK:
                self.changes.append(change)
            return striking[0].code if striking else result

    def after_power_cut(self, directory: Path, survivors: Survivors = lost, at: int | None = None) -> Path:
        """Write the files into the directory as they are found when power was cut after `at` changes (or now).

        Syncing a file makes durable what was done to it before, its creation included; deleting it is durable at once.
        What a former power cut left in the directory is removed.

        Returns:
            The database among them, to be opened with the ordinary VFS.
        """
        found = {file: bytearray(content) for file, content in self._found.items()}
        unsynced: list[Change] = []
        for change in self.changes[:at]:
            if change.kind not in ("sync", "delete"):
                unsynced.append(change)
                continue
            if change.kind == "sync":
                apply([earlier for earlier in unsynced if earlier.file == change.file], found)
            else:
                found.pop(change.file, None)
            unsynced = [earlier for earlier in unsynced if earlier.file != change.file]
        apply(survivors(unsynced), found)
        database = directory / self.database.name
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{database}{suffix}").unlink(missing_ok=True)
        for file, content in found.items():
            (directory / Path(file).name).write_bytes(content)
        return database


def apply(changes: Iterable[Change], found: dict[str, bytearray]) -> None:
    """Do to these contents what the changes say; a file whose creation is not among them stays away."""
    for change in changes:
        if change.kind == "open":
            found.setdefault(change.file, bytearray())
        elif change.file in found:
            content = found[change.file]
            content.extend(bytes(max(0, change.offset - len(content))))
            stop = len(content) if change.kind == "truncate" else change.offset + len(change.data)
            content[change.offset : stop] = change.data


# What follows speaks to C. Pointers are plain integers and are handed on untouched: SQLite finds a file's parameters
# behind its name, and keeps the name's address.

Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
Delete = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
Sync = CFUNCTYPE(c_int, c_void_p, c_int)


class Vfs(Structure):
    """`struct sqlite3_vfs`."""

    _fields_ = (
        *((name, c_int) for name in ("iVersion", "szOsFile", "mxPathname")),
        *(("pNext", c_void_p), ("zName", c_char_p), ("pAppData", c_void_p), ("xOpen", Open), ("xDelete", Delete)),
        ("rest", c_void_p * 14),
    )


class Methods(Structure):
    """`struct sqlite3_io_methods`, the first word of every `sqlite3_file` points to one."""

    _fields_ = (
        *(("iVersion", c_int), ("xClose", c_void_p), ("xRead", c_void_p)),
        *(("xWrite", Write), ("xTruncate", Truncate), ("xSync", Sync)),
        ("rest", c_void_p * 13),
    )


DISKS: dict[str, Disk] = {}
FILES: dict[int, tuple[str, Methods]] = {}
"""By address, each file opened: its name and the methods it had. A closed one stays until its address is used again."""
OVERRIDDEN: dict[int, Methods] = {}
TROUBLE: list[BaseException] = []


def immortal(value: Any) -> Any:
    """SQLite may use it while the interpreter shuts down, whatever has been collected by then."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
    return value


def callback(prototype: Any) -> Callable[[Callable[..., int]], Any]:
    """Make a function one that C can call; it never raises through C."""

    def wrap(function: Callable[..., int]) -> Any:
        def quiet(*arguments: Any) -> int:
            try:
                return function(*arguments)
            except BaseException as error:
                TROUBLE.append(error)
                return sqlite3.SQLITE_IOERR

        return immortal(prototype(quiet))

    return wrap


def performed(change: Change, call: Callable[[Change], int]) -> int:
    """Through the disk that has the file, if there is one."""
    disk = DISKS.get(change.file)
    return disk.perform(change, call) if disk else call(change)


@callback(Write)
def write(file: int, data: int, amount: int, offset: int) -> int:
    name, methods = FILES[file]
    change = Change("write", name, offset, ctypes.string_at(data, amount))
    return performed(change, lambda change: methods.xWrite(file, data, len(change.data), offset))


@callback(Truncate)
def truncate(file: int, size: int) -> int:
    name, methods = FILES[file]
    return performed(Change("truncate", name, size), lambda change: methods.xTruncate(file, size))


@callback(Sync)
def sync(file: int, flags: int) -> int:
    name, methods = FILES[file]
    return performed(Change("sync", name), lambda change: methods.xSync(file, flags))


def overridden(address: int) -> Methods:
    """A copy of the methods at this address, three of which come here first; the same copy each time."""
    if address not in OVERRIDDEN:
        copy = immortal(Methods.from_buffer_copy(Methods.from_address(address)))
        copy.xWrite, copy.xTruncate, copy.xSync = write, truncate, sync
        OVERRIDDEN[address] = copy
    return OVERRIDDEN[address]


def register(library: ctypes.CDLL) -> None:
    """Register the VFS there; an `AttributeError` if the library does not export what that takes."""
    library.sqlite3_vfs_find.restype = c_void_p
    default = library.sqlite3_vfs_find(None)
    original = Vfs.from_address(default)
    call_open, call_delete = original.xOpen, original.xDelete

    @callback(Open)
    def open_file(vfs: int, name: int | None, file: int, flags: int, granted: int | None) -> int:
        methods = c_void_p.from_address(file)
        methods.value = None
        if name is None or not flags & OPEN_LASTING:
            return int(call_open(default, name, file, flags, granted))
        change = Change("open", os.fsdecode(ctypes.string_at(name)))
        through = performed if flags & OPEN_CREATE else lambda change, call: call(change)
        result = through(change, lambda change: call_open(default, name, file, flags, granted))
        if result == sqlite3.SQLITE_OK and methods.value:
            FILES[file] = change.file, Methods.from_address(methods.value)
            methods.value = ctypes.addressof(overridden(methods.value))
        return result

    @callback(Delete)
    def delete_file(vfs: int, name: int, sync_directory: int) -> int:
        change = Change("delete", os.fsdecode(ctypes.string_at(name)))
        return performed(change, lambda change: call_delete(default, name, sync_directory))

    copy = immortal(Vfs.from_buffer_copy(original))
    copy.zName, copy.xOpen, copy.xDelete = NAME.encode(), open_file, delete_file
    library.sqlite3_vfs_register(ctypes.byref(copy), 0)


def works() -> bool:
    """Whether the `sqlite3` module has come to know the VFS: it does not if SQLite is linked statically."""
    try:
        register(ctypes.CDLL(_sqlite3.__file__))
        sqlite3.connect(f"file:?vfs={NAME}", uri=True).close()
    except (AttributeError, OSError, sqlite3.OperationalError):
        return False
    return True


available = works()
needed = pytest.mark.skipif(not available, reason="the SQLite of this Python does not let itself be given a VFS")
