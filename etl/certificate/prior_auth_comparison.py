"""The comparison of published prior authorizations with their rows, fact by fact.

They are few beside claims, and read one at a time. Sums are not made of them: each amount is
compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import numpy as np

from etl.certificate.differences import Differences
from etl.certificate.published_prior_auths import NO_ACTION, Fact, PublishedPriorAuth, only_stated
from etl.certificate.source import Fates, SourceTable, day_of, is_among

HEADER: Final = "prior_auth"
LINE: Final = "prior_auth_line"
FACTS: Final[Mapping[str, Mapping[str, str]]] = {
    HEADER: {
        "member": "member_id",
        "type": "type",
        "received": "received_at",
        "start": "valid_from",
        "end": "valid_to",
        "submitted": "amount_submitted",
        "eligible": "amount_eligible",
        "utilized": "amount_utilized",
        "action": "review_action",
    },
    LINE: {
        "served": "service_from_date",
        "requested": "units_requested",
        "submitted": "amount_submitted",
        "eligible": "amount_eligible",
        "approved": "units_approved",
        "used": "units_used",
        "action": "review_action",
    },
}
"""Table -> name of a fact, and the column that states it."""
AMOUNTS: Final = frozenset({"submitted", "eligible", "utilized"})
_OF_LINES: Final = frozenset({"A2", "A6"})
"""X12 306: decisions about a request that each line states for itself."""
_END: Final = "end-before-start"


def compare_prior_auths(
    tables: Mapping[str, SourceTable],
    fates: Mapping[str, Fates],
    published: Sequence[tuple[str, PublishedPriorAuth]],
    differences: Differences,
    *,
    states_money: bool,
) -> None:
    """Note the differences between prior authorizations and their rows.

    Args:
        tables: all rows of `prior_auth` and `prior_auth_line`.
        fates: of these rows.
        published: member number, and prior authorization of the member's block.
        differences: gets those that are found.
        states_money: whether the release has amounts; of one that has none, none may be there.
    """
    _lost_rows(tables, fates, differences)
    places = {name: table.places for name, table in tables.items()}
    is_kept = {name: is_among(places[name], fates[name].published) for name in FACTS}
    headers = _rows(tables[HEADER], is_kept[HEADER], lambda row: row["prior_auth_id"])
    lines = _rows(tables[LINE], is_kept[LINE], _line_key)
    stated = {
        HEADER: {key: (at, _header_facts(row)) for key, (at, row) in headers.items()},
        LINE: {
            key: (at, _line_facts(row, headers[key[0]][1]))
            for key, (at, row) in lines.items()
            if key[0] in headers
        },
    }
    found: dict[str, list[tuple[Any, Mapping[str, Fact]]]] = {
        HEADER: [(one.number, {**one.facts, "member": member}) for member, one in published],
        LINE: [
            ((one.number, number), facts) for _, one in published for number, facts in one.lines
        ],
    }
    for table, columns in FACTS.items():
        _compare(table, columns, stated[table], found[table], differences, states_money)
    for name, column in (("insurer", "payer_id"), ("coverage", "coverage_id")):
        words = {
            (headers[one.number][1][column], getattr(one, name))
            for _, one in published
            if one.number in headers
        }
        differences.facts += len(words)
        if any(len({pair[side] for pair in words}) != len(words) for side in (0, 1)):
            differences.add(HEADER, (-1, 0), f"{name} by its word")


def _compare(
    table: str,
    columns: Mapping[str, str],
    stated: Mapping[Any, tuple[Any, Mapping[str, Fact]]],
    found: Sequence[tuple[Any, Mapping[str, Fact]]],
    differences: Differences,
    states_money: bool,
) -> None:
    """Note rows that are not published once, and the facts in which others differ."""
    differences.facts += len(stated) * (1 + len(columns))
    once: dict[Any, Mapping[str, Fact]] = {}
    for key, facts in found:
        if key not in stated:
            differences.add(table, (-1, 0), "without a row")
        elif key in once:
            differences.add(table, stated[key][0], "doubled")
        once[key] = facts
    for key, (place, expected) in stated.items():
        if key not in once:
            differences.add(table, place, "lost")
            continue
        facts = once[key]
        for name, column in columns.items():
            is_shown = states_money or name not in AMOUNTS
            wanted, made = expected.get(name) if is_shown else None, facts.get(name)
            if name == "end" and str(wanted or "9") < str(expected.get("start", "")):
                differences.add(table, place, name, _END)
                wanted = None
            if name == "action":
                # It stands on an entry; where there is none, a rule has found that.
                wanted = None if made is None else wanted or NO_ACTION
            if made != wanted:
                rule = differences.rule(place, column) if made in (None, NO_ACTION) else ""
                differences.add(table, place, name, rule)


def _lost_rows(
    tables: Mapping[str, SourceTable], fates: Mapping[str, Fates], differences: Differences
) -> None:
    """Note rows that are neither published nor in quarantine, for no reason.

    A row is superseded by one with its key, deletes, is of a drug, or is of a header that has gone.
    """
    gone_headers: set[str] = set()
    for name, table in tables.items():
        kept = np.concatenate([fates[name].published, fates[name].quarantined])
        is_gone = ~is_among(table.places, kept)
        differences.facts += len(table)
        rows = list(_dicts(table, ~is_gone))
        present = {_line_key(row) for _, row in rows}
        for place, row in _dicts(table, is_gone):
            is_explained = (
                _line_key(row) in present
                or row["record_action"].lower() == "d"
                or row["is_drug"].lower() not in ("", "n")
                or row["prior_auth_id"] in gone_headers
            )
            if name == HEADER:
                gone_headers.add(row["prior_auth_id"])
            if not is_explained:
                differences.add(name, place, "superseded by nothing")


def _rows(
    table: SourceTable, where: Any, key: Callable[[Mapping[str, str]], Any]
) -> dict[Any, tuple[Any, dict[str, str]]]:
    """Return place and cells of some rows by their key."""
    return {key(row): (place, row) for place, row in _dicts(table, where)}


def _dicts(table: SourceTable, where: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """Yield place and cells of some rows; empty where absent."""
    if not where.any():
        return
    names = [name for name in table.table.column_names if not name.startswith("_")]
    columns = [table.cells(name).to_pylist() for name in names]
    rows = zip(*columns, strict=True)
    for place, is_wanted, cells in zip(table.places, where, rows, strict=True):
        if is_wanted:
            yield place, dict(zip(names, cells, strict=True))


def _line_key(row: Mapping[str, str]) -> tuple[str, int]:
    number = _number(row.get("line_number", ""))
    return row["prior_auth_id"], -1 if number is None else int(number)


def _header_facts(row: Mapping[str, str]) -> Mapping[str, Fact]:
    return only_stated(
        {
            "member": row["member_id"],
            "type": row["type"].lower(),
            "received": day_of(row["received_at"].partition("T")[0]),
            "start": day_of(row["valid_from"]),
            "end": day_of(row["valid_to"]),
            "submitted": _number(row["amount_submitted"]),
            "eligible": _number(row["amount_eligible"]),
            "utilized": _number(row["amount_utilized"]),
            "action": row["review_action"].upper(),
        }
    )


def _line_facts(row: Mapping[str, str], header: Mapping[str, str]) -> Mapping[str, Fact]:
    start, end = day_of(row["service_from_date"]), day_of(row["service_to_date"])
    whole = header["review_action"].upper()
    return only_stated(
        {
            "served": f"{start}/{end}" if start and end > start else start,
            "requested": _number(row["units_requested"]),
            "submitted": _number(row["amount_submitted"]),
            "eligible": _number(row["amount_eligible"]),
            "approved": _number(row["units_approved"]),
            "used": _number(row["units_used"]),
            "action": row["review_action"].upper() or ("" if whole in _OF_LINES else whole),
        }
    )


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except InvalidOperation:
        return None
