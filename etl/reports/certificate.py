"""The certificate in a report: sums of the published bytes, with small cells withheld."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from etl.columns.numbers import cents_text
from etl.reports.small_cells import LEVEL_NAMES, pooled

REASONS: Final = {
    "sum-of-lines": "the claim states no total: it is the sum of its lines",
    "end-before-start": "the statement ends before it begins: its end is left out",
    "no-place-for-a-period": "the profile has a day of service for a line, and no period",
}
"""Explanations of differences, beside rules."""

_BY: Final = ("payer", "plan", "month", "status")
"""Dimensions of the sums; those by claim type stand among the money of the rows."""

_DAYS: Final = ((0, 0), (1, 1), (2, 2), (3, 3), (4, 5), (6, 10), (11, 20), (21, None))
"""Bars of the histogram of business days: the first and the last."""

Cell: TypeAlias = tuple[str, str, str, str]
"""Dimension, its value, level, category."""


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
        money: sums of all bytes of the release: cell -> cents, and how many claims have one.
        differences: path of the file with every difference; empty where there are none.
        holds: whether every fact is as its row states it, or explained.
        files: amounts by the file whose row brought them.
        payers: FHIR reference of a payer -> its name, of those that have one.
    """

    facts: int
    sums: int
    carried: int
    counted: Mapping[str, tuple[int, int]]
    reasons: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    money: Mapping[Cell, tuple[int, int]] = field(default_factory=dict)
    differences: str = ""
    holds: bool = True
    files: Sequence[FileMoney] = ()
    payers: Mapping[str, str] = field(default_factory=dict)


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


def certificate_document(facts: CertificateFacts, small_cells: int) -> dict[str, Any]:
    """Return the certificate as a report states it.

    Args:
        facts: what was compared.
        small_cells: sums of money over at most so many claims are withheld; 0 to withhold none.
    """
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
                "amount": cents_text(cents) if cents and count > small_cells else None,
            }
            for (reason, fact), (count, cents) in facts.reasons.items()
        ],
        "files": list(_by_file(facts.files, small_cells)),
        "money": list(_lines(facts.money, facts.payers, small_cells)),
        "differences": facts.differences or None,
    }


def _by_file(files: Sequence[FileMoney], most: int) -> Iterator[dict[str, Any]]:
    """Yield the sums by file; those of few claims together, so that none can be worked out."""
    groups: dict[tuple[str, str], list[FileMoney]] = defaultdict(list)
    for each in files:
        groups[each.level, each.category].append(each)
    for (level, category), parts in sorted(groups.items()):
        shown, rest = pooled({f"{at:06d}": line.claims for at, line in enumerate(parts)}, most)
        left = [line for at, line in enumerate(parts) if f"{at:06d}" not in shown]
        whole = [line for at, line in enumerate(parts) if f"{at:06d}" in shown]
        for line in whole:
            shows = line.source is not None and not 0 < line.differences <= most
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
        if left:
            shows = rest > most
            yield {
                "file": None,
                "carried": None,
                "level": LEVEL_NAMES[level],
                "category": category,
                "claims": rest if shows else None,
                "source": None,
                "explained": None,
                "published": cents_text(sum(line.published for line in left)) if shows else None,
                "adds_up": all(line.adds_up is not False for line in left),
            }


def _lines(
    money: Mapping[Cell, tuple[int, int]], payers: Mapping[str, str], most: int
) -> Iterator[dict[str, Any]]:
    groups: dict[tuple[str, str, str], dict[str, tuple[int, int]]] = defaultdict(dict)
    for (by, value, level, category), each in money.items():
        if by in _BY and level in LEVEL_NAMES:
            groups[by, level, category][value] = each
    for (by, level, category), values in sorted(groups.items()):
        shown, rest = pooled({name: claims for name, (_, claims) in values.items()}, most)
        cents_left = sum(cents for name, (cents, _) in values.items() if name not in shown)
        parts = [(name, values[name][0], claims) for name, claims in sorted(shown.items())]
        others: list[tuple[str | None, int, int]] = [(None, cents_left, rest)] if rest else []
        for label, cents, claims in [*parts, *others]:
            yield {
                "by": by,
                "value": label,
                "name": payers.get(label) if by == "payer" and label is not None else None,
                "level": LEVEL_NAMES[level],
                "category": category,
                "claims": claims if claims > most else None,
                "amount": cents_text(cents) if claims > most else None,
            }
