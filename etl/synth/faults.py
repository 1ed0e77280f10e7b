r"""Faults planted on purpose, each in one place that is written down with the rule that finds it.

`faults.csv` lists them. A fault spoils as little as possible: if a changed cell would break a sum
or an equation too, another cell is chosen. Rows that depend on a rejected one are rejected too; the
ledger names the cause.

| column of `faults.csv` | meaning |
|---|---|
| `group` | where the fault fits; `narrow` ones, for which few claims have room, are tried early |
| `rule` | id of the rule that should find it, as in `mappings/rules/` |
| `action` | a key of `_ACTIONS` |
| `table`, `column` | what is spoiled |
| `pattern`, `text` | what is replaced in the cell, all of it if empty, and by what |
| `when` | conditions of the row: filled columns, `column=text\|text`, `!` for the contrary |
| `blamed` | the column that the rule names, if it is not the spoiled one; `-` for the whole row |
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import resources
from typing import Final, NamedTuple

from etl.model.canonical_tables import CLAIM_TABLES
from etl.synth.adjustments import add_cents
from etl.synth.daily_changes import member_on_day
from etl.synth.directory import Row
from etl.synth.households import household_of
from etl.synth.members import Member, MemberRows
from etl.synth.network_tables import NetworkTables
from etl.synth.seeded_random import Dice, Purpose
from etl.synth.spec import Spec
from etl.synth.templates import fill


@dataclass(frozen=True, slots=True)
class Planted:
    """One fault that was planted.

    Attributes:
        table: canonical table.
        place: index of the row among those written together.
        column: the column that the rule names; empty for the row as a whole.
        rule: id of the rule that should find it.
        ragged: the row gets a cell too many when it is written.
    """

    table: str
    place: int
    column: str
    rule: str
    ragged: bool = False


class Fault(NamedTuple):
    """A line of `faults.csv`."""

    group: str
    rule: str
    action: str
    table: str
    column: str
    pattern: str
    text: str
    when: str
    blamed: str

    @property
    def reported(self) -> str:
        """The column that the rule names; empty for the row as a whole."""
        return self.blamed.removeprefix("-") if self.blamed else self.column

    def cells(self, row: Row, dice: Dice) -> Row:
        """Return the cells that `text` states; an empty one is to be removed."""
        pairs = (cell.partition("=") for cell in self.text.split("|") if cell)
        return {column: fill(text, row, dice) for column, _, text in pairs}


@dataclass(slots=True)
class Case:
    """A claim or a member in which a fault is to be planted.

    Attributes:
        tables: all rows of the member; faults change them in place.
        claim: the claim's row; the member's row if the fault is about the member.
    """

    spec: Spec
    index: int
    tables: MemberRows
    claim: Row
    dice: Dice

    def rows(self, table: str) -> list[Row]:
        """Return the rows of a table that may be spoiled."""
        if table in {"claim", "member"}:
            return [self.claim]
        if table in {"coverage", "member_telecom"}:
            return self.tables[table][-1:]
        return [row for row in self.tables[table] if row["claim_id"] == self.claim["claim_id"]]

    def is_bare(self) -> bool:
        """Return whether no row names a line of the claim or needs one."""
        if any(map(self.rows, ("claim_tooth", "claim_ingredient", "claim_transport"))):
            return False
        children = (row for table in CLAIM_TABLES[1:] for row in self.rows(table))
        return not any("line_numbers" in row or "line_number" in row for row in children)

    def first_of_household(self) -> Member | None:
        """Return the first member of the household; None if deleted, or the one of the case."""
        first = household_of(self.spec, self.index).first
        member = member_on_day(self.spec, first, self.spec.day) if first != self.index else None
        return None if member is None or member.is_deleted else member

    def meets(self, when: str, row: Row) -> bool:
        """Return whether a row of the case meets the conditions."""
        return _meets_all(when, row, self._is_met)

    def _is_met(self, condition: str, row: Row) -> bool:
        if condition == "headers-only":
            return not any("amount_submitted" in row for row in self.rows("claim_line"))
        if condition == "bare":
            return self.is_bare()
        if condition == "several":  # a claim needs one diagnosis, and may lose another
            return len(self.rows("claim_diagnosis")) > 1
        return _row_meets(condition, self.claim if condition.startswith("claim_type=") else row)


def _meets_all(when: str, row: Row, is_met: Callable[[str, Row], bool]) -> bool:
    return all(
        is_met(condition.removeprefix("!"), row) != condition.startswith("!")
        for condition in when.split()
    )


def _row_meets(condition: str, row: Row) -> bool:
    column, equals, text = condition.partition("=")
    return row.get(column) in text.split("|") if equals else bool(row.get(column))


Spoil = Callable[[Fault, Case, Row], Row | None]
"""Spoils a row that meets the conditions; returns the wrong row, None if it cannot be spoiled."""


def _spoil_cell(fault: Fault, _: Case, row: Row) -> Row | None:
    """Replace text in a filled cell."""
    pattern = fault.pattern or "^.*$"
    if not re.search(pattern, row.get(fault.column, "")) or fault.column not in row:
        return None
    text = re.sub(pattern, fault.text, row.pop(fault.column))
    if text:
        row[fault.column] = text
    return row


def _move_date(fault: Fault, _: Case, row: Row) -> Row | None:
    """Move a date."""
    if fault.column not in row:
        return None
    row[fault.column] = _shift(row[fault.column], int(fault.text))
    return row


def _add_amount(fault: Fault, _: Case, row: Row) -> Row | None:
    """Add cents to an amount."""
    if fault.column not in row:
        return None
    add_cents(row, fault.column, int(fault.text))
    return row


def _write_cells(fault: Fault, case: Case, row: Row) -> Row:
    """Write or remove cells, filled or not."""
    _set_cells(row, fault.cells(row, case.dice))
    return row


def _set_cells(row: Row, cells: Row) -> None:
    for column, text in cells.items():
        row.pop(column, None)
        if text:
            row[column] = text


def _repeat_row(fault: Fault, case: Case, _: Row) -> Row:
    """Write the last row twice, the second time with changes."""
    rows, last = case.tables[fault.table], case.rows(fault.table)[-1]
    copy = dict(last)
    _set_cells(copy, fault.cells(last, case.dice))
    rows.insert(_index_of(rows, last) + 1, copy)
    return copy


def _insert_row(fault: Fault, case: Case, _: Row) -> Row | None:
    """Add a child row to a claim that has none."""
    if case.rows(fault.table):
        return None
    row = {"record_action": "A", "claim_id": case.claim["claim_id"]}
    row |= {**fault.cells(row, case.dice), "last_updated": case.claim["last_updated"]}
    case.tables[fault.table].append(row)
    return row


def _remove_rows(fault: Fault, case: Case, _: Row) -> Row:
    """Remove the claim's rows of a table."""
    claim_id, rows = case.claim["claim_id"], case.tables[fault.table]
    case.tables[fault.table] = [row for row in rows if row["claim_id"] != claim_id]
    return case.claim


def _move_line_late(_: Fault, case: Case, _row: Row) -> Row | None:
    """Move the last line after the end of the claim, but not out of the coverage."""
    thru = case.claim.get("statement_thru_date")
    line = case.rows("claim_line")[-1]
    coverage = case.claim["coverage_id"]
    cover = next(row for row in case.tables["coverage"] if row["coverage_id"] == coverage)
    if not thru or "service_to_date" in line or cover.get("end_date", "9999") <= _shift(thru, 40):
        return None
    line["service_from_date"] = _shift(thru, 3)
    return line


def _name_ended_coverage(_: Fault, case: Case, line: Row) -> Row | None:
    """Name an earlier coverage of the same member and payer that has ended."""
    if len(case.rows("claim_line")) != 1:
        return None
    for row in case.tables["coverage"]:
        has_ended = row.get("end_date", "9999") < line["service_from_date"]
        if has_ended and row["payer_id"] == case.claim["payer_id"]:
            case.claim["coverage_id"] = row["coverage_id"]
            return line
    return None


def _name_other_coverage(_: Fault, case: Case, claim: Row) -> Row | None:
    """Name the coverage of the first member of the household."""
    first = case.first_of_household()
    for cover in first.covers if first else ():
        start, end = cover.row["start_date"], cover.row.get("end_date", "9999")
        last = claim.get("statement_thru_date", claim["statement_from_date"])
        if cover.plan.payer == claim["payer_id"] and (
            start <= claim["statement_from_date"] and last <= end
        ):
            claim["coverage_id"] = cover.identifier
            return claim
    return None


def _write_other_card(_: Fault, case: Case, _row: Row) -> Row | None:
    """Write the member id of the first of the household on the card."""
    first = case.first_of_household()
    if first is None:
        return None
    card = case.tables["coverage"][0]
    card["card_member_id"] = first.life.member_id
    return card


def _shift(day: str, days: int) -> str:
    return (date.fromisoformat(day) + timedelta(days=days)).isoformat()


_ACTIONS: Final[dict[str, Spoil]] = {
    "cell": _spoil_cell,
    "days": _move_date,
    "more": _add_amount,
    "cells": _write_cells,
    "again": _repeat_row,
    "both": _repeat_row,
    "insert": _insert_row,
    "without": _remove_rows,
    "ragged": lambda _fault, case, _row: case.rows("claim_care_team")[-1],
    "late-line": _move_line_late,
    "not-in-force": _name_ended_coverage,
    "coverage-of-another": _name_other_coverage,
    "card-of-another": _write_other_card,
}
"""`both`: the row and its copy are reported. `ragged`: the row gets a cell too many."""


_TEXT: Final = (resources.files("etl.synth") / "faults.csv").read_text(encoding="utf-8")
_ALL: Final = tuple(Fault(*line) for line in list(csv.reader(_TEXT.splitlines()))[1:])
NETWORK_FAULTS: Final = tuple(fault for fault in _ALL if fault.group == "network")
"""A chosen region of a provider directory gets one of each that it has rows for."""
_PROVIDER_FAULTS: Final = tuple(fault for fault in _ALL if fault.group == "directory")
FAULTS: Final = tuple(fault for fault in _ALL if fault.group not in ("network", "directory"))
_LINKS: Final = {"adjusted_from_claim_id", "adjusted_to_claim_id"}
"""Claims with these get no fault: links to a rejected claim would have no target."""


def plant_faults(spec: Spec, index: int, tables: MemberRows) -> list[Planted]:
    """Plant faults among a member's rows, in place.

    A claim gets at most one, the member's row one, the coverages one. Kinds take turns: the first
    that fits is planted and goes to the end of the queue. Queues begin elsewhere for each member.
    """
    dice = Dice(spec.seed, Purpose.FAULT, index)
    planted: list[tuple[Fault, Row]] = []
    common = [
        fault
        for fault in _faults_of("common")
        if not (fault.action == "ragged" and spec.format == "parquet")
    ]
    queue = [
        *_rotate(_faults_of("stay"), index),
        *_faults_of("narrow"),
        *_rotate(common, dice.below(len(common))),
    ]
    for claim in list(tables["claim"]):
        is_chosen = dice.random() < spec.fault_rate
        if is_chosen and not _LINKS & claim.keys():
            planted += _plant_first(queue, Case(spec, index, tables, claim, dice))
    for group in ("member", "coverage"):
        if tables["member"] and dice.random() < spec.fault_rate:
            case = Case(spec, index, tables, tables["member"][0], dice)
            planted += _plant_first(_rotate(_faults_of(group), index), case)
    return _sort_by_row(tables, [fault for pair in planted for fault in _locate(*pair, tables)])


def _sort_by_row(tables: MemberRows, planted: list[Planted]) -> list[Planted]:
    """Return faults in the order of their rows."""
    order = list(tables)
    return sorted(planted, key=lambda fault: (order.index(fault.table), fault.place))


def _faults_of(name: str) -> list[Fault]:
    return [fault for fault in FAULTS if fault.group == name]


def _rotate(faults: Sequence[Fault], by: int) -> list[Fault]:
    start = by % len(faults)
    return [*faults[start:], *faults[:start]]


def _plant_first(queue: list[Fault], case: Case) -> list[tuple[Fault, Row]]:
    """Plant the first fault of the queue that fits; return it and its row, nothing if none fits."""
    for position, fault in enumerate(queue):
        is_about_claim = fault.action in ("insert", "without")
        for row in [case.claim] if is_about_claim else case.rows(fault.table):
            if case.meets(fault.when, row) and (
                (spoiled := _ACTIONS[fault.action](fault, case, row)) is not None
            ):
                queue.append(queue.pop(position))
                return [(fault, spoiled)]
    return []


def _locate(fault: Fault, row: Row, tables: MemberRows) -> list[Planted]:
    table = "claim" if fault.action == "without" else fault.table
    place = _index_of(tables[table], row)
    places = [place - 1, place] if fault.action == "both" else [place]
    is_ragged = fault.action == "ragged"
    return [Planted(table, where, fault.reported, fault.rule, is_ragged) for where in places]


def _index_of(rows: list[Row], wanted: Row) -> int:
    """Return the index of a row, by identity: rows may be equal."""
    return next(place for place, row in enumerate(rows) if row is wanted)


def plant_directory(spec: Spec, number: int, tables: MemberRows) -> list[Planted]:
    """Plant one fault of each kind that the providers of claims can have, whatever the rate."""
    dice = Dice(spec.seed, Purpose.DIRECTORY_FAULT, number)
    npi = tables["practitioner"][0]["npi"]
    facts = {"wrong_npi": npi[:-1] + str((int(npi[-1]) + 1) % 10)}
    return _sort_by_row(tables, _plant_each(_PROVIDER_FAULTS, tables, facts, dice))


def plant_network(spec: Spec, number: int, tables: NetworkTables) -> list[Planted]:
    """Plant faults in the active rows of a region; the payers get none.

    Args:
        spec: states the seed, and the share of regions that get faults.
        number: the region; -1 for the payers.
        tables: its rows; spoiled ones are replaced.
    """
    dice = Dice(spec.seed, Purpose.NETWORK_FAULT, number)
    if number < 0 or dice.random() >= spec.fault_rate:
        return []

    def is_active(row: Row) -> bool:
        return row.get("active", "Y") == "Y" and row.get("status", "active") == "active"

    facts = {"region": f"{number:06d}"}
    return _plant_each(NETWORK_FAULTS, tables, facts, dice, is_active)


def _plant_each(
    faults: Iterable[Fault],
    tables: NetworkTables,
    facts: Row,
    dice: Dice,
    may_spoil: Callable[[Row], bool] = bool,
) -> list[Planted]:
    """Plant each fault in another row; its text may use `cut`, the cell less its last character."""
    planted: list[Planted] = []
    for fault in faults:
        rows = tables.get(fault.table, [])
        taken = {other.place for other in planted if other.table == fault.table}
        free = [
            place
            for place, row in enumerate(rows)
            if place not in taken and may_spoil(row) and _meets_all(fault.when, row, _row_meets)
        ]
        if not free:
            continue
        place = dice.pick(free)
        spoiled = rows[place] = dict(rows[place])
        cut = spoiled.get(fault.column, "")[:-1]
        _set_cells(spoiled, fault.cells(facts | {"cut": cut}, dice))
        planted.append(Planted(fault.table, place, fault.column, fault.rule))
    return planted
