"""Rows read a second: a layout with ten joins beside the canonical layout, of the same rows."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Final

from etl.sources.extract.opening import open_extract
from etl.sources.layout.model import Layout
from etl.sources.layout.syntax import read_layout
from etl.sources.partition.reading import partition_extract

JOINED: Final = (
    "statement_from_date",
    "statement_thru_date",
    "adjudication_date",
    "claim_type",
    "coverage_id",
    "payer_id",
    "billing_provider_id",
    "amount_submitted",
    "amount_eligible",
    "amount_benefit",
)
"""Columns of claims that a file of their own has in the layout with joins."""
_FACTS: Final = "claim_facts"
CANONICAL: Final = "rows read in the canonical layout"
JOINED_LAYOUT: Final = "rows read in a layout with ten joins"


def reading_ways(extract: Path, folder: Path) -> dict[str, Callable[[], int]]:
    """Return how to read an extract with ten joins, and in the canonical layout.

    Args:
        extract: in the canonical layout, one CSV file a table.
        folder: for the other extract, and for work.
    """
    joined = folder / "joined"
    layout = _with_joins(extract, joined)
    return {
        CANONICAL: lambda: _read(extract, folder / "work", ()),
        JOINED_LAYOUT: lambda: _read(joined, folder / "work", (layout,)),
    }


def _read(extract: Path, work: Path, layouts: tuple[Layout, ...]) -> int:
    """Turn an extract into canonical rows; return how many rows it has."""
    parts = partition_extract(open_extract(extract, layouts), work, partitions=4)
    for index in range(parts.facts.count):
        parts.load(index)
    parts.directory()
    return sum(parts.facts.rows_read.values())


def _with_joins(extract: Path, joined: Path) -> Layout:
    """Write the extract with some columns of its claims apart; return its layout."""
    joined.mkdir()
    raw, tables = [], []
    for path in sorted(extract.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            headers, *rows = csv.reader(file)
        name = path.stem
        kept = [header for header in headers if name != "claim" or header not in JOINED]
        if name == "claim":
            facts = ["claim_id", "member_id", *(one for one in JOINED if one in headers)]
            _write(joined / f"{_FACTS}.csv", headers, rows, facts)
            raw.append(_raw(_FACTS, facts))
        _write(joined / path.name, headers, rows, kept)
        raw.append(_raw(name, kept))
        columns = [
            f"      {header}: " + (header if header in kept else _lookup(header))
            for header in headers
        ]
        tables += [f"  {name}:", f"    from: {name}", "    columns:", *columns]
    text = ["layout: joined", "title: Ten joins", "description: For a benchmark.", "raw:", *raw]
    return read_layout("\n".join([*text, "tables:", *tables]), "joined.yaml", {})


def _write(path: Path, headers: list[str], rows: list[list[str]], kept: list[str]) -> None:
    places = [headers.index(header) for header in kept]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(kept)
        writer.writerows([row[place] for place in places] for row in rows)


def _raw(name: str, headers: list[str]) -> str:
    ids = {role: f"{role}_id" for role in ("member", "claim") if f"{role}_id" in headers}
    if name == "coverage":
        ids["coverage"] = "coverage_id"
    lines = [f"    {role}: {header}" for role, header in ids.items()]
    compulsory = name in ("member", "coverage", "claim", "claim_line")
    return "\n".join(
        [
            f"  {name}:",
            f'    named: "{name}"',
            f"    compulsory: {str(compulsory).lower()}",
            *lines,
            f"    required: [{', '.join(headers)}]",
        ]
    )


def _lookup(header: str) -> str:
    by = "key: claim_id, by: claim_id"
    return f"{{ lookup: {{ table: {_FACTS}, {by}, value: {header} }} }}"
