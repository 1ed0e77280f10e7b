"""Columns that the engine derives, so that mappings need no arithmetic.

They are listed in `etl.mapping.row_columns`; docs/mapping.md says what each means.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import (
    Bools,
    Indices,
    any_valid,
    as_array,
    compound_keys,
    first_of_each,
    over_distinct,
    sum_groups,
    true_where,
)
from etl.columns.navigation import Children
from etl.columns.numbers import cents, format_cents, read_decimals
from etl.engine.related_rows import DeriveColumn, RelatedRows
from etl.model.canonical_tables import AMOUNT_CATEGORIES, AMOUNT_COLUMNS, HEADER_OF, TABLES
from etl.model.code_shapes import SERVICE_SYSTEMS
from etl.model.relations import RELATIONS, Many


def derived_column(partition: RelatedRows, table: str, name: str) -> pa.StringArray:
    """Return a derived column of a table; shape (rows of the table,), null if absent.

    Raises:
        KeyError: no derived column has that name.
    """
    if name == "position":
        return _row_number(partition, table)
    derive = _DERIVED.get((table, name))
    if derive is not None:
        return derive(partition)
    from etl.engine.memberless_columns import memberless_column

    return memberless_column(partition, table, name)


def _related_rows(partition: RelatedRows, table: str, relation: str) -> Children:
    to_many = RELATIONS[table][relation]
    if not isinstance(to_many, Many):
        raise AssertionError(relation)
    return partition.children(table, to_many)


def _flag(mask: Bools) -> pa.StringArray:
    """Return Y for true and N for false."""
    return pc.if_else(pa.array(mask), "Y", "N")


def _has_amounts(table: str) -> DeriveColumn:
    return lambda partition: _flag(_with_amount(partition, table))


def _with_amount(partition: RelatedRows, table: str) -> Bools:
    """Find the rows that state at least one amount."""
    names = (*AMOUNT_COLUMNS, "amount_utilized")
    columns = (
        partition.column(table, name) for name in names if TABLES[table].column(name) is not None
    )
    return any_valid(columns, partition.size(table))


def _has_line_amounts(partition: RelatedRows) -> pa.StringArray:
    lines = _related_rows(partition, "claim", "lines")
    has_amount = _with_amount(partition, "claim_line")[lines.rows]
    return _flag(np.bincount(lines.parents[has_amount], minlength=partition.size("claim")) > 0)


def _row_number(partition: RelatedRows, table: str) -> pa.StringArray:
    """Number the rows of each header: 1, 2, …"""
    header = HEADER_OF[table]
    relation_name = next(
        name
        for name, relation in RELATIONS[header].items()
        if isinstance(relation, Many) and relation.table == table
    )
    children = _related_rows(partition, header, relation_name)
    counts = np.bincount(children.parents, minlength=partition.size(header))
    starts = np.concatenate(([0], np.cumsum(counts)))[children.parents]
    row_numbers = np.zeros(partition.size(table), dtype=np.int64)
    row_numbers[children.rows] = np.arange(len(children.rows)) - starts + 1
    return pa.array(row_numbers).cast(pa.string())


def _claim_total(category: str) -> DeriveColumn:
    amount_column = f"amount_{category}"

    def total(partition: RelatedRows) -> pa.StringArray:
        totals = partition.column("claim", amount_column)
        prior_payer = category == "priorpayerpaid"
        if prior_payer:
            totals = pc.coalesce(totals, _prior_payer_amounts(partition, claim_level=True))
        if totals.null_count == 0:
            return totals
        line_sums = _sum_by_claim(partition, "lines", "claim_line", amount_column)
        if prior_payer:
            line_sums = pc.coalesce(line_sums, _prior_payer_amounts(partition, claim_level=False))
        states_totals = pc.equal(partition.column("claim", "has_amounts"), "Y")
        return pc.coalesce(totals, pc.if_else(states_totals, None, line_sums))

    return total


def _prior_payer_amounts(partition: RelatedRows, *, claim_level: bool) -> pa.StringArray:
    """Sum what other payers paid: the claim-level amounts, or those of the lines."""
    amounts = partition.column("claim_other_payer", "amount_priorpayerpaid")
    is_claim_level = partition.column("claim_other_payer", "line_number").is_null()
    return _sum_by_claim(
        partition,
        "other_payers",
        "claim_other_payer",
        pc.if_else(is_claim_level if claim_level else pc.invert(is_claim_level), amounts, None),
    )


def _sum_by_claim(
    partition: RelatedRows, relation: str, table: str, values: str | pa.StringArray
) -> pa.StringArray:
    """Sum an amount over each claim's related rows; null if no row states it.

    Args:
        partition: the rows.
        relation: the claim's relation to the rows that are summed.
        table: the table of those rows.
        values: the name of an amount column, or its values.
    """
    children = _related_rows(partition, "claim", relation)
    cells = partition.column(table, values) if isinstance(values, str) else values
    amounts = cells.take(pa.array(children.rows))
    size = partition.size("claim")
    sums = sum_groups(cents(amounts), children.parents, size)
    has_amount = np.bincount(children.parents[np.asarray(amounts.is_valid())], minlength=size) > 0
    return format_cents(sums, has_amount)


def _line_payment_status(partition: RelatedRows) -> pa.StringArray:
    """Return the status that all lines share; `other` if they differ."""
    lines = _related_rows(partition, "claim", "lines")
    encoded = partition.column("claim_line", "benefit_payment_status").dictionary_encode()
    lowest, highest = _code_range(lines, encoded)
    shared_status = encoded.dictionary.take(pa.array(highest, mask=highest < 0))
    return pc.if_else(pa.array((highest >= 0) & (lowest != highest)), "other", shared_status)


def _code_range(children: Children, encoded: pa.DictionaryArray) -> tuple[Indices, Indices]:
    """Return the lowest and highest code among each parent's children.

    For parents without codes, these are the number of codes and -1.
    """
    codes = np.asarray(pc.fill_null(encoded.indices, -1), dtype=np.int64)[children.rows]
    is_stated = codes >= 0
    parents, codes = children.parents[is_stated], codes[is_stated]
    lowest = np.full(len(children.starts) - 1, len(encoded.dictionary), dtype=np.int64)
    highest = np.full(len(children.starts) - 1, -1, dtype=np.int64)
    np.minimum.at(lowest, parents, codes)
    np.maximum.at(highest, parents, codes)
    return lowest, highest


def _code_system(table: str, code_column: str) -> DeriveColumn:
    def service_system(partition: RelatedRows) -> pa.StringArray:
        """Return the stated code system, or guess it from the code's format."""
        stated_systems = pc.ascii_upper(partition.column(table, f"{code_column}_system"))
        if stated_systems.null_count == 0:
            return stated_systems
        guessed_systems = over_distinct(
            partition.column(table, code_column),
            lambda codes: [
                next((name for name, shape in SERVICE_SYSTEMS if shape.fullmatch(code)), None)
                for code in codes
            ],
        )
        return pc.coalesce(stated_systems, guessed_systems)

    return service_system


def _line_key(table: str) -> DeriveColumn:
    def key(partition: RelatedRows) -> pa.StringArray:
        return compound_keys(
            partition.column(table, "claim_id"), partition.column(table, "line_number")
        )

    return key


# -- teeth -----------------------------------------------------------------------------------


def _body_site_teeth(partition: RelatedRows) -> Indices:
    """Find the claim_tooth row that is each line's body site; -1 for none.

    A line without its own tooth and area takes the first tooth that isn't missing.
    """
    teeth = _related_rows(partition, "claim_line", "teeth")
    site_rows = np.full(partition.size("claim_line"), -1, dtype=np.int64)
    if len(teeth.rows) == 0:
        return site_rows
    has_site = _has_own_site(partition)
    is_missing = pc.equal(partition.column("claim_tooth", "missing"), "Y")
    is_candidate = ~true_where(is_missing)[teeth.rows] & ~has_site[teeth.parents]
    lines, first_candidates = np.unique(teeth.parents[is_candidate], return_index=True)
    site_rows[lines] = teeth.rows[is_candidate][first_candidates]
    return site_rows


def _has_own_site(partition: RelatedRows) -> Bools:
    tooth = partition.column("claim_line", "tooth_number")
    area = partition.column("claim_line", "oral_cavity_area")
    return any_valid((tooth, area), len(tooth))


def _body_site(column_name: str) -> DeriveColumn:
    def site(partition: RelatedRows) -> pa.StringArray:
        line_values = partition.column("claim_line", column_name)
        site_rows = _body_site_teeth(partition)
        if (site_rows < 0).all():
            return line_values
        tooth_values = partition.column("claim_tooth", column_name)
        return pc.coalesce(line_values, tooth_values.take(pa.array(site_rows, mask=site_rows < 0)))

    return site


def _tooth_role(partition: RelatedRows) -> pa.StringArray:
    is_site = np.zeros(partition.size("claim_tooth"), dtype=np.bool_)
    site_rows = _body_site_teeth(partition)
    is_site[site_rows[site_rows >= 0]] = True
    is_missing = pc.fill_null(pc.equal(partition.column("claim_tooth", "missing"), "Y"), False)
    return pc.if_else(is_missing, "missing", pc.if_else(pa.array(is_site), "site", "additional"))


def _has_tooth(partition: RelatedRows) -> pa.StringArray:
    teeth = _related_rows(partition, "claim_line", "teeth")
    has_tooth = np.asarray(partition.column("claim_line", "site_tooth").is_valid()).copy()
    is_additional = np.asarray(pc.equal(partition.column("claim_tooth", "role"), "additional"))
    has_number = np.asarray(partition.column("claim_tooth", "tooth_number").is_valid())
    has_tooth[teeth.parents[(is_additional & has_number)[teeth.rows]]] = True
    return _flag(has_tooth)


# -- claims ----------------------------------------------------------------------------------


def _transport_number(partition: RelatedRows) -> pa.StringArray:
    return as_array(read_decimals(partition.column("claim_transport", "value")).values)


def _provider_taxonomy(partition: RelatedRows) -> pa.StringArray:
    """Return the row's taxonomy code, or its practitioner's in the directory."""
    stated = partition.column("claim_care_team", "taxonomy_code")
    if stated.null_count == 0 or partition.size("practitioner") == 0:
        return stated
    ids = partition.column("claim_care_team", "provider_id")
    codes = partition.column("practitioner", "taxonomy_code")
    directory_codes = [
        codes.take(pc.index_in(ids, value_set=partition.column("practitioner", key)))
        for key in ("practitioner_id", "npi")
    ]
    return pc.coalesce(stated, *directory_codes)


def _same_member_coverage(partition: RelatedRows) -> pa.StringArray:
    """Return the coverage that another payer's row names; null if another member's."""
    ids = partition.column("claim_other_payer", "coverage_id")
    coverage_rows = pc.index_in(ids, value_set=partition.column("coverage", "coverage_id"))
    holders = partition.column("coverage", "member_id").take(coverage_rows)
    claim_rows = pc.index_in(
        partition.column("claim_other_payer", "claim_id"),
        value_set=partition.column("claim", "claim_id"),
    )
    members = partition.column("claim", "member_id").take(claim_rows)
    return pc.if_else(pc.fill_null(pc.equal(holders, members), False), ids, None)


def _is_first_of_payer(partition: RelatedRows) -> pa.StringArray:
    """Return Y for the first row of its claim that names this payer and coverage."""
    key_columns = [
        pc.fill_null(partition.column("claim_other_payer", name), "")
        for name in ("claim_id", "payer_id", "payer_name", "coverage_id")
    ]
    return _flag(first_of_each(compound_keys(*key_columns)))


def _has_several_payers(partition: RelatedRows) -> pa.StringArray:
    """Return Y for the rows of claims with more than one other payer."""
    claim_codes = partition.column("claim_other_payer", "claim_id").dictionary_encode().indices
    claims = np.asarray(claim_codes, dtype=np.int64)
    is_first = np.asarray(pc.equal(partition.column("claim_other_payer", "first"), "Y"))
    return _flag(np.bincount(claims[is_first], minlength=len(claims))[claims] > 1)


def _is_masked_code(table: str) -> DeriveColumn:
    """Return a function that derives Y if the code, a required cell, was masked."""
    return lambda partition: _flag(np.asarray(partition.column(table, "code").is_null()))


_PRINCIPAL_TYPES: Final = pa.array(["principal", "primary"])
_FIRST: Final = pa.array(["0", "1"])
"""Numbers of a claim's first diagnosis or procedure; some sources count from 0."""


def _diagnosis_role(table: str, relation: str) -> DeriveColumn:
    """Return a function that derives the role of each diagnosis or procedure.

    A row without a type is the principal one if it is numbered 1 (or 0), comes first, and no row of
    its claim is said to be principal. A first row with a higher number follows one that is missing
    or was rejected, and that one may have been the principal one.
    """

    def role(partition: RelatedRows) -> pa.StringArray:
        stated_types = partition.column(table, "type")
        if stated_types.null_count == 0:
            return stated_types
        children = _related_rows(partition, "claim", relation)
        is_named = pc.is_in(pc.ascii_lower(stated_types), value_set=_PRINCIPAL_TYPES)
        is_principal = np.asarray(is_named)[children.rows]
        size = partition.size("claim")
        has_principal = np.bincount(children.parents[is_principal], minlength=size) > 0
        first_rows = children.rows[
            children.starts[:-1][~has_principal & (np.diff(children.starts) > 0)]
        ]
        is_first = np.zeros(len(stated_types), dtype=np.bool_)
        is_first[first_rows] = True
        is_first &= true_where(pc.is_in(partition.column(table, "sequence"), value_set=_FIRST))
        return pc.coalesce(stated_types, pc.if_else(pa.array(is_first), "principal", "secondary"))

    return role


# -- prior authorizations --------------------------------------------------------------------

_PARTIAL_ACTIONS: Final = pa.array(["A2", "A6"])
"""X12 306: certified in part, modified. A line inherits neither: it was decided by itself."""
_PENDED: Final = "A4"


def _line_review_actions(partition: RelatedRows) -> pa.StringArray:
    """Return each line's review action, falling back to the request's."""
    actions = pc.ascii_upper(partition.column("prior_auth", "review_action"))
    inherited = pc.if_else(pc.is_in(actions, value_set=_PARTIAL_ACTIONS), None, actions)
    lines = _related_rows(partition, "prior_auth", "lines")
    requests = np.full(partition.size("prior_auth_line"), -1, dtype=np.int64)
    requests[lines.rows] = lines.parents
    line_actions = pc.ascii_upper(partition.column("prior_auth_line", "review_action"))
    return pc.coalesce(line_actions, inherited.take(pa.array(requests, mask=requests < 0)))


def _request_outcome(partition: RelatedRows) -> pa.StringArray:
    """Return `queued` if nothing is decided, `partial` if lines differ, else `complete`."""
    actions = pc.ascii_upper(partition.column("prior_auth", "review_action"))
    lines = _related_rows(partition, "prior_auth", "lines")
    encoded = pc.fill_null(_line_review_actions(partition), _PENDED).dictionary_encode()
    lowest, highest = _code_range(lines, encoded)
    # The last entry is for requests without lines: both indices select it.
    is_decided = np.append(true_where(pc.not_equal(encoded.dictionary, _PENDED)), False)
    has_decided_line = is_decided[lowest] | is_decided[highest]
    decided = has_decided_line | true_where(pc.not_equal(actions, _PENDED))
    is_partial = decided & (
        ((highest >= 0) & (lowest != highest)) | true_where(pc.equal(actions, "A2"))
    )
    outcome = pc.if_else(pa.array(decided), "complete", "queued")
    return as_array(pc.if_else(pa.array(is_partial), "partial", outcome))


def _first_or_last_day(
    request_column: str, *columns: str, end: Literal["min", "max"]
) -> DeriveColumn:
    """Return a function for the stated first or last service day, or the lines'."""

    def day(partition: RelatedRows) -> pa.StringArray:
        stated_days = partition.column("prior_auth", request_column)
        lines = _related_rows(partition, "prior_auth", "lines")
        days = pc.coalesce(*(partition.column("prior_auth_line", name) for name in columns))
        by_request = pa.table({"parent": lines.parents, "day": days.take(pa.array(lines.rows))})
        end_days = by_request.group_by("parent").aggregate([("day", end)])
        end_rows = pc.index_in(
            pa.array(np.arange(partition.size("prior_auth"))),
            value_set=end_days.column("parent").combine_chunks(),
        )
        return pc.coalesce(stated_days, as_array(end_days.column(f"day_{end}")).take(end_rows))

    return day


def _units_differ(partition: RelatedRows) -> pa.StringArray:
    """Find lines whose approved units are above zero but not the requested number."""
    requested, approved = (
        partition.column("prior_auth_line", f"units_{kind}").cast(pa.decimal128(38, 18))
        for kind in ("requested", "approved")
    )
    is_different = pc.or_(
        pc.is_null(requested), pc.fill_null(pc.not_equal(requested, approved), False)
    )
    return _flag(true_where(pc.and_(pc.greater(approved, pa.scalar(0)), is_different)))


_DERIVED: Final[Mapping[tuple[str, str], DeriveColumn]] = MappingProxyType(
    {
        ("claim", "has_amounts"): _has_amounts("claim"),
        ("claim", "has_line_amounts"): _has_line_amounts,
        ("claim", "line_benefit_payment_status"): _line_payment_status,
        **{
            ("claim", f"total_{category}"): _claim_total(category) for category in AMOUNT_CATEGORIES
        },
        ("claim", "chain_role"): lambda partition: partition.chains.role,
        ("claim", "other_priors"): lambda partition: partition.chains.priors,
        ("claim", "other_successors"): lambda partition: partition.chains.successors,
        ("claim", "chain_updated"): lambda partition: partition.chains.updated,
        ("claim_diagnosis", "masked"): _is_masked_code("claim_diagnosis"),
        ("prior_auth_diagnosis", "masked"): _is_masked_code("prior_auth_diagnosis"),
        ("claim_diagnosis", "role"): _diagnosis_role("claim_diagnosis", "diagnoses"),
        ("claim_procedure", "role"): _diagnosis_role("claim_procedure", "procedures"),
        ("claim_line", "line_key"): _line_key("claim_line"),
        ("claim_line", "has_amounts"): _has_amounts("claim_line"),
        ("claim_line", "service_system"): _code_system("claim_line", "service_code"),
        ("claim_line", "site_tooth"): _body_site("tooth_number"),
        ("claim_line", "site_area"): _body_site("oral_cavity_area"),
        ("claim_line", "has_tooth"): _has_tooth,
        ("claim_tooth", "line_key"): _line_key("claim_tooth"),
        ("claim_tooth", "role"): _tooth_role,
        ("claim_transport", "number"): _transport_number,
        ("claim_care_team", "taxonomy"): _provider_taxonomy,
        ("claim_other_payer", "own_coverage_id"): _same_member_coverage,
        ("claim_other_payer", "first"): _is_first_of_payer,
        ("claim_other_payer", "among_others"): _has_several_payers,
        ("prior_auth", "has_amounts"): _has_amounts("prior_auth"),
        ("prior_auth", "decided_outcome"): _request_outcome,
        ("prior_auth", "received_day"): lambda part: pc.utf8_slice_codeunits(
            part.column("prior_auth", "received_at"), 0, len("2026-01-01")
        ),
        ("prior_auth", "service_start"): _first_or_last_day(
            "service_from_date", "service_from_date", end="min"
        ),
        ("prior_auth", "service_end"): _first_or_last_day(
            "service_to_date", "service_to_date", "service_from_date", end="max"
        ),
        ("prior_auth_line", "has_amounts"): _has_amounts("prior_auth_line"),
        ("prior_auth_line", "action"): _line_review_actions,
        ("prior_auth_line", "service_system"): _code_system("prior_auth_line", "service_code"),
        ("prior_auth_line", "approved_system"): _code_system(
            "prior_auth_line", "approved_service_code"
        ),
        ("prior_auth_line", "units_differ"): _units_differ,
    }
)
