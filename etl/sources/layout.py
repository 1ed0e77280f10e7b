"""Layouts: raw files, and the feeds of the canonical tables from their columns.

Their fields are the grammar of layout files (docs/layouts.md): a field is a key, its type says what
may stand there and which names it is held to. `etl.sources.layout_syntax` reads files with them,
`etl.sources.canonical_layout` holds the product's own layout, `etl.sources.convert_rows` carries
them out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeAlias

from etl.documents.models import (
    LISTED,
    ByKey,
    Check,
    Flag,
    Given,
    MaybeFlag,
    MaybeText,
    Mistake,
    Model,
    Text,
)
from etl.documents.nearest import nearest
from etl.model.canonical_tables import DIRECTORY_TABLES
from etl.model.crosswalks import Crosswalk
from etl.sources.layout_names import (
    CanonicalColumn,
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

CANONICAL_NAME: Final = "cpcds"
"""Name of the product's own layout, as `manifest.json` and `--layout` spell it."""

_APART = re.compile(r"[\W_]+")


def spelling(header: str) -> str:
    """Return what two headers must share to be the same column.

    Letter case does not count, and neither does which blank, `_`, `-` or bracket stands between
    the words: `Service (from) date`, `Service__from__date` and `SERVICE-FROM-DATE` are one column.
    """
    return _APART.sub("_", header.casefold()).strip("_")


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


def _frozen(columns: dict[str, ColumnSpec], _names: LayoutNames) -> Mapping[str, ColumnSpec]:
    return MappingProxyType(columns)


Columns: TypeAlias = Annotated[
    Mapping[str, ColumnSpec], Given(dict[CanonicalColumn, ColumnSpec]), Check(_frozen)
]


@dataclass(frozen=True, slots=True)
class TableSpec(Model):
    """Feed of one canonical table from one raw file.

    Attributes:
        table: the canonical table.
        source: the raw file.
        where: rows of the raw file that count.
        grain: headers that name one canonical row: rows that agree in all of them become one.
            Empty: each row of the file is a row of the table. A row whose first grain cell is
            empty stands for itself.
        order: headers that say which row of a group speaks first, numbers before texts.
        needs: canonical columns without which no row is made.
        needs_any: canonical columns of which one at least must be there, or no row is made.
        columns: canonical column -> how it is made.
        rows: for turning columns into rows: each entry makes one more row out of every group, from
            `columns` and the entry's own columns. Empty: one row.
    """

    source: RawFileName = field(metadata={"alias": "from"})
    columns: Columns = field(default_factory=dict)
    where: Conditions = ()
    grain: Headers = ()
    order: Headers = ()
    needs: CanonicalColumns = ()
    needs_any: CanonicalColumns = ()
    rows: tuple[Columns, ...] = ()
    table: str = field(default="", metadata={"init": False})

    def completed(self, context: LayoutNames) -> TableSpec:
        """Return it with its canonical table."""
        return replace(self, table=context.table)

    def headers(self) -> frozenset[str]:
        """Return every header of the raw file that is read."""
        found = {*self.grain, *self.order}
        for condition in self.where:
            found.update(condition.columns)
        for columns in (self.columns, *self.rows):
            for spec in columns.values():
                found |= spec.headers()
        return frozenset(found)

    def looked_up(self) -> frozenset[str]:
        """Return the names of other raw files that it looks cells up in."""
        columns = (spec for made in (self.columns, *self.rows) for spec in made.values())
        return frozenset(name for spec in columns for name, _ in spec.foreign())


@dataclass(frozen=True, slots=True)
class Fills(Model):
    """Splitting of claims that hold several fills of drugs.

    Attributes:
        where: what holds for a row that is a fill.
        by: header that tells the fills of a claim apart.
    """

    where: Conditions
    by: Header


@dataclass(frozen=True, slots=True)
class RawTable:
    """One kind of file of a layout.

    Attributes:
        name: what the layout calls it.
        columns: headers, in the order of the layout.
        required: headers without which a file is not of this kind.
        compulsory: an extract without such a file is not of this layout.
        unused: header -> why its cells are left out.
        aliases: other spelling (as `spelling` gives it) -> header.
        member: header of the member's id, or None.
        claim: header of the claim's id, or None.
        coverage: header of the coverage's id, or None.
        main: canonical table under which findings about whole rows and files are counted.
        fills: how its pharmacy claims are split where their drugs differ; None where they are not.
    """

    name: str
    columns: tuple[str, ...]
    required: tuple[str, ...]
    compulsory: bool
    unused: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    member: str | None = None
    claim: str | None = None
    coverage: str | None = None
    main: str = "*"
    fills: Fills | None = None

    @property
    def ids(self) -> Mapping[str, str]:
        """`member`, `claim`, `coverage` -> the header of its id, where there is one."""
        named = {"member": self.member, "claim": self.claim, "coverage": self.coverage}
        return {role: header for role, header in named.items() if header is not None}

    def column(self, header: str) -> str | None:
        """Return the layout's name for a header as a file spells it, or None."""
        return self.spellings.get(spelling(header))

    @property
    def spellings(self) -> Mapping[str, str]:
        """Every spelling that is understood -> header of the layout."""
        return {**self.aliases, **{spelling(name): name for name in self.columns}}


@dataclass(frozen=True, slots=True)
class Layout:
    """One way of writing CPCDS into files.

    Attributes:
        name: as `--layout` and `manifest.json` spell it.
        title: a few words for a list of layouts.
        description: one or two sentences for people.
        raw: its files by name.
        tables: how the canonical tables are fed.
        delimiter: what stands between cells, or None: by the file's ending.
        quoting: whether cells may be quoted.
        canonical: it is the product's own layout: files are known by their names, and the numbered
            columns of `claim` stand for child rows.
        file: the YAML file it was read from, "" for the built-in one.
        text: the YAML it was read from, so that a worker process can read it again.
        crosswalks: those that it uses, by name.
    """

    name: str
    title: str
    description: str
    raw: Mapping[str, RawTable]
    tables: tuple[TableSpec, ...]
    delimiter: str | None = None
    quoting: bool = True
    canonical: bool = False
    file: str = ""
    text: str = ""
    crosswalks: Mapping[str, Crosswalk] = field(default_factory=lambda: MappingProxyType({}))

    def feeding(self, table: str) -> frozenset[str]:
        """Return the names of the raw files that feed a canonical table."""
        return frozenset(spec.source for spec in self.tables if spec.table == table)

    def made_where(self, table: str, source: str) -> tuple[tuple[Condition, ...], ...]:
        """Return when a row of a raw file is made a row of a table: one of these must hold.

        Beside what a layout says of rows, cells that a row needs and that are taken as they are
        must be filled.
        """
        found = []
        for spec in self.tables:
            if (spec.table, spec.source) == (table, source):
                needed = (spec.columns[name] for name in spec.needs if name in spec.columns)
                plain = [
                    Condition(one.source.column, filled=True)
                    for one in needed
                    if isinstance(one.source, FromColumn) and one == ColumnSpec(one.source)
                ]
                found.append((*spec.where, *plain))
        return tuple(found)

    def sources(self, *, directory: bool) -> tuple[str, ...]:
        """Return the names of the raw files that tables are made of, in order.

        Args:
            directory: those of the tables that belong to no member, or of those that do.
        """
        found: set[str] = set()
        for spec in self.tables:
            if (spec.table in DIRECTORY_TABLES) == directory:
                found |= {spec.source, *spec.looked_up()}
        return tuple(sorted(found))
