"""The comparison of published claims with their rows: fact by fact, and sum by sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.certificate.differences import Differences, FactDifference, FileCell, FileSum, file_sums
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
    among,
    as_numpy,
    day_of,
    pair_places,
    places_of,
)
from etl.certificate.sums import Sums, claim_sums, entries_where, published_sums
from etl.certificate.timeliness import Delays, Newly, delays
from etl.model.canonical_tables import AMOUNT_CATEGORIES

_SUMMED: Final = "sum-of-lines"
_END: Final = "end-before-start"
_NO_PERIOD: Final = "no-place-for-a-period"
_OF_ONE_DAY: Final = ("outpatient", "pharmacy")
"""Types of claims with profiles that have a day of service for a line, and no period."""
_STATUSES: Final = ("active", "cancelled", "draft", "entered-in-error")
"""Of explanations of benefits, in FHIR."""
_PAIRED: Final = (("insurer", "payer_id"), ("coverage", "coverage_id"))


@dataclass(frozen=True, slots=True)
class Compared:
    """The comparison of some members' claims.

    Attributes:
        facts: how many facts were compared.
        source: sums of the rows.
        published: sums of the bytes.
        differences: those that are explained, and up to `MOST` that are not.
        unexplained: how many are not.
        delays: of the claims that become visible.
        files: amounts by the file whose row brought them; empty in a view without money.
    """

    facts: int
    source: Sums
    published: Sums
    differences: tuple[FactDifference, ...]
    unexplained: int
    delays: Delays
    files: Mapping[FileCell, FileSum]


def compare(
    tables: Mapping[str, pa.Table],
    fates: Mapping[str, Fates],
    findings: pa.Table,
    published: PublishedClaims,
    *,
    states_money: bool,
    leaves_out: bool = False,
    newly: Newly | None = None,
) -> Compared:
    """Compare the published claims of some members with their rows.

    Args:
        tables: their raw canonical rows, with the columns of `COMPARED` and the place.
        fates: fates of these rows, by table.
        findings: `file`, `row`, `column` and `rule` of findings.
        published: their claims, as read from the blocks.
        states_money: whether the release has amounts; of one that has none, none may be there.
        leaves_out: whether claims that others of their chain replace are not published.
        newly: when claims become visible; None before the first release.
    """
    kept = {name: _rows_at(tables[name], fates[name].published) for name in COMPARED}
    differences = Differences.of(findings)
    source = SourceClaims(
        kept["claim"],
        kept["claim_line"],
        kept["coverage"],
        kept["member"],
        kept["claim_other_payer"],
        kept["claim_adjustment"],
        _rows_at(tables["claim"], fates["claim"].quarantined),
        differences.places,
    )
    # Rows: each is published once, in quarantine, or superseded by another.
    _superseded(tables, fates, differences, leaves_out=leaves_out)
    claim_rows = _matched(source, published, differences)
    # Facts: of claims, members and lines.
    _texts(source, published, claim_rows, differences)
    _members(source, published, differences)
    line_rows = _matched_lines(source, published, claim_rows, differences)
    compare_prior_auths(
        {name: SourceTable(tables[name]) for name in FACTS},
        fates,
        published.prior_auths,
        differences,
        states_money=states_money,
    )
    # Amounts: each, and none where the view has none.
    of_rows = source.expected(source.stated, source.stated_lines, source.stated_adjustments)
    if states_money:
        _amounts(source, published, (claim_rows, line_rows), of_rows, differences)
    else:
        _no_amounts(published, differences)
    # Sums: those of the rows here, those of the bytes by reading them alone.
    labels = _labels(source, published, claim_rows)
    sums = claim_sums(labels, source.stated, source.line_claims, of_rows[2], source.counts)
    return Compared(
        facts=differences.facts,
        source=sums if states_money else sums.without_money(),
        published=published_sums(published),
        differences=(*differences.explained, *differences.unexplained),
        unexplained=differences.count,
        delays=_delays(source, published, claim_rows, newly),
        files=file_sums(
            source, published, (claim_rows, line_rows), of_rows[2], differences.explained
        )
        if states_money
        else {},
    )


def _rows_at(table: pa.Table, places: Any) -> SourceTable:
    return SourceTable(table.filter(pa.array(among(places_of(table), places))))


def _delays(
    source: SourceClaims, published: PublishedClaims, claim_rows: Any, newly: Newly | None
) -> Delays:
    if newly is None:
        return Delays({}, ())
    ids = published.texts["id"].to_pylist()
    is_new = np.array([claim not in newly.known for claim in ids], dtype=np.bool_)
    rows = claim_rows[is_new & (claim_rows >= 0)]
    days = source.claims.dates("adjudication_date").take(pa.array(rows))
    return delays(as_numpy(days), source.claims.places[rows], newly)


def _superseded(
    tables: Mapping[str, pa.Table],
    fates: Mapping[str, Fates],
    differences: Differences,
    *,
    leaves_out: bool,
) -> None:
    """Note claims and lines that are neither published nor in quarantine, for no reason.

    A row is superseded by one with its key, or as a part of a claim that is; where superseded
    claims are left out, by a claim of its chain. A row that deletes leaves nothing behind.
    """
    claims, lines = SourceTable(tables["claim"]), SourceTable(tables["claim_line"])
    gone, gone_lines = (
        ~among(rows.places, np.concatenate([fates[name].published, fates[name].quarantined]))
        for name, rows in (("claim", claims), ("claim_line", lines))
    )
    differences.facts += len(gone) + len(gone_lines)
    if not (gone.any() or gone_lines.any()):
        return
    numbers, priors, successors = (
        as_numpy(claims.cells(name))
        for name in ("claim_id", "adjusted_from_claim_id", "adjusted_to_claim_id")
    )
    present, replaced = set(numbers[~gone].tolist()), set(priors.tolist())
    deleting = as_numpy(claims.small("record_action")) == "d"
    for at in np.flatnonzero(gone):
        is_replaced = leaves_out and (numbers[at] in replaced or priors[at] or successors[at])
        if not (numbers[at] in present or is_replaced or deleting[at]):
            differences.add("claim", claims.places[at], "superseded by nothing")
    gone_claims = set(numbers[gone].tolist())
    keys = list(
        zip(lines.cells("claim_id").to_pylist(), lines.whole("line_number").tolist(), strict=True)
    )
    present_lines = {
        key for key, is_gone in zip(keys, gone_lines.tolist(), strict=True) if not is_gone
    }
    deleting = as_numpy(lines.small("record_action")) == "d"
    for at in np.flatnonzero(gone_lines):
        key = keys[at]
        if not (key in present_lines or key[0] in gone_claims or deleting[at]):
            differences.add("claim_line", lines.places[at], "superseded by nothing")


def _matched(source: SourceClaims, published: PublishedClaims, differences: Differences) -> Any:
    """Return the place of the row of each published claim; -1 where it has none of its own."""
    claim_rows = source.rows_of(published.texts["number"])
    differences.facts += len(source.claims)
    _each_once("claim", source.claims, claim_rows, differences)
    return claim_rows


def _each_once(name: str, table: SourceTable, rows: Any, differences: Differences) -> None:
    """Note rows that are not published once, and what is published without a row."""
    times = np.bincount(rows[rows >= 0], minlength=len(table))
    for row in np.flatnonzero(times != 1):
        differences.add(name, table.places[row], "doubled" if times[row] else "lost")
    for _ in range(int(np.count_nonzero(rows < 0))):
        differences.add(name, (-1, 0), "without a row")


def _texts(
    source: SourceClaims, published: PublishedClaims, claim_rows: Any, differences: Differences
) -> None:
    """Compare dates, codes and references of claims."""
    claims, known = source.claims, claim_rows >= 0
    starts, ends = claims.dates("statement_from_date"), claims.dates("statement_thru_date")
    is_reversed = pc.and_(pc.not_equal(ends, ""), pc.less(ends, starts))
    for row in _positions(is_reversed):
        differences.add("claim", claims.places[row], "end", _END)
    expected = {
        "member": (claims.cells("member_id"), "member_id"),
        "type": (source.types, "claim_type"),
        "start": (starts, "statement_from_date"),
        "end": (pc.if_else(is_reversed, "", ends), "statement_thru_date"),
        "created": (claims.dates("adjudication_date"), "adjudication_date"),
        "paid": (claims.dates("paid_date"), "paid_date"),
        "plan": (source.plans, ""),
    }
    rows = claim_rows[known]
    row_numbers = pa.array(rows)
    texts = {name: column.filter(known) for name, column in published.texts.items()}
    for name, (values, column) in expected.items():
        differences.facts += len(rows)
        for wrong in _positions(pc.not_equal(values.take(row_numbers), texts[name])):
            place = claims.places[rows[wrong]]
            rule = differences.rule(place, column) if texts[name][wrong].as_py() == "" else ""
            differences.add("claim", place, name, rule)
    words = {}
    is_own, is_cancelled = (flags[rows] for flags in source.statuses())
    stated = claims.cells("status").take(row_numbers).filter(pa.array(is_own))
    words["status"] = _pairs(stated, texts["status"].filter(pa.array(is_own)))
    replaced = is_cancelled & ~as_numpy(pc.equal(texts["status"], "cancelled"))
    for wrong in np.flatnonzero(replaced):
        differences.add("claim", claims.places[rows[wrong]], "status")
    for name, column in _PAIRED:
        words[name] = _pairs(claims.cells(column).take(row_numbers), texts[name])
        others = frozenset((code, word) for word, code in words[name])
        _functions({f"{name}, the other way": others}, differences)
    for word, code in sorted(words["status"]):
        if word.lower() in _STATUSES and word.lower() != code:
            differences.add("claim", (-1, 0), "status by its word")
    differences.facts += (1 + len(_PAIRED)) * len(rows)
    _functions(words, differences)


def _positions(mask: pa.BooleanArray) -> Any:
    """Return where a mask is true: numpy `int64`."""
    return np.flatnonzero(as_numpy(mask))


def _pairs(source: pa.StringArray, published: pa.StringArray) -> dict[tuple[str, str], int]:
    """Return how often every two texts stand at the same place."""
    pairs = pa.table([source, published], ["source", "published"])
    groups = pairs.group_by(pairs.column_names, use_threads=False).aggregate([([], "count_all")])
    words, codes, counts = (column.to_pylist() for column in groups.columns)
    return dict(zip(zip(words, codes, strict=True), counts, strict=True))


def _functions(words: Mapping[str, Collection[tuple[str, str]]], differences: Differences) -> None:
    """Note words that are published now as one thing and now as another."""
    for fact, pairs in words.items():
        for _, count in sorted(Counter(word for word, _ in pairs).items()):
            if count > 1:
                differences.add("claim", (-1, 0), f"{fact} by its word")


def _members(source: SourceClaims, published: PublishedClaims, differences: Differences) -> None:
    members = source.members
    days = members.dates("birth_date").to_pylist()
    differences.facts += len(members)
    numbers = members.cells("member_id").to_pylist()
    for place, number, stated in zip(members.places, numbers, days, strict=True):
        day = published.members.get(number)
        if day is None:
            differences.add("member", place, "lost")
        elif day != stated:
            rule = "" if day else differences.rule(place, "birth_date")
            differences.add("member", place, "birth date", rule)
    for fact, kind, rows in (
        ("member", "Patient", len(members)),
        ("coverage", "Coverage", len(source.coverages)),
    ):
        differences.facts += rows
        extra = published.resources.get(kind, 0) - rows
        for _ in range(abs(extra)):
            differences.add(fact, (-1, 0), "without a row" if extra > 0 else "lost")


def _matched_lines(
    source: SourceClaims, published: PublishedClaims, claim_rows: Any, differences: Differences
) -> Any:
    """Return the place of the row of each published item; -1 for none. Their days are compared."""
    lines = source.lines
    line_rows = source.lines_at(claim_rows[published.claims], published.numbers)
    differences.facts += 2 * len(lines)
    _each_once("claim_line", lines, line_rows, differences)
    known = np.flatnonzero(line_rows >= 0)
    rows = line_rows[known]
    starts, ends = (
        lines.dates(name).take(pa.array(rows)) for name in ("service_from_date", "service_to_date")
    )
    dates = published.dates.take(pa.array(known))
    for wrong in _positions(pc.invert(_is_served(dates, starts, ends))):
        date, start, end = (column[wrong].as_py() for column in (dates, starts, ends))
        row = rows[wrong]
        place, claim = lines.places[row], source.line_claims[row]
        kind = source.types[claim].as_py() if claim >= 0 else ""
        if date == start and kind in _OF_ONE_DAY:
            differences.add("claim_line", place, "date", _NO_PERIOD)
            continue
        rules = [differences.rule(place, name) for name in ("service_from_date", "service_to_date")]
        left_out = date in ("", "/", start, f"{start}/", f"/{end}")
        differences.add(
            "claim_line", place, "date", next(filter(None, rules), "") if left_out else ""
        )
    return line_rows


def _is_served(
    published: pa.StringArray, starts: pa.StringArray, ends: pa.StringArray
) -> pa.BooleanArray:
    """Return where the days of lines stand as they may: as a period, or as their one day."""
    period = pc.equal(published, pc.binary_join_element_wise(starts, ends, "/"))
    begun = pc.binary_join_element_wise(starts, "", "/")
    is_day = pc.or_(pc.equal(published, starts), pc.equal(published, begun))
    one_day = pc.or_(is_day, pc.and_(period, pc.equal(ends, starts)))
    return pc.if_else(pc.greater(ends, starts), period, one_day)


def _no_amounts(published: PublishedClaims, differences: Differences) -> None:
    """Note the amounts of a view that has none."""
    for level in (published.totals, published.headers, published.lines, published.payments):
        differences.facts += 1
        for _ in range(int(np.count_nonzero(level != ABSENT))):
            differences.add("claim", (-1, 0), "amount in a view without money")


def _amounts(
    source: SourceClaims,
    published: PublishedClaims,
    matched: tuple[Any, Any],
    of_rows: tuple[Any, Any, Any],
    differences: Differences,
) -> None:
    """Compare every amount.

    An amount with a finding may have been left out: the bytes show where it was.
    """
    claims, lines = matched
    headers, line_cents = source.stated.copy(), source.stated_lines.copy()
    before = len(differences.explained)
    _leave_out(source.claims, "claim", headers, (published.totals, claims), differences)
    _leave_out(source.lines, "claim_line", line_cents, (published.lines, lines), differences)
    adjustments = _adjustments_left_in(source, published, matched, of_rows, differences)
    is_whole = len(differences.explained) == before
    expected = of_rows if is_whole else source.expected(headers, line_cents, adjustments)
    sides = (
        ("claim", published.totals, claims),
        ("header", published.headers, claims),
        ("claim_line", published.lines, lines),
    )
    used = [
        (level, cents[rows >= 0], rows[rows >= 0], wanted)
        for (level, cents, rows), wanted in zip(sides, expected, strict=True)
    ]
    for level, cents, rows, wanted in used:
        name = "claim_line" if level == "claim_line" else "claim"
        table = source.lines if level == "claim_line" else source.claims
        differences.facts += cents.size
        for at, code in zip(*entries_where(cents != wanted[rows]), strict=True):
            differences.add(name, table.places[rows[at]], f"{level}.{CATEGORIES[code]}")
    rows, payments = claims[claims >= 0], source.claims.cents("payment_amount")
    paid = published.payments[claims >= 0]
    differences.facts += len(rows)
    for wrong in np.flatnonzero(paid != payments[rows]):
        place = source.claims.places[rows[wrong]]
        rule = differences.rule(place, "payment_amount") if paid[wrong] == ABSENT else ""
        differences.add("claim", place, "payment", rule)
    totals = expected[0]
    summed = (totals != ABSENT) & (headers == ABSENT)
    for at, code in zip(*entries_where(summed), strict=True):
        place = source.claims.places[at]
        differences.add("claim", place, f"claim.{CATEGORIES[code]}", _SUMMED, int(totals[at, code]))


def _leave_out(
    table: SourceTable, name: str, cents: Any, items: tuple[Any, Any], differences: Differences
) -> None:
    """Remove expected amounts that have a finding and are not published as expected."""
    codes = {f"amount_{category}": code for code, category in enumerate(AMOUNT_CATEGORIES)}
    cells = sorted(cell for cell in differences.places if cell[2] in codes)
    if not cells:
        return
    published, matched = items
    item_of = np.full(len(table), -1, dtype=np.int64)
    item_of[matched[matched >= 0]] = np.flatnonzero(matched >= 0)
    rows = pair_places(np.array([cell[:2] for cell in cells], dtype=np.int64), table.places)
    for (file, row, column), at in zip(cells, rows.tolist(), strict=True):
        rule, code = differences.places[file, row, column], codes[column]
        if at < 0 or item_of[at] < 0 or cents[at, code] == ABSENT:
            continue
        amount, stated = published[item_of[at], code], cents[at, code]
        if amount != stated:
            # What rows of other tables add to a line may stand in its place; totals see to theirs.
            instead = int(amount) if name == "claim_line" and amount > NO_CENTS else 0
            gone = int(stated) if stated > NO_CENTS else 0
            differences.add(name, (file, row), f"{name}.{CATEGORIES[code]}", rule, instead - gone)
            cents[at, code] = ABSENT


def _adjustments_left_in(
    source: SourceClaims,
    published: PublishedClaims,
    matched: tuple[Any, Any],
    of_rows: tuple[Any, Any, Any],
    differences: Differences,
) -> Any:
    """Return the adjustments, but for those with a finding that the bytes are short of."""
    adjustments = source.stated_adjustments
    rules = {
        cell[:2]: rule
        for column in ("amount", "reason_code")  # the finding about the code says more
        for cell, rule in differences.places.items()
        if cell[2] == column
    }
    places = np.array(sorted(rules), dtype=np.int64).reshape(-1, 2)
    rows = pair_places(places, source.adjustments.places)
    rows = rows[(rows >= 0) & (adjustments[rows, 0] > NO_CENTS)]
    if not len(rows):
        return adjustments
    left_in = adjustments.copy()
    left_in[rows] = ABSENT
    without = source.expected(source.stated, source.stated_lines, left_in)
    levels = (
        ("header", source.adjustment_claims, published.headers, matched[0], 1),
        ("claim_line", source.adjustment_lines, published.lines, matched[1], 2),
    )
    is_left_out = np.zeros(len(adjustments), dtype=np.bool_)
    for level, owners, amounts, items, at in levels:
        is_short = np.zeros(len(of_rows[at]) + 1, dtype=np.bool_)  # the last is of no owner
        known = items >= 0
        with_all, with_some = (
            expected[at][items[known], ADJUSTED] for expected in (of_rows, without)
        )
        is_short[items[known]] = (with_all != with_some) & (amounts[known, ADJUSTED] == with_some)
        for row in rows[is_short[owners[rows]]].tolist():
            place, cents = source.adjustments.places[row], int(adjustments[row, 0])
            rule = rules[int(place[0]), int(place[1])]
            differences.add("claim_adjustment", place, f"{level}.{ADJUSTMENT}", rule, -cents)
            is_left_out[row] = True
    left_in[~is_left_out] = adjustments[~is_left_out]
    return left_in


def _labels(
    source: SourceClaims, published: PublishedClaims, claim_rows: Any
) -> dict[str, pa.StringArray]:
    """Return the labels of the rows' sums, words of the source in those that are published."""
    known = claim_rows >= 0
    payers = source.claims.cells("payer_id").take(pa.array(claim_rows[known]))
    pairs = _pairs(payers, published.texts["insurer"].filter(known))
    # Several references of one payer are a difference; here the most frequent of them counts.
    published_as = dict(sorted(pairs, key=lambda pair: (pairs[pair], pair)))
    item_of = np.full(len(source.claims), -1, dtype=np.int64)
    item_of[claim_rows[known]] = np.flatnonzero(known)
    status = published.texts["status"].take(pa.array(item_of, mask=item_of < 0))
    claims, text = source.claims, pa.string()
    return {
        "type": source.types,
        "plan": source.plans,
        "payer": claims.each("payer_id", lambda payer: published_as.get(payer, payer), text),
        "month": claims.each("statement_from_date", lambda day: day_of(day)[:7], text),
        "status": pc.fill_null(status, ""),
    }
