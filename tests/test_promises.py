"""The four promises that the library was asked for, each in its own words."""

from threading import Barrier, Event, Thread

import pytest

from statemachine import BufferConfig, ReplayBuffer, ReplayManager, StaleSnapshotError

ROOMY = BufferConfig(max_measurements=1_000_000)


def test_concurrent_adds_during_a_snapshot() -> None:
    """Threads go on adding while a snapshot is begun, finalized and completed: all of it is kept, each exactly once."""
    threads, each, replays = 4, 2_000, 20
    buffer: ReplayBuffer[tuple[int, int]] = ReplayBuffer(config=ROOMY)
    buffer.add_measurement("ann", (-1, 0))
    barrier = Barrier(threads + 1)

    def add(writer: int) -> None:
        barrier.wait()
        for number in range(each):
            buffer.add_measurement("ann", (writer, number))

    writers = [Thread(target=add, args=(writer,)) for writer in range(threads)]
    for writer in writers:
        writer.start()
    barrier.wait()
    replayed = []
    for _ in range(replays):
        with buffer.snapshot("ann") as frozen:
            first = list(frozen)
            assert list(frozen) == first, "frozen measurements changed while others arrived"
            replayed += first
    for writer in writers:
        writer.join()
    everything = replayed + buffer.measurements("ann")
    assert sorted(everything) == sorted([(-1, 0)] + [(w, n) for w in range(threads) for n in range(each)])
    for writer in range(threads):
        assert [number for by, number in everything if by == writer] == list(range(each)), "FIFO order was broken"
    assert buffer.audit("ann").ok
    assert buffer.state("ann").replayed == len(replayed)


def test_delayed_replay_of_simulated_length() -> None:
    """A replay may take 60 s, as is normal, or longer if it renews its lease; one that comes too late is refused."""
    now = 0.0
    buffer: ReplayBuffer[int] = ReplayBuffer(config=ROOMY, clock=lambda: now)
    buffer.add_measurements("ann", range(10))
    with buffer.snapshot("ann") as frozen:
        for _ in range(60):
            now += 1.0
            buffer.add_measurement("ann", 100 + int(now))
        assert list(frozen) == list(range(10))
    assert buffer.measurements("ann") == list(range(101, 161))

    buffer.begin_snapshot("ann")
    long = buffer.finalize_snapshot("ann")
    for _ in range(5):
        now += 299.0
        long.renew()
    long.complete()
    assert buffer.measurements("ann") == []

    buffer.add_measurement("ann", 7)
    buffer.begin_snapshot("ann")
    late = buffer.finalize_snapshot("ann")
    now += 300.0
    with pytest.raises(StaleSnapshotError, match="roll back what its replay computed"):
        late.complete()
    assert buffer.measurements("ann") == [7]
    assert buffer.state("ann").phase == "idle"


def test_1000_measurements_a_second_during_a_replay() -> None:
    """Ten simulated seconds of replay at 1000 measurements a second: not one is lost, and the order is kept."""
    now = 0.0
    buffer: ReplayBuffer[int] = ReplayBuffer(config=ROOMY, clock=lambda: now)
    replayed: list[int] = []
    buffer.add_measurement("ann", 0)
    added = 1
    while added < 30_000:
        with buffer.snapshot("ann") as frozen:
            for _ in range(10_000):
                now += 0.001
                buffer.add_measurement("ann", added)
                added += 1
            replayed += frozen
    assert replayed + buffer.measurements("ann") == list(range(added))
    state = buffer.state("ann")
    assert (state.added, state.replayed, state.live, state.evicted) == (30_001, 20_001, 10_000, 0)


STEPS = ["take_snapshot", "finalize", "first_read", "middle_of_replay", "end_of_replay", "complete"]


@pytest.mark.parametrize("rollback_fails", [False, True], ids=["rollback-succeeds", "rollback-fails-once"])
@pytest.mark.parametrize("step", STEPS)
def test_failures_injected_at_every_step_of_a_snapshot_that_then_aborts(step: str, rollback_fails: bool) -> None:
    """Wherever a replay fails, it aborts, the application is put back, and every measurement stays in its order."""
    now = 0.0
    buffer: ReplayBuffer[int] = ReplayBuffer(clock=lambda: now)
    buffer.add_measurements("ann", range(5))
    database = {"ann": "before"}
    restored: list[tuple[str, str]] = []
    failures = [OSError("the rollback failed once")] if rollback_fails else []

    def fail_at(here: str) -> None:
        if here == step:
            raise OSError(f"failed at {here}")

    def take_snapshot(user_id: str) -> str:
        buffer.add_measurement(user_id, 5)  # arrives between begin and finalize: pending
        fail_at("take_snapshot")
        return database[user_id]

    def replay(frozen: object) -> None:
        fail_at("first_read")
        database["ann"] = "half done"
        buffer.add_measurement("ann", 6)
        fail_at("middle_of_replay")
        assert list(frozen) == list(range(5))  # type: ignore[call-overload]
        database["ann"] = "done"
        fail_at("end_of_replay")

    def restore(user_id: str, taken: str) -> None:
        assert buffer.state(user_id).phase == "aborting"
        if failures:
            raise failures.pop()
        database[user_id] = taken
        restored.append((user_id, taken))

    manager = ReplayManager(buffer, replay, take_snapshot=take_snapshot, restore=restore)
    for name in ("finalize", "complete"):
        if step == name:
            method = f"{name}_snapshot" if name == "finalize" else f"{name}_replay"
            setattr(buffer, method, lambda *_, name=name, **__: fail_at(name))
    result = manager.replay_user("ann")

    assert result.outcome == "failed"
    assert str(result.error) == f"failed at {step}"
    arrived = list(range(6)) if step in ("take_snapshot", "finalize", "first_read") else list(range(7))
    assert buffer.measurements("ann") == arrived
    if rollback_fails and step != "take_snapshot":
        assert str(result.rollback_error) == "the rollback failed once"
        assert buffer.state("ann").phase == "aborting"
        assert buffer.expire_overdue() == ["ann"]
    assert buffer.state("ann").phase == "idle"
    assert database == {"ann": "before"}
    assert restored == ([] if step == "take_snapshot" else [("ann", "before")])
    assert buffer.audit("ann").ok
    assert buffer.state("ann").replayed == 0


def test_code_inside_a_replay_may_add_and_others_may_read() -> None:
    """No lock is held while a replay runs: the replay itself may add, and other threads get through."""
    buffer: ReplayBuffer[int] = ReplayBuffer()
    buffer.add_measurements("ann", range(3))
    passed = Event()

    def other() -> None:
        buffer.add_measurement("ann", 10)
        buffer.measurements("ann")
        passed.set()

    with buffer.snapshot("ann") as frozen:
        for measurement in frozen:
            buffer.add_measurement("ann", 100 + measurement)
            thread = Thread(target=other)
            thread.start()
            thread.join()
    assert passed.is_set()
    assert buffer.measurements("ann") == [100, 10, 101, 10, 102, 10]
