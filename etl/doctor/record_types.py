"""Types of records in one file: how they are distinguished, and what a trailer states of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from etl.doctor.shapes import SHAPES

_MOST_TYPES: Final = 8
_CODE_LENGTHS: Final = range(2, 5)
"""Characters of a code where nothing stands behind it; one cell may be a single character too."""
_LONGEST_CODE: Final = 4
_FEWEST: Final = 3
"""Fewest lines of some type of fixed width: by fewer anything looks like a type."""
_SHORTEST: Final = 20


@dataclass(frozen=True, slots=True)
class RecordCode:
    """The code of one of several types of rows in a file.

    Attributes:
        file: name of the file.
        code: the first cell, or characters, of each of its rows, which no other type's have.
        last: whether its last row is the last of the file, so that a trailer may be of this type.
    """

    file: str
    code: str
    last: bool = False


@dataclass(frozen=True, slots=True)
class TrailerFigure:
    """A cell of a row at the end of a file that equals what its other rows come to.

    Attributes:
        header: of the cell's column.
        rows_of: names of types with so many rows together; each is an answer.
        sum_of: name and header of columns of this sum; each is an answer, none where rows fit.
    """

    header: str
    rows_of: tuple[tuple[str, ...], ...] = ()
    sum_of: tuple[tuple[str, str], ...] = ()

    @property
    def said(self) -> str:
        """The rows or columns that it equals, in words."""
        if self.rows_of:
            return f"the number of rows of {' or of '.join(map(' and '.join, self.rows_of))}"
        return f"the sum of {' or of '.join(f'{header} of {name}' for name, header in self.sum_of)}"


def record_types(rows: Sequence[Sequence[str]]) -> dict[str, list[Sequence[str]]]:
    """Return code -> rows, where the first cell distinguishes several types; empty otherwise.

    Codes are short and few, all rows of one have the same number of cells, those of another may
    have another, and some code has several rows: rows of keys would have one each.
    """
    types: dict[str, list[Sequence[str]]] = {}
    for row in rows:
        types.setdefault(row[0], []).append(row)
        if len(types) > _MOST_TYPES:
            return {}
    lengths = [{len(row) for row in alike} for alike in types.values()]
    is_typed = (
        all(0 < len(code) <= _LONGEST_CODE for code in types)
        and all(len(found) == 1 for found in lengths)
        and len(set().union(*lengths)) > 1
        and len(rows) > len(types)
    )
    return types if is_typed else {}


def line_types(lines: Sequence[str]) -> dict[str, list[str]]:
    """Return code -> lines, where the first 2 to 4 characters distinguish several types; else none.

    All lines of a code have one length, and no two codes with several lines have the same. Codes
    are letters or digits; where all are digits, two have several lines, as keys before a trailer
    would not. Of several lengths of codes that give the same types the longest counts.
    """
    of_file: dict[str, list[str]] = {}
    for length in _CODE_LENGTHS:
        types: dict[str, list[str]] = {}
        for line in lines:
            types.setdefault(line[:length], []).append(line)
        if _are_types(types, length) and len(of_file) in (0, len(types)):
            of_file = types
    return of_file


def _are_types(types: Mapping[str, Sequence[str]], code_length: int) -> bool:
    lengths = {code: {len(line) for line in alike} for code, alike in types.items()}
    several = [max(lengths[code]) for code, alike in types.items() if len(alike) > 1]
    is_digits = all(map(str.isdecimal, types))
    return (
        1 < len(types) <= _MOST_TYPES
        and all(code.isdecimal() or code.isalpha() for code in types)
        and all(len(code) == code_length and len(found) == 1 for code, found in lengths.items())
        and len(set().union(*lengths.values())) > 1
        and len(set(several)) == len(several) > int(is_digits)
        and max(map(len, types.values())) >= _FEWEST
        and max(several) >= _SHORTEST
    )


def trailer_figures(
    trailer: str, types: Mapping[str, Mapping[str, Sequence[str]]]
) -> tuple[TrailerFigure, ...]:
    """Return the figures of a trailer that its file bears out.

    Args:
        trailer: the type of one row that stands at the end.
        types: name of each type of the file -> header -> cells, in the order of rows. The first
            column, which has the code, is not looked at.
    """
    counts = {
        name: len(next(iter(columns.values()), ())) for name, columns in types.items() if columns
    }
    several = tuple(name for name, count in counts.items() if count > 1)
    sets = [*((name,) for name in several), several]
    sets += [tuple(name for name in counts if name != trailer), tuple(counts)]
    sums = {
        (name, header): sum(map(Decimal, filter(None, cells)), Decimal())
        for name in several
        for header, cells in list(types[name].items())[1:]
        if any(cells) and all(SHAPES["number"](cell) for cell in cells if cell)
    }
    figures = []
    for header, (cell,) in list(types[trailer].items())[1:]:
        if not SHAPES["number"](cell):
            continue
        figure = Decimal(cell)
        rows_of = tuple(
            names for names in dict.fromkeys(sets) if sum(map(counts.__getitem__, names)) == figure
        )
        sum_of = tuple(place for place, total in sums.items() if total == figure and figure)
        if rows_of or sum_of:
            figures.append(TrailerFigure(header, rows_of, () if rows_of else sum_of))
    return tuple(figures)
