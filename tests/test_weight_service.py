"""The example application: however often its replays fail, in one thread or several, its final state is the same."""

import importlib.util
import itertools
import random
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from statemachine import Backoff, FrozenSnapshot

PATH = Path(__file__).parents[1] / "examples" / "weight_service.py"
SPEC = importlib.util.spec_from_file_location("weight_service", PATH)
assert SPEC is not None
assert SPEC.loader is not None
example: Any = importlib.util.module_from_spec(SPEC)
sys.modules["weight_service"] = example
SPEC.loader.exec_module(example)

QUICK = Backoff(first=0.0, longest=0.0)
WEIGHINGS = list(example.generated(seed=7))


class Failing(example.WeightService):  # type: ignore[misc]
    """Replays fail at random: before anything is done, or when all of it is written already."""

    def __init__(self, path: str, seed: int, **options: Any) -> None:
        self.chance, self.failures = random.Random(seed), 0
        super().__init__(path, **options)

    def replay(self, frozen: FrozenSnapshot[Any]) -> None:
        self.fail_sometimes()
        super().replay(frozen)
        self.fail_sometimes()

    def fail_sometimes(self) -> None:
        if self.chance.random() < 0.3:
            self.failures += 1
            raise OSError("the disk is tired")


def state(path: Path) -> tuple[list[Any], list[Any]]:
    """All that the service has written."""
    with sqlite3.connect(path) as database:
        tables = tuple(list(database.execute(f"select * from {name} order by user")) for name in ("trend", "estimate"))
    database.close()
    return tables  # type: ignore[return-value]


def fed(service: Any, *, in_background: bool) -> Any:
    """The service after all weighings."""
    if in_background:
        with service.manager:
            for user, weighing in WEIGHINGS:
                service.add(user, weighing)
    else:
        for number, (user, weighing) in enumerate(WEIGHINGS):
            service.add(user, weighing)
            if number % 100 == 0:
                service.replay_due()
    audits = [service.buffer.audit(user) for user in service.buffer.users()]
    assert [(audit.added, audit.evicted, audit.ok) for audit in audits] == [(300, 0, True)] * 5
    service.finish()
    return service


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], list[Any]]:
    path = tmp_path_factory.mktemp("undisturbed") / "weights.sqlite"
    fed(example.WeightService(str(path)), in_background=False)
    return state(path)


@pytest.mark.parametrize("in_background", [False, True], ids=["in-passes", "in-background"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_failing_replays_change_nothing_in_the_end(
    tmp_path: Path, seed: int, in_background: bool, undisturbed: tuple[list[Any], list[Any]]
) -> None:
    """However often replays fail, before or after they have written, the final state is that without failures."""
    path = tmp_path / "weights.sqlite"
    service = fed(Failing(str(path), seed, backoff=QUICK, workers=2, poll_interval=0.005), in_background=in_background)
    assert service.failures > 0
    assert state(path) == undisturbed


def test_the_final_state_is_that_of_one_replay_of_everything(undisturbed: tuple[list[Any], list[Any]]) -> None:
    """Every weighing was replayed exactly once, in the order of arrival: parts give what the whole gives."""
    for user, kilograms, batches, _rest in undisturbed[0]:
        trend = example.replayed(example.Trend(), [weighing for who, weighing in WEIGHINGS if who == user])
        assert (kilograms, batches) == (trend.kilograms, trend.batches) == (trend.kilograms, 15)


def test_the_data_is_as_untidy_as_real_data() -> None:
    """Late ones, several for the same time, out of order, and outliers: all of it is there."""
    times = [weighing.time for user, weighing in WEIGHINGS if user == "user-0"]
    assert len(set(times)) < len(times)
    assert any(later < earlier - 5 * example.DAY for earlier, later in itertools.pairwise(times))
    assert any(weighing.kilograms > 120 for user, weighing in WEIGHINGS if user == "user-0")


def test_implausible_weighings_count_for_nothing(undisturbed: tuple[list[Any], list[Any]]) -> None:
    """A scale that says twice the weight once in a while moves neither the trend nor the estimate."""
    for place, (user, kilograms, *_rest) in enumerate(undisturbed[0]):
        estimates = dict(undisturbed[1])
        assert abs(kilograms - (63 + 7 * place)) < 1
        assert abs(estimates[user] - (63 + 7 * place)) < 1


def test_a_replay_whose_results_cannot_be_committed_is_undone(tmp_path: Path) -> None:
    """What a failed replay had written is taken back before anybody else can begin one."""
    service = Failing(str(tmp_path / "weights.sqlite"), seed=1, backoff=QUICK)
    for user, weighing in WEIGHINGS[:250]:
        service.add(user, weighing)
    service.chance = random.Random(0)
    outcomes = iter([0.9, 0.0])
    service.chance.random = lambda: next(outcomes)
    result = service.manager.replay_user("user-0")
    assert (result.outcome, service.failures) == ("failed", 1)
    assert service.trend("user-0") == example.Trend()
    assert service.buffer.size("user-0") == 50
    service.chance.random = lambda: 0.9
    service.finish()


def test_it_runs_as_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    """The example shows what became of every weighing."""
    example.main()
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 5
    assert all(line.endswith("added 300 = replayed 300 + live 0 + evicted 0 + cleared 0, lost 0") for line in printed)
