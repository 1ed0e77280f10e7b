"""Limits against the previous release, over plain manifests."""

from dataclasses import replace
from decimal import Decimal

import pytest

from etl.pipeline.release_limits import (
    ReleaseLimits,
    input_verdicts,
    lost_columns_verdict,
    retraction_verdicts,
)
from etl.publish.manifest import Manifest, ReleaseFacts
from etl.quality.totals.limits import Verdict, refusal
from tests.given.tables import table

LIMITS = ReleaseLimits(
    fewer_rows=Decimal("0.5"),
    fewer_claims=Decimal("0.25"),
    money_change=Decimal("0.5"),
    retracted_members=Decimal("0.25"),
    retracted_claims=Decimal("0.25"),
    retracted_resources=Decimal("0.5"),
    lost_columns=Decimal(0),
    certificate=Decimal(0),
)


def rows(**tables):
    return {name: {"in": count, "published": count} for name, count in tables.items()}


def money(**types):
    return {name: {"claim.submitted": amount} for name, amount in types.items()}


def claims(**types):
    return {name: {"claim.submitted": count} for name, count in types.items()}


def manifest(facts, **resources):
    counts = {"patients": resources.get("Patient", 0), "resources": resources}
    return Manifest("r", None, "2026-01-01T00:00:00Z", facts, counts, 0, (), 0, ())


def broken(found):
    return [each.limit for each in found if not each.holds]


def retracted(patients, **types):
    nothing = {"added": 0, "changed": 0}
    return {
        "changes": {
            "patients": {**nothing, "retracted": patients},
            "resources": {name: {**nothing, "retracted": lost} for name, lost in types.items()},
        }
    }


BEFORE = ReleaseFacts(
    "full",
    run=rows(member=100, claim=900, claim_line=2000, claim_note=9),
    totals=money(oral="100000.00", pharmacy="300000.00", vision="3000.00"),
    claims=claims(oral=100, pharmacy=300, vision=90),
)


def test_the_first_release_is_compared_with_nothing():
    assert input_verdicts(LIMITS, None, BEFORE) == []
    assert retraction_verdicts(LIMITS, None, retracted(0)) == []


def test_the_same_again_breaks_no_limit():
    found = input_verdicts(LIMITS, manifest(BEFORE), BEFORE)
    assert [each.limit for each in found] == ["fewer_rows", "fewer_claims", "money_change"]
    assert broken(found) == []


def test_a_claim_file_cut_to_a_third_breaks_the_limits_on_rows_and_claims():
    now = replace(BEFORE, run=rows(member=100, claim=300, claim_line=2000, claim_note=9))
    found = input_verdicts(LIMITS, manifest(BEFORE), now)
    assert broken(found) == ["fewer_rows", "fewer_claims"]
    assert "300 claim rows, after 900 in the previous release (66.6667 % fewer)" in (
        found[0].sentence
    )


def test_a_table_that_is_gone_breaks_the_limit_on_rows_unless_it_was_tiny():
    gone = replace(BEFORE, run=rows(member=100, claim=900))
    (verdict,) = (each for each in input_verdicts(LIMITS, manifest(BEFORE), gone) if not each.holds)
    assert "0 claim_line rows, after 2000" in verdict.sentence
    assert "claim_note" not in verdict.sentence
    tiny = replace(BEFORE, run=rows(member=100, claim=900, claim_line=2000))
    assert broken(input_verdicts(LIMITS, manifest(BEFORE), tiny)) == []


def test_a_limit_holds_up_to_the_share_itself():
    for claims, holds in ((675, True), (674, False)):
        now = replace(BEFORE, run=rows(member=100, claim=claims, claim_line=2000))
        found = input_verdicts(LIMITS, manifest(BEFORE), now)
        assert (broken(found) == []) is holds


def test_money_that_goes_or_multiplies_breaks_its_limit_by_claim_type():
    for oral, says in (
        ("40000.00", "would shrink by about 60,000 (60 %), from 100 claims to 100"),
        (
            "10000000.00",
            "would grow, beyond its number of claims, by about 9,900,000 (9900 %), from 100",
        ),
    ):
        now = replace(BEFORE, totals={**BEFORE.totals, **money(oral=oral)})
        found = input_verdicts(LIMITS, manifest(BEFORE), now)
        assert broken(found) == ["money_change"]
        assert f"the net submitted of oral claims {says}" in found[2].sentence


def compared(was, claims_before, new, claims_now):
    """Return the verdict on the money of one claim type."""
    facts = [
        replace(BEFORE, totals=money(oral=amount), claims=claims(oral=count))
        for amount, count in ((was, claims_before), (new, claims_now))
    ]
    return input_verdicts(LIMITS, manifest(facts[0]), facts[1])[2]


@pytest.mark.parametrize(*table(__file__, "money"))
def test_money_is_compared_where_claims_are_many_and_what_is_missing_counts(
    was, claims_before, new, claims_now, *, holds
):
    assert compared(was, claims_before, new, claims_now).holds is holds


def test_the_value_that_is_named_for_a_change_of_money_lets_just_this_night_through():
    night = ("90000.00", 90, "30123.45", 30)
    verdict = compared(*night)
    assert verdict.found == "67 %"
    assert "59876" not in verdict.sentence, "money of what is missing is told to two digits"
    assert "CPCDS_LIMITS__MONEY_CHANGE=0.67." in refusal([verdict])
    now = replace(BEFORE, totals=money(oral=night[2]), claims=claims(oral=30))
    before = manifest(replace(BEFORE, totals=money(oral=night[0]), claims=claims(oral=90)))
    for allowed, holds in (("0.67", True), ("0.66", False)):
        limits = replace(LIMITS, money_change=Decimal(allowed))
        assert input_verdicts(limits, before, now)[2].holds is holds


def test_a_manifest_without_numbers_of_claims_is_compared_by_money_alone():
    old = replace(BEFORE, claims={})
    for oral, names in (("40000.00", ["money_change"]), ("140000.00", [])):
        now = replace(BEFORE, totals={**BEFORE.totals, **money(oral=oral)})
        assert broken(input_verdicts(LIMITS, manifest(old), now)) == names


def test_a_claim_type_of_little_money_may_vary():
    now = replace(BEFORE, totals={**BEFORE.totals, **money(vision="0.00")})
    assert broken(input_verdicts(LIMITS, manifest(BEFORE), now)) == []


def test_all_money_that_is_gone_breaks_its_limit():
    now = replace(BEFORE, totals={})
    assert broken(input_verdicts(LIMITS, manifest(BEFORE), now)) == ["money_change"]


def test_a_release_that_states_no_rows_is_not_compared_by_rows():
    old = replace(BEFORE, run={"rollbackTo": "r0"}, totals={})
    assert input_verdicts(LIMITS, manifest(old), BEFORE) == []


def test_what_is_retracted_is_a_share_of_what_is_published():
    before = manifest(BEFORE, Patient=100, ExplanationOfBenefit=900, Location=9, Practitioner=20)
    fine = retracted(25, Patient=25, ExplanationOfBenefit=225, Location=9, Practitioner=10)
    assert broken(retraction_verdicts(LIMITS, before, fine)) == []
    over = retracted(26, Patient=26, ExplanationOfBenefit=226, Practitioner=11)
    found = retraction_verdicts(LIMITS, before, over)
    assert broken(found) == ["retracted_members", "retracted_claims", "retracted_resources"]
    assert "11 of 20 published Practitioner resources (55 %)" in found[2].sentence


def test_a_refusal_names_the_setting_that_lets_a_meant_change_through():
    now = replace(
        BEFORE, run=rows(member=100), totals=money(oral="10000000.00", pharmacy="300000.00")
    )
    text = refusal(input_verdicts(LIMITS, manifest(BEFORE), now))
    assert "CPCDS_LIMITS__FEWER_ROWS=1 CPCDS_LIMITS__FEWER_CLAIMS=1" in text
    assert "CPCDS_LIMITS__MONEY_CHANGE=99" in text
    findings = Verdict("findings.npi", "0", "7", False, "7 findings of npi")
    assert """CPCDS_LIMITS__FINDINGS='{"npi": 7}'""" in refusal([findings])


def test_a_directory_that_lost_its_few_networks_is_stopped():
    stated = {"model": "directory"}
    old = ReleaseFacts("full", mapping=stated, run=rows(network=4, insurance_plan=3, location=90))
    now = replace(old, run=rows(network=3, location=90))
    found = input_verdicts(LIMITS, manifest(old), now)
    assert broken(found) == ["fewer_rows"]
    assert "0 insurance_plan rows, after 3" in found[0].sentence
    assert "network" not in found[0].sentence
    before = manifest(old, InsurancePlan=3, Organization=90)
    assert broken(retraction_verdicts(LIMITS, before, retracted(0, InsurancePlan=2))) == []
    gone = retraction_verdicts(LIMITS, before, retracted(0, InsurancePlan=3))
    assert broken(gone) == ["retracted_resources"]


def column(name, filled, rows, past, past_rows=100, *, by_type=()):
    return {
        "table": "claim",
        "column": name,
        "filled": filled,
        "of": rows,
        "previous": past if past is None else {"filled": past, "of": past_rows},
        "by_claim_type": [
            {
                "claim_type": claim_type,
                "filled": now,
                "of": 50,
                "previous": {"filled": before, "of": 50},
            }
            for claim_type, now, before in by_type
        ],
    }


def lost(*columns, allowed=0):
    return lost_columns_verdict(Decimal(allowed), columns, {"claim": ["claims.txt"]})


@pytest.mark.parametrize(
    ("filled", "rows", "past", "past_rows", "is_lost"),
    [
        (0, 90, 10, 100, True),
        (0, 90, 9, 100, False),
        (1, 90, 100, 100, False),
        (0, 0, 100, 100, False),
        (0, 90, 9, 9, False),
        (0, 90, None, None, False),
    ],
    ids=["a tenth", "less than a tenth", "one row", "no rows", "few rows", "a new column"],
)
def test_a_column_is_lost_if_it_was_filled_and_no_row_fills_it(
    filled, rows, past, past_rows, is_lost
):
    assert lost(column("paid_date", filled, rows, past, past_rows)).holds is not is_lost


def test_a_lost_column_is_named_with_its_file_and_both_shares():
    verdict = lost(column("paid_date", 0, 610, 610, 700))
    assert (verdict.limit, verdict.allowed, verdict.found) == ("lost_columns", "0", "1")
    assert verdict.details == (
        "claims.txt: column paid_date of claim is empty in all 610 accepted rows, but 87.1429 % of "
        "700 rows filled it in the previous release",
    )
    assert refusal([verdict]).endswith("CPCDS_LIMITS__LOST_COLUMNS=1.")
    assert lost(column("paid_date", 0, 610, 610), allowed=1).holds


def test_a_column_that_claims_of_one_type_have_lost_counts():
    types = (("oral", 0, 40), ("vision", 40, 40))
    verdict = lost(column("paid_date", 40, 100, 80, by_type=types))
    assert not verdict.holds
    assert "all 50 accepted rows of oral claims" in verdict.sentence
    all_types = (("oral", 0, 40), ("vision", 0, 40))
    assert lost(column("paid_date", 0, 100, 80, by_type=all_types)).found == "1"


def test_a_sentence_has_three_lost_columns_and_the_details_have_all():
    names = [f"column_{number}" for number in range(5)]
    verdict = lost(*(column(name, 0, 90, 90) for name in names))
    assert len(verdict.details) == 5
    assert verdict.sentence.count("column_") == 3
    assert "and 2 similar ones" in verdict.sentence


def test_the_tables_that_lost_the_largest_share_come_first():
    now = rows(claim=300, claim_line=0)
    before = rows(claim=900, claim_line=20)
    found = input_verdicts(LIMITS, manifest(replace(BEFORE, run=before)), replace(BEFORE, run=now))
    assert [says.split()[1] for says in found[0].details] == ["claim_line", "claim"]


def test_one_setting_allows_the_findings_of_several_rules():
    verdicts = [
        Verdict(f"findings.{rule}", "0", "7", False, f"7 findings of {rule}")
        for rule in ("npi", "zip")
    ]
    assert """CPCDS_LIMITS__FINDINGS='{"npi": 7, "zip": 7}'.""" in refusal(verdicts)
