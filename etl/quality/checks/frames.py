"""Canonical rows while they are being checked: columns, their distinct values, and parent rows.

Most columns have few distinct values. So a column is dictionary-encoded once, and rules about
single cells run over its distinct values: clean data costs nothing per row.
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
from etl.columns.arrays import (
    as_array,
    blanked,
    compound_keys,
    first_of_each,
    list_values,
    matches,
    true_where,
)
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
        cause: numpy `int32`, shape (n,): number of the rule where the chain began; the same rule
            unless the row only depends on a rejected one.
    """

    rule: Any
    cause: Any

    @property
    def rows(self) -> Any:
        """Numpy `bool`, shape (n,)."""
        return self.rule != NO_RULE

    def add(self, rule: int, where: Any, cause: Any = None) -> Any:
        """Reject rows unless they already are; return the newly rejected ones."""
        added = where & (self.rule == NO_RULE)
        self.rule[added] = rule
        self.cause[added] = rule if cause is None else np.broadcast_to(cause, added.shape)[added]
        return added


class KnownKeys(Protocol):
    """Answers about the whole extract.

    Both take `string` of shape (n,) and give `bool` of shape (n,), never null.
    """

    def exists(self, table: str, ids: Any) -> Any:
        """Return which ids are in a table of `KEYS`."""
        ...

    def shared(self, table: str, ids: Any) -> Any:
        """Return which ids of a table are on rows of more than one member."""
        ...


class NoKeys:
    """`KnownKeys` of an extract of one partition: nothing is elsewhere."""

    def exists(self, table: str, ids: Any) -> Any:
        """Return false for every id."""
        del table
        return pa.repeat(False, len(ids))

    shared = exists


@dataclass(frozen=True, slots=True)
class DirectoryIds:
    """Ids in the provider directory's tables.

    Attributes:
        organizations, practitioners, payers: `string`; ids and NPIs.
    """

    organizations: Any = field(default_factory=lambda: pa.array([], pa.string()))
    practitioners: Any = field(default_factory=lambda: pa.array([], pa.string()))
    payers: Any = field(default_factory=lambda: pa.array([], pa.string()))

    def contains(self, ids: Any, tables: Iterable[str]) -> Any:
        """Return which ids are in any of the tables, as numpy `bool`."""
        listed = {
            "organization": self.organizations,
            "practitioner": self.practitioners,
            "payer": self.payers,
        }
        directory_ids = pa.concat_arrays([listed[table] for table in tables])
        return true_where(pc.is_in(ids, value_set=directory_ids))


def read_directory(organization: pa.Table, practitioner: pa.Table) -> DirectoryIds:
    """Return the ids and NPIs of the provider directory's canonical tables."""

    def ids(table: pa.Table, key: str) -> Any:
        key_and_npi = pa.concat_arrays([as_array(table.column(key)), as_array(table.column("npi"))])
        return as_array(pc.drop_null(pc.unique(key_and_npi)))

    is_payer = true_where(pc.equal(pc.utf8_lower(as_array(organization.column("kind"))), "payer"))
    return DirectoryIds(
        ids(organization, "organization_id"),
        ids(practitioner, "practitioner_id"),
        ids(organization.filter(pa.array(is_payer)), "organization_id"),
    )


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
        """Replace the distinct values; null blanks the cells."""
        codes, previous = self._encode()
        if words is previous or words.equals(previous):
            return
        indices = pa.array(codes, mask=codes < 0)
        self.text = as_array(words.take(indices))
        self._encoded = None if words.null_count else (codes, words)

    def spread(self, word_values: Any, absent: Any) -> Any:
        """Expand one value per distinct word to one value per cell."""
        return np.append(word_values, np.array([absent], dtype=word_values.dtype))[self.codes]


class Frame:
    """The rows of one canonical table.

    Attributes:
        name: the table.
        count: rows.
        files, rows: numpy, where each row came from.
        deleted: numpy `bool`: `record_action` is D; such a row needs only its key.
        superseded: numpy `bool`: another row with its key replaces it.
        withdrawn: numpy `bool`: the row is not in force, or depends on one that is not.
        shared: numpy `bool`: rows of two members have its key, so that it has no owner.
        malformed: numpy `bool`: only the ids of the row are known, and it is rejected: rules are
            not applied to it, but the rows that it belongs to are rejected with it.
        original: column -> its text before rules blanked cells; only columns with blanked cells.
    """

    def __init__(self, name: str, table: pa.Table, malformed: int = 0) -> None:
        self.name = name
        self.spec = TABLES[name]
        self.count = table.num_rows
        self.files = as_array(table.column(FILE_COLUMN)).to_numpy(zero_copy_only=False)
        self.rows = as_array(table.column(ROW_COLUMN)).to_numpy(zero_copy_only=False)
        self.deleted = np.zeros(self.count, dtype=bool)
        self.superseded = np.zeros(self.count, dtype=bool)
        self.withdrawn = np.zeros(self.count, dtype=bool)
        self.shared = np.zeros(self.count, dtype=bool)
        self.malformed = np.arange(self.count) >= self.count - malformed
        self.original: dict[str, Any] = {}
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
        self.keep_original(column)
        self.set_text(column, blanked(self.cells(column).text, where))

    def keep_original(self, column: str) -> None:
        """Keep the text of a column that the rules saw, before cells are blanked."""
        self.original.setdefault(column, self.cells(column).text)

    def set_text(self, column: str, text: Any) -> None:
        """Replace the text of a column."""
        self._cells[column] = Cells(text)
        self._numbers.pop(column, None)

    def days(self, column: str) -> Any:
        """Return dates as numpy `int32` days since 1970; `dates.NO_DAY` where absent.

        An instant counts as its day as written.
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

    def integers(self, column: str) -> Any:
        """Return integers as numpy `int64`; 0 where absent."""
        if column not in self._numbers:
            cells = self.cells(column)
            self._numbers[column] = cells.spread(numbers.integers(cells.words), 0)
        return self._numbers[column]

    @property
    def ambiguous(self) -> bool:
        """Whether rows may share a key; exact once duplicates are marked."""
        if self._ambiguous is None:
            keys = [self.cells(column) for column in self.spec.key]
            self._ambiguous = len(keys) > 1 or len(keys[0].words) < self.count
        return self._ambiguous

    def set_ambiguous(self, ambiguous: bool) -> None:
        """Record whether rows share a key, once duplicates are marked."""
        self._ambiguous = ambiguous

    @property
    def live(self) -> Any:
        """Numpy `bool`: rows that are neither superseded nor deletions."""
        return ~(self.deleted | self.superseded)

    @property
    def whole_rows(self) -> Any:
        """Numpy `bool`: live rows that are not malformed."""
        return self.live & ~self.malformed

    def accepted(self, rejections: Rejections) -> Any:
        """Return numpy `bool`: rows with no other fate."""
        return ~(rejections.rows | self.superseded | self.withdrawn)

    def source(self, keep: Any) -> pa.Table:
        """Return the text of the rows to keep as it was before any rule."""
        return self._table if keep.all() else self._table.filter(pa.array(keep))

    def table(self, keep: Any) -> pa.Table:
        """Return the canonical text of the rows to keep, with their places."""
        schema = self._table.schema
        arrays = [
            self._cells[name].text if name in self._cells else self._table.column(name)
            for name in schema.names
        ]
        table = pa.Table.from_arrays(arrays, schema=schema)
        return table if keep.all() else table.filter(pa.array(keep))


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
        known_keys: what other partitions hold.
        directory: ids of the directory's tables.
        as_of: day of the extract, in days since 1970 (`dates.day_number`); None where it is not
            stated.
    """

    book: RuleBook
    known_keys: KnownKeys
    directory: DirectoryIds
    as_of: int | None = None


@dataclass(slots=True)
class Work:
    """One partition on its way through the checks.

    Attributes:
        frames: every table by name.
        context: the rules, and what they look up outside the partition.
        from_sources: findings of reading; `etl.rows.FINDINGS_SCHEMA`.
        failures: the failures so far, in the order in which they were found.
        maybe_unnumbered: table -> numpy `bool`, shape (n,): rows that refer to a line which their
            claim doesn't have, although a line of it has an unreadable number: it may be that one.
    """

    frames: Mapping[str, Frame]
    context: RuleContext
    from_sources: pa.Table = field(default_factory=FINDINGS_SCHEMA.empty_table)
    failures: list[Failure] = field(default_factory=list)
    maybe_unnumbered: dict[str, Any] = field(default_factory=dict)
    _parent_cache: dict[tuple[str, str], Any] = field(default_factory=dict)

    @property
    def book(self) -> RuleBook:
        """The rules."""
        return self.context.book

    def fail(self, rule: Rule, frame: Frame, where: Any, column: str | None = None) -> None:
        """Record that rows fail a rule, as far as the rule applies to them.

        Arguments are those of `fail_rows`.
        """
        if where.any():
            self.fail_rows(
                rule, frame, where & self.applies(rule, frame) & ~frame.superseded, column
            )

    def fail_rows(self, rule: Rule, frame: Frame, where: Any, column: str | None = None) -> None:
        """Record that rows fail a rule; blank the cells if the rule says so.

        Args:
            where: numpy `bool`, shape (n,).
            column: the failing column; None if the row as a whole fails.
        """
        if frame.malformed.any():
            where = where & ~frame.malformed
        self.record(rule, frame, np.flatnonzero(where), column)
        if rule.blanks and column is not None and where.any():
            frame.blank(column, where)

    def record(self, rule: Rule, frame: Frame, positions: Any, column: str | None) -> None:
        """Record failing rows by their positions; blank nothing."""
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

    def applies(self, rule: Rule, frame: Frame) -> Any:
        """Return numpy `bool`, shape (n,): rows that the rule applies to.

        Other faults of a row without an owner are not reported: they would depend on the other rows
        of the partition.
        """
        looked_at = ~(frame.deleted | frame.shared)
        if rule.when:
            looked_at &= self._matches_condition(rule.when, frame)
        if rule.unless:
            looked_at &= ~self._matches_condition(rule.unless, frame)
        return looked_at

    def _matches_condition(self, condition: Condition, frame: Frame) -> Any:
        is_match = np.ones(frame.count, dtype=bool)
        for clause in condition:
            if clause.above and frame.name != clause.above:
                parent_matches = self._matches_clause(self.frames[clause.above], clause)
                is_match &= np.append(parent_matches, False)[self.parents(frame, clause.above)]
            else:
                is_match &= self._matches_clause(frame, clause)
        return is_match

    def _matches_clause(self, frame: Frame, clause: Clause) -> Any:
        if not (clause.words or clause.pattern):
            filled = frame.filled(clause.column)
            return filled if clause.filled else ~filled
        cells = frame.cells(clause.column)
        if clause.pattern:
            return cells.spread(matches(cells.words, clause.pattern), absent=False)
        lower = pc.utf8_lower(cells.words)
        allowed = pa.array(sorted(clause.words), pa.string())
        is_match = true_where(pc.is_in(lower, value_set=allowed))
        spec = frame.spec.column(clause.column)
        if spec is not None and spec.type is FieldType.LIST:  # one of its values is enough
            values, owners = list_values(lower)
            is_match = np.isin(
                np.arange(len(lower)), owners[true_where(pc.is_in(values, value_set=allowed))]
            )
        return cells.spread(is_match, absent="" in clause.words)

    def parents(self, frame: Frame, parent: str) -> Any:
        """Return the parent of each row.

        Args:
            frame: the rows.
            parent: a table of `KEYS`, or the lines of a header.

        Returns:
            numpy `int64`, shape (n,): position in the parent's frame; -1 if there is none.
            Superseded rows are not parents; coverage must belong to the claim's member.
        """
        key = (frame.name, parent)
        if key not in self._parent_cache:
            find_parents = self._parent_lines if parent in LINES.values() else self._named_parents
            self._parent_cache[key] = find_parents(frame, parent)
        return self._parent_cache[key]

    def _named_parents(self, frame: Frame, parent: str) -> Any:
        parent_frame = self.frames[parent]
        parent_rows = self._possible_parents(parent_frame)
        if parent == "coverage":
            # Another member's coverage is never the claim's, whatever its partition.
            members, row_members = parent_frame.cells("member_id").text, self.members_of(frame)
            keys = compound_keys(parent_frame.cells("coverage_id").text, members)
            cells = Cells(compound_keys(frame.cells("coverage_id").text, row_members))
        else:
            keys, cells = parent_frame.cells(KEYS[parent]).text, frame.cells(KEYS[parent])
        if len(parent_rows) != parent_frame.count or parent_frame.ambiguous:
            keys = keys.take(pa.array(parent_rows))
        index = positions(cells.words, keys)
        return cells.spread(np.where(index < 0, -1, np.append(parent_rows, -1)[index]), -1)

    def members_of(self, frame: Frame) -> pa.StringArray:
        """Return the member of each row's header; null if unknown."""
        header = HEADER_OF[frame.name]
        members = self.frames[header].cells("member_id").text
        if frame.name == header:
            return members
        header_rows = self.parents(frame, header)
        return members.take(pa.array(header_rows, mask=header_rows < 0))

    def _possible_parents(self, frame: Frame) -> Any:
        """Return the positions of rows that can be a parent.

        Of rows with the same key, the first in the files comes first, whatever the order in
        memory. Headers that two members share are not parents.
        """
        is_parent = ~frame.superseded
        if frame.name in HEADERS:
            is_parent &= ~frame.shared
        parents = np.flatnonzero(is_parent)
        if frame.ambiguous:
            parents = parents[np.lexsort((frame.rows[parents], frame.files[parents]))]
        return parents

    def is_parent(self, frame: Frame) -> Any:
        """Return which rows can have children: of rows with the same key, only the first."""
        parent_rows = self._possible_parents(frame)
        if frame.ambiguous:
            keys = frame.cells(KEYS[frame.name]).text.take(pa.array(parent_rows))
            parent_rows = parent_rows[first_of_each(keys)]
        return np.isin(np.arange(frame.count), parent_rows)

    def _parent_lines(self, frame: Frame, parent: str) -> Any:
        lines = self.frames[parent]
        parent_rows = self._possible_parents(lines)
        index = positions_of_keys(self.line_keys(frame), self.line_keys(lines)[parent_rows])
        return np.append(parent_rows, -1)[index]

    def line_keys(self, frame: Frame) -> Any:
        """Return one number per row for its header and line; -1 if either is unknown."""
        claim = self.parents(frame, HEADER_OF[frame.name])
        line = frame.integers("line_number")
        keys = (claim << _LINE_SHIFT) | np.maximum(line, 0)
        return np.where((claim >= 0) & frame.filled("line_number") & (line >= 0), keys, -1)

    def unnumbered_lines(self, header: str) -> tuple[Any, Any]:
        """Return the lines with an unreadable number, and the header of each.

        Both numpy `int64`, shape (n,): positions in their frames, in the order of the files.
        """
        lines = self.frames[LINES[header]]
        claims = self.parents(lines, header)
        at = np.flatnonzero(lines.live & ~lines.filled("line_number") & (claims >= 0))
        at = at[np.lexsort((lines.rows[at], lines.files[at]))]
        return at, claims[at]

    def clear_parents(self) -> None:
        """Clear the cached parents after rows were superseded."""
        self._parent_cache.clear()


Checks: TypeAlias = Mapping[type[RuleKind], Callable[[Work, Frame, Rule, Any], None]]
"""Kind of a rule -> the function that checks one table against a rule of the kind."""
