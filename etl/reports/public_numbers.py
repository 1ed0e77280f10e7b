"""Public numbers of a year: small counts withheld, posted in the portal's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etl.errors import UsageError
from etl.reports.pools import pool_cells


def withhold_small(part: int, total: int, threshold: int) -> int | None:
    """Return a part of a count; None if the part or the remainder is a small cell.

    Args:
        part: the part.
        total: the count.
        threshold: counts from 1 to this many are withheld; 0 to withhold none.
    """
    return None if 0 < part <= threshold or 0 < total - part <= threshold else part


def public_api_use(document: Mapping[str, Any], threshold: int) -> dict[str, Any]:
    """Return the numbers on API use that may be public.

    The number of members with several apps is left out: it would disclose withheld apps.

    Args:
        document: from `auth.yearly_numbers`.
        threshold: counts from 1 to this many are withheld, and counts that would disclose them.
    """
    members, programs = document["members"], document["programs"] or ()
    small = {
        number
        for name in ("members", "more_than_once")
        for number in pool_cells(
            {(name, at): (row[name],) * 2 for at, row in enumerate(programs)}, threshold
        ).names
    }
    apps = {row["app"]: row["members"] for row in document["apps"]}
    withheld = pool_cells({name: (count,) * 2 for name, count in apps.items()}, threshold).names
    return {name: value for name, value in document.items() if name != "several_apps"} | {
        "small_cells": threshold,
        "members": withhold_small(members, members, threshold),
        "more_than_once": withhold_small(document["more_than_once"], members, threshold),
        "apps": [
            {"app": name, "members": None if name in withheld else count}
            for name, count in apps.items()
        ],
        "programs": [
            row
            | {
                "members": None if ("members", at) in small else row["members"],
                "more_than_once": None
                if {("members", at), ("more_than_once", at)} & small
                else withhold_small(row["more_than_once"], row["members"], threshold),
            }
            for at, row in enumerate(programs)
        ],
    }


def post_numbers(folder: Path | None, name: str, document: Mapping[str, Any], text: str) -> Path:
    """Write numbers as JSON and CSV into the portal's folder; return the JSON's path.

    Args:
        folder: the setting `portal.reports`.
        name: kind and year, such as `api-use-2026`.
        document: the numbers. The JSON is written last, because the portal lists JSON files.
        text: the same numbers as CSV.

    Raises:
        UsageError: the setting is missing, or the folder cannot be written to.
    """
    if folder is None:
        raise UsageError(
            "portal.reports is not set: set it to the folder of the portal's public reports"
        )
    try:
        for ending, body in (("csv", text), ("json", json.dumps(document, indent=2) + "\n")):
            draft = folder / f".{name}.{ending}"
            draft.write_text(body, encoding="utf-8")
            draft.replace(folder / f"{name}.{ending}")
    except OSError as error:
        raise UsageError(f"{folder}: {name} cannot be written: {error.strerror}") from None
    return folder / f"{name}.json"
