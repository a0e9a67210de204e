"""Group commit by itself: who leads, who waits for whom, and what becomes of the others when one is interrupted."""

from collections.abc import Callable
from itertools import chain
from threading import Barrier, Event, Lock, Thread, get_ident

import pytest

from events._sqlite._group import MOST, GroupCommit, Job, _wake


class Numbered(Job):
    def __init__(self, number: int) -> None:
        self.number = number


class Gate:
    """Runs groups, and holds each up until it is let through; what it has done is in `groups`."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.entered, self.let_through = Event(), Event()
        self.interrupts: dict[int, Callable[[list[Numbered]], None]] = {}

    def run(self, group: list[Numbered]) -> None:
        self.entered.set()
        assert self.let_through.wait(60)
        self.groups.append([job.number for job in group])
        if interrupt := self.interrupts.pop(len(self.groups) - 1, None):
            interrupt(group)
        for job in group:
            job.result = -job.number


def begun(function: Callable[[], object]) -> Thread:
    thread = Thread(target=function)
    thread.start()
    return thread


def queued(commit: GroupCommit[Numbered], count: int) -> None:
    """Wait until so many jobs wait."""
    while len(commit._queue) < count:
        pass


def test_one_thread_alone_does_its_job_itself() -> None:
    """Without a hop: the function runs in the thread that submits, and each job is a group."""
    commit, threads = GroupCommit[Numbered](lambda group: threads.append((Thread, len(group)))), []
    assert [commit.submit(Numbered(number)) for number in range(3)] == [None] * 3
    assert [length for _, length in threads] == [1, 1, 1]
    assert commit._expected == 1


def test_what_queues_up_meanwhile_is_one_group() -> None:
    """All who come while a transaction is under way share the next one, and each gets its own result."""
    gate = Gate()
    commit, results = GroupCommit(gate.run), {}

    def submit(number: int) -> None:
        results[number] = commit.submit(Numbered(number))

    threads = [begun(lambda: submit(0))]
    assert gate.entered.wait(60)
    for number in range(1, 6):
        threads.append(begun(lambda number=number: submit(number)))  # type: ignore[misc]
        queued(commit, number)
    gate.let_through.set()
    for thread in threads:
        thread.join()
    assert gate.groups == [[0], [1, 2, 3, 4, 5]]
    assert results == {number: -number for number in range(6)}
    assert commit._leader is None
    assert not commit._queue


def test_a_group_is_not_larger_than_it_may_be() -> None:
    """The rest goes into the next one."""
    gate = Gate()
    commit = GroupCommit(gate.run)
    threads = [begun(lambda: commit.submit(Numbered(0)))]
    assert gate.entered.wait(60)
    for number in range(1, MOST + 4):
        threads.append(begun(lambda number=number: commit.submit(Numbered(number))))  # type: ignore[misc]
        queued(commit, number)
    gate.let_through.set()
    for thread in threads:
        thread.join()
    assert [len(group) for group in gate.groups] == [1, MOST, 3]
    assert sorted(chain.from_iterable(gate.groups)) == list(range(MOST + 4))


def test_an_error_reaches_its_own_thread_only() -> None:
    """The others of the group have their results."""

    def run(group: list[Numbered]) -> None:
        for job in group:
            job.error = ValueError(job.number) if job.number % 2 else None

    commit = GroupCommit(run)
    assert commit.submit(Numbered(0)) is None
    with pytest.raises(ValueError, match="1"):
        commit.submit(Numbered(1))


@pytest.mark.parametrize("done", [False, True])
def test_an_interrupted_leader_leaves_nobody_waiting(done: bool) -> None:
    """What was not committed is done by the next leader, once; what was, is not done again."""
    gate = Gate()
    commit, results = GroupCommit(gate.run), {}

    def interrupt(group: list[Numbered]) -> None:
        for job in group:
            job.done, job.result = done, -job.number
        raise KeyboardInterrupt

    gate.interrupts[1] = interrupt

    def submit(number: int) -> None:
        try:
            results[number] = commit.submit(Numbered(number))
        except KeyboardInterrupt:
            results[number] = "interrupted"

    threads = [begun(lambda: submit(0))]
    assert gate.entered.wait(60)
    for number in range(1, 4):
        threads.append(begun(lambda number=number: submit(number)))  # type: ignore[misc]
        queued(commit, number)
    gate.let_through.set()
    for thread in threads:
        thread.join()
    assert results == {0: 0, 1: "interrupted", 2: -2, 3: -3}
    assert gate.groups == [[0], [1, 2, 3]] + ([] if done else [[2, 3]])
    assert commit.submit(Numbered(9)) == -9


def submitted(commit: GroupCommit[Numbered], number: int) -> Numbered:
    """A job that waits in the queue for some other thread's turn to end, without a thread of its own."""
    job = Numbered(number)
    commit._leader = commit._leader or -1
    commit._enqueue(job, get_ident())
    return job


def test_who_is_interrupted_in_the_queue_is_not_done() -> None:
    """Its measurement was never written, and the others go on."""
    done: list[int] = []
    commit = GroupCommit[Numbered](lambda group: done.extend(job.number for job in group))
    commit._abandon(submitted(commit, 1))
    assert not commit._queue
    commit._leader = None
    commit.submit(Numbered(2))
    assert done == [2]


def test_who_is_interrupted_when_made_the_leader_passes_that_on() -> None:
    """Otherwise everybody would wait for a thread that has gone."""
    commit = GroupCommit[Numbered](lambda group: None)
    first, second = submitted(commit, 1), submitted(commit, 2)
    commit._leader = get_ident()
    commit._hand_over()
    assert first.leads
    commit._abandon(first)
    assert second.leads
    assert second.woken
    assert commit._leader == second.thread


@pytest.mark.parametrize("woken", [False, True])
def test_who_is_interrupted_is_not_missed_in_the_chain(woken: bool) -> None:
    """Each wakes the next; for one that has gone, whoever comes last does it: itself, or who wakes it."""
    commit = GroupCommit[Numbered](lambda group: None)
    first, second = submitted(commit, 1), submitted(commit, 2)
    commit._queue.clear()
    first.following = second
    if woken:
        _wake(first)
    commit._abandon(first)
    assert second.woken == woken
    _wake(first)
    assert second.woken


def test_an_interrupt_while_waiting_is_raised_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the job is taken back."""
    commit = GroupCommit[Numbered](lambda group: None)
    commit._leader = -1
    job = Numbered(1)

    class Interrupted:
        def acquire(self) -> None:
            raise KeyboardInterrupt

        def release(self) -> None: ...

    def enqueue(job: Numbered, me: int) -> None:
        commit._queue.append(job)
        job.wake = Interrupted()

    monkeypatch.setattr(commit, "_enqueue", enqueue)
    with pytest.raises(KeyboardInterrupt):
        commit.submit(job)
    assert not commit._queue
    assert job.abandoned


def test_a_turn_that_an_interrupt_has_left_behind_is_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that leads by name and is not at it comes again, and goes on."""
    done: list[int] = []
    commit = GroupCommit[Numbered](lambda group: done.extend(job.number for job in group))
    commit._leader = get_ident()
    commit.submit(Numbered(1))
    assert done == [1]
    commit._leader = get_ident()
    assert commit.enter()
    commit.leave()
    assert commit._leader is None


def test_the_leader_waits_for_those_who_were_there_the_last_time() -> None:
    """They become one group, as soon as they have all come."""
    groups: list[list[int]] = []
    commit = GroupCommit[Numbered](lambda group: groups.append([job.number for job in group]))
    commit._expected, commit._patience = 3, 60.0
    together = Barrier(3)

    def submit(number: int) -> None:
        together.wait()
        commit.submit(Numbered(number))

    for thread in [begun(lambda number=number: submit(number)) for number in range(3)]:  # type: ignore[misc]
        thread.join()
    assert [sorted(group) for group in groups] == [[0, 1, 2]]


def test_the_leader_does_not_wait_for_who_is_there() -> None:
    """Where all are queued up already, it begins at once."""
    groups: list[list[int]] = []
    commit = GroupCommit[Numbered](lambda group: groups.append([job.number for job in group]))
    waiting = submitted(commit, 1)
    commit._leader, commit._expected, commit._patience = None, 2, 60.0
    commit.submit(Numbered(0))
    assert groups == [[0, 1]]
    assert waiting.woken


def test_the_leader_does_not_wait_for_long() -> None:
    """Those who do not come back are not expected the next time."""
    groups: list[int] = []
    commit = GroupCommit[Numbered](lambda group: groups.append(len(group)))
    commit._expected, commit._patience = 3, 0.0
    commit.submit(Numbered(0))
    assert groups == [1]
    assert commit._expected == 1


def test_nobody_is_missed_who_comes_when_the_leader_has_lost_patience() -> None:
    """The signal that all are there does not stay behind for the next group."""
    commit = GroupCommit[Numbered](lambda group: None)
    commit._expected = 2

    class Late:
        """Gives up, while at the same moment the signal comes."""

        def __init__(self) -> None:
            self.signals = 0

        def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
            if timeout >= 0:
                assert commit._gathering
                commit._gathering, self.signals = False, 1
                return False
            self.signals -= 1
            return True

    late = Late()
    commit._enough = late  # type: ignore[assignment]
    commit.submit(Numbered(0))
    assert late.signals == 0


def test_who_is_alone_needs_no_group() -> None:
    """He enters and leaves, and the next one may; who did not enter leaves nothing."""
    commit = GroupCommit[Numbered](lambda group: None)
    for _ in range(2):
        assert commit.enter()
        commit.leave()
    commit._leader = -1
    assert not commit.enter()
    commit.leave()
    assert commit._leader == -1
    commit._leader, commit._expected = None, 2
    assert not commit.enter()


def test_who_comes_while_somebody_is_in_there_is_next() -> None:
    """Nobody waits for a leader that there is not."""
    done: list[int] = []
    commit = GroupCommit[Numbered](lambda group: done.extend(job.number for job in group))
    assert commit.enter()
    thread = begun(lambda: commit.submit(Numbered(1)))
    queued(commit, 1)
    commit.leave()
    thread.join()
    assert done == [1]
    assert commit.enter()


def test_threads_that_enter_and_submit_at_once_all_get_through() -> None:
    """Nobody is missed at the very moment of another's leaving."""
    done: list[int] = []
    commit = GroupCommit[Numbered](lambda group: done.extend(job.number for job in group))
    entered = [0, 0]

    def enter(place: int) -> None:
        for number in range(2000):
            try:
                if commit.enter():
                    entered[place] += 1
                    continue
            finally:
                commit.leave()
            commit.submit(Numbered(number))

    for thread in [begun(lambda place=place: enter(place)) for place in range(2)]:  # type: ignore[misc]
        thread.join()
    assert len(done) + sum(entered) == 4000


def test_to_be_woken_twice_does_no_harm() -> None:
    """Where two thought that it was their turn to wake somebody."""
    job = Numbered(1)
    job.wake = Lock()
    job.wake.acquire()
    _wake(job)
    _wake(job)
    assert job.woken
    assert not job.wake.locked()
