"""The certificate in a report: sums of the published bytes, with small cells withheld."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, TypeAlias

from etl.columns.numbers import cents_text
from etl.quality.totals.money import MoneyKey, MoneyTotals
from etl.reports.pools import Cell, Name, Pool, pool_cells
from etl.reports.small_cells import LEVEL_NAMES, MoneyTable, ShownMoney, pool_jointly

REASONS: Final = {
    "sum-of-lines": "the claim has no total, so the sum of its lines is published",
    "amount-of-header": "the claim's only line has no amounts, so those of the claim are published",
    "end-before-start": "the statement ends before it begins, so its end is left out",
    "no-place-for-a-period": "the profile has a service date for a line, but no period",
}
"""Reasons for differences that no rule describes."""

_DIMENSIONS: Final = ("payer", "plan", "month", "status")
"""Dimensions of the listed sums. Sums by claim type are already in the report's `money`."""
_JOINT: Final = ("type", "payer", "plan")
"""Dimensions of `CertificateFacts.joint`, in its order."""

_DAY_RANGES: Final = ((0, 0), (1, 1), (2, 2), (3, 3), (4, 5), (6, 10), (11, 20), (21, None))
"""First and last business day of each histogram bar."""

Total: TypeAlias = tuple[str, str]
"""Level, category."""


@dataclass(frozen=True, slots=True)
class FileMoney:
    """Amounts of one category from the rows of one file, in cents.

    Attributes:
        file: name of the file; None if it is no longer known.
        level: `claim` or `claim_line`.
        category: of the amounts.
        claims: how many published claims have such an amount.
        published: the published amounts of these rows.
        source: the amounts in the rows; None if an earlier run compared them.
        explained: the part of `published` minus `source` that has a reason.
        differences: how many differences `explained` sums.
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
        """Whether published and source amounts agree; None if an earlier run compared them."""
        return None if self.source is None else self.source + self.explained == self.published


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """Comparison of the published bytes with their source, for the report.

    Attributes:
        facts: how many facts were compared.
        sums: how many sums were compared.
        carried: claims that an earlier run compared and whose blocks did not change.
        counted: table -> published rows, and how many of them the bytes contain.
        reasons: (reason, fact) -> how many differences it explains, and their total in cents.
        money: sums of all bytes of the release: dimension, its value, level and category -> cents,
            and how many claims have such an amount.
        differences: path of the file with every difference; empty if there are none.
        holds: whether every fact agrees with its row or is explained.
        files: amounts by the file that they come from.
        payers: FHIR reference of a payer -> its name; payers without a name are left out.
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
        visible_day: the day on which readers see this release, UTC.
        days: business days -> claims that became visible in this release.
        all_days: the same of all releases since the first.
        allowed: business days that CMS allows.
        percentiles: share in percent -> business days.
        late: path of the file with the claims that took longer; empty if none did.
    """

    visible_day: date
    days: Mapping[int, int]
    all_days: Mapping[int, int]
    allowed: int
    percentiles: Mapping[int, int] = field(default_factory=dict)
    late: str = ""


def timeliness_document(facts: TimelinessFacts) -> dict[str, Any]:
    """Return timeliness as a report states it."""
    return {
        "visible_day": facts.visible_day.isoformat(),
        "allowed_business_days": facts.allowed,
        **_count_on_time(facts.days, facts.allowed),
        "percentiles": {f"p{share}": days for share, days in sorted(facts.percentiles.items())},
        "by_business_days": [
            {"days": name, "claims": claims} for name, claims in _histogram(facts.days)
        ],
        "all_releases": _count_on_time(facts.all_days, facts.allowed),
        "late": facts.late or None,
    }


def _count_on_time(days: Mapping[int, int], max_days: int) -> dict[str, Any]:
    claims = sum(days.values())
    on_time = sum(count for delay, count in days.items() if delay <= max_days)
    return {"claims": claims, "on_time": on_time, "rule_met": on_time == claims if claims else None}


def _histogram(days: Mapping[int, int]) -> Iterator[tuple[str, int]]:
    for first, last in _DAY_RANGES:
        if last is None:
            label, end = f"over {first - 1}", max(days, default=first)
        else:
            label, end = f"{first}" if first == last else f"{first} to {last}", last
        yield label, sum(claims for delay, claims in days.items() if first <= delay <= end)


@dataclass(frozen=True, slots=True)
class _Divisions:
    """Decides which sums of the bytes a report shows next to the sums of the rows.

    Attributes:
        threshold: sums over at most this many claims are withheld; 0 to withhold none.
        shown: the sums of the rows that the report shows.
        surplus: level and category -> claims and cents that the bytes have beyond the rows.
        reasons: fact -> number and cents of the differences of each reason.
        pools: level and category -> dimension -> cells that are only shown as one sum.
    """

    threshold: int
    shown: Mapping[Total, ShownMoney]
    surplus: Mapping[Total, Cell]
    reasons: Mapping[str, Sequence[Cell]]
    pools: Mapping[Total, Mapping[str, Pool[str]]]

    def withholds_total(self, level: str, category: str) -> bool:
        """Return whether every table must withhold the total of the bytes.

        That total minus the total of the rows is the surplus, which may come from few claims.
        """
        row_sums, surplus = self.shown.get((level, category)), self.surplus[level, category]
        is_withheld = row_sums is not None and row_sums.published is None
        is_few = any(surplus) and abs(surplus[0]) <= self.threshold
        return self.threshold > 0 and (is_withheld or is_few)

    def divides_by_status(self, level: str, category: str) -> bool:
        """Return whether the sum of active claims, the net sum of the rows, may be shown.

        If totals are summed from lines, they contain the net sum of the lines or a part of it.
        """
        has_surplus = any(self.surplus[level, category])
        levels = LEVEL_NAMES if has_surplus else (level,)
        row_sums = [self.shown.get((name, category)) for name in levels]
        is_withheld = any(sums is not None and sums.net is None for sums in row_sums)
        is_unknown = has_surplus and (level, category) in self.shown
        return self.threshold == 0 or not (is_withheld or is_unknown)

    def pool(
        self,
        cells: Mapping[Name, Cell],
        level: str,
        category: str,
        *,
        divides: bool,
        joint_pool: Pool[Name] | None = None,
    ) -> Pool[Name]:
        """Return the cells of a total to show as one sum: all of them unless `divides`."""
        pool = joint_pool or pool_cells(cells, self.threshold)
        is_withheld = self.withholds_total(level, category)
        if divides and not is_withheld:
            return pool
        claims, cents = (sum(part) for part in zip(*cells.values(), strict=True))
        return Pool(tuple(cells), claims, cents, pool.is_withheld or is_withheld)

    def shows_reasons(self, name: str) -> bool:
        """Return whether the amounts that each reason explains are shown."""
        level, _, category = name.partition(".")
        differences = self.reasons[name]
        are_all = sum(cents for _, cents in differences) == self.surplus[level, category][1]
        are_many = all(count > self.threshold for count, _ in differences)
        return self.threshold == 0 or (
            are_all and are_many and not self.withholds_total(level, category)
        )


def _build_divisions(
    facts: CertificateFacts,
    money: Mapping[MoneyKey, MoneyTotals],
    shown: MoneyTable,
    small_cells: int,
) -> _Divisions:
    claims, cents = Counter[Total](), Counter[Total]()
    for (dimension, _, level, category), (amount, count) in facts.money.items():
        if dimension == "type":
            claims[level, category] += count
            cents[level, category] += amount
    for key, sums in money.items():
        claims[key.level, key.category] -= sums.published_claims
        cents[key.level, key.category] -= sums.published
    reasons = defaultdict[str, list[Cell]](list)
    for (_, name), difference in facts.reasons.items():
        reasons[name].append(difference)
    surplus = {total: (claims[total], cents[total]) for total in claims.keys() | cents.keys()}
    return _Divisions(
        small_cells,
        shown.totals,
        defaultdict(lambda: (0, 0), surplus),
        reasons,
        dict(_iterate_pools(facts, money, shown, small_cells)),
    )


def _iterate_pools(
    facts: CertificateFacts,
    money: Mapping[MoneyKey, MoneyTotals],
    shown: MoneyTable,
    threshold: int,
) -> Iterator[tuple[Total, Mapping[str, Pool[str]]]]:
    """Yield the pools by claim type, payer and plan of each total."""
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
        decided = {"type": withheld}
        for claim_type, (claims, _) in tables["type"].items():
            row_sums = money.get(MoneyKey(level, claim_type, category), MoneyTotals())
            surplus = abs(claims - row_sums.published_claims)
            if 0 < surplus <= threshold or (surplus and 0 < row_sums.published_claims <= threshold):
                # A type's sum adds its stated totals and its summed ones: neither may be few.
                decided |= {"payer": set(tables["payer"]), "plan": set(tables["plan"])}
        yield (level, category), pool_jointly(tables, decided, facts.joint, threshold)


def certificate_document(
    facts: CertificateFacts,
    money: Mapping[MoneyKey, MoneyTotals],
    shown: MoneyTable,
    small_cells: int,
) -> dict[str, Any]:
    """Return the certificate as a report states it.

    Args:
        facts: the comparison.
        money: sums of the rows.
        shown: the sums of the rows that the report shows.
        small_cells: sums of money over at most this many claims are withheld; 0 to withhold none.
    """
    divisions = _build_divisions(facts, money, shown, small_cells)
    return {
        "holds": facts.holds,
        "facts": facts.facts,
        "sums": facts.sums,
        "carried_claims": facts.carried,
        "counted": {
            table: {"published": rows, "in_bytes": in_bytes}
            for table, (rows, in_bytes) in facts.counted.items()
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
        "files": list(_file_sums(facts.files, divisions)),
        "money": list(_dimension_sums(facts, divisions)),
        "differences": facts.differences or None,
    }


def _file_sums(files: Sequence[FileMoney], divisions: _Divisions) -> Iterator[dict[str, Any]]:
    """Yield the sums by file; small ones are added up so that none can be worked out."""
    groups: dict[tuple[str, str], list[FileMoney]] = defaultdict(list)
    for file in files:
        groups[file.level, file.category].append(file)
    for (level, category), group in sorted(groups.items()):
        cells = {index: (file.claims, file.published) for index, file in enumerate(group)}
        # The sources of all files add up to the shown sum of the rows: show all or none.
        shows_source = not any(
            0 < count <= divisions.threshold
            for file in group
            for count in (file.differences, file.claims - file.differences)
        )
        # A file may have all claims of a type or payer: next to small ones, files would tell them.
        pools = divisions.pools.get((level, category), {})
        divides = len(group) == 1 or not (
            not shows_source
            or pool_cells(cells, divisions.threshold).names
            or any(pools[by].names for by in ("type", "payer") if by in pools)
        )
        pool = divisions.pool(cells, level, category, divides=divides)
        for file in (file for index, file in enumerate(group) if index not in pool.names):
            shows = file.source is not None and shows_source
            yield {
                "file": file.file,
                "all_files": False,
                "carried": file.source is None,
                "level": LEVEL_NAMES[level],
                "category": category,
                "claims": file.claims,
                "source": cents_text(file.source or 0) if shows else None,
                "explained": cents_text(file.explained) if shows else None,
                "published": cents_text(file.published),
                "adds_up": file.adds_up,
            }
        if pool.names:
            # All files together: their source is the sum of the rows, which the report shows.
            is_carried = any(file.source is None for file in group)
            row_sums = divisions.shown.get((level, category))
            shows = not is_carried and row_sums is not None and row_sums.published is not None
            explains = shows and not pool.is_withheld
            yield {
                "file": None,
                "all_files": True,
                "carried": is_carried,
                "level": LEVEL_NAMES[level],
                "category": category,
                "claims": None if pool.is_withheld else pool.claims,
                "source": cents_text(sum(file.source or 0 for file in group)) if shows else None,
                "explained": cents_text(sum(file.explained for file in group))
                if explains
                else None,
                "published": None if pool.is_withheld else cents_text(pool.cents),
                "adds_up": all(group[index].adds_up is not False for index in pool.names),
            }


def _dimension_sums(facts: CertificateFacts, divisions: _Divisions) -> Iterator[dict[str, Any]]:
    """Yield the sums by payer, plan, month and status; small ones are added up."""
    groups: dict[tuple[str, str, str], dict[str, Cell]] = defaultdict(dict)
    for (by, value, level, category), (cents, claims) in sorted(facts.money.items()):
        if by in _DIMENSIONS and level in LEVEL_NAMES:
            groups[by, level, category][value] = (claims, cents)
    for (by, level, category), cells in sorted(groups.items()):
        divides = by != "status" or divisions.divides_by_status(level, category)
        joint_pool = divisions.pools.get((level, category), {}).get(by)
        pool = divisions.pool(cells, level, category, divides=divides, joint_pool=joint_pool)
        shown = [(name, cells[name]) for name in cells if name not in pool.names]
        pooled: list[tuple[str | None, Cell]] = [(None, (pool.claims, pool.cents))]
        for label, (claims, cents) in [*shown, *(pooled if pool.names else [])]:
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
