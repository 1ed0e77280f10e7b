"""Parse TOML into values that keep their lines."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from typing import Any, Final

from etl.documents.yaml_text import Map, Mark, Seq
from etl.errors import MappingError

_SYNTAX: Final = re.compile(
    r"(?P<what>.*) \(at (?:line (?P<line>\d+), column \d+|end of document)\)"
)


def read_toml(text: str, file: str, error_id: str) -> Map:
    """Parse a TOML text; tables become `Map`, arrays `Seq`, dates text.

    Args:
        file: the file's name in messages.
        error_id: id of the error.

    Raises:
        MappingError: the text isn't TOML.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _SYNTAX.fullmatch(str(error))
        line = match["line"] if match else None
        message = match["what"] if match else "it is no TOML"
        where = f"{file}:{line}" if line else file
        raise MappingError(where, error_id, message[:1].lower() + message[1:]) from None
    marked: Map = _add_marks(document, (), lines_by_path(text), file)
    return marked


def lines_by_path(text: str) -> dict[tuple[Any, ...], int]:
    """Find the line of each key and entry, from 1, by its path in the document.

    `tomllib` reports no lines. But a prefix that ends after a complete statement is valid too, and
    its new keys are in that statement.
    """
    lines_found: dict[tuple[Any, ...], int] = {}
    lines, first_line = text.splitlines(keepends=True), 0
    for line_count in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("".join(lines[:line_count]))
        except tomllib.TOMLDecodeError:
            continue
        code_lines = [number for number in range(first_line, line_count) if _is_code(lines[number])]
        for path in _list_paths(document, ()):
            if code_lines:
                lines_found.setdefault(path, code_lines[0] + 1)
        first_line = line_count
    return lines_found


def _is_code(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _list_paths(value: Any, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    paths = []
    for key, value_inside in entries:
        paths.append((*path, key))
        if isinstance(value_inside, dict | list):
            paths += _list_paths(value_inside, (*path, key))
    return paths


def _add_marks(
    value: Any, path: tuple[Any, ...], lines: dict[tuple[Any, ...], int], file: str
) -> Any:
    if isinstance(value, dict):
        result = Map()
        result.mark = Mark(file, lines.get(path, 1))
        result.marks = {key: Mark(file, lines.get((*path, key), 1)) for key in value}
        for key, entry in value.items():
            result[key] = _add_marks(entry, (*path, key), lines, file)
        return result
    if isinstance(value, list):
        entries = Seq(_add_marks(entry, (*path, i), lines, file) for i, entry in enumerate(value))
        entries.mark = Mark(file, lines.get(path, 1))
        entries.marks = [Mark(file, lines.get((*path, index), 1)) for index in range(len(value))]
        return entries
    return value.isoformat() if isinstance(value, date) else value
