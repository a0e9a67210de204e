"""What a whole application pays: the weight-tracking service of examples/ on holdover, and on the usual buffer."""

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.lossy import LossyBuffer
from benchmarks.measuring import Row, Run, Scale, paired

MOST_RATIO = 1.05
WINDOW = 250

PATH = Path(__file__).parents[1] / "examples" / "weight_service.py"


def applying(scale: Scale) -> Iterator[Row]:
    """The row about the application."""
    example = _example()
    weighings = list(example.generated(seed=1, each=scale.weighings))
    with tempfile.TemporaryDirectory() as folder:
        yield paired(
            f"the example application, one weighing of {len(weighings)}, replays included",
            _fed(lambda path: example.WeightService(path), weighings, Path(folder), "holdover"),
            "with the lossy buffer",
            _fed(_lossy_service(example), weighings, Path(folder), "lossy"),
            scale.few_rounds,
            MOST_RATIO,
        )


def _fed(make: Callable[[str], Any], weighings: list[Any], folder: Path, name: str) -> Run:
    """Feeds a new service, which replays whoever is due, in this thread, after every 5 * WINDOW weighings."""
    numbers = count()

    def run() -> float:
        service = make(str(folder / f"{name}-{next(numbers)}.sqlite"))
        start = perf_counter()
        for number, (user, weighing) in enumerate(weighings, 1):
            service.add(user, weighing)
            if number % (5 * WINDOW) == 0:
                service.replay_due()
        taken = perf_counter() - start
        service.finish()
        return taken / len(weighings)

    return run


def _lossy_service(example: Any) -> Callable[[str], Any]:
    """The same service as one writes it without holdover: get, replay, clear."""

    class LossyService(example.WeightService):  # type: ignore[misc]
        def __init__(self, path: str) -> None:
            super().__init__(path)
            self.lossy = LossyBuffer(2000)

        def add(self, user: str, weighing: Any) -> None:
            with self._lock, self._database:
                self.lossy.add_measurement(user, weighing)
                self._estimate(user, example.filtered(self._estimated(user), weighing))

        def replay_due(self) -> None:
            for user in list(self.lossy.users()):
                window = self.lossy.get(user)
                if len(window) >= WINDOW:
                    self.save(user, example.replayed(self.trend(user), window), lambda _user: [])
                    self.lossy.clear(user)

        def finish(self) -> None:
            self._database.close()

    return LossyService


def _example() -> Any:
    if "weight_service" in sys.modules:
        return sys.modules["weight_service"]
    spec = importlib.util.spec_from_file_location("weight_service", PATH)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    sys.modules["weight_service"] = example
    spec.loader.exec_module(example)
    return example
