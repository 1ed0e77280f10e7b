"""Every element of CPCDS is mapped in each profile that it belongs to, or left out, with why."""

import csv
import json
from collections import defaultdict
from importlib import resources
from pathlib import Path

import pytest

from etl.mapping.dictionary import build_dictionary
from tests.given.tables import read_tables
from tests.golden.mapping.rendering import mapping_set

VIEWS = pytest.mark.parametrize("view", ["financial", "basis"])
INDEX = Path(__file__).parents[4] / "shared/ig/cpcds-to-fhir-mapping/data-element-index.csv"
"""The guide's index of all elements by profile; its profiles' comments cite fewer of them."""

SHEETS = read_tables(__file__)["sheets"]


def missing(wanted, view):
    """Return the MapIDs that the data dictionary does not have for the profile of a mapping."""
    found = defaultdict(set)
    for row in build_dictionary(mapping_set(view=view).plans):
        assert row.note or row.role != "left out"
        found[row.profile] |= {*row.map_ids}
    lacking = {
        plan.name: sorted(wanted[plan.name] - found[plan.profile.rpartition("/")[2].split("|")[0]])
        for plan in mapping_set(view=view).plans
        if plan.name in wanted
    }
    assert len(lacking) == len(wanted)
    return {name: ids for name, ids in lacking.items() if ids}


@VIEWS
def test_every_map_id_that_a_profile_cites_is_in_the_dictionary(view):
    by_profile = {
        plan.profile.rpartition("/")[2].partition("|")[0]: plan.name for plan in mapping_set().plans
    }
    wanted = defaultdict(set)
    facts = resources.files("etl.profiles").joinpath("facts/carin-bb/2.2.0/map-ids.json")
    for map_id, profile, _ in json.loads(facts.read_text("utf-8")):
        wanted[by_profile[profile]].add(map_id)
    assert missing(wanted, view) == {}


@VIEWS
@pytest.mark.shared
@pytest.mark.skipif(not INDEX.is_file(), reason="the guide's index is not beside the project")
def test_every_map_id_of_the_guides_index_is_in_the_dictionary(view):
    wanted = defaultdict(set)
    with INDEX.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = SHEETS.get(row["CARIN BB2.X FHIR Profile"])
            if name is not None:
                wanted[name].add(int(row["Map ID"]))
    assert missing(wanted, view) == {}
