"""Columns of the canonical tables, and their making, as layout files state it (docs/layouts.md).

A field is a key of the file; its type says what may stand there and which names it is held to. What
is done with each is in `etl.sources.convert_rows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeAlias

from etl.documents.models import (
    LISTED,
    ByKey,
    Flag,
    Given,
    MaybeFlag,
    MaybeText,
    Mistake,
    Model,
    Text,
)
from etl.documents.nearest import nearest
from etl.sources.layout_names import (
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
    RawFileName,
    Words,
    unknown_header,
)


@dataclass(frozen=True, slots=True)
class Condition(Model):
    """Condition of a row. Words are compared without regard to case.

    Attributes:
        column: header of the source.
        any_of: the cell is one of these; empty: not asked.
        none_of: the cell is none of these (an empty cell is none of them); empty: not asked.
        filled: whether the cell must be filled (True) or empty (False); None: not asked.
        differs_from: header of a cell that must not hold the same text; None: not asked.
    """

    column: Header
    any_of: Words = frozenset()
    none_of: Words = frozenset()
    filled: MaybeFlag = None
    differs_from: MaybeHeader = None

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Yield the mistake that a condition is which asks nothing."""
        if self == Condition(self.column):
            what = f"a condition asks one of {', '.join(self.known_keys()[1:])}"
            yield Mistake("layout-key", what, is_absence=True)

    @property
    def columns(self) -> tuple[str, ...]:
        """The headers it reads."""
        return (self.column,) if self.differs_from is None else (self.column, self.differs_from)


Conditions: TypeAlias = Annotated[tuple[Condition, ...], LISTED]


@dataclass(frozen=True, slots=True)
class Accept(Model):
    """Values of a cell that are right as they are.

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
    """The first of several that is there, each with its own conversions."""

    options: tuple[ColumnSpec, ...] = field(metadata={"alias": "first_of"})


@dataclass(frozen=True, slots=True)
class JoinedColumns(Model):
    """The filled cells of one row under several headers, with `;` between them."""

    columns: Headers = field(metadata={"alias": "join"})


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
class Lookup(Model):
    """A cell of another raw file, in the row of the same member whose key is this row's cell.

    Attributes:
        table: the other raw file.
        key: its header that is compared.
        by: this file's header that is compared with it.
        value: its header that is read.
        member: this file's header of the member; without it the answer would hang on which rows
            happen to share a partition.
        other_member: the other file's header of the member.
        order: which of several rows counts: the first in this order. Where rows that come first
            say different things, or none is declared, none counts.
    """

    table: RawFileName
    key: Text
    by: Header
    value: Text
    member: str = field(default="", metadata={"init": False})
    other_member: str = field(default="", metadata={"init": False})
    order: Annotated[tuple[RowOrder, ...], LISTED] = ()

    @classmethod
    def shaped(cls, value: Any) -> Any:
        """Take what stands below its key."""
        return value["lookup"]

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Yield headers that the other file has not, and that a file names no member."""
        raw, other = context.raw, context.raws.get(self.table)
        for header in (self.key, self.value, *(order.column for order in self.order)):
            if other and header not in other.columns:
                yield unknown_header(header, other.name, other.columns)
        if raw and other and (raw.member is None or other.member is None):
            what = f"{raw.name} and {other.name} must both name their member"
            yield Mistake("layout-keys", what)

    def completed(self, context: LayoutNames) -> Lookup:
        """Return it with both files' headers of the member."""
        raw, other = context.raw, context.raws.get(self.table)
        return replace(
            self,
            member=(raw and raw.member) or "",
            other_member=(other and other.member) or "",
        )


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
        among: of rows that become one, only those for which these hold speak, and an empty cell of
            theirs contradicts a filled one. Empty: those whose cell is filled.
        when: the value is there only where these hold.
        sentinels: texts that stand for nothing; each cell that had one is a finding.
        accept: values that need no crosswalk; None where every value goes through it.
        crosswalk: words into codes; None where the text is taken as it is.
        answer: answer column of the crosswalk; None for its first.
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
    accept: Annotated[Accept | None, Given(Accept)] = None
    crosswalk: NamedCrosswalk = None
    answer: MaybeText = None
    rule: FindingRule = "dialect-unmapped-word"
    amount: Flag = False
    conflict: ConflictRule = "dialect-conflict"
    finding: MaybeFindingRule = None

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

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Yield an answer that the crosswalk has no column for."""
        del context
        columns = self.crosswalk.columns if self.crosswalk else ()
        if self.answer is not None and self.answer not in columns:
            what, hint = f"no answer column {self.answer!r}", nearest(self.answer, columns)
            yield Mistake("layout-crosswalk", what, hint, at=("answer",))

    def headers(self) -> frozenset[str]:
        """Return the headers of its own raw file that it reads."""
        found: set[str] = set()
        match self.source:
            case FromColumn(column) | EachRow(column):
                found.add(column)
            case FirstColumn(options):
                for option in options:
                    found |= option.headers()
            case JoinedColumns(columns):
                found.update(columns)
            case Lookup(by=by, member=member):
                found.update((by, member))
            case ConstantText() | Number():
                pass
        for condition in (*self.among, *self.when, *(self.accept.where if self.accept else ())):
            found.update(condition.columns)
        return frozenset(found)

    def foreign(self) -> frozenset[tuple[str, str]]:
        """Return the (raw file, header) pairs of other raw files that it reads."""
        match self.source:
            case Lookup(table=table):
                order = (one.column for one in self.source.order)
                used = (self.source.key, self.source.value, self.source.other_member, *order)
                return frozenset((table, header) for header in used)
            case FirstColumn(options):
                return frozenset().union(*(option.foreign() for option in options))
            case _:
                return frozenset()
