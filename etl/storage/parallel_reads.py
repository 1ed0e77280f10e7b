"""Many reads at once, bounded, their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from etl.storage.port import Store

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD: Final = 2


def mapped(
    store: Store, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """Yield the results of a function that reads from a store, in the order of the items.

    Concurrency is that of the store, and the number of waiting results is at most a few times that,
    however many items there are.
    """
    if store.concurrency == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(store.concurrency, thread_name_prefix="read") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= store.concurrency * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
