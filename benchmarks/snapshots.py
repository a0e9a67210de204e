"""What a snapshot costs whatever the buffer holds, and what iterating over it costs."""

from collections.abc import Iterator
from typing import Any

from benchmarks.lossy import LossyBuffer
from benchmarks.measuring import Row, Run, Scale, alternated, compared, own_copy, paired, timed
from statemachine import BufferConfig, FrozenSnapshot, ReplayBuffer

SAME = 1.25
"""What counts as "the same" on a machine that is not quiet."""

MOST_SECONDS = 100e-6
MOST_ITERATION_RATIO = 2.0
MOST_SECONDS_A_CYCLE = 25e-6
CYCLES = 20
"""How many cycles a run times: enough that it does not matter what the processor's caches held before."""


def snapshots(scale: Scale) -> Iterator[Row]:
    """The rows about begin, finalize, complete, the cycle of an empty window, and iteration."""
    buffers = {size: _filled(size) for size in scale.windows}
    times = alternated({str(size): _begin_and_finalize(buffer) for size, buffer in buffers.items()}, scale.rounds)
    smallest = str(scale.windows[0])
    for size in scale.windows:
        yield compared(
            f"begin_snapshot + finalize_snapshot, {size:,} buffered",
            times[str(size)],
            f"the same, {int(smallest):,} buffered",
            times[smallest],
            most_ratio=SAME,
            most=MOST_SECONDS,
        )
    del buffers
    for size in (scale.windows[0], scale.windows[-1]):
        yield paired(f"complete_replay, {size:,} frozen", _complete(size), "clear", _clear(size), scale.few_rounds)
    yield _empty_cycle(scale)
    yield from _iteration(scale)


def _filled(size: int) -> ReplayBuffer[float]:
    buffer: ReplayBuffer[float] = ReplayBuffer(config=BufferConfig(max_measurements=size + 1))
    buffer.add_measurement("ann", 0.0)
    buffer.add_measurements("ann", [float(number) for number in range(1, size)])
    return buffer


def _begin_and_finalize(buffer: ReplayBuffer[float]) -> Run:
    def both() -> None:
        buffer.begin_snapshot("ann")
        buffer.finalize_snapshot("ann")

    def run() -> float:
        time = timed(both)
        buffer.abort_snapshot("ann")  # gives every measurement back
        return time

    return run


def _complete(size: int) -> Run:
    def run() -> float:
        buffer = _filled(size)
        buffer.begin_snapshot("ann")
        frozen = buffer.finalize_snapshot("ann")
        return timed(frozen.complete)

    return run


def _clear(size: int) -> Run:
    def run() -> float:
        buffer = LossyBuffer(size)
        buffer.add_measurements("ann", [float(number) for number in range(size)])
        return timed(lambda: buffer.clear("ann"))

    return run


def _empty_cycle(scale: Scale) -> Row:
    buffer = _filled(1)
    buffer.clear_buffer("ann")
    lossy = LossyBuffer()

    def cycles() -> None:
        for _ in range(CYCLES):
            with buffer.snapshot("ann"):
                pass

    def gets_and_clears() -> None:
        for _ in range(CYCLES):
            lossy.get("ann")
            lossy.clear("ann")

    return paired(
        "begin, finalize, complete of an empty window",
        lambda: timed(cycles) / CYCLES,
        "get, clear",
        lambda: timed(gets_and_clears) / CYCLES,
        scale.rounds,
        most=MOST_SECONDS_A_CYCLE,
    )


def _iteration(scale: Scale) -> Iterator[Row]:
    for size in (100, scale.long):
        buffer = _filled(size)
        yield _iterated(f"iterate over {size:,} frozen", buffer, scale)
    evicting: ReplayBuffer[float] = ReplayBuffer()
    for number in range(250):
        evicting.add_measurement("ann", float(number))
    yield _iterated("iterate over 100 frozen, after evictions", evicting, scale)


def _iterated(what: str, buffer: ReplayBuffer[float], scale: Scale) -> Row:
    buffer.begin_snapshot("ann")
    frozen: FrozenSnapshot[float] = buffer.finalize_snapshot("ann")
    plain = list(frozen)
    times = max(1, 10_000 // len(plain))
    return paired(
        what, _walks(frozen, times), "a list of them", _walks(plain, times), scale.few_rounds, MOST_ITERATION_RATIO
    )


def walk(measurements: Any, times: int) -> None:
    """Iterate, `times` times."""
    for _ in range(times):
        for _measurement in measurements:
            pass


def _walks(measurements: Any, times: int) -> Run:
    own = own_copy(walk)
    return lambda: timed(lambda: own(measurements, times)) / times
