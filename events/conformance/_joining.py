"""What a log in a database does within an application's open transaction; logs that are in none skip it."""

from typing import Any

import pytest

from events import ConflictError, EventLog, Grant
from events.conformance._base import Hooks, at, contents, control, recorded


class Joining(Hooks):
    """Tests of `joined`, by way of `connect`."""

    def begun(self, log: EventLog[Any]) -> Any:
        """A connection with an open transaction."""
        connection = self.connect(log)
        if connection is None:
            pytest.skip("in no database: connect(log) gives None")
        return connection

    def test_only_a_connection_to_the_logs_database_can_be_joined(self, log: EventLog[Any]) -> None:
        """Whatever else is given is refused with words, and so is any by a log that is in no database."""
        with pytest.raises(TypeError):
            log.joined(object())

    def test_a_connection_without_a_transaction_is_refused(self, log: EventLog[Any]) -> None:
        """It would commit at once, and not together with anything."""
        connection = self.begun(log)
        connection.rollback()
        with pytest.raises(ValueError, match="transaction"):
            log.joined(connection)
        connection.close()

    def test_what_is_appended_is_there_when_the_caller_commits(self, log: EventLog[Any]) -> None:
        """Within the transaction at once; for everybody else with the commit, grants and lists included."""
        log.append("ann", self.added(0), expected_head=0)
        before, connection = contents(log, "ann"), self.begun(log)
        joined = log.joined(connection)
        grant = Grant(room=1, until=50.0)
        assert joined.append("ann", [control(1), *self.added(2)], expected_head=1, grant=grant) == 3
        assert [entry.offset for entry in joined.read("ann")] == [0, 1, 2]
        assert joined.overdue(50.0) == ["ann"]
        assert contents(log, "ann") == before
        assert log.overdue(50.0) == []
        joined.compact()
        joined.close()
        connection.commit()
        connection.close()
        assert list(log.read("ann")) == recorded([*self.added(0), control(1), *self.added(2)])
        assert log.overdue(50.0) == ["ann"]
        assert [log.add("ann", self.measurement(number), at(0)) for number in (3, 4)] == [3, None]

    def test_nothing_of_it_is_there_when_the_caller_rolls_back(self, log: EventLog[Any]) -> None:
        """As if it had never been, and the log goes on from where it was."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=5))
        before, connection = contents(log, "ann"), self.begun(log)
        joined = log.joined(connection)
        joined.append("ann", [control(1)], expected_head=1)
        joined.append("bob", [control(1)], expected_head=0)
        assert joined.add("ann", self.measurement(2), at(0)) is None
        connection.rollback()
        connection.close()
        assert contents(log, "ann") == before
        assert list(log.streams()) == ["ann"]
        assert log.add("ann", self.measurement(1), at(0)) == 1

    def test_a_conflict_leaves_the_rest_of_the_transaction(self, log: EventLog[Any]) -> None:
        """What was done before it can still be committed."""
        connection = self.begun(log)
        joined = log.joined(connection)
        joined.append("ann", self.added(0), expected_head=0, grant=Grant(room=1))
        with pytest.raises(ConflictError):
            joined.append("ann", [control(1), *self.added(1)], expected_head=0)
        assert joined.add("ann", self.measurement(1), at(0)) == 1
        connection.commit()
        connection.close()
        assert list(log.read("ann")) == recorded(self.added(0, 1))
