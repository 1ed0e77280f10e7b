"""Layouts: raw files, and how the columns of the canonical tables are made from them.

A field is a key of a layout file (docs/layouts.md); its type states the allowed values and which
names it must match. `etl.sources.layout.syntax` reads files with these types,
`etl.sources.convert.canonical_rows` carries them out. The product's own layout, and its short
forms, are built here from the canonical tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, true_where
from etl.documents.models import (
    LISTED,
    ByKey,
    Check,
    Flag,
    Given,
    Location,
    MaybeFlag,
    Mistake,
    Model,
    Text,
    Texts,
)
from etl.model.canonical_tables import (
    CLAIMS_TABLES,
    FILE_COLUMN,
    HEADER_OF,
    HEADERS,
    KEYS,
    MEMBERLESS,
    ROW_COLUMN,
    SHORT_FORM_COUNT,
    SHORT_FORMS,
    TABLES,
    Table,
)
from etl.model.crosswalks import Crosswalk
from etl.model.data_models import DATA_MODELS, DataModel, model_of
from etl.rows import table_of
from etl.sources.layout.conversions import Mark, MaybeDateFormat, MaybeNumberFormat, Steps
from etl.sources.layout.names import (
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

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Yield that every value would be accepted."""
        del context
        if self == Accept():
            yield Mistake("layout-key", "accept needs a pattern or where", is_absence=True)


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
    """The first of several that is not absent, each with its own conversions.

    If the value of one is unknown, because rows contradict each other or it cannot be read, the
    column is absent.
    """

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
    def normalize(cls, value: Any) -> Any:
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
    def normalize(cls, value: Any) -> Any:
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
    def normalize(cls, value: Any) -> Any:
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
        if raw and other and _shared_headers(raw, other) is None:
            what = f"{raw.name} and {other.name} must both name their member, or both their claim"
            yield Mistake("layout-keys", what)

    def resolve(self, context: LayoutNames) -> Lookup:
        """Return it with both files' headers of what their rows belong to."""
        raw, other = context.raw, context.raws.get(self.table)
        own, others = (raw and other and _shared_headers(raw, other)) or ("", "")
        return replace(self, own_scope=own, other_scope=others)


def _shared_headers(raw: RawColumns, other: RawColumns) -> tuple[str, str] | None:
    """Return the headers by which rows of two files belong together; None if there are none."""
    for role in ("member", *HEADERS):
        if role in raw.ids and role in other.ids:
            return raw.ids[role], other.ids[role]
    return None if other.ids else ("", "")


@dataclass(frozen=True, slots=True)
class Number(Model):
    """1, 2, 3… among the rows that agree in some canonical columns."""

    within: CanonicalColumns = field(metadata={"alias": "number_within"})


def _source_models() -> Mapping[str, type[Model]]:
    """Return the model of each source of a column by its key: a new one gets its line here."""
    return {
        "column": FromColumn,
        "constant": ConstantText,
        "first_of": FirstColumn,
        "join": JoinedColumns,
        "each_row": EachRow,
        "lookup": Lookup,
        "number_within": Number,
    }


_NO_EFFECT: Final = MappingProxyType(
    {
        "constant": ("among", "conflict"),
        "each_row": ("among", "conflict"),
        "first_of": ("among",),
    }
)
"""Source -> keys that have no effect with it; with `number_within` none has."""

Source: TypeAlias = Annotated[
    FromColumn | ConstantText | FirstColumn | JoinedColumns | EachRow | Lookup | Number,
    ByKey(_source_models, "layout-key"),
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
            then. Beside `first_of` it is that of all its entries.
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

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Yield keys that have no effect."""
        del context
        word, *_ = [key for key, one in _source_models().items() if isinstance(self.source, one)]
        plain = ColumnSpec(self.source)
        given = [key for key in self.__slots__ if getattr(self, key) != getattr(plain, key)]
        for key in given:
            if key in _NO_EFFECT.get(word, ()) or word == "number_within":
                yield Mistake("layout-key", f"{key} has no effect with {word}", at=(key,))
        if "rule" in given and self.crosswalk is None and self.accept is None:
            what = "rule has no effect without crosswalk or accept"
            yield Mistake("layout-key", what, at=("rule",))

    def parts(self) -> Iterator[ColumnSpec]:
        """Yield it, and the entries that it chooses from."""
        yield self
        if isinstance(self.source, FirstColumn):
            for option in self.source.options:
                yield from option.parts()

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
        return (*_source_models(), *super(ColumnSpec, cls).known_keys()[1:])

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Gather the key that says what the column is made of; a text alone is a header."""
        if not isinstance(value, dict):
            return {"source": {"column": value}} if isinstance(value, str) else value
        source = {key: value[key] for key in value if key in _source_models()}
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


ColumnReader = Callable[[str], Any]


def holds(conditions: Sequence[Condition], column: ColumnReader, count: int) -> Bools:
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


def _holds(condition: Condition, column: ColumnReader, count: int) -> Bools:
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


_APART = re.compile(r"[\W_]+")


@lru_cache(maxsize=1 << 14)  # each header is compared with those of every layout
def spelling(header: str) -> str:
    """Return the normal form of a header; equal forms are the same column.

    Letter case does not count, and neither does which blank, `_`, `-` or bracket stands between
    the words: `Service (from) date`, `Service__from__date` and `SERVICE-FROM-DATE` are one column.
    """
    return _APART.sub("_", header.casefold()).strip("_")


def _freeze_columns(
    columns: dict[str, ColumnSpec], _names: LayoutNames
) -> Mapping[str, ColumnSpec]:
    return MappingProxyType(columns)


Columns: TypeAlias = Annotated[
    Mapping[str, ColumnSpec], Given(dict[CanonicalColumn, ColumnSpec]), Check(_freeze_columns)
]


@dataclass(frozen=True, slots=True)
class TableSpec(Model):
    """Feed of one canonical table from one raw file.

    Attributes:
        table: the canonical table.
        source: the raw file.
        where: rows of the raw file that count.
        grain: headers that identify a canonical row: rows that agree in all of them become one.
            Empty: each row of the file is a row of the table. A row whose first grain cell is
            empty becomes a row of its own.
        order: headers that order the rows of a group, numbers before texts.
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

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Yield keys that have no effect in this table, and needed columns that nothing fills."""
        places = [
            (("columns",), self.columns),
            *((("rows", n), r) for n, r in enumerate(self.rows)),
        ]
        for at, columns in places:
            for name, spec in columns.items():
                yield from self._without_effect(spec, (*at, name))
        rows = [{*self.columns, *entry} for entry in self.rows or ({},)]
        for key, names, enough in (("needs", self.needs, all), ("needs_any", self.needs_any, any)):
            for name in names:
                if not enough(name in row for row in rows):
                    what = f"{context.table} is not given its column {name}"
                    yield Mistake("layout-key", what, at=(key,))

    def _without_effect(self, spec: ColumnSpec, at: Location) -> Iterator[Mistake]:
        for part in spec.parts():
            if isinstance(part.source, Number) and (part is not spec or at[0] == "rows"):
                what = "number_within must be under columns, and not in first_of"
                yield Mistake("layout-key", what, at=at)
            for key in ("among", "conflict") if not self.grain else ():
                if getattr(part, key) != getattr(ColumnSpec(part.source), key):
                    yield Mistake("layout-key", f"{key} has no effect without grain", at=(*at, key))

    def resolve(self, context: LayoutNames) -> TableSpec:
        """Return it with its canonical table."""
        return replace(self, table=context.table)

    def headers(self) -> frozenset[str]:
        """Return every header of the raw file that is read."""
        headers = {*self.grain, *self.order}
        for condition in self.where:
            headers.update(condition.columns)
        for columns in (self.columns, *self.rows):
            for spec in columns.values():
                headers |= spec.headers()
        return frozenset(headers)

    def looked_up(self) -> frozenset[str]:
        """Return the names of other raw files that it looks cells up in."""
        columns = (spec for made in (self.columns, *self.rows) for spec in made.values())
        return frozenset(name for spec in columns for name, _ in spec.foreign())


@dataclass(frozen=True, slots=True)
class Fills(Model):
    """Splitting of claims that hold several fills of drugs.

    Attributes:
        where: what holds for a row that is a fill.
        by: header that distinguishes the fills of a claim.
    """

    where: Conditions
    by: Header


@dataclass(frozen=True, slots=True)
class RawCells:
    """Cells of a raw file as a layout reads them: words for absent values, and made columns.

    Attributes:
        nulls: texts that mean that a cell is empty.
        made: header of a column that the file does not have -> how it is made of the row's cells.
    """

    nulls: frozenset[str] = frozenset()
    made: Mapping[str, ColumnSpec] = field(default_factory=dict)

    def changes(self, header: str) -> bool:
        """Return whether the cells under a header may differ from those of the file."""
        return bool(self.nulls) or header in self.made


PLAIN_CELLS: Final = RawCells()
"""Cells are what the file has."""


@dataclass(frozen=True, slots=True)
class LineForm:
    """Form of a raw file of which each line is a record, cut into cells by itself.

    Attributes:
        widths: number of characters of each column; empty where cells are delimited.
        record: what holds for its lines, where a file has records of several types; empty: all
            lines are of this type.
        short_lines: whether blanks at the end of a line may be missing, where widths are fixed.
    """

    widths: tuple[int, ...] = ()
    record: tuple[Condition, ...] = ()
    short_lines: bool = False


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
        cells: which words are no cells, and which columns are made.
        named: patterns of the names of its files, without endings, with `*` for anything; one must
            fit. Empty: any.
        has_header: whether its files have a row of headers; else their cells are those of
            `columns`, in order.
        extra_cells: how many cells a row may have behind those of the headers.
        lines: how its lines are known and cut; None where a row is delimited and may have line
            breaks in its cells.
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
    prior_auth: str | None = None
    main: str = "*"
    fills: Fills | None = None
    cells: RawCells = PLAIN_CELLS
    named: tuple[str, ...] = ()
    has_header: bool = True
    extra_cells: int = 0
    lines: LineForm | None = None

    def may_be(self, stem: str) -> bool:
        """Return whether a file of a name may be one of these; one of their own name may."""
        stem = stem.casefold()
        if not self.named or (self.lines is None and stem == self.name):
            return True
        return any(fnmatchcase(stem, pattern.casefold()) for pattern in self.named)

    @property
    def names(self) -> tuple[str, ...]:
        """The headers that a layout may name: those of the file, and those that are made."""
        return (*self.columns, *self.cells.made)

    @property
    def ids(self) -> Mapping[str, str]:
        """Role -> the header of its id, where there is one."""
        named = {role: getattr(self, role) for role in ROLES}
        return {role: header for role, header in named.items() if header is not None}

    def columns_of(self, headers: Iterable[str]) -> list[str | None]:
        """Return the layout's name for each header as a file spells it, or None."""
        spellings = self.spellings
        return [spellings.get(spelling(header)) for header in headers]

    @property
    def spellings(self) -> Mapping[str, str]:
        """Every spelling that is understood -> header of the layout."""
        return {**self.aliases, **{spelling(name): name for name in self.columns}}


ROLES: Final = ("member", *HEADERS, "coverage")
"""The tables whose ids say whose a row is."""

NO_KEYS: Final[Mapping[str, str]] = MappingProxyType({})


def _keys_of_raw(name: str) -> Mapping[str, str]:
    header = HEADER_OF.get(name, name)
    if header != name:
        return {header: KEYS[header]}
    return {"member": KEYS["member"], **({name: KEYS[name]} if name in KEYS else {})}


KEYS_OF_RAW: Final = MappingProxyType(
    {name: _keys_of_raw(name) for name in CLAIMS_TABLES if name not in MEMBERLESS}
)
"""Canonical table -> what its raw file must declare -> the canonical column it must agree with."""


@dataclass(frozen=True, slots=True)
class LayoutText:
    """A layout file.

    Attributes:
        file: what messages call it.
        text: its YAML.
    """

    file: str
    text: str


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
        bases: the layout files that it extends, by name.
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
    bases: Mapping[str, LayoutText] = field(default_factory=lambda: MappingProxyType({}))
    crosswalks: Mapping[str, Crosswalk] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def model(self) -> DataModel:
        """The data model of the tables that it feeds."""
        return model_of({spec.table: spec for spec in self.tables})

    def feeding(self, table: str) -> frozenset[str]:
        """Return the names of the raw files that feed a canonical table."""
        return frozenset(spec.source for spec in self.tables if spec.table == table)

    def made_where(self, table: str, source: str) -> tuple[tuple[Condition, ...], ...]:
        """Return when a row of a raw file is made a row of a table: one of these must hold.

        Beside the conditions of the layout, the needed cells that are taken unchanged must be
        filled.
        """
        conditions = []
        for spec in self.tables:
            if (spec.table, spec.source) == (table, source):
                needed = (spec.columns[name] for name in spec.needs if name in spec.columns)
                plain = [
                    Condition(one.source.column, filled=True)
                    for one in needed
                    if isinstance(one.source, FromColumn) and one == ColumnSpec(one.source)
                ]
                conditions.append((*spec.where, *plain))
        return tuple(conditions)

    def provider_headers(self, source: str) -> tuple[str, ...]:
        """Return the file's own headers that tables without members read of a raw file."""
        headers: set[str] = set()
        for spec in self.tables:
            if spec.table in MEMBERLESS and spec.source == source:
                headers |= spec.headers()
        made = self.raw[source].cells.made
        while found := headers & made.keys():
            headers = (headers - found).union(*(made[header].headers() for header in found))
        return tuple(sorted(headers))

    def record_types(self, stem: str) -> tuple[RawTable, ...]:
        """Return the raw files that share a file of this name, one for each record type."""
        return tuple(raw for raw in self.raw.values() if raw.lines is not None and raw.may_be(stem))

    @property
    def shared(self) -> frozenset[str]:
        """Names of raw files without owners' IDs, in which other files look up cells."""
        lookup_files = frozenset(name for spec in self.tables for name in spec.looked_up())
        return frozenset(name for name in lookup_files if not self.raw[name].ids)

    def sources(self, *, directory: bool) -> tuple[str, ...]:
        """Return the sorted names of the raw files of some tables.

        Args:
            directory: True for tables that belong to no member (providers, payers), with the files
                that other files look up cells in; False for members' tables.
        """
        files: set[str] = set(self.shared if directory else ())
        for spec in self.tables:
            if (spec.table in MEMBERLESS) == directory:
                files |= {spec.source, *spec.looked_up()}
        return tuple(sorted(files if directory else files - self.shared))


SHORT_FORM_COLUMNS: Final = tuple(
    f"{table.removeprefix('claim_')}_{word}_{number}"
    for table, words in SHORT_FORMS.items()
    for word in words
    for number in range(1, SHORT_FORM_COUNT + 1)
)
"""Every numbered column that a claim may carry instead of child rows."""


def _canonical_file(table: Table) -> RawTable:
    headers = table.names + (SHORT_FORM_COLUMNS if table.name == "claim" else ())
    keys = KEYS_OF_RAW.get(table.name, NO_KEYS)
    return RawTable(
        name=table.file_name,
        columns=headers,
        required=table.required,
        compulsory=table.compulsory,
        member=keys.get("member"),
        claim=keys.get("claim"),
        coverage=keys.get("coverage"),
        prior_auth=keys.get("prior_auth"),
        main=table.name,
    )


def _canonical_table(table: Table) -> TableSpec:
    columns = {name: ColumnSpec(FromColumn(name)) for name in table.names}
    return TableSpec(table=table.name, source=table.file_name, columns=MappingProxyType(columns))


def _canonical_layout(model: DataModel) -> Layout:
    return Layout(
        name=model.layout,
        title=model.title,
        description=(
            "The product's own layout: one file a table, named after it. "
            f"`cpcds layouts show {model.layout}` prints every table and column."
        ),
        raw=MappingProxyType(
            {table.file_name: _canonical_file(table) for table in model.tables.values()}
        ),
        tables=tuple(_canonical_table(table) for table in model.tables.values()),
        canonical=True,
    )


def canonical_layouts() -> Mapping[str, Layout]:
    """Return the canonical layouts of all data models by name, that of claims first."""
    return _canonical_layouts(tuple(TABLES.values()))


@lru_cache(maxsize=1)
def _canonical_layouts(_: tuple[Table, ...]) -> Mapping[str, Layout]:
    return MappingProxyType({model.layout: _canonical_layout(model) for model in DATA_MODELS})


def required_columns(table: str, *, delta: bool) -> tuple[tuple[str, ...], ...]:
    """Return what a file of a canonical table must have: one column of each group.

    A delta may hold deletions alone, so only the key is compulsory there.
    """
    if delta:
        return tuple((name,) for name in TABLES[table].key)
    groups = tuple((name,) for name in TABLES[table].required)
    # MapID 130 is filled by the parts of the name or by the whole of it.
    return (*groups, ("family_name", "full_name")) if table == "member" else groups


def add_short_forms(child: pa.Table, claims: pa.Table, raw: pa.Table, name: str) -> pa.Table:
    """Return a child table with the rows that the numbered columns of `claim` stand for.

    A row has the place of its claim row, and that row's `record_action` and `last_updated`. Its
    sequence is the number of the column. Where the claim has child rows of its own as well, their
    highest sequence is added, so that sequences are unique.

    Args:
        child: rows of the child table's own file.
        claims: the canonical claim rows.
        raw: the numbered columns, row by row as in `claims`, trimmed; absent is null.
        name: the child table.
    """
    stem = name.removeprefix("claim_")
    base = _highest_sequence(child, claims.column("claim_id"))
    parts = [child]
    for number in range(1, SHORT_FORM_COUNT + 1):
        cells = {
            column: raw.column(f"{stem}_{word}_{number}")
            for word, column in SHORT_FORMS[name].items()
            if f"{stem}_{word}_{number}" in raw.column_names
        }
        if not cells:
            continue
        filled = np.zeros(claims.num_rows, dtype=bool)
        for cell in cells.values():
            filled |= cell.is_valid().to_numpy(zero_copy_only=False)
        rows_filled = np.flatnonzero(filled)
        if len(rows_filled):
            own = claims.take(rows_filled)
            made = {column: cell.take(pa.array(rows_filled)) for column, cell in cells.items()}
            made["sequence"] = pa.array(base[rows_filled] + number).cast(pa.string())
            for column in ("claim_id", "record_action", "last_updated", FILE_COLUMN, ROW_COLUMN):
                made[column] = own.column(column)
            parts.append(table_of(name, own.num_rows, made))
    return pa.concat_tables(parts)


def _highest_sequence(child: pa.Table, claim_ids: pa.ChunkedArray) -> np.ndarray:
    """Highest sequence among each claim's child rows; 0 where it has none."""
    base = np.zeros(len(claim_ids), dtype=np.int64)
    if child.num_rows == 0:
        return base
    sequence = child.column("sequence")
    digits = pc.fill_null(pc.match_substring_regex(sequence, r"^[0-9]{1,9}$"), False)
    numbers = pc.if_else(digits, sequence, "0").cast(pa.int64())
    highest = (
        pa.table([child.column("claim_id"), numbers], names=["claim_id", "n"])
        .group_by("claim_id")
        .aggregate([("n", "max")])
    )
    position = pc.index_in(claim_ids, value_set=highest.column("claim_id").combine_chunks())
    has_claim = position.is_valid().to_numpy(zero_copy_only=False)
    base[has_claim] = highest.column("n_max").take(position.drop_null()).to_numpy()
    return base
