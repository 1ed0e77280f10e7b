"""What a world must have in it, however small: every column, every kind of claim."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from etl.model.canonical_tables import CLAIM_TYPES
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.synth import Spec
from tests.unit.synth.written import WORLD, world

SMALL = [Spec(members=25, seed=seed) for seed in (1, 2, 3)]


@pytest.mark.parametrize("spec", SMALL, ids=lambda spec: f"seed {spec.seed}")
def test_twenty_five_members_use_every_column_of_every_table(spec: Spec) -> None:
    rows = world(spec)
    unused = [
        f"{table.name}.{column}"
        for table in TABLES.values()
        for column in table.names
        if not any(column in row for row in rows[table.name])
    ]

    assert unused == []


@pytest.mark.parametrize("spec", SMALL, ids=lambda spec: f"seed {spec.seed}")
def test_twenty_five_members_have_every_type_of_claim_and_one_who_has_hundreds(spec: Spec) -> None:
    claims = world(spec)["claim"]
    types = Counter(row["claim_type"] for row in claims)
    members = Counter(row["member_id"] for row in claims)

    assert types.keys() == set(CLAIM_TYPES)
    assert len(claims) >= 300
    assert members.most_common(1)[0][1] >= 200


ROWS = world(SMALL[0])


def _words(table: str, column: str) -> set[str]:
    return {row[column] for row in ROWS[table] if column in row}


@pytest.mark.parametrize(
    ("table", "column", "words"),
    [
        ("claim_care_team", "role", {"attending", "operating", "otheroperating", "referring",
                                     "primary", "rendering", "supervisor", "prescribing"}),
        ("claim_diagnosis", "type", {"admitting", "principal", "secondary", "other",
                                     "externalcauseofinjury", "patientreasonforvisit"}),
        ("claim_procedure", "type", {"principal", "other"}),
        ("claim_transport", "kind", {"patientweight", "ambulancetransportreason",
                                     "transportationdistance", "roundtrippurpose",
                                     "stretcherpurpose", "pickuplocation", "dropofflocation"}),
        ("claim", "drg_system", {"MS-DRG", "APR-DRG"}),
        ("claim", "payment_status", {"paid", "denied", "partiallypaid"}),
        ("claim", "admission_type", {"1", "4"}),
        ("claim", "bill_frequency", {"1"}),
        ("claim_adjustment", "group_code", {"CO", "PR", "OA"}),
        ("claim_line", "oral_cavity_area", {"01", "10", "20", "30", "40"}),
        ("member_address", "use", {"old", "billing", "temp"}),
        ("member_telecom", "system", {"phone", "email", "fax", "url", "sms"}),
        ("organization", "kind", {"payer", "provider", "facility", "pharmacy"}),
        ("coverage", "relationship", {"self", "spouse", "child", "parent"}),
        ("coverage", "status", {"active", "Active", "cancelled"}),
    ],
)  # fmt: skip
def test_the_words_of_a_column_are_used(table: str, column: str, words: set[str]) -> None:
    assert words <= _words(table, column)


def test_a_claim_is_replaced_twice() -> None:
    claims = {row["claim_id"]: row for row in ROWS["claim"]}
    middles = [
        row
        for row in claims.values()
        if {"adjusted_from_claim_id", "adjusted_to_claim_id"} <= row.keys()
    ]

    assert middles
    assert claims[middles[0]["adjusted_to_claim_id"]]["status"] == "active"


def test_a_compound_lists_its_ingredients_and_other_drugs_have_none() -> None:
    compounds = {row["claim_id"] for row in ROWS["claim"] if row.get("compound_code") == "2"}

    assert compounds == {row["claim_id"] for row in ROWS["claim_ingredient"]}


def test_a_tooth_line_names_further_and_missing_teeth_and_areas() -> None:
    flags = {(row.get("missing"), "tooth_number" in row) for row in ROWS["claim_tooth"]}

    assert {("Y", True), ("N", True), (None, True), (None, False)} <= flags
    assert ("Y", False) not in flags


def test_an_eyeglass_line_may_go_without_a_code() -> None:
    vision = {row["claim_id"] for row in ROWS["claim"] if row["claim_type"] == "vision"}
    lines = [row for row in ROWS["claim_line"] if row["claim_id"] in vision]

    assert any("service_code" not in row and "service_text" in row for row in lines)
    assert any("service_code" in row for row in lines)


def test_a_birth_is_admitted_as_one() -> None:
    births = [row for row in ROWS["claim"] if row.get("admission_type") == "4"]
    born = {row["member_id"]: row["birth_date"] for row in ROWS["member"]}

    assert births
    assert {row["point_of_origin"] for row in births} <= {"5", "6"}
    assert all(row["admission_date"] == born[row["member_id"]] for row in births)


def test_stays_last_several_days() -> None:
    stays = [row for row in ROWS["claim"] if row["claim_type"] == "inpatient"]

    assert any(row["admission_date"] < row["discharge_date"] for row in stays)


def test_a_subscriber_need_not_be_a_member() -> None:
    subscribers = {
        row["subscriber_id"] for row in ROWS["coverage"] if row["relationship"] == "self"
    }
    others = [row for row in ROWS["coverage"] if row["subscriber_id"] not in subscribers]

    assert others
    assert all("subscriber_birth_date" in row for row in others)


def test_a_family_shares_its_subscriber() -> None:
    sharing = Counter(
        subscriber
        for subscriber, _ in {(row["subscriber_id"], row["member_id"]) for row in ROWS["coverage"]}
    )

    assert sharing.most_common(1)[0][1] == 5


def test_a_member_changes_plan_and_payer_over_time() -> None:
    plans = Counter(
        row["member_id"] for row in ROWS["coverage"] if "DENTAL" not in row["plan_name"]
    )
    payers = Counter(
        member for member, _ in {(row["member_id"], row["payer_id"]) for row in ROWS["coverage"]}
    )

    assert max(plans.values()) >= 4
    assert max(payers.values()) >= 4


def test_the_dead_have_no_claims_after_their_death() -> None:
    dead = {row["member_id"]: row["death_date"] for row in ROWS["member"] if "death_date" in row}

    assert dead
    assert all(
        row["statement_from_date"] <= dead.get(row["member_id"], "9999") for row in ROWS["claim"]
    )


def test_names_hold_what_breaks_careless_programs() -> None:
    names = " ".join(
        row.get(column, "")
        for table in ("member", "organization", "practitioner", "coverage", "member_address")
        for row in ROWS[table]
        for column in ("family_name", "given_name", "full_name", "name", "group_name",
                       "address_line", "address_line_2")
    )  # fmt: skip

    for sign in ("ñ", "ü", "ø", "Ł", "ễ", "ß", "λ", "王", "'", '"', ",", "&", "\\"):
        assert sign in names, sign


def test_a_member_may_be_named_by_his_whole_name_alone() -> None:
    whole = [row for row in ROWS["member"] if "family_name" not in row]

    assert [row["full_name"] for row in whole] == ["王小明"]


def test_claims_are_spread_unevenly_over_members_as_in_life() -> None:
    counts = Counter(row["member_id"] for row in world(replace(WORLD, members=400))["claim"])
    ordered = sorted((counts.get(row["member_id"], 0) for row in
                      world(replace(WORLD, members=400))["member"]), reverse=True)  # fmt: skip
    heaviest, half = sum(ordered[:40]), ordered[200]

    assert heaviest > 0.35 * sum(ordered)
    assert half < sum(ordered) / len(ordered)


def test_colds_come_in_winter() -> None:
    rows = world(replace(WORLD, members=400))
    colds = {
        row["claim_id"]
        for row in rows["claim_diagnosis"]
        if row["code"] in {"J06.9", "J02.9", "J20.9"}
    }
    quarters = Counter(
        (int(row["statement_from_date"][5:7]) - 1) // 3
        for row in rows["claim"]
        if row["claim_id"] in colds
    )

    assert quarters[0] + quarters[3] > 1.5 * (quarters[1] + quarters[2])


def test_children_see_dentists_and_the_old_see_hospitals() -> None:
    rows = world(replace(WORLD, members=400))
    born = {row["member_id"]: int(row["birth_date"][:4]) for row in rows["member"]}
    old, young = Counter[str](), Counter[str]()
    for row in rows["claim"]:
        age = int(row["statement_from_date"][:4]) - born[row["member_id"]]
        if age >= 65:
            old[row["claim_type"]] += 1
        elif 2 <= age < 18:
            young[row["claim_type"]] += 1

    assert old["inpatient"] / old.total() > young["inpatient"] / young.total()
    assert young["oral"] / young.total() > old["oral"] / old.total()
