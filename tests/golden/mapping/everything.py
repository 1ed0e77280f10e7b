"""Rows that fill every column of every canonical table, for all claim types.

They are what random thinning starts from: whatever is left of them has to conform.
"""

from etl.model.canonical_tables import AMOUNT_COLUMNS, CLAIM_TYPES
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from tests.given.tables import read_tables

_CELLS = read_tables(__file__)
_STAMP = _CELLS["parts"]["stamp"]


def everything(suffix=""):
    """Return rows in which every column of every table is filled; ids end in `suffix`."""
    rows = {name: [] for name in TABLES}
    for table, people in _CELLS["people"].items():
        rows[table] += [_filled_in(cells, suffix=suffix) for cells in people]
    for kind in CLAIM_TYPES:
        for table, found in _rows_of_a_claim(kind, suffix).items():
            rows[table] += found
    return rows


def _filled_in(cells, **words):
    """Return a row of the file, with the parts that it names."""
    for part in cells.get("also", ()):
        cells = cells | _CELLS["parts"][part]
    return {name: cell.format(**words) for name, cell in cells.items() if name != "also"}


def _rows_of_a_claim(kind, suffix):
    words = {"kind": kind, "claim": f"{kind}{suffix}", "suffix": suffix}
    own = _CELLS["by_type"].get(kind, {})
    claim = _filled_in(_CELLS["claim"] | own.get("claim", {}), **words)
    rows = {"claim": [claim | _amounts(100) | _STAMP], "claim_line": []}
    for table, children in _children("children", kind):
        rows[table] = _numbered(children, {"claim_id": words["claim"]}, suffix)
    for number in ("1", "2"):
        cells = _CELLS["claim_line"] | own.get("claim_line", {})
        line = _filled_in(cells, line=number, **words)
        rows["claim_line"].append(line | _amounts(50) | _STAMP)
        key = {"claim_id": words["claim"], "line_number": number}
        for table, children in _children("children_of_a_line", kind):
            rows.setdefault(table, []).extend(_numbered(children, key, suffix))
    return rows


def _children(of, kind):
    """Return the children of claims of every type, and of this one's."""
    return (_CELLS[of]["every"] | _CELLS[of].get(kind, {})).items()


def _numbered(children, key, suffix):
    return [
        key | {"sequence": str(at)} | _filled_in(cells, suffix=suffix) | _STAMP
        for at, cells in enumerate(children, 1)
    ]


def _amounts(first):
    return {name: f"{first + at}.{at:02d}" for at, name in enumerate(AMOUNT_COLUMNS)}


def thinned(rows, chance):
    """Return accepted rows that are left when cells and child rows are dropped at random.

    What quality rejects a claim without (a diagnosis, a service code, …) is kept, and a stub of the
    directory loses all but its key. Now and then an end comes before its start.
    """
    share = chance.choice((0.0, 0.2, 0.5, 0.9, 1.0))
    left = {}
    for name, table in TABLES.items():
        needed = {*table.key, *table.required}
        children = name.startswith("claim_") and name not in {"claim_line", "claim_diagnosis"}
        left[name] = [
            {
                column: cell
                for column, cell in row.items()
                if column in needed or _stays(chance, share)
            }
            for row in rows[name]
            if not (children and chance.random() < share / 2)
        ]
    for name, key in (("organization", "organization_id"), ("practitioner", "practitioner_id")):
        left[name] = [{key: row[key]} if chance.random() < 0.2 else row for row in left[name]]
    _keep_what_claims_need(left, rows, chance)
    return left


def _stays(chance, share):
    return chance.random() >= share


def _keep_what_claims_need(left, rows, chance):
    kinds = {row["claim_id"]: row["claim_type"] for row in rows["claim"]}
    needed = {"inpatient": "revenue_code", "professional": "service_code", "pharmacy": "ndc"}
    bare = {claim for claim in kinds if chance.random() < 0.4}
    for row, whole in zip(left["claim_line"], rows["claim_line"], strict=True):
        column = needed.get(kinds[row["claim_id"]])
        if column is not None:
            row[column] = whole[column]
        if row["claim_id"] in bare:
            _drop_amounts(row)
        if chance.random() < 0.2:
            row["service_to_date"] = "2023-12-01"
    for row in left["claim"]:
        if row["claim_type"] == "oral":
            row["billing_network_status"] = "outofnetwork"
        if chance.random() < 0.4:
            _drop_amounts(row)
        if chance.random() < 0.2:
            row |= {"statement_thru_date": "2023-12-01", "discharge_date": "2023-12-01"}
        if chance.random() < 0.5:
            row["payee_type"] = chance.choice(("subscriber", "beneficiary", "other", "nobody"))


def _drop_amounts(row):
    for name in AMOUNT_COLUMNS:
        row.pop(name, None)


def without_line_amounts(rows):
    """Return the rows with amounts on claims only."""
    lines = [
        {column: cell for column, cell in row.items() if column not in AMOUNT_COLUMNS}
        for row in rows["claim_line"]
    ]
    return {**rows, "claim_line": lines}


def unfilled(rows):
    """Return the columns that no row fills."""
    return [
        f"{name}.{column}"
        for name, table in TABLES.items()
        for column in table.names
        if not any(column in row for row in rows[name])
    ]
