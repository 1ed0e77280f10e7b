"""The certificate of a run: blocks are read back from the target and compared with their rows."""

from __future__ import annotations

import csv
import io
import itertools
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa

from etl.certificate import certificate as certificates
from etl.certificate.comparison import Comparison, compare
from etl.certificate.published import BlockReader
from etl.certificate.source import COMPARED, Fates, places_of
from etl.certificate.sums import Sums, published_sums
from etl.certificate.timeliness import MAX_BUSINESS_DAYS, count_delays
from etl.columns.places import RowSources
from etl.errors import StoreError
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.model.tables import Table
from etl.publish.canonical_json import loads
from etl.publish.catalog import CatalogEntry
from etl.publish.diff import changed_rows
from etl.publish.kept_objects import KeptKind
from etl.publish.reader import PreviousRelease, Release, Tree, open_index
from etl.quality.check import Checked
from etl.quality.totals.limits import Verdict
from etl.sources.partition.partitions import Loaded

CERTIFICATE_FILE: Final = "certificate.json"
"""Name of the file with a unit's comparison."""
CERTIFICATE_LIMIT: Final = "certificate"
"""Name of the verdict."""

_CSV_BATCH_ROWS: Final = 4096
_CLAIM_TYPE: Final = "ExplanationOfBenefit"


@dataclass(frozen=True, slots=True)
class Certifying:
    """Parameters of the certificate: the same for all units; can be sent to another process.

    Attributes:
        states_money: whether the release has amounts.
        leaves_out: whether claims that others of their chain replace are not published.
        reusable_release: id of the release whose members may be taken over; None if none are.
        parent: id of the release that readers see; None before the first.
    """

    states_money: bool
    leaves_out: bool
    reusable_release: str | None
    parent: str | None


class PieceFiles:
    """The comparisons of a run's units, read from their files whenever they are asked for.

    Args:
        files: of each unit, name -> file of the work folder.
    """

    def __init__(self, files: Iterable[Mapping[str, Path]]) -> None:
        self._paths = [named[CERTIFICATE_FILE] for named in files if CERTIFICATE_FILE in named]

    def __iter__(self) -> Iterator[bytes]:
        return (path.read_bytes() for path in self._paths)


@dataclass(frozen=True, slots=True)
class CertifiedRows:
    """Rows of a unit as they were read, and their fates.

    Attributes:
        tables: raw canonical rows, with the columns that are compared.
        fates: by table.
        findings: of rules.
    """

    tables: Mapping[str, pa.Table]
    fates: Mapping[str, Fates]
    findings: pa.Table


def certified_rows(loaded: Loaded, checked_rows: Checked) -> CertifiedRows:
    """Return the rows of a task, with their fates."""
    rejected = checked_rows.rejected
    rejected_positions = np.stack(
        [rejected.column(name).to_numpy().astype(np.int64) for name in ("file", "row")], axis=1
    )
    rejected_tables = rejected.column("table").to_pylist()
    return CertifiedRows(
        {
            name: loaded.tables[name].select([*columns, FILE_COLUMN, ROW_COLUMN])
            for name, columns in COMPARED.items()
        },
        {
            name: Fates(
                places_of(checked_rows.tables[name]),
                rejected_positions[
                    np.array([table == name for table in rejected_tables], dtype=np.bool_)
                ],
            )
            for name in COMPARED
        },
        checked_rows.findings.select(["file", "row", "column", "rule"]),
    )


def compare_unit(
    certifying: Certifying,
    rows: CertifiedRows,
    catalog: Iterable[bytes],
    tree: Tree,
    sources: RowSources,
) -> bytes:
    """Compare a task's rows with its blocks, which are read from the target.

    Args:
        certifying: parameters of the run.
        rows: the unit's.
        catalog: lines of `PartitionResult.lines`.
        tree: the target.
        sources: the payer's rows behind the unit's, where queries computed them.
    """
    entries, parent = list(_patient_entries(catalog)), certifying.parent
    previous, visible_ids = list[CatalogEntry](), None
    if parent is not None:
        previous = list(tree.open_release(parent).units(entry.id for entry in entries).values())
        try:
            visible_ids = frozenset(_visible_claim_ids(tree, previous))
        except StoreError:  # a block is missing or damaged: earlier claims are unknown
            visible_ids = None
    comparison = compare(
        rows.tables,
        rows.fates,
        rows.findings,
        _read_blocks(tree, entries).claims(),
        states_money=certifying.states_money,
        visible_ids=visible_ids,
        leaves_out=certifying.leaves_out,
    )
    previous_sums: Sums | None = Sums()
    if certifying.reusable_release is not None:
        try:
            previous_sums = published_sums(_read_blocks(tree, previous).claims())
        except StoreError:  # missing or damaged: its replacement is published anyway
            previous_sums = None
    return certificates.encode_comparison(_locate_in_source(comparison, sources), previous_sums)


def _locate_in_source(comparison: Comparison, sources: RowSources) -> Comparison:
    """Return a comparison whose positions are rows of the payer's files."""
    if not sources.pairs.num_rows:
        return comparison

    def find_row(file: int, row: int) -> tuple[int, int]:
        files, rows = sources.named([file], [row])
        return int(files[0]), int(rows[0])

    differences = []
    for difference in comparison.differences:
        file, row = find_row(difference.file, difference.row)
        differences.append(replace(difference, file=file, row=row))
    return replace(
        comparison,
        differences=tuple(differences),
        visible=tuple((*find_row(file, row), day) for file, row, day in comparison.visible),
    )


def _visible_claim_ids(tree: Tree, entries: Iterable[CatalogEntry]) -> Iterator[str]:
    """Yield the IDs of claims that patients have or had in a release."""
    for entry in entries:
        index = open_index(tree.store, entry)
        for row in index.types.get(_CLAIM_TYPE, range(0)):
            yield index.ids[row]
        yield from (deleted.id for deleted in index.deleted if deleted.type == _CLAIM_TYPE)


def _patient_entries(catalog: Iterable[bytes]) -> Iterator[CatalogEntry]:
    """Parse the catalog entries that have a block."""
    for line in catalog:
        value = loads(line, "a row of the catalog")
        if "block" in value:
            yield msgspec.convert(value, CatalogEntry)


def _read_blocks(tree: Tree, entries: Iterable[CatalogEntry]) -> BlockReader:
    reader = BlockReader()
    for entry in entries:
        if entry.block is not None:
            reader.read_block(tree.read_block(entry.block))
    return reader


def certify(
    pieces: Iterable[bytes], previous: PreviousRelease, staged: Release, reused_count: int
) -> certificates.Certificate:
    """Return the certificate of a written release.

    Args:
        pieces: the comparisons of its units.
        previous: the release that it follows.
        staged: the release.
        reused_count: how many patients' blocks are taken over from the one before.
    """
    certificate, previous_sums = certificates.merge_comparisons(pieces)
    if previous.release is None:
        return certificate
    state = previous.read(STATE)
    earlier = Counter() if state is None else state[1]
    if not reused_count:
        return certificate.with_carried_sums(Sums(), earlier)
    if state is not None and previous_sums is not None:
        try:
            removed_patients = _removed_patients(previous.release, staged)
            removed = published_sums(_read_blocks(staged.tree, removed_patients).claims())
            return certificate.with_carried_sums(state[0] - removed - previous_sums, earlier)
        except StoreError:
            pass  # a block of the release before is lost or damaged
    # Without a usable previous state, read all blocks of the new release.
    all_sums = published_sums(_read_blocks(staged.tree, staged.all_units()).claims())
    return certificate.with_carried_sums(all_sums - certificate.read, earlier)


def _parse_state(data: bytes, label: str) -> tuple[Sums, Counter[int]] | None:
    """Parse the sums and delays of a release; None for those of another format.

    Raises:
        StoreError: the bytes are damaged.
    """
    try:
        return certificates.state_from(data)
    except (ValueError, KeyError, TypeError):
        raise StoreError(f"{label} is damaged; run verify") from None


STATE: Final = KeptKind(".certificate", _parse_state)
"""The state from which the certificate of the next release continues."""


def _removed_patients(previous: Release, following: Release) -> Iterator[CatalogEntry]:
    """Yield the patients whose block the next release no longer has."""
    for old, new in changed_rows(previous, following):
        if old is not None and old.block is not None and (new is None or new.block is None):
            yield old


def verdict(
    certificate: certificates.Certificate,
    published: Mapping[str, int],
    files: Sequence[str],
    allowed: Decimal,
) -> Verdict:
    """Decide whether the certificate allows a release to be published.

    No setting allows a difference that would show somebody what isn't theirs.

    Args:
        certificate: its certificate.
        published: table -> rows that the run counted as published.
        files: names of the extract's files.
        allowed: highest number of differences.
    """
    sums = certificates.broken_sums(certificate)
    sums += [
        f"{level}.{category} of {files[file] if file >= 0 else 'no file'}"
        for file, level, category in certificates.broken_files(certificate)
    ]
    tables = certificates.miscounted_tables(certificate, published)
    differences = certificate.unexplained + len(sums) + len(tables)
    first = certificate.first
    text = "the published bytes match the source"
    if differences:
        text = (
            f"{certificate.unexplained:,} of {certificate.facts:,} facts of the published bytes "
            "differ from the source"
        )
        if first is not None:
            location = f"{files[first.file]}, row {first.row}" if first.row else "without a row"
            text += f" (first: {first.table}, {first.fact}, {location})"
        if sums:
            text += f"; sums that differ: {', '.join(sums)}"
        if tables:
            text += f"; counts that differ: {', '.join(tables)}"
        text += f"; at most {allowed} differences are allowed"
    if certificate.exposing:
        text += (
            f". Of these, {certificate.exposing:,} would show data to somebody whose data it isn't"
        )
    return Verdict(
        CERTIFICATE_LIMIT,
        str(allowed),
        str(differences),
        holds=differences <= allowed and not certificate.exposing,
        sentence=text,
        is_setting=not certificate.exposing,
    )


def public_verdict(
    staged: Release, tables: Mapping[str, Table], published: Mapping[str, int], allowed: Decimal
) -> Verdict:
    """Decide whether a release without members has each accepted row exactly once.

    Args:
        staged: the release, whose blocks are read back.
        tables: of its data model.
        published: table -> rows that the run counted as published.

    Raises:
        StoreError: a block is missing or damaged.
    """
    from etl.certificate.resource_counts import resource_counts

    counts = resource_counts(staged.directory_blocks(), tables)
    mistakes = counts.differing(published)
    if counts.doubled:
        mistakes.append(f"{counts.doubled:,} of {counts.resources:,} resources are published twice")
    text = f"the published bytes contain every accepted row: {counts.resources:,} resources"
    if mistakes:
        text = f"the published bytes differ from the accepted rows: {'; '.join(mistakes)}"
    count = len(mistakes)
    return Verdict(CERTIFICATE_LIMIT, str(allowed), str(count), count <= allowed, text)


def differences_csv(pieces: Iterable[bytes], files: Sequence[str]) -> Iterator[bytes]:
    """Yield every difference as gzipped CSV: position, fact, and reason; no amounts.

    Args:
        pieces: the comparisons of the run's units.
        files: names of the extract's files.
    """
    rows = (
        (
            *((files[difference.file], difference.row) if difference.file >= 0 else ("", "")),
            difference.table,
            difference.fact,
            difference.reason,
        )
        for difference in certificates.listed_differences(pieces)
    )
    return _gzip_csv(("file", "row", "table", "fact", "reason"), rows)


def late_csv(pieces: Iterable[bytes], files: Sequence[str], visible_day: date) -> Iterator[bytes]:
    """Yield the claims that become visible late, as gzipped CSV.

    Args:
        pieces: the comparisons of the run's units.
        files: names of the extract's files.
        visible_day: the day on which they become visible, UTC.
    """
    count_days = cache(lambda day: max(count_delays({day: 1}, visible_day)))
    rows = (
        (files[file], row, count_days(day))
        for file, row, day in certificates.visible_claims(pieces)
        if count_days(day) > MAX_BUSINESS_DAYS
    )
    return _gzip_csv(("file", "row", "business_days"), rows)


def _gzip_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[bytes]:
    """Yield gzipped CSV in batches; without a time stamp, so bytes are reproducible."""
    compressor = zlib.compressobj(wbits=31)
    remaining_rows = itertools.chain([header], rows)
    while batch := list(itertools.islice(remaining_rows, _CSV_BATCH_ROWS)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(batch)
        yield compressor.compress(text.getvalue().encode())
    yield compressor.flush()
