"""The certificate in a report: sums of the published bytes, with small cells withheld."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from etl.columns.numbers import cents_text
from etl.quality.totals.money import MoneyKey, MoneyTotals
from etl.reports.pools import Cell, Name, Pool, pooled
from etl.reports.small_cells import LEVEL_NAMES, MoneyTable, ShownMoney, jointly_pooled

REASONS: Final = {
    "sum-of-lines": "the claim has no total, so the sum of its lines is published",
    "end-before-start": "the statement ends before it begins, so its end is left out",
    "no-place-for-a-period": "the profile has a service date for a line, but no period",
}
"""Explanations of differences, beside rules."""

_BY: Final = ("payer", "plan", "month", "status")
"""Dimensions of the sums; those by claim type stand among the money of the rows."""
_JOINT: Final = ("type", "payer", "plan")
"""Dimensions of `CertificateFacts.joint`."""

_DAYS: Final = ((0, 0), (1, 1), (2, 2), (3, 3), (4, 5), (6, 10), (11, 20), (21, None))
"""Bars of the histogram of business days: the first and the last."""

Total: TypeAlias = tuple[str, str]
"""Level, category."""


@dataclass(frozen=True, slots=True)
class FileMoney:
    """Amounts of one category that rows of one file brought, for the report; in cents.

    Attributes:
        file: name of the file; None where it is not known any more.
        level: `claim` or `claim_line`.
        category: of the amounts.
        claims: how many published claims have such an amount.
        published: what is published of these rows.
        source: what the rows state; None where they were compared in an earlier run.
        explained: what is published less what they state, with a reason.
        differences: how many differences that is.
    """

    file: str | None
    level: str
    category: str
    claims: int
    published: int
    source: int | None = None
    explained: int = 0
    differences: int = 0

    @property
    def adds_up(self) -> bool | None:
        """Whether the published amounts are those of the rows; None for an earlier run."""
        return None if self.source is None else self.source + self.explained == self.published


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """Comparison of the published bytes with their source, for the report.

    Attributes:
        facts: how many facts were compared.
        sums: how many sums were.
        carried: claims that were compared in an earlier run, and have unchanged blocks.
        counted: table -> rows that were published, and how many the bytes hold.
        reasons: (reason, fact) -> differences that it explains, and their cents together.
        money: sums of all bytes of the release: dimension, its value, level and category -> cents,
            and how many claims have such an amount.
        differences: path of the file with every difference; empty where there are none.
        holds: whether every fact is as its row states it, or explained.
        files: amounts by the file whose row brought them.
        payers: FHIR reference of a payer -> its name, of those that have one.
        joint: claim type, payer and plan -> how many claims of the release have them.
    """

    facts: int
    sums: int
    carried: int
    counted: Mapping[str, tuple[int, int]]
    reasons: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    money: Mapping[tuple[str, str, str, str], tuple[int, int]] = field(default_factory=dict)
    differences: str = ""
    holds: bool = True
    files: Sequence[FileMoney] = ()
    payers: Mapping[str, str] = field(default_factory=dict)
    joint: Mapping[tuple[str, ...], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TimelinessFacts:
    """Timeliness of a release, for the report.

    Attributes:
        days: business days -> claims that became visible in this release.
        all_days: the same of all releases since the first.
        allowed: business days that CMS allows.
        percentiles: share in percent -> business days.
        late: path of the file with the claims that took longer; empty where none did.
    """

    days: Mapping[int, int]
    all_days: Mapping[int, int]
    allowed: int
    percentiles: Mapping[int, int] = field(default_factory=dict)
    late: str = ""


def timeliness_document(facts: TimelinessFacts) -> dict[str, Any]:
    """Return timeliness as a report states it."""
    return {
        "allowed_business_days": facts.allowed,
        **_in_time(facts.days, facts.allowed),
        "percentiles": {f"p{share}": days for share, days in sorted(facts.percentiles.items())},
        "by_business_days": [
            {"days": name, "claims": claims} for name, claims in _histogram(facts.days)
        ],
        "all_releases": _in_time(facts.all_days, facts.allowed),
        "late": facts.late or None,
    }


def _in_time(days: Mapping[int, int], allowed: int) -> dict[str, Any]:
    claims = sum(days.values())
    on_time = sum(count for taken, count in days.items() if taken <= allowed)
    return {
        "claims": claims,
        "on_time": on_time,
        "rule_met": on_time == claims if claims else None,
    }


def _histogram(days: Mapping[int, int]) -> Iterator[tuple[str, int]]:
    for first, last in _DAYS:
        if last is None:
            name, end = f"over {first - 1}", max(days, default=first)
        else:
            name, end = f"{first}" if first == last else f"{first} to {last}", last
        yield name, sum(claims for taken, claims in days.items() if first <= taken <= end)


@dataclass(frozen=True, slots=True)
class _Divisions:
    """Decides how far the sums of the bytes may be divided, beside the sums of the rows.

    Attributes:
        most: sums over at most so many claims are withheld; 0 to withhold none.
        shown: sums of the rows, as far as they are shown.
        more: level and category -> claims and cents that the bytes have beyond the rows.
        reasons: fact -> number and cents of the differences of each reason.
        pools: level and category -> dimension -> cells that are not shown each.
    """

    most: int
    shown: Mapping[Total, ShownMoney]
    more: Mapping[Total, Cell]
    reasons: Mapping[str, Sequence[Cell]]
    pools: Mapping[Total, Mapping[str, Pool[str]]]

    def withholds_total(self, level: str, category: str) -> bool:
        """Return whether no table may show the total of the bytes.

        Less the total of the rows it is what the bytes have beyond them: that may be of few claims.
        """
        of_rows, more = self.shown.get((level, category)), self.more[level, category]
        is_withheld = of_rows is not None and of_rows.published is None
        return self.most > 0 and (is_withheld or (any(more) and abs(more[0]) <= self.most))

    def divides_by_status(self, level: str, category: str) -> bool:
        """Return whether the sum of active claims may be shown: it is the net sum of the rows.

        Totals that are summed from lines have the net sum of the lines, or an unknown part of it.
        """
        has_more = any(self.more[level, category])
        beside = [
            self.shown.get((each, category)) for each in (LEVEL_NAMES if has_more else (level,))
        ]
        is_withheld = any(sums is not None and sums.net is None for sums in beside)
        return self.most == 0 or not (is_withheld or (has_more and (level, category) in self.shown))

    def pool(
        self,
        cells: Mapping[Name, Cell],
        level: str,
        category: str,
        *,
        divides: bool,
        known: Pool[Name] | None = None,
    ) -> Pool[Name]:
        """Return the parts of a total that are not shown each: all of them unless `divides`."""
        pool = known or pooled(cells, self.most)
        is_withheld = self.withholds_total(level, category)
        if divides and not is_withheld:
            return pool
        claims, cents = (sum(part) for part in zip(*cells.values(), strict=True))
        return Pool(tuple(cells), claims, cents, pool.is_withheld or is_withheld)

    def shows_reasons(self, fact: str) -> bool:
        """Return whether the amounts that each reason explains are shown."""
        level, _, category = fact.partition(".")
        differences = self.reasons[fact]
        are_all = sum(cents for _, cents in differences) == self.more[level, category][1]
        are_many = all(count > self.most for count, _ in differences)
        return self.most == 0 or (
            are_all and are_many and not self.withholds_total(level, category)
        )


def _divisions(
    facts: CertificateFacts,
    money: Mapping[MoneyKey, MoneyTotals],
    shown: MoneyTable,
    small_cells: int,
) -> _Divisions:
    claims, cents = Counter[Total](), Counter[Total]()
    for (by, _, level, category), (amount, count) in facts.money.items():
        if by == "type":
            claims[level, category] += count
            cents[level, category] += amount
    for key, sums in money.items():
        claims[key.level, key.category] -= sums.published_claims
        cents[key.level, key.category] -= sums.published
    reasons = defaultdict[str, list[Cell]](list)
    for (_, fact), difference in facts.reasons.items():
        reasons[fact].append(difference)
    more = {total: (claims[total], cents[total]) for total in claims.keys() | cents.keys()}
    return _Divisions(
        small_cells,
        shown.totals,
        defaultdict(lambda: (0, 0), more),
        reasons,
        dict(_pools(facts, money, shown, small_cells)),
    )


def _pools(
    facts: CertificateFacts,
    money: Mapping[MoneyKey, MoneyTotals],
    shown: MoneyTable,
    most: int,
) -> Iterator[tuple[Total, Mapping[str, Pool[str]]]]:
    """Yield what is not shown each of the sums by claim type, payer and plan."""
    groups: dict[Total, dict[str, dict[str, Cell]]] = defaultdict(lambda: {by: {} for by in _JOINT})
    for (by, value, level, category), (cents, claims) in sorted(facts.money.items()):
        if by in _JOINT:
            groups[level, category][by][value] = (claims, cents)
    for (level, category), tables in groups.items():
        withheld = {
            key.claim_type
            for key, sums in shown.cells.items()
            if (key.level, key.category) == (level, category) and sums.published is None
        }
        fixed = {"type": withheld}
        for claim_type, (claims, _) in tables["type"].items():
            stated = money.get(MoneyKey(level, claim_type, category), MoneyTotals())
            summed = abs(claims - stated.published_claims)
            if 0 < summed <= most or (summed and 0 < stated.published_claims <= most):
                # A type has the sum of its rows and of its summed totals: neither may be few.
                fixed |= {"payer": set(tables["payer"]), "plan": set(tables["plan"])}
        yield (level, category), jointly_pooled(tables, fixed, facts.joint, most)


def certificate_document(
    facts: CertificateFacts,
    money: Mapping[MoneyKey, MoneyTotals],
    shown: MoneyTable,
    small_cells: int,
) -> dict[str, Any]:
    """Return the certificate as a report states it.

    Args:
        facts: what was compared.
        money: sums of the rows.
        shown: what the report shows of them.
        small_cells: sums of money over at most so many claims are withheld; 0 to withhold none.
    """
    divisions = _divisions(facts, money, shown, small_cells)
    return {
        "holds": facts.holds,
        "facts": facts.facts,
        "sums": facts.sums,
        "carried_claims": facts.carried,
        "counted": {
            table: {"published": rows, "in_bytes": held}
            for table, (rows, held) in facts.counted.items()
        },
        "explained": [
            {
                "reason": reason,
                "says": REASONS.get(reason),
                "fact": fact,
                "count": count,
                "amount": cents_text(cents) if cents and divisions.shows_reasons(fact) else None,
            }
            for (reason, fact), (count, cents) in facts.reasons.items()
        ],
        "files": list(_by_file(facts.files, divisions)),
        "money": list(_by_label(facts, divisions)),
        "differences": facts.differences or None,
    }


def _by_file(files: Sequence[FileMoney], divisions: _Divisions) -> Iterator[dict[str, Any]]:
    """Yield the sums by file; those of few claims together, so that none can be worked out."""
    groups: dict[tuple[str, str], list[FileMoney]] = defaultdict(list)
    for each in files:
        groups[each.level, each.category].append(each)
    for (level, category), parts in sorted(groups.items()):
        cells = {at: (part.claims, part.published) for at, part in enumerate(parts)}
        # The sources of all files come to the sum of the rows: none is shown, or each.
        shows_source = not any(
            0 < count <= divisions.most
            for part in parts
            for count in (part.differences, part.claims - part.differences)
        )
        # A file may have all claims of a type or a payer: beside small ones, files are not told.
        beside = divisions.pools.get((level, category), {})
        divides = len(parts) == 1 or not (
            not shows_source
            or pooled(cells, divisions.most).names
            or any(beside[by].names for by in ("type", "payer") if by in beside)
        )
        pool = divisions.pool(cells, level, category, divides=divides)
        for line in (part for at, part in enumerate(parts) if at not in pool.names):
            shows = line.source is not None and shows_source
            yield {
                "file": line.file,
                "carried": line.source is None,
                "level": LEVEL_NAMES[level],
                "category": category,
                "claims": line.claims,
                "source": cents_text(line.source or 0) if shows else None,
                "explained": cents_text(line.explained) if shows else None,
                "published": cents_text(line.published),
                "adds_up": line.adds_up,
            }
        if pool.names:
            yield {
                "file": None,
                "carried": None,
                "level": LEVEL_NAMES[level],
                "category": category,
                "claims": None if pool.is_withheld else pool.claims,
                "source": None,
                "explained": None,
                "published": None if pool.is_withheld else cents_text(pool.cents),
                "adds_up": all(parts[at].adds_up is not False for at in pool.names),
            }


def _by_label(facts: CertificateFacts, divisions: _Divisions) -> Iterator[dict[str, Any]]:
    """Yield the sums by payer, plan, month and status; those of few claims together."""
    groups: dict[tuple[str, str, str], dict[str, Cell]] = defaultdict(dict)
    for (by, value, level, category), (cents, claims) in sorted(facts.money.items()):
        if by in _BY and level in LEVEL_NAMES:
            groups[by, level, category][value] = (claims, cents)
    for (by, level, category), cells in sorted(groups.items()):
        divides = by != "status" or divisions.divides_by_status(level, category)
        known = divisions.pools.get((level, category), {}).get(by)
        pool = divisions.pool(cells, level, category, divides=divides, known=known)
        parts = [(name, cells[name]) for name in cells if name not in pool.names]
        others: list[tuple[str | None, Cell]] = [(None, (pool.claims, pool.cents))]
        for label, (claims, cents) in [*parts, *(others if pool.names else [])]:
            is_shown = label is not None or not pool.is_withheld
            yield {
                "by": by,
                "value": label,
                "name": facts.payers.get(label) if by == "payer" and label is not None else None,
                "level": LEVEL_NAMES[level],
                "category": category,
                "claims": claims if is_shown else None,
                "amount": cents_text(cents) if is_shown else None,
            }
