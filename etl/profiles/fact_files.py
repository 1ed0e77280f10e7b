"""Files under `facts/`: names and JSON, by guide."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from etl.profiles.guides import Guide


@cache
def fact_names(guide: Guide) -> frozenset[str]:
    """Return the names of a guide's facts: those of its profiles, `value-sets` and others."""
    place = resources.files("etl.profiles") / "facts" / guide.id / guide.version
    return frozenset(entry.name.removesuffix(".json") for entry in place.iterdir())


def read_facts(guide: Guide, name: str) -> Any:
    """Return the JSON of one file of a guide, named without `.json`."""
    place = resources.files("etl.profiles") / "facts" / guide.id / guide.version
    return json.loads(place.joinpath(f"{name}.json").read_bytes())
