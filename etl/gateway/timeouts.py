"""Time limit of requests, with one timer for all of them.

A timer for each request (`asyncio.timeout`) costs about a tenth of a fast request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

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
