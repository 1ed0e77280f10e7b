"""Every rule of the product finds what it is for, and nothing else about that cell."""

from dataclasses import dataclass

import pytest

from etl.columns.dates import day_number
from etl.quality.rules import kinds
from tests.unit.quality.world import (
    Row,
    accepted,
    found,
    rejected,
    run,
    standard_book,
    world,
)


@dataclass(frozen=True)
class Case:
    """One row changed, or added, and what has to be found about it.

    Attributes:
        rule: the rule that must fail.
        table, at: the row; `at` past the end adds it.
        cells: put into it; "" empties a cell.
        column: the failing column; None for the row.
        left: what is published in that column instead, where the row is.
    """

    rule: str
    table: str
    at: int
    cells: Row
    column: str | None = None
    left: str | None = "?"


def cell(rule, where, at, text, left="?", **other):
    table, column = where.split(".")
    return Case(rule, table, at, {column: text} | other, column, left)


def row(rule, table, at, column=None, **cells):
    return Case(rule, table, at, cells, column)


M2 = "M2"
NO_PARTS = {"amount_deductible": "", "amount_noncovered": ""}
AS_PHYSICIAN = ("claim_care_team", 0, "provider_id")
CASES = [
    # types
    cell("date-unreadable", "claim.received_date", 0, "2024/03/06", None),
    cell("date-unreadable", "claim_line.service_to_date", 0, "20240230", None),
    cell("timestamp-unreadable", "claim.last_updated", 0, "2024-03-06T10:00:00", None),
    cell("timestamp-unreadable", "claim.last_updated", 0, "2016-12-31T23:59:60Z", None),
    cell("amount-unreadable", "claim.amount_submitted", 0, "1,234.50"),
    cell("amount-unreadable", "claim_adjustment.amount", 0, "(5.00)"),
    cell("amount-beyond-cents", "claim_line.amount_copay", 0, "1.234"),
    cell("decimal-unreadable", "claim_line.units", 0, "two", None),
    cell("integer-unreadable", "claim.days_supply", 5, "thirty", None),
    cell("flag-unreadable", "member.deceased", 0, "maybe", None),
    cell("list-unreadable", "claim_line.tooth_surfaces", 4, "M\x01", None),
    cell("code-unreadable", "claim.payee_id", 0, "A\nB", None),
    cell("text-unreadable", "member.family_name", 0, "D\x00oe", "Doe"),
    cell("record-action-unknown", "claim.record_action", 0, "X"),
    cell("date-sentinel", "coverage.end_date", 0, "9999-12-31", None),
    cell("date-sentinel", "claim.paid_date", 0, "19691231", None),
    cell("birth-date-sentinel", "member.birth_date", 0, "1970-01-01", "1970-01-01"),
    cell("date-in-future", "claim.paid_date", 0, "2025-01-01", "2025-01-01"),
    cell("date-in-future", "claim.statement_thru_date", 0, "2025-01-01", "2025-01-01"),
    cell("service-date-in-future", "claim_line.service_to_date", 0, "2025-01-01", "2025-01-01"),
    cell("procedure-in-future", "claim_procedure.procedure_date", 0, "2025-01-01", "2025-01-01"),
    cell("updated-in-future", "claim.last_updated", 0, "2025-01-01T00:00:00Z"),
    cell("updated-in-future", "member.last_updated", 0, "2034-01-01", "2034-01-01"),
    cell("claim-date-implausible", "claim.admission_date", 0, "1924-03-01", "1924-03-01"),
    cell("service-date-in-future", "claim_line.service_from_date", 0, "2025-01-01"),
    cell("birth-in-future", "member.birth_date", 1, "2025-01-01"),
    cell("birth-date-implausible", "member.birth_date", 1, "1880-01-01", "1880-01-01"),
    cell("claim-date-implausible", "claim.received_date", 0, "1924-03-06", "1924-03-06"),
    cell("number-not-positive", "claim_line.line_number", 2, "0"),
    cell("sequence-not-positive", "claim_note.sequence", 0, "-1", "-1"),
    cell("rank-not-positive", "member_telecom.rank", 0, "0", None),
    cell("quantity-negative", "claim_line.units", 0, "-1", "-1"),
    cell("pharmacy-number-negative", "claim.days_supply", 5, "-30", None),
    # members and coverages
    cell("gender-unknown", "member.gender", 0, "X9", "X9"),
    cell("gender-x", "member.gender", 0, "x", "x"),
    cell("birth-sex-unknown", "member.birth_sex", 0, "Q", "Q"),
    cell("race-unknown", "member.race", 0, "2106-3;martian", "2106-3;martian"),
    cell("ethnicity-unknown", "member.ethnicity", 0, "martian", "martian"),
    cell("language-shape", "member.language", 0, "English!", None),
    row("member-without-name", "member", 0, family_name="", full_name=""),
    cell("member-name-damaged", "member.given_name", 0, "J\ufffdn", "J\ufffdn"),
    cell("death-before-birth", "member.death_date", 1, "1970-05-06"),
    cell("dead-but-not-deceased", "member.death_date", 1, "2020-05-06", deceased="N"),
    cell("state-shape", "member.state", 0, "Ohio", "Ohio"),
    cell("state-unknown", "member.state", 0, "QQ", "QQ"),
    cell("zip-of-another-state", "member.postal_code", 0, "90210", "90210"),
    cell("lost-zero-zip", "member.postal_code", 0, "6511", "06511"),
    cell("lost-zero-zip", "member.postal_code", 0, "6511-1234", "06511-1234", country="usa"),
    cell("zip-shape", "member.postal_code", 0, "441", "441"),
    cell("email-shape", "member.email", 0, "nobody", "nobody"),
    cell("address-use-unknown", "member_address.use", 0, "castle", "castle"),
    cell("address-date-order", "member_address.end_date", 0, "2020-01-01", start_date="2021-01-01"),
    cell("telecom-system-unknown", "member_telecom.system", 0, "pigeon", "pigeon"),
    cell("telecom-use-unknown", "member_telecom.use", 0, "holiday", "holiday"),
    row("telecom-without-value", "member_telecom", 0, value=""),
    cell("telecom-twice", "member_telecom.value", 0, "(216) 555.0100", None),
    Case(
        "telecom-twice",
        "member_telecom",
        1,
        {"member_id": "M1", "sequence": "2", "system": "phone", "value": "2165550199"},
        "value",
    ),
    cell("address-unknown-member", "member_address.member_id", 0, "M9"),
    cell("coverage-unknown-member", "coverage.member_id", 1, "M9"),
    cell("coverage-date-order", "coverage.end_date", 1, "2019-01-01", "2019-01-01"),
    cell("relationship-unknown", "coverage.relationship", 1, "acquaintance", "acquaintance"),
    cell("subscriber-relationship-unknown", "coverage.subscriber_relationship", 1, "boss", "boss"),
    cell("subscriber-gender-unknown", "coverage.subscriber_gender", 1, "X9", "X9"),
    cell("subscriber-gender-x", "coverage.subscriber_gender", 0, "X", "X"),
    cell(
        "subscriber-younger",
        "coverage.subscriber_birth_date",
        1,
        "1981-01-01",
        relationship="child",
    ),
    row("subscriber-missing", "coverage", 1, relationship="child", subscriber_id="S"),
    row("subscriber-id-missing", "coverage", 1, relationship="child", subscriber_given_name="S"),
    cell("subscriber-otherwise", "coverage.subscriber_family_name", 0, "Roe", "Roe"),
    cell("subscriber-otherwise", "coverage.subscriber_birth_date", 0, "1980-05-07", "1980-05-07"),
    cell("subscriber-gender-otherwise", "coverage.subscriber_gender", 0, "M", "M"),
    cell("subscriber-related-to-self", "coverage.subscriber_relationship", 0, "MTH", "MTH"),
    cell("coverage-status-unknown", "coverage.status", 1, "lapsed-ish", "lapsed-ish"),
    cell("coverage-type-unknown", "coverage.coverage_type", 1, "golden", "golden"),
    cell("card-of-another", "coverage.card_member_id", 0, M2, M2),
    cell("coverage-payer-unknown", "coverage.payer_id", 1, "P9", "P9"),
    # claims
    cell("claim-type-unknown", "claim.claim_type", 0, "veterinary"),
    cell("status-unknown", "claim.status", 0, "lost", "lost"),
    cell("outcome-unknown", "claim.outcome", 0, "lost", "lost"),
    cell("outcome-not-complete", "claim.outcome", 0, "partially", "partially"),
    cell("outcome-not-complete", "claim.outcome", 1, "queued", "queued"),
    cell("outcome-not-complete", "claim.outcome", 2, "ERROR", "ERROR"),
    cell("payment-status-unknown", "claim.payment_status", 0, "lost", "lost"),
    cell("payee-type-unknown", "claim.payee_type", 0, "lawyer", "lawyer"),
    cell("payee-unknown", "claim.payee_type", 0, "other", None),
    cell("payee-type-missing", "claim.payee_id", 0, "P9", "P9"),
    cell("payee-unlisted", "claim.payee_id", 0, "P9", "P9", payee_type="provider"),
    cell("payee-otherwise", "claim.payee_id", 0, "M2", "M2", payee_type="patient"),
    cell("network-status-unknown", "claim.rendering_network_status", 0, "maybe", "maybe"),
    cell("benefit-status-unknown", "claim_line.benefit_payment_status", 0, "maybe", "maybe"),
    row("benefit-status-missing", "claim", 5, benefit_payment_status=""),
    row("oral-network-status-assumed", "claim", 4, rendering_network_status=""),
    cell("currency-of-nothing", "claim.currency", 0, "xxx"),
    cell("currency-shape", "claim.currency", 0, "dollars"),
    cell("admission-after-start", "claim.admission_date", 0, "2024-03-05", "2024-03-05"),
    cell("admission-before-start", "claim.admission_date", 0, "2024-02-29", type_of_bill="111"),
    cell("stay-of-decades", "claim.discharge_date", 0, "2034-03-03", "2034-03-03"),
    cell("date-order", "claim.statement_thru_date", 0, "2024-03-02", admission_date="2024-03-03"),
    row("coverage-not-real", "claim", 0, "coverage_id"),
    cell("date-order", "claim.discharge_date", 0, "2024-02-01", "2024-02-01"),
    cell("claim-unknown", "claim.adjusted_from_claim_id", 0, "K99", "K99"),
    cell("claim-without-adjustment-target", "claim.adjusted_to_claim_id", 0, "K99", "K99"),
    cell("claim-links-itself", "claim.adjusted_from_claim_id", 0, "K0", None),
    cell("claim-links-itself", "claim.adjusted_to_claim_id", 0, "K0", None),
    row("inpatient-without-admission", "claim", 0, admission_date=""),
    row("pharmacy-without-supply", "claim", 5, days_supply=""),
    row("pharmacy-without-daw", "claim", 5, daw_code=""),
    row("pharmacy-without-refill", "claim", 5, refill_number=""),
    cell("pharmacy-code-unknown", "claim.daw_code", 5, "77", "77"),
    cell("rx-origin-unknown", "claim.rx_origin_code", 5, "77", "77"),
    cell("compound-code-unknown", "claim.compound_code", 0, "77", "77"),
    cell("brand-generic-shape", "claim.brand_generic_code", 5, "brand", None),
    row("claim-with-billing-provider", "claim", 0, billing_provider_id=""),
    cell("claim-provider-unlisted", "claim.service_facility_id", 0, "F9", "F9"),
    cell("claim-payer-unlisted", "claim.payer_id", 0, "P9", "P9"),
    cell("practitioner-as-facility", "claim.service_facility_id", 1, "D1", "D1"),
    cell("amount-negative", "claim.amount_benefit", 0, "-1.00", "-1.00"),
    cell("eligible-equation", "claim.amount_eligible", 0, "71.00", "71.00"),
    cell("liability-equation", "claim_line.amount_memberliability", 0, "16", "16.00"),
    cell("liability-without-parts", "claim.amount_memberliability", 0, "15.00", **NO_PARTS),
    cell("benefit-above-eligible", "claim_line.amount_benefit", 0, "70.01", "70.01"),
    cell("paid-above-eligible", "claim.amount_paidtoprovider", 0, "-70.01", "-70.01"),
    cell("payment-otherwise", "claim.payment_amount", 0, "51", amount_paidtoprovider="50"),
    cell("total-of-lines", "claim.amount_submitted", 0, "101", amount_eligible="71"),
    cell("payment-negative", "claim.payment_amount", 0, "-5", "-5.00"),
    cell("denied-but-paid", "claim.payment_amount", 0, "5", "5.00", payment_status="denied"),
    # lines and children
    cell("line-date-order", "claim_line.service_to_date", 0, "2024-03-01", "2024-03-01"),
    cell("line-after-claim", "claim_line.service_from_date", 0, "2024-03-06", "2024-03-06"),
    cell("line-before-claim", "claim_line.service_from_date", 0, "2024-02-28", "2024-02-28"),
    cell("coverage-not-in-force", "claim_line.service_from_date", 0, "2019-12-31", "2019-12-31"),
    cell("procedure-outside-claim", "claim_procedure.procedure_date", 0, "2024-02-29"),
    cell("procedure-outside-claim", "claim_procedure.procedure_date", 0, "2044-03-05"),
    cell("procedure-after-discharge", "claim_procedure.procedure_date", 0, "2024-03-06"),
    cell("service-before-birth", "claim_line.service_from_date", 0, "1980-05-05", "1980-05-05"),
    cell("line-provider-unlisted", "claim_line.rendering_provider_id", 0, "X", "X"),
    row("place-missing", "claim_line", 4, place_of_service=""),
    cell("place-unknown", "claim_line.place_of_service", 2, "98", "98"),
    cell("line-reason-shape", "claim_line.denial_reason", 0, "45;not covered;N130", "45;N130"),
    cell("denial-reason-shape", "claim.denial_reason", 0, "denied", None),
    cell("reject-code-shape", "claim.denial_reason", 5, "70;too soon", "70"),
    cell("group-unknown", "claim_adjustment.group_code", 0, "ZZ", None),
    cell("adjustment-reason-shape", "claim_adjustment.reason_code", 0, "forty-five", None),
    cell("adjustment-without-reason", "claim_adjustment.amount", 0, "6", "6.00", reason_code=""),
    cell("remark-code-shape", "claim_adjustment.remark_code", 0, "45", None),
    cell("role-unknown", "claim_care_team.role", 0, "janitor"),
    cell("role-not-institutional", "claim_care_team.role", 0, "supervisor", claim_id="K0"),
    cell("role-not-professional", "claim_care_team.role", 0, "attending", "attending"),
    cell("role-not-pharmacy", "claim_care_team.role", 0, "rendering", claim_id="K5"),
    cell("taxonomy-shape", "claim_care_team.taxonomy_code", 0, "surgeon", None),
    cell("care-team-provider-unlisted", "claim_care_team.provider_id", 0, "D9", "D9"),
    cell("organization-in-care-team", "claim_care_team.provider_id", 0, "P1", "P1"),
    row("organization-as-physician", *AS_PHYSICIAN, claim_id="K0", role="PCP", provider_id="P1"),
    cell("organization-as-rendering", "claim_line.rendering_provider_id", 2, "P1", "P1"),
    cell("line-unknown", "claim_care_team.line_numbers", 0, "1;99", "1;99"),
    cell("note-line-unknown", "claim_note.line_number", 0, "99", "99"),
    row("transport-misplaced", "claim_transport", 0, claim_id="K0"),
    cell("transport-kind-unknown", "claim_transport.kind", 0, "helicopter"),
    cell("transport-unit", "claim_transport.unit", 0, "kg"),
    cell("transport-distance-unit", "claim_transport.unit", 0, "km", kind="transportationdistance"),
    cell("transport-number", "claim_transport.value", 0, "heavy", "heavy"),
    cell("transport-reason", "claim_transport.value", 0, "9", kind="ambulancetransportreason"),
    cell("transport-line-unknown", "claim_transport.line_numbers", 0, "1;99"),
    row("ingredient-misplaced", "claim_ingredient", 0, claim_id="K4"),
    row("compound-without-ingredient", "claim", 5, claim_id="K5", compound_code="02"),
    row("pharmacy-line-without-drug", "claim_line", 5, ndc=""),
    row(
        "compound-line-without-drug",
        "claim_line",
        6,
        claim_id="K5",
        line_number="2",
        service_from_date="2024-03-02",
        service_text="A finding",
    ),
    row("inpatient-line-without-revenue", "claim_line", 0, revenue_code=""),
    row("service-missing", "claim_line", 4, service_code=""),
    row("professional-line-without-code", "claim_line", 2, service_code=""),
    cell("professional-code-shape", "claim_line.service_code", 2, "9921X"),
    cell("professional-code-system", "claim_line.service_code_system", 2, "SNOMED", None),
    row("tooth-without-site", "claim_tooth", 0, tooth_number=""),
    cell("missing-area", "claim_tooth.oral_cavity_area", 0, "10", missing="Y", tooth_number=""),
    row("two-body-sites", "claim_line", 4, oral_cavity_area="10"),
    cell("tooth-unknown", "claim_line.tooth_number", 4, "99", None),
    cell("tooth-surface-unknown", "claim_line.tooth_surfaces", 4, "M;Q", "M"),
    cell("surface-without-tooth", "claim_line.tooth_surfaces", 4, "M", tooth_number=""),
    cell("drug-units-otherwise", "claim_line.units", 5, "1", "1"),
    cell("allowed-units-without-amount", "claim_line.allowed_units", 1, "2", "2", units="3"),
    row("line-benefit-status-missing", "claim_line", 2),
    cell("benefit-status-without-amount", "claim_line.benefit_payment_status", 1, "other", "other"),
    cell("benefit-status-of-claim", "claim_line.benefit_payment_status", 2, "other", "other"),
    row("note-without-text", "claim_note", 0, text=""),
    cell("other-payer-unlisted", "claim_other_payer.payer_id", 0, "P9", "P9"),
    row("other-payer-unnamed", "claim_other_payer", 0, payer_name=""),
    # what the profile of the claim's type has no place for
    cell("inpatient-fact-misplaced", "claim.admission_date", 1, "2024-03-01", "2024-03-01"),
    cell("inpatient-fact-misplaced", "claim.drg_code", 2, "470", "470"),
    cell("institutional-fact-misplaced", "claim.bill_frequency", 2, "7", "7"),
    cell("institutional-fact-misplaced", "claim.discharge_status", 5, "01", "01"),
    cell("drug-fact-misplaced", "claim.days_supply", 0, "30", "30"),
    cell("drug-fact-misplaced", "claim.compound_code", 4, "1", "1"),
    cell("dental-fact-misplaced", "claim.orthodontics", 3, "Y", "Y"),
    Case(
        "type-of-bill-incomplete",
        "claim",
        0,
        {"type_of_bill": "", "bill_facility_type": "1", "bill_classification": ""},
        "bill_facility_type",
        "1",
    ),
    cell("drg-version-without-code", "claim.drg_version", 0, "41", "41", drg_code=""),
    cell("revenue-code-misplaced", "claim_line.revenue_code", 2, "0450", "0450"),
    cell("service-misplaced", "claim_line.place_of_service", 5, "11", "11"),
    cell("drug-misplaced", "claim_line.ndc_quantity", 4, "3", "3"),
    cell("drug-quantity-without-drug", "claim_line.ndc_quantity", 1, "3", "3"),
    cell("body-site-misplaced", "claim_line.tooth_number", 2, "12", "12"),
    row("tooth-misplaced", "claim_tooth", 0, claim_id="K2"),
    row("procedure-misplaced", "claim_procedure", 0, claim_id="K5"),
    Case(
        "service-of-several-days",
        "claim_line",
        1,
        {"service_to_date": "2024-03-03"},
        "service_from_date",
        "2024-03-02",
    ),
    # codes
    cell("icd-version-unknown", "claim_diagnosis.icd_version", 0, "ICD-10", "10"),
    cell("icd-version-nine", "claim_diagnosis.icd_version", 0, "icd9", "9", code="25000"),
    cell("icd-version", "claim_diagnosis.icd_version", 1, "11"),
    cell("icd-version-of-other-days", "claim_diagnosis.icd_version", 0, "9", "9", code="250.00"),
    cell("icd-point", "claim_diagnosis.code", 0, "E116.5", "E11.65"),
    cell("icd-point", "claim_procedure.code", 0, "0DT.J4ZZ", "0DTJ4ZZ"),
    cell("icd-shape", "claim_diagnosis.code", 0, "EE1", "EE1"),
    cell("icd-impossible", "claim_diagnosis.code", 0, "73211009"),
    cell("diagnosis-type-unknown", "claim_diagnosis.type", 0, "vague", "vague"),
    cell("diagnosis-type-not-inpatient", "claim_diagnosis.type", 0, "PatientReasonForVisit"),
    cell("diagnosis-type-not-outpatient", "claim_diagnosis.type", 1, "admitting", "admitting"),
    cell("diagnosis-type-not-professional", "claim_diagnosis.type", 2, "External Cause"),
    cell("diagnosis-type-not-professional", "claim_diagnosis.type", 3, "admitting", "admitting"),
    cell("first-row-missing", "claim_diagnosis.sequence", 0, "2", "2", type=""),
    cell("first-row-missing", "claim_procedure.sequence", 0, "2", "2", type=""),
    Case(
        "principal-twice",
        "claim_diagnosis",
        4,
        {"claim_id": "K0", "sequence": "2", "code": "I10", "type": "Primary"},
        "claim_id",
    ),
    cell("procedure-type-unknown", "claim_procedure.type", 0, "vague", "vague"),
    cell("poa-unknown", "claim_diagnosis.present_on_admission", 0, "Q", None),
    cell("lost-zero-revenue", "claim_line.revenue_code", 0, "450", "0450"),
    cell("revenue-shape", "claim_line.revenue_code", 1, "45", None),
    cell("lost-zero-place", "claim_line.place_of_service", 2, "2", "02"),
    cell("lost-zero-ndc", "claim_line.ndc", 2, "1234567890", None),
    cell("ndc-length", "claim_line.ndc", 2, "123456789012", None),
    cell("ndc-placeholder", "claim_line.ndc", 5, "00000-0000-00", "00000000000"),
    cell("ndc-placeholder", "claim_ingredient.ndc", 0, "99999999999", "99999999999"),
    cell("drug-unit-unknown", "claim_line.ndc_unit", 5, "spoon", "spoon"),
    cell("service-code-shape", "claim_line.service_code", 1, "9921", "9921"),
    cell("service-system-unknown", "claim_line.service_code_system", 1, "HOME", "HOME"),
    cell("cpt-shape", "claim_line.service_code", 2, "D0120", "D0120"),
    cell("hcpcs-shape", "claim_line.service_code", 1, "Z0120", service_code_system="HCPCS"),
    cell("cdt-shape", "claim_line.service_code", 4, "99213", service_code_system="cdt"),
    cell("modifier-shape", "claim_line.modifier_2", 1, "25X", None),
    cell("lost-zero-area", "claim_tooth.oral_cavity_area", 0, "1", "01", tooth_number=""),
    cell("area-unknown", "claim_tooth.oral_cavity_area", 0, "77", None),
    cell("type-of-bill-shape", "claim.type_of_bill", 0, "11", None),
    cell("bill-digit-shape", "claim.bill_frequency", 0, "11", None),
    cell("admission-type-shape", "claim.admission_type", 0, "other", None),
    cell("point-of-origin-shape", "claim.point_of_origin", 0, "emd", None),
    cell("newborn-point-of-origin", "claim.point_of_origin", 0, "1", None, admission_type="4"),
    cell("lost-zero-discharge", "claim.discharge_status", 0, "1", "01"),
    cell("discharge-status-shape", "claim.discharge_status", 0, "home", None),
    cell("lost-zero-drg", "claim.drg_code", 0, "65", "065"),
    cell("lost-zeros-drg", "claim.drg_code", 0, "5", "005"),
    cell("drg-shape", "claim.drg_code", 0, "none", None),
    cell("ms-drg-shape", "claim.drg_code", 0, "1394", "1394"),
    cell("drg-system-unknown", "claim.drg_system", 0, "my own", "my own"),
    cell("npi-of-claim", "claim.service_facility_id", 0, "1234567890", "1234567890"),
    cell("npi-of-line", "claim_line.rendering_provider_id", 0, "1234567890"),
    cell("npi-of-care-team", "claim_care_team.provider_id", 0, "1234567890"),
    cell("npi-unassigned-of-claim", "claim.service_facility_id", 0, "3234567899", "3234567899"),
    cell("npi-unassigned-of-line", "claim_line.rendering_provider_id", 0, "3234567899"),
    cell("npi-unassigned-of-care-team", "claim_care_team.provider_id", 0, "3234567899"),
    # keys
    cell("required", "member.birth_date", 1, ""),
    cell("required", "claim.adjudication_date", 0, "1970-01-01"),
    cell("claim-unknown-member", "claim.member_id", 0, "M9"),
    cell("claim-unknown-coverage", "claim.coverage_id", 0, "C9"),
    row("member-without-coverage", "member", 2, **(world()["member"][1] | {"member_id": "M3"})),
    cell("coverage-of-another", "claim.coverage_id", 0, "C2"),
    cell("payer-of-coverage", "claim.payer_id", 0, "P2", "P2"),
    cell("other-payer-of-coverage", "claim_other_payer.payer_id", 0, "P2", "P2", coverage_id="C1"),
    cell("other-payer-coverage-unknown", "claim_other_payer.coverage_id", 0, "C9", "C9"),
    cell("other-payer-coverage-of-another", "claim_other_payer.coverage_id", 0, "C2", "C2"),
    cell("orphan-claim", "claim_note.claim_id", 0, "K99"),
    cell("orphan-line", "claim_adjustment.line_number", 0, "99"),
    row("claim-without-lines", "claim", 6, **(world()["claim"][5] | {"claim_id": "K6"})),
    row("claim-without-diagnosis", "claim", 6, **(world()["claim"][2] | {"claim_id": "K6"})),
    row("duplicate-conflict", "claim", 6, **(world()["claim"][2] | {"paid_date": "2024-03-13"})),
    row("line-rejected", "claim", 0),
    row("hangs-on-rejected", "claim_diagnosis", 0),
]

ELSEWHERE = {
    "icd-version-by-day",
    "claim-without-amount",
    "total-of-other-payers",
    "totals-summed",
    "service-after-death",
    "npi",
    "npi-unassigned",
    "npi-of-several",
    "tax-id-shape",
    "practitioner-organization-unknown",
    "practitioner-without-name",
    "duplicate-identical",
    "duplicate-older",
    "claim-of-two-members",
    "coverage-of-two-members",
    "claim-links-another-member",
}
"""Rules with a test of their own below or in a module of their own."""


def after(case):
    of = world()
    table = of[case.table]
    if case.at == len(table):
        table.append({})
    table[case.at] = {k: v for k, v in (table[case.at] | case.cells).items() if v}
    if case.rule in ("line-rejected", "hangs-on-rejected"):
        of["claim_line"][0].pop("revenue_code")
    if case.rule.endswith("-without-amount"):
        for name in [name for name in table[case.at] if name.startswith("amount_")]:
            del table[case.at][name]
    if case.rule == "coverage-not-real":
        of["coverage"][0]["status"] = "Draft"
    if case.rule == "line-benefit-status-missing":
        del of["claim"][case.at]["benefit_payment_status"]
    if case.rule == "compound-without-ingredient":
        of["claim_ingredient"].clear()
    if case.rule == "pharmacy-line-without-drug":
        of["claim"][5]["compound_code"] = "1"
    return of


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}-{case.table}")
def test_a_rule_finds_what_it_is_for(case):
    checked = run(after(case), as_of=day_number("2024-12-31"))
    assert (case.rule, case.table, case.at + 2, case.column) in found(checked)
    rule = standard_book()[case.rule]
    rows_rejected = {(table, number) for table, number, _ in rejected(checked)}
    if rule.severity.rejects:
        assert (case.table, case.at + 2) in rows_rejected
    elif case.left != "?":
        assert (case.table, case.at + 2) not in rows_rejected
    if case.left != "?" and case.column is not None:
        assert accepted(checked, case.table, case.column)[case.at] == case.left


def test_every_rule_has_a_case():
    told = kinds.Reading | kinds.Unmet  # by reading and by mapping
    rules = {rule.id for rule in standard_book().rules if not isinstance(rule.kind, told)}
    assert rules - ELSEWHERE == {case.rule for case in CASES}


def test_a_world_without_a_fault_has_no_finding():
    checked = run(world(), as_of=day_number("2024-12-31"))
    assert found(checked) == set()
    assert checked.rejected.num_rows == 0
    assert {name: each.published for name, each in checked.counts.items()} == {
        name: each.rows_in for name, each in checked.counts.items()
    }


def test_a_claim_without_any_amount_is_told():
    of = world()
    for table in (of["claim"], of["claim_line"]):
        for name in [name for name in table[2] if name.startswith("amount_")]:
            del table[2][name]
    assert ("claim-without-amount", "claim", 4, None) in found(run(of))
    of["claim_line"][2]["amount_copay"] = "0.00"
    assert not {rule for rule, *_ in found(run(of))} & {"claim-without-amount"}


BY_DAY, OTHER_DAYS = "icd-version-by-day", "icd-version-of-other-days"


@pytest.mark.parametrize(
    ("day", "code", "stated", "published", "rules"),
    [
        # The day decides where the row does not say.
        ("2015-09-30", "E885.9", "", ("9", "E885.9"), {BY_DAY}),
        ("2015-09-30", "E8859", "", ("9", "E885.9"), {BY_DAY}),
        ("2015-09-30", "V5869", "", ("9", "V58.69"), {BY_DAY}),
        ("2014-01-01", "25000", "", ("9", "250.00"), {BY_DAY}),
        ("2015-10-01", "E1165", "", (None, "E11.65"), set()),
        ("2024-03-01", "V4352XA", "", (None, "V43.52XA"), set()),
        # Only ICD-10 has such a code.
        ("2015-09-30", "E11.9", "", (None, "E11.9"), {OTHER_DAYS}),
        ("2015-09-30", "E88.59", "", (None, "E88.59"), {OTHER_DAYS}),
        ("2015-09-30", "J45.909", "", (None, "J45.909"), {OTHER_DAYS}),
        # What is stated contradicts the day.
        ("2014-01-01", "E11.9", "10", ("10", "E11.9"), {OTHER_DAYS}),
        ("2024-01-01", "250.00", "9", ("9", "250.00"), {OTHER_DAYS}),
        ("2014-01-01", "250.00", "ICD9", ("9", "250.00"), {"icd-version-nine"}),
        # What is stated contradicts the code, or its point does.
        ("2014-01-01", "E11.9", "9", None, {"icd-impossible", "icd-shape"}),
        ("2014-01-01", "E88.59", "9", ("9", "E885.9"), {"icd-point"}),
        ("2024-01-01", "E885.9", "10", None, {"icd-impossible", "icd-shape"}),
        ("2024-01-01", "E885.9", "", None, {"icd-impossible", "icd-shape"}),
        ("2024-01-01", "V58.69", "", (None, "V58.69"), {"icd-shape"}),
    ],
)
def test_the_version_of_icd_is_that_of_the_row_or_of_its_day(day, code, stated, published, rules):
    of = world()
    of["claim"][2] |= {"statement_from_date": day, "statement_thru_date": day}
    of["claim_diagnosis"][2] |= {"code": code} | ({"icd_version": stated} if stated else {})
    checked = run(of)
    assert {rule for rule, table, *_ in found(checked) if table == "claim_diagnosis"} == rules
    versions = accepted(checked, "claim_diagnosis", "icd_version")
    codes = accepted(checked, "claim_diagnosis", "code")
    assert len(codes) == (4 if published else 3)
    if published:
        assert (versions[2], codes[2]) == published


def test_the_discharge_decides_the_version_of_icd_of_a_stay():
    of = world()
    stay = {"admission_date": "2015-09-28", "statement_from_date": "2015-09-28"}
    of["claim"][0] |= stay | {"discharge_date": "2015-10-02", "statement_thru_date": "2015-10-02"}
    of["claim"][1] |= stay | {"statement_thru_date": "2015-10-02"}
    of["claim_procedure"] = []
    by_day = {finding[1:3] for finding in found(run(of)) if finding[0] == BY_DAY}
    assert by_day == set()  # `E11.65` can be ICD-10 only
    of["claim_diagnosis"] = [row | {"code": "V58.69"} for row in of["claim_diagnosis"]]
    by_day = {finding[1:3] for finding in found(run(of)) if finding[0] == BY_DAY}
    assert by_day == {("claim_diagnosis", 3)}
    of["claim"][0] |= {"discharge_date": "2015-09-30", "statement_thru_date": "2015-09-30"}
    of["claim_procedure"] = [{"claim_id": "K0", "sequence": "1", "code": "4719"}]
    checked = run(of)
    assert BY_DAY in {rule for rule, table, *_ in found(checked) if table == "claim_procedure"}
    assert accepted(checked, "claim_procedure", "code") == ["47.19"]


def test_a_row_behind_a_rejected_first_one_is_not_taken_for_the_first():
    of = world()
    code = {"claim_id": "K0", "code": "E11.9"}
    of["claim_diagnosis"][0] = code | {"sequence": "1", "code": "73211009", "type": "principal"}
    of["claim_diagnosis"] += [code | {"sequence": number} for number in ("10", "2")]
    wrong = {finding[1:] for finding in found(run(of)) if finding[0] == "first-row-missing"}
    assert wrong == {("claim_diagnosis", 7, "sequence")}
    of["claim_diagnosis"][0]["code"] = "E11.9"
    assert "first-row-missing" not in {rule for rule, *_ in found(run(of))}


def test_a_cell_that_says_the_same_in_other_words_does_not_disagree():
    of = world()
    of["coverage"][0] |= {
        "subscriber_id": "S1",
        "subscriber_family_name": "DOE",
        "subscriber_given_name": "jan",
        "subscriber_birth_date": "19800506",
        "subscriber_gender": "Female",
        "subscriber_relationship": "ONESELF",
    }
    for at, payee in enumerate(("M1", "S1")):
        of["claim"][at] |= {"payee_type": "subscriber", "payee_id": payee}
    of["claim_line"][5]["units"] = "30.00"
    of["claim"][1]["benefit_payment_status"] = of["claim"][2]["benefit_payment_status"] = "In"
    for at in (1, 2):
        of["claim_line"][at] |= {"benefit_payment_status": "INNETWORK", "allowed_units": "2.0"}
    of["claim_line"][1] = {
        name: text for name, text in of["claim_line"][1].items() if not name.startswith("amount_")
    } | {"units": "2"}
    assert found(run(of)) == set()


def test_numbers_that_only_look_alike_disagree():
    for units in ("3", "300", "30.01", "-30", "0.30"):
        of = world()
        of["claim_line"][5]["units"] = units
        assert ("drug-units-otherwise", "claim_line", 7, "units") in found(run(of)), units


def test_a_line_beside_one_with_an_amount_is_adjudicated():
    of = world()
    bare = {"claim_id": "K1", "line_number": "2", "service_from_date": "2024-03-02"}
    of["claim_line"].append(
        bare | {"revenue_code": "0450", "service_code": "99213", "units": "3", "allowed_units": "2"}
    )
    assert found(run(of)) == set()


def test_other_payers_together_paid_what_the_claim_or_the_line_states():
    of = world()
    of["claim"][2]["amount_priorpayerpaid"] = "30.00"
    of["claim_line"][2]["amount_priorpayerpaid"] = "30.00"
    paid = {"claim_id": "K2", "payer_name": "Other"}
    of["claim_other_payer"] = [
        paid | {"sequence": "1", "amount_priorpayerpaid": "20"},
        paid | {"sequence": "2", "amount_priorpayerpaid": "10.00"},
        paid | {"sequence": "3"},
        paid | {"sequence": "4", "amount_priorpayerpaid": "30", "line_number": "1"},
    ]
    assert found(run(of)) == set()
    of["claim_other_payer"][3]["amount_priorpayerpaid"] = "29.99"
    where = ("total-of-other-payers", "claim_other_payer", 5, "amount_priorpayerpaid")
    assert found(run(of)) == {where}
    del of["claim_line"][2]["amount_priorpayerpaid"]
    assert found(run(of)) == set()
    of["claim_other_payer"][0]["amount_priorpayerpaid"] = "20.01"
    assert {place[2] for place in found(run(of))} == {2, 3}


def test_a_claim_whose_totals_are_the_sums_of_its_lines_is_told():
    of = world()
    for name in [name for name in of["claim"][2] if name.startswith("amount_")]:
        del of["claim"][2][name]
    assert ("totals-summed", "claim", 4, None) in found(run(of))
    paid = {"claim_id": of["claim"][2]["claim_id"], "sequence": "1", "payer_name": "Other"}
    of["claim_other_payer"] = [paid | {"amount_priorpayerpaid": "0.00", "line_number": "1"}]
    assert ("totals-summed", "claim", 4, None) in found(run(of))
    of["claim_other_payer"] = [paid | {"amount_priorpayerpaid": "0.00"}]
    assert "totals-summed" not in {rule for rule, *_ in found(run(of))}
    del of["claim_other_payer"]
    of["claim"][2]["amount_copay"] = "0.00"
    assert "totals-summed" not in {rule for rule, *_ in found(run(of))}


def test_a_service_after_death_is_told():
    of = world()
    of["member"][0]["death_date"] = "2024-03-01"
    assert ("service-after-death", "claim_line", 2, "service_from_date") in found(run(of))


def test_an_open_coverage_is_in_force():
    of = world()
    del of["coverage"][0]["start_date"]
    assert found(run(of)) == set()


def test_a_professional_line_whose_code_is_no_code_takes_its_claim_along():
    of = world()
    of["claim_line"][2]["service_code"] = "73211009"
    told = rejected(run(of))
    assert ("claim_line", 4, "professional-line-without-code") in told
    assert ("claim", 4, "line-rejected") in told


def test_icd_nine_codes_get_the_point_of_their_own_version():
    of = world()
    of["claim_diagnosis"][0] |= {"code": "25000", "icd_version": "9"}
    of["claim_diagnosis"][1] |= {"code": "E8120", "icd_version": "9"}
    of["claim_diagnosis"][2] |= {"code": "E1165"}
    checked = run(of)
    assert accepted(checked, "claim_diagnosis", "code")[:3] == ["250.00", "E812.0", "E11.65"]
    assert {rule for rule, *_ in found(checked)} == {OTHER_DAYS}


def test_canonical_forms_are_no_findings():
    of = world()
    of["claim"][0] |= {
        "statement_from_date": "20240301",
        "amount_copay": ".00",
        "claim_type": "Inpatient",
        "currency": "usd",
        "type_of_bill": "0111",
        "denial_reason": " 45 ; N130;",
        "last_updated": "2024-03-10T08:00:00.5-05:00",
    }
    of["claim"][4]["orthodontics"] = "no"
    of["claim_line"][5] |= {"ndc": "12345-678-90", "ndc_quantity": "030.0", "units": "030.00"}
    of["claim_line"][1] |= {"line_number": "01", "modifier_1": "lt", "units": "1.50"}
    of["claim_note"][0] |= {"line_number": "1.0"}
    of["claim_care_team"][0] |= {"line_numbers": "01; 1"}
    checked = run(of)
    assert found(checked) == set()
    claim = {
        name: accepted(checked, "claim", name)[0]
        for name in ("statement_from_date", "amount_copay", "claim_type")
    }
    assert list(claim.values()) == ["2024-03-01", "0.00", "inpatient"]
    assert accepted(checked, "claim", "orthodontics")[4] == "N"
    assert accepted(checked, "claim", "denial_reason")[0] == "45;N130"
    assert accepted(checked, "claim", "type_of_bill")[0] == "111"
    assert accepted(checked, "claim", "currency")[0] == "USD"
    assert accepted(checked, "claim", "last_updated")[0] == "2024-03-10T08:00:00.5-05:00"
    assert accepted(checked, "claim_line", "ndc")[5] == "12345067890"
    assert accepted(checked, "claim_line", "ndc_quantity")[5] == "30.0"
    assert accepted(checked, "claim_line", "line_number")[1] == "1"
    assert accepted(checked, "claim_line", "modifier_1")[1] == "LT"
    assert accepted(checked, "claim_care_team", "line_numbers")[0] == "1;1"


def test_no_member_is_known_by_a_birth_date_that_only_looks_empty():
    of = world()
    of["member"][0]["birth_date"] = "1970-01-01"
    checked = run(of)
    assert accepted(checked, "member", "birth_date")[0] == "1970-01-01"
    assert checked.counts["member"].published == 2


def test_the_number_of_another_members_claim_is_not_published():
    of = world()
    of["claim"][1] |= {"member_id": "M2", "coverage_id": "C2"}
    of["claim"][0]["adjusted_from_claim_id"] = "K1"  # another's
    of["claim"][2]["adjusted_to_claim_id"] = "K3"  # his own
    of["claim"][4]["adjusted_to_claim_id"] = "K99"  # nobody's
    checked = run(of)
    links = {rule for rule in found(checked) if rule[0] == "claim-links-another-member"}
    assert links == {("claim-links-another-member", "claim", 2, "adjusted_from_claim_id")}
    assert set(accepted(checked, "claim", "adjusted_from_claim_id")) == {None}
    assert accepted(checked, "claim", "adjusted_to_claim_id") == [
        None,
        None,
        "K3",
        None,
        "K99",
        None,
    ]
