"""Missing cells, empty crosswalks, and advice where most of an extract was rejected."""

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

_FEW: Final = 10
"""A table with fewer rows is lost with a claim or two; members and claims count at any number."""

_MAIN: Final = ("claim", "member")
_OF_LAYOUTS: Final = "layouts/"


def advice(tally: Tally, book: RuleBook, extract: Extract) -> tuple[str, ...]:
    """Return a sentence or two for each cause that cost a whole table or most claims.

    They hold counts, names and places only. Which table a cause cost first decides the order:
    claims, members, then the others.
    """
    totals = {rule_totals.rule: rule_totals for rule_totals in tally.rules(book)}
    said: dict[str, str] = {}
    for table, counts in _lost(tally.counts):
        causes = [
            (rows, rule)
            for (rule, cause_table), rows in tally.causes.items()
            if cause_table == table
        ]
        rows, rule = min((-rows, rule) for rows, rule in causes)
        if rule not in said:
            lost = f"{counts.quarantined:,} of {counts.rows_in:,} {table} rows were rejected"
            first = f"{-rows:,} of them because of {rule}"
            remedy = _remedy(book[rule], totals[rule], tally, extract)
            said[rule] = f"{lost}, {first}: {totals[rule].says} {remedy}"
    return tuple(said.values())


def missing_cells(tally: Tally, definitions: Definitions) -> tuple[MissingCells, ...]:
    """Return which required cells are missing, those that are missing most first."""
    asking = {
        rule.id for rule in definitions.book.rules if isinstance(rule.kind, Required | AnyFilled)
    }
    asking |= {
        obligation.rule
        for obligations in definitions.obligations.values()
        for obligation in obligations
        if obligation.what == "required"
    }
    missing = [
        MissingCells(rule, table, column or None, cells)
        for (rule, table, column), cells in tally.cells.items()
        if rule in asking
    ]
    missing.sort(key=lambda value: (-value.cells, value.rule, value.table, value.column or ""))
    return tuple(missing)


def empty_crosswalks(tally: Tally, layout: Layout) -> tuple[EmptyCrosswalk, ...]:
    """Return the crosswalks of a layout that have no code for any word, and cells went through."""
    answers = {
        f"{_OF_LAYOUTS}{crosswalk.name.removeprefix(_OF_LAYOUTS)}": crosswalk.rows.values()
        for crosswalk in layout.crosswalks.values()
    }
    cells: dict[str, dict[str, int]] = {}
    for key, name in _crosswalks(layout).items():
        _, table, column = key
        found = tally.cells.get(key, 0)
        if found and not any(any(row) for row in answers.get(name, ())):
            cells.setdefault(name, {})[f"{table}.{column}"] = found
    return tuple(
        EmptyCrosswalk(name, tuple(sorted(columns)), sum(columns.values()))
        for name, columns in sorted(cells.items(), key=lambda each: -sum(each[1].values()))
    )


def _lost(counts: Mapping[str, RowCounts]) -> Iterator[tuple[str, RowCounts]]:
    for table in dict.fromkeys([*_MAIN, *counts]):
        counts_of_table = counts.get(table, RowCounts())
        is_whole = counts_of_table.quarantined == counts_of_table.rows_in and (
            counts_of_table.rows_in >= _FEW or table in _MAIN
        )
        if counts_of_table.quarantined and (
            is_whole
            or (table == "claim" and 2 * counts_of_table.quarantined > counts_of_table.rows_in)
        ):
            yield table, counts_of_table


def _remedy(rule: Rule, totals: RuleTotals, tally: Tally, extract: Extract) -> str:
    crosswalk = _crosswalk(rule, totals, tally, extract.layout)
    if crosswalk is not None:
        cells, column, name = crosswalk
        return (
            f"The crosswalk {name} has no code for {cells:,} cells of {column}: add codes to "
            f"mappings/crosswalks/{name}.csv, or to a file of that name in your own folder "
            "(--mappings)."
        )
    look = f"Look at {_place(totals, extract)}, and correct the extract or its layout"
    if rule.firm:
        return f"{look}."
    return (
        f"{look}. If the rule is too strict for this data, lower its severity with "
        "rules.severities."
    )


def _crosswalk(
    rule: Rule, totals: RuleTotals, tally: Tally, layout: Layout
) -> tuple[int, str, str] | None:
    """Return the words without a code behind a cause: cells, their column, the crosswalk's name."""
    columns = {(t, c) for (r, t, c) in tally.cells if r == rule.id and c}
    if isinstance(rule.kind, Allowed) and rule.kind.crosswalk:
        column = ".".join(min(columns)) if columns else rule.tables[0]
        return totals.findings, column, rule.kind.crosswalk
    child = rule.kind.child if isinstance(rule.kind, Childless) else None
    cells = [
        (-count, f"{table}.{column}", name)
        for (cell_crosswalk, table, column), count in tally.cells.items()
        if (table == child or (table, column) in columns)
        and (name := _crosswalks(layout).get((cell_crosswalk, table, column)))
    ]
    if not cells:
        return None
    count, column, name = min(cells)
    return -count, column, name


def _crosswalks(layout: Layout) -> dict[tuple[str, str, str], str]:
    """Return (rule, table, column) -> the crosswalk that words of the column go through."""
    return {
        (
            spec.rule,
            table.table,
            column,
        ): f"{_OF_LAYOUTS}{spec.crosswalk.name.removeprefix(_OF_LAYOUTS)}"
        for table in layout.tables
        for columns in (table.columns, *table.rows)
        for column, spec in columns.items()
        if spec.crosswalk is not None
    }


def _place(totals: RuleTotals, extract: Extract) -> str:
    names = extract.names
    if not totals.examples or not 0 <= totals.examples[0].file < len(names):
        return "the report"
    first = totals.examples[0]
    row = "" if first.row is None else f" row {first.row}"
    return f"{names[first.file]}{row}{first.column and f', column {first.column}'}"
