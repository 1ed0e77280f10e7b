r"""Faults planted on purpose, each in one place that is written down with the rule that finds it.

`faults.csv` lists them. A fault spoils as little as possible: if a changed cell would break a sum
or an equation too, another cell is chosen. Rows that depend on a rejected one are rejected too; the
ledger names the cause.

| column of `faults.csv` | meaning |
|---|---|
| `group` | where the fault fits; `narrow` ones, for which few claims have room, are tried early |
| `rule` | id of the rule that should find it, as in `mappings/rules/` |
| `action` | one of the functions below |
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
from etl.synth.daily_changes import member_on
from etl.synth.directory import Row
from etl.synth.households import household_of
from etl.synth.members import Member, MemberRows
from etl.synth.network_tables import NetworkTables
from etl.synth.seeded_random import Dice, Purpose
from etl.synth.spec import Spec
from etl.synth.templates import fill


@dataclass(frozen=True, slots=True)
class Planted:
    """One fault, by where it is.

    Attributes:
        table: canonical table.
        place: number of the row among those written together, from 0.
        column: empty if the row as a whole is wrong.
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
        member = member_on(self.spec, first, self.spec.day) if first != self.index else None
        return None if member is None or member.is_deleted else member

    def meets(self, when: str, row: Row) -> bool:
        """Return whether a row of the case meets the conditions."""
        return _meets(when, row, self._holds)

    def _holds(self, condition: str, row: Row) -> bool:
        if condition == "headers-only":
            return not any("amount_submitted" in row for row in self.rows("claim_line"))
        if condition == "bare":
            return self.is_bare()
        if condition == "several":  # a claim needs one diagnosis, and may lose another
            return len(self.rows("claim_diagnosis")) > 1
        return _holds(condition, self.claim if condition.startswith("claim_type=") else row)


def _meets(when: str, row: Row, holds: Callable[[str, Row], bool]) -> bool:
    return all(
        holds(condition.removeprefix("!"), row) != condition.startswith("!")
        for condition in when.split()
    )


def _holds(condition: str, row: Row) -> bool:
    column, equals, text = condition.partition("=")
    return row.get(column) in text.split("|") if equals else bool(row.get(column))


Spoil = Callable[[Fault, Case, Row], Row | None]
"""Spoils a row that meets the conditions; returns the wrong row, None if it cannot be spoiled."""


def _cell(fault: Fault, _: Case, row: Row) -> Row | None:
    """Spoil a filled cell."""
    pattern = fault.pattern or "^.*$"
    if not re.search(pattern, row.get(fault.column, "")) or fault.column not in row:
        return None
    text = re.sub(pattern, fault.text, row.pop(fault.column))
    if text:
        row[fault.column] = text
    return row


def _days(fault: Fault, _: Case, row: Row) -> Row | None:
    """Move a date."""
    if fault.column not in row:
        return None
    row[fault.column] = _later(row[fault.column], int(fault.text))
    return row


def _more(fault: Fault, _: Case, row: Row) -> Row | None:
    """Add cents to an amount."""
    if fault.column not in row:
        return None
    add_cents(row, fault.column, int(fault.text))
    return row


def _cells(fault: Fault, case: Case, row: Row) -> Row:
    """Write or remove cells, filled or not."""
    _write(row, fault.cells(row, case.dice))
    return row


def _write(row: Row, cells: Row) -> None:
    for column, text in cells.items():
        row.pop(column, None)
        if text:
            row[column] = text


def _again(fault: Fault, case: Case, _: Row) -> Row:
    """Write the last row twice, the second time with changes."""
    rows, last = case.tables[fault.table], case.rows(fault.table)[-1]
    again = dict(last)
    _write(again, fault.cells(last, case.dice))
    rows.insert(_place_of(rows, last) + 1, again)
    return again


def _insert(fault: Fault, case: Case, _: Row) -> Row | None:
    """Add a child row to a claim that has none."""
    if case.rows(fault.table):
        return None
    row = {"record_action": "A", "claim_id": case.claim["claim_id"]}
    row |= {**fault.cells(row, case.dice), "last_updated": case.claim["last_updated"]}
    case.tables[fault.table].append(row)
    return row


def _without(fault: Fault, case: Case, _: Row) -> Row:
    """Remove the claim's rows of a table."""
    mine, rows = case.claim["claim_id"], case.tables[fault.table]
    case.tables[fault.table] = [row for row in rows if row["claim_id"] != mine]
    return case.claim


def _ragged(_: Fault, case: Case, _row: Row) -> Row:
    """Choose the row that gets a cell too many."""
    return case.rows("claim_care_team")[-1]


def _late_line(_: Fault, case: Case, _row: Row) -> Row | None:
    """Move the last line behind the end of the claim, but not out of the coverage."""
    thru = case.claim.get("statement_thru_date")
    line = case.rows("claim_line")[-1]
    wanted = case.claim["coverage_id"]
    cover = next(row for row in case.tables["coverage"] if row["coverage_id"] == wanted)
    if not thru or "service_to_date" in line or cover.get("end_date", "9999") <= _later(thru, 40):
        return None
    line["service_from_date"] = _later(thru, 3)
    return line


def _not_in_force(_: Fault, case: Case, line: Row) -> Row | None:
    """Name an earlier coverage of the same member and payer, out of force by then."""
    if len(case.rows("claim_line")) != 1:
        return None
    for row in case.tables["coverage"]:
        has_ended = row.get("end_date", "9999") < line["service_from_date"]
        if has_ended and row["payer_id"] == case.claim["payer_id"]:
            case.claim["coverage_id"] = row["coverage_id"]
            return line
    return None


def _coverage_of_another(_: Fault, case: Case, claim: Row) -> Row | None:
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


def _card_of_another(_: Fault, case: Case, _row: Row) -> Row | None:
    """Write the member id of the first of the household on the card."""
    first = case.first_of_household()
    if first is None:
        return None
    card = case.tables["coverage"][0]
    card["card_member_id"] = first.life.member_id
    return card


def _later(text: str, days: int) -> str:
    return (date.fromisoformat(text) + timedelta(days=days)).isoformat()


_ACTIONS: Final[dict[str, Spoil]] = {
    "cell": _cell,
    "days": _days,
    "more": _more,
    "cells": _cells,
    "again": _again,
    "both": _again,
    "insert": _insert,
    "without": _without,
    "ragged": _ragged,
    "late-line": _late_line,
    "not-in-force": _not_in_force,
    "coverage-of-another": _coverage_of_another,
    "card-of-another": _card_of_another,
}
"""`both`: the row and its copy are reported."""


_TEXT: Final = (resources.files("etl.synth") / "faults.csv").read_text(encoding="utf-8")
_ALL: Final = tuple(Fault(*line) for line in list(csv.reader(_TEXT.splitlines()))[1:])
NETWORK_FAULTS: Final = tuple(fault for fault in _ALL if fault.group == "network")
"""Every region of a directory that is chosen gets one of each, as far as it has rows for them."""
_PROVIDER_FAULTS: Final = tuple(fault for fault in _ALL if fault.group == "directory")
FAULTS: Final = tuple(fault for fault in _ALL if fault.group not in ("network", "directory"))
_LINKS: Final = {"adjusted_from_claim_id", "adjusted_to_claim_id"}
"""Claims of a chain are left whole: links to a rejected one would have no target."""


def plant(spec: Spec, index: int, tables: MemberRows) -> list[Planted]:
    """Plant faults among a member's rows, in place.

    A claim gets at most one, the member's own rows one, the coverages one. Kinds take turns: the
    first that fits is planted and goes to the end of the queue. The member decides where the
    queues begin.
    """
    dice = Dice(spec.seed, Purpose.FAULT, index)
    found: list[tuple[Fault, Row]] = []
    common = [
        fault
        for fault in _group("common")
        if not (fault.action == "ragged" and spec.format == "parquet")
    ]
    queue = [
        *_rotate(_group("stay"), index),
        *_group("narrow"),
        *_rotate(common, dice.below(len(common))),
    ]
    for claim in list(tables["claim"]):
        chosen = dice.random() < spec.fault_rate
        if chosen and not _LINKS & claim.keys():
            found += _plant_first(queue, Case(spec, index, tables, claim, dice))
    for group in ("member", "coverage"):
        if tables["member"] and dice.random() < spec.fault_rate:
            case = Case(spec, index, tables, tables["member"][0], dice)
            found += _plant_first(_rotate(_group(group), index), case)
    return _in_order(tables, [fault for item in found for fault in _planted(*item, tables)])


def _in_order(tables: MemberRows, planted: list[Planted]) -> list[Planted]:
    """Return faults in the order of the rows that they are in."""
    order = list(tables)
    return sorted(planted, key=lambda fault: (order.index(fault.table), fault.place))


def _group(name: str) -> list[Fault]:
    return [fault for fault in FAULTS if fault.group == name]


def _rotate(faults: Sequence[Fault], by: int) -> list[Fault]:
    start = by % len(faults)
    return [*faults[start:], *faults[:start]]


def _plant_first(queue: list[Fault], case: Case) -> list[tuple[Fault, Row]]:
    for place, fault in enumerate(queue):
        of_claim = fault.action in ("insert", "without")
        for row in [case.claim] if of_claim else case.rows(fault.table):
            if case.meets(fault.when, row) and (
                (spoiled := _ACTIONS[fault.action](fault, case, row)) is not None
            ):
                queue.append(queue.pop(place))
                return [(fault, spoiled)]
    return []


def _planted(fault: Fault, row: Row, tables: MemberRows) -> list[Planted]:
    table = "claim" if fault.action == "without" else fault.table
    place = _place_of(tables[table], row)
    places = [place - 1, place] if fault.action == "both" else [place]
    is_ragged = fault.action == "ragged"
    return [Planted(table, where, fault.reported, fault.rule, is_ragged) for where in places]


def _place_of(rows: list[Row], wanted: Row) -> int:
    """Return where a row stands, by identity: rows may be equal."""
    return next(place for place, row in enumerate(rows) if row is wanted)


def plant_directory(spec: Spec, number: int, tables: MemberRows) -> list[Planted]:
    """Plant one fault of each kind that the providers of claims can have, whatever the rate."""
    dice = Dice(spec.seed, Purpose.DIRECTORY_FAULT, number)
    npi = tables["practitioner"][0]["npi"]
    facts = {"wrong_npi": npi[:-1] + str((int(npi[-1]) + 1) % 10)}
    return _in_order(tables, _plant_each(_PROVIDER_FAULTS, tables, facts, dice))


def plant_network(spec: Spec, number: int, tables: NetworkTables) -> list[Planted]:
    """Plant faults in the rows of a region that are in force; the payers' part stays whole.

    Args:
        spec: states the seed, and the share of regions that get faults.
        number: the region; -1 is the payers' part.
        tables: its rows; spoiled ones are replaced.
    """
    dice = Dice(spec.seed, Purpose.NETWORK_FAULT, number)
    if number < 0 or dice.random() >= spec.fault_rate:
        return []

    def is_in_force(row: Row) -> bool:
        return row.get("active", "Y") == "Y" and row.get("status", "active") == "active"

    facts = {"region": f"{number:06d}"}
    return _plant_each(NETWORK_FAULTS, tables, facts, dice, is_in_force)


def _plant_each(
    faults: Iterable[Fault],
    tables: NetworkTables,
    facts: Row,
    dice: Dice,
    may_spoil: Callable[[Row], bool] = bool,
) -> list[Planted]:
    """Plant each fault in a row of its own; its cells may name `cut`, a cell but for its end."""
    planted: list[Planted] = []
    for fault in faults:
        rows = tables.get(fault.table, [])
        taken = {other.place for other in planted if other.table == fault.table}
        free = [
            place
            for place, row in enumerate(rows)
            if place not in taken and may_spoil(row) and _meets(fault.when, row, _holds)
        ]
        if not free:
            continue
        place = dice.pick(free)
        spoiled = rows[place] = dict(rows[place])
        cut = spoiled.get(fault.column, "")[:-1]
        _write(spoiled, fault.cells(facts | {"cut": cut}, dice))
        planted.append(Planted(fault.table, place, fault.column, fault.rule))
    return planted
