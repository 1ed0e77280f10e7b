"""Every must-support element is produced, or a mapping says why it cannot be."""

import csv
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

from etl.mapping.coverage import (
    find_misplaced_skips,
    must_support_coverage,
    written_columns,
)
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.profiles.structures import find_canonical, load_profile
from tests.filled_elements import filled_elements
from tests.given.tables import read_tables
from tests.golden.mapping.everything import everything, without_line_amounts
from tests.golden.mapping.rendering import mapping_set, resources

GUIDE = Path(__file__).parents[4] / "shared" / "ig" / "must-support.csv"
NOT_WITHOUT_AMOUNTS = read_tables(__file__)["not_without_amounts"]
VIEWS = pytest.mark.parametrize("view", ["financial", "basis"])


@cache
def filled(view):
    """Return what full rows fill. Institutional amounts stand on lines or in the header: both."""
    found = defaultdict(set)
    rows = everything()
    for resource in [
        *resources(rows, view=view),
        *resources(without_line_amounts(rows), view=view),
    ]:
        found[resource["meta"]["profile"][0]] |= filled_elements(resource)
    return found


def columns_of(mappings):
    return {plan.name: written_columns(plan, mappings.crosswalks) for plan in mappings.plans}


@VIEWS
def test_what_mappings_are_said_to_produce_is_what_they_produce_of_full_rows(view):
    """In both directions: nothing is claimed that no row can fill, and nothing overlooked."""
    mappings = mapping_set(view=view)
    assert len(mappings.plans) == 13
    for plan in mappings.plans:
        profile = find_canonical(plan.profile)
        assert profile is not None
        marked = {one.id for one in profile.must_support()}
        written = set(written_columns(plan, mappings.crosswalks))
        elements = set(filled(view)[plan.profile])
        elements.discard("ExplanationOfBenefit.meta.profile:supportedProfile")  # the engine's
        assert written & marked == elements & marked, plan.name
        assert elements <= written, plan.name


@VIEWS
def test_what_cannot_be_has_a_reason_and_no_skip_is_out_of_place(view):
    mappings = mapping_set(view=view)
    assert [
        one for plan in mappings.plans for one in find_misplaced_skips(plan, mappings.crosswalks)
    ] == []
    cannot = {
        each.element: each.reason
        for one in must_support_coverage(mappings.plans, columns_of(mappings))
        for each in one.with_status("cannot be")
    }
    assert all(cannot.values())
    assert set(cannot) == {
        "RelatedPerson.telecom",
        "RelatedPerson.address",
        "PractitionerRole.code",
        "PractitionerRole.endpoint",
        "Location.type",
        *(NOT_WITHOUT_AMOUNTS if view == "basis" else ()),
    }


def test_columns_are_named_as_the_layout_names_them():
    mappings = mapping_set()
    by_id = {
        each.element: each.columns
        for one in must_support_coverage(mappings.plans, columns_of(mappings))
        for each in one.elements
    }
    received = by_id["ExplanationOfBenefit.supportingInfo:clmrecvddate"]
    assert received == ("claim.received_date",)
    assert by_id["Coverage.class:group.value"] == ("coverage.group_id", "coverage.group_name")
    tables = {name.partition(".")[0] for columns in by_id.values() for name in columns}
    assert tables <= set(TABLES)


@pytest.mark.shared
@pytest.mark.skipif(not GUIDE.is_file(), reason="the guide's list is not beside the project")
def test_the_facts_mark_what_the_guides_list_marks():
    theirs = defaultdict(set)
    with GUIDE.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["must_support"]:
                theirs[row["profile"]].add(row["element_id"])
    assert len(theirs) == 16
    for name, elements in theirs.items():
        assert {one.id for one in load_profile(name).must_support()} == elements, name
