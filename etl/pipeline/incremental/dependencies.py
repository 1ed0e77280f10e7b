"""External dependencies of a member's results: ids of other members, providers, the day.

Results are kept together with the answers to the lookups that they depend on. They may be reused
as long as the same lookups have the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import list_values
from etl.columns.dates import NO_DAY, stated_days
from etl.columns.digests import Hashes, changes, filled, hash_ids, row_digests, seed_of
from etl.engine.partition_columns import Partition
from etl.mapping.expressions import ColumnOf, Condition, Expr, LogicalId, ProviderReference, walk
from etl.mapping.plan import Plan
from etl.model.canonical_tables import (
    CLAIMS_TABLES,
    DIRECTORY_TABLES,
    FILE_COLUMN,
    KEYS,
    ROW_COLUMN,
    FieldType,
)
from etl.model.relations import RELATIONS, One, relations_of
from etl.pipeline.definitions import Definitions
from etl.pipeline.partition.providers import Providers
from etl.quality.rules import kinds
from etl.quality.rules.kinds import RuleKind
from etl.quality.totals.by_member import RowOwners
from etl.rows import empty_table
from etl.sources.partition.ids import GlobalKeys

Columns = frozenset[tuple[str, str]]
"""Tables and columns."""

_TABLES: Final = tuple(DIRECTORY_TABLES)
_ALWAYS_READ: Final = (
    ("organization", "organization_id"),
    ("organization", "npi"),
    ("organization", "kind"),
    ("practitioner", "practitioner_id"),
    ("practitioner", "npi"),
    ("practitioner", "taxonomy_code"),  # `derive` gives it to care teams that state none
)
_PROVIDER_SUFFIXES: Final = (
    "provider_id",
    "payer_id",
    "facility_id",
    "payee_id",
    "organization_id",
)


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Columns that refer to something outside the member's rows.

    Attributes:
        ids: table of `KEYS` -> columns with ids of it that rules look up.
        names: columns with texts that are looked up in the directory.
        days: columns that are compared with the day of the extract.
        directory: columns of the directory's tables that can show in a member's resources.
    """

    ids: Mapping[str, Columns]
    names: Columns
    days: Columns
    directory: Columns

    @classmethod
    def find(cls, definitions: Definitions) -> Dependencies:
        """Return the external dependencies of some rules and mappings."""
        ids: dict[str, set[tuple[str, str]]] = {kind: set() for kind in KEYS}
        names = set(_provider_columns())
        directory = set(_ALWAYS_READ)
        days: set[tuple[str, str]] = set()
        for rule in definitions.book.rules:
            _add_rule_columns(rule.kind, rule.tables, ids, names, days)
        for plan in definitions.patient_plans:
            for _, expr in plan.expressions():
                nodes = tuple(walk(expr))
                names |= set(_name_columns(nodes, plan))
                columns_read = _canonical_columns(nodes, plan)
                directory |= {(table, column) for table, column in columns_read if table in _TABLES}
        return cls(
            {kind: frozenset(columns) for kind, columns in ids.items()},
            frozenset(names),
            frozenset(days),
            frozenset(directory),
        )

    def covers(self, partition: Partition) -> bool:
        """Return whether a partition read no directory columns but `directory`."""
        return all(
            (table, column) in self.directory
            for table in _TABLES
            for column in partition.columns_read(table)
        )


def _add_rule_columns(
    kind: RuleKind,
    tables: tuple[str, ...],
    ids: Mapping[str, set[tuple[str, str]]],
    names: set[tuple[str, str]],
    days: set[tuple[str, str]],
) -> None:
    """Add the columns that a rule looks up or compares with the extract's day."""
    match kind:
        case kinds.Orphan(parent=parent, by=by) if parent in ids:
            ids[parent] |= {(table, by) for table in tables}
        case kinds.OfAnother():
            ids["coverage"] |= {(table, "coverage_id") for table in tables}
        case kinds.CardOfAnother():
            ids["member"] |= {(table, "card_member_id") for table in tables}
        case kinds.UnknownClaim(columns=columns):
            ids["claim"] |= {(table, column) for table in tables for column in columns}
        case kinds.NotInDirectory(columns=columns):
            names |= {(table, column) for table in tables for column in columns}
        case kinds.NotAfterExtract(columns=columns):
            days |= {(table, column) for table in tables for column in columns}
        case _:
            return


def _provider_columns() -> Iterator[tuple[str, str]]:
    """Yield columns of claims that may name a provider, payer or organization."""
    for table in CLAIMS_TABLES.values():
        for column in table.names:
            if table.name not in DIRECTORY_TABLES and column.endswith(_PROVIDER_SUFFIXES):
                yield table.name, column
    for table_name, relations in RELATIONS.items():
        for relation in relations.values():
            if isinstance(relation, One) and relation.table in DIRECTORY_TABLES:
                yield table_name, relation.column


def _name_columns(nodes: Iterable[Expr | Condition], plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the columns by which expressions name a provider or payer."""
    for node in nodes:
        match node:
            case LogicalId(operand=key_expression, resource="Organization" | "Practitioner"):
                yield from _canonical_columns(walk(key_expression), plan)
            case ProviderReference(operand=key_expression):
                yield from _canonical_columns(walk(key_expression), plan)
            case _:
                continue


def _canonical_columns(nodes: Iterable[Expr | Condition], plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield the canonical columns that expressions read."""
    for node in nodes:
        if isinstance(node, ColumnOf):
            table = plan.tables[node.level]
            for step in node.via:
                relation = relations_of(table)[step]
                table = relation.table
            if table in CLAIMS_TABLES and CLAIMS_TABLES[table].column(node.column) is not None:
                yield table, node.column


@dataclass(frozen=True, slots=True)
class OwnedRows:
    """Rows of members, at several stages.

    Attributes:
        stages: of each stage, name -> table.
        owners: the owner of each row.
    """

    stages: Sequence[Mapping[str, pa.Table]]
    owners: RowOwners
    _of_rows: dict[tuple[int, str], Hashes] = field(default_factory=dict, repr=False)

    def hashed(self, name: str, column: str) -> Iterator[tuple[Hashes, Hashes]]:
        """Yield owners and hashes of a column's filled cells, for each stage."""
        for stage, tables in enumerate(self.stages):
            texts = tables[name].column(column)
            if texts.null_count < len(texts):
                if (stage, name) not in self._of_rows:
                    owner_numbers = _owner_numbers(tables[name], self.owners)
                    self._of_rows[stage, name] = self.owners.ids[owner_numbers]
                values, rows = id_values(tables[name], name, column)
                yield self._of_rows[stage, name][rows], hash_ids(values)


def id_values(table: pa.Table, name: str, column: str) -> tuple[pa.Array, Any]:
    """Return the filled cells of a column, or of its lists, and their rows."""
    texts, declared = table.column(column).combine_chunks(), CLAIMS_TABLES[name].column(column)
    if declared is not None and declared.type is FieldType.LIST:
        values, rows = list_values(texts)
        return values.filter(pa.array(filled(values))), rows[filled(values)]
    return pc.drop_null(texts), np.flatnonzero(np.asarray(pc.is_valid(texts)))


def looked_up_names(dependencies: Dependencies, rows: OwnedRows) -> pa.Table:
    """Return `owner`, `name`: IDs and NPIs that members look up in the directory."""
    owner, name = _distinct_pairs(
        [pairs for names in sorted(dependencies.names) for pairs in rows.hashed(*names)]
    )
    return pa.table({"owner": owner, "name": name})


def looked_up_ids(dependencies: Dependencies, rows: OwnedRows, keys: GlobalKeys) -> pa.Table:
    """Return `owner`, `kind`, `id`, `there`: foreign IDs that were looked up."""
    tables = []
    for kind, columns in dependencies.ids.items():
        owner, ids = _distinct_pairs(
            [pairs for column in sorted(columns) for pairs in rows.hashed(*column)]
        )
        own_pairs = _distinct_pairs(list(rows.hashed(kind, KEYS[kind])))
        is_foreign = ~np.isin(_hash_pairs(owner, ids), _hash_pairs(*own_pairs))
        owner, ids = owner[is_foreign], ids[is_foreign]
        tables.append(
            pa.table(
                {
                    "owner": owner,
                    "kind": pa.array([kind] * len(ids), pa.string()).dictionary_encode(),
                    "id": ids,
                    "there": lookup_answers(kind, ids, keys),
                }
            )
        )
    return pa.concat_tables(tables)


def lookup_answers(kind: str, ids: Hashes, keys: GlobalKeys) -> Any:
    """Return which IDs exist in any partition, numpy `bool`."""
    return keys.has(kind, ids)


def latest_days(
    dependencies: Dependencies, tables: Mapping[str, pa.Table], owners: RowOwners
) -> Any:
    """Return the latest day of each owner that a rule compares; numpy `int32`."""
    latest = np.full(len(owners.ids), NO_DAY, dtype=np.int32)
    for name, column in sorted(dependencies.days):
        table = tables[name]
        if table.num_rows:
            encoded = table.column(column).combine_chunks().dictionary_encode()
            days = np.append(stated_days(encoded.dictionary), NO_DAY)
            cells = days[pc.fill_null(encoded.indices, len(days) - 1).to_numpy()]
            np.maximum.at(latest, _owner_numbers(table, owners), cells)
    return latest


def directory_digests(providers: Providers, dependencies: Dependencies) -> tuple[Hashes, Hashes]:
    """Return the directory's names, ascending, and a content hash of each.

    Only the columns that matter are hashed: a provider's new telephone number changes the
    provider, but not the members that refer to the provider.
    """
    names, digests = [], []
    for kind in _TABLES:
        table = providers.tables.get(kind, empty_table(kind))
        read_columns = sorted(column for name, column in dependencies.directory if name == kind)
        if not table.num_rows:
            continue
        columns = [column.combine_chunks() for column in table.select(read_columns).columns]
        content_hashes, _ = row_digests(columns, seed_of(kind, read_columns))
        for column in (CLAIMS_TABLES[kind].key[0], "npi"):
            has_name = np.asarray(pc.is_valid(table.column(column)))
            names.append(hash_ids(table.column(column).combine_chunks())[has_name])
            digests.append(content_hashes[has_name])
    if not names:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint64)
    unique_names, name_codes = np.unique(np.concatenate(names), return_inverse=True)
    sums = np.zeros(len(unique_names), dtype=np.uint64)
    np.add.at(sums, name_codes, np.concatenate(digests))
    return unique_names, sums


def changed_names(old_digests: tuple[Hashes, Hashes], new_digests: tuple[Hashes, Hashes]) -> Hashes:
    """Return the names whose content differs between two directories."""
    pairs = np.concatenate([np.stack(digests, axis=1) for digests in (old_digests, new_digests)])
    unique, counts = np.unique(pairs, axis=0, return_counts=True)
    names: Hashes = np.unique(unique[counts == 1, 0])
    return names


def _owner_numbers(table: pa.Table, owners: RowOwners) -> Any:
    return owners.codes_of(
        table.column(FILE_COLUMN).to_numpy(zero_copy_only=False),
        table.column(ROW_COLUMN).to_numpy(zero_copy_only=False),
    )


def _distinct_pairs(pairs: list[tuple[Hashes, Hashes]]) -> tuple[Hashes, Hashes]:
    if not pairs:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint64)
    owner, ids = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
    is_first = changes(owner) | changes(ids)  # rows that belong together mostly stand together
    owner, ids = owner[is_first], ids[is_first]
    order = np.lexsort((ids, owner))
    owner, ids = owner[order], ids[order]
    is_first = changes(owner) | changes(ids)
    return owner[is_first], ids[is_first]


def _hash_pairs(owner: Hashes, ids: Hashes) -> Hashes:
    """Hash pairs of owner and ID (the constant is 2^64 over the golden ratio)."""
    pairs: Hashes = (owner ^ (ids * np.uint64(0x9E3779B97F4A7C15))) + (ids << np.uint64(1))
    return pairs
