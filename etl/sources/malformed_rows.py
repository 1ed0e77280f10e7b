"""Rows with too few or too many cells: which ids of theirs can be read, and what they belong to.

It cannot be decided which of their cells belongs to which column, so no cell of them is published.
But what they belong to must not be published without them, and usually that can be determined. The
cells before the place where a row breaks are where they should be; those after it are shifted by
as many columns as there are too many or too few.

* A row that is a claim, coverage or member itself: its id, where that is the first column. A
  coverage names its member as well.
* Any other row: the one known claim (else: member) of the extract, among the cells where its id
  can stand. Where none of them is known, or several are, its owner stays unknown.

The ids go into the partition of their owner, under the headers of the ids and with a mark.
`etl.sources.convert_rows` makes canonical rows of them that have a key and nothing else.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.digests import Hashes, among, hash_ids, row_digests, seed_of
from etl.model.canonical_tables import FILE_COLUMN, MEMBERLESS, ROW_COLUMN
from etl.rows import LOOSE_SCHEMA, findings_at
from etl.sources.extract import SourceFile, spill_names
from etl.sources.keys import OwnedIds
from etl.sources.layout import Layout, RawTable
from etl.sources.partition_rows import (
    HIGH_COLUMN,
    LOW_COLUMN,
    OWNER_COLUMN,
    Piece,
    partition_of,
)
from etl.sources.row_batches import csv_of_rows
from etl.sources.rule_ids import RAGGED_ROW

LookedUp = Mapping[str, Hashes]
"""Hashes of ids by `member` and `claim`, ascending."""
UNREAD: Final = "_unread"
"""Column that is filled in rows of which only the ids could be read; no header begins with `_`."""


@dataclass(frozen=True, slots=True)
class Known:
    """Ids in the readable rows of an extract.

    Attributes:
        members: their hashes, ascending.
        claims: hashes of claims, and the owner of each.
    """

    members: Hashes
    claims: OwnedIds


@dataclass(frozen=True, slots=True)
class Placed:
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
    """One unread row.

    Attributes:
        file: where it is from.
        number: of the row.
        text: the row as it was.
        ids: role -> id.
        owner: hash of the member, or of what stands for one.
        is_owned: whether its owner is known.
    """

    file: SourceFile
    number: int
    text: str
    ids: dict[str, str]
    owner: int
    is_owned: bool = False


def place_unread(
    ragged: pa.Table,
    files: Sequence[SourceFile],
    layout: Layout,
    known: Known,
    *,
    partitions: int,
    digests: bool,
) -> dict[str, Placed]:
    """Return the partitions of unread rows, by raw table.

    Args:
        ragged: the rows: `text` as it was, `_file`, `_row`; in any order.
        files: the extract's files.
        layout: what the rows would have meant.
        known: ids of the readable rows.
        partitions: how many there are.
        digests: whether every row is to have a digest.
    """
    placed = {}
    for name, rows in _rows_by_table(ragged, files):
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
        placed[name] = Placed(tuple(pieces), noted, numbers)
    return placed


def ids_looked_up(ragged: pa.Table, files: Sequence[SourceFile], layout: Layout) -> LookedUp:
    """Return which ids `place_unread` looks up.

    A `Known` that has no others places rows as one that has all ids of the extract.
    """
    found: dict[str, list[int]] = {"member": [], "claim": []}
    for name, rows in _rows_by_table(ragged, files):
        raw = layout.raw[name]
        unsure = _assign_first_ids(rows, raw, layout)
        found["claim"] += [claim for _, claim in _hashed(rows, "claim")]
        found[_role(raw)] += _hashes(text for _, text in _possible_ids(unsure, raw))
    return {role: np.unique(np.array(ids, dtype=np.uint64)) for role, ids in found.items()}


def _rows_by_table(
    ragged: pa.Table, files: Sequence[SourceFile]
) -> Iterator[tuple[str, list[_Row]]]:
    """Yield the unread rows of each raw table, in the order of files and rows."""
    tables: dict[str, list[_Row]] = {}
    nobody = int(hash_ids(pa.nulls(1, pa.string()))[0])
    ordered = ragged.sort_by([(FILE_COLUMN, "ascending"), (ROW_COLUMN, "ascending")])
    for raw_row in ordered.to_pylist():
        file = files[raw_row[FILE_COLUMN]]
        row = _Row(file, raw_row[ROW_COLUMN], raw_row["text"], {}, nobody)
        tables.setdefault(file.table, []).append(row)
    yield from sorted(tables.items())


def loose_lines(
    ragged: pa.Table,
    files: Sequence[SourceFile],
    layout: Layout,
    unowned: Mapping[str, tuple[int, ...]],
) -> pa.Table:
    """Return the claim lines among unowned rows, with their cells; `etl.rows.LOOSE_SCHEMA`.

    Args:
        ragged: rows that cannot be read: `text` as it was, `_file`, `_row`.
        files: the extract's files.
        layout: what the rows would have meant.
        unowned: file name -> numbers of rows.
    """
    lines = []
    for raw_row in ragged.to_pylist():
        file, number = files[raw_row[FILE_COLUMN]], raw_row[ROW_COLUMN]
        of_lines = layout.raw[file.table].main == "claim_line"
        if of_lines and number in unowned.get(file.name, ()):
            row = _Row(file, number, raw_row["text"], {}, 0)
            lines.append({FILE_COLUMN: file.index, ROW_COLUMN: number, "cells": _cells(row)})
    return pa.Table.from_pylist(lines, schema=LOOSE_SCHEMA)


def readable(rows: pa.Table) -> pa.Table:
    """Return the rows of a raw table that could be read."""
    if UNREAD not in rows.column_names:
        return rows
    return rows.filter(pc.is_null(rows.column(UNREAD)))


def unread(rows: pa.Table) -> pa.Table:
    """Return the rows of a raw table of which only the ids could be read."""
    if UNREAD not in rows.column_names:
        return rows.slice(0, 0)
    return rows.filter(pc.is_valid(rows.column(UNREAD)))


def _can_belong(raw: RawTable, layout: Layout) -> bool:
    """Return whether something could be published without a row of this file that it should have.

    A provider or payer of whom nothing is read is published from what claims say.
    """
    members = raw.name in layout.sources(directory=False)
    return members and raw.main not in MEMBERLESS


def _ids_of(file: SourceFile, raw: RawTable) -> dict[str, int]:
    """Return role -> place of its header in a file."""
    names = spill_names(file)
    return {role: names.index(header) for role, header in raw.ids.items() if header in names}


def _names_owners(file: SourceFile, raw: RawTable) -> bool:
    """Return whether the rows of a file name their owner, if only in a made column."""
    made = any(header in raw.cells.made for header in raw.ids.values())
    return made or bool(_ids_of(file, raw))


def _assign_owners(rows: Sequence[_Row], raw: RawTable, layout: Layout, known: Known) -> None:
    """Fill in the ids and owners of rows of one raw table."""
    unsure = _assign_first_ids(rows, raw, layout)
    for row, owner in _hashed(rows, "member"):
        row.owner, row.is_owned = owner, True
    claims = list(_hashed(rows, "claim"))
    owners = known.claims.owner_of(np.array([claim for _, claim in claims], dtype=np.uint64))
    for (row, _), owner in zip(claims, owners.tolist(), strict=True):
        row.owner, row.is_owned = owner, True
    _assign_known_ids(unsure, raw, known)


def _assign_first_ids(rows: Sequence[_Row], raw: RawTable, layout: Layout) -> list[_Row]:
    """Fill in the ids that stand first in rows, and return the rows that must name a known id."""
    fed = {spec.table for spec in layout.tables if spec.source == raw.name and not spec.grain}
    # A row that is merged with others is not the claim itself.
    alone = [role for role in ("claim", "coverage", "member") if role in fed]
    rest = []
    for row in rows:
        places, cells = _ids_of(row.file, raw), _cells(row)
        itself = next((role for role in alone if places.get(role) == 0), None)
        if itself is not None and cells and cells[0].strip():
            row.ids[itself] = cells[0]
        if itself == "coverage" or not alone:
            rest.append(row)
    return [row for row in rest if row.ids or not alone]


def _hashed(rows: Sequence[_Row], role: str) -> Iterator[tuple[_Row, int]]:
    """Yield the rows that have an id, and its hash."""
    named = [row for row in rows if role in row.ids]
    yield from zip(named, _hashes(row.ids[role] for row in named), strict=True)


def _role(raw: RawTable) -> str:
    """Return of which table the id is that a row must name: `claim` or `member`."""
    return "claim" if "claim" in raw.ids else "member"


def _possible_ids(rows: Sequence[_Row], raw: RawTable) -> list[tuple[_Row, str]]:
    """Return the cells of each row that may be the id which it must name."""
    ids: list[tuple[_Row, str]] = []
    for row in rows:
        place = _ids_of(row.file, raw).get(_role(raw))
        if place is not None and row.file.widths:
            cells = _shifted(row, place)
            ids += [(row, text) for text in cells if text.strip()]
        elif place is not None:
            cells = _candidates(_cells(row), place, len(row.file.columns))
            ids += [(row, text) for text in cells if text.strip()]
    return ids


def _assign_known_ids(rows: Sequence[_Row], raw: RawTable, known: Known) -> None:
    """Set for each row the one known id that can be read in it."""
    role, ids = _role(raw), _possible_ids(rows, raw)
    there = known.claims.ids if role == "claim" else known.members
    hashes = np.array(_hashes(text for _, text in ids), dtype=np.uint64)
    hits: dict[int, dict[int, str]] = {}
    for (row, text), value, is_known in zip(
        ids, hashes.tolist(), among(hashes, there).tolist(), strict=True
    ):
        if is_known:
            hits.setdefault(id(row), {})[value] = text
    for row in rows:
        choice = hits.get(id(row), {})
        if len(choice) != 1:
            row.ids.clear()
            continue
        ((value, text),) = choice.items()
        row.ids[role], row.is_owned = text, True
        owner = np.array([value], dtype=np.uint64)
        row.owner = int(known.claims.owner_of(owner)[0]) if role == "claim" else value


def _candidates(cells: Sequence[str], place: int, columns: int) -> Sequence[str]:
    """Return the cells that may belong under a header.

    Before the place where the row breaks, that is the header's own cell; after it, the cell shifted
    by the number of cells that are too many or too few. Nothing stands before the first header.
    """
    moved = place + len(cells) - columns
    if place == 0:
        moved = 0
    first, last = sorted((place, moved))
    return cells[max(first, 0) : last + 1]


def _shifted(row: _Row, place: int) -> Sequence[str]:
    """Return the cells of fixed width that may belong under a header, as of cells in `_candidates`.

    Too many or too few characters move what follows them.
    """
    widths = row.file.widths
    start, moved = sum(widths[:place]), len(row.text.rstrip("\r\n")) - sum(widths)
    starts = dict.fromkeys(at for at in (start, start + moved if place else start) if at >= 0)
    return [row.text[at : at + widths[place]] for at in starts]


def _cells(row: _Row) -> list[str]:
    """Return the cells of a row as its file is read."""
    if row.file.widths:
        starts = itertools.accumulate(row.file.widths, initial=0)
        pairs = zip(starts, row.file.widths, strict=False)
        return [row.text[at : at + width] for at, width in pairs if at < len(row.text)]
    if not row.file.quoting:
        return row.text.split(row.file.delimiter)
    lines = io.StringIO(row.text, newline="")
    with csv_of_rows():
        return next(csv.reader(lines, delimiter=row.file.delimiter), [])


def _hashes(texts: Iterable[str]) -> list[int]:
    hashes: list[int] = hash_ids(pa.array(list(texts), pa.string())).tolist()
    return hashes


def _batch(
    rows: Sequence[_Row], raw: RawTable, owners: Hashes | None, *, digests: bool
) -> pa.RecordBatch:
    """Return rows as a piece has them: ids, mark, places, owners and digests."""
    columns: dict[str, Any] = {
        header: pa.array([row.ids.get(role) for row in rows], pa.string())
        for role, header in raw.ids.items()
    }
    columns[UNREAD] = pa.array(["1"] * len(rows), pa.string())
    columns[FILE_COLUMN] = pa.array([row.file.index for row in rows], pa.int32())
    columns[ROW_COLUMN] = pa.array([row.number for row in rows], pa.int64())
    if owners is not None:
        columns[OWNER_COLUMN] = pa.array(owners)
        if digests:
            # The ids depend on other rows too, so they are part of what is compared.
            ids = [columns[header] for header in raw.ids.values()]
            text = pa.array([row.text for row in rows], pa.string())
            made = row_digests([text, *ids], seed_of(raw.name, [UNREAD, *raw.ids.values()]))
            columns |= {LOW_COLUMN: pa.array(made.low), HIGH_COLUMN: pa.array(made.high)}
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
