"""The server's time as it is told without asking: within half a round trip, on machines whose own clocks are wrong."""

import time

import pytest

from events import PostgresLog
from events._postgres import _clock
from events._postgres._clock import DRIFT, ServerClock, steady

NOON = 1_700_000_000.0


class Machine:
    """A machine with a steady clock of its own, which began some time, and a way to a server whose clock shows noon."""

    def __init__(self, began_at: float = 0.0) -> None:
        self.passed, self._began_at = 0.0, began_at
        self.clock = ServerClock(self.steady)

    def steady(self) -> float:
        return self._began_at + self.passed

    def asks(self, there: float, back: float, server: float = NOON) -> None:
        """Ask for the time; the question takes so many seconds, and the answer."""
        asked_at = self.steady()
        self.passed += there
        server_time = server + self.passed
        self.passed += back
        self.clock.tell(server_time, asked_at, self.steady())

    @property
    def error(self) -> float:
        """By how much it is wrong, in seconds."""
        return self.clock() - (NOON + self.passed)


def test_before_the_first_answer_it_is_this_machines_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the server has said something there is no better."""
    monkeypatch.setattr(time, "time", lambda: NOON)
    machine = Machine(began_at=500.0)
    assert machine.clock() == NOON
    machine.passed = 7.0
    assert machine.clock() == NOON + 7.0


@pytest.mark.parametrize(("there", "back"), [(0.5, 0.5), (1.0, 0.0), (0.0, 1.0), (0.25, 0.75)])
def test_it_is_right_within_half_a_round_trip(there: float, back: float) -> None:
    """However the time is spread over question and answer."""
    machine = Machine()
    machine.asks(there, back)
    assert machine.error == (back - there) / -2
    machine.passed += 1000.0
    assert machine.error == (back - there) / -2


def test_machines_with_wrong_clocks_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their own clocks are an hour apart and were set at different times; the two agree on the server's."""
    machines = []
    for wrong, began_at, (there, back) in ((3600.0, 1e6, (0.125, 0.0)), (-3600.0, 5.0, (0.0, 0.125))):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: NOON + wrong)
        machine = Machine(began_at)
        assert abs(machine.error) == 3600.0
        machine.asks(there, back)
        machine.passed = 10.0
        machines.append(machine)
    ann, bob = machines
    assert abs(ann.clock() - bob.clock()) <= 0.125


def test_a_quick_answer_counts_more_than_a_slow_one() -> None:
    """A slow one afterwards changes nothing, as long as it does not contradict."""
    machine = Machine()
    machine.asks(1.0, 0.0)
    machine.asks(0.125, 0.0)
    assert machine.error == 0.0625
    machine.asks(0.0, 1.0)
    assert machine.error == 0.0625


def test_what_was_learnt_counts_for_less_as_it_ages() -> None:
    """The clocks drift apart: in the end a slow answer of now says more than a quick one of long ago."""
    machine = Machine()
    machine.asks(0.25, 0.0)
    machine.passed += 0.25 / DRIFT
    machine.asks(0.0, 0.5)
    assert machine.error == -0.25


@pytest.mark.parametrize("gone", [-3600.0, 3600.0])
def test_a_server_with_another_time_is_believed(gone: float) -> None:
    """As after a failover: an answer that cannot be right together with the last one takes its place at once."""
    machine = Machine()
    machine.asks(0.125, 0.125)
    machine.asks(1.0, 1.0, server=NOON + gone)
    assert machine.error == gone


@pytest.mark.parametrize("has_boottime", [True, False])
def test_it_passes_while_the_machine_sleeps_where_the_system_tells(
    monkeypatch: pytest.MonkeyPatch, has_boottime: bool
) -> None:
    """By the clock that goes on in a suspended machine; where there is none, by the one that is never set."""
    if has_boottime:
        monkeypatch.setattr(_clock.time, "CLOCK_BOOTTIME", 7, raising=False)
        monkeypatch.setattr(_clock.time, "clock_gettime", {7: 41.0}.get, raising=False)
    else:
        monkeypatch.delattr(_clock.time, "CLOCK_BOOTTIME", raising=False)
        monkeypatch.setattr(_clock.time, "monotonic", lambda: 42.0)
    assert steady() == (41.0 if has_boottime else 42.0)


def test_every_look_at_a_position_tells_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log on a machine whose clock is an hour wrong has the server's time as soon as it has looked at a stream."""
    import postgres
    import psycopg

    from events import MeasurementAdded

    schema, right = postgres.new_schema(), time.time
    monkeypatch.setattr(_clock.time, "time", lambda: right() + 3600.0)
    with PostgresLog[int](postgres.address(postgres.QUICK), schema=schema) as log:
        log.append("ann", [MeasurementAdded(1)], expected_head=0)
        log.position("ann")
        with psycopg.connect(postgres.address()) as connection:
            before = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
            told = log.clock()
            after = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    assert before is not None
    assert after is not None
    _, doubt, _ = log._clock._known
    assert before[0] - doubt <= told <= after[0] + doubt
