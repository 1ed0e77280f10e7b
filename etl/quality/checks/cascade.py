"""From failures to rejected rows: rows that depend on a rejected row are rejected as well.

    member ─▶ coverage ─▶ claim ─▶ its lines and other children ─▶ children of a line
                            ▲
    a child that rejects its claim, or (by their own rules) a rejected line or successor

A prior authorization is in the place of a claim likewise (`canonical_tables.HEADERS`). Rows below a
header that is not to be published are withdrawn with it.
Every rejected row has the rule that rejected it and the rule where the chain began.
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

SUCCESSOR_REJECTED: Final = "claim-successor-rejected"
"""Rule of a claim that only rejected claims of its chain supersede."""

FindBereft: TypeAlias = Callable[[Mapping[str, Rejections]], Any]
"""Takes the rejected rows, gives the claims that only rejected ones supersede: numpy `bool`, shape
(claims,)."""


@dataclass(slots=True)
class _Cascade:
    """The way from failures to rejected rows of one partition."""

    work: Work
    find_bereft: FindBereft | None = None
    of: dict[str, Rejections] = field(default_factory=dict)

    def run(self) -> Mapping[str, Rejections]:
        """Return the rejected rows of every table; findings about dependent rows are recorded."""
        for name, frame in self.work.frames.items():
            self.of[name] = Rejections(
                np.full(frame.count, NO_RULE, np.int32), np.full(frame.count, NO_RULE, np.int32)
            )
        of_members = "claim" in self.work.frames
        if of_members:
            self._withdraw_below_headers()
        for failure in list(self.work.failures):
            self._own(failure)
        if not of_members:
            References(self.work, self.of).settle()
            return self.of
        for name in KEYS:
            self._doubles(name)
        for name, table in CLAIMS_TABLES.items():
            if table.owner == "member" and name not in HEADERS:
                self._hang(name, "member")
        self._headers_of_children()
        for header in HEADERS:
            self._hang(header, "member")
            self._hang(header, "coverage")
            self._lines_reject(header)
        self._successors_reject_claims()
        for header in HEADERS:
            for child in CHILDREN[header]:
                self._hang(child, header)
            for child in CHILDREN[header]:
                if CLAIMS_TABLES[child].owner == LINES[header]:
                    self._hang(child, LINES[header])
        self._hang_on_unread_lines()
        return self.of

    def _withdraw_below_headers(self) -> None:
        for header, children in CHILDREN.items():
            withdrawn = np.append(self.work.frames[header].withdrawn, False)
            for child in children if withdrawn.any() else ():
                frame = self.work.frames[child]
                frame.withdrawn |= withdrawn[self.work.above(frame, header)] & ~frame.superseded

    def _own(self, failure: Failure) -> None:
        rule = self.work.book.rules[failure.rule]
        if not rule.severity.rejects:
            return
        frame = self.work.frames[failure.table]
        where = np.zeros(frame.count, dtype=bool)
        where[failure.at] = True
        self.of[failure.table].add(failure.rule, where & ~frame.superseded & ~frame.withdrawn)

    def _doubles(self, name: str) -> None:
        """Reject rows with the key of one that could not be read: which one counts is unknown."""
        frame = self.work.frames[name]
        if not frame.bare.any():
            return
        key = frame.cells(KEYS[name]).text
        bare = np.flatnonzero(frame.bare)
        position = pc.index_in(key, value_set=key.take(pa.array(bare)), skip_nulls=True)
        cause = np.append(self.of[name].cause[bare], NO_RULE)[pc.fill_null(position, len(bare))]
        self._hanging(frame, (cause != NO_RULE) & ~frame.bare, cause)

    def _headers_of_children(self) -> None:
        """A failure may reject the whole claim or prior authorization of its row."""
        book = self.work.book
        for failure in list(self.work.failures):
            rule, header = book.rules[failure.rule], HEADER_OF.get(failure.table, failure.table)
            if rule.severity is not Severity.REJECT_CLAIM or failure.table == header:
                continue
            child, headers = self.work.frames[failure.table], self.work.frames[header]
            positions = failure.at[~(child.superseded | child.withdrawn)[failure.at]]
            up = self.work.above(child, header)[positions]
            where = np.zeros(headers.count, dtype=bool)
            where[up[up >= 0]] = True
            self._hanging(headers, where, failure.rule)

    def _lines_reject(self, header: str) -> None:
        rule = self.work.book.single(kinds.LineRejected)
        lines, claims = self.work.frames[LINES[header]], self.work.frames[header]
        rejected = np.flatnonzero(self.of[lines.name].rows)
        up = self.work.above(lines, header)[rejected]
        rejected, up = rejected[up >= 0], up[up >= 0]
        if not len(up):
            return
        where = np.zeros(claims.count, dtype=bool)
        where[up] = True
        where &= self.of[header].rule == NO_RULE
        self.work.record(rule, claims, np.flatnonzero(where), None)
        if not rule.severity.rejects:
            # The line alone is left out; but a claim without any line is rejected.
            kept = lines.live & ~self.of[lines.name].rows
            with_lines = self.work.above(lines, header)[kept]
            where[with_lines[with_lines >= 0]] = False
        if where.any():
            cause = np.full(claims.count, NO_RULE, np.int32)
            # From the last to the first, so that the first line's rule is what remains.
            cause[up[::-1]] = self.of[lines.name].cause[rejected[::-1]]
            self.of[header].add(self.work.book.numbers[rule.id], where, cause)

    def _successors_reject_claims(self) -> None:
        """Report claims that a rejected claim of their chain supersedes; the rule may reject."""
        if self.find_bereft is None:
            return
        rule, claims = self.work.book[SUCCESSOR_REJECTED], self.work.frames["claim"]
        # Once a claim is rejected, the one before it in the chain has a rejected successor too.
        while (where := self.find_bereft(self.of)).any():
            self.work.record(rule, claims, np.flatnonzero(where), None)
            if not rule.severity.rejects:
                break
            self.of["claim"].add(self.work.book.numbers[rule.id], where)

    def _hang(self, child: str, parent: str) -> None:
        """Reject rows with a rejected parent row."""
        below = self.work.frames[child]
        if not self.of[parent].rows.any() or not below.count:
            return
        # Rows that share a key are rejected together (or superseded, and then not a parent),
        # so the row found by its key stands for all of them.
        cause = np.append(self.of[parent].cause, NO_RULE)[self.work.above(below, parent)]
        above = self.work.frames[parent]
        if parent in HEADERS and above.shared.any():
            # Not a parent, yet rows that name it are rejected too: their owner is not known.
            cells = below.cells(KEYS[parent])
            ids = above.cells(KEYS[parent]).text.filter(pa.array(above.shared))
            hangs = cells.spread(true_where(pc.is_in(cells.words, value_set=ids)), absent=False)
            rule = next(
                r for r in self.work.book.of_kinds(kinds.KeyOfTwoMembers) if parent in r.tables
            )
            cause = np.where(hangs, self.work.book.numbers[rule.id], cause)
        self._hanging(below, cause != NO_RULE, cause)

    def _hang_on_unread_lines(self) -> None:
        """Reject rows that name a line which may be one of those that could not be read."""
        for name, where in self.work.of_unread_lines.items():
            frame, header = self.work.frames[name], HEADER_OF[name]
            lines, of = self.work.unread_lines(header)
            cause = np.full(self.work.frames[header].count + 1, NO_RULE, np.int32)
            # From the last to the first, so that the first line's rule is what remains.
            cause[of[::-1]] = self.of[LINES[header]].cause[lines[::-1]]
            self._hanging(frame, where, cause[self.work.above(frame, header)])

    def _hanging(self, frame: Frame, where: Any, cause: Any) -> None:
        rule = self.work.book.single(kinds.HangsOnRejected)
        number = self.work.book.numbers[rule.id]
        where = where & ~(frame.superseded | frame.withdrawn)
        new = self.of[frame.name].add(number, where, cause)
        self.work.record(rule, frame, np.flatnonzero(new), None)


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


def decide_rows(work: Work, find_bereft: FindBereft | None = None) -> DecidedRows:
    """Reject the rows that failed and their dependent rows; record findings about the latter.

    Args:
        work: the partition, checked.
        find_bereft: follows chains of adjustments; None if they have no consequence.
    """
    return decided_rows(work, _Cascade(work, find_bereft).run())


def decided_rows(
    work: Work, rejected: Mapping[str, Rejections], counted: Any = None
) -> DecidedRows:
    """Return the rows of a partition, those accepted that are neither rejected nor superseded."""
    accepted = {
        name: frame.table(~(rejected[name].rows | frame.superseded | frame.withdrawn))
        for name, frame in work.frames.items()
    }
    return DecidedRows(work, rejected, accepted, counted)


def rules_of_rows(work: Work, name: str, rejected: Rejections) -> Mapping[int, list[int]]:
    """Return, for each rejected row of a table, the numbers of all rules that reject it."""
    rules: dict[int, list[int]] = {int(position): [] for position in np.flatnonzero(rejected.rows)}
    if not rules:
        return rules
    for failure in work.failures:
        if failure.table != name or not work.book.rules[failure.rule].severity.rejects:
            continue
        for position in failure.at.tolist():
            if position in rules and failure.rule not in rules[position]:
                rules[position].append(failure.rule)
    return rules
