"""A `PostgresLog` in tables that somebody else has changed: an error says so; nothing is made up or left out."""

from collections.abc import Callable, Iterator
from typing import Any

import postgres
import pytest
from attrs import evolve

from events import (
    Event,
    EventLog,
    Grant,
    LogDamagedError,
    MeasurementAdded,
    PostgresLog,
    ReplayCompleted,
    UnknownTypeError,
)
from events._postgres._session import Session
from events.conformance._base import DoorOpened

HISTORY: list[Event] = [*map(MeasurementAdded, range(4)), ReplayCompleted(1), *map(MeasurementAdded, range(5, 9))]


def opened(schema: str, **how: Any) -> PostgresLog[Any]:
    return PostgresLog(postgres.address(postgres.QUICK), schema=schema, **how)


@pytest.fixture
def log() -> Iterator[PostgresLog[Any]]:
    """A log in which ann has a history of nine events."""
    with opened(postgres.new_schema()) as log:
        log.append("ann", HISTORY, expected_head=0, grant=Grant(room=10), at=5.0)
        yield log


def change(log: PostgresLog[Any], statement: str) -> None:
    """What somebody else does to the log's tables."""
    with log._database.connection() as connection:
        connection.execute(f"SET search_path = {log.schema}".encode())
        connection.execute(statement.encode())


Question = Callable[[EventLog[Any]], object]

DAMAGES: dict[str, tuple[str, Question, str]] = {
    "an event is missing": (
        'DELETE FROM events WHERE "offset" = 2',
        lambda log: list(log.read("ann")),
        "not all of the offsets 0 to 8 are there",
    ),
    "the last event is missing": (
        'DELETE FROM events WHERE "offset" = 8',
        lambda log: list(log.read("ann", 5)),
        "not all of the offsets 5 to 8 are there",
    ),
    "a measurement is missing": (
        'DELETE FROM events WHERE "offset" = 2',
        lambda log: log.measurements("ann", range(0, 4, 2)),
        "not all of the offsets 0 to 2 are there",
    ),
    "an event stands in a measurement's place": (
        "UPDATE events SET kind = '-', data = '\\x0000000000000001' WHERE \"offset\" = 2",
        lambda log: log.measurements("ann", range(4)),
        "offset 2 of stream 'ann' holds no measurement",
    ),
    "the start is not what was kept": (
        "UPDATE streams SET start = 3",
        lambda log: log.checkpoint("ann"),
        "the checkpoint of stream 'ann' at offset 3 is missing",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_missing_is_not_passed_over(log: PostgresLog[Any], damage: str) -> None:
    """It is told for which user and at which offsets, and what to do."""
    statement, question, words = DAMAGES[damage]
    question(log)
    change(log, statement)
    with pytest.raises(LogDamagedError, match=words) as told:
        question(log)
    assert "restore a backup" in str(told.value)


def test_events_in_another_order_are_not_handed_out(log: PostgresLog[Any]) -> None:
    """As from a damaged index: what is read has its offset's place, or is an error."""
    log.append("ann", [ReplayCompleted(2)], expected_head=9)
    assert [entry.offset for entry in log.controls("ann")] == [4, 9]
    backwards = log._statements.controls.replace('ORDER BY "offset"', 'ORDER BY "offset" DESC')
    log._statements = evolve(log._statements, controls=backwards)
    with pytest.raises(LogDamagedError, match="the events of stream 'ann' are not in their order"):
        list(log.controls("ann"))


def test_before_a_checkpoint_there_is_none(log: PostgresLog[Any]) -> None:
    """That what lies before the start is gone is no damage."""
    log.truncate("ann", 3, {"folded": 3})
    assert log.checkpoint("ann", 2) is None
    assert log.checkpoint("bob") is None
    found = log.checkpoint("ann", 3)
    assert found is not None
    assert (found.offset, found.state) == (3, {"folded": 3})


def test_an_event_of_an_unknown_type_says_where_it_is() -> None:
    """Who reads without the types that were registered learns which is missing, and at which offset of which user."""
    schema = postgres.new_schema()
    with opened(schema, types=[DoorOpened]) as log:
        log.append("ann", [MeasurementAdded(0), DoorOpened("ann")], expected_head=0)
    with opened(schema) as log:
        with pytest.raises(UnknownTypeError) as unknown:
            list(log.read("ann"))
        assert unknown.value.__notes__ == [f"at offset 1 of stream 'ann' in {log.path}"]
        log.register(DoorOpened)
        assert [entry.event for entry in log.read("ann")] == [MeasurementAdded(0), DoorOpened("ann")]
    with opened(schema, lenient=True) as log:
        assert [entry.offset for entry in log.read("ann")] == [0, 1]


def test_an_arrival_of_any_kind_comes_back_as_it_was(log: PostgresLog[Any]) -> None:
    """One that is no float is kept with the event, and the measurement is not mistaken for one without."""
    odd: list[Event] = [MeasurementAdded("whole", 5), MeasurementAdded("half", 5.5), MeasurementAdded("none")]
    log.append("bob", odd, expected_head=0)
    assert [entry.event for entry in log.read("bob")] == odd
    assert [entry.offset for entry in log.controls("bob")] == [0, 1]
    assert list(log.measurements("bob", range(3))) == ["whole", "half", "none"]


def test_when_events_were_recorded_can_be_asked(log: PostgresLog[Any]) -> None:
    """Of those where somebody told; measurements have no time of their own."""
    log.append("ann", [ReplayCompleted(2)], expected_head=9, at=6.5)
    log.append("ann", [ReplayCompleted(3)], expected_head=10)
    assert log.times("ann", 0, 99) == {4: 5.0, 9: 6.5}
    assert log.times("ann", 5, 9) == {}
    assert [log.recorded_before("ann", time) for time in (5.0, 5.1, 9.0)] == [0, 5, 10]
    assert log.recorded_before("bob", 9.0) == 0


def test_a_fence_that_went_up_elsewhere_costs_one_statement_more_once(
    log: PostgresLog[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process learns it from a look at the stream, from an append, or from an add that was refused."""
    ran: list[object] = []
    run = Session.run_quick
    monkeypatch.setattr(Session, "run_quick", lambda *call: [ran.append(call[1]), run(*call)][1])
    learn: list[tuple[Callable[[PostgresLog[Any], int], object], int]] = [
        (lambda log, head: None, 2),
        (lambda log, head: log.position("ann"), 1),
        (lambda log, head: log.append("ann", [], expected_head=head, grant=Grant(room=10)), 1),
        (lambda log, head: log.add_many("ann", [1, 2], lambda: 0.0), 1),
    ]
    for number, (look, statements) in enumerate(learn):
        change(log, "UPDATE streams SET fence = fence + 1")
        with opened(log.schema) as other:
            position = log.position("ann")
            assert position is not None
            look(other, position.head)
            ran.clear()
            assert other.add("ann", "added", lambda: 0.0) is not None, number
            assert len(ran) == statements, number
            assert other.add("ann", "added", lambda: 0.0) is not None, number
            assert len(ran) == statements + 1, number
