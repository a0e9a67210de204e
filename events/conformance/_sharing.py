"""How workers share what is due: its clock, who is next, claims, and being woken. Must not know what work is done."""

from contextlib import closing
from math import isfinite
from threading import Semaphore
from typing import Any

import pytest

from events import ConflictError, EventLog, Grant
from events.conformance._base import Hooks, at, contents, control, together

NEVER = 1e12
MANY = 1000
TIMES = {"ann": 30.0, "bob": 20.0, "cid": None, "dan": 25.0, "eve": 0.0}
WORKERS = 4


def calls_so_far(woken: Semaphore) -> int:
    """How often it was released since the last time."""
    calls = 0
    while woken.acquire(blocking=False):
        calls += 1
    return calls


class Sharing(Hooks):
    """Tests of `clock`, `next_due`, `claim` and `waking`."""

    def becoming_due(self, log: EventLog[Any], *names: str, due_at: float = 10.0) -> list[str]:
        """New streams that are due at this time, in their order."""
        for name in names:
            log.append(name, self.added(0), expected_head=0, grant=Grant(due_at=due_at))
        return list(names)

    def left(self, log: EventLog[Any], streams: list[str], claimed: list[str]) -> list[str]:
        """What can still be claimed of these."""
        return [stream for stream in streams if not (log.notes_claims and stream in claimed)]

    def test_the_clock_tells_a_time_that_goes_on(self, log: EventLog[Any]) -> None:
        """Seconds, as a finite number, and never fewer than before while nobody corrects it."""
        readings = [log.clock() for _ in range(100)]
        assert all(isfinite(reading) for reading in readings)
        assert readings == sorted(readings)

    def test_the_next_due_is_the_earliest_after_now(self, log: EventLog[Any]) -> None:
        """Where nothing comes there is none; and now, where something is due that can be claimed."""
        assert log.next_due(-NEVER) is None
        for name, due_at in TIMES.items():
            log.append(name, self.added(0), expected_head=0, grant=Grant(due_at=due_at))
        for now in (-1.0, 0.0, 19.9, 20.0, 24.0, 25.0, 29.9, 30.0, 1e9, 20.0):
            later = [due_at for due_at in TIMES.values() if due_at is not None and due_at > now]
            can_be_claimed = log.notes_claims and log.due(now) != []
            assert log.next_due(now) == (now if can_be_claimed else min(later, default=None)), now
        if log.notes_claims:
            assert log.claim(20.0, 24.0, MANY) == ["eve", "bob"]
            assert [log.next_due(now) for now in (19.0, 20.0, 23.0, 24.0, 25.0)] == [20.0, 24.0, 24.0, 24.0, 25.0]

    def test_an_append_sets_anew_what_is_next(self, log: EventLog[Any]) -> None:
        """Earlier, later, never; so does an arrival that is noted; an append that conflicts does not."""
        self.becoming_due(log, "ann", due_at=20.0)
        with pytest.raises(ConflictError):
            log.append("ann", [control(1)], expected_head=2, grant=Grant(due_at=5.0))
        assert log.next_due(0.0) == 20.0
        for head, due_at in enumerate((30.0, 10.0, None, 20.0, None), 1):
            log.append("ann", [control(head)], expected_head=head, grant=Grant(due_at=due_at))
            assert log.next_due(0.0) == due_at, due_at
        log.append("ann", [], expected_head=6, grant=Grant(room=1, notes_arrival=True, due_after=7.0))
        assert log.next_due(0.0) is None
        log.add("ann", self.measurement(1), at(5.0))
        assert log.next_due(0.0) == 12.0

    def test_a_claim_gives_the_streams_that_are_due(self, log: EventLog[Any]) -> None:
        """The earliest first, no others, and no more than were asked for, where claims are noted."""
        for name, due_at in TIMES.items():
            log.append(name, self.added(0), expected_head=0, grant=Grant(due_at=due_at))
        assert log.claim(-0.1, 100.0, MANY) == []
        first = log.claim(25.0, 100.0, 2)
        assert first == (["eve", "bob"] if log.notes_claims else ["eve", "bob", "dan"])
        assert log.claim(29.9, 100.0, MANY) == self.left(log, ["eve", "bob", "dan"], first)
        assert log.claim(30.0, 100.0, MANY) == self.left(log, ["eve", "bob", "dan", "ann"], ["eve", "bob", "dan"])

    def test_a_claim_lasts_until_its_time(self, log: EventLog[Any]) -> None:
        """Until then nobody else is given the streams; from then on they are given as before, in their order."""
        due = self.becoming_due(log, "cid", "ann", "bob")
        assert log.claim(10.0, 20.0, MANY) == due
        assert log.claim(10.0, 20.0, MANY) == self.left(log, due, due)
        assert log.claim(19.9, 30.0, MANY) == self.left(log, due, due)
        assert log.claim(20.0, 30.0, MANY) == due
        assert log.claim(29.9, 40.0, MANY) == self.left(log, due, due)

    def test_an_append_ends_the_claim(self, log: EventLog[Any]) -> None:
        """A stream that is still due is given again; where the append conflicts, the claim stays."""
        due = self.becoming_due(log, "ann", "bob", "cid", "dan")
        assert log.claim(10.0, 100.0, MANY) == due
        log.append("ann", [control(1)], expected_head=1, grant=Grant(due_at=10.0))
        log.append("bob", [], expected_head=1, grant=Grant(due_at=10.0))
        log.append("cid", [control(1)], expected_head=1)
        with pytest.raises(ConflictError):
            log.append("dan", [control(1)], expected_head=0, grant=Grant(due_at=10.0))
        assert log.claim(10.0, 100.0, MANY) == self.left(log, ["ann", "bob", "dan"], ["dan"])

    def test_a_claim_decides_nothing(self, log: EventLog[Any]) -> None:
        """Whoever has none reads, adds and appends as before, and sees who is due."""
        log.append("ann", self.added(0), expected_head=0, grant=Grant(room=1, due_at=10.0, until=5.0, shelved=True))
        before = contents(log, "ann")
        assert log.claim(10.0, NEVER, MANY) == ["ann"]
        assert contents(log, "ann") == before
        assert (log.due(10.0), log.next_due(9.0), log.overdue(5.0), log.shelved()) == (["ann"], 10.0, ["ann"], ["ann"])
        assert log.add("ann", self.measurement(1), at(0)) == 1
        assert log.append("ann", [control(2)], expected_head=2) == 3

    def test_of_several_workers_each_gets_other_streams(self, log: EventLog[Any]) -> None:
        """However many ask at once: together they get all, and where claims are noted each to one of them."""
        due = self.becoming_due(log, *map(str, range(5 * WORKERS)))

        def work() -> list[str]:
            claimed = found = log.claim(10.0, 100.0, 2)
            while found and log.notes_claims:
                found = log.claim(10.0, 100.0, 2)
                claimed = claimed + found
            return claimed

        shares = together(*[work] * WORKERS)
        given = sorted(stream for share in shares for stream in share)
        assert given == sorted(due if log.notes_claims else due * WORKERS)

    def test_claims_hold_in_every_opening_of_the_log(self, log: EventLog[Any]) -> None:
        """What was claimed in one is given in another when it is over, or ended there, and not before."""
        opened = self.reopen(log)
        if opened is None:
            pytest.skip("not durable: reopen(log) gives None")
        due = self.becoming_due(log, "ann", "bob")
        with closing(opened) as again:
            assert log.claim(10.0, 20.0, MANY) == due
            assert again.claim(10.0, 20.0, MANY) == self.left(log, due, due)
            again.append("bob", [control(1)], expected_head=1, grant=Grant(due_at=10.0))
            assert log.claim(10.0, 20.0, MANY) == self.left(log, due, ["ann"])
            assert again.claim(20.0, 30.0, MANY) == due

    def test_who_waits_is_woken_when_a_stream_becomes_due(self, log: EventLog[Any]) -> None:
        """By what is appended or added, in whichever opening of the log, and again at each time."""
        if not self.tells:
            pytest.skip("calls nobody: tells is False")
        woken = Semaphore(0)
        with closing(self.reopen(log) or log) as other, log.waking(woken.release):
            for number in range(3):
                self.becoming_due(other, f"at once {number}", due_at=other.clock())
                assert woken.acquire(timeout=self.patience), number
                grant = Grant(room=1, notes_arrival=True, due_after=0.0)
                other.append(f"later {number}", [control(0)], expected_head=0, grant=grant)
                calls_so_far(woken)
                other.add(f"later {number}", self.measurement(0), other.clock)
                assert woken.acquire(timeout=self.patience), number

    def test_nobody_is_woken_once_waiting_has_ended(self, log: EventLog[Any]) -> None:
        """Nor does it keep anybody from using the log meanwhile."""
        woken = Semaphore(0)
        with log.waking(woken.release):
            due = self.becoming_due(log, "ann", due_at=log.clock())
        calls_so_far(woken)
        due += self.becoming_due(log, "bob", due_at=log.clock())
        assert log.due(NEVER) == due
        assert calls_so_far(woken) == 0
