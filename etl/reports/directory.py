"""Quality of a provider directory: its figures for the report's JSON and for its page."""

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
        rows_file: path of the file with their rows, relative to the report; empty if none.
    """

    quality: directory.DirectoryQuality
    rows_file: str = ""


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
        "places": facts.rows_file or None,
    }


def directory_page(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the figures for the page; None for a run of claims.

    Args:
        document: `directory` of the report's document.

    Returns:
        names: table -> what its rows are, in a word.
        entries: all entries; recent, aging, old, undated: how many of them are of each age.
        impossible: rows with an impossible address or position.
        incomplete: rows with an incomplete address.
        repeated: entries that seem to be duplicates.
        age_plot: entries by age, for each table; None without entries.
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


def _sum(rows: Sequence[Mapping[str, Any]], key: str) -> int:
    return sum(part[key] for part in rows)


def _age_plot(ages: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Plot entries by age, in percent of each table: counts differ by orders of magnitude."""
    if not ages:
        return None
    description = "; ".join(
        f"{directory.ENTRIES[age['table']]}: "
        + ", ".join(f"{age[band]:,} {name}" for band, name in _BANDS.items() if age[band])
        for age in ages
    )
    return Plot(
        "ages",
        "Entries by days since their last update, in percent",
        f"One bar for each kind of entry. {description}.",
        # Every other name is one line lower: side by side they would overlap.
        ["\n" * (index % 2) + directory.ENTRIES[age["table"]] for index, age in enumerate(ages)],
        {name: [100 * age[band] / age["rows"] for age in ages] for band, name in _BANDS.items()},
        unit=" %",
    )


def directory_trends(nights: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[Plot]:
    """Plot the quality of a directory over several runs.

    Args:
        nights: documents of reports, oldest first; those of an earlier program have no figures.
        labels: names of the runs on the axis.
    """
    figures = [night.get("directory") for night in nights]
    pages = [directory_page(quality) for quality in figures]
    span = f"by run, {len(nights)} runs"
    ages = {
        f"more than {directory.RECENT_DAYS} days": [_older(page, "aging", "old") for page in pages],
        f"more than {directory.OLD_DAYS} days": [_older(page, "old") for page in pages],
    }
    faults = {
        "practitioners in no network": [
            quality and quality["coverage"]["practitioners_without_network"] for quality in figures
        ],
        "organizations in none": [
            quality and quality["coverage"]["organizations_without_network"] for quality in figures
        ],
        "wrong addresses": [None if page is None else page["impossible"] for page in pages],
        "duplicates": [None if page is None else page["repeated"] for page in pages],
    }
    closed = [_closed_share(quality["networks"]) if quality else None for quality in figures]
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
    """Return the entries of some age bands, in percent of those with a date."""
    if page is None:
        return None
    dated: int = page["entries"] - page["undated"]
    older: int = sum(page[band] for band in bands)
    return 100 * older / dated if dated else None


def _closed_share(networks: Sequence[Mapping[str, Any]]) -> float | None:
    roles = _sum(networks, "roles")
    closed = sum(row["accepting"]["existptonly"] + row["accepting"]["nopt"] for row in networks)
    return 100 * closed / roles if roles else None
