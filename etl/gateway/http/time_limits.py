"""Time limit and processor time of requests, and a thread for long work.

One timer serves all requests: one for each (`asyncio.timeout`) costs a tenth of a fast request.
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
        self._deadlines: dict[asyncio.Task[object], float] = {}
        self._timed_out: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def keep(self, work: Awaitable[Result]) -> Result:
        """Await `work` within the time limit, and return its result.

        Raises:
            TimeoutError: the work took too long and was cancelled.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        loop = task.get_loop()
        self._deadlines[task] = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_later(self._seconds, self._cancel_late, loop)
        try:
            return await work
        except asyncio.CancelledError:
            if task in self._timed_out and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            del self._deadlines[task]
            self._timed_out.discard(task)

    def _cancel_late(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel the tasks that are over their deadline; set the timer to the next deadline."""
        now = loop.time()
        for task, deadline in self._deadlines.items():
            if deadline <= now and task not in self._timed_out:
                self._timed_out.add(task)
                task.cancel()
        deadlines = [end for task, end in self._deadlines.items() if task not in self._timed_out]
        self._timer = None
        if deadlines:
            # Tasks are in the order of their start, so the first deadline is the earliest.
            self._timer = loop.call_at(max(deadlines[0], now), self._cancel_late, loop)


LARGEST_ON_LOOP: Final = 400_000
"""Work up to this size runs in the event loop, for about 5 ms: search cost times resources."""

_SWITCH_SECONDS: Final = 0.001
"""How long the event loop waits for the interpreter lock while the thread works; a request waits
about three times. The interpreter's default is 5 ms."""


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
        """Await `work`; count its steps, and the long work that it starts."""
        _CURRENT.set(self)
        result: Result = await _TimedSteps(self, work)
        return result

    def run(self, work: Callable[[], Result]) -> Result:
        """Call a function, and count its time."""
        start = self._clock()
        try:
            return work()
        finally:
            self.seconds += self._clock() - start


_CURRENT: ContextVar[ProcessorTime] = ContextVar("processor_time")


class _TimedSteps:
    """Runs a coroutine step by step; counts the time of the steps, not the waiting between them."""

    def __init__(self, total: ProcessorTime, work: Coroutine[Any, Any, Any]) -> None:
        self._total = total
        self._work = work

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Callable[[Any], Any] = self._work.send
        value: Any = None
        while True:
            try:
                awaited = self._total.run(lambda: resume(value))  # noqa: B023 - called at once
            except StopIteration as end:
                return end.value
            try:
                value = yield awaited
                resume = self._work.send
            except BaseException as error:  # such as a cancellation: the coroutine handles it
                value, resume = error, self._work.throw


class LongWork:
    """Runs work in the event loop if it is short, else in a thread, one at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "long-work")

    async def run(self, size: int, work: Callable[[], Result]) -> Result:
        """Call a function, and return its result.

        Args:
            size: search cost times the number of resources that the function visits.
            work: the function; must not use data that the event loop changes.
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
            if (total := _CURRENT.get(None)) is not None:
                total.seconds += in_thread.seconds
