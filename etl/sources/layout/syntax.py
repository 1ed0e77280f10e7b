"""Layout files: YAML text into a checked `Layout`. docs/layouts.md is the page for authors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Final

from etl.documents.models import (
    Check,
    ErrorIds,
    Flag,
    Given,
    Location,
    MaybeText,
    Mistake,
    Model,
    Text,
    Texts,
    Whole,
    read_as,
    up_to,
)
from etl.documents.yaml_text import Map, Seq
from etl.errors import MappingError, Mistakes, nearest
from etl.model.canonical_tables import MEMBERLESS, TABLES
from etl.model.crosswalks import Crosswalk
from etl.sources.layout.expansion import NO_BASES, extended, without_loops
from etl.sources.layout.model import (
    KEYS_OF_RAW,
    NO_KEYS,
    PLAIN_CELLS,
    ROLES,
    ColumnSpec,
    Conditions,
    Fills,
    FromColumn,
    Layout,
    LayoutText,
    LineForm,
    RawCells,
    RawTable,
    TableSpec,
    spelling,
)
from etl.sources.layout.names import LayoutNames, unknown_header

_IDS: Final = ErrorIds(key="layout-key", missing="layout-key", value="layout-value")
_RAW_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_MOST_EXTRA: Final = 100
_MOST_WIDE: Final = 1 << 16
_DELIMITERS: Final = {",": ",", "|": "|", "tab": "\t", ";": ";", "~": "~", "^": "^"}


def _delimiter(word: str, _names: Any) -> str:
    if word not in _DELIMITERS:
        what = f"delimiter must be one of {' '.join(_DELIMITERS)}"
        raise Mistake("layout-value", what, nearest(word, _DELIMITERS))
    return _DELIMITERS[word]


@dataclass(frozen=True, slots=True)
class LayoutFile(Model):
    """A layout file; what stands under `raw` and `tables` is read entry by entry."""

    name: Text = field(metadata={"alias": "layout"})
    title: Text
    description: Text
    raw: dict[str, Any]
    tables: dict[str, Any]
    delimiter: Annotated[str | None, Given(Annotated[Text, Check(_delimiter)])] = None
    quoting: Flag = True
    nulls: Texts = ()
    extends: MaybeText = None


@dataclass(frozen=True, slots=True)
class UnusedColumns(Model):
    """Headers of cells that are left out, and why."""

    reason: Text
    column: MaybeText = None
    columns: Texts = ()

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Yield that no header is named."""
        del context
        if not self.headers:
            yield Mistake("layout-value", "column must be text", is_absence=True)

    @property
    def headers(self) -> tuple[str, ...]:
        """All that it names."""
        return self.columns or ((self.column,) if self.column is not None else ())


@dataclass(frozen=True, slots=True)
class ExtraCells(Model):
    """Cells behind those of the headers, which are left out, and why."""

    most: Annotated[Whole, up_to(_MOST_EXTRA, "layout-value")]
    reason: Text


@dataclass(frozen=True, slots=True)
class FixedColumn(Model):
    """Column of fixed width.

    Attributes:
        column: its header.
        width: number of its characters.
        at: number of its first character, counted from 1, to be checked; None: not said.
    """

    column: Text
    width: Annotated[Whole, up_to(_MOST_WIDE, "layout-value")]
    at: Annotated[int | None, Given(Whole)] = None


@dataclass(frozen=True, slots=True)
class RawFile(Model):
    """Entry of one raw file in a layout file."""

    required: Texts = ()
    columns: Texts = ()
    compulsory: Flag = False
    member: MaybeText = None
    claim: MaybeText = None
    coverage: MaybeText = None
    prior_auth: MaybeText = None
    fills: Annotated[Fills | None, Given(Fills)] = None
    unused: tuple[UnusedColumns, ...] = ()
    aliases: dict[str, dict[str, Texts]] = field(default_factory=dict)
    made: dict[Text, ColumnSpec] = field(default_factory=dict)
    named: Texts = ()
    has_header: Flag = field(default=True, metadata={"alias": "header"})
    extra_cells: Annotated[ExtraCells | None, Given(ExtraCells)] = None
    fixed_width: tuple[FixedColumn, ...] = ()
    short_lines: Flag = False
    record: Conditions = ()

    @property
    def headers(self) -> tuple[str, ...]:
        """All its headers."""
        return (*self.required, *self.columns, *(slot.column for slot in self.fixed_width))

    @property
    def names(self) -> tuple[str, ...]:
        """Its headers, and those of the columns that are made."""
        return (*self.headers, *self.made)

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Yield headers that stand twice, or that are named and are not there."""
        seen: set[str] = set()
        fixed = tuple(slot.column for slot in self.fixed_width)
        for key, headers in (
            ("required", self.required),
            ("columns", self.columns),
            ("fixed_width", fixed),
        ):
            for header in headers:
                if spelling(header) in seen:
                    what = f"{header!r} appears twice in {context.raw_name}"
                    yield Mistake("layout-header", what, at=(key,))
                seen.add(spelling(header))
        for header, at in self._any_headers():
            if header not in self.names:
                yield unknown_header(header, context.raw_name, self.names, at)
        for header, at in self._file_headers():
            if header not in self.headers:
                yield unknown_header(header, context.raw_name, self.headers, at)
        yield from self._wrongly_made(seen, context.raw_name)
        others: dict[str, str] = {}
        for title, header, spelled in self._spellings():
            if others.setdefault(spelling(spelled), header) != header:
                what, at = f"{spelled!r} stands for two columns", ("aliases", title, header)
                yield Mistake("layout-header", what, at=at)
        yield from self._wrong_lines()
        if not self.has_header and not self.named:
            what = "a file without a header must be named: by its headers it is not known"
            yield Mistake("layout-key", what, is_absence=True)
        if self.fills is not None and self.claim is None:
            yield Mistake("layout-key", "fills need a claim", at=("fills",))
        elif self.fills is not None and self.claim in self.made:
            yield Mistake("layout-keys", "the claim of fills must be a cell", at=("fills",))

    def _wrong_lines(self) -> Iterator[Mistake]:
        """Yield what does not fit together in a file of lines."""
        if self.fixed_width and (self.required or self.columns or self.extra_cells):
            what = "where widths are fixed, columns stand under fixed_width alone"
            yield Mistake("layout-key", what, at=("fixed_width",))
        if self.short_lines and not self.fixed_width:
            what = "short_lines are lines of fixed_width"
            yield Mistake("layout-key", what, at=("short_lines",))
        if (self.fixed_width or self.record) and not self.named:
            what = "a file of lines must be named: by its headers it is not known"
            yield Mistake("layout-key", what, is_absence=True)
        start = 1
        for number, slot in enumerate(self.fixed_width):
            if slot.at is not None and slot.at != start:
                what = (
                    f"{slot.column!r} begins at {start}, by the widths before it, not at {slot.at}"
                )
                yield Mistake("layout-value", what, at=("fixed_width", number, "at"))
            start += slot.width

    def _wrongly_made(self, seen: set[str], name: str) -> Iterator[Mistake]:
        """Yield columns that are made of more than the cells that stand before them."""
        known = set(self.headers)
        for header, spec in self.made.items():
            at = ("made", header)
            if spelling(header) in seen:
                yield Mistake("layout-header", f"{header!r} appears twice in {name}", at=at)
            seen.add(spelling(header))
            if not spec.is_of_its_row:
                what = f"{header!r} must be made of cells of its row, and by steps, date or number"
                yield Mistake("layout-value", what, at=at)
            for unknown in sorted(spec.headers() - known):
                yield unknown_header(unknown, name, sorted(known), at)
            known.add(header)

    def _file_headers(self) -> Iterator[tuple[str, Location]]:
        """Yield every header that must be one of the file's own, and its location."""
        for number, unused in enumerate(self.unused):
            yield from ((header, ("unused", number)) for header in unused.headers)
        for title, pairs in self.aliases.items():
            yield from ((header, ("aliases", title, header)) for header in pairs)
        for condition in self.record:
            yield from ((header, ("record",)) for header in condition.columns)

    def _any_headers(self) -> Iterator[tuple[str, Location]]:
        """Yield every header that may also be that of a derived column, and its location."""
        for role in ROLES:
            if getattr(self, role) is not None:
                yield getattr(self, role), (role,)
        if self.fills is not None:
            yield self.fills.by, ("fills", "by")
            for condition in self.fills.where:
                yield from ((header, ("fills", "where")) for header in condition.columns)

    def _spellings(self) -> Iterator[tuple[str, str, str]]:
        """Yield each set's title, a header, and another spelling of it."""
        for title, pairs in self.aliases.items():
            for header, spellings in pairs.items():
                yield from ((title, header, spelled) for spelled in spellings)

    def table(self, name: str, main: str, nulls: frozenset[str]) -> RawTable:
        """Return the raw file.

        Args:
            name: what the layout calls it.
            main: canonical table under which findings about whole rows are counted.
            nulls: texts that mean that a cell is empty.
        """
        unused = {header: entry.reason for entry in self.unused for header in entry.headers}
        aliases = {spelling(spelled): header for _, header, spelled in self._spellings()}
        return RawTable(
            name=name,
            columns=self.headers,
            required=self.required if not self.fixed_width else self.headers,
            compulsory=self.compulsory,
            unused=MappingProxyType(unused),
            aliases=MappingProxyType(aliases),
            member=self.member,
            claim=self.claim,
            coverage=self.coverage,
            prior_auth=self.prior_auth,
            main=main,
            fills=self.fills,
            named=self.named,
            has_header=self.has_header and not self.fixed_width,
            lines=self._line_form(),
            extra_cells=self.extra_cells.most if self.extra_cells else 0,
            cells=RawCells(nulls, dict(self.made)) if nulls or self.made else PLAIN_CELLS,
        )

    def _line_form(self) -> LineForm | None:
        if not self.fixed_width and not self.record:
            return None
        widths = tuple(slot.width for slot in self.fixed_width)
        return LineForm(widths, self.record, self.short_lines)


def read_layout(
    text: str,
    file: str,
    crosswalks: Mapping[str, Crosswalk],
    bases: Mapping[str, LayoutText] = NO_BASES,
) -> Layout:
    """Return the layout that a YAML text describes.

    Args:
        text: the YAML.
        file: what messages call the file.
        crosswalks: those that a column may name.
        bases: layouts that it may extend, by name.

    Raises:
        MappingError: `layout-key`, `layout-value`, `layout-table`, `layout-column`,
            `layout-header`, `layout-crosswalk`, `layout-rule`, `layout-keys`, `layout-required`,
            `layout-unaccounted`, `layout-ambiguous`, `layout-extends`, `layout-loop`, or one of
            `read_yaml`; every mistake of the file at once.
    """
    written = LayoutText(file, text)
    document, used = extended(written, bases)
    document = without_loops(document)
    mistakes = Mistakes()
    top: LayoutFile | None = None
    with mistakes.collected():
        top = read_as(LayoutFile, document, file, _IDS)
    nulls = frozenset(top.nulls if top else ())
    raws, tables = _map_under(document, "raw"), _map_under(document, "tables")
    raw_tables: dict[str, RawTable] = {}
    names = LayoutNames(crosswalks, raw_names=frozenset(raws), raws=raw_tables)
    mains = _main_tables(tables)
    for name, entry in raws.items():
        with mistakes.collected():
            names.raw_name = _raw_name(name, raws)
            raw = read_as(RawFile, entry, str(raws.marks[name]), _IDS, names)
            raw_tables[name] = raw.table(name, mains.get(name, "*"), nulls)
    specs: list[TableSpec] = []
    for table, value in tables.items():
        with mistakes.collected():
            names.table = _table_name(table, tables)
            for entry in value if isinstance(value, Seq) else [value]:
                with mistakes.collected():
                    names.raw = names.raws.get(str(_source(entry)))
                    where = str(tables.marks[table])
                    specs.append(read_as(TableSpec, entry, where, _IDS, names))
    top = mistakes.made(top)
    layout = Layout(
        name=top.name,
        title=top.title,
        description=top.description,
        raw=MappingProxyType(raw_tables),
        tables=tuple(specs),
        delimiter=top.delimiter,
        quoting=top.quoting,
        file=file,
        text=text,
        bases=MappingProxyType(used),
        crosswalks=MappingProxyType(names.used),
    )
    check_layout(layout, lambda name: str(raws.marks[name]), lambda name: str(tables.marks[name]))
    return layout


def _map_under(document: Any, key: str) -> Map:
    """Return the map under a key; an empty one if there is none, which is reported elsewhere."""
    value = document.get(key) if isinstance(document, Map) else None
    if isinstance(value, Map):
        return value
    empty = Map()
    empty.marks = {}
    return empty


def _source(entry: Any) -> Any:
    return entry.get("from") if isinstance(entry, Map) else None


def _main_tables(tables: Map) -> dict[str, str]:
    """Return the table under which findings about whole rows of each raw file are counted.

    It is the first that has a row for each of them, or else the first that the file feeds; a table
    of providers only of a file that feeds no other.
    """
    fed: dict[str, str] = {}
    once: dict[str, str] = {}
    for table, value in sorted(tables.items(), key=lambda item: item[0] in MEMBERLESS):
        for entry in value if isinstance(value, Seq) else [value]:
            if isinstance(_source(entry), str):
                of_members = fed.setdefault(entry["from"], table) not in MEMBERLESS
                if table in MEMBERLESS and of_members:
                    continue
                if not {"grain", "where", "rows"} & entry.keys():
                    once.setdefault(entry["from"], table)
    return fed | once


def _raw_name(name: str, raws: Map) -> str:
    if not _RAW_NAME.fullmatch(name):
        # Files of the work folder are called after it.
        what = f"{name!r} must be lower-case letters, digits and _"
        raise MappingError(str(raws.marks[name]), "layout-value", what)
    return name


def _table_name(table: str, tables: Map) -> str:
    if table not in TABLES:
        where, hint = str(tables.marks[table]), nearest(table, TABLES)
        raise MappingError(where, "layout-table", f"no table {table!r}", hint=hint)
    return table


Where = Callable[[str], str]


def check_layout(layout: Layout, raw_at: Where, table_at: Where) -> None:
    """Refuse a layout that cannot work.

    Args:
        layout: the layout.
        raw_at: where a raw file is declared, for messages.
        table_at: where a canonical table is declared.

    Raises:
        MappingError: `layout-required`, `layout-keys`, `layout-unaccounted`.
    """
    mistakes = Mistakes()
    fed = {spec.table for spec in layout.tables}
    for table in layout.model.tables.values():
        if table.compulsory and table.name not in fed:
            what = f"nothing feeds the required table {table.name}"
            mistakes.add(MappingError(layout.file, "layout-required", what))
    for spec in layout.tables:
        for error in (
            *_missing_columns(spec, table_at(spec.table)),
            *_wrong_keys(spec, layout.raw[spec.source], table_at(spec.table)),
            *_wrong_lookups(spec, layout, table_at(spec.table)),
        ):
            mistakes.add(error)
    for raw in layout.raw.values():
        for error in (
            *_wrong_fills(layout, raw, raw_at(raw.name)),
            *_wrong_records(layout, raw, raw_at(raw.name)),
            *_wrongly_unused(layout, raw, raw_at(raw.name)),
        ):
            mistakes.add(error)
    mistakes.report()


def _missing_columns(spec: TableSpec, where: str) -> Iterator[MappingError]:
    for entry in spec.rows or ({},):
        for name in TABLES[spec.table].required:
            if name not in spec.columns and name not in entry:
                yield MappingError(
                    where, "layout-required", f"{spec.table} is not given its column {name}"
                )


def _wrong_keys(spec: TableSpec, raw: RawTable, where: str) -> Iterator[MappingError]:
    """Yield keys that are not the raw cells, unchanged, by which rows are partitioned."""
    for role, column in KEYS_OF_RAW.get(spec.table, NO_KEYS).items():
        header = raw.ids.get(role)
        if header is None:
            yield MappingError(
                where, "layout-keys", f"{raw.name} feeds {spec.table}, so it must declare {role}"
            )
        elif spec.columns.get(column) != ColumnSpec(FromColumn(header)):
            yield MappingError(
                where,
                "layout-keys",
                f"{column} must be {header!r}, the {role} of {raw.name}, without any conversion",
            )


def _wrong_lookups(spec: TableSpec, layout: Layout, where: str) -> Iterator[MappingError]:
    """Yield lookups of a table without members in files of members."""
    for name in sorted(spec.looked_up()):
        if spec.table in MEMBERLESS and layout.raw[name].ids:
            what = f"{spec.table} belongs to no member, so it cannot look up {name}, whose rows do"
            yield MappingError(where, "layout-keys", what)


def _wrong_fills(layout: Layout, raw: RawTable, where: str) -> Iterator[MappingError]:
    """Yield fills by which no claim can be split."""
    claims = [spec for spec in layout.tables if (spec.table, spec.source) == ("claim", raw.name)]
    among = [column.among for spec in claims for column in spec.columns.values()]
    if raw.fills is not None and raw.fills.where not in among:
        what = f"fills of {raw.name} has no effect: no column of claim has its conditions as among"
        yield MappingError(where, "layout-key", what)


def _wrong_records(layout: Layout, raw: RawTable, where: str) -> Iterator[MappingError]:
    """Yield records of one file that cannot be distinguished."""
    if raw.lines is None:
        return
    beside = [
        other
        for other in layout.raw.values()
        if other.name != raw.name and set(other.named) & set(raw.named)
    ]
    if beside and not raw.lines.record:
        what = f"{raw.name} and {beside[0].name} are in the same files, so record must tell them"
        yield MappingError(where, "layout-key", f"{what} apart")
    if beside and raw.has_header and any(one.has_header for one in beside if one.lines):
        what = "one type of record at most has the headers; of the others say header: false"
        yield MappingError(where, "layout-key", what)


def _wrongly_unused(layout: Layout, raw: RawTable, where: str) -> Iterator[MappingError]:
    used = set(raw.ids.values())
    for made in raw.cells.made.values():
        used |= made.headers()
    for condition in raw.lines.record if raw.lines else ():
        used.update(condition.columns)
    for spec in layout.tables:
        if spec.source == raw.name:
            used |= spec.headers()
        for columns in (spec.columns, *spec.rows):
            for column in columns.values():
                used |= {header for table, header in column.foreign() if table == raw.name}
    for header in raw.names:
        if header in used and header in raw.unused:
            yield MappingError(
                where, "layout-unaccounted", f"{header!r} of {raw.name} is used and called unused"
            )
