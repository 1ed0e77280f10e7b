"""The rules over one partition: check its rows, decide on them, and add up the results.

`check_rows` runs the rules in a fixed order: types, single cells, rows, keys, relations. A rule
about rows therefore sees only values that will be published. `decide_rows` rejects the rows that
failed and their dependent rows. Between the two, and after them, claims are settled
(`checks.claims`). `check_totals` is last. All are pure: nothing is read or written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.places import place_keys, table_places
from etl.model.canonical_tables import HEADERS
from etl.quality.checks import cells, directory, relations, rows
from etl.quality.checks.cascade import DecidedRows, decide_rows, rules_of_rows
from etl.quality.checks.cells import read_types
from etl.quality.checks.duplicates import find_duplicates, find_shared
from etl.quality.checks.frames import Checks, Frame, RuleContext, Work
from etl.quality.rules.book import RuleBook
from etl.quality.rules.kinds import CellKind, RelationKind, RowKind, RuleKind
from etl.quality.totals.by_member import (
    RowOwners,
    Shares,
    shares,
    summed_filled,
    summed_money,
)
from etl.quality.totals.counts import FilledKey, RowCounts, filled_totals
from etl.quality.totals.money import MoneyKey, MoneyTotals, money_totals
from etl.rows import FINDINGS_SCHEMA, empty_table, findings_at

REJECTED_SCHEMA: Final = pa.schema(
    [
        pa.field("table", pa.string()),
        pa.field("file", pa.int32()),
        pa.field("row", pa.int64()),
        pa.field("rule", pa.string()),
        pa.field("cause", pa.string()),
        pa.field("rules", pa.string()),
    ]
)
"""One rejected row a row: the first rule that rejects it, the rule where the chain began (the same
one unless the row depends on another), and all rejecting rules joined by `;`."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Result of checking one partition.

    Attributes:
        tables: every canonical table: accepted rows, canonical text.
        findings: `etl.rows.FINDINGS_SCHEMA`, sorted by place; those of `sources` among them.
        rejected: `REJECTED_SCHEMA`, sorted by place.
        counts: table -> counts of its rows, by fate.
        money: sums by level, claim type and category.
        filled: filled cells of accepted rows.
        shares: each member's part in counts, money and filled; None unless requested, and where
            they cannot be computed.
        withdrawn: table -> file and row of its withdrawn rows (`place_keys`).
    """

    tables: Mapping[str, pa.Table]
    findings: pa.Table
    rejected: pa.Table
    counts: Mapping[str, RowCounts]
    money: Mapping[MoneyKey, MoneyTotals]
    filled: Mapping[FilledKey, int]
    shares: Shares | None = None
    withdrawn: Mapping[str, Any] = field(default_factory=dict)


def check(
    tables: Mapping[str, pa.Table],
    from_sources: pa.Table,
    context: RuleContext,
    unread: Mapping[str, pa.Table] | None = None,
) -> Checked:
    """Check the rows of one partition in which no claims are to be settled, from beginning to end.

    Arguments are those of `check_rows`.
    """
    return check_totals(decide_rows(check_rows(tables, from_sources, context, unread)))


def check_rows(
    tables: Mapping[str, pa.Table],
    from_sources: pa.Table,
    context: RuleContext,
    unread: Mapping[str, pa.Table] | None = None,
) -> Work:
    """Run every rule over the rows of one partition.

    Args:
        tables: canonical tables by name, raw text; those left out are empty.
        from_sources: findings of reading; a rejecting finding takes its row out.
        context: the rules, and what they look up outside the partition.
        unread: rows of which only ids are known, by table. Those that a rejecting finding of
            reading is about are in quarantine, with what they belong to.
    """
    unread = unread or {}
    frames = {}
    for name in context.book.model.tables:
        whole = tables.get(name, empty_table(name))
        bare = unread.get(name, empty_table(name))
        lost = _lost(bare, from_sources, context.book, name)
        frames[name] = Frame(name, pa.concat_tables([whole, lost]), lost.num_rows)
    work = Work(frames, context, from_sources)
    _from_sources(work, from_sources)
    _look(work)
    return work


def check_totals(decided: DecidedRows, owners: RowOwners | None = None) -> Checked:
    """Add up counts, money and filled cells of one partition.

    Args:
        decided: the rows.
        owners: the owner of each row, where each member's shares are wanted.
    """
    work, accepted = decided.work, decided.accepted
    rejected = _rejected_table(decided)
    quarantined = _rows_by_table(rejected)
    counts = {
        name: RowCounts(
            rows_in=frame.count,
            published=accepted[name].num_rows,
            quarantined=quarantined.get(name, 0),
            superseded=int(np.count_nonzero(frame.superseded)),
            withdrawn=int(np.count_nonzero(frame.withdrawn)),
        )
        for name, frame in work.frames.items()
    }
    by_member = None if owners is None else shares(decided, rejected, owners)
    if by_member is None:
        money, filled = money_totals(decided), filled_totals(accepted)
    else:
        money, filled = summed_money(by_member.money), summed_filled(by_member.filled)
    return Checked(
        tables=accepted,
        findings=_findings_table(work),
        rejected=rejected,
        counts=counts,
        money=money,
        filled=filled,
        shares=by_member,
        withdrawn={
            name: place_keys(frame.files, frame.rows)[frame.withdrawn]
            for name, frame in work.frames.items()
            if frame.withdrawn.any()
        },
    )


def _look(work: Work) -> None:
    """Run every rule, phase by phase."""
    for frame in work.frames.values():
        if frame.count:
            read_types(work, frame)
    for name in (*HEADERS, "coverage"):
        if name in work.frames and work.frames[name].count:
            find_shared(work, work.frames[name])
    _run_rules(work, CellKind)
    _run_rules(work, RowKind)
    for frame in work.frames.values():
        if frame.count > 0:
            find_duplicates(work, frame)
    work.forget_above()
    _run_rules(work, RelationKind)


_CHECKS: Final[Checks] = {
    **cells.CHECKS,
    **rows.CHECKS,
    **relations.CHECKS,
    **directory.CHECKS,
}


def _run_rules(work: Work, phase: type[RuleKind]) -> None:
    for rule in work.book.of_kinds(phase):
        for table in rule.tables:
            if work.frames[table].count:
                _CHECKS[type(rule.kind)](work, work.frames[table], rule, rule.kind)


def _lost(bare: pa.Table, findings: pa.Table, book: RuleBook, name: str) -> pa.Table:
    """Return the rows with known ids only that a finding rejects."""
    if not bare.num_rows:
        return bare
    rules = pa.array([rule.id for rule in book.rules if rule.severity.rejects], pa.string())
    of_rule = findings.filter(
        pc.and_(
            pc.equal(findings.column("table"), name),
            pc.and_(
                pc.is_in(findings.column("rule"), value_set=rules),
                pc.is_valid(findings.column("row")),
            ),
        )
    )
    return bare.filter(pa.array(np.isin(table_places(bare), _places(of_rule))))


def _places(findings: pa.Table) -> Any:
    return place_keys(findings.column("file").to_numpy(), findings.column("row").to_numpy())


def _from_sources(work: Work, findings: pa.Table) -> None:
    """Record rejecting findings of `sources` on their rows."""
    for name in pc.unique(findings.column("table")).to_pylist():
        if name not in work.frames:
            continue
        frame = work.frames[name]
        of_table = findings.filter(pc.equal(findings.column("table"), name))
        own = place_keys(frame.files, frame.rows)
        for rule_id in pc.unique(of_table.column("rule")).to_pylist():
            rule = work.book[rule_id]
            if not rule.severity.rejects:
                continue
            here = of_table.filter(
                pc.and_(
                    pc.equal(of_table.column("rule"), rule_id), pc.is_valid(of_table.column("row"))
                )
            )
            work.reject_quietly(rule, frame, np.flatnonzero(np.isin(own, _places(here))))


def _rows_by_table(rejected: pa.Table) -> dict[str, int]:
    """Return how many rows of each table the quarantine names.

    Several canonical rows can come from one row of a file, so places are not what is counted.
    """
    counted = pc.value_counts(rejected.column("table"))
    return {entry["values"]: entry["counts"] for entry in counted.to_pylist()}


def _findings_table(work: Work) -> pa.Table:
    names = list(work.book.model.tables)
    parts = [work.from_sources.cast(FINDINGS_SCHEMA)]
    for failure in work.failures:
        if failure.quiet:
            continue
        frame = work.frames[failure.table]
        rule = work.book.rules[failure.rule].id
        files, rows = (pa.array(numbers[failure.at]) for numbers in (frame.files, frame.rows))
        parts.append(findings_at(rule, failure.table, files, rows, failure.column))
    whole = pa.concat_tables(parts).combine_chunks()
    if not whole.num_rows:
        return whole
    order = pc.index_in(whole.column("table"), value_set=pa.array(names, pa.string()))
    keyed = whole.append_column("order", order)
    by = [("order", "ascending")] + [
        (name, "ascending") for name in ("file", "row", "rule", "column")
    ]
    return whole.take(pc.sort_indices(keyed, sort_keys=by))


def _rejected_table(decided: DecidedRows) -> pa.Table:
    work, rejected = decided.work, decided.rejected
    ids = [rule.id for rule in work.book.rules]
    rows: list[tuple[str, int, int, str, str, str]] = []
    for name, frame in work.frames.items():
        rules = rules_of_rows(work, name, rejected[name])
        mine = [
            (
                name,
                int(frame.files[index]),
                int(frame.rows[index]),
                ids[rejected[name].rule[index]],
                ids[rejected[name].cause[index]],
                ";".join(ids[number] for number in numbers),
            )
            for index, numbers in rules.items()
        ]
        rows.extend(sorted(mine, key=lambda row: row[1:3]))
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(REJECTED_SCHEMA)
    arrays = [
        pa.array(column, field.type) for column, field in zip(columns, REJECTED_SCHEMA, strict=True)
    ]
    return pa.table(arrays, schema=REJECTED_SCHEMA)
