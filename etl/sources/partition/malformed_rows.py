"""Rows with too few or too many cells, and what they belong to.

Nobody can say which of their cells belongs to which column, so no cell of them is published. What
they belong to must not be published without them. Only ids at the head of a row are trusted:
nothing stands before them that could have moved them.

* A row that is a claim or member itself belongs to the id at its head.
* Any other row, a coverage too, belongs to the claim (else: the member) at its head, if the extract
  has that id in a row that can be read.
* Any other row is an orphan. `limits.unowned_rows` says how many a run allows for.

The ids go into the partition of their owner, under the headers of the ids and with a mark.
`etl.sources.convert.canonical_rows` makes canonical rows of them that have a key and nothing else.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from etl.columns.digests import Hashes, among, hash_ids, row_digests, seed_of
from etl.model.canonical_tables import FILE_COLUMN, MEMBERLESS, ROW_COLUMN
from etl.rows import findings_at
from etl.sources.convert.raw_rows import MALFORMED
from etl.sources.files.source_files import SourceFile, spill_names
from etl.sources.layout.model import Layout, RawTable
from etl.sources.parsing.spans import csv_of_rows
from etl.sources.partition.ids import OwnedIds
from etl.sources.partition.partition_rows import (
    HIGH_COLUMN,
    LOW_COLUMN,
    OWNER_COLUMN,
    Piece,
    partition_of,
)
from etl.sources.rule_ids import RAGGED_ROW

IdHashes = Mapping[str, Hashes]
"""Hashes of ids by `member` and `claim`, ascending."""


@dataclass(frozen=True, slots=True)
class KnownIds:
    """Ids in the readable rows of an extract.

    Attributes:
        members: their hashes, ascending.
        claims: hashes of claims, and the owner of each.
    """

    members: Hashes
    claims: OwnedIds


@dataclass(frozen=True, slots=True)
class PlacedRows:
    """Partitions of the malformed rows of a raw table.

    Attributes:
        pieces: the rows.
        findings: one a row; schema `etl.rows.FINDINGS_SCHEMA`.
        unowned: file name -> numbers of its rows that name nothing that they could belong to.
    """

    pieces: tuple[Piece, ...]
    findings: pa.Table
    unowned: Mapping[str, tuple[int, ...]]


@dataclass(slots=True)
class _Row:
    """One malformed row.

    Attributes:
        file: where it is from.
        number: of the row.
        text: the row as it was.
        ids: role -> id at the head of the row; empty for an orphan.
        owner: hash of the member, or of what stands for one.
        is_owned: whether its owner is known.
    """

    file: SourceFile
    number: int
    text: str
    ids: dict[str, str]
    owner: int
    is_owned: bool = False


def place_malformed(
    malformed: pa.Table,
    files: Sequence[SourceFile],
    layout: Layout,
    known: KnownIds,
    *,
    partitions: int,
    digests: bool,
) -> dict[str, PlacedRows]:
    """Return the partitions of malformed rows, by raw table.

    Args:
        malformed: the rows: `text` as it was, `_file`, `_row`; in any order.
        files: the extract's files.
        layout: what the rows would have meant.
        known: ids of the readable rows.
        partitions: how many there are.
        digests: whether every row is to have a digest.
    """
    placed = {}
    for name, rows in _rows_by_table(malformed, files, layout):
        raw = layout.raw[name]
        _assign_owners(rows, raw, layout, known)
        # Rows of members go into the partition of their owner, all others beside the directory.
        pieces = list[Piece]()
        of_members = [row for row in rows if _names_owners(row.file, raw)]
        of_nobody = [row for row in rows if not _names_owners(row.file, raw)]
        if of_members:
            owners = np.array([row.owner for row in of_members], dtype=np.uint64)
            batch = _batch(of_members, raw, owners, digests=digests)
            pieces.append(Piece(name, 0, batch, partition_of(owners, partitions)))
        if of_nobody:
            cut = np.full(len(of_nobody), partitions, dtype=np.int32)
            batch = _batch(of_nobody, raw, None, digests=False)
            pieces.append(Piece(name, 0, batch, cut))
        # Rows without a known owner are counted: a limit stops the run.
        unowned: dict[str, list[int]] = {}
        for row in rows:
            if not row.is_owned and _can_belong(raw, layout):
                unowned.setdefault(row.file.name, []).append(row.number)
        noted = findings_at(
            RAGGED_ROW,
            raw.main,
            pa.array([row.file.index for row in rows], pa.int32()),
            pa.array([row.number for row in rows], pa.int64()),
            None,
        )
        numbers = {file: tuple(at) for file, at in unowned.items()}
        placed[name] = PlacedRows(tuple(pieces), noted, numbers)
    return placed


def leading_ids(malformed: pa.Table, files: Sequence[SourceFile], layout: Layout) -> IdHashes:
    """Return the ids at the head of malformed rows: `place_malformed` needs to know no others."""
    found: dict[str, list[str]] = {"member": [], "claim": []}
    for _, rows in _rows_by_table(malformed, files, layout):
        for role, ids in found.items():
            ids += [row.ids[role] for row in rows if role in row.ids]
    return {role: np.unique(_hashes(ids)) for role, ids in found.items()}


def _rows_by_table(
    malformed: pa.Table, files: Sequence[SourceFile], layout: Layout
) -> Iterator[tuple[str, list[_Row]]]:
    """Yield the malformed rows of each raw table, in the order of files and rows."""
    tables: dict[str, list[_Row]] = {}
    nobody = int(hash_ids(pa.nulls(1, pa.string()))[0])
    ordered = malformed.sort_by([(FILE_COLUMN, "ascending"), (ROW_COLUMN, "ascending")])
    for raw_row in ordered.to_pylist():
        file = files[raw_row[FILE_COLUMN]]
        ids = _ids_at_head(raw_row["text"], file, layout.raw[file.table])
        row = _Row(file, raw_row[ROW_COLUMN], raw_row["text"], ids, nobody)
        tables.setdefault(file.table, []).append(row)
    yield from sorted(tables.items())


def _ids_at_head(text: str, file: SourceFile, raw: RawTable) -> dict[str, str]:
    """Return role -> id of the cells at the head of a row, up to the first that is no id."""
    roles = {header: role for role, header in raw.ids.items()}
    # The type of a record is known to be right, or the line would be no record of it.
    record = raw.lines.record if raw.lines else ()
    types = {header for condition in record for header in condition.columns}
    ids = {}
    for header, cell in zip(spill_names(file), _cells(text, file), strict=False):
        if header in roles and cell.strip():
            ids[roles[header]] = cell
        elif header not in types:
            break
    return ids


def _can_belong(raw: RawTable, layout: Layout) -> bool:
    """Return whether something could be published without a row of this file that it should have.

    A provider or payer of whom nothing is read is published from what claims say.
    """
    members = raw.name in layout.sources(directory=False)
    return members and raw.main not in MEMBERLESS


def _names_owners(file: SourceFile, raw: RawTable) -> bool:
    """Return whether the rows of a file name their owner, if only in a made column."""
    headers = {*raw.cells.made, *spill_names(file)}
    return not headers.isdisjoint(raw.ids.values())


def _assign_owners(rows: Sequence[_Row], raw: RawTable, layout: Layout, known: KnownIds) -> None:
    """Set the owners of rows of one raw table; orphans lose their ids."""
    # A row that is merged with others is not the claim or member itself.
    fed = {spec.table for spec in layout.tables if spec.source == raw.name and not spec.grain}
    parent = "claim" if "claim" in raw.ids else "member"
    owners_of: dict[str, list[_Row]] = {"member": [], "claim": []}
    for row in rows:
        first = next(iter(row.ids), None)
        itself = first if first in fed else None
        owner = parent if itself in (None, "coverage") else itself
        row.is_owned = itself == owner
        row.ids = {role: row.ids[role] for role in (itself, owner) if role in row.ids}
        if owner in row.ids:
            owners_of[owner].append(row)
    for role, named in owners_of.items():
        hashes = _hashes([row.ids[role] for row in named])
        is_known = among(hashes, known.claims.ids if role == "claim" else known.members)
        owners = known.claims.owner_of(hashes) if role == "claim" else hashes
        for row, owner, there in zip(named, owners.tolist(), is_known.tolist(), strict=True):
            row.is_owned |= there
            row.owner = owner if row.is_owned else row.owner
    for row in rows:
        if not row.is_owned:
            row.ids = {}


def _cells(text: str, file: SourceFile) -> list[str]:
    """Return the cells of a row as its file is read."""
    if file.widths:
        starts = itertools.accumulate(file.widths, initial=0)
        pairs = zip(starts, file.widths, strict=False)
        return [text[at : at + width] for at, width in pairs if at < len(text)]
    delimiter = file.form.delimiter
    if not file.form.quoting:
        return text.split(delimiter)
    with csv_of_rows():
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])


def _hashes(ids: Sequence[str]) -> Hashes:
    return hash_ids(pa.array(ids, pa.string()))


def _batch(
    rows: Sequence[_Row], raw: RawTable, owners: Hashes | None, *, digests: bool
) -> pa.RecordBatch:
    """Return rows as a piece has them: ids, mark, places, owners and digests."""
    columns: dict[str, Any] = {
        header: pa.array([row.ids.get(role) for row in rows], pa.string())
        for role, header in raw.ids.items()
    }
    columns[MALFORMED] = pa.array(["1"] * len(rows), pa.string())
    columns[FILE_COLUMN] = pa.array([row.file.index for row in rows], pa.int32())
    columns[ROW_COLUMN] = pa.array([row.number for row in rows], pa.int64())
    if owners is not None:
        columns[OWNER_COLUMN] = pa.array(owners)
        if digests:
            # The ids depend on other rows too, so they are part of what is compared.
            ids = [columns[header] for header in raw.ids.values()]
            text = pa.array([row.text for row in rows], pa.string())
            made = row_digests([text, *ids], seed_of(raw.name, [MALFORMED, *raw.ids.values()]))
            columns |= {LOW_COLUMN: pa.array(made.low), HIGH_COLUMN: pa.array(made.high)}
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
