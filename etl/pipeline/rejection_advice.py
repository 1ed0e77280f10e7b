"""Missing cells, empty crosswalks, and advice if most of an extract was rejected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from etl.pipeline.definitions import Definitions
from etl.pipeline.totals import Tally
from etl.quality.rules.book import Rule, RuleBook
from etl.quality.rules.kinds import Allowed, AnyFilled, Childless, Required
from etl.quality.totals.counts import RowCounts
from etl.reports.report_values import EmptyCrosswalk, MissingCells, RuleTotals
from etl.sources.extract.opening import Extract
from etl.sources.layout.model import Layout

_FEW_ROWS: Final = 10
"""Smaller tables get no advice: a claim or two can cost them. Members and claims always do."""

_MAIN_TABLES: Final = ("claim", "member")
_LAYOUTS_FOLDER: Final = "layouts/"


def advice(tally: Tally, book: RuleBook, extract: Extract) -> tuple[str, ...]:
    """Return advice for each rule that rejected a whole table or most claims.

    The sentences contain counts, names and places only. Advice about claims comes first, then
    about members, then about other tables.
    """
    totals = {rule_totals.rule: rule_totals for rule_totals in tally.rules(book)}
    advice_by_rule: dict[str, str] = {}
    for table, counts in _lost_tables(tally.counts):
        causes = [
            (rows, rule)
            for (rule, cause_table), rows in tally.causes.items()
            if cause_table == table
        ]
        rows, rule = min((-rows, rule) for rows, rule in causes)
        if rule not in advice_by_rule:
            rejected = f"{counts.quarantined:,} of {counts.rows_in:,} {table} rows were rejected"
            share = f"{-rows:,} of them because of {rule}"
            remedy = _suggest_fix(book[rule], totals[rule], tally, extract)
            advice_by_rule[rule] = f"{rejected}, {share}: {totals[rule].says} {remedy}"
    return tuple(advice_by_rule.values())


def missing_cells(tally: Tally, definitions: Definitions) -> tuple[MissingCells, ...]:
    """Count the missing required cells by rule and column, most frequent first."""
    requiring = {
        rule.id for rule in definitions.book.rules if isinstance(rule.kind, Required | AnyFilled)
    }
    requiring |= {
        obligation.rule
        for obligations in definitions.obligations.values()
        for obligation in obligations
        if obligation.kind == "required"
    }
    missing = [
        MissingCells(rule, table, column or None, cells)
        for (rule, table, column), cells in tally.cells.items()
        if rule in requiring
    ]
    missing.sort(key=lambda value: (-value.cells, value.rule, value.table, value.column or ""))
    return tuple(missing)


def empty_crosswalks(tally: Tally, layout: Layout) -> tuple[EmptyCrosswalk, ...]:
    """Return the crosswalks of a layout that cells use although they have no code."""
    answers = {
        f"{_LAYOUTS_FOLDER}{crosswalk.name.removeprefix(_LAYOUTS_FOLDER)}": crosswalk.rows.values()
        for crosswalk in layout.crosswalks.values()
    }
    cells: dict[str, dict[str, int]] = {}
    for key, name in _crosswalk_names(layout).items():
        _, table, column = key
        count = tally.cells.get(key, 0)
        if count and not any(any(row) for row in answers.get(name, ())):
            cells.setdefault(name, {})[f"{table}.{column}"] = count
    return tuple(
        EmptyCrosswalk(name, tuple(sorted(columns)), sum(columns.values()))
        for name, columns in sorted(cells.items(), key=lambda entry: -sum(entry[1].values()))
    )


def _lost_tables(counts: Mapping[str, RowCounts]) -> Iterator[tuple[str, RowCounts]]:
    for table in dict.fromkeys([*_MAIN_TABLES, *counts]):
        rows = counts.get(table, RowCounts())
        is_all = rows.quarantined == rows.rows_in and (
            rows.rows_in >= _FEW_ROWS or table in _MAIN_TABLES
        )
        if rows.quarantined and (
            is_all or (table == "claim" and 2 * rows.quarantined > rows.rows_in)
        ):
            yield table, rows


def _suggest_fix(rule: Rule, totals: RuleTotals, tally: Tally, extract: Extract) -> str:
    crosswalk = _find_crosswalk(rule, totals, tally, extract.layout)
    if crosswalk is not None:
        cells, column, name = crosswalk
        return (
            f"The crosswalk {name} has no code for {cells:,} cells of {column}: add codes to "
            f"mappings/crosswalks/{name}.csv, or to a file of that name in your own folder "
            "(--mappings)."
        )
    look = f"Look at {_first_place(totals, extract)}, and correct the extract or its layout"
    if rule.firm:
        return f"{look}."
    return (
        f"{look}. If the rule is too strict for this data, lower its severity with "
        "rules.severities."
    )


def _find_crosswalk(
    rule: Rule, totals: RuleTotals, tally: Tally, layout: Layout
) -> tuple[int, str, str] | None:
    """Return the crosswalk behind a cause: cells without a code, their column, and its name."""
    columns = {(t, c) for (r, t, c) in tally.cells if r == rule.id and c}
    if isinstance(rule.kind, Allowed) and rule.kind.crosswalk:
        column = ".".join(min(columns)) if columns else rule.tables[0]
        return totals.findings, column, rule.kind.crosswalk
    child = rule.kind.child if isinstance(rule.kind, Childless) else None
    candidates = [
        (-count, f"{table}.{column}", name)
        for (cell_crosswalk, table, column), count in tally.cells.items()
        if (table == child or (table, column) in columns)
        and (name := _crosswalk_names(layout).get((cell_crosswalk, table, column)))
    ]
    if not candidates:
        return None
    count, column, name = min(candidates)
    return -count, column, name


def _crosswalk_names(layout: Layout) -> dict[tuple[str, str, str], str]:
    """Return (rule, table, column) -> name of the crosswalk that translates the column."""
    return {
        (
            spec.rule,
            table.table,
            column,
        ): f"{_LAYOUTS_FOLDER}{spec.crosswalk.name.removeprefix(_LAYOUTS_FOLDER)}"
        for table in layout.tables
        for columns in (table.columns, *table.rows)
        for column, spec in columns.items()
        if spec.crosswalk is not None
    }


def _first_place(totals: RuleTotals, extract: Extract) -> str:
    names = extract.names
    if not totals.examples or not 0 <= totals.examples[0].file < len(names):
        return "the report"
    first = totals.examples[0]
    row = "" if first.row is None else f" row {first.row}"
    return f"{names[first.file]}{row}{first.column and f', column {first.column}'}"
