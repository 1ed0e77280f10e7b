"""Resolve the references between the rows of a provider directory until nothing changes.

Rows that depend on a withdrawn row are withdrawn, and rows that depend on a rejected row are
rejected. All other references to unpublished rows are dropped; from a list, one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import compound_keys, first_of_each, list_values, lists_of, true_where
from etl.columns.navigation import positions
from etl.model.canonical_tables import TABLES, FieldType
from etl.quality.checks.frames import NO_RULE, Frame, Rejections, Work
from etl.quality.rules import kinds
from etl.quality.rules.book import Rule


@dataclass(frozen=True, slots=True)
class _Reference:
    """A column that refers to rows of a table.

    Attributes:
        rule: the rule that checks it.
        frame: the rows with the column.
        column: holds one key of the target, or a list of keys.
        target: the table.
        along: columns that are blanked with the reference.
        within: columns that both tables have: the rest of the target's key.
    """

    rule: Rule
    frame: Frame
    column: str
    target: Frame
    along: tuple[str, ...] = ()
    within: tuple[str, ...] = ()

    @property
    def keys(self) -> pa.StringArray:
        """The key, or list of keys, that each row refers to; null if absent."""
        return self._key(self.frame, self.column)

    def targets(self, is_selected: Any) -> pa.StringArray:
        """Return the keys of some rows of the target."""
        column = self.target.spec.key[len(self.within)]
        return self._key(self.target, column).filter(pa.array(is_selected))

    def _key(self, frame: Frame, column: str) -> pa.StringArray:
        last = frame.cells(column).text
        if not self.within:
            return last
        return compound_keys(*(frame.cells(name).text for name in self.within), last)

    @property
    def is_list(self) -> bool:
        """Whether a cell holds several keys."""
        column = TABLES[self.frame.name].column(self.column)
        return column is not None and column.type is FieldType.LIST


class References:
    """The references of one provider directory.

    Args:
        work: its rows, checked; inactive rows are marked as withdrawn.
        rejected: rejections of every table; rejections of dependent rows are added.
    """

    def __init__(self, work: Work, rejected: Mapping[str, Rejections]) -> None:
        self._work, self._rejected = work, rejected
        frames = work.frames
        references = [
            _Reference(rule, frames[table], column, frames[kind.of], kind.along, kind.within)
            for rule, kind, table in work.book.by_table(kinds.NamesNobody)
            for column in kind.columns
            if frames[table].count
        ]
        self._rejecting = [ref for ref in references if ref.rule.severity.rejects]
        self._others = [ref for ref in references if not ref.rule.severity.rejects]

    def resolve(self) -> None:
        """Withdraw and reject dependent rows, then drop all other dangling references."""
        moved = True
        while moved:
            moved = False
            for reference in self._rejecting:
                moved |= self._remove_dangling(reference)
        frames = self._work.frames
        for reference in self._others:
            self._blank_dangling(reference)
        for rule, kind, table in self._work.book.by_table(kinds.WithdrawnName):
            self._drop_withdrawn(rule, kind, frames[table])
        for rule, circle, table in self._work.book.by_table(kinds.Circle):
            self._break_circles(rule, frames[table], circle.column)

    def _is_kept(self, frame: Frame) -> Any:
        excluded = frame.superseded | frame.withdrawn | frame.malformed
        return ~(excluded | self._rejected[frame.name].rows)

    def _remove_dangling(self, reference: _Reference) -> bool:
        """Withdraw or reject rows that refer to no published row; return whether any do."""
        work, frame, target = self._work, reference.frame, reference.target
        keys = reference.keys
        is_found = true_where(pc.is_in(keys, value_set=reference.targets(self._is_kept(target))))
        is_dangling = self._is_kept(frame) & frame.filled(reference.column) & ~is_found
        is_dangling &= work.applies(reference.rule, frame)
        if not is_dangling.any():
            return False
        withdrawn = true_where(pc.is_in(keys, value_set=reference.targets(target.withdrawn)))
        withdrawn &= is_dangling
        if withdrawn.any():
            frame.withdrawn |= withdrawn
            rule = work.book.single(kinds.HangsOnWithdrawn)
            work.record(rule, frame, np.flatnonzero(withdrawn), reference.column)
        rejections = self._rejected[target.name]
        index = positions(keys, reference.targets(rejections.rows))
        cause = np.append(rejections.cause[rejections.rows], NO_RULE)[index]
        is_rejected = is_dangling & ~withdrawn & (cause != NO_RULE)
        if is_rejected.any():
            rule = work.book.single(kinds.HangsOnRejected)
            self._rejected[frame.name].add(work.book.numbers[rule.id], is_rejected, cause)
            work.record(rule, frame, np.flatnonzero(is_rejected), reference.column)
        is_missing = is_dangling & ~withdrawn & ~is_rejected
        if is_missing.any():
            self._rejected[frame.name].add(work.book.numbers[reference.rule.id], is_missing)
            work.record(reference.rule, frame, np.flatnonzero(is_missing), reference.column)
        return True

    def _blank_dangling(self, reference: _Reference) -> None:
        """Blank the references of published rows to unpublished ones, and repeated references."""
        work, frame = self._work, reference.frame
        keys = reference.keys
        if keys.null_count == len(keys):
            return
        published_keys = reference.targets(self._is_kept(reference.target))
        looked_at = self._is_kept(frame) & work.applies(reference.rule, frame)
        if not reference.is_list:
            is_dangling = looked_at & frame.filled(reference.column)
            is_dangling &= ~true_where(pc.is_in(keys, value_set=published_keys))
            if is_dangling.any():
                work.record(reference.rule, frame, np.flatnonzero(is_dangling), reference.column)
                for column in (reference.column, *reference.along):
                    frame.blank(column, is_dangling)
            return
        values, owners = list_values(keys)
        is_dropped = ~true_where(pc.is_in(values, value_set=published_keys)) & looked_at[owners]
        self._drop_values(reference.rule, frame, reference.column, is_dropped)
        self._drop_repeated(frame, reference.column)

    def _drop_repeated(self, frame: Frame, column: str) -> None:
        """Keep each value of a list once; nothing is lost, so there is no finding."""
        values, owners = list_values(frame.cells(column).text)
        is_first = first_of_each(compound_keys(pa.array(owners).cast(pa.string()), values))
        if not is_first.all():
            frame.keep_original(column)
            kept_values = values.filter(pa.array(is_first))
            frame.set_text(column, lists_of(kept_values, owners[is_first], frame.count))

    def _drop_withdrawn(self, rule: Rule, kind: kinds.WithdrawnName, frame: Frame) -> None:
        """Drop the list values of published rows that withdrawn or rejected rows describe."""
        source = self._work.frames[kind.by]
        is_unpublished = source.withdrawn | self._rejected[source.name].rows
        if not frame.count or not is_unpublished.any():
            return
        is_ended = pa.array(is_unpublished)
        ended = [source.cells(name).text.filter(is_ended) for name in source.spec.key]
        values, owners = list_values(frame.cells(kind.column).text)
        keys = frame.cells(frame.spec.key[0]).text.take(pa.array(owners))
        is_dropped = true_where(
            pc.is_in(compound_keys(keys, values), value_set=compound_keys(*ended), skip_nulls=True)
        )
        looked_at = self._is_kept(frame) & self._work.applies(rule, frame)
        self._drop_values(rule, frame, kind.column, is_dropped & looked_at[owners])

    def _drop_values(self, rule: Rule, frame: Frame, column: str, is_dropped: Any) -> None:
        """Drop values of lists by a mask over `list_values`; record the findings."""
        if not is_dropped.any():
            return
        values, owners = list_values(frame.cells(column).text)
        self._work.record(rule, frame, np.unique(owners[is_dropped]), column)
        frame.keep_original(column)
        kept_values = values.filter(pa.array(~is_dropped))
        frame.set_text(column, lists_of(kept_values, owners[~is_dropped], frame.count))

    def _break_circles(self, rule: Rule, frame: Frame, column: str) -> None:
        """Blank one link of each circle: that of the row with the greatest key."""
        if not frame.count:
            return
        published = np.flatnonzero(self._is_kept(frame))
        keys = frame.cells(frame.spec.key[0]).text.take(pa.array(published))
        parents = positions(frame.cells(column).text.take(pa.array(published)), keys)
        key_texts = keys.to_pylist()
        visited_from = np.full(len(published), -1, dtype=np.int64)
        last_links: list[int] = []
        for start in range(len(published)):
            row = start
            while row >= 0 and visited_from[row] < 0:
                visited_from[row] = start
                row = int(parents[row])
            if row >= 0 and visited_from[row] == start:
                circle, step = [row], int(parents[row])
                while step != row:
                    circle.append(step)
                    step = int(parents[step])
                last_links.append(max(circle, key=lambda reference: str(key_texts[reference])))
        if last_links:
            is_last = np.zeros(frame.count, dtype=bool)
            is_last[published[last_links]] = True
            work = self._work
            work.record(rule, frame, np.flatnonzero(is_last), column)
            frame.blank(column, is_last)
