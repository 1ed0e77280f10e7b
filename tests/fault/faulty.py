"""A store that fails where it is told to."""

from functools import partial

from etl.errors import CommitUnknown


class Killed(BaseException):
    """Stands for the death of the process: nothing may catch it and go on."""


class FaultyStore:
    """Passes calls on, and dies at the n-th write, before or after it took place.

    Args:
        store: the real one.
        at: number of the write (put, swap, delete, sync) at which to die; None for never.
        after: whether that write takes place first.
        fault: what is raised.
    """

    concurrency = 1

    def __init__(self, store, *, at=None, after=False, fault=Killed):
        self._store = store
        self._at = at
        self._after = after
        self._fault = fault
        self.writes = 0

    def __getattr__(self, name):
        """Pass on what does not write."""
        return getattr(self._store, name)

    def put(self, key, data):
        return self._write(lambda: self._store.put(key, data))

    def swap(self, key, data, expected):
        return self._write(lambda: self._store.swap(key, data, expected))

    def delete(self, keys):
        count = 0
        for key in keys:
            count += self._write(partial(self._store.delete, [key]))
        return count

    def sync(self):
        self._write(self._store.sync)

    def _write(self, write):
        self.writes += 1
        if self.writes != self._at:
            return write()
        if self._after:
            write()
        raise self._fault()


class LostAnswer(FaultyStore):
    """Carries out the swap of the pointer, and then loses the answer."""

    def __init__(self, store, *, landed):
        super().__init__(store)
        self._landed = landed

    def swap(self, key, data, expected):
        if key != "current.json":
            return self._store.swap(key, data, expected)
        if self._landed:
            self._store.swap(key, data, expected)
        raise CommitUnknown("the answer was lost")
