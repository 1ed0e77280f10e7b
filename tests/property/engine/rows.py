"""Random accepted rows for the engine's tests: small, and odd where rows can be odd."""

from random import Random

import pyarrow as pa

from etl.claims.masking import Masker
from etl.claims.prepare import prepare_for_mapping
from etl.engine.partition_columns import Partition
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.model.canonical_tables import FieldType
from etl.model.sensitive_codes import CodeSystem, SensitiveCodes
from etl.rows import table_schema
from tests.given.tables import read_tables

TEXTS = ('"', "\\", "a\nb", "\t\x01", "é\u2028", "Nguyễn", "x" * 40, "</s>", "plain", "A", "b7")


def money(cents):
    """Return cents as canonical money."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02d}"


_CELLS = read_tables(__file__)
_WORDS, _ID_COUNTS = _CELLS["words"], _CELLS["id_counts"]
_CODES = ("A", "b7", "M12", "innetwork", "outofnetwork", 'q"', "\u00e9\x07")


def _cell(chance, table, column):
    if not column.required and chance.random() < 0.4:
        return None
    if column.name == "line_numbers":
        return ";".join(chance.sample(["1", "2", "3"], chance.randint(1, 3)))
    if column.name == "line_number":
        return chance.choice(["1", "2", "3"])
    if column.name in _ID_COUNTS:
        number = chance.randint(1, _ID_COUNTS[column.name])
        return f"{column.name.removesuffix('_id')[-5:]}{number}"
    if column.name in _WORDS.get(table, {}):
        return chance.choice(_WORDS[table][column.name])
    match column.type:
        case FieldType.TEXT:
            return chance.choice(TEXTS)
        case FieldType.CODE:
            return chance.choice(_CODES)
        case FieldType.DATE:
            return f"20{chance.randint(10, 30)}-0{chance.randint(1, 9)}-{chance.randint(10, 28)}"
        case FieldType.TIMESTAMP:
            return chance.choice(["2024-01-31", "2024-01-31T10:00:00.5+02:00"])
        case FieldType.MONEY:
            return money(chance.randint(-500_000, 500_000))
        case FieldType.DECIMAL:
            return chance.choice(["0", "1.5", "30", "0.125"])
        case FieldType.INTEGER:
            return str(chance.randint(0, 40))
        case FieldType.FLAG:
            return chance.choice("YN")
        case FieldType.LIST:
            return ";".join(chance.choices(["CO45", "1", "2", "é"], k=chance.randint(1, 3)))


def _row(chance, table, key):
    columns = TABLES[table].columns
    return {column.name: key.get(column.name) or _cell(chance, table, column) for column in columns}


MASKER = Masker(
    SensitiveCodes(
        exact={CodeSystem.ICD_10_CM: {"M12": ""}, CodeSystem.HCPCS: {"B7": ""}},
        prefixes={CodeSystem.NDC: {"0": ""}},
    )
)
"""A payer's sensitive codes; some of those that are drawn are among them."""


def tables(seed):
    """Return accepted tables, each in the order of its key; the same for the same seed."""
    chance = Random(seed)
    claims = [f"C{number}" for number in range(chance.randint(0, 5))]
    keys = {
        "member": [{"member_id": f"ember{n}"} for n in (1, 2)],
        "coverage": [{"coverage_id": f"erage{n}"} for n in (1, 2, 3)],
        "organization": [{"organization_id": n} for n in ("payer1", "vider1")],
        "practitioner": [{"practitioner_id": "vider2"}],
        "claim": [{"claim_id": claim} for claim in claims],
    }
    for table in (name for name in TABLES if name.startswith("claim_")):
        number = "line_number" if table == "claim_line" else "sequence"
        keys[table] = [
            {"claim_id": claim, number: str(at + 1)}
            for claim in claims
            for at in range(chance.randint(0, 3))
        ]
    return {
        name: to_table(name, [_row(chance, name, key) for key in keys.get(name, ())])
        for name in TABLES
    }


def to_table(name, rows):
    """Return rows as a canonical table; an empty cell is absent."""
    schema = table_schema(name)
    columns = {
        field.name: pa.array([row.get(field.name) or None for row in rows], field.type)
        for field in schema
    }
    return pa.table(columns, schema=schema)


def to_partition(drawn, environment):
    """Return tables as the engine takes them."""
    return Partition(prepare_for_mapping(drawn, environment, MASKER.masks(drawn)))
