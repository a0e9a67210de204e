"""The drop-in under many threads: all is kept, each exactly once, and no call fails."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Barrier, Event, Thread
from typing import Any

from statemachine.compat import ReplayBuffer

START = datetime(2024, 5, 1, tzinfo=UTC)
ROOMY = {"max_buffer_measurements": 1_000_000, "trigger_mode": "measurement_count"}
WRITERS, EACH = 4, 1_000


def run(*functions: Callable[[], object]) -> None:
    """Run them at once, each in a thread of its own; raise what any of them raised."""
    barrier, errors = Barrier(len(functions)), []

    def begin(function: Callable[[], object]) -> None:
        barrier.wait()
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=begin, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def measured(writer: int, number: int) -> dict[str, Any]:
    timestamp = START + timedelta(seconds=number * 7919 % EACH)
    return {
        "writer": writer,
        "number": number,
        "timestamp": timestamp if writer % 2 else timestamp.replace(tzinfo=None),
    }


def adding(buffer: ReplayBuffer, user_id: str, writer: int, done: Event | None = None) -> Callable[[], None]:
    def add() -> None:
        for number in range(EACH):
            result = buffer.add_measurement(user_id, measured(writer, number))
            assert result["success"]
            assert result["buffer_size"] >= 1
        if done:
            done.set()

    return add


def check_all_kept(measurements: list[dict[str, Any]], writers: range = range(WRITERS)) -> None:
    """Each writer's are all there, each once, in the order in which that writer added them."""
    for writer in writers:
        own = [measurement for measurement in measurements if measurement["writer"] == writer]
        assert own == [measured(writer, number) for number in range(EACH)]
    assert len(measurements) == len(writers) * EACH


def test_many_threads_on_users_of_their_own() -> None:
    """T: all kept, no error."""
    buffer = ReplayBuffer(ROOMY)
    run(*(adding(buffer, f"user-{writer}", writer) for writer in range(WRITERS)))
    assert sorted(buffer.buffers) == [f"user-{writer}" for writer in range(WRITERS)]
    for writer in range(WRITERS):
        check_all_kept(buffer.get_buffer_measurements(f"user-{writer}"), range(writer, writer + 1))
    assert buffer.total_measurements == WRITERS * EACH


def test_many_threads_on_the_same_user() -> None:
    """T: all kept, no error; and the oldest and newest event time are right."""
    buffer = ReplayBuffer(ROOMY)
    run(*(adding(buffer, "ann", writer) for writer in range(WRITERS)))
    check_all_kept(buffer.get_buffer_measurements("ann"))
    info = buffer.get_buffer_info("ann")
    assert info["measurement_count"] == WRITERS * EACH
    ends = [info[name].timestamp() for name in ("first_timestamp", "last_timestamp")]
    times = [measured(writer, number)["timestamp"].timestamp() for writer in (0, 1) for number in range(EACH)]
    assert ends == [min(times), max(times)]


def test_get_replay_and_clear_at_full_speed_loses_nothing() -> None:
    """What was replayed and what is left is everything that was added, while writers never pause."""
    buffer = ReplayBuffer(ROOMY)
    dones = [Event() for _ in range(WRITERS)]
    replayed: list[dict[str, Any]] = []

    def replay() -> None:
        while True:
            last = all(done.is_set() for done in dones)
            window = buffer.get_buffer_measurements("ann")
            replayed.extend(window or [])
            assert buffer.clear_buffer("ann") is (window is not None)
            if last:
                return

    run(replay, *(adding(buffer, "ann", writer, done) for writer, done in enumerate(dones)))
    check_all_kept(replayed)
    assert buffer.get_buffer_info("ann")["measurement_count"] == 0
    assert buffer.get_stats()["measurements_evicted"] == 0


def test_readers_that_overlap_lose_nothing() -> None:
    """Two threads read, replay and clear the same user: everything is replayed by at least one of them."""
    buffer = ReplayBuffer(ROOMY)
    dones = [Event() for _ in range(2)]
    replayed: list[list[dict[str, Any]]] = [[], []]

    def replaying(seen: list[dict[str, Any]]) -> Callable[[], None]:
        def replay() -> None:
            while True:
                last = all(done.is_set() for done in dones)
                seen.extend(buffer.get_buffer_measurements("ann") or [])
                buffer.get_buffer_info("ann")
                buffer.clear_buffer("ann")
                if last:
                    return

        return replay

    adds = [adding(buffer, "ann", writer, done) for writer, done in enumerate(dones)]
    buffer.add_measurement("ann", measured(9, 0))  # so that both begin with a read of something
    run(*map(replaying, replayed), *adds)
    found = {(measurement["writer"], measurement["number"]) for seen in replayed for measurement in seen}
    assert found == {(9, 0), *((writer, number) for writer in range(2) for number in range(EACH))}
    assert buffer.get_buffer_info("ann")["measurement_count"] == 0


def test_cleanups_while_others_add_read_and_clear() -> None:
    """No call fails, whatever is removed under it; and afterwards the buffer works."""
    buffer = ReplayBuffer({"max_buffer_measurements": 5}, clock=lambda: START.timestamp() + 10**9)
    done = Event()

    def clean() -> None:
        while not done.is_set():
            buffer.cleanup_old_buffers()
            buffer.cleanup()
            buffer.get_stats()

    def use() -> None:
        while not done.is_set():
            buffer.get_buffer_measurements("ann")
            buffer.clear_buffer("ann")
            buffer.get_ready_buffers()
            dict(buffer.buffers.items()) if len(buffer.buffers) > 5 else list(buffer.buffers)

    run(clean, use, adding(buffer, "ann", 0), adding(buffer, "ann", 1, done))
    buffer.cleanup()
    assert buffer.add_measurement("ann", measured(0, 0))["buffer_size"] == 1
    assert buffer.get_stats()["total_measurements_buffered"] == 2 * EACH + 1
