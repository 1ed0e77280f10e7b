"""A store in memory: for tests, and the shortest statement of what the port promises."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from etl.errors import CommitConflict, NotFound
from etl.storage.port import Entry, Tagged, check_key


class MemoryStore:
    """Objects in a dict. Gone with the process.

    Args:
        clock: where `Entry.modified` comes from.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._objects: dict[str, tuple[bytes, datetime]] = {}
        self._lock = threading.Lock()
        self._clock = clock

    @property
    def name(self) -> str:
        """`memory`."""
        return "memory"

    @property
    def concurrency(self) -> int:
        """One: there is nothing to wait for."""
        return 1

    def get(self, key: str) -> bytes:
        """Return the whole object."""
        found = self._objects.get(check_key(key))
        if found is None:
            raise NotFound(f"{self.name}: there is no object {key}")
        return found[0]

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start` on, or what there is of them."""
        return self.get(key)[start : start + length]

    def read(self, key: str) -> Tagged:
        """Return the whole object and its tag."""
        data = self.get(key)
        return Tagged(data, _tag(data))

    def put(self, key: str, data: bytes) -> bool:
        """Write an object whose key is derived from its bytes; return whether it was not there."""
        with self._lock:
            there = self._objects.get(check_key(key))
            if there is None or there[0] != data:
                self._objects[key] = (bytes(data), self._clock())
            return there is None

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        """Replace an object on the condition that its tag is still the expected one."""
        with self._lock:
            there = self._objects.get(check_key(key))
            if (None if there is None else _tag(there[0])) != expected:
                raise CommitConflict(f"{self.name}: {key} was changed by someone else")
            self._objects[key] = (bytes(data), self._clock())
            return _tag(data)

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield the objects whose keys start with `prefix`."""
        with self._lock:
            found = [item for item in self._objects.items() if item[0].startswith(prefix)]
        for key, (data, modified) in found:
            yield Entry(key, len(data), modified)

    def delete(self, keys: Iterable[str]) -> int:
        """Delete objects; keys that are not there are skipped."""
        count = 0
        for key in keys:
            with self._lock:
                self._objects.pop(check_key(key), None)
            count += 1
        return count

    def sync(self) -> None:
        """Do nothing: memory survives nothing."""

    def clean(self, older_than: datetime) -> int:
        """Do nothing: no rubbish is left in memory."""
        return 0


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
