"""`Bulk`: adds for many users at once. Decides nothing: who has no room goes the way of a single add."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from events import LogError
from statemachine._errors import InvalidArgumentError, PartlyAddedError, ReplayBufferError
from statemachine._pruning import Pruning

M = TypeVar("M")


class Bulk(Pruning[M]):
    """The part of a `ReplayBuffer` for who has much to add."""

    def add_for_users(self, measurements: Mapping[str, Iterable[M]]) -> dict[str, range]:
        """Record measurements of many users: each user's all or none, whatever becomes of the others.

        A log on a server is asked for one user without waiting for its answer about the one before.

        Parameters:
            measurements: each user's; if getting them raises, nothing is recorded.

        Returns:
            The range of the offsets, for each user.

        Raises:
            InvalidArgumentError: it is no mapping, a user id is no non-empty string, or something in it cannot be gone
                through; nothing was recorded.
            PartlyAddedError: some users' were not recorded, as their `add_measurements` would say.

        Example:
            >>> from statemachine import ReplayBuffer
            >>> buffer = ReplayBuffer()
            >>> buffer.add_for_users({"ann": [81.5, 81.7], "bob": [70.1]})
            {'ann': range(0, 2), 'bob': range(0, 1)}
        """
        self._check_open()
        if not isinstance(measurements, Mapping):
            raise InvalidArgumentError(f"measurements must map users to iterables, not be {measurements!r}")
        batches = {user_id: self._batch(user_id, iterable) for user_id, iterable in measurements.items()}
        offsets = self._within_grants([(user_id, batch) for user_id, batch in batches.items() if batch])
        added: dict[str, range] = {}
        errors: dict[str, Exception] = {}
        for user_id, batch in batches.items():
            try:
                offset = offsets.get(user_id)
                if isinstance(offset, LogError):
                    raise offset
                first = self._added(user_id, batch) if offset is None else offset
                added[user_id] = range(first, first + len(batch))
            except (ReplayBufferError, LogError) as error:
                errors[user_id] = error
        if errors:
            raise PartlyAddedError(added, errors)
        return added

    def _batch(self, user_id: str, measurements: Iterable[M]) -> tuple[M, ...]:
        self._check_user(user_id)
        if not isinstance(measurements, Iterable):
            raise InvalidArgumentError(f"measurements must be an iterable, not {measurements!r}", user_id=user_id)
        return tuple(measurements)

    def _added(self, user_id: str, batch: tuple[M, ...]) -> int:
        """The offset of the first; the head where there is none."""
        if batch:
            return self._append(user_id, batch)
        position = self._log.position(user_id)
        return position.head if position else 0

    def _within_grants(self, batches: list[tuple[str, tuple[M, ...]]]) -> dict[str, int | LogError | None]:
        """What came of those that need no decision."""
        if self._journal.shared is not None:  # they are planned one by one
            return {}
        results = self._log.add_each(batches, self._clock, self._journal.issuer)
        return {user_id: result for (user_id, _), result in zip(batches, results, strict=True)}
