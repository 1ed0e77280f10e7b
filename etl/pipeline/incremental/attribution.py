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
from etl.engine.element_counts import count_element_sets
from etl.engine.evaluate import Values
from etl.engine.unmapped import Mention, mentioning_rows, mentions
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.pipeline.incremental.dependencies import (
    Dependencies,
    OwnedRows,
    latest_days,
    looked_up_ids,
    looked_up_names,
)
from etl.pipeline.incremental.ledger import RULES, SCHEMAS, Ledger, Places
from etl.pipeline.partition.mapping import REFERENCE, Mapped, PlanResources, reference_of
from etl.pipeline.partition.providers import Providers
from etl.quality.check import Checked
from etl.quality.totals.by_member import RowOwners, sum_counts
from etl.quality.totals.counts import CountsDoNotAddUp
from etl.sources.partition.ids import GlobalKeys
from etl.sources.partition.partitions import Loaded


def owners_of(positions: Places, member_hashes: Hashes) -> RowOwners:
    """Return the owners of the rows of some members, by ascending hash."""
    is_selected = among(positions.owner, member_hashes)
    ids, codes = np.unique(positions.owner[is_selected], return_inverse=True)
    return RowOwners(ids, positions.keys[is_selected], codes.astype(np.int64))


@dataclass
class Attribution:
    """Records the member of each resource, plan by plan.

    Attributes:
        owners: the members of the rows.
        positions: the places of all rows of the partition.
        providers: the directory.
    """

    owners: RowOwners
    positions: Places
    providers: Providers
    _made: list[tuple[PlanResources, Any]] = field(default_factory=list)
    _naming: list[tuple[PlanResources, Any, Any]] = field(default_factory=list)
    _named: set[tuple[int, Mention]] = field(default_factory=set)

    def begin(self) -> None:
        """Clear the record, because the plans run again."""
        self._made.clear()
        self._naming.clear()
        self._named.clear()

    def take(self, plan_resources: PlanResources, values: Values) -> None:
        """Record the resources that a plan made, and their unknown mentions."""
        table = plan_resources.partition.tables.get(plan_resources.plan.table)
        if table is None or not table.num_rows:
            return
        codes = self.owners.codes_of(
            table.column(FILE_COLUMN).to_numpy(zero_copy_only=False),
            table.column(ROW_COLUMN).to_numpy(zero_copy_only=False),
        )
        self._made.append((plan_resources, codes))
        missing = frozenset(
            mention for mention in mentions(values) if not self.providers.holds(mention)
        )
        if missing:
            mention_rows = mentioning_rows(values, missing)
            self._named |= {(int(codes[row]), mention) for row, mention in mention_rows}
            rows = np.unique(np.array([row for row, _ in mention_rows], dtype=np.int64))
            self._naming.append((plan_resources, codes, rows))

    def ledger(
        self,
        loaded: Loaded,
        checked: Checked,
        mapped: Mapped,
        dependencies: Dependencies,
        keys: GlobalKeys,
    ) -> Ledger | None:
        """Return the results of a partition by member.

        Members whose results depend on other members' rows are left out: members that share a
        claim, coverage or patient, or refer to another member's claim or coverage.

        Args:
            loaded: the rows.
            checked: the result of the rules, with shares.
            mapped: the result of the mappings.
            dependencies: which columns refer to something outside a member's rows.
            keys: IDs of all partitions.

        Returns:
            The ledger; None if it would be incomplete, so that nothing may be reused: a result
            belongs to no member, or mappings read directory columns whose changes are not detected.

        Raises:
            CountsDoNotAddUp: the members' shares are not the whole (a bug).
        """
        owners, member_shares, positions = self.owners, checked.shares, self.positions
        findings = {RULES: checked.findings, **mapped.unmapped}
        if member_shares is None or any(
            table.column("row").null_count or table.column("file").null_count
            for table in findings.values()
        ):
            return None
        if not all(dependencies.covers(partition) for _, _, partition in mapped.plan_resources):
            return None
        if dict(checked.counts) != sum_counts(member_shares.counts):
            raise CountsDoNotAddUp("what members have is not what their partition has (a bug)")
        rows = OwnedRows((loaded.tables, checked.tables), owners)
        owner_digests = positions.marks.filter(
            pa.array(among(positions.marks.column("owner").to_numpy(), owners.ids))
        )
        latest_days_column = pa.array(latest_days(dependencies, loaded.tables, owners), pa.int32())
        ledger = {
            "owners": owner_digests.append_column("latest", latest_days_column),
            "patients": self._patients(),
            "counts": member_shares.counts,
            "money": member_shares.money,
            "filled": member_shares.filled,
            "findings": _ledger_findings(findings, positions),
            "rejected": _rejected_rows(checked.rejected, positions),
            "resources": self._resources(),
            "elements": self._elements(),
            "missing": self.missing,
            "asked": looked_up_ids(dependencies, rows, keys),
            "names": looked_up_names(dependencies, rows),
        }
        return _drop_dependent_members(
            {name: ledger[name].cast(schema) for name, schema in SCHEMAS.items()}, keys
        )

    def _resources(self) -> pa.Table:
        """Return `owner`, `type`, `count`."""
        tables = [SCHEMAS["resources"].empty_table()]
        counts: dict[str, Any] = {}
        for plan_resources, codes in self._made:
            zeros = np.zeros(len(self.owners.ids), np.int64)
            type_counts = counts.setdefault(plan_resources.plan.resource, zeros)
            for run in plan_resources.runs:
                type_counts += np.bincount(codes[run.rows], minlength=len(type_counts))
        for name, type_counts in sorted(counts.items()):
            positions = np.flatnonzero(type_counts)
            types = pa.array([name] * len(positions), pa.string()).dictionary_encode()
            tables.append(
                pa.Table.from_arrays(
                    [pa.array(self.owners.ids[positions]), types, pa.array(type_counts[positions])],
                    schema=SCHEMAS["resources"],
                )
            )
        return pa.concat_tables(tables)

    def _elements(self) -> pa.Table:
        """Return `owner`, `pattern`, `count`."""
        tables = [SCHEMAS["elements"].empty_table()]
        for plan_resources, codes in self._made:
            if not plan_resources.runs or not plan_resources.runs[0].filled.shape[1]:
                continue
            is_filled = np.concatenate([run.filled for run in plan_resources.runs])
            owners = codes[np.concatenate([run.rows for run in plan_resources.runs])]
            names, numbers, owner_numbers, counts = count_element_sets(
                plan_resources.plan.profile, is_filled, owners
            )
            patterns = pa.DictionaryArray.from_arrays(
                pa.array(numbers, pa.int32()), pa.array(names, pa.string())
            )
            columns = [
                pa.array(self.owners.ids[owner_numbers]),
                patterns,
                pa.array(counts, pa.int64()),
            ]
            tables.append(pa.Table.from_arrays(columns, schema=SCHEMAS["elements"]))
        return pa.concat_tables(tables)

    def _patients(self) -> pa.Table:
        """Return `owner`, `patient`, `own`: the blocks with each member's resources."""
        tables = [SCHEMAS["patients"].empty_table()]
        for plan_resources, codes in self._made:
            for run in plan_resources.runs:
                owner = pa.array(self.owners.ids[codes[run.rows]], pa.uint64())
                is_own = pa.repeat(plan_resources.plan.resource == "Patient", len(owner))
                pairs = pa.table([owner, run.compartments, is_own], schema=SCHEMAS["patients"])
                tables.append(_distinct_pairs(pairs))
        return _distinct_pairs(pa.concat_tables(tables))

    @cached_property
    def missing(self) -> pa.Table:
        """Mentions of resources without a row: `owner`, `resource`, `key`, `payer`."""
        environment, mentions_by_owner = self.providers.environment, self._named
        by_reference: dict[bytes, set[tuple[int, Mention]]] = {}
        for owner, mention in mentions_by_owner:
            reference = reference_of(mention, environment)
            by_reference.setdefault(reference.encode(), set()).add((owner, mention))
        used_references = self._find_references(by_reference.keys())
        missing_rows = sorted(
            (int(self.owners.ids[owner]), mention.resource, mention.key, mention.payer)
            for reference, owner_mentions in by_reference.items()
            for owner, mention in owner_mentions
            if (owner, reference) in used_references
        )
        columns = list(zip(*missing_rows, strict=True)) if missing_rows else [()] * 4
        arrays = [
            pa.array(columns[0], pa.uint64()),
            pa.array(columns[1], pa.string()).dictionary_encode(),
            pa.array(columns[2], pa.string()),
            pa.array(columns[3], pa.bool_()),
        ]
        return pa.Table.from_arrays(arrays, schema=SCHEMAS["missing"])

    def _find_references(self, references_to_find: Collection[bytes]) -> set[tuple[int, bytes]]:
        """Return owners and references of resources made from rows that mention them."""
        references: set[tuple[int, bytes]] = set()
        for plan_resources, codes, naming_rows in self._naming:
            for run in plan_resources.runs:
                is_naming = np.isin(run.rows, naming_rows)
                members, bodies = codes[run.rows[is_naming]], run.bodies.filter(pa.array(is_naming))
                ends = np.cumsum(pc.binary_length(bodies).to_numpy().astype(np.int64))
                for match in REFERENCE.finditer(text_bytes(bodies).data):
                    if match[1] in references_to_find:
                        body_index = int(np.searchsorted(ends, match.start(), side="right"))
                        references.add((int(members[body_index]), match[1]))
        return references


def _distinct_pairs(pairs: pa.Table) -> pa.Table:
    with_patient = pairs.filter(pc.is_valid(pairs.column("patient")))
    grouped = with_patient.group_by(["owner", "patient"]).aggregate([("own", "any")])
    renamed = grouped.rename_columns(["owner", "patient", "own"])
    return renamed.sort_by([("owner", "ascending"), ("patient", "ascending")])


def _drop_dependent_members(ledger: Ledger, keys: GlobalKeys) -> Ledger:
    """Drop the entries of members whose results depend on other members."""
    patients = ledger["patients"]
    shared = pc.value_counts(patients.column("patient").combine_chunks())
    shared_patients = shared.field("values").filter(pc.greater(shared.field("counts"), 1))
    sharing = patients.filter(pc.is_in(patients.column("patient"), value_set=shared_patients))
    asked_ids = ledger["asked"]
    foreign = asked_ids.filter(
        pc.and_(
            asked_ids.column("there"),
            pc.not_equal(asked_ids.column("kind").cast(pa.string()), "member"),
        )
    )
    dependent = np.concatenate(
        [keys.sharers, sharing.column("owner").to_numpy(), foreign.column("owner").to_numpy()]
    )
    return {name: _drop_owners(table, dependent) for name, table in ledger.items()}


def _drop_owners(table: pa.Table, owners: Any) -> pa.Table:
    is_dropped = np.isin(table.column("owner").to_numpy(), owners)
    return table.filter(pa.array(~is_dropped)) if is_dropped.any() else table


def _ledger_findings(findings_by_name: Mapping[str, pa.Table], positions: Places) -> pa.Table:
    tables = [SCHEMAS["findings"].empty_table()]
    for crosswalk, table in sorted(findings_by_name.items()):
        ordered = table.sort_by([(name, "ascending") for name in table.column_names])
        owner, source, row = positions.find_owners(
            ordered.column("file").to_numpy(), ordered.column("row").to_numpy()
        )
        tables.append(
            pa.Table.from_arrays(
                [
                    pa.array(owner),
                    _encode_words(pa.array([crosswalk] * len(owner), pa.string())),
                    _source_column(source, positions),
                    pa.array(row),
                    *(_encode_words(ordered.column(name)) for name in ("rule", "table", "column")),
                ],
                schema=SCHEMAS["findings"],
            )
        )
    return pa.concat_tables(tables)


def _rejected_rows(table: pa.Table, positions: Places) -> pa.Table:
    owner, source, row = positions.find_owners(
        table.column("file").to_numpy(), table.column("row").to_numpy()
    )
    return pa.Table.from_arrays(
        [
            pa.array(owner),
            _source_column(source, positions),
            pa.array(row),
            *(_encode_words(table.column(name)) for name in ("table", "rule", "cause", "rules")),
        ],
        schema=SCHEMAS["rejected"],
    )


def _source_column(codes: Any, positions: Places) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(positions.sources, pa.string()))


def _encode_words(column: Any) -> Any:
    encoded = column.dictionary_encode()
    return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
