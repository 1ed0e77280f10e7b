"""What the commands do to a tree, in the order in which they do it, with tiny made-up patients.

They are `etl.bootstrap.use_cases` and `etl.pipeline.run` without an extract to read and map:
the same functions of `etl.publish`, called in the same order.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from etl.errors import CommitUnknown, EtlError, StoreError, UsageError
from etl.publish import damaged_objects, history, lease, partition_writer, release
from etl.publish import prune as pruning
from etl.publish.block import PatientResources
from etl.publish.bulk import with_bulk
from etl.publish.bulk_files import BulkOptions
from etl.publish.bulk_pages import write_pages
from etl.publish.directory import write_directory
from etl.publish.kept_objects import ObjectRef
from etl.publish.manifest import Kind, ReleaseFacts
from etl.publish.verify import require_intact
from tests.simulation.disk import Disk, store_of
from tests.simulation.watcher import Content, Watcher
from tests.unit.publish.samples import claim, logical_id, payer, resource

NAMES = tuple(f"member-{number}" for number in range(5))


@dataclass
class Extract:
    """What a run is given; a run that failed is given it again.

    Attributes:
        number: makes its files' hash.
        kind: everything there is, or what changed.
        members: member -> version of what there is of him; 0 where there is nothing.
        directory: practitioners.
        created: instant of the first attempt, which those after it on its machine take; empty
            before.
        suites: whether the report has the suites as well; another attempt may leave them out.
        busy: whether an attempt is at work. Another machine may be at the same extract.
    """

    number: int
    kind: Kind
    members: Mapping[str, int]
    directory: frozenset[str]
    created: str = ""
    suites: bool = False
    busy: bool = False

    @property
    def facts(self):
        """What the manifest says of it."""
        digest = hashlib.sha256(str(self.number).encode()).hexdigest()
        return ReleaseFacts(self.kind, inputs=[{"name": "claim.csv", "sha256": digest}])


@dataclass
class Tree:
    """A published tree with all that works on it.

    Attributes:
        disk: what it holds.
        kind: `folder` or `bucket`.
        watcher: its model.
        bulk: how bulk files are made; None to make none.
        states: release id -> member -> version, and practitioners.
    """

    disk: Disk
    kind: str
    watcher: Watcher
    bulk: BulkOptions | None
    states: dict[str, tuple[Mapping[str, int], frozenset[str]]] = field(default_factory=dict)

    def store(self, process):
        """Return a process's own way to it."""
        return store_of(self.kind, self.disk, process)


@lru_cache(maxsize=1000)
def _patient(name, version):
    """Return a member; the same version is the same bytes whenever it is published."""
    stamp = f"2026-01-0{version}T00:00:00Z"
    coverage = resource(
        "Coverage",
        f"{name}-coverage",
        last_updated=stamp,
        beneficiary={"reference": f"Patient/{logical_id(name)}"},
    )
    claims = [
        claim(name, number, "2026-01-01", amount=f"{version}.0{number}", last_updated=stamp)
        for number in range(1 + version % 2)
    ]
    first = resource("Patient", name, last_updated=stamp)
    return PatientResources(logical_id(name), [first, coverage, *claims])


@lru_cache(maxsize=100)
def _practitioner(name):
    return resource("Practitioner", name)


@lru_cache(maxsize=1)
def _payer():
    return payer()


def content_of(members, directory):
    """Return what readers have to find, by the names that the schedule uses."""
    patients = {
        logical_id(name): tuple(f"{version}.0{number}" for number in range(1 + version % 2))
        for name, version in members.items()
        if version
    }
    return Content(patients, frozenset(logical_id(name) for name in ("payer", *directory)))


def run(tree, extract):
    """Return a job that publishes an extract."""
    if extract.busy:
        extract = replace(extract, created="")
    extract.busy = True

    def job(process, store):
        with lease.run_lease(store, process.clock) as held:
            base = damaged_objects.open_checked(store, repair=False)
            if history.holds(store, base.release):
                return "a rollback holds"
            if not base.lost_objects and release.is_published(base, extract.facts):
                if tree.bulk is not None:
                    write_pages(store, tree.bulk)
                store.sync()
                tree.watcher.promise(base.release.id, process.name)
                return f"published already: {base.release.id}"
            manifest, base = _staged(tree, extract, process, store, base, held)
            _commit(tree, process, store, manifest, base, held)
            if tree.bulk is not None:
                write_pages(store, tree.bulk)
            return f"published {manifest.release}"

    def alone(process):
        try:
            return _command(tree, job)(process)
        finally:
            extract.busy = False

    return alone


def _staged(tree, extract, process, store, base, held):
    """Write all of a release but its manifest."""
    extract.created = extract.created or f"{process.clock():%Y-%m-%dT%H:%M:%SZ}"
    now = extract.created
    before = {}
    if extract.kind != "full":
        if base.release is None:
            raise UsageError("there is nothing that a delta can change")
        before = tree.states[tree.watcher.made_by_run(base.release.id)][0]
    members = {name: version for name, version in {**before, **extract.members}.items() if version}
    changed = [
        _patient(name, version)
        for name, version in members.items()
        if before.get(name) != version or logical_id(name) in base.lost_objects.patients
    ]
    same = [
        logical_id(name)
        for name in members
        if logical_id(name) not in {one.patient_id for one in changed}
    ]
    parts = []
    for part in (changed[::2], changed[1::2]):
        units = base.release.units(one.patient_id for one in part) if base.release else {}
        parts.append(
            partition_writer.write_partition(
                store, units, part, now, lost_ids=base.lost_objects.patients
            )
        )
        held.renew()
    parts[0] = parts[0].keeping(same)
    directory = [_payer(), *map(_practitioner, sorted(extract.directory))]
    shared = write_directory(store, base.release, directory, now, lost=base.lost_objects)
    manifest = release.assemble(store, base, parts, shared, extract.facts, now)
    if tree.bulk is not None:
        manifest = with_bulk(store, base, manifest, tree.bulk)
    tree.states[manifest.release] = (members, extract.directory)
    tree.watcher.expected[manifest.release] = content_of(members, extract.directory)
    reports, base = _reports(extract, store, manifest.release, base)
    return manifest.with_reports(reports), base


def _reports(extract, store, name, base):
    """Store a report, as `nightly` does."""
    key, data = f"reports/{name}/report.json", b'{"suites":%d}' % extract.suites
    base = release.put_named(store, key, data, base)
    return [ObjectRef(key, hashlib.sha256(data).hexdigest(), len(data))], base


def _commit(tree, process, store, manifest, base, held):
    try:
        release.commit(store, manifest, base, held)
    except CommitUnknown:
        raise
    except StoreError:
        tree.watcher.deny(manifest.release, process.name)
        raise
    tree.watcher.promise(manifest.release, process.name)


def roll_back(tree, back):
    """Return a job that goes back some releases; with 0, once more to where one went before."""

    def job(process, store):
        with lease.run_lease(store, process.clock) as held:
            there = list(history.lineage(store))
            if len(there) <= back:
                return "there is no such release"
            name = there[back].id if back else there[0].manifest.rolled_back_to
            to = history.find_release(store, name or there[0].id)
            require_intact(to)
            now = f"{process.clock():%Y-%m-%dT%H:%M:%SZ}"
            manifest = history.rollback(store, to, now, tree.bulk, lease=held)
            tree.watcher.hold(manifest.release, to.id, process.name)
            if manifest.bulk:
                write_pages(store, tree.bulk)
            return f"rolled back to {to.id}: {manifest.release}"

    return _command(tree, job)


def resume(tree):
    """Return a job that lets runs follow a rollback."""

    def job(process, store):
        with lease.run_lease(store, process.clock):
            now = f"{process.clock():%Y-%m-%dT%H:%M:%SZ}"
            return f"resumed {history.resume(store, now)}"

    return _command(tree, job)


def prune(tree, keep, grace=pruning.GRACE):
    """Return a job that drops old releases."""

    def job(process, store):
        there = tree.watcher.kept()
        done = pruning.prune(store, process.clock, keep=keep, grace=grace)
        tree.watcher.must_keep(there, keep, process.name)
        return f"pruned {done.objects} objects, {len(done.dropped)} releases"

    return _command(tree, job)


def _command(tree, job):
    def whole(process):
        try:
            return job(process, tree.store(process))
        except EtlError as error:
            return f"{type(error).__name__}: {error}"

    return whole
