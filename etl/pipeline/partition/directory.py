"""The shared directory, and an extract that is one: rows checked and mapped like members' rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.digests import Hashes, hash_ids
from etl.columns.places import table_places
from etl.engine.unmapped import Mention
from etl.errors import MappingError
from etl.model.canonical_tables import MEMBERLESS, TABLES
from etl.pipeline.definitions import Definitions
from etl.pipeline.partition.mapping import Mapped, rejecting_rules, run_plans, with_broken
from etl.pipeline.partition.providers import (
    KEYS,
    TABLE_OF,
    Providers,
    decide_directory,
    partition_of,
    providers_of,
)
from etl.quality.checks.cascade import DecidedRows
from etl.sources.partition.partitions import Loaded

_STUBS: Final = (
    Mention("Organization", "\x1f", payer=False),
    Mention("Organization", "\x1f\x1f", payer=True),
    Mention("Organization", "1234567893", payer=False),
    Mention("Practitioner", "\x1f", payer=False),
    Mention("Practitioner", "1234567893", payer=False),
)
"""One of each kind of row that is made for a provider whom claims name by an id alone."""


def check_directory(
    loaded: Loaded, definitions: Definitions, *, as_of: int | None
) -> tuple[DecidedRows, Mapped]:
    """Check and map the directory's rows, until all resources conform to their profiles.

    A row that would break its profile is rejected like any other. A provider of claims is then
    published from what the claims state.

    Returns:
        The decided rows, and what they make. The directory of claims has resources for `_STUBS`
        beside those of its rows, and lacks those that only claims name (`map_directory`).

    Raises:
        MappingError: `map-unmet`: even a provider with nothing but an id would not conform.
    """
    findings, rejecting = loaded.findings, rejecting_rules(definitions.book)
    while True:
        decided = decide_directory(replace(loaded, findings=findings), definitions, as_of=as_of)
        mapped = run_plans(
            definitions.directory_plans,
            partition_of(decided.accepted, definitions, _STUBS),
            providers_of(decided.accepted, definitions).environment,
            definitions,
            rejecting,
        )
        if not mapped.broken.num_rows:
            return decided, replace(mapped, unmapped=_drop_stub_findings(mapped.unmapped))
        findings = with_broken(findings, _require_conforming_stubs(mapped.broken))


def _drop_stub_findings(unmapped: Mapping[str, pa.Table]) -> Mapping[str, pa.Table]:
    """Drop findings about stub rows, which come from no file."""
    findings_by_crosswalk = {
        name: words.filter(pc.is_valid(words.column("row"))) for name, words in unmapped.items()
    }
    return {name: words for name, words in findings_by_crosswalk.items() if words.num_rows}


def row_owners(loaded: Loaded) -> tuple[Any, Hashes]:
    """Return `place_keys` and ID hash of each directory row."""
    positions, owners = [], []
    for name, table in loaded.tables.items():
        if name not in MEMBERLESS:
            continue
        positions.append(table_places(table))
        owners.append(hash_ids(table.column(TABLES[name].key[0])))
    return np.concatenate(positions), np.concatenate(owners)


def _require_conforming_stubs(broken: pa.Table) -> pa.Table:
    """Raise MappingError if a stub broke its profile; return the findings."""
    stubs = broken.filter(pc.is_null(broken.column("row")))
    if stubs.num_rows:
        rules = ", ".join(sorted(set(stubs.column("rule").to_pylist())))
        message = f"a provider who is known by an id alone would not conform: {rules}"
        raise MappingError("mappings", "map-unmet", message, hint="see `cpcds mapping check`")
    return broken


def map_directory(
    providers: Providers, missing: Iterable[Mention], definitions: Definitions
) -> Mapped:
    """Map the directory of claims, with resources for mentions without a row.

    Args:
        providers: the directory's accepted rows.
        missing: what resources of members refer to, and the directory does not hold.
        definitions: mappings.
    """
    mentions = frozenset(missing)
    while True:  # rows mention resources too, but stubs mention nothing: two rounds at most
        partition = partition_of(providers.tables, definitions, mentions)
        mapped = run_plans(
            definitions.directory_plans,
            partition,
            providers.environment,
            definitions,
        )
        if _require_conforming_stubs(mapped.broken).num_rows:
            raise AssertionError("a row of the directory was accepted, and breaks its profile")
        keys = {resource: _resource_keys(partition.tables, resource) for resource in TABLE_OF}
        added = frozenset(
            mention for mention in mapped.mentioned if mention.key not in keys[mention.resource]
        )
        if not added:
            return mapped
        mentions |= added


def _resource_keys(tables: Mapping[str, pa.Table], resource: str) -> frozenset[str]:
    table = TABLE_OF[resource]
    return frozenset(tables[table].column(KEYS[table][0]).to_pylist() if table in tables else ())
