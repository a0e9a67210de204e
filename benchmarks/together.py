"""Several threads at once. Knows nothing of what they do."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from benchmarks.measuring import Run, timed


def together(works: Sequence[Run]) -> Run:
    """A run in which each of these runs in a thread of its own; seconds from when all are ready until the last ends."""

    def run() -> float:
        ready = Barrier(len(works) + 1)

        def work(one: Run) -> None:
            ready.wait()
            one()

        with ThreadPoolExecutor(len(works)) as pool:
            threads = [pool.submit(work, one) for one in works]
            ready.wait()
            return timed(lambda: [thread.result() for thread in threads])

    return run
