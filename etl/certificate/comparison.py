"""The comparison of published claims with their rows: fact by fact, and sum by sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa

from etl.certificate.published import ABSENT, CATEGORIES, NO_CENTS, PublishedClaims
from etl.certificate.source import COMPARED, Fates, SourceClaims, SourceTable, among, places_of
from etl.certificate.sums import Sums, claim_sums
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
    """

    facts: int
    source: Sums
    published: Sums
    differences: tuple[FactDifference, ...]
    unexplained: int
    delays: Delays


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
    labels, of_lines = _labels(source, published, at), source.claims_of(source.lines)
    own = claim_sums(labels, source.stated, of_lines, of_rows[2], source.counts)
    return Compared(
        facts=found.facts,
        source=own if states_money else own.without_money(),
        published=published_sums(published),
        differences=(*found.explained, *found.unexplained),
        unexplained=found.count,
        delays=_delays(source, published, at, newly),
    )


def _delays(
    source: SourceClaims, published: PublishedClaims, at: Any, newly: Newly | None
) -> Delays:
    if newly is None:
        return Delays(Counter(), ())
    new = np.array([one not in newly.known for one in published.texts["id"]], dtype=np.bool_)
    rows = at[new & (at >= 0)]
    days = source.claims.dates("adjudication_date")
    return delays(days[rows], source.claims.places[rows], newly)


def published_sums(published: PublishedClaims) -> Sums:
    """Return the sums of some blocks."""
    texts = published.texts
    labels = {
        "type": texts["type"],
        "plan": texts["plan"],
        "payer": texts["insurer"],
        "month": np.array([day[:7] for day in texts["start"]], dtype=object),
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
    claims, gone = left["claim"]
    numbers, priors = claims.texts("claim_id"), claims.texts("adjusted_from_claim_id")
    there, replaced = set(numbers[~gone].tolist()), set(priors.tolist())
    deleting = np.array([word.upper() == "D" for word in claims.texts("record_action")])
    successors = claims.texts("adjusted_to_claim_id")
    for at in np.flatnonzero(gone):
        is_replaced = leaves_out and (numbers[at] in replaced or priors[at] or successors[at])
        if not (numbers[at] in there or is_replaced or deleting[at]):
            found.add("claim", claims.places[at], "superseded by nothing")
    old = set(numbers[gone].tolist())
    lines, gone = left["claim_line"]
    keys = list(zip(lines.texts("claim_id"), lines.whole("line_number").tolist(), strict=True))
    there_lines = {key for key, is_gone in zip(keys, gone.tolist(), strict=True) if not is_gone}
    actions = lines.texts("record_action")
    for at in np.flatnonzero(gone):
        key = keys[at]
        if not (key in there_lines or key[0] in old or actions[at].upper() == "D"):
            found.add("claim_line", lines.places[at], "superseded by nothing")


def _matched(source: SourceClaims, published: PublishedClaims, found: _Found) -> Any:
    """Return the place of the row of each published claim; -1 where it has none of its own."""
    rows = source.rows
    at = np.array([rows.get(number, -1) for number in published.texts["number"]], dtype=np.int64)
    found.facts += len(source.claims)
    times = Counter(at.tolist())
    for row in range(len(source.claims)):
        if times[row] != 1:
            found.add("claim", source.claims.places[row], "lost" if not times[row] else "doubled")
    for _ in range(times[-1]):
        found.add("claim", (-1, 0), "without a row")
    return at


def _texts(source: SourceClaims, published: PublishedClaims, at: Any, found: _Found) -> None:
    claims, known = source.claims, at >= 0
    starts, ends = claims.dates("statement_from_date"), claims.dates("statement_thru_date")
    reversed_ = (ends != "") & (ends < starts)
    for row in np.flatnonzero(reversed_):
        found.add("claim", claims.places[row], "end", _END)
    expected = {
        "member": (claims.texts("member_id"), "member_id"),
        "type": (source.types, "claim_type"),
        "start": (starts, "statement_from_date"),
        "end": (np.where(reversed_, "", ends), "statement_thru_date"),
        "created": (claims.dates("adjudication_date"), "adjudication_date"),
        "paid": (claims.dates("paid_date"), "paid_date"),
        "plan": (source.plans, ""),
    }
    rows = at[known]
    for name, (values, column) in expected.items():
        is_there = published.texts[name][known]
        found.facts += len(rows)
        for wrong in np.flatnonzero(values[rows] != is_there):
            place = claims.places[rows[wrong]]
            rule = found.rule(place, column) if not is_there[wrong] else ""
            found.add("claim", place, name, rule)
    words = {}
    wanted, stated = source.statuses()
    small = np.array([word.lower() for word in stated], dtype=object)
    is_stated = wanted[rows] == small[rows]
    words["status"] = _pairs(stated[rows][is_stated], published.texts["status"][known][is_stated])
    replaced = (wanted[rows] == "cancelled") & (published.texts["status"][known] != "cancelled")
    for wrong in np.flatnonzero(replaced):
        found.add("claim", claims.places[rows[wrong]], "status")
    for name, column in _PAIRED:
        words[name] = _pairs(claims.texts(column)[rows], published.texts[name][known])
        others = _pairs(published.texts[name][known], claims.texts(column)[rows])
        _functions({f"{name}, the other way": others}, found)
    for word, code in sorted(words["status"]):
        if word.lower() in _STATUSES and word.lower() != code:
            found.add("claim", (-1, 0), "status by its word")
    found.facts += (1 + len(_PAIRED)) * len(rows)
    _functions(words, found)


def _pairs(source: Any, published: Any) -> frozenset[tuple[str, str]]:
    return frozenset(zip(source.tolist(), published.tolist(), strict=True))


def _functions(words: Mapping[str, frozenset[tuple[str, str]]], found: _Found) -> None:
    """Note words that are published now as one thing and now as another."""
    for fact, pairs in words.items():
        for _, count in sorted(Counter(word for word, _ in pairs).items()):
            if count > 1:
                found.add("claim", (-1, 0), f"{fact} by its word")


def _members(source: SourceClaims, published: PublishedClaims, found: _Found) -> None:
    members = source.members
    days = members.dates("birth_date")
    found.facts += len(members)
    for at, number in enumerate(members.texts("member_id").tolist()):
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
    rows, lines = source.line_rows, source.lines
    pairs = zip(at[published.claims].tolist(), published.numbers.tolist(), strict=True)
    of = np.array([rows.get(pair, -1) for pair in pairs], dtype=np.int64)
    times = Counter(of.tolist())
    found.facts += 2 * len(lines)
    for row in range(len(lines)):
        if times[row] != 1:
            found.add("claim_line", lines.places[row], "lost" if not times[row] else "doubled")
    for _ in range(times[-1]):
        found.add("claim_line", (-1, 0), "without a row")
    starts, ends = lines.dates("service_from_date"), lines.dates("service_to_date")
    types = source.types[source.claims_of(lines)] if len(lines) else np.array([], dtype=object)
    for item in np.flatnonzero(of >= 0):
        row = of[item]
        start, end, is_there = starts[row], ends[row], published.dates[item]
        if is_there in _served(start, end):
            continue
        place = lines.places[row]
        if is_there == start and types[row] in _OF_ONE_DAY:
            found.add("claim_line", place, "date", _NO_PERIOD)
            continue
        rules = [found.rule(place, name) for name in ("service_from_date", "service_to_date")]
        left_out = is_there in ("", "/", start, f"{start}/", f"/{end}")
        found.add("claim_line", place, "date", next(filter(None, rules), "") if left_out else "")
    return of


def _served(start: str, end: str) -> tuple[str, ...]:
    """Return how a line's days may stand: as a period, or as its one day."""
    if end > start:
        return (f"{start}/{end}",)
    return (start, f"{start}/{end}", f"{start}/") if end == start else (start, f"{start}/")


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
        for at, code in np.argwhere(cents != wanted[rows]):
            found.add(name, table.places[rows[at]], f"{level}.{CATEGORIES[code]}")
    rows, payments = claims[claims >= 0], source.claims.cents("payment_amount")
    paid = published.payments[claims >= 0]
    found.facts += len(rows)
    for wrong in np.flatnonzero(paid != payments[rows]):
        place = source.claims.places[rows[wrong]]
        rule = found.rule(place, "payment_amount") if paid[wrong] == ABSENT else ""
        found.add("claim", place, "payment", rule)
    totals = expected[0]
    for at, code in np.argwhere((totals != ABSENT) & (headers == ABSENT)):
        place = source.claims.places[at]
        found.add("claim", place, f"claim.{CATEGORIES[code]}", _SUMMED, int(totals[at, code]))


def _leave_out(
    table: SourceTable, name: str, cents: Any, there: tuple[Any, Any], found: _Found
) -> None:
    """Remove expected amounts that have a finding and are not published as expected."""
    if not found.places:
        return
    published, matched = there
    item_of = {int(row): item for item, row in enumerate(matched)}
    rows = {tuple(place): at for at, place in enumerate(table.places.tolist())}
    codes = {f"amount_{category}": code for code, category in enumerate(AMOUNT_CATEGORIES)}
    for (file, row, column), rule in sorted(found.places.items()):
        at, code = rows.get((file, row)), codes.get(column)
        if at is None or code is None or at not in item_of or cents[at, code] == ABSENT:
            continue
        if published[item_of[at], code] != cents[at, code]:
            lost = -int(cents[at, code]) if cents[at, code] > NO_CENTS else 0
            found.add(name, (file, row), f"{name}.{CATEGORIES[code]}", rule, lost)
            cents[at, code] = ABSENT


def _labels(source: SourceClaims, published: PublishedClaims, at: Any) -> dict[str, Any]:
    """Return the labels of the rows' sums, words of the source in those that are published."""
    known = at >= 0
    payers = dict(
        zip(
            source.claims.texts("payer_id")[at[known]].tolist(),
            published.texts["insurer"][known].tolist(),
            strict=True,
        )
    )
    status = np.full(len(source.claims), "", dtype=object)
    status[at[known]] = published.texts["status"][known]
    return {
        "type": source.types,
        "plan": source.plans,
        "payer": np.array(
            [payers.get(one, one) for one in source.claims.texts("payer_id")], dtype=object
        ),
        "month": np.array(
            [day[:7] for day in source.claims.dates("statement_from_date")], dtype=object
        ),
        "status": status,
    }
