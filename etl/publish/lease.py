"""Leases: a run and a prune never work at the same time.

A prune deletes what no kept release names, and what a run has written but not yet committed is
named by none. So each leaves a lease in the store, and only then looks for the other's: of two that
begin at once, at least one sees the other. Two runs may work at once; the swap decides.

A lease that was not renewed for a while may be broken: a prune breaks any, a run only a prune's.
The holder detects that when it renews the lease, as a run does right before its commit and a prune
before it deletes, and then does neither. A run that pauses between renewal and commit is stopped by
the fence that each prune puts up (`release.fenced`).

A lease has run out only where the clock of the process that checks it and the store's clock both
say so: one clock that is wrong breaks no lease in use. Where the system says that the holder was
killed, its lease need not run out, unless object storage may still carry out its last deletion.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from socket import gethostname
from typing import Final, Literal

import msgspec

from etl.errors import CommitConflict, NotFound, StoreError
from etl.publish.kept_objects import to_bytes
from etl.storage.port import Store

PREFIX: Final = "leases/"
LEASE_TIME: Final = timedelta(hours=2)
"""Lifetime of a lease that is not renewed."""

_OFTEN: Final = timedelta(minutes=10)
"""Interval after which its holder renews it."""

Clock = Callable[[], datetime]


class LeaseObject(msgspec.Struct, frozen=True, rename="camel"):
    """What a lease in the store says; nothing once it is broken.

    Attributes:
        kind: `run` or `prune`.
        process: id of the holder's process.
        process_started: when that began, in clock ticks; None where the system does not say.
        processes: what names the processes that the holder sees.
        host: its machine.
        deletes: whether it deletes objects.
        started: when the lease was taken.
        expires: when it runs out.
    """

    kind: str = ""
    process: int | None = None
    process_started: int | None = None
    processes: str = ""
    host: str = ""
    deletes: bool = False
    started: datetime | None = None
    expires: datetime | None = None


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
        self._stays = self._deletes = False
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
                f"{self._store.name}: this {self._kind} was inactive for so long that a prune "
                "treated it as dead; nothing was published, run it again"
            ) from None

    def renew_to_delete(self) -> None:
        """Renew the lease, and say that objects are deleted from now on.

        Raises:
            StoreError: as `renew`.
        """
        self._deletes = True
        self.renew()

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
        return to_bytes(
            LeaseObject(
                self._kind,
                os.getpid(),
                _process_start(os.getpid()),
                _process_namespace(),
                gethostname(),
                self._deletes,
                self._started,
                self._clock() + LEASE_TIME,
            )
        )


@contextmanager
def run_lease(store: Store, clock: Clock) -> Iterator[Lease]:
    """Hold a lease while a run is at work on a target, and break those of dead prunes.

    Raises:
        StoreError: a prune is under way.
    """
    lease = Lease(store, "run", clock)
    try:
        for holder in _standing(store, lease, "prune-", clock()):
            raise StoreError(f"{store.name}: a prune {holder}")
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
        for holder in _standing(store, lease, "", clock()):
            raise StoreError(f"{store.name}: a run or a prune {holder}")
        yield lease
    finally:
        lease.release()


def _standing(store: Store, own: Lease, kind: str, now: datetime) -> Iterator[str]:
    """Break the leases of others that have ended; yield of the rest what messages say of each."""
    entries = list(store.list(PREFIX))
    written = {entry.key: entry.modified for entry in entries}
    for key in written:
        if key == own.key or not key.startswith(PREFIX + kind):
            continue
        try:
            there = store.read(key)
        except NotFound:
            continue
        lease = _parsed(there.data, f"{store.name}: {key}")
        rested = own.key in written and written[own.key] - written[key] >= LEASE_TIME
        has_run_out = lease.expires is None or (lease.expires <= now and rested)
        is_over = has_run_out or (_was_killed(lease) and not _may_delete(store, lease))
        if not is_over or not _broken(store, key, there.tag):
            yield _described(store, key, lease)


def _described(store: Store, key: str, lease: LeaseObject) -> str:
    """Return the end of a sentence: what is in the way, and when to run again."""
    if lease.started is None or lease.expires is None:  # of an older version, or broken just now
        return f"is in progress ({key}); run again when it is done"
    since = lease.started.isoformat(timespec="seconds")
    until = lease.expires.isoformat(timespec="seconds")
    holder = f"{key}: process {lease.process} on {lease.host} since {since}"
    if _was_killed(lease) and _may_delete(store, lease):
        return (
            f"was killed while it deleted objects ({holder}), and the storage may still carry out "
            f"the last deletion; run again when its lease has expired, at {until}"
        )
    if _is_visible(lease):
        return f"is in progress ({holder}); run again when it is done"
    return (
        f"is in progress on another machine, or was killed there ({holder}); run again when it is "
        f"done, or when its lease has expired, at {until}"
    )


def _broken(store: Store, key: str, tag: str) -> bool:
    """Break a lease; return whether it is out of the way."""
    try:
        store.swap(key, b'{"broken":true}', tag)
    except CommitConflict:  # renewed at this moment
        return False
    with suppress(StoreError):
        store.delete([key])
    return True


def _parsed(data: bytes, what: str) -> LeaseObject:
    try:
        return msgspec.json.decode(data, type=LeaseObject)
    except msgspec.DecodeError:
        raise StoreError(
            f"{what} is not a lease: the object is damaged, and it is unknown whether a run or "
            "prune is in progress; make sure that none is, and then delete it"
        ) from None


def _may_delete(store: Store, lease: LeaseObject) -> bool:
    """Return whether a deletion that a killed holder has sent may take place yet.

    Object storage may carry out a request after its sender has died. A folder cannot.
    """
    return lease.deletes and "://" in store.name


def _is_visible(lease: LeaseObject) -> bool:
    """Return whether this process would see the holder of a lease."""
    namespace = _process_namespace()
    return namespace != "" and lease.processes == namespace


def _was_killed(lease: LeaseObject) -> bool:
    """Return whether the system knows that the holder of a lease has ended.

    A process that has its id now and began at another time is not the holder. What another user's
    process is may be hidden: then it counts as the holder.
    """
    if not _is_visible(lease) or lease.process is None:
        return False
    try:
        os.kill(lease.process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        pass
    began, holder_began = _process_start(lease.process), lease.process_started
    return None not in (began, holder_began) and began != holder_began


def _process_start(pid: int) -> int | None:
    """Return when a process began, in clock ticks since the machine did (proc(5)).

    0 for one that has ended and that its parent has not noticed yet; None where the system does not
    say.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


@cache
def _process_namespace() -> str:
    """Return what names the processes that this one sees; empty where the system does not say.

    Containers on one machine have the same host name at times, and process ids of their own.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
