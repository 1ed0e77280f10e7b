"""Leases: a run and a prune never work at the same time.

A prune deletes what no kept release names, and what a run has written but not yet committed is
named by none. So each leaves a lease in the store, and only then looks for the other's: of two that
begin at once, at least one sees the other. Two runs may work at once; the swap decides.

A lease that was not renewed for a while may be broken: a prune breaks any, a run only a prune's.
The holder detects that when it renews the lease, as a run does right before its commit and a prune
before it deletes, and then does neither. A run that pauses between renewal and commit is stopped by
the fence that each prune puts up (`release.put_fence`).

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

_RENEWAL_INTERVAL: Final = timedelta(minutes=10)
"""Interval after which its holder renews it."""

Clock = Callable[[], datetime]


class LeaseObject(msgspec.Struct, frozen=True, rename="camel"):
    """What a lease in the store says; nothing once it is broken.

    Attributes:
        kind: `run` or `prune`.
        process: id of the holder's process.
        process_started: when that began, in clock ticks; None if the system does not say.
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
        self._is_left = self._is_deleting = False
        self._renewing = threading.Lock()
        self._tag = store.swap(self.key, self._to_bytes(), None)

    def renew(self) -> None:
        """Extend the lease to its full lifetime from now.

        Raises:
            StoreError: the lease had expired and a prune broke it; written objects are not safe.
        """
        renewal_time = self._clock()
        try:
            with self._renewing:
                self._tag = self._store.swap(self.key, self._to_bytes(), self._tag)
            self._renewed = renewal_time
        except CommitConflict:
            outcome = "nothing was published, " if self._kind == "run" else ""
            raise StoreError(
                f"{self._store.name}: this {self._kind} was inactive for so long that another "
                f"process treated it as dead; {outcome}run it again"
            ) from None

    def renew_to_delete(self) -> None:
        """Renew the lease, and record that its holder deletes objects from now on.

        Raises:
            StoreError: as `renew`.
        """
        self._is_deleting = True
        self.renew()

    def keep(self) -> None:
        """Renew the lease if it was not renewed recently.

        Raises:
            StoreError: the lease had expired and was broken.
        """
        if not timedelta(0) <= self._clock() - self._renewed < _RENEWAL_INTERVAL:
            self.renew()

    @contextmanager
    def renewed_in_background(self) -> Iterator[None]:
        """Renew the lease by a timer, however long a step of its holder takes.

        A failed renewal is left to the renewal before the commit, which refuses a broken lease.
        """
        is_done = threading.Event()

        def renew_until_done() -> None:
            while not is_done.wait(_RENEWAL_INTERVAL.total_seconds()):
                with suppress(StoreError):
                    self.keep()

        timer = threading.Thread(target=renew_until_done, daemon=True)
        timer.start()
        try:
            yield
        finally:
            is_done.set()
            timer.join()

    def leave(self) -> None:
        """Let the lease expire instead of releasing it: a request may still take effect."""
        self._is_left = True

    def release(self) -> None:
        """Release the lease. If storage cannot delete it, it expires."""
        if self._is_left:
            return
        with suppress(StoreError):
            self._store.delete([self.key])

    def _to_bytes(self) -> bytes:
        return to_bytes(
            LeaseObject(
                self._kind,
                os.getpid(),
                _process_start(os.getpid()),
                _process_namespace(),
                gethostname(),
                self._is_deleting,
                self._started,
                self._clock() + LEASE_TIME,
            )
        )


@contextmanager
def run_lease(store: Store, clock: Clock) -> Iterator[Lease]:
    """Hold a lease during a run, and break those of dead prunes.

    Raises:
        StoreError: a prune is under way.
    """
    lease = Lease(store, "run", clock)
    try:
        for holder in _live_leases(store, lease, "prune-", clock()):
            raise StoreError(f"{store.name}: a prune {holder}")
        yield lease
    finally:
        lease.release()


@contextmanager
def prune_lease(store: Store, clock: Clock) -> Iterator[Lease]:
    """Hold a lease during a prune, and break expired ones.

    Raises:
        StoreError: a run or another prune is under way.
    """
    lease = Lease(store, "prune", clock)
    try:
        for holder in _live_leases(store, lease, "", clock()):
            raise StoreError(f"{store.name}: a run or a prune {holder}")
        yield lease
    finally:
        lease.release()


def _live_leases(store: Store, own_lease: Lease, prefix: str, now: datetime) -> Iterator[str]:
    """Break other holders' dead leases; yield a description of each live one."""
    entries = list(store.list(PREFIX))
    modified_times = {entry.key: entry.modified for entry in entries}
    for key in modified_times:
        if key == own_lease.key or not key.startswith(PREFIX + prefix):
            continue
        try:
            tagged = store.read(key)
        except NotFound:
            continue
        lease = _parse_lease(tagged.data, f"{store.name}: {key}")
        is_store_time_over = (
            own_lease.key in modified_times
            and modified_times[own_lease.key] - modified_times[key] >= LEASE_TIME
        )
        has_expired = lease.expires is None or (lease.expires <= now and is_store_time_over)
        is_dead = has_expired or (_was_killed(lease) and not _may_delete(store, lease))
        if not is_dead or not _break_lease(store, key, tagged.tag):
            yield _describe_holder(store, key, lease)


def _describe_holder(store: Store, key: str, lease: LeaseObject) -> str:
    """Return the end of a message: who is active, and when to run again."""
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
    if _can_see_holder(lease):
        return f"is in progress ({holder}); run again when it is done"
    return (
        f"is in progress on another machine, or was killed there ({holder}); run again when it is "
        f"done, or when its lease has expired, at {until}"
    )


def _break_lease(store: Store, key: str, tag: str) -> bool:
    """Break a lease; return whether it no longer blocks."""
    try:
        store.swap(key, b'{"broken":true}', tag)
    except CommitConflict:  # renewed at this moment
        return False
    with suppress(StoreError):
        store.delete([key])
    return True


def _parse_lease(data: bytes, object_name: str) -> LeaseObject:
    try:
        return msgspec.json.decode(data, type=LeaseObject)
    except msgspec.DecodeError:
        raise StoreError(
            f"{object_name} is not a lease: the object is damaged, and it is unknown whether a run "
            "or prune is in progress; make sure that none is, and then delete it"
        ) from None


def _may_delete(store: Store, lease: LeaseObject) -> bool:
    """Return whether a deletion by a killed holder may still happen.

    Object storage may carry out a request after its sender has died. A folder cannot.
    """
    return lease.deletes and "://" in store.name


def _can_see_holder(lease: LeaseObject) -> bool:
    """Return whether the holder's process would be visible to this one."""
    namespace = _process_namespace()
    return namespace != "" and lease.processes == namespace


def _was_killed(lease: LeaseObject) -> bool:
    """Return whether the operating system knows that the holder has ended.

    A process with the holder's ID but another start time is not the holder. The start time of
    another user's process may be hidden: then it counts as the holder.
    """
    if not _can_see_holder(lease) or lease.process is None:
        return False
    try:
        os.kill(lease.process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's
        pass
    process_start, holder_start = _process_start(lease.process), lease.process_started
    return None not in (process_start, holder_start) and process_start != holder_start


def _process_start(pid: int) -> int | None:
    """Return when a process began, in clock ticks since boot (proc(5)).

    0 for a zombie; None if the system does not say.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


@cache
def _process_namespace() -> str:
    """Identify the processes visible to this one; empty if the system does not say.

    Containers on one machine may share a host name and have their own process IDs.
    """
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot_id} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
