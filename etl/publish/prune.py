"""Pruning: deletes what no kept release names, and reports and quarantines that have expired."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

from etl.errors import CommitConflict, CommitUnknown, StoreError, UsageError
from etl.publish import object_keys
from etl.publish.bulk_pages import close_pages
from etl.publish.canonical_json import dumps, instant, loads
from etl.publish.catalog import CatalogEntry, parse_shard
from etl.publish.history import lineage
from etl.publish.kept_objects import checked, read_or_none
from etl.publish.lease import LEASE_TIME, Clock, Lease, prune_lease
from etl.publish.manifest import Manifest, Shard, stamp_of
from etl.publish.reader import Release, open_current
from etl.publish.release import fenced
from etl.publish.signatures import SigningKey, open_envelope, read_public_key
from etl.storage.parallel import mapped
from etl.storage.port import Entry, Store, Tagged

_EXPIRING: Final = ("reports", "quarantine")
PAYLOAD_TYPE: Final = "application/vnd.cpcds-bluebutton.expired+json"
"""Type of what is signed of the record (DSSE)."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """Times before which reports and quarantines of runs are gone.

    Attributes:
        before: `reports` or `quarantine` -> runs that began before this; a folder that is not there
            expires with its releases alone.
    """

    before: Mapping[str, datetime] = field(default_factory=dict)

    def covers(self, key: str, created: str) -> bool:
        """Return whether an object's run began before the time of its folder.

        Args:
            key: of the object.
            created: FHIR instant of a release that names it. The time in a key is later than that
                of its run where ids count on from a release of a clock that was ahead.
        """
        folder, _, rest = key.partition("/")
        limit = self.before.get(folder)
        if limit is None:
            return False
        try:
            return min(stamp_of(rest.partition("/")[0]), instant(created)) < limit
        except ValueError:
            return False  # of no run: the page of all reports

    def later(self, other: Expiry) -> Expiry:
        """Return the later time of each folder."""
        both = [each for each in (self.before, other.before) if each]
        names = {name for each in both for name in each}
        return Expiry({name: max(each[name] for each in both if name in each) for name in names})


def read_expiry(store: Store, keys: Sequence[Path] = ()) -> Expiry:
    """Return what prunes have deleted of releases that stay.

    Args:
        store: the target.
        keys: files with public keys, one of which must have signed the record: else nothing in it
            is believed. Without keys it is believed as it is.

    Raises:
        UsageError: a file holds no public key.
        StoreError: the record is damaged.
    """
    there = read_or_none(store, object_keys.EXPIRY)
    if there is None:
        return Expiry()
    return _expiry(there, store.name, [read_public_key(path) for path in keys])


def write_expiry(store: Store, expiry: Expiry, key: SigningKey | None = None) -> Expiry:
    """Record what is deleted from now on, before it is; return it merged with earlier records.

    Args:
        store: the target.
        expiry: what is to be deleted.
        key: signs the record; earlier records that it did not sign are left out then. None to sign
            nothing.

    Raises:
        StoreError: it cannot be written; nothing may be deleted then.
    """
    there = read_or_none(store, object_keys.EXPIRY)
    whole = expiry
    if there is not None:
        public_keys = () if key is None else (key.public(),)
        whole = expiry.later(_expiry(there, store.name, public_keys))
    body = {
        "format": object_keys.FORMAT,
        "before": {
            name: moment.astimezone(UTC).isoformat(timespec="seconds")
            for name, moment in whole.before.items()
        },
    }
    signed = {} if key is None else {"signed": key.envelope(dumps(body), PAYLOAD_TYPE)}
    data = dumps({**body, **signed}) + b"\n"
    try:
        store.swap(object_keys.EXPIRY, data, None if there is None else there.tag)
    except CommitConflict:
        raise StoreError(
            f"{store.name}: another prune is in progress; run it again later"
        ) from None
    return whole


def _expiry(there: Tagged, name: str, public_keys: Sequence[Any]) -> Expiry:
    what = f"{name}: {object_keys.EXPIRY}"
    try:
        record = loads(there.data, what)
        if public_keys:
            opened = open_envelope(dumps(record.get("signed")), PAYLOAD_TYPE, public_keys)
            record = {"before": {}} if opened is None else loads(opened[0], what)
        before = record["before"]
        return Expiry({folder: instant(before[folder]) for folder in _EXPIRING if folder in before})
    except (StoreError, KeyError, TypeError, ValueError, AttributeError):
        raise StoreError(f"{what} is damaged: restore it from a copy") from None


GRACE: Final = timedelta(days=1)
"""Objects younger than this stay, whether a release names them or not."""

SWEPT: Final = (
    *("releases/", "catalog/", "bulk/", "plan-finder/"),
    *("reports/", "quarantine/", "rows/", "memory/"),
    *(object_keys.STAGING, object_keys.DICTIONARY),
)
"""Folders with few enough keys to be held in memory. `patients/` and `directory/` have more."""

_TOGETHER: Final = 1000
"""Objects that are deleted together."""

_CUT: Final = ("patients/", "directory/")
FOLDERS: Final = len(SWEPT) + 256 * len(_CUT)
"""Folders that a prune looks through: those two are split by the first byte of a hash."""
_DIGEST: Final = 32
_BUCKETS: Final = 64
"""Files that the hashes in use are split into: one is held in memory, all are open at once."""


@dataclass(frozen=True, slots=True)
class PruneResult:
    """Result of a prune, done or planned.

    Attributes:
        kept: ids of the releases that stay, newest first.
        young: ids among them that stay only because they were written so recently.
        dropped: ids of those that went.
        objects: how many objects were deleted.
        bytes: their size together.
    """

    kept: Sequence[str]
    young: Sequence[str]
    dropped: Sequence[str]
    objects: int
    bytes: int


def prune(
    store: Store,
    clock: Clock,
    *,
    keep: int,
    older_than: timedelta = timedelta(0),
    grace: timedelta = GRACE,
    dry_run: bool = False,
    expiry: Expiry = Expiry(),
    key: SigningKey | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> PruneResult:
    """Delete old releases, and every object that no kept release names.

    The present release always stays. Manifests go first: a prune that dies leaves no release that
    lacks something, only objects that the next prune deletes. Memory does not grow with the tree;
    the names in use are held on disk.

    Args:
        store: the target.
        clock: the time now.
        keep: how many releases stay, the present one included.
        older_than: younger releases stay as well.
        grace: objects written more recently stay, and so do releases, with all that they name.
        dry_run: count, and delete nothing.
        expiry: reports and quarantines that are deleted although their releases stay; those of the
            present release never are.
        key: signs the record of those; None to sign nothing.
        progress: called with the number of folders looked through so far, of `FOLDERS`.

    Raises:
        UsageError: `keep` is less than one.
        StoreError: a run is under way, or a kept release is damaged. Where the names in use cannot
            all be read, nothing is deleted.
    """
    if keep < 1:
        raise UsageError("the current release cannot be pruned: keep at least 1")
    with prune_lease(store, clock) as lease:
        now = clock()
        base = open_current(store)
        if base.release is None:  # the first run to publish relies on what is there
            return PruneResult([], [], [], 0, 0)
        if not dry_run:
            fenced(store, base)
        kept, young, dropped = _chosen(store, keep, now - older_than, now - grace)
        with tempfile.TemporaryDirectory() as folder, _InUse(Path(folder)) as used:
            _mark(store, kept, used)
            if expiry.before:
                gone = expiry if dry_run else write_expiry(store, expiry, key)
                used.keys -= _expired(kept, gone)
            objects = size = 0
            unused = _unused(store, used, now - grace, progress)
            while batch := list(islice(unused, _TOGETHER)):
                objects += len(batch)
                size += sum(entry.size for entry in batch)
                if dry_run:
                    lease.renew()
                    continue
                lease.renew_to_delete()
                _delete(store, batch, lease)
        if not dry_run:
            close_pages(store, kept, now - grace)
            store.clean(now - grace)
    return PruneResult([release.id for release in kept], young, dropped, objects, size)


def _delete(store: Store, entries: Sequence[Entry], lease: Lease) -> None:
    """Delete objects for as long as the lease lasts.

    Raises:
        CommitUnknown: the answer was lost. The lease stays until it runs out: a run that began now
            could come upon an object that is deleted after it.
    """

    def held() -> Iterator[str]:
        for entry in entries:
            lease.keep()
            yield entry.key

    try:
        store.delete(held())
    except CommitUnknown as error:
        lease.leave()
        raise CommitUnknown(
            f"{error}; no run can start until the lease of this prune expires, in "
            f"{LEASE_TIME.total_seconds() / 3600:g} hours ({lease.key})"
        ) from error


class _InUse:
    """The keys that are named: few in memory, blocks and indexes on disk by their first bits."""

    def __init__(self, folder: Path) -> None:
        self.keys: set[str] = {
            object_keys.CURRENT,
            object_keys.NIGHTS_PAGE,
            object_keys.EXPIRY,
        }
        self._files = {
            prefix: [
                (folder / f"{prefix.rstrip('/')}-{number}").open("w+b")
                for number in range(_BUCKETS)
            ]
            for prefix in _CUT
        }

    def __enter__(self) -> _InUse:
        return self

    def __exit__(self, *_: object) -> None:
        for files in self._files.values():
            for file in files:
                file.close()

    def add(self, key: str) -> None:
        """Note an object."""
        folder = key.partition("/")[0] + "/"
        if folder not in self._files:
            self.keys.add(key)
            return
        digest = bytes.fromhex(object_keys.digest_of(key))
        self._files[folder][digest[0] * _BUCKETS // 256].write(digest)

    def digests(self, prefix: str, bucket: int) -> set[bytes]:
        """Return the hashes in use of one bucket of `patients/` or `directory/`."""
        file = self._files[prefix][bucket]
        file.seek(0)
        data = file.read()
        return {data[start : start + _DIGEST] for start in range(0, len(data), _DIGEST)}


def _chosen(
    store: Store, keep: int, before: datetime, grace: datetime
) -> tuple[list[Release], list[str], list[str]]:
    """Return the releases that stay, newest first; ids of the young among them, and of the others.

    A manifest that is too young to be deleted stays a release that can be rolled back to, so what
    it names has to stay as well.
    """
    written = {entry.key: entry.modified for entry in store.list("releases/")}
    kept: list[Release] = []
    young: list[str] = []
    dropped: list[str] = []

    def lose(lost: str, why: str) -> None:
        there = written.get(object_keys.manifest(lost), grace)
        stays = len(kept) < keep or stamp_of(lost) > before or there >= grace
        if stays and not dropped:
            raise StoreError(f"{why}; nothing was deleted")
        dropped.append(lost)

    for number, release in enumerate(lineage(store, lose)):
        is_kept = number < keep or instant(release.manifest.created) > before
        fresh = written.get(release.manifest.key, grace) >= grace
        if dropped or not (is_kept or fresh):
            dropped.append(release.id)
            continue
        kept.append(release)
        if not is_kept:
            young.append(release.id)
    return kept, young, dropped


def _mark(store: Store, kept: Sequence[Release], used: _InUse) -> None:
    seen: set[str] = set()

    def fresh() -> Iterator[Shard]:
        for release in kept:
            for shard in release.manifest.catalog:
                if shard is not None and shard.key not in seen:
                    seen.add(shard.key)
                    yield shard

    for release in kept:
        used.keys |= own_keys(release.manifest)
        for _, ref in release.manifest.objects():
            used.add(ref.key)

    def rows(shard: Shard) -> list[CatalogEntry]:
        try:
            return parse_shard(checked(store, shard.key, shard.sha256), shard.key)
        except StoreError as error:
            raise StoreError(
                f"{error}: it is unknown which objects a kept release uses, so nothing "
                "was deleted; "
                "if the object is lost or damaged, restore it from a copy, or keep fewer releases"
            ) from None

    for entries in mapped(store, rows, fresh()):
        for entry in entries:
            for ref in entry.objects():
                used.add(ref.key)


def own_keys(manifest: Manifest) -> set[str]:
    """Return the keys of a manifest, and of what is said about it beside it."""
    keys = {manifest.key, object_keys.signature(manifest.release)}
    keys.add(object_keys.time_stamp(manifest.release))
    if manifest.facts.kind == "rollback":
        keys.add(object_keys.resumed(manifest.release))
    return keys


def _expired(kept: Sequence[Release], gone: Expiry) -> set[str]:
    """Return the reports and quarantines that expired for each release that names them.

    Those of the first release, which readers see, never do.
    """
    expired: set[str] = set()
    stay = {report.key for report in kept[0].manifest.facts.reports}
    for manifest in (release.manifest for release in kept[1:]):
        for report in manifest.facts.reports:
            is_gone = gone.covers(report.key, manifest.created)
            (expired if is_gone else stay).add(report.key)
    return expired - stay


def _unused(
    store: Store, used: _InUse, before: datetime, progress: Callable[[int], None]
) -> Iterator[Entry]:
    looked_through = 0
    for prefix in SWEPT:
        for entry in store.list(prefix):
            if entry.key not in used.keys and entry.modified < before:
                yield entry
        looked_through += 1
        progress(looked_through)
    for prefix in _CUT:
        for bucket in range(_BUCKETS):
            digests = used.digests(prefix, bucket)
            width = 256 // _BUCKETS
            for number in range(bucket * width, (bucket + 1) * width):
                for entry in store.list(f"{prefix}{number:02x}/"):
                    if entry.modified < before and _digest(entry.key) not in digests:
                        yield entry
                looked_through += 1
                progress(looked_through)


def _digest(key: str) -> bytes:
    try:
        return bytes.fromhex(object_keys.digest_of(key))
    except ValueError:
        return b""  # its key holds no hash: nothing that this program wrote
