"""HTML pages of a report: the run, and each rule that found something in it.

They are made from the report's document alone, need no script, and load nothing.
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
from etl.model.data_models import model_of
from etl.quality.totals.money import UNKNOWN_TYPE
from etl.reports.changes import CLAIMS, COMPARED_MONEY, money_level
from etl.reports.directory import directory_page
from etl.reports.finding_places import ShownPlace
from etl.reports.must_support import must_support_page
from etl.reports.plots import Plot
from etl.reports.small_cells import LEVEL_NAMES
from etl.reports.summary import has_claims

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
"""Amount categories in everyday words."""
_LEVELS: Final = {"header": "Whole claims", "lines": "Claim lines"}


@cache
def environment() -> jinja2.Environment:
    """Return the Jinja environment of the report's pages, with their filters."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("etl.reports", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "number": lambda value: f"{value:,}",
        "category": lambda name: CATEGORIES.get(name, name),
        "level": lambda name: _LEVELS.get(name, name),
        "fact": _fact_label,
        "quoted": lambda file, row: shlex.quote(f"{file}:{row}"),
        "counted": counted,
        "money": lambda text: "withheld" if text is None else _money_text(text),
        "change": lambda text: "withheld" if text is None else _signed_money(text),
        "figure": _number_text,
        "minute": lambda when: f"{datetime.fromisoformat(when):%Y-%m-%d %H:%M %Z}".strip(),
        "share": share,
        "percentages": lambda parts: percentages(list(parts)),
    }
    return templates


def report_page(document: Mapping[str, Any]) -> str:
    """Return the report as one HTML page, its answers first."""
    rules: Sequence[Mapping[str, Any]] = document["rules"]
    accepted = "published" if document["release"] else "accepted"
    missing: Sequence[Mapping[str, Any]] = document["missing"]
    # Without members, rules that only warn are about recommended cells: no profile requires them.
    of_claims = has_claims(document["tables"])
    level = money_level([document])
    new_rules = (document["changes"] or {}).get("new_rules") or ()
    recommended_rules = {rule["rule"] for rule in rules if not (of_claims or rejects(rule))}
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            report=document,
            tables=document["tables"],
            accepted=accepted,
            has_claims=of_claims,
            contents=model_of(document["tables"]).contents,
            directory=directory_page(document["directory"]),
            noun="claim" if of_claims else "row",
            subject=of_table(document, "claim") if of_claims else all_rows(document),
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
            changed_claims=_claim_changes(document),
            month_plot=_month_plot(document["claims_by_month"]),
            delay_plot=_delay_plot(document["timeliness"]),
            must_support=must_support_page(document["must_support"]),
            completeness=[
                (table, list(lines))
                for table, lines in groupby(document["completeness"], itemgetter("table"))
            ],
            required=[cells for cells in missing if cells["rule"] not in recommended_rules],
            wanted=[cells for cells in missing if cells["rule"] in recommended_rules],
            rejecting=[rule for rule in rules if rejects(rule) and rule["findings"]],
            warning=sorted(
                (rule for rule in rules if not rejects(rule) and rule["findings"]),
                key=lambda rule: (rule["rule"] not in new_rules, -rule["findings"]),
            ),
            new=new_rules,
            rule_of={rule["rule"]: rule for rule in rules},
            **_extract_age(document),
        )
    )


def rule_page(
    document: Mapping[str, Any], rule: Mapping[str, Any], shown_places: Sequence[ShownPlace]
) -> str:
    """Return the page of one rule: its sentences, its findings, and their first places."""
    return (
        environment()
        .get_template("rule.html.j2")
        .render(
            report=document,
            rule=rule,
            rejects=rejects(rule),
            places=shown_places,
            has_claims=has_claims(document["tables"]),
        )
    )


def causes(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the rules that are first causes of rejections, most rejected claims first."""
    first = [rule for rule in document["rules"] if rule["rejected_rows"]]
    return sorted(
        first, key=lambda rule: (-rule["rejected_claims"], -rule["rejected_rows"], rule["rule"])
    )


def rejects(rule: Mapping[str, Any]) -> bool:
    """Return whether a rule's findings reject rows or claims."""
    return bool(rule["severity"] != "warn")


def of_table(document: Mapping[str, Any], table: str) -> Mapping[str, int]:
    """Return the counts of a table's rows by fate; zeros if the table has no rows."""
    zeros = {"in": 0, "published": 0, "quarantined": 0, "superseded": 0}
    counts: Mapping[str, int] = document["tables"].get(table, zeros)
    return counts


def all_rows(document: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the counts of the rows of all tables by fate."""
    tables: Mapping[str, Mapping[str, int]] = document["tables"]
    fates = ("in", "published", "quarantined", "superseded", "withdrawn")
    return {fate: sum(counts.get(fate, 0) for counts in tables.values()) for fate in fates}


def _claim_changes(document: Mapping[str, Any]) -> Mapping[str, int]:
    zeros = {"added": 0, "changed": 0, "retracted": 0}
    changes = document["changes"]
    counts: Mapping[str, int] = (changes or {"resources": {}})["resources"].get(CLAIMS, zeros)
    return counts


def _delay_plot(timeliness: Mapping[str, Any] | None) -> Plot | None:
    """Plot claims by the business days until they were visible; None without claims."""
    if timeliness is None or not timeliness["claims"]:
        return None
    bars = timeliness["by_business_days"]
    return Plot(
        name="delays",
        title="Claims by business days from adjudication until they were visible",
        description=", ".join(f"{bar['days']} days: {bar['claims']} claims" for bar in bars),
        labels=[bar["days"] for bar in bars],
        series={"claims": [bar["claims"] for bar in bars]},
    )


def _month_plot(lines: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Plot claims by type and month of service; None if no claim has a month."""
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


def _fact_label(name: str) -> str:
    """Return the label of a compared fact, such as `claim.benefit` or `service_date`."""
    level, separator, category = name.partition(".")
    return (
        f"{_LEVELS[LEVEL_NAMES[level]]}: {CATEGORIES[category]}"
        if separator
        else name.replace("_", " ")
    )


def _money_text(text: str) -> str:
    dollars, _, cents = text.partition(".")
    sign = _MINUS if dollars.startswith("-") else ""
    return f"{sign}{int(dollars.lstrip('-')):,}.{cents}"


def _number_text(value: float | Decimal | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _signed_money(text: str) -> str:
    if not Decimal(text):
        return "no change"
    return _money_text(text) if text.startswith("-") else f"+{_money_text(text)}"


_STALE_DAYS: Final = 7
"""An extract of claims this old is marked bad; one too old for CMS's one business day, odd."""
_STALE_PUBLIC_DAYS: Final = 30
_WEEKEND_DAYS: Final = 3
"""Most calendar days to the next business day."""


def _extract_age(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the age of the extract in days, and the CSS class that rates it."""
    as_of = document["extract"]["as_of"]
    if as_of is None:
        return {"days_old": None, "staleness": "odd"}
    days = (datetime.fromisoformat(document["when"]).date() - date.fromisoformat(as_of)).days
    if not has_claims(document["tables"]):
        return {"days_old": days, "staleness": "odd" if days > _STALE_PUBLIC_DAYS else "good"}
    staleness = "good" if days <= _WEEKEND_DAYS else "odd" if days < _STALE_DAYS else "bad"
    return {"days_old": days, "staleness": staleness}


_DECIMALS: Final = (1, 2, 3, 4)
"""Numbers of decimals to try for percentages."""


def percentages(parts: Sequence[int]) -> list[str]:
    """Return each part's percentage of their sum, rounded by the largest remainder method.

    They add up to exactly 100. A part above zero is never `0.0 %`: all get as many decimals as the
    smallest part needs, at most four. A part that is too small even for four is raised to the last
    digit.

    Args:
        parts: counts, none negative. If all are zero, each percentage is a dash.
    """
    total = sum(parts)
    if not total:
        return ["\N{EN DASH}"] * len(parts)
    if total in parts:
        return ["100 %" if part else "0 %" for part in parts]
    for decimals in _DECIMALS:
        units = _largest_remainder(parts, total, 100 * 10**decimals)
        if all(unit for part, unit in zip(parts, units, strict=True) if part):
            break
    else:
        units = _raise_to_one(parts, units)
    return [
        _percent(unit, decimals) if part else "0 %" for part, unit in zip(parts, units, strict=True)
    ]


def share(part: int, total: int) -> str:
    """Return one percentage: `100 %` only for all, `0 %` only for none."""
    return percentages([part, total - part])[0]


def _largest_remainder(parts: Sequence[int], total: int, units: int) -> list[int]:
    quotas = [part * units // total for part in parts]
    order = sorted(range(len(parts)), key=lambda index: (-(parts[index] * units % total), index))
    for index in order[: units - sum(quotas)]:
        quotas[index] += 1
    return quotas


def _raise_to_one(parts: Sequence[int], units: Sequence[int]) -> list[int]:
    raised = [max(unit, 1) if part else 0 for part, unit in zip(parts, units, strict=True)]
    raised[raised.index(max(raised))] -= sum(raised) - sum(units)
    return raised


def _percent(unit: int, decimals: int) -> str:
    integer, fraction = divmod(unit, 10**decimals)
    return f"{integer}.{fraction:0{decimals}d} %"
