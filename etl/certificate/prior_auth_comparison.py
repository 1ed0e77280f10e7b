"""The comparison of published prior authorizations with their rows, fact by fact.

There are few, compared to claims, so they are read one at a time. Each amount is compared; there
are no sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import numpy as np

from etl.certificate.differences import Differences
from etl.certificate.published_prior_auths import NO_ACTION, Fact, PublishedPriorAuth, drop_absent
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
_PARTIAL_ACTIONS: Final = frozenset({"A2", "A6"})
"""X12 306: decisions about a request that differ by line."""
_END_REASON: Final = "end-before-start"


def compare_prior_auths(
    tables: Mapping[str, SourceTable],
    fates: Mapping[str, Fates],
    published: Sequence[tuple[str, PublishedPriorAuth]],
    differences: Differences,
    *,
    states_money: bool,
) -> None:
    """Add the differences between prior authorizations and their rows.

    Args:
        tables: all rows of `prior_auth` and `prior_auth_line`.
        fates: fates of these rows.
        published: member number, and a prior authorization in the member's block.
        differences: the differences are added to it.
        states_money: whether the release has amounts. If not, no amount may be published.
    """
    _check_lost_rows(tables, fates, differences)
    positions = {name: table.positions for name, table in tables.items()}
    is_kept = {name: is_among(positions[name], fates[name].published) for name in FACTS}
    headers = _rows_by_key(tables[HEADER], is_kept[HEADER], lambda row: row["prior_auth_id"])
    lines = _rows_by_key(tables[LINE], is_kept[LINE], _line_key)
    stated = {
        HEADER: {key: (position, _header_facts(row)) for key, (position, row) in headers.items()},
        LINE: {
            key: (position, _line_facts(row, headers[key[0]][1]))
            for key, (position, row) in lines.items()
            if key[0] in headers
        },
    }
    published_facts: dict[str, list[tuple[Any, Mapping[str, Fact]]]] = {
        HEADER: [(auth.number, {**auth.facts, "member": member}) for member, auth in published],
        LINE: [
            ((auth.number, number), facts) for _, auth in published for number, facts in auth.lines
        ],
    }
    for table, columns in FACTS.items():
        expected, actual = stated[table], published_facts[table]
        _compare_table(table, columns, expected, actual, differences, states_money)
    for name, column in (("insurer", "payer_id"), ("coverage", "coverage_id")):
        pairs = {
            (headers[auth.number][1][column], getattr(auth, name))
            for _, auth in published
            if auth.number in headers
        }
        differences.facts += len(pairs)
        if any(len({pair[side] for pair in pairs}) != len(pairs) for side in (0, 1)):
            differences.add(HEADER, (-1, 0), f"{name} by its word")


def _compare_table(
    table: str,
    columns: Mapping[str, str],
    stated: Mapping[Any, tuple[Any, Mapping[str, Fact]]],
    published: Sequence[tuple[Any, Mapping[str, Fact]]],
    differences: Differences,
    states_money: bool,
) -> None:
    """Add rows that are not published exactly once, and facts that differ."""
    differences.facts += len(stated) * (1 + len(columns))
    facts_by_key: dict[Any, Mapping[str, Fact]] = {}
    for key, facts in published:
        if key not in stated:
            differences.add(table, (-1, 0), "without a row")
        elif key in facts_by_key:
            differences.add(table, stated[key][0], "doubled")
        facts_by_key[key] = facts
    for key, (position, expected) in stated.items():
        if key not in facts_by_key:
            differences.add(table, position, "lost")
            continue
        facts = facts_by_key[key]
        for name, column in columns.items():
            is_shown = states_money or name not in AMOUNTS
            row_fact, byte_fact = (expected.get(name) if is_shown else None, facts.get(name))
            if name == "end" and str(row_fact or "9") < str(expected.get("start", "")):
                differences.add(table, position, name, _END_REASON)
                row_fact = None
            if name == "action":
                # Without an entry to carry it, a rule has already reported the missing action.
                row_fact = None if byte_fact is None else row_fact or NO_ACTION
            if byte_fact != row_fact:
                rule = differences.rule(position, column) if byte_fact in (None, NO_ACTION) else ""
                differences.add(table, position, name, rule)


def _check_lost_rows(
    tables: Mapping[str, SourceTable], fates: Mapping[str, Fates], differences: Differences
) -> None:
    """Add rows that are neither published nor in quarantine without a reason.

    Reasons: another row has its key, it is a deletion, it is about a drug, or its header is gone.
    """
    missing_headers: set[str] = set()
    for name, table in tables.items():
        accounted = np.concatenate([fates[name].published, fates[name].quarantined])
        is_missing = ~is_among(table.positions, accounted)
        differences.facts += len(table)
        rows = list(_iterate_rows(table, ~is_missing))
        present = {_line_key(row) for _, row in rows}
        for position, row in _iterate_rows(table, is_missing):
            is_explained = (
                _line_key(row) in present
                or row["record_action"].lower() == "d"
                or row["is_drug"].lower() not in ("", "n")
                or row["prior_auth_id"] in missing_headers
            )
            if name == HEADER:
                missing_headers.add(row["prior_auth_id"])
            if not is_explained:
                differences.add(name, position, "superseded by nothing")


def _rows_by_key(
    table: SourceTable, mask: Any, key: Callable[[Mapping[str, str]], Any]
) -> dict[Any, tuple[Any, dict[str, str]]]:
    """Return key -> place and cells of the selected rows."""
    return {key(row): (place, row) for place, row in _iterate_rows(table, mask)}


def _iterate_rows(table: SourceTable, mask: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """Yield place and cells of the selected rows; an absent cell is empty."""
    if not mask.any():
        return
    names = [name for name in table.table.column_names if not name.startswith("_")]
    columns = [table.cells(name).to_pylist() for name in names]
    rows = zip(*columns, strict=True)
    for position, is_selected, cells in zip(table.positions, mask, rows, strict=True):
        if is_selected:
            yield position, dict(zip(names, cells, strict=True))


def _line_key(row: Mapping[str, str]) -> tuple[str, int]:
    number = _parse_number(row.get("line_number", ""))
    return row["prior_auth_id"], -1 if number is None else int(number)


def _header_facts(row: Mapping[str, str]) -> Mapping[str, Fact]:
    return drop_absent(
        {
            "member": row["member_id"],
            "type": row["type"].lower(),
            "received": day_of(row["received_at"].partition("T")[0]),
            "start": day_of(row["valid_from"]),
            "end": day_of(row["valid_to"]),
            "submitted": _parse_number(row["amount_submitted"]),
            "eligible": _parse_number(row["amount_eligible"]),
            "utilized": _parse_number(row["amount_utilized"]),
            "action": row["review_action"].upper(),
        }
    )


def _line_facts(row: Mapping[str, str], header: Mapping[str, str]) -> Mapping[str, Fact]:
    start, end = day_of(row["service_from_date"]), day_of(row["service_to_date"])
    decision = header["review_action"].upper()
    return drop_absent(
        {
            "served": f"{start}/{end}" if start and end > start else start,
            "requested": _parse_number(row["units_requested"]),
            "submitted": _parse_number(row["amount_submitted"]),
            "eligible": _parse_number(row["amount_eligible"]),
            "approved": _parse_number(row["units_approved"]),
            "used": _parse_number(row["units_used"]),
            "action": row["review_action"].upper()
            or ("" if decision in _PARTIAL_ACTIONS else decision),
        }
    )


def _parse_number(text: str) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except InvalidOperation:
        return None
