"""References between the rows of a directory, followed until nothing changes.

A row that is not in force is withdrawn, together with the rows that are meaningless without it.
Rows that depend on a rejected row are rejected. All other references to rows that are not published
are left out, of a list one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import compound_keys, list_values, lists_of, true_where
from etl.columns.navigation import positions
from etl.model.canonical_tables import TABLES, FieldType
from etl.quality.checks.frames import NO_RULE, Frame, Rejections, Work
from etl.quality.rules import kinds
from etl.quality.rules.book import Rule


@dataclass(frozen=True, slots=True)
class _Named:
    """A column that names rows of a table.

    Attributes:
        rule: the rule that checks it.
        frame: of the column.
        column: one name, or a list of them.
        target: the table.
        along: columns that are left out with the name.
        within: columns that both tables have, and the rest of the target's key.
    """

    rule: Rule
    frame: Frame
    column: str
    target: Frame
    along: tuple[str, ...] = ()
    within: tuple[str, ...] = ()

    @property
    def names(self) -> pa.StringArray:
        """Key of the target that each row names, or a list of them; null where absent."""
        return self._key(self.frame, self.column)

    def keys(self, where: Any) -> pa.StringArray:
        """Return the keys of some rows of the target."""
        column = self.target.spec.key[len(self.within)]
        return self._key(self.target, column).filter(pa.array(where))

    def _key(self, frame: Frame, column: str) -> pa.StringArray:
        last = frame.cells(column).text
        if not self.within:
            return last
        return compound_keys(*(frame.cells(name).text for name in self.within), last)

    @property
    def is_list(self) -> bool:
        """Whether a cell holds several names."""
        column = TABLES[self.frame.name].column(self.column)
        return column is not None and column.type is FieldType.LIST


class References:
    """The references of one directory.

    Args:
        work: its rows, checked; rows that are not in force are marked.
        of: rejections of every table; those that follow are added.
    """

    def __init__(self, work: Work, of: Mapping[str, Rejections]) -> None:
        self._work, self._of = work, of
        frames = work.frames
        named = [
            _Named(rule, frames[table], column, frames[kind.of], kind.along, kind.within)
            for rule, kind, table in work.book.by_table(kinds.NamesNobody)
            for column in kind.columns
            if frames[table].count
        ]
        self._rejecting = [reference for reference in named if reference.rule.severity.rejects]
        self._others = [reference for reference in named if not reference.rule.severity.rejects]

    def settle(self) -> None:
        """Withdraw and reject dependent rows, then leave out all other references."""
        moved = True
        while moved:
            moved = False
            for reference in self._rejecting:
                moved |= self._follow(reference)
        frames = self._work.frames
        for rule, kind, table in self._work.book.by_table(kinds.WithdrawnName):
            self._shorten(rule, kind, frames[table])
        for reference in self._others:
            self._leave_out(reference)
        for rule, circle, table in self._work.book.by_table(kinds.Circle):
            self._open(rule, frames[table], circle.column)

    def _stands(self, frame: Frame) -> Any:
        return ~(frame.superseded | frame.withdrawn | self._of[frame.name].rows | frame.bare)

    def _follow(self, named: _Named) -> bool:
        """Take out rows that refer to no remaining row; return whether there were any."""
        work, frame, target = self._work, named.frame, named.target
        text = named.names
        found = true_where(pc.is_in(text, value_set=named.keys(self._stands(target))))
        astray = self._stands(frame) & frame.filled(named.column) & ~found
        astray &= work.holds(named.rule, frame)
        if not astray.any():
            return False
        withdrawn = true_where(pc.is_in(text, value_set=named.keys(target.withdrawn)))
        withdrawn &= astray
        if withdrawn.any():
            frame.withdrawn |= withdrawn
            rule = work.book.single(kinds.HangsOnWithdrawn)
            work.record(rule, frame, np.flatnonzero(withdrawn), named.column)
        rejections = self._of[target.name]
        at = positions(text, named.keys(rejections.rows))
        cause = np.append(rejections.cause[rejections.rows], NO_RULE)[at]
        hangs = astray & ~withdrawn & (cause != NO_RULE)
        if hangs.any():
            rule = work.book.single(kinds.HangsOnRejected)
            self._of[frame.name].add(work.book.numbers[rule.id], hangs, cause)
            work.record(rule, frame, np.flatnonzero(hangs), named.column)
        nobody = astray & ~withdrawn & ~hangs
        if nobody.any():
            self._of[frame.name].add(work.book.numbers[named.rule.id], nobody)
            work.record(named.rule, frame, np.flatnonzero(nobody), named.column)
        return True

    def _leave_out(self, named: _Named) -> None:
        """Leave out references to rows that are not published, in rows that are."""
        work, frame = self._work, named.frame
        text = named.names
        if text.null_count == len(text):
            return
        known = named.keys(self._stands(named.target))
        looked_at = self._stands(frame) & work.holds(named.rule, frame)
        if not named.is_list:
            astray = looked_at & frame.filled(named.column)
            astray &= ~true_where(pc.is_in(text, value_set=known))
            if astray.any():
                work.record(named.rule, frame, np.flatnonzero(astray), named.column)
                for column in (named.column, *named.along):
                    frame.blank(column, astray)
            return
        values, owners = list_values(text)
        lost = ~true_where(pc.is_in(values, value_set=known)) & looked_at[owners]
        self._drop(named.rule, frame, named.column, lost)

    def _shorten(self, rule: Rule, kind: kinds.WithdrawnName, frame: Frame) -> None:
        """Take out of lists what withdrawn rows say is over, in rows that stand."""
        by = self._work.frames[kind.by]
        gone = by.withdrawn
        if not frame.count or not gone.any():
            return
        over = [by.cells(name).text.filter(pa.array(gone)) for name in by.spec.key]
        values, owners = list_values(frame.cells(kind.column).text)
        own = frame.cells(frame.spec.key[0]).text.take(pa.array(owners))
        lost = true_where(
            pc.is_in(compound_keys(own, values), value_set=compound_keys(*over), skip_nulls=True)
        )
        looked_at = self._stands(frame) & self._work.holds(rule, frame)
        self._drop(rule, frame, kind.column, lost & looked_at[owners])

    def _drop(self, rule: Rule, frame: Frame, column: str, lost: Any) -> None:
        """Leave out values of lists, those at `lost` of `list_values`, and record it."""
        if not lost.any():
            return
        values, owners = list_values(frame.cells(column).text)
        self._work.record(rule, frame, np.unique(owners[lost]), column)
        frame.remember(column)
        kept = values.filter(pa.array(~lost))
        frame.put(column, lists_of(kept, owners[~lost], frame.count))

    def _open(self, rule: Rule, frame: Frame, column: str) -> None:
        """Leave out one link of each circle: that of the row with the greatest key."""
        if not frame.count:
            return
        stands = np.flatnonzero(self._stands(frame))
        keys = frame.cells(frame.spec.key[0]).text.take(pa.array(stands))
        up = positions(frame.cells(column).text.take(pa.array(stands)), keys)
        names = keys.to_pylist()
        seen = np.full(len(stands), -1, dtype=np.int64)
        last: list[int] = []
        for start in range(len(stands)):
            at = start
            while at >= 0 and seen[at] < 0:
                seen[at] = start
                at = int(up[at])
            if at >= 0 and seen[at] == start:
                circle, step = [at], int(up[at])
                while step != at:
                    circle.append(step)
                    step = int(up[step])
                last.append(max(circle, key=lambda reference: str(names[reference])))
        if last:
            where = np.zeros(frame.count, dtype=bool)
            where[stands[last]] = True
            work = self._work
            work.record(rule, frame, np.flatnonzero(where), column)
            frame.blank(column, where)
