"""Canonical rows while they are being checked: columns, their distinct values, and parent rows.

Most columns hold few distinct values. A column is therefore dictionary-encoded once, every rule
about single cells runs over the distinct values only, and on clean data costs nothing a row.
Rejected rows have the rule that rejected them and the one that began it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns import dates, numbers
from etl.columns.arrays import as_array, blanked, compound_keys, list_values, true_where
from etl.columns.navigation import positions, positions_of_keys
from etl.model.canonical_tables import (
    FILE_COLUMN,
    HEADER_OF,
    HEADERS,
    KEYS,
    LINES,
    ROW_COLUMN,
    TABLES,
    FieldType,
)
from etl.model.severity import Severity
from etl.quality.rules.book import Rule, RuleBook
from etl.quality.rules.kinds import Clause, Condition, RuleKind
from etl.rows import FINDINGS_SCHEMA

NO_RULE: Final = -1
NO_MOMENT: Final = np.iinfo(np.int64).min
_DAY: Final = len("2026-01-01")


def _microseconds(instant: str) -> int:
    """Return an instant as microseconds since 1970; in canonical form it has its zone."""
    elapsed = datetime.fromisoformat(instant) - datetime(1970, 1, 1, tzinfo=UTC)
    return elapsed // timedelta(microseconds=1)


@dataclass(slots=True)
class Rejections:
    """Rejected rows of one table, with their causes.

    Attributes:
        rule: numpy `int32`, shape (n,): number of the first rule that rejects the row.
        cause: numpy `int32`, shape (n,): number of the rule that began it; the same rule unless
            the row only depends on a rejected one.
    """

    rule: Any
    cause: Any

    @property
    def rows(self) -> Any:
        """Numpy `bool`, shape (n,)."""
        return self.rule != NO_RULE

    def add(self, rule: int, where: Any, cause: Any = None) -> Any:
        """Reject rows that are not rejected yet; return which those are."""
        new = where & (self.rule == NO_RULE)
        self.rule[new] = rule
        self.cause[new] = rule if cause is None else np.broadcast_to(cause, new.shape)[new]
        return new


class KnownKeys(Protocol):
    """Answers about the whole extract.

    Both take `string` of shape (n,) and give `bool` of shape (n,), never null.
    """

    def exists(self, table: str, ids: Any) -> Any:
        """Return which ids are in a table of `KEYS`."""
        ...

    def shared(self, table: str, ids: Any) -> Any:
        """Return which ids of a table stand on rows of more than one member."""
        ...


class NoKeys:
    """`KnownKeys` of an extract of one partition: nothing is elsewhere."""

    def exists(self, table: str, ids: Any) -> Any:
        """Return that no id is in a table."""
        del table
        return pa.repeat(False, len(ids))

    shared = exists


@dataclass(frozen=True, slots=True)
class DirectoryIds:
    """Ids that the directory's tables hold.

    Attributes:
        organizations, practitioners: `string`; ids and NPIs alike.
    """

    organizations: Any = field(default_factory=lambda: pa.array([], pa.string()))
    practitioners: Any = field(default_factory=lambda: pa.array([], pa.string()))

    def holds(self, ids: Any, tables: Iterable[str]) -> Any:
        """Return which ids stand in any of the tables, as numpy `bool`."""
        listed = {"organization": self.organizations, "practitioner": self.practitioners}
        known = pa.concat_arrays([listed[table] for table in tables])
        return true_where(pc.is_in(ids, value_set=known))


def read_directory(organization: pa.Table, practitioner: pa.Table) -> DirectoryIds:
    """Return the ids and NPIs of the directory's canonical tables."""

    def ids(table: pa.Table, key: str) -> Any:
        both = pa.concat_arrays([as_array(table.column(key)), as_array(table.column("npi"))])
        return as_array(pc.drop_null(pc.unique(both)))

    return DirectoryIds(ids(organization, "organization_id"), ids(practitioner, "practitioner_id"))


_LINE_SHIFT: Final = 32


class Cells:
    """One column: its text, and lazily its distinct values."""

    def __init__(self, text: Any) -> None:
        self.text = text
        self._encoded: tuple[Any, Any] | None = None

    @property
    def empty(self) -> bool:
        """Whether no cell is filled."""
        return bool(self.text.null_count == len(self.text))

    @property
    def codes(self) -> Any:
        """Numpy `int32`, shape (n,): place of each cell in `words`; -1 where absent."""
        return self._encode()[0]

    @property
    def words(self) -> Any:
        """`string`: the distinct values (some may be equal after a rewrite)."""
        return self._encode()[1]

    def _encode(self) -> tuple[Any, Any]:
        if self._encoded is None:
            encoded = self.text.dictionary_encode()
            codes = encoded.indices
            if codes.null_count:
                codes = pc.fill_null(codes, -1)
            self._encoded = codes.to_numpy(zero_copy_only=False), encoded.dictionary
        return self._encoded

    def reword(self, words: Any) -> None:
        """Put other values in the place of the distinct ones; null blanks the cells."""
        codes, old = self._encode()
        if words is old or words.equals(old):
            return
        places = pa.array(codes, mask=codes < 0)
        self.text = as_array(words.take(places))
        self._encoded = None if words.null_count else (codes, words)

    def spread(self, of_words: Any, absent: Any) -> Any:
        """Return one value a cell from one value a distinct word."""
        return np.append(of_words, np.array([absent], dtype=of_words.dtype))[self.codes]


class Frame:
    """The rows of one canonical table.

    Attributes:
        name: the table.
        count: rows.
        files, rows: numpy, where each row came from.
        deleted: numpy `bool`: `record_action` D; such a row has a key and need not have more.
        superseded: numpy `bool`: another row with its key replaces it.
        withdrawn: numpy `bool`: the row is not in force, or depends on one that is not.
        shared: numpy `bool`: rows of two members have its key, so that it has no owner.
        bare: numpy `bool`: only ids of the row are known, and it is rejected: rules are not
            applied to it, but what it belongs to is rejected with it.
        seen: column -> text before rules blanked cells of it, for those columns only.
    """

    def __init__(self, name: str, table: pa.Table, bare: int = 0) -> None:
        self.name = name
        self.spec = TABLES[name]
        self.count = table.num_rows
        self.files = as_array(table.column(FILE_COLUMN)).to_numpy(zero_copy_only=False)
        self.rows = as_array(table.column(ROW_COLUMN)).to_numpy(zero_copy_only=False)
        self.deleted = np.zeros(self.count, dtype=bool)
        self.superseded = np.zeros(self.count, dtype=bool)
        self.withdrawn = np.zeros(self.count, dtype=bool)
        self.shared = np.zeros(self.count, dtype=bool)
        self.bare = np.arange(self.count) >= self.count - bare
        self.seen: dict[str, Any] = {}
        self._table = table
        self._cells: dict[str, Cells] = {}
        self._numbers: dict[str, Any] = {}
        self._ambiguous: bool | None = None

    def cells(self, column: str) -> Cells:
        """Return one column."""
        cells = self._cells.get(column)
        if cells is None:
            cells = self._cells[column] = Cells(as_array(self._table.column(column)))
        return cells

    def filled(self, column: str) -> Any:
        """Return numpy `bool`, shape (n,): where the column is filled."""
        text = self.cells(column).text
        if text.null_count == 0:
            return np.ones(self.count, dtype=bool)
        return pc.is_valid(text).to_numpy(zero_copy_only=False)

    def blank(self, column: str, where: Any) -> None:
        """Make cells absent, and keep their previous text."""
        self.remember(column)
        self.put(column, blanked(self.cells(column).text, where))

    def remember(self, column: str) -> None:
        """Keep the text of a column as the rules saw it, before cells of it are blanked."""
        self.seen.setdefault(column, self.cells(column).text)

    def put(self, column: str, text: Any) -> None:
        """Put other text into a column."""
        self._cells[column] = Cells(text)
        self._numbers.pop(column, None)

    def days(self, column: str) -> Any:
        """Return dates as numpy `int32` days since 1970; `dates.NO_DAY` where absent.

        Of an instant, the day as it is written.
        """
        if column not in self._numbers:
            cells = self.cells(column)
            self._numbers[column] = cells.spread(dates.stated_days(cells.words), dates.NO_DAY)
        return self._numbers[column]

    def moments(self, column: str) -> Any:
        """Return instants as numpy `int64` microseconds since 1970; `NO_MOMENT` for days."""
        cells = self.cells(column)
        moments = [
            NO_MOMENT if len(word) <= _DAY else _microseconds(word)
            for word in cells.words.to_pylist()
        ]
        return cells.spread(np.array(moments, dtype=np.int64), NO_MOMENT)

    def cents(self, column: str) -> Any:
        """Return amounts as numpy `int64` cents; 0 where absent."""
        if column not in self._numbers:
            cells = self.cells(column)
            self._numbers[column] = cells.spread(numbers.cents(cells.words), 0)
        return self._numbers[column]

    def whole(self, column: str) -> Any:
        """Return integers as numpy `int64`; 0 where absent."""
        if column not in self._numbers:
            cells = self.cells(column)
            self._numbers[column] = cells.spread(numbers.integers(cells.words), 0)
        return self._numbers[column]

    @property
    def ambiguous(self) -> bool:
        """Whether several rows may have one key; exact once duplicates are marked."""
        if self._ambiguous is None:
            keys = [self.cells(column) for column in self.spec.key]
            self._ambiguous = len(keys) > 1 or len(keys[0].words) < self.count
        return self._ambiguous

    def tell_ambiguous(self, ambiguous: bool) -> None:
        """Set whether several rows have one key, once duplicates are marked."""
        self._ambiguous = ambiguous

    @property
    def live(self) -> Any:
        """Numpy `bool`: rows that are neither superseded nor deletions."""
        return ~(self.deleted | self.superseded)

    @property
    def whole_rows(self) -> Any:
        """Numpy `bool`: live rows with cells that could be read."""
        return self.live & ~self.bare

    def table(self, keep: Any) -> pa.Table:
        """Return the canonical text of the rows at `keep`, with their places."""
        schema = self._table.schema
        arrays = [
            self._cells[name].text if name in self._cells else self._table.column(name)
            for name in schema.names
        ]
        whole = pa.Table.from_arrays(arrays, schema=schema)
        return whole if keep.all() else whole.filter(pa.array(keep))


@dataclass(frozen=True, slots=True)
class Failure:
    """Rows of one table that fail one rule, in one column or as a whole.

    Attributes:
        rule: number of the rule in its book.
        table: the table.
        at: numpy `int64`: places of the rows in the table, ascending.
        column: the column, or None.
        quiet: `sources` has written this finding already.
    """

    rule: int
    table: str
    at: Any
    column: str | None
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class RuleContext:
    """The rules, and what they look up outside a partition.

    Attributes:
        book: the rules.
        known: what other partitions hold.
        directory: ids of the directory's tables.
        as_of: day of the extract, in days since 1970 (`dates.day_number`); None where it is not
            stated.
    """

    book: RuleBook
    known: KnownKeys
    directory: DirectoryIds
    as_of: int | None = None


@dataclass(slots=True)
class Work:
    """One partition on its way through the checks.

    Attributes:
        frames: every table by name.
        context: the rules, and what they look up outside the partition.
        from_sources: findings of reading; `etl.rows.FINDINGS_SCHEMA`.
        failures: what was found so far, in the order of finding.
        of_unread_lines: table -> numpy `bool`, shape (n,): rows that name a line which their claim
            does not have, where a line of it has no number that could be read: it may be that one.
    """

    frames: Mapping[str, Frame]
    context: RuleContext
    from_sources: pa.Table = field(default_factory=FINDINGS_SCHEMA.empty_table)
    failures: list[Failure] = field(default_factory=list)
    of_unread_lines: dict[str, Any] = field(default_factory=dict)
    _above: dict[tuple[str, str], Any] = field(default_factory=dict)

    @property
    def book(self) -> RuleBook:
        """The rules."""
        return self.context.book

    def fail(self, rule: Rule, frame: Frame, where: Any, column: str | None = None) -> None:
        """Record that rows fail a rule, as far as the rule applies to them.

        Arguments are those of `fail_rows`.
        """
        if where.any():
            self.fail_rows(rule, frame, where & self.holds(rule, frame) & ~frame.superseded, column)

    def fail_rows(self, rule: Rule, frame: Frame, where: Any, column: str | None = None) -> None:
        """Record that rows fail a rule; blank the cells if the rule says so.

        Args:
            where: numpy `bool`, shape (n,).
            column: the failing column; None if the row as a whole fails.
        """
        if frame.bare.any():
            where = where & ~frame.bare
        self.record(rule, frame, np.flatnonzero(where), column)
        if rule.blanks and column is not None and where.any():
            frame.blank(column, where)

    def record(self, rule: Rule, frame: Frame, positions: Any, column: str | None) -> None:
        """Record failing rows by their places, and blank nothing."""
        if len(positions):
            self.failures.append(Failure(self.book.numbers[rule.id], frame.name, positions, column))

    def reject_quietly(self, rule: Rule, frame: Frame, positions: Any) -> None:
        """Record failing rows that have a finding already."""
        if len(positions):
            number = self.book.numbers[rule.id]
            self.failures.append(Failure(number, frame.name, positions, None, quiet=True))

    def rejected_so_far(self, frame: Frame, *severities: Severity) -> Any:
        """Return numpy `bool`, shape (n,): rows that a rule of some severity has failed already."""
        rows = np.zeros(frame.count, dtype=bool)
        for failure in self.failures:
            severity = self.book.rules[failure.rule].severity
            if failure.table == frame.name and severity in severities:
                rows[failure.at] = True
        return rows

    def holds(self, rule: Rule, frame: Frame) -> Any:
        """Return numpy `bool`, shape (n,): rows that the rule applies to.

        Other faults of a row without an owner are not reported: they would depend on what else
        lies in the partition.
        """
        looked_at = ~(frame.deleted | frame.shared)
        if rule.when:
            looked_at &= self._holds(rule.when, frame)
        if rule.unless:
            looked_at &= ~self._holds(rule.unless, frame)
        return looked_at

    def _holds(self, condition: Condition, frame: Frame) -> Any:
        holds = np.ones(frame.count, dtype=bool)
        for clause in condition:
            if clause.above and frame.name != clause.above:
                there = np.append(self._clause(self.frames[clause.above], clause), False)
                holds &= there[self.above(frame, clause.above)]
            else:
                holds &= self._clause(frame, clause)
        return holds

    def _clause(self, frame: Frame, clause: Clause) -> Any:
        if not clause.words:
            filled = frame.filled(clause.column)
            return filled if clause.filled else ~filled
        cells = frame.cells(clause.column)
        lower = pc.utf8_lower(cells.words)
        words = pa.array(sorted(clause.words), pa.string())
        here = true_where(pc.is_in(lower, value_set=words))
        spec = frame.spec.column(clause.column)
        if spec is not None and spec.type is FieldType.LIST:  # one of its values is enough
            values, owners = list_values(lower)
            here = np.isin(
                np.arange(len(lower)), owners[true_where(pc.is_in(values, value_set=words))]
            )
        return cells.spread(here, absent="" in clause.words)

    def above(self, frame: Frame, parent: str) -> Any:
        """Return the row above each row.

        Args:
            frame: the rows.
            parent: a table of `KEYS`, or the lines of a header.

        Returns:
            numpy `int64`, shape (n,): place in the parent's frame; -1 where there is none. Rows
            that are superseded are not parents, and a claim and its other payers have no coverage
            but its member's.
        """
        key = (frame.name, parent)
        if key not in self._above:
            find = self._line_above if parent in LINES.values() else self._named_above
            self._above[key] = find(frame, parent)
        return self._above[key]

    def _named_above(self, frame: Frame, parent: str) -> Any:
        above = self.frames[parent]
        places = self._parents(above)
        if parent == "coverage":
            # Another member's coverage is never the claim's, in whatever partition it lies.
            covered, members = above.cells("member_id").text, self.members_of(frame)
            keys = compound_keys(above.cells("coverage_id").text, covered)
            cells = Cells(compound_keys(frame.cells("coverage_id").text, members))
        else:
            keys, cells = above.cells(KEYS[parent]).text, frame.cells(KEYS[parent])
        if len(places) != above.count or above.ambiguous:
            keys = keys.take(pa.array(places))
        index = positions(cells.words, keys)
        return cells.spread(np.where(index < 0, -1, np.append(places, -1)[index]), -1)

    def members_of(self, frame: Frame) -> pa.StringArray:
        """Return the member of each row's claim or other header; null where it is not known."""
        header = HEADER_OF[frame.name]
        members = self.frames[header].cells("member_id").text
        if frame.name == header:
            return members
        above = self.above(frame, header)
        return members.take(pa.array(above, mask=above < 0))

    def _parents(self, above: Frame) -> Any:
        """Return the places of rows that can be a parent; of rows with one key the first counts.

        It is the first by its place in the files, whatever the order of rows in memory. Claims of
        two members are not parents, whichever of them lies in this partition.
        """
        able = ~above.superseded
        if above.name in HEADERS:
            able &= ~above.shared
        places = np.flatnonzero(able)
        if above.ambiguous:
            places = places[np.lexsort((above.rows[places], above.files[places]))]
        return places

    def _line_above(self, frame: Frame, parent: str) -> Any:
        lines = self.frames[parent]
        places = self._parents(lines)
        index = positions_of_keys(self.line_keys(frame), self.line_keys(lines)[places])
        return np.append(places, -1)[index]

    def line_keys(self, frame: Frame) -> Any:
        """Return one number a row for its header and line; -1 where either is unknown."""
        claim = self.above(frame, HEADER_OF[frame.name])
        line = frame.whole("line_number")
        keys = (claim << _LINE_SHIFT) | np.maximum(line, 0)
        return np.where((claim >= 0) & frame.filled("line_number") & (line >= 0), keys, -1)

    def unread_lines(self, header: str) -> tuple[Any, Any]:
        """Return the lines of which the number could not be read, and the header of each.

        Both numpy `int64`, shape (n,): places in their frames, in the order of the files.
        """
        lines = self.frames[LINES[header]]
        claim = self.above(lines, header)
        at = np.flatnonzero(lines.live & ~lines.filled("line_number") & (claim >= 0))
        at = at[np.lexsort((lines.rows[at], lines.files[at]))]
        return at, claim[at]

    def forget_above(self) -> None:
        """Clear the cached parents: some rows are superseded now."""
        self._above.clear()


Checks: TypeAlias = Mapping[type[RuleKind], Callable[[Work, Frame, Rule, Any], None]]
"""Kind of a rule -> the check behind it: runs one rule of the kind over one table."""
