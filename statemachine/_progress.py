"""How a pass shows its progress: a bar on the terminal, a function of the caller's, or not at all."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from statemachine._errors import InvalidArgumentError

logger = logging.getLogger("holdover")

Progress = bool | Callable[[int, int], object]
"""True for a bar, False for nothing, or a function that is called with how many are done and how many there are."""

Advance = Callable[[str], object]
"""Is told that a user is done; it counts once, however often it is told."""


@contextmanager
def shown(progress: Progress, total: int) -> Iterator[Advance]:
    """Show the progress of a pass over `total` users; what it yields is to be told of each that is done.

    Raises:
        InvalidArgumentError: `progress` is neither a function nor a bool, or the bar's package is not installed.
    """
    if callable(progress):
        yield _counting(lambda done: progress(done, total))
    elif progress is True:
        with _bar(total) as show:
            yield _counting(show)
    elif progress is False:
        yield lambda _user_id: None
    else:
        raise InvalidArgumentError(f"progress must be True, False or a function of (done, total), not {progress!r}")


def _counting(show: Callable[[int], object]) -> Advance:
    lock, done = Lock(), set[str]()

    def advance(user_id: str) -> None:
        with lock:  # also while it is shown, so that it counts upwards
            if user_id not in done:
                done.add(user_id)
                try:
                    show(len(done))
                except Exception:
                    logger.exception("showing the progress failed; the replays go on")

    return advance


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], object]]:
    try:
        from rich.progress import Progress as Bar
    except ImportError as error:
        raise InvalidArgumentError("the progress bar needs rich: pip install 'holdover[cli]'") from error
    with Bar(transient=True) as bar:
        task = bar.add_task("replaying", total=total)
        yield lambda done: bar.update(task, completed=done)
