"""Numbers of a year that anybody may read: small counts withheld, put where the portal looks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etl.errors import UsageError
from etl.reports.pools import pooled


def without_small(part: int, whole: int, most: int) -> int | None:
    """Return a part of a count that is shown; None if it, or what it leaves, is a small cell.

    Args:
        part: the part.
        whole: the count.
        most: counts from 1 to so many are withheld; 0 to withhold none.
    """
    return None if 0 < part <= most or 0 < whole - part <= most else part


def public_api_use(document: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Return the numbers on the API that may be public.

    Members of several apps are left out: with them, those of one app would follow from the others.

    Args:
        document: of `auth.yearly_numbers`.
        most: counts from 1 to so many are withheld, with those that they follow from.
    """
    members = document["members"]
    apps = {row["app"]: row["members"] for row in document["apps"]}
    withheld = pooled({name: (count, count) for name, count in apps.items()}, most).names
    return {name: value for name, value in document.items() if name != "several_apps"} | {
        "small_cells": most,
        "members": without_small(members, members, most),
        "more_than_once": without_small(document["more_than_once"], members, most),
        "apps": [
            {"app": name, "members": None if name in withheld else count}
            for name, count in apps.items()
        ],
    }


def post_numbers(folder: Path | None, name: str, document: Mapping[str, Any], text: str) -> Path:
    """Make numbers public: as JSON and CSV in the portal's folder; return the JSON's path.

    Args:
        folder: the setting `portal.reports`.
        name: kind and year, such as `api-use-2026`.
        document: as JSON. It is written last: the portal shows what it finds of it.
        text: the same as CSV.

    Raises:
        UsageError: there is no such folder, or it cannot be written to.
    """
    if folder is None:
        raise UsageError(
            "portal.reports is not set: set it to the folder of the portal's public reports"
        )
    try:
        for ending, body in (("csv", text), ("json", json.dumps(document, indent=2) + "\n")):
            new = folder / f".{name}.{ending}"
            new.write_text(body, encoding="utf-8")
            new.replace(folder / f"{name}.{ending}")
    except OSError as error:
        raise UsageError(f"{folder}: {name} cannot be written: {error.strerror}") from None
    return folder / f"{name}.json"
