"""Layout detection: the layout of an extract, and the table of each of its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from etl.columns.digests import filled
from etl.errors import ExtractError
from etl.model.data_models import DATA_MODELS
from etl.sources.convert.raw_rows import RawRows
from etl.sources.files.listed_files import ListedFile, RowForm, read_head
from etl.sources.files.stored_files import (
    describe_problem,
    doctor_advice,
    lacks_header,
    recognize_format,
)
from etl.sources.layout.model import Layout, RawTable, normalize_header, required_columns
from etl.sources.parsing import delimited, parquet
from etl.sources.parsing.spans import SpanMismatch

Headers = Callable[[ListedFile, Layout], tuple[str, ...]]
_NAMED = 6
_NEAR = 0.5
"""Share of headers that a layout must have to be called the nearest."""


@dataclass(frozen=True, slots=True)
class LayoutMatch:
    """How well a layout matches the files of an extract.

    Attributes:
        layout: the layout.
        tables: file name -> its raw tables (one, or one per type of record), for the files of the
            layout.
        lacks: what is missing, as clauses; empty if the layout fits.
        share: share of all headers that the layout has, 0 to 1.
        unreadable: why the headers of a file that may be of the layout cannot be read; empty if
            all can.
    """

    layout: Layout
    tables: dict[str, tuple[str, ...]]
    lacks: tuple[str, ...]
    share: float
    unreadable: str = ""


def choose_layout(
    files: Sequence[ListedFile],
    layouts: Sequence[Layout],
    named: str | None,
    headers: Headers,
    *,
    delta: bool,
) -> LayoutMatch:
    """Return the layout of an extract: the named one, or else the only fit.

    Raises:
        ExtractError: there is no such layout, it does not fit, none does, or two do.
    """
    if named is not None:
        layout = next((known for known in layouts if known.name == named), None)
        if layout is None:
            layout_names = ", ".join(sorted(known.name for known in layouts))
            raise ExtractError(f"there is no layout {named!r}; there are {layout_names}")
        fit = match_layout(files, layout, headers, delta=delta)
        if fit.unreadable:
            raise ExtractError(fit.unreadable)
        if fit.lacks:
            odd = _first_mismatch(files, layout.delimiter)
            raise ExtractError(f"the extract is not in layout {named}: {odd or fit.lacks[0]}")
        return fit
    fits = [match_layout(files, layout, headers, delta=delta) for layout in layouts]
    full_fits = [fit for fit in fits if not fit.lacks and not fit.unreadable]
    # A delta may hold organizations alone, which claims and directories both have.
    canonical = [fit for fit in full_fits if fit.layout.canonical]
    full_fits = [fit for fit in full_fits if fit not in canonical[1:]]
    names = {fit.layout.name for fit in full_fits}
    full_fits = [fit for fit in full_fits if not names.intersection(fit.layout.bases)]
    if len(full_fits) == 1:
        return full_fits[0]
    if full_fits:
        fitting = " and ".join(fit.layout.name for fit in full_fits)
        raise ExtractError(
            f"{_list_names(files)} fit the layouts {fitting}; choose one with --layout"
        )
    unreadable = next((fit.unreadable for fit in fits if fit.unreadable), "")
    if unreadable:
        raise ExtractError(unreadable)
    raise ExtractError(f"{_explain_no_match(files, fits)}; {doctor_advice(files[0].files.name)}")


def _explain_no_match(files: Sequence[ListedFile], fits: Sequence[LayoutMatch]) -> str:
    """Explain why no layout fits: an unexpected format, or the nearest layout.

    A layout with fewer than half of the headers is not near.
    """
    odd = _first_mismatch(files, None)
    if odd:
        return odd
    nearest = max(fits, key=lambda fit: (fit.share, -len(fit.lacks)))
    near = f"; the nearest is {nearest.layout.name}, but {nearest.lacks[0]}"
    return f"no known layout fits {_list_names(files)}{near if nearest.share >= _NEAR else ''}"


def _first_mismatch(files: Sequence[ListedFile], delimiter: str | None) -> str:
    """Return a message about the first file with a wrong extension or no headers."""
    for listed in files:
        form = recognize_format(read_head(listed))
        sentence = describe_problem(form, listed.name, delimiter or listed.delimiter)
        if sentence:
            return sentence
        if listed.delimiter and form.kind == "delimited" and lacks_header(read_head(listed), form):
            return (
                f"{listed.name} has no header line: its first row contains values; "
                "add a header line, or write a layout with header: false"
            )
    return ""


def match_layout(
    files: Sequence[ListedFile], layout: Layout, headers: Headers, *, delta: bool
) -> LayoutMatch:
    """Match canonical files by name, and all others by their headers."""
    data, cells, unreadable = list[ListedFile](), dict[str, tuple[str, ...]](), ""
    unnamed = list[str]()
    for listed in files:
        if not listed.is_data and not uses_file(layout, listed):
            if listed.is_other_text:
                unnamed.append(listed.name)
            continue
        try:
            cells[listed.name] = headers(listed, layout)
        except ExtractError as error:
            if _can_contain(layout, listed):
                unreadable = unreadable or str(error)
            continue
        data.append(listed)
    tables: dict[str, tuple[str, ...]]
    if layout.canonical:
        names, lacks = _match_names(data, cells, layout, delta=delta)
        tables = {file: (name,) for file, name in names.items()}
    else:
        tables, lacks = _match_headers(data, cells, layout, unnamed)
        if not lacks and not unreadable and not delta:
            lacks = [
                f"{listed.name} has no value in {header}, by which its rows are known"
                for listed in data
                for name in tables.get(listed.name, ())
                for header in _blank_ids(listed, cells[listed.name], layout.raw[name], layout)
            ]
    known_count = sum(_known_headers(layout, cells[listed.name]) for listed in data)
    total = sum(len(names) for names in cells.values())
    return LayoutMatch(layout, tables, tuple(lacks), known_count / max(total, 1), unreadable)


def uses_file(layout: Layout, listed: ListedFile) -> bool:
    """Return whether a layout defines the format of a text file with another extension."""
    return listed.is_other_text and any(
        raw.name_patterns and raw.matches_name(listed.stem)
        for raw in layout.raw.values()
        if layout.delimiter or (raw.lines is not None and raw.lines.widths)
    )


def _can_contain(layout: Layout, listed: ListedFile) -> bool:
    """Return whether a file may be of a layout, by its name."""
    if layout.canonical:
        return _table_named(listed.stem, layout) is not None
    return any(raw.matches_name(listed.stem) for raw in layout.raw.values())


def row_form(listed: ListedFile, raw: RawTable | None, layout: Layout) -> RowForm:
    """Return the form of the rows of a file.

    Tables and queries are staged in the default form, whatever the layout says.
    """
    if listed.is_parquet or listed.origin is not None:
        return RowForm(listed.delimiter)
    delimiter = layout.delimiter or listed.delimiter
    if raw is None:
        return RowForm(delimiter, layout.quoting)
    return RowForm(delimiter, layout.quoting, raw.has_header, raw.extra_cells)


def _known_headers(layout: Layout, header: tuple[str, ...]) -> int:
    spelled = {normalize_header(name) for name in header}
    return max(len(spelled & raw.spellings.keys()) for raw in layout.raw.values())


def _match_names(
    data: list[ListedFile], cells: dict[str, tuple[str, ...]], layout: Layout, *, delta: bool
) -> tuple[dict[str, str], list[str]]:
    tables: dict[str, str] = {}
    whole_files: dict[str, str] = {}
    lacks = []
    of_table = {spec.source: spec.table for spec in layout.tables}
    for listed in data:
        name = _table_named(listed.stem, layout)
        if name is None:
            continue
        tables[listed.name] = name
        if normalize_header(listed.stem) == name and listed.data is None:
            whole_files[name] = listed.name
        has = set(layout.raw[name].match_headers(cells[listed.name]))
        lacks += [
            f"{listed.name} lacks the required column {' or '.join(group)}"
            for group in required_columns(of_table[name], delta=delta)
            if not has.intersection(group)
        ]
    for file, name in tables.items():
        if whole_files.get(name, file) != file:
            raise ExtractError(
                f"{name} exists both as a whole ({whole_files[name]}) and in parts ({file}); "
                "remove one of them"
            )
    compulsory = [] if delta else [raw.name for raw in layout.raw.values() if raw.compulsory]
    missing = [name for name in compulsory if name not in tables.values()]
    if delta and not tables:
        missing = [layout.model.tables[layout.model.main].file_name]
    lacks[:0] = [f"there is no file for the required table {name} ({name}.csv)" for name in missing]
    one_of = [layout.model.tables[name].file_name for name in layout.model.one_of]
    if one_of and not delta and not missing and not set(one_of) & set(tables.values()):
        files = ", ".join(f"{name}.csv" for name in one_of)
        lacks.append(f"the extract needs at least one of the files {files}")
    lacks += _other_model_files(data, layout)
    return tables, lacks


def _other_model_files(data: list[ListedFile], layout: Layout) -> Iterator[str]:
    """Yield messages about files that only another data model has.

    Both models have files of organizations and practitioners, which look the same.
    """
    models_by_file = {
        table.file_name: model
        for model in DATA_MODELS
        for table in model.tables.values()
        if table.compulsory and table.file_name not in layout.raw
    }
    for listed in data:
        model = models_by_file.get(normalize_header(listed.stem))
        if model is not None:
            yield f"{listed.name} belongs to layout {model.layout}"


def _table_named(stem: str, layout: Layout) -> str | None:
    """Return the table that a file's name (`claim`, `claim-2`) stands for."""
    spelled = normalize_header(stem)
    if spelled in layout.raw:
        return spelled
    table, part, _ = stem.partition("-")
    return normalize_header(table) if part and normalize_header(table) in layout.raw else None


def _match_headers(
    data: list[ListedFile], cells: dict[str, tuple[str, ...]], layout: Layout, unnamed: list[str]
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    tables: dict[str, tuple[str, ...]] = {}
    nearest: dict[str, tuple[int, str, list[str]]] = {}
    for listed in data:
        types, best = layout.record_types(listed.stem), 0
        for raw in layout.raw.values():
            has = set(raw.match_headers(cells[listed.name])) - {None}
            is_other_type = bool(types) and not (raw in types and raw.has_header)
            if is_other_type or not raw.matches_name(listed.stem):
                continue
            missing = [name for name in raw.required if name not in has]
            if not missing and len(has) > best:
                best, tables[listed.name] = len(has), (raw.name,)
            if missing and has and len(has) > nearest.get(raw.name, (0,))[0]:
                nearest[raw.name] = (len(has), listed.name, missing)
        if types and (best or not any(raw.has_header for raw in types)):
            tables[listed.name] = tuple(raw.name for raw in types)
    matched_tables = {name for names in tables.values() for name in names}
    # A file that has most headers of a table was meant for it: none of its rows would be read.
    lacks = [
        f"{file} lacks the required column {missing[0]}"
        for name, (known_count, file, missing) in nearest.items()
        if name not in matched_tables and file not in tables and 2 * known_count >= len(cells[file])
    ]
    lacks += [
        _explain_missing_file(raw, nearest.get(raw.name), unnamed)
        for raw in layout.raw.values()
        if raw.compulsory and raw.name not in matched_tables
    ]
    return tables, lacks


def _blank_ids(
    listed: ListedFile, header: tuple[str, ...], raw: RawTable, layout: Layout
) -> tuple[str, ...]:
    """Return the IDs of a raw file that are empty in all rows.

    Tables of a lake are not examined: other processes may read them in place. An unreadable file
    is reported, with the position, when its rows are read.
    """
    blank = set(raw.id_headers.values())
    if raw.lines is not None or not blank or listed.data is not None:
        return ()
    form = row_form(listed, raw, layout)
    columns = raw.match_headers(header) if form.has_header else list(header)
    names = tuple(
        name if name and name not in columns[:number] else f"?{number}"
        for number, name in enumerate(columns)
    )
    has_rows = False
    try:
        for batch in (
            parquet.read_batches(listed, names, 1)
            if listed.is_parquet
            else delimited.read_batches(listed, names, form)
        ):
            has_rows |= batch.rows.num_rows > 0
            rows = RawRows(pa.Table.from_batches([batch.rows]), cells=raw.cells)
            blank -= {name for name in blank if filled(rows.column(name)).any()}
            if not blank:
                break
    except (ExtractError, SpanMismatch):
        return ()
    derived = raw.cells.derived
    return tuple(
        " and ".join(sorted(derived[name].headers())) if name in derived else name
        for name in raw.id_headers.values()
        if has_rows and name in blank
    )


def _explain_missing_file(
    raw: RawTable, near: tuple[int, str, list[str]] | None, unnamed: list[str]
) -> str:
    # A file that shares a column or two by chance is not worth naming.
    if near is not None and 2 * near[0] >= len(raw.required):
        return f"{near[1]} lacks the required column {near[2][0]}"
    if not raw.has_header:
        return f"there is no file for {raw.name} (named {', '.join(raw.name_patterns)})"
    wanted = ", ".join(raw.required[:3])
    hint = f"; {unnamed[0]} is read only if the layout sets named and delimiter" if unnamed else ""
    return f"there is no file for {raw.name} (with the columns {wanted}, …){hint}"


def _list_names(files: Sequence[ListedFile]) -> str:
    names = [listed.name for listed in files if listed.is_data] or [listed.name for listed in files]
    suffix = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + suffix
