"""Every code has the shape of its code system, and every identifier its check digit."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import pytest

from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.model.canonical_tables import FieldType
from tests.unit.synth.written import WORLD, Row, world

ICD_10 = r"[A-Z][0-9][0-9A-Z](\.[0-9A-Z]{1,4})?"
SERVICE = r"([0-9]{4}[0-9FTU]|[A-V][0-9]{4})"
REASON = r"[0-9]{1,3}|(N|M|MA)[0-9]{1,3}"
SHAPES: dict[tuple[str, str], str] = {
    ("member", "member_id"): r"HPX[0-9]{11}",
    ("member", "gender"): r"M|F|O|U|male|female",
    ("member", "birth_sex"): r"M|F|UNK",
    ("member", "race"): r"([0-9]{4}-[0-9]|White|Black|asian)(;[0-9]{4}-[0-9])*",
    ("member", "ethnicity"): r"2135-2|2186-5",
    ("member", "language"): r"[a-z]{2,3}(-[A-Z]{2})?",
    ("member", "phone"): r"[0-9]{3}-555-01[0-9]{2}",
    ("member", "email"): r"\S+@mail\.example",
    ("member", "postal_code"): r"[0-9]{5}(-[0-9]{4})?",
    ("coverage", "subscriber_id"): r"HPX[0-9]{9}",
    ("coverage", "relationship"): r"self|spouse|child|parent|common|other",
    ("coverage", "subscriber_relationship"): r"[A-Z]{3,7}",
    ("organization", "tax_id"): r"[0-9]{9}",
    ("organization", "naic"): r"[0-9]{5}",
    ("organization", "clia"): r"[0-9]{2}D[0-9]{7}",
    ("organization", "kind"): r"payer|provider|facility|pharmacy",
    ("practitioner", "taxonomy_code"): r"[0-9A-Z]{9}X",
    ("claim", "type_of_bill"): r"[1-8][1-9][1-8]",
    ("claim", "bill_facility_type"): r"[1-8]",
    ("claim", "bill_classification"): r"[1-9]",
    ("claim", "bill_frequency"): r"[178]",
    ("claim", "drg_code"): r"[0-9]{3}",
    ("claim", "drg_version"): r"[0-9]{2}",
    ("claim", "drg_system"): r"MS-DRG|APR-DRG",
    ("claim", "admission_type"): r"[1-5]",
    ("claim", "point_of_origin"): r"[1-9]",
    ("claim", "discharge_status"): r"[0-9]{2}",
    ("claim", "status"): r"(?i)active|cancelled",
    ("claim", "payment_status"): r"paid|denied|partiallypaid",
    ("claim", "payee_type"): r"subscriber|provider|beneficiary|other",
    ("claim", "daw_code"): r"[0-9]",
    ("claim", "rx_origin_code"): r"[0-5]",
    ("claim", "compound_code"): r"[0-2]",
    ("claim", "brand_generic_code"): r"[12]",
    ("claim", "currency"): r"USD",
    ("claim_line", "revenue_code"): r"[0-9]{4}",
    ("claim_line", "modifier_1"): r"[0-9A-Z]{2}",
    ("claim_line", "ndc"): r"[0-9]{11}",
    ("claim_line", "ndc_unit"): r"UN|ML|GR",
    ("claim_line", "place_of_service"): r"[0-9]{2}",
    ("claim_line", "tooth_number"): r"[1-9]|[12][0-9]|3[0-2]|[A-T]",
    ("claim_line", "oral_cavity_area"): r"0[0-2]|[1-4]0",
    ("claim_line", "tooth_surfaces"): r"[MOIDBFL](;[MOIDBFL])*",
    ("claim_diagnosis", "present_on_admission"): r"[YNUW1]",
    ("claim_adjustment", "group_code"): r"CO|OA|PI|PR",
    ("claim_adjustment", "reason_code"): r"[0-9]{1,3}",
    ("claim_adjustment", "remark_code"): r"(N|M|MA)[0-9]{1,3}",
    ("claim_ingredient", "ndc"): r"[0-9]{11}",
    ("claim_ingredient", "unit"): r"UN|ML|GR",
}


@pytest.mark.parametrize(("table", "column"), SHAPES)
def test_a_code_has_the_shape_of_its_code_system(table: str, column: str) -> None:
    cells = [row[column] for row in world(WORLD)[table] if column in row]

    assert cells
    assert [cell for cell in cells if not re.fullmatch(SHAPES[table, column], cell)] == []


def _values(column_type: FieldType) -> list[str]:
    return [
        row[column.name]
        for table in TABLES.values()
        for column in table.columns
        if column.type is column_type
        for row in world(WORLD)[table.name]
        if column.name in row
    ]


def test_every_date_is_a_day_of_the_calendar() -> None:
    values = _values(FieldType.DATE)
    assert values
    for text in values:
        assert date.fromisoformat(text).isoformat() == text


def test_every_amount_has_two_fraction_digits() -> None:
    assert {re.sub(r"[0-9]+", "9", text) for text in _values(FieldType.MONEY)} == {"9.9", "-9.9"}
    assert "-0.00" not in _values(FieldType.MONEY)
    assert all(Decimal(text).as_tuple().exponent == -2 for text in _values(FieldType.MONEY))


def test_every_stamp_is_a_date_or_an_instant_with_its_zone() -> None:
    zone = r"(Z|\.250Z|[+-][0-9]{2}:[0-9]{2})"
    shape = rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}{zone})?"
    stamps = _values(FieldType.TIMESTAMP)

    assert all(re.fullmatch(shape, text) for text in stamps)
    assert len({text[:10] for text in stamps}) > 500
    assert {len(text) for text in stamps} == {10, 20, 24, 25}


def test_every_row_says_when_it_was_last_updated() -> None:
    for table, rows in world(WORLD).items():
        assert all("last_updated" in row for row in rows), table


def test_every_npi_has_its_check_digit_and_is_nobodys() -> None:
    rows = world(WORLD)
    cells = [row["npi"] for table in ("organization", "practitioner") for row in rows[table]
             if "npi" in row]  # fmt: skip
    named = [row["provider_id"] for row in rows["claim_care_team"]]
    cells += [text for text in named if text.isdigit()]

    assert len(cells) > 80
    for npi in cells:
        assert re.fullmatch("2[0-9]{9}", npi)
        assert _luhn_sum("80840" + npi) % 10 == 0


def _luhn_sum(digits: str) -> int:
    """Return the sum as ISO/IEC 7812-1 spells it out, from the right, doubling every second."""
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if place % 2 else digit
        total += sum(map(int, str(doubled)))
    return total


def _claims() -> dict[str, Row]:
    return {row["claim_id"]: row for row in world(WORLD)["claim"]}


def test_a_service_code_is_of_the_system_that_fits_its_claim() -> None:
    claims = _claims()
    for line in world(WORLD)["claim_line"]:
        code, system = line.get("service_code"), line.get("service_code_system")
        if code is None:
            continue
        oral = claims[line["claim_id"]]["claim_type"] == "oral"
        if system == "HIPPS":
            assert re.fullmatch("[0-9A-Z]{5}", code)
        else:
            assert re.fullmatch("D[0-9]{4}" if oral else SERVICE, code)
        if system == "CPT":
            assert code[0].isdigit()
        if system in {"HCPCS", "CDT"}:
            assert not code[0].isdigit()


def test_diagnoses_and_procedures_are_of_their_version() -> None:
    for row in world(WORLD)["claim_diagnosis"]:
        old = row.get("icd_version") == "9"
        assert re.fullmatch(r"[0-9]{3}(\.[0-9]{1,2})?" if old else ICD_10, row["code"])
    for row in world(WORLD)["claim_procedure"]:
        old = row.get("icd_version") == "9"
        shape = r"[0-9]{2}\.[0-9]{1,2}" if old else "[0-9A-HJ-NP-Z]{7}"
        assert re.fullmatch(shape, row["code"])


def test_icd_9_ended_with_september_2015() -> None:
    claims = _claims()
    versions = {
        (
            claims[row["claim_id"]]["statement_from_date"] < "2015-10-01",
            row.get("icd_version", "10"),
        )
        for row in world(WORLD)["claim_diagnosis"]
    }

    assert versions == {(True, "9"), (False, "10")}


def test_reasons_are_reject_codes_on_pharmacy_claims_and_x12_codes_elsewhere() -> None:
    claims = _claims()
    for row in (*world(WORLD)["claim"], *world(WORLD)["claim_line"]):
        pharmacy = claims[row["claim_id"]]["claim_type"] == "pharmacy"
        for reason in row.get("denial_reason", "45").split(";"):
            assert re.fullmatch("[0-9A-Z]{2,3}" if pharmacy else REASON, reason)


def test_leading_zeros_are_there_to_be_lost() -> None:
    rows = world(WORLD)

    def begins_with_zero(table: str, column: str) -> bool:
        return any(row.get(column, "").startswith("0") for row in rows[table])

    assert begins_with_zero("claim_line", "revenue_code")
    assert begins_with_zero("claim_line", "ndc")
    assert begins_with_zero("claim_line", "service_code")
    assert begins_with_zero("organization", "tax_id")
    assert begins_with_zero("coverage", "plan_id")
