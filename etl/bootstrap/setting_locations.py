"""Locations of settings for messages: the option, the variable, or the file and line."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

PREFIX: Final = "CPCDS_"
_SYNTAX: Final = re.compile(r"(?P<what>.*) \(at line (?P<line>\d+), column \d+\)", re.DOTALL)
Location = tuple[int | str, ...]
"""Name of a setting, part by part, as pydantic states it."""
_OPTIONS: Final[Mapping[str, str]] = {"target": "--to or TARGET"}
"""Setting -> its option, where that is not the last part of its name."""


def variable_of(location: Sequence[int | str]) -> str:
    """Return the name of the environment variable of a setting."""
    return PREFIX + "__".join(str(part) for part in location).upper()


def option_of(location: Location) -> str:
    """Return the command's option, or argument, that gives a setting."""
    name = ".".join(str(part) for part in location[:2])
    return _OPTIONS.get(name) or f"--{name.rpartition('.')[2].replace('_', '-')}"


def locations_in(flags: Mapping[str, Any]) -> Iterator[Location]:
    """Yield the name of each setting that flags give."""
    for name, value in flags.items():
        below = locations_in(value) if isinstance(value, Mapping) else [()]
        yield from ((name, *rest) for rest in below)


def origin_of(location: Location, file: Path, given: Collection[Location]) -> str:
    """Return where a setting was given: an option, a variable, or a file with its line.

    Args:
        location: its name, part by part.
        file: the configuration file, which may be missing.
        given: names of the settings that a command's flags give.
    """
    for end in range(len(location), 0, -1):
        if location[:end] in given:
            return option_of(location[:end])
    for end in range(len(location), 0, -1):
        if variable_of(location[:end]) in os.environ:
            return variable_of(location[:end])
    try:
        line = line_of(file.read_text(encoding="utf-8"), location)
    except (OSError, UnicodeDecodeError):
        line = None
    return str(file) if line is None else f"{file}:{line}"


def line_of(text: str, location: Location) -> int | None:
    """Return the line of a TOML text on which a value is given; None where it is not.

    The parser reports no lines. But a prefix of a document that ends with a whole statement is
    valid too: the shortest valid prefix that holds the value ends with its statement.
    """
    lines = text.splitlines(keepends=True)
    for end in range(len(location), 0, -1):
        before = 0
        for number in range(1, len(lines) + 1):
            try:
                document = tomllib.loads("".join(lines[:number]))
            except tomllib.TOMLDecodeError:
                continue
            if _holds(document, location[:end]):
                statement = lines[before:number]
                return (
                    1
                    + before
                    + next(offset for offset, line in enumerate(statement) if _is_code(line))
                )
            before = number
    return None


def syntax_error(error: ValueError, file: Path) -> tuple[str, str]:
    """Return the place of a TOML error, and its message."""
    match = _SYNTAX.fullmatch(str(error))
    return (str(file), str(error)) if not match else (f"{file}:{match['line']}", match["what"])


def _is_code(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _holds(value: Any, location: Location) -> bool:
    for part in location:
        if isinstance(part, int) and isinstance(value, list):
            if part >= len(value):
                return False
        elif not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True
