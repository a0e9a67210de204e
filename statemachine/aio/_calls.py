"""`Calls`: makes calls that may block, in threads, and sees each through when it is cancelled. Knows no buffers."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from typing import Any, TypeVar

from statemachine.aio._home import GIVE_BACK, Home

T = TypeVar("T")

SLOTS = 32
"""How many calls on a buffer may be under way in threads; further ones wait."""

MOST_THREADS = 10_000
"""More than there are ever: what bounds the threads is the slots, and calls without one must not wait."""


class Calls:
    """Threads for calls that may block, on one loop.

    A call whose hook is running on the loop counts as none, and its slot goes to another: hooks may make calls
    themselves, however many hooks there are, and never wait for each other's slots.

    Parameters:
        home: the loop.
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        self._slots = asyncio.Semaphore(SLOTS)
        self._executor: ThreadPoolExecutor | None = None
        self._closed = False

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call the function in a thread, as soon as a slot is free.

        Cancelled before that, it is not called at all; after that, it is waited for, and then the cancellation goes on.
        """
        self.home.enter()
        await self._slots.acquire()
        held = [True]

        def give_back() -> None:
            if held:
                held.pop()
                self._slots.release()

        try:
            return await finished(self._begun(function, arguments, give_back))
        finally:
            give_back()

    async def at_once(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call the function in a thread without waiting for a slot, so that it is called whoever is cancelled."""
        self.home.enter()
        return await finished(self._begun(function, arguments, None))

    def close(self) -> None:
        """Let the threads end when their work is done. A call afterwards is made here and now, to be refused."""
        self._closed = True
        if self._executor is not None:
            self._executor.shutdown(wait=False)

    def _begun(
        self, function: Callable[..., T], arguments: tuple[Any, ...], give_back: Callable[[], object] | None
    ) -> "asyncio.Future[T]":
        context = contextvars.copy_context()
        context.run(GIVE_BACK.set, give_back)
        if self._closed:
            future: Future[T] = Future()
            _settle(future, context, function, arguments)
            return asyncio.wrap_future(future)
        if self._executor is None:
            self._executor = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="holdover-call")
        future = Future()
        self._executor.submit(_settle, future, context, function, arguments)
        return asyncio.wrap_future(future)


def in_own_thread(function: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
    """Call the function in a thread of its own, as is fit for what takes long; a daemon, as are a manager's workers."""
    future: Future[T] = Future()
    work = (future, contextvars.copy_context(), function, arguments)
    Thread(target=_settle, args=work, name="holdover-wait", daemon=True).start()
    return asyncio.wrap_future(future)


async def finished(future: "asyncio.Future[T]", on_cancel: Callable[[], object] | None = None) -> T:
    """What comes of the future. Cancelled meanwhile, however often, it still waits for it, and then is cancelled.

    Parameters:
        future: somebody else's work, which cannot be broken off.
        on_cancel: is told of the first cancellation, to make the work end early.
    """
    cancellation: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            if cancellation is None and on_cancel is not None:
                on_cancel()
            cancellation = error
    if cancellation is not None:
        future.exception()  # it is known that this is lost
        raise cancellation
    return future.result()


def _settle(
    future: "Future[T]", context: contextvars.Context, function: Callable[..., T], arguments: tuple[Any, ...]
) -> None:
    try:
        value = context.run(function, *arguments)
    except StopIteration as error:  # which no asyncio future takes
        stopped = RuntimeError(f"{function!r} raised StopIteration")
        stopped.__cause__ = error
        future.set_exception(stopped)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(value)
