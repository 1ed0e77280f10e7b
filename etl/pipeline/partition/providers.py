"""The shared directory of a run: providers and payers that the extract describes or names.

Organizations and practitioners that claims only name by an id get a resource of what the claims
state: the id, and the NPI where the id is one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.engine.partition_columns import Partition
from etl.engine.render import ResourceBatch
from etl.engine.unmapped import Mention
from etl.mapping.plan import Environment, Plan, Provider, ProviderType
from etl.model.canonical_tables import DIRECTORY_TABLES, MEMBERLESS, ROW_COLUMN
from etl.model.code_shapes import is_npi
from etl.pipeline.definitions import Definitions
from etl.publish.block import LISTED, NAMED, ROW
from etl.quality.check import check_rows
from etl.quality.checks.cascade import DecidedRows, decide_rows
from etl.quality.checks.frames import DirectoryIds, NoKeys, RuleContext, read_directory
from etl.rows import empty_table, table_schema
from etl.sources.partition.partitions import Loaded

KEYS: Final[Mapping[str, tuple[str, ProviderType]]] = MappingProxyType(
    {
        "organization": ("organization_id", "Organization"),
        "practitioner": ("practitioner_id", "Practitioner"),
    }
)
TABLE_OF: Final[Mapping[str, str]] = MappingProxyType(
    {resource: table for table, (_, resource) in KEYS.items()}
)

_NPI: Final = '"http://hl7.org/fhir/sid/us-npi|'
"""Beginning of search values with an NPI."""


@dataclass(frozen=True, slots=True)
class Providers:
    """The directory's accepted rows.

    Attributes:
        tables: those of the data model that belong to no member.
        ids: ids that rules may look up.
        environment: what plans are run with.
    """

    tables: Mapping[str, pa.Table]
    ids: DirectoryIds
    environment: Environment

    def holds(self, mention: Mention) -> bool:
        """Return whether a mentioned directory resource has a row."""
        provider = Provider(mention.resource, mention.key)
        return provider in self.environment.providers.get(mention.key, ())


def decide_directory(loaded: Loaded, definitions: Definitions, *, as_of: int | None) -> DecidedRows:
    """Check the directory's rows and decide on them."""
    context = RuleContext(definitions.book, NoKeys(), _read_known_ids(loaded.tables), as_of)
    tables = {name: table for name, table in loaded.tables.items() if name in MEMBERLESS}
    return decide_rows(check_rows(tables, loaded.findings, context, loaded.unread))


def providers_of(tables: Mapping[str, pa.Table], definitions: Definitions) -> Providers:
    """Prepare the directory's accepted rows for plans and rules."""
    providers: dict[str, list[Provider]] = defaultdict(list)
    for column in ("key", "npi"):
        for table, (key, resource) in KEYS.items():
            if table not in tables:
                continue
            identifiers = tables[table].column(key if column == "key" else "npi").to_pylist()
            keys = tables[table].column(key).to_pylist()
            for identifier, business_key in zip(identifiers, keys, strict=True):
                provider = Provider(resource, business_key)
                if identifier is not None and provider not in providers[identifier]:
                    providers[identifier].append(provider)
    environment = Environment(
        payer=definitions.payer,
        id_key=definitions.id_key,
        crosswalks=definitions.crosswalks,
        providers=MappingProxyType({name: tuple(matches) for name, matches in providers.items()}),
    )
    shared_tables = DIRECTORY_TABLES if definitions.model.has_members else tables
    provider_tables = {name: table for name, table in tables.items() if name in shared_tables}
    return Providers(provider_tables, _read_known_ids(tables), environment)


def _read_known_ids(tables: Mapping[str, pa.Table]) -> DirectoryIds:
    """Return the IDs that rows of claims may name; a directory has none."""
    return read_directory(*(tables.get(name, empty_table(name)) for name in DIRECTORY_TABLES))


def partition_of(
    tables: Mapping[str, pa.Table], definitions: Definitions, missing: Iterable[Mention]
) -> Partition:
    """Return the directory's accepted rows, prepared for mappings.

    Args:
        tables: accepted rows.
        definitions: state the data model of the rows.
        missing: what claims name by an id alone; rows are made for them.
    """
    if definitions.model.has_members:
        return Partition(with_stubs(tables, missing))
    from etl.engine.derived_rows import with_derived_rows

    return with_derived_rows(tables, definitions.crosswalks)


def with_stubs(
    tables: Mapping[str, pa.Table], missing: Iterable[Mention]
) -> Mapping[str, pa.Table]:
    """Add stub rows to the directory for mentions without a row.

    Stubs come from no file: their `_row` is null.
    """
    rows: dict[str, dict[str, dict[str, str]]] = {table: {} for table in KEYS}
    for mention in sorted(missing, key=lambda one: (one.resource, one.key, one.payer)):
        table = TABLE_OF[mention.resource]
        row = rows[table].setdefault(mention.key, {KEYS[table][0]: mention.key})
        if is_npi(mention.key):
            row["npi"] = mention.key
        if mention.payer:
            row["kind"] = "payer"
    result: dict[str, pa.Table] = {}
    for table, stubs in rows.items():
        schema = table_schema(table)
        columns = {
            field.name: pa.array([row.get(field.name) for row in stubs.values()], field.type)
            for field in schema
        }
        all_rows = pa.concat_tables(
            [tables[table].select(schema.names).cast(schema), pa.table(columns, schema=schema)]
        )
        order = np.argsort(np.asarray(all_rows.column(KEYS[table][0]).to_pylist(), dtype=object))
        result[table] = all_rows.take(pa.array(order))
    return result


def with_listing(
    plan: Plan, run: ResourceBatch, partition: Partition, claimed: Set[tuple[str, str]]
) -> ResourceBatch:
    """Add their visibility to the index entries of directory resources.

    None is stated for those with an NPI, which everybody may see, and for those that only claims
    name, which only the members of these claims may see.

    Args:
        plan: the plan that made them.
        run: resources of that plan.
        partition: the directory's tables.
        claimed: (type, business key) of resources that claims name and that have no row.
    """
    key = next((key for key, resource in KEYS.values() if resource == plan.resource), None)
    if key is None:
        return run
    rows = pa.array(run.rows)
    has_row = partition.tables[plan.table].column(ROW_COLUMN).take(rows).is_valid().to_pylist()
    keys = partition.column(plan.table, key).take(rows).to_pylist()
    has_npi = pc.match_substring(run.searches, _NPI).to_pylist()
    searches = []
    for search, npi, is_own_row, business_key in zip(
        run.searches.to_pylist(), has_npi, has_row, keys, strict=True
    ):
        listing = (
            ROW if is_own_row else NAMED if (plan.resource, business_key) not in claimed else None
        )
        if not npi and listing is not None:
            separator = "" if search == "{}" else ","
            search = f'{{"{LISTED}":["{listing}"]{separator}{search[1:]}'
        searches.append(search)
    return replace(run, searches=pa.array(searches, pa.string()))
