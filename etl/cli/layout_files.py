"""Layouts by name, and a payer's own layout files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from etl.documents.nearest import nearest
from etl.errors import MappingError, UsageError
from etl.pipeline.definitions import Definitions
from etl.sources import CANONICAL_LAYOUTS, Layout, LayoutText, read_layout

_OF_LAYOUTS: Final = "layouts/"


def known_layout(name: str, definitions: Definitions) -> Layout:
    """Return the layout of a name.

    Raises:
        UsageError: there is none.
    """
    layouts = {
        **CANONICAL_LAYOUTS,
        **{layout.name: layout for layout in definitions.layouts},
    }
    if name not in layouts:
        hint = nearest(name, list(layouts)) or f"there are {', '.join(layouts)}"
        raise UsageError(f"no layout {name!r}; {hint}")
    return layouts[name]


def named_or_read(layout: str, definitions: Definitions) -> Layout:
    """Return the layout of a name, or that of a file.

    Raises:
        UsageError: there is no such layout, or no such file.
        MappingErrors: the file has mistakes.
    """
    path = Path(layout)
    if path.suffix in (".yaml", ".yml") or path.exists():
        return _read(layout_text(path), str(path), definitions)
    return known_layout(layout, definitions)


def layout_text(path: Path) -> str:
    """Return the text of a layout file.

    Raises:
        UsageError: there is no such file, or it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"{path}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 at byte {error.start + 1}") from None


def mistakes_of(text: str, file: str, definitions: Definitions) -> tuple[MappingError, ...]:
    """Return the errors of a layout; empty where it is valid."""
    try:
        _read(text, file, definitions)
    except MappingError as error:
        return error.every
    return ()


def _read(text: str, file: str, definitions: Definitions) -> Layout:
    crosswalks = {
        name.removeprefix(_OF_LAYOUTS): crosswalk
        for name, crosswalk in definitions.crosswalks.items()
        if name.startswith(_OF_LAYOUTS)
    }
    bases = {each.name: LayoutText(each.file, each.text) for each in definitions.layouts}
    return read_layout(text, file, crosswalks, bases)
