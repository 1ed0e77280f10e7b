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
from etl.rows import no_findings, table_schema
from tests.unit.quality.world import MAPPINGS, accepted, found

OVER = "2020-01-01"
NOBODY = DirectoryIds(pa.array([], pa.string()), pa.array([], pa.string()))
ROLE = {"role_id": "R1", "practitioner_id": "D1", "specialties": "207R00000X"}


@cache
def book():
    texts = {
        path.name: path.read_text("utf-8")
        for folder in ("rules", "rules/directory")
        for path in (MAPPINGS / folder).glob("*.yaml")
    }
    crosswalks = read_crosswalks((MAPPINGS,), of_plan_net=True)
    return load_rules(texts, Policy(), crosswalks, model=DIRECTORY)


def checked(of):
    """Check a directory as of 2026-11-01; every row has one fate."""
    tables = {}
    for number, (name, table) in enumerate(DIRECTORY.tables.items()):
        rows = list(of.get(name, ()))
        columns = [
            pa.array([row.get(column) for row in rows], pa.string()) for column in table.names
        ]
        columns.append(pa.array([number] * len(rows), pa.int32()))
        columns.append(pa.array(range(2, len(rows) + 2), pa.int64()))
        tables[name] = pa.table(columns, schema=table_schema(name))
    context = RuleContext(book(), NoKeys(), NOBODY, day_number("2026-11-01"))
    result = check(tables, no_findings(), context)
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


def test_a_role_leaves_the_network_in_which_its_time_is_over():
    result = checked(
        directory(
            provider_role=[ROLE | {"network_ids": "N1;N2"}],
            provider_role_network=[{"role_id": "R1", "network_id": "N2", "end_date": OVER}],
        )
    )
    assert accepted(result, "provider_role", "network_ids") == ["N1"]
    assert result.counts["provider_role_network"].withdrawn == 1
    assert ("directory-role-network-over", "provider_role", 2, "network_ids") in found(result)


def test_a_role_stays_in_a_network_whose_other_row_is_over():
    result = checked(
        directory(
            provider_role=[ROLE | {"network_ids": "N1;N2"}],
            provider_role_network=[
                {"role_id": "R1", "network_id": "N2"}
                | {"end_date": OVER, "last_updated": "2020-01-01"},
                {"role_id": "R1", "network_id": "N2"}
                | {"end_date": "2027-01-01", "last_updated": "2026-01-01"},
                {"role_id": "R2", "network_id": "N1", "end_date": OVER},
            ],
        )
    )
    assert accepted(result, "provider_role", "network_ids") == ["N1;N2"]


def test_a_row_that_a_later_one_replaced_is_superseded_whatever_it_says():
    result = checked(
        directory(
            directory_practitioner=[
                {"practitioner_id": "D1", "family_name": "Doe"}
                | {"active": flag, "last_updated": day}
                for flag, day in (("N", "2020-01-01"), ("Y", "2026-01-01"))
            ]
        )
    )
    counts = result.counts["directory_practitioner"]
    assert (counts.published, counts.superseded, counts.withdrawn) == (1, 1, 0)


def test_new_patients_of_a_network_that_is_not_in_force_are_not_those_of_every_network():
    accepting = {"accepts_new_patients": "newpt", "accepts_from_network_id": "GONE"}
    accepting |= {"accepts_characteristics": "adults"}
    result = checked(
        directory(
            provider_role=[ROLE | accepting | {"network_ids": "N1;N2"}],
            location=[{"location_id": "L1", "name": "Here"} | accepting],
            healthcare_service=[{"service_id": "S1", "category": "outpat"} | accepting],
        )
    )
    for table in ("provider_role", "location", "healthcare_service"):
        for column in accepting:
            assert accepted(result, table, column) == [None], f"{table}.{column}"


def test_new_patients_without_a_network_are_those_of_every_network():
    accepting = {"accepts_new_patients": "newpt", "accepts_characteristics": "adults"}
    result = checked(directory(provider_role=[ROLE | accepting | {"network_ids": "N1"}]))
    assert accepted(result, "provider_role", "accepts_new_patients") == ["newpt"]
    assert accepted(result, "provider_role", "accepts_characteristics") == ["adults"]


def test_hours_past_midnight_are_warned_of_and_stay():
    owned = {"owner": "location", "owner_id": "L1"}
    result = checked(
        directory(
            location=[{"location_id": "L1", "name": "Here"}],
            availability=[
                owned | {"sequence": "1", "opens": "18:00", "closes": "02:00"},
                owned | {"sequence": "2", "opens": "08:00", "closes": "17:00"},
                owned | {"sequence": "3", "opens": "08:00"},
            ],
        )
    )
    about = {one for one in found(result) if one[0] == "directory-closes-before-opens"}
    assert about == {("directory-closes-before-opens", "availability", 2, "closes")}
    assert accepted(result, "availability", "closes") == ["02:00", "17:00", None]


def test_lists_lose_what_is_not_in_force():
    result = checked(
        directory(
            endpoint=[
                {"endpoint_id": "E1", "connection_type": "hl7-fhir-rest", "address": "https://x"},
                {"endpoint_id": "E2", "connection_type": "hl7-fhir-rest", "address": "https://y"}
                | {"status": "off"},
            ],
            location=[
                {"location_id": "L1", "name": "Here", "endpoint_ids": "E2"},
                {"location_id": "L2", "name": "There", "status": "suspended"},
            ],
            provider_role=[
                ROLE | {"network_ids": "GONE;N1", "location_ids": "L1;L2", "endpoint_ids": "E2;E1"}
            ],
        )
    )
    cells = {
        name: accepted(result, "provider_role", name)
        for name in ("network_ids", "location_ids", "endpoint_ids")
    }
    assert cells == {"network_ids": ["N1"], "location_ids": ["L1"], "endpoint_ids": ["E1"]}
    assert accepted(result, "location", "endpoint_ids") == [None]


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


def fates(checked_, table):
    counts = checked_.counts[table]
    return counts.published, counts.quarantined, counts.withdrawn


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
    assert fates(result, "telecom") == (2, 1, 1)
    assert {one for one in found(result) if one[1] == "telecom"} == {
        ("hangs-on-withdrawn", "telecom", 3, "via_id"),
        (f"directory-only-via-{kind}-unknown", "telecom", 4, "via_id"),
        (f"directory-via-{kind}-unknown", "telecom", 5, "via_id"),
    }


def test_a_telecom_says_what_it_leads_by_way_of():
    rows = [by_way("person", "D1", "1"), by_way("person", "D1", "2", "303-555-0100")]
    unnamed = [
        {name: cell for name, cell in row.items() if name != "via_owner"} | {"sequence": number}
        for number, row in zip(("31", "32"), rows, strict=True)
    ]
    result = checked(directory(telecom=[*rows, *unnamed]))
    assert accepted(result, "telecom", "sequence") == ["2", "32"]
    assert {one for one in found(result) if one[1] == "telecom"} == {
        ("directory-only-via-nothing-known", "telecom", 2, None),
        ("directory-via-nothing-known", "telecom", 3, "via_id"),
        ("directory-only-via-nothing-known", "telecom", 4, None),
        ("directory-via-nothing-known", "telecom", 5, "via_id"),
    }


def test_a_telecom_of_a_system_that_nobody_knows_is_rejected():
    own = {"owner": "organization", "owner_id": "P1", "value": "303-555-0100"}
    result = checked(
        directory(
            telecom=[
                own | {"sequence": "1", "system": "Phone"},
                own | {"sequence": "2", "system": "pidgeon"},
                by_way("organization", "P1", "3") | {"system": "pidgeon"},
            ]
        )
    )
    assert accepted(result, "telecom", "sequence") == ["1", "3"]
    assert ("directory-telecom-system", "telecom", 3, "system") in found(result)


def test_characteristics_of_patients_are_left_out_with_a_finding():
    of_place = {"location_id": "L1", "name": "Here", "accepts_characteristics": "adults"}
    result = checked(directory(location=[of_place, of_place | {"location_id": "L2"}]))
    finding = ("directory-characteristics-left-out", "location", 2, "accepts_characteristics")
    assert finding in found(result)
    assert fates(result, "location")[0] == 2


def test_hours_go_with_their_telecom():
    own = {"owner": "organization", "owner_id": "P1"}
    world = directory(
        location=[{"location_id": "OVER", "name": "There", "status": "suspended"}],
        telecom=[
            own | {"sequence": "1", "system": "phone", "value": "303-555-0100"},
            own | {"sequence": "2", "value": "303-555-0100"},
            by_way("location", "OVER", "3"),
        ],
        availability=[
            own | {"sequence": number, "telecom_sequence": number, "opens": "08:00"}
            for number in ("1", "2", "3", "4")
        ],
    )
    result = checked(world)
    assert accepted(result, "availability", "sequence") == ["1"]
    assert fates(result, "availability") == (1, 2, 1)
    assert {one for one in found(result) if one[1] == "availability"} == {
        ("hangs-on-rejected", "availability", 3, "telecom_sequence"),
        ("hangs-on-withdrawn", "availability", 4, "telecom_sequence"),
        ("directory-telecom-of-hours-unknown", "availability", 5, "telecom_sequence"),
    }


def test_hours_and_absences_that_no_element_takes_are_rejected():
    own = {"owner": "organization", "owner_id": "P1"}
    place = {"owner": "location", "owner_id": "L1"}
    result = checked(
        directory(
            location=[{"location_id": "L1", "name": "Here"}],
            telecom=[own | {"sequence": "1", "system": "phone", "value": "303-555-0100"}],
            availability=[
                own | {"sequence": "1", "days": "mon"},
                own | {"sequence": "2", "telecom_sequence": "1", "not_available_text": "Holidays"},
                place | {"sequence": "1", "not_available_from": "2026-12-24"},
                place | {"sequence": "2", "not_available_text": "Holidays"},
                place | {"sequence": "3", "days": "mon"},
            ],
        )
    )
    assert fates(result, "availability") == (2, 3, 0)
    assert {one[:3] for one in found(result) if one[1] == "availability"} == {
        ("directory-hours-misplaced", "availability", 2),
        ("directory-absence-of-telecom", "availability", 3),
        ("directory-absence-without-text", "availability", 4),
    }


PRACTITIONER = {"practitioner_id": "D1", "family_name": "Doe"}
TELECOM = {"owner": "practitioner", "owner_id": "D1", "sequence": "1"}
SERVICE = {"service_id": "S1", "category": "hosp", "organization_id": "O1"}


@pytest.mark.parametrize(
    ("rule", "table", "column", "cells", "good"),
    [
        (
            "directory-telecom-shape",
            "telecom",
            "value",
            TELECOM | {"system": "phone", "value": "555-12"},
            {"value": "860-555-0103"},
        ),
        (
            "directory-telecom-email-shape",
            "telecom",
            "value",
            TELECOM | {"system": "email", "value": "desk"},
            {"system": "url"},
        ),
        (
            "directory-proficiencies-of-languages",
            "directory_practitioner",
            "language_proficiency",
            PRACTITIONER | {"languages": "en", "language_proficiency": "30;50"},
            {"languages": "en;es"},
        ),
        (
            "directory-modality-without-virtual",
            "healthcare_service",
            "virtual_modalities",
            SERVICE | {"delivery_methods": "physical", "virtual_modalities": "phone"},
            {"delivery_methods": "physical;virtual"},
        ),
    ],
)
def test_a_cell_is_found_and_its_right_form_is_not(rule, table, column, cells, good):
    world = {
        "directory_organization": [{"organization_id": "O1", "name": "One", "type": "fac"}],
        "directory_practitioner": [PRACTITIONER],
    }
    assert (rule, table, 2, column) in found(checked(world | {table: [cells]}))
    assert rule not in {rule for rule, *_ in found(checked(world | {table: [cells | good]}))}
