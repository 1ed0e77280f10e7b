"""Rows as no payer should send them: rows of everything, changed at random where a row can be."""

import random

from etl.bootstrap.mappings import read_crosswalks, shipped
from etl.model.canonical_tables import CLAIM_TYPES, FieldType
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from tests.e2e.commands import write_rows
from tests.given.tables import read_tables
from tests.golden.mapping.everything import everything

_CELLS = read_tables(__file__)
_WORDS = _CELLS["crosswalks"]
_MORE_WORDS = _CELLS["words"]
_ODD = {FieldType[name]: cells for name, cells in _CELLS["odd"].items()}
_TEXTS = _CELLS["any"]["texts"]


def hostile(seed, copies, *, changes=3):
    """Return rows of everything, several times over, each claim changed in some places.

    Args:
        seed: of the chance.
        copies: how many members, each with a claim of every type.
        changes: how many changes a member gets, at least; most get few, so that many a row with
            one odd cell is still accepted.
    """
    chance = random.Random(seed)
    rows = {name: [] for name in TABLES}
    for number in range(copies):
        own = everything(f"-{number}")
        for _ in range(chance.choice((min(1, changes), changes, changes, changes * 4))):
            chance.choice(_CHANGES)(own, chance)
        for table, found in own.items():
            rows[table] += found
    return rows


def _row(own, chance):
    table = chance.choice([name for name, rows in own.items() if rows])
    if chance.random() < 0.4:
        table = chance.choice(["claim", "claim_line"])
    return table, chance.choice(own[table] or [{}])


def _empty(own, chance):
    _, row = _row(own, chance)
    for column in chance.sample(sorted(row), min(len(row), chance.choice((1, 1, 2, 8)))):
        row.pop(column)


def _thin(own, chance):
    """Leave a share of the cells of a whole claim."""
    claim = chance.choice(own["claim"] or [{}]).get("claim_id")
    share = chance.random()
    for rows in own.values():
        for row in rows:
            if row.get("claim_id") == claim:
                for column in [name for name in row if not _is_key(name)]:
                    if chance.random() < share:
                        row.pop(column)


def _is_key(column):
    return column in {"claim_id", "member_id", "coverage_id", "sequence", "line_number", "payer_id"}


def _other(own, chance):
    table, row = _row(own, chance)
    column = chance.choice(TABLES[table].columns)
    if _is_key(column.name) and chance.random() < 0.7:
        return
    row[column.name] = _value(column.name, column.type, chance)


def _value(column, kind, chance):
    pick = chance.random()
    if pick < 0.55 and (column in _WORDS or column in _MORE_WORDS):
        words = list(_MORE_WORDS.get(column, ()))
        if column in _WORDS:
            words += [*_CROSSWALKS[_WORDS[column]].rows]
        return chance.choice(words)
    if pick < 0.85 and kind in _ODD:
        return chance.choice(_ODD[kind])
    return chance.choice(_TEXTS)


def _remove(own, chance):
    table, row = _row(own, chance)
    if row in own[table]:
        own[table].remove(row)


def _remove_all(own, chance):
    claim = chance.choice(own["claim"] or [{}]).get("claim_id")
    table = chance.choice([name for name in TABLES if name.startswith("claim_")])
    own[table] = [row for row in own[table] if row.get("claim_id") != claim]


def _again(own, chance):
    table, row = _row(own, chance)
    copy = dict(row)
    for column in ("sequence", "line_number"):
        if column in copy and chance.random() < 0.7:
            copy[column] = chance.choice(("7", "8", "12", "0", "100", "2147483600"))
    own[table].append(copy)


def _type(own, chance):
    if own["claim"]:
        chance.choice(own["claim"])["claim_type"] = chance.choice(CLAIM_TYPES)


def _swap(own, chance):
    _, one = _row(own, chance)
    if len(one) > 1:
        left, right = chance.sample(sorted(one), 2)
        one[left], one[right] = one[right], one[left]


def _dates(own, chance):
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


def write(folder, rows):
    """Write rows as an extract in the canonical layout."""
    folder.mkdir(parents=True)
    for table, found in rows.items():
        write_rows(folder / f"{table}.csv", TABLES[table].names, found)
