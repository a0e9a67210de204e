"""How close an add comes to the least that can be done: a list, a row in a table, a few bytes on the disk."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any

from benchmarks.adding import add_all
from benchmarks.lossy import LossyBuffer
from benchmarks.measuring import Figure, Grid, Run, Scale, alternated, figure, own_copy, timed
from benchmarks.postgres_server import Bare as BareTable
from benchmarks.postgres_server import NoServerError, new_schema, server
from benchmarks.rivals import Bare, let_grow, on_disk
from events import Codec, PostgresLog, SqliteLog
from statemachine import BufferConfig, ReplayBuffer

NUMBER = 81.5
ENCODED = Codec().encode(NUMBER)
ROOMY = BufferConfig(max_measurements=10**9)

ADDS, BATCHES = 10_000, 20
DURABLE_ADDS = 20
"""How many calls a run times."""

LENGTH = 2**22
"""Bytes of the file that is written to: about those of a write-ahead log."""

HOLDOVER = "holdover"

Jobs = Mapping[str, tuple[Run | None, Run]]
"""By who does it: adding one by one, and many at once; both in seconds for each that is added."""


def limits(scale: Scale) -> Iterator[Grid]:
    """A grid for each log. What is beside holdover keeps measurements and does nothing else."""
    note = "One thread, one user, numbers."
    yield _grid("An add in memory, beside a list", note, scale, scale.rounds, _in_memory(scale.batch))
    with on_disk() as name, ExitStack() as stack:
        note = (
            'One thread, one user, numbers, `durability="full"`: what is added is on the disk before the call returns. '
            "All keep the same bytes. `sqlite3` has the same pragmas; bare bytes overwrite a file of full length."
        )
        jobs = _on_disk(Path(name), scale.batch, stack)
        yield _grid("A durable add on a file, beside a row and bare bytes", note, scale, scale.rounds, jobs)
    try:
        with server() as address, ExitStack() as stack:
            note = "One connection, one user, numbers; the same server and commit setting, prepared statements."
            jobs = _on_a_server(address, scale, stack)
            yield _grid("An add in PostgreSQL, beside an INSERT", note, scale, scale.few_rounds, jobs)
    except NoServerError as error:
        print(f"skipped: limits of PostgreSQL, since there is none: {error}", file=sys.stderr)


def _grid(title: str, note: str, scale: Scale, rounds: int, jobs: Jobs) -> Grid:
    runs = {f"{name} {place}": run for name, both in jobs.items() for place, run in enumerate(both) if run is not None}
    times = alternated(runs, rounds)

    def of(name: str, place: int) -> Figure | None:
        ours = None if name == HOLDOVER else times[f"{HOLDOVER} {place}"]
        return figure(times[f"{name} {place}"], ours) if f"{name} {place}" in times else None

    columns = ("an add", f"each of {scale.batch:,} added at once")
    return Grid(title, note, columns, {name: [of(name, 0), of(name, 1)] for name in jobs}, columns)


def _in_memory(size: int) -> Jobs:
    batch, measurements, lock = [NUMBER] * size, [NUMBER] * ADDS, Lock()
    bare, locked = own_copy(append_all), own_copy(append_all_locked)

    def extend_locked(items: list[float]) -> None:
        with lock:
            items.extend(batch)

    def of_buffer(make: Callable[[], Any]) -> tuple[Run, Run]:
        own, work = own_copy(add_all), [("ann", NUMBER)] * ADDS

        def fresh() -> Any:
            buffer = make()
            buffer.add_measurement("ann", NUMBER)
            return buffer

        def at_once() -> float:
            buffer = fresh()
            return _repeated(lambda: buffer.add_measurements("ann", batch), BATCHES) / size

        return lambda: own(fresh().add_measurement, work), at_once

    def of_list(append: Callable[[list[float]], float], extend: Callable[[list[float]], object]) -> tuple[Run, Run]:
        def at_once() -> float:
            items: list[float] = []
            return _repeated(lambda: extend(items), BATCHES) / size

        return lambda: append([]) / ADDS, at_once

    return {
        HOLDOVER: of_buffer(lambda: ReplayBuffer(config=ROOMY)),
        "lossy buffer": of_buffer(lambda: LossyBuffer(10**9)),
        "a list under a lock": of_list(lambda items: locked(lock, items.append, measurements), extend_locked),
        "a list": of_list(lambda items: bare(items.append, measurements), lambda items: items.extend(batch)),
    }


def _on_disk(folder: Path, size: int, stack: ExitStack) -> Jobs:
    buffer = stack.enter_context(ReplayBuffer(SqliteLog[float](folder / "ours.db"), ROOMY))
    buffer.add_measurement("ann", NUMBER)
    let_grow(folder / "ours.db")
    bare = stack.enter_context(Bare(folder / "bare.db", ENCODED))
    file = BareFile(folder / "bytes")
    stack.callback(file.close)
    batch, work, own = [NUMBER] * size, [("ann", NUMBER)] * DURABLE_ADDS, own_copy(add_all)
    return {
        HOLDOVER: (
            lambda: own(buffer.add_measurement, work),
            lambda: timed(lambda: buffer.add_measurements("ann", batch)) / size,
        ),
        "sqlite3, INSERT and commit": (bare.rows(DURABLE_ADDS), lambda: timed(lambda: bare.many(size)) / size),
        "write and fdatasync": (
            lambda: _repeated(lambda: file.write(ENCODED), DURABLE_ADDS),
            lambda: timed(lambda: file.write(ENCODED * size)) / size,
        ),
    }


def _on_a_server(address: str, scale: Scale, stack: ExitStack) -> Jobs:
    schema = stack.enter_context(new_schema(address))
    buffer = stack.enter_context(ReplayBuffer(PostgresLog[float](address, schema=schema), ROOMY))
    buffer.add_measurement("ann", NUMBER)
    bare = stack.enter_context(BareTable(address, schema, ENCODED))
    size, adds = scale.batch, scale.server_adds
    batch, work, own = [NUMBER] * size, [("ann", NUMBER)] * adds, own_copy(add_all)
    return {
        HOLDOVER: (
            lambda: own(buffer.add_measurement, work),
            lambda: timed(lambda: buffer.add_measurements("ann", batch)) / size,
        ),
        "psycopg, INSERT": (
            lambda: timed(lambda: bare.insert(adds)) / adds,
            lambda: timed(lambda: bare.insert_many(size)) / size,
        ),
        "psycopg, COPY": (None, lambda: timed(lambda: bare.copy(size)) / size),
    }


class BareFile:
    """A file of a fixed length, which is overwritten from its beginning again and again."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT)
        self._at = 0
        os.pwrite(self._file, bytes(LENGTH), 0)
        os.fsync(self._file)

    def write(self, data: bytes) -> None:
        """Have this on the disk."""
        if self._at + len(data) > LENGTH:
            self._at = 0
        self._at += os.pwrite(self._file, data, self._at)
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)


def append_all(append: Callable[[float], None], measurements: list[float]) -> float:
    """Append everything; seconds altogether."""
    start = perf_counter()
    for measurement in measurements:
        append(measurement)
    return perf_counter() - start


def append_all_locked(lock: Any, append: Callable[[float], None], measurements: list[float]) -> float:
    """Append everything, each under the lock; seconds altogether."""
    start = perf_counter()
    for measurement in measurements:
        with lock:
            append(measurement)
    return perf_counter() - start


def _repeated(call: Callable[[], object], times: int) -> float:
    """Seconds a call."""
    return timed(lambda: [call() for _ in range(times)]) / times
