"""Validation of a payer's own layout files."""

from __future__ import annotations

from typing import Final

from etl.errors import MappingError
from etl.pipeline.definitions import Definitions
from etl.sources import LayoutText, read_layout

_OF_LAYOUTS: Final = "layouts/"


def mistakes_of(text: str, file: str, definitions: Definitions) -> tuple[MappingError, ...]:
    """Return the errors of a layout; empty where it is valid."""
    crosswalks = {
        name.removeprefix(_OF_LAYOUTS): crosswalk
        for name, crosswalk in definitions.crosswalks.items()
        if name.startswith(_OF_LAYOUTS)
    }
    bases = {each.name: LayoutText(each.file, each.text) for each in definitions.layouts}
    try:
        read_layout(text, file, crosswalks, bases)
    except MappingError as error:
        return error.every
    return ()
