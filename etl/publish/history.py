"""The releases of a target: which there are, and how to go back to one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from etl.errors import NotFound, StoreError, UsageError
from etl.publish import object_keys
from etl.publish.bulk import with_bulk
from etl.publish.bulk_files import BulkOptions
from etl.publish.canonical_json import dumps
from etl.publish.diff import compare
from etl.publish.lease import Lease
from etl.publish.manifest import Manifest, is_named
from etl.publish.reader import Release, open_current
from etl.publish.release import commit, fenced
from etl.storage.port import Store

if TYPE_CHECKING:
    from etl.publish.signatures import SigningKey

log = logging.getLogger(__name__)


def lineage(
    store: Store, lose: Callable[[str, str], None] = lambda _, why: log.warning(why)
) -> Iterator[Release]:
    """Yield the present release and its ancestors, newest first, as far as they were kept.

    Manifests that never were committed are left out. A damaged one ends the lineage.

    Args:
        store: the target.
        lose: called where it ends with a damaged manifest, with the id of that release, and what
            the problem and the fix are; a warning is logged unless it is given.
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
            release = _intact(store, parent, data)
        except StoreError as error:
            way = f"restore it from a copy, or drop it with `cpcds prune --keep {count}`"
            lose(parent, f"{error}; older releases cannot be reached: {way}")
            return


def _intact(store: Store, release: str, data: bytes) -> Release:
    """Return the release of a manifest's bytes, which only its id can confirm.

    Raises:
        StoreError: they are not those that the release is named after.
    """
    what = f"{store.name}: {object_keys.manifest(release)}"
    if not is_named(data, release, what):
        raise StoreError(f"{what} is damaged: it is not what {release} is named after")
    return Release(store, Manifest.from_bytes(data, what))


def holds(store: Store, present: Release | None) -> bool:
    """Return whether the present release is a rollback that was not resumed from.

    Args:
        store: the target.
        present: what readers see; None before the first release.
    """
    if present is None or present.manifest.facts.kind != "rollback":
        return False
    try:
        store.get(object_keys.resumed(present.id))
    except NotFound:
        return True
    return False


def resume(store: Store, now: str) -> str | None:
    """Let runs publish over a rollback again; return its id, or None where none holds.

    Args:
        store: the target.
        now: FHIR instant.
    """
    present = open_current(store).release
    if present is None or not holds(store, present):
        return None
    store.put(
        object_keys.resumed(present.id),
        dumps({"format": object_keys.FORMAT, "resumed": now}) + b"\n",
    )
    store.sync()
    return present.id


def find_release(store: Store, name: str) -> Release:
    """Return a committed release by its id, or by a unique beginning of it; `current` is one too.

    Raises:
        UsageError: there is no such release, or several.
    """
    matching = [
        release
        for number, release in enumerate(lineage(store))
        if release.id.startswith(name) or (name == "current" and number == 0)
    ]
    exact = [release for release in matching if release.id == name] or matching
    if len(exact) == 1:
        return exact[0]
    if name == "current":
        raise UsageError(f"{store.name}: nothing has been published yet, or current.json is lost")
    what = "there is no release" if not exact else "several releases begin with"
    raise UsageError(f"{store.name}: {what} {name}; `cpcds releases` lists them")


def rollback(
    store: Store,
    to: Release,
    now: str,
    bulk: BulkOptions | None = None,
    reason: str = "",
    lease: Lease | None = None,
    key: SigningKey | None = None,
) -> Manifest:
    """Make the content of an earlier release the present one again, as a new release.

    Nothing is copied: the new release names the same objects. Its parent is the present release,
    and its changes are counted against that, so that a consumer that follows the chain of releases
    sees everything that was taken back. Where the present release is that very rollback, it stays:
    this continues an attempt that died after its commit. It holds until `resume`: no run may
    publish over it before that.

    Args:
        store: the target.
        to: the release to go back to.
        now: FHIR instant of the rollback.
        bulk: how its bulk increment is made, where the tree has bulk files; `write_pages` is the
            caller's next call then.
        reason: why, for those who read the list of releases.
        lease: the rollback's, which is renewed before the commit.
        key: signs the new release; None to sign nothing.

    Raises:
        UsageError: it is the present release.
        CommitConflict: another run published meanwhile. Nothing changed.
        CommitUnknown: the answer was lost. Delete nothing.
    """
    base = open_current(store)
    if base.release is None or base.release.id == to.id:
        raise UsageError(f"{store.name}: {to.id} is already the current release")
    there = base.release.manifest
    if there.facts.kind == "rollback" and there.facts.run["rollbackTo"] == to.id:
        store.delete([object_keys.resumed(base.release.id)])
        fenced(store, base)  # a run may be at work that began when it was resumed
        return there
    manifest = rolled_back(base.release, to, now, reason)
    if base.release.manifest.bulk:
        manifest = with_bulk(store, base, manifest, bulk)
    commit(store, manifest, base, lease, key)
    return manifest


def rolled_back(present: Release, to: Release, now: str, reason: str = "") -> Manifest:
    """Return the manifest that `rollback` would commit."""
    changes = compare(present, to)
    counts = {name: count for name, count in to.manifest.facts.run.items() if name != "reason"}
    run = {**counts, "rollbackTo": to.id, **({"reason": reason} if reason else {})}
    manifest = replace(
        to.manifest,
        release="",
        parent=present.id,
        created=now,
        facts=replace(to.manifest.facts, kind="rollback", run=run),
        bulk={},
        counts={**to.manifest.counts, "changes": changes.to_json()},
    )
    return manifest.named(present.manifest)
