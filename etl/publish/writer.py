"""Writes a release, from its directory to the pointer that makes it visible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from etl.publish.block import Resources
from etl.publish.bulk import ParallelReading, with_bulk
from etl.publish.bulk_files import BulkOptions
from etl.publish.canonical_json import sha256
from etl.publish.directory import write_directory
from etl.publish.kept_objects import KeptKind, ObjectRef
from etl.publish.lease import Lease
from etl.publish.manifest import Manifest, ReleaseFacts
from etl.publish.partition_writer import PartitionUnits
from etl.publish.reader import PreviousRelease, Release, Tree
from etl.publish.release import assemble, commit, put_named
from etl.storage.port import Store

if TYPE_CHECKING:
    from etl.publish.signatures import SigningKey


class ReleaseWriter:
    """Writes one release on top of the previous one.

    Readers see nothing of it before `commit`, after which the writer is not used again.

    Args:
        store: the target.
        previous: the release that the new one follows.
        lease: the run's lease on the target; None if nothing prunes it.
        key: signs the release; None to sign nothing.
    """

    def __init__(
        self,
        store: Store,
        previous: PreviousRelease,
        lease: Lease | None = None,
        key: SigningKey | None = None,
    ) -> None:
        self._store, self._lease, self._key = store, lease, key
        self._previous = previous  # after a report is replaced, with the tag to commit on
        self._reports: list[ObjectRef] = []
        self._kept: list[ObjectRef] = []

    @property
    def tree(self) -> Tree:
        """The tree that the release is written to."""
        return Tree(self._store)

    def stage(
        self,
        resources: Resources,
        partitions: Sequence[PartitionUnits],
        facts: ReleaseFacts,
        times: tuple[str, str],
        advance: Callable[[int], None],
        *,
        columns: bool,
    ) -> Release:
        """Write the shared directory and the catalog; return the release without bulk files.

        Args:
            resources: of the shared directory, in any order.
            partitions: all partitions of the run.
            facts: facts about the run for the manifest.
            times: FHIR instant of the run, and that of resources that state none.
            advance: called for each catalog shard with its number of patients.
            columns: whether to write the columns of the whole directory.

        Raises: as `write_directory` and `assemble`.
        """
        store, previous, (run_time, stamp) = self._store, self._previous, times
        lost = previous.lost_objects
        directory = write_directory(
            store, previous.release, resources, run_time, stamp=stamp, lost=lost, columns=columns
        )
        return Release(
            store, assemble(store, previous, partitions, directory, facts, run_time, advance)
        )

    def write_bulk(
        self, staged: Release, options: BulkOptions, reading: ParallelReading
    ) -> Release:
        """Write the bulk files of a staged release; return it with them.

        Raises: as `with_bulk`.
        """
        manifest = with_bulk(self._store, self._previous, staged.manifest, options, reading)
        return Release(self._store, manifest)

    def write_report(self, key: str, data: bytes) -> None:
        """Write a file of the run's report.

        An attempt that died before its commit may have left another under this key. It is replaced,
        and that attempt can't commit any more (`put_named`).
        """
        self._previous = put_named(self._store, key, data, self._previous)
        self._reports.append(ObjectRef(key, sha256(data), len(data)))

    def keep(self, kind: KeptKind[Any], data: bytes, parts: Iterable[ObjectRef] = ()) -> None:
        """Keep an object for later runs.

        Args:
            kind: its kind.
            data: its bytes.
            parts: the objects that it names; they are written already.
        """
        objects = {ref.key: ObjectRef(ref.key, ref.sha256, ref.bytes) for ref in parts}
        self._kept += [self.tree.write(kind, data), *(objects[key] for key in sorted(objects))]

    def forget_kept(self) -> None:
        """Forget the reports and kept objects: all of them are written again."""
        self._reports.clear()
        self._kept.clear()

    def commit(self, manifest: Manifest) -> Manifest:
        """Make the release visible, with its reports and kept objects; return its manifest.

        Raises: as `release.commit`.
        """
        manifest = manifest.with_reports([*self._reports, *manifest.facts.reports, *self._kept])
        commit(self._store, manifest, self._previous, self._lease, self._key)
        return manifest
