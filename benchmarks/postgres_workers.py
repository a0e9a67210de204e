"""Processes that add, insert and replay on a server when told to, and how they are told. Must not know of figures."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from threading import Lock
from time import time
from typing import Any

import psycopg

from benchmarks.postgres_server import Bare
from events import Codec, PostgresLog
from statemachine import BufferConfig, FrozenSnapshot, ReplayBuffer, ReplayManager, ReplayResult

ROOMY = BufferConfig(max_measurements=10**9)
NUMBER = 81.5
PATIENCE = 60.0
"""Seconds after which a process that says nothing is taken for lost."""

DONE = "done"


class Worker:
    """What a process does when told to; the methods are its orders, of which `open` comes first.

    Parameters:
        pipe: to who tells it.
    """

    def __init__(self, pipe: "Connection[Any, Any]") -> None:
        self._pipe, self._turn = pipe, Lock()
        self._open, self._schema = ExitStack(), ""

    def open(self, address: str, schema: str, notifies: bool) -> None:
        """Have a log and a bare table open, those and no others."""
        self._open.close()
        self._schema = schema
        log = self._open.enter_context(PostgresLog[Any](address, schema=schema, notifies=notifies))
        self._roomy, self._due = ReplayBuffer(log, ROOMY), ReplayBuffer(log)
        self._bare = self._open.enter_context(Bare(address, schema, Codec().encode(NUMBER)))
        self._results = self._open.enter_context(psycopg.connect(address, prepare_threshold=0))

    def close(self) -> None:
        """Leave nothing open."""
        self._open.close()

    def add(self, user: str, times: int) -> None:
        """Add one by one."""
        for _ in range(times):
            self._roomy.add_measurement(user, NUMBER)

    def insert(self, times: int) -> None:
        """Insert bare rows one by one."""
        self._bare.insert(times)

    def start(self, joined: bool, poll_interval: float) -> None:
        """Replay whoever is due from now on, and tell of each when it was begun.

        Parameters:
            joined: whether a replay keeps its result in the transaction that completes it.
            poll_interval: as of `ReplayManager`.
        """
        self._manager = ReplayManager(
            self._due,
            self._replayed_in_one_transaction if joined else self._replayed,
            on_result=self._tell,
            poll_interval=poll_interval,
        )
        self._manager.start()

    def stop(self) -> None:
        """Replay no more."""
        self._manager.stop()

    def _replayed(self, frozen: FrozenSnapshot[float]) -> float:
        began = time()
        assert sum(frozen) / len(frozen) > 0
        return began

    def _replayed_in_one_transaction(self, frozen: FrozenSnapshot[float]) -> float:
        began = time()
        with self._results.transaction():
            mean = sum(frozen) / len(frozen)
            self._results.execute(
                f"INSERT INTO {self._schema}.results VALUES (%s, %s, %s)", (frozen.user_id, frozen.version, mean)
            )
            frozen.complete(connection=self._results)
        return began

    def say(self, what: Any) -> None:
        """Tell; from any thread."""
        with self._turn:
            self._pipe.send(what)

    def _tell(self, result: ReplayResult) -> None:
        self.say(result.value if result.ok else RuntimeError(f"{result.outcome}: {result.error!r}"))


def obey(pipe: "Connection[Any, Any]") -> None:
    """What a process does: what it is told, until it is told None."""
    worker = Worker(pipe)
    while (order := pipe.recv()) is not None:
        name, arguments = order
        try:
            getattr(worker, name)(*arguments)
        except Exception as error:
            worker.say(RuntimeError(repr(error)))  # which can be pickled, whatever it was
        else:
            worker.say(DONE)
    worker.close()


class Workers:
    """Some processes, and what they answer.

    Parameters:
        pipes: to each of them.
    """

    def __init__(self, pipes: "Sequence[Connection[Any, Any]]") -> None:
        self._pipes = pipes

    def first(self, count: int) -> "Workers":
        """So many of them."""
        return Workers(self._pipes[:count])

    def order(self, name: str, *each: Any) -> None:
        """Have each do this, and wait until they have; arguments in a list are for one of them each."""
        self._send(name, each)
        self._answers(len(self._pipes))

    def replay(self, count: int, joined: bool, poll_interval: float) -> list[float]:
        """See `Worker.start`. When the replays were begun (seconds since 1970), as soon as there were so many."""
        self._send("start", (joined, poll_interval))
        return self._answers(len(self._pipes) + count)

    def replayed(self) -> float:
        """When the next replay was begun, where they replay."""
        return self._answers(1)[0]

    def _send(self, name: str, each: Sequence[Any]) -> None:
        for place, pipe in enumerate(self._pipes):
            pipe.send((name, [argument[place] if isinstance(argument, list) else argument for argument in each]))

    def _answers(self, count: int) -> list[float]:
        """The numbers among so many answers."""
        answers: list[Any] = []
        while len(answers) < count:
            ready: list[Any] = wait(self._pipes, PATIENCE)
            if not ready:
                raise TimeoutError(f"{len(answers)} of {count} answers within {PATIENCE} s")
            answers += [pipe.recv() for pipe in ready]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [answer for answer in answers if answer != DONE]


@contextmanager
def workers(count: int) -> Iterator[Workers]:
    """So many processes. They end with the block."""
    context, pipes = get_context("spawn"), []
    with ExitStack() as stack:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=obey, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            stack.callback(ours.close)
            stack.callback(process.join, PATIENCE)
            stack.callback(ours.send, None)
            pipes.append(ours)
        yield Workers(pipes)
