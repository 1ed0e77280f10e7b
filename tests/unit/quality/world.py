"""A small world without a fault, to be broken one cell at a time.

Two members, a coverage each, a claim of every type; made up here, of nobody.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.model.crosswalks import Crosswalk, read_crosswalk
from etl.model.severity import Severity
from etl.quality.check import Checked, check_rows, check_totals
from etl.quality.checks.cascade import decide_rows
from etl.quality.checks.frames import DirectoryIds, KnownKeys, RuleContext
from etl.quality.rules.book import Policy, RuleBook, load_rules
from etl.quality.totals.counts import reconcile
from etl.rows import no_findings, table_schema

MAPPINGS = Path(__file__).parents[3] / "mappings"
Row = dict[str, str]
World = dict[str, list[Row]]


def rows(**cells: str) -> Row:
    return {name: value for name, value in cells.items() if value}


def world() -> World:
    """Return a world that has not one finding."""
    claim = {
        "statement_from_date": "2024-03-01",
        "statement_thru_date": "2024-03-05",
        "received_date": "2024-03-06",
        "adjudication_date": "2024-03-10",
        "paid_date": "2024-03-12",
        "member_id": "M1",
        "coverage_id": "C1",
        "payer_id": "P1",
        "billing_provider_id": "1234567893",
        "billing_network_status": "innetwork",
        "rendering_network_status": "innetwork",
        "benefit_payment_status": "innetwork",
        "amount_submitted": "100.00",
        "amount_noncovered": "10.00",
        "amount_discount": "20.00",
        "amount_eligible": "70.00",
        "amount_deductible": "5.00",
        "amount_memberliability": "15.00",
    }
    types = ("inpatient", "outpatient", "professional", "vision", "oral", "pharmacy")
    claims = [claim | {"claim_id": f"K{n}", "claim_type": name} for n, name in enumerate(types)]
    claims[0] |= {"admission_date": "2024-03-01", "discharge_date": "2024-03-05"}
    claims[5] |= {"days_supply": "30", "daw_code": "0", "refill_number": "1", "compound_code": "2"}
    line = {"line_number": "1", "service_from_date": "2024-03-02"}
    amounts = {name: text for name, text in claim.items() if name.startswith("amount_")}
    lines = [line | amounts | {"claim_id": each["claim_id"]} for each in claims]
    lines[0] |= {"revenue_code": "0450"}
    lines[1] |= {"revenue_code": "0450", "service_code": "99213"}
    lines[2] |= {"service_code": "99213", "service_code_system": "CPT", "place_of_service": "11"}
    lines[3] |= {"service_code": "V2020", "place_of_service": "11"}
    lines[4] |= {"service_code": "D0120", "tooth_number": "3", "place_of_service": "11"}
    lines[5] |= {"ndc": "12345678901", "ndc_quantity": "30", "ndc_unit": "EA"}
    member = {
        "family_name": "Doe",
        "given_name": "Jan",
        "birth_date": "1980-05-06",
        "gender": "F",
        "state": "OH",
        "postal_code": "44114",
        "phone": "216-555-0100",
    }
    cover = {"relationship": "self", "start_date": "2020-01-01", "payer_id": "P1"}
    return {
        "member": [member | {"member_id": "M1"}, member | {"member_id": "M2", "gender": "M"}],
        "member_address": [rows(member_id="M1", sequence="1", use="home", city="Akron")],
        "member_telecom": [
            rows(member_id="M1", sequence="1", system="phone", value="216-555-0199")
        ],
        "coverage": [
            cover | {"coverage_id": "C1", "member_id": "M1"},
            cover | {"coverage_id": "C2", "member_id": "M2"},
        ],
        "claim": claims,
        "claim_line": lines,
        "claim_diagnosis": [
            rows(claim_id=f"K{n}", sequence="1", code="E11.65", type="principal") for n in range(4)
        ],
        "claim_procedure": [rows(claim_id="K0", sequence="1", code="0DTJ4ZZ", type="principal")],
        "claim_care_team": [
            rows(claim_id="K2", sequence="1", role="rendering", provider_id="1234567893")
        ],
        "claim_other_payer": [rows(claim_id="K2", sequence="1", payer_name="Other")],
        "claim_adjustment": [
            rows(claim_id="K2", line_number="1", sequence="1", group_code="CO", reason_code="45")
        ],
        "claim_tooth": [rows(claim_id="K4", line_number="1", sequence="1", tooth_number="4")],
        "claim_ingredient": [
            rows(claim_id="K5", line_number="1", sequence="1", ndc="12345678901", quantity="1")
        ],
        "claim_transport": [
            rows(claim_id="K2", sequence="1", kind="patientweight", value="150", line_numbers="1")
        ],
        "claim_note": [rows(claim_id="K2", sequence="1", text="Thank you")],
    }


def tables(of: Mapping[str, Iterable[Row]]) -> dict[str, pa.Table]:
    """Return canonical tables: file 0 is the first table, rows count from 2."""
    made = {}
    for number, name in enumerate(TABLES):
        found = list(of.get(name, ()))
        columns = [pa.array([row.get(c) for row in found], pa.string()) for c in TABLES[name].names]
        for row in found:
            assert set(row) <= set(TABLES[name].names), f"no such column: {set(row)}"
        columns.append(pa.array([number] * len(found), pa.int32()))
        columns.append(pa.array(range(2, len(found) + 2), pa.int64()))
        made[name] = pa.table(columns, schema=table_schema(name))
    return made


@cache
def crosswalks() -> Mapping[str, Crosswalk]:
    return {
        path.stem: read_crosswalk(path.read_text("utf-8"), path.stem, file=path.name)
        for path in sorted((MAPPINGS / "crosswalks").glob("*.csv"))
    }


@cache
def rule_texts() -> Mapping[str, str]:
    return {path.name: path.read_text("utf-8") for path in (MAPPINGS / "rules").glob("*.yaml")}


@cache
def standard_book() -> RuleBook:
    return load_rules(rule_texts(), Policy(), crosswalks())


@dataclass(frozen=True)
class KeysInMemory:
    """`KnownKeys` over plain sets."""

    claims: frozenset[str] = frozenset()
    members: frozenset[str] = frozenset()
    coverages: frozenset[str] = frozenset()
    shared_claims: frozenset[str] = frozenset()
    shared_coverages: frozenset[str] = frozenset()

    def exists(self, table: str, ids: Any) -> Any:
        return self._among(ids, getattr(self, f"{table}s"))

    def shared(self, table: str, ids: Any) -> Any:
        return self._among(ids, getattr(self, f"shared_{table}s"))

    def _among(self, ids: Any, known: frozenset[str]) -> Any:
        return pa.array([each in known for each in ids.to_pylist()], pa.bool_())


def book(**severities: str) -> RuleBook:
    """Return the product's rules, some with other severities (`_` for `-` in their ids)."""
    if not severities:
        return standard_book()
    told = {name.replace("_", "-"): Severity(word) for name, word in severities.items()}
    return load_rules(rule_texts(), Policy(severities=told), crosswalks())


LISTED = DirectoryIds(pa.array(["P1", "1234567893"]), pa.array(["1234567893", "D1"]))


def run(
    of: Mapping[str, Iterable[Row]],
    *,
    rules: RuleBook | None = None,
    known: KnownKeys | None = None,
    findings: pa.Table | None = None,
    as_of: int | None = None,
    unread: Mapping[str, pa.Table] | None = None,
) -> Checked:
    """Check a world; its counts must add up, whatever is wrong with it."""
    context = RuleContext(rules or standard_book(), known or KeysInMemory(), LISTED, as_of)
    noted = no_findings() if findings is None else findings
    decided = decide_rows(check_rows(tables(of), noted, context, unread))
    checked = check_totals(decided)
    reconcile(checked.counts, [checked.rejected.num_rows])
    assert all(totals.adds_up for totals in checked.money.values())
    return checked


def found(checked: Checked) -> set[tuple[str, str, int, str | None]]:
    """Return rule, table, row and column of every finding."""
    names = ("rule", "table", "row", "column")
    return set(zip(*(checked.findings.column(name).to_pylist() for name in names), strict=True))


def rejected(checked: Checked) -> set[tuple[str, int, str]]:
    """Return table, row and first rule of every rejected row."""
    names = ("table", "row", "rule")
    return set(zip(*(checked.rejected.column(name).to_pylist() for name in names), strict=True))


def accepted(checked: Checked, table: str, column: str) -> list[str | None]:
    return checked.tables[table].column(column).to_pylist()


def broken(change: Callable[[World], object]) -> World:
    """Return the world after one change."""
    of = world()
    change(of)
    return of
