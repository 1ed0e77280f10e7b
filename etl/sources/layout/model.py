"""Layouts: raw files, and the feeds of the canonical tables from their columns.

Their fields, and those of `etl.sources.layout.column_specs`, are the grammar of layout files
(docs/layouts.md): a field is a key, its type states the allowed values and which names it must
match. `etl.sources.layout.syntax` reads files with them, `etl.sources.layout.canonical` is the
product's own layout, `etl.sources.convert.canonical_rows` carries them out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Final, TypeAlias

from etl.documents.models import (
    Check,
    Given,
    Model,
)
from etl.model.canonical_tables import MEMBERLESS
from etl.model.crosswalks import Crosswalk
from etl.model.data_models import DataModel, model_of
from etl.sources.layout.column_specs import ColumnSpec, Condition, Conditions, FromColumn
from etl.sources.layout.names import (
    CanonicalColumn,
    CanonicalColumns,
    Header,
    Headers,
    LayoutNames,
    RawFileName,
)

_APART = re.compile(r"[\W_]+")


@lru_cache(maxsize=1 << 14)  # each header is compared with those of every layout
def spelling(header: str) -> str:
    """Return the normal form of a header; equal forms are the same column.

    Letter case does not count, and neither does which blank, `_`, `-` or bracket stands between
    the words: `Service (from) date`, `Service__from__date` and `SERVICE-FROM-DATE` are one column.
    """
    return _APART.sub("_", header.casefold()).strip("_")


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

    def completed(self, context: LayoutNames) -> TableSpec:
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
        """Return the raw files whose records a file of a name has; empty for other files."""
        return tuple(raw for raw in self.raw.values() if raw.lines is not None and raw.may_be(stem))

    @property
    def shared(self) -> frozenset[str]:
        """The raw files that name no member, claim or coverage and that others look cells up in."""
        looked_up = frozenset(name for spec in self.tables for name in spec.looked_up())
        return frozenset(name for name in looked_up if not self.raw[name].ids)

    def sources(self, *, directory: bool) -> tuple[str, ...]:
        """Return the names of the raw files that tables are made of, in order.

        Args:
            directory: those of the tables that belong to no member, and those that are shared, or
                those of the tables that do.
        """
        files: set[str] = set(self.shared if directory else ())
        for spec in self.tables:
            if (spec.table in MEMBERLESS) == directory:
                files |= {spec.source, *spec.looked_up()}
        return tuple(sorted(files if directory else files - self.shared))
