"""Leases: a run and a prune never work at the same time.

A prune deletes what no kept release names, and what a run has written but not yet committed is
named by none. So each leaves a lease in the store, and only then looks for the other's: of two that
begin at once, at least one sees the other. Two runs may work at once; the swap decides.

A lease that was not renewed for a while may be broken: a prune breaks any, a run only a prune's.
The holder detects that when it renews the lease, as a run does right before its commit and a prune
before it deletes, and then does neither. A run that pauses between renewal and commit is stopped by
the fence that each prune puts up (`release.fenced`).

A lease has run out only where the clock of the process that checks it and the store's clock both
say so: one clock that is wrong breaks no lease in use.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from socket import gethostname
from typing import Final, Literal

from etl.errors import CommitConflict, NotFound, StoreError
from etl.publish.canonical_json import dumps, instant, loads
from etl.storage.port import Store, Tagged

PREFIX: Final = "leases/"
LEASE_TIME: Final = timedelta(hours=2)
"""Lifetime of a lease that is not renewed."""

_OFTEN: Final = timedelta(minutes=10)
"""Interval after which its holder renews it."""

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
        self._started = self._renewed = clock()
        self._stays = False
        self._renewing = threading.Lock()
        self._tag = store.swap(self.key, self._text(), None)

    def renew(self) -> None:
        """Make the lease last for its whole time from now.

        Raises:
            StoreError: it had run out, and a prune broke it. What was written is not safe.
        """
        now = self._clock()
        try:
            with self._renewing:
                self._tag = self._store.swap(self.key, self._text(), self._tag)
            self._renewed = now
        except CommitConflict:
            raise StoreError(
                f"{self._store.name}: this {self._kind} was at rest for so long that a prune took "
                "it for dead; nothing was published, run it again"
            ) from None

    def keep(self) -> None:
        """Renew the lease unless that was done lately; after a clock was set back, renew it.

        Raises:
            StoreError: it had run out, and was broken.
        """
        if not timedelta(0) <= self._clock() - self._renewed < _OFTEN:
            self.renew()

    @contextmanager
    def renewed_in_background(self) -> Iterator[None]:
        """Keep the lease by a timer, however long a step of the holder takes.

        A renewal that fails is left to the one before the commit, which refuses if the lease was
        broken.
        """
        over = threading.Event()

        def keep() -> None:
            while not over.wait(_OFTEN.total_seconds()):
                with suppress(StoreError):
                    self.keep()

        timer = threading.Thread(target=keep, daemon=True)
        timer.start()
        try:
            yield
        finally:
            over.set()
            timer.join()

    def leave(self) -> None:
        """Let the lease run out instead of releasing it: the request may still take effect."""
        self._stays = True

    def release(self) -> None:
        """Release the lease. One that storage does not delete runs out, which is no failure."""
        if self._stays:
            return
        with suppress(StoreError):
            self._store.delete([self.key])

    def _text(self) -> bytes:
        now = self._clock()
        return dumps(
            {
                "kind": self._kind,
                "process": os.getpid(),
                "host": gethostname(),
                "started": self._started.isoformat(),
                "expires": (now + LEASE_TIME).isoformat(),
            }
        )


@contextmanager
def run_lease(store: Store, clock: Clock) -> Iterator[Lease]:
    """Hold a lease while a run is at work on a target, and break those of dead prunes.

    Raises:
        StoreError: a prune is under way.
    """
    lease = Lease(store, "run", clock)
    try:
        for key in _standing(store, lease, "prune-", clock()):
            raise StoreError(
                f"{store.name}: a prune is under way ({_holder(store, key)}); "
                "run again when it is done"
            )
        yield lease
    finally:
        lease.release()


@contextmanager
def prune_lease(store: Store, clock: Clock) -> Iterator[Lease]:
    """Hold a lease while a prune is at work, and break those that have run out.

    Raises:
        StoreError: a run or another prune is under way.
    """
    lease = Lease(store, "prune", clock)
    try:
        for key in _standing(store, lease, "", clock()):
            raise StoreError(
                f"{store.name}: something is under way ({_holder(store, key)}); "
                "prune when it is done"
            )
        yield lease
    finally:
        lease.release()


def _standing(store: Store, own: Lease, kind: str, now: datetime) -> Iterator[str]:
    """Yield the leases of others that are in the way; those that have run out are broken."""
    entries = list(store.list(PREFIX))
    written = {entry.key: entry.modified for entry in entries}
    for key in written:
        if key == own.key or not key.startswith(PREFIX + kind):
            continue
        try:
            there = store.read(key)
        except NotFound:
            continue
        expires = _expires(there, f"{store.name}: {key}")
        rested = own.key in written and written[own.key] - written[key] >= LEASE_TIME
        if (expires is not None and (expires > now or not rested)) or not _broken(
            store, key, there
        ):
            yield key


def _holder(store: Store, key: str) -> str:
    """Return the key of a lease, with the process that holds it where the lease says so."""
    try:
        lease = loads(store.get(key), key)
        started = instant(lease["started"]).isoformat(timespec="seconds")
        return f"{key}: process {int(lease['process'])} on {lease['host']} since {started}"
    except (StoreError, KeyError, TypeError, ValueError):
        return key


def _broken(store: Store, key: str, there: Tagged) -> bool:
    """Break a lease; return whether it is out of the way."""
    try:
        store.swap(key, b'{"broken":true}', there.tag)
    except CommitConflict:  # renewed at this moment
        return False
    with suppress(StoreError):
        store.delete([key])
    return True


def _expires(there: Tagged, what: str) -> datetime | None:
    """Return when a lease runs out; None where it was broken."""
    try:
        expires = loads(there.data, what).get("expires")
        return None if expires is None else instant(expires)
    except (StoreError, TypeError, ValueError, AttributeError):
        raise StoreError(
            f"{what} is no lease: the object is damaged, and whether anything is under way cannot "
            "be determined; make sure that no run and no prune is, then delete it"
        ) from None
