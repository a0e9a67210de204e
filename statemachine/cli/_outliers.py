"""Outliers by a robust z-score. Must not know rows, files or buffers."""

from collections.abc import Sequence
from statistics import fmean, median

THRESHOLD = 3.5
"""An observation whose modified z-score is further from zero than this is an outlier."""

_MAD_TO_DEVIATION = 0.6745
_MEAN_DEVIATION_TO_DEVIATION = 1.253314


def modified_z_scores(values: Sequence[float]) -> tuple[float, list[float]]:
    """How far each value is from the median, in units that outliers themselves hardly stretch.

    The score is 0.6745 (x - median) / MAD, where MAD is the median of the absolute deviations from the median; 3.5 is
    the usual threshold. See Boris Iglewicz and David Hoaglin (1993), "How to Detect and Handle Outliers", ASQC Basic
    References in Quality Control, volume 16. Where more than half of the values are equal, MAD is 0 and the mean
    absolute deviation takes its place: (x - median) / (1.253314 MeanAD). Where all are equal, every score is 0.

    Parameters:
        values: at least one finite number.

    Returns:
        The median and the scores, in the order of the values.

    Raises:
        statistics.StatisticsError: there are no values.

    Example:
        >>> centre, scores = modified_z_scores([71.0, 72.0, 73.0, 74.0, 180.0])
        >>> centre, [round(score, 1) for score in scores]
        (73.0, [-1.3, -0.7, 0.0, 0.7, 72.2])
    """
    centre = median(values)
    deviations = [abs(value - centre) for value in values]
    if spread := median(deviations):
        return centre, [_MAD_TO_DEVIATION * (value - centre) / spread for value in values]
    if spread := fmean(deviations):
        return centre, [(value - centre) / (_MEAN_DEVIATION_TO_DEVIATION * spread) for value in values]
    return centre, [0.0] * len(values)
