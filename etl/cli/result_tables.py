"""Results of a run, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

from etl.model.canonical_tables import TABLES
from etl.pipeline.report import MOST_CAUSES
from etl.quality import RowCounts
from etl.reports import Rejected, Report, Summary, summary


def show_summary(report: Report) -> None:
    """Print what became of rows, what was made, and what was found."""
    found = summary(report)
    print_table(
        ("rows", "in", "published", "quarantined", "superseded"),
        [(name, *(f"{number:,}" for number in numbers)) for name, *numbers in found.tables],
    )
    print_table(("resources", "count"), [(name, f"{count:,}") for name, count in found.resources])
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{found.rejections:,} findings reject rows, {found.warnings:,} are warnings")
    show_rejected(found.rejected)
    show_unowned(found.unowned)
    for sentence in found.broken_limits:
        console.print(f"limit broken: {sentence}")


def show_rejected(rejected: Rejected) -> None:
    """Print the rules that cost most, claims by first cause, and what to do about them."""
    if not rejected.causes:
        return
    first, rest = rejected.causes[:MOST_CAUSES], rejected.causes[MOST_CAUSES:]
    rows = [(each.rule, f"{each.claims:,}", f"{each.rows:,}") for each in first]
    if rest:
        claims, lost = (sum(each) for each in zip(*((c.claims, c.rows) for c in rest), strict=True))
        rows.append((f"{len(rest)} other rules", f"{claims:,}", f"{lost:,}"))
    print_table(("rejected by (first cause)", "claims", "rows"), rows)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{rejected.claims:,} of {rejected.of:,} claims are in quarantine", markup=False)
    for sentence in rejected.advice:
        console.print(sentence, markup=False)


def show_unowned(unowned: Mapping[str, int]) -> None:
    """Print by file how many rows could be assigned to no claim or member."""
    for file, rows in unowned.items():
        Console(highlight=False, soft_wrap=True).print(
            f"{file}: {rows:,} rows cannot be read or name no owner, "
            "so what they belong to is unknown"
        )


def show_counts(counts: Mapping[str, RowCounts]) -> None:
    """Print what became of the rows of each table."""
    print_table(
        ("rows", "in", "published", "quarantined", "superseded"),
        [(name, *(f"{number:,}" for number in numbers)) for name, *numbers in _rows(counts)],
    )


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table: the first column is text, the others are numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def summary_json(report: Report) -> dict[str, object]:
    """Return what a run came to."""
    found: Summary = summary(report)
    return {
        "tables": {name: _counts(numbers) for name, *numbers in found.tables},
        "resources": dict(found.resources),
        "findings": {"reject": found.rejections, "warn": found.warnings},
        "unowned_rows": dict(found.unowned),
        "broken_limits": list(found.broken_limits),
        "rejected": rejected_json(found.rejected),
    }


def rejected_json(rejected: Rejected) -> dict[str, object]:
    """Return what was rejected, by first cause; claims of all causes sum to `claims`."""
    return {
        "claims": rejected.claims,
        "of": rejected.of,
        "causes": [
            {"rule": one.rule, "says": one.says, "claims": one.claims, "rows": one.rows}
            for one in rejected.causes
        ],
        "advice": list(rejected.advice),
    }


def counts_json(counts: Mapping[str, RowCounts]) -> dict[str, object]:
    """Return what became of the rows of each table."""
    return {name: _counts(numbers) for name, *numbers in _rows(counts)}


def _rows(counts: Mapping[str, RowCounts]) -> list[tuple[str, int, int, int, int]]:
    return [
        (name, each.rows_in, each.published, each.quarantined, each.superseded)
        for name in TABLES
        if (each := counts.get(name)) is not None and each.rows_in
    ]


def _counts(numbers: Iterable[int]) -> dict[str, int]:
    return dict(zip(("in", "published", "quarantined", "superseded"), numbers, strict=True))
