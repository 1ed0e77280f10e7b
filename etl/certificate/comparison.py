"""The comparison of published claims with their rows: fact by fact, and sum by sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.certificate.published import ABSENT, CATEGORIES, NO_CENTS, PublishedClaims
from etl.certificate.source import (
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
from etl.certificate.sums import (
    LEVELS,
    FileCell,
    FileSum,
    Sums,
    claim_sums,
    entries_where,
    sums_by_file,
)
from etl.certificate.timeliness import Delays, Newly, delays
from etl.model.canonical_tables import AMOUNT_CATEGORIES

MOST: Final = 1_000
"""Unexplained differences of a unit that are listed; the others are counted."""

_SUMMED: Final = "sum-of-lines"
_END: Final = "end-before-start"
_NO_PERIOD: Final = "no-place-for-a-period"
_OF_ONE_DAY: Final = ("outpatient", "pharmacy")
"""Types of claims with profiles that have a day of service for a line, and no period."""
_STATUSES: Final = ("active", "cancelled", "draft", "entered-in-error")
"""Of explanations of benefits, in FHIR."""
_PAIRED: Final = (("insurer", "payer_id"), ("coverage", "coverage_id"))


@dataclass(frozen=True, slots=True)
class FactDifference:
    """A fact that is published otherwise than its row states it.

    Attributes:
        table: table of the row.
        file: index of its file; -1 where no row is known.
        row: number of the row.
        fact: which fact; an amount by level and category, such as `total.benefit`.
        reason: the rule that left it out or derived it; empty where nothing explains it.
        cents: what is published less what the row states, of amounts; else 0.
    """

    table: str
    file: int
    row: int
    fact: str
    reason: str = ""
    cents: int = 0


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


@dataclass
class _Found:
    """Differences as they are found."""

    places: Mapping[tuple[int, int, str], str]
    explained: list[FactDifference] = field(default_factory=list)
    unexplained: list[FactDifference] = field(default_factory=list)
    count: int = 0
    facts: int = 0

    def add(self, table: str, place: Any, fact: str, reason: str = "", cents: int = 0) -> None:
        one = FactDifference(table, int(place[0]), int(place[1]), fact, reason, cents)
        if reason:
            self.explained.append(one)
            return
        self.count += 1
        if len(self.unexplained) < MOST:
            self.unexplained.append(one)

    def rule(self, place: Any, column: str) -> str:
        """Return the rule that found something in a cell; empty for none."""
        return self.places.get((int(place[0]), int(place[1]), column), "")


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
    kept = {
        name: SourceTable(tables[name].filter(pa.array(among(places_of(tables[name]), one))))
        for name in COMPARED
        for one in [fates[name].published]
    }
    found = _Found(_places(findings))
    source = SourceClaims(
        kept["claim"],
        kept["claim_line"],
        kept["coverage"],
        kept["member"],
        kept["claim_other_payer"],
        kept["claim_adjustment"],
        found.places,
    )
    _superseded(tables, fates, found, leaves_out=leaves_out)
    at = _matched(source, published, found)
    _texts(source, published, at, found)
    _members(source, published, found)
    lines = _matched_lines(source, published, at, found)
    of_rows = source.expected(source.stated, source.stated_lines)
    if states_money:
        _amounts(source, published, (at, lines), of_rows, found)
    else:
        _no_amounts(published, found)
    labels = _labels(source, published, at)
    own = claim_sums(labels, source.stated, source.line_claims, of_rows[2], source.counts)
    return Compared(
        facts=found.facts,
        source=own if states_money else own.without_money(),
        published=published_sums(published),
        differences=(*found.explained, *found.unexplained),
        unexplained=found.count,
        delays=_delays(source, published, at, newly),
        files=_by_file(source, published, (at, lines), of_rows[2], found) if states_money else {},
    )


def _by_file(
    source: SourceClaims,
    published: PublishedClaims,
    matched: tuple[Any, Any],
    of_lines: Any,
    found: _Found,
) -> dict[FileCell, FileSum]:
    """Return the amounts by the file whose row brought them.

    Args:
        source: the rows.
        published: the bytes.
        matched: rows of the claims and of the items that are published; -1 for none.
        of_lines: amounts of the lines, with those that rows of other tables add to them.
        found: the differences.
    """
    sides = (
        (source.claim_files, np.arange(len(source.claims)), source.stated),
        (source.line_files, source.line_claims, of_lines),
    )
    there = (
        (np.arange(len(published)), published.totals),
        (published.claims, published.lines),
    )
    sums: dict[FileCell, FileSum] = {}
    for level, (files, claims, cents), rows, (owners, read) in zip(
        LEVELS, sides, matched, there, strict=True
    ):
        for (file, category), (total, _) in sums_by_file(files, claims, cents).items():
            sums[file, level, category] = FileSum(source=total)
        of = np.concatenate([files, np.full((1, len(CATEGORIES)), -1, dtype=np.int64)])[rows]
        for (file, category), (total, count) in sums_by_file(of, owners, read).items():
            cell = (file, level, category)
            sums[cell] = sums.get(cell, FileSum()) + FileSum(published=total, claims=count)
    for one in found.explained:
        level, _, category = one.fact.partition(".")
        if one.cents and level in LEVELS:
            cell = (one.file, level, category)
            sums[cell] = sums.get(cell, FileSum()) + FileSum(explained=one.cents, differences=1)
    return sums


def _delays(
    source: SourceClaims, published: PublishedClaims, at: Any, newly: Newly | None
) -> Delays:
    if newly is None:
        return Delays(Counter(), ())
    ids = published.texts["id"].to_pylist()
    new = np.array([one not in newly.known for one in ids], dtype=np.bool_)
    rows = at[new & (at >= 0)]
    days = source.claims.dates("adjudication_date").take(pa.array(rows))
    return delays(as_numpy(days), source.claims.places[rows], newly)


def published_sums(published: PublishedClaims) -> Sums:
    """Return the sums of some blocks."""
    texts = published.texts
    labels = {
        "type": texts["type"],
        "plan": texts["plan"],
        "payer": texts["insurer"],
        "month": pc.utf8_slice_codeunits(texts["start"], 0, 7),
        "status": texts["status"],
    }
    counts = {
        "claim": len(published),
        "claim_line": len(published.claims),
        "member": published.resources.get("Patient", 0),
        "coverage": published.resources.get("Coverage", 0),
    }
    return claim_sums(labels, published.totals, published.claims, published.lines, counts)


def _places(findings: pa.Table) -> dict[tuple[int, int, str], str]:
    names = ("file", "row", "column", "rule")
    columns = (findings.column(name).to_pylist() for name in names)
    return {
        (file, row, column): rule
        for file, row, column, rule in zip(*columns, strict=True)
        if file is not None and row is not None and column
    }


def _superseded(
    tables: Mapping[str, pa.Table],
    fates: Mapping[str, Fates],
    found: _Found,
    *,
    leaves_out: bool,
) -> None:
    """Note claims and lines that are neither published nor in quarantine, for no reason.

    A row is superseded by one with its key, or as a part of a claim that is; where superseded
    claims are left out, by a claim of its chain. A row that deletes leaves nothing behind.
    """
    left = {}
    for name in ("claim", "claim_line"):
        whole = SourceTable(tables[name])
        decided = np.concatenate([fates[name].published, fates[name].quarantined])
        gone = ~among(whole.places, decided)
        found.facts += len(gone)
        left[name] = (whole, gone)
    (claims, gone), (lines, gone_lines) = left["claim"], left["claim_line"]
    if not (gone.any() or gone_lines.any()):
        return
    numbers, priors, successors = (
        as_numpy(claims.cells(name))
        for name in ("claim_id", "adjusted_from_claim_id", "adjusted_to_claim_id")
    )
    there, replaced = set(numbers[~gone].tolist()), set(priors.tolist())
    deleting = as_numpy(claims.small("record_action")) == "d"
    for at in np.flatnonzero(gone):
        is_replaced = leaves_out and (numbers[at] in replaced or priors[at] or successors[at])
        if not (numbers[at] in there or is_replaced or deleting[at]):
            found.add("claim", claims.places[at], "superseded by nothing")
    old = set(numbers[gone].tolist())
    keys = list(
        zip(lines.cells("claim_id").to_pylist(), lines.whole("line_number").tolist(), strict=True)
    )
    there_lines = {
        key for key, is_gone in zip(keys, gone_lines.tolist(), strict=True) if not is_gone
    }
    deleting = as_numpy(lines.small("record_action")) == "d"
    for at in np.flatnonzero(gone_lines):
        key = keys[at]
        if not (key in there_lines or key[0] in old or deleting[at]):
            found.add("claim_line", lines.places[at], "superseded by nothing")


def _matched(source: SourceClaims, published: PublishedClaims, found: _Found) -> Any:
    """Return the place of the row of each published claim; -1 where it has none of its own."""
    at = source.rows_of(published.texts["number"])
    found.facts += len(source.claims)
    _each_once("claim", source.claims, at, found)
    return at


def _each_once(name: str, table: SourceTable, at: Any, found: _Found) -> None:
    """Note rows that are not published once, and what is published without a row."""
    times = np.bincount(at[at >= 0], minlength=len(table))
    for row in np.flatnonzero(times != 1):
        found.add(name, table.places[row], "doubled" if times[row] else "lost")
    for _ in range(int(np.count_nonzero(at < 0))):
        found.add(name, (-1, 0), "without a row")


def _texts(source: SourceClaims, published: PublishedClaims, at: Any, found: _Found) -> None:
    claims, known = source.claims, at >= 0
    starts, ends = claims.dates("statement_from_date"), claims.dates("statement_thru_date")
    is_reversed = pc.and_(pc.not_equal(ends, ""), pc.less(ends, starts))
    for row in _positions(is_reversed):
        found.add("claim", claims.places[row], "end", _END)
    expected = {
        "member": (claims.cells("member_id"), "member_id"),
        "type": (source.types, "claim_type"),
        "start": (starts, "statement_from_date"),
        "end": (pc.if_else(is_reversed, "", ends), "statement_thru_date"),
        "created": (claims.dates("adjudication_date"), "adjudication_date"),
        "paid": (claims.dates("paid_date"), "paid_date"),
        "plan": (source.plans, ""),
    }
    rows = at[known]
    own_rows = pa.array(rows)
    there = {name: each.filter(known) for name, each in published.texts.items()}
    for name, (values, column) in expected.items():
        is_there = there[name]
        found.facts += len(rows)
        for wrong in _positions(pc.not_equal(values.take(own_rows), is_there)):
            place = claims.places[rows[wrong]]
            rule = found.rule(place, column) if is_there[wrong].as_py() == "" else ""
            found.add("claim", place, name, rule)
    words = {}
    is_own, is_cancelled = (each[rows] for each in source.statuses())
    stated = claims.cells("status").take(own_rows).filter(pa.array(is_own))
    words["status"] = _pairs(stated, there["status"].filter(pa.array(is_own)))
    replaced = is_cancelled & ~as_numpy(pc.equal(there["status"], "cancelled"))
    for wrong in np.flatnonzero(replaced):
        found.add("claim", claims.places[rows[wrong]], "status")
    for name, column in _PAIRED:
        words[name] = _pairs(claims.cells(column).take(own_rows), there[name])
        others = frozenset((code, word) for word, code in words[name])
        _functions({f"{name}, the other way": others}, found)
    for word, code in sorted(words["status"]):
        if word.lower() in _STATUSES and word.lower() != code:
            found.add("claim", (-1, 0), "status by its word")
    found.facts += (1 + len(_PAIRED)) * len(rows)
    _functions(words, found)


def _positions(mask: pa.BooleanArray) -> Any:
    """Return where a mask is true: numpy `int64`."""
    return np.flatnonzero(as_numpy(mask))


def _pairs(source: pa.StringArray, published: pa.StringArray) -> dict[tuple[str, str], int]:
    """Return how often every two texts stand at the same place."""
    pairs = pa.table([source, published], ["source", "published"])
    groups = pairs.group_by(pairs.column_names, use_threads=False).aggregate([([], "count_all")])
    words, codes, counts = (column.to_pylist() for column in groups.columns)
    return dict(zip(zip(words, codes, strict=True), counts, strict=True))


def _functions(words: Mapping[str, Collection[tuple[str, str]]], found: _Found) -> None:
    """Note words that are published now as one thing and now as another."""
    for fact, pairs in words.items():
        for _, count in sorted(Counter(word for word, _ in pairs).items()):
            if count > 1:
                found.add("claim", (-1, 0), f"{fact} by its word")


def _members(source: SourceClaims, published: PublishedClaims, found: _Found) -> None:
    members = source.members
    days = members.dates("birth_date").to_pylist()
    found.facts += len(members)
    for at, number in enumerate(members.cells("member_id").to_pylist()):
        day = published.members.get(number)
        if day is None:
            found.add("member", members.places[at], "lost")
        elif day != days[at]:
            place = members.places[at]
            found.add("member", place, "birth date", "" if day else found.rule(place, "birth_date"))
    extra = published.resources.get("Patient", 0) - len(members)
    for fact, count, there in (
        ("member", extra, len(members)),
        (
            "coverage",
            published.resources.get("Coverage", 0) - len(source.coverages),
            len(source.coverages),
        ),
    ):
        found.facts += there
        for _ in range(abs(count)):
            found.add(fact, (-1, 0), "without a row" if count > 0 else "lost")


def _matched_lines(source: SourceClaims, published: PublishedClaims, at: Any, found: _Found) -> Any:
    """Return the place of the row of each published item; -1 for none."""
    lines = source.lines
    of = source.lines_at(at[published.claims], published.numbers)
    found.facts += 2 * len(lines)
    _each_once("claim_line", lines, of, found)
    known = np.flatnonzero(of >= 0)
    rows = of[known]
    starts, ends = (
        lines.dates(name).take(pa.array(rows)) for name in ("service_from_date", "service_to_date")
    )
    dates = published.dates.take(pa.array(known))
    for wrong in _positions(pc.invert(_is_served(dates, starts, ends))):
        is_there, start, end = (each[wrong].as_py() for each in (dates, starts, ends))
        row = rows[wrong]
        place, claim = lines.places[row], source.line_claims[row]
        kind = source.types[claim].as_py() if claim >= 0 else ""
        if is_there == start and kind in _OF_ONE_DAY:
            found.add("claim_line", place, "date", _NO_PERIOD)
            continue
        rules = [found.rule(place, name) for name in ("service_from_date", "service_to_date")]
        left_out = is_there in ("", "/", start, f"{start}/", f"/{end}")
        found.add("claim_line", place, "date", next(filter(None, rules), "") if left_out else "")
    return of


def _is_served(
    published: pa.StringArray, starts: pa.StringArray, ends: pa.StringArray
) -> pa.BooleanArray:
    """Return where the days of lines stand as they may: as a period, or as their one day."""
    period = pc.equal(published, pc.binary_join_element_wise(starts, ends, "/"))
    begun = pc.binary_join_element_wise(starts, "", "/")
    is_day = pc.or_(pc.equal(published, starts), pc.equal(published, begun))
    one_day = pc.or_(is_day, pc.and_(period, pc.equal(ends, starts)))
    return pc.if_else(pc.greater(ends, starts), period, one_day)


def _no_amounts(published: PublishedClaims, found: _Found) -> None:
    """Note the amounts of a view that has none."""
    for level in (published.totals, published.headers, published.lines, published.payments):
        found.facts += 1
        for _ in range(int(np.count_nonzero(level != ABSENT))):
            found.add("claim", (-1, 0), "amount in a view without money")


def _amounts(
    source: SourceClaims,
    published: PublishedClaims,
    matched: tuple[Any, Any],
    of_rows: tuple[Any, Any, Any],
    found: _Found,
) -> None:
    """Compare every amount.

    An amount with a finding may have been left out: the bytes show where it was.
    """
    claims, lines = matched
    headers, line_cents = source.stated.copy(), source.stated_lines.copy()
    before = len(found.explained)
    _leave_out(source.claims, "claim", headers, (published.totals, claims), found)
    _leave_out(source.lines, "claim_line", line_cents, (published.lines, lines), found)
    is_whole = len(found.explained) == before
    expected = of_rows if is_whole else source.expected(headers, line_cents)
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
        found.facts += cents.size
        for at, code in zip(*entries_where(cents != wanted[rows]), strict=True):
            found.add(name, table.places[rows[at]], f"{level}.{CATEGORIES[code]}")
    rows, payments = claims[claims >= 0], source.claims.cents("payment_amount")
    paid = published.payments[claims >= 0]
    found.facts += len(rows)
    for wrong in np.flatnonzero(paid != payments[rows]):
        place = source.claims.places[rows[wrong]]
        rule = found.rule(place, "payment_amount") if paid[wrong] == ABSENT else ""
        found.add("claim", place, "payment", rule)
    totals = expected[0]
    summed = (totals != ABSENT) & (headers == ABSENT)
    for at, code in zip(*entries_where(summed), strict=True):
        place = source.claims.places[at]
        found.add("claim", place, f"claim.{CATEGORIES[code]}", _SUMMED, int(totals[at, code]))


def _leave_out(
    table: SourceTable, name: str, cents: Any, there: tuple[Any, Any], found: _Found
) -> None:
    """Remove expected amounts that have a finding and are not published as expected."""
    codes = {f"amount_{category}": code for code, category in enumerate(AMOUNT_CATEGORIES)}
    cells = sorted(cell for cell in found.places if cell[2] in codes)
    if not cells:
        return
    published, matched = there
    item_of = np.full(len(table), -1, dtype=np.int64)
    item_of[matched[matched >= 0]] = np.flatnonzero(matched >= 0)
    rows = pair_places(np.array([cell[:2] for cell in cells], dtype=np.int64), table.places)
    for (file, row, column), at in zip(cells, rows.tolist(), strict=True):
        rule, code = found.places[file, row, column], codes[column]
        if at < 0 or item_of[at] < 0 or cents[at, code] == ABSENT:
            continue
        there_now, stated = published[item_of[at], code], cents[at, code]
        if there_now != stated:
            # What rows of other tables add to a line may stand in its place; totals see to theirs.
            instead = int(there_now) if name == "claim_line" and there_now > NO_CENTS else 0
            gone = int(stated) if stated > NO_CENTS else 0
            found.add(name, (file, row), f"{name}.{CATEGORIES[code]}", rule, instead - gone)
            cents[at, code] = ABSENT


def _labels(source: SourceClaims, published: PublishedClaims, at: Any) -> dict[str, pa.StringArray]:
    """Return the labels of the rows' sums, words of the source in those that are published."""
    known = at >= 0
    payers = source.claims.cells("payer_id").take(pa.array(at[known]))
    pairs = _pairs(payers, published.texts["insurer"].filter(known))
    # Several references of one payer are a difference; here the most frequent of them counts.
    published_as = dict(sorted(pairs, key=lambda pair: (pairs[pair], pair)))
    item_of = np.full(len(source.claims), -1, dtype=np.int64)
    item_of[at[known]] = np.flatnonzero(known)
    status = published.texts["status"].take(pa.array(item_of, mask=item_of < 0))
    claims, text = source.claims, pa.string()
    return {
        "type": source.types,
        "plan": source.plans,
        "payer": claims.each("payer_id", lambda one: published_as.get(one, one), text),
        "month": claims.each("statement_from_date", lambda day: day_of(day)[:7], text),
        "status": pc.fill_null(status, ""),
    }
