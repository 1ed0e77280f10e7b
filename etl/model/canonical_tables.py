"""The canonical CPCDS tables: what a column is called, means and holds.

CPCDS names elements and numbers them (MapID) but gives no file format. This is the product's own
physical layout; every other layout is a dialect that turns its files into these tables.
`docs/canonical-layout.md` is the page for people; `column_meanings.toml` says what columns mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from etl.model.directory_tables import DERIVED, LISTED_TABLES
from etl.model.tables import (
    EVERY_TABLE,
    FILE_COLUMN,
    ROW_COLUMN,
    Column,
    FieldType,
    Table,
)

__all__ = [
    "EVERY_TABLE",
    "FILE_COLUMN",
    "ROW_COLUMN",
    "Column",
    "FieldType",
    "Table",
]


AMOUNT_CATEGORIES: Final = (
    "submitted",
    "eligible",
    "deductible",
    "coinsurance",
    "copay",
    "noncovered",
    "benefit",
    "discount",
    "memberliability",
    "paidbypatient",
    "paidbypatientcash",
    "paidbypatientother",
    "paidbypatienthealthaccount",
    "paidtoprovider",
    "paidtopatient",
    "priorpayerpaid",
    "drugcost",
)
"""Amount categories of C4BBAdjudication and adjudication, as `amount_<category>` columns (20)."""

AMOUNT_COLUMNS: Final = tuple(f"amount_{category}" for category in AMOUNT_CATEGORIES)

CLAIM_TYPES: Final = ("inpatient", "outpatient", "professional", "vision", "oral", "pharmacy")

_TEXT, _CODE, _DATE, _MONEY = FieldType.TEXT, FieldType.CODE, FieldType.DATE, FieldType.MONEY
_INT, _DEC, _FLAG, _LIST = FieldType.INTEGER, FieldType.DECIMAL, FieldType.FLAG, FieldType.LIST


def _table(name: str, grain: str, key: str, *columns: Column, compulsory: bool = False) -> Table:
    return Table(name, grain, tuple(key.split()), compulsory, columns + EVERY_TABLE)


def _col(name: str, type_: FieldType, *map_ids: int, required: bool = False) -> Column:
    return Column(name, type_, map_ids, required)


def _amounts(*map_ids: int) -> tuple[Column, ...]:
    return tuple(Column(name, _MONEY, map_ids) for name in AMOUNT_COLUMNS)


_CLAIM_KEY = _col("claim_id", _CODE, 35, required=True)
_LINE_KEY = _col("line_number", _INT, 36, required=True)
_SEQUENCE = _col("sequence", _INT, required=True)

_TABLES = (
    _table(
        "member",
        "a member and payer contract",
        "member_id",
        _col("member_id", _CODE, 1, required=True),
        _col("unique_member_id", _CODE, 191),
        _col("name_prefix", _TEXT, 130),
        _col("family_name", _TEXT, 130),
        _col("given_name", _TEXT, 130),
        _col("middle_name", _TEXT, 130),
        _col("name_suffix", _TEXT, 130),
        _col("full_name", _TEXT, 130),
        _col("birth_date", _DATE, 70, required=True),
        _col("gender", _CODE, 71, required=True),
        _col("birth_sex", _CODE, 153),
        _col("deceased", _FLAG, 150),
        _col("death_date", _DATE, 124),
        _col("race", _LIST, 128),
        _col("ethnicity", _CODE, 129),
        _col("language", _CODE),
        _col("phone", _TEXT),
        _col("email", _TEXT),
        _col("address_line", _TEXT, 158),
        _col("address_line_2", _TEXT, 158),
        _col("city", _TEXT, 192),
        _col("county", _TEXT, 125),
        _col("state", _CODE, 126),
        _col("postal_code", _CODE, 131),
        _col("country", _CODE, 127),
        compulsory=True,
    ),
    _table(
        "member_address",
        "a further address of a member",
        "member_id sequence",
        _col("member_id", _CODE, 1, required=True),
        _SEQUENCE,
        _col("use", _CODE),
        _col("address_line", _TEXT, 158),
        _col("address_line_2", _TEXT, 158),
        _col("city", _TEXT, 192),
        _col("county", _TEXT, 125),
        _col("state", _CODE, 126),
        _col("postal_code", _CODE, 131),
        _col("country", _CODE, 127),
        _col("start_date", _DATE, 193),
        _col("end_date", _DATE, 193),
    ),
    _table(
        "member_telecom",
        "a further phone, e-mail or the like of a member",
        "member_id sequence",
        _col("member_id", _CODE, 1, required=True),
        _SEQUENCE,
        _col("system", _CODE),
        _col("value", _TEXT),
        _col("use", _CODE),
        _col("rank", _INT),
    ),
    _table(
        "coverage",
        "a member, plan and period",
        "coverage_id",
        _col("coverage_id", _CODE, required=True),
        _col("member_id", _CODE, 1, required=True),
        _col("card_member_id", _CODE, 1),
        _col("subscriber_id", _CODE, 132),
        _col("subscriber_family_name", _TEXT),
        _col("subscriber_given_name", _TEXT),
        _col("subscriber_birth_date", _DATE),
        _col("subscriber_gender", _CODE),
        _col("subscriber_relationship", _CODE),
        _col("relationship", _CODE, 72, required=True),
        _col("dependent_number", _TEXT),
        _col("coverage_type", _CODE, 3),
        _col("status", _CODE, 133),
        _col("start_date", _DATE, 74),
        _col("end_date", _DATE, 75),
        _col("group_id", _TEXT, 134),
        _col("group_name", _TEXT, 135),
        _col("plan_id", _TEXT, 154),
        _col("plan_name", _TEXT, 155),
        _col("network_name", _TEXT),
        _col("payer_id", _CODE, 2, required=True),
        compulsory=True,
    ),
    _table(
        "organization",
        "a payer, provider, facility or pharmacy",
        "organization_id",
        _col("organization_id", _CODE, 2, 94, 97, required=True),
        _col("kind", _CODE),
        _col("npi", _CODE, 93, 94, 95, 97),
        _col("tax_id", _CODE),
        _col("naic", _CODE, 2),
        _col("clia", _CODE),
        _col("payer_code", _CODE, 2),
        _col("name", _TEXT, 167, 170, 175, required=True),
        _col("phone", _TEXT),
        _col("active", _FLAG),
        _col("address_line", _TEXT, 176),
        _col("address_line_2", _TEXT, 176),
        _col("city", _TEXT, 176),
        _col("state", _CODE, 176),
        _col("postal_code", _CODE, 176),
        _col("country", _CODE, 176),
    ),
    _table(
        "practitioner",
        "a practitioner, with the organization he works for",
        "practitioner_id",
        _col("practitioner_id", _CODE, 93, 95, 96, 98, 99, 122, 173, required=True),
        _col("npi", _CODE, 93, 95, 96, 98, 99, 122, 173),
        _col("tax_id", _CODE),
        _col("active", _FLAG),
        _col("name_prefix", _TEXT),
        _col("family_name", _TEXT, 166, 168, 169, 171, 172, 174, 182),
        _col("given_name", _TEXT, 166, 168, 169, 171, 172, 174, 182),
        _col("middle_name", _TEXT),
        _col("name_suffix", _TEXT),
        _col("full_name", _TEXT, 166, 168, 169, 171, 172, 174, 182),
        _col("taxonomy_code", _CODE, 47),
        _col("specialty", _TEXT),
        _col("organization_id", _CODE),
        _col("phone", _TEXT),
        _col("address_line", _TEXT),
        _col("address_line_2", _TEXT),
        _col("city", _TEXT),
        _col("state", _CODE),
        _col("postal_code", _CODE),
        _col("country", _CODE),
    ),
    _table(
        "claim",
        "a claim",
        "claim_id",
        _CLAIM_KEY,
        _col("claim_type", _CODE, 16, required=True),
        _col("member_id", _CODE, 1, required=True),
        _col("coverage_id", _CODE, required=True),
        _col("payer_id", _CODE, 2, required=True),
        _col("status", _CODE, 140),
        _col("outcome", _CODE),
        _col("adjusted_from_claim_id", _CODE, 111),
        _col("adjusted_to_claim_id", _CODE, 112),
        _col("statement_from_date", _DATE, 177, required=True),
        _col("statement_thru_date", _DATE, 178),
        _col("received_date", _DATE, 88),
        _col("adjudication_date", _DATE, 179, required=True),
        _col("paid_date", _DATE, 107),
        _col("payment_status", _CODE, 91),
        _col("payment_amount", _MONEY),
        _col("payee_type", _CODE, 120),
        _col("payee_id", _CODE, 121),
        _col("admission_date", _DATE, 18),
        _col("discharge_date", _DATE, 19),
        _col("admission_type", _CODE, 14),
        _col("point_of_origin", _CODE, 13),
        _col("discharge_status", _CODE, 117),
        _col("type_of_bill", _CODE, 17),
        _col("bill_facility_type", _CODE, 114),
        _col("bill_classification", _CODE, 115),
        _col("bill_frequency", _CODE, 116),
        _col("drg_code", _CODE, 33),
        _col("drg_version", _TEXT, 32),
        _col("drg_system", _CODE, 113),
        _col("patient_account_number", _TEXT, 109),
        _col("medical_record_number", _TEXT, 110),
        _col("billing_provider_id", _CODE, 94),
        _col("billing_network_status", _CODE, 101),
        _col("rendering_network_status", _CODE, 101),
        _col("benefit_payment_status", _CODE, 142),
        _col("service_facility_id", _CODE, 97),
        _col("denial_reason", _LIST, 92),
        *_amounts(20, 148),
        _col("days_supply", _INT, 77),
        _col("daw_code", _CODE, 79),
        _col("refill_number", _INT, 137),
        _col("refills_authorized", _INT),
        _col("rx_origin_code", _CODE, 143),
        _col("brand_generic_code", _CODE, 144),
        _col("compound_code", _CODE, 78),
        _col("orthodontics", _FLAG, 199),
        _col("orthodontics_date", _DATE, 200),
        _col("orthodontics_months", _INT, 201),
        _col("prosthesis_replacement", _FLAG, 202),
        _col("prosthesis_prior_date", _DATE, 203),
        _col("currency", _CODE),
        compulsory=True,
    ),
    _table(
        "claim_line",
        "a service line of a claim",
        "claim_id line_number",
        _CLAIM_KEY,
        _LINE_KEY,
        _col("service_from_date", _DATE, 90, 118, required=True),
        _col("service_to_date", _DATE, 119),
        _col("revenue_code", _CODE, 86),
        _col("service_code", _CODE, 40, 194),
        _col("service_code_system", _CODE),
        _col("service_text", _TEXT),
        _col("modifier_1", _CODE, 41, 195),
        _col("modifier_2", _CODE, 41, 195),
        _col("modifier_3", _CODE, 41, 195),
        _col("modifier_4", _CODE, 41, 195),
        _col("ndc", _CODE, 38),
        _col("ndc_quantity", _DEC, 39),
        _col("ndc_unit", _CODE, 151),
        _col("units", _DEC, 42),
        _col("allowed_units", _DEC, 149),
        _col("place_of_service", _CODE, 46),
        _col("benefit_payment_status", _CODE, 142),
        _col("denial_reason", _LIST, 92),
        _col("tooth_number", _CODE, 196),
        _col("oral_cavity_area", _CODE, 196),
        _col("tooth_surfaces", _LIST, 197),
        _col("rendering_provider_id", _CODE, 95),
        *_amounts(20),
        compulsory=True,
    ),
    _table(
        "claim_diagnosis",
        "a diagnosis of a claim in one role",
        "claim_id sequence",
        _CLAIM_KEY,
        _SEQUENCE,
        _col("code", _CODE, 6, 7, 8, 21, 22, 23, 30, 31, required=True),
        _col("icd_version", _CODE),
        _col("type", _CODE, 189),
        _col("present_on_admission", _CODE, 28, 29),
        _col("line_numbers", _LIST),
    ),
    _table(
        "claim_procedure",
        "an ICD procedure of a claim",
        "claim_id sequence",
        _CLAIM_KEY,
        _SEQUENCE,
        _col("code", _CODE, 9, 11, 24, 26, required=True),
        _col("icd_version", _CODE),
        _col("type", _CODE, 187),
        _col("procedure_date", _DATE, 10, 12, 25, 27),
    ),
    _table(
        "claim_care_team",
        "a provider of a claim in one role",
        "claim_id sequence",
        _CLAIM_KEY,
        _SEQUENCE,
        _col("role", _CODE, 165, required=True),
        _col("provider_id", _CODE, 93, 95, 96, 98, 99, 122, 173, required=True),
        _col("taxonomy_code", _CODE, 47),
        _col("line_numbers", _LIST),
    ),
    _table(
        "claim_other_payer",
        "another payer of a claim",
        "claim_id sequence",
        _CLAIM_KEY,
        _SEQUENCE,
        _col("payer_name", _TEXT, 141),
        _col("payer_id", _CODE, 141),
        _col("coverage_id", _CODE),
        _col("amount_priorpayerpaid", _MONEY, 20, 148),
        _col("line_number", _INT, 36),
    ),
    _table(
        "claim_adjustment",
        "an adjustment of a claim line",
        "claim_id line_number sequence",
        _CLAIM_KEY,
        _LINE_KEY,
        _SEQUENCE,
        _col("group_code", _CODE),
        _col("reason_code", _CODE, 92),
        _col("remark_code", _CODE, 92),
        _col("amount", _MONEY),
    ),
    _table(
        "claim_tooth",
        "a further tooth, or a missing one, of a claim line",
        "claim_id line_number sequence",
        _CLAIM_KEY,
        _LINE_KEY,
        _SEQUENCE,
        _col("tooth_number", _CODE, 204, 198, 205),
        _col("oral_cavity_area", _CODE, 204),
        _col("missing", _FLAG, 198, 205),
    ),
    _table(
        "claim_ingredient",
        "an ingredient of a compound drug line",
        "claim_id line_number sequence",
        _CLAIM_KEY,
        _LINE_KEY,
        _SEQUENCE,
        _col("ndc", _CODE, 38, required=True),
        _col("quantity", _DEC, 39),
        _col("unit", _CODE, 151),
    ),
    _table(
        "claim_transport",
        "a fact of an ambulance or other transport claim",
        "claim_id sequence",
        _CLAIM_KEY,
        _SEQUENCE,
        _col("kind", _CODE, required=True),
        _col("value", _TEXT),
        _col("unit", _CODE),
        _col("line_numbers", _LIST, required=True),
    ),
    _table(
        "claim_note",
        "a note to the member on a claim or one of its lines",
        "claim_id sequence",
        _CLAIM_KEY,
        _SEQUENCE,
        _col("text", _TEXT, 181),
        _col("line_number", _INT, 36),
    ),
)

CLAIMS_TABLES: Final[Mapping[str, Table]] = MappingProxyType(
    {table.name: table for table in _TABLES}
)
"""Tables of an extract of claims by name, in the order in which they are documented and loaded."""

TABLES: Final[Mapping[str, Table]] = MappingProxyType(
    {**CLAIMS_TABLES, **{table.name: table for table in (*LISTED_TABLES, *DERIVED)}}
)
"""Every canonical table of all data models by name; those that the engine makes come last."""

MEMBER_TABLES: Final = ("member", "member_address", "member_telecom", "coverage", "claim")
"""Tables in which each row names its member itself."""
CLAIM_TABLES: Final = (
    "claim_line",
    "claim_diagnosis",
    "claim_procedure",
    "claim_care_team",
    "claim_other_payer",
    "claim_adjustment",
    "claim_tooth",
    "claim_ingredient",
    "claim_transport",
    "claim_note",
)
"""Tables in which each row names a claim; the claim names the member."""
OWNER_COLUMNS: Final = MappingProxyType(
    {
        **dict.fromkeys(CLAIM_TABLES, "claim_id"),
        "member_address": "member_id",
        "member_telecom": "member_id",
    }
)
"""Table of child rows -> the column that names the claim or member that a row is part of."""

LINE_TABLES: Final = ("claim_adjustment", "claim_tooth", "claim_ingredient")
"""Claim tables in which each row belongs to one line."""
DIRECTORY_TABLES: Final = ("organization", "practitioner")
"""Tables of an extract of claims that belong to no member."""

MEMBERLESS: Final = frozenset({*DIRECTORY_TABLES, *(table.name for table in LISTED_TABLES)})
"""Tables of all data models that belong to no member."""
