"""Rows as no payer should send them: rows of everything, changed at random where a row can be."""

import csv
import random
from collections.abc import Callable
from pathlib import Path

from etl.bootstrap.mappings import read_crosswalks, shipped
from etl.model.canonical_tables import CLAIM_TYPES, FieldType
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from tests.golden.mapping.everything import AllRows, everything

_WORDS = {
    "status": "claim_status",
    "outcome": "outcome",
    "payment_status": "payment_status",
    "payee_type": "payee_type",
    "billing_network_status": "network_status",
    "rendering_network_status": "network_status",
    "benefit_payment_status": "benefit_payment_status",
    "type": "diagnosis_type_inpatient",
    "role": "care_team_role_institutional",
    "kind": "transport_kind",
    "present_on_admission": "present_on_admission",
    "relationship": "relationship",
    "coverage_type": "coverage_type",
    "gender": "gender",
    "birth_sex": "birth_sex",
    "race": "race",
    "ethnicity": "ethnicity",
    "system": "telecom_system",
    "use": "address_use",
    "daw_code": "daw_code",
    "rx_origin_code": "rx_origin_code",
    "compound_code": "compound_code",
    "brand_generic_code": "brand_generic_code",
    "place_of_service": "place_of_service",
    "tooth_number": "tooth_number",
    "tooth_surfaces": "tooth_surface",
    "ndc_unit": "drug_unit",
    "unit": "drug_unit",
    "drg_system": "drg_system",
    "icd_version": "icd_diagnosis_system",
    "service_code_system": "service_code_system",
    "subscriber_relationship": "subscriber_relationship",
}
"""Column -> crosswalk with words that it may hold, in one table or another."""

_MORE_WORDS = {
    "admission_type": ("1", "2", "3", "4", "5", "9", "04"),
    "point_of_origin": ("1", "4", "5", "6", "A", "F", "Z"),
    "claim_type": CLAIM_TYPES,
    "service_code": ("99213", "D1110", "J1100", "G0008", "AB123", "992133", "1P", "V2100"),
    "revenue_code": ("0450", "450", "0001", "ABCD"),
    "code": ("E11.9", "J20.9", "E119", "0DTJ4ZZ", "250.00", "masked", "0250", "99213"),
    "currency": ("USD", "usd", "EUR", "XXX", "ABC", "US"),
    "line_numbers": ("1", "2", "1;2", "3", "2;2", "0", ";", "1;;2"),
    "line_number": ("1", "2", "3", "0", "-1", "01", "2147483647", "2147483648"),
    "sequence": ("1", "2", "3", "0", "-1", "1.0", "2147483647", "999999999999"),
    "race": ("2106-3;2054-5;2028-9;1002-5;2076-8;2131-1;2106-3;2106-3", "unknown;2106-3"),
    "role": (
        "attending",
        "rendering",
        "performing",
        "supervisor",
        "prescribing",
        "purchasedservice",
    ),
    "denial_reason": ("45", "N130", "45;N130;M15", "CO-45", "MA 01", "  ", ";;"),
    "modifier_1": ("25", "GA", "1P", "P3", "25;GA", "A  B"),
    "taxonomy_code": ("207Q00000X", "207Q  00000X", "x"),
    "tooth_surfaces": ("M;O;D", "Z", "M;;O", "M;M"),
    "npi": ("1245319599", "1245319590", "123", "12453195991"),
    "clia": ("05D0987654", "05d0987654", "5D1"),
    "naic": ("60054", "6005", "ABCDE"),
    "drg_code": ("470", "  470", "4 7  0"),
    "last_updated": (
        "2024-06-01",
        "2024-06-01T08:00:00+14:30",
        "2024-06-01T08:00:00-23:59",
        "2024-06-01T23:59:60Z",
        "2024-06-01T08:00:00.123456789012Z",
        "0001-01-01",
    ),
}

_ODD = {
    FieldType.MONEY: ("-1.00", "0.00", "0", "99999999999999999.99", "1e3", "-0.00", "5.", ".5"),
    FieldType.DECIMAL: (
        "0.000000000000000001",
        "123456789012345678",
        "-3",
        "-0",
        "1.50",
        "00.5",
        "1e5",
        "1234567890.123456789012",
    ),
    FieldType.INTEGER: ("0", "-1", "2147483647", "2147483648", "007", "1.0", "x"),
    FieldType.DATE: (
        "0001-01-01",
        "9999-12-31",
        "2024-02-30",
        "20240229",
        "1899-12-31",
        "2500-01-01",
        "0000-01-01",
        "2024-06-02",
        "2024-05-01",
    ),
    FieldType.FLAG: ("Y", "N", "1", "true", "maybe"),
}

_TEXTS = (
    "x",
    "a  b",
    " lead",
    "É ﷺ 😀",
    "\u00a0",
    "\u2003wide\u2003",
    "\u0085",
    "line\ttab",
    'quote " and \\ back',
    "\u200b",
    "A" * 300,
    "0",
    "-",
    "null",
    "#1",
    "Patient/1",
    "<b>&amp;</b>",
    "unknown",
    "other",
    "~",
    "\ufeffbom",
)
Change = Callable[[AllRows, random.Random], None]


def hostile(seed: int, copies: int, *, changes: int = 3) -> AllRows:
    """Return rows of everything, several times over, each claim changed in some places.

    Args:
        seed: of the chance.
        copies: how many members, each with a claim of every type.
        changes: how many changes a member gets, at least; most get few, so that many a row with
            one odd cell is still accepted.
    """
    chance = random.Random(seed)
    rows: AllRows = {name: [] for name in TABLES}
    for number in range(copies):
        own = everything(f"-{number}")
        for _ in range(chance.choice((min(1, changes), changes, changes, changes * 4))):
            chance.choice(_CHANGES)(own, chance)
        for table, found in own.items():
            rows[table] += found
    return rows


def _row(own: AllRows, chance: random.Random) -> tuple[str, dict[str, str]]:
    table = chance.choice([name for name, rows in own.items() if rows])
    if chance.random() < 0.4:
        table = chance.choice(["claim", "claim_line"])
    return table, chance.choice(own[table] or [{}])


def _empty(own: AllRows, chance: random.Random) -> None:
    _, row = _row(own, chance)
    for column in chance.sample(sorted(row), min(len(row), chance.choice((1, 1, 2, 8)))):
        row.pop(column)


def _thin(own: AllRows, chance: random.Random) -> None:
    """Leave a share of the cells of a whole claim."""
    claim = chance.choice(own["claim"] or [{}]).get("claim_id")
    share = chance.random()
    for rows in own.values():
        for row in rows:
            if row.get("claim_id") == claim:
                for column in [name for name in row if not _is_key(name)]:
                    if chance.random() < share:
                        row.pop(column)


def _is_key(column: str) -> bool:
    return column in {"claim_id", "member_id", "coverage_id", "sequence", "line_number", "payer_id"}


def _other(own: AllRows, chance: random.Random) -> None:
    table, row = _row(own, chance)
    column = chance.choice(TABLES[table].columns)
    if _is_key(column.name) and chance.random() < 0.7:
        return
    row[column.name] = _value(column.name, column.type, chance)


def _value(column: str, kind: FieldType, chance: random.Random) -> str:
    pick = chance.random()
    if pick < 0.55 and (column in _WORDS or column in _MORE_WORDS):
        words = list(_MORE_WORDS.get(column, ()))
        if column in _WORDS:
            words += [*_CROSSWALKS[_WORDS[column]].rows]
        return chance.choice(words)
    if pick < 0.85 and kind in _ODD:
        return chance.choice(_ODD[kind])
    return chance.choice(_TEXTS)


def _remove(own: AllRows, chance: random.Random) -> None:
    table, row = _row(own, chance)
    if row in own[table]:
        own[table].remove(row)


def _remove_all(own: AllRows, chance: random.Random) -> None:
    claim = chance.choice(own["claim"] or [{}]).get("claim_id")
    table = chance.choice([name for name in TABLES if name.startswith("claim_")])
    own[table] = [row for row in own[table] if row.get("claim_id") != claim]


def _again(own: AllRows, chance: random.Random) -> None:
    table, row = _row(own, chance)
    copy = dict(row)
    for column in ("sequence", "line_number"):
        if column in copy and chance.random() < 0.7:
            copy[column] = chance.choice(("7", "8", "12", "0", "100", "2147483600"))
    own[table].append(copy)


def _type(own: AllRows, chance: random.Random) -> None:
    if own["claim"]:
        chance.choice(own["claim"])["claim_type"] = chance.choice(CLAIM_TYPES)


def _swap(own: AllRows, chance: random.Random) -> None:
    _, one = _row(own, chance)
    if len(one) > 1:
        left, right = chance.sample(sorted(one), 2)
        one[left], one[right] = one[right], one[left]


def _dates(own: AllRows, chance: random.Random) -> None:
    table, row = _row(own, chance)
    for column in TABLES[table].columns:
        if column.type is FieldType.DATE and chance.random() < 0.5:
            row[column.name] = chance.choice(_ODD[FieldType.DATE])


_CHANGES = (
    _empty,
    _thin,
    _other,
    _other,
    _other,
    _other,
    _remove,
    _remove_all,
    _again,
    _type,
    _swap,
    _dates,
)
_CROSSWALKS = read_crosswalks([shipped()])


def write(folder: Path, rows: AllRows) -> None:
    """Write rows as an extract in the canonical layout."""
    folder.mkdir(parents=True)
    for table, found in rows.items():
        names = list(TABLES[table].names)
        with (folder / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(found)
