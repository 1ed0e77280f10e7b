"""Faults planted on purpose, each in one place that is written down with the rule it should meet.

A fault spoils as little as possible: where a changed cell would break a sum or an equation too,
another cell is chosen. Rows that depend on a rejected one are rejected too; the ledger names the
cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from etl.synth.directory import Row
from etl.synth.members import MemberRows
from etl.synth.row_faults import (
    Case,
    Found,
    Planting,
    all_hold,
    another_again,
    card_of_another,
    cell,
    childless_compound,
    cover_cell,
    coverage_of_another,
    filled,
    holding,
    icd_point,
    insert,
    late_line,
    later,
    missing_area,
    negative,
    no_lines,
    not_in_force,
    of_type,
    older_again,
    one_of_several,
    orphan,
    place_of,
    put,
    ragged,
    repeated,
    stranger_cover,
    stranger_in_coverage,
    stranger_member,
    telecom_twice,
    two_sites,
    unequal,
    unless,
    wrong_total,
)
from etl.synth.seeded_random import Dice, Purpose
from etl.synth.spec import Spec


@dataclass(frozen=True, slots=True)
class Planted:
    """One fault, by where it is.

    Attributes:
        table: canonical table.
        place: number of the row among those written together, from 0.
        column: empty where the row as a whole is wrong.
        rule: id of the rule that should find it.
        ragged: the row gets a cell too many when it is written.
    """

    table: str
    place: int
    column: str
    rule: str
    ragged: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault.

    Attributes:
        rule: id of the rule that should find it, as in `mappings/rules/`.
        plant: how it is planted.
        ragged: the row gets a cell too many.
        blamed: the column that the rule names, where it is not the spoiled one.
        twin: the row before it is reported as well.
    """

    rule: str
    plant: Planting
    ragged: bool = False
    blamed: str | None = None
    twin: bool = False


_LINKS: Final = {"adjusted_from_claim_id", "adjusted_to_claim_id"}
"""Claims of a chain are left whole: links to a rejected one would have no target."""
_PROFESSIONAL: Final = of_type("professional")
_NOT_PHARMACY: Final = unless(of_type("pharmacy"))
_TRANSPORT: Final = {"sequence": "1", "kind": "patientweight", "value": "150", "line_numbers": "1"}
_INGREDIENT: Final = {"line_number": "1", "sequence": "1", "ndc": "00900200299"}
_NO_SITE: Final = {"line_number": "1", "sequence": "1", "missing": "N"}
_NO_LINE: Final = {
    "line_number": "88", "sequence": "1", "group_code": "CO", "reason_code": "45", "amount": "1.00",
}  # fmt: skip

STAY_FAULTS: Final = (
    Fault(
        "newborn-point-of-origin",
        cell("claim", "admission_type", lambda _: "4", holding("point_of_origin", "1")),
        blamed="point_of_origin",
    ),
    Fault("procedure-type-unknown", cell("claim_procedure", "type", lambda _: "usual")),
    Fault("drg-shape", cell("claim", "drg_code", lambda _: "DRG")),
    Fault("date-order", cell("claim", "discharge_date", lambda old: later(old, -60))),
    Fault("lost-zero-discharge", cell("claim", "discharge_status", lambda _: "1")),
    Fault("poa-unknown", cell("claim_diagnosis", "present_on_admission", lambda _: "Q")),
)
"""Faults that need a stay in hospital."""
NARROW_FAULTS: Final = (
    Fault("compound-without-ingredient", childless_compound),
    Fault("transport-unit", cell("claim_transport", "unit", lambda _: "kg")),
    Fault("lost-zero-area", cell("claim_tooth", "oral_cavity_area", lambda _: "9")),
    Fault("missing-area", missing_area),
    Fault("line-date-order", cell("claim_line", "service_to_date", lambda old: later(old, -90))),
    Fault("lost-zero-ndc", cell("claim_line", "ndc", lambda old: old[1:], _NOT_PHARMACY)),
    Fault("ndc-length", cell("claim_line", "ndc", lambda old: f"{old}7", _NOT_PHARMACY)),
    Fault("claim-without-lines", no_lines),
    Fault("eligible-equation", unequal("amount_discount", "amount_eligible")),
    Fault("liability-equation", unequal("amount_memberliability", "amount_memberliability")),
    Fault("remark-code-shape", cell("claim_adjustment", "remark_code", lambda _: "remark")),
    Fault("denied-but-paid", put("claim", "payment_amount", "12.00", unless(filled("paid_date")))),
    Fault("coverage-of-another", coverage_of_another),
    Fault("coverage-not-in-force", not_in_force),
    Fault("tooth-surface-unknown", cell("claim_line", "tooth_surfaces", lambda old: f"{old};Z")),
    Fault(
        "tooth-unknown",
        cell("claim_line", "tooth_number", lambda _: "33", unless(filled("tooth_surfaces"))),
    ),
    Fault("two-body-sites", two_sites),
    Fault(
        "cpt-shape",
        cell("claim_line", "service_code_system", lambda _: "CPT", of_type("oral")),
        blamed="service_code",
    ),
    Fault("tooth-without-site", insert("claim_tooth", "", _NO_SITE, "oral")),
    Fault("timestamp-unreadable", cell("claim_note", "last_updated", lambda _: "yesterday")),
    Fault("type-of-bill-shape", cell("claim", "type_of_bill", lambda old: f"X{old[1:]}")),
    Fault("lost-zero-revenue", cell("claim_line", "revenue_code", lambda old: old[1:])),
    Fault("line-unknown", cell("claim_care_team", "line_numbers", lambda _: "99")),
    Fault(
        "transport-misplaced", insert("claim_transport", "", _TRANSPORT, "inpatient", "pharmacy")
    ),
    Fault(
        "diagnosis-type-unknown", cell("claim_diagnosis", "type", lambda _: "hunch", one_of_several)
    ),
)
"""Faults that few claims have room for, the narrowest first: they are tried before the others."""
COMMON_FAULTS: Final = (
    Fault("ragged-row", ragged, ragged=True),
    Fault("duplicate-identical", repeated),
    Fault("duplicate-older", older_again),
    Fault("duplicate-conflict", another_again, twin=True),
    Fault("orphan-claim", orphan),
    Fault("orphan-line", insert("claim_adjustment", "line_number", _NO_LINE, "pharmacy")),
    Fault("claim-unknown-member", stranger_member),
    Fault("claim-unknown-coverage", stranger_cover),
    Fault("required", cell("claim", "adjudication_date", lambda _: "")),
    Fault("required", cell("claim_care_team", "provider_id", lambda _: "")),
    Fault("date-unreadable", cell("claim", "received_date", lambda old: old.replace("-", "/"))),
    Fault("date-unreadable", put("claim_line", "service_to_date", "2021-02-30")),
    Fault("date-sentinel", cell("claim", "paid_date", lambda _: "1970-01-01")),
    Fault("date-sentinel", cell("claim", "received_date", lambda _: "1969-12-31")),
    Fault("date-in-future", cell("claim", "paid_date", lambda old: f"21{old[2:]}")),
    Fault("amount-unreadable", cell("claim", "payment_amount", lambda _: "1.234,50")),
    Fault("amount-unreadable", cell("claim_adjustment", "amount", lambda old: f"${old}")),
    Fault("amount-beyond-cents", cell("claim", "payment_amount", lambda old: f"{old}5")),
    Fault("amount-negative", negative),
    Fault("payment-negative", cell("claim", "payment_amount", lambda old: f"-9{old}")),
    Fault("lost-zero-place", cell("claim_line", "place_of_service", lambda _: "2")),
    Fault(
        "service-code-shape",
        put(
            "claim_line",
            "service_code",
            "9921",
            all_hold(_PROFESSIONAL, unless(filled("service_code_system"))),
        ),
    ),
    Fault("modifier-shape", cell("claim_line", "modifier_1", lambda old: f"{old}!")),
    Fault("place-unknown", cell("claim_line", "place_of_service", lambda _: "97")),
    Fault("claim-type-unknown", cell("claim", "claim_type", lambda _: "veterinary")),
    Fault("role-unknown", cell("claim_care_team", "role", lambda _: "janitor")),
    Fault(
        "role-not-pharmacy",
        cell("claim_care_team", "role", lambda _: "operating", of_type("pharmacy")),
    ),
    Fault("status-unknown", put("claim", "status", "lost")),
    Fault(
        "payment-status-unknown", cell("claim", "payment_status", lambda _: "cheque in the post")
    ),
    Fault("network-status-unknown", cell("claim", "billing_network_status", lambda _: "nearby")),
    Fault("total-of-lines", wrong_total),
    Fault("line-after-claim", late_line),
    Fault("icd-point", icd_point),
    Fault(
        "icd-shape",
        cell("claim_diagnosis", "code", lambda _: "ABC", unless(holding("icd_version", "9"))),
    ),
    Fault("icd-impossible", cell("claim_diagnosis", "code", lambda _: "??", one_of_several)),
    Fault("group-unknown", cell("claim_adjustment", "group_code", lambda _: "ZZ")),
    Fault("taxonomy-shape", cell("claim_care_team", "taxonomy_code", lambda old: old[:-1])),
    Fault("integer-unreadable", cell("claim", "refills_authorized", lambda _: "many")),
    Fault("pharmacy-without-supply", cell("claim", "days_supply", lambda _: ""), blamed=""),
    Fault("decimal-unreadable", cell("claim_line", "ndc_quantity", lambda old: f"{old} tablets")),
    Fault("claim-unknown", put("claim", "adjusted_from_claim_id", "P00000000000000000")),
    Fault("claim-provider-unlisted", cell("claim", "service_facility_id", lambda old: f"{old}X")),
    Fault("ingredient-misplaced", insert("claim_ingredient", "", _INGREDIENT, "pharmacy")),
)
"""Faults that most claims have room for."""


_INSURED_BY_OTHER: Final = filled("subscriber_family_name")

MEMBER_FAULTS: Final = (
    Fault("gender-unknown", put("member", "gender", "X9")),
    Fault("lost-zero-zip", cell("member", "postal_code", lambda old: old[1:5])),
    Fault("flag-unreadable", put("member", "deceased", "maybe")),
    Fault("telecom-twice", telecom_twice),
    Fault("race-unknown", put("member", "race", "9999-9")),
    Fault("email-shape", cell("member", "email", lambda old: old.replace("@", " at "))),
    Fault("language-shape", cell("member", "language", lambda _: "the usual one")),
)
"""Faults of members."""
COVERAGE_FAULTS: Final = (
    Fault("coverage-unknown-member", stranger_in_coverage),
    Fault("date-sentinel", cover_cell("start_date", "1969-12-31")),
    Fault("card-of-another", card_of_another),
    Fault("date-sentinel", cover_cell("end_date", "9999-12-31")),
    Fault("relationship-unknown", cover_cell("relationship", "acquaintance", _INSURED_BY_OTHER)),
    Fault("coverage-status-unknown", cover_cell("status", "lapsed-ish")),
    Fault("coverage-type-unknown", cover_cell("coverage_type", "Gold Plus")),
)
"""Faults of coverages."""
FAULTS: Final = (*STAY_FAULTS, *NARROW_FAULTS, *COMMON_FAULTS, *MEMBER_FAULTS, *COVERAGE_FAULTS)


def plant(spec: Spec, index: int, tables: MemberRows) -> list[Planted]:
    """Plant faults among a member's rows, in place.

    A claim gets at most one, the member's own rows one, the coverages one. Kinds take turns: the
    first that fits is planted and goes to the end of the queue. The member decides where the
    queues begin.
    """
    dice = Dice(spec.seed, Purpose.FAULT, index)
    places: list[tuple[Fault, Found]] = []
    common = [fault for fault in COMMON_FAULTS if not (fault.ragged and spec.format == "parquet")]
    queue = [
        *_turned(STAY_FAULTS, index),
        *NARROW_FAULTS,
        *_turned(common, dice.below(len(common))),
    ]
    for claim in list(tables["claim"]):
        chosen = dice.random() < spec.fault_rate
        if chosen and not _LINKS & claim.keys():
            places += _first_fitting(queue, Case(spec, index, tables, claim, dice))
    for kinds in (MEMBER_FAULTS, COVERAGE_FAULTS):
        if tables["member"] and dice.random() < spec.fault_rate:
            case = Case(spec, index, tables, tables["member"][0], dice)
            places += _first_fitting(_turned(kinds, index), case)
    return [planted for fault, spoiled in places for planted in _planted(fault, spoiled, tables)]


def _turned(kinds: Sequence[Fault], by: int) -> list[Fault]:
    start = by % len(kinds)
    return [*kinds[start:], *kinds[:start]]


def _first_fitting(queue: list[Fault], case: Case) -> list[tuple[Fault, Found]]:
    for place, fault in enumerate(queue):
        spoiled = fault.plant(case)
        if spoiled:
            queue.append(queue.pop(place))
            return [(fault, spoiled)]
    return []


def _planted(fault: Fault, found: Found, tables: MemberRows) -> list[Planted]:
    table, row, column = found
    blamed = column if fault.blamed is None else fault.blamed
    place = place_of(tables[table], row)
    places = [place - 1, place] if fault.twin else [place]
    return [Planted(table, where, blamed, fault.rule, fault.ragged) for where in places]


def plant_directory(spec: Spec, number: int, tables: MemberRows) -> list[Planted]:
    """Plant one fault of each kind that a directory can have, whatever the rate."""
    dice = Dice(spec.seed, Purpose.DIRECTORY_FAULT, number)
    people, places = tables["practitioner"], tables["organization"]
    planted: list[Planted] = []

    def spoil(table: str, rows: list[Row], column: str, text: str, rule: str) -> None:
        """Spoil a row that is still whole; an empty `text` drops the last character of the cell."""
        taken = {fault.place for fault in planted if fault.table == table}
        whole = [
            place
            for place, row in enumerate(rows)
            if column in row and row.get("kind") != "payer" and place not in taken
        ]
        place = dice.pick(whole)
        rows[place] = rows[place] | {column: text or rows[place][column][:-1]}
        planted.append(Planted(table, place, column, rule))

    npi = next(row["npi"] for row in people)
    wrong = npi[:-1] + str((int(npi[-1]) + 1) % 10)
    spoil("practitioner", people, "npi", wrong, "npi")
    spoil("organization", places, "npi", "", "npi")
    spoil("organization", places, "postal_code", "2138", "lost-zero-zip")
    return planted
