"""The suites: an optional last stage of a run, over a sample of the rows.

A suite has the same result for the same rows. So that they seldom change, the sample takes all rows
of few members (`Share`). Their digest is stored next to the results, for the next release to reuse.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from etl.errors import StoreError
from etl.pipeline.context import PartitionedExtract, RunContext, RunOptions
from etl.pipeline.incremental.cache import CachedResults
from etl.pipeline.process import ProcessedExtract
from etl.pipeline.progress import StageAdvanced, StageBegan
from etl.publish import kept_objects
from etl.publish.kept_objects import KeptKind, ObjectRef
from etl.publish.reader import Tree
from etl.quality.suites.expectations import (
    SuiteRun,
    find_stale,
    run_suite,
    run_suites,
    suite_digests,
)
from etl.quality.suites.plan import SuiteResult
from etl.quality.suites.sample import Sample, Share, SuiteRows
from etl.sources.files.listed_files import Emit

_FORMAT: Final = 2


def sample_of(read: PartitionedExtract, options: RunOptions) -> Sample | None:
    """Return the sample to take from an extract; None if no suites are run."""
    if not options.gx_rows:
        return None
    row_counts: Counter[str] = Counter()
    for file in read.partitions.facts.files:
        row_counts[file.table] += read.partitions.facts.rows_read.get(file.name, 0)
    return Sample(Share.at_most(max(row_counts.values(), default=0), options.gx_rows))


def begin_due_suites(
    context: RunContext, processed: ProcessedExtract, previous: Mapping[str, SuiteResult]
) -> None:
    """Load the suites' libraries in the background if a suite is due.

    Args:
        context: the run's context.
        processed: the extract.
        previous: result of `known_results`.
    """
    sample = sample_of(processed.read, context.options)
    if sample is not None and find_stale(suite_digests(_suite_rows(processed, sample)), previous):
        context.suites.begin()


@dataclass(frozen=True, slots=True)
class RanSuites:
    """The result of the stage.

    Attributes:
        results: of each table with sampled rows, in the order of the canonical tables.
        row_counts: table -> all its rows, without superseded ones.
    """

    results: tuple[SuiteResult, ...]
    row_counts: Mapping[str, int]


def run_stage(
    context: RunContext,
    processed: ProcessedExtract,
    sample: Sample,
    docs: Path,
    *,
    run_name: str,
    previous: Mapping[str, SuiteResult],
) -> RanSuites:
    """Run the suites over the sample of an extract, and build their Data Docs.

    Args:
        context: the run's context.
        processed: the extract; its files contain the sampled rows.
        sample: the members with rows to check.
        docs: folder for the pages.
        run_name: name of the run on the pages.
        previous: result of `known_results`.
    """
    rows = _suite_rows(processed, sample)

    def run_each(runs: Sequence[SuiteRun]) -> Iterator[SuiteResult]:
        context.emit(StageBegan("suites", len(runs)))
        for result in context.suites.run_each(_run_suite, runs, context.emit):
            context.emit(StageAdvanced(1))
            yield result

    results = run_suites(
        rows, docs, run_name=run_name, run_time=context.when, prior=previous, runner=run_each
    )
    return RanSuites(results, rows.row_counts)


def _suite_rows(processed: ProcessedExtract, sample: Sample) -> SuiteRows:
    return SuiteRows.open(
        (processed.directory_files, *processed.files),
        processed.totals.tally.counts,
        processed.definitions.book,
        sample.share,
    )


def _run_suite(run: SuiteRun, emit: Emit) -> SuiteResult:
    del emit
    return run_suite(run)


def known_results(tree: Tree, previous: CachedResults | None) -> Mapping[str, SuiteResult]:
    """Return each table's suite result of the previous release; nothing if they are lost."""
    if previous is None or previous.suites is None:
        return {}
    try:
        return tree.read(_SUITES, previous.suites)
    except StoreError:
        return {}


def write_results(tree: Tree, results: Sequence[SuiteResult]) -> ObjectRef | None:
    """Write the results of the suites for the next release; None if none were run."""
    return tree.write(_SUITES, to_bytes(results)) if results else None


class _StoredSuites(msgspec.Struct):
    format: int
    tables: tuple[SuiteResult, ...]


def to_bytes(results: Sequence[SuiteResult]) -> bytes:
    """Encode results of suites; the same results give the same bytes."""
    stored = msgspec.to_builtins(_StoredSuites(_FORMAT, tuple(results)))
    return gzip.compress(json.dumps(stored, separators=(",", ":")).encode(), mtime=0)


def from_bytes(data: bytes, label: str) -> Mapping[str, SuiteResult]:
    """Decode the result of each table's suite.

    Raises:
        StoreError: the bytes are damaged or of another format.
    """
    try:
        body = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        raise StoreError(f"{label} is damaged; run verify") from None
    stored = kept_objects.from_bytes(body, _StoredSuites, label, (_FORMAT,))
    return {result.table: result for result in stored.tables}


_SUITES: Final = KeptKind(".suites", from_bytes)
