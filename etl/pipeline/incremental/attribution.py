"""Attribute a partition's results to its members, as a ledger."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import text_bytes
from etl.columns.digests import Hashes, among
from etl.engine.evaluate import Values
from etl.engine.must_support import fill_patterns
from etl.engine.unmapped import Mention, mentioning_rows, mentions
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.pipeline.incremental.dependencies import (
    Dependencies,
    OwnedRows,
    ids_asked,
    latest_days,
    names_asked,
)
from etl.pipeline.incremental.ledger import RULES, SCHEMAS, Ledger, Places
from etl.pipeline.partition.mapping import REFERENCE, Mapped, PlanResources, reference_of
from etl.pipeline.partition.providers import Providers
from etl.quality.check import Checked
from etl.quality.totals.by_member import RowOwners, summed_counts
from etl.quality.totals.counts import CountsDoNotAddUp
from etl.sources.partition.ids import GlobalKeys
from etl.sources.partition.partitions import Loaded


def owners_of(places: Places, wanted: Hashes) -> RowOwners:
    """Return the owners of the rows of some members, given by ascending hashes."""
    here = among(places.owner, wanted)
    ids, codes = np.unique(places.owner[here], return_inverse=True)
    return RowOwners(ids, places.keys[here], codes.astype(np.int64))


@dataclass
class Attribution:
    """Records the member of each resource, plan by plan.

    Attributes:
        owners: the members of the rows.
        places: the places of all rows of the partition.
        providers: the directory.
    """

    owners: RowOwners
    places: Places
    providers: Providers
    _made: list[tuple[PlanResources, Any]] = field(default_factory=list)
    _naming: list[tuple[PlanResources, Any, Any]] = field(default_factory=list)
    _named: set[tuple[int, Mention]] = field(default_factory=set)

    def begin(self) -> None:
        """Clear the record: the plans run again."""
        self._made.clear()
        self._naming.clear()
        self._named.clear()

    def take(self, made: PlanResources, values: Values) -> None:
        """Record what a plan made."""
        table = made.partition.tables.get(made.plan.table)
        if table is None or not table.num_rows:
            return
        codes = self.owners.numbers_of(
            table.column(FILE_COLUMN).to_numpy(zero_copy_only=False),
            table.column(ROW_COLUMN).to_numpy(zero_copy_only=False),
        )
        self._made.append((made, codes))
        missing = frozenset(
            mention for mention in mentions(values) if not self.providers.holds(mention)
        )
        if missing:
            named = mentioning_rows(values, missing)
            self._named |= {(int(codes[row]), mention) for row, mention in named}
            rows = np.unique(np.array([row for row, _ in named], dtype=np.int64))
            self._naming.append((made, codes, rows))

    def ledger(
        self,
        loaded: Loaded,
        checked: Checked,
        made: Mapped,
        dependencies: Dependencies,
        keys: GlobalKeys,
    ) -> Ledger | None:
        """Return the results of a partition, member by member.

        Members with results that depend on rows of others are left out: those that share a claim,
        coverage or patient, or name a claim or coverage of another member.

        Args:
            loaded: the rows.
            checked: the result of the rules, with shares.
            made: what was mapped.
            dependencies: which columns refer to something outside.
            keys: ids of all partitions.

        Returns:
            The ledger; None where it would not be complete, so that nothing may be reused: where
            something belongs to no member, or columns of the directory were read in which changes
            are not detected.

        Raises:
            CountsDoNotAddUp: the members' shares are not the whole (a bug).
        """
        owners, shares, places = self.owners, checked.shares, self.places
        findings = {RULES: checked.findings, **made.unmapped}
        if shares is None or any(
            table.column("row").null_count or table.column("file").null_count
            for table in findings.values()
        ):
            return None
        if not all(dependencies.covers(partition) for _, _, partition in made.made):
            return None
        if dict(checked.counts) != summed_counts(shares.counts):
            raise CountsDoNotAddUp("what members have is not what their partition has (a bug)")
        rows = OwnedRows((loaded.tables, checked.tables), owners)
        marks = places.marks.filter(
            pa.array(among(places.marks.column("owner").to_numpy(), owners.ids))
        )
        latest = pa.array(latest_days(dependencies, loaded.tables, owners), pa.int32())
        ledger = {
            "owners": marks.append_column("latest", latest),
            "patients": self._patients(),
            "counts": shares.counts,
            "money": shares.money,
            "filled": shares.filled,
            "findings": _findings(findings, places),
            "rejected": _rejected(checked.rejected, places),
            "resources": self._resources(),
            "elements": self._elements(),
            "missing": self.missing,
            "asked": ids_asked(dependencies, rows, keys),
            "names": names_asked(dependencies, rows),
        }
        return _independent(
            {name: ledger[name].cast(schema) for name, schema in SCHEMAS.items()}, keys
        )

    def _resources(self) -> pa.Table:
        """Return `owner`, `type`, `count`."""
        parts = [SCHEMAS["resources"].empty_table()]
        counts: dict[str, Any] = {}
        for made, codes in self._made:
            nothing = np.zeros(len(self.owners.ids), np.int64)
            total = counts.setdefault(made.plan.resource, nothing)
            for run in made.runs:
                total += np.bincount(codes[run.rows], minlength=len(total))
        for name, total in sorted(counts.items()):
            positions = np.flatnonzero(total)
            words = pa.array([name] * len(positions), pa.string()).dictionary_encode()
            parts.append(
                pa.Table.from_arrays(
                    [pa.array(self.owners.ids[positions]), words, pa.array(total[positions])],
                    schema=SCHEMAS["resources"],
                )
            )
        return pa.concat_tables(parts)

    def _elements(self) -> pa.Table:
        """Return `owner`, `pattern`, `count`."""
        parts = [SCHEMAS["elements"].empty_table()]
        for made, codes in self._made:
            if not made.runs or not made.runs[0].filled.shape[1]:
                continue
            bits = np.concatenate([run.filled for run in made.runs])
            owners = codes[np.concatenate([run.rows for run in made.runs])]
            names, sets, mine, counts = fill_patterns(made.plan.profile, bits, owners)
            words = pa.DictionaryArray.from_arrays(
                pa.array(sets, pa.int32()), pa.array(names, pa.string())
            )
            columns = [pa.array(self.owners.ids[mine]), words, pa.array(counts, pa.int64())]
            parts.append(pa.Table.from_arrays(columns, schema=SCHEMAS["elements"]))
        return pa.concat_tables(parts)

    def _patients(self) -> pa.Table:
        """Return `owner`, `patient`, `own`: the blocks that each member's resources went into."""
        parts = [SCHEMAS["patients"].empty_table()]
        for made, codes in self._made:
            for run in made.runs:
                owner = pa.array(self.owners.ids[codes[run.rows]], pa.uint64())
                own = pa.repeat(made.plan.resource == "Patient", len(owner))
                pairs = pa.table([owner, run.compartments, own], schema=SCHEMAS["patients"])
                parts.append(_distinct(pairs))
        return _distinct(pa.concat_tables(parts))

    @cached_property
    def missing(self) -> pa.Table:
        """Return `owner`, `resource`, `key`, `payer` of what resources refer to and has no row."""
        environment, named = self.providers.environment, self._named
        by_reference: dict[bytes, set[tuple[int, Mention]]] = {}
        for owner, mention in named:
            reference = reference_of(mention, environment)
            by_reference.setdefault(reference.encode(), set()).add((owner, mention))
        used = self._referring(by_reference.keys())
        kept = sorted(
            (int(self.owners.ids[owner]), mention.resource, mention.key, mention.payer)
            for reference, pairs in by_reference.items()
            for owner, mention in pairs
            if (owner, reference) in used
        )
        columns = list(zip(*kept, strict=True)) if kept else [()] * 4
        arrays = [
            pa.array(columns[0], pa.uint64()),
            pa.array(columns[1], pa.string()).dictionary_encode(),
            pa.array(columns[2], pa.string()),
            pa.array(columns[3], pa.bool_()),
        ]
        return pa.Table.from_arrays(arrays, schema=SCHEMAS["missing"])

    def _referring(self, wanted: Collection[bytes]) -> set[tuple[int, bytes]]:
        """Return owners and references of resources; only rows that name them can have them."""
        references: set[tuple[int, bytes]] = set()
        for made, codes, naming in self._naming:
            for run in made.runs:
                here = np.isin(run.rows, naming)
                members, bodies = codes[run.rows[here]], run.bodies.filter(pa.array(here))
                ends = np.cumsum(pc.binary_length(bodies).to_numpy().astype(np.int64))
                for match in REFERENCE.finditer(text_bytes(bodies).data):
                    if match[1] in wanted:
                        line = int(np.searchsorted(ends, match.start(), side="right"))
                        references.add((int(members[line]), match[1]))
        return references


def _distinct(pairs: pa.Table) -> pa.Table:
    there = pairs.filter(pc.is_valid(pairs.column("patient")))
    once = there.group_by(["owner", "patient"]).aggregate([("own", "any")])
    named = once.rename_columns(["owner", "patient", "own"])
    return named.sort_by([("owner", "ascending"), ("patient", "ascending")])


def _independent(ledger: Ledger, keys: GlobalKeys) -> Ledger:
    """Return the entries of members whose results depend on no other member."""
    patients = ledger["patients"]
    shared = pc.value_counts(patients.column("patient").combine_chunks())
    twice = shared.field("values").filter(pc.greater(shared.field("counts"), 1))
    both = patients.filter(pc.is_in(patients.column("patient"), value_set=twice))
    asked_names = ledger["asked"]
    others = asked_names.filter(
        pc.and_(
            asked_names.column("there"),
            pc.not_equal(asked_names.column("kind").cast(pa.string()), "member"),
        )
    )
    entangled = np.concatenate(
        [keys.sharers, both.column("owner").to_numpy(), others.column("owner").to_numpy()]
    )
    return {name: _without(table, entangled) for name, table in ledger.items()}


def _without(table: pa.Table, owners: Any) -> pa.Table:
    theirs = np.isin(table.column("owner").to_numpy(), owners)
    return table.filter(pa.array(~theirs)) if theirs.any() else table


def _findings(findings_by_name: Mapping[str, pa.Table], places: Places) -> pa.Table:
    parts = [SCHEMAS["findings"].empty_table()]
    for crosswalk, table in sorted(findings_by_name.items()):
        ordered = table.sort_by([(name, "ascending") for name in table.column_names])
        owner, source, row = places.own(
            ordered.column("file").to_numpy(), ordered.column("row").to_numpy()
        )
        parts.append(
            pa.Table.from_arrays(
                [
                    pa.array(owner),
                    _words(pa.array([crosswalk] * len(owner), pa.string())),
                    _source(source, places),
                    pa.array(row),
                    *(_words(ordered.column(name)) for name in ("rule", "table", "column")),
                ],
                schema=SCHEMAS["findings"],
            )
        )
    return pa.concat_tables(parts)


def _rejected(table: pa.Table, places: Places) -> pa.Table:
    owner, source, row = places.own(table.column("file").to_numpy(), table.column("row").to_numpy())
    return pa.Table.from_arrays(
        [
            pa.array(owner),
            _source(source, places),
            pa.array(row),
            *(_words(table.column(name)) for name in ("table", "rule", "cause", "rules")),
        ],
        schema=SCHEMAS["rejected"],
    )


def _source(numbers: Any, places: Places) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(numbers), pa.array(places.sources, pa.string()))


def _words(column: Any) -> Any:
    encoded = column.dictionary_encode()
    return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
