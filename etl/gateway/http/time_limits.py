"""Time limit of requests, with one timer for all of them; their processor time; long work.

A timer for each request (`asyncio.timeout`) costs about a tenth of a fast request.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from time import thread_time
from typing import Any, Final, TypeVar

Result = TypeVar("Result")


class RequestTimeout:
    """Cancels work that exceeds a time limit.

    Args:
        seconds: the time limit.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[asyncio.Task[object], float] = {}
        self._over: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def keep(self, work: Awaitable[Result]) -> Result:
        """Return the result of some work.

        Raises:
            TimeoutError: it took too long, and was cancelled.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        loop = task.get_loop()
        self._running[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._sweep, loop)
        try:
            return await work
        except asyncio.CancelledError:
            if task in self._over and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            del self._running[task]
            self._over.discard(task)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, end in self._running.items():
            if end <= now and task not in self._over:
                self._over.add(task)
                task.cancel()
        waiting = [end for task, end in self._running.items() if task not in self._over]
        self._timer = None
        if waiting:
            # Tasks are in the order of their start.
            self._timer = loop.call_at(max(waiting[0], now), self._sweep, loop)


LARGEST_ON_LOOP: Final = 400_000
"""Largest work in the event loop, in points of `search.cost` times resources: about 5 ms."""

_SWITCH_SECONDS: Final = 0.001
"""Longest wait of the event loop for the thread of long work, each time that it has to: a request
that is answered beside such work waits some three times. The interpreter's default is 5 ms."""


class ProcessorTime:
    """Processor time of one request, in the event loop and in the thread of long work.

    Args:
        clock: processor seconds of the calling thread.

    Attributes:
        seconds: the time so far.
    """

    def __init__(self, clock: Callable[[], float] = thread_time) -> None:
        self._clock = clock
        self.seconds = 0.0

    async def measure(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return the result of some work; count its steps, and what it runs in the thread."""
        _CURRENT.set(self)
        result: Result = await _Steps(self, work)
        return result

    def run(self, work: Callable[[], Result]) -> Result:
        """Return what a function gives, and count its time."""
        began = self._clock()
        try:
            return work()
        finally:
            self.seconds += self._clock() - began


_CURRENT: ContextVar[ProcessorTime] = ContextVar("processor_time")


class _Steps:
    """A coroutine, each step of which is counted; waiting is not."""

    def __init__(self, spent: ProcessorTime, work: Coroutine[Any, Any, Any]) -> None:
        self._spent = spent
        self._work = work

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Callable[[Any], Any] = self._work.send
        value: Any = None
        while True:
            try:
                awaited = self._spent.run(lambda: resume(value))  # noqa: B023 - called at once
            except StopIteration as end:
                return end.value
            try:
                value = yield awaited
                resume = self._work.send
            except BaseException as error:  # such as a cancellation: the coroutine's to handle
                value, resume = error, self._work.throw


class LongWork:
    """Runs work in the event loop if it is short, else in a thread, one at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "long-work")

    async def run(self, size: int, work: Callable[[], Result]) -> Result:
        """Return what a function gives.

        Args:
            size: points of `search.cost` times resources that it looks at.
            work: must not touch what the event loop changes.
        """
        if size <= LARGEST_ON_LOOP:
            return work()
        sys.setswitchinterval(_SWITCH_SECONDS)
        in_thread = ProcessorTime()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, in_thread.run, work
            )
        finally:
            if (spent := _CURRENT.get(None)) is not None:
                spent.seconds += in_thread.seconds
