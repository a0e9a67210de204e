"""`Turns`: threads of which one runs at a time, and every order of their turns. Must not know what the threads do.

A thread takes a turn wherever it touches what threads share: it tells what it is about to do, and waits until it is
chosen. So a run is decided by the choices, and can be made again. All choices are tried, depth first; but where a run
comes to a state that an earlier one came to, it is not gone on from there again. What a thread will do depends on what
it has read so far, and on what it will read; so two states are the same where each thread has read the same, and each
place holds the same.
"""

import sys
from collections.abc import Callable, Sequence
from random import Random
from threading import Semaphore, Thread

from attrs import Factory, define
from turn_deeds import READ, Changed, Deed, Place, Put, Read, Taken, fingerprint

MOST_TURNS = 5000
"""More turns than any run takes that comes to an end."""

ENDLESS = sys.maxsize

Make = Callable[[], Sequence[Callable[[], object]]]
"""Begins a run anew and gives what each thread is to do."""


class StuckError(AssertionError):
    """All wait for each other, or a run does not end."""


class AbandonedError(BaseException):
    """The run is not gone on with."""


@define
class Choice:
    """One choice of a run: who could go on, who does, and who has been tried before."""

    enabled: list[int]
    chosen: int
    place: str
    tried: list[int] = Factory(list)


class Turns:
    """Threads that take turns.

    Parameters:
        count: how many threads.

    Attributes:
        running: the thread whose turn it is; None while no run is under way, when touches count for nothing.
        path: the choices of the latest run, up to where it came to a state that was known.
        runs: how many runs were made, those included.
        states: how many different states they came to.
        exhausted: whether these were all.
        content: tells what all places hold together, where that is not seen by their touches.
    """

    def __init__(self, count: int) -> None:
        self.running: int | None = None
        self.count, self.runs, self.exhausted = count, 0, False
        self.path: list[Choice] = []
        self.known: set[int] = set()
        self._places: dict[str, Place] = {}
        self._shared: set[str] = set()
        self._main, self._gates = Semaphore(0), [Semaphore(0) for _ in range(count)]
        self._jobs: list[Callable[[], object] | None] = [None] * count
        self._chance: Random | None = None
        self._bound = ENDLESS
        self._trace = sys.gettrace()
        self.content: Callable[[], object] | None = None
        for number in range(count):
            Thread(target=self._work, args=(number,), daemon=True).start()

    @property
    def states(self) -> int:
        return len(self.known)

    def close(self) -> None:
        """Let the threads end."""
        self._jobs = [None] * self.count
        for gate in self._gates:
            gate.release()

    def explore(self, make: Make, check: Callable[[], object], most: int = ENDLESS, switches: int = ENDLESS) -> None:
        """Make every run, or as many as take `most` turns; `check` is called after each that is new.

        With `switches`, every run in which no more than that many times a thread has to wait that could have gone on.
        """
        self._begin_anew()
        self._bound = switches
        turned = 0
        while turned < most:
            self._run(make())
            turned += self._taken
            if self._outdated:
                self._begin_anew()
                continue
            self.runs += 1
            if not self._redundant:
                check()
            if not self._go_back():
                self.exhausted = True
                return

    def sample(self, make: Make, check: Callable[[], object], seed: int, runs: int) -> None:
        """Make so many runs with choices by chance."""
        self.runs, self._chance = 0, Random(seed)
        while self.runs < runs:
            self.path, self.known = [], set()
            self._run(make())
            if not self._outdated:
                self.runs += 1
                check()

    def touch(self, place: str, deed: Deed) -> None:
        """The running thread is about to touch a place."""
        me = self.running
        if me is None:
            return
        needs_turns = self._note(place, not isinstance(deed, Read | Taken))
        if needs_turns:
            self._take_turn(place)
        if isinstance(deed, Taken):
            deed = Changed(deed.content) if deed.there() else READ
            self._note(place, deed is not READ)
        if needs_turns:
            self._remember(me, place, deed)
        elif self._held[me] and not isinstance(deed, Read):
            content, self._fresh = deed.content, True
            known = self._guarded.setdefault(self._held[me][0], {})
            known[place] = self._fingerprint(me, deed) if content is None else content

    def acquire(self, lock: str) -> None:
        """The running thread is about to take a lock."""
        me = self.running
        if me is None:
            return
        if self._note(lock, True):
            self._take_turn(lock, is_lock=True)
            self._read[me] = hash((self._read[me], lock, self._holds.get(lock)))
        self._owners[lock] = me
        self._held[me].append(lock)

    def release(self, lock: str) -> None:
        """The running thread gives a lock back. What it guards has changed if anything has changed under it."""
        me = self.running
        if me is None:
            return
        self._owners.pop(lock, None)
        self._held[me].remove(lock)
        if not self._held[me] and self._fresh and (guarded := self._guarded.get(lock)):
            self._fresh = False
            self._holds[lock] = hash((*((place, fingerprint(content)) for place, content in guarded.items()),))

    def knows(self, results: object) -> None:
        """All that matters of what the running thread has read so far is in these results."""
        if self.running is not None:
            self._read[self.running] = hash(fingerprint(results))

    def timeline(self, names: Sequence[str]) -> str:
        """The latest run, one turn a line."""
        turns = (f"    {choice.chosen + 1} ({names[choice.chosen]}) {choice.place}" for choice in self.path)
        return "\n".join(turns)

    def _begin_anew(self) -> None:
        self.path, self.known, self.runs, self._chance = [], set(), 0, None

    def _note(self, place: str, changes: bool) -> bool:
        """Note a touch; whether it is to be a turn in this run."""
        assert self.running is not None
        known = self._places.setdefault(place, Place())
        if known.note(self.running, changes, self._held[self.running]) and place not in self._shared:
            self._shared.add(place)
            self._outdated = True
        return place in self._turning

    def _remember(self, me: int, place: str, deed: Deed) -> None:
        """What the thread has read by now, and what the place holds."""
        held = self._holds.get(place)
        self._read[me] = hash((self._read[me], place, None if isinstance(deed, Put) else held))
        if not isinstance(deed, Read):
            self._holds[place] = self._fingerprint(me, deed)

    def _fingerprint(self, me: int, deed: Deed) -> int:
        """What a place holds: what was put there, its content, or else whatever the thread makes of what it knows."""
        if isinstance(deed, Put):
            return hash(fingerprint(deed.value))
        return self._read[me] if deed.content is None else hash(fingerprint(deed.content))

    def _run(self, jobs: Sequence[Callable[[], object]]) -> None:
        self._turning = frozenset(self._shared)
        self._owners: dict[str, int] = {}
        self._held: list[list[str]] = [[] for _ in jobs]
        self._fresh = False
        self._guarded: dict[str, dict[str, object]] = {}
        self._read, self._holds = [0 for _ in jobs], dict[str, int]()
        self._waiting: dict[int, tuple[str, bool]] = {}
        self._taken, self._redundant, self._outdated, self._stuck = 0, False, False, ""
        self._starting, self._last, self._switches, self._jobs = True, -1, 0, list(jobs)
        for number in range(self.count):  # each up to its first turn
            self.running = number
            self._gates[number].release()
            self._main.acquire()
        self._starting = False
        if self._waiting:
            self._pass_on()
            self._main.acquire()
        self.running = None
        for number in list(self._waiting) if self._redundant else ():
            self._gates[number].release()
            self._main.acquire()
        if self._stuck:
            raise StuckError(self._stuck)

    def _work(self, number: int) -> None:
        sys.settrace(self._trace)  # a thread of its own would be traced for coverage, also where a test is not
        while True:
            self._gates[number].acquire()
            job = self._jobs[number]
            if job is None:
                return
            try:
                job()
            except AbandonedError:
                self._main.release()
                continue
            self._read[number] = hash((self._read[number], "done"))
            if self._starting or not self._waiting:
                self._main.release()
            else:
                self._pass_on()

    def _take_turn(self, place: str, is_lock: bool = False) -> None:
        me = self.running
        assert me is not None
        self._waiting[me] = place, is_lock
        if self._starting:
            self._main.release()
            self._gates[me].acquire()
        elif self._choose() != me:
            self._wake()
            self._gates[me].acquire()
        if self._redundant:
            raise AbandonedError
        del self._waiting[me]

    def _pass_on(self) -> None:
        self._choose()
        self._wake()

    def _wake(self) -> None:
        if self._stuck or self._redundant:
            self._main.release()  # who is stuck waits for ever: daemons, who hold nothing
        else:
            assert self.running is not None
            self._gates[self.running].release()

    def _choose(self) -> int:
        """Who goes on."""
        waiting = sorted(self._waiting.items())
        enabled = [thread for thread, (place, is_lock) in waiting if not (is_lock and place in self._owners)]
        if not enabled or self._taken > MOST_TURNS:
            waits = ", ".join(f"thread {thread + 1} for {place}" for thread, (place, _) in waiting)
            self._stuck = f"deadlock: {waits}" if not enabled else f"no end after {MOST_TURNS} turns: {waits}"
            return -1
        if self._taken < len(self.path) and self._chance is None:
            choice = self.path[self._taken]
            assert set(choice.enabled) <= set(enabled), "a run is not the same when it is made again"
            choice.place = self._waiting[choice.chosen][0]
            self.running = choice.chosen
        else:
            self.running = self._choose_anew(enabled)
            if self._redundant:
                return -1
        self._taken += 1
        self._switches += self._last in enabled and self._last != self.running
        self._last = self.running
        return self.running

    def _choose_anew(self, enabled: list[int]) -> int:
        chosen = self._last if self._last in enabled else enabled[0]
        if self._chance is not None:
            chosen = chosen if self._chance.random() < 0.5 else self._chance.choice(enabled)
        else:
            content = fingerprint(self.content()) if self.content else ""
            bounded = (self._switches, self._last) if self._bound < ENDLESS else ()
            state = hash((content, *bounded, *self._read, *sorted(self._holds.items()), *sorted(self._owners.items())))
            if state in self.known:
                self._redundant = True
                return -1
            self.known.add(state)
            if self._switches >= self._bound and self._last in enabled:
                enabled = [self._last]
        self.path.append(Choice(enabled, chosen, self._waiting[chosen][0]))
        return chosen

    def _go_back(self) -> bool:
        """Go back to the latest choice where another is left; whether there is one."""
        while self.path:
            choice = self.path[-1]
            choice.tried.append(choice.chosen)
            left = [thread for thread in choice.enabled if thread not in choice.tried]
            if left:
                choice.chosen = left[0]
                return True
            self.path.pop()
        return False
