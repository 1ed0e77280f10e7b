"""What becomes of the rows of a directory that name others which are not in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import pyarrow as pa

from etl.bootstrap.mappings import read_crosswalks
from etl.columns.dates import day_number
from etl.model.data_models import DIRECTORY
from etl.quality import (
    Checked,
    DirectoryIds,
    NoKeys,
    Policy,
    RuleBook,
    RuleContext,
    check,
    load_rules,
    reconcile,
)
from etl.rows import no_findings, table_schema
from tests.unit.quality.world import MAPPINGS, Row, accepted, found

OVER = "2020-01-01"
NOBODY = DirectoryIds(pa.array([], pa.string()), pa.array([], pa.string()))
ROLE = {"role_id": "R1", "practitioner_id": "D1", "specialties": "207R00000X"}


@cache
def book() -> RuleBook:
    texts = {
        path.name: path.read_text("utf-8")
        for folder in ("rules", "rules/directory")
        for path in (MAPPINGS / folder).glob("*.yaml")
    }
    crosswalks = read_crosswalks((MAPPINGS,), of_plan_net=True)
    return load_rules(texts, Policy(), crosswalks, model=DIRECTORY)


def checked(of: Mapping[str, Iterable[Row]]) -> Checked:
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


def directory(**more: list[Row]) -> dict[str, list[Row]]:
    return {
        "directory_organization": [{"organization_id": "P1", "type": "payer", "name": "Acme"}],
        "directory_practitioner": [{"practitioner_id": "D1", "family_name": "Doe"}],
        "network": [
            {"network_id": "N1", "name": "One", "payer_id": "P1"},
            {"network_id": "N2", "name": "Two", "payer_id": "P1"},
            {"network_id": "GONE", "name": "Gone", "payer_id": "P1", "active": "N"},
        ],
    } | more


def test_a_role_leaves_the_network_in_which_its_time_is_over() -> None:
    result = checked(
        directory(
            provider_role=[ROLE | {"network_ids": "N1;N2"}],
            provider_role_network=[{"role_id": "R1", "network_id": "N2", "end_date": OVER}],
        )
    )
    assert accepted(result, "provider_role", "network_ids") == ["N1"]
    assert result.counts["provider_role_network"].withdrawn == 1
    assert ("directory-role-network-over", "provider_role", 2, "network_ids") in found(result)


def test_a_role_stays_in_a_network_whose_other_row_is_over() -> None:
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


def test_a_row_that_a_later_one_replaced_is_superseded_whatever_it_says() -> None:
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


def test_new_patients_of_a_network_that_is_not_in_force_are_not_those_of_every_network() -> None:
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


def test_new_patients_without_a_network_are_those_of_every_network() -> None:
    accepting = {"accepts_new_patients": "newpt", "accepts_characteristics": "adults"}
    result = checked(directory(provider_role=[ROLE | accepting | {"network_ids": "N1"}]))
    assert accepted(result, "provider_role", "accepts_new_patients") == ["newpt"]
    assert accepted(result, "provider_role", "accepts_characteristics") == ["adults"]


def test_hours_past_midnight_are_warned_of_and_stay() -> None:
    owned = {"owner": "practitioner", "owner_id": "D1"}
    result = checked(
        directory(
            availability=[
                owned | {"sequence": "1", "opens": "18:00", "closes": "02:00"},
                owned | {"sequence": "2", "opens": "08:00", "closes": "17:00"},
                owned | {"sequence": "3", "opens": "08:00"},
            ]
        )
    )
    about = {one for one in found(result) if one[0] == "directory-closes-before-opens"}
    assert about == {("directory-closes-before-opens", "availability", 2, "closes")}
    assert accepted(result, "availability", "closes") == ["02:00", "17:00", None]


def test_lists_lose_what_is_not_in_force() -> None:
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
