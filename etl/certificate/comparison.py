"""The comparison of published claims with their rows: fact by fact, and sum by sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.certificate.differences import (
    NO_MONEY,
    Differences,
    FactDifference,
    FileCell,
    FileSum,
    file_sums,
)
from etl.certificate.prior_auth_comparison import FACTS, compare_prior_auths
from etl.certificate.published import (
    ABSENT,
    ADJUSTMENT,
    CATEGORIES,
    NO_CENTS,
    PublishedClaims,
)
from etl.certificate.source import (
    ADJUSTED,
    COMPARED,
    Fates,
    SourceClaims,
    SourceTable,
    as_numpy,
    day_of,
    find_pairs,
    is_among,
    places_of,
)
from etl.certificate.sums import Sums, claim_sums, entries_where, published_sums
from etl.model.canonical_tables import AMOUNT_CATEGORIES

_SUM_REASON: Final = "sum-of-lines"
_HEADER_REASON: Final = "amount-of-header"
_END_REASON: Final = "end-before-start"
_NO_PERIOD_REASON: Final = "no-place-for-a-period"
_ONE_DAY_TYPES: Final = ("outpatient", "pharmacy")
"""Claim types whose profiles have a day of service for a line, but no period."""
_STATUSES: Final = ("active", "cancelled", "draft", "entered-in-error")
"""`ExplanationOfBenefit.status` in FHIR."""
_PAIRED_FACTS: Final = (("insurer", "payer_id"), ("coverage", "coverage_id"))


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison of some members' claims.

    Attributes:
        facts: number of compared facts.
        source: sums of the rows.
        published: sums of the bytes.
        differences: the explained ones, and up to `MAX_LISTED` others.
        unexplained: number of unexplained differences.
        exposing: number of these that would show somebody what isn't theirs.
        visible: file, row and adjudication date, `YYYY-MM-DD`, of the claims that become visible;
            those without a date are left out.
        files: amounts by the file whose row contributed them; empty in a view without money.
    """

    facts: int
    source: Sums
    published: Sums
    differences: tuple[FactDifference, ...]
    unexplained: int
    exposing: int
    visible: tuple[tuple[int, int, str], ...]
    files: Mapping[FileCell, FileSum]


def compare(
    tables: Mapping[str, pa.Table],
    fates: Mapping[str, Fates],
    findings: pa.Table,
    published: PublishedClaims,
    *,
    states_money: bool,
    leaves_out: bool = False,
    visible_ids: Collection[str] | None = None,
) -> Comparison:
    """Compare the published claims of some members with their rows.

    Args:
        tables: their raw canonical rows, with the columns of `COMPARED`, file and row.
        fates: fates of these rows, by table.
        findings: `file`, `row`, `column` and `rule` of findings.
        published: their claims, as read from the blocks.
        states_money: whether the release has amounts. If not, no amount may be published.
        leaves_out: whether superseded claims of a chain are not published.
        visible_ids: IDs of ExplanationOfBenefits that an earlier release has or had; None if no
            claim becomes visible, or if unknown.
    """
    published_rows = {name: _select_rows(tables[name], fates[name].published) for name in COMPARED}
    differences = Differences.from_findings(findings)
    source = SourceClaims(
        published_rows["claim"],
        published_rows["claim_line"],
        published_rows["coverage"],
        published_rows["member"],
        published_rows["claim_other_payer"],
        published_rows["claim_adjustment"],
        _select_rows(tables["claim"], fates["claim"].quarantined),
        differences.rules,
    )
    # Rows: each is published once, quarantined, or superseded by another.
    _check_superseded(tables, fates, differences, leaves_out=leaves_out)
    claim_rows = _match_claims(source, published, differences)
    # Facts: of claims, members and lines.
    _compare_texts(source, published, claim_rows, differences)
    _compare_members(source, published, differences)
    line_rows = _match_lines(source, published, claim_rows, differences)
    compare_prior_auths(
        {name: SourceTable(tables[name]) for name in FACTS},
        fates,
        published.prior_auths,
        differences,
        states_money=states_money,
    )
    # Amounts: each, and none if the view has none.
    expected = source.expected(source.stated, source.stated_lines, source.stated_adjustments)
    published_lines = source.stated_lines
    if states_money:
        matched_rows = (claim_rows, line_rows)
        published_lines = _compare_amounts(source, published, matched_rows, expected, differences)
    else:
        _check_no_amounts(published, differences)
    # Sums: the rows' from here, the bytes' from the blocks alone.
    labels = _sum_labels(source, published, claim_rows)
    line_cents = source.line_cents(source.stated_lines, source.stated_adjustments, published_lines)
    sums = claim_sums(labels, source.stated, source.line_claims, line_cents, source.counts)
    return Comparison(
        facts=differences.facts,
        source=sums if states_money else sums.without_money(),
        published=published_sums(published),
        differences=(*differences.explained, *differences.unexplained),
        unexplained=differences.count,
        exposing=differences.exposing,
        visible=_find_visible(source, published, claim_rows, visible_ids),
        files=file_sums(
            source, published, (claim_rows, line_rows), line_cents, differences.explained
        )
        if states_money
        else {},
    )


def _select_rows(table: pa.Table, positions: Any) -> SourceTable:
    return SourceTable(table.filter(pa.array(is_among(places_of(table), positions))))


def _find_visible(
    source: SourceClaims,
    published: PublishedClaims,
    claim_rows: Any,
    visible_ids: Collection[str] | None,
) -> tuple[tuple[int, int, str], ...]:
    if visible_ids is None:
        return ()
    ids = published.texts["id"].to_pylist()
    is_new = np.array([claim not in visible_ids for claim in ids], dtype=np.bool_)
    rows = claim_rows[is_new & (claim_rows >= 0)]
    days = source.claims.dates("adjudication_date").take(pa.array(rows)).to_pylist()
    positions = source.claims.positions[rows].tolist()
    return tuple((file, row, day) for (file, row), day in zip(positions, days, strict=True) if day)


def _check_superseded(
    tables: Mapping[str, pa.Table],
    fates: Mapping[str, Fates],
    differences: Differences,
    *,
    leaves_out: bool,
) -> None:
    """Report claims and lines that are neither published nor quarantined, for no reason.

    A row is superseded by another row with its key, or because its claim is. Where superseded
    claims are left out, a later claim of the chain supersedes it. A deletion leaves no row.
    """
    claims, lines = SourceTable(tables["claim"]), SourceTable(tables["claim_line"])
    is_missing, is_line_missing = (
        ~is_among(rows.positions, np.concatenate([fates[name].published, fates[name].quarantined]))
        for name, rows in (("claim", claims), ("claim_line", lines))
    )
    differences.facts += len(is_missing) + len(is_line_missing)
    if not (is_missing.any() or is_line_missing.any()):
        return
    numbers, priors, successors = (
        as_numpy(claims.cells(name))
        for name in ("claim_id", "adjusted_from_claim_id", "adjusted_to_claim_id")
    )
    present, replaced = set(numbers[~is_missing].tolist()), set(priors.tolist())
    is_deletion = as_numpy(claims.lower_cells("record_action")) == "d"
    for row in np.flatnonzero(is_missing):
        is_replaced = leaves_out and (numbers[row] in replaced or priors[row] or successors[row])
        if not (numbers[row] in present or is_replaced or is_deletion[row]):
            differences.add("claim", claims.positions[row], "superseded by nothing")
    missing = set(numbers[is_missing].tolist())
    line_numbers = lines.integers("line_number").tolist()
    keys = list(zip(lines.cells("claim_id").to_pylist(), line_numbers, strict=True))
    present_lines = {
        key
        for key, is_key_missing in zip(keys, is_line_missing.tolist(), strict=True)
        if not is_key_missing
    }
    is_deletion = as_numpy(lines.lower_cells("record_action")) == "d"
    for row in np.flatnonzero(is_line_missing):
        key = keys[row]
        if not (key in present_lines or key[0] in missing or is_deletion[row]):
            differences.add("claim_line", lines.positions[row], "superseded by nothing")


def _match_claims(
    source: SourceClaims, published: PublishedClaims, differences: Differences
) -> Any:
    """Return the row of each published claim; -1 without one."""
    claim_rows = source.rows_of(published.texts["number"])
    differences.facts += len(source.claims)
    _check_once("claim", source.claims, claim_rows, differences)
    return claim_rows


def _check_once(name: str, table: SourceTable, rows: Any, differences: Differences) -> None:
    """Report rows not published exactly once, and published data without a row."""
    counts = np.bincount(rows[rows >= 0], minlength=len(table))
    for row in np.flatnonzero(counts != 1):
        differences.add(name, table.positions[row], "doubled" if counts[row] else "lost")
    for _ in range(int(np.count_nonzero(rows < 0))):
        differences.add(name, (-1, 0), "without a row")


def _compare_texts(
    source: SourceClaims, published: PublishedClaims, claim_rows: Any, differences: Differences
) -> None:
    """Compare dates, codes and references of claims."""
    claims, has_row = source.claims, claim_rows >= 0
    starts, ends = claims.dates("statement_from_date"), claims.dates("statement_thru_date")
    is_reversed = pc.and_(pc.not_equal(ends, ""), pc.less(ends, starts))
    for row in _true_positions(is_reversed):
        differences.add("claim", claims.positions[row], "end", _END_REASON)
    expected = {
        "member": (claims.cells("member_id"), "member_id"),
        "type": (source.types, "claim_type"),
        "start": (starts, "statement_from_date"),
        "end": (pc.if_else(is_reversed, "", ends), "statement_thru_date"),
        "created": (claims.dates("adjudication_date"), "adjudication_date"),
        "paid": (claims.dates("paid_date"), "paid_date"),
        "plan": (source.plans, ""),
    }
    rows = claim_rows[has_row]
    row_numbers = pa.array(rows)
    texts = {name: column.filter(has_row) for name, column in published.texts.items()}
    for name, (values, column) in expected.items():
        differences.facts += len(rows)
        for index in _true_positions(pc.not_equal(values.take(row_numbers), texts[name])):
            position = claims.positions[rows[index]]
            rule = differences.rule(position, column) if texts[name][index].as_py() == "" else ""
            differences.add("claim", position, name, rule)
    word_pairs = {}
    is_own, is_cancelled = (flags[rows] for flags in source.statuses())
    source_statuses = claims.cells("status").take(row_numbers).filter(pa.array(is_own))
    word_pairs["status"] = _count_pairs(source_statuses, texts["status"].filter(pa.array(is_own)))
    not_cancelled = is_cancelled & ~as_numpy(pc.equal(texts["status"], "cancelled"))
    for index in np.flatnonzero(not_cancelled):
        differences.add("claim", claims.positions[rows[index]], "status")
    for name, column in _PAIRED_FACTS:
        word_pairs[name] = _count_pairs(claims.cells(column).take(row_numbers), texts[name])
        reversed_pairs = frozenset((code, word) for word, code in word_pairs[name])
        _check_words({f"{name}, the other way": reversed_pairs}, differences)
    for word, code in sorted(word_pairs["status"]):
        if word.lower() in _STATUSES and word.lower() != code:
            differences.add("claim", (-1, 0), "status by its word")
    differences.facts += (1 + len(_PAIRED_FACTS)) * len(rows)
    _check_words(word_pairs, differences)


def _true_positions(mask: pa.BooleanArray) -> Any:
    """Return the indices where a mask is true: numpy `int64`."""
    return np.flatnonzero(as_numpy(mask))


def _count_pairs(source: pa.StringArray, published: pa.StringArray) -> dict[tuple[str, str], int]:
    """Count each pair of source text and published text."""
    pairs = pa.table([source, published], ["source", "published"])
    groups = pairs.group_by(pairs.column_names, use_threads=False).aggregate([([], "count_all")])
    source_texts, published_texts, counts = (column.to_pylist() for column in groups.columns)
    return dict(zip(zip(source_texts, published_texts, strict=True), counts, strict=True))


def _check_words(
    words: Mapping[str, Collection[tuple[str, str]]], differences: Differences
) -> None:
    """Report source words that are published in more than one way."""
    for name, pairs in words.items():
        for _, count in sorted(Counter(word for word, _ in pairs).items()):
            if count > 1:
                differences.add("claim", (-1, 0), f"{name} by its word")


def _compare_members(
    source: SourceClaims, published: PublishedClaims, differences: Differences
) -> None:
    """Compare birth dates, and the numbers of Patients and Coverages."""
    members = source.members
    birth_dates = members.dates("birth_date").to_pylist()
    differences.facts += len(members)
    numbers = members.cells("member_id").to_pylist()
    for position, number, birth_date in zip(members.positions, numbers, birth_dates, strict=True):
        published_date = published.members.get(number)
        if published_date is None:
            differences.add("member", position, "lost")
        elif published_date != birth_date:
            rule = "" if published_date else differences.rule(position, "birth_date")
            differences.add("member", position, "birth date", rule)
    for table, resource_type, rows in (
        ("member", "Patient", len(members)),
        ("coverage", "Coverage", len(source.coverages)),
    ):
        differences.facts += rows
        surplus = published.resources.get(resource_type, 0) - rows
        for _ in range(abs(surplus)):
            differences.add(table, (-1, 0), "without a row" if surplus > 0 else "lost")


def _match_lines(
    source: SourceClaims, published: PublishedClaims, claim_rows: Any, differences: Differences
) -> Any:
    """Return the row of each published item, -1 for none; compare service dates."""
    lines = source.lines
    line_rows = source.lines_at(claim_rows[published.claims], published.numbers)
    differences.facts += 2 * len(lines)
    _check_once("claim_line", lines, line_rows, differences)
    items_with_row = np.flatnonzero(line_rows >= 0)
    rows = line_rows[items_with_row]
    starts, ends = (
        lines.dates(name).take(pa.array(rows)) for name in ("service_from_date", "service_to_date")
    )
    dates = published.dates.take(pa.array(items_with_row))
    for index in _true_positions(pc.invert(_is_service_date_valid(dates, starts, ends))):
        date, start, end = (column[index].as_py() for column in (dates, starts, ends))
        row = rows[index]
        position, claim = lines.positions[row], source.line_claims[row]
        claim_type = source.types[claim].as_py() if claim >= 0 else ""
        if date == start and claim_type in _ONE_DAY_TYPES:
            differences.add("claim_line", position, "date", _NO_PERIOD_REASON)
            continue
        columns = ("service_from_date", "service_to_date")
        rules = [differences.rule(position, name) for name in columns]
        is_incomplete = date in ("", "/", start, f"{start}/", f"/{end}")
        differences.add(
            "claim_line", position, "date", next(filter(None, rules), "") if is_incomplete else ""
        )
    return line_rows


def _is_service_date_valid(
    published: pa.StringArray, starts: pa.StringArray, ends: pa.StringArray
) -> pa.BooleanArray:
    """Return which published service dates match their lines."""
    is_period = pc.equal(published, pc.binary_join_element_wise(starts, ends, "/"))
    start_periods = pc.binary_join_element_wise(starts, "", "/")
    is_start_day = pc.or_(pc.equal(published, starts), pc.equal(published, start_periods))
    is_one_day = pc.or_(is_start_day, pc.and_(is_period, pc.equal(ends, starts)))
    return pc.if_else(pc.greater(ends, starts), is_period, is_one_day)


def _check_no_amounts(published: PublishedClaims, differences: Differences) -> None:
    """Report amounts in a view without money."""
    for level in (published.totals, published.headers, published.lines, published.payments):
        differences.facts += 1
        for _ in range(int(np.count_nonzero(level != ABSENT))):
            differences.add("claim", (-1, 0), NO_MONEY)


def _compare_amounts(
    source: SourceClaims,
    published: PublishedClaims,
    matched_rows: tuple[Any, Any],
    row_amounts: tuple[Any, Any, Any],
    differences: Differences,
) -> Any:
    """Compare every amount; return those of lines, without what rules left out.

    A rule may have left out an amount with a finding: the published bytes show whether it did.
    """
    claims, lines = matched_rows
    headers, line_cents = source.stated.copy(), source.stated_lines.copy()
    count = len(differences.explained)
    _drop_left_out(source.claims, "claim", headers, (published.totals, claims), differences)
    _drop_left_out(source.lines, "claim_line", line_cents, (published.lines, lines), differences)
    adjustments = _published_adjustments(source, published, matched_rows, row_amounts, differences)
    is_complete = len(differences.explained) == count
    expected = row_amounts if is_complete else source.expected(headers, line_cents, adjustments)
    sides = (
        ("claim", published.totals, claims),
        ("header", published.headers, claims),
        ("claim_line", published.lines, lines),
    )
    matched_amounts = [
        (level, cents[rows >= 0], rows[rows >= 0], expected_cents)
        for (level, cents, rows), expected_cents in zip(sides, expected, strict=True)
    ]
    for level, cents, rows, expected_cents in matched_amounts:
        table_name = "claim_line" if level == "claim_line" else "claim"
        table = source.lines if level == "claim_line" else source.claims
        differences.facts += cents.size
        for index, code in zip(*entries_where(cents != expected_cents[rows]), strict=True):
            differences.add(table_name, table.positions[rows[index]], f"{level}.{CATEGORIES[code]}")
    rows, payments = claims[claims >= 0], source.claims.cents("payment_amount")
    paid = published.payments[claims >= 0]
    differences.facts += len(rows)
    for index in np.flatnonzero(paid != payments[rows]):
        position = source.claims.positions[rows[index]]
        rule = differences.rule(position, "payment_amount") if paid[index] == ABSENT else ""
        differences.add("claim", position, "payment", rule)
    totals = expected[0]
    is_sum = (totals != ABSENT) & (headers == ABSENT)
    for index, code in zip(*entries_where(is_sum), strict=True):
        position, total = source.claims.positions[index], int(totals[index, code])
        differences.add("claim", position, f"claim.{CATEGORIES[code]}", _SUM_REASON, total)
    # An amount that a rule left out is explained already.
    is_copied = expected[2] != source.line_cents(line_cents, adjustments, line_cents)
    is_copied &= source.stated_lines == line_cents
    for index, code in zip(*entries_where(is_copied), strict=True):
        position, amount = source.lines.positions[index], int(expected[2][index, code])
        fact = f"claim_line.{CATEGORIES[code]}"
        differences.add("claim_line", position, fact, _HEADER_REASON, amount)
    return line_cents


def _drop_left_out(
    table: SourceTable, name: str, cents: Any, items: tuple[Any, Any], differences: Differences
) -> None:
    """Remove expected amounts that have a finding and are not published as expected."""
    codes = {f"amount_{category}": code for code, category in enumerate(AMOUNT_CATEGORIES)}
    cells = sorted(cell for cell in differences.rules if cell[2] in codes)
    if not cells:
        return
    published, item_rows = items
    item_by_row = np.full(len(table), -1, dtype=np.int64)
    item_by_row[item_rows[item_rows >= 0]] = np.flatnonzero(item_rows >= 0)
    rows = find_pairs(np.array([cell[:2] for cell in cells], dtype=np.int64), table.positions)
    for (file, row, column), at in zip(cells, rows.tolist(), strict=True):
        rule, code = differences.rules[file, row, column], codes[column]
        if at < 0 or item_by_row[at] < 0 or cents[at, code] == ABSENT:
            continue
        amount, stated_amount = published[item_by_row[at], code], cents[at, code]
        if amount != stated_amount:
            # Rows of other tables may add to a line's amount; totals account for their own.
            published_cents = int(amount) if name == "claim_line" and amount > NO_CENTS else 0
            stated_cents = int(stated_amount) if stated_amount > NO_CENTS else 0
            change = published_cents - stated_cents
            differences.add(name, (file, row), f"{name}.{CATEGORIES[code]}", rule, change)
            cents[at, code] = ABSENT


def _published_adjustments(
    source: SourceClaims,
    published: PublishedClaims,
    matched_rows: tuple[Any, Any],
    row_amounts: tuple[Any, Any, Any],
    differences: Differences,
) -> Any:
    """Return the adjustments, except those with a finding that are unpublished."""
    adjustments = source.stated_adjustments
    rules = {
        cell[:2]: rule
        for column in ("amount", "reason_code")  # the finding about the code says more
        for cell, rule in differences.rules.items()
        if cell[2] == column
    }
    positions = np.array(sorted(rules), dtype=np.int64).reshape(-1, 2)
    rows = find_pairs(positions, source.adjustments.positions)
    rows = rows[(rows >= 0) & (adjustments[rows, 0] > NO_CENTS)]
    if not len(rows):
        return adjustments
    levels = (
        ("header", source.adjustment_claims, published.headers, matched_rows[0], 1),
        ("claim_line", source.adjustment_lines, published.lines, matched_rows[1], 2),
    )
    is_left_out = np.zeros(len(adjustments), dtype=np.bool_)
    row_rules = np.array([rules[file, row] for file, row in source.adjustments.positions[rows]])
    # Not every rule with a finding leaves its cell out: try each alone, then all together.
    for rule in (*np.unique(row_rules), None):
        candidates = rows if rule is None else rows[row_rules == rule]
        kept_adjustments = adjustments.copy()
        kept_adjustments[candidates] = ABSENT
        amounts_without = source.expected(source.stated, source.stated_lines, kept_adjustments)
        for level, owners, amounts, items, index in levels:
            is_short = np.zeros(len(row_amounts[index]) + 1, dtype=np.bool_)  # the last: no owner
            has_row = items >= 0
            cents_with, cents_without = (
                expected[index][items[has_row], ADJUSTED]
                for expected in (row_amounts, amounts_without)
            )
            is_short[items[has_row]] = (cents_with != cents_without) & (
                amounts[has_row, ADJUSTED] == cents_without
            )
            is_found = is_short[owners[candidates]] & ~is_left_out[candidates]
            for row in candidates[is_found].tolist():
                position, cents = source.adjustments.positions[row], int(adjustments[row, 0])
                name = rules[int(position[0]), int(position[1])]
                differences.add("claim_adjustment", position, f"{level}.{ADJUSTMENT}", name, -cents)
                is_left_out[row] = True
    kept_adjustments = adjustments.copy()
    kept_adjustments[is_left_out] = ABSENT
    return kept_adjustments


def _sum_labels(
    source: SourceClaims, published: PublishedClaims, claim_rows: Any
) -> dict[str, pa.StringArray]:
    """Return the labels of the rows' sums, translated to published words."""
    has_row = claim_rows >= 0
    payers = source.claims.cells("payer_id").take(pa.array(claim_rows[has_row]))
    pairs = _count_pairs(payers, published.texts["insurer"].filter(has_row))
    # Several references of one payer are a difference; here the most frequent of them counts.
    published_as = dict(sorted(pairs, key=lambda pair: (pairs[pair], pair)))
    claim_by_row = np.full(len(source.claims), -1, dtype=np.int64)
    claim_by_row[claim_rows[has_row]] = np.flatnonzero(has_row)
    status = published.texts["status"].take(pa.array(claim_by_row, mask=claim_by_row < 0))
    claims, text = source.claims, pa.string()
    return {
        "type": source.types,
        "plan": source.plans,
        "payer": claims.parse_cells("payer_id", lambda payer: published_as.get(payer, payer), text),
        "month": claims.parse_cells("statement_from_date", lambda day: day_of(day)[:7], text),
        "status": pc.fill_null(status, ""),
    }
