"""Layouts: raw files, and the rules that turn them into rows of the canonical tables.

Each field of a `Model` is a key of a layout file (docs/layouts.md). The field's type states the
allowed values, and which names must exist. `etl.sources.layout.syntax` reads layout files, and
`etl.sources.convert.canonical_rows` applies them. The canonical layouts are built here.
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

from etl.columns.arrays import Bools, compound_keys, true_where
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
from etl.sources.layout.conversions import FilledText, MaybeDateFormat, MaybeNumberFormat, Steps
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
    """Condition on a row: on one of its cells, or the negation of other conditions.

    Attributes:
        column: header of the cell; None for a negation.
        any_of: the cell must be one of these, in any case; empty: no such condition.
        none_of: the cell must be none of these (an empty cell is none); empty: no such condition.
        filled: whether the cell must be filled (True) or empty (False); None: no such condition.
        differs_from: header of a cell that must have another text; None: no such condition.
        pattern: regular expression for the whole cell; None: no such condition.
        none_hold: conditions that must not all hold; empty: no such condition.
    """

    column: MaybeHeader = None
    any_of: Words = frozenset()
    none_of: Words = frozenset()
    filled: MaybeFlag = None
    differs_from: MaybeHeader = None
    pattern: MaybePattern = None
    none_hold: Conditions = field(default=(), metadata={"alias": "not"})

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Report a condition without a test, or with both a column and a negation."""
        del context
        if self.none_hold and self == Condition(none_hold=self.none_hold):
            return
        if self.column is None or self.none_hold:
            message = "a condition must have either column or not"
            yield Mistake("layout-key", message, is_absence=not self.none_hold)
        elif self == Condition(self.column):
            tests = [key for key in self.known_keys()[1:] if key != "not"]
            message = f"this condition tests nothing: add one of {', '.join(tests)}"
            yield Mistake("layout-key", message, is_absence=True)

    @property
    def columns(self) -> tuple[str, ...]:
        """The headers that it reads."""
        columns = [column for column in (self.column, self.differs_from) if column is not None]
        return (*columns, *(header for other in self.none_hold for header in other.columns))


Conditions: TypeAlias = Annotated[tuple[Condition, ...], LISTED]


@dataclass(frozen=True, slots=True)
class AcceptedValues(Model):
    """Values of a cell that need no crosswalk.

    Attributes:
        pattern: regular expression for the whole value, or None.
        where: conditions on other cells of the row that must hold too.
    """

    pattern: MaybePattern = None
    where: Conditions = ()

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Report that every value would be accepted."""
        del context
        if self == AcceptedValues():
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
class CoalescedColumns(Model):
    """The first of several columns that has a value, each with its own conversions.

    If one has an unknown value (rows contradict each other, or it cannot be read), the result is
    absent.
    """

    options: tuple[ColumnSpec, ...] = field(metadata={"alias": "first_of"})


@dataclass(frozen=True, slots=True)
class JoinedColumns(Model):
    """The filled cells of one row under several headers, joined.

    Attributes:
        columns: the headers.
        between: the separator.
        complete: whether the result is absent if any cell is, as for a composite key.
    """

    columns: Headers
    between: FilledText = LIST_SEPARATOR
    complete: Flag = False

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Return the value under the key `join`; also accepts a list of headers."""
        joined = value["join"]
        return joined if isinstance(joined, dict) else {"columns": joined}


@dataclass(frozen=True, slots=True)
class DistinctCells(Model):
    """The distinct cells of a group of rows under one header, separated by `;`."""

    column: Header = field(metadata={"alias": "each_row"})


@dataclass(frozen=True, slots=True)
class RowOrder(Model):
    """A sort key of rows: numbers before texts, absent cells last.

    Attributes:
        column: header.
        descending: whether the largest number or the last text comes first.
    """

    column: Text
    descending: Flag = False

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Also accept a header alone."""
        return value if isinstance(value, dict) else {"column": value}


@dataclass(frozen=True, slots=True)
class EffectivePeriod(Model):
    """Days on which a row of the other file is in force, and the day on which it must be.

    Attributes:
        on: this file's header of the day on which it must be in force.
        since: the other file's header of the first day; an absent day is the distant past.
        until: its header of the last day; an absent day is the distant future.
    """

    on: Header
    since: Text = field(metadata={"alias": "from"})
    until: Text


@dataclass(frozen=True, slots=True)
class Lookup(Model):
    """A cell of another raw file, in a row whose keys equal cells of this row.

    The row must belong to the same member or, unless both files have a member, to the same claim.
    A file without ids of members, claims and coverages is shared by all members.

    Attributes:
        table: the other raw file.
        key: its headers that are compared.
        by: this file's headers that are compared with `key`, as many.
        value: its header that is read.
        own_scope: this file's header of the member or claim; "" if all members share the other
            file. Without it the result would depend on which rows share a partition.
        other_scope: the other file's header of the member or claim.
        order: sort keys; of several rows, the first one counts. If the first ones are tied with
            different values, the result is unknown.
        rows: how many rows must match: `any`, `at most one`, or `one`.
        in_force: restricts the rows to those in force on a day; None if all match.
    """

    table: RawFileName
    key: Texts
    by: Headers
    value: Text
    own_scope: str = field(default="", metadata={"init": False})
    other_scope: str = field(default="", metadata={"init": False})
    order: Annotated[tuple[RowOrder, ...], LISTED] = ()
    rows: Literal["any", "at most one", "one"] = "any"
    in_force: Annotated[EffectivePeriod | None, Given(EffectivePeriod)] = None

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Return the value under the key `lookup`; with `in_force`, `rows` is `one` by default."""
        below = value["lookup"]
        if isinstance(below, dict) and "in_force" in below and "rows" not in below:
            return {**below, "rows": "one"}
        return below

    @property
    def other_headers(self) -> tuple[str, ...]:
        """The headers of the other file that it reads."""
        dates = (self.in_force.since, self.in_force.until) if self.in_force else ()
        scope = (self.other_scope,) if self.other_scope else ()
        return (*self.key, self.value, *(order.column for order in self.order), *dates, *scope)

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Report headers that the other file lacks, and files without a common id."""
        raw, target = context.raw, context.raws.get(self.table)
        for header in self.other_headers:
            if target and header not in target.headers:
                yield unknown_header(header, target.name, target.headers)
        if len(self.key) != len(self.by):
            counts = f"{len(self.key)} and {len(self.by)}"
            message = f"key and by must list the same number of columns, not {counts}"
            yield Mistake("layout-keys", message)
        if raw and target and _shared_id_headers(raw, target) is None:
            what = f"{raw.name} and {target.name} must both name their member, or both their claim"
            yield Mistake("layout-keys", what)

    def resolve(self, context: LayoutNames) -> Lookup:
        """Return the lookup with the headers of both files' scopes."""
        raw, target = context.raw, context.raws.get(self.table)
        own_header, other_header = (raw and target and _shared_id_headers(raw, target)) or ("", "")
        return replace(self, own_scope=own_header, other_scope=other_header)


def _shared_id_headers(raw: RawColumns, target: RawColumns) -> tuple[str, str] | None:
    """Return both files' headers of the id that they share; None if they share none."""
    for role in ("member", *HEADERS):
        if role in raw.id_headers and role in target.id_headers:
            return raw.id_headers[role], target.id_headers[role]
    return None if target.id_headers else ("", "")


@dataclass(frozen=True, slots=True)
class RowNumber(Model):
    """1, 2, 3… among the rows with equal cells in some canonical columns."""

    within: CanonicalColumns = field(metadata={"alias": "number_within"})


def _source_models() -> Mapping[str, type[Model]]:
    """Return the model of each source of a column by its key."""
    return {
        "column": FromColumn,
        "constant": ConstantText,
        "first_of": CoalescedColumns,
        "join": JoinedColumns,
        "each_row": DistinctCells,
        "lookup": Lookup,
        "number_within": RowNumber,
    }


_USELESS_KEYS: Final = MappingProxyType(
    {
        "constant": ("among", "conflict"),
        "each_row": ("among", "conflict"),
        "first_of": ("among",),
    }
)
"""Source -> keys that have no effect with it. With `number_within`, no key has an effect."""

Source: TypeAlias = Annotated[
    FromColumn
    | ConstantText
    | CoalescedColumns
    | JoinedColumns
    | DistinctCells
    | Lookup
    | RowNumber,
    ByKey(_source_models, "layout-key"),
]


@dataclass(frozen=True, slots=True)
class ColumnSpec(Model):
    """Source and conversions of one canonical column; applied in the order of the attributes.

    Attributes:
        source: where the text comes from.
        among: of rows that are merged, only those that meet these are considered, and an empty
            cell of theirs contradicts a filled one. Empty: rows in which the cell is filled.
        when: the value is absent unless these hold.
        sentinels: texts that mean an absent value; each such cell is a finding.
        steps: conversions of the text, in order.
        date: how a date is written; None for the canonical forms.
        number: how a number is written; None for the canonical form.
        accept: values that need no crosswalk; None if every value goes through it.
        crosswalk: translates words into codes; None to leave the text unchanged.
        rule: finding for a value that is neither accepted nor in the crosswalk.
        amount: whether binary-float text is rounded to cents; each such cell is a finding.
        conflict: finding if merged rows contradict each other; the value is then absent. With
            `first_of`, it applies to all entries.
        finding: a finding for every present value; None for none.
    """

    source: Source
    among: Conditions = ()
    when: Conditions = ()
    sentinels: Annotated[frozenset[str], Given(Annotated[frozenset[Text], LISTED])] = frozenset()
    steps: Steps = ()
    date: MaybeDateFormat = None
    number: MaybeNumberFormat = None
    accept: Annotated[AcceptedValues | None, Given(AcceptedValues)] = None
    crosswalk: NamedCrosswalk = None
    rule: FindingRule = "dialect-unmapped-word"
    amount: Flag = False
    conflict: ConflictRule = "dialect-conflict"
    finding: MaybeFindingRule = None

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Report keys that have no effect."""
        del context
        models = _source_models().items()
        source = next(key for key, model in models if isinstance(self.source, model))
        plain = ColumnSpec(self.source)
        given_keys = [key for key in self.__slots__ if getattr(self, key) != getattr(plain, key)]
        for key in given_keys:
            if key in _USELESS_KEYS.get(source, ()) or source == "number_within":
                yield Mistake("layout-key", f"{key} has no effect with {source}", at=(key,))
        if "rule" in given_keys and self.crosswalk is None and self.accept is None:
            message = "rule has no effect without crosswalk or accept"
            yield Mistake("layout-key", message, at=("rule",))

    def all_specs(self) -> Iterator[ColumnSpec]:
        """Yield the column, and the entries of its `first_of`, at any depth."""
        yield self
        if isinstance(self.source, CoalescedColumns):
            for option in self.source.options:
                yield from option.all_specs()

    @property
    def comes_from_cells(self) -> bool:
        """Whether every value comes from a cell, not from a constant or a row number."""
        match self.source:
            case ConstantText() | RowNumber():
                return False
            case CoalescedColumns(options):
                return all(option.comes_from_cells for option in options)
            case _:
                return True

    @classmethod
    def known_keys(cls) -> tuple[str, ...]:
        """Return the keys of all sources and conversions."""
        return (*_source_models(), *super(ColumnSpec, cls).known_keys()[1:])

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Move the key of the source under `source`; a text alone is a header."""
        if not isinstance(value, dict):
            return {"source": {"column": value}} if isinstance(value, str) else value
        source = {key: value[key] for key in value if key in _source_models()}
        other_keys = {key: part for key, part in value.items() if key not in source}
        return {"source": source, **other_keys}

    @property
    def is_row_local(self) -> bool:
        """Whether it depends on cells of one row only, and uses only steps, date and number."""
        plain = ColumnSpec(self.source, (), self.when, self.sentinels, self.steps)
        is_plain = self == replace(plain, date=self.date, number=self.number)
        match self.source:
            case CoalescedColumns(options):
                return is_plain and all(option.is_row_local for option in options)
            case DistinctCells() | Lookup() | RowNumber():
                return False
            case _:
                return is_plain

    def headers(self) -> frozenset[str]:
        """Return the headers of its own raw file that it reads."""
        headers: set[str] = set()
        match self.source:
            case FromColumn(column) | DistinctCells(column):
                headers.add(column)
            case CoalescedColumns(options):
                for option in options:
                    headers |= option.headers()
            case JoinedColumns(columns):
                headers.update(columns)
            case Lookup(by=by, own_scope=scope, in_force=in_force):
                headers.update(by, (scope,) if scope else (), (in_force.on,) if in_force else ())
            case ConstantText() | RowNumber():
                pass
        for condition in (*self.among, *self.when, *(self.accept.where if self.accept else ())):
            headers.update(condition.columns)
        return frozenset(headers)

    def lookup_headers(self) -> frozenset[tuple[str, str]]:
        """Return the (raw file, header) pairs of other raw files that it reads."""
        match self.source:
            case Lookup(table=table):
                return frozenset((table, header) for header in self.source.other_headers)
            case CoalescedColumns(options):
                return frozenset().union(*(option.lookup_headers() for option in options))
            case _:
                return frozenset()


CellReader = Callable[[str], Any]


def match_rows(conditions: Sequence[Condition], column: CellReader, count: int) -> Bools:
    """Return which rows meet all conditions, shape (count,).

    Args:
        conditions: the conditions; without any, every row matches.
        column: header -> its cells, shape (count,).
        count: number of rows.
    """
    result = np.ones(count, dtype=bool)
    for condition in conditions:
        result &= _match_condition(condition, column, count)
    return result


def _match_condition(condition: Condition, column: CellReader, count: int) -> Bools:
    if condition.column is None:
        return ~match_rows(condition.none_hold, column, count)
    result = np.ones(count, dtype=bool)
    cell = column(condition.column)
    if condition.any_of:
        result &= _is_any_of(cell, condition.any_of)
    if condition.none_of:
        result &= ~_is_any_of(cell, condition.none_of)
    if condition.filled is not None:
        is_filled = cell.is_valid().to_numpy(zero_copy_only=False)
        result &= is_filled == condition.filled
    if condition.differs_from is not None:
        result &= ~true_where(pc.equal(cell, column(condition.differs_from)))
    if condition.pattern is not None:
        result &= true_where(pc.match_substring_regex(cell, f"^(?:{condition.pattern})$"))
    return result


def _is_any_of(cell: Any, words: frozenset[str]) -> Bools:
    return true_where(pc.is_in(pc.utf8_lower(cell), value_set=pa.array(sorted(words), pa.string())))


_SEPARATORS = re.compile(r"[\W_]+")


@lru_cache(maxsize=1 << 14)  # each header is compared with those of every layout
def normalize_header(header: str) -> str:
    """Return the normal form of a header; equal forms are the same column.

    It ignores letter case and the characters between words (blanks, `_`, `-`, brackets): `Service
    (from) date`, `Service__from__date` and `SERVICE-FROM-DATE` are one column.
    """
    return _SEPARATORS.sub("_", header.casefold()).strip("_")


def _freeze_columns(
    columns: dict[str, ColumnSpec], _names: LayoutNames
) -> Mapping[str, ColumnSpec]:
    return MappingProxyType(columns)


Columns: TypeAlias = Annotated[
    Mapping[str, ColumnSpec], Given(dict[CanonicalColumn, ColumnSpec]), Check(_freeze_columns)
]


@dataclass(frozen=True, slots=True)
class TableSpec(Model):
    """Rules that make rows of one canonical table from one raw file.

    Attributes:
        table: the canonical table.
        source: the raw file.
        where: conditions on the rows of the raw file.
        grain: headers that identify a canonical row: rows with equal cells in all of them are
            merged. Empty: each row of the file is a row of the table. A row whose first grain cell
            is empty is not merged.
        order: headers that order the rows of a group, numbers before texts.
        needs: canonical columns that a row must have; otherwise it is dropped.
        needs_any: canonical columns of which a row must have at least one.
        columns: canonical column -> its source.
        rows: turns columns into rows: each entry makes a row from `columns` and its own columns.
            Empty: one row.
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
        """Report keys without an effect in this table, and needed columns without a source."""
        entries: list[tuple[Location, Mapping[str, ColumnSpec]]] = [(("columns",), self.columns)]
        entries += [(("rows", number), columns) for number, columns in enumerate(self.rows)]
        for at, columns in entries:
            for name, spec in columns.items():
                yield from self._useless_keys(spec, (*at, name))
        rows = [{*self.columns, *entry} for entry in self.rows or ({},)]
        for key, names, enough in (("needs", self.needs, all), ("needs_any", self.needs_any, any)):
            for name in names:
                if not enough(name in row for row in rows):
                    message = (
                        f"{key} lists {name}, but nothing fills this column of {context.table}"
                    )
                    yield Mistake("layout-key", message, at=(key,))

    def _useless_keys(self, spec: ColumnSpec, at: Location) -> Iterator[Mistake]:
        for part in spec.all_specs():
            if isinstance(part.source, RowNumber) and (part is not spec or at[0] == "rows"):
                message = "number_within must be under columns, and not in first_of"
                yield Mistake("layout-key", message, at=at)
            for key in ("among", "conflict") if not self.grain else ():
                if getattr(part, key) != getattr(ColumnSpec(part.source), key):
                    yield Mistake("layout-key", f"{key} has no effect without grain", at=(*at, key))

    def resolve(self, context: LayoutNames) -> TableSpec:
        """Return the rules with their canonical table."""
        return replace(self, table=context.table)

    def headers(self) -> frozenset[str]:
        """Return every header of the raw file that it reads."""
        headers = {*self.grain, *self.order}
        for condition in self.where:
            headers.update(condition.columns)
        for columns in (self.columns, *self.rows):
            for spec in columns.values():
                headers |= spec.headers()
        return frozenset(headers)

    def lookup_files(self) -> frozenset[str]:
        """Return the names of the raw files in which it looks up cells."""
        columns = (spec for columns in (self.columns, *self.rows) for spec in columns.values())
        return frozenset(name for spec in columns for name, _ in spec.lookup_headers())


@dataclass(frozen=True, slots=True)
class Fills(Model):
    """How claims with several fills of drugs are split.

    Attributes:
        where: conditions that a row of a fill meets.
        by: header that distinguishes the fills of a claim.
    """

    where: Conditions
    by: Header


@dataclass(frozen=True, slots=True)
class RawCells:
    """How a layout reads the cells of a raw file: words for absent values, and derived columns.

    Attributes:
        nulls: texts that mean that a cell is empty.
        derived: header of a derived column -> its source among the row's cells.
    """

    nulls: frozenset[str] = frozenset()
    derived: Mapping[str, ColumnSpec] = field(default_factory=dict)

    def may_change(self, header: str) -> bool:
        """Return whether cells under a header can differ from those of the file."""
        return bool(self.nulls) or header in self.derived


PLAIN_CELLS: Final = RawCells()
"""Cells are read unchanged."""


@dataclass(frozen=True, slots=True)
class LineForm:
    """Form of a raw file whose lines are records, each split into cells individually.

    Attributes:
        widths: number of characters of each column; empty if cells are delimited.
        record: conditions that lines of this type of record meet; empty if all lines do.
        short_lines: whether blanks at the end of a line may be missing, if widths are fixed.
    """

    widths: tuple[int, ...] = ()
    record: tuple[Condition, ...] = ()
    short_lines: bool = False


@dataclass(frozen=True, slots=True)
class RawTable:
    """One raw file of a layout: its columns, ids and form.

    Attributes:
        name: its name in the layout.
        columns: headers, in the order of the layout.
        required: headers that a file must have to be recognized.
        compulsory: whether an extract must have such a file.
        unused: header -> why its cells are not used.
        aliases: other spelling (normalized by `normalize_header`) -> header.
        member, claim, coverage, prior_auth: header of the id, or None.
        main_table: canonical table under which findings about whole rows and files are counted.
        fills: how its pharmacy claims are split by fill; None if they are not.
        cells: words for absent values, and derived columns.
        name_patterns: patterns of file names without extension (`*` for anything), of which one
            must match. Empty: any name.
        has_header: whether its files have a row of headers; otherwise their cells are those of
            `columns`, in order.
        extra_cells: how many cells without a header a row may have at its end.
        lines: how its lines are recognized and split; None if rows are delimited and may have
            line breaks in cells.
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
    main_table: str = "*"
    fills: Fills | None = None
    cells: RawCells = PLAIN_CELLS
    name_patterns: tuple[str, ...] = ()
    has_header: bool = True
    extra_cells: int = 0
    lines: LineForm | None = None

    def matches_name(self, stem: str) -> bool:
        """Return whether a file with a name (without extension) can be this raw file."""
        stem = stem.casefold()
        if not self.name_patterns or (self.lines is None and stem == self.name):
            return True
        return any(fnmatchcase(stem, pattern.casefold()) for pattern in self.name_patterns)

    @property
    def headers(self) -> tuple[str, ...]:
        """All headers: those of the file, and those of derived columns."""
        return (*self.columns, *self.cells.derived)

    @property
    def id_headers(self) -> Mapping[str, str]:
        """Role -> header of its id, for the roles that the file has."""
        headers = {role: getattr(self, role) for role in ROLES}
        return {role: header for role, header in headers.items() if header is not None}

    def match_headers(self, headers: Iterable[str]) -> list[str | None]:
        """Return the layout's header for each header as a file spells it, or None."""
        spellings = self.spellings
        return [spellings.get(normalize_header(header)) for header in headers]

    @property
    def spellings(self) -> Mapping[str, str]:
        """Every accepted spelling (normalized) -> header of the layout."""
        return {**self.aliases, **{normalize_header(name): name for name in self.columns}}


ROLES: Final = ("member", *HEADERS, "coverage")
"""The tables whose ids identify the owner of a row."""

NO_KEYS: Final[Mapping[str, str]] = MappingProxyType({})


def _owner_keys(name: str) -> Mapping[str, str]:
    header = HEADER_OF.get(name, name)
    if header != name:
        return {header: KEYS[header]}
    return {"member": KEYS["member"], **({name: KEYS[name]} if name in KEYS else {})}


OWNER_KEYS: Final = MappingProxyType(
    {name: _owner_keys(name) for name in CLAIMS_TABLES if name not in MEMBERLESS}
)
"""Canonical table -> role that its raw file must declare -> canonical column with the same id."""


@dataclass(frozen=True, slots=True)
class LayoutText:
    """A layout file.

    Attributes:
        file: its name in messages.
        text: its YAML.
    """

    file: str
    text: str


@dataclass(frozen=True, slots=True)
class Layout:
    """A format of extracts: raw files, and the canonical tables that are made from them.

    Attributes:
        name: as in `--layout` and `manifest.json`.
        title: a few words for a list of layouts.
        description: one or two sentences for people.
        raw: its raw files by name.
        tables: rules that make the canonical tables.
        delimiter: the character between cells; None if the file's extension implies it.
        quoting: whether cells may be quoted.
        canonical: whether it is a canonical layout: files are recognized by their names, and
            numbered columns of `claim` are short forms of child rows.
        file: the YAML file that it was read from; "" for a canonical layout.
        text: its YAML, with which a worker process reads it again.
        bases: the layout files that it extends, by name.
        crosswalks: the crosswalks that it uses, by name.
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
        """The data model of its canonical tables."""
        return model_of({spec.table: spec for spec in self.tables})

    def source_files(self, table: str) -> frozenset[str]:
        """Return the names of the raw files from which a canonical table is made."""
        return frozenset(spec.source for spec in self.tables if spec.table == table)

    def row_conditions(self, table: str, source: str) -> tuple[tuple[Condition, ...], ...]:
        """Return groups of conditions; a row that meets one group makes a row of the table.

        They are the conditions of the layout, and that needed cells without conversions are filled.
        """
        groups = []
        for spec in self.tables:
            if (spec.table, spec.source) == (table, source):
                needed = [spec.columns[name] for name in spec.needs if name in spec.columns]
                filled = [
                    Condition(column.source.column, filled=True)
                    for column in needed
                    if isinstance(column.source, FromColumn) and column == ColumnSpec(column.source)
                ]
                groups.append((*spec.where, *filled))
        return tuple(groups)

    def provider_headers(self, source: str) -> tuple[str, ...]:
        """Return the headers of a raw file, not derived ones, that tables without members read."""
        headers: set[str] = set()
        for spec in self.tables:
            if spec.table in MEMBERLESS and spec.source == source:
                headers |= spec.headers()
        derived = self.raw[source].cells.derived
        while names := headers & derived.keys():
            headers = (headers - names).union(*(derived[name].headers() for name in names))
        return tuple(sorted(headers))

    def record_types(self, stem: str) -> tuple[RawTable, ...]:
        """Return the raw files whose records can be in a file of this name, one per record type."""
        return tuple(raw for raw in self.raw.values() if raw.lines and raw.matches_name(stem))

    @property
    def shared_files(self) -> frozenset[str]:
        """Names of raw files without owners' IDs, in which other files look up cells."""
        lookup_files = frozenset(name for spec in self.tables for name in spec.lookup_files())
        return frozenset(name for name in lookup_files if not self.raw[name].id_headers)

    def raw_files(self, *, directory: bool) -> tuple[str, ...]:
        """Return the sorted names of the raw files of the directory, or of members.

        Args:
            directory: True for the files of providers and payers, and for those that all members
                share; False for the files of members.
        """
        files: set[str] = set(self.shared_files if directory else ())
        for spec in self.tables:
            if (spec.table in MEMBERLESS) == directory:
                files |= {spec.source, *spec.lookup_files()}
        return tuple(sorted(files if directory else files - self.shared_files))


SHORT_FORM_COLUMNS: Final = tuple(
    f"{table.removeprefix('claim_')}_{word}_{number}"
    for table, words in SHORT_FORMS.items()
    for word in words
    for number in range(1, SHORT_FORM_COUNT + 1)
)
"""Every numbered column that a claim may have instead of child rows."""


def _canonical_raw_table(table: Table) -> RawTable:
    headers = table.names + (SHORT_FORM_COLUMNS if table.name == "claim" else ())
    keys = OWNER_KEYS.get(table.name, NO_KEYS)
    return RawTable(
        name=table.file_name,
        columns=headers,
        required=table.required,
        compulsory=table.compulsory,
        member=keys.get("member"),
        claim=keys.get("claim"),
        coverage=keys.get("coverage"),
        prior_auth=keys.get("prior_auth"),
        main_table=table.name,
    )


def _canonical_table_spec(table: Table) -> TableSpec:
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
            {table.file_name: _canonical_raw_table(table) for table in model.tables.values()}
        ),
        tables=tuple(_canonical_table_spec(table) for table in model.tables.values()),
        canonical=True,
    )


def canonical_layouts() -> Mapping[str, Layout]:
    """Return the canonical layouts of all data models by name, that of claims first."""
    return _canonical_layouts(tuple(TABLES.values()))


@lru_cache(maxsize=1)
def _canonical_layouts(_: tuple[Table, ...]) -> Mapping[str, Layout]:
    return MappingProxyType({model.layout: _canonical_layout(model) for model in DATA_MODELS})


def required_columns(table: str, *, delta: bool) -> tuple[tuple[str, ...], ...]:
    """Return groups of columns; a file of a canonical table must have one column of each group.

    A delta may have only deletions, so only the key is required.
    """
    if delta:
        return tuple((name,) for name in TABLES[table].key)
    groups = tuple((name,) for name in TABLES[table].required)
    # MapID 130 is the parts of the name, or the full name.
    return (*groups, ("family_name", "full_name")) if table == "member" else groups


def add_short_forms(child: pa.Table, claims: pa.Table, raw: pa.Table, name: str) -> pa.Table:
    """Return a child table with rows made from the numbered columns of `claim`.

    A row has the position, `record_action` and `last_updated` of its claim row. Its sequence is the
    number of the column, plus the highest sequence of the claim's other child rows.

    Args:
        child: rows of the child table's own file.
        claims: the canonical claim rows.
        raw: the numbered columns of each row of `claims`, trimmed; absent is null.
        name: name of the child table.
    """
    stem = name.removeprefix("claim_")
    highest = highest_sequences(child, ["claim_id"], claims).to_numpy()
    tables = [child]
    for number in range(1, SHORT_FORM_COUNT + 1):
        cells = {
            column: raw.column(f"{stem}_{word}_{number}")
            for word, column in SHORT_FORMS[name].items()
            if f"{stem}_{word}_{number}" in raw.column_names
        }
        if not cells:
            continue
        is_filled = np.zeros(claims.num_rows, dtype=bool)
        for cell in cells.values():
            is_filled |= cell.is_valid().to_numpy(zero_copy_only=False)
        rows = np.flatnonzero(is_filled)
        if len(rows):
            columns = {column: cell.take(pa.array(rows)) for column, cell in cells.items()}
            columns["sequence"] = pa.array(highest[rows] + number).cast(pa.string())
            for column in ("claim_id", "record_action", "last_updated", FILE_COLUMN, ROW_COLUMN):
                columns[column] = claims.column(column).take(pa.array(rows))
            tables.append(table_of(name, len(rows), columns))
    return pa.concat_tables(tables)


def highest_sequences(rows: pa.Table, by: Sequence[str], wanted: pa.Table) -> Any:
    """Return the highest sequence among the rows with the cells of each wanted row; 0 for none."""
    numbered = rows.filter(is_sequence(rows.column("sequence")))
    numbers = numbered.column("sequence").cast(pa.int64())
    highest = numbered.select(by).append_column("n", numbers).group_by(by).aggregate([("n", "max")])
    keys, wanted_keys = (
        compound_keys(*(table.column(name).cast(pa.string()).combine_chunks() for name in by))
        for table in (highest, wanted)
    )
    at = pc.index_in(wanted_keys, value_set=keys)
    return pc.fill_null(highest.column("n_max").combine_chunks().take(at), 0)


def is_sequence(texts: Any) -> Any:
    """Return which texts are whole numbers of at most nine digits."""
    return pc.fill_null(pc.match_substring_regex(texts, r"^[0-9]{1,9}$"), False)
