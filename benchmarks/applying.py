"""What a whole application pays: the weight-tracking service of examples/ on holdover, and on the usual buffer."""

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.lossy import LossyBuffer
from benchmarks.measuring import Row, Run, Scale, paired
from statemachine import BufferConfig, due

MOST_RATIOS = {250: 1.05, 100: None}
"""By how many weighings are replayed at a time: 250, as the example does, and fewer, for which there is no target."""

DAY = 86400.0

PATH = Path(__file__).parents[1] / "examples" / "weight_service.py"


def applying(scale: Scale) -> Iterator[Row]:
    """The rows about the application."""
    example = _example()
    weighings = list(example.generated(seed=1, each=scale.weighings))
    for window, most_ratio in MOST_RATIOS.items():
        config = BufferConfig(max_measurements=2000, due=due.Count(window) | due.Age(DAY))
        with tempfile.TemporaryDirectory() as folder:
            yield paired(
                f"the example application, one weighing of {len(weighings)}, replays of {window} included",
                _fed(partial(example.WeightService, config=config), weighings, window, Path(folder) / "holdover"),
                "with the lossy buffer",
                _fed(_lossy_service(example, window), weighings, window, Path(folder) / "lossy"),
                scale.rounds if most_ratio else scale.few_rounds,
                most_ratio,
            )


def _fed(make: Callable[[str], Any], weighings: list[Any], window: int, path: Path) -> Run:
    """Feeds a new service of five users, which replays whoever is due, in this thread, when they should be."""
    numbers = count()

    def run() -> float:
        service = make(f"{path}-{next(numbers)}.sqlite")
        start = perf_counter()
        for number, (user, weighing) in enumerate(weighings, 1):
            service.add(user, weighing)
            if number % (5 * window) == 0:
                service.replay_due()
        taken = perf_counter() - start
        service.finish()
        return taken / len(weighings)

    return run


def _lossy_service(example: Any, enough: int) -> Callable[[str], Any]:
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
                if len(window) >= enough:
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
