"""Build the care team of each claim: one row per provider and role, with its lines.

A claim or prior authorization names providers in the table of its care team and rendering providers
on its lines, by the payer's ID or by NPI. FHIR needs one care team member per provider and role.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Indices, column_of, compound_keys, list_values, lists_of
from etl.mapping.plan import Environment
from etl.model.canonical_tables import FILE_COLUMN, HEADER_OF, KEYS, ROW_COLUMN
from etl.rows import LINE_PROVIDERS, OF_LINE, table_of, table_schema

_ROLES: Final[Mapping[str, str]] = {
    "inpatient": "care_team_role_institutional",
    "outpatient": "care_team_role_institutional",
    "professional": "care_team_role_professional",
    "vision": "care_team_role_professional",
    "oral": "care_team_role_professional",
    "pharmacy": "care_team_role_pharmacy",
}
"""Claim type -> the crosswalk of its profile's roles."""
_PRIOR_AUTH_ROLES: Final = "prior_auth_role"


def build_care_team(
    tables: Mapping[str, pa.Table], environment: Environment, name: str = "claim_care_team"
) -> pa.Table:
    """Build the care team of every claim or prior authorization, sorted by its key.

    Rows of a claim are merged if they name the same provider (by any identifier in the provider
    directory) in the same role (by the profile's code, not by the word) and don't differ in the
    taxonomy code. The first row stays, with the line numbers of all. A rendering provider that only
    a line names is added after the others; the column `etl.rows.OF_LINE` marks such rows.

    Args:
        tables: canonical tables, each in the order of its key.
        environment: the providers, and the crosswalks of roles.
        name: the table of the care team.
    """
    team, schema, header = tables[name], table_schema(name), HEADER_OF[name]
    line_rows = _rendering_rows(tables[LINE_PROVIDERS[name][0]], name)
    all_rows = pa.concat_tables([team.select(schema.names).cast(schema), line_rows])
    if all_rows.num_rows == 0:
        return team
    group_numbers, taxonomy_codes = _group_rows(all_rows, header, tables[header], environment)
    _, first_rows, group_numbers = np.unique(group_numbers, return_index=True, return_inverse=True)
    if len(first_rows) == team.num_rows == all_rows.num_rows:
        return team
    order = np.argsort(first_rows)
    kept_rows = pa.array(first_rows[order])
    merged_team = all_rows.take(kept_rows)
    merged_columns = {
        "line_numbers": _group_line_numbers(all_rows, group_numbers, len(first_rows)).take(
            pa.array(order)
        ),
        "taxonomy_code": taxonomy_codes.take(kept_rows),
        "sequence": _assign_sequences(team, merged_team, KEYS[header]),
    }
    if "responsible" in schema.names:  # a provider is if any of the merged rows says so
        counts = np.bincount(group_numbers, pc.equal(all_rows["responsible"], "Y").fill_null(False))
        is_responsible, stated = pa.array(counts[order] > 0), merged_team.column("responsible")
        merged_columns["responsible"] = pc.if_else(is_responsible, "Y", stated)
    for column, cells in merged_columns.items():
        merged_team = merged_team.set_column(
            schema.get_field_index(column), schema.field(column), cells
        )
    merged_team = merged_team.append_column(OF_LINE, pa.array(first_rows[order] >= team.num_rows))
    return merged_team.take(_sort_by_header_and_sequence(merged_team, KEYS[header]))


def _rendering_rows(lines: pa.Table, name: str) -> pa.Table:
    """Make a care team row, without sequence, for each line with a rendering provider."""
    provider_column, key = LINE_PROVIDERS[name][1], KEYS[HEADER_OF[name]]
    lines = lines.filter(column_of(lines, provider_column).is_valid())
    columns = {
        key: lines.column(key),
        "role": pa.repeat("rendering", lines.num_rows).cast(pa.string()),
        "provider_id": lines.column(provider_column),
        "line_numbers": lines.column("line_number"),
        FILE_COLUMN: lines.column(FILE_COLUMN),
        ROW_COLUMN: lines.column(ROW_COLUMN),
    }
    return table_of(name, lines.num_rows, columns)


def _group_rows(
    rows: pa.Table, header: str, headers: pa.Table, environment: Environment
) -> tuple[Indices, pa.StringArray]:
    """Number rows by provider, role and taxonomy code; return each row's code, too.

    A row without a taxonomy code takes the first one of its provider and role.
    """
    header_ids, is_claim = column_of(rows, KEYS[header]), header == "claim"
    types = column_of(headers, "claim_type" if is_claim else "type").take(
        pc.index_in(header_ids, value_set=column_of(headers, KEYS[header]))
    )

    def role(stated: str) -> str:
        claim_type, word = stated.split("\x1f", 1)
        roles = _ROLES.get(claim_type, "") if is_claim else _PRIOR_AUTH_ROLES
        crosswalk = environment.crosswalks.get(roles)
        return (crosswalk and crosswalk.answer(word)) or word.lower()

    def provider(name: str) -> tuple[str, str]:
        provider_row = environment.provider(name, "Practitioner", only=False)
        return provider_row.resource, provider_row.key

    roles = pc.fill_null(column_of(rows, "role"), "")  # optional in prior authorizations
    typed_roles = compound_keys(pc.fill_null(types, ""), roles)
    groups = _number_texts(header_ids, str)
    groups = _combine_numbers(groups, _number_texts(typed_roles, role))
    groups = _combine_numbers(groups, _number_texts(column_of(rows, "provider_id"), provider))
    encoded = column_of(rows, "taxonomy_code").dictionary_encode()
    stated_codes = np.asarray(pc.fill_null(encoded.indices, -1), dtype=np.int64)
    _, groups = np.unique(groups, return_inverse=True)
    groups_with_code, first_rows = np.unique(groups[stated_codes >= 0], return_index=True)
    group_codes = np.full(len(groups), -1, dtype=np.int64)
    group_codes[groups_with_code] = stated_codes[stated_codes >= 0][first_rows]
    taxonomy_codes = np.where(stated_codes >= 0, stated_codes, group_codes[groups])
    texts = encoded.dictionary.take(pa.array(taxonomy_codes, mask=taxonomy_codes < 0))
    return _combine_numbers(groups, taxonomy_codes + 1), texts


def _number_texts(column: pa.StringArray, meaning: Callable[[str], object]) -> Indices:
    """Number the texts by their meaning."""
    encoded = column.dictionary_encode()
    numbers: dict[object, int] = {}
    text_numbers = [
        numbers.setdefault(meaning(text), len(numbers)) for text in encoded.dictionary.to_pylist()
    ]
    text_indices = np.asarray(pc.fill_null(encoded.indices, len(text_numbers)))
    result: Indices = np.asarray([*text_numbers, -1], dtype=np.int64)[text_indices]
    return result


def _combine_numbers(groups: Indices, numbers: Indices) -> Indices:
    """Combine two numbers of each row into one."""
    return groups * np.int64(numbers.max(initial=0) + 2) + numbers + 1


def _group_line_numbers(rows: pa.Table, groups: Indices, size: int) -> pa.StringArray:
    """List each group's line numbers, deduplicated, in row order; null for none."""
    numbers, list_rows = list_values(column_of(rows, "line_numbers"))
    owner_groups = groups[list_rows]
    _, first_mentions = np.unique(
        _combine_numbers(owner_groups, _number_texts(numbers, str)), return_index=True
    )
    first_mentions = np.sort(first_mentions)
    first_mentions = first_mentions[np.argsort(owner_groups[first_mentions], kind="stable")]
    return lists_of(numbers.take(pa.array(first_mentions)), owner_groups[first_mentions], size)


def _assign_sequences(team: pa.Table, rows: pa.Table, key: str) -> pa.StringArray:
    """Return each row's sequence; rows without one continue their claim's numbers."""
    last_sequences: dict[str, int] = {}
    for claim, sequence in zip(
        column_of(team, key).to_pylist(),
        column_of(team, "sequence").to_pylist(),
        strict=True,
    ):
        last_sequences[claim] = max(last_sequences.get(claim, 0), int(sequence))
    numbers = []
    for claim, sequence in zip(
        column_of(rows, key).to_pylist(),
        column_of(rows, "sequence").to_pylist(),
        strict=True,
    ):
        if sequence is None:
            last_sequences[claim] = last_sequences.get(claim, 0) + 1
            sequence = str(last_sequences[claim])
        numbers.append(sequence)
    return pa.array(numbers, pa.string())


def _sort_by_header_and_sequence(team: pa.Table, key: str) -> pa.Array:
    keys = pa.table(
        [column_of(team, key), column_of(team, "sequence").cast(pa.int64())], ["k", "n"]
    )
    return pc.sort_indices(keys, sort_keys=[("k", "ascending"), ("n", "ascending")])
