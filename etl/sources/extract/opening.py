"""Open an extract: examine its files, layout and manifest without reading rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from etl.errors import ExtractError
from etl.jobs import ALONE, JobRunner
from etl.model.crosswalks import Crosswalk
from etl.model.data_models import CLAIMS, DataModel
from etl.rows import FINDINGS_SCHEMA, findings_at
from etl.sources.extract.detection import LayoutMatch, choose_layout, match_layout, row_form
from etl.sources.files import listed_files
from etl.sources.files.listed_files import (
    SOURCE_POSITIONS,
    Emit,
    FileHashed,
    ListedFile,
    SourceFile,
    Traits,
    has_rows,
    ignore,
    list_files,
    open_files,
    read_header,
    read_traits,
    refuse_non_tables,
    unique_headers,
)
from etl.sources.files.stored_files import (
    MANIFEST_NAME,
    ExtractFiles,
    ExtractManifest,
    Kind,
    ReplacedFiles,
    read_manifest,
)
from etl.sources.layout.model import (
    Layout,
    LayoutText,
    RawTable,
    canonical_layouts,
    normalize_header,
)
from etl.sources.layout.names import UNKNOWN_COLUMN, UNKNOWN_FILE, UNUSED_ROW
from etl.sources.parsing.delimited import LINE_DELIMITER
from etl.sources.parsing.parquet import (
    count_parquet_rows,
    parquet_split_points,
    read_parquet_headers,
)

UNKNOWN_TABLE = "*"
"""Table of a finding about a file that belongs to no table."""


@dataclass(frozen=True, slots=True)
class Extract:
    """An extract that can be read.

    Attributes:
        location: where its files are.
        layout: the layout of its files.
        kind: whether it is full or a delta.
        as_of: day of the state that it contains; None if unknown.
        payer: name of the payer, as reports show it; None if not stated.
        files: its files in the order of their names, unused ones included.
        findings: unknown files and columns; schema `etl.rows.FINDINGS_SCHEMA`.
        queried: the payer's files behind its own, if queries or a merge of extracts made them.
    """

    location: ExtractFiles
    layout: Layout
    kind: Kind
    as_of: date | None
    payer: str | None
    files: tuple[SourceFile, ...]
    findings: pa.Table
    queried: tuple[SourceFile, ...] = ()

    @property
    def named_files(self) -> tuple[SourceFile, ...]:
        """All files by number; those that queries read come last."""
        return (*self.files, *self.queried)

    @property
    def names(self) -> tuple[str, ...]:
        """What people call these files."""
        return tuple(file.title for file in self.named_files)

    @property
    def stored(self) -> tuple[SourceFile, ...]:
        """Its files as stored: one entry for a file with several types of records."""
        return tuple({file.stored or file.name: file for file in self.files[::-1]}.values())[::-1]


def open_extract(
    extract: Path | ExtractFiles,
    layouts: Sequence[Layout],
    *,
    layout: str | None = None,
    runner: JobRunner = ALONE,
    emit: Emit = ignore,
) -> Extract:
    """Examine files and return the extract that they form.

    Args:
        extract: its folder, or its files if they are elsewhere.
        layouts: known layouts besides the canonical ones.
        layout: name of the layout; None: as the manifest says, else found from the headers.
        runner: where files are hashed.
        emit: called after each file is hashed.

    Raises:
        ExtractError: there is no readable extract; nothing was written.
        StoreError: storage refused, or did not answer.
    """
    extract_files = open_files(extract)
    files = list_files(extract_files)
    manifest = _read_manifest(extract_files, files)
    known_layouts = (
        *canonical_layouts().values(),
        *(other for other in layouts if other.name not in canonical_layouts()),
    )
    headers = _Headers()
    fit = choose_layout(
        files,
        known_layouts,
        layout or manifest.layout,
        headers.read,
        delta=manifest.kind == "delta",
    )
    raw = {name: [fit.layout.raw[table] for table in names] for name, names in fit.tables.items()}
    # A layout gives files a delimiter where their endings give none.
    files = tuple(
        listed
        if listed.is_data or listed.name not in raw
        else replace(listed, delimiter=fit.layout.delimiter or LINE_DELIMITER)
        for listed in files
    )
    for listed in files:
        for table in raw.get(listed.name, []):
            if row_form(listed, table, fit.layout).has_header:
                _refuse_duplicate_headers(listed, headers.read(listed, fit.layout), table)
    if manifest.kind == "full":
        _refuse_no_rows(files, fit)
    sources: list[SourceFile] = []
    every = runner.run_each(
        partial(_read_traits, without_quotes=frozenset(_without_quotes(fit))),
        [
            # A file that is not used may hold anything.
            listed if listed.name in raw else replace(listed, delimiter="")
            for listed in files
        ],
        emit,
    )
    for listed, file_traits in zip(files, every, strict=True):
        emit(FileHashed(listed.name, file_traits.bytes))
        _check_hash(listed, file_traits, manifest)
        header = headers.read(listed, fit.layout) if listed.name in raw else ()
        tables = raw.get(listed.name, [])
        if tables and listed.is_parquet and file_traits.bytes >= listed_files.SPLIT_BYTES:
            file_traits = replace(file_traits, split_points=parquet_split_points(listed))
        parts = _source_files(len(sources), listed, file_traits, tables, header, fit.layout)
        sources += [replace(part, rows=_expected_rows(listed, part, manifest)) for part in parts]
    queried = tuple(_query_files(extract_files, len(sources)))
    return Extract(
        location=extract_files,
        layout=fit.layout,
        kind=manifest.kind,
        as_of=manifest.as_of,
        payer=manifest.payer,
        files=tuple(sources),
        findings=pa.concat_tables(
            [
                FINDINGS_SCHEMA.empty_table(),
                *_unknown_findings(sources, fit.layout),
                *_unused_findings(extract_files, queried, fit.layout),
            ]
        ).combine_chunks(),
        queried=queried,
    )


def count_files(extract_files: ExtractFiles, layouts: Sequence[Layout]) -> int:
    """Return how many files the best fitting layout reads; 0 if none fits."""
    files, headers = list_files(extract_files), _Headers()
    fits = [match_layout(files, layout, headers.read, delta=False) for layout in layouts]
    return max((len(fit.tables) for fit in fits if not fit.lacks), default=0)


def _query_files(extract_files: ExtractFiles, first: int) -> Iterator[SourceFile]:
    """Yield the files that queries read, numbered from `first`."""
    files = extract_files.queried if isinstance(extract_files, ReplacedFiles) else ()
    for number, file in enumerate(files, first):
        yield SourceFile(
            number, file.name, "", file.bytes, file.sha256, rows=file.rows, stored=file.name
        )


def expected_model(extract: ExtractFiles, layout: str | None) -> DataModel:
    """Return the data model that a layout's name implies.

    It is claims if no layout is named, or a payer's own: layouts are not loaded yet.

    Args:
        layout: name of the layout; None: as the manifest says.

    Raises:
        ExtractError: there is no such folder, or its manifest is invalid.
        StoreError: storage refused, or did not answer.
    """
    if layout is None and any(entry.name == MANIFEST_NAME for entry in extract.entries()):
        layout = read_manifest(extract).layout
    named = canonical_layouts().get(layout or "")
    return CLAIMS if named is None else named.model


def _read_traits(listed: ListedFile, emit: Emit, *, without_quotes: frozenset[str]) -> Traits:
    del emit
    return read_traits(listed, quoting=listed.name not in without_quotes)


def _without_quotes(fit: LayoutMatch) -> Iterator[str]:
    """Yield the names of files in which quoted cells never span lines."""
    for name, tables in fit.tables.items():
        if not fit.layout.quoting or any(fit.layout.raw[table].lines for table in tables):
            yield name


class _Headers:
    """Headers of files, cached by file and format."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, str, bool], tuple[str, ...]] = {}

    def read(self, listed: ListedFile, layout: Layout) -> tuple[str, ...]:
        form = row_form(listed, None, layout)
        types = layout.record_types(listed.stem)
        alike = types or [raw for raw in layout.raw.values() if raw.matches_name(listed.stem)]
        headless = next((raw for raw in alike if not raw.has_header), None)
        if types and any(raw.has_header for raw in types):
            headless = None
        if headless is not None and not listed.is_parquet and listed.origin is None:
            return headless.columns
        key = (listed.name, form.delimiter, form.quoting)
        if key not in self._read:
            refuse_non_tables(listed)
            self._read[key] = (
                read_parquet_headers(listed) if listed.is_parquet else read_header(listed, form)
            )
        return self._read[key]


def _read_manifest(extract_files: ExtractFiles, files: tuple[ListedFile, ...]) -> ExtractManifest:
    if not any(entry.name == MANIFEST_NAME for entry in extract_files.entries()):
        return ExtractManifest()
    manifest = read_manifest(extract_files)
    present = {listed.name for listed in files}
    for name in manifest.files:
        if name not in present:
            raise ExtractError(f"{MANIFEST_NAME} names {name}, which is not in the extract")
    for listed in files:
        if manifest.files and listed.is_data and listed.name not in manifest.files:
            raise ExtractError(
                f"{listed.name} is in the extract, but {MANIFEST_NAME} does not name it"
            )
    return manifest


def _check_hash(listed: ListedFile, file_traits: Traits, manifest: ExtractManifest) -> None:
    claim = manifest.files.get(listed.name)
    if claim and claim.sha256 is not None and claim.sha256 != file_traits.sha256:
        raise ExtractError(
            f"{listed.name} is not the file that {MANIFEST_NAME} describes: its sha256 differs; "
            "copy the extract again"
        )


def _expected_rows(listed: ListedFile, source: SourceFile, manifest: ExtractManifest) -> int | None:
    """Return the number of rows to expect in a file; exact for Parquet."""
    claim = manifest.files.get(listed.name)
    if claim is None or claim.rows is None or not source.table:
        return None
    if not listed.is_parquet:
        return claim.rows
    check_rows(replace(source, rows=claim.rows), count_parquet_rows(listed))
    return None


def check_rows(source: SourceFile, rows: int) -> None:
    """Check that a file has as many rows as the manifest says.

    Raises:
        ExtractError: the number differs.
    """
    if source.rows is not None and rows != source.rows:
        raise ExtractError(
            f"{source.stored} has {rows} rows, but {MANIFEST_NAME} says {source.rows}; "
            "copy the extract again"
        )


def _refuse_duplicate_headers(listed: ListedFile, headers: tuple[str, ...], raw: RawTable) -> None:
    numbers: dict[str, int] = {}
    columns = raw.match_headers(headers)
    for number, (header, column) in enumerate(zip(headers, columns, strict=True), start=1):
        if not header:
            continue
        name = column or normalize_header(header)
        if name in numbers:
            # An unknown header may be a cell of a file without headers, so it is not shown.
            named = f" ({name})" if column else ""
            raise ExtractError(
                f"{listed.name}: columns {numbers[name]} and {number} have the same header{named}"
            )
        numbers[name] = number


def _refuse_no_rows(files: tuple[ListedFile, ...], fit: LayoutMatch) -> None:
    filled = fit.layout.model.tables[fit.layout.model.filled]
    feeding = fit.layout.source_files(filled.name)
    sources = [listed for listed in files if feeding.intersection(fit.tables.get(listed.name, ()))]
    if not any(_has_rows(file, fit) for file in sources):
        names = ", ".join(listed.name for listed in sources)
        raise ExtractError(
            f"{names}: there are headers but no {filled.file_name}s; the extract is empty"
        )


def _has_rows(file: ListedFile, fit: LayoutMatch) -> bool:
    if file.is_parquet:
        return bool(count_parquet_rows(file))
    raw = [fit.layout.raw[table] for table in fit.tables[file.name]]
    return not any(table.has_header for table in raw) or has_rows(file)


def _source_files(
    first: int,
    listed: ListedFile,
    file_traits: Traits,
    raw: Sequence[RawTable],
    header: tuple[str, ...],
    layout: Layout,
) -> list[SourceFile]:
    """Return a file as a source, or one source for each of its record types."""
    sources = []
    for index, table in enumerate(raw or [None], first):
        form = row_form(listed, table, layout)
        columns = header if table is None or form.has_header else table.columns
        source = SourceFile(
            index=index,
            name=f"{listed.name}#{table.name}" if table and len(raw) > 1 else listed.name,
            stored=listed.name,
            table=table.name if table else "",
            bytes=file_traits.bytes,
            sha256=file_traits.sha256,
            columns=columns,
            known=tuple(table.match_headers(columns)) if table else (),
            form=form if listed.is_data else replace(form, delimiter=""),
            compression=listed.compression,
            split_points=file_traits.split_points,
            lines=file_traits.lines,
            origin=listed.origin,
            data=listed.data,
        )
        sources.append(source)
    if not raw or raw[0].lines is None:
        return sources
    types = tuple((source.table, unique_headers(source)) for source in sources)
    has_header = any(table.has_header for table in raw)
    return [
        replace(
            source,
            widths=table.lines.widths if table.lines else (),
            types=types,
            form=replace(source.form, has_header=has_header),
        )
        for source, table in zip(sources, raw, strict=True)
    ]


def _unknown_findings(sources: list[SourceFile], layout: Layout) -> Iterator[pa.Table]:
    """Yield findings about unknown files, and each unknown header once."""
    reported: set[tuple[str, str]] = set()
    words = _header_words(canonical_layouts()[layout.model.layout]) | _header_words(layout)
    for source in sources:
        if not source.table:
            yield _file_finding(UNKNOWN_FILE, UNKNOWN_TABLE, source, None)
            continue
        pairs = zip(source.columns, source.known, strict=True)
        for number, (header, name) in enumerate(pairs, start=1):
            is_place = source.origin is not None and header in SOURCE_POSITIONS
            header_of_table = (source.table, normalize_header(header) or f"{number}")
            if name is None and not is_place and header_of_table not in reported:
                reported.add(header_of_table)
                main_table = layout.raw[source.table].main_table
                shown = _safe_header(header, number, words)
                yield _file_finding(UNKNOWN_COLUMN, main_table, source, shown)


def _unused_findings(
    extract_files: ExtractFiles, queried: Sequence[SourceFile], layout: Layout
) -> Iterator[pa.Table]:
    """Yield findings about columns and rows that no query uses."""
    words = _header_words(canonical_layouts()[layout.model.layout])
    files = extract_files.queried if isinstance(extract_files, ReplacedFiles) else ()
    for file, source in zip(files, queried, strict=True):
        for number, header in file.unread_columns:
            shown = _safe_header(header, number, words)
            yield _file_finding(UNKNOWN_COLUMN, UNKNOWN_TABLE, source, shown)
        rows = pa.array(file.unused_rows, pa.int64())
        indexes = pa.array([source.index] * len(rows), pa.int32())
        yield findings_at(UNUSED_ROW, UNKNOWN_TABLE, indexes, rows, None)


def _file_finding(rule: str, table: str, source: SourceFile, column: str | None) -> pa.Table:
    index = pa.array([source.index], pa.int32())
    return findings_at(rule, table, index, pa.nulls(1, pa.int64()), column)


def _header_words(layout: Layout) -> frozenset[str]:
    """Return the words in the layout's headers."""
    return frozenset(
        word
        for raw in layout.raw.values()
        for name in raw.spellings
        for word in name.split("_")
        if len(word) > 1 and word.isalpha()
    )


def _safe_header(header: str, number: int, words: frozenset[str]) -> str:
    """Return the name by which reports may show an unknown column.

    If a file has no header line, the text is a member's data. So a header is shown only if it
    consists of words of known headers and small numbers; any other column is shown by its number.
    """
    parts = normalize_header(header).split("_")
    named = all(part in words or (part.isdigit() and len(part) <= 2) for part in parts)
    return header if named and not words.isdisjoint(parts) else f"column {number}"


def layout_state(layout: Layout) -> dict[str, Any]:
    """Return the texts from which a layout can be read again."""
    return {
        "name": layout.name,
        "file": layout.file,
        "text": layout.text,
        "bases": {name: [base.file, base.text] for name, base in layout.bases.items()},
        "crosswalks": {
            name: {"columns": crosswalk.columns, "rows": dict(crosswalk.rows)}
            for name, crosswalk in layout.crosswalks.items()
        },
    }


def restore_layout(state: Any) -> Layout:
    """Return the layout of a `layout_state`; without a text, a built-in one."""
    if not state["text"]:
        return canonical_layouts()[state["name"]]
    from etl.sources.layout.syntax import read_layout  # the parser; built-in layouts need none

    crosswalks = {}
    for name, stored in state["crosswalks"].items():
        rows = {source: tuple(answers) for source, answers in stored["rows"].items()}
        crosswalks[name] = Crosswalk(name, tuple(stored["columns"]), MappingProxyType(rows))
    bases = {name: LayoutText(file, text) for name, (file, text) in state["bases"].items()}
    return read_layout(state["text"], state["file"], crosswalks, bases)
