"""Answers from a sidecar: the rows of files behind headers and resources, without the files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.digests import hash_ids
from etl.errors import NotFound, UsageError
from etl.mapping.plan import Plan
from etl.model.canonical_tables import HEADER_OF, TABLES
from etl.pipeline.sidecar.pieces import (
    PIECE,
    PUBLISHED,
    Sidecar,
    drop_empty,
    merge_pieces,
)
from etl.publish.catalog import CatalogEntry
from etl.publish.reader import Release
from etl.reports import lineage as lineages

_USED: Final = re.compile(rb'"reference":"((?:Coverage|Organization)/[A-Za-z0-9.-]+)"')
"""References to resources whose rows are used as well: of coverages and of organizations."""
_MEMBER_ID: Final = TABLES["member"].key[0]


_DIRECTORY_OWNER: Final = 0
"""Owner of the directory's rows."""


class _Entry(NamedTuple):
    """One entry of a piece, as `entries.SCHEMA` describes it."""

    owner: int
    claim: int | None
    table: str
    file: int
    row: int
    fate: Any
    resource: int | None
    patient: str | None
    mapping: str | None
    extract: str


class SidecarExplainer:
    """Answers about a release from its sidecar, which is read piece by piece.

    Args:
        release: the release.
        sidecar: its sidecar.
        plans: the mappings that it was made with.
    """

    def __init__(self, release: Release, sidecar: Sidecar, plans: Sequence[Plan]) -> None:
        self._release, self._sidecar = release, sidecar
        self._plans = {plan.name: plan for plan in plans}
        self._entries_by_owner: dict[int, list[_Entry]] = {}

    def explain(self, subject: lineages.Subject) -> lineages.Lineage:
        """Return the rows of a resource, or the fates of the rows of a claim or
        prior authorization, or of a row.

        Raises:
            UsageError: the sidecar does not name the subject.
            StoreError: a piece is missing or damaged.
        """
        match subject:
            case lineages.ResourceSubject():
                entries = self._find_by_hash("resource", _hash_text(str(subject)))
                resources = self._explain(entries, str(subject))
                if not resources:
                    raise UsageError(
                        f"the release keeps no row position for {subject}: a provider "
                        "that claims refer to only by id has no row, and rows in quarantine "
                        "make no resource"
                    )
                return self._lineage(subject, (), resources)
            case lineages.HeaderSubject():
                entries = [
                    entry
                    for entry in self._find_by_hash("claim", _hash_text(subject.number))
                    if HEADER_OF[entry.table] == subject.table
                ]
                if not entries:
                    raise UsageError(
                        f"the release keeps no row position for the number of {subject}"
                    )
                return self._lineage(subject, self._fates(entries), self._explain(entries))
            case lineages.RowSubject():
                entries = self._find_row(subject)
                return self._lineage(subject, self._fates(entries), self._row_resources(entries))

    def _lineage(
        self,
        subject: lineages.Subject,
        rows: tuple[lineages.RowFate, ...],
        resources: tuple[lineages.Explanation, ...],
    ) -> lineages.Lineage:
        mentioned = {(row.extract, row.file) for row in rows}
        mentioned |= {(row.extract, row.file) for resource in resources for row in resource.rows}
        files = [
            lineages.NamedFile(title, file.name, file.bytes, file.sha256)
            for extract_id, title in self._titles.items()
            for file in self._sidecar.extracts[extract_id].files
            if (title, file.name) in mentioned
        ]
        return lineages.Lineage(str(subject), rows, resources, "sidecar", tuple(files))

    # Entries

    def _read_pieces(self) -> Iterator[pa.Table]:
        """Yield the entries of each range of owners, and of the directory."""
        tree = self._release.tree
        by_range = groupby(self._sidecar.pieces, key=lambda piece: (piece.first, piece.end))
        for _, pieces in by_range:
            yield drop_empty(merge_pieces([tree.read(PIECE, piece) for piece in pieces]))
        if self._sidecar.directory is not None:
            yield tree.read(PIECE, self._sidecar.directory)

    def _find_by_hash(self, column: str, value: int) -> list[_Entry]:
        """Return the entries whose column has a hash value."""
        hash_value = pa.scalar(value, pa.uint64())
        return [
            entry
            for piece in self._read_pieces()
            for entry in self._select_entries(piece, pc.equal(piece.column(column), hash_value))
        ]

    def _select_entries(self, piece: pa.Table, condition: Any) -> list[_Entry]:
        """Return matching entries of a piece; cache all entries of their owners."""
        entries = _entries(piece.filter(condition))
        for owner in {entry.owner for entry in entries} - {_DIRECTORY_OWNER}:
            has_owner = pc.equal(piece.column("owner"), pa.scalar(owner, pa.uint64()))
            self._entries_by_owner[owner] = _entries(piece.filter(has_owner))
        return entries

    def _find_row(self, subject: lineages.RowSubject) -> list[_Entry]:
        """Return the entries at a row of a file, in any extract.

        Raises:
            UsageError: no entry is at the row.
        """
        file_numbers = {
            extract_id: file_number
            for extract_id, extract in self._sidecar.extracts.items()
            for file_number, file in enumerate(extract.files)
            if file.name == subject.file
        }
        if not file_numbers:
            extracts = self._sidecar.extracts.values()
            names = sorted({file.name for extract in extracts for file in extract.files})
            raise UsageError(
                f"the release was not made from a file {subject.file}, but from {', '.join(names)}"
            )
        entries = [
            entry
            for piece in self._read_pieces()
            for entry in self._select_entries(piece, pc.equal(piece.column("row"), subject.row))
            if file_numbers.get(entry.extract) == entry.file
        ]
        if not entries:
            raise UsageError(
                f"no row of the release starts at row {subject.row} of {subject.file} (the header "
                "is row 1). If a layout combines rows, use the first of them. For an unchanged "
                "member, use the rows of the extract with the member's last change"
            )
        return entries

    def _related(self, entry: _Entry) -> list[_Entry]:
        """Return the entries of the same claim, prior authorization, member, or row."""
        entries = self._entries_by_owner.get(entry.owner, [entry])
        if entry.claim is not None:
            header = HEADER_OF[entry.table]
            return [
                other
                for other in entries
                if (HEADER_OF.get(other.table), other.claim) == (header, entry.claim)
            ]
        if TABLES[entry.table].key[0] == _MEMBER_ID:
            return [other for other in entries if TABLES[other.table].key[0] == _MEMBER_ID]
        return [other for other in entries if other[1:5] == entry[1:5]]  # claim, table, file, row

    # Lineages of entries

    @cached_property
    def _titles(self) -> Mapping[str, str]:
        """Extract ID to title; the title is empty if there is one extract."""
        extracts = self._sidecar.extracts
        if len(extracts) == 1:
            return dict.fromkeys(extracts, "")
        days = [extract.as_of for extract in extracts.values()]
        return {
            extract_id: f"extract of {extract.as_of}"
            if extract.as_of is not None and days.count(extract.as_of) == 1
            else f"extract published at {extract.read}"
            for extract_id, extract in sorted(
                self._sidecar.extracts.items(), key=lambda pair: pair[1].read
            )
        }

    def _fates(self, entries: Sequence[_Entry]) -> tuple[lineages.RowFate, ...]:
        table_order = [*TABLES]
        rows = {
            (
                entry.extract,
                table_order.index(entry.table),
                entry.file,
                entry.row,
                entry.fate,
            ): lineages.RowFate(
                self._sidecar.extracts[entry.extract].files[entry.file].name,
                entry.row,
                entry.table,
                entry.fate,
                extract=self._titles[entry.extract],
            )
            for entry in entries
        }
        return tuple(rows[key] for key in sorted(rows))

    def _row_resources(self, entries: Sequence[_Entry]) -> tuple[lineages.Explanation, ...]:
        """Return the resources that some rows contribute to."""
        resources = (
            resource for entry in entries for resource in self._explain(self._related(entry))
        )
        return tuple({resource.resource: resource for resource in resources}.values())

    def _explain(
        self, entries: Sequence[_Entry], name: str | None = None
    ) -> tuple[lineages.Explanation, ...]:
        """Return the resources that begin at some entries, with their rows.

        With a resource name, returns only that resource.
        """
        explanations = []
        for entry in entries:
            plan = self._plans.get(entry.mapping or "")
            if entry.resource is None or plan is None:
                continue
            title = name or self._resource_name(plan, entry)
            if title is None:
                continue
            rows = [row for row in self._related(entry) if row.fate == PUBLISHED]
            rows += self._referenced_rows(entry, title)
            explanations.append(
                lineages.Explanation(title, plan.profile, plan.name, (), None, self._fates(rows))
            )
        return tuple(explanations)

    def _referenced_rows(self, entry: _Entry, name: str) -> list[_Entry]:
        """Return the rows of coverages and organizations that a resource refers to."""
        try:
            if entry.patient is None:
                line = self._release.directory_resource(*name.split("/", 1))
            else:
                line = self._release.patient_resource(entry.patient, *name.split("/", 1))
        except NotFound:
            return []
        hashes = {_hash_text(reference.decode()) for reference in _USED.findall(line)}
        if entry.owner == _DIRECTORY_OWNER:
            return [
                row for reference in hashes for row in self._find_by_hash("resource", reference)
            ]
        return [row for row in self._entries_by_owner[entry.owner] if row.resource in hashes]

    def _resource_name(self, plan: Plan, entry: _Entry) -> str | None:
        """Return the `Type/id` of an entry's resource; None if it is unpublished."""
        entries: Iterable[CatalogEntry | None] = self._release.manifest.directory
        if entry.patient is not None:
            entries = [self._release.unit(entry.patient)]
        for catalog_entry in entries:
            if catalog_entry is None:
                continue
            index = self._release.index(catalog_entry)
            ids = [index.ids[row] for row in index.types.get(plan.resource, ())]
            names = [f"{plan.resource}/{logical_id}" for logical_id in ids]
            matches = np.flatnonzero(hash_ids(pa.array(names, pa.string())) == entry.resource)
            if len(matches):
                return names[int(matches[0])]
        return None


def _entries(piece: pa.Table) -> list[_Entry]:
    return [_Entry(**row) for row in piece.to_pylist()]


def _hash_text(text: str) -> int:
    return int(hash_ids(pa.array([text]))[0])
