"""`Home`: the event loop that asyncio objects live on, and how threads have coroutines run there. Knows no buffers."""

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from threading import Event, Lock, Thread, current_thread
from typing import Any

from statemachine._errors import ReplayBufferError

PATIENCE = 0.5
"""Seconds after which a thread that waits for a coroutine looks whether there still is a loop to run it."""

WAITING: contextvars.ContextVar[frozenset[Thread]] = contextvars.ContextVar("holdover_waiting", default=frozenset())
"""The threads that wait for the coroutine that is running; none of them may be waited for by it."""

GIVE_BACK: contextvars.ContextVar[Callable[[], object] | None] = contextvars.ContextVar("holdover_slot", default=None)
"""Gives back the slot of the call that a thread works for, since the thread now only waits."""


class LoopError(ReplayBufferError, RuntimeError):
    """The event loop cannot do this: it is another one than before, it is closed, or it would wait for itself."""


class CoroutineCancelledError(ReplayBufferError):
    """A coroutine for which a replay or a hook waited was cancelled, so the replay failed, or the hook did."""


class Home:
    """The loop that was running when it was first entered; its buffer and its managers stay on it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self) -> None:
        """Stay on the running loop from now on.

        Raises:
            LoopError: it lives on another loop, or none is running here.
        """
        running = _running_loop()
        if running is None:
            raise LoopError("no event loop is running here; call it from a coroutine")
        if self._loop is not running:
            with self._lock:
                self._loop = self._loop or running
            if self._loop is not running:
                raise LoopError("it is used on another event loop than before; make one for each loop")

    @property
    def is_gone(self) -> bool:
        """Whether its loop was closed."""
        return self._loop is not None and self._loop.is_closed()

    def bridged(self, function: Any) -> Any:
        """The function for a thread to call: where it gives a coroutine, that is run on the loop and waited for.

        What cannot be called is given back as it is, for others to refuse.
        """
        if not callable(function):
            return function

        def call(*arguments: Any) -> Any:
            value = function(*arguments)  # a coroutine function only makes a coroutine here
            return self.errand(value).run() if inspect.isawaitable(value) else value

        return call

    def errand(self, awaitable: Awaitable[Any]) -> "Errand":
        """The awaitable as something that a thread can wait for; it must be run or dropped.

        Raises:
            LoopError: this thread is the loop's own, which would wait for itself, or there is no loop.
        """
        coroutine = awaitable if inspect.iscoroutine(awaitable) else _awaited(awaitable)
        loop, running = self._loop, _running_loop()
        if loop is None or running is loop:
            coroutine.close()
            raise LoopError(
                "no loop is known for the hook yet; await a method of the buffer first"
                if loop is None
                else "a hook that is a coroutine was called on the loop's own thread, which cannot wait for it; "
                "await the method of the AsyncReplayBuffer instead of calling that of the ReplayBuffer"
            )
        return Errand(loop, coroutine)


class Errand:
    """A coroutine that this thread has run on a loop, and waits for; any other may cancel it.

    Attributes:
        thread: the thread that waits.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._loop, self._coroutine = loop, coroutine
        self.thread = current_thread()
        self._task: asyncio.Task[Any] | None = None
        self._ended = Event()
        self._cancelled = False

    def drop(self) -> None:
        """Do not run it."""
        self._coroutine.close()

    def run(self) -> Any:
        """Run it on the loop and wait for it.

        Returns:
            What it returns; what it raises is raised.

        Raises:
            CoroutineCancelledError: it was cancelled.
            LoopError: the loop was closed.
        """
        context = contextvars.copy_context()
        context.run(WAITING.set, WAITING.get() | {self.thread})
        try:
            self._loop.call_soon_threadsafe(self._start, context=context)
        except RuntimeError:
            self.drop()
            raise LoopError("the event loop is closed, so a coroutine cannot be run; stop managers before") from None
        while not self._ended.wait(PATIENCE):
            if self._loop.is_closed():
                with suppress(RuntimeError):  # it may refuse to end, but nobody will run it any more
                    self.drop()
                raise LoopError("the event loop was closed under a coroutine; stop managers before")
        assert self._task is not None
        if self._task.cancelled():
            raise CoroutineCancelledError("its coroutine was cancelled before it had returned")
        return self._task.result()

    def cancel(self) -> None:
        """Cancel it, now or as soon as it has begun. May be called from any thread."""
        self._cancelled = True
        with suppress(RuntimeError):  # the loop is closed, and whoever waits finds out
            self._loop.call_soon_threadsafe(self._cancel)

    def _start(self) -> None:
        give_back = GIVE_BACK.get()
        if give_back is not None:
            give_back()
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(lambda _task: self._ended.set())
        self._cancel()

    def _cancel(self) -> None:
        if self._cancelled and self._task is not None:
            self._task.cancel()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
