"""Elements that the columns of a layout's files are, as its layout file says.

A column is what the layout makes of it: alone, as the first choice, or looked up from another file.
What it only stands in for, or is a part of, counts where it is nothing else. A column that is
unused is nothing; where the layout uses one of that name elsewhere, that is right as well. What
only a key is made of may be called the key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from etl.bootstrap.mappings import read_crosswalks, read_folder, shipped
from etl.sources.layout.model import (
    CoalescedColumns,
    ColumnSpec,
    ConstantText,
    DistinctCells,
    FromColumn,
    JoinedColumns,
    Layout,
    LayoutText,
    Lookup,
    RawTable,
    TableSpec,
)
from etl.sources.layout.syntax import read_layout

NOTHING: Final = "-"
_QUALIFIED: Final = ("role", "use", "type")
_OTHER: Final = ("other", "secondary")
_KEYS: Final = ("claim.claim_id", "member.member_id", "coverage.coverage_id")


@dataclass(slots=True)
class _Found:
    """Elements of a column: those that it is, and those that it stands in for."""

    own: dict[str, None] = field(default_factory=dict)
    stand_in: dict[str, None] = field(default_factory=dict)
    nothing: tuple[str, ...] = ()


def shipped_layout(name: str) -> Layout:
    """Return a layout that comes with the program.

    Raises:
        MappingError: one of `read_layout`.
        KeyError: there is none of that name.
    """
    own = {
        key.removeprefix("layouts/"): crosswalk
        for key, crosswalk in read_crosswalks([shipped()]).items()
    }
    files = read_folder([shipped()], "layouts", "*.yaml").texts
    texts = {
        file.removesuffix(".yaml"): LayoutText(f"layouts/{file}", text)
        for file, text in files.items()
    }
    return read_layout(texts[name].text, texts[name].file, own, texts)


def elements_of(layout: Layout) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return raw file -> header -> elements, the first of which its cells are; `-`: nothing.

    Raw files that have no facts, such as heads and tails of records, are not among them.
    """
    found = _found(layout)
    elsewhere: dict[str, dict[str, None]] = {}
    for (_, header), column in found.items():
        elsewhere.setdefault(header, {}).update(column.own)
    files = {}
    for raw in layout.raw.values():
        if not any(elsewhere.get(header) for header in raw.columns):
            continue
        parts = _parts_of_keys(raw)
        files[raw.name] = {
            header: _right(found.get((raw.name, header)), elsewhere.get(header, {}), parts, header)
            for header in raw.columns
        }
    return files


def _right(
    column: _Found | None, elsewhere: Mapping[str, None], parts: Mapping[str, str], header: str
) -> tuple[str, ...]:
    """Return what a column may be called."""
    if column is not None and column.own:
        return tuple(column.own)
    if column is not None and column.stand_in:
        return tuple(dict.fromkeys((*column.stand_in, *elsewhere, *column.nothing)))
    if header in parts:
        return tuple(dict.fromkeys((parts[header], *elsewhere, NOTHING)))
    return (*elsewhere, NOTHING)


def _parts_of_keys(raw: RawTable) -> dict[str, str]:
    """Return header -> the element whose key is made of it."""
    return {
        header: key
        for key, name in zip(_KEYS, (raw.claim, raw.member, raw.coverage), strict=True)
        if name is not None
        for header, _ in _read(name, raw)
    }


def _found(layout: Layout) -> dict[tuple[str, str], _Found]:
    found: dict[tuple[str, str], _Found] = {}
    for spec in layout.tables:
        for entry in (spec.columns, *spec.rows):
            for column, made in entry.items():
                for raw, header, is_whole in _sources(spec.source, made, layout):
                    held = found.setdefault((raw, header), _Found())
                    names = dict.fromkeys(_names(spec, entry, column, header))
                    if is_whole and made.finding is None:
                        held.own.update(names)
                    else:
                        held.stand_in.update(names)
                        if made.finding is not None or header not in made.headers():
                            held.nothing = (NOTHING,)
    return found


def _names(
    spec: TableSpec, entry: Mapping[str, ColumnSpec], column: str, header: str
) -> Iterator[str]:
    """Yield what a column of a table is called: with its role, use or type where it has one.

    The first of numbered diagnoses is the principal one, whether that is said or not.
    """
    plain = f"{spec.table}.{column}"
    marks = (entry[name].source for name in _QUALIFIED if name in entry)
    mark = next((one.text for one in marks if isinstance(one, ConstantText)), "")
    if mark:
        yield f"{plain}[{mark}]"
    told = column in ("code", "provider_id") and mark not in ("", *_OTHER)
    if not told or (mark == "principal" and header[-1:].isdigit()):
        yield plain


def _sources(raw: str, made: ColumnSpec, layout: Layout) -> Iterator[tuple[str, str, bool]]:
    """Yield raw file, header, and whether it is the first choice and no part, of a cell's texts."""
    match made.source:
        case CoalescedColumns(options):
            columns = [one for one in options if not isinstance(one.source, ConstantText)]
            for index, option in enumerate(columns):
                for file, header, is_whole in _sources(raw, option, layout):
                    yield file, header, is_whole and index == 0
        case Lookup(table=table, value=value):
            yield from (
                (table, header, is_whole) for header, is_whole in _read(value, layout.raw[table])
            )
        case FromColumn(column) | DistinctCells(column):
            yield from (
                (raw, header, is_whole) for header, is_whole in _read(column, layout.raw[raw])
            )
        case JoinedColumns(columns):
            for column in columns:
                yield from ((raw, header, False) for header, _ in _read(column, layout.raw[raw]))
        case _:
            return


def _read(header: str, raw: RawTable) -> Iterator[tuple[str, bool]]:
    """Yield a header of a file; of a made column those that it is made of, as its parts."""
    if header not in raw.cells.derived:
        yield header, True
        return
    for part in sorted(raw.cells.derived[header].headers()):
        yield from ((one, False) for one, _ in _read(part, raw))
