"""The releases of a target, and rollbacks to them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from etl.errors import DamagedObject, NotFound, StoreError, UsageError
from etl.publish import object_keys
from etl.publish.bulk import with_bulk
from etl.publish.bulk_files import BulkOptions
from etl.publish.canonical_json import dumps
from etl.publish.diff import compare
from etl.publish.lease import Lease
from etl.publish.manifest import Changes, Manifest, is_named
from etl.publish.reader import LostObjects, Release, open_current
from etl.publish.release import commit, put_fence
from etl.storage.port import Store

if TYPE_CHECKING:
    from etl.publish.signatures import SigningKey

log = logging.getLogger(__name__)


def lineage(
    store: Store, lose: Callable[[str, str], None] = lambda _, why: log.warning(why)
) -> Iterator[Release]:
    """Yield the current release and its ancestors, newest first, until a pruned one.

    Manifests that were never committed are left out. A damaged manifest ends the lineage.

    Args:
        store: the target.
        lose: called for a damaged manifest with the release's ID, and the problem with its fix. By
            default, a warning is logged.
    """
    release = open_current(store).release
    count = 0
    while release is not None:
        count += 1
        yield release
        parent = release.manifest.parent
        if parent is None:
            return
        key = object_keys.manifest(parent)
        try:
            data = store.get(key)
        except NotFound:  # pruned
            return
        try:
            release = _open_verified(store, parent, data)
        except StoreError as error:
            fix = f"restore it from a copy, or drop it with `cpcds prune --keep {count}`"
            lose(parent, f"{error}; older releases cannot be reached: {fix}")
            return


def _open_verified(store: Store, release: str, data: bytes) -> Release:
    """Return the release of a manifest after checking the bytes against its ID.

    Raises:
        StoreError: the release's ID is not the hash of these bytes.
    """
    label = f"{store.name}: {object_keys.manifest(release)}"
    if not is_named(data, release, label):
        raise StoreError(f"{label} is damaged: it is not what {release} is named after")
    return Release(store, Manifest.from_bytes(data, label))


def holds(store: Store, present: Release | None) -> bool:
    """Return whether a rollback blocks further runs because nobody resumed them.

    Args:
        store: the target.
        present: the current release; None before the first one.
    """
    if present is None or present.manifest.facts.kind != "rollback":
        return False
    try:
        store.get(object_keys.resumed(present.id))
    except NotFound:
        return True
    return False


def resume(store: Store, resume_time: str) -> str | None:
    """Let runs publish after a rollback again; return its ID, or None if none blocks them.

    Args:
        store: the target.
        resume_time: FHIR instant.
    """
    present = open_current(store).release
    if present is None or not holds(store, present):
        return None
    store.put(
        object_keys.resumed(present.id),
        dumps({"format": object_keys.FORMAT, "resumed": resume_time}) + b"\n",
    )
    store.sync()
    return present.id


def find_release(store: Store, name: str) -> Release:
    """Return a committed release by its ID, a unique prefix of it, or `current`.

    Raises:
        UsageError: there is no such release, or there are several.
    """
    matching = [
        release
        for index, release in enumerate(lineage(store))
        if release.id.startswith(name) or (name == "current" and index == 0)
    ]
    matches = [release for release in matching if release.id == name] or matching
    if len(matches) == 1:
        return matches[0]
    if name == "current":
        raise UsageError(f"{store.name}: nothing has been published yet, or current.json is lost")
    problem = "there is no release" if not matches else "several releases begin with"
    raise UsageError(f"{store.name}: {problem} {name}; `cpcds releases` lists them")


def rollback(
    store: Store,
    to: Release,
    rollback_time: str,
    bulk: BulkOptions | None = None,
    reason: str = "",
    lease: Lease | None = None,
    key: SigningKey | None = None,
) -> Manifest:
    """Publish the content of an earlier release again, as a new release.

    Nothing is copied: the new release names the same objects. Its parent is the current release,
    and its changes are counted against that, so consumers that follow the chain of releases see
    everything that was taken back. If the current release is already this rollback, it stays: this
    continues an attempt that died after its commit. No run may publish until `resume` is called.

    If the current release is damaged, the changes are unknown: everything counts as added, and bulk
    consumers start again with a snapshot.

    Args:
        store: the target.
        to: the release to go back to.
        rollback_time: FHIR instant of the rollback.
        bulk: options of the bulk increment, if the tree has bulk files. The caller must then call
            `write_pages`.
        reason: the reason, for the list of releases.
        lease: the rollback's lease, which is renewed before the commit.
        key: signs the new release; None to sign nothing.

    Raises:
        UsageError: `to` is the current release.
        CommitConflict: another run published meanwhile. Nothing changed.
        CommitUnknown: the response was lost. Delete nothing.
    """
    base = open_current(store)
    present = base.release
    if present is None or present.id == to.id:
        raise UsageError(f"{store.name}: {to.id} is already the current release")
    current = present.manifest
    if current.facts.kind == "rollback" and current.facts.run["rollbackTo"] == to.id:
        store.delete([object_keys.resumed(present.id)])
        put_fence(store, base)  # a run that started after an earlier resume may still be working
        return current
    try:
        changes = compare(present, to)
    except (DamagedObject, NotFound) as error:
        log.warning(
            "%s; it is unknown what the rollback changes, so everything in release %s counts as "
            "added, and Bulk Publish starts again with a snapshot",
            str(error).removesuffix("; run verify"),
            to.id,
        )
        changes = compare(None, to)
        base = replace(base, lost_objects=LostObjects(bulk=True))  # its increments end here
    manifest = plan_rollback(present, to, changes, rollback_time, reason)
    if current.bulk:
        manifest = with_bulk(store, base, manifest, bulk)
    commit(store, manifest, base, lease, key)
    return manifest


def plan_rollback(
    present: Release, to: Release, changes: Changes, rollback_time: str, reason: str
) -> Manifest:
    """Return the manifest that `rollback` commits."""
    counts = {name: count for name, count in to.manifest.facts.run.items() if name != "reason"}
    run = {**counts, "rollbackTo": to.id, **({"reason": reason} if reason else {})}
    manifest = replace(
        to.manifest,
        release="",
        parent=present.id,
        created=rollback_time,
        facts=replace(to.manifest.facts, kind="rollback", run=run),
        bulk={},
        counts={**to.manifest.counts, "changes": changes.to_json()},
    )
    return manifest.named(present.manifest)
