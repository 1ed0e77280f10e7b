"""Every element of CPCDS is mapped in each profile that it belongs to, or skipped with a reason."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Final

import pytest

from etl.mapping.plan import Guarded, ListNode, Loop, ObjectNode, Plan, Spliced
from tests.golden.mapping.rendering import mapping_set

INDEX: Final = Path(__file__).parents[4] / "shared/ig/cpcds-to-fhir-mapping/data-element-index.csv"
"""The guide's index of all elements by profile; its profiles' comments cite fewer of them."""

SHEETS: Final = {
    "EOB Inpatient Institutional": "eob-inpatient",
    "EOB Outpatient Institutional": "eob-outpatient",
    "EOBOutpatient Institutional": "eob-outpatient",
    "EOB Professional & Non-Clinician": "eob-professional",
    "EOB Pharmacy": "eob-pharmacy",
    "EOB Oral": "eob-oral",
    "Coverage": "coverage",
    "Patient": "patient",
    "Practitioner": "practitioner",
    "Organization": "organization",
}

META: Final = {163, 190}
"""meta.lastUpdated and meta.profile: the engine writes them in every resource."""


def carried(plan: Plan) -> set[int]:
    """Return the MapIDs that a plan's lines cite, or that it skips."""
    return (
        {number for node in _nodes(plan.body) for number in node.place.map_ids}
        | META
        | {*plan.skipped}
    )


def _nodes(node: object) -> Iterator[ObjectNode | ListNode]:
    match node:
        case ObjectNode(members=members):
            yield node
            for _, member in members:
                yield from _nodes(member)
        case ListNode(entries=entries) | Spliced(entries=entries):
            for entry in entries:
                yield from _nodes(entry)
        case Guarded(node=inner) | Loop(node=inner):
            yield from _nodes(inner)
        case _ if hasattr(node, "place"):
            yield node  # type: ignore[misc]


def missing(wanted: dict[str, set[int]]) -> dict[str, list[int]]:
    plans = {plan.name: plan for plan in mapping_set().plans}
    found = {name: sorted(ids - carried(plans[name])) for name, ids in wanted.items()}
    return {name: ids for name, ids in found.items() if ids}


def test_every_map_id_that_a_profile_cites_is_mapped_or_skipped() -> None:
    by_profile = {
        plan.profile.rpartition("/")[2].partition("|")[0]: plan.name for plan in mapping_set().plans
    }
    wanted: dict[str, set[int]] = defaultdict(set)
    facts = resources.files("etl.model").joinpath("facts/2.2.0/map-ids.json")
    for map_id, profile, _ in json.loads(facts.read_text("utf-8")):
        wanted[by_profile[profile]].add(map_id)
    assert missing(wanted) == {}


@pytest.mark.shared
@pytest.mark.skipif(not INDEX.is_file(), reason="the guide's index is not beside the project")
def test_every_map_id_of_the_guides_index_is_mapped_or_skipped() -> None:
    wanted: dict[str, set[int]] = defaultdict(set)
    with INDEX.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = SHEETS.get(row["CARIN BB2.X FHIR Profile"])
            if name is not None:
                wanted[name].add(int(row["Map ID"]))
    assert missing(wanted) == {}
