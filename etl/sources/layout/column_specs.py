"""Columns of the canonical tables, and how layout files make them (docs/layouts.md).

A field is a key of the file; its type states the allowed values and which names it must match.
`etl.sources.convert.canonical_rows` carries them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, true_where
from etl.documents.models import (
    LISTED,
    ByKey,
    Flag,
    Given,
    MaybeFlag,
    Mistake,
    Model,
    Text,
    Texts,
)
from etl.sources.layout.conversions import Mark, MaybeDateFormat, MaybeNumberFormat, Steps
from etl.sources.layout.names import (
    CanonicalColumns,
    ConflictRule,
    FindingRule,
    Header,
    Headers,
    LayoutNames,
    MaybeFindingRule,
    MaybeHeader,
    MaybePattern,
    NamedCrosswalk,
    RawColumns,
    RawFileName,
    Words,
    unknown_header,
)

LIST_SEPARATOR: Final = ";"


@dataclass(frozen=True, slots=True)
class Condition(Model):
    """Condition of a row: of one of its cells, or made of others. Case does not count in words.

    Attributes:
        column: header of the source; None if the condition denies others.
        any_of: the cell is one of these; empty: not asked.
        none_of: the cell is none of these (an empty cell is none of them); empty: not asked.
        filled: whether the cell must be filled (True) or empty (False); None: not asked.
        differs_from: header of a cell that must not hold the same text; None: not asked.
        pattern: regular expression for the whole cell; None: not asked.
        none_hold: conditions that do not all hold; empty: not asked.
    """

    column: MaybeHeader = None
    any_of: Words = frozenset()
    none_of: Words = frozenset()
    filled: MaybeFlag = None
    differs_from: MaybeHeader = None
    pattern: MaybePattern = None
    none_hold: Conditions = field(default=(), metadata={"alias": "not"})

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Yield the mistake of a condition that asks nothing, or asks it of no one thing."""
        del context
        if self.none_hold and self == Condition(none_hold=self.none_hold):
            return
        if self.column is None or self.none_hold:
            what = "a condition is of a column, or has not"
            yield Mistake("layout-key", what, is_absence=not self.none_hold)
        elif self == Condition(self.column):
            tests = [key for key in self.known_keys()[1:] if key != "not"]
            what = f"a condition asks one of {', '.join(tests)}"
            yield Mistake("layout-key", what, is_absence=True)

    @property
    def columns(self) -> tuple[str, ...]:
        """The headers it reads."""
        own = tuple(column for column in (self.column, self.differs_from) if column is not None)
        return (*own, *(header for other in self.none_hold for header in other.columns))


Conditions: TypeAlias = Annotated[tuple[Condition, ...], LISTED]


@dataclass(frozen=True, slots=True)
class Accept(Model):
    """Values of a cell that need no crosswalk.

    Attributes:
        pattern: regular expression for the whole value, or None.
        where: conditions on other cells of the row that must hold too.
    """

    pattern: MaybePattern = None
    where: Conditions = ()


@dataclass(frozen=True, slots=True)
class FromColumn(Model):
    """The cell under one header."""

    column: Header


@dataclass(frozen=True, slots=True)
class ConstantText(Model):
    """The same text in every row."""

    text: Text = field(metadata={"alias": "constant"})


@dataclass(frozen=True, slots=True)
class FirstColumn(Model):
    """The first of several that is not absent, each with its own conversions."""

    options: tuple[ColumnSpec, ...] = field(metadata={"alias": "first_of"})


@dataclass(frozen=True, slots=True)
class JoinedColumns(Model):
    """The filled cells of one row under several headers, joined.

    Attributes:
        columns: the headers.
        between: what stands between two cells.
        complete: absent where any cell is, as a composite key must be.
    """

    columns: Headers
    between: Mark = LIST_SEPARATOR
    complete: Flag = False

    @classmethod
    def shaped(cls, value: Any) -> Any:
        """Take what stands below its key: headers alone, too."""
        joined = value["join"]
        return joined if isinstance(joined, dict) else {"columns": joined}


@dataclass(frozen=True, slots=True)
class EachRow(Model):
    """The distinct cells of all rows of a group under one header, with `;` between them."""

    column: Header = field(metadata={"alias": "each_row"})


@dataclass(frozen=True, slots=True)
class RowOrder(Model):
    """By which cells rows are put in order: numbers before texts, absent ones last.

    Attributes:
        column: header.
        descending: whether the largest number, or the last text, comes first.
    """

    column: Text
    descending: Flag = False

    @classmethod
    def shaped(cls, value: Any) -> Any:
        """Take a header alone, too."""
        return value if isinstance(value, dict) else {"column": value}


@dataclass(frozen=True, slots=True)
class InForce(Model):
    """The day on which a row of the other file must be in force.

    Attributes:
        on: this file's header of the day.
        since: the other file's header of the first day; an absent one is long ago.
        until: its header of the last day; an absent one is not yet known.
    """

    on: Header
    since: Text = field(metadata={"alias": "from"})
    until: Text


@dataclass(frozen=True, slots=True)
class Lookup(Model):
    """A cell of another raw file, in the row with keys equal to this row's cells.

    Rows fit that are of the same member or, where not both files name one, of the same claim. A
    file that names neither, nor a coverage, is shared by all members.

    Attributes:
        table: the other raw file.
        key: its headers that are compared.
        by: this file's headers that are compared with them, as many.
        value: its header that is read.
        own_scope: this file's header of the member or claim; "" where the other file is shared by
            all members. Without it the result would depend on which rows share a partition.
        other_scope: the other file's.
        order: which of several rows counts: the first in this order. Where rows that come first
            say different things, or none is declared, none counts.
        rows: how many rows must fit: `any`, `at most one`, or `one`.
        in_force: only rows fit that are in force on a day; None where they all are.
    """

    table: RawFileName
    key: Texts
    by: Headers
    value: Text
    own_scope: str = field(default="", metadata={"init": False})
    other_scope: str = field(default="", metadata={"init": False})
    order: Annotated[tuple[RowOrder, ...], LISTED] = ()
    rows: Literal["any", "at most one", "one"] = "any"
    in_force: Annotated[InForce | None, Given(InForce)] = None

    @classmethod
    def shaped(cls, value: Any) -> Any:
        """Take what stands below its key; what is in force on a day is one row."""
        below = value["lookup"]
        if isinstance(below, dict) and "in_force" in below and "rows" not in below:
            return {**below, "rows": "one"}
        return below

    @property
    def read(self) -> tuple[str, ...]:
        """The headers of the other file that it reads."""
        dates = (self.in_force.since, self.in_force.until) if self.in_force else ()
        scope = (self.other_scope,) if self.other_scope else ()
        return (*self.key, self.value, *(order.column for order in self.order), *dates, *scope)

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Yield headers that the other file has not, and files that nothing joins."""
        raw, other = context.raw, context.raws.get(self.table)
        for header in self.read:
            if other and header not in other.names:
                yield unknown_header(header, other.name, other.names)
        if len(self.key) != len(self.by):
            yield Mistake("layout-keys", "key and by must be as many headers")
        if raw and other and _scopes(raw, other) is None:
            what = f"{raw.name} and {other.name} must both name their member, or both their claim"
            yield Mistake("layout-keys", what)

    def completed(self, context: LayoutNames) -> Lookup:
        """Return it with both files' headers of what their rows belong to."""
        raw, other = context.raw, context.raws.get(self.table)
        own, others = (raw and other and _scopes(raw, other)) or ("", "")
        return replace(self, own_scope=own, other_scope=others)


def _scopes(raw: RawColumns, other: RawColumns) -> tuple[str, str] | None:
    """Return by which headers rows of two files belong together; None where nothing says it."""
    for role in ("member", "claim"):
        if role in raw.ids and role in other.ids:
            return raw.ids[role], other.ids[role]
    return None if other.ids else ("", "")


@dataclass(frozen=True, slots=True)
class Number(Model):
    """1, 2, 3… among the rows that agree in some canonical columns."""

    within: CanonicalColumns = field(metadata={"alias": "number_within"})


def _sources() -> Mapping[str, type[Model]]:
    """Return what a column may be made of, by the key of each: a new one gets its line here."""
    return {
        "column": FromColumn,
        "constant": ConstantText,
        "first_of": FirstColumn,
        "join": JoinedColumns,
        "each_row": EachRow,
        "lookup": Lookup,
        "number_within": Number,
    }


Source: TypeAlias = Annotated[
    FromColumn | ConstantText | FirstColumn | JoinedColumns | EachRow | Lookup | Number,
    ByKey(_sources, "layout-key"),
]


@dataclass(frozen=True, slots=True)
class ColumnSpec(Model):
    """Source of one canonical column. Conversions apply in the order of the attributes.

    Attributes:
        source: where the text comes from.
        among: of rows that become one, only those that meet these are considered, and an empty
            cell of theirs contradicts a filled one. Empty: the rows in which the cell is filled.
        when: the value is there only where these hold.
        sentinels: texts that mean an absent value; each cell that had one is a finding.
        steps: what is done with the text, one after the other.
        date: how a date is written; None where the canonical columns' own forms are.
        number: how a number is written; None likewise.
        accept: values that need no crosswalk; None where every value goes through it.
        crosswalk: words into codes; None where the text is taken as it is.
        rule: finding for a value that is neither accepted nor known to the crosswalk.
        amount: binary-float text is rounded to cents, each cell with a finding.
        conflict: finding where rows that become one contradict each other; the value is absent
            then.
        finding: a finding for every value that is there; None for none.
    """

    source: Source
    among: Conditions = ()
    when: Conditions = ()
    sentinels: Annotated[frozenset[str], Given(Annotated[frozenset[Text], LISTED])] = frozenset()
    steps: Steps = ()
    date: MaybeDateFormat = None
    number: MaybeNumberFormat = None
    accept: Annotated[Accept | None, Given(Accept)] = None
    crosswalk: NamedCrosswalk = None
    rule: FindingRule = "dialect-unmapped-word"
    amount: Flag = False
    conflict: ConflictRule = "dialect-conflict"
    finding: MaybeFindingRule = None

    @property
    def of_cells(self) -> bool:
        """Whether a value that is there was in a cell: it is no constant and no number of rows."""
        match self.source:
            case ConstantText() | Number():
                return False
            case FirstColumn(options):
                return all(option.of_cells for option in options)
            case _:
                return True

    @classmethod
    def known_keys(cls) -> tuple[str, ...]:
        """Return the keys of all sources and of what is done with their text."""
        return (*_sources(), *super(ColumnSpec, cls).known_keys()[1:])

    @classmethod
    def shaped(cls, value: Any) -> Any:
        """Gather the key that says what the column is made of; a text alone is a header."""
        if not isinstance(value, dict):
            return {"source": {"column": value}} if isinstance(value, str) else value
        source = {key: value[key] for key in value if key in _sources()}
        rest = {key: part for key, part in value.items() if key not in source}
        return {"source": source, **rest}

    @property
    def is_of_its_row(self) -> bool:
        """Whether it is made of cells of one row, and of text alone."""
        plain = ColumnSpec(self.source, (), self.when, self.sentinels, self.steps)
        same = self == replace(plain, date=self.date, number=self.number)
        match self.source:
            case FirstColumn(options):
                return same and all(option.is_of_its_row for option in options)
            case EachRow() | Lookup() | Number():
                return False
            case _:
                return same

    def headers(self) -> frozenset[str]:
        """Return the headers of its own raw file that it reads."""
        headers: set[str] = set()
        match self.source:
            case FromColumn(column) | EachRow(column):
                headers.add(column)
            case FirstColumn(options):
                for option in options:
                    headers |= option.headers()
            case JoinedColumns(columns):
                headers.update(columns)
            case Lookup(by=by, own_scope=scope, in_force=in_force):
                headers.update(by, (scope,) if scope else (), (in_force.on,) if in_force else ())
            case ConstantText() | Number():
                pass
        for condition in (*self.among, *self.when, *(self.accept.where if self.accept else ())):
            headers.update(condition.columns)
        return frozenset(headers)

    def foreign(self) -> frozenset[tuple[str, str]]:
        """Return the (raw file, header) pairs of other raw files that it reads."""
        match self.source:
            case Lookup(table=table):
                return frozenset((table, header) for header in self.source.read)
            case FirstColumn(options):
                return frozenset().union(*(option.foreign() for option in options))
            case _:
                return frozenset()


Columns = Callable[[str], Any]


def holds(conditions: Sequence[Condition], column: Columns, count: int) -> Bools:
    """Return for which rows all conditions hold, shape (count,).

    Args:
        conditions: what is asked.
        column: header -> its cells, shape (count,).
        count: of the rows.
    """
    result = np.ones(count, dtype=bool)
    for condition in conditions:
        result &= _holds(condition, column, count)
    return result


def _holds(condition: Condition, column: Columns, count: int) -> Bools:
    if condition.column is None:
        return ~holds(condition.none_hold, column, count)
    result = np.ones(count, dtype=bool)
    cell = column(condition.column)
    if condition.any_of:
        result &= _is_one_of(cell, condition.any_of)
    if condition.none_of:
        result &= ~_is_one_of(cell, condition.none_of)
    if condition.filled is not None:
        there = cell.is_valid().to_numpy(zero_copy_only=False)
        result &= there == condition.filled
    if condition.differs_from is not None:
        result &= ~true_where(pc.equal(cell, column(condition.differs_from)))
    if condition.pattern is not None:
        result &= true_where(pc.match_substring_regex(cell, f"^(?:{condition.pattern})$"))
    return result


def _is_one_of(cell: Any, words: frozenset[str]) -> Bools:
    return true_where(pc.is_in(pc.utf8_lower(cell), value_set=pa.array(sorted(words), pa.string())))
