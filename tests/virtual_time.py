"""Coroutines under a clock that is set forward when nothing else can go on: waits take no time."""

import asyncio
from collections.abc import Coroutine
from selectors import SelectorKey, SelectSelector
from typing import Any, TypeVar

T = TypeVar("T")


class _Waits(SelectSelector):
    """Waits for nothing but what is outside of the process; time-outs are over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self.now += timeout
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._waits = _Waits()
        super().__init__(self._waits)

    def time(self) -> float:
        return self._waits.now


def run_virtually(work: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine gives, under such a clock.

    The order of what happens follows from the times alone: the same in every run. What waits for a
    thread must have no time limit, for that would be over before the thread is.
    """
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(work)


async def pass_time(seconds: float) -> None:
    """Let seconds of the virtual clock go by."""
    assert isinstance(asyncio.get_running_loop(), _VirtualLoop), "real time would pass"
    await asyncio.sleep(seconds)
