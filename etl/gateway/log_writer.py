"""Non-blocking log writer for files, pipes and terminals, slow or unread ones included.

A line costs a request no system call: a thread writes the lines of some milliseconds together.
Where lines are not read, they are dropped and counted, and requests go on.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Final

import orjson

SECONDS: Final = 0.05
"""Interval of writes; a process that is killed may lose the lines of one interval."""

MOST: Final = 20_000
"""Lines that wait at most: some 8 MB."""

_FLUSH_SECONDS: Final = 2.0


class LogWriter:
    """Writes whole lines to a descriptor.

    Args:
        descriptor: open for writing.
        most: lines that wait at most; further ones are dropped.
        now: the clock, for the line that reports how many were dropped.
    """

    def __init__(
        self,
        descriptor: int,
        most: int = MOST,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._descriptor = descriptor
        self._most = most
        self._now = now
        self._waiting: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._dropped = 0
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def __call__(self, line: bytes) -> None:
        """Take one line with its line break."""
        if self._waiting.qsize() >= self._most:
            self._dropped += 1
            return
        if self._thread is None:
            self._start()
        self._waiting.put(line)

    def flush(self) -> None:
        """Wait until all accepted lines are written, for two seconds at most."""
        if self._thread is not None:
            written = threading.Event()
            self._waiting.put(written)
            written.wait(_FLUSH_SECONDS)

    def _start(self) -> None:
        # Started on demand: a process may be forked after its writer was created.
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            records = [self._waiting.get()]
            if isinstance(records[0], bytes):
                time.sleep(SECONDS)
            try:
                while True:
                    records.append(self._waiting.get_nowait())
            except Empty:
                pass
            self._write(b"".join(record for record in records if isinstance(record, bytes)))
            dropped, self._dropped = self._dropped, 0
            if dropped:
                self._write(self._dropped_line(dropped))
            for record in records:
                if isinstance(record, threading.Event):
                    record.set()

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except OSError:  # there is nowhere to report it
                return

    def _dropped_line(self, dropped: int) -> bytes:
        line = {
            "time": self._now(),
            "level": "warning",
            "event": "log",
            "logger": __name__,
            "message": f"{dropped} lines were dropped, because nothing read them",
        }
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
