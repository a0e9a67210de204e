"""A random campaign: whatever replays do, every measurement is in exactly one completed one, or live, in order."""

from collections import defaultdict
from itertools import count
from random import Random
from threading import Event, Lock, Thread
from typing import Any

import pytest
from managing import PATIENCE, ended, running

from statemachine import Backoff, BufferConfig, ReplayBuffer, ReplayManager, ReplayResult, due

USERS = "abcdefgh"
EACH = 60
"""How many measurements each user gets."""


class Campaign:
    """Users, a clock that goes on whenever it is read, and replays that do what chance says."""

    def __init__(self, seed: int, *, rolls_back: bool) -> None:
        self.seed, self.calm = seed, False
        self.random, self.fates = Random(seed), list[str]()
        self.lock, self.skipped, self.ticks = Lock(), 0.0, count()
        self.windows: dict[tuple[str, int], list[int]] = {}
        self.told: dict[tuple[str, int], ReplayResult] = {}
        self.over: dict[tuple[str, int], Event] = defaultdict(Event)
        self.database, self.done = dict.fromkeys(USERS, 0), 0
        self.kinds: set[str] = set()
        config = BufferConfig(max_measurements=10**4, due=due.Count(3), replay_timeout=5, snapshot_timeout=5)
        self.buffer: ReplayBuffer[int] = ReplayBuffer(config=config, clock=self.clock)
        self.manager = ReplayManager(
            self.buffer,
            self.replay,
            take_snapshot=self.database.__getitem__ if rolls_back else None,
            restore=self.restore if rolls_back else None,
            on_result=self.on_result,
            workers=3,
            max_attempts=3,
            backoff=Backoff(first=0.05, longest=0.5),
            max_replay_time=20,
            poll_interval=0.001,
            chance=Random(seed).random,
        )

    def clock(self) -> float:
        return self.skipped + next(self.ticks) / 1000

    def skip(self, seconds: float) -> None:
        with self.lock:
            self.skipped += seconds

    def restore(self, user_id: str, taken: int) -> None:
        self.database[user_id] = taken

    def replay(self, frozen: Any) -> None:
        """What comes next of all that can happen; so whoever is replayed, all of it does."""
        key = (frozen.user_id, frozen.version)
        self.windows[key] = list(frozen)
        match "completes" if self.calm else self.drawn():
            case "fails":
                raise ValueError("at random")
            case "outlasts its lease":
                self.skip(5)
            case "does not return before it was abandoned":
                self.skip(20)
                assert self.over[key].wait(PATIENCE)

    def drawn(self) -> str:
        with self.lock:
            if not self.fates:
                rare = ["outlasts its lease", "does not return before it was abandoned"]
                self.fates = [*["completes"] * 5, *["fails"] * 3, *rare]
                self.random.shuffle(self.fates)
            return self.fates.pop()

    def on_result(self, result: ReplayResult) -> None:
        key = (result.user_id, result.version)
        with self.lock:
            assert key not in self.told or result.outcome == "parked", f"{key} was told twice"
            if result.outcome != "parked":
                self.told[key] = result
            self.kinds |= {result.outcome, *(["was parked"] if result.parked else [])}
            self.done += 1
        self.over[key].set()

    def add(self, users: str, gate: list[Event]) -> None:
        """Add to these users what they get, a part at a time."""
        random = Random(f"{self.seed} {users}")
        for place, go_on in enumerate(gate):
            assert go_on.wait(PATIENCE)
            for number in range(place * EACH // len(gate), (place + 1) * EACH // len(gate)):
                for user in random.sample(users, len(users)):
                    self.buffer.add_measurement(user, number)

    def until(self, done: int) -> None:
        """Wait until so many results have been told, releasing who is parked. Fewer than users: so many must come."""
        pause = Event()
        while self.done < done:
            pause.wait(0.001)
            self.release()

    def release(self) -> None:
        for user in self.buffer.parked():
            self.manager.release_user(user)

    def finish(self) -> None:
        """Replay without failures until nobody is due any more."""
        self.calm = True
        while any(self.buffer.size(user) >= 3 for user in USERS):
            self.skip(10)
            self.release()
            self.manager.replay_ready()

    def check(self) -> None:
        for user in USERS:
            audit = self.buffer.audit(user)
            assert audit.ok, audit
            told = sorted((key, result) for key, result in self.told.items() if key[0] == user and result.ok)
            replayed = [measurement for key, _ in told for measurement in self.windows[key]]
            assert replayed + self.buffer.measurements(user) == list(range(self.buffer.state(user).added))
            assert self.buffer.state(user).replayed == len(replayed)


@pytest.mark.parametrize("rolls_back", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_random_campaign(seed: int, rolls_back: bool) -> None:
    """Workers, adders that go on adding, failures, late and stuck replays, parking, and `stop` in the middle."""
    campaign = Campaign(seed, rolls_back=rolls_back)
    gate = [Event() for _ in range(4)]
    adders = [Thread(target=campaign.add, args=(users, gate)) for users in (USERS[:4], USERS[4:])]
    for adder in adders:
        adder.start()
    for go_on in gate:
        campaign.manager.start()
        go_on.set()
        campaign.until(campaign.done + len(USERS) - 2)
        campaign.manager.stop()
        assert not campaign.manager.is_running
    for adder in adders:
        adder.join(PATIENCE)
    campaign.check()
    campaign.finish()
    campaign.check()
    assert all(campaign.buffer.state(user).added == EACH for user in USERS)
    assert sum(campaign.buffer.size(user) for user in USERS) < 3 * len(USERS)
    assert {"completed", "failed", "abandoned"} <= campaign.kinds
    assert ended(*running()), "also those whose replays were abandoned"
