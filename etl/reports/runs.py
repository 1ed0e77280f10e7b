"""The page of a target's runs: how each ended, and how long each phase took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from etl.reports.page import environment


def runs_page(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the page of some runs.

    Args:
        records: newest first, as `RunRecord.to_json` has them.
    """
    named = {each["phase"]: None for record in records for each in record["phases"]}
    return (
        environment()
        .get_template("runs.html.j2")
        .render(runs=[_row(record, list(named)) for record in records], phases=list(named))
    )


def _row(record: Mapping[str, Any], phases: Sequence[str]) -> dict[str, Any]:
    seconds = {each["phase"]: each["seconds"] for each in record["phases"]}
    totals = record["totals"]
    claims = totals and totals["tables"].get("claim")
    return {
        **record,
        "is_good": record["verdict"] in ("published", "unchanged", "rolled-back"),
        "seconds_of": [seconds.get(phase) for phase in phases],
        "claims": claims,
        "rows": totals and sum(each["quarantined"] for each in totals["tables"].values()),
        "money": totals and totals["money"],
    }
