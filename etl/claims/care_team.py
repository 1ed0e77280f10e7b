"""The care team of each claim: a provider once in a role, with all lines that name it there.

A claim names its providers in `claim_care_team` and, on its lines, as rendering; by the payer's id
or by NPI. One provider in one role is one row, so that FHIR has one member of the team.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Indices, column_of, compound_keys, list_values, lists_of
from etl.mapping.plan import Environment
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.rows import OF_LINE, table_of, table_schema

_ROLES: Final[Mapping[str, str]] = {
    "inpatient": "care_team_role_institutional",
    "outpatient": "care_team_role_institutional",
    "professional": "care_team_role_professional",
    "vision": "care_team_role_professional",
    "oral": "care_team_role_professional",
    "pharmacy": "care_team_role_pharmacy",
}
"""Claim type -> the crosswalk of its profile's roles."""


def care_team(tables: Mapping[str, pa.Table], environment: Environment) -> pa.Table:
    """Return the care team of every claim, in the order of its key.

    Rows of one claim are merged where they name one provider (by any identifier in the directory)
    in one role (by the profile's code, not by the word) and do not differ in the taxonomy code. The
    first of them stays, with the line numbers of all. A provider that only a line names, as
    rendering, is added behind the others; the column `etl.rows.OF_LINE` marks such rows.

    Args:
        tables: canonical tables, each in the order of its key.
        environment: the directory, and the crosswalks of roles.
    """
    team, lines = tables["claim_care_team"], tables["claim_line"]
    schema = table_schema("claim_care_team")
    both = pa.concat_tables([team.select(schema.names).cast(schema), _rendering(lines)])
    if both.num_rows == 0:
        return team
    groups, taxonomy = _groups(both, tables["claim"], environment)
    _, firsts, groups = np.unique(groups, return_index=True, return_inverse=True)
    if len(firsts) == team.num_rows == both.num_rows:
        return team
    order = np.argsort(firsts)
    kept = pa.array(firsts[order])
    result = both.take(kept)
    cells = {
        "line_numbers": _line_numbers(both, groups, len(firsts)).take(pa.array(order)),
        "taxonomy_code": taxonomy.take(kept),
        "sequence": _sequences(team, result),
    }
    for name, column in cells.items():
        result = result.set_column(schema.get_field_index(name), schema.field(name), column)
    result = result.append_column(OF_LINE, pa.array(firsts[order] >= team.num_rows))
    return result.take(_by_claim_and_sequence(result))


def _rendering(lines: pa.Table) -> pa.Table:
    """Return a row of the care team, without sequence, for each line that names a provider."""
    lines = lines.filter(column_of(lines, "rendering_provider_id").is_valid())
    columns = {
        "claim_id": lines.column("claim_id"),
        "role": pa.repeat("rendering", lines.num_rows).cast(pa.string()),
        "provider_id": lines.column("rendering_provider_id"),
        "line_numbers": lines.column("line_number"),
        FILE_COLUMN: lines.column(FILE_COLUMN),
        ROW_COLUMN: lines.column(ROW_COLUMN),
    }
    return table_of("claim_care_team", lines.num_rows, columns)


def _groups(
    rows: pa.Table, claims: pa.Table, environment: Environment
) -> tuple[Indices, pa.StringArray]:
    """Return a number for each row, equal where rows are one, and each row's taxonomy code.

    A row without a taxonomy code has the first one that another row of its provider and role has.
    """
    claim_ids = column_of(rows, "claim_id")
    types = column_of(claims, "claim_type").take(
        pc.index_in(claim_ids, value_set=column_of(claims, "claim_id"))
    )

    def role(stated: str) -> str:
        claim_type, word = stated.split("\x1f", 1)
        crosswalk = environment.crosswalks.get(_ROLES.get(claim_type, ""))
        return (crosswalk and crosswalk.answer(word)) or word.lower()

    def provider(name: str) -> tuple[str, str]:
        provider_row = environment.provider(name, "Practitioner", only=False)
        return provider_row.resource, provider_row.key

    typed_roles = compound_keys(pc.fill_null(types, ""), column_of(rows, "role"))
    groups = _numbered(claim_ids, str)
    groups = _joined(groups, _numbered(typed_roles, role))
    groups = _joined(groups, _numbered(column_of(rows, "provider_id"), provider))
    encoded = column_of(rows, "taxonomy_code").dictionary_encode()
    stated = np.asarray(pc.fill_null(encoded.indices, -1), dtype=np.int64)
    _, groups = np.unique(groups, return_inverse=True)
    own, firsts = np.unique(groups[stated >= 0], return_index=True)
    of_group = np.full(len(groups), -1, dtype=np.int64)
    of_group[own] = stated[stated >= 0][firsts]
    taxonomy = np.where(stated >= 0, stated, of_group[groups])
    texts = encoded.dictionary.take(pa.array(taxonomy, mask=taxonomy < 0))
    return _joined(groups, taxonomy + 1), texts


def _numbered(column: pa.StringArray, meaning: Callable[[str], object]) -> Indices:
    """Return a number for each text, equal where texts mean the same."""
    encoded = column.dictionary_encode()
    numbers: dict[object, int] = {}
    of_text = [
        numbers.setdefault(meaning(text), len(numbers)) for text in encoded.dictionary.to_pylist()
    ]
    places = np.asarray(pc.fill_null(encoded.indices, len(of_text)))
    result: Indices = np.asarray([*of_text, -1], dtype=np.int64)[places]
    return result


def _joined(groups: Indices, numbers: Indices) -> Indices:
    """Return a number for each pair, equal where both are."""
    return groups * np.int64(numbers.max(initial=0) + 2) + numbers + 1


def _line_numbers(rows: pa.Table, groups: Indices, size: int) -> pa.StringArray:
    """Return the lines of each group, each once, in the order of the rows; null for none."""
    numbers, listed_in = list_values(column_of(rows, "line_numbers"))
    owners = groups[listed_in]
    _, firsts = np.unique(_joined(owners, _numbered(numbers, str)), return_index=True)
    firsts = np.sort(firsts)
    firsts = firsts[np.argsort(owners[firsts], kind="stable")]
    return lists_of(numbers.take(pa.array(firsts)), owners[firsts], size)


def _sequences(team: pa.Table, rows: pa.Table) -> pa.StringArray:
    """Return the sequence of each row; a row without one continues those of its claim."""
    last: dict[str, int] = {}
    for claim, sequence in zip(
        column_of(team, "claim_id").to_pylist(),
        column_of(team, "sequence").to_pylist(),
        strict=True,
    ):
        last[claim] = max(last.get(claim, 0), int(sequence))
    numbers = []
    for claim, sequence in zip(
        column_of(rows, "claim_id").to_pylist(),
        column_of(rows, "sequence").to_pylist(),
        strict=True,
    ):
        if sequence is None:
            last[claim] = last.get(claim, 0) + 1
            sequence = str(last[claim])
        numbers.append(sequence)
    return pa.array(numbers, pa.string())


def _by_claim_and_sequence(team: pa.Table) -> pa.Array:
    keys = pa.table(
        {
            "claim": column_of(team, "claim_id"),
            "sequence": column_of(team, "sequence").cast(pa.int64()),
        }
    )
    return pc.sort_indices(keys, sort_keys=[("claim", "ascending"), ("sequence", "ascending")])
