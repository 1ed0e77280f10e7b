"""The page of a target's runs: how each ended, and how long each phase took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from etl.reports.page import environment
from etl.reports.summary import is_directory


def runs_page(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the page of some runs.

    Args:
        records: newest first, as `RunRecord.to_json` has them.
    """
    named = {each["phase"]: None for record in records for each in record["phases"]}
    return (
        environment()
        .get_template("runs.html.j2")
        .render(
            runs=[_row(record, list(named)) for record in records],
            phases=list(named),
            of_directory=any(
                is_directory(record["totals"]["tables"]) for record in records if record["totals"]
            ),
        )
    )


def _row(record: Mapping[str, Any], phases: Sequence[str]) -> dict[str, Any]:
    seconds = {each["phase"]: each["seconds"] for each in record["phases"]}
    totals = record["totals"]
    tables: Mapping[str, Mapping[str, int]] = totals["tables"] if totals else {}
    return {
        **record,
        "is_good": record["verdict"] in ("published", "unchanged", "rolled-back"),
        "seconds_of": [seconds.get(phase) for phase in phases],
        "claims": tables.get("claim"),
        "rows_in": sum(each["in"] for each in tables.values()),
        "rows": sum(each["quarantined"] for each in tables.values()),
        "money": totals and totals["money"],
    }
