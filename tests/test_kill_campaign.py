"""Hundreds of kills at random moments: nothing acknowledged is lost, and what replays save is never off by one."""

import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from killing import (
    BUSY,
    IDLE,
    IN_TRANSACTION,
    ROLLING_BACK,
    THREADS,
    USERS,
    Ledger,
    Worker,
    adding,
    apart,
    count_in,
    in_threads,
    opened,
    prepare,
)
from tried import LONG, SEED, tried

from statemachine import ReplayBuffer

SEEDS, KILLS = (8, 60) if LONG else (2, 20)
LIVES = 10
"""How many kills a file sees before a new one is begun, so that its history stays short enough to be gone through."""

BEGUN, COUNTED, COMPLETED = IN_TRANSACTION


def replaying(path: str, durability: str) -> Callable[[Worker], None]:
    """A process that replays: its results are in the application's table, saved together with the completion."""

    def body(worker: Worker) -> None:
        def roll_back(user: str, _version: int, _reason: str) -> None:
            worker.places[THREADS] = ROLLING_BACK
            with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
                connection.execute("UPDATE counter SET total = total + 0 WHERE user = ?", (user,))
            worker.places[THREADS] = IDLE

        buffer = opened(path, durability=durability, on_abort=roll_back, take_over=True)
        in_threads(worker, partial(replay, worker, buffer, path))

    return body


def replay(worker: Worker, buffer: ReplayBuffer[Any], path: str, thread: int) -> None:
    """Replay some of the users in turn; some replays abort, some change their mind in the last moment."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        for turn in count():
            user = USERS[thread::THREADS][turn % len(USERS[thread::THREADS])]
            worker.places[thread] = BUSY
            version = buffer.begin_snapshot(user)
            worker.tell("begun", user, version, buffer.state(user).deadline)
            frozen = buffer.finalize_snapshot(user, version)
            worker.tell("finalized", user, version, buffer.state(user).deadline)
            if turn % 7 == 6:
                frozen.abort("bad window")
                worker.tell("aborted", user, version)
                continue
            window = list(frozen)
            connection.execute("BEGIN IMMEDIATE")
            worker.places[thread] = BEGUN
            count_in(connection, user, window)
            worker.places[thread] = COUNTED
            frozen.complete(connection=connection)
            worker.places[thread] = COMPLETED
            if turn % 5 == 4:
                connection.execute("ROLLBACK")
                frozen.abort("changed its mind")
                worker.tell("aborted", user, version)
                continue
            connection.execute("COMMIT")
            worker.places[thread] = IDLE
            worker.tell("replayed", user, version)


def campaign(directory: str, seed: int, kills: int) -> dict[str, int]:
    """Kill one after the other, or all at once, and check each time, while those that are left go on."""
    chance, figures = Random(seed), Counter[str]()
    for number in count():
        if figures["kills"] >= kills:
            return figures
        path, durability = f"{directory}/{number}.db", chance.choice(["full", "normal", "off"])
        prepare(path)
        ledger, last = Ledger(path, figures), figures["kills"] + LIVES
        adders = [ledger.start(adding(path, durability)) for _ in range(2)]
        replayer = ledger.start(replaying(path, durability))
        while figures["kills"] < last:
            victim = chance.choice([*adders, replayer, replayer, replayer])
            until_the_moment(ledger, victim, chance, victim is replayer)
            ledger.kill(victim)
            ledger.check()
            if victim is not replayer:
                adders[adders.index(victim)] = ledger.start(adding(path, durability))
                continue
            if chance.random() < 0.3:
                for each in list(ledger.running):
                    ledger.kill(each)
                ledger.check()
                ledger.take_over()
                adders = [ledger.start(adding(path, durability)) for _ in range(2)]
            ledger.latest.clear()
            replayer = ledger.start(replaying(path, durability))
        ledger.close()
    raise AssertionError


def until_the_moment(ledger: Ledger, victim: Worker, chance: Random, replays: bool) -> None:
    """Wait until it has told something, and then for a little while, or until a replay is at a chosen place."""
    if chance.random() < 0.9:  # else perhaps before it has opened the file
        victim.hear_any(lambda: ledger.hear(ledger.running))
    place = chance.choice([ROLLING_BACK, *IN_TRANSACTION])
    chosen = replays and chance.random() < 0.7
    until = time.monotonic() + (1 if chosen else chance.choice([0, 0.0002, 0.003]) * chance.random())
    while time.monotonic() < until and not (chosen and place in victim.places[:]):
        ledger.hear(ledger.running)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_lost_or_doubled_whenever_it_is_killed(tmp_path: Path, seed: int) -> None:
    """Killed at any moment: what was acknowledged is there once, and results are saved together with the completion."""
    figures = apart(campaign, tmp_path, SEED + seed, KILLS)
    sys.stdout.write(f"{figures}\n")
    tried(**{word: figures[word] for word in ("kills", "measurements acknowledged", "replays acknowledged")})
    assert figures["kills"] >= KILLS
    assert (figures["lost"], figures["doubled"], figures["wrong"]) == (0, 0, 0)
