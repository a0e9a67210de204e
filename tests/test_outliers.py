"""The robust z-score."""

from statistics import StatisticsError

import pytest

from statemachine.cli._outliers import THRESHOLD, modified_z_scores


def test_the_score_is_that_of_iglewicz_and_hoaglin() -> None:
    """0.6745 (x - median) / MAD: here the median is 3 and the deviations 2, 1, 0, 1, 97 have the median 1."""
    centre, scores = modified_z_scores([1.0, 2.0, 3.0, 4.0, 100.0])
    assert centre == 3.0
    assert scores == pytest.approx([-1.349, -0.6745, 0.0, 0.6745, 65.4265])


def test_an_outlier_does_not_hide_another() -> None:
    """Two wild values among eight are both flagged, which the mean and standard deviation would not do."""
    _, scores = modified_z_scores([70.0, 71.0, 72.0, 70.0, 71.0, 73.0, 240.0, 0.0])
    assert [abs(score) > THRESHOLD for score in scores] == [False] * 6 + [True] * 2


def test_where_most_values_are_equal_the_mean_deviation_takes_over() -> None:
    """MAD is 0, so the score is (x - median) / (1.253314 MeanAD), with a mean deviation of 30 / 10 = 3."""
    centre, scores = modified_z_scores([70.0] * 9 + [100.0])
    assert centre == 70.0
    assert scores == pytest.approx([0.0] * 9 + [30 / (1.253314 * 3)])
    assert scores[-1] > THRESHOLD


@pytest.mark.parametrize("values", [[70.0], [70.0, 70.0, 70.0]])
def test_equal_values_have_no_outliers(values: list[float]) -> None:
    """Where all are equal, or there is only one, every score is 0."""
    assert modified_z_scores(values) == (70.0, [0.0] * len(values))


def test_no_values_have_no_median() -> None:
    """There is nothing to score, and it says so."""
    with pytest.raises(StatisticsError):
        modified_z_scores([])
