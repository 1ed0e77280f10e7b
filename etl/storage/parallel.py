"""Many requests at once: reads in order, and writes that are awaited together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Final, TypeVar

from etl.storage.port import Store

Item = TypeVar("Item")
Result = TypeVar("Result")

_RESULTS_AHEAD: Final = 2


def map_concurrently(
    store: Store, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """Yield a function's results in the order of the items, computed concurrently.

    The concurrency is the store's, and pending results are bounded to a few times that.
    """
    if store.concurrency == 1:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(store.concurrency, thread_name_prefix="read") as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= store.concurrency * _RESULTS_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


_IN_FLIGHT: Final = 4
"""Puts that may wait for each worker: enough to keep it busy, few enough to bound memory."""
_BYTES_IN_FLIGHT: Final = 64 * 1024 * 1024
"""Most bytes that may wait together; a larger object waits alone."""


class Writer:
    """Puts objects with the store's concurrency.

    Use it as a context manager: leaving it waits for all puts. The first error is raised by the
    next call; objects handed in before may or may not have been written.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = (
            ThreadPoolExecutor(store.concurrency, thread_name_prefix="put")
            if store.concurrency > 1
            else None
        )
        self._pending: dict[Future[bool], int] = {}
        self._pending_bytes = 0

    def put(self, key: str, data: bytes) -> None:
        """Write one object, now or soon."""
        if self._pool is None:
            self._store.put(key, data)
            return
        while self._pending and (
            len(self._pending) >= self._store.concurrency * _IN_FLIGHT
            or self._pending_bytes + len(data) > _BYTES_IN_FLIGHT
        ):
            self._collect(wait(self._pending, return_when=FIRST_COMPLETED).done)
        self._pending[self._pool.submit(self._store.put, key, data)] = len(data)
        self._pending_bytes += len(data)

    def wait(self) -> None:
        """Wait until every object handed in so far is written."""
        self._collect(wait(self._pending).done)

    def __enter__(self) -> Writer:
        """Return the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for all puts; if the block failed, drop those not started."""
        if self._pool is None:
            return
        try:
            if kind is None:
                self.wait()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def _collect(self, finished: set[Future[bool]]) -> None:
        for future in finished:
            self._pending_bytes -= self._pending.pop(future)
        for future in finished:
            future.result()
