"""Bad input: a clear error, and nothing in the buffer changes."""

from collections.abc import Iterator
from typing import Any

import pytest

import statemachine
from events import MeasurementAdded, MeasurementsEvicted, Recorded
from statemachine import (
    BufferClosedError,
    BufferConfig,
    IllegalTriggerError,
    InvalidArgumentError,
    NoSnapshotError,
    ReplayBuffer,
    ReplayBufferError,
    SnapshotInProgressError,
    StaleSnapshotError,
    UnknownUserError,
)

TAKES_A_USER = {
    "add_measurement": (1,),
    "add_measurements": ([1],),
    "begin_snapshot": (),
    "finalize_snapshot": (),
    "complete_replay": (),
    "renew_lease": (),
    "abort_snapshot": (),
    "clear_buffer": (),
    "schedule_retry": (1.0,),
    "park": (),
    "release": (),
    "measurements": (),
    "pending": (),
    "size": (),
    "state": (),
    "events": (),
    "state_at": (0,),
    "audit": (),
}


@pytest.mark.parametrize("user_id", ["", None, 7, b"ann", ["ann"], ("ann",)])
@pytest.mark.parametrize("method", TAKES_A_USER)
def test_a_user_id_is_a_non_empty_string(buffer: ReplayBuffer[Any], method: str, user_id: Any) -> None:
    """An empty or non-string user id is refused by every call, and no such user comes into being."""
    with pytest.raises(InvalidArgumentError, match="a user id must be a non-empty string, not "):
        getattr(buffer, method)(user_id, *TAKES_A_USER[method])
    assert list(buffer.users()) == ["ann"]


@pytest.mark.parametrize("method", [name for name in TAKES_A_USER if not name.startswith("add")])
def test_an_unknown_user_is_refused(buffer: ReplayBuffer[Any], method: str) -> None:
    """Asking for a user that never had a measurement says so, instead of making one up."""
    with pytest.raises(UnknownUserError, match="user 'bob': no measurement was ever added"):
        getattr(buffer, method)("bob", *TAKES_A_USER[method])
    with pytest.raises(UnknownUserError), buffer.snapshot("bob"):
        pytest.fail("a snapshot of nobody")
    assert list(buffer.users()) == ["ann"]


@pytest.mark.parametrize("version", ["1", 1.0, True, b"1", [1]])
@pytest.mark.parametrize("method", ["finalize_snapshot", "complete_replay", "renew_lease", "abort_snapshot"])
def test_a_version_is_a_whole_number(buffer: ReplayBuffer[Any], method: str, version: Any) -> None:
    """A version of another type is refused, not compared."""
    buffer.begin_snapshot("ann")
    before = buffer.state("ann")
    with pytest.raises(InvalidArgumentError, match="user 'ann': a version must be a whole number, not"):
        getattr(buffer, method)("ann", version=version)
    assert buffer.state("ann") == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_measurements", 0),
        ("max_measurements", -1),
        ("max_measurements", 2.5),
        ("max_measurements", True),
        ("max_measurements", "100"),
        ("pending_factor", -1),
        ("pending_factor", 0),
        ("pending_factor", float("nan")),
        ("snapshot_timeout", float("nan")),
        ("snapshot_timeout", -30),
        ("snapshot_timeout", "30"),
        ("replay_timeout", float("inf")),
        ("replay_timeout", True),
        ("on_overflow", "drop"),
        ("on_overflow", None),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    """Negative, NaN, infinite or wrongly typed configuration is refused when made, by name."""
    with pytest.raises(InvalidArgumentError, match=f"{name} must be .*, not "):
        BufferConfig(**{name: value})


def test_a_configuration_is_a_buffer_config() -> None:
    """A dict in place of the configuration is refused."""
    with pytest.raises(InvalidArgumentError, match="config must be a BufferConfig"):
        ReplayBuffer(config={"max_measurements": 5})  # type: ignore[arg-type]


def test_the_configuration_can_be_read(buffer: ReplayBuffer[Any]) -> None:
    """A buffer says what it was configured with; the pending bound is at least one."""
    assert buffer.config.max_measurements == 5
    assert BufferConfig(max_measurements=1, pending_factor=0.1).pending_bound == 1


def test_all_errors_have_one_base() -> None:
    """Whatever is refused can be caught as `ReplayBufferError`."""
    errors = [value for name, value in vars(statemachine).items() if name.endswith("Error")]
    assert len(errors) >= 13
    assert all(issubclass(error, ReplayBufferError) for error in errors)


def test_a_batch_whose_source_raises_half_way_is_not_added(buffer: ReplayBuffer[Any]) -> None:
    """Nothing of it is added, and the source's own error comes through."""

    def source() -> Iterator[int]:
        yield 4
        raise OSError("sensor is gone")

    with pytest.raises(OSError, match="sensor is gone"):
        buffer.add_measurements("ann", source())
    with pytest.raises(InvalidArgumentError, match="must be an iterable"):
        buffer.add_measurements("ann", 4)  # type: ignore[arg-type]
    assert buffer.measurements("ann") == [1, 2, 3]


def test_an_empty_batch_records_nothing(buffer: ReplayBuffer[Any]) -> None:
    """No measurement, no event, no user."""
    assert buffer.add_measurements("ann", []) == range(3, 3)
    assert buffer.add_measurements("bob", []) == range(0)
    assert list(buffer.users()) == ["ann"]


def test_any_object_is_a_measurement(buffer: ReplayBuffer[Any]) -> None:
    """None, events and what the log itself works with come back as they went in."""
    odd = [
        None,
        MeasurementAdded(1),
        Recorded(0, MeasurementsEvicted(0, 9)),
        MeasurementsEvicted(0, 9),
        [],
        float("nan"),
    ]
    for measurement in odd:
        buffer.add_measurement("odd", measurement)
    buffer.add_measurements("odder", odd)
    assert buffer.measurements("odd") == odd[1:]
    assert buffer.measurements("odder") == odd[1:]


def test_wrong_order_of_calls_is_refused_with_what_to_do(buffer: ReplayBuffer[Any]) -> None:
    """Finalize before begin, complete before finalize, twice, abort when idle: each is refused and changes nothing."""
    for call in (buffer.finalize_snapshot, buffer.complete_replay, buffer.abort_snapshot, buffer.renew_lease):
        with pytest.raises(NoSnapshotError, match=r"user 'ann': cannot .* while idle; no snapshot is in progress"):
            call("ann")
    version = buffer.begin_snapshot("ann")
    with pytest.raises(SnapshotInProgressError, match="wait until snapshot 1 is completed, or abort it"):
        buffer.begin_snapshot("ann")
    with pytest.raises(SnapshotInProgressError):
        buffer.clear_buffer("ann")
    with pytest.raises(IllegalTriggerError, match="finalize_snapshot comes first"):
        buffer.complete_replay("ann")
    frozen = buffer.finalize_snapshot("ann", version)
    with pytest.raises(IllegalTriggerError, match="cannot finalize_snapshot while replaying"):
        buffer.finalize_snapshot("ann")
    frozen.complete()
    with pytest.raises(StaleSnapshotError, match="snapshot 1 is over"):
        frozen.complete()
    with pytest.raises(InvalidArgumentError, match="reason must be a string"):
        buffer.abort_snapshot("ann", reason=7)  # type: ignore[arg-type]
    assert (buffer.state("ann").replayed, buffer.state("ann").live) == (3, 0)


def test_a_closed_buffer_refuses(buffer: ReplayBuffer[Any]) -> None:
    """After close every call is refused, adds of known users too."""
    with buffer:
        pass
    calls = (
        lambda: buffer.add_measurement("ann", 4),
        lambda: buffer.state("ann"),
        buffer.users,
        buffer.expire_overdue,
    )
    for call in calls:
        with pytest.raises(BufferClosedError, match="make a new one on the log"):
            call()


@pytest.mark.parametrize("time", [float("nan"), float("inf"), 1e300, -1e300, None, "noon", True, 1j])
def test_a_clock_that_gives_no_time_is_refused(time: Any) -> None:
    """A deadline that is no number would never come, so nothing is recorded with it."""
    buffer: ReplayBuffer[int] = ReplayBuffer(clock=lambda: time)
    buffer.add_measurement("ann", 1)
    for call in (lambda: buffer.begin_snapshot("ann"), buffer.expire_overdue):
        with pytest.raises(InvalidArgumentError, match="the clock must give a finite number of seconds"):
            call()
    assert list(buffer.events("ann")) == [Recorded(0, MeasurementAdded(1))]


def raising() -> float:
    raise OSError("no clock")


@pytest.mark.parametrize("clock", [raising, lambda: 10**400, lambda: None, lambda: float("nan")])
def test_no_measurement_is_refused_because_of_the_clock(clock: Any) -> None:
    """Without a time the arrival is not known, and the measurement is recorded all the same, also after a clear."""
    buffer: ReplayBuffer[int] = ReplayBuffer(clock=clock)
    buffer.add_measurement("ann", 1)
    buffer.clear_buffer("ann")
    buffer.add_measurements("ann", [2, 3])
    assert buffer.measurements("ann") == [2, 3]
    assert buffer.state("ann").arrived_at is None


@pytest.mark.parametrize("wrong", [{"log": {}}, {"clock": 5}, {"on_abort": 5}, {"on_evict": "hook"}])
def test_what_a_buffer_is_made_of_is_checked(wrong: dict[str, Any]) -> None:
    """A configuration dict in place of the log, or a hook that is no function, is refused at once."""
    with pytest.raises(InvalidArgumentError, match=" must be "):
        ReplayBuffer(**wrong)


REFUSED = {
    "a version that is none": lambda buffer: buffer.complete_replay("ann", 1.5),
    "a stale version": lambda buffer: buffer.complete_replay("ann", 7),
    "no snapshot": lambda buffer: buffer.renew_lease("ann"),
    "a snapshot in progress": lambda buffer: (buffer.begin_snapshot("ann"), buffer.begin_snapshot("ann")),
    "a parked user": lambda buffer: (buffer.park("ann"), buffer.begin_snapshot("ann")),
    "a reason to abort that is none": lambda buffer: (buffer.begin_snapshot("ann"), buffer.abort_snapshot("ann", 5)),
    "a reason to park that is none": lambda buffer: buffer.park("ann", 5),
    "a time that is none": lambda buffer: buffer.schedule_retry("ann", "soon"),
    "an offset that is none": lambda buffer: buffer.state_at("ann", -1),
    "a first offset that is none": lambda buffer: buffer.events("ann", "0"),
    "a last offset that is none": lambda buffer: buffer.events("ann", 0, "9"),
    "an offset above the head": lambda buffer: buffer.state_at("ann", 4),
    "an offset to clear above the head": lambda buffer: buffer.clear_buffer("ann", 4),
    "a truncated offset": lambda buffer: (buffer.clear_buffer("ann"), buffer.state_at("ann", 0)),
    "measurements that are none": lambda buffer: buffer.add_measurements("ann", 5),
    "many users' measurements that are none": lambda buffer: buffer.add_for_users({"bob": [1], "ann": 5}),
    "a log without transactions": lambda buffer: buffer.complete_replay("ann", connection=object()),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_a_refusal_says_what_and_whom_it_concerns(buffer: ReplayBuffer[Any], wrong: str) -> None:
    """Who reads the error of one call among thousands knows which user's it was, and what was wrong."""
    with pytest.raises(ReplayBufferError) as refused:
        REFUSED[wrong](buffer)
    assert refused.value.user_id == "ann"
    assert str(refused.value).startswith("user 'ann': ")
    assert not str(refused.value).endswith("None")


@pytest.mark.parametrize("name", ["max_measurements", "pending_factor", "snapshot_timeout", "max_total_measurements"])
def test_the_most_that_a_bound_may_be(name: str) -> None:
    """2**40 is the highest that is taken for a bound or a timeout; what is above it cannot be meant."""
    assert getattr(BufferConfig(**{name: 2**40}), name) == 2**40
    with pytest.raises(InvalidArgumentError, match=f"{name} must be .*, not {2**40 + 1}"):
        BufferConfig(**{name: 2**40 + 1})


@pytest.mark.parametrize("name", ["clock", "on_abort", "on_evict"])
def test_what_has_to_be_a_function_is_named(name: str) -> None:
    """The error says which of them is none, by the name of the parameter."""
    with pytest.raises(InvalidArgumentError, match=f"^{name} must be a function, not 5$"):
        ReplayBuffer(**{name: 5})
