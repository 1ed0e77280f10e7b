"""Errors of settings: where each stands, and what its type takes."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel, ByteSize, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from etl.errors import nearest

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
    from etl.documents.toml_text import lines_by_place  # brings in yaml; errors alone need it

    try:
        lines = lines_by_place(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return str(file)
    places = (location[:end] for end in range(len(location), 0, -1))
    return next((f"{file}:{lines[place]}" for place in places if place in lines), str(file))


def syntax_error(error: ValueError, file: Path) -> tuple[str, str]:
    """Return the place of a TOML error, and its message."""
    match = _SYNTAX.fullmatch(str(error))
    return (str(file), str(error)) if not match else (f"{file}:{match['line']}", match["what"])


_SEE: Final = "see `cpcds settings`"
_ONE: Final = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    SecretStr: "text",
    Path: "a path",
    ByteSize: "a size, such as '1.5 GB' or '800 MB'",
}
_QUOTED: Final = (str, SecretStr, Path)
_MANY: Final = {int: "whole numbers", str: "texts", Path: "paths"}


def mistake_in(error: ErrorDetails, settings: type[BaseModel], origin: str) -> tuple[str, str]:
    """Return the error in the value of a setting, and the remedy.

    Neither text holds the value, which may be a secret.

    Args:
        error: pydantic's error.
        settings: the class of all settings.
        origin: where it was given, as `origin_of` returns it.
    """
    name = ".".join(str(part) for part in error["loc"])
    kind, field = _declared(settings, error["loc"])
    what = f"setting {name} must be {_words(kind)}{_bounds(field)}"
    return what, _hint(error, kind, origin) or _default(field) or _SEE


def _hint(error: ErrorDetails, kind: Any, origin: str) -> str:
    """Return how to write a value that has an invalid form; "" where the form is not the error."""
    given, shape = error["input"], get_origin(kind)
    if shape is Literal and isinstance(given, str):
        return nearest(given, [str(word) for word in get_args(kind)])
    if origin.startswith(PREFIX) and isinstance(given, str) and (shape or _is_group(kind)):
        example = '["…", "…"]' if shape is tuple else '{"…": …}'
        return f"in a variable it is JSON: {variable_of(error['loc'])}='{example}'"
    if shape is tuple and not isinstance(given, list):
        return "put it in square brackets"
    if kind in _QUOTED and not isinstance(given, str | list | dict):
        return "put it in quotes"
    return ""


def _declared(settings: type[BaseModel], location: Location) -> tuple[Any, FieldInfo | None]:
    """Return the type declared at a place, and its field; None for an entry of a field."""
    kind: Any = settings
    field: FieldInfo | None = None
    for part in location:
        if _is_group(kind):
            field = kind.model_fields[str(part)]
            kind = _not_none(field.annotation)
        else:  # an entry of a list or table
            field, kind = None, get_args(kind)[0 if isinstance(part, int) else 1]
    return kind, field


def _not_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (choice for choice in get_args(kind) if choice is not NoneType)
    return kind


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(word or 'empty text' for word in get_args(kind))}"
    if get_origin(kind) is tuple:
        return f"a list of {_MANY.get(get_args(kind)[0], 'tables')}"
    if get_origin(kind) is dict:
        return f"a table, each value {_words(get_args(kind)[1])}"
    if _is_group(kind):
        return f"a table of settings: {', '.join(list(kind.model_fields)[:4])} and the like"
    return _ONE[kind]


def _bounds(field: FieldInfo | None) -> str:
    least = most = ""
    for bound in field.metadata if field is not None else ():
        match bound:
            case Ge(ge=number):
                least = f"{number}"
            case Le(le=number):
                most = f"{number}"
            case Gt(gt=number):
                return f" above {number}"
            case MinLen(min_length=number):
                return f", at least {number}"
            case _:
                continue
    if least and most:
        return f" from {least} to {most}"
    return f", {least} or more" if least else ""


def _default(field: FieldInfo | None) -> str:
    default = field.default if field is not None else None
    if isinstance(default, bool):
        default = str(default).lower()
    shown = isinstance(default, str | int | float | Path) and str(default)
    return f"leave it out for the default, {default}" if shown else ""
