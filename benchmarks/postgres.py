"""What a log in PostgreSQL costs, beside bare rows in the same server with the same commit setting."""

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import quantiles
from time import sleep, time
from typing import Any

import psycopg

from benchmarks.measuring import Row, Run, Scale, alternated, compared, timed
from benchmarks.postgres_server import Bare, NoServerError, new_schema, server, with_options
from benchmarks.postgres_workers import NUMBER, ROOMY, Workers, workers
from benchmarks.together import together
from events import Codec, PostgresLog
from statemachine import BufferConfig, ReplayBuffer

MOST_RATIO = 1 / 0.7
"""An add, where the yardstick is one bare row: at least 0.7 of its rate."""

MOST_SECONDS_TO_WAKE = 0.1

BOUND = BufferConfig().max_measurements
OFF = "options=-csynchronous_commit%3Doff"
ONE_ROW = "psycopg, an INSERT"
ENCODED = Codec().encode(NUMBER)
QUICK_LOOK, SLOW_LOOK = 0.25, 10.0
SETTLED = 0.05
"""Seconds after which a worker has looked for more, and found nothing."""


def postgres(scale: Scale) -> Iterator[Row]:
    """The rows about `PostgresLog`; none where there is no server."""
    try:
        with server() as address:
            yield from _threads(scale, address, "", scale.connections, MOST_RATIO)
            yield from _threads(scale, with_options(address, OFF), ", synchronous_commit off", (1,), None)
            yield from _bounded(scale, address)
            yield from _batches(scale, address)
            with workers(max(scale.processes)) as processes:
                yield from _processes(scale, address, processes)
                for notifies in (True, False):
                    yield from _wakes(scale, address, processes.first(1), notifies=notifies)
    except NoServerError as error:
        print(f"skipped: {Path(__file__).stem}, since there is no PostgreSQL: {error}", file=sys.stderr)


def _threads(
    scale: Scale, address: str, note: str, numbers: tuple[int, ...], most_ratio: float | None
) -> Iterator[Row]:
    """Each thread has a connection, and a user, of its own."""
    adds, most = scale.server_adds, max(numbers)
    runs: dict[str, Run] = {}
    with ExitStack() as stack:
        schema = stack.enter_context(new_schema(address))
        log = stack.enter_context(PostgresLog[Any](address, schema=schema, max_connections=most))
        bares = [stack.enter_context(Bare(address, schema, ENCODED)) for _ in range(most)]
        buffer = ReplayBuffer(log, ROOMY)
        ours = [_adds(buffer, f"user-{number}", adds) for number in range(most)]
        theirs = [_inserts(bare, adds) for bare in bares]
        for number in numbers:
            runs[f"ours {number}"], runs[f"bare {number}"] = together(ours[:number]), together(theirs[:number])
        times = alternated(runs, scale.few_rounds)
    for number in numbers:
        each = {name: [time / (number * adds) for time in times[f"{name} {number}"]] for name in ("ours", "bare")}
        who = "one connection" if number == 1 else f"{number} connections, each its own user"
        against = ONE_ROW if number == 1 else f"{ONE_ROW}, as many connections"
        yield compared(f"postgres add, {who}{note}", each["ours"], against, each["bare"], most_ratio=most_ratio)


def _bounded(scale: Scale, address: str) -> Iterator[Row]:
    adds = scale.server_adds
    with _beside(address) as (log, bare):
        buffer = ReplayBuffer(log)
        buffer.add_measurements("ann", [NUMBER] * BOUND)
        times = alternated({"ours": _adds(buffer, "ann", adds), "bare": _inserts(bare, adds)}, scale.few_rounds)
    each = {name: [time / adds for time in taken] for name, taken in times.items()}
    yield compared(f"postgres add, at the bound of {BOUND} (each evicts)", each["ours"], ONE_ROW, each["bare"])


def _batches(scale: Scale, address: str) -> Iterator[Row]:
    size = scale.batch
    with _beside(address) as (log, bare):
        buffer, batch = ReplayBuffer(log, ROOMY), [NUMBER] * size
        buffer.add_measurement("ann", NUMBER)
        times = alternated(
            {
                "ours": lambda: timed(lambda: buffer.add_measurements("ann", batch)) / size,
                "COPY": lambda: timed(lambda: bare.copy(size)) / size,
                "executemany": lambda: timed(lambda: bare.insert_many(size)) / size,
            },
            scale.few_rounds,
        )
    for against in ("COPY", "executemany"):
        what = f"postgres add_measurements of {size}, each"
        yield compared(what, times["ours"], f"psycopg, {against}, encoded", times[against])


def _processes(scale: Scale, address: str, processes: Workers) -> Iterator[Row]:
    with new_schema(address) as schema, PostgresLog[Any](address, schema=schema) as log:
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"CREATE TABLE {schema}.results (user_id text, version bigint, mean float8)")
        processes.order("open", address, schema, True)
        yield from _adding_processes(scale, processes)
        yield from _replaying_processes(scale, processes, ReplayBuffer(log))
        processes.order("close")


def _adding_processes(scale: Scale, processes: Workers) -> Iterator[Row]:
    adds, runs = scale.server_adds, {}
    for number in scale.processes[1:]:
        some, users = processes.first(number), [f"adder-{place}" for place in range(number)]
        runs[f"bare {number}"] = _ordered(some, "insert", adds)
        runs[f"each its own user {number}"] = _ordered(some, "add", users, adds)
        runs[f"all one user {number}"] = _ordered(some, "add", users[0], adds)
    times = alternated(runs, scale.few_rounds)
    for number in scale.processes[1:]:
        each = {name: [time / (number * adds) for time in times[name]] for name in runs if name.endswith(str(number))}
        for who in ("each its own user", "all one user"):
            yield compared(
                f"postgres add, {number} processes, {who}",
                each[f"{who} {number}"],
                f"{ONE_ROW}, as many processes",
                each[f"bare {number}"],
            )


def _replaying_processes(scale: Scale, processes: Workers, buffer: ReplayBuffer[Any]) -> Iterator[Row]:
    """How long a replay takes its processes, from when they begin to look until the last of all is completed."""
    users = [f"user-{number}" for number in range(scale.server_users)]

    def replays(number: int, joined: bool) -> Run:
        some = processes.first(number)

        def run() -> float:
            for user in users:
                buffer.add_measurements(user, [NUMBER] * BOUND)
            taken = timed(lambda: some.replay(len(users), joined, QUICK_LOOK))
            some.order("stop")
            return taken / len(users)

        return run

    cases = {False: "", True: ", with a result in one transaction"}
    runs = {f"{number}{cases[joined]}": replays(number, joined) for joined in cases for number in scale.processes}
    times = alternated(runs, scale.server_rounds)
    for name, each in times.items():
        what = f"postgres replay of {BOUND}, worker processes: {name}"
        yield compared(what, each, "one process, without a result", times["1"])


def _wakes(scale: Scale, address: str, other: Workers, *, notifies: bool) -> Iterator[Row]:
    """How long after an add that makes a user due a replay of it begins in another process."""
    how, interval = ("LISTEN", SLOW_LOOK) if notifies else ("polling", QUICK_LOOK)
    with new_schema(address) as schema, PostgresLog[Any](address, schema=schema, notifies=notifies) as log:
        buffer = ReplayBuffer(log)
        buffer.add_measurements("ann", [NUMBER] * BOUND)
        other.order("open", address, schema, notifies)
        other.replay(1, False, interval)
        phase = 0.0 if notifies else interval  # who only looks may be anywhere between two looks
        taken = [_wake(buffer, other, SETTLED + random.uniform(0.0, phase)) for _ in range(scale.wakes)]
        other.order("stop")
        other.order("close")
    most = MOST_SECONDS_TO_WAKE if notifies else None
    cuts = quantiles(taken, n=20, method="inclusive")
    for name, figure in (("median", cuts[9]), ("95th percentile", cuts[18])):
        yield Row(f"postgres wake-up by {how} (a look every {interval:g} s), {name}", "s", figure, most=most)


def _wake(buffer: ReplayBuffer[Any], other: Workers, pause: float) -> float:
    buffer.add_measurements("ann", [NUMBER] * (BOUND - 1))
    sleep(pause)
    added_at = time()
    buffer.add_measurement("ann", NUMBER)
    return other.replayed() - added_at


@contextmanager
def _beside(address: str) -> Iterator[tuple[PostgresLog[Any], Bare]]:
    """A log, and a bare table in its schema."""
    with ExitStack() as stack:
        schema = stack.enter_context(new_schema(address))
        log = stack.enter_context(PostgresLog[Any](address, schema=schema))
        yield log, stack.enter_context(Bare(address, schema, ENCODED))


def _adds(buffer: ReplayBuffer[Any], user: str, times: int) -> Run:
    def add() -> None:
        for _ in range(times):
            buffer.add_measurement(user, NUMBER)

    return lambda: timed(add)


def _inserts(bare: Bare, times: int) -> Run:
    return lambda: timed(lambda: bare.insert(times))


def _ordered(processes: Workers, name: str, *each: Any) -> Run:
    return lambda: timed(lambda: processes.order(name, *each))
