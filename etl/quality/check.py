"""Check one partition: run the rules over its rows, decide on them, and add up the results.

`check_rows` runs the rules in a fixed order: types, single cells, rows, keys, relations. A rule
about rows therefore sees only values that will be published. `decide_rows` rejects the rows that
failed and their dependent rows. Between the two, and after them, claims are finalized
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
    compute_shares,
    sum_filled,
    sum_money,
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
"""Rejected rows: the first rule that rejects each, the rule where the chain began (the same one
unless the row depends on another), and all rejecting rules joined by `;`."""


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
        shares: each member's part in counts, money and filled; None if not requested or if they
            cannot be computed.
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
    malformed: Mapping[str, pa.Table] | None = None,
) -> Checked:
    """Check the rows of one partition that has no claims to finalize.

    Arguments are those of `check_rows`.
    """
    return check_totals(decide_rows(check_rows(tables, from_sources, context, malformed)))


def check_rows(
    tables: Mapping[str, pa.Table],
    from_sources: pa.Table,
    context: RuleContext,
    malformed: Mapping[str, pa.Table] | None = None,
) -> Work:
    """Run every rule over the rows of one partition.

    Args:
        tables: canonical tables by name, raw text; those left out are empty.
        from_sources: findings of reading; a rejecting finding takes its row out.
        context: the rules, and what they look up outside the partition.
        malformed: malformed rows, with their ids only, by table. Rows that a rejecting finding of
            reading is about are quarantined, with the rows that they belong to.
    """
    malformed = malformed or {}
    frames = {}
    for table in context.book.model.tables:
        readable = tables.get(table, empty_table(table))
        malformed_rows = malformed.get(table, empty_table(table))
        rejected = _rejected_rows(malformed_rows, from_sources, context.book, table)
        frames[table] = Frame(table, pa.concat_tables([readable, rejected]), rejected.num_rows)
    work = Work(frames, context, from_sources)
    _reject_by_reading(work, from_sources)
    _run_phases(work)
    return work


def check_totals(decided: DecidedRows, owners: RowOwners | None = None) -> Checked:
    """Add up counts, money and filled cells of one partition.

    Args:
        decided: the rows.
        owners: the owner of each row; None if the members' shares aren't needed.
    """
    work, accepted = decided.work, decided.accepted
    rejected = _rejected_table(decided)
    quarantined = _quarantine_counts(rejected)
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
    member_shares = None if owners is None else compute_shares(decided, rejected, owners)
    if member_shares is None:
        money, filled = money_totals(decided), filled_totals(accepted)
    else:
        money, filled = sum_money(member_shares.money), sum_filled(member_shares.filled)
    return Checked(
        tables=accepted,
        findings=_findings_table(work),
        rejected=rejected,
        counts=counts,
        money=money,
        filled=filled,
        shares=member_shares,
        withdrawn={
            name: place_keys(frame.files, frame.rows)[frame.withdrawn]
            for name, frame in work.frames.items()
            if frame.withdrawn.any()
        },
    )


def _run_phases(work: Work) -> None:
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
    work.clear_parents()
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


def _rejected_rows(malformed: pa.Table, findings: pa.Table, book: RuleBook, table: str) -> pa.Table:
    """Return the malformed rows that a finding rejects."""
    if not malformed.num_rows:
        return malformed
    rule_ids = pa.array([rule.id for rule in book.rules if rule.severity.rejects], pa.string())
    rejecting = findings.filter(
        pc.and_(
            pc.equal(findings.column("table"), table),
            pc.and_(
                pc.is_in(findings.column("rule"), value_set=rule_ids),
                pc.is_valid(findings.column("row")),
            ),
        )
    )
    return malformed.filter(pa.array(np.isin(table_places(malformed), _row_places(rejecting))))


def _row_places(findings: pa.Table) -> Any:
    return place_keys(findings.column("file").to_numpy(), findings.column("row").to_numpy())


def _reject_by_reading(work: Work, findings: pa.Table) -> None:
    """Reject the rows that `sources` has rejecting findings about."""
    for table in pc.unique(findings.column("table")).to_pylist():
        if table not in work.frames:
            continue
        frame = work.frames[table]
        issues = findings.filter(pc.equal(findings.column("table"), table))
        keys = place_keys(frame.files, frame.rows)
        for rule_id in pc.unique(issues.column("rule")).to_pylist():
            rule = work.book[rule_id]
            if not rule.severity.rejects:
                continue
            failures = issues.filter(
                pc.and_(pc.equal(issues.column("rule"), rule_id), pc.is_valid(issues.column("row")))
            )
            work.reject_quietly(rule, frame, np.flatnonzero(np.isin(keys, _row_places(failures))))


def _quarantine_counts(rejected: pa.Table) -> dict[str, int]:
    """Count the quarantined rows of each table.

    Counts rows, not places: several canonical rows can come from one row of a file.
    """
    counts = pc.value_counts(rejected.column("table"))
    return {entry["values"]: entry["counts"] for entry in counts.to_pylist()}


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
    findings = pa.concat_tables(parts).combine_chunks()
    if not findings.num_rows:
        return findings
    order = pc.index_in(findings.column("table"), value_set=pa.array(names, pa.string()))
    keyed = findings.append_column("order", order)
    sort_keys = [("order", "ascending")] + [
        (name, "ascending") for name in ("file", "row", "rule", "column")
    ]
    return findings.take(pc.sort_indices(keyed, sort_keys=sort_keys))


def _rejected_table(decided: DecidedRows) -> pa.Table:
    work, rejected = decided.work, decided.rejected
    ids = [rule.id for rule in work.book.rules]
    rows: list[tuple[str, int, int, str, str, str]] = []
    for table, frame in work.frames.items():
        rules = rules_of_rows(work, table, rejected[table])
        table_rows = [
            (
                table,
                int(frame.files[index]),
                int(frame.rows[index]),
                ids[rejected[table].rule[index]],
                ids[rejected[table].cause[index]],
                ";".join(ids[number] for number in numbers),
            )
            for index, numbers in rules.items()
        ]
        rows.extend(sorted(table_rows, key=lambda row: row[1:3]))
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(REJECTED_SCHEMA)
    arrays = [
        pa.array(column, field.type) for column, field in zip(columns, REJECTED_SCHEMA, strict=True)
    ]
    return pa.table(arrays, schema=REJECTED_SCHEMA)
