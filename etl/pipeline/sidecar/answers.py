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
    PUBLISHED,
    Sidecar,
    all_joined,
    read_piece,
    with_rows,
)
from etl.publish.catalog import CatalogEntry
from etl.publish.reader import Release
from etl.reports import lineage as lineages

_USED: Final = re.compile(rb'"reference":"((?:Coverage|Organization)/[A-Za-z0-9.-]+)"')
"""References to resources whose rows are used as well: of coverages and of organizations."""
_MEMBER: Final = TABLES["member"].key[0]


_NOBODY: Final = 0
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
        self._of_owner: dict[int, list[_Entry]] = {}

    def explain(self, subject: lineages.Subject) -> lineages.Lineage:
        """Return the rows of a resource, or the fates of the rows of a claim or
        prior authorization, or of a row.

        Raises:
            UsageError: the sidecar does not name the subject.
            StoreError: a piece is missing or damaged.
        """
        match subject:
            case lineages.ResourceSubject():
                entries = self._matching("resource", _hash(str(subject)))
                resources = self._resources(entries, str(subject))
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
                    for entry in self._matching("claim", _hash(subject.number))
                    if HEADER_OF[entry.table] == subject.table
                ]
                if not entries:
                    raise UsageError(
                        f"the release keeps no row position for the number of {subject}"
                    )
                return self._lineage(subject, self._fates(entries), self._resources(entries))
            case lineages.RowSubject():
                entries = self._at(subject)
                return self._lineage(subject, self._fates(entries), self._of_rows(entries))

    def _lineage(
        self,
        subject: lineages.Subject,
        rows: tuple[lineages.RowFate, ...],
        resources: tuple[lineages.Explanation, ...],
    ) -> lineages.Lineage:
        named = {(row.extract, row.file) for row in rows}
        named |= {(row.extract, row.file) for resource in resources for row in resource.rows}
        files = [
            lineages.NamedFile(title, file.name, file.bytes, file.sha256)
            for mark, title in self._titles.items()
            for file in self._sidecar.extracts[mark].files
            if (title, file.name) in named
        ]
        return lineages.Lineage(str(subject), rows, resources, "sidecar", tuple(files))

    # Entries

    def _pieces(self) -> Iterator[pa.Table]:
        """Yield the entries of each range of owners, and of the directory."""
        store = self._release.store
        by_range = groupby(self._sidecar.pieces, key=lambda piece: (piece.first, piece.end))
        for _, pieces in by_range:
            yield with_rows(all_joined([read_piece(store, piece) for piece in pieces]))
        if self._sidecar.directory is not None:
            yield read_piece(store, self._sidecar.directory)

    def _matching(self, column: str, value: int) -> list[_Entry]:
        """Return the entries with a hash."""
        wanted = pa.scalar(value, pa.uint64())
        return [
            entry
            for piece in self._pieces()
            for entry in self._taken(piece, pc.equal(piece.column(column), wanted))
        ]

    def _taken(self, piece: pa.Table, where: Any) -> list[_Entry]:
        """Return some entries of a piece; all others of their members are kept beside."""
        entries = _entries(piece.filter(where))
        for owner in {entry.owner for entry in entries} - {_NOBODY}:
            is_of_owner = pc.equal(piece.column("owner"), pa.scalar(owner, pa.uint64()))
            self._of_owner[owner] = _entries(piece.filter(is_of_owner))
        return entries

    def _at(self, subject: lineages.RowSubject) -> list[_Entry]:
        """Return the entries at a row of a file, of whichever extract.

        Raises:
            UsageError: there are none.
        """
        numbers = {
            mark: number
            for mark, extract in self._sidecar.extracts.items()
            for number, file in enumerate(extract.files)
            if file.name == subject.file
        }
        if not numbers:
            extracts = self._sidecar.extracts.values()
            names = sorted({file.name for extract in extracts for file in extract.files})
            raise UsageError(
                f"the release was not made from a file {subject.file}, but from {', '.join(names)}"
            )
        entries = [
            entry
            for piece in self._pieces()
            for entry in self._taken(piece, pc.equal(piece.column("row"), subject.row))
            if numbers.get(entry.extract) == entry.file
        ]
        if not entries:
            raise UsageError(
                f"no row of the release starts at row {subject.row} of {subject.file} (the header "
                "is row 1). If a layout combines rows, use the first of them. For an unchanged "
                "member, use the rows of the extract with the member's last change"
            )
        return entries

    def _beside(self, entry: _Entry) -> list[_Entry]:
        """Return the entries of the same claim or prior authorization, member, or row."""
        others = self._of_owner.get(entry.owner, [entry])
        if entry.claim is not None:
            header = HEADER_OF[entry.table]
            return [
                other
                for other in others
                if (HEADER_OF.get(other.table), other.claim) == (header, entry.claim)
            ]
        if TABLES[entry.table].key[0] == _MEMBER:
            return [other for other in others if TABLES[other.table].key[0] == _MEMBER]
        return [other for other in others if other[1:5] == entry[1:5]]  # claim, table, file, row

    # Lineages of entries

    @cached_property
    def _titles(self) -> Mapping[str, str]:
        """Mark of an extract -> what it is called; empty where there is one only."""
        extracts = self._sidecar.extracts
        if len(extracts) == 1:
            return dict.fromkeys(extracts, "")
        days = [extract.as_of for extract in extracts.values()]
        return {
            mark: f"extract of {extract.as_of}"
            if extract.as_of is not None and days.count(extract.as_of) == 1
            else f"extract published at {extract.read}"
            for mark, extract in sorted(
                self._sidecar.extracts.items(), key=lambda pair: pair[1].read
            )
        }

    def _fates(self, entries: Sequence[_Entry]) -> tuple[lineages.RowFate, ...]:
        order = [*TABLES]
        rows = {
            (
                entry.extract,
                order.index(entry.table),
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

    def _of_rows(self, entries: Sequence[_Entry]) -> tuple[lineages.Explanation, ...]:
        """Return the resources in which some rows have a part."""
        resources = (
            resource for entry in entries for resource in self._resources(self._beside(entry))
        )
        return tuple({resource.resource: resource for resource in resources}.values())

    def _resources(
        self, entries: Sequence[_Entry], name: str | None = None
    ) -> tuple[lineages.Explanation, ...]:
        """Return the resources that begin at some entries, with their rows; of a name, that one."""
        explanations = []
        for entry in entries:
            plan = self._plans.get(entry.mapping or "")
            if entry.resource is None or plan is None:
                continue
            resource = name or self._name_of(plan, entry)
            if resource is None:
                continue
            rows = [row for row in self._beside(entry) if row.fate == PUBLISHED]
            rows += self._used(entry, resource)
            explanations.append(
                lineages.Explanation(resource, plan.profile, plan.name, (), None, self._fates(rows))
            )
        return tuple(explanations)

    def _used(self, entry: _Entry, resource: str) -> list[_Entry]:
        """Return the rows of the coverage or organization that a resource refers to."""
        try:
            if entry.patient is None:
                line = self._release.directory_resource(*resource.split("/", 1))
            else:
                line = self._release.patient_resource(entry.patient, *resource.split("/", 1))
        except NotFound:
            return []
        wanted = {_hash(name.decode()) for name in _USED.findall(line)}
        if entry.owner == _NOBODY:
            return [row for name in wanted for row in self._matching("resource", name)]
        return [row for row in self._of_owner[entry.owner] if row.resource in wanted]

    def _name_of(self, plan: Plan, entry: _Entry) -> str | None:
        """Return `Type/id` of the resource at an entry; None where it is not published."""
        units: Iterable[CatalogEntry | None] = self._release.manifest.directory
        if entry.patient is not None:
            units = [self._release.unit(entry.patient)]
        for unit in units:
            if unit is None:
                continue
            index = self._release.index(unit)
            ids = [index.ids[row] for row in index.types.get(plan.resource, ())]
            names = [f"{plan.resource}/{logical_id}" for logical_id in ids]
            same = np.flatnonzero(hash_ids(pa.array(names, pa.string())) == entry.resource)
            if len(same):
                return names[int(same[0])]
        return None


def _entries(piece: pa.Table) -> list[_Entry]:
    return [_Entry(**row) for row in piece.to_pylist()]


def _hash(text: str) -> int:
    return int(hash_ids(pa.array([text]))[0])
