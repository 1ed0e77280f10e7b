"""Leases: a run and a prune never work at the same time.

A prune deletes what no kept release names, and what a run has written but not yet committed is
named by none. So each leaves a lease in the store, and only then looks for the other's: of two that
begin at once, at least one sees the other. Two runs do not mind each other; the swap decides.

A lease that its holder did not renew for a while may be broken by a prune. The holder notices when
it renews the lease right before its commit, and then does not commit.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Final, Literal

from etl.errors import CommitConflict, NotFound, StoreError
from etl.publish.canonical import dumps, instant, loads
from etl.storage.port import Store, Tagged

PREFIX: Final = "leases/"
LEASE_TIME: Final = timedelta(hours=2)
"""How long a lease lasts that is not renewed."""

Clock = Callable[[], datetime]


class Lease:
    """A lease that is held. Renew it now and then, and before a commit.

    Attributes:
        key: its object.
    """

    def __init__(self, store: Store, kind: Literal["run", "prune"], clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._kind = kind
        self.key = f"{PREFIX}{kind}-{secrets.token_hex(8)}.json"
        self._started = clock()
        self._tag = store.swap(self.key, self._text(), None)

    def renew(self) -> None:
        """Make the lease last for its whole time from now.

        Raises:
            StoreError: it had run out, and a prune broke it. What was written is not safe.
        """
        try:
            self._tag = self._store.swap(self.key, self._text(), self._tag)
        except CommitConflict:
            raise StoreError(
                f"{self._store.name}: this {self._kind} was at rest for so long that a prune took "
                "it for dead; nothing was published, run it again"
            ) from None

    def release(self) -> None:
        """Give the lease back. One that storage keeps runs out: it is no reason to have failed."""
        with suppress(StoreError):
            self._store.delete([self.key])

    def _text(self) -> bytes:
        now = self._clock()
        return dumps(
            {
                "kind": self._kind,
                "started": self._started.isoformat(),
                "expires": (now + LEASE_TIME).isoformat(),
            }
        )


@contextmanager
def run_lease(store: Store, clock: Clock) -> Iterator[Lease]:
    """Hold a lease while a run is at work on a target.

    Raises:
        StoreError: a prune is under way.
    """
    lease = Lease(store, "run", clock)
    try:
        for key, there in _leases(store, "prune-"):
            if _is_alive(there, clock(), f"{store.name}: {key}"):
                raise StoreError(
                    f"{store.name}: a prune is under way ({key}); run again when it is done"
                )
        yield lease
    finally:
        lease.release()


@contextmanager
def prune_lease(store: Store, clock: Clock) -> Iterator[Lease]:
    """Hold a lease while a prune is at work, and break those of the dead.

    Raises:
        StoreError: a run or another prune is under way.
    """
    lease = Lease(store, "prune", clock)
    try:
        for key, there in _leases(store, ""):
            if key != lease.key and not _broken(store, key, there, clock()):
                raise StoreError(
                    f"{store.name}: something is under way ({key}); prune when it is done"
                )
        yield lease
    finally:
        lease.release()


def _broken(store: Store, key: str, there: Tagged, now: datetime) -> bool:
    """Break a lease that has run out; return whether it is out of the way."""
    if _is_alive(there, now, f"{store.name}: {key}"):
        return False
    try:
        store.swap(key, b'{"broken":true}', there.tag)
    except CommitConflict:  # renewed at this moment
        return False
    store.delete([key])
    return True


def _leases(store: Store, kind: str) -> Iterator[tuple[str, Tagged]]:
    for entry in list(store.list(PREFIX + kind)):
        try:
            yield entry.key, store.read(entry.key)
        except NotFound:
            continue


def _is_alive(there: Tagged, now: datetime, what: str) -> bool:
    try:
        value = loads(there.data, what)
        expires = value.get("expires")  # one that was broken has none
        return expires is not None and instant(expires) > now
    except (StoreError, TypeError, ValueError, AttributeError):
        raise StoreError(
            f"{what} is no lease: the object is damaged, and whether anything is under way cannot "
            "be told; make sure that no run and no prune is, then delete it"
        ) from None
