"""What a layout is: raw files, and how the canonical tables are fed from their columns.

These are values only. `etl.sources.layout_syntax` makes them from YAML and checks them,
`etl.sources.canonical_layout` holds the product's own layout, `etl.sources.convert_rows` carries
them out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from etl.model.canonical_tables import DIRECTORY_TABLES
from etl.model.crosswalks import Crosswalk

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
class Condition:
    """What must hold for a row. Words are compared without regard to case.

    Attributes:
        column: header of the source.
        any_of: the cell is one of these; empty: not asked.
        none_of: the cell is none of these (an empty cell is none of them); empty: not asked.
        filled: whether the cell must be filled (True) or empty (False); None: not asked.
        differs_from: header of a cell that must not hold the same text; None: not asked.
    """

    column: str
    any_of: frozenset[str] = frozenset()
    none_of: frozenset[str] = frozenset()
    filled: bool | None = None
    differs_from: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The headers it reads."""
        return (self.column,) if self.differs_from is None else (self.column, self.differs_from)


@dataclass(frozen=True, slots=True)
class Accept:
    """Which values of a cell are right as they are.

    Attributes:
        pattern: regular expression for the whole value, or None.
        where: conditions on other cells of the row that must hold too.
    """

    pattern: str | None = None
    where: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class FromColumn:
    """The cell under one header."""

    column: str


@dataclass(frozen=True, slots=True)
class ConstantText:
    """The same text in every row."""

    text: str


@dataclass(frozen=True, slots=True)
class FirstColumn:
    """The first of several that is there, each with its own conversions."""

    options: tuple[ColumnSpec, ...]


@dataclass(frozen=True, slots=True)
class JoinedColumns:
    """The filled cells of one row under several headers, with `;` between them."""

    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EachRow:
    """The distinct cells of all rows of a group under one header, with `;` between them."""

    column: str


@dataclass(frozen=True, slots=True)
class RowOrder:
    """By which cells rows are put in order: numbers before texts, absent ones last.

    Attributes:
        column: header.
        descending: whether the largest number, or the last text, comes first.
    """

    column: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Lookup:
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

    table: str
    key: str
    by: str
    value: str
    member: str
    other_member: str
    order: tuple[RowOrder, ...] = ()


@dataclass(frozen=True, slots=True)
class Number:
    """1, 2, 3… among the rows that agree in some canonical columns."""

    within: tuple[str, ...]


Source = FromColumn | ConstantText | FirstColumn | JoinedColumns | EachRow | Lookup | Number


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """How one canonical column is made. Conversions apply in the order of the attributes.

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
    among: tuple[Condition, ...] = ()
    when: tuple[Condition, ...] = ()
    sentinels: frozenset[str] = frozenset()
    accept: Accept | None = None
    crosswalk: Crosswalk | None = None
    answer: str | None = None
    rule: str = "dialect-unmapped-word"
    amount: bool = False
    conflict: str = "dialect-conflict"
    finding: str | None = None

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


@dataclass(frozen=True, slots=True)
class TableSpec:
    """How one raw file feeds one canonical table.

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

    table: str
    source: str
    columns: Mapping[str, ColumnSpec]
    where: tuple[Condition, ...] = ()
    grain: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    needs_any: tuple[str, ...] = ()
    rows: tuple[Mapping[str, ColumnSpec], ...] = ()

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
class Fills:
    """How a file writes several fills of drugs as one claim.

    Attributes:
        where: what holds for a row that is a fill.
        by: header that tells the fills of a claim apart.
    """

    where: tuple[Condition, ...]
    by: str


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
