"""Columns that the engine derives, so that mappings need no arithmetic.

They are listed in `etl.mapping.rows`; docs/mapping.md says what each means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    total_of_groups,
    true_where,
)
from etl.columns.navigation import Children
from etl.columns.numbers import cents, money_of_cents
from etl.engine.related_rows import RelatedRows
from etl.model.canonical_tables import AMOUNT_CATEGORIES, AMOUNT_COLUMNS, HEADER_OF, TABLES
from etl.model.code_shapes import SERVICE_SYSTEMS
from etl.model.relations import RELATIONS, Many


def column(partition: RelatedRows, table: str, name: str) -> pa.StringArray:
    """Return a derived column of a table; shape (rows of the table,), null where absent.

    Raises:
        KeyError: there is no such column.
    """
    if name == "position":
        return _position(partition, table)
    made = _DERIVED.get((table, name))
    if made is not None:
        return made(partition)
    from etl.engine.directory_columns import directory_column

    return directory_column(partition, table, name)


def _related(partition: RelatedRows, table: str, relation: str) -> Children:
    relation_of = RELATIONS[table][relation]
    if not isinstance(relation_of, Many):
        raise AssertionError(relation)
    return partition.children(table, relation_of)


def _flag(where: Bools) -> pa.StringArray:
    return pc.if_else(pa.array(where), "Y", "N")


def _any_amount(partition: RelatedRows, table: str) -> Bools:
    names = (*AMOUNT_COLUMNS, "amount_utilized")
    columns = (
        partition.column(table, name) for name in names if TABLES[table].column(name) is not None
    )
    return any_valid(columns, partition.size(table))


def _any_line_amount(partition: RelatedRows) -> pa.StringArray:
    lines = _related(partition, "claim", "lines")
    has = _any_amount(partition, "claim_line")[lines.rows]
    return _flag(np.bincount(lines.parents[has], minlength=partition.size("claim")) > 0)


def _position(partition: RelatedRows, table: str) -> pa.StringArray:
    """Return 1, 2, … within the rows of each header."""
    header = HEADER_OF[table]
    relation = next(
        name
        for name, relation in RELATIONS[header].items()
        if isinstance(relation, Many) and relation.table == table
    )
    children = _related(partition, header, relation)
    counts = np.bincount(children.parents, minlength=partition.size(header))
    starts = np.concatenate(([0], np.cumsum(counts)))[children.parents]
    positions = np.zeros(partition.size(table), dtype=np.int64)
    positions[children.rows] = np.arange(len(children.rows)) - starts + 1
    return pa.array(positions).cast(pa.string())


def _total(category: str) -> Callable[[RelatedRows], pa.StringArray]:
    amount = f"amount_{category}"

    def total(partition: RelatedRows) -> pa.StringArray:
        stated = partition.column("claim", amount)
        paid_before = category == "priorpayerpaid"
        if paid_before:
            stated = pc.coalesce(stated, _paid_before(partition, of_claim=True))
        if stated.null_count == 0:
            return stated
        summed = _sum(partition, "lines", "claim_line", amount)
        if paid_before:
            summed = pc.coalesce(summed, _paid_before(partition, of_claim=False))
        return pc.coalesce(stated, pc.if_else(pa.array(_states_total(partition)), None, summed))

    return total


def _states_total(partition: RelatedRows) -> Bools:
    """Return which claims state a total: in their own row, or in another payer's about them."""
    header: Bools = np.asarray(pc.equal(partition.column("claim", "has_amounts"), "Y"))
    stated: Bools = header | np.asarray(_paid_before(partition, of_claim=True).is_valid())
    return stated


def _paid_before(partition: RelatedRows, *, of_claim: bool) -> pa.StringArray:
    """Return what other payers paid for the claim as a whole, or else for its lines."""
    amounts = partition.column("claim_other_payer", "amount_priorpayerpaid")
    whole = partition.column("claim_other_payer", "line_number").is_null()
    return _sum(
        partition,
        "other_payers",
        "claim_other_payer",
        pc.if_else(whole if of_claim else pc.invert(whole), amounts, None),
    )


def _sum(
    partition: RelatedRows, relation: str, table: str, amount: str | pa.StringArray
) -> pa.StringArray:
    """Return the exact sum over the related rows of each claim that state the amount.

    Args:
        partition: the rows.
        relation: of the claim.
        table: of those rows.
        amount: a column of theirs, by name or as its values.
    """
    children = _related(partition, "claim", relation)
    cells = partition.column(table, amount) if isinstance(amount, str) else amount
    amounts = cells.take(pa.array(children.rows))
    size = partition.size("claim")
    sums = total_of_groups(cents(amounts), children.parents, size)
    has = np.bincount(children.parents[np.asarray(amounts.is_valid())], minlength=size) > 0
    return money_of_cents(sums, has)


def _line_status(partition: RelatedRows) -> pa.StringArray:
    """Return the status that the lines agree on, `other` where they differ."""
    lines = _related(partition, "claim", "lines")
    encoded = partition.column("claim_line", "benefit_payment_status").dictionary_encode()
    codes = np.asarray(pc.fill_null(encoded.indices, -1), dtype=np.int64)[lines.rows]
    stated = codes >= 0
    size = partition.size("claim")
    least = np.full(size, len(encoded.dictionary), dtype=np.int64)
    most = np.full(size, -1, dtype=np.int64)
    np.minimum.at(least, lines.parents[stated], codes[stated])
    np.maximum.at(most, lines.parents[stated], codes[stated])
    agreed = encoded.dictionary.take(pa.array(most, mask=most < 0))
    return pc.if_else(pa.array((most >= 0) & (least != most)), "other", agreed)


def _service_system(table: str, code: str) -> Callable[[RelatedRows], pa.StringArray]:
    def service_system(partition: RelatedRows) -> pa.StringArray:
        """Return the stated system, else the one that the shape of the code indicates."""
        stated = pc.ascii_upper(partition.column(table, f"{code}_system"))
        if stated.null_count == 0:
            return stated
        systems = over_distinct(
            partition.column(table, code),
            lambda codes: [
                next((name for name, shape in SERVICE_SYSTEMS if shape.fullmatch(code)), None)
                for code in codes
            ],
        )
        return pc.coalesce(stated, systems)

    return service_system


def _line_key(table: str) -> Callable[[RelatedRows], pa.StringArray]:
    def key(partition: RelatedRows) -> pa.StringArray:
        return compound_keys(
            partition.column(table, "claim_id"), partition.column(table, "line_number")
        )

    return key


# -- teeth -----------------------------------------------------------------------------------


def _promoted(partition: RelatedRows) -> Indices:
    """Return, for each line, the claim_tooth row that is its body site; -1 for none.

    A line that names no tooth and no area itself has that of its first row that is not missing.
    """
    teeth = _related(partition, "claim_line", "teeth")
    result = np.full(partition.size("claim_line"), -1, dtype=np.int64)
    if len(teeth.rows) == 0:
        return result
    own = _own_site(partition)
    missing = pc.equal(partition.column("claim_tooth", "missing"), "Y")
    there = ~true_where(missing)[teeth.rows] & ~own[teeth.parents]
    lines, firsts = np.unique(teeth.parents[there], return_index=True)
    result[lines] = teeth.rows[there][firsts]
    return result


def _own_site(partition: RelatedRows) -> Bools:
    tooth = partition.column("claim_line", "tooth_number")
    area = partition.column("claim_line", "oral_cavity_area")
    return any_valid((tooth, area), len(tooth))


def _site(name: str) -> Callable[[RelatedRows], pa.StringArray]:
    def site(partition: RelatedRows) -> pa.StringArray:
        own, promoted = partition.column("claim_line", name), _promoted(partition)
        if (promoted < 0).all():
            return own
        theirs = partition.column("claim_tooth", name)
        return pc.coalesce(own, theirs.take(pa.array(promoted, mask=promoted < 0)))

    return site


def _tooth_role(partition: RelatedRows) -> pa.StringArray:
    promoted = np.zeros(partition.size("claim_tooth"), dtype=np.bool_)
    rows = _promoted(partition)
    promoted[rows[rows >= 0]] = True
    missing = pc.fill_null(pc.equal(partition.column("claim_tooth", "missing"), "Y"), False)
    return pc.if_else(missing, "missing", pc.if_else(pa.array(promoted), "site", "additional"))


def _has_tooth(partition: RelatedRows) -> pa.StringArray:
    teeth = _related(partition, "claim_line", "teeth")
    has_tooth = np.asarray(partition.column("claim_line", "site_tooth").is_valid()).copy()
    additional = np.asarray(pc.equal(partition.column("claim_tooth", "role"), "additional"))
    numbered = np.asarray(partition.column("claim_tooth", "tooth_number").is_valid())
    has_tooth[teeth.parents[(additional & numbered)[teeth.rows]]] = True
    return _flag(has_tooth)


# -- the rest --------------------------------------------------------------------------------


def _transport_number(partition: RelatedRows) -> pa.StringArray:
    return over_distinct(partition.column("claim_transport", "value"), _decimals)


def _decimals(texts: list[str]) -> list[str | None]:
    return [text if _is_decimal(text) else None for text in texts]


def _is_decimal(text: str) -> bool:
    whole, _, fraction = text.partition(".")
    plain = whole.isascii() and whole.isdigit() and (len(whole) == 1 or whole[0] != "0")
    return plain and (fraction.isascii() and fraction.isdigit() if "." in text else True)


def _taxonomy(partition: RelatedRows) -> pa.StringArray:
    """Return the row's own code, else that of the directory's practitioner it names."""
    own = partition.column("claim_care_team", "taxonomy_code")
    if own.null_count == 0 or partition.size("practitioner") == 0:
        return own
    provider = partition.column("claim_care_team", "provider_id")
    taxonomy = partition.column("practitioner", "taxonomy_code")
    codes = [
        taxonomy.take(pc.index_in(provider, value_set=partition.column("practitioner", key)))
        for key in ("practitioner_id", "npi")
    ]
    return pc.coalesce(own, *codes)


def _own_coverage(partition: RelatedRows) -> pa.StringArray:
    """Return the coverage that another payer's row names, where it is the same member's."""
    named = partition.column("claim_other_payer", "coverage_id")
    position = pc.index_in(named, value_set=partition.column("coverage", "coverage_id"))
    holder = partition.column("coverage", "member_id").take(position)
    claim = pc.index_in(
        partition.column("claim_other_payer", "claim_id"),
        value_set=partition.column("claim", "claim_id"),
    )
    member = partition.column("claim", "member_id").take(claim)
    return pc.if_else(pc.fill_null(pc.equal(holder, member), False), named, None)


def _first_of_payer(partition: RelatedRows) -> pa.StringArray:
    """Return Y for the first row of its claim that names this payer and coverage."""
    parts = [
        pc.fill_null(partition.column("claim_other_payer", name), "")
        for name in ("claim_id", "payer_id", "payer_name", "coverage_id")
    ]
    return _flag(first_of_each(compound_keys(*parts)))


def _among_other_payers(partition: RelatedRows) -> pa.StringArray:
    """Return Y for the rows of claims with more than one other payer."""
    claims = partition.column("claim_other_payer", "claim_id").dictionary_encode().indices
    codes = np.asarray(claims, dtype=np.int64)
    is_first = np.asarray(pc.equal(partition.column("claim_other_payer", "first"), "Y"))
    return _flag(np.bincount(codes[is_first], minlength=len(codes))[codes] > 1)


def _masked(partition: RelatedRows) -> pa.StringArray:
    """Return Y where the code, though compulsory, was taken out."""
    return _flag(np.asarray(partition.column("claim_diagnosis", "code").is_null()))


_PRINCIPAL: Final = pa.array(["principal", "primary"])
_FIRST: Final = pa.array(["0", "1"])
"""Numbers of a claim's first diagnosis or procedure; some sources count from 0."""


def _role(table: str, relation: str) -> Callable[[RelatedRows], pa.StringArray]:
    """Return a function for the role of each of a claim's diagnoses, or of its procedures.

    A row without a type is the principal one if it is numbered 1 (or 0), comes first, and no row of
    its claim is said to be principal. A first row with a higher number follows one that is missing
    or was rejected, and that one may have been the principal one.
    """

    def role(partition: RelatedRows) -> pa.StringArray:
        stated = partition.column(table, "type")
        if stated.null_count == 0:
            return stated
        children = _related(partition, "claim", relation)
        named = np.asarray(pc.is_in(pc.ascii_lower(stated), value_set=_PRINCIPAL))[children.rows]
        size = partition.size("claim")
        names_principal = np.bincount(children.parents[named], minlength=size) > 0
        firsts = children.rows[
            children.starts[:-1][~names_principal & (np.diff(children.starts) > 0)]
        ]
        is_first = np.zeros(len(stated), dtype=np.bool_)
        is_first[firsts] = True
        is_first &= true_where(pc.is_in(partition.column(table, "sequence"), value_set=_FIRST))
        return pc.coalesce(stated, pc.if_else(pa.array(is_first), "principal", "secondary"))

    return role


# -- prior authorizations --------------------------------------------------------------------

_OF_LINES: Final = pa.array(["A2", "A6"])
"""X12 306: certified in part, modified. Each line says what was decided about it."""
_PENDED: Final = "A4"


def _actions(partition: RelatedRows) -> pa.StringArray:
    """Return the decision about each line: its own, else the one about the whole request."""
    whole = pc.ascii_upper(partition.column("prior_auth", "review_action"))
    for_lines = pc.if_else(pc.is_in(whole, value_set=_OF_LINES), None, whole)
    lines = _related(partition, "prior_auth", "lines")
    above = np.full(partition.size("prior_auth_line"), -1, dtype=np.int64)
    above[lines.rows] = lines.parents
    own = pc.ascii_upper(partition.column("prior_auth_line", "review_action"))
    return pc.coalesce(own, for_lines.take(pa.array(above, mask=above < 0)))


def _outcome(partition: RelatedRows) -> pa.StringArray:
    """Return the outcome: queued if nothing is decided, partial if lines differ, else complete."""
    whole = pc.ascii_upper(partition.column("prior_auth", "review_action"))
    lines = _related(partition, "prior_auth", "lines")
    encoded = pc.fill_null(_actions(partition), _PENDED).dictionary_encode()
    codes = np.asarray(encoded.indices)[lines.rows]
    size, kinds = partition.size("prior_auth"), len(encoded.dictionary)
    least = np.full(size, kinds, dtype=np.int64)
    most = np.full(size, -1, dtype=np.int64)
    np.minimum.at(least, lines.parents, codes)
    np.maximum.at(most, lines.parents, codes)
    is_decided = np.append(true_where(pc.not_equal(encoded.dictionary, _PENDED)), False)
    of_lines = is_decided[least % (kinds + 1)] | is_decided[most]
    decided = of_lines | true_where(pc.not_equal(whole, _PENDED))
    partial = decided & (((most >= 0) & (least != most)) | true_where(pc.equal(whole, "A2")))
    whole_or_none = pc.if_else(pa.array(decided), "complete", "queued")
    return as_array(pc.if_else(pa.array(partial), "partial", whole_or_none))


def _service_day(
    own: str, *of_lines: str, end: Literal["min", "max"]
) -> Callable[[RelatedRows], pa.StringArray]:
    """Return how to find the stated first or last day of service, else that of the lines."""

    def day(partition: RelatedRows) -> pa.StringArray:
        stated = partition.column("prior_auth", own)
        lines = _related(partition, "prior_auth", "lines")
        days = pc.coalesce(*(partition.column("prior_auth_line", name) for name in of_lines))
        table = pa.table({"parent": lines.parents, "day": days.take(pa.array(lines.rows))})
        ends = table.group_by("parent").aggregate([("day", end)])
        found = pc.index_in(
            pa.array(np.arange(partition.size("prior_auth"))),
            value_set=ends.column("parent").combine_chunks(),
        )
        return pc.coalesce(stated, as_array(ends.column(f"day_{end}")).take(found))

    return day


def _units_differ(partition: RelatedRows) -> pa.StringArray:
    """Return whether some units were approved, and not as many as were requested."""
    requested, approved = (
        partition.column("prior_auth_line", f"units_{kind}").cast(pa.decimal128(38, 18))
        for kind in ("requested", "approved")
    )
    differs = pc.or_(pc.is_null(requested), pc.fill_null(pc.not_equal(requested, approved), False))
    return _flag(true_where(pc.and_(pc.greater(approved, pa.scalar(0)), differs)))


_DERIVED: Final[Mapping[tuple[str, str], Callable[[RelatedRows], pa.StringArray]]] = (
    MappingProxyType(
        {
            ("claim", "has_amounts"): lambda partition: _flag(_any_amount(partition, "claim")),
            ("claim", "has_line_amounts"): _any_line_amount,
            ("claim", "line_benefit_payment_status"): _line_status,
            **{("claim", f"total_{category}"): _total(category) for category in AMOUNT_CATEGORIES},
            ("claim", "chain_role"): lambda partition: partition.chains.role,
            ("claim", "other_priors"): lambda partition: partition.chains.priors,
            ("claim", "other_successors"): lambda partition: partition.chains.successors,
            ("claim", "chain_updated"): lambda partition: partition.chains.updated,
            ("claim_diagnosis", "masked"): _masked,
            ("claim_diagnosis", "role"): _role("claim_diagnosis", "diagnoses"),
            ("claim_procedure", "role"): _role("claim_procedure", "procedures"),
            ("claim_line", "line_key"): _line_key("claim_line"),
            ("claim_line", "has_amounts"): lambda part: _flag(_any_amount(part, "claim_line")),
            ("claim_line", "service_system"): _service_system("claim_line", "service_code"),
            ("claim_line", "site_tooth"): _site("tooth_number"),
            ("claim_line", "site_area"): _site("oral_cavity_area"),
            ("claim_line", "has_tooth"): _has_tooth,
            ("claim_tooth", "line_key"): _line_key("claim_tooth"),
            ("claim_tooth", "role"): _tooth_role,
            ("claim_transport", "number"): _transport_number,
            ("claim_care_team", "taxonomy"): _taxonomy,
            ("claim_other_payer", "own_coverage_id"): _own_coverage,
            ("claim_other_payer", "first"): _first_of_payer,
            ("claim_other_payer", "among_others"): _among_other_payers,
            ("prior_auth", "has_amounts"): lambda part: _flag(_any_amount(part, "prior_auth")),
            ("prior_auth", "decided_outcome"): _outcome,
            ("prior_auth", "received_day"): lambda part: pc.utf8_slice_codeunits(
                part.column("prior_auth", "received_at"), 0, len("2026-01-01")
            ),
            ("prior_auth", "service_start"): _service_day(
                "service_from_date", "service_from_date", end="min"
            ),
            ("prior_auth", "service_end"): _service_day(
                "service_to_date", "service_to_date", "service_from_date", end="max"
            ),
            ("prior_auth_line", "has_amounts"): lambda part: _flag(
                _any_amount(part, "prior_auth_line")
            ),
            ("prior_auth_line", "action"): _actions,
            ("prior_auth_line", "service_system"): _service_system(
                "prior_auth_line", "service_code"
            ),
            ("prior_auth_line", "approved_system"): _service_system(
                "prior_auth_line", "approved_service_code"
            ),
            ("prior_auth_line", "units_differ"): _units_differ,
        }
    )
)
