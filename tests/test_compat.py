"""The drop-in for the older dict-based buffer: each thing that applications and their tests rely on."""

import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from unittest.mock import patch

import pytest

from statemachine import InvalidArgumentError
from statemachine.compat import ReplayBuffer

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
COUNTING = {"trigger_mode": "measurement_count", "max_buffer_measurements": 5}


class Clock:
    """A clock that stands still until told; it begins an hour after START."""

    def __init__(self) -> None:
        self.now = START.timestamp() + 3600

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buffer(clock: Clock) -> ReplayBuffer:
    return ReplayBuffer(clock=clock)


@pytest.fixture
def kathmandu(monkeypatch: pytest.MonkeyPatch) -> Iterator[tzinfo]:
    """The machine's local time is 5:45 ahead of UTC."""
    monkeypatch.setenv("TZ", "XXX-5:45")
    time.tzset()
    yield timezone(timedelta(hours=5, minutes=45))
    monkeypatch.undo()
    time.tzset()


def measured(minutes: float = 0, zone: tzinfo | None = UTC) -> dict[str, Any]:
    """A measurement so many minutes after START."""
    timestamp = (START + timedelta(minutes=minutes)).astimezone(zone)
    metadata = {"device": {"id": minutes}}
    return {"weight": 81.5, "timestamp": timestamp, "source": "scale", "unit": "kg", "metadata": metadata}


def fill(buffer: ReplayBuffer, count: int, user_id: str = "ann", first: int = 0) -> list[dict[str, Any]]:
    """Add so many, a minute apart."""
    measurements = [measured(number) for number in range(first, first + count)]
    for measurement in measurements:
        assert buffer.add_measurement(user_id, measurement)["success"] is True
    return measurements


def test_made_with_nothing_with_none_or_with_a_dict() -> None:
    """T: `B()`, `B(None)`, `B({...})`; `.config` keeps every given key, unknown ones too."""
    assert ReplayBuffer().config == ReplayBuffer(None).config == ReplayBuffer({}).config == {}
    given = {"buffer_hours": 24, "vendor": {"x": 1}, "outlier_detection": {"method": "iqr"}}
    buffer = ReplayBuffer(given)
    assert buffer.config == given
    assert buffer.get_stats()["config"] == {"max_buffer_measurements": 100, "trigger_mode": "time_based", **given}
    with pytest.raises(TypeError):
        ReplayBuffer({}, {})  # type: ignore[call-arg, arg-type]


def test_an_empty_buffer_is_truthy() -> None:
    """A: applications test `if enabled and buffer`."""
    assert ReplayBuffer()


def test_it_can_be_tested_for_and_patched() -> None:
    """T: usable with `isinstance`; `cleanup` is an ordinary method that can be patched on the class."""
    buffer = ReplayBuffer()
    assert isinstance(buffer, ReplayBuffer)
    with patch.object(ReplayBuffer, "cleanup") as cleanup:
        buffer.cleanup()
    cleanup.assert_called_once_with()


def test_the_defaults(clock: Clock) -> None:
    """A: 72 hours, 100 for each user, time_based, and at least 5 before anything triggers."""
    buffer = ReplayBuffer(clock=clock)
    fill(buffer, 4)
    clock.now = START.timestamp() + 72 * 3600 - 1
    assert buffer.get_buffer_info("ann")["trigger_reason"] == "insufficient_measurements"
    assert buffer.add_measurement("ann", measured(5))["trigger_reason"] == "threshold_not_reached"
    clock.now += 1
    assert buffer.add_measurement("ann", measured(6))["trigger_reason"] == "time_based_trigger"
    fill(buffer, 100)
    assert buffer.get_buffer_info("ann")["measurement_count"] == 100


WRONG = [
    ({"buffer_hours": "72"}, "buffer_hours must be a number of hours, at least 0, not '72'"),
    ({"buffer_hours": True}, "buffer_hours"),
    ({"buffer_hours": -1}, "buffer_hours"),
    ({"buffer_hours": float("nan")}, "buffer_hours"),
    ({"max_buffer_measurements": 1.5}, r"max_buffer_measurements must be a whole number from 1 to 2\*\*40 .*, not 1.5"),
    ({"max_buffer_measurements": True}, "max_buffer_measurements"),
    ({"max_buffer_measurements": 0}, "0 meant no limit in the older class"),
    ({"max_buffer_measurements": 2**40 + 1}, "max_buffer_measurements"),
    ({"trigger_mode": "sometimes"}, "trigger_mode must be 'time_based' or 'measurement_count', not 'sometimes'"),
    ({"trigger_mode": ["time_based"]}, "trigger_mode"),
    ({"outlier_detection": 5}, "outlier_detection must be a dict, not 5"),
    ({"outlier_detection": {"min_measurements_for_analysis": -1}}, "min_measurements_for_analysis"),
    ({"outlier_detection": {"min_measurements_for_analysis": "5"}}, "min_measurements_for_analysis"),
    ([], r"config must be a dict, not \[\]"),
    ("time_based", "config must be a dict"),
]


@pytest.mark.parametrize(("config", "said"), WRONG, ids=str)
def test_a_config_that_makes_no_sense_is_refused(config: Any, said: str) -> None:
    """The error names the key, the value and what is expected; a bound of 0 is refused, since it had two meanings."""
    with pytest.raises(InvalidArgumentError, match=said):
        ReplayBuffer(config)


@pytest.mark.parametrize("hours", [0, 0.5, float("inf")])
def test_hours_may_be_any_number_that_is_not_negative(hours: float, clock: Clock) -> None:
    """0 triggers at once, infinity never."""
    buffer = ReplayBuffer({"buffer_hours": hours}, clock=clock)
    fill(buffer, 5)
    assert buffer.get_buffer_info("ann")["is_ready_for_processing"] is (hours < 1)


def test_what_a_valid_add_returns(buffer: ReplayBuffer) -> None:
    """T: `success` True and `buffer_size`; A: readiness, reason, and the oldest and newest event time."""
    fill(buffer, 1, first=10)
    assert buffer.add_measurement("ann", measured(3)) == {
        "success": True,
        "user_id": "ann",
        "buffer_size": 2,
        "buffer_ready": False,
        "trigger_reason": "insufficient_measurements",
        "buffer_window_start": START + timedelta(minutes=3),
        "buffer_window_end": START + timedelta(minutes=10),
    }


def test_an_add_does_not_fail_for_want_of_a_clock() -> None:
    """What is recorded is reported so; only its age is not known."""

    def no_clock() -> float:
        raise OSError("no clock")

    buffer = ReplayBuffer(clock=no_clock)
    for day in range(1, 7):
        result = buffer.add_measurement("ann", {"timestamp": datetime(2024, 5, day)})
    assert (result["success"], result["buffer_size"], result["buffer_ready"]) == (True, 6, False)


class Unclear(tzinfo):
    """A time zone that fails."""

    def utcoffset(self, _moment: datetime | None) -> timedelta:
        raise RuntimeError("no offset")


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
@pytest.mark.parametrize(
    ("user_id", "measurement", "said"),
    [
        ("ann", None, "a measurement must be a dict .* this NoneType has None there"),
        (
            "ann",
            {"weight": 81.5},
            "a measurement must be a dict with a datetime under 'timestamp'; this dict has None there",
        ),
        ("ann", [measured()], "a measurement must be a dict .* this list has None there"),
        ("ann", {"timestamp": "2024-05-01"}, "this dict has '2024-05-01' there"),
        ("ann", {"timestamp": START.date()}, "this dict has datetime.date"),
        ("ann", {"timestamp": datetime(2024, 5, 1, tzinfo=Unclear())}, "no offset"),
        ("", measured(), "a user id must be a non-empty string, not ''"),
        (None, measured(), "a user id must be a non-empty string, not None"),
        ([], measured(), r"a user id must be a non-empty string, not \[\]"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_bad_input_raises_nothing_and_changes_nothing(
    buffer: ReplayBuffer, known: bool, user_id: Any, measurement: Any, said: str
) -> None:
    """T: a dict with `success` False, `error` and `user_id`; nothing stored changes."""
    if known:
        fill(buffer, 3)
    before = (buffer.get_buffer_info("ann"), list(buffer.buffers), buffer.get_stats())
    result = buffer.add_measurement(user_id, measurement)
    assert result.keys() == {"success", "error", "user_id"}
    assert (result["success"], result["user_id"]) == (False, user_id)
    assert re.search(said, result["error"])
    assert (buffer.get_buffer_info("ann"), list(buffer.buffers), buffer.get_stats()) == before


def test_measurements_come_back_equal_and_untouched(buffer: ReplayBuffer) -> None:
    """A: later edits of the caller's top-level dict do not show, nor do edits of what was handed out."""
    given = measured()
    kept = dict(given)
    buffer.add_measurement("ann", given)
    given["weight"] = 0.0
    window = buffer.get_buffer_measurements("ann")
    assert window == [kept]
    window[0]["weight"] = 1.0
    assert buffer.get_buffer_measurements("ann") == [kept]


def test_never_more_than_the_bound(clock: Clock) -> None:
    """T: never more than `max_buffer_measurements` held; what made room is counted."""
    buffer = ReplayBuffer({"max_buffer_measurements": 5}, clock=clock)
    added = fill(buffer, 12)
    sizes = [buffer.add_measurement("ann", measured(number))["buffer_size"] for number in range(12, 15)]
    assert sizes == [5, 5, 5]
    assert buffer.get_stats()["measurements_evicted"] == 10
    assert buffer.get_buffer_info("ann")["first_timestamp"] == START + timedelta(minutes=10)
    assert buffer.get_buffer_measurements("ann") == [*added, *(measured(number) for number in range(12, 15))][-5:]


def test_the_measurements_are_a_plain_list_in_the_order_added(buffer: ReplayBuffer) -> None:
    """T: a plain `list`, oldest added first, copies; A: None for an unknown user; T: length 0 after a clear."""
    assert buffer.get_buffer_measurements("ann") is None
    late = [measured(minutes) for minutes in (3, 1, 2)]
    for measurement in late:
        buffer.add_measurement("ann", measurement)
    window = buffer.get_buffer_measurements("ann")
    assert type(window) is list
    assert window.copy() == late
    buffer.clear_buffer("ann")
    assert buffer.get_buffer_measurements("ann") == []


def test_a_clear_leaves_a_known_empty_user(buffer: ReplayBuffer) -> None:
    """T: True for a known user, who is empty then, False for an unknown one."""
    fill(buffer, 6)
    assert buffer.clear_buffer("ann") is True
    assert buffer.clear_buffer("ann") is True
    assert buffer.clear_buffer("bob") is False
    assert list(buffer.buffers) == ["ann"]
    assert buffer.get_buffer_info("ann") == {
        "user_id": "ann",
        "measurement_count": 0,
        "first_timestamp": None,
        "last_timestamp": None,
        "buffer_age_hours": 0.0,
        "is_ready_for_processing": False,
        "trigger_reason": "empty_buffer",
    }
    assert buffer.add_measurement("ann", measured())["buffer_size"] == 1


def test_the_info_of_a_buffer(buffer: ReplayBuffer) -> None:
    """A: None if unknown; else count, oldest and newest event time, age, readiness and reason."""
    assert buffer.get_buffer_info("ann") is None
    for minutes in (30, 0, 45):
        buffer.add_measurement("ann", measured(minutes))
    assert buffer.get_buffer_info("ann") == {
        "user_id": "ann",
        "measurement_count": 3,
        "first_timestamp": START,
        "last_timestamp": START + timedelta(minutes=45),
        "buffer_age_hours": 1.0,
        "is_ready_for_processing": False,
        "trigger_reason": "insufficient_measurements",
    }


def test_time_based_readiness_is_a_level(clock: Clock) -> None:
    """A: ready when now minus the oldest *event* is at least `buffer_hours`; every add reports it until cleared."""
    buffer = ReplayBuffer({"buffer_hours": 24}, clock=clock)
    fill(buffer, 5)
    assert not buffer.add_measurement("ann", measured(10))["buffer_ready"]
    late = buffer.add_measurement("ann", measured(-24 * 60 + 60))
    assert (late["buffer_ready"], late["trigger_reason"]) == (True, "time_based_trigger")
    assert all(buffer.add_measurement("ann", measured(number))["buffer_ready"] for number in range(3))
    buffer.get_buffer_measurements("ann")
    assert buffer.add_measurement("ann", measured(5))["buffer_ready"], "reading alone does not clear"
    assert buffer.get_ready_buffers() == ["ann"]
    assert buffer.get_stats()["buffers_triggered"] == 5, "adds that reported it"
    buffer.get_buffer_measurements("ann")
    buffer.clear_buffer("ann")
    assert not any(buffer.add_measurement("ann", measured(number))["buffer_ready"] for number in range(6))


def test_count_readiness_is_a_level() -> None:
    """A: ready when the number held reaches the cap, whatever the age."""
    buffer = ReplayBuffer(COUNTING, clock=lambda: START.timestamp() + 10**9)
    results = [buffer.add_measurement("ann", measured(number)) for number in range(7)]
    assert [result["buffer_ready"] for result in results] == [False] * 4 + [True] * 3
    reasons = ["insufficient_measurements"] * 4 + ["measurement_count_trigger"] * 3
    assert [result["trigger_reason"] for result in results] == reasons


@pytest.mark.parametrize("mode", ["time_based", "measurement_count"])
def test_the_gate_holds_back_every_trigger(mode: str, clock: Clock) -> None:
    """A: `min_measurements_for_analysis` gates both triggers."""
    config = {
        "trigger_mode": mode,
        "buffer_hours": 0,
        "max_buffer_measurements": 2,
        "outlier_detection": {"min_measurements_for_analysis": 3},
    }
    buffer = ReplayBuffer(config, clock=clock)
    fill(buffer, 2)
    assert buffer.get_buffer_info("ann")["trigger_reason"] == "insufficient_measurements"
    config["outlier_detection"] = {"min_measurements_for_analysis": 0}
    buffer = ReplayBuffer(config, clock=clock)
    assert buffer.add_measurement("ann", measured())["buffer_ready"] is (mode == "time_based")
    assert buffer.add_measurement("ann", measured())["buffer_ready"]


def test_ready_buffers_in_the_order_first_seen() -> None:
    """A: a list of user ids in the order first seen, `[]` when none."""
    buffer = ReplayBuffer(COUNTING)
    assert buffer.get_ready_buffers() == []
    for user_id in ("cid", "ann", "bob"):
        fill(buffer, 1, user_id)
    for user_id in ("bob", "cid"):
        fill(buffer, 4, user_id)
    assert buffer.get_ready_buffers() == ["cid", "bob"]


def test_the_mapping_of_buffers(buffer: ReplayBuffer) -> None:
    """T: `.buffers`: a mapping with one entry for each user seen."""
    assert isinstance(buffer.buffers, Mapping)
    assert len(buffer.buffers) == 0
    fill(buffer, 2, "ann")
    fill(buffer, 1, "bob")
    assert list(buffer.buffers) == ["ann", "bob"]
    assert buffer.buffers["ann"] == buffer.get_buffer_info("ann")
    assert "cid" not in buffer.buffers
    with pytest.raises(KeyError):
        buffer.buffers["cid"]


def test_cleanup(buffer: ReplayBuffer) -> None:
    """T: afterwards nothing is known; it may be called twice, and the buffer is usable after."""
    fill(buffer, 3, "ann")
    fill(buffer, 2, "bob")
    buffer.get_buffer_measurements("ann")
    assert buffer.total_measurements == 5
    for _ in range(2):
        assert buffer.cleanup() is None
        assert (len(buffer.buffers), buffer.total_measurements) == (0, 0)
        assert buffer.get_buffer_measurements("ann") is None
        assert buffer.clear_buffer("ann") is False
    added = fill(buffer, 2)
    assert buffer.get_buffer_measurements("ann") == added
    stats = buffer.get_stats()
    counts = [stats[name] for name in ("total_measurements_buffered", "buffers_created", "buffers_cleaned")]
    assert counts == [7, 3, 2]


def test_a_mark_does_not_outlive_a_cleanup(buffer: ReplayBuffer) -> None:
    """What was read before a cleanup says nothing about what is there after it."""
    fill(buffer, 3)
    buffer.get_buffer_measurements("ann")
    buffer.cleanup()
    fill(buffer, 2)
    buffer.clear_buffer("ann")
    assert buffer.get_buffer_measurements("ann") == []


def test_a_forced_trigger(buffer: ReplayBuffer) -> None:
    """True when the user holds something, ready or not."""
    assert buffer.force_trigger_buffer("ann") is False
    fill(buffer, 1)
    assert buffer.force_trigger_buffer("ann") is True
    buffer.clear_buffer("ann")
    assert buffer.force_trigger_buffer("ann") is False


def test_old_buffers_are_cleaned_up(clock: Clock) -> None:
    """Users whose newest event is older than 2 x `buffer_hours`, or what is given, are removed, and counted."""
    buffer = ReplayBuffer({"buffer_hours": 1}, clock=clock)
    fill(buffer, 3, "ann")
    fill(buffer, 3, "bob", first=50)
    fill(buffer, 1, "cid")
    buffer.clear_buffer("cid")
    clock.now = (START + timedelta(hours=2, minutes=2)).timestamp()
    assert buffer.cleanup_old_buffers() == 0
    clock.now += 1
    assert buffer.get_stats()["last_cleanup_time"] == datetime.fromtimestamp(clock.now - 1)
    assert buffer.cleanup_old_buffers() == 1
    assert list(buffer.buffers) == ["bob", "cid"]
    assert buffer.cleanup_old_buffers(max_age_hours=0.5) == 1
    assert list(buffer.buffers) == ["cid"]
    for wrong in ("1", -1):
        with pytest.raises(InvalidArgumentError, match="max_age_hours"):
            buffer.cleanup_old_buffers(wrong)  # type: ignore[arg-type]


def test_a_removed_user_begins_anew(clock: Clock) -> None:
    """Also one that was being replayed; what this thread was handed before says nothing about what came since."""
    buffer = ReplayBuffer(clock=clock)
    fill(buffer, 3)
    buffer.get_buffer_measurements("ann")
    clock.now += 7 * 24 * 3600
    assert buffer.cleanup_old_buffers() == 1
    assert buffer.get_buffer_info("ann") is None
    added = fill(buffer, 2)
    assert buffer.get_buffer_info("ann")["measurement_count"] == 2
    buffer.clear_buffer("ann")
    assert buffer.get_buffer_measurements("ann") == []
    assert added


def test_the_stats(clock: Clock) -> None:
    """Every name the older class had, and what was evicted."""
    buffer = ReplayBuffer(COUNTING, clock=clock)
    fill(buffer, 6, "ann")
    fill(buffer, 2, "bob")
    assert buffer.get_stats() == {
        "total_measurements_buffered": 8,
        "buffers_created": 2,
        "buffers_triggered": 2,
        "buffers_cleaned": 0,
        "measurements_evicted": 1,
        "last_cleanup_time": None,
        "active_buffers": 2,
        "total_buffered_measurements": 7,
        "ready_for_processing": 1,
        "config": {
            "buffer_hours": 72,
            "outlier_detection": {"min_measurements_for_analysis": 5},
            **COUNTING,
        },
    }


@pytest.mark.parametrize("zone", [None, UTC], ids=["naive", "aware"])
def test_naive_and_aware_timestamps(zone: tzinfo | None, clock: Clock, kathmandu: tzinfo) -> None:
    """A: either may be used, and the very datetimes come back; naive ones mean local time."""
    buffer = ReplayBuffer({"buffer_hours": 2}, clock=clock)
    given = [measured(minutes, zone) for minutes in (3, 1, 5, 2, 4)]
    if zone is None:
        given = [{**each, "timestamp": each["timestamp"].replace(tzinfo=None)} for each in given]
    results = [buffer.add_measurement("ann", measurement) for measurement in given]
    assert all(result["success"] for result in results)
    info = buffer.get_buffer_info("ann")
    assert info["first_timestamp"] is given[1]["timestamp"]
    assert info["last_timestamp"] is given[2]["timestamp"]
    assert info["buffer_age_hours"] == pytest.approx(59 / 60)
    clock.now += 61 * 60
    assert buffer.get_ready_buffers() == ["ann"]
    assert buffer.get_buffer_measurements("ann") == given


def test_naive_and_aware_timestamps_mixed(buffer: ReplayBuffer, kathmandu: tzinfo) -> None:
    """A naive 17:50 in Kathmandu lies between an aware 12:00 and 12:10 UTC."""
    noon, later = measured(0), measured(10)
    naive = {"weight": 1.0, "timestamp": measured(5, kathmandu)["timestamp"].replace(tzinfo=None)}
    assert naive["timestamp"] == datetime(2024, 5, 1, 17, 50)
    for measurement in (naive, later, naive, noon, naive):
        assert buffer.add_measurement("ann", measurement)["success"]
    info = buffer.get_buffer_info("ann")
    assert (info["first_timestamp"], info["last_timestamp"]) == (noon["timestamp"], later["timestamp"])
    assert buffer.get_buffer_measurements("ann") == [naive, later, naive, noon, naive]


def test_the_first_and_the_last_datetime_there_is(buffer: ReplayBuffer, kathmandu: tzinfo) -> None:
    """Where the platform has no local time for a naive timestamp, it is kept all the same."""
    for timestamp in (datetime.max, datetime.min, START):
        assert buffer.add_measurement("ann", {"timestamp": timestamp})["success"]
    info = buffer.get_buffer_info("ann")
    assert (info["first_timestamp"], info["last_timestamp"]) == (datetime.min, datetime.max)
