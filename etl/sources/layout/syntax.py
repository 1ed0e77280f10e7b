"""Layout files: YAML text into a checked `Layout`. docs/layouts.md is the page for authors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeAlias

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
from etl.sources.layout.expansion import NO_BASES, expand_loops, merge_bases
from etl.sources.layout.model import (
    NO_KEYS,
    OWNER_KEYS,
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
    normalize_header,
)
from etl.sources.layout.names import LayoutNames, unknown_header

_ERROR_IDS: Final = ErrorIds(key="layout-key", missing="layout-key", value="layout-value")
_RAW_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_MOST_EXTRA: Final = 100
_MOST_WIDE: Final = 1 << 16
_DELIMITERS: Final = {",": ",", "|": "|", "tab": "\t", ";": ";", "~": "~", "^": "^"}


def _repeated_header(
    header: str, seen_headers: dict[str, str], name: str, at: Location
) -> Iterator[Mistake]:
    """Report a header that the file has in this or another spelling, and remember it."""
    earlier = seen_headers.get(normalize_header(header))
    if earlier == header:
        yield Mistake("layout-header", f"{header!r} appears twice in {name}", at=at)
    elif earlier is not None:
        message = f"{header!r} and {earlier!r} are one column: case and punctuation are ignored"
        yield Mistake("layout-header", message, at=at)
    seen_headers[normalize_header(header)] = header


def _delimiter(word: str, _names: Any) -> str:
    if word not in _DELIMITERS:
        message = f"delimiter must be one of {' '.join(_DELIMITERS)}"
        raise Mistake("layout-value", message, nearest(word, _DELIMITERS))
    return _DELIMITERS[word]


@dataclass(frozen=True, slots=True)
class LayoutFile(Model):
    """A layout file. The entries of `raw` and `tables` are read one by one."""

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
    """Headers of columns that are not used, and why."""

    reason: Text
    column: MaybeText = None
    columns: Texts = ()

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Report that no header is named."""
        del context
        if not self.headers:
            yield Mistake("layout-value", "column must be text", is_absence=True)

    @property
    def headers(self) -> tuple[str, ...]:
        """All headers that it names."""
        return self.columns or ((self.column,) if self.column is not None else ())


@dataclass(frozen=True, slots=True)
class ExtraCells(Model):
    """How many cells without headers a row may have, and why they are not used."""

    most: Annotated[Whole, up_to(_MOST_EXTRA, "layout-value")]
    reason: Text


@dataclass(frozen=True, slots=True)
class FixedColumn(Model):
    """A column of fixed width.

    Attributes:
        column: its header.
        width: number of its characters.
        at: number of its first character, from 1, to be checked; None to skip the check.
    """

    column: Text
    width: Annotated[Whole, up_to(_MOST_WIDE, "layout-value")]
    at: Annotated[int | None, Given(Whole)] = None


@dataclass(frozen=True, slots=True)
class RawFile(Model):
    """The entry of a raw file in a layout file."""

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
    derived: dict[Text, ColumnSpec] = field(default_factory=dict, metadata={"alias": "made"})
    name_patterns: Texts = field(default=(), metadata={"alias": "named"})
    has_header: Flag = field(default=True, metadata={"alias": "header"})
    extra_cells: Annotated[ExtraCells | None, Given(ExtraCells)] = None
    fixed_width: tuple[FixedColumn, ...] = ()
    short_lines: Flag = False
    record: Conditions = ()

    @property
    def headers(self) -> tuple[str, ...]:
        """The headers of the file."""
        return (*self.required, *self.columns, *(slot.column for slot in self.fixed_width))

    @property
    def all_headers(self) -> tuple[str, ...]:
        """The headers of the file, and those of derived columns."""
        return (*self.headers, *self.derived)

    def mistakes(self, context: LayoutNames) -> Iterator[Mistake]:
        """Report duplicate and unknown headers, and keys that contradict each other."""
        seen_headers: dict[str, str] = {}
        fixed = tuple(slot.column for slot in self.fixed_width)
        for key, headers in (
            ("required", self.required),
            ("columns", self.columns),
            ("fixed_width", fixed),
        ):
            for header in headers:
                yield from _repeated_header(header, seen_headers, context.raw_name, (key,))
        for header, at in self._any_headers():
            if header not in self.all_headers:
                yield unknown_header(header, context.raw_name, self.all_headers, at)
        for header, at in self._file_headers():
            if header not in self.headers:
                yield unknown_header(header, context.raw_name, self.headers, at)
        yield from self._derived_mistakes(seen_headers, context.raw_name)
        headers_by_spelling: dict[str, str] = {}
        for title, header, spelled in self._spellings():
            if headers_by_spelling.setdefault(normalize_header(spelled), header) != header:
                message, at = f"{spelled!r} stands for two columns", ("aliases", title, header)
                yield Mistake("layout-header", message, at=at)
        yield from self._contradictions()
        yield from self._wrong_starts()

    def _contradictions(self) -> Iterator[Mistake]:
        """Report keys that contradict each other, or that need another key."""
        if self.fixed_width and (self.required or self.columns or self.extra_cells):
            others = "required, columns and extra_cells"
            message = f"fixed_width lists all columns of the file: remove {others}"
            yield Mistake("layout-key", message, at=("fixed_width",))
        if self.short_lines and not self.fixed_width:
            message = "short_lines has no effect without fixed_width"
            yield Mistake("layout-key", message, at=("short_lines",))
        unnamed = {
            "a file of lines": self.fixed_width or self.record,
            "a file without a header": not self.has_header,
        }
        for file, needs_name in unnamed.items():
            if needs_name and not self.name_patterns:
                message = f"{file} is recognized only by its name, so it needs named"
                yield Mistake("layout-key", message, is_absence=True)
        if self.fills is not None and self.claim is None:
            yield Mistake("layout-key", "fills has no effect without claim", at=("fills",))
        elif self.fills is not None and self.claim in self.derived:
            yield Mistake(
                "layout-keys",
                "with fills, claim must be a column of the file, not under made",
                at=("fills",),
            )

    def _wrong_starts(self) -> Iterator[Mistake]:
        """Report columns of fixed width that do not begin where `at` says."""
        start = 1
        for number, slot in enumerate(self.fixed_width):
            if slot.at is not None and slot.at != start:
                message = (
                    f"{slot.column!r} begins at {start}, by the widths before it, not at {slot.at}"
                )
                yield Mistake("layout-value", message, at=("fixed_width", number, "at"))
            start += slot.width

    def _derived_mistakes(self, seen_headers: dict[str, str], name: str) -> Iterator[Mistake]:
        """Report derived columns that read more than the columns before them in the row."""
        known_headers = set(self.headers)
        for header, spec in self.derived.items():
            at = ("made", header)
            yield from _repeated_header(header, seen_headers, name, at)
            if not spec.is_row_local:
                what = f"{header!r} must be made of cells of its row, and by steps, date or number"
                yield Mistake("layout-value", what, at=at)
            for unknown in sorted(spec.headers() - known_headers):
                yield unknown_header(unknown, name, sorted(known_headers), at)
            known_headers.add(header)

    def _file_headers(self) -> Iterator[tuple[str, Location]]:
        """Yield every header that must be a header of the file, with its location."""
        for number, unused in enumerate(self.unused):
            yield from ((header, ("unused", number)) for header in unused.headers)
        for title, pairs in self.aliases.items():
            yield from ((header, ("aliases", title, header)) for header in pairs)
        for condition in self.record:
            yield from ((header, ("record",)) for header in condition.columns)

    def _any_headers(self) -> Iterator[tuple[str, Location]]:
        """Yield every header that may also be that of a derived column, with its location."""
        for role in ROLES:
            if getattr(self, role) is not None:
                yield getattr(self, role), (role,)
        if self.fills is not None:
            yield self.fills.by, ("fills", "by")
            for condition in self.fills.where:
                yield from ((header, ("fills", "where")) for header in condition.columns)

    def _spellings(self) -> Iterator[tuple[str, str, str]]:
        """Yield the title of each set of aliases, a header, and another spelling of it."""
        for title, pairs in self.aliases.items():
            for header, spellings in pairs.items():
                yield from ((title, header, spelled) for spelled in spellings)

    def to_raw_table(self, name: str, main_table: str, nulls: frozenset[str]) -> RawTable:
        """Return the raw file.

        Args:
            name: its name in the layout.
            main_table: canonical table under which findings about whole rows are counted.
            nulls: texts that mean that a cell is empty.
        """
        unused = {header: entry.reason for entry in self.unused for header in entry.headers}
        aliases = {normalize_header(spelled): header for _, header, spelled in self._spellings()}
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
            main_table=main_table,
            fills=self.fills,
            name_patterns=self.name_patterns,
            has_header=self.has_header and not self.fixed_width,
            lines=self._line_form(),
            extra_cells=self.extra_cells.most if self.extra_cells else 0,
            cells=RawCells(nulls, dict(self.derived)) if nulls or self.derived else PLAIN_CELLS,
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
        file: the file's name in messages.
        crosswalks: the crosswalks that a column may name.
        bases: the layouts that it may extend, by name.

    Raises:
        MappingError: `layout-key`, `layout-value`, `layout-table`, `layout-column`,
            `layout-header`, `layout-crosswalk`, `layout-rule`, `layout-keys`, `layout-required`,
            `layout-unaccounted`, `layout-ambiguous`, `layout-extends`, `layout-loop`, or one of
            `read_yaml`; every mistake of the file at once.
    """
    document, used_bases = merge_bases(LayoutText(file, text), bases)
    document = expand_loops(document)
    mistakes = Mistakes()
    top: LayoutFile | None = None
    with mistakes.collected():
        top = read_as(LayoutFile, document, file, _ERROR_IDS)
    nulls = frozenset(top.nulls if top else ())
    raw_entries, tables = _map_value(document, "raw"), _map_value(document, "tables")
    raw_tables: dict[str, RawTable] = {}
    names = LayoutNames(crosswalks, raw_names=frozenset(raw_entries), raws=raw_tables)
    main_tables = _main_tables(tables)
    for name, entry in raw_entries.items():
        with mistakes.collected():
            names.raw_name = _check_raw_name(name, raw_entries)
            raw = read_as(RawFile, entry, str(raw_entries.marks[name]), _ERROR_IDS, names)
            raw_tables[name] = raw.to_raw_table(name, main_tables.get(name, "*"), nulls)
    specs: list[TableSpec] = []
    for table, value in tables.items():
        with mistakes.collected():
            names.table = _check_table_name(table, tables)
            for entry in value if isinstance(value, Seq) else [value]:
                with mistakes.collected():
                    names.raw = names.raws.get(str(_source_name(entry)))
                    where = str(tables.marks[table])
                    specs.append(read_as(TableSpec, entry, where, _ERROR_IDS, names))
    top = mistakes.require(top)
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
        bases=MappingProxyType(used_bases),
        crosswalks=MappingProxyType(names.used),
    )
    check_layout(
        layout, lambda name: str(raw_entries.marks[name]), lambda name: str(tables.marks[name])
    )
    return layout


def _map_value(document: Any, key: str) -> Map:
    """Return the map under a key; an empty one if it is missing, which is reported elsewhere."""
    value = document.get(key) if isinstance(document, Map) else None
    if isinstance(value, Map):
        return value
    empty = Map()
    empty.marks = {}
    return empty


def _source_name(entry: Any) -> Any:
    return entry.get("from") if isinstance(entry, Map) else None


def _main_tables(tables: Map) -> dict[str, str]:
    """Return the table under which findings about whole rows of each raw file are counted.

    It is the first table with a row for each row of the file, or else the first table of the file.
    Tables of providers count only if the file has no others.
    """
    first_tables: dict[str, str] = {}
    row_tables: dict[str, str] = {}
    for table, value in sorted(tables.items(), key=lambda item: item[0] in MEMBERLESS):
        for entry in value if isinstance(value, Seq) else [value]:
            if isinstance(_source_name(entry), str):
                of_members = first_tables.setdefault(entry["from"], table) not in MEMBERLESS
                if table in MEMBERLESS and of_members:
                    continue
                if not {"grain", "where", "rows"} & entry.keys():
                    row_tables.setdefault(entry["from"], table)
    return first_tables | row_tables


def _check_raw_name(name: str, raws: Map) -> str:
    if not _RAW_NAME.fullmatch(name):
        # Files in the work folder are named after it.
        message = f"{name!r} must be lower-case letters, digits and _"
        raise MappingError(str(raws.marks[name]), "layout-value", message)
    return name


def _check_table_name(table: str, tables: Map) -> str:
    if table not in TABLES:
        where, hint = str(tables.marks[table]), nearest(table, TABLES)
        raise MappingError(where, "layout-table", f"no table {table!r}", hint=hint)
    return table


def check_layout(
    layout: Layout, raw_mark: Callable[[str], str], table_mark: Callable[[str], str]
) -> None:
    """Refuse a layout that cannot work.

    Args:
        raw_mark: returns the position of a raw file in the layout file, for messages.
        table_mark: returns the position of a canonical table.

    Raises:
        MappingError: `layout-required`, `layout-keys`, `layout-unaccounted`.
    """
    mistakes = Mistakes()
    table_names = {spec.table for spec in layout.tables}
    for table in layout.model.tables.values():
        if table.compulsory and table.name not in table_names:
            message = f"nothing feeds the required table {table.name}"
            mistakes.add(MappingError(layout.file, "layout-required", message))
    for spec in layout.tables:
        raw = layout.raw[spec.source]
        errors = (*_column_errors(spec), *_key_errors(spec, raw), *_lookup_errors(spec, layout))
        for rule, message in errors:
            mistakes.add(MappingError(table_mark(spec.table), rule, message))
    for raw in layout.raw.values():
        errors = (*_fill_errors(layout, raw), *_record_errors(layout, raw))
        for rule, message in (*errors, *_unused_errors(layout, raw)):
            mistakes.add(MappingError(raw_mark(raw.name), rule, message))
    mistakes.report()


Errors: TypeAlias = Iterator[tuple[str, str]]
"""Id and sentence of each mistake."""


def _column_errors(spec: TableSpec) -> Errors:
    """Yield required columns without a source."""
    for entry in spec.rows or ({},):
        for name in TABLES[spec.table].required:
            if name not in spec.columns and name not in entry:
                yield "layout-required", f"nothing fills {name}, a required column of {spec.table}"


def _key_errors(spec: TableSpec, raw: RawTable) -> Errors:
    """Yield keys that are not the unchanged raw cells by which rows are partitioned."""
    for role, column in OWNER_KEYS.get(spec.table, NO_KEYS).items():
        header = raw.id_headers.get(role)
        if header is None:
            yield "layout-keys", f"{raw.name} feeds {spec.table}, so it must declare {role}"
        elif spec.columns.get(column) != ColumnSpec(FromColumn(header)):
            what = f"{column} must be {header!r}, the {role} of {raw.name}, without any conversion"
            yield "layout-keys", what


def _lookup_errors(spec: TableSpec, layout: Layout) -> Errors:
    """Yield lookups of a table without members in files of members."""
    for name in sorted(spec.lookup_files()):
        if spec.table in MEMBERLESS and layout.raw[name].id_headers:
            what = f"{spec.table} belongs to no member, so it cannot look up {name}, whose rows do"
            yield "layout-keys", what


def _fill_errors(layout: Layout, raw: RawTable) -> Errors:
    """Yield fills by which no claim can be split."""
    claims = [spec for spec in layout.tables if (spec.table, spec.source) == ("claim", raw.name)]
    among = [column.among for spec in claims for column in spec.columns.values()]
    if raw.fills is not None and raw.fills.where not in among:
        what = f"fills of {raw.name} has no effect: no column of claim has its conditions as among"
        yield "layout-key", what


def _record_errors(layout: Layout, raw: RawTable) -> Errors:
    """Yield records of one file that cannot be distinguished."""
    if raw.lines is None:
        return
    patterns = set(raw.name_patterns)
    siblings = [
        other
        for other in layout.raw.values()
        if other.name != raw.name and patterns & set(other.name_patterns)
    ]
    if siblings and not raw.lines.record:
        files = f"{raw.name} and {siblings[0].name} are in the same files"
        yield "layout-key", f"{files}, so record must tell them apart"
    if siblings and raw.has_header and any(other.has_header for other in siblings if other.lines):
        message = "only one record type can have a header row: add header: false to the others"
        yield "layout-key", message


def _unused_errors(layout: Layout, raw: RawTable) -> Errors:
    """Yield headers that are used and declared unused."""
    used = set(raw.id_headers.values())
    for column in raw.cells.derived.values():
        used |= column.headers()
    for condition in raw.lines.record if raw.lines else ():
        used.update(condition.columns)
    for spec in layout.tables:
        if spec.source == raw.name:
            used |= spec.headers()
        for columns in (spec.columns, *spec.rows):
            for column in columns.values():
                used |= {header for table, header in column.lookup_headers() if table == raw.name}
    for header in raw.headers:
        if header in used and header in raw.unused:
            yield "layout-unaccounted", f"{header!r} of {raw.name} is listed as unused, but is used"
