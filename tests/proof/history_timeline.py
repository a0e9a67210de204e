"""`explained`: a history that nothing explains, shown so that one understands it. Must not know how it was recorded."""

import sys
from itertools import chain
from os.path import relpath
from pathlib import Path

from history_checker import Failure, check
from history_recording import History
from history_values import REFUSED, RETURNED, UNKNOWN, Operation, State

SHOWN = 25
"""How many operations before the one that nothing explains are shown."""

WIDTH = 36
"""Of a thread's column."""

SAVED = Path(__file__).parents[2] / "build" / "histories"
"""Where histories without an explanation are kept."""


def explained(history: History, name: str) -> list[Operation]:
    """Its operations; an `AssertionError` that shows the shortest part that nothing explains, if there is one."""
    by_user = history.by_user()
    for user, operations in by_user.items():
        failure = check(operations, history.model)
        if failure is not None:
            path = SAVED / f"{name}-{history.seed}.json"
            history.save(path)
            raise AssertionError(_shown(user, failure) + _again(path, history.seed))
    return list(chain.from_iterable(by_user.values()))


def _shown(user: str, failure: Failure) -> str:
    states = "\n".join(f"    {_stands(state)}" for state in failure.states[:3])
    more = f"\n    or in {len(failure.states) - 3} other ways" if len(failure.states) > 3 else ""
    return (
        f"no order of user {user!r}'s operations explains what {failure.odd.by} was told: {told(failure.odd)}\n"
        f"  before that the buffer may have stood so:\n{states}{more}\n"
        f"  the shortest history without an explanation has {len(failure.operations)} operations; the latest, with "
        f"times in milliseconds:\n{timeline(failure)}\n"
    )


def _latest(failure: Failure) -> list[Operation]:
    """The latest, and whatever else was under way when the first of these began."""
    shown = [*failure.operations[-SHOWN:], failure.odd]
    start = min(one.called for one in shown)
    return [one for one in failure.operations if one in shown or one.returned is None or one.returned >= start]


def _again(path: Path, seed: int) -> str:
    return (
        f"  check it again:  python {relpath(__file__)} {relpath(path)}\n"
        f"  record another from the same programs:  this test with HOLDOVER_SEED={seed}, in the profile of this run"
    )


def timeline(failure: Failure) -> str:
    """A line for each operation, in the column of its thread, by the time at which it began."""
    operations, odd = _latest(failure), failure.odd
    first = min(one.called for one in failure.operations)
    threads = sorted({_thread(one) for one in operations})
    lines = [f"  {'called':>10} {'answered':>10}   " + "".join(f"{thread:<{WIDTH}}" for thread in threads).rstrip()]
    for one in operations:
        ended = "?" if one.returned is None or not one.known else f"{(one.returned - first) / 1e6:.3f}"
        column = " " * WIDTH * threads.index(_thread(one))
        mark = ">" if one is odd else " "
        lines.append(f"{mark} {(one.called - first) / 1e6:>10.3f} {ended:>10}   {column}{told(one, WIDTH - 2)}")
    return "\n".join(lines)


def told(operation: Operation, width: int = 200) -> str:
    """What was asked, and what was answered."""
    argument = "" if operation.argument is None else repr(operation.argument)
    answers = {RETURNED: operation.output, UNKNOWN: "?", REFUSED: operation.output}
    answer = answers.get(operation.outcome, f"nothing recorded ({operation.output})")
    text = f"{operation.name}({argument}) -> {answer}".replace("'", "")
    return text if len(text) <= width else text[: width - 1] + "…"


def _thread(operation: Operation) -> str:
    return operation.by.partition("/")[0].partition(">")[0]


def _stands(state: State) -> str:
    frozen, pending = (" ".join(str(measurement) for _, measurement in part) for part in (state.older, state.pending))
    held = f"live [{frozen}]" if state.frozen_offset is None else f"frozen [{frozen}] pending [{pending}]"
    return f"{state.phase}, version {state.version}, head {state.head}, committed {state.committed}, {held}"


if __name__ == "__main__":
    for _path in sys.argv[1:]:
        _operations = explained(History.load(Path(_path)), Path(_path).stem)
        sys.stdout.write(f"{_path}: {len(_operations)} operations, and an order that explains them\n")
