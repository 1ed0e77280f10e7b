"""Claims that lack a line, where lines of the extract could not be read and name no claim.

What a claim lacks shows in its sums and in its line numbers:

* where header and lines state the same amount, the lines sum to less or more than the header, and
  the difference stands in the row;
* where no amount can be compared, a number between the first and the last line is missing, and
  stands in the row.

Every claim that lacks what stands in the row may be the one, so all of them are rejected.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np

from etl.columns.places import table_places
from etl.model.canonical_tables import AMOUNT_COLUMNS
from etl.quality.checks.frames import Frame, Work
from etl.quality.rules.book import Rule

_AMOUNT: Final = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,2})?")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class _Lacks:
    """Lacking parts of claims.

    Attributes:
        of_amounts, amounts: places of claims, and cents that each lacks.
        of_lines, lines: places of claims, and numbers of lines that each lacks.
    """

    of_amounts: Any
    amounts: Any
    of_lines: Any
    lines: Any


def find_lacking(work: Work, claims: Frame, rule: Rule) -> None:
    """Fail the claims that may lack a loose line, and note which lines those are."""
    if not work.loose.num_rows:
        return
    lacks = _lacks(work, claims)
    places = table_places(work.loose)
    failing = np.zeros(claims.count, dtype=bool)
    for place, cells in zip(places.tolist(), work.loose.column("cells").to_pylist(), strict=True):
        lacking = [
            lacks.of_amounts[np.isin(lacks.amounts, _cents(cells))],
            lacks.of_lines[np.isin(lacks.lines, _numbers(cells))],
        ]
        here = np.concatenate(lacking)
        if len(here):
            failing[here] = True
            work.owned.add(place)
    work.fail(rule, claims, failing & ~claims.superseded & work.holds(rule, claims))


def _lacks(work: Work, claims: Frame) -> _Lacks:
    lines = work.frames["claim_line"]
    up = np.where(lines.whole_rows, work.above(lines, "claim"), -1)
    compared = np.zeros(claims.count, dtype=bool)
    of_amounts, amounts = [], []
    has_lines = np.bincount(up[up >= 0], minlength=claims.count) > 0
    for column in AMOUNT_COLUMNS:
        if claims.cells(column).empty:
            continue
        counted = lines.filled(column) & (up >= 0)
        total = np.zeros(claims.count, dtype=np.int64)
        np.add.at(total, up[counted], lines.cents(column)[counted])
        some = np.bincount(up[counted], minlength=claims.count) > 0
        both = claims.filled(column) & (some | ~has_lines)
        compared |= both
        positions = np.flatnonzero(both & (total != claims.cents(column)))
        of_amounts.append(positions)
        amounts.append(claims.cents(column)[positions] - total[positions])
    numbered = np.flatnonzero((up >= 0) & lines.filled("line_number"))
    of_lines, missing = _gaps(up[numbered], lines.whole("line_number")[numbered])
    alone = ~compared[of_lines]
    empty = np.empty(0, dtype=np.int64)
    return _Lacks(
        np.concatenate([empty, *of_amounts]),
        np.concatenate([empty, *amounts]),
        of_lines[alone],
        missing[alone],
    )


def _gaps(claim: Any, number: Any) -> tuple[Any, Any]:
    """Return the numbers that are missing from 1 to each claim's last line, with their claims."""
    gaps: list[tuple[int, int]] = []
    order = np.lexsort((number, claim))
    before = (-1, 0)
    for pair in zip(claim[order].tolist(), number[order].tolist(), strict=True):
        last = before[1] if pair[0] == before[0] else 0
        if pair[1] - last > 1:
            gaps += [(pair[0], lacking) for lacking in range(last + 1, min(pair[1], last + 100))]
        before = pair
    pairs = np.array(gaps, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _cents(cells: Sequence[str | None]) -> list[int]:
    texts = (cell.strip() for cell in cells if cell)
    return [int(Decimal(text) * 100) for text in texts if _AMOUNT.fullmatch(text)]


def _numbers(cells: Sequence[str | None]) -> list[int]:
    texts = (cell.strip() for cell in cells if cell)
    return [int(text) for text in texts if _NUMBER.fullmatch(text)]
