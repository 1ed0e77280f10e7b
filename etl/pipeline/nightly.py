"""The nightly use: everything from an extract to the release that readers see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etl.pipeline.events import Emit
from etl.pipeline.job import Settled, settle
from etl.pipeline.publishing import (
    Published,
    Target,
    open_block_sink,
    publish,
    publish_directory,
)
from etl.pipeline.reading import read
from etl.pipeline.tools import MakeTools, Tools
from etl.publish.manifest import Facts
from etl.publish.reader import Current
from etl.publish.release import is_published
from etl.quality import RowCounts, enforce
from etl.sources import Extract
from etl.storage.port import Store


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run came to.

    Attributes:
        settled: the extract, worked through; None where the same was published already.
        published: the release; None where the same was published already.
        resources: FHIR type -> how many the release's input made, the directory's included.
        release: id of the release that readers see.
    """

    settled: Settled | None
    published: Published | None
    resources: Mapping[str, int]
    release: str


def run(
    extract: Extract,
    work: Path,
    target: Target,
    store: Store,
    base: Current,
    tools: Tools,
    make_tools: MakeTools,
    *,
    partition_rows: int,
    workers: int,
    sample_rows: int,
    emit: Emit,
) -> Ran:
    """Publish an extract.

    Args:
        extract: what to publish.
        work: folder for what is in progress.
        target: the store, as every process opens it.
        store: the store, open.
        base: what readers see now.
        tools: rules and mappings.
        make_tools: makes the same tools in other processes.
        partition_rows: about how many rows to a partition.
        workers: processes; 0 for one a processor.
        sample_rows: most rows of each table to keep for the suites.
        emit: takes events.

    Raises:
        DataRejected: a limit does not hold; readers see what they saw.
        StoreError: storage failed; readers see what they saw.
    """
    intended = facts_of(extract, tools, {})
    if base.release is not None and is_published(base, intended):
        counts = base.release.manifest.counts["resources"]
        return Ran(None, None, dict(counts), base.release.id)
    rows = read(extract, work, tools, partition_rows=partition_rows, emit=emit)
    settled = settle(
        rows,
        tools,
        make_tools,
        open_block_sink(rows.work, target),
        workers=workers,
        sample_rows=sample_rows,
        emit=emit,
    )
    enforce(settled.verdicts)
    directory, made = publish_directory(settled, tools, store, base, target.now)
    facts = facts_of(extract, tools, settled.totals.counts)
    published = publish(settled, directory, store, base, facts, now=target.now, emit=emit)
    resources = {**settled.totals.resources, **made}
    return Ran(settled, published, resources, published.manifest.release)


def facts_of(extract: Extract, tools: Tools, counts: Mapping[str, RowCounts]) -> Facts:
    """Return what the manifest is to say of a run."""
    inputs: list[Mapping[str, Any]] = [
        {"name": file.name, "sha256": file.sha256, "bytes": file.bytes} for file in extract.files
    ]
    return Facts(
        kind=extract.kind,
        inputs=inputs,
        mapping={
            "set": tools.mappings.name,
            "version": tools.mappings.version,
            "fingerprint": tools.fingerprint,
            "layout": extract.layout.name,
        },
        run={
            table: {
                "in": each.rows_in,
                "published": each.published,
                "quarantined": each.quarantined,
                "superseded": each.superseded,
            }
            for table, each in counts.items()
            if each.rows_in
        },
    )
