"""Cascade: turn failures into rejected rows, and reject the rows that depend on those.

    member ─▶ coverage ─▶ claim ─▶ its lines and other children ─▶ children of a line
                            ▲
    a child that rejects its claim, or (by their own rules) a rejected line or successor

Prior authorizations cascade like claims (`canonical_tables.HEADERS`). Rows of a withdrawn header
are withdrawn with it. Every rejected row has the rule that rejected it and the rule where the chain
began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import true_where
from etl.model.canonical_tables import CHILDREN, CLAIMS_TABLES, HEADER_OF, HEADERS, KEYS, LINES
from etl.model.severity import Severity
from etl.quality.checks.frames import NO_RULE, Failure, Frame, Rejections, Work
from etl.quality.checks.references import References
from etl.quality.rules import kinds

NEIGHBOR_REJECTED: Final = ("claim-successor-rejected", "claim-prior-rejected")
"""Rules of claims that only rejected claims of their chain supersede, and of claims that follow a
rejected one."""

FindStranded: TypeAlias = Callable[[Mapping[str, Rejections]], Mapping[str, Any]]
"""Maps rejected rows to the claims that each rule of `NEIGHBOR_REJECTED` finds: numpy `bool`, shape
(claims,)."""


@dataclass(slots=True)
class _Cascade:
    """Rejects the failing rows of one partition, then the rows that depend on them."""

    work: Work
    find_stranded: FindStranded | None = None
    rejected: dict[str, Rejections] = field(default_factory=dict)

    def run(self) -> Mapping[str, Rejections]:
        """Return the rejected rows of every table; findings about dependent rows are recorded."""
        for name, frame in self.work.frames.items():
            self.rejected[name] = Rejections(
                np.full(frame.count, NO_RULE, np.int32), np.full(frame.count, NO_RULE, np.int32)
            )
        if "claim" not in self.work.frames:
            self._reject_all_failed()
            References(self.work, self.rejected).resolve()
            return self.rejected
        self._withdraw_below_headers()
        self._reject_all_failed()
        for name in KEYS:
            self._reject_malformed_keys(name)
        for name, table in CLAIMS_TABLES.items():
            if table.owner == "member" and name not in HEADERS:
                self._reject_children(name, "member")
        self._reject_headers()
        for header in HEADERS:
            self._reject_children(header, "member")
            self._reject_children(header, "coverage")
            self._reject_for_lines(header)
        self._reject_predecessors()
        for header in HEADERS:
            for child in CHILDREN[header]:
                self._reject_children(child, header)
            for child in CHILDREN[header]:
                if CLAIMS_TABLES[child].owner == LINES[header]:
                    self._reject_children(child, LINES[header])
        self._reject_unnumbered()
        return self.rejected

    def _withdraw_below_headers(self) -> None:
        for header, children in CHILDREN.items():
            withdrawn = np.append(self.work.frames[header].withdrawn, False)
            for child in children if withdrawn.any() else ():
                frame = self.work.frames[child]
                frame.withdrawn |= withdrawn[self.work.parents(frame, header)] & ~frame.superseded

    def _reject_all_failed(self) -> None:
        for failure in list(self.work.failures):
            self._reject_failed(failure)

    def _reject_failed(self, failure: Failure) -> None:
        rule = self.work.book.rules[failure.rule]
        if not rule.severity.rejects:
            return
        frame = self.work.frames[failure.table]
        fails = np.zeros(frame.count, dtype=bool)
        fails[failure.at] = True
        self.rejected[failure.table].add(failure.rule, fails & ~frame.superseded & ~frame.withdrawn)

    def _reject_malformed_keys(self, table: str) -> None:
        """Reject rows with the key of a malformed row: which one is right is unknown."""
        frame = self.work.frames[table]
        if not frame.malformed.any():
            return
        key = frame.cells(KEYS[table]).text
        rows = np.flatnonzero(frame.malformed)
        index = pc.index_in(key, value_set=key.take(pa.array(rows)), skip_nulls=True)
        cause = np.append(self.rejected[table].cause[rows], NO_RULE)[pc.fill_null(index, len(rows))]
        self._reject_dependent(frame, (cause != NO_RULE) & ~frame.malformed, cause)

    def _reject_headers(self) -> None:
        """Reject the claims and prior authorizations of rows whose rule rejects the claim."""
        book = self.work.book
        for failure in list(self.work.failures):
            rule, header = book.rules[failure.rule], HEADER_OF.get(failure.table, failure.table)
            if rule.severity is not Severity.REJECT_CLAIM or failure.table == header:
                continue
            child, headers = self.work.frames[failure.table], self.work.frames[header]
            positions = failure.at[~(child.superseded | child.withdrawn)[failure.at]]
            parents = self.work.parents(child, header)[positions]
            where = np.zeros(headers.count, dtype=bool)
            where[parents[parents >= 0]] = True
            self._reject_dependent(headers, where, failure.rule)

    def _reject_for_lines(self, header: str) -> None:
        rule = self.work.book.single(kinds.LineRejected)
        lines, claims = self.work.frames[LINES[header]], self.work.frames[header]
        rejected = np.flatnonzero(self.rejected[lines.name].rows)
        parents = self.work.parents(lines, header)[rejected]
        rejected, parents = rejected[parents >= 0], parents[parents >= 0]
        if not len(parents):
            return
        is_rejected = np.zeros(claims.count, dtype=bool)
        is_rejected[parents] = True
        is_rejected &= self.rejected[header].rule == NO_RULE
        self.work.record(rule, claims, np.flatnonzero(is_rejected), None)
        if not rule.severity.rejects:
            # Only the line is dropped, but a claim without any line is rejected.
            is_kept = lines.live & ~self.rejected[lines.name].rows
            kept_parents = self.work.parents(lines, header)[is_kept]
            is_rejected[kept_parents[kept_parents >= 0]] = False
        if is_rejected.any():
            cause = np.full(claims.count, NO_RULE, np.int32)
            # From the last to the first, so that the first line's rule is what remains.
            cause[parents[::-1]] = self.rejected[lines.name].cause[rejected[::-1]]
            self.rejected[header].add(self.work.book.numbers[rule.id], is_rejected, cause)

    def _reject_predecessors(self) -> None:
        """Report claims next to rejected ones in their chain; the rules may reject them."""
        if self.find_stranded is None:
            return
        claims = self.work.frames["claim"]
        rules = [self.work.book[rule_id] for rule_id in NEIGHBOR_REJECTED]
        rejecting = [rule for rule in rules if rule.severity.rejects]
        found = self.find_stranded(self.rejected)
        # Once a claim is rejected, its neighbors in the chain have a rejected neighbor, too.
        while any(found[rule.id].any() for rule in rejecting):
            for rule in rejecting:
                self.work.record(rule, claims, np.flatnonzero(found[rule.id]), None)
                self.rejected["claim"].add(self.work.book.numbers[rule.id], found[rule.id])
            found = self.find_stranded(self.rejected)
        for rule in rules:
            if not rule.severity.rejects:
                self.work.record(rule, claims, np.flatnonzero(found[rule.id]), None)

    def _reject_children(self, child: str, parent: str) -> None:
        """Reject rows with a rejected parent row."""
        children = self.work.frames[child]
        if not self.rejected[parent].rows.any() or not children.count:
            return
        # Rows that share a key are rejected together (or superseded, and then not a parent),
        # so the row found by its key stands for all of them.
        cause = np.append(self.rejected[parent].cause, NO_RULE)[self.work.parents(children, parent)]
        parent_rows = self.work.frames[parent]
        if parent in HEADERS and parent_rows.shared.any():
            # Not a parent, but rows that refer to it are rejected too: their owner is unknown.
            cells = children.cells(KEYS[parent])
            ids = parent_rows.cells(KEYS[parent]).text.filter(pa.array(parent_rows.shared))
            is_shared = cells.spread(true_where(pc.is_in(cells.words, value_set=ids)), absent=False)
            rule = next(
                r for r in self.work.book.of_kinds(kinds.KeyOfTwoMembers) if parent in r.tables
            )
            cause = np.where(is_shared, self.work.book.numbers[rule.id], cause)
        self._reject_dependent(children, cause != NO_RULE, cause)

    def _reject_unnumbered(self) -> None:
        """Reject rows that refer to a line which may be one with an unreadable number."""
        for name, is_dependent in self.work.maybe_unnumbered.items():
            frame, header = self.work.frames[name], HEADER_OF[name]
            lines, headers = self.work.unnumbered_lines(header)
            cause = np.full(self.work.frames[header].count + 1, NO_RULE, np.int32)
            # From the last to the first, so that the first line's rule is what remains.
            cause[headers[::-1]] = self.rejected[LINES[header]].cause[lines[::-1]]
            self._reject_dependent(frame, is_dependent, cause[self.work.parents(frame, header)])

    def _reject_dependent(self, frame: Frame, where: Any, cause: Any) -> None:
        rule = self.work.book.single(kinds.HangsOnRejected)
        number = self.work.book.numbers[rule.id]
        where = where & ~(frame.superseded | frame.withdrawn)
        added = self.rejected[frame.name].add(number, where, cause)
        self.work.record(rule, frame, np.flatnonzero(added), None)


@dataclass(frozen=True, slots=True)
class DecidedRows:
    """The rows of one partition, each accepted, rejected or superseded.

    Attributes:
        work: the partition, checked.
        rejected: rejected rows of every table.
        accepted: every canonical table: accepted rows, canonical text.
        counted: numpy `bool`, shape (accepted claims,): which count in net sums; None for all.
    """

    work: Work
    rejected: Mapping[str, Rejections]
    accepted: Mapping[str, pa.Table]
    counted: Any = None


def decide_rows(work: Work, find_stranded: FindStranded | None = None) -> DecidedRows:
    """Reject the rows that failed and their dependent rows; record findings about the latter.

    Args:
        work: the partition, checked.
        find_stranded: follows adjustment chains; None if they do not matter.
    """
    return decided_rows(work, _Cascade(work, find_stranded).run())


def decided_rows(
    work: Work, rejected: Mapping[str, Rejections], counted: Any = None
) -> DecidedRows:
    """Return the rows of a partition; the accepted ones have no other fate."""
    accepted = {
        name: frame.table(frame.accepted(rejected[name])) for name, frame in work.frames.items()
    }
    return DecidedRows(work, rejected, accepted, counted)


def rules_of_rows(work: Work, table: str, rejected: Rejections) -> Mapping[int, list[int]]:
    """Return, for each rejected row of a table, the numbers of all rules that reject it."""
    rules: dict[int, list[int]] = {int(position): [] for position in np.flatnonzero(rejected.rows)}
    if not rules:
        return rules
    for failure in work.failures:
        if failure.table != table or not work.book.rules[failure.rule].severity.rejects:
            continue
        for position in failure.at.tolist():
            if position in rules and failure.rule not in rules[position]:
                rules[position].append(failure.rule)
    return rules
