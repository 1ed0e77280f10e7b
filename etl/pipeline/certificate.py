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
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa

from etl.certificate import certificate as certificates
from etl.certificate.comparison import Compared, compare
from etl.certificate.published import BlockReader
from etl.certificate.source import COMPARED, Fates, places_of
from etl.certificate.sums import Sums, published_sums
from etl.certificate.timeliness import Newly
from etl.columns.places import RowSources
from etl.errors import StoreError
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.publish.canonical_json import loads
from etl.publish.catalog import CatalogEntry
from etl.publish.diff import changed_rows
from etl.publish.kept_objects import MEMORY, ObjectRef, put_by_content, read_verified
from etl.publish.manifest import Manifest
from etl.publish.reader import Current, Release, open_index, open_release
from etl.quality.check import Checked
from etl.quality.totals.limits import Verdict
from etl.sources.partition.partitions import Loaded
from etl.storage.parallel import mapped
from etl.storage.port import Store

CERTIFICATE_FILE: Final = "certificate.json"
"""Name of the file with a unit's comparison."""
LIMIT: Final = "certificate"
"""Name of the verdict."""

_ROWS_TOGETHER: Final = 4096
_KIND: Final = "certificate"
_CLAIM: Final = "ExplanationOfBenefit"


@dataclass(frozen=True, slots=True)
class Certifying:
    """Parameters of the certificate: the same for all units; can be sent to another process.

    Attributes:
        states_money: whether the release has amounts.
        leaves_out: whether claims that others of their chain replace are not published.
        before: id of the release whose members may be taken over; None where none are.
        parent: id of the release that readers see; None before the first.
        day: `YYYY-MM-DD`, day of the run, UTC.
    """

    states_money: bool
    leaves_out: bool
    before: str | None
    parent: str | None
    day: str


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
    """Return the rows of a unit, with their fates."""
    rejected = checked_rows.rejected
    places = np.stack(
        [rejected.column(name).to_numpy().astype(np.int64) for name in ("file", "row")], axis=1
    )
    tables = rejected.column("table").to_pylist()
    return CertifiedRows(
        {
            name: loaded.tables[name].select([*columns, FILE_COLUMN, ROW_COLUMN])
            for name, columns in COMPARED.items()
        },
        {
            name: Fates(
                places_of(checked_rows.tables[name]),
                places[np.array([table == name for table in tables], dtype=np.bool_)],
            )
            for name in COMPARED
        },
        checked_rows.findings.select(["file", "row", "column", "rule"]),
    )


def compare_unit(
    certifying: Certifying,
    rows: CertifiedRows,
    catalog: Iterable[bytes],
    store: Store,
    sources: RowSources,
) -> bytes:
    """Return the comparison of a unit's rows with its blocks, which are read from the target.

    Args:
        certifying: parameters of the run.
        rows: the unit's.
        catalog: lines of `PartitionResult.lines`.
        store: the target.
        sources: the payer's rows behind the unit's, where queries computed them.
    """
    units, parent = list(_units(catalog)), certifying.parent
    day, old, newly = date.fromisoformat(certifying.day), [], None
    if parent is not None:
        old = list(open_release(store, parent).units(unit.id for unit in units).values())
        try:
            newly = Newly(day, frozenset(_visible(store, old)))
        except StoreError:  # lost or damaged: which claims were visible before is not known
            newly = None
    compared = compare(
        rows.tables,
        rows.fates,
        rows.findings,
        _read(store, units).claims(),
        states_money=certifying.states_money,
        newly=newly,
        leaves_out=certifying.leaves_out,
    )
    before: Sums | None = Sums()
    if certifying.before is not None:
        try:
            before = published_sums(_read(store, old).claims())
        except StoreError:  # lost or damaged: what replaces it is published all the same
            before = None
    return certificates.piece(_at_sources(compared, sources), before)


def _at_sources(compared: Compared, sources: RowSources) -> Compared:
    """Return a comparison with its differences and late claims at the payer's rows."""
    if not sources.places.num_rows:
        return compared

    def named(file: int, row: int) -> tuple[int, int]:
        files, rows = sources.named([file], [row])
        return int(files[0]), int(rows[0])

    differences = []
    for difference in compared.differences:
        file, row = named(difference.file, difference.row)
        differences.append(replace(difference, file=file, row=row))
    late = tuple((*named(file, row), days) for file, row, days in compared.delays.late)
    return replace(
        compared, differences=tuple(differences), delays=replace(compared.delays, late=late)
    )


def _visible(store: Store, units: Iterable[CatalogEntry]) -> Iterator[str]:
    """Yield the ids of claims that a release has or had of some patients."""
    for unit in units:
        index = open_index(store, unit)
        for row in index.types.get(_CLAIM, range(0)):
            yield index.ids[row]
        yield from (gone.id for gone in index.gone if gone.type == _CLAIM)


def _units(catalog: Iterable[bytes]) -> Iterator[CatalogEntry]:
    for line in catalog:
        value = loads(line, "a row of the catalog")
        if "block" in value:
            yield msgspec.convert(value, CatalogEntry)


def _read(store: Store, units: Iterable[CatalogEntry]) -> BlockReader:
    reading = BlockReader()
    for unit in units:
        if unit.block is not None:
            reading.block(read_verified(store, unit.block))
    return reading


def certify(
    pieces: Iterable[bytes], store: Store, base: Current, manifest: Manifest, kept: int
) -> certificates.Certificate:
    """Return the certificate of a release that is written.

    Args:
        pieces: the comparisons of its units.
        store: the target.
        base: the release before.
        manifest: the release.
        kept: how many patients' blocks are taken over from the one before.
    """
    made, before = certificates.compared_units(pieces)
    if base.release is None:
        return made
    state = _carried(base.release)
    earlier = Counter() if state is None else state[1]
    if not kept:
        return made.with_others(Sums(), earlier)
    after = Release(store, manifest)
    if state is not None and before is not None:
        try:
            gone = published_sums(_read(store, _gone(base.release, after)).claims())
            return made.with_others(state[0] - gone - before, earlier)
        except StoreError:
            pass  # a block of the release before is lost or damaged
    # Nothing can be carried on from: all blocks of the new release are read.
    whole = published_sums(_read(store, after.all_units()).claims())
    return made.with_others(whole - made.read, earlier)


def _carried(before: Release) -> tuple[Sums, Counter[int]] | None:
    ref = before.kept(MEMORY, f".{_KIND}")
    try:
        return (
            None
            if ref is None
            else certificates.state_from(read_verified(before.store, ref.key, ref.sha256))
        )
    except (StoreError, ValueError, KeyError, TypeError):
        return None


def _gone(before: Release, after: Release) -> Iterator[CatalogEntry]:
    """Yield the patients of a release who have no block in the next one."""
    for old, new in changed_rows(before, after):
        if old is not None and old.block is not None and (new is None or new.block is None):
            yield old


def verdict(
    made: certificates.Certificate, published: Mapping[str, int], files: Sequence[str]
) -> Verdict:
    """Return whether a release may be published.

    Args:
        made: its certificate.
        published: table -> rows that the run counted as published.
        files: names of the extract's files.
    """
    wrong = certificates.broken_sums(made)
    wrong += [
        f"{level}.{category} of {files[file] if file >= 0 else 'no file'}"
        for file, level, category in certificates.broken_files(made)
    ]
    tables = certificates.miscounted(made, published)
    differences = made.unexplained + len(wrong) + len(tables)
    first = made.first
    says = "the published bytes match the source"
    if differences:
        says = (
            f"{made.unexplained:,} of {made.facts:,} facts of the published bytes differ "
            "from the source"
        )
        if first is not None:
            where = f"{files[first.file]}, row {first.row}" if first.row else "without a row"
            says += f" (first: {first.table}, {first.fact}, {where})"
        if wrong:
            says += f"; sums that differ: {', '.join(wrong)}"
        if tables:
            says += f"; counts that differ: {', '.join(tables)}"
    return Verdict(LIMIT, "0", str(differences), not differences, says, is_setting=False)


def directory_verdict(store: Store, manifest: Manifest, published: Mapping[str, int]) -> Verdict:
    """Return whether a release of a directory may be published: its bytes hold each row once.

    Args:
        store: the target, from which all blocks are read.
        manifest: the release, which is written.
        published: table -> rows that the run counted as published.

    Raises:
        StoreError: a block is missing or damaged.
    """
    from etl.certificate.directory import directory_counts

    keys = [unit.block for unit in manifest.directory if unit is not None and unit.block]
    counts = directory_counts(mapped(store, lambda key: read_verified(store, key), keys))
    wrong = counts.differing(published)
    if counts.doubled:
        wrong.append(f"{counts.doubled:,} of {counts.resources:,} resources are published twice")
    says = f"the published bytes contain every accepted row: {counts.resources:,} resources"
    if wrong:
        says = f"the published bytes differ from the accepted rows: {'; '.join(wrong)}"
    return Verdict(LIMIT, "0", str(len(wrong)), not wrong, says, is_setting=False)


def differences_csv(pieces: Iterable[bytes], files: Sequence[str]) -> Iterator[bytes]:
    """Yield every difference as CSV in gzip: its place, the fact and the reason; no amount.

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
        for difference in certificates.differences_of(pieces)
    )
    return _zipped(("file", "row", "table", "fact", "reason"), rows)


def late_csv(pieces: Iterable[bytes], files: Sequence[str]) -> Iterator[bytes]:
    """Yield the claims that became visible late as CSV in gzip: file, row, business days.

    Args:
        pieces: the comparisons of the run's units.
        files: names of the extract's files.
    """
    rows = ((files[file], row, days) for file, row, days in certificates.late_of(pieces))
    return _zipped(("file", "row", "business_days"), rows)


def _zipped(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[bytes]:
    """Yield CSV in gzip, without a time, some thousand rows at a time."""
    packer = zlib.compressobj(wbits=31)
    left = itertools.chain([header], rows)
    while some := list(itertools.islice(left, _ROWS_TOGETHER)):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(some)
        yield packer.compress(text.getvalue().encode())
    yield packer.flush()


def write_state(store: Store, made: certificates.Certificate) -> ObjectRef:
    """Write what the next release carries on from."""
    return put_by_content(store, MEMORY, certificates.state_to_bytes(made), _KIND)
