"""The drop-in beside the older class written plainly: in one thread, and with no adds in between, they do the same."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.plain import PlainBuffer
from statemachine.compat import ReplayBuffer
from statemachine.compat._user import Window

START = datetime(2024, 5, 1, tzinfo=UTC)

adds = st.tuples(st.just("add"), st.sampled_from(["ann", "bob"]), st.integers(-(10**9), 10**9))
near = st.tuples(st.just("add"), st.just("ann"), st.integers(-3, 3))
others = st.tuples(st.sampled_from(["clear", "replay", "info", "ready"]), st.sampled_from(["ann", "bob"]), st.just(0))
configs = st.fixed_dictionaries(
    {
        "max_buffer_measurements": st.integers(1, 6),
        "buffer_hours": st.integers(0, 3),
        "trigger_mode": st.sampled_from(["time_based", "measurement_count"]),
        "outlier_detection": st.fixed_dictionaries({"min_measurements_for_analysis": st.integers(0, 4)}),
    }
)
ZONES = {"utc": UTC, "east": timezone(timedelta(hours=5, minutes=45)), "naive": None}


@pytest.fixture(autouse=True, scope="module")
def _local_time_is_utc() -> Iterator[None]:
    """The plain class subtracts naive timestamps as they are, which is wrong where a clock is set forward or back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


def done(buffer: Any, what: str, user_id: str, measurement: dict[str, Any]) -> Any:
    """Do one thing with either class; what it returned."""
    if what == "add":
        return buffer.add_measurement(user_id, measurement)
    if what == "clear":
        return buffer.clear_buffer(user_id)
    if what == "info":
        return buffer.get_buffer_info(user_id)
    if what == "ready":
        return buffer.get_ready_buffers()
    return buffer.get_buffer_measurements(user_id), buffer.clear_buffer(user_id)


@pytest.mark.parametrize("zone", ZONES)
@given(config=configs, steps=st.lists(st.one_of(adds, near, others), max_size=40))
def test_the_same_as_the_plain_class(zone: str, config: dict[str, Any], steps: list[tuple[str, str, int]]) -> None:
    """Every result is equal, with late and out-of-order timestamps too, up to the bound and beyond it."""
    now = START.timestamp()
    drop_in, plain = ReplayBuffer(config, clock=lambda: now), PlainBuffer(config, clock=lambda: now)
    for number, (what, user_id, seconds) in enumerate(steps):
        now += 600
        timestamp = (START + timedelta(seconds=seconds)).astimezone(ZONES[zone])
        if zone == "naive":
            timestamp = timestamp.replace(tzinfo=None)
        measurement = {"number": number, "timestamp": timestamp}
        assert done(drop_in, what, user_id, measurement) == done(plain, what, user_id, measurement)
        assert list(drop_in.buffers) == list(plain.buffers)


@given(st.lists(st.one_of(st.floats(allow_nan=False), st.sampled_from([1.0, 2.0]), st.none())))
def test_a_sliding_window_knows_its_extremes(steps: list[float | None]) -> None:
    """After any adds and any letting go of the oldest (None), both extremes are the first of the least and greatest."""
    window, times = Window(), []
    for place, step in enumerate(steps):
        if step is None:
            times = times[1:]
            window.keep(len(times))
        else:
            times.append((step, START + timedelta(seconds=place)))
            window.add(*times[-1])
        oldest = min(times, key=lambda time: time[0], default=None)
        newest = max(times, key=lambda time: time[0], default=None)
        assert window.size == len(times)
        assert [end[0][:2] if end else None for end in (window.minima, window.maxima)] == [oldest, newest]
