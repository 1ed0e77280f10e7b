"""Quality of a provider directory: its figures as plain values, and as the page has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from etl.quality.totals import directory
from etl.reports.plots import Plot

_BANDS: Final = {
    "recent": f"{directory.RECENT_DAYS} days or less",
    "aging": f"up to {directory.OLD_DAYS} days",
    "old": f"more than {directory.OLD_DAYS} days",
    "undated": "without a date",
}
"""Ages of entries, in words."""


@dataclass(frozen=True, slots=True)
class DirectoryFacts:
    """Quality of a directory, for a report.

    Attributes:
        quality: the figures.
        places: path of the file with the rows behind them, relative to the report; empty where
            there are none.
    """

    quality: directory.DirectoryQuality
    places: str = ""


def directory_document(facts: DirectoryFacts) -> dict[str, Any]:
    """Return the figures as docs/reports.md describes them."""
    quality = facts.quality
    return {
        "day": quality.day.isoformat(),
        "ages": [
            {**asdict(each), "oldest": each.oldest.isoformat() if each.oldest else None}
            for each in quality.ages
        ],
        "coverage": asdict(quality.coverage),
        "networks": [{**asdict(each), "unstated": each.unstated} for each in quality.networks],
        "addresses": [asdict(each) for each in quality.addresses],
        "duplicates": [asdict(each) for each in quality.duplicates],
        "places": facts.places or None,
    }


def directory_page(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the figures for the page; None where the run was of no directory.

    Args:
        document: `directory` of the report's document.

    Returns:
        names: table -> what its rows are, in a word.
        entries: all entries; recent, aging, old, undated: how many of them are of each age.
        impossible: rows with an address or position that cannot be.
        incomplete: rows with an address of which a part is missing.
        repeated: entries that seem to be there several times.
        age_plot: entries by age, by table; None without entries.
    """
    if document is None:
        return None
    ages: Sequence[Mapping[str, Any]] = document["ages"]
    return {
        "names": directory.ENTRIES,
        "entries": _sum(ages, "rows"),
        **{band: _sum(ages, band) for band in _BANDS},
        "impossible": _sum(document["addresses"], "impossible"),
        "incomplete": _sum(document["addresses"], "incomplete"),
        "repeated": _sum(document["duplicates"], "groups"),
        "age_plot": _age_plot([each for each in ages if each["rows"]]),
    }


def _sum(parts: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(part[name] for part in parts)


def _age_plot(ages: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Return entries by age, in percent of each table: counts differ by orders of magnitude."""
    if not ages:
        return None
    in_words = "; ".join(
        f"{directory.ENTRIES[each['table']]}: "
        + ", ".join(f"{each[band]:,} {name}" for band, name in _BANDS.items() if each[band])
        for each in ages
    )
    return Plot(
        "ages",
        "Entries by days since their last update, in percent",
        f"One bar for each kind of entry. {in_words}.",
        # Every other name stands lower: side by side they would run into each other.
        ["\n" * (at % 2) + directory.ENTRIES[each["table"]] for at, each in enumerate(ages)],
        {name: [100 * each[band] / each["rows"] for each in ages] for band, name in _BANDS.items()},
        unit=" %",
    )


def directory_trends(nights: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[Plot]:
    """Return how the quality of a directory went on.

    Args:
        nights: documents of reports, oldest first; one of an earlier program has no figures.
        labels: of the nights.
    """
    figures = [night.get("directory") for night in nights]
    pages = [directory_page(each) for each in figures]
    span = f"by run, {len(nights)} runs"
    ages = {
        f"more than {directory.RECENT_DAYS} days": [_older(page, "aging", "old") for page in pages],
        f"more than {directory.OLD_DAYS} days": [_older(page, "old") for page in pages],
    }
    faults = {
        "practitioners in no network": [
            each and each["coverage"]["practitioners_without_network"] for each in figures
        ],
        "organizations in none": [
            each and each["coverage"]["organizations_without_network"] for each in figures
        ],
        "wrong addresses": [None if page is None else page["impossible"] for page in pages],
        "duplicates": [None if page is None else page["repeated"] for page in pages],
    }
    closed = [None if each is None else _closed(each["networks"]) for each in figures]
    return [
        Plot(
            "old-entries",
            "Entries last updated longer ago, in percent of all with a date",
            f"Shares of entries that were last updated more than {directory.RECENT_DAYS} and more "
            f"than {directory.OLD_DAYS} days before, {span}.",
            labels,
            ages,
            kind="lines",
            unit=" %",
        ),
        Plot(
            "directory-faults",
            "Entries that cannot be found, or that are impossible",
            f"Counts of {', '.join(faults)}, {span}.",
            labels,
            faults,
            kind="lines",
        ),
        Plot(
            "closed-practices",
            "Roles closed to new patients, in percent of those in a network",
            f"Share of roles that accept no new patients, {span}.",
            labels,
            {"closed": closed},
            kind="lines",
            unit=" %",
        ),
    ]


def _older(page: Mapping[str, Any] | None, *bands: str) -> float | None:
    if page is None:
        return None
    dated: int = page["entries"] - page["undated"]
    older: int = sum(page[band] for band in bands)
    return 100 * older / dated if dated else None


def _closed(networks: Sequence[Mapping[str, Any]]) -> float | None:
    roles = _sum(networks, "roles")
    closed = sum(each["accepting"]["existptonly"] + each["accepting"]["nopt"] for each in networks)
    return 100 * closed / roles if roles else None
