"""`Metering`: a buffer's figures, read on demand. Must not cost anything while nobody asks."""

from typing import TypeVar

from statemachine._metrics import Metrics
from statemachine._scheduling import Scheduling
from statemachine._totals import totals

M = TypeVar("M")


class Metering(Scheduling[M]):
    """The part of a `ReplayBuffer` that monitoring asks."""

    def metrics(self) -> Metrics:
        """The buffer's figures now, as plain numbers; see `Metrics`.

        Nothing is changed or expired by looking. It takes time proportional to the number of users, and each user is
        counted as it is at the moment it is come by, so while others add the sums are not of one instant.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> buffer = ReplayBuffer()
            >>> offsets = buffer.add_measurements("ann", [81.5, 81.7])
            >>> with buffer.snapshot("ann"):
            ...     offset = buffer.add_measurement("ann", 81.4)
            >>> metrics = buffer.metrics()
            >>> metrics.added, metrics.replayed, metrics.live, metrics.replay_duration.count
            (3, 2, 1, 1)
        """
        self._check_open()
        self._tentative.settle_all()
        return self._journal.meter.metrics(totals(self._journal), len(self._log.shelved()), self._arrival())
