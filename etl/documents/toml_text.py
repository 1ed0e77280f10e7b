"""TOML text into values that keep their lines."""

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
    """Return the value of a TOML text; tables are `Map`, arrays `Seq`, days their text.

    Args:
        text: the document.
        file: what messages call the file.
        error_id: id of the error.

    Raises:
        MappingError: it is no TOML.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _SYNTAX.fullmatch(str(error))
        line = match["line"] if match else None
        what = match["what"] if match else "it is no TOML"
        where = f"{file}:{line}" if line else file
        raise MappingError(where, error_id, what[:1].lower() + what[1:]) from None
    marked: Map = _marked(document, (), lines_by_place(text), file)
    return marked


def lines_by_place(text: str) -> dict[tuple[Any, ...], int]:
    """Return the line of each key and entry, from 1, by its place in the document.

    The parser reports no lines. But a prefix of a document that ends with a whole statement is
    valid too: what is new in it stands in its last statement.
    """
    found: dict[tuple[Any, ...], int] = {}
    lines, begin = text.splitlines(keepends=True), 0
    for end in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
        code = [number for number in range(begin, end) if _is_code(lines[number])]
        for place in _places(document, ()):
            if code:
                found.setdefault(place, code[0] + 1)
        begin = end
    return found


def _is_code(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _places(value: Any, place: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    places = []
    for key, inner in inside:
        places.append((*place, key))
        if isinstance(inner, dict | list):
            places += _places(inner, (*place, key))
    return places


def _marked(
    value: Any, place: tuple[Any, ...], lines: dict[tuple[Any, ...], int], file: str
) -> Any:
    if isinstance(value, dict):
        result = Map()
        result.mark = Mark(file, lines.get(place, 1))
        result.marks = {key: Mark(file, lines.get((*place, key), 1)) for key in value}
        for key, inner in value.items():
            result[key] = _marked(inner, (*place, key), lines, file)
        return result
    if isinstance(value, list):
        entries = Seq(_marked(inner, (*place, at), lines, file) for at, inner in enumerate(value))
        entries.mark = Mark(file, lines.get(place, 1))
        entries.marks = [Mark(file, lines.get((*place, at), 1)) for at in range(len(value))]
        return entries
    return value.isoformat() if isinstance(value, date) else value
