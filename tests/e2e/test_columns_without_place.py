"""A cell of a claim that changes nothing of what is published is named by a finding."""

from collections import defaultdict

import pytest

from etl.model.canonical_tables import TABLES, FieldType
from tests.e2e.commands import (
    NO_SUITES,
    SAMPLES,
    columns_of,
    converted,
    copied,
    cpcds,
    done,
    rows_of,
    write_rows,
)
from tests.given.tables import read_tables

pytestmark = pytest.mark.slow

Row = dict[str, str]

OF_CLAIMS = ("claim", "claim_line", "claim_procedure", "claim_tooth", "claim_other_payer")
"""Tables of claims of whose columns profiles have different ones."""
OF_TYPE = {
    FieldType.DATE: "2025-03-14",
    FieldType.MONEY: "7123.45",
    FieldType.INTEGER: "73",
    FieldType.DECIMAL: "3.375",
    FieldType.FLAG: "Y",
}
_CELLS = read_tables(__file__)
WORDS, ROWS = _CELLS["words"], _CELLS["first_rows"]
"""Rows of tables that the claim has none of."""
SAID_WITH_OTHERS = {tuple(column) for column in _CELLS["said_with_others"]}
"""Columns that say something beside others only: a digit of a type of bill, the system of a code,
the line that a payment is for."""


def fillable(table):
    """Yield columns that hold a fact by themselves, but for amounts of claims and lines."""
    for column in TABLES[table].columns:
        is_key = column.required or column.name in {"record_action", "last_updated", "sequence"}
        is_amount = table != "claim_other_payer" and column.type is FieldType.MONEY
        stated = (column.name in WORDS or column.type in OF_TYPE) and not is_amount
        if stated and not is_key and (table, column.name) not in SAID_WITH_OTHERS:
            yield column


def _lines(rows):
    return len(rows["claim_line"])


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """An extract of copies of one claim a type, a cell filled in each.

    Returns:
        Its folder, and of each copy: its id, the table and the column.
    """
    folder = tmp_path_factory.mktemp("columns") / "extract"
    copied(SAMPLES, folder)
    tables = {path.stem: rows_of(path) for path in folder.glob("*.csv")}
    headers = {path.stem: columns_of(path) for path in folder.glob("*.csv")}
    children: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for name in (name for name in tables if name.startswith("claim")):
        for row in tables[name]:
            children[row["claim_id"]][name].append(row)
        tables[name] = []
    plain: dict[str, dict[str, list[Row]]] = {}
    for rows in children.values():
        (claim,) = rows["claim"]
        if not claim["adjusted_from_claim_id"] and not claim["adjusted_to_claim_id"]:
            shortest = min(plain.get(claim["claim_type"], rows), rows, key=_lines)
            plain[claim["claim_type"]] = shortest
    plants: list[tuple[str, str, str]] = []
    for kind, rows in sorted(plain.items()):
        for table in OF_CLAIMS:
            for column in (None, *fillable(table)):
                made = {name: [dict(row) for row in mine] for name, mine in rows.items()}
                if table in ROWS and not made.get(table):
                    blank = dict.fromkeys(headers[table], "") | {"sequence": "1"}
                    made[table] = [blank | ROWS[table]]
                cells = made[table][0]
                if column is not None and cells[column.name]:
                    continue
                if column is not None:
                    cells[column.name] = WORDS.get(column.name) or OF_TYPE[column.type]
                name = column.name if column is not None else ""
                claim_id = f"{kind}-{table}-{name}"
                plants.append((claim_id, table, name))
                for below, mine in made.items():
                    tables[below] += [row | {"claim_id": claim_id} for row in mine]
    for name, written in tables.items():
        write_rows(folder / f"{name}.csv", headers[name], written)
    return folder, plants


def said(eob):
    """Return what an EOB says, without the ids of its claim."""
    return {**eob, "id": "", "identifier": []}


def test_a_cell_that_changes_nothing_is_named(planted, tmp_path):
    extract, plants = planted
    done(cpcds("convert", extract, "--out", tmp_path / "out", "--workers", "1"))
    done(cpcds("validate", extract, "--report", tmp_path / "report", "--workers", "1", **NO_SUITES))
    found: dict[tuple[str, int], set[tuple[str, str]]] = defaultdict(set)
    for row in rows_of(tmp_path / "report/report/findings.csv.gz"):
        if row["row"]:
            found[row["table"], int(row["row"])].add((row["column"], row["rule"]))
    eobs = {
        one["identifier"][0]["value"]: said(one)
        for one in converted(tmp_path / "out")
        if one["resourceType"] == "ExplanationOfBenefit"
    }
    first: dict[tuple[str, str], int] = {}
    for table in OF_CLAIMS:
        for number, row in enumerate(rows_of(extract / f"{table}.csv"), 2):
            first.setdefault((table, row["claim_id"]), number)
    silent = []
    for claim_id, table, column in plants:
        if not column or claim_id not in eobs:
            continue
        without = f"{claim_id.split('-')[0]}-{table}-"
        mine = found[table, first[table, claim_id]]
        is_named = mine - found[table, first[table, without]] or any(not one for one, _ in mine)
        if eobs[claim_id] == eobs[without] and not is_named:
            silent.append(claim_id)
    assert len(plants) > 200
    assert silent == []
