"""Pages for people: of a run and of each rule that found something in it.

They are made of the report's document alone, need no script, and load nothing from anywhere.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import jinja2

from etl.errors import counted
from etl.model.canonical_tables import CLAIM_TYPES
from etl.quality.totals.money import UNKNOWN_TYPE
from etl.reports.changes import CLAIMS, COMPARED_MONEY, money_level
from etl.reports.directory import directory_page
from etl.reports.finding_places import ShownPlace
from etl.reports.must_support import must_support_page
from etl.reports.plots import Plot
from etl.reports.small_cells import LEVEL_NAMES
from etl.reports.summary import is_directory

_MINUS: Final = "\N{MINUS SIGN}"
CATEGORIES: Final = {
    "submitted": "Billed",
    "eligible": "Allowed",
    "deductible": "Deductible",
    "coinsurance": "Coinsurance",
    "copay": "Copay",
    "noncovered": "Not covered",
    "benefit": "Plan paid",
    "discount": "Discount",
    "memberliability": "Member owes",
    "paidbypatient": "Paid by patient",
    "paidbypatientcash": "Paid by patient, cash",
    "paidbypatientother": "Paid by patient, other",
    "paidbypatienthealthaccount": "Paid by patient, health account",
    "paidtoprovider": "Paid to provider",
    "paidtopatient": "Paid to patient",
    "priorpayerpaid": "Paid by prior payer",
    "drugcost": "Drug cost",
}
"""Amount categories in words that need no glossary."""
_LEVELS: Final = {"header": "Whole claims", "lines": "Claim lines"}


@cache
def environment() -> jinja2.Environment:
    """Return what makes pages of templates."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("etl.reports", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": lambda value: f"{value:,}",
        "category": lambda name: CATEGORIES.get(name, name),
        "level": lambda name: _LEVELS.get(name, name),
        "fact": _fact,
        "quoted": lambda file, row: shlex.quote(f"{file}:{row}"),
        "counted": counted,
        "money": lambda text: "withheld" if text is None else _money_text(text),
        "change": lambda text: "withheld" if text is None else _signed(text),
        "figure": _figure,
        "minute": lambda when: f"{datetime.fromisoformat(when):%Y-%m-%d %H:%M %Z}".strip(),
        "share": share,
        "percentages": lambda parts: percentages(list(parts)),
    }
    return made


def report_page(document: Mapping[str, Any]) -> str:
    """Return the report for people: one page, its answers first."""
    rules: Sequence[Mapping[str, Any]] = document["rules"]
    accepted = "published" if document["release"] else "accepted"
    missing: Sequence[Mapping[str, Any]] = document["missing"]
    # A directory's rules about what people look for warn; nothing in a profile requires it.
    is_wanted = is_directory(document["tables"])
    level = money_level([document])
    wanting = {rule["rule"] for rule in rules if is_wanted and not rejects(rule)}
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            report=document,
            tables=document["tables"],
            accepted=accepted,
            is_directory=is_directory(document["tables"]),
            directory=directory_page(document["directory"]),
            noun="row" if is_directory(document["tables"]) else "claim",
            subject=all_rows(document)
            if is_directory(document["tables"])
            else of_table(document, "claim"),
            members=of_table(document, "member"),
            causes=causes(document),
            headline_money=[
                total
                for total in document["money_totals"]
                if total["level"] == level and total["category"] in COMPARED_MONEY
            ],
            money_by_type=[
                (claim_type, rows)
                for claim_type in (*CLAIM_TYPES, UNKNOWN_TYPE)
                if (rows := [row for row in document["money"] if row["claim_type"] == claim_type])
            ],
            changed_claims=_changed_claims(document),
            month_plot=_month_plot(document["claims_by_month"]),
            delay_plot=_delay_plot(document["timeliness"]),
            must_support=must_support_page(document["must_support"]),
            completeness=[
                (table, list(lines))
                for table, lines in groupby(document["completeness"], itemgetter("table"))
            ],
            required=[each for each in missing if each["rule"] not in wanting],
            wanted=[each for each in missing if each["rule"] in wanting],
            rejecting=[rule for rule in rules if rejects(rule) and rule["findings"]],
            warning=[rule for rule in rules if not rejects(rule) and rule["findings"]],
            rule_of={rule["rule"]: rule for rule in rules},
            **_age(document),
        )
    )


def rule_page(
    document: Mapping[str, Any], rule: Mapping[str, Any], places: Sequence[ShownPlace]
) -> str:
    """Return the page of one rule: its sentences, its findings, and the first places."""
    return (
        environment()
        .get_template("rule.html.j2")
        .render(
            report=document,
            rule=rule,
            rejects=rejects(rule),
            places=places,
            is_directory=is_directory(document["tables"]),
        )
    )


def causes(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rules that began a rejection, the one that cost most claims first."""
    began = [rule for rule in document["rules"] if rule["rejected_rows"]]
    return sorted(
        began, key=lambda rule: (-rule["rejected_claims"], -rule["rejected_rows"], rule["rule"])
    )


def rejects(rule: Mapping[str, Any]) -> bool:
    """Return whether a rule's findings reject rows or claims."""
    return bool(rule["severity"] != "warn")


def of_table(document: Mapping[str, Any], table: str) -> Mapping[str, int]:
    """Return the counts of a table's rows by fate; zeros where it has none."""
    none = {"in": 0, "published": 0, "quarantined": 0, "superseded": 0}
    counts: Mapping[str, int] = document["tables"].get(table, none)
    return counts


def all_rows(document: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the counts of the rows of all tables by fate."""
    tables: Mapping[str, Mapping[str, int]] = document["tables"]
    fates = ("in", "published", "quarantined", "superseded", "withdrawn")
    return {fate: sum(each.get(fate, 0) for each in tables.values()) for fate in fates}


def _changed_claims(document: Mapping[str, Any]) -> Mapping[str, int]:
    none = {"added": 0, "changed": 0, "retracted": 0}
    changes = document["changes"]
    counts: Mapping[str, int] = (changes or {"resources": {}})["resources"].get(CLAIMS, none)
    return counts


def _delay_plot(timeliness: Mapping[str, Any] | None) -> Plot | None:
    """Return claims by the business days until they were visible; None where there are none."""
    if timeliness is None or not timeliness["claims"]:
        return None
    bars = timeliness["by_business_days"]
    return Plot(
        name="delays",
        title="Claims by business days from adjudication until they were visible",
        description=", ".join(f"{each['days']} days: {each['claims']} claims" for each in bars),
        labels=[each["days"] for each in bars],
        series={"claims": [each["claims"] for each in bars]},
    )


def _month_plot(lines: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Return claims by type and month of service; None where there are none with a month."""
    months = sorted({line["month"] for line in lines if line["month"]})
    if not months:
        return None
    claims = {(line["claim_type"], line["month"]): line["claims"] for line in lines}
    types = [name for name in CLAIM_TYPES if any((name, month) in claims for month in months)]
    return Plot(
        "claims-by-month",
        f"Claims by month of service{f': {types[0]}' if len(types) == 1 else ''}",
        f"Claims of {', '.join(types)} by month, from {months[0]} to {months[-1]}.",
        months,
        {name: [claims.get((name, month)) for month in months] for name in types},
    )


def _fact(name: str) -> str:
    """Return a compared fact in words: a plain one, or level and category of an amount."""
    level, separator, category = name.partition(".")
    return (
        f"{_LEVELS[LEVEL_NAMES[level]]}: {CATEGORIES[category]}"
        if separator
        else name.replace("_", " ")
    )


def _money_text(text: str) -> str:
    whole, _, cents = text.partition(".")
    sign = _MINUS if whole.startswith("-") else ""
    return f"{sign}{int(whole.lstrip('-')):,}.{cents}"


def _figure(value: float | Decimal | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _signed(text: str) -> str:
    return _money_text(text) if text.startswith("-") else f"+{_money_text(text)}"


_STALE: Final = 7
"""Days from which an extract of claims is bad; one that is too old to keep CMS's day is odd."""
_STALE_DIRECTORY: Final = 30
_WEEKEND: Final = 3
"""Days that one business day may be away."""


def _age(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many days older than its run an extract is, and the class that judges it."""
    as_of = document["extract"]["as_of"]
    if as_of is None:
        return {"days_old": None, "staleness": "odd"}
    days = (datetime.fromisoformat(document["when"]).date() - date.fromisoformat(as_of)).days
    if is_directory(document["tables"]):
        return {"days_old": days, "staleness": "odd" if days > _STALE_DIRECTORY else "good"}
    staleness = "good" if days <= _WEEKEND else "odd" if days < _STALE else "bad"
    return {"days_old": days, "staleness": staleness}


_DECIMALS: Final = (1, 2, 3, 4)


def percentages(parts: Sequence[int]) -> list[str]:
    """Return each part's percentage of their sum, by largest remainder.

    They add up to exactly 100. A part that is there is never `0.0 %`: as many decimals are given
    as the smallest part needs, four at most, and the last digit is one then.

    Args:
        parts: counts, none negative. Parts of nothing have no percentage: a dash.
    """
    whole = sum(parts)
    if not whole:
        return ["\N{EN DASH}"] * len(parts)
    if whole in parts:
        return ["100 %" if part else "0 %" for part in parts]
    for decimals in _DECIMALS:
        units = _largest_remainder(parts, whole, 100 * 10**decimals)
        if all(unit for part, unit in zip(parts, units, strict=True) if part):
            break
    else:
        units = _at_least_one(parts, units)
    return [
        _text(unit, decimals) if part else "0 %" for part, unit in zip(parts, units, strict=True)
    ]


def share(part: int, whole: int) -> str:
    """Return one percentage: `100 %` only where it is all, `0 %` only where it is none."""
    return percentages([part, whole - part])[0]


def _largest_remainder(parts: Sequence[int], whole: int, units: int) -> list[int]:
    given = [part * units // whole for part in parts]
    by_rest = sorted(range(len(parts)), key=lambda index: (-(parts[index] * units % whole), index))
    for index in by_rest[: units - sum(given)]:
        given[index] += 1
    return given


def _at_least_one(parts: Sequence[int], units: Sequence[int]) -> list[int]:
    raised = [max(unit, 1) if part else 0 for part, unit in zip(parts, units, strict=True)]
    raised[raised.index(max(raised))] -= sum(raised) - sum(units)
    return raised


def _text(unit: int, decimals: int) -> str:
    whole, rest = divmod(unit, 10**decimals)
    return f"{whole}.{rest:0{decimals}d} %"
