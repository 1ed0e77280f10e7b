"""Whose each thing is that working on a partition found out: its outcome as a ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import text_bytes
from etl.columns.digests import Hashes, among
from etl.engine.evaluate import Values
from etl.engine.partition_columns import Partition
from etl.engine.render import Rendered
from etl.engine.unmapped import Mention, mentioned_by, mentions
from etl.mapping.plan import Plan
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.pipeline.incremental.dependencies import Questions, ids_asked, latest_days, names_asked
from etl.pipeline.incremental.ledger import RULES, SCHEMAS, Ledger, Places
from etl.pipeline.partition.providers import Providers
from etl.pipeline.partition.references import REFERENCE
from etl.quality import Checked, CountsDoNotAddUp
from etl.quality.totals.by_member import RowOwners, summed_counts, summed_money
from etl.sources import GlobalKeys, Loaded


def owners_of(places: Places, wanted: Hashes | None = None) -> RowOwners:
    """Return whose the rows of a partition are, or of some members, whose hashes are ascending."""
    keys, owner = places.keys, places.owner
    if wanted is not None:
        here = among(owner, wanted)
        keys, owner = keys[here], owner[here]
    ids, codes = np.unique(owner, return_inverse=True)
    return RowOwners(ids, keys, codes.astype(np.int64))


@dataclass
class MadeBy:
    """Takes note of whose resources are made, plan by plan.

    Attributes:
        owners: whose the rows are.
        providers: the directory.
    """

    owners: RowOwners
    providers: Providers
    _made: list[tuple[Plan, list[Rendered], Any]] = field(default_factory=list)
    _named: set[tuple[int, Mention]] = field(default_factory=set)

    def take(self, plan: Plan, values: Values, made: list[Rendered], partition: Partition) -> None:
        """Note what a plan made."""
        table = partition.tables.get(plan.table)
        if table is None or not table.num_rows:
            return
        codes = self.owners.of(
            table.column(FILE_COLUMN).to_numpy(zero_copy_only=False),
            table.column(ROW_COLUMN).to_numpy(zero_copy_only=False),
        )
        self._made.append((plan, made, codes))
        missing = frozenset(one for one in mentions(values) if not self.providers.holds(one))
        if missing:
            self._named |= mentioned_by(values, missing, codes)

    def resources(self) -> pa.Table:
        """Return `owner`, `type`, `count`."""
        parts = [SCHEMAS["resources"].empty_table()]
        counts: dict[str, Any] = {}
        for plan, made, codes in self._made:
            total = counts.setdefault(plan.resource, np.zeros(len(self.owners.ids), np.int64))
            for run in made:
                total += np.bincount(codes[run.rows], minlength=len(total))
        for name, total in sorted(counts.items()):
            at = np.flatnonzero(total)
            words = pa.array([name] * len(at), pa.string()).dictionary_encode()
            parts.append(
                pa.Table.from_arrays(
                    [pa.array(self.owners.ids[at]), words, pa.array(total[at])],
                    schema=SCHEMAS["resources"],
                )
            )
        return pa.concat_tables(parts)

    def patients(self) -> pa.Table:
        """Return `owner`, `patient`, `own`: into whose blocks each member's resources went."""
        parts = [SCHEMAS["patients"].empty_table()]
        for plan, made, codes in self._made:
            for run in made:
                owner = pa.array(self.owners.ids[codes[run.rows]], pa.uint64())
                own = pa.repeat(plan.resource == "Patient", len(owner))
                pairs = pa.table([owner, run.compartments, own], schema=SCHEMAS["patients"])
                parts.append(_once_each(pairs))
        return _once_each(pa.concat_tables(parts))

    def missing(self) -> pa.Table:
        """Return `owner`, `resource`, `key`, `payer` of what resources refer to and has no row."""
        environment, named = self.providers.environment, self._named
        by_reference: dict[bytes, set[tuple[int, Mention]]] = {}
        for owner, one in named:
            reference = f"{one.resource}/{environment.logical_id(one.resource, one.key)}"
            by_reference.setdefault(reference.encode(), set()).add((owner, one))
        used = self._referring({owner for owner, _ in named}, by_reference.keys())
        kept = sorted(
            (int(self.owners.ids[owner]), one.resource, one.key, one.payer)
            for reference, pairs in by_reference.items()
            for owner, one in pairs
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

    def _referring(self, owners: set[int], wanted: Any) -> set[tuple[int, bytes]]:
        found: set[tuple[int, bytes]] = set()
        if not owners:
            return found
        among = np.array(sorted(owners))
        for _, made, codes in self._made:
            for run in made:
                whose = codes[run.rows]
                rows = np.flatnonzero(np.isin(whose, among))
                bodies = run.bodies.take(pa.array(rows))
                ends = np.cumsum(pc.binary_length(bodies).to_numpy().astype(np.int64))
                for match in REFERENCE.finditer(text_bytes(bodies).tobytes()):
                    if match[1] in wanted:
                        at = int(np.searchsorted(ends, match.start(), side="right"))
                        found.add((int(whose[rows[at]]), match[1]))
        return found


def _once_each(pairs: pa.Table) -> pa.Table:
    there = pairs.filter(pc.is_valid(pairs.column("patient")))
    once = there.group_by(["owner", "patient"]).aggregate([("own", "any")])
    named = once.rename_columns(["owner", "patient", "own"])
    return named.sort_by([("owner", "ascending"), ("patient", "ascending")])


def ledger_of(
    loaded: Loaded,
    checked: Checked,
    unmapped: Mapping[str, pa.Table],
    missing: pa.Table,
    made: MadeBy,
    questions: Questions,
    keys: GlobalKeys,
    places: Places,
) -> Ledger | None:
    """Return what became of a partition, member by member.

    Members are left out whose outcome hangs on rows of others: who share a claim, coverage or
    patient, or name a claim or coverage that is somebody else's.

    Args:
        loaded: the rows.
        checked: what the rules said, with shares.
        unmapped: crosswalk -> cells without a code.
        missing: what `MadeBy.missing` gave.
        made: whose resources were made.
        questions: which columns ask for something outside.
        keys: ids of all partitions.
        places: of all rows of the partition.

    Returns:
        The ledger; None where something is nobody's, so that nothing may be remembered.

    Raises:
        CountsDoNotAddUp: the members' shares are not the whole (a bug).
    """
    owners, shares = made.owners, checked.shares
    found = {RULES: checked.findings, **unmapped}
    if shares is None or any(
        table.column("row").null_count or table.column("file").null_count
        for table in found.values()
    ):
        return None
    if dict(checked.counts) != summed_counts(shares.counts) or dict(checked.money) != summed_money(
        shares.money
    ):
        raise CountsDoNotAddUp("what members have is not what their partition has (a bug)")
    tables = (loaded.tables, checked.tables)
    marks = places.marks.filter(
        pa.array(among(places.marks.column("owner").to_numpy(), owners.ids))
    )
    latest = pa.array(latest_days(questions, loaded.tables, owners), pa.int32())
    ledger = {
        "owners": marks.append_column("latest", latest),
        "patients": made.patients(),
        "counts": shares.counts,
        "money": shares.money,
        "filled": shares.filled,
        "findings": _findings(found, places),
        "rejected": _rejected(checked.rejected, places),
        "resources": made.resources(),
        "missing": missing,
        "asked": ids_asked(questions, tables, owners, keys),
        "names": names_asked(questions, tables, owners),
    }
    return _alone({name: ledger[name].cast(schema) for name, schema in SCHEMAS.items()}, keys)


def _alone(ledger: Ledger, keys: GlobalKeys) -> Ledger:
    """Return the entries of members who have nothing to do with others."""
    patients = ledger["patients"]
    shared = pc.value_counts(patients.column("patient").combine_chunks())
    twice = shared.field("values").filter(pc.greater(shared.field("counts"), 1))
    both = patients.filter(pc.is_in(patients.column("patient"), value_set=twice))
    asked = ledger["asked"]
    others = asked.filter(
        pc.and_(
            asked.column("there"), pc.not_equal(asked.column("kind").cast(pa.string()), "member")
        )
    )
    entangled = np.concatenate(
        [keys.sharers, both.column("owner").to_numpy(), others.column("owner").to_numpy()]
    )
    return {
        name: table.filter(pa.array(~np.isin(table.column("owner").to_numpy(), entangled)))
        for name, table in ledger.items()
    }


def _findings(found: Mapping[str, pa.Table], places: Places) -> pa.Table:
    parts = [SCHEMAS["findings"].empty_table()]
    for crosswalk, table in sorted(found.items()):
        ordered = table.sort_by([(name, "ascending") for name in table.column_names])
        owner, source, at = places.own(
            ordered.column("file").to_numpy(), ordered.column("row").to_numpy()
        )
        parts.append(
            pa.Table.from_arrays(
                [
                    pa.array(owner),
                    _words(pa.array([crosswalk] * len(owner), pa.string())),
                    _source(source, places),
                    pa.array(at),
                    *(_words(ordered.column(name)) for name in ("rule", "table", "column")),
                ],
                schema=SCHEMAS["findings"],
            )
        )
    return pa.concat_tables(parts)


def _rejected(table: pa.Table, places: Places) -> pa.Table:
    owner, source, at = places.own(table.column("file").to_numpy(), table.column("row").to_numpy())
    return pa.Table.from_arrays(
        [
            pa.array(owner),
            _source(source, places),
            pa.array(at),
            *(_words(table.column(name)) for name in ("table", "rule", "cause", "rules")),
        ],
        schema=SCHEMAS["rejected"],
    )


def _source(numbers: Any, places: Places) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(numbers), pa.array(places.sources, pa.string()))


def _words(column: Any) -> Any:
    encoded = column.dictionary_encode()
    return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
