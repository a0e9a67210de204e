"""Logs with one bug each, for the conformance suite to catch; here in what durable logs keep and in joining."""

import sqlite3
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

from broken_logs import SoundLog, caught_by

from events import Checkpoint, Event, Grant, SqliteLog
from events._sqlite._joined import Transaction
from events._sqlite._log import JoinedLog
from events.conformance._base import DoorLocked, DoorOpened


class SoundSqliteLog(SqliteLog[Any], SoundLog):
    """Sound, in a file of its own that goes away with it."""

    def __init__(self) -> None:
        self.directory = TemporaryDirectory()
        super().__init__(f"{self.directory.name}/log.db", durability="off", types=[DoorOpened, DoorLocked])

    def connect(self) -> Any:
        connection = sqlite3.connect(self.path)
        connection.execute("BEGIN IMMEDIATE")
        return connection

    def close(self) -> None:
        super().close()
        self.directory.cleanup()


@caught_by("a_checkpoint_is_a_state_that_was_given")
class KeepsCheckpointsAtTheWrongPlace(SoundSqliteLog):
    def checkpoint(self, stream: str, at: int | None = None) -> Checkpoint | None:
        found = super().checkpoint(stream, at)
        return found and Checkpoint(found.offset - 100, found.state)


@caught_by("the_checkpoint_at_the_start_is_what_truncation_left")
class ForgetsWhatIsAsked(SoundSqliteLog):
    def checkpoint(self, stream: str, at: int | None = None) -> Checkpoint | None:
        return super().checkpoint(stream)


@caught_by("states_and_times_change_nothing_else")
class TakesStatesForEvents(SoundLog):
    def append(
        self,
        stream: str,
        events: Sequence[Event],
        *,
        expected_head: int,
        grant: Grant = Grant(),
        state: Any = None,
        at: float | None = None,
    ) -> int:
        return super().append(stream, events if state is None else events[1:], expected_head=expected_head, grant=grant)


@caught_by("what_was_recorded_before_a_time_ends_at_an_event_of_then")
class CountsWhatIsOfThatTime(SoundSqliteLog):
    def recorded_before(self, stream: str, time: float) -> int | None:
        return super().recorded_before(stream, time + 0.1)


@caught_by("compacting_changes_nothing_that_can_be_read")
class DropsWhenCompacting(SoundLog):
    def compact(self) -> None:
        self.truncate("ann", 951, {"folded": 951})


@caught_by("registering_again_does_no_harm")
class WantsNewTypes(SoundLog):
    def register(self, *types: Any) -> None:
        known = self.__dict__.setdefault("types", set())
        assert not known & {*types}
        known |= {*types}


@caught_by("only_a_connection_to_the_logs_database_can_be_joined")
class JoinsAnything(SoundLog):
    def joined(self, connection: Any) -> Any:
        return self


@caught_by("a_connection_without_a_transaction_is_refused")
class BeginsByItself(SoundSqliteLog):
    def joined(self, connection: Any) -> Any:
        if not connection.in_transaction:
            connection.execute("BEGIN")
        return super().joined(connection)


@caught_by(
    "what_is_appended_is_there_when_the_caller_commits",
    "nothing_of_it_is_there_when_the_caller_rolls_back",
)
class CommitsAtOnce(SoundSqliteLog):
    def joined(self, connection: Any) -> Any:
        log = self

        class Committing(JoinedLog[Any]):
            def append(self, stream: str, events: Sequence[Event], **how: Any) -> int:
                head = super().append(stream, events, **how)
                connection.commit()
                connection.execute("BEGIN IMMEDIATE")
                return head

        return Committing(log, Transaction(connection, self._database))


@caught_by("a_conflict_leaves_the_rest_of_the_transaction")
class RollsBackAtAConflict(SoundSqliteLog):
    def joined(self, connection: Any) -> Any:
        log = self

        class RollingBack(JoinedLog[Any]):
            def append(self, stream: str, events: Sequence[Event], **how: Any) -> int:
                try:
                    return super().append(stream, events, **how)
                except Exception:
                    connection.rollback()
                    raise

        return RollingBack(log, Transaction(connection, self._database))
