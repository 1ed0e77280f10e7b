"""What becomes of the rows of a directory that name others which are not in force."""

from functools import cache

import pyarrow as pa
import pytest

from etl.bootstrap.mappings import read_crosswalks
from etl.columns.dates import day_number
from etl.model.data_models import DIRECTORY
from etl.quality.check import check
from etl.quality.checks.frames import DirectoryIds, NoKeys, RuleContext
from etl.quality.rules.book import Policy, load_rules
from etl.quality.totals.counts import reconcile
from etl.rows import no_findings
from tests.given.tables import read_tables, table
from tests.unit.quality.world import MAPPINGS, accepted, found, tables

NOBODY = DirectoryIds(pa.array([], pa.string()), pa.array([], pa.string()))
INCOMPLETE = read_tables(__file__)["incomplete"]
ROLE = {"role_id": "R1", "practitioner_id": "D1", "specialties": "207R00000X"}


@cache
def book():
    texts = {
        path.name: path.read_text("utf-8")
        for folder in ("rules", "rules/directory")
        for path in (MAPPINGS / folder).glob("*.yaml")
    }
    crosswalks = read_crosswalks((MAPPINGS,), DIRECTORY)
    return load_rules(texts, Policy(), crosswalks, model=DIRECTORY)


def checked(of):
    """Check a directory as of 2026-11-01; every row has one fate."""
    context = RuleContext(book(), NoKeys(), NOBODY, day_number("2026-11-01"))
    result = check(tables(of, DIRECTORY.tables), no_findings(), context)
    reconcile(result.counts, [result.rejected.num_rows])
    return result


def directory(**more):
    return {
        "directory_organization": [{"organization_id": "P1", "type": "payer", "name": "Acme"}],
        "directory_practitioner": [{"practitioner_id": "D1", "family_name": "Doe"}],
        "network": [
            {"network_id": "N1", "name": "One", "payer_id": "P1"},
            {"network_id": "N2", "name": "Two", "payer_id": "P1"},
            {"network_id": "GONE", "name": "Gone", "payer_id": "P1", "active": "N"},
        ],
    } | more


@pytest.mark.parametrize(*table(__file__, "cases"))
def test_rows_lose_what_is_not_in_force_and_a_finding_says_so(rows, published, findings, fates):
    result = checked(directory(**rows))
    for name, column, cells in published or ():
        assert accepted(result, name, column) == [cell or None for cell in cells]
    told = found(result) - found(checked(directory()))
    expected = {(rule, name, row, column or None) for rule, name, row, column in findings}
    assert {finding for finding in told if finding[0] not in INCOMPLETE} == expected
    assert {name: fates_of(result, name) for name in fates or ()} == (fates or {})


VIA = {
    "organization": "directory_organization",
    "location": "location",
    "provider_role": "provider_role",
    "affiliation": "affiliation",
}


def by_way(owner, key, sequence, value=None):
    own = {"owner": "organization", "owner_id": "P1", "sequence": sequence}
    reached = {"system": "phone", "value": value} if value else {}
    return own | reached | {"via_owner": owner, "via_id": key}


def fates_of(result, table_name):
    counts = result.counts[table_name]
    return [counts.published, counts.quarantined, counts.withdrawn]


@pytest.mark.parametrize("owner", VIA)
def test_a_telecom_without_a_value_goes_with_what_it_leads_by_way_of(owner):
    world = directory(
        location=[
            {"location_id": "L1", "name": "Here"},
            {"location_id": "OVER", "name": "There", "status": "suspended"},
        ],
        affiliation=[
            {"affiliation_id": "A1", "organization_id": "P1"},
            {"affiliation_id": "OVER", "organization_id": "P1", "active": "N"},
        ],
        provider_role=[ROLE, ROLE | {"role_id": "OVER", "active": "N"}],
    )
    world["directory_organization"] += [
        {"organization_id": "O1", "type": "fac", "name": "Clinic"},
        {"organization_id": "OVER", "type": "fac", "name": "Clinic", "active": "N"},
    ]
    there = {"organization": "O1", "location": "L1", "provider_role": "R1", "affiliation": "A1"}
    world["telecom"] = [
        by_way(owner, there[owner], "1"),
        by_way(owner, "OVER", "2"),
        by_way(owner, "NOT-THERE", "3"),
        by_way(owner, "OVER", "4", "303-555-0100"),
    ]
    result = checked(world)
    kind = owner.replace("_", "-")
    assert accepted(result, "telecom", "sequence") == ["1", "4"]
    assert accepted(result, "telecom", "via_id") == [there[owner], None]
    assert fates_of(result, "telecom") == [2, 1, 1]
    assert {one for one in found(result) if one[1] == "telecom"} == {
        ("hangs-on-withdrawn", "telecom", 3, "via_id"),
        (f"directory-only-via-{kind}-unknown", "telecom", 4, "via_id"),
        (f"directory-via-{kind}-unknown", "telecom", 5, "via_id"),
    }


@pytest.mark.parametrize(*table(__file__, "cells"))
def test_a_cell_is_found_and_its_right_form_is_not(rule, table, column, cells, good):
    world = {
        "directory_organization": [{"organization_id": "O1", "name": "One", "type": "fac"}],
        "directory_practitioner": [{"practitioner_id": "D1", "family_name": "Doe"}],
    }
    assert (rule, table, 2, column or None) in found(checked(world | {table: [cells]}))
    right = {name: cell for name, cell in (cells | good).items() if cell}
    assert rule not in {rule for rule, *_ in found(checked(world | {table: [right]}))}
