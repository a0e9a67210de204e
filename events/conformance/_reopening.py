"""What a durable log still has when it is opened again, and what two logs on the same content do to each other."""

from contextlib import closing
from functools import partial
from typing import Any

import pytest

from events import ConflictError, EventLog, Grant
from events.conformance._base import Hooks, at, contents, control, recorded, together
from events.conformance._concurrency import AMPLE, ROUNDS, append_somewhere


class Reopening(Hooks):
    """Tests of durable logs, by way of `reopen`; the others skip them."""

    def again(self, log: EventLog[Any]) -> closing[EventLog[Any]]:
        """The log opened once more."""
        again = self.reopen(log)
        if again is None:
            pytest.skip("not durable: reopen(log) gives None")
        return closing(again)

    def test_all_is_there_when_the_log_is_opened_again(self, log: EventLog[Any]) -> None:
        """Events, positions, checkpoints, and the streams in their order."""
        for name in ("bob", "ann"):
            log.append(name, [*self.added(0, 1), control(2)], expected_head=0, grant=Grant(room=2))
            log.add(name, self.measurement(3), at(0))
        log.truncate("ann", 1, self.state(1))
        before = [contents(log, name) for name in ("bob", "ann", "cid")]
        log.close()
        with self.again(log) as again:
            assert list(again.streams()) == ["bob", "ann"]
            assert [contents(again, name) for name in ("bob", "ann", "cid")] == before

    def test_offsets_go_on_when_the_log_is_opened_again(self, log: EventLog[Any]) -> None:
        """Also where everything was truncated; a writer that remembers another head conflicts."""
        log.append("ann", self.added(0, 1), expected_head=0)
        log.truncate("ann", 2, self.state(2))
        log.close()
        with self.again(log) as again:
            with pytest.raises(ConflictError):
                again.append("ann", self.added(2), expected_head=0)
            assert again.append("ann", self.added(2), expected_head=2) == 3
            assert list(again.read("ann", 2)) == recorded(self.added(2), 2)

    def test_a_grant_does_not_grow_when_the_log_is_opened_again(self, log: EventLog[Any]) -> None:
        """The log may forget it or go on counting, but who is overdue is still known: time did not stop."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=2, until=50.0))
        log.add("ann", self.measurement(1), at(0))
        log.close()
        with self.again(log) as again:
            assert again.overdue(49.0) == []
            assert again.overdue(50.0) == ["ann"]
            assert again.add("ann", self.measurement(2), at(50)) is None
            offsets = [again.add("ann", self.measurement(number), at(0)) for number in (2, 3)]
            assert offsets in ([2, None], [None, None])

    def test_two_open_logs_are_one(self, log: EventLog[Any]) -> None:
        """What one appends, adds or truncates, the other sees; and it conflicts where it had not looked."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=2))
        with self.again(log) as again:
            assert contents(again, "ann") == contents(log, "ann")
            assert log.add("ann", self.measurement(1), at(0)) == 1
            with pytest.raises(ConflictError):
                again.append("ann", [control(1)], expected_head=1)
            assert again.append("ann", [control(2)], expected_head=2) == 3
            with pytest.raises(ConflictError):
                log.append("ann", [control(2)], expected_head=2)
            assert log.add("ann", self.measurement(3), at(0)) is None
            again.truncate("ann", 2, self.state(2))
            assert contents(log, "ann") == contents(again, "ann")
            assert list(log.read("ann", 2)) == recorded([control(2)], 2)

    def test_writers_in_two_open_logs_are_each_seen_once(self, log: EventLog[Any]) -> None:
        """As writers in one log are: at the offsets they were told."""
        log.append("ann", [control(0)], expected_head=0, grant=AMPLE)
        with self.again(log) as again:

            def write(writer: int) -> dict[int, Any]:
                own, written = (log, again)[writer % 2], {}
                for number in range(10 * writer * ROUNDS, 10 * writer * ROUNDS + ROUNDS):
                    offset = own.add("ann", self.measurement(number), at(0))
                    assert offset is not None
                    written[offset] = self.added(number)[0]
                    written[append_somewhere(own, [control(number)]) - 1] = control(number)
                return written

            written = together(*(partial(write, writer) for writer in range(4)))
            merged = {0: control(0)} | {offset: event for own in written for offset, event in own.items()}
            assert [merged[offset] for offset in sorted(merged)] == [entry.event for entry in log.read("ann")]
            assert sorted(merged) == list(range(1 + 2 * 4 * ROUNDS))
            assert contents(again, "ann") == contents(log, "ann")
