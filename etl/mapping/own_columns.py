"""A payer's own columns of canonical tables, declared in `columns/*.yaml` of an overlay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from etl.documents.models import LISTED, Check, ErrorIds, Mistake, Model, Text, Whole, read_as
from etl.documents.yaml_text import read_yaml
from etl.errors import MappingError, Mistakes, nearest
from etl.mapping.row_columns import columns_of
from etl.model.canonical_tables import TABLES, declare_own_columns
from etl.model.tables import Column, FieldType

_IDS: Final = ErrorIds(key="column-key", missing="column-key", value="column-value")
_NAME: Final = re.compile("[a-z][a-z0-9_]*")
_TABLES: Final = tuple(name for name, table in TABLES.items() if not table.made_of)
_OWN: Final = "own"


def _check_map_ids(values: Any, _context: Any) -> Any:
    if values == [_OWN]:
        return ()
    if not all(isinstance(value, int) for value in values):
        raise Mistake("column-value", "{key} must be own, or MapIDs of CPCDS: whole numbers")
    return values


@dataclass(frozen=True, slots=True)
class _OwnColumn(Model):
    """One column; `map_id` is `own` if it carries no element of CPCDS."""

    type: FieldType
    map_id: Annotated[tuple[Whole, ...], Check(_check_map_ids, before_type=True), LISTED]
    meaning: Text


def declare_file_columns(texts: Mapping[str, Iterable[str]]) -> None:
    """Set the payer's own columns of this process' tables to those that the files declare.

    Args:
        texts: name of a file in messages -> its texts, that of the topmost overlay last.

    Raises:
        MappingError: every mistake: `column-table`, `column-name`, `column-key`, `column-value`,
            or invalid YAML.
    """
    declare_own_columns({})
    mistakes = Mistakes()
    tables: dict[str, dict[str, Column]] = {}
    for file, layers in texts.items():
        for text in layers:
            with mistakes.collected():
                for table, column in _read_columns(read_yaml(text, file), file, mistakes):
                    tables.setdefault(table, {})[column.name] = column
    mistakes.report()
    declare_own_columns({table: tuple(columns.values()) for table, columns in tables.items()})


def _read_columns(document: Any, file: str, mistakes: Mistakes) -> Iterator[tuple[str, Column]]:
    """Yield each column with its table; report those with mistakes."""
    declared = read_as(dict[str, dict[str, _OwnColumn]], document, file, _IDS)
    for table, columns in declared.items():
        if table not in _TABLES:
            message, hint = f"there is no table {table!r}", nearest(table, _TABLES)
            where = str(document.marks[table])
            mistakes.add(MappingError(where, "column-table", message, hint=hint))
            continue
        for name, spec in columns.items():
            message = ""
            if not _NAME.fullmatch(name):
                message = f"{name!r} is no name: small letters, digits and _, a letter first"
            elif name in columns_of(table):
                message = f"{table} has a column {name!r} already"
            if message:
                where = str(document[table].marks[name])
                mistakes.add(MappingError(where, "column-name", message))
            yield table, Column(name, spec.type, spec.map_id, meaning=spec.meaning)
