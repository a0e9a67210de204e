"""`holdover demo` and `holdover sample`."""

from collections import Counter
from pathlib import Path
from threading import Event

import pytest
from click.testing import CliRunner

from statemachine.cli._demo import USER, LossyBuffer, Side, demo, holdover_side, lossy_side, moral, produce, watch
from statemachine.cli._sample import sample, sample_text

COMMITTED = Path(__file__).parents[1] / "examples" / "heart_rate.csv"


class Recorder:
    """A buffer that notes what the time was when each measurement was added."""

    def __init__(self, takes: float) -> None:
        self.now, self.takes, self.times = 100.0, takes, list[float]()

    def add_measurement(self, _user_id: str, _measurement: int, /) -> None:
        self.times.append(self.now)
        self.now += self.takes

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("takes", "times"), [(0.125, [100.0, 100.5, 101.0, 101.5]), (0.75, [100.0, 100.75, 101.5, 102.25])]
)
def test_measurements_come_by_an_absolute_schedule(takes: float, times: list[float]) -> None:
    """The n-th is added n / rate seconds after the start, however long each add takes, and at once if that is over."""
    buffer, first = Recorder(takes), Event()
    side = Side("any", buffer, lambda: 0, lambda: 0)
    produce(side, 4, 2.0, first, clock=lambda: buffer.now, sleep=buffer.sleep)
    assert buffer.times == times
    assert first.is_set()
    assert side.added == 4


def test_the_usual_buffer_loses_what_arrives_during_a_replay() -> None:
    """One measurement arrives in the middle of the replay, and the clear wipes it."""
    side = lossy_side(10, lambda: side.buffer.add_measurement(USER, 2))
    side.buffer.add_measurement(USER, 1)
    side.durations.extend([5, 7])
    side.replayed += side.replay()
    assert (side.added, side.replayed, side.buffered(), side.lost) == (2, 1, 0, 1)


def test_holdover_keeps_what_arrives_during_a_replay() -> None:
    """The same with holdover: the measurement that arrives in the middle is still there."""
    side = holdover_side(10, lambda: side.buffer.add_measurement(USER, 2), 1.0)
    side.buffer.add_measurement(USER, 1)
    side.durations.extend([5, 7])
    side.replayed += side.replay()
    assert (side.added, side.replayed, side.buffered(), side.lost) == (2, 1, 1, 0)


def test_the_usual_buffer_is_bounded() -> None:
    """It keeps the latest; an unknown user has none."""
    buffer = LossyBuffer(2)
    for measurement in range(4):
        buffer.add_measurement("ann", measurement)
    assert (buffer.get("ann"), buffer.get("ben")) == ([2, 3], [])


def test_under_load_holdover_accounts_for_every_measurement() -> None:
    """With real threads: whatever the timing, holdover lost nothing, and no other number can hide a loss."""
    lossy, holdover = sides = [lossy_side(300, lambda: None), holdover_side(300, lambda: None, 0.001)]
    watch(sides, 300, 3000.0, 0.001)
    assert (lossy.added, holdover.added) == (300, 300)
    assert holdover.added == holdover.replayed + holdover.buffered()
    assert lossy.added == lossy.replayed + lossy.buffered() + lossy.lost


def test_what_the_demo_shows() -> None:
    """A table of both buffers, and a sentence in words."""
    result = CliRunner().invoke(demo, ["--seconds", "0.2", "--rate", "500", "--replay-seconds", "0.02"])
    assert result.exit_code == 0
    for word in ("added", "replayed", "buffered", "lost", "add p50", "add p99", "the usual", "holdover", "µs"):
        assert word in result.stdout
    usual, holdover = (
        [cell.strip() for cell in line.split("│")] for line in result.stdout.splitlines() if line.startswith("│")
    )
    assert int(usual[2]) == 100 == sum(int(cell) for cell in usual[3:6])
    assert (int(holdover[2]), holdover[5]) == (100, "0")
    assert int(holdover[3]) + int(holdover[4]) == 100


def test_the_closing_sentence_says_what_one_sees() -> None:
    """It names what the usual buffer lost, or that it was lucky."""
    lossy, holdover = (Side(name, Recorder(0), lambda: 0, lambda: 1) for name in ("the usual", "holdover"))
    for side in (lossy, holdover):
        side.durations.extend(range(4))
    lossy.replayed, holdover.replayed = 1, 3
    assert "lost 2 measurements of 4 (50%)" in moral(lossy, holdover)
    assert moral(lossy, holdover).endswith("holdover, under the same load, lost none.")
    assert moral(holdover, holdover).startswith("Neither buffer lost anything this time")


@pytest.mark.parametrize("option", ["--seconds", "--rate", "--replay-seconds"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_demo_options_that_make_no_sense(option: str, value: str) -> None:
    """Each is refused in one line."""
    result = CliRunner().invoke(demo, [option, value])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert f"'{value}' is not a finite number above 0." in result.stderr


def test_the_committed_sample_is_what_the_command_writes(tmp_path: Path) -> None:
    """examples/heart_rate.csv is made by `holdover sample`, byte for byte."""
    path = tmp_path / "new" / "sample.csv"
    result = CliRunner().invoke(sample, [str(path)])
    assert result.exit_code == 0
    assert f"holdover replay {path} --user User --time Time --value HeartRate" in result.stdout
    assert path.read_bytes() == COMMITTED.read_bytes()


def test_the_sample_goes_to_standard_output_as_well() -> None:
    """With `-`, and nothing but the sample."""
    assert CliRunner().invoke(sample, ["-"]).stdout == sample_text()


def test_the_sample_has_what_it_promises() -> None:
    """2,000 rows of 5 users, some late, some of the same time, some outliers, and both halves of the day."""
    rows = [line.split(",") for line in sample_text().splitlines()[1:]]
    assert set(Counter(user for user, _, _ in rows).values()) == {400}
    assert len({user for user, _, _ in rows}) == 5
    assert len({(user, time) for user, time, _ in rows}) < len(rows)
    assert {time.split()[-1] for _, time, _ in rows} == {"AM", "PM"}
    assert 5 < sum(not 40 < int(rate) < 200 for _, _, rate in rows) < 50


@pytest.mark.parametrize("place", ["file/x.csv", "."])
def test_a_sample_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    """One line says why."""
    (tmp_path / "file").write_text("in the way")
    result = CliRunner().invoke(sample, [str(tmp_path / place)])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "cannot be written: " in line
