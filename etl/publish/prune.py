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
from etl.publish.kept_objects import read_or_none, read_verified
from etl.publish.lease import LEASE_TIME, Clock, Lease, prune_lease
from etl.publish.manifest import Manifest, Shard, stamp_of
from etl.publish.reader import Release, open_current
from etl.publish.release import put_fence
from etl.publish.signatures import SigningKey, open_envelope, read_public_key
from etl.storage.parallel import map_concurrently
from etl.storage.port import Entry, Store, Tagged

_EXPIRING: Final = ("reports", "quarantine")
PAYLOAD_TYPE: Final = "application/vnd.cpcds-bluebutton.expired+json"
"""Type of what is signed of the record (DSSE)."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """Times before which reports and quarantines of runs are gone.

    Attributes:
        limits: `reports` or `quarantine` -> runs that began before this; a folder that is not there
            expires with its releases alone.
    """

    limits: Mapping[str, datetime] = field(default_factory=dict)

    def covers(self, key: str, created: str) -> bool:
        """Return whether an object's run began before its folder's expiry time.

        Args:
            key: of the object.
            created: FHIR instant of a release that names it. The time in a key is later than that
                of its run where ids count on from a release of a clock that was ahead.
        """
        folder, _, key_rest = key.partition("/")
        expiry_time = self.limits.get(folder)
        if expiry_time is None:
            return False
        try:
            return min(stamp_of(key_rest.partition("/")[0]), instant(created)) < expiry_time
        except ValueError:
            return False  # of no run: the page of all reports

    def later(self, expiry: Expiry) -> Expiry:
        """Return the later time of each folder."""
        limits = [limit for limit in (self.limits, expiry.limits) if limit]
        folders = {folder for limit in limits for folder in limit}
        return Expiry(
            {
                folder: max(limit[folder] for limit in limits if folder in limit)
                for folder in folders
            }
        )


def read_expiry(store: Store, keys: Sequence[Path] = ()) -> Expiry:
    """Return what prunes have deleted from releases that still exist.

    Args:
        store: the target.
        keys: files with public keys, one of which must have signed the record, or it is ignored.
            Without keys, the record is trusted.

    Raises:
        UsageError: a file contains no public key.
        StoreError: the record is damaged.
    """
    tagged = read_or_none(store, object_keys.EXPIRY)
    if tagged is None:
        return Expiry()
    return _parse_expiry(tagged, store.name, [read_public_key(path) for path in keys])


def write_expiry(store: Store, expiry: Expiry, key: SigningKey | None = None) -> Expiry:
    """Record what is about to be deleted; return it merged with earlier records.

    Args:
        store: the target.
        expiry: what will be deleted.
        key: signs the record; earlier records with another signature are then dropped. None to
            sign nothing.

    Raises:
        StoreError: the record cannot be written, so nothing may be deleted.
    """
    tagged = read_or_none(store, object_keys.EXPIRY)
    merged_expiry = expiry
    if tagged is not None:
        public_keys = () if key is None else (key.public(),)
        merged_expiry = expiry.later(_parse_expiry(tagged, store.name, public_keys))
    body = {
        "format": object_keys.FORMAT,
        "before": {
            name: moment.astimezone(UTC).isoformat(timespec="seconds")
            for name, moment in merged_expiry.limits.items()
        },
    }
    signed = {} if key is None else {"signed": key.envelope(dumps(body), PAYLOAD_TYPE)}
    data = dumps({**body, **signed}) + b"\n"
    try:
        store.swap(object_keys.EXPIRY, data, None if tagged is None else tagged.tag)
    except CommitConflict:
        raise StoreError(
            f"{store.name}: another prune is in progress; run it again later"
        ) from None
    return merged_expiry


def _parse_expiry(tagged: Tagged, name: str, public_keys: Sequence[Any]) -> Expiry:
    """Parse an expiry record; with public keys, trust only its signed part."""
    label = f"{name}: {object_keys.EXPIRY}"
    try:
        record = loads(tagged.data, label)
        if public_keys:
            payload = open_envelope(dumps(record.get("signed")), PAYLOAD_TYPE, public_keys)
            record = {"before": {}} if payload is None else loads(payload[0], label)
        times = record["before"]
        return Expiry({folder: instant(times[folder]) for folder in _EXPIRING if folder in times})
    except (StoreError, KeyError, TypeError, ValueError, AttributeError):
        raise StoreError(f"{label} is damaged: restore it from a copy") from None


GRACE: Final = timedelta(days=1)
"""Objects younger than this stay, whether a release names them or not."""

SWEPT: Final = (
    *("releases/", "catalog/", "bulk/", "plan-finder/"),
    *("reports/", "quarantine/", "rows/", "memory/"),
    *(object_keys.STAGING, object_keys.DICTIONARY),
)
"""Folders with few enough keys to be held in memory. `patients/` and `directory/` have more."""

_BATCH_OBJECTS: Final = 1000
"""Objects that are deleted together."""

_HASHED_FOLDERS: Final = ("patients/", "directory/")
FOLDERS: Final = len(SWEPT) + 256 * len(_HASHED_FOLDERS)
"""Folders that a prune looks through: those two are split by the first byte of a hash."""
_DIGEST_BYTES: Final = 32
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
            put_fence(store, base)
        kept_releases, young, dropped = _select_releases(store, keep, now - older_than, now - grace)
        with tempfile.TemporaryDirectory() as folder, _KeysInUse(Path(folder)) as keys_in_use:
            _add_kept_objects(store, kept_releases, keys_in_use)
            if expiry.limits:
                expired_reports = expiry if dry_run else write_expiry(store, expiry, key)
                keys_in_use.keys -= _expired_reports(kept_releases, expired_reports)
            objects = size = 0
            unused_objects = _list_unused(store, keys_in_use, now - grace, progress)
            while batch := list(islice(unused_objects, _BATCH_OBJECTS)):
                objects += len(batch)
                size += sum(entry.size for entry in batch)
                if dry_run:
                    lease.renew()
                    continue
                lease.renew_to_delete()
                _delete_objects(store, batch, lease)
        if not dry_run:
            close_pages(store, kept_releases, now - grace)
            store.clean(now - grace)
    return PruneResult([release.id for release in kept_releases], young, dropped, objects, size)


def _delete_objects(store: Store, entries: Sequence[Entry], lease: Lease) -> None:
    """Delete objects while the lease lasts.

    Raises:
        CommitUnknown: the answer was lost. The lease stays until it runs out: a run that began now
            could come upon an object that is deleted after it.
    """

    def keys_while_leased() -> Iterator[str]:
        for entry in entries:
            lease.keep()
            yield entry.key

    try:
        store.delete(keys_while_leased())
    except CommitUnknown as error:
        lease.leave()
        raise CommitUnknown(
            f"{error}; no run can start until the lease of this prune expires, in "
            f"{LEASE_TIME.total_seconds() / 3600:g} hours ({lease.key})"
        ) from error


class _KeysInUse:
    """Keys that kept releases name: blocks and indexes on disk by hash, others in memory."""

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
            for prefix in _HASHED_FOLDERS
        }

    def __enter__(self) -> _KeysInUse:
        return self

    def __exit__(self, *_: object) -> None:
        for files in self._files.values():
            for file in files:
                file.close()

    def add(self, key: str) -> None:
        """Add the key of an object."""
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
        return {data[start : start + _DIGEST_BYTES] for start in range(0, len(data), _DIGEST_BYTES)}


def _select_releases(
    store: Store, keep: int, keep_since: datetime, grace_start: datetime
) -> tuple[list[Release], list[str], list[str]]:
    """Return kept releases, newest first, and the IDs of young and of dropped ones.

    A manifest that is too young to be deleted stays a release that can be rolled back to, so the
    objects that it names stay as well.
    """
    modified_times = {entry.key: entry.modified for entry in store.list("releases/")}
    kept: list[Release] = []
    young: list[str] = []
    dropped: list[str] = []

    def skip_release(release_id: str, reason: str) -> None:
        modified = modified_times.get(object_keys.manifest(release_id), grace_start)
        stays = len(kept) < keep or stamp_of(release_id) > keep_since or modified >= grace_start
        if stays and not dropped:
            raise StoreError(f"{reason}; nothing was deleted")
        dropped.append(release_id)

    for number, release in enumerate(lineage(store, skip_release)):
        is_kept = number < keep or instant(release.manifest.created) > keep_since
        is_young = modified_times.get(release.manifest.key, grace_start) >= grace_start
        if dropped or not (is_kept or is_young):
            dropped.append(release.id)
            continue
        kept.append(release)
        if not is_kept:
            young.append(release.id)
    return kept, young, dropped


def _add_kept_objects(store: Store, releases: Sequence[Release], used: _KeysInUse) -> None:
    """Add the keys of all objects that kept releases name."""
    shard_keys: set[str] = set()

    def new_shards() -> Iterator[Shard]:
        for release in releases:
            for shard in release.manifest.catalog:
                if shard is not None and shard.key not in shard_keys:
                    shard_keys.add(shard.key)
                    yield shard

    for release in releases:
        used.keys |= own_keys(release.manifest)
        for _, ref in release.manifest.objects():
            used.add(ref.key)

    def shard_entries(shard: Shard) -> list[CatalogEntry]:
        try:
            return parse_shard(read_verified(store, shard.key, shard.sha256), shard.key)
        except StoreError as error:
            raise StoreError(
                f"{error}: it is unknown which objects a kept release uses, so nothing "
                "was deleted; "
                "if the object is lost or damaged, restore it from a copy, or keep fewer releases"
            ) from None

    for entries in map_concurrently(store, shard_entries, new_shards()):
        for entry in entries:
            for ref in entry.objects():
                used.add(ref.key)


def own_keys(manifest: Manifest) -> set[str]:
    """Return the keys of a manifest and of its signature, time stamp and note."""
    keys = {manifest.key, object_keys.signature(manifest.release)}
    keys.add(object_keys.time_stamp(manifest.release))
    if manifest.facts.kind == "rollback":
        keys.add(object_keys.resumed(manifest.release))
    return keys


def _expired_reports(kept_releases: Sequence[Release], expiry: Expiry) -> set[str]:
    """Return the reports and quarantines that expired in every release that names them.

    Those of the first release, which readers see, never expire.
    """
    expired_keys: set[str] = set()
    kept_keys = {report.key for report in kept_releases[0].manifest.facts.reports}
    for manifest in (release.manifest for release in kept_releases[1:]):
        for report in manifest.facts.reports:
            is_expired = expiry.covers(report.key, manifest.created)
            (expired_keys if is_expired else kept_keys).add(report.key)
    return expired_keys - kept_keys


def _list_unused(
    store: Store, used: _KeysInUse, grace_start: datetime, progress: Callable[[int], None]
) -> Iterator[Entry]:
    """Yield old objects that no kept release names, folder by folder."""
    folder_count = 0
    for prefix in SWEPT:
        for entry in store.list(prefix):
            if entry.key not in used.keys and entry.modified < grace_start:
                yield entry
        folder_count += 1
        progress(folder_count)
    for prefix in _HASHED_FOLDERS:
        for bucket in range(_BUCKETS):
            digests = used.digests(prefix, bucket)
            prefixes_per_bucket = 256 // _BUCKETS
            for number in range(bucket * prefixes_per_bucket, (bucket + 1) * prefixes_per_bucket):
                for entry in store.list(f"{prefix}{number:02x}/"):
                    if entry.modified < grace_start and _key_digest(entry.key) not in digests:
                        yield entry
                folder_count += 1
                progress(folder_count)


def _key_digest(key: str) -> bytes:
    try:
        return bytes.fromhex(object_keys.digest_of(key))
    except ValueError:
        return b""  # its key holds no hash: nothing that this program wrote
